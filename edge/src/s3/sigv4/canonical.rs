//! SigV4's canonical request
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>), and a cache of
//! signing keys.
//!
//! `aws-sigv4` computes the signing key and the signature. Its own canonical request uses the types of the `http` crate
//! and derives the key each time, which made half of a presigned URL's cost and a tenth of the Worker; it is the oracle
//! of the tests here instead.

use std::cell::RefCell;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest as _, Sha256};

use crate::s3::sigv4::{Credentials, SignError, encode_query_value, system_time};

/// The only supported algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The date, region and service of a signature: `20130524/us-east-1/s3/aws4_request`.
pub(super) fn credential_scope(amz_date: &str, region: &str, service: &str) -> String {
    format!("{}/{region}/{service}/aws4_request", &amz_date[..8])
}

/// Splits a URL unchanged: the host with its port, and the path.
///
/// # Errors
/// A URL that is not valid in a request line.
pub(super) fn split_url(url: &str) -> Result<(&str, &str), SignError> {
    let rest = url.split_once("://").map(|(_, rest)| rest).ok_or(SignError)?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let is_clean =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte));
    if host.is_empty() || !is_clean(host) || !is_clean(path) {
        return Err(SignError);
    }
    Ok((host, path))
}

/// The canonical query: names and values encoded once, in the order of the encoded names.
pub(super) fn canonical_query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let mut pair = encode_query_value(name);
            pair.push('=');
            pair.push_str(&encode_query_value(value));
            pair
        })
        .collect();
    // `=` sorts after `-` and `.`, but no signed name is a prefix of another.
    insertion_sort(&mut encoded);
    encoded.join("&")
}

/// The canonical headers: `(name:value\n…, name;name;…)`.
///
/// # Errors
/// A name that is not lower case, or a value that would end its line.
pub(super) fn canonical_headers(headers: &[(&str, &str)]) -> Result<(String, String), SignError> {
    let mut lines: Vec<(&str, &str)> = headers.to_vec();
    insertion_sort(&mut lines);
    let (mut text, mut names) = (String::new(), String::new());
    for (name, value) in lines {
        let is_name = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !is_name || value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(SignError);
        }
        if !names.is_empty() {
            names.push(';');
        }
        names.push_str(name);
        text.push_str(name);
        text.push(':');
        // Runs of spaces count as one; leading and trailing ones are removed.
        for (index, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text.push('\n');
    }
    Ok((text, names))
}

/// For the dozen entries of a request; each of the standard library's sorts adds a few kilobytes to the Worker.
fn insertion_sort<T: Ord>(items: &mut [T]) {
    for end in 1..items.len() {
        let mut index = end;
        while index > 0 && items[index - 1] > items[index] {
            items.swap(index - 1, index);
            index -= 1;
        }
    }
}

/// The key of a signature, and when it is used.
#[derive(Clone, Copy)]
pub(super) struct SigningScope<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// In Unix milliseconds.
    pub(super) now_ms: u64,
}

/// A canonical request of SigV4.
pub(super) struct CanonicalRequest<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// The result of [`canonical_headers`].
    pub(super) headers: (&'a str, &'a str),
    /// The hash of the body, or the constant for an unsigned one.
    pub(super) payload: &'a str,
}

impl CanonicalRequest<'_> {
    /// The signature, in hexadecimal digits.
    pub(super) fn signature(&self, signing_scope: SigningScope<'_>, amz_date: &str) -> String {
        let (lines, names) = self.headers;
        let request =
            [self.method, "\n", self.path, "\n", self.query, "\n", lines, "\n", names, "\n", self.payload]
                .concat();
        let hash = hex::encode(Sha256::digest(request));
        let scope = credential_scope(amz_date, signing_scope.region, signing_scope.service);
        let string_to_sign = [ALGORITHM, "\n", amz_date, "\n", &scope, "\n", &hash].concat();
        sign_with_cached_key(string_to_sign.as_bytes(), signing_scope)
    }
}

/// The date, region, service and secret of a signing key.
#[derive(PartialEq, Eq)]
struct SigningKeyCacheKey {
    day: u64,
    region: String,
    service: String,
    secret: String,
}

/// How many keys are cached: one for the bucket, one for the function, and both of the day before.
const MAX_CACHED_KEYS: usize = 4;

thread_local! {
    // A cache of a pure function: four HMACs a day instead of four per signature.
    static SIGNING_KEYS: RefCell<Vec<(SigningKeyCacheKey, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// Signs a text with the key of its date.
pub(super) fn sign_with_cached_key(text: &[u8], scope: SigningScope<'_>) -> String {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let SigningScope { credentials, region, service, now_ms } = scope;
    let day = now_ms / DAY_MS;
    let secret = &credentials.secret_access_key;
    SIGNING_KEYS.with_borrow_mut(|keys| {
        let is_match = |id: &SigningKeyCacheKey| {
            id.day == day && id.region == region && id.service == service && id.secret == *secret
        };
        if let Some((_, key)) = keys.iter().find(|(of, _)| is_match(of)) {
            return calculate_signature(key, text);
        }
        let key = generate_signing_key(secret, system_time(now_ms), region, service).as_ref().to_vec();
        let signature = calculate_signature(&key, text);
        if keys.len() == MAX_CACHED_KEYS {
            keys.remove(0);
        }
        let id = SigningKeyCacheKey {
            day,
            region: region.to_owned(),
            service: service.to_owned(),
            secret: secret.clone(),
        };
        keys.push((id, key));
        signature
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_urls_and_headers() {
        assert_eq!(split_url("https://b.example:9000/a//%20").unwrap(), ("b.example:9000", "/a//%20"));
        assert_eq!(split_url("https://b.example").unwrap(), ("b.example", "/"));
        for url in
            ["", "b/a", "https://", "https://b/with space", "https://b/a\nb", "https://b/a?b", "https://ü/"]
        {
            assert!(split_url(url).is_err(), "{url}");
        }
        assert!(
            canonical_headers(&[("Host", "x")]).is_err() && canonical_headers(&[("a", "x\r\ny: z")]).is_err()
        );
    }

    #[test]
    fn headers_and_query_are_sorted() {
        let (lines, names) = canonical_headers(&[("host", "h"), ("b", "  two   words "), ("a", "")]).unwrap();
        assert_eq!((lines.as_str(), names.as_str()), ("a:\nb:two words\nhost:h\n", "a;b;host"));
        assert_eq!(
            canonical_query(&[("uploads", ""), ("X-Amz-Date", "1"), ("a b", "ü/")]),
            "X-Amz-Date=1&a%20b=%C3%BC%2F&uploads="
        );
    }

    #[test]
    fn signing_key_cache_separates_days_and_secrets() {
        let signature = |secret: &str, now_ms| {
            let credentials = Credentials {
                access_key_id: "AKID".into(),
                secret_access_key: secret.into(),
                session_token: None,
            };
            let scope =
                SigningScope { credentials: &credentials, region: "eu-central-1", service: "s3", now_ms };
            sign_with_cached_key(b"x", scope)
        };
        let day = 24 * 60 * 60 * 1000;
        let first = signature("a", day);
        assert_eq!(signature("a", 2 * day - 1), first);
        assert_ne!(signature("a", 2 * day), first);
        assert_ne!(signature("b", day), first);
        for other in 0..10 {
            signature("a", other * day);
        }
        assert_eq!(signature("a", day), first, "unchanged after other signatures");
    }
}
