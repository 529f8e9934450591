//! Decides what may be said about a video beside the file itself, and by whom. Pure.

use glimpse_contract::{Code, Json, Passthrough, Problem, Visibility, limits};

use crate::auth::Caller;
use crate::config::Config;
use crate::uploads::Allowance;

/// What somebody said about a video.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Who may see the pictures, if it was said.
    pub visibility: Option<Visibility>,
    /// What comes back in the manifest.
    pub passthrough: Passthrough,
}

impl Fields {
    /// Whether a field of a form may be so long.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_length(name: &str, bytes: usize) -> Result<(), Problem> {
        if bytes <= limits::MAX_METADATA_BYTES {
            return Ok(());
        }
        Err(bad(format!("The field `{}` is too long.", shown(name))))
    }

    /// Whether a form may have a field of that name beside its file.
    ///
    /// # Errors
    /// `bad_parameter`
    pub fn check_name(name: &str) -> Result<(), Problem> {
        Err(bad(match name {
            "external_id" | "metadata" | "visibility" => return Ok(()),
            "" => "A part of the form has no name.".to_owned(),
            "file" => "The field `file` has no file name: send the file with its name.".to_owned(),
            _ => format!("The field `{}` is not known here.", shown(name)),
        }))
    }

    /// Takes a field of a form.
    ///
    /// # Errors
    /// A field that is not known, or a value that it cannot have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "external_id" => self.passthrough.external_id = Some(value.to_owned()),
            "metadata" => {
                let texts = Json::read_lenient(value.as_bytes()).and_then(|json| json.text_map());
                self.passthrough.metadata = texts
                    .ok_or_else(|| bad("The field `metadata` must be a JSON object of texts.".to_owned()))?;
            }
            "visibility" => {
                self.visibility = Some(match value {
                    "public" => Visibility::Public,
                    "signed" => Visibility::Signed,
                    _ => return Err(bad("The field `visibility` must be public or signed.".to_owned())),
                });
            }
            _ => return Err(bad(format!("The field `{}` is not known here.", shown(name)))),
        }
        Ok(())
    }

    /// What may be uploaded, with this said about it.
    ///
    /// # Errors
    /// Somebody who holds no more than an upload token: then the token has said it.
    pub fn apply(&self, mut allowance: Allowance, caller: &Caller) -> Result<Allowance, Problem> {
        if *self == Self::default() {
            return Ok(allowance);
        }
        if caller.token.is_some() {
            let detail = "`visibility`, `external_id` and `metadata` are the upload token's to say.";
            return Err(bad(detail.to_owned()));
        }
        self.passthrough.check().map_err(|why| bad(format!("{why}.")))?;
        allowance.visibility = self.visibility.unwrap_or(allowance.visibility);
        let trace_id = allowance.passthrough.trace_id;
        allowance.passthrough = Passthrough { trace_id, ..self.passthrough.clone() };
        Ok(allowance)
    }
}

/// A request that is too large to come through this Worker.
pub fn body_too_large(config: &Config) -> Problem {
    let detail = format!(
        "At most {} bytes come through here in one call: for a larger file ask for a signed upload, by POST /api/videos \
         with JSON, and send it straight to the storage.",
        config.max_body_bytes
    );
    Problem::because(Code::TooLarge, detail)
}

fn bad(detail: String) -> Problem {
    Problem::because(Code::BadParameter, detail)
}

/// As much of a name as is safe to repeat.
pub(crate) fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Owner;

    use super::*;
    use crate::auth::a_token;
    use crate::config::tests::example;

    fn caller(with_token: bool) -> Caller {
        Caller {
            owner: Owner::of("i", "s"),
            issuer: "i".into(),
            subject: "s".into(),
            name: None,
            email: None,
            expires_at: u64::MAX,
            token: with_token.then(a_token),
        }
    }

    #[test]
    fn what_is_said_is_kept_and_checked() {
        let mut fields = Fields::default();
        fields.set("external_id", "order 7").unwrap();
        fields.set("metadata", r#"{"a":"b"}"#).unwrap();
        fields.set("visibility", "signed").unwrap();
        let whole = Allowance::of_config(&example());
        let allowance = fields.apply(whole.clone(), &caller(false)).unwrap();
        assert_eq!(allowance.visibility, Visibility::Signed);
        assert_eq!(allowance.passthrough.external_id.as_deref(), Some("order 7"));
        assert!(fields.apply(whole.clone(), &caller(true)).is_err(), "a token has said it");
        assert!(Fields::default().apply(whole.clone(), &caller(true)).is_ok());
        for (name, value) in
            [("metadata", "[]"), ("metadata", r#"{"a":1}"#), ("visibility", "x"), ("size", "5")]
        {
            assert_eq!(fields.set(name, value).unwrap_err().code, Code::BadParameter, "{name}={value}");
        }
        fields.set("external_id", &"x".repeat(200)).unwrap();
        assert!(fields.apply(whole, &caller(false)).is_err());
    }
}
