//! Decides what the proof in a picture's URL is worth, and what an answer to it may say of caching. Pure.

use glimpse_contract::{Code, Kind, PictureRequest, Problem, VideoId};

use crate::auth::{DeliveryKeys, DeliveryToken, Opens, ShortToken, TokenError};
use crate::delivery::storyboard_files::{is_table, sheet, with_query};

/// What a URL carries, taken apart. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried<'a> {
    /// Nothing.
    Nothing,
    /// `token=`: a JWT, and what may stand beside it.
    Token(&'a str, String),
    /// `expires=&kid=&sig=`, and the picture's own parameters.
    Short([&'a str; 3], String),
}

/// What a URL proves, but for what depends on which picture it names.
#[derive(Debug, Clone, Default)]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// A JWT whose signature and times are right.
    Token(DeliveryToken, String),
    /// A signature that is to be compared with the picture's address.
    Short(ShortToken, String),
}

/// Why somebody may see a private picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// It is the owner, signed in.
    Owner,
    /// A token says so.
    Token {
        /// Until when, in Unix seconds.
        until_secs: u64,
        /// The query by which the sheet of the same storyboard is opened.
        sheet_query: String,
    },
}

/// What is answered to a rejected token. Its holder learns the reason where the signature was right; everything else is one
/// answer, so that there is no oracle.
pub fn rejected(error: TokenError) -> Problem {
    let reason = match error {
        TokenError::Expired => "it has expired.",
        TokenError::NotYet => "it is not valid yet.",
        TokenError::TooLong => "it is valid for too long: its end may be 366 days away at most.",
        TokenError::OtherVideo => "it is for another video.",
        TokenError::OtherKind => "it is for another kind of file: see its `aud`.",
        TokenError::Malformed | TokenError::NoKey | TokenError::Signature | TokenError::Foreign => {
            return Problem::new(Code::TokenRefused);
        }
    };
    Problem::because(Code::TokenRefused, ["The token of this link cannot be used here: ", reason].concat())
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// The token is rejected.
    Token(TokenError),
    /// The request is wrong whatever the token says.
    Request(Problem),
}

impl From<TokenError> for ProofError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Takes the proof out of a query.
///
/// # Errors
/// One that is given twice or in part, or a JWT beside parameters: those belong into its claims, as at Mux. Mux's players
/// send `format` beside it, which names the sheet of a storyboard's table and opens nothing more.
pub fn take_apart(query: &str) -> Result<Carried<'_>, Problem> {
    const NAMES: [&str; 4] = ["token", "expires", "kid", "sig"];
    let bad = |detail: &str| Problem::because(Code::BadParameter, detail);
    let mut found = [None; NAMES.len()];
    let mut rest = String::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match NAMES.iter().position(|known| *known == name) {
            Some(place) if found[place].is_some() => {
                return Err(bad(&format!("The parameter `{name}` is given twice.")));
            }
            Some(place) => found[place] = Some(value),
            None => {
                let joint = if rest.is_empty() { "" } else { "&" };
                rest.extend([joint, pair]);
            }
        }
    }
    match found {
        [None, None, None, None] => Ok(Carried::Nothing),
        [Some(token), None, None, None]
            if rest.split('&').all(|pair| pair.is_empty() || pair.starts_with("format=")) =>
        {
            Ok(Carried::Token(token, rest))
        }
        [Some(_), ..] => {
            Err(bad("The parameter `token` stands alone: the picture's parameters are claims of the token."))
        }
        [None, Some(expires), Some(key_id), Some(signature)] => {
            Ok(Carried::Short([expires, key_id, signature], rest))
        }
        _ => Err(bad("The parameters `expires`, `kid` and `sig` go together.")),
    }
}

/// The canonical path and query of a picture, which a short form is a signature of. A revision is no part of it: it
/// changes nothing about the picture.
pub fn target(wanted: &PictureRequest) -> String {
    PictureRequest { revision: None, ..wanted.clone() }.canonical()
}

/// What a token has to open for this kind of picture.
pub fn opens(kind: Kind) -> Opens {
    match kind {
        Kind::Thumbnail => Opens::Thumbnail,
        Kind::Animated => Opens::Animated,
        Kind::Storyboard => Opens::Storyboard,
    }
}

impl Proof {
    /// The query that names the picture, where it is not the URL's own.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Token(token, _) => Some(&token.query),
            Self::Short(_, rest) => Some(rest),
        }
    }

    /// Whether it opens the video itself, as it was uploaded.
    ///
    /// # Errors
    /// A token that is rejected, or parameters beside it.
    pub fn check_original(&self, video: VideoId, keys: &DeliveryKeys, now_ms: u64) -> Result<(), ProofError> {
        if self.query().is_some_and(|query| !query.is_empty()) {
            let problem = Problem::because(Code::BadParameter, "The original has no parameters.");
            return Err(ProofError::Request(problem));
        }
        match self {
            Self::Token(token, _) => token.check_opens(video, Opens::Original)?,
            Self::Short(short, _) => keys.check_short(short, &format!("/{video}/original"), now_ms)?,
            Self::Nothing => return Err(TokenError::Foreign.into()),
        }
        Ok(())
    }

    /// What it opens of this picture's video; `None` if nothing was proven.
    ///
    /// # Errors
    /// It is for something else, wrong or over.
    pub fn grant(
        &self,
        wanted: &PictureRequest,
        keys: &DeliveryKeys,
        now_ms: u64,
    ) -> Result<Option<Grant>, TokenError> {
        Ok(match self {
            Self::Nothing => None,
            Self::Token(token, text) => {
                token.check_opens(wanted.video, opens(wanted.variant.kind()))?;
                Some(Grant::Token { until_secs: token.until_secs, sheet_query: format!("token={text}") })
            }
            Self::Short(short, _) => {
                keys.check_short(short, &target(wanted), now_ms)?;
                let sheet = is_table(wanted.variant).then(|| format!("/{}/{}", wanted.video, sheet(wanted)));
                let link = sheet.and_then(|sheet| keys.sign_like(short, &sheet)).unwrap_or_default();
                let sheet_query = link.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
                Some(Grant::Token { until_secs: short.until_secs, sheet_query })
            }
        })
    }
}

impl Grant {
    /// What the browser is told of caching: never longer than the token lives, and nobody else may keep it. An owner's
    /// browser asks every time, since somebody else may sit before it next.
    pub fn cache_control(&self, public: &str, now_ms: u64) -> String {
        let Self::Token { until_secs, .. } = self else { return "private, no-cache".to_owned() };
        let ttl = public.split_once("max-age=").map_or("", |(_, rest)| rest);
        let ttl = ttl.split(',').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        format!("private, max-age={}", until_secs.saturating_sub(now_ms / 1000).min(ttl))
    }

    /// Whether a picture is a table whose sheet is to be opened by the same token.
    pub fn changes(&self, wanted: &PictureRequest) -> bool {
        matches!(self, Self::Token { .. }) && is_table(wanted.variant)
    }

    /// The table, with the token in the sheet's address: a relative address would lose it.
    pub fn with_sheet(&self, wanted: &PictureRequest, table: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Token { sheet_query, .. } => with_query(wanted, table, sheet_query),
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

    fn wanted(file: &str, query: &str) -> PictureRequest {
        let path = format!("/{}/{file}", VideoId::new(1, [1; 10]));
        PictureRequest::parse(&path, Some(query)).unwrap().unwrap()
    }

    fn short(query: &str) -> Proof {
        let Carried::Short([expires, key_id, signature], rest) = take_apart(query).unwrap() else {
            panic!("{query} is no short form")
        };
        Proof::Short(ShortToken::read(expires, key_id, signature).unwrap(), rest)
    }

    #[test]
    fn a_proof_is_taken_out_of_a_query() {
        assert_eq!(take_apart("time=1&width=2"), Ok(Carried::Nothing));
        assert_eq!(take_apart("token=a.b.c"), Ok(Carried::Token("a.b.c", String::new())));
        for beside in ["token=a.b.c&format=webp", "format=webp&token=a.b.c"] {
            assert_eq!(take_apart(beside), Ok(Carried::Token("a.b.c", "format=webp".to_owned())), "{beside}");
        }
        let short = Carried::Short(["5", "k", "s"], "time=1&v=2".to_owned());
        assert_eq!(take_apart("time=1&expires=5&kid=k&sig=s&v=2"), Ok(short.clone()));
        assert_eq!(take_apart("sig=s&time=1&kid=k&v=2&expires=5"), Ok(short));
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
            assert_eq!(take_apart(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }

    /// The URLs that mux-player 3.14, Vidstack 1.12 and @mux/blurup build, with another host and id. A token has no
    /// parameters of its own here.
    #[test]
    fn urls_of_players_name_pictures() {
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
            let own_query = match take_apart(query).unwrap() {
                Carried::Token(_, beside) => beside,
                _ => query.to_owned(),
            };
            let picture = wanted(file, &own_query);
            assert_eq!(target(&picture), format!("/{}/{canonical}", picture.video), "{file}?{query}");
        }
    }

    /// Rows D1 and D3 of the threat table: other words for the same picture are signed alike, other pictures are not.
    #[test]
    fn a_signature_is_for_the_picture_and_not_for_its_spelling() {
        let picture = wanted("thumbnail.jpg", "time=1.5&width=200");
        let link = keys().sign_short(&target(&picture), NOW_MS / 1000 + 60).unwrap();
        let proof = short(link.split_once('?').unwrap().1);
        let opens = |file: &str, query: &str| proof.grant(&wanted(file, query), &keys(), NOW_MS);
        for same in ["time=1.5&width=200", "width=200&time=1.500", "time=1.5&width=200&flip_v=false"] {
            assert!(opens("thumbnail.jpg", same).unwrap().is_some(), "{same}");
        }
        assert!(opens("thumbnails/thumbnail.jpg", "time=1.5s&width=200").unwrap().is_some());
        for (file, query) in [
            ("thumbnail.jpg", "time=1.6&width=200"),
            ("thumbnail.jpg", "time=1.5"),
            ("thumbnail.jpg", "width=200"),
            ("thumbnail.png", "time=1.5&width=200"),
            ("storyboard.jpg", ""),
            ("animated.gif", ""),
        ] {
            assert_eq!(opens(file, query).unwrap_err(), TokenError::Signature, "{file}?{query}");
        }
        let fresh = short(&link.split_once('?').unwrap().1.replace("kid=a", "v=01234567&kid=a"));
        assert!(fresh.grant(&picture, &keys(), NOW_MS).unwrap().is_some(), "a revision changes no picture");
        assert!(proof.grant(&picture, &keys(), NOW_MS + 120_000).is_err(), "D2: it is over");
        assert!(proof.grant(&picture, &DeliveryKeys::default(), NOW_MS).is_err(), "D9: its key is gone");
    }

    /// Row J10 of the threat table: what is said follows from the signature.
    #[test]
    fn only_the_holder_of_a_right_signature_learns_the_reason() {
        let silent = [TokenError::Malformed, TokenError::NoKey, TokenError::Signature, TokenError::Foreign];
        for error in silent {
            assert_eq!(rejected(error), Problem::new(Code::TokenRefused), "{error}");
        }
        for (error, word) in [
            (TokenError::Expired, "expired"),
            (TokenError::NotYet, "not valid yet"),
            (TokenError::TooLong, "366 days"),
            (TokenError::OtherVideo, "another video"),
            (TokenError::OtherKind, "`aud`"),
        ] {
            let problem = rejected(error);
            assert!(
                problem.code == Code::TokenRefused && problem.detail.contains(word),
                "{}",
                problem.detail
            );
        }
        // An expired link whose signature is wrong is only wrong.
        let picture = wanted("thumbnail.jpg", "");
        let link = keys().sign_short(&target(&picture), NOW_MS / 1000 - 100).unwrap();
        let query = link.split_once('?').unwrap().1;
        let judge = |query: &str| short(query).grant(&picture, &keys(), NOW_MS).unwrap_err();
        assert_eq!(judge(query), TokenError::Expired);
        assert_eq!(judge(&query.replace("sig=", "sig=AAAA")), TokenError::Signature);
    }

    /// Rows D2 and D7 of the threat table: what a browser is told.
    #[test]
    fn a_private_picture_is_kept_no_longer_than_its_token_lives() {
        let until_secs = NOW_MS / 1000 + 100;
        let grant = Grant::Token { until_secs, sheet_query: String::new() };
        for (public, now_ms, expected) in [
            ("public, max-age=31536000, immutable", NOW_MS, "private, max-age=100"),
            ("public, max-age=31536000, immutable", NOW_MS + 99_500, "private, max-age=1"),
            ("public, max-age=31536000, immutable", NOW_MS + 130_000, "private, max-age=0"),
            ("public, max-age=30, stale-while-revalidate=86400", NOW_MS, "private, max-age=30"),
            ("public, max-age=2", NOW_MS, "private, max-age=2"),
            ("", NOW_MS, "private, max-age=0"),
        ] {
            assert_eq!(grant.cache_control(public, now_ms), expected, "{public}");
        }
        assert_eq!(Grant::Owner.cache_control("public, max-age=300", NOW_MS), "private, no-cache");
    }

    #[test]
    fn a_table_names_its_sheet_with_the_token() {
        let table = wanted("storyboard.vtt", "");
        let link = keys().sign_short(&target(&table), NOW_MS / 1000 + 60).unwrap();
        let proof = short(link.split_once('?').unwrap().1);
        let grant = proof.grant(&table, &keys(), NOW_MS).unwrap().unwrap();
        assert!(grant.changes(&table) && !grant.changes(&wanted("storyboard.jpg", "")));
        assert!(!Grant::Owner.changes(&table), "an owner's cookie goes along by itself");
        let text = grant.with_sheet(&table, b"WEBVTT\n\n0 --> 1\nstoryboard.jpg#xywh=0,0,1,1\n".to_vec());
        let text = String::from_utf8(text).unwrap();
        let query = text.split_once("storyboard.jpg?").unwrap().1.split_once("#xywh").unwrap().0;
        let sheet = short(query).grant(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).unwrap();
        let Some(Grant::Token { until_secs, .. }) = sheet else { panic!("no grant") };
        assert_eq!(until_secs, NOW_MS / 1000 + 60, "it ends with the table's");
        assert_eq!(grant.with_sheet(&table, vec![0xff]), [0xff]);

        // The sheet in WebP has a signature of its own.
        let table = wanted("storyboard.vtt", "format=webp");
        let link = keys().sign_short(&target(&table), NOW_MS / 1000 + 60).unwrap();
        assert!(link.contains("?format=webp&expires="), "{link}");
        let grant = short(link.split_once('?').unwrap().1).grant(&table, &keys(), NOW_MS).unwrap().unwrap();
        let text = String::from_utf8(grant.with_sheet(&table, b"storyboard.webp#xywh".to_vec())).unwrap();
        let query = text.split_once("storyboard.webp?").unwrap().1.split_once('#').unwrap().0;
        assert!(short(query).grant(&wanted("storyboard.webp", ""), &keys(), NOW_MS).is_ok());
        assert!(short(query).grant(&wanted("storyboard.jpg", ""), &keys(), NOW_MS).is_err());
    }
}
