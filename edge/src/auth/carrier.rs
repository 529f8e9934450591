//! The places of a request in which credentials come, in the order in which they are looked for. Pure.
//!
//! To add one, add a [`Carrier`]: the compiler names the places that have to know it (a variant that is missing in
//! [`Carrier::ALL`] is never constructed), and the test below the texts that have to list it.

/// A place of a request in which a credential comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// `/u/{token}/…`: an upload token.
    Path,
    /// `Authorization: Bearer`: a JWT of the deployment's issuer.
    Authorization,
    /// `Cookie`: a session of a user who signed in.
    Cookie,
    /// `?token=` or `?expires=&kid=&sig=`: a permission to view an image.
    Query,
}

/// The headers with credentials, as `Vary` lists them.
pub(crate) const VARY: &str = "Cookie, Authorization";
/// The headers with credentials that a script may set, as CORS lists them.
pub(crate) const SCRIPT_HEADERS: &str = "authorization";
/// The parameters of a URL with a credential.
pub(crate) const QUERY_PARAMETERS: [&str; 4] = ["token", "expires", "kid", "sig"];

/// A credential of a caller of the API, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// An upload token.
    UploadToken(&'a str),
    /// The value of `Authorization`.
    Authorization(String),
    /// The value of `Cookie`.
    Cookie(String),
}

impl Carrier {
    /// All carriers; those of callers of the API first, in their order of precedence.
    pub(crate) const ALL: [Self; 4] = [Self::Path, Self::Authorization, Self::Cookie, Self::Query];

    /// The header, in lower case; `None` for a part of the URL.
    pub(crate) const fn header(self) -> Option<&'static str> {
        match self {
            Self::Authorization => Some("authorization"),
            Self::Cookie => Some("cookie"),
            Self::Path | Self::Query => None,
        }
    }

    /// The credential of a caller that comes in this place.
    fn credential(
        self,
        path_token: Option<&str>,
        header: impl Fn(&str) -> Option<String>,
    ) -> Option<Credential<'_>> {
        let value = self.header().and_then(header);
        match self {
            Self::Path => path_token.map(Credential::UploadToken),
            Self::Authorization => value.map(Credential::Authorization),
            Self::Cookie => value.map(Credential::Cookie),
            // It belongs to an image, not to a caller: `delivery::signed_url` parses it.
            Self::Query => None,
        }
    }
}

/// The credential of a caller: the first of all carriers.
pub(crate) fn find_credential(
    path_token: Option<&str>,
    header: impl Fn(&str) -> Option<String>,
) -> Option<Credential<'_>> {
    Carrier::ALL.into_iter().find_map(|carrier| carrier.credential(path_token, &header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_every_carrier() {
        let mut headers: Vec<_> = Carrier::ALL.into_iter().filter_map(Carrier::header).collect();
        let mut vary: Vec<_> = VARY.split(", ").map(str::to_ascii_lowercase).collect();
        headers.sort_unstable();
        vary.sort_unstable();
        assert_eq!(vary, headers);
        // A browser sends cookies by itself, and lets no script set them.
        headers.retain(|header| *header != "cookie");
        assert_eq!(SCRIPT_HEADERS.split(", ").collect::<Vec<_>>(), headers);
    }

    #[test]
    fn first_carrier_takes_precedence() {
        let find = |path_token, names: &[&str]| {
            let header = |name: &str| names.contains(&name).then(|| format!("{name} value"));
            find_credential(path_token, header)
        };
        let both = ["cookie", "authorization"];
        assert_eq!(find(Some("t"), &both), Some(Credential::UploadToken("t")));
        assert_eq!(find(None, &both), Some(Credential::Authorization("authorization value".into())));
        assert_eq!(find(None, &["cookie"]), Some(Credential::Cookie("cookie value".into())));
        assert_eq!(find(None, &["accept"]), None);
    }
}
