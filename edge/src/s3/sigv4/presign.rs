//! Presigned URLs: SigV4 in the query, with S3's rules: encoded once and not normalized.

use crate::s3::sigv4::canonical::{
    ALGORITHM, CanonicalRequest, SigningScope, canonical_headers, canonical_query, credential_scope,
    split_url,
};
use crate::s3::sigv4::timestamp::amz_date;
use crate::s3::sigv4::{Credentials, SignError};

/// A request that the bearer of the URL may send.
#[derive(Debug, Clone)]
pub struct PresignParams<'a> {
    /// The allowed method.
    pub method: &'a str,
    /// The URL without a query, percent-encoded.
    pub url: &'a str,
    /// The query before the signature, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers that must be sent with exactly these values, names in lower case; `host` is always added.
    pub headers: &'a [(&'a str, &'a str)],
    /// The lifetime of the URL, in seconds: S3 allows up to a week.
    pub expires_secs: u64,
}

/// The presigned URL of a request. Its query is exactly the signed text.
///
/// # Errors
/// An invalid URL or header.
pub fn presign(
    request: &PresignParams<'_>,
    credentials: &Credentials,
    region: &str,
    now_ms: u64,
) -> Result<String, SignError> {
    let (host, path) = split_url(request.url)?;
    let mut signed = Vec::with_capacity(request.headers.len() + 1);
    signed.extend_from_slice(request.headers);
    signed.push(("host", host));
    let (lines, names) = canonical_headers(&signed)?;

    let date = amz_date(now_ms);
    let credential = format!("{}/{}", credentials.access_key_id, credential_scope(&date, region, "s3"));
    let expires = request.expires_secs.to_string();
    let mut pairs = Vec::with_capacity(request.query.len() + 6);
    pairs.extend_from_slice(request.query);
    pairs.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &date),
        ("X-Amz-Expires", &expires),
        ("X-Amz-SignedHeaders", &names),
    ]);
    if let Some(token) = &credentials.session_token {
        pairs.push(("X-Amz-Security-Token", token));
    }
    let query = canonical_query(&pairs);
    let canonical = CanonicalRequest {
        method: request.method,
        path,
        query: &query,
        headers: (&lines, &names),
        payload: "UNSIGNED-PAYLOAD",
    };
    let signing_scope = SigningScope { credentials, region, service: "s3", now_ms };
    let signature = canonical.signature(signing_scope, &date);
    Ok([request.url, "?", &query, "&X-Amz-Signature=", &signature].concat())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials as AwsCredentials;
    use aws_sigv4::http_request::{
        PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;
    use crate::s3::sigv4::{encode_path, encode_query_value, system_time};

    /// The same request, signed by `aws-sigv4` alone. With its defaults (double encoding, normalized path), AWS's
    /// `test.txt` vector still passes, but a key with a space or `//` fails: S3 is the only service that does neither.
    fn oracle(request: &PresignParams<'_>, credentials: &Credentials, region: &str, now_ms: u64) -> String {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(std::time::Duration::from_secs(request.expires_secs));
        let Credentials { access_key_id, secret_access_key, session_token } = credentials.clone();
        let identity =
            AwsCredentials::new(access_key_id, secret_access_key, session_token, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(system_time(now_ms))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let mut url = request.url.to_owned();
        for (place, (name, value)) in request.query.iter().enumerate() {
            url.push(if place == 0 { '?' } else { '&' });
            url.extend([encode_query_value(name), "=".to_owned(), encode_query_value(value)]);
        }
        let headers = request.headers.iter().copied();
        let signable =
            SignableRequest::new(request.method, url, headers, SignableBody::UnsignedPayload).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let signature = instructions.params().iter().find(|(name, _)| *name == "X-Amz-Signature").unwrap();
        signature.1.to_string()
    }

    proptest! {
        #[test]
        fn signature_matches_aws_sigv4(
            key in "\\PC{0,40}",
            values in proptest::collection::vec("\\PC{0,20}", 0..3),
            header in "[ -~]{0,30}",
            token in proptest::option::of("[A-Za-z0-9/+=]{1,40}"),
            port in proptest::option::of(1_u16..),
            now_s in 0_u64..4_000_000_000,
        ) {
            let credentials = Credentials {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
                secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
                session_token: token,
            };
            let port = port.filter(|port| ![80, 443].contains(port)).map(|port| format!(":{port}"));
            let url = format!("https://b.example{}/{}", port.unwrap_or_default(), encode_path(&key));
            let names = ["partNumber", "uploads", "prefix"];
            let query: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let headers = [("x-amz-meta-name", header.as_str()), ("content-type", "video/mp4")];
            let request = PresignParams { method: "PUT", url: &url, query: &query, headers: &headers, expires_secs: 60 };
            let actual = presign(&request, &credentials, "eu-central-1", now_s * 1000).unwrap();
            let expected = oracle(&request, &credentials, "eu-central-1", now_s * 1000);
            prop_assert_eq!(actual.rsplit('=').next().unwrap(), expected);
        }
    }

    /// The example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.
    #[test]
    fn matches_documented_example() {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let request = PresignParams {
            method: "GET",
            url: "https://examplebucket.s3.amazonaws.com/test.txt",
            query: &[],
            headers: &[],
            expires_secs: 86_400,
        };
        let url = presign(&request, &credentials, "us-east-1", 1_369_353_600_000).unwrap();
        assert_eq!(
            url,
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn rejects_invalid_urls_and_headers() {
        let credentials =
            Credentials { access_key_id: "a".into(), secret_access_key: "b".into(), session_token: None };
        let request = PresignParams {
            method: "GET",
            url: "https://bucket/with space",
            query: &[],
            headers: &[],
            expires_secs: 60,
        };
        assert!(presign(&request, &credentials, "us-east-1", 0).is_err());
    }
}
