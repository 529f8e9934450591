//! Decides what the proof in a picture's URL is worth, and what an answer to it may say of caching. Pure.

use glimpse_contract::{Code, Problem, VariantKind, VariantRequest, VideoId};

use crate::auth::{DeliveryKeys, DeliveryToken, TokenError, TokenScope, UrlSignature};
use crate::delivery::storyboard_files::{append_sheet_query, is_table, sheet_file};

/// What a URL carries, taken apart. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlCredential<'a> {
    /// Nothing.
    Absent,
    /// `token=`: a JWT, and what may stand beside it.
    Token(&'a str, String),
    /// `expires=&kid=&sig=`, and the picture's own parameters.
    Signature([&'a str; 3], String),
}

/// What a URL proves, but for what depends on which picture it names.
#[derive(Debug, Clone, Default)]
pub enum DeliveryCredential {
    /// Nothing.
    #[default]
    Absent,
    /// A JWT whose signature and times are right.
    Token(DeliveryToken, String),
    /// A signature that is to be compared with the picture's address.
    Signature(UrlSignature, String),
}

/// Why somebody may see a private picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewerAccess {
    /// It is the owner, signed in.
    Owner,
    /// A token says so.
    Token {
        /// Until when, in Unix seconds.
        expires_at_secs: u64,
        /// The query by which the sheet of the same storyboard is opened.
        sheet_query: String,
    },
}

/// What is answered to a rejected token. Its holder learns the reason where the signature was right; everything else is one
/// answer, so that there is no oracle.
pub fn token_problem(error: TokenError) -> Problem {
    let reason = match error {
        TokenError::Expired => "it has expired.",
        TokenError::NotYetValid => "it is not valid yet.",
        TokenError::LifetimeTooLong => "it is valid for too long: its end may be 366 days away at most.",
        TokenError::WrongVideo => "it is for another video.",
        TokenError::WrongKind => "it is for another kind of file: see its `aud`.",
        TokenError::Malformed
        | TokenError::NoKey
        | TokenError::Signature
        | TokenError::WrongIssuerOrAudience => {
            return Problem::new(Code::TokenRefused);
        }
    };
    Problem::with_detail(
        Code::TokenRefused,
        ["The token of this link cannot be used here: ", reason].concat(),
    )
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialError {
    /// The token is rejected.
    Token(TokenError),
    /// The request is wrong whatever the token says.
    Request(Problem),
}

impl From<TokenError> for CredentialError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Takes the proof out of a query.
///
/// # Errors
/// One that is given twice or in part, or a JWT beside parameters: those belong into its claims, as at Mux. Mux's players
/// send `format` beside it, which names the sheet of a storyboard's table and opens nothing more.
pub fn parse_credential(query: &str) -> Result<UrlCredential<'_>, Problem> {
    const NAMES: [&str; 4] = ["token", "expires", "kid", "sig"];
    let bad = |detail: &str| Problem::with_detail(Code::BadParameter, detail);
    let mut values = [None; NAMES.len()];
    let mut parameters = String::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match NAMES.iter().position(|known| *known == name) {
            Some(place) if values[place].is_some() => {
                return Err(bad(&format!("The parameter `{name}` is given twice.")));
            }
            Some(place) => values[place] = Some(value),
            None => {
                let separator = if parameters.is_empty() { "" } else { "&" };
                parameters.extend([separator, pair]);
            }
        }
    }
    match values {
        [None, None, None, None] => Ok(UrlCredential::Absent),
        [Some(token), None, None, None]
            if parameters.split('&').all(|pair| pair.is_empty() || pair.starts_with("format=")) =>
        {
            Ok(UrlCredential::Token(token, parameters))
        }
        [Some(_), ..] => {
            Err(bad("The parameter `token` stands alone: the picture's parameters are claims of the token."))
        }
        [None, Some(expires), Some(key_id), Some(signature)] => {
            Ok(UrlCredential::Signature([expires, key_id, signature], parameters))
        }
        _ => Err(bad("The parameters `expires`, `kid` and `sig` go together.")),
    }
}

/// The canonical path and query of a picture, which a short form is a signature of. A revision is no part of it: it
/// changes nothing about the picture.
pub fn signed_path(wanted: &VariantRequest) -> String {
    VariantRequest { revision: None, ..wanted.clone() }.canonical()
}

/// What a token has to open for this kind of picture.
pub fn required_scope(kind: VariantKind) -> TokenScope {
    match kind {
        VariantKind::Thumbnail => TokenScope::Thumbnail,
        VariantKind::Animation => TokenScope::Animation,
        VariantKind::Storyboard => TokenScope::Storyboard,
    }
}

impl DeliveryCredential {
    /// The query that names the picture, where it is not the URL's own.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Token(token, _) => Some(&token.query),
            Self::Signature(_, parameters) => Some(parameters),
        }
    }

    /// Whether it opens the video itself, as it was uploaded.
    ///
    /// # Errors
    /// A token that is rejected, or parameters beside it.
    pub fn check_original(
        &self,
        video: VideoId,
        keys: &DeliveryKeys,
        now_ms: u64,
    ) -> Result<(), CredentialError> {
        if self.query().is_some_and(|query| !query.is_empty()) {
            let problem = Problem::with_detail(Code::BadParameter, "The original has no parameters.");
            return Err(CredentialError::Request(problem));
        }
        match self {
            Self::Token(token, _) => token.check_scope(video, TokenScope::Original)?,
            Self::Signature(signature, _) => {
                keys.verify_url(signature, &format!("/{video}/original"), now_ms)?
            }
            Self::Absent => return Err(TokenError::WrongIssuerOrAudience.into()),
        }
        Ok(())
    }

    /// What it opens of this picture's video; `None` if nothing was proven.
    ///
    /// # Errors
    /// It is for something else, wrong or over.
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
                let sheet =
                    is_table(wanted.variant).then(|| format!("/{}/{}", wanted.video, sheet_file(wanted)));
                let link = sheet.and_then(|sheet| keys.sign_url_like(signature, &sheet)).unwrap_or_default();
                let sheet_query = link.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
                Some(ViewerAccess::Token { expires_at_secs: signature.expires_at_secs, sheet_query })
            }
        })
    }
}

impl ViewerAccess {
    /// What the browser is told of caching: never longer than the token lives, and nobody else may keep it. An owner's
    /// browser asks every time, since somebody else may sit before it next.
    pub fn cache_control(&self, public: &str, now_ms: u64) -> String {
        let Self::Token { expires_at_secs, .. } = self else { return "private, no-cache".to_owned() };
        let ttl = public.split_once("max-age=").map_or("", |(_, rest)| rest);
        let ttl = ttl.split(',').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        format!("private, max-age={}", expires_at_secs.saturating_sub(now_ms / 1000).min(ttl))
    }

    /// Whether a picture is a table whose sheet is to be opened by the same token.
    pub fn has_signed_sheet(&self, wanted: &VariantRequest) -> bool {
        matches!(self, Self::Token { .. }) && is_table(wanted.variant)
    }

    /// The table, with the token in the sheet's address: a relative address would lose it.
    pub fn sign_sheet_url(&self, wanted: &VariantRequest, table: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Token { sheet_query, .. } => append_sheet_query(wanted, table, sheet_query),
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
            panic!("{query} is no short form")
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
            // Vidstack, as its documentation shows Mux.
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

    /// Rows D1 and D3 of the threat table: other words for the same picture are signed alike, other pictures are not.
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
            "a revision changes no picture"
        );
        assert!(credential.authorize(&picture, &keys(), NOW_MS + 120_000).is_err(), "D2: it is over");
        assert!(
            credential.authorize(&picture, &DeliveryKeys::default(), NOW_MS).is_err(),
            "D9: its key is gone"
        );
    }

    /// Row J10 of the threat table: what is said follows from the signature.
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
        // An expired link whose signature is wrong is only wrong.
        let picture = wanted("thumbnail.jpg", "");
        let link = keys().sign_url(&signed_path(&picture), NOW_MS / 1000 - 100).unwrap();
        let query = link.split_once('?').unwrap().1;
        let rejection =
            |query: &str| signature_credential(query).authorize(&picture, &keys(), NOW_MS).unwrap_err();
        assert_eq!(rejection(query), TokenError::Expired);
        assert_eq!(rejection(&query.replace("sig=", "sig=AAAA")), TokenError::Signature);
    }

    /// Rows D2 and D7 of the threat table: what a browser is told.
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
        assert!(!ViewerAccess::Owner.has_signed_sheet(&table), "an owner's cookie goes along by itself");
        let text =
            access.sign_sheet_url(&table, b"WEBVTT\n\n0 --> 1\nstoryboard.jpg#xywh=0,0,1,1\n".to_vec());
        let text = String::from_utf8(text).unwrap();
        let query = text.split_once("storyboard.jpg?").unwrap().1.split_once("#xywh").unwrap().0;
        let sheet =
            signature_credential(query).authorize(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).unwrap();
        let Some(ViewerAccess::Token { expires_at_secs, .. }) = sheet else { panic!("no grant") };
        assert_eq!(expires_at_secs, NOW_MS / 1000 + 60, "it ends with the table's");
        assert_eq!(access.sign_sheet_url(&table, vec![0xff]), [0xff]);

        // The sheet in WebP has a signature of its own.
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
