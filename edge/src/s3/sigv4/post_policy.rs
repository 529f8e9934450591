//! Signs the form of a browser's POST upload: a policy that S3 checks field by field, and its signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glimpse_contract::{Json, object};

use crate::s3::sigv4::canonical::{ALGORITHM, SigningScope, credential_scope, sign_with_cached_key};
use crate::s3::sigv4::timestamp::{amz_date, format_rfc3339};
use crate::s3::sigv4::{Credentials, S3Bucket};

/// A condition of a POST policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyCondition {
    /// A form field must have exactly this value.
    Equals(String, String),
    /// The file's length must be in this range, both ends included, in bytes.
    LengthRange(u64, u64),
}

/// A POST upload to be allowed, <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>.
#[derive(Debug, Clone)]
pub struct PostPolicy {
    /// The key of the file: exactly this one, without `${filename}`.
    pub key: String,
    /// Further fields, each with its required value.
    pub fields: Vec<(String, String)>,
    /// The minimum and maximum length in bytes.
    pub length_range: (u64, u64),
    /// The lifetime of the form, in seconds.
    pub expires_secs: u64,
}

/// The fields that a form must send, in order, before its `file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedForm {
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// Signs a POST policy: every field has an exact condition, none a `starts-with`.
pub fn sign_post_policy(
    policy: &PostPolicy,
    bucket: &S3Bucket,
    credentials: &Credentials,
    now_ms: u64,
) -> SignedForm {
    let date = amz_date(now_ms);
    let scope = credential_scope(&date, &bucket.region, "s3");
    let mut fields = policy.fields.clone();
    fields.push(("bucket".to_owned(), bucket.name.clone()));
    fields.push(("X-Amz-Algorithm".to_owned(), ALGORITHM.to_owned()));
    fields.push(("X-Amz-Credential".to_owned(), format!("{}/{scope}", credentials.access_key_id)));
    fields.push(("X-Amz-Date".to_owned(), date));
    if let Some(token) = &credentials.session_token {
        fields.push(("X-Amz-Security-Token".to_owned(), token.clone()));
    }
    fields.push(("key".to_owned(), policy.key.clone()));

    let (min_bytes, max_bytes) = policy.length_range;
    let mut conditions: Vec<PolicyCondition> =
        fields.iter().cloned().map(|(name, value)| PolicyCondition::Equals(name, value)).collect();
    conditions.push(PolicyCondition::LengthRange(min_bytes, max_bytes));

    let document = object! {
        "expiration" => format_rfc3339(now_ms + policy.expires_secs * 1000),
        "conditions" => conditions.iter().map(condition_to_json).collect::<Vec<_>>(),
    };
    let encoded = STANDARD.encode(document.to_string());
    let scope = SigningScope { credentials, region: &bucket.region, service: "s3", now_ms };
    let signature = sign_with_cached_key(encoded.as_bytes(), scope);
    fields.push(("Policy".to_owned(), encoded));
    fields.push(("X-Amz-Signature".to_owned(), signature));
    SignedForm { fields }
}

fn condition_to_json(condition: &PolicyCondition) -> Json {
    Json::Array(match condition {
        PolicyCondition::Equals(name, value) => vec!["eq".into(), ["$", name].concat().into(), value.into()],
        PolicyCondition::LengthRange(least, most) => {
            vec!["content-length-range".into(), (*least).into(), (*most).into()]
        }
    })
}

#[cfg(test)]
mod tests {
    use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
    use serde_json::{Value, json};

    use super::*;
    use crate::s3::sigv4::system_time;

    #[test]
    fn every_field_has_an_exact_condition() {
        let policy = PostPolicy {
            key: "uploads/o/v".into(),
            fields: vec![("content-type".into(), "video/mp4".into())],
            length_range: (1, 10),
            expires_secs: 900,
        };
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: "secret".into(),
            session_token: Some("session".into()),
        };
        let bucket = S3Bucket::virtual_hosted("clips", "eu-central-1");
        let form = sign_post_policy(&policy, &bucket, &credentials, 1_700_000_000_000);
        let field = |name: &str| form.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
        let document: Value = serde_json::from_slice(&STANDARD.decode(field("Policy")).unwrap()).unwrap();
        assert_eq!(document["expiration"], "2023-11-14T22:28:20.000Z");
        let conditions = document["conditions"].as_array().unwrap();
        for (name, value) in &form.fields {
            if name != "Policy" && name != "X-Amz-Signature" {
                assert!(
                    conditions.contains(&json!(["eq", format!("${name}"), value])),
                    "{name} has no condition"
                );
            }
        }
        assert!(conditions.contains(&json!(["content-length-range", 1, 10])));
        assert!(!document.to_string().contains("starts-with"));
        assert_eq!(field("X-Amz-Credential"), "AKID/20231114/eu-central-1/s3/aws4_request");
        assert_eq!(field("X-Amz-Date"), "20231114T221320Z");
    }

    /// The example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html>: its policy is signed
    /// unchanged.
    #[test]
    fn signature_matches_documented_example() {
        let policy = concat!(
            "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1",
            "Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8i",
            "XSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDov",
            "L3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0",
            "YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUx",
            "MjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFy",
            "dHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZP",
            "RE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGht",
            "IjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9",
        );
        let key = generate_signing_key(
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            system_time(1_451_347_200_000),
            "us-east-1",
            "s3",
        );
        assert_eq!(
            calculate_signature(key, policy.as_bytes()),
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
        );
    }
}
