//! Decides whether verified claims are for us and for now. Pure: the clock is an argument.

use glimpse_contract::Json;

use super::token::TokenError;

/// How far two clocks may be apart, in seconds.
pub const SKEW_SECS: u64 = 60;
/// Beyond it a JSON number is no exact integer everywhere, RFC 7519 section 2 and RFC 8259 section 6.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// `aud`, which RFC 7519 allows as one text or as several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// What a token claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is about.
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// When it ends, in Unix seconds. A text, a fraction or a negative number is refused.
    pub exp: u64,
    /// From when on it holds, in Unix seconds.
    pub nbf: Option<u64>,
    /// When it was issued, in Unix seconds.
    pub iat: Option<u64>,
    /// The value that ties an ID token to one sign-in.
    pub nonce: Option<String>,
    /// A name to greet with.
    pub name: Option<String>,
    /// A mail address.
    pub email: Option<String>,
    /// Who was meant among several audiences.
    pub azp: Option<String>,
    /// What the token is for, as some providers mark it.
    pub token_use: Option<String>,
}

/// What claims must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The only issuer.
    pub issuer: &'a str,
    /// The audience that must be among theirs.
    pub audience: &'a str,
}

impl Claims {
    /// Reads the claims of a token.
    ///
    /// # Errors
    /// Anything but an object whose members are of the expected types.
    pub fn of_json(json: &Json) -> Result<Self, TokenError> {
        let text = |name| json.text_if(name).map_err(|_| TokenError::Malformed);
        let number = |name| json.whole_if(name).map_err(|_| TokenError::Malformed);
        let aud = match json.get("aud") {
            Json::Text(one) => Audience::One(one.clone()),
            _ => Audience::Many(json.texts_if("aud").ok().flatten().ok_or(TokenError::Malformed)?),
        };
        Ok(Self {
            iss: text("iss")?.ok_or(TokenError::Malformed)?,
            sub: text("sub")?.ok_or(TokenError::Malformed)?,
            aud,
            exp: number("exp")?.ok_or(TokenError::Malformed)?,
            nbf: number("nbf")?,
            iat: number("iat")?,
            nonce: text("nonce")?,
            name: text("name")?,
            email: text("email")?,
            azp: text("azp")?,
            token_use: text("token_use")?,
        })
    }

    /// Whether the claims are for us and for now.
    ///
    /// # Errors
    /// Another issuer or audience, an empty subject, a time that is over or has not begun.
    pub fn check(&self, expected: Expected<'_>, now_ms: u64) -> Result<(), TokenError> {
        let for_us = match &self.aud {
            Audience::One(one) => one == expected.audience,
            Audience::Many(many) => many.iter().any(|one| one == expected.audience),
        };
        if self.iss != expected.issuer || !for_us || self.sub.is_empty() {
            return Err(TokenError::Foreign);
        }
        let now = now_ms / 1000;
        let begins = self.nbf.unwrap_or(0).max(self.iat.unwrap_or(0));
        if self.exp > MAX_EXACT || self.exp + SKEW_SECS <= now || begins > now + SKEW_SECS {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const GOOD: &str = r#"{"iss":"https://id.example","sub":"alice","aud":"glimpse","exp":1700000100}"#;

    fn check(from: &str, to: &str) -> Result<(), TokenError> {
        let text = GOOD.replace(from, to);
        assert!(from.is_empty() || text != GOOD, "{from} is in the claims");
        let claims = Claims::of_json(&Json::read(text.as_bytes()).ok_or(TokenError::Malformed)?)?;
        claims.check(Expected { issuer: "https://id.example", audience: "glimpse" }, NOW_MS)
    }

    #[test]
    fn good_claims_pass() {
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check(r#""glimpse""#, r#"["other","glimpse"]"#), Ok(()));
        assert_eq!(check("1700000100", "1699999941"), Ok(()), "59 s over: within the skew");
        assert_eq!(check("}", r#","nbf":1700000060}"#), Ok(()));
    }

    /// Rows J5 and J6 of the threat table.
    #[test]
    fn refuses_other_times_audiences_and_issuers() {
        for (from, to) in [
            (r#","exp":1700000100"#, ""),
            ("1700000100", r#""1700000100""#),
            ("1700000100", "1700000100.5"),
            ("1700000100", "-1"),
            ("1700000100", "9007199254740992"),
            ("1700000100", "18446744073709551616"),
            ("1700000100", "1699999940"),
            ("1700000100", "null"),
            ("}", r#","nbf":1700000061}"#),
            ("}", r#","nbf":"1"}"#),
            ("}", r#","iat":1700000061}"#),
            (r#""glimpse""#, r#""glimpse2""#),
            (r#""glimpse""#, r#""glim""#),
            (r#""glimpse""#, r#"["Glimpse"]"#),
            (r#""glimpse""#, "[]"),
            ("id.example", "id.example/"),
            ("https", "http"),
            (r#""alice""#, r#""""#),
            (r#""sub":"alice","#, ""),
        ] {
            assert!(check(from, to).is_err(), "{from} -> {to} was accepted");
        }
    }
}
