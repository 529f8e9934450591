//! Signs requests to a Lambda function URL in their headers: SigV4 for the service `lambda`.

use crate::s3::sigv4::canonical::{
    ALGORITHM, CanonicalRequest, SigningScope, canonical_headers, credential_scope, split_url,
};
use crate::s3::sigv4::timestamp::amz_date;
use crate::s3::sigv4::{Credentials, SignError};

/// SHA-256 of no bytes.
const EMPTY_PAYLOAD_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A request without a body, to be signed in its headers.
#[derive(Debug, Clone)]
pub struct HeaderSigningParams<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL without a query. Its path contains unreserved characters and single slashes only: every service but S3
    /// would encode others twice and normalize the path, and neither is done here.
    pub url: &'a str,
    /// The service's name in the signature's scope.
    pub service: &'a str,
}

/// The headers to send: all signed headers but `host`, and the signature. They are secret.
///
/// # Errors
/// An invalid URL, or one with a path that would have to be encoded.
pub fn sign_headers(
    request: &HeaderSigningParams<'_>,
    credentials: &Credentials,
    region: &str,
    now_ms: u64,
) -> Result<Vec<(String, String)>, SignError> {
    let (host, path) = split_url(request.url)?;
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    if !is_plain || path.split('/').skip(1).any(|part| matches!(part, "." | "..")) || path.contains("//") {
        return Err(SignError);
    }
    let date = amz_date(now_ms);
    let mut signed = vec![("host", host), ("x-amz-date", date.as_str())];
    if let Some(token) = &credentials.session_token {
        signed.push(("x-amz-security-token", token));
    }
    let (lines, names) = canonical_headers(&signed)?;
    let canonical = CanonicalRequest {
        method: request.method,
        path,
        query: "",
        headers: (&lines, &names),
        payload: EMPTY_PAYLOAD_SHA256,
    };
    let signing_scope = SigningScope { credentials, region, service: request.service, now_ms };
    let signature = canonical.signature(signing_scope, &date);
    let scope = credential_scope(&date, region, request.service);
    let id = &credentials.access_key_id;
    let authorization =
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    let headers = signed.iter().skip(1).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(headers.chain([("authorization".to_owned(), authorization)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: session_token.map(str::to_owned),
        }
    }

    fn header(headers: &[(String, String)], wanted: &str) -> Option<String> {
        headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    }

    /// `post-vanilla` of AWS's Signature Version 4 test suite.
    #[test]
    fn matches_aws_test_suite_vector() {
        let request =
            HeaderSigningParams { method: "POST", url: "https://example.amazonaws.com/", service: "service" };
        let headers = sign_headers(&request, &example(None), "us-east-1", 1_440_938_160_000).unwrap();
        assert_eq!(header(&headers, "x-amz-date").as_deref(), Some("20150830T123600Z"));
        assert_eq!(
            header(&headers, "authorization").as_deref(),
            Some(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
            )
        );
    }

    #[test]
    fn rejects_path_that_needs_encoding() {
        for path in ["a%20b", "a//b", "../a", "a/.", "a+b"] {
            let url = format!("https://x.example/{path}");
            let request = HeaderSigningParams { method: "POST", url: &url, service: "lambda" };
            assert!(sign_headers(&request, &example(None), "eu-central-1", 0).is_err(), "{path}");
        }
    }

    #[test]
    fn session_token_is_signed_and_sent() {
        let request = HeaderSigningParams {
            method: "POST",
            url: "https://x.lambda-url.eu.on.aws/a/b",
            service: "lambda",
        };
        let headers = sign_headers(&request, &example(Some("token")), "eu-central-1", 0).unwrap();
        assert_eq!(header(&headers, "x-amz-security-token").as_deref(), Some("token"));
        let authorization = header(&headers, "authorization").unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"),
            "{authorization}"
        );
        assert!(authorization.contains("/eu-central-1/lambda/aws4_request"), "{authorization}");
    }
}
