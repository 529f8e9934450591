//! Decides how much of what somebody may upload: the deployment's limits, narrowed by an upload token. Pure.

use glimpse_contract::{Code, Passthrough, Problem, Visibility, limits};

use crate::auth::{Caller, UploadToken};
use crate::config::Config;

/// What somebody may upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The most bytes of one video.
    pub max_bytes: u64,
    /// The media types; all of [`limits::UPLOAD_TYPES`] if `None`.
    pub types: Option<Vec<String>>,
    /// Who may see the pictures.
    pub visibility: Visibility,
    /// What comes back in the manifest.
    pub passthrough: Passthrough,
}

impl Allowance {
    /// What the deployment lets everybody do who is signed in.
    pub fn of_config(config: &Config) -> Self {
        Self {
            max_bytes: config.max_upload_bytes,
            types: None,
            visibility: config.visibility,
            passthrough: Passthrough::default(),
        }
    }

    /// What this caller may do.
    pub fn of(caller: &Caller, config: &Config) -> Self {
        let whole = Self::of_config(config);
        caller.token.as_ref().map_or(whole.clone(), |token| whole.narrowed(token))
    }

    fn narrowed(self, token: &UploadToken) -> Self {
        Self {
            max_bytes: self.max_bytes.min(token.max_bytes.unwrap_or(u64::MAX)),
            types: token.types.clone(),
            visibility: token.visibility.unwrap_or(self.visibility),
            passthrough: token.passthrough(),
        }
    }

    /// The most bytes that one signed request may carry.
    pub fn max_single_bytes(&self) -> u64 {
        self.max_bytes.min(limits::MAX_SINGLE_UPLOAD_BYTES)
    }

    /// The most parts of one upload: none but the last is smaller than S3 lets it be.
    pub fn max_parts(&self) -> u64 {
        self.max_bytes.div_ceil(limits::MIN_PART_BYTES).clamp(1, limits::MAX_PARTS)
    }

    /// The length, if it is allowed.
    pub fn checked_size(&self, bytes: u64) -> Result<u64, Problem> {
        if bytes == 0 {
            return Err(Problem::new(Code::Empty));
        }
        if bytes > self.max_bytes {
            return Err(self.too_large(&format!("has {bytes} bytes")));
        }
        Ok(bytes)
    }

    /// The problem of a file that `is` too large.
    pub fn too_large(&self, is: &str) -> Problem {
        Problem::because(Code::TooLarge, format!("The file {is}; at most {} are allowed.", self.max_bytes))
    }

    /// The type of a file about which nothing is said: a video all the same. What it is, its bytes tell the backend.
    pub fn usual_type(&self) -> String {
        let first = self.types.as_ref().and_then(|types| types.first());
        first.map_or_else(|| "video/mp4".to_owned(), Clone::clone)
    }

    /// The type without its parameters (`video/webm;codecs=vp9`), in lower case, if it is one that may be uploaded.
    pub fn checked_type(&self, content_type: &str) -> Result<String, Problem> {
        let bare = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_known = limits::UPLOAD_TYPES.binary_search(&bare.as_str()).is_ok();
        let is_allowed = self.types.as_ref().is_none_or(|types| types.contains(&bare));
        if is_known && is_allowed {
            return Ok(bare);
        }
        let shown: String =
            bare.chars().filter(|c| c.is_ascii_alphanumeric() || "/.+-".contains(*c)).take(64).collect();
        let detail = match &self.types {
            Some(types) if is_known => format!("Only files of type {} are accepted here.", types.join(", ")),
            _ if shown.is_empty() => "The file's type is missing: upload a video.".to_owned(),
            _ => format!("Files of type {shown} are not accepted: upload a video."),
        };
        Err(Problem::because(Code::TypeNotAllowed, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::a_token;
    use crate::config::tests::{example, with};

    #[test]
    fn types_are_checked() {
        let all = Allowance::of_config(&example());
        assert_eq!(all.checked_type("Video/WebM; codecs=\"vp9\"").unwrap(), "video/webm");
        for bad in ["", "text/html", "image/svg+xml", "video/*", "video/mp4\r\nx: y", "undefined", "null"] {
            assert_eq!(all.checked_type(bad).unwrap_err().code, Code::TypeNotAllowed, "{bad}");
        }
    }

    #[test]
    fn a_token_narrows_and_never_widens() {
        let config = with(&[("MAX_UPLOAD_BYTES", "1000")]);
        let mut token = a_token();
        token.max_bytes = Some(5000);
        assert_eq!(Allowance::of_config(&config).narrowed(&token).max_bytes, 1000);
        token.max_bytes = Some(10);
        token.types = Some(vec!["video/mp4".into()]);
        token.visibility = Some(Visibility::Signed);
        let narrow = Allowance::of_config(&config).narrowed(&token);
        assert_eq!((narrow.max_bytes, narrow.visibility), (10, Visibility::Signed));
        assert!(narrow.checked_type("video/mp4").is_ok());
        assert_eq!(narrow.usual_type(), "video/mp4");
        assert!(narrow.checked_type("video/webm").unwrap_err().detail.contains("video/mp4"));
        assert!(narrow.checked_type("text/html").is_err());
    }

    #[test]
    fn a_deployment_says_who_sees_what_nobody_spoke_about() {
        let of = |word| Allowance::of_config(&with(&[("DEFAULT_VISIBILITY", word)])).visibility;
        assert_eq!(
            (of(""), of("public"), of("signed")),
            (Visibility::Public, Visibility::Public, Visibility::Signed)
        );
    }

    #[test]
    fn parts_are_as_many_as_the_largest_file_can_have() {
        let parts = |bytes: &str| Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", bytes)])).max_parts();
        assert_eq!((parts("1"), parts("5242880"), parts("5242881")), (1, 1, 2));
        assert_eq!(parts("5497558138880"), 10_000);
    }
}
