//! Decides which pages of other origins may call the API, and tells their browsers. Pure.

use crate::config::Config;

const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
/// What Uppy's clients, a page's own `fetch` and what traces it send.
const HEADERS: &str = "authorization, content-type, accept, prefer, uppy-auth-token, uppy-credentials-params, last-event-id, \
     traceparent, tracestate";

/// The headers that an API answer to this origin needs. The origin is repeated, never `*`: credentials travel.
pub(crate) fn api_headers(config: &Config, origin: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    if let Some(origin) = origin.filter(|origin| config.allows_origin(origin)) {
        headers.push(("access-control-allow-origin", origin.to_owned()));
        headers.push(("access-control-allow-credentials", "true".to_owned()));
        headers.push(("access-control-expose-headers", "retry-after, x-request-id".to_owned()));
    }
    headers
}

/// The headers of an answer to a preflight; to a foreign origin only that the answer depends on it.
pub(crate) fn preflight_headers(config: &Config, origin: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = api_headers(config, origin);
    if headers.len() > 1 {
        headers.push(("access-control-allow-methods", METHODS.to_owned()));
        headers.push(("access-control-allow-headers", HEADERS.to_owned()));
        headers.push(("access-control-max-age", "86400".to_owned()));
    }
    headers
}

/// The headers that let any page show and measure a picture.
pub(crate) fn picture_headers() -> Vec<(&'static str, String)> {
    vec![
        ("access-control-allow-origin", "*".to_owned()),
        ("cross-origin-resource-policy", "cross-origin".to_owned()),
        ("timing-allow-origin", "*".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::example;

    /// Row U13 of the threat table.
    #[test]
    fn only_configured_origins_are_repeated() {
        let config = example();
        let allowed = |origin| {
            preflight_headers(&config, origin)
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
        assert_eq!(preflight_headers(&config, None), [("vary", "Origin".to_owned())]);
    }
}
