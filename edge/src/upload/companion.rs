//! Decides the answer to `GET /s3/params`: what unmodified Uppy clients of v4, v5 and v6 ask Companion for.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Grant, Problem};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::config::Config;
use crate::sign::{PostPolicy, sign_policy};

/// What Uppy says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UppyQuery {
    /// The file's name.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
}

/// A POST form, as Companion answers it. Uppy v6 ignores everything but `url` and `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UppyAnswer {
    method: &'static str,
    url: String,
    fields: BTreeMap<String, String>,
    expires: u64,
}

/// Reads the query: form-encoded, `metadata[…]` allowed and not needed.
///
/// # Errors
/// A missing or empty name, or a name that comes twice.
pub fn parse_uppy(query: &str) -> Result<UppyQuery, Problem> {
    let mut filename = None;
    let mut content_type = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match decode(name).as_str() {
            "filename" => &mut filename,
            "type" => &mut content_type,
            _ => continue,
        };
        if slot.replace(decode(value)).is_some() {
            return Err(Problem::because(
                Code::BadParameter,
                format!("The parameter `{name}` is given twice."),
            ));
        }
    }
    let filename = filename.filter(|name| !name.is_empty()).ok_or_else(|| {
        Problem::because(Code::BadParameter, "The parameter `filename` is required and must not be empty.")
    })?;
    Ok(UppyQuery { filename, content_type: content_type.unwrap_or_default() })
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The form that S3 accepts once, for a file of any allowed length. (The length is not known here: Uppy does not
/// tell it, so the range is what S3 enforces.)
pub fn answer_uppy(grant: &Grant, config: &Config, now_ms: u64) -> UppyAnswer {
    let mut fields = vec![
        ("success_action_status".to_owned(), "201".to_owned()),
        ("content-type".to_owned(), grant.content_type.clone()),
    ];
    fields.extend(grant.metadata().into_iter().map(|(name, value)| (name.to_owned(), value)));
    let policy = PostPolicy {
        key: grant.key().to_string(),
        fields,
        length_range: (1, config.max_upload_bytes),
        expires_secs: config.upload_expires_secs,
    };
    let form = sign_policy(&policy, &config.location, &config.credentials, now_ms);
    UppyAnswer {
        method: "POST",
        url: config.location.bucket_url(),
        fields: form.fields.into_iter().collect(),
        expires: config.upload_expires_secs,
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::{Owner, VideoId};

    use super::*;
    use crate::config::tests::example;
    use crate::upload::grant;

    #[test]
    fn reads_what_uppy_sends() {
        let query = parse_uppy("filename=a+b%2Bc.mp4&type=video%2Fmp4&metadata%5Bname%5D=x&metadata[type]=y")
            .unwrap();
        assert_eq!(query, UppyQuery { filename: "a b+c.mp4".into(), content_type: "video/mp4".into() });
        for bad in ["", "type=video/mp4", "filename=", "filename=a&filename=b"] {
            assert_eq!(parse_uppy(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }

    #[test]
    fn answers_as_companion_does() {
        let config = example();
        let grant = grant(&Owner::of("i", "s"), VideoId::new(1, [0; 10]), "a b.mp4", "video/mp4").unwrap();
        let answer = serde_json::to_value(answer_uppy(&grant, &config, 1_700_000_000_000)).unwrap();
        assert_eq!(answer["method"], "POST");
        assert!(answer["url"].as_str().unwrap().ends_with('/'), "Uppy v6 appends the key as it is");
        assert_eq!(answer["fields"]["success_action_status"], "201");
        assert_eq!(answer["fields"]["x-amz-meta-name"], "a%20b.mp4");
        assert_eq!(answer["fields"]["key"], grant.key().to_string());
        assert_eq!(answer["fields"]["bucket"], config.location.bucket);
        assert_eq!(answer["expires"], 900);
    }
}
