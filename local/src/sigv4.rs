//! Verifies SigV4 signatures in headers with the only key pair, for services other than S3.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. Implemented step by
//! step, without the crate with which the edge signs, so that a bug in either is detected.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// RFC 3986's unreserved characters are not escaped.
const QUERY_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How far the signer's clock may be off, in seconds: five minutes, as for all services except S3.
const SKEW_SECS: i64 = 5 * 60;

/// The accepted key pair, and the scope of its signatures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CredentialScope<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// The reason why a signature is invalid. It is logged, and not sent to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SignatureError {
    #[error("the Authorization header is missing or malformed")]
    Missing,
    #[error("the access key is unknown")]
    Key,
    #[error("the scope is another day, region or service")]
    Scope,
    #[error("the time is missing, malformed or too far off")]
    Time,
    #[error("a header that must be signed is not")]
    Headers,
    #[error("the body does not match its signature")]
    Body,
    #[error("the signature does not match")]
    Mismatch,
}

/// Verifies that the request is signed with the key pair.
pub(crate) fn verify(
    parts: &Parts,
    body: &[u8],
    scope: CredentialScope<'_>,
    secret: &str,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let authorization = Authorization::parse(header.ok_or(SignatureError::Missing)?)?;
    let credential: Vec<_> = authorization.credential.split('/').collect();
    let [key, day, region, service, "aws4_request"] = credential[..] else {
        return Err(SignatureError::Scope);
    };
    if key != scope.access_key_id {
        return Err(SignatureError::Key);
    }
    let date = single_header(&parts.headers, "x-amz-date").ok_or(SignatureError::Time)?;
    if region != scope.region || service != scope.service || date.split('T').next() != Some(day) {
        return Err(SignatureError::Scope);
    }
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .ok_or(SignatureError::Time)?;
    if (signed_at.timestamp().as_second() - now.as_second()).abs() > SKEW_SECS {
        return Err(SignatureError::Time);
    }
    let signed_names: Vec<&str> = authorization.signed_headers.split(';').collect();
    check_headers(&parts.headers, &signed_names)?;
    let payload_hash = hex::encode(Sha256::digest(body));
    if single_header(&parts.headers, "x-amz-content-sha256").is_some_and(|declared| declared != payload_hash)
    {
        return Err(SignatureError::Body);
    }
    let canonical = canonical_request(parts, &signed_names, &payload_hash).ok_or(SignatureError::Headers)?;
    let string_to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{day}/{region}/{service}/aws4_request\n{}",
        hex::encode(Sha256::digest(canonical))
    );
    let secret_key = format!("AWS4{secret}").into_bytes();
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(secret_key, |key, text| hmac(&key, text.as_bytes()).finalize().into_bytes().to_vec());
    let signature = hex::decode(authorization.signature).map_err(|_| SignatureError::Mismatch)?;
    // The crate compares in constant time.
    hmac(&key, string_to_sign.as_bytes()).verify_slice(&signature).map_err(|_| SignatureError::Mismatch)
}

struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let members = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or(SignatureError::Missing)?;
        let members: Vec<_> = members.split(',').map(str::trim).collect();
        let [credential, signed_headers, signature] = members[..] else {
            return Err(SignatureError::Missing);
        };
        let strip_name = |text: &'a str, name| text.strip_prefix(name).ok_or(SignatureError::Missing);
        Ok(Self {
            credential: strip_name(credential, "Credential=")?,
            signed_headers: strip_name(signed_headers, "SignedHeaders=")?,
            signature: strip_name(signature, "Signature=")?,
        })
    }
}

/// `host` and all headers with a meaning for AWS must be signed, each name once and in order.
fn check_headers(headers: &HeaderMap, signed_names: &[&str]) -> Result<(), SignatureError> {
    let is_ordered = signed_names.is_sorted_by(|one, next| one < next);
    let is_present = |name: &&str| headers.contains_key(*name) && name.to_lowercase() == **name;
    let required = headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    let is_complete = required.chain(["host"]).all(|name| signed_names.contains(&name));
    if is_ordered && is_complete && signed_names.iter().all(is_present) {
        Ok(())
    } else {
        Err(SignatureError::Headers)
    }
}

fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn canonical_request(parts: &Parts, signed_names: &[&str], payload_hash: &str) -> Option<String> {
    let mut text = format!(
        "{}\n{}\n{}\n",
        parts.method,
        canonical_path(parts.uri.path()),
        canonical_query(parts.uri.query().unwrap_or_default())
    );
    for name in signed_names {
        let values: Option<Vec<String>> = parts
            .headers
            .get_all(*name)
            .iter()
            .map(|value| Some(value.to_str().ok()?.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect();
        text.extend([name, ":", &values?.join(","), "\n"]);
    }
    text.extend(["\n", &signed_names.join(";"), "\n", payload_hash]);
    Some(text)
}

/// The path with dots and doubled slashes resolved, and with escaped characters escaped again.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut text = String::new();
    for segment in &segments {
        text.push('/');
        text.extend(utf8_percent_encode(segment, QUERY_ESCAPES));
    }
    if text.is_empty() || path.ends_with('/') {
        text.push('/');
    }
    text
}

/// The parameters with names and values escaped once, in order.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&decoded, QUERY_ESCAPES).to_string()
    };
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn hmac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SCOPE: CredentialScope<'_> =
        CredentialScope { access_key_id: "AKIDEXAMPLE", region: "us-east-1", service: "service" };
    const DATE: &str = "20150830T123600Z";

    fn now() -> Timestamp {
        "2015-08-30T12:36:00Z".parse().unwrap()
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn authorization(signed_names: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={signed_names}, Signature={signature}"
        )
    }

    /// Cases from AWS's Signature Version 4 test suite.
    #[test]
    fn verifies_aws_test_vectors() {
        for (method, target, more, signed, signature) in [
            (
                "GET",
                "/",
                &[][..],
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "/",
                &[],
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "/",
                &[("my-header1", "value1")],
                "host;my-header1;x-amz-date",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
        ] {
            let authorization = authorization(signed, signature);
            let mut headers = vec![
                ("host", "example.amazonaws.com"),
                ("x-amz-date", DATE),
                ("authorization", &authorization),
            ];
            headers.extend(more);
            assert_eq!(
                verify(&request(method, target, &headers), b"", SCOPE, SECRET, now()),
                Ok(()),
                "{target}"
            );
        }
    }

    #[test]
    fn paths_are_normalized_and_double_encoded() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("/../..", "/"),
            ("/a%20b", "/a%2520b"),
            ("/thumbnail-time_1.5.jpg", "/thumbnail-time_1.5.jpg"),
        ] {
            assert_eq!(canonical_path(path), expected);
        }
    }

    #[test]
    fn rejects_any_change() {
        let good = authorization(
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        let base =
            [("host", "example.amazonaws.com"), ("x-amz-date", DATE), ("authorization", good.as_str())];
        let judge = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
            verify(&request(method, target, headers), body, SCOPE, SECRET, now()).unwrap_err()
        };
        let with_header = |name: &'static str, value: &'static str| {
            base.map(|(known, old)| (known, if known == name { value } else { old }))
        };
        assert_eq!(verify(&request("POST", "/", &base), b"", SCOPE, SECRET, now()), Ok(()), "the control");
        assert_eq!(judge("GET", "/", &base, b""), SignatureError::Mismatch);
        assert_eq!(judge("POST", "/x", &base, b""), SignatureError::Mismatch);
        assert_eq!(judge("POST", "/?a=1", &base, b""), SignatureError::Mismatch);
        assert_eq!(judge("POST", "/", &base, b"x"), SignatureError::Mismatch);
        assert_eq!(judge("POST", "/", &with_header("host", "evil.example"), b""), SignatureError::Mismatch);
        assert_eq!(
            judge("POST", "/", &with_header("x-amz-date", "20150830T123601Z"), b""),
            SignatureError::Mismatch
        );
        assert_eq!(
            judge("POST", "/", &with_header("x-amz-date", "20150831T123600Z"), b""),
            SignatureError::Scope
        );
        assert_eq!(judge("POST", "/", &with_header("x-amz-date", "20150830"), b""), SignatureError::Time);
        assert_eq!(judge("POST", "/", &base[..1], b""), SignatureError::Missing);
        assert_eq!(
            judge("POST", "/", &with_header("authorization", "Bearer x"), b""),
            SignatureError::Missing
        );
        let more = [&base[..], &[("x-amz-security-token", "x")]].concat();
        assert_eq!(judge("POST", "/", &more, b""), SignatureError::Headers);
        let twice = [&base[..], &[("x-amz-date", DATE)]].concat();
        assert_eq!(judge("POST", "/", &twice, b""), SignatureError::Time);
        for (from, to, expected) in [
            ("AKIDEXAMPLE", "AKIDOTHER", SignatureError::Key),
            ("us-east-1", "eu-west-1", SignatureError::Scope),
            ("/service/", "/s3/", SignatureError::Scope),
            ("/aws4_request", "", SignatureError::Scope),
            ("host;x-amz-date", "x-amz-date;host", SignatureError::Headers),
            ("host;x-amz-date", "x-amz-date", SignatureError::Headers),
            ("host;x-amz-date", "host", SignatureError::Headers),
            ("Signature=5d", "Signature=5e", SignatureError::Mismatch),
            ("Signature=5d", "Signature=", SignatureError::Mismatch),
            ("Signature=5d", "Signature=xy", SignatureError::Mismatch),
        ] {
            let changed = good.replace(from, to);
            let headers = [base[0], base[1], ("authorization", changed.as_str())];
            assert_eq!(judge("POST", "/", &headers, b""), expected, "{from} -> {to}");
        }
        let claimed = authorization("host;x-amz-content-sha256;x-amz-date", &"0".repeat(64));
        let headers = [
            base[0],
            base[1],
            ("authorization", claimed.as_str()),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ];
        assert_eq!(judge("POST", "/", &headers, b""), SignatureError::Body);
        for minutes in [-6, 6] {
            let then = now() + jiff::SignedDuration::from_mins(minutes);
            let judged = verify(&request("POST", "/", &base), b"", SCOPE, SECRET, then);
            assert_eq!(judged, Err(SignatureError::Time));
        }
    }
}
