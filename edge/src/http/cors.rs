//! CORS headers ([Fetch](https://fetch.spec.whatwg.org/#http-cors-protocol)) for the API and for images. Pure.

use crate::auth::carrier;
use crate::config::Config;

const API_METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
/// The headers without credentials that Uppy's clients, a page's own `fetch` and tracing scripts send.
const ALLOWED_HEADERS: &str = "content-type, accept, prefer, uppy-auth-token, uppy-credentials-params, last-event-id, \
     traceparent, tracestate";
/// The longest list of requested headers that is echoed, in bytes.
const MAX_REQUESTED_BYTES: usize = 1024;
/// The headers of an API response that a script may read.
const API_EXPOSED_HEADERS: &str = "location, retry-after, x-request-id";
/// The headers of an image that a script may read: players that request ranges need the last four.
const DELIVERY_EXPOSED_HEADERS: &str =
    "retry-after, x-request-id, etag, accept-ranges, content-length, content-range";

/// The headers of an API response to this origin. The origin is echoed, never `*`: requests carry credentials.
pub(crate) fn api_headers(config: &Config, origin: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    if let Some(origin) = origin.filter(|origin| config.allows_origin(origin)) {
        headers.push(("access-control-allow-origin", origin.to_owned()));
        headers.push(("access-control-allow-credentials", "true".to_owned()));
        headers.push(("access-control-expose-headers", API_EXPOSED_HEADERS.to_owned()));
    }
    headers
}

/// The headers of the response to a preflight request; for a foreign origin only `Vary`. An allowed page may send any
/// header: monitoring scripts add their own to every request (`sentry-trace`, `baggage`, `x-datadog-*`).
pub(crate) fn preflight_headers(
    config: &Config,
    origin: Option<&str>,
    requested: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut headers = api_headers(config, origin);
    if headers.len() > 1 {
        headers.extend(allow_headers(API_METHODS, requested));
    }
    headers
}

/// The headers of the response to a preflight request for an image or a document, from any page.
pub(crate) fn delivery_preflight_headers(requested: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = delivery_headers();
    headers.push(("vary", "Access-Control-Request-Headers".to_owned()));
    headers.extend(allow_headers("GET, HEAD, OPTIONS", requested));
    headers
}

fn allow_headers(methods: &str, requested: Option<&str>) -> [(&'static str, String); 3] {
    let mut names = [carrier::SCRIPT_HEADERS, ", ", ALLOWED_HEADERS].concat();
    if let Some(requested) = requested.filter(|requested| is_header_name_list(requested)) {
        names.extend([", ", requested]);
    }
    [
        ("access-control-allow-methods", methods.to_owned()),
        ("access-control-allow-headers", names),
        ("access-control-max-age", "86400".to_owned()),
    ]
}

/// Whether this is a list of header names, RFC 9110 section 5.6.2, and short enough to be echoed. `*` is a valid name
/// in that grammar, and would be a wildcard in a response.
fn is_header_name_list(list: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name != "*"
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    list.len() <= MAX_REQUESTED_BYTES && list.split(',').all(|name| is_name(name.trim_matches([' ', '\t'])))
}

/// The headers that let any page show and measure an image.
pub(crate) fn delivery_headers() -> Vec<(&'static str, String)> {
    vec![
        ("access-control-allow-origin", "*".to_owned()),
        ("access-control-expose-headers", DELIVERY_EXPOSED_HEADERS.to_owned()),
        ("cross-origin-resource-policy", "cross-origin".to_owned()),
        ("timing-allow-origin", "*".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example_config, example_config_with};

    fn header(headers: &[(&'static str, String)], name: &str) -> String {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Row U13 of the threat model.
    #[test]
    fn echoes_only_configured_origins() {
        let config = example_config();
        let allowed_origin = |origin| {
            preflight_headers(&config, origin, Some("baggage"))
                .into_iter()
                .find(|(name, _)| *name == "access-control-allow-origin")
                .map(|(_, value)| value)
        };
        assert_eq!(allowed_origin(Some("https://app.example")).as_deref(), Some("https://app.example"));
        for foreign in
            [None, Some("null"), Some("https://evil.example"), Some("http://app.example"), Some("*")]
        {
            assert_eq!(allowed_origin(foreign), None, "{foreign:?}");
        }
        assert_eq!(preflight_headers(&config, None, Some("baggage")), [("vary", "Origin".to_owned())]);
    }

    #[test]
    fn echoes_requested_headers_to_allowed_origins() {
        let config = example_config();
        let allowed_headers = |requested: Option<&str>| {
            header(
                &preflight_headers(&config, Some("https://app.example"), requested),
                "access-control-allow-headers",
            )
        };
        let always_allowed = format!("{}, {ALLOWED_HEADERS}", carrier::SCRIPT_HEADERS);
        assert_eq!(allowed_headers(None), always_allowed);
        let datadog =
            "traceparent,x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-trace-id";
        for names in ["baggage,sentry-trace", "baggage, sentry-trace", datadog, "X-B3-TraceId"] {
            assert_eq!(allowed_headers(Some(names)), format!("{always_allowed}, {names}"));
            let public = delivery_preflight_headers(Some(names));
            assert_eq!(header(&public, "access-control-allow-headers"), format!("{always_allowed}, {names}"));
        }
        let long = format!("x-{}", "a".repeat(MAX_REQUESTED_BYTES));
        for wrong in ["", "*", "a,,b", "a b", "a:b", "a\r\nset-cookie", "x-\u{e9}", "a;b", "\"a\"", &long] {
            assert_eq!(allowed_headers(Some(wrong)), always_allowed, "{wrong:.40?}");
        }
    }

    #[test]
    fn allows_custom_scheme_origins() {
        let config =
            example_config_with(&[("ALLOWED_ORIGINS", "capacitor://localhost, tauri://localhost, app://.")]);
        for origin in ["capacitor://localhost", "tauri://localhost", "app://."] {
            let headers = api_headers(&config, Some(origin));
            assert_eq!(header(&headers, "access-control-allow-origin"), origin);
            assert!(header(&headers, "access-control-expose-headers").contains("retry-after"));
        }
        assert_eq!(api_headers(&config, Some("ionic://localhost")).len(), 1);
    }

    #[test]
    fn exposes_retry_after() {
        assert!(header(&delivery_headers(), "access-control-expose-headers").contains("retry-after"));
    }
}
