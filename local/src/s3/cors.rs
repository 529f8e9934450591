//! Evaluates S3's CORS configuration of a bucket,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html>.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

/// One rule of a bucket's CORS configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    /// Origins, each with at most one `*`.
    pub allowed_origins: Vec<String>,
    /// Methods, in upper case.
    pub allowed_methods: Vec<String>,
    /// Request headers, each with at most one `*`; case-insensitive.
    pub allowed_headers: Vec<String>,
    /// Response headers that a script may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may cache a preflight, in seconds.
    pub max_age_secs: Option<u32>,
}

impl CorsRule {
    /// The rule for uploads from these origins: PUT, POST, GET and HEAD, any header, and a readable ETag; DELETE for
    /// clients that abort a multipart upload at S3 itself, as Uppy v6 does with `signRequest`.
    pub fn for_uploads(origins: impl IntoIterator<Item = String>) -> Self {
        let to_strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            allowed_origins: origins.into_iter().collect(),
            allowed_methods: to_strings(&["GET", "HEAD", "PUT", "POST", "DELETE"]),
            allowed_headers: to_strings(&["*"]),
            expose_headers: to_strings(&["ETag", "Location"]),
            max_age_secs: Some(3000),
        }
    }
}

/// The response to a preflight.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Preflight {
    /// 200 with these headers.
    Allowed(HeaderMap),
    /// 403.
    Forbidden,
    /// 400: without an origin or a method the request is not a preflight.
    Incomplete,
}

/// Evaluates an `OPTIONS` request.
pub(crate) fn evaluate_preflight(rules: &[CorsRule], request: &HeaderMap) -> Preflight {
    let (Some(origin), Some(method)) =
        (header_text(request, &ORIGIN), header_text(request, &ACCESS_CONTROL_REQUEST_METHOD))
    else {
        return Preflight::Incomplete;
    };
    let requested_headers: Vec<_> = header_text(request, &ACCESS_CONTROL_REQUEST_HEADERS)
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    for rule in rules {
        let has_all_headers = requested_headers.iter().all(|name| {
            rule.allowed_headers.iter().any(|pattern| matches_pattern(&pattern.to_ascii_lowercase(), name))
        });
        if let Some(mut headers) = rule_headers(rule, origin, method).filter(|_| has_all_headers) {
            if !requested_headers.is_empty() {
                insert_header(&mut headers, &ACCESS_CONTROL_ALLOW_HEADERS, &requested_headers.join(", "));
            }
            if let Some(secs) = rule.max_age_secs {
                insert_header(&mut headers, &ACCESS_CONTROL_MAX_AGE, &secs.to_string());
            }
            return Preflight::Allowed(headers);
        }
    }
    Preflight::Forbidden
}

/// The headers of the actual response, whatever its status; none if no rule matches.
pub(crate) fn response_headers(rules: &[CorsRule], request: &HeaderMap, method: &str) -> HeaderMap {
    let Some(origin) = header_text(request, &ORIGIN) else { return HeaderMap::new() };
    rules.iter().find_map(|rule| rule_headers(rule, origin, method)).unwrap_or_default()
}

fn rule_headers(rule: &CorsRule, origin: &str, method: &str) -> Option<HeaderMap> {
    let pattern = rule.allowed_origins.iter().find(|pattern| matches_pattern(pattern, origin))?;
    rule.allowed_methods.iter().find(|allowed| *allowed == method)?;
    let mut headers = HeaderMap::new();
    if pattern == "*" {
        insert_header(&mut headers, &ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    } else {
        insert_header(&mut headers, &ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        insert_header(&mut headers, &ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    insert_header(&mut headers, &ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed_methods.join(", "));
    if !rule.expose_headers.is_empty() {
        insert_header(&mut headers, &ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose_headers.join(", "));
    }
    insert_header(
        &mut headers,
        &VARY,
        "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    );
    Some(headers)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn insert_header(headers: &mut HeaderMap, name: &http::HeaderName, value: &str) {
    headers.extend(HeaderValue::try_from(value).ok().map(|value| (name.clone(), value)));
}

/// Whether a pattern with at most one `*` matches the value.
fn matches_pattern(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((head, tail)) => {
            value.len() >= head.len() + tail.len() && value.starts_with(head) && value.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn rules() -> Vec<CorsRule> {
        let mut narrow =
            CorsRule::for_uploads(["https://app.example".into(), "https://*.app.example".into()]);
        narrow.allowed_headers = vec!["content-type".into(), "X-Amz-*".into()];
        let public = CorsRule {
            allowed_origins: vec!["*".into()],
            allowed_methods: vec!["GET".into()],
            allowed_headers: Vec::new(),
            expose_headers: Vec::new(),
            max_age_secs: None,
        };
        vec![narrow, public]
    }

    #[test]
    fn preflight_checks_origin_method_and_headers() {
        let cases: [(&str, &str, &str, Option<&str>); 9] = [
            ("https://app.example", "PUT", "Content-Type, x-amz-meta-name", Some("https://app.example")),
            ("https://x.app.example", "POST", "", Some("https://x.app.example")),
            ("https://app.example", "DELETE", "", Some("https://app.example")),
            ("https://app.example", "PATCH", "", None),
            ("https://app.example", "PUT", "authorization", None),
            ("https://app.example.evil", "PUT", "", None),
            ("http://app.example", "PUT", "", None),
            ("https://evil.example", "GET", "", Some("*")),
            ("null", "PUT", "", None),
        ];
        for (origin, method, wanted, expected) in cases {
            let request = headers(&[
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", wanted),
            ]);
            match (evaluate_preflight(&rules(), &request), expected) {
                (Preflight::Allowed(answer), Some(allowed)) => {
                    assert_eq!(answer["access-control-allow-origin"], allowed, "{origin} {method}");
                }
                (Preflight::Forbidden, None) => {}
                (answer, _) => panic!("{origin} {method} {wanted}: {answer:?}"),
            }
        }
        assert_eq!(
            evaluate_preflight(&rules(), &headers(&[("origin", "https://app.example")])),
            Preflight::Incomplete
        );
    }

    #[test]
    fn response_has_vary_header() {
        let request = headers(&[("origin", "https://app.example")]);
        let answer = response_headers(&rules(), &request, "PUT");
        assert_eq!(answer["access-control-allow-credentials"], "true");
        assert_eq!(answer["access-control-expose-headers"], "ETag, Location");
        assert!(answer["vary"].to_str().unwrap().starts_with("Origin"));
        assert!(response_headers(&rules(), &request, "PATCH").is_empty());
        assert!(response_headers(&rules(), &HeaderMap::new(), "GET").is_empty());
    }
}
