//! Authorizes browser form uploads (`POST` with a policy), with AWS's responses.
//!
//! s3s parses policies; the rest is here because s3s holds the whole file in memory, rejects a policy older than 15
//! minutes whatever its expiration is, and responds with 400 where AWS responds with 403.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use s3s::post_policy::{PostPolicy, PostPolicyCondition};
use s3s::{S3ErrorCode, S3Result, s3_error};
use sha2::Sha256;

/// A form's fields, names in lower case, in front of the file.
pub(crate) type FormFields = BTreeMap<String, String>;

/// The only key pair that may sign forms.
#[derive(Clone, Copy)]
pub(crate) struct PostSigner<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) region: &'a str,
}

/// The limits that an accepted form's file must keep.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LengthLimits {
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: Option<u64>,
}

/// Checks the fields: the signature first, then the policy, then every field against the policy.
pub(crate) fn authorize(
    fields: &FormFields,
    bucket: &str,
    signer: PostSigner<'_>,
    now: Timestamp,
) -> S3Result<LengthLimits> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let (Some(policy), Some(signature)) = (field("policy"), field("x-amz-signature")) else {
        return Err(s3_error!(AccessDenied, "Access Denied"));
    };
    let required = |name: &str| {
        field(name)
            .ok_or_else(|| s3_error!(InvalidArgument, "Bucket POST must contain a field named '{name}'."))
    };
    if required("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(s3_error!(InvalidArgument, "Only AWS4-HMAC-SHA256 is supported"));
    }
    verify_signature(policy, signature, required("x-amz-credential")?, required("x-amz-date")?, signer)?;

    let policy = PostPolicy::from_base64(policy).map_err(|error| {
        s3_error!(error, InvalidPolicyDocument, "Invalid Policy: the document is malformed")
    })?;
    if expiration(&policy) <= now {
        return Err(s3_error!(AccessDenied, "Invalid according to Policy: Policy expired."));
    }
    required("key")?;
    check_policy(&policy, fields, bucket)
}

fn expiration(policy: &PostPolicy) -> Timestamp {
    serde_json::to_value(&policy.expiration)
        .ok()
        .and_then(|value| value.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or(Timestamp::MIN)
}

/// Verifies the signature, which covers the policy as encoded in the form.
fn verify_signature(
    policy: &str,
    signature: &str,
    credential: &str,
    date: &str,
    signer: PostSigner<'_>,
) -> S3Result<()> {
    let mut scope = credential.split('/');
    if scope.next() != Some(signer.access_key_id) {
        return Err(s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ));
    }
    let rest: Vec<_> = scope.collect();
    let [day, region, "s3", "aws4_request"] = rest[..] else {
        return Err(s3_error!(AuthorizationQueryParametersError, "the credential's scope is malformed"));
    };
    if region != signer.region {
        return Err(s3_error!(
            AuthorizationHeaderMalformed,
            "the region is wrong; expecting '{}'",
            signer.region
        ));
    }
    if !date.starts_with(day) || day.len() != 8 {
        return Err(s3_error!(
            AccessDenied,
            "Invalid according to Policy: the credential's date is another day"
        ));
    }
    let secret = format!("AWS4{}", signer.secret_access_key);
    let key = [day, region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, text| hmac(&key, text.as_bytes()).finalize().into_bytes().to_vec());
    let signature_bytes = hex::decode(signature).unwrap_or_default();
    // The crate compares in constant time.
    hmac(&key, policy.as_bytes()).verify_slice(&signature_bytes).map_err(|_| {
        s3_error!(
            SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided."
        )
    })
}

fn hmac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

fn check_policy(policy: &PostPolicy, fields: &FormFields, bucket: &str) -> S3Result<LengthLimits> {
    let value = |name: &str| {
        if name == "bucket" { Some(bucket) } else { fields.get(name).map(String::as_str) }
    };
    let mut limits = LengthLimits { min_bytes: 0, max_bytes: None };
    for condition in &policy.conditions {
        let (is_met, text) = match condition {
            PostPolicyCondition::Eq { field, value: expected } => {
                (value(field) == Some(expected), format!("[\"eq\", \"${field}\", \"{expected}\"]"))
            }
            PostPolicyCondition::StartsWith { field, prefix } => (
                value(field).unwrap_or_default().starts_with(prefix.as_str()),
                format!("[\"starts-with\", \"${field}\", \"{prefix}\"]"),
            ),
            PostPolicyCondition::ContentLengthRange { min, max } => {
                limits.min_bytes = limits.min_bytes.max(*min);
                limits.max_bytes = Some(limits.max_bytes.map_or(*max, |other| other.min(*max)));
                (true, String::new())
            }
        };
        if !is_met {
            return Err(s3_error!(
                AccessDenied,
                "Invalid according to Policy: Policy Condition failed: {text}"
            ));
        }
    }
    let is_in_policy = |name: &str| {
        policy.conditions.iter().any(|condition| match condition {
            PostPolicyCondition::Eq { field, .. } | PostPolicyCondition::StartsWith { field, .. } => {
                field == name
            }
            PostPolicyCondition::ContentLengthRange { .. } => false,
        })
    };
    let extra_fields: Vec<_> = fields
        .keys()
        .map(String::as_str)
        .filter(|name| !matches!(*name, "policy" | "x-amz-signature" | "file"))
        .filter(|name| !name.starts_with("x-ignore-") && !is_in_policy(name))
        .collect();
    if !extra_fields.is_empty() {
        return Err(s3_error!(
            AccessDenied,
            "Invalid according to Policy: Extra input fields: {}",
            extra_fields.join(", ")
        ));
    }
    if fields.get("bucket").is_some_and(|field| field != bucket) {
        return Err(s3_error!(AccessDenied, "Invalid according to Policy: the bucket does not match"));
    }
    Ok(limits)
}

/// The object's headers from the form.
pub(crate) fn object_headers(fields: &FormFields) -> BTreeMap<String, String> {
    const STORED_HEADERS: [&str; 6] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    ];
    fields
        .iter()
        .filter(|(name, value)| STORED_HEADERS.contains(&name.as_str()) && !value.is_empty())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The object's metadata from the form.
pub(crate) fn object_metadata(fields: &FormFields) -> BTreeMap<String, String> {
    fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())))
        .collect()
}

/// The response to a finished upload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SuccessAction {
    /// 200 or 204, empty.
    Empty(http::StatusCode),
    /// 201 with a document.
    Document,
    /// 303 to this URL.
    Redirect(http::Uri),
}

/// The response that the form requests; an invalid URL is ignored, as S3 does.
pub(crate) fn success_action(fields: &FormFields) -> SuccessAction {
    let redirect = fields
        .get("success_action_redirect")
        .or_else(|| fields.get("redirect"))
        .and_then(|text| text.parse::<http::Uri>().ok())
        .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    match (redirect, fields.get("success_action_status").map(String::as_str)) {
        (Some(uri), _) => SuccessAction::Redirect(uri),
        (None, Some("200")) => SuccessAction::Empty(http::StatusCode::OK),
        (None, Some("201")) => SuccessAction::Document,
        (None, _) => SuccessAction::Empty(http::StatusCode::NO_CONTENT),
    }
}

/// The error for a form that cannot be parsed.
pub(crate) fn malformed_form(error: multer::Error) -> s3s::S3Error {
    s3s::S3Error::with_source(S3ErrorCode::MalformedPOSTRequest, Box::new(error))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SIGNER: PostSigner<'static> =
        PostSigner { access_key_id: "key", secret_access_key: "secret", region: "us-east-1" };

    fn form() -> FormFields {
        let policy = serde_json::json!({
            "expiration": "2026-01-01T00:15:00.000Z",
            "conditions": [
                {"bucket": "b"}, {"key": "uploads/o/v"}, {"Content-Type": "video/mp4"},
                {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
                {"x-amz-credential": "key/20260101/us-east-1/s3/aws4_request"},
                {"x-amz-date": "20260101T000000Z"},
                ["starts-with", "$x-amz-meta-name", "a"],
                ["content-length-range", 1, 10],
            ],
        });
        let policy = STANDARD.encode(policy.to_string());
        let key = ["20260101", "us-east-1", "s3", "aws4_request"]
            .iter()
            .fold(b"AWS4secret".to_vec(), |key, text| {
                hmac(&key, text.as_bytes()).finalize().into_bytes().to_vec()
            });
        let signature = hex::encode(hmac(&key, policy.as_bytes()).finalize().into_bytes());
        [
            ("key", "uploads/o/v"),
            ("content-type", "video/mp4"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", "key/20260101/us-east-1/s3/aws4_request"),
            ("x-amz-date", "20260101T000000Z"),
            ("x-amz-meta-name", "alp.mp4"),
            ("x-ignore-me", "1"),
            ("policy", &policy),
            ("x-amz-signature", &signature),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn accepts_signed_form() {
        let accepted = authorize(&form(), "b", SIGNER, at("2026-01-01T00:14:59Z")).unwrap();
        assert_eq!(accepted, LengthLimits { min_bytes: 1, max_bytes: Some(10) });
        assert_eq!(object_metadata(&form()).get("name").map(String::as_str), Some("alp.mp4"));
        assert_eq!(object_headers(&form()).get("content-type").map(String::as_str), Some("video/mp4"));
    }

    #[test]
    fn rejects_any_changed_field() {
        let cases: [(&str, Option<&str>, &str); 13] = [
            ("key", Some("uploads/o/w"), "AccessDenied"),
            ("key", None, "InvalidArgument"),
            ("content-type", Some("text/html"), "AccessDenied"),
            ("content-type", None, "AccessDenied"),
            ("x-amz-meta-name", Some("b.mp4"), "AccessDenied"),
            ("x-amz-meta-other", Some("1"), "AccessDenied"),
            ("acl", Some("public-read"), "AccessDenied"),
            ("bucket", Some("c"), "AccessDenied"),
            ("x-amz-date", Some("20260102T000000Z"), "AccessDenied"),
            ("x-amz-credential", Some("other/20260101/us-east-1/s3/aws4_request"), "InvalidAccessKeyId"),
            ("x-amz-signature", Some("00"), "SignatureDoesNotMatch"),
            ("x-amz-signature", None, "AccessDenied"),
            ("policy", Some("e30="), "SignatureDoesNotMatch"),
        ];
        for (name, value, code) in cases {
            let mut form = form();
            match value {
                Some(value) => form.insert(name.into(), value.into()),
                None => form.remove(name),
            };
            let error = authorize(&form, "b", SIGNER, at("2026-01-01T00:00:00Z")).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{name}: {value:?}");
        }
        let late = authorize(&form(), "b", SIGNER, at("2026-01-01T00:15:00Z")).unwrap_err();
        assert_eq!(late.code().as_str(), "AccessDenied");
        assert!(authorize(&form(), "c", SIGNER, at("2026-01-01T00:00:00Z")).is_err(), "another bucket");
    }

    #[test]
    fn redirect_allows_only_http() {
        let form = |name: &str, value: &str| FormFields::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(success_action(&form("success_action_status", "201")), SuccessAction::Document);
        assert_eq!(
            success_action(&form("success_action_status", "200")),
            SuccessAction::Empty(http::StatusCode::OK)
        );
        assert_eq!(
            success_action(&form("success_action_status", "404")),
            SuccessAction::Empty(http::StatusCode::NO_CONTENT)
        );
        let there = success_action(&form("success_action_redirect", "https://app.example/done"));
        assert_eq!(there, SuccessAction::Redirect("https://app.example/done".parse().unwrap()));
        let nowhere = success_action(&form("success_action_redirect", "javascript:alert(1)"));
        assert_eq!(nowhere, SuccessAction::Empty(http::StatusCode::NO_CONTENT));
    }
}
