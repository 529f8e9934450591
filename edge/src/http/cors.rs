//! Decides which pages of other origins may call the API, and tells their browsers. Pure.

use crate::config::Config;

const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
/// What Uppy's clients, a page's own `fetch` and what traces it send.
const HEADERS: &str = "authorization, content-type, accept, prefer, uppy-auth-token, uppy-credentials-params, last-event-id, \
     traceparent, tracestate";
/// The longest list of requested headers that is repeated, in bytes.
const MAX_REQUESTED_BYTES: usize = 1024;
/// What a script may read of an API answer beside its body.
const EXPOSED: &str = "location, retry-after, x-request-id";
/// The same of a picture: players that load parts of it need the last four.
const EXPOSED_OF_PICTURES: &str =
    "retry-after, x-request-id, etag, accept-ranges, content-length, content-range";

/// The headers that an API answer to this origin needs. The origin is repeated, never `*`: credentials travel.
pub(crate) fn api_headers(config: &Config, origin: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    if let Some(origin) = origin.filter(|origin| config.allows_origin(origin)) {
        headers.push(("access-control-allow-origin", origin.to_owned()));
        headers.push(("access-control-allow-credentials", "true".to_owned()));
        headers.push(("access-control-expose-headers", EXPOSED.to_owned()));
    }
    headers
}

/// The headers of an answer to a preflight; to a foreign origin only that the answer depends on it. An allowed page may send
/// any header: monitoring scripts add their own to every request (`sentry-trace`, `baggage`, `x-datadog-*`).
pub(crate) fn preflight_headers(
    config: &Config,
    origin: Option<&str>,
    requested: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut headers = api_headers(config, origin);
    if headers.len() > 1 {
        headers.extend(allowed(METHODS, requested));
    }
    headers
}

/// The headers of an answer to a preflight for a picture or a document, from whatever page.
pub(crate) fn picture_preflight_headers(requested: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = picture_headers();
    headers.push(("vary", "Access-Control-Request-Headers".to_owned()));
    headers.extend(allowed("GET, HEAD, OPTIONS", requested));
    headers
}

fn allowed(methods: &str, requested: Option<&str>) -> [(&'static str, String); 3] {
    let mut names = HEADERS.to_owned();
    if let Some(requested) = requested.filter(|requested| are_names(requested)) {
        names.extend([", ", requested]);
    }
    [
        ("access-control-allow-methods", methods.to_owned()),
        ("access-control-allow-headers", names),
        ("access-control-max-age", "86400".to_owned()),
    ]
}

/// Whether it is a list of header names, RFC 9110 section 5.6.2, that is short enough to be repeated. `*` is a name to that
/// grammar, and stands for all of them in an answer.
fn are_names(list: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name != "*"
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    list.len() <= MAX_REQUESTED_BYTES && list.split(',').all(|name| is_name(name.trim_matches([' ', '\t'])))
}

/// The headers that let any page show and measure a picture.
pub(crate) fn picture_headers() -> Vec<(&'static str, String)> {
    vec![
        ("access-control-allow-origin", "*".to_owned()),
        ("access-control-expose-headers", EXPOSED_OF_PICTURES.to_owned()),
        ("cross-origin-resource-policy", "cross-origin".to_owned()),
        ("timing-allow-origin", "*".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{example, with};

    fn header(headers: &[(&'static str, String)], name: &str) -> String {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Row U13 of the threat table.
    #[test]
    fn only_configured_origins_are_repeated() {
        let config = example();
        let allowed = |origin| {
            preflight_headers(&config, origin, Some("baggage"))
                .into_iter()
                .find(|(name, _)| *name == "access-control-allow-origin")
                .map(|(_, value)| value)
        };
        assert_eq!(allowed(Some("https://app.example")).as_deref(), Some("https://app.example"));
        for foreign in
            [None, Some("null"), Some("https://evil.example"), Some("http://app.example"), Some("*")]
        {
            assert_eq!(allowed(foreign), None, "{foreign:?}");
        }
        assert_eq!(preflight_headers(&config, None, Some("baggage")), [("vary", "Origin".to_owned())]);
    }

    #[test]
    fn requested_headers_are_repeated_to_allowed_origins() {
        let config = example();
        let answer = |requested: Option<&str>| {
            header(
                &preflight_headers(&config, Some("https://app.example"), requested),
                "access-control-allow-headers",
            )
        };
        assert_eq!(answer(None), HEADERS);
        let datadog =
            "traceparent,x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-trace-id";
        for names in ["baggage,sentry-trace", "baggage, sentry-trace", datadog, "X-B3-TraceId"] {
            assert_eq!(answer(Some(names)), format!("{HEADERS}, {names}"));
            let public = picture_preflight_headers(Some(names));
            assert_eq!(header(&public, "access-control-allow-headers"), format!("{HEADERS}, {names}"));
        }
        let long = format!("x-{}", "a".repeat(MAX_REQUESTED_BYTES));
        for wrong in ["", "*", "a,,b", "a b", "a:b", "a\r\nset-cookie", "x-\u{e9}", "a;b", "\"a\"", &long] {
            assert_eq!(answer(Some(wrong)), HEADERS, "{wrong:.40?}");
        }
    }

    #[test]
    fn apps_with_a_scheme_of_their_own_are_allowed_origins() {
        let config = with(&[("ALLOWED_ORIGINS", "capacitor://localhost, tauri://localhost, app://.")]);
        for origin in ["capacitor://localhost", "tauri://localhost", "app://."] {
            let headers = api_headers(&config, Some(origin));
            assert_eq!(header(&headers, "access-control-allow-origin"), origin);
            assert!(header(&headers, "access-control-expose-headers").contains("retry-after"));
        }
        assert_eq!(api_headers(&config, Some("ionic://localhost")).len(), 1);
    }

    #[test]
    fn scripts_may_read_when_to_ask_again() {
        assert!(header(&picture_headers(), "access-control-expose-headers").contains("retry-after"));
    }
}
