//! Decides what may be said about a video beside the file itself, and by whom. Pure.

use glimpse_contract::{ClientMetadata, Code, Json, Problem, Visibility, limits};

use crate::auth::Caller;
use crate::config::Config;
use crate::uploads::UploadPolicy;

/// What somebody said about a video.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadFields {
    /// Who may see the pictures, if it was said.
    pub visibility: Option<Visibility>,
    /// What comes back in the manifest.
    pub client_metadata: ClientMetadata,
}

impl UploadFields {
    /// Whether a field of a form may be so long.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_length(name: &str, bytes: usize) -> Result<(), Problem> {
        if bytes <= limits::MAX_METADATA_BYTES {
            return Ok(());
        }
        Err(invalid_field(format!("The field `{}` is too long.", sanitize_for_message(name))))
    }

    /// Whether a form may have a field of that name beside its file.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_name(name: &str) -> Result<(), Problem> {
        Err(invalid_field(match name {
            "external_id" | "metadata" | "visibility" => return Ok(()),
            "" => "A part of the form has no name.".to_owned(),
            "file" => "The field `file` has no file name: send the file with its name.".to_owned(),
            _ => format!("The field `{}` is not known here.", sanitize_for_message(name)),
        }))
    }

    /// Takes a field of a form.
    ///
    /// # Errors
    /// A field that is not known, or a value that it cannot have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "external_id" => self.client_metadata.external_id = Some(value.to_owned()),
            "metadata" => {
                let texts = Json::parse_lenient(value.as_bytes()).and_then(|json| json.as_str_map());
                self.client_metadata.metadata = texts.ok_or_else(|| {
                    invalid_field("The field `metadata` must be a JSON object of texts.".to_owned())
                })?;
            }
            "visibility" => {
                self.visibility = Some(match value {
                    "public" => Visibility::Public,
                    "signed" => Visibility::Signed,
                    _ => {
                        return Err(invalid_field(
                            "The field `visibility` must be public or signed.".to_owned(),
                        ));
                    }
                });
            }
            _ => {
                return Err(invalid_field(format!(
                    "The field `{}` is not known here.",
                    sanitize_for_message(name)
                )));
            }
        }
        Ok(())
    }

    /// What may be uploaded, with this said about it.
    ///
    /// # Errors
    /// Somebody who holds no more than an upload token: then the token has said it.
    pub fn apply(&self, mut policy: UploadPolicy, caller: &Caller) -> Result<UploadPolicy, Problem> {
        if *self == Self::default() {
            return Ok(policy);
        }
        if caller.token.is_some() {
            let detail = "`visibility`, `external_id` and `metadata` are the upload token's to say.";
            return Err(invalid_field(detail.to_owned()));
        }
        self.client_metadata.check().map_err(|why| invalid_field(format!("{why}.")))?;
        policy.visibility = self.visibility.unwrap_or(policy.visibility);
        let trace_id = policy.client_metadata.trace_id;
        policy.client_metadata = ClientMetadata { trace_id, ..self.client_metadata.clone() };
        Ok(policy)
    }
}

/// A request that is too large to come through this Worker.
pub fn body_too_large(config: &Config) -> Problem {
    let detail = format!(
        "At most {} bytes come through here in one call: for a larger file ask for a signed upload, by POST /api/videos \
         with JSON, and send it straight to the storage.",
        config.max_body_bytes
    );
    Problem::with_detail(Code::TooLarge, detail)
}

fn invalid_field(detail: String) -> Problem {
    Problem::with_detail(Code::BadParameter, detail)
}

/// As much of a name as is safe to repeat.
pub(crate) fn sanitize_for_message(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Owner;

    use super::*;
    use crate::auth::example_token;
    use crate::config::tests::example;

    fn caller(with_token: bool) -> Caller {
        Caller {
            owner: Owner::new("i", "s"),
            issuer: "i".into(),
            subject: "s".into(),
            name: None,
            email: None,
            expires_at: u64::MAX,
            token: with_token.then(example_token),
        }
    }

    #[test]
    fn validates_and_stores_fields() {
        let mut fields = UploadFields::default();
        fields.set("external_id", "order 7").unwrap();
        fields.set("metadata", r#"{"a":"b"}"#).unwrap();
        fields.set("visibility", "signed").unwrap();
        let policy = UploadPolicy::from_config(&example());
        let applied = fields.apply(policy.clone(), &caller(false)).unwrap();
        assert_eq!(applied.visibility, Visibility::Signed);
        assert_eq!(applied.client_metadata.external_id.as_deref(), Some("order 7"));
        assert!(fields.apply(policy.clone(), &caller(true)).is_err(), "a token has said it");
        assert!(UploadFields::default().apply(policy.clone(), &caller(true)).is_ok());
        for (name, value) in
            [("metadata", "[]"), ("metadata", r#"{"a":1}"#), ("visibility", "x"), ("size", "5")]
        {
            assert_eq!(fields.set(name, value).unwrap_err().code, Code::BadParameter, "{name}={value}");
        }
        fields.set("external_id", &"x".repeat(200)).unwrap();
        assert!(fields.apply(policy, &caller(false)).is_err());
    }
}
