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

    /// The type that an upload is signed with, for what its uploader declares and what the file is called. A limit of
    /// types holds for the type that is signed, by whichever of its names.
    ///
    /// # Errors
    /// `type_not_allowed`: a type that a browser would run, or one that the limit leaves out.
    pub fn resolve_type(&self, declared: &str, name: &str) -> Result<&'static str, Problem> {
        let bare = limits::bare_type(declared);
        let refused = |detail: String| Err(Problem::because(Code::TypeNotAllowed, detail));
        if limits::is_active_type(&bare) {
            let shown: String =
                bare.chars().filter(|c| c.is_ascii_alphanumeric() || "/.+-".contains(*c)).take(64).collect();
            return refused(format!("Files of type {shown} are not accepted: upload a video."));
        }
        let resolved = limits::resolve_type(&bare, name);
        match &self.types {
            Some(types) if !types.iter().any(|kind| limits::is_same_type(kind, resolved)) => {
                refused(format!("Only files of type {} are accepted here.", types.join(", ")))
            }
            _ => Ok(resolved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::a_token;
    use crate::config::tests::{example, with};

    #[test]
    fn a_type_is_resolved_unless_a_browser_runs_it() {
        let all = Allowance::of_config(&example());
        assert_eq!(all.resolve_type("Video/WebM; codecs=\"vp9\"", "a"), Ok("video/webm"));
        for unknown in ["", "video/*", "video/mp4\r\nx: y", "undefined", "null"] {
            assert_eq!(all.resolve_type(unknown, "a"), Ok("application/octet-stream"), "{unknown}");
        }
        for active in
            ["text/html", "IMAGE/SVG+XML; charset=utf-8", "application/xhtml+xml", "text/javascript"]
        {
            let problem = all.resolve_type(active, "a.mp4").unwrap_err();
            assert_eq!(problem.code, Code::TypeNotAllowed, "{active}");
        }
    }

    #[test]
    fn a_limit_of_types_holds_for_the_resolved_type() {
        let mut limited = Allowance::of_config(&example());
        limited.types = Some(vec!["video/mp4".into(), "video/x-msvideo".into()]);
        for (declared, name) in [
            ("video/mp4", "a"),
            ("", "a.mp4"),
            ("application/mp4", "a.mp4"),
            ("video/avi", "a"),
            ("video/vnd.avi", "a.avi"),
        ] {
            assert!(limited.resolve_type(declared, name).is_ok(), "{declared} {name}");
        }
        for (declared, name) in [("video/webm", "a.mp4"), ("", "a.webm"), ("", "a"), ("video/*", "a")] {
            let problem = limited.resolve_type(declared, name).unwrap_err();
            assert_eq!(problem.code, Code::TypeNotAllowed, "{declared} {name}");
            assert!(problem.detail.contains("video/mp4, video/x-msvideo"), "{}", problem.detail);
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
        assert_eq!(narrow.types, token.types);
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
