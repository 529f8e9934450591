//! Addresses: the URL of a deployment, the id of a video in an argument, and times and durations. Pure.

use std::fmt;
use std::time::Duration;

use glimpse_contract::VideoId;

use crate::secret::Secret;

/// The URL of a deployment: an origin, or the URL of an upload token, `https://video.example.com/u/eyJ…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentUrl {
    origin: String,
    upload_token: Option<Secret>,
}

impl DeploymentUrl {
    /// Parses a URL.
    ///
    /// A credential is sent to this address, so a URL that parsers could interpret differently is rejected, and so is
    /// one without TLS, except on this machine.
    ///
    /// # Errors
    /// A message that does not contain an upload token.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        let (origin, upload_token) = match text.split_once("/u/") {
            Some((origin, token)) => (origin, Some(token)),
            None => (text, None),
        };
        let origin = origin.to_ascii_lowercase();
        let invalid = || format!("{origin:?} is not an address such as https://video.example.com");
        let (scheme, host) = origin.split_once("://").ok_or_else(invalid)?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if !["http", "https"].contains(&scheme) || host.is_empty() || !host.bytes().all(is_host) {
            return Err(invalid());
        }
        let name = if host.starts_with('[') {
            host.split_inclusive(']').next().unwrap_or(host)
        } else {
            host.split(':').next().unwrap_or(host)
        };
        if scheme == "http" && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
            return Err(format!("{origin:?} is without TLS: credentials are sent to https addresses only"));
        }
        let is_token = |token: &str| {
            token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                && token.split('.').count() == 3
        };
        if upload_token.is_some_and(|token| !is_token(token)) {
            return Err(format!("the upload token in the address below {origin} is malformed"));
        }
        Ok(Self { origin, upload_token: upload_token.map(Secret::new) })
    }

    /// The origin, without a trailing slash.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The upload token, if the URL has one.
    pub(crate) fn upload_token(&self) -> Option<&Secret> {
        self.upload_token.as_ref()
    }

    /// The URL of a call of the API. It contains the upload token.
    pub(crate) fn call(&self, path: &str) -> String {
        match &self.upload_token {
            Some(token) => format!("{}/u/{}{path}", self.origin, token.expose()),
            None => format!("{}{path}", self.origin),
        }
    }
}

impl fmt::Display for DeploymentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Parses a video's id, or a URL that contains one: of its page or of an image.
///
/// # Errors
/// A message.
pub(crate) fn parse_video(text: &str) -> Result<VideoId, String> {
    let path = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/').find_map(|segment| segment.parse().ok()).ok_or_else(|| {
        format!("{text:?} is not the id of a video, such as 7zzzzzzzzz0123456789abcdef, or its URL")
    })
}

/// Parses seconds (`83.5`) or a clock (`1:23.5`, `1:02:03`), as seconds.
///
/// # Errors
/// A message.
pub(crate) fn parse_time(text: &str) -> Result<f64, String> {
    let invalid = || format!("{text:?} is not a time in seconds, such as 83.5 or 1:23.5");
    let parts: Vec<&str> = text.split(':').collect();
    let is_number =
        |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !part.is_empty();
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return Err(invalid());
    }
    let mut total = 0.0;
    for (index, part) in parts.iter().enumerate() {
        let value: f64 = part.parse().map_err(|_| invalid())?;
        if (index > 0 && value >= 60.0) || (index + 1 < parts.len() && part.contains('.')) {
            return Err(invalid());
        }
        total = total * 60.0 + value;
    }
    Ok(total)
}

/// Parses a duration: a number with `s`, `m`, `h` or `d`, or a number of seconds.
///
/// # Errors
/// A message.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let secs = number.parse::<u64>().ok().filter(|_| is_number).and_then(|number| number.checked_mul(unit));
    let secs = secs.filter(|secs| *secs > 0);
    secs.map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not a duration such as 90s, 30m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

    #[test]
    fn accepts_origins_and_upload_token_urls() {
        let url = DeploymentUrl::parse("HTTPS://Video.Example/").unwrap();
        assert_eq!((url.origin(), url.upload_token()), ("https://video.example", None));
        assert_eq!(url.call("/api/me"), "https://video.example/api/me");
        let url = DeploymentUrl::parse("https://video.example/u/ey.J.x").unwrap();
        assert_eq!(url.call("/api/me"), "https://video.example/u/ey.J.x/api/me");
        assert_eq!(
            (url.to_string().as_str(), url.origin()),
            ("https://video.example", "https://video.example")
        );
        assert!(!format!("{url:?}").contains("ey.J.x"));
        for local in ["http://localhost:8787", "http://127.0.0.1", "http://[::1]:80"] {
            assert!(DeploymentUrl::parse(local).is_ok(), "{local}");
        }
    }

    #[test]
    fn rejects_ambiguous_and_insecure_addresses() {
        for text in [
            "",
            "video.example",
            "ftp://video.example",
            "https://",
            "https://a/b",
            "https://user@video.example",
            "http://video.example",
            "http://localhost.evil.example",
            "http://localhost:80@evil.example",
            "https://video.example\\.evil.example",
            "https://video.example\t.evil.example",
            "https://video.example/u/",
            "https://video.example/u/hush",
            "https://video.example/u/a.b.c/d",
        ] {
            let error = DeploymentUrl::parse(text).expect_err(text);
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn video_is_found_in_urls() {
        for text in [
            VIDEO.to_owned(),
            format!("https://video.example/{VIDEO}"),
            format!("https://video.example/{VIDEO}/thumbnail.jpg?time=3"),
            format!("{VIDEO}/"),
        ] {
            assert_eq!(parse_video(&text).unwrap().to_string(), VIDEO, "{text}");
        }
        for text in ["", "x", "https://video.example/", "https://video.example/?v=7zzzzzzzzz0123456789abcdef"]
        {
            assert!(parse_video(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_is_seconds_or_a_clock() {
        for (text, secs) in [("0", 0.0), ("83.5", 83.5), ("1:23.5", 83.5), ("1:02:03", 3723.0), ("90", 90.0)]
        {
            assert_eq!(parse_time(text), Ok(secs), "{text}");
        }
        for text in ["", ":", "1:", "1:60", "1.5:00", "-1", "1e3", "nan", "1:2:3:4", "1..2"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_has_one_unit() {
        for (text, secs) in [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "h", "0", "1w", "1h30m", "-1s", "1.5h", "+1", "99999999999999999999d", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
