//! Decides the answer to `GET /s3/params`: what unmodified Uppy clients of v4, v5 and v6 ask Companion for.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Grant, Json, Problem, limits, object};
use percent_encoding::percent_decode_str;

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

/// The type of a file: what its uploader says, or, where a browser knows none, what its name stands for.
pub fn declared_type<'a>(said: &'a str, name: &str) -> &'a str {
    // Uppy writes an unset type as a word; curl names its own default.
    const NONE: &[&str] = &[
        "",
        "undefined",
        "null",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-www-form-urlencoded",
    ];
    if !NONE.contains(&said) {
        return said;
    }
    limits::type_of_name(name).unwrap_or(said)
}

/// A text of a query, form-encoded.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The form that S3 accepts, for a file of any allowed length, as Companion answers it; Uppy v6 ignores everything but
/// `url` and `fields`. (The length is not known here: Uppy does not tell it, so the range is what S3 enforces.)
pub fn answer_uppy(grant: &Grant, max_bytes: u64, config: &Config, now_ms: u64) -> Json {
    object! {
        "method" => "POST",
        "url" => config.location.bucket_url(),
        "fields" => &post_policy(grant, max_bytes, config, now_ms),
        "expires" => config.upload_expires_secs,
    }
}

/// The fields of that form.
pub fn post_policy(grant: &Grant, max_bytes: u64, config: &Config, now_ms: u64) -> BTreeMap<String, String> {
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
    let form = sign_policy(&policy, &config.location, &config.credentials, now_ms);
    form.fields.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::example;
    use crate::upload::tests::a_grant;

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
    fn a_type_that_a_browser_does_not_know_follows_from_the_name() {
        for none in ["", "undefined", "null", "application/octet-stream"] {
            assert_eq!(declared_type(none, "a.MKV"), "video/x-matroska", "{none}");
            assert_eq!(declared_type(none, "a.html"), none);
        }
        assert_eq!(declared_type("text/html", "a.mp4"), "text/html", "what is said is not made better");
    }

    #[test]
    fn answers_as_companion_does() {
        let config = example();
        let grant = a_grant();
        let answer = serde_json::to_value(answer_uppy(&grant, 9, &config, 1_700_000_000_000)).unwrap();
        assert_eq!(answer["method"], "POST");
        assert!(answer["url"].as_str().unwrap().ends_with('/'), "Uppy v6 appends the key as it is");
        assert_eq!(answer["fields"]["success_action_status"], "201");
        assert_eq!(answer["fields"]["x-amz-meta-name"], "a%20b.mp4");
        assert_eq!(answer["fields"]["key"], grant.key().to_string());
        assert_eq!(answer["fields"]["bucket"], config.location.bucket);
        assert_eq!(answer["expires"], 900);
    }
}
