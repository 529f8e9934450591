//! `GET /s3/params`, the single-request upload of Uppy's Companion, for unmodified Uppy clients of v4, v5 and v6.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Grant, Json, Problem, object};

use crate::config::Config;
use crate::http::query::{Query, decode_form};
use crate::s3::sigv4::{PostPolicy, sign_post_policy};
use crate::uploads::PresignedUpload;

/// Uppy's description of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UppyFile {
    /// The file's name.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its length in bytes: `size`, or `metadata[size]`, which an app may set for each file. Uppy itself sends neither.
    pub size: Option<u64>,
}

/// Parses the query: form-encoded, with optional `metadata[…]`.
///
/// # Errors
/// A missing or empty name, or a duplicate parameter.
pub fn parse_uppy_query(query: Query<'_>) -> Result<UppyFile, Problem> {
    let mut filename = None;
    let mut content_type = None;
    let (mut size, mut metadata_size) = (None, None);
    for pair in query.pairs() {
        let target = match decode_form(pair.name).as_str() {
            "filename" => &mut filename,
            "type" => &mut content_type,
            "size" => &mut size,
            "metadata[size]" => &mut metadata_size,
            _ => continue,
        };
        if target.replace(decode_form(pair.value_or_empty())).is_some() {
            let detail = format!("Duplicate parameter `{}`.", pair.name);
            return Err(Problem::with_detail(Code::BadParameter, detail));
        }
    }
    let filename = filename.filter(|name| !name.is_empty()).ok_or_else(|| {
        Problem::with_detail(
            Code::BadParameter,
            "The parameter `filename` is required and must not be empty.",
        )
    })?;
    // An invalid length is ignored here; the error is returned where a length is required.
    let size = size.or(metadata_size).and_then(|text| text.parse().ok());
    Ok(UppyFile { filename, content_type: content_type.unwrap_or_default(), size })
}

/// The POST form that S3 accepts, for a file of any allowed length, in Companion's format; Uppy v6 ignores everything
/// but `url` and `fields`. (The length is not known here: Uppy does not send it, so S3 enforces the range.)
pub fn uppy_form_response(grant: &Grant, max_bytes: u64, config: &Config, now_ms: u64) -> Json {
    object! {
        "method" => "POST",
        "url" => config.bucket.bucket_url(),
        "fields" => &post_form_fields(grant, max_bytes, config, now_ms),
        "expires" => config.upload_expires_secs,
    }
}

/// The signed PUT for storage without POST forms, in Companion's format, which Uppy v5 uses. Uppy v6 ignores `method`
/// and uses `signRequest` instead.
pub fn uppy_put_response(upload: &PresignedUpload, config: &Config) -> Json {
    object! {
        "method" => upload.method,
        "url" => &upload.url,
        "headers" => upload.headers_json(),
        "fields" => object! {},
        "expires" => config.upload_expires_secs,
    }
}

/// The length of a file for a single-request upload to storage without POST forms.
///
/// # Errors
/// A missing length: without it nothing would limit the upload.
pub fn require_size(size: Option<u64>) -> Result<u64, Problem> {
    size.ok_or_else(|| {
        let detail = "The storage does not support POST forms. Send the file's `size` in bytes, or use a multipart upload.";
        Problem::with_detail(Code::BadParameter, detail)
    })
}

/// The fields of that form.
pub fn post_form_fields(
    grant: &Grant,
    max_bytes: u64,
    config: &Config,
    now_ms: u64,
) -> BTreeMap<String, String> {
    let mut fields = vec![
        ("success_action_status".to_owned(), "201".to_owned()),
        ("content-type".to_owned(), grant.content_type.clone()),
    ];
    fields.extend(grant.metadata().into_iter().map(|(name, value)| (name.to_owned(), value)));
    let policy = PostPolicy {
        key: grant.key().to_string(),
        fields,
        length_range: (1, max_bytes),
        expires_secs: config.upload_expires_secs,
    };
    let form = sign_post_policy(&policy, &config.bucket, &config.credentials, now_ms);
    form.fields.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example_config, example_grant};

    #[test]
    fn parses_uppy_query() {
        let parse_uppy_query = |query: &str| parse_uppy_query(Query(query));
        let query =
            parse_uppy_query("filename=a+b%2Bc.mp4&type=video%2Fmp4&metadata%5Bname%5D=x&metadata[type]=y")
                .unwrap();
        assert_eq!(
            query,
            UppyFile { filename: "a b+c.mp4".into(), content_type: "video/mp4".into(), size: None }
        );
        let size = |query: &str| parse_uppy_query(&format!("filename=a&{query}")).map(|query| query.size);
        assert_eq!(size("size=9"), Ok(Some(9)));
        assert_eq!(size("metadata%5Bsize%5D=9"), Ok(Some(9)));
        assert_eq!(size("size=9&metadata[size]=8"), Ok(Some(9)));
        for none in ["", "size=", "size=-1", "size=9.5", "size=null"] {
            assert_eq!(size(none), Ok(None), "{none}");
        }
        for bad in ["", "type=video/mp4", "filename=", "filename=a&filename=b"] {
            assert_eq!(parse_uppy_query(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }

    #[test]
    fn response_matches_companion() {
        let config = example_config();
        let grant = example_grant();
        let answer = serde_json::to_value(uppy_form_response(&grant, 9, &config, 1_700_000_000_000)).unwrap();
        assert_eq!(answer["method"], "POST");
        assert!(answer["url"].as_str().unwrap().ends_with('/'), "Uppy v6 appends the key as it is");
        assert_eq!(answer["fields"]["success_action_status"], "201");
        assert_eq!(answer["fields"]["x-amz-meta-name"], "a%20b.mp4");
        assert_eq!(answer["fields"]["key"], grant.key().to_string());
        assert_eq!(answer["fields"]["bucket"], config.bucket.name);
        assert_eq!(answer["expires"], 900);
    }
}
