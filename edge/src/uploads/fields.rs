//! Form fields that describe a video: their limits and parsing, and which callers may send them. Pure.

use glimpse_contract::{ClientMetadata, Code, Json, Problem, Visibility, limits};

use crate::config::Config;
use crate::uploads::UploadPolicy;

/// The fields that were sent with a video.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadFields {
    /// The visibility of the images, if it was sent.
    pub visibility: Option<Visibility>,
    /// The client metadata, which the manifest returns.
    pub client_metadata: ClientMetadata,
}

impl UploadFields {
    /// Checks the length of a form field.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_length(name: &str, bytes: usize) -> Result<(), Problem> {
        if bytes <= limits::MAX_METADATA_BYTES {
            return Ok(());
        }
        Err(invalid_field(format!("The field `{}` is too long.", sanitize_for_message(name))))
    }

    /// Checks that the form may have a field of this name.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_name(name: &str) -> Result<(), Problem> {
        Err(invalid_field(match name {
            "external_id" | "metadata" | "visibility" => return Ok(()),
            "" => "A part of the form has no name.".to_owned(),
            "file" => "The field `file` has no file name.".to_owned(),
            _ => format!("Unknown field `{}`.", sanitize_for_message(name)),
        }))
    }

    /// Parses a form field.
    ///
    /// # Errors
    /// An unknown field or an invalid value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "external_id" => self.client_metadata.external_id = Some(value.to_owned()),
            "metadata" => {
                let texts = Json::parse_lenient(value.as_bytes()).and_then(|json| json.as_str_map());
                self.client_metadata.metadata = texts.ok_or_else(|| {
                    invalid_field("The field `metadata` must be a JSON object of strings.".to_owned())
                })?;
            }
            "visibility" => {
                let visibility = value.parse();
                self.visibility = Some(
                    visibility.map_err(|error| invalid_field(format!("The field `visibility` {error}.")))?,
                );
            }
            _ => {
                return Err(invalid_field(format!("Unknown field `{}`.", sanitize_for_message(name))));
            }
        }
        Ok(())
    }

    /// The upload policy with these fields.
    ///
    /// # Errors
    /// `bad_parameter` for the policy of an upload token: the token contains these fields.
    pub fn apply(&self, mut policy: UploadPolicy) -> Result<UploadPolicy, Problem> {
        if *self == Self::default() {
            return Ok(policy);
        }
        if policy.is_for_token {
            let detail =
                "With an upload token, `visibility`, `external_id` and `metadata` are set by the token.";
            return Err(invalid_field(detail.to_owned()));
        }
        self.client_metadata.check().map_err(|why| invalid_field(format!("{why}.")))?;
        policy.visibility = self.visibility.unwrap_or(policy.visibility);
        let trace_id = policy.client_metadata.trace_id;
        policy.client_metadata = ClientMetadata { trace_id, ..self.client_metadata.clone() };
        Ok(policy)
    }
}

/// The problem for a request that is too large for this Worker.
pub fn body_too_large(config: &Config) -> Problem {
    let detail = format!(
        "This endpoint accepts at most {} bytes. For larger files, request a presigned upload with POST /api/videos and \
         JSON, and upload directly to the storage.",
        config.max_body_bytes
    );
    Problem::with_detail(Code::TooLarge, detail)
}

fn invalid_field(detail: String) -> Problem {
    Problem::with_detail(Code::BadParameter, detail)
}

/// The part of a name that is safe to repeat in a message.
pub(crate) fn sanitize_for_message(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example_config, example_token_holder};

    #[test]
    fn validates_and_stores_fields() {
        let mut fields = UploadFields::default();
        fields.set("external_id", "order 7").unwrap();
        fields.set("metadata", r#"{"a":"b"}"#).unwrap();
        fields.set("visibility", "signed").unwrap();
        let policy = UploadPolicy::from_config(&example_config());
        let token_policy = UploadPolicy::from_caller(&example_token_holder(), &example_config());
        let applied = fields.apply(policy.clone()).unwrap();
        assert_eq!(applied.visibility, Visibility::Signed);
        assert_eq!(applied.client_metadata.external_id.as_deref(), Some("order 7"));
        assert!(fields.apply(token_policy.clone()).is_err(), "the token sets these fields");
        assert!(UploadFields::default().apply(token_policy).is_ok());
        for (name, value) in
            [("metadata", "[]"), ("metadata", r#"{"a":1}"#), ("visibility", "x"), ("size", "5")]
        {
            assert_eq!(fields.set(name, value).unwrap_err().code, Code::BadParameter, "{name}={value}");
        }
        fields.set("external_id", &"x".repeat(200)).unwrap();
        assert!(fields.apply(policy).is_err());
    }
}
