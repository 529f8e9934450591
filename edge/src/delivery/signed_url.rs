//! Credentials in the URL of an image: parsing, verification, and the cache lifetime of the response. Pure.

use glimpse_contract::{Code, Problem, VariantKind, VariantRequest, VideoId};

use crate::auth::carrier::QUERY_PARAMETERS;
use crate::auth::{DeliveryKeys, DeliveryToken, TokenError, TokenScope, UrlSignature};
use crate::delivery::storyboard_files::{set_sheet_query, sheet_url};
use crate::http::query::Query;

/// The credential of a URL, parsed but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlCredential<'a> {
    /// No credential.
    Absent,
    /// `token=`: a JWT, and the parameters that are allowed beside it.
    Token(&'a str, String),
    /// `expires=&kid=&sig=`, and the parameters of the image.
    Signature([&'a str; 3], String),
}

/// A credential whose signature or token was checked, before it is matched against the requested image.
#[derive(Debug, Clone, Default)]
pub enum DeliveryCredential {
    /// No credential.
    #[default]
    Absent,
    /// A JWT with a valid signature and valid times.
    Token(DeliveryToken, String),
    /// A signature that is still to be verified against the URL of the image.
    Signature(UrlSignature, String),
}

/// Why the viewer may see a private image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewerAccess {
    /// The viewer is the owner, signed in.
    Owner,
    /// The viewer has a token.
    Token {
        /// Expiry, in Unix seconds.
        expires_at_secs: u64,
        /// The query with the credential of the sheet of the same storyboard.
        sheet_query: String,
    },
}

/// The problem for a rejected token. It contains the reason only if the signature was valid; otherwise it is always the
/// same, so that there is no oracle.
pub fn token_problem(error: TokenError) -> Problem {
    let reason = match error {
        TokenError::Expired => "it has expired.",
        TokenError::NotYetValid => "it is not valid yet.",
        TokenError::LifetimeTooLong => "it is valid for too long, at most 366 days are allowed.",
        TokenError::WrongVideo => "it is for another video.",
        TokenError::WrongKind => "it is for another kind of file: see its `aud`.",
        TokenError::Malformed
        | TokenError::NoKey
        | TokenError::Signature
        | TokenError::WrongIssuerOrAudience => {
            return Problem::new(Code::TokenRefused);
        }
    };
    Problem::with_detail(Code::TokenRefused, ["The token of this link was rejected: ", reason].concat())
}

/// Why a credential is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialError {
    /// The token is rejected.
    Token(TokenError),
    /// The request is invalid whatever the token contains.
    Request(Problem),
}

impl From<TokenError> for CredentialError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Extracts the credential from a query.
///
/// # Errors
/// A duplicate or incomplete credential, or a JWT beside parameters: those belong into its claims, as at Mux. Mux's
/// players send `format` beside it, which selects the sheet format of a storyboard's table and gives no further access.
pub fn parse_credential(query: &str) -> Result<UrlCredential<'_>, Problem> {
    let bad = |detail: &str| Problem::with_detail(Code::BadParameter, detail);
    let mut values = [None; QUERY_PARAMETERS.len()];
    let mut parameters = String::new();
    for pair in Query(query).pairs() {
        match QUERY_PARAMETERS.iter().position(|known| *known == pair.name) {
            Some(place) if values[place].is_some() => {
                return Err(bad(&format!("Duplicate parameter `{}`.", pair.name)));
            }
            Some(place) => values[place] = Some(pair.value_or_empty()),
            None => {
                let separator = if parameters.is_empty() { "" } else { "&" };
                parameters.extend([separator, pair.text]);
            }
        }
    }
    match values {
        [None, None, None, None] => Ok(UrlCredential::Absent),
        [Some(token), None, None, None]
            if Query(&parameters).pairs().all(|pair| pair.name == "format" && pair.value.is_some()) =>
        {
            Ok(UrlCredential::Token(token, parameters))
        }
        [Some(_), ..] => {
            Err(bad("The parameter `token` must be the only one: image parameters are claims of the token."))
        }
        [None, Some(expires), Some(key_id), Some(signature)] => {
            Ok(UrlCredential::Signature([expires, key_id, signature], parameters))
        }
        _ => Err(bad("The parameters `expires`, `kid` and `sig` must be sent together.")),
    }
}

/// The canonical path and query of an image, which the short form signs. They do not include the revision: it does not
/// change the image.
pub fn signed_path(wanted: &VariantRequest) -> String {
    VariantRequest { revision: None, ..wanted.clone() }.canonical()
}

/// The scope that a token needs for this kind of image.
pub fn required_scope(kind: VariantKind) -> TokenScope {
    match kind {
        VariantKind::Thumbnail => TokenScope::Thumbnail,
        VariantKind::Animation => TokenScope::Animation,
        VariantKind::Storyboard => TokenScope::Storyboard,
        VariantKind::Clip => TokenScope::Clip,
    }
}

impl DeliveryCredential {
    /// The query with the parameters of the image, if it is not that of the URL.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Token(token, _) => Some(&token.query),
            Self::Signature(_, parameters) => Some(parameters),
        }
    }

    /// Checks that the credential gives access to the source.
    ///
    /// # Errors
    /// A rejected token, or parameters beside it.
    pub fn check_original(
        &self,
        video: VideoId,
        keys: &DeliveryKeys,
        now_ms: u64,
    ) -> Result<(), CredentialError> {
        if self.query().is_some_and(|query| !query.is_empty()) {
            let problem = Problem::with_detail(Code::BadParameter, "The original takes no parameters.");
            return Err(CredentialError::Request(problem));
        }
        match self {
            Self::Token(token, _) => token.check_scope(video, TokenScope::Original)?,
            Self::Signature(signature, _) => {
                keys.verify_url(signature, &format!("/{video}/original"), now_ms)?;
            }
            Self::Absent => return Err(TokenError::WrongIssuerOrAudience.into()),
        }
        Ok(())
    }

    /// The access that the credential gives to this image; `None` without a credential.
    ///
    /// # Errors
    /// A credential that is for another resource, invalid or expired.
    pub fn authorize(
        &self,
        wanted: &VariantRequest,
        keys: &DeliveryKeys,
        now_ms: u64,
    ) -> Result<Option<ViewerAccess>, TokenError> {
        Ok(match self {
            Self::Absent => None,
            Self::Token(token, text) => {
                token.check_scope(wanted.video, required_scope(wanted.variant.kind()))?;
                Some(ViewerAccess::Token {
                    expires_at_secs: token.expires_at_secs,
                    sheet_query: format!("token={text}"),
                })
            }
            Self::Signature(signature, _) => {
                keys.verify_url(signature, &signed_path(wanted), now_ms)?;
                let is_table = wanted.variant.format().is_table();
                let sheet = is_table.then(|| format!("/{}/{}", wanted.video, sheet_url(wanted)));
                let link = sheet.and_then(|sheet| keys.sign_url_like(signature, &sheet)).unwrap_or_default();
                let sheet_query = link.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
                Some(ViewerAccess::Token { expires_at_secs: signature.expires_at_secs, sheet_query })
            }
        })
    }
}

impl ViewerAccess {
    /// The value of `Cache-Control`: never longer than the token's lifetime, and not for shared caches. An owner's
    /// browser revalidates every time, since the browser may be shared.
    pub fn cache_control(&self, public: &str, now_ms: u64) -> String {
        let Self::Token { expires_at_secs, .. } = self else { return "private, no-cache".to_owned() };
        let ttl = public.split_once("max-age=").map_or("", |(_, rest)| rest);
        let ttl = ttl.split(',').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        format!("private, max-age={}", expires_at_secs.saturating_sub(now_ms / 1000).min(ttl))
    }

    /// Whether the image is a table whose sheet needs the same token.
    pub fn has_signed_sheet(&self, wanted: &VariantRequest) -> bool {
        matches!(self, Self::Token { .. }) && wanted.variant.format().is_table()
    }

    /// The table, with the token in the URL of the sheet: a relative URL would lose it.
    pub fn sign_sheet_url(&self, wanted: &VariantRequest, table: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Token { sheet_query, .. } => set_sheet_query(wanted, table, sheet_query),
            Self::Owner => table,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn keys() -> DeliveryKeys {
        DeliveryKeys { secrets: vec![("a".into(), Secret::new(vec![7; 32]))], public: Vec::new() }
    }

    fn wanted(file: &str, query: &str) -> VariantRequest {
        let path = format!("/{}/{file}", VideoId::new(1, [1; 10]));
        VariantRequest::parse(&path, Some(query)).unwrap().unwrap()
    }

    fn signature_credential(query: &str) -> DeliveryCredential {
        let UrlCredential::Signature([expires, key_id, signature], rest) = parse_credential(query).unwrap()
        else {
            panic!("{query} has no short signature")
        };
        DeliveryCredential::Signature(UrlSignature::parse(expires, key_id, signature).unwrap(), rest)
    }

    #[test]
    fn parses_credential_from_query() {
        assert_eq!(parse_credential("time=1&width=2"), Ok(UrlCredential::Absent));
        assert_eq!(parse_credential("token=a.b.c"), Ok(UrlCredential::Token("a.b.c", String::new())));
        for query in ["token=a.b.c&format=webp", "format=webp&token=a.b.c"] {
            assert_eq!(
                parse_credential(query),
                Ok(UrlCredential::Token("a.b.c", "format=webp".to_owned())),
                "{query}"
            );
        }
        let short = UrlCredential::Signature(["5", "k", "s"], "time=1&v=2".to_owned());
        assert_eq!(parse_credential("time=1&expires=5&kid=k&sig=s&v=2"), Ok(short.clone()));
        assert_eq!(parse_credential("sig=s&time=1&kid=k&v=2&expires=5"), Ok(short));
        for bad in [
            "token=a&token=a",
            "token=a&time=1",
            "token=a&v=01234567",
            "token=a&format=webp&width=9",
            "token=a&formats=webp",
            "token=a&sig=s",
            "expires=5",
            "expires=5&kid=k",
            "expires=5&kid=k&sig=s&sig=s",
        ] {
            assert_eq!(parse_credential(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }

    /// The URLs that mux-player 3.14, Vidstack 1.12 and @mux/blurup build, with another host and id. A token has no
    /// parameters of its own here.
    #[test]
    fn parses_urls_of_players() {
        for (file, query, canonical) in [
            // mux-player with `custom-domain`, with `thumbnail-time`, and with tokens.
            ("thumbnail.webp", "", "thumbnail.webp"),
            ("thumbnail.webp", "time=12.3456789", "thumbnail.webp?time=12.346"),
            ("storyboard.vtt", "format=webp", "storyboard.vtt?format=webp"),
            ("thumbnail.webp", "token=h.p.s", "thumbnail.webp"),
            ("storyboard.vtt", "token=h.p.s&format=webp", "storyboard.vtt?format=webp"),
            // Vidstack, as its documentation shows it with Mux.
            ("thumbnail.webp", "time=268&width=1200", "thumbnail.webp?time=268&width=1200"),
            ("storyboard.vtt", "", "storyboard.vtt"),
            ("storyboard.json", "", "storyboard.json"),
            ("storyboard.json", "token=h.p.s", "storyboard.json"),
            // @mux/blurup.
            ("thumbnail.png", "width=16&height=16&time=0", "thumbnail.png?time=0&width=16&height=16"),
        ] {
            let own_query = match parse_credential(query).unwrap() {
                UrlCredential::Token(_, beside) => beside,
                _ => query.to_owned(),
            };
            let picture = wanted(file, &own_query);
            assert_eq!(signed_path(&picture), format!("/{}/{canonical}", picture.video), "{file}?{query}");
        }
    }

    /// Rows D1 and D3 of the threat model: other spellings of the same image have the same signature, other images do
    /// not.
    #[test]
    fn signature_covers_canonical_form() {
        let picture = wanted("thumbnail.jpg", "time=1.5&width=200");
        let link = keys().sign_url(&signed_path(&picture), NOW_MS / 1000 + 60).unwrap();
        let credential = signature_credential(link.split_once('?').unwrap().1);
        let authorize = |file: &str, query: &str| credential.authorize(&wanted(file, query), &keys(), NOW_MS);
        for same in ["time=1.5&width=200", "width=200&time=1.500", "time=1.5&width=200&flip_v=false"] {
            assert!(authorize("thumbnail.jpg", same).unwrap().is_some(), "{same}");
        }
        assert!(authorize("thumbnails/thumbnail.jpg", "time=1.5s&width=200").unwrap().is_some());
        for (file, query) in [
            ("thumbnail.jpg", "time=1.6&width=200"),
            ("thumbnail.jpg", "time=1.5"),
            ("thumbnail.jpg", "width=200"),
            ("thumbnail.png", "time=1.5&width=200"),
            ("storyboard.jpg", ""),
            ("animated.gif", ""),
        ] {
            assert_eq!(authorize(file, query).unwrap_err(), TokenError::Signature, "{file}?{query}");
        }
        let fresh =
            signature_credential(&link.split_once('?').unwrap().1.replace("kid=a", "v=01234567&kid=a"));
        assert!(
            fresh.authorize(&picture, &keys(), NOW_MS).unwrap().is_some(),
            "a revision does not change the image"
        );
        assert!(credential.authorize(&picture, &keys(), NOW_MS + 120_000).is_err(), "D2: it has expired");
        assert!(
            credential.authorize(&picture, &DeliveryKeys::default(), NOW_MS).is_err(),
            "D9: its key was removed"
        );
    }

    /// Row J10 of the threat model: the reason is returned only with a valid signature.
    #[test]
    fn reason_requires_valid_signature() {
        let silent = [
            TokenError::Malformed,
            TokenError::NoKey,
            TokenError::Signature,
            TokenError::WrongIssuerOrAudience,
        ];
        for error in silent {
            assert_eq!(token_problem(error), Problem::new(Code::TokenRefused), "{error}");
        }
        for (error, word) in [
            (TokenError::Expired, "expired"),
            (TokenError::NotYetValid, "not valid yet"),
            (TokenError::LifetimeTooLong, "366 days"),
            (TokenError::WrongVideo, "another video"),
            (TokenError::WrongKind, "`aud`"),
        ] {
            let problem = token_problem(error);
            assert!(
                problem.code == Code::TokenRefused && problem.detail.contains(word),
                "{}",
                problem.detail
            );
        }
        // An expired link with a wrong signature is reported as wrong only.
        let picture = wanted("thumbnail.jpg", "");
        let link = keys().sign_url(&signed_path(&picture), NOW_MS / 1000 - 100).unwrap();
        let query = link.split_once('?').unwrap().1;
        let rejection =
            |query: &str| signature_credential(query).authorize(&picture, &keys(), NOW_MS).unwrap_err();
        assert_eq!(rejection(query), TokenError::Expired);
        assert_eq!(rejection(&query.replace("sig=", "sig=AAAA")), TokenError::Signature);
    }

    /// Rows D2 and D7 of the threat model: `Cache-Control` of private images.
    #[test]
    fn private_max_age_ends_with_token() {
        let expires_at_secs = NOW_MS / 1000 + 100;
        let access = ViewerAccess::Token { expires_at_secs, sheet_query: String::new() };
        for (public, now_ms, expected) in [
            ("public, max-age=31536000, immutable", NOW_MS, "private, max-age=100"),
            ("public, max-age=31536000, immutable", NOW_MS + 99_500, "private, max-age=1"),
            ("public, max-age=31536000, immutable", NOW_MS + 130_000, "private, max-age=0"),
            ("public, max-age=30, stale-while-revalidate=86400", NOW_MS, "private, max-age=30"),
            ("public, max-age=2", NOW_MS, "private, max-age=2"),
            ("", NOW_MS, "private, max-age=0"),
        ] {
            assert_eq!(access.cache_control(public, now_ms), expected, "{public}");
        }
        assert_eq!(ViewerAccess::Owner.cache_control("public, max-age=300", NOW_MS), "private, no-cache");
    }

    #[test]
    fn table_links_sheet_with_credential() {
        let table = wanted("storyboard.vtt", "");
        let link = keys().sign_url(&signed_path(&table), NOW_MS / 1000 + 60).unwrap();
        let credential = signature_credential(link.split_once('?').unwrap().1);
        let access = credential.authorize(&table, &keys(), NOW_MS).unwrap().unwrap();
        assert!(access.has_signed_sheet(&table) && !access.has_signed_sheet(&wanted("storyboard.jpg", "")));
        assert!(
            !ViewerAccess::Owner.has_signed_sheet(&table),
            "the browser sends the owner's cookie by itself"
        );
        let text =
            access.sign_sheet_url(&table, b"WEBVTT\n\n0 --> 1\nstoryboard.jpg#xywh=0,0,1,1\n".to_vec());
        let text = String::from_utf8(text).unwrap();
        let query = text.split_once("storyboard.jpg?").unwrap().1.split_once("#xywh").unwrap().0;
        let sheet =
            signature_credential(query).authorize(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).unwrap();
        let Some(ViewerAccess::Token { expires_at_secs, .. }) = sheet else { panic!("no access") };
        assert_eq!(expires_at_secs, NOW_MS / 1000 + 60, "it expires with that of the table");
        assert_eq!(access.sign_sheet_url(&table, vec![0xff]), [0xff]);

        // So has a sheet with parameters.
        let query = "tiles=9&width=240";
        let table = wanted("storyboard.m3u8", query);
        let link = keys().sign_url(&signed_path(&table), NOW_MS / 1000 + 60).unwrap();
        let access = signature_credential(link.split_once('?').unwrap().1)
            .authorize(&table, &keys(), NOW_MS)
            .unwrap()
            .unwrap();
        let stored = format!("#EXTM3U\nstoryboard.jpg?{query}\n#EXT-X-ENDLIST\n");
        let text = String::from_utf8(access.sign_sheet_url(&table, stored.into_bytes())).unwrap();
        let sheet = text.split_once("storyboard.jpg?").unwrap().1.split_once('\n').unwrap().0;
        let credential = signature_credential(sheet);
        assert_eq!(credential.query(), Some(query));
        assert!(credential.authorize(&wanted("storyboard.jpg", query), &keys(), NOW_MS).is_ok());
        assert!(credential.authorize(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).is_err());

        // The sheet in WebP has its own signature.
        let table = wanted("storyboard.vtt", "format=webp");
        let link = keys().sign_url(&signed_path(&table), NOW_MS / 1000 + 60).unwrap();
        assert!(link.contains("?format=webp&expires="), "{link}");
        let access = signature_credential(link.split_once('?').unwrap().1)
            .authorize(&table, &keys(), NOW_MS)
            .unwrap()
            .unwrap();
        let text =
            String::from_utf8(access.sign_sheet_url(&table, b"storyboard.webp#xywh".to_vec())).unwrap();
        let query = text.split_once("storyboard.webp?").unwrap().1.split_once('#').unwrap().0;
        assert!(
            signature_credential(query).authorize(&wanted("storyboard.webp", ""), &keys(), NOW_MS).is_ok()
        );
        assert!(
            signature_credential(query).authorize(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).is_err()
        );
    }
}
