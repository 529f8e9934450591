//! Decides the headers by which a request to a Lambda function URL proves itself: SigV4 for the service `lambda`.

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use super::{Credentials, SignError, system_time};

/// A request without a body, to be signed in its headers.
#[derive(Debug, Clone)]
pub struct Authorize<'a> {
    /// The method.
    pub method: &'a str,
    /// The address, percent-encoded, without a query.
    pub url: &'a str,
    /// The service's name in the signature's scope.
    pub service: &'a str,
}

/// The headers that the request is sent with: all that is signed but `host`, and the signature. They are a secret.
///
/// # Errors
/// A URL that cannot stand in a request.
pub fn authorize(
    request: &Authorize<'_>,
    credentials: &Credentials,
    region: &str,
    now_ms: u64,
) -> Result<Vec<(String, String)>, SignError> {
    let identity = AwsCredentials::new(
        &credentials.access_key_id,
        &credentials.secret_access_key,
        credentials.session_token.clone(),
        None,
        "glimpse",
    )
    .into();
    // Every service but S3 encodes twice and normalises the path, which is the crate's default.
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(request.service)
        .time(system_time(now_ms))
        .settings(SigningSettings::default())
        .build()?
        .into();
    let signable =
        SignableRequest::new(request.method, request.url, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
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
    fn equals_the_test_suites_vector() {
        let request = Authorize { method: "POST", url: "https://example.amazonaws.com/", service: "service" };
        let headers = authorize(&request, &example(None), "us-east-1", 1_440_938_160_000).unwrap();
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
    fn a_session_token_is_signed_and_sent() {
        let request =
            Authorize { method: "POST", url: "https://x.lambda-url.eu.on.aws/a/b", service: "lambda" };
        let headers = authorize(&request, &example(Some("token")), "eu-central-1", 0).unwrap();
        assert_eq!(header(&headers, "x-amz-security-token").as_deref(), Some("token"));
        let authorization = header(&headers, "authorization").unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"),
            "{authorization}"
        );
        assert!(authorization.contains("/eu-central-1/lambda/aws4_request"), "{authorization}");
    }
}
