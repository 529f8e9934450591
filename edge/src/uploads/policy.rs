//! Upload policies: the deployment's limits, restricted by an upload token. Pure.

use glimpse_contract::{ClientMetadata, Code, Problem, Visibility, limits};

use crate::auth::{Caller, Principal, UploadToken};
use crate::config::Config;

/// The limits of a caller's uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadPolicy {
    /// The maximum size of one video in bytes.
    pub max_bytes: u64,
    /// The media types; all of [`limits::UPLOAD_TYPES`] if `None`.
    pub types: Option<Vec<String>>,
    /// The visibility of the images.
    pub visibility: Visibility,
    /// The client metadata, which the manifest returns.
    pub client_metadata: ClientMetadata,
    /// Whether it is that of an upload token, whose bearer is not trusted: the token sets visibility and client
    /// metadata, and the limit of the size is enforced while parts are uploaded.
    pub is_for_token: bool,
}

/// The number of parts on one list page of S3.
const PARTS_PER_PAGE: u64 = 1_000;

impl UploadPolicy {
    /// The policy of every signed-in user.
    pub fn from_config(config: &Config) -> Self {
        Self {
            max_bytes: config.max_upload_bytes,
            types: None,
            visibility: config.visibility,
            client_metadata: ClientMetadata::default(),
            is_for_token: false,
        }
    }

    /// The policy of this caller.
    pub fn from_caller(caller: &Caller, config: &Config) -> Self {
        let deployment_policy = Self::from_config(config);
        match &caller.principal {
            Principal::User { .. } => deployment_policy,
            Principal::UploadToken(token) => deployment_policy.restrict(token),
        }
    }

    fn restrict(self, token: &UploadToken) -> Self {
        Self {
            max_bytes: self.max_bytes.min(token.max_bytes.unwrap_or(u64::MAX)),
            types: token.types.clone(),
            visibility: token.visibility.unwrap_or(self.visibility),
            client_metadata: token.client_metadata(),
            is_for_token: true,
        }
    }

    /// The most bytes of one signed request.
    pub fn max_single_bytes(&self) -> u64 {
        self.max_bytes.min(limits::MAX_SINGLE_UPLOAD_BYTES)
    }

    /// The most parts of one upload, by the minimum size of all parts but the last.
    pub fn max_parts(&self) -> u64 {
        self.max_bytes.div_ceil(limits::MIN_PART_BYTES).clamp(1, limits::MAX_PARTS)
    }

    /// Returns the length if it is allowed.
    pub fn check_size(&self, bytes: u64) -> Result<u64, Problem> {
        if bytes == 0 {
            return Err(Problem::new(Code::Empty));
        }
        if bytes > self.max_bytes {
            return Err(self.too_large_problem(&format!("has {bytes} bytes")));
        }
        Ok(bytes)
    }

    /// Checks the length of a part that a client declares (`size=`): S3 then accepts no other.
    ///
    /// # Errors
    /// An invalid length. Also a missing one, if one part may be as long as the whole file: nothing else would limit it.
    pub fn check_part_size(&self, size: Option<u64>) -> Result<Option<u64>, Problem> {
        let bad_parameter = |detail: &str| Err(Problem::with_detail(Code::BadParameter, detail));
        match size {
            None if self.is_for_token && self.max_parts() == 1 => bad_parameter(&format!(
                "Send files of at most {} bytes in one request, or declare the `size` of the part.",
                self.max_bytes
            )),
            Some(0) => bad_parameter("A part must have at least one byte."),
            Some(size) if size > self.max_single_bytes() => {
                Err(self.too_large_problem(&format!("has a part of {size} bytes")))
            }
            size => Ok(size),
        }
    }

    /// Whether the sum of the parts is checked before a part is signed: for a token, if one list page has all of them.
    pub fn checks_parts_before_signing(&self) -> bool {
        self.is_for_token && self.max_parts() <= PARTS_PER_PAGE
    }

    /// The problem for a file that is too large; `reason` completes "The file …".
    pub fn too_large_problem(&self, reason: &str) -> Problem {
        Problem::with_detail(
            Code::TooLarge,
            format!("The file {reason}; at most {} are allowed.", self.max_bytes),
        )
    }

    /// The type that an upload is signed with, from the declared type and the file's name. The allowed types apply to
    /// the signed type, by any of its names.
    ///
    /// # Errors
    /// `type_not_allowed`: a type that a browser would execute, or one that is not allowed.
    pub fn resolve_type(&self, declared: &str, name: &str) -> Result<&'static str, Problem> {
        let bare = limits::mime_essence(declared);
        let reject = |detail: String| Err(Problem::with_detail(Code::TypeNotAllowed, detail));
        if limits::is_active_type(&bare) {
            let printable: String =
                bare.chars().filter(|c| c.is_ascii_alphanumeric() || "/.+-".contains(*c)).take(64).collect();
            return reject(format!("Files of type {printable} are not accepted. Upload a video."));
        }
        let resolved = limits::resolve_type(&bare, name);
        match &self.types {
            Some(types) if !types.iter().any(|kind| limits::is_same_type(kind, resolved)) => {
                reject(format!("Only files of type {} are accepted.", types.join(", ")))
            }
            _ => Ok(resolved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example_config, example_config_with, example_token, example_token_holder};

    #[test]
    fn rejects_types_that_a_browser_runs() {
        let policy = UploadPolicy::from_config(&example_config());
        assert_eq!(policy.resolve_type("Video/WebM; codecs=\"vp9\"", "a"), Ok("video/webm"));
        for unknown in ["", "video/*", "video/mp4\r\nx: y", "undefined", "null"] {
            assert_eq!(policy.resolve_type(unknown, "a"), Ok("application/octet-stream"), "{unknown}");
        }
        for active in
            ["text/html", "IMAGE/SVG+XML; charset=utf-8", "application/xhtml+xml", "text/javascript"]
        {
            let problem = policy.resolve_type(active, "a.mp4").unwrap_err();
            assert_eq!(problem.code, Code::TypeNotAllowed, "{active}");
        }
    }

    #[test]
    fn type_limit_applies_to_resolved_type() {
        let mut policy = UploadPolicy::from_config(&example_config());
        policy.types = Some(vec!["video/mp4".into(), "video/x-msvideo".into()]);
        for (declared, name) in [
            ("video/mp4", "a"),
            ("", "a.mp4"),
            ("application/mp4", "a.mp4"),
            ("video/avi", "a"),
            ("video/vnd.avi", "a.avi"),
        ] {
            assert!(policy.resolve_type(declared, name).is_ok(), "{declared} {name}");
        }
        for (declared, name) in [("video/webm", "a.mp4"), ("", "a.webm"), ("", "a"), ("video/*", "a")] {
            let problem = policy.resolve_type(declared, name).unwrap_err();
            assert_eq!(problem.code, Code::TypeNotAllowed, "{declared} {name}");
            assert!(problem.detail.contains("video/mp4, video/x-msvideo"), "{}", problem.detail);
        }
    }

    #[test]
    fn token_only_narrows_limits() {
        let config = example_config_with(&[("MAX_UPLOAD_BYTES", "1000")]);
        let mut token = example_token();
        token.max_bytes = Some(5000);
        assert_eq!(UploadPolicy::from_config(&config).restrict(&token).max_bytes, 1000);
        token.max_bytes = Some(10);
        token.types = Some(vec!["video/mp4".into()]);
        token.visibility = Some(Visibility::Signed);
        let restricted = UploadPolicy::from_config(&config).restrict(&token);
        assert_eq!((restricted.max_bytes, restricted.visibility), (10, Visibility::Signed));
        assert_eq!(restricted.types, token.types);
    }

    #[test]
    fn parts_of_tokens_are_checked_before_signing() {
        let checks_parts = |max_bytes: &str, is_for_token| {
            let config = example_config_with(&[("MAX_UPLOAD_BYTES", max_bytes)]);
            let policy = UploadPolicy { is_for_token, ..UploadPolicy::from_config(&config) };
            policy.checks_parts_before_signing()
        };
        let one_page = (PARTS_PER_PAGE * limits::MIN_PART_BYTES).to_string();
        assert!(checks_parts(&one_page, true) && !checks_parts(&one_page, false));
        assert!(!checks_parts("5497558138880", true), "more than one list page");
        let policy = UploadPolicy::from_caller(&example_token_holder(), &example_config());
        assert!(policy.is_for_token);
    }

    #[test]
    fn default_visibility_comes_from_config() {
        let visibility_for = |word| {
            UploadPolicy::from_config(&example_config_with(&[("DEFAULT_VISIBILITY", word)])).visibility
        };
        assert_eq!(
            (visibility_for(""), visibility_for("public"), visibility_for("signed")),
            (Visibility::Public, Visibility::Public, Visibility::Signed)
        );
    }

    #[test]
    fn max_parts_follows_from_max_bytes() {
        let max_parts = |bytes: &str| {
            UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", bytes)])).max_parts()
        };
        assert_eq!((max_parts("1"), max_parts("5242880"), max_parts("5242881")), (1, 1, 2));
        assert_eq!(max_parts("5497558138880"), 10_000);
    }
}
