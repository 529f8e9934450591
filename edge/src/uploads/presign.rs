//! Parses `POST /s3/presign`, the `signRequest` of Uppy v6: S3 requests that a client wants to have signed. Pure.

use glimpse_contract::{Code, InvalidMember, Json, Problem};

use crate::uploads::multipart::is_upload_id;

/// A request that a client wants to send to S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresignRequest {
    /// Upload a whole file under a new key.
    Put {
        /// The file's name.
        name: String,
        /// Its media type.
        content_type: String,
        /// Its length in bytes, if declared.
        size: Option<u64>,
    },
    /// Create a multipart upload under a new key.
    Create {
        /// The file's name.
        name: String,
        /// Its media type.
        content_type: String,
    },
    /// Upload a part.
    UploadPart {
        /// The key of the upload.
        key: String,
        /// The upload id.
        upload_id: String,
        /// The part number, not checked.
        number: String,
        /// Its length in bytes, if declared.
        size: Option<u64>,
    },
    /// List the parts.
    ListParts {
        /// The key of the upload.
        key: String,
        /// The upload id.
        upload_id: String,
    },
    /// Complete the upload.
    Complete {
        /// The key of the upload.
        key: String,
        /// The upload id.
        upload_id: String,
    },
    /// Abort the upload.
    Abort {
        /// The key of the upload.
        key: String,
        /// The upload id.
        upload_id: String,
    },
}

/// Parses the body of `POST /s3/presign`.
///
/// # Errors
/// A missing or invalid member, or a request that is not part of an upload.
pub fn parse_presign(body: &[u8]) -> Result<PresignRequest, Problem> {
    let bad = |detail: &str| Problem::with_detail(Code::BadParameter, detail);
    let json = Json::parse_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad("The body must be a JSON object with method and key."))?;
    let bad_member = |wrong: InvalidMember| bad(&format!("{wrong}."));
    let (method, key) =
        (json.get_str("method").map_err(bad_member)?, json.get_str("key").map_err(bad_member)?);
    let upload_id = json.get_opt_str("uploadId").map_err(bad_member)?;
    if upload_id.as_deref().is_some_and(|id| !is_upload_id(id)) {
        // Without an id, S3 would treat it as a request for the object itself.
        return Err(bad("`uploadId` must be an upload id of S3."));
    }
    let part_number = json.get_opt_u64("partNumber").map_err(bad_member)?;
    let content_type = json.get_opt_str("contentType").map_err(bad_member)?.unwrap_or_default();
    let size = json.get_opt_u64("size").map_err(bad_member)?;
    Ok(match (method.to_ascii_uppercase().as_str(), upload_id, part_number) {
        ("PUT", None, None) => PresignRequest::Put { name: name_of_key(&key).to_owned(), content_type, size },
        ("POST", None, None) => PresignRequest::Create { name: name_of_key(&key).to_owned(), content_type },
        ("PUT", Some(upload_id), Some(number)) => {
            PresignRequest::UploadPart { key, upload_id, number: number.to_string(), size }
        }
        ("GET", Some(upload_id), None) => PresignRequest::ListParts { key, upload_id },
        ("POST", Some(upload_id), None) => PresignRequest::Complete { key, upload_id },
        ("DELETE", Some(upload_id), None) => PresignRequest::Abort { key, upload_id },
        _ => return Err(bad("Only requests that upload a file can be signed.")),
    })
}

/// The file name in a key that Uppy generated: `{uuid}-{name}`.
pub fn name_of_key(key: &str) -> &str {
    const UUID_LEN: usize = 36;
    let is_uuid = |text: &str| {
        text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    match (key.get(..UUID_LEN), key.get(UUID_LEN..).and_then(|rest| rest.strip_prefix('-'))) {
        (Some(uuid), Some(name)) if is_uuid(uuid) && !name.is_empty() => name,
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff-Ski trip.mp4";

    #[test]
    fn parses_uppy_sign_requests() {
        let parse = |text: &str| parse_presign(text.replace("KEY", KEY).as_bytes());
        let (name, content_type) = ("Ski trip.mp4".to_owned(), "video/mp4".to_owned());
        assert_eq!(
            parse(r#"{"method":"PUT","key":"KEY","contentType":"video/mp4"}"#),
            Ok(PresignRequest::Put { name: name.clone(), content_type, size: None })
        );
        assert_eq!(
            parse(r#"{"method":"POST","key":"KEY"}"#),
            Ok(PresignRequest::Create { name, content_type: String::new() })
        );
        assert_eq!(
            parse(r#"{"method":"PUT","key":"k","uploadId":"u","partNumber":3,"expiresIn":900}"#),
            Ok(PresignRequest::UploadPart {
                key: "k".into(),
                upload_id: "u".into(),
                number: "3".into(),
                size: None
            })
        );
        for (method, more) in [
            ("GET", ""),
            ("DELETE", ""),
            ("HEAD", r#","uploadId":"u""#),
            ("PUT", r#","uploadId":"u""#),
            ("PUT", r#","partNumber":1"#),
            ("PUT", r#","uploadId":"","partNumber":1"#),
            ("GET", r#","uploadId":"""#),
            ("POST", r#","uploadId":"""#),
            ("DELETE", r#","uploadId":"""#),
            ("DELETE", r#","uploadId":" ""#),
            ("DELETE", r#","uploadId":"a\nb""#),
        ] {
            let body = format!(r#"{{"method":"{method}","key":"k"{more}}}"#);
            assert_eq!(parse(&body).unwrap_err().code, Code::BadParameter, "{body}");
        }
    }

    #[test]
    fn strips_uuid_prefix_from_name() {
        assert_eq!(name_of_key(KEY), "Ski trip.mp4");
        for whole in
            ["a.mp4", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "zzzzzzzz-8b86-d011-b42d-00cf4fc964ff-a", "é-ü"]
        {
            assert_eq!(name_of_key(whole), whole);
        }
    }
}
