//! Parses the webhook endpoints of the configuration: names, URLs and secrets. Pure.
//!
//! `WEBHOOK_URLS` and `WEBHOOK_SECRETS` are lists of `name=value`, separated by commas or spaces. One endpoint may have
//! no name. If there are several secrets for one name, each of them signs, which allows rotating a secret.

use std::fmt;

use http::Uri;

use crate::notify::signature::WebhookSecret;

/// The name of an endpoint without a name.
pub const DEFAULT_NAME: &str = "default";
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 32;
/// The maximum number of endpoints.
const MAX_ENDPOINTS: usize = 10;
/// The maximum number of secrets per endpoint: the current one, the next one, and a spare.
const MAX_SECRETS: usize = 3;

/// A webhook endpoint. Its `Debug` output omits path and query, which are a secret of some receivers.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// The name, from which webhook ids are derived and which the log contains.
    pub name: String,
    /// The URL.
    pub url: Uri,
    /// The secrets that sign its webhooks; at least one.
    pub secrets: Vec<WebhookSecret>,
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint")
            .field("name", &self.name)
            .field("host", &self.url.host())
            .finish_non_exhaustive()
    }
}

/// Parses both lists.
///
/// # Errors
/// All errors, without URLs and secrets.
pub fn parse(urls: &str, secrets: &str, is_http_allowed: bool) -> Result<Vec<WebhookEndpoint>, Vec<String>> {
    let mut errors = Vec::new();
    let mut endpoints: Vec<WebhookEndpoint> = Vec::new();
    for (name, url) in parse_items(urls) {
        match url.parse::<Uri>() {
            Ok(url) if is_valid_url(&url, is_http_allowed) => {
                if endpoints.iter().any(|known| known.name == name) {
                    errors.push(format!("WEBHOOK_URLS names {name} twice"));
                }
                endpoints.push(WebhookEndpoint { name: name.to_owned(), url, secrets: Vec::new() });
            }
            _ => errors.push(format!("WEBHOOK_URLS: {name} is not an https URL without user and password")),
        }
    }
    for (name, secret) in parse_items(secrets) {
        match (secret.parse(), endpoints.iter_mut().find(|endpoint| endpoint.name == name)) {
            (Err(error), _) => errors.push(format!("WEBHOOK_SECRETS: {name}: {error}")),
            (_, None) => errors.push(format!("WEBHOOK_SECRETS: {name} is not among WEBHOOK_URLS")),
            (Ok(secret), Some(endpoint)) => endpoint.secrets.push(secret),
        }
    }
    for WebhookEndpoint { name, secrets, .. } in &endpoints {
        if !(1..=MAX_SECRETS).contains(&secrets.len()) {
            errors.push(format!("WEBHOOK_SECRETS: {name} needs one to {MAX_SECRETS} secrets"));
        }
    }
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(format!("WEBHOOK_URLS has more than {MAX_ENDPOINTS} endpoints"));
    }
    if errors.is_empty() { Ok(endpoints) } else { Err(errors) }
}

/// Names and values. The text before the first `=` counts as a name only if it is spelled like one, so that a URL with
/// a query or the padding of a secret is not mistaken for one.
fn parse_items(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = list.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    words.map(|word| match word.split_once('=') {
        Some((name, value)) if is_name(name) => (name, value),
        _ => (DEFAULT_NAME, word),
    })
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_valid_url(url: &Uri, is_http_allowed: bool) -> bool {
    let has_allowed_scheme = match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_http_allowed,
        _ => false,
    };
    let has_plain_authority = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    has_allowed_scheme && has_plain_authority && url.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn parses_names_urls_and_secrets() {
        let urls = "crm=https://crm.example/hooks?a=b, https://app.example:8443/x";
        let secrets = format!("crm={NEW},{OLD}\ncrm={OLD}");
        let endpoints = parse(urls, &secrets, false).unwrap();
        let [crm, app] = &endpoints[..] else { panic!("{endpoints:?}") };
        assert_eq!((crm.name.as_str(), crm.url.query(), crm.secrets.len()), ("crm", Some("a=b"), 2));
        assert_eq!((app.name.as_str(), app.url.port_u16(), app.secrets.len()), (DEFAULT_NAME, Some(8443), 1));
        assert_eq!(crm.secrets[0], NEW.parse().unwrap(), "secrets keep their order");
        assert_eq!(parse("", "", false).unwrap(), []);
        let padded = parse("https://a.example/?token=x", NEW, false).unwrap();
        assert_eq!((padded[0].name.as_str(), padded[0].url.query()), (DEFAULT_NAME, Some("token=x")));
        let text = format!("{padded:?}");
        assert!(text.contains("a.example") && !text.contains("token"), "{text}");
    }

    #[test]
    fn errors_do_not_repeat_values() {
        let eleven = |value: &str| (0..11).map(|n| format!("n{n}={value}")).collect::<Vec<_>>().join(" ");
        let (many, secrets_of_many) = (eleven("https://a.example/"), eleven(OLD));
        let four = [OLD; 4].join(",");
        for (urls, secrets, word) in [
            ("http://a.example/hidden", OLD, "https"),
            ("ftp://a.example/hidden", OLD, "https"),
            ("https://hidden:hidden@a.example/", OLD, "password"),
            ("https:///hidden", OLD, "https"),
            ("a.example/hidden", OLD, "https"),
            ("https://a.example/hidden", "", "needs one"),
            ("https://a.example/hidden", &four, "needs one"),
            ("https://a.example/hidden", "whsec_hidden", "base64"),
            ("https://a.example/hidden", "hidden", "base64"),
            ("", OLD, "not among"),
            ("a=https://a.example/,a=https://b.example/", &format!("a={OLD}"), "twice"),
            (&many, &secrets_of_many, "more than 10"),
        ] {
            let text = parse(urls, secrets, false).unwrap_err().join("; ");
            assert!(text.contains(word), "{urls} {secrets}: {text}");
            assert!(!text.contains("hidden") && !text.contains("MfKQ"), "{text}");
        }
        assert!(parse("http://127.0.0.1:9999/", OLD, true).is_ok());
    }
}
