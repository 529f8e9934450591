//! Claims of a JWT ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519#section-4)), and the checks of issuer, audience
//! and time. Pure: the clock is an argument.

use glimpse_contract::Json;

use super::token::TokenError;

/// The tolerated clock skew, in seconds.
pub const SKEW_SECS: u64 = 60;
/// Not every JSON parser represents larger numbers exactly, RFC 7519 section 2 and RFC 8259 section 6.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// `aud`, which RFC 7519 allows as one string or as an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// One audience.
    One(String),
    /// Several audiences.
    Many(Vec<String>),
    /// No `aud`: Amazon Cognito and Clerk name the client instead, in `client_id` or `azp`.
    Absent,
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject.
    pub sub: String,
    /// The audience.
    pub aud: Audience,
    /// Expiry, in Unix seconds.
    pub exp: u64,
    /// Start of validity, in Unix seconds.
    pub nbf: Option<u64>,
    /// Time of issue, in Unix seconds.
    pub iat: Option<u64>,
    /// Binds an ID token to one sign-in.
    pub nonce: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The email address.
    pub email: Option<String>,
    /// The client that the token was issued to, OpenID Connect Core section 2. Empty if it is not a string.
    pub azp: Option<String>,
    /// The client that the token was issued to, RFC 9068 section 2.2.
    pub client_id: Option<String>,
    /// The purpose of the token, as some providers mark it.
    pub token_use: Option<String>,
}

/// The expected values of claims.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedClaims<'a> {
    /// The only accepted issuer.
    pub issuer: &'a str,
    /// The audience that `aud` must contain.
    pub audience: &'a str,
}

impl Claims {
    /// Parses the claims of a token. Claims that are only displayed (`name`, `email`) may be of any type: values that
    /// are not strings are ignored.
    ///
    /// # Errors
    /// Not an object, or a checked claim of an unexpected type.
    pub fn from_json(json: &Json) -> Result<Self, TokenError> {
        let text = |name| json.get_opt_str(name).map_err(|_| TokenError::Malformed);
        let display_text = |name| json.get(name).as_str().map(str::to_owned);
        let party = |name| match json.get(name) {
            Json::Null => None,
            value => Some(value.as_str().unwrap_or_default().to_owned()),
        };
        let aud = match json.get("aud") {
            Json::Null => Audience::Absent,
            Json::String(one) => Audience::One(one.clone()),
            _ => Audience::Many(json.get_opt_str_array("aud").ok().flatten().ok_or(TokenError::Malformed)?),
        };
        Ok(Self {
            iss: text("iss")?.ok_or(TokenError::Malformed)?,
            sub: text("sub")?.ok_or(TokenError::Malformed)?,
            aud,
            exp: numeric_date(json, "exp")?.ok_or(TokenError::Malformed)?,
            nbf: numeric_date(json, "nbf")?,
            iat: numeric_date(json, "iat")?,
            nonce: display_text("nonce"),
            name: display_text("name"),
            email: display_text("email"),
            azp: party("azp"),
            client_id: party("client_id"),
            token_use: text("token_use")?,
        })
    }

    /// Checks that the claims are for this audience and currently valid.
    ///
    /// # Errors
    /// Another issuer or audience, an empty subject, a token that is expired or not yet valid.
    pub fn check(&self, expected: ExpectedClaims<'_>, now_ms: u64) -> Result<(), TokenError> {
        let has_audience = match &self.aud {
            Audience::One(one) => one == expected.audience,
            Audience::Many(many) => many.iter().any(|one| one == expected.audience),
            Audience::Absent => false,
        };
        self.check_issuer_and_times(expected.issuer, has_audience, now_ms)
    }

    /// Checks that the claims of a bearer token are for one of these audiences and currently valid.
    ///
    /// A token without `aud` must have been issued to a client of that name. If a token has an `aud`, only the `aud`
    /// counts: otherwise every API that receives a token of that client could use it here.
    ///
    /// # Errors
    /// As [`Claims::check`], and a token that is marked as an ID token.
    pub fn check_bearer(&self, issuer: &str, audiences: &[String], now_ms: u64) -> Result<(), TokenError> {
        let is_accepted = |name: &String| audiences.contains(name);
        let has_audience = match &self.aud {
            Audience::One(one) => is_accepted(one),
            Audience::Many(many) => many.iter().any(is_accepted),
            Audience::Absent => {
                let mut parties = self.client_id.iter().chain(&self.azp).peekable();
                parties.peek().is_some() && parties.all(is_accepted)
            }
        };
        // An ID token identifies the user and grants no access: Cognito marks the two types of tokens.
        let is_access_token = self.token_use.as_deref().is_none_or(|purpose| purpose == "access");
        self.check_issuer_and_times(issuer, has_audience && is_access_token, now_ms)
    }

    fn check_issuer_and_times(
        &self,
        issuer: &str,
        has_audience: bool,
        now_ms: u64,
    ) -> Result<(), TokenError> {
        if self.iss != issuer || !has_audience || self.sub.is_empty() {
            return Err(TokenError::WrongIssuerOrAudience);
        }
        let now = now_ms / 1000;
        if self.exp + SKEW_SECS <= now {
            return Err(TokenError::Expired);
        }
        if self.nbf.unwrap_or(0).max(self.iat.unwrap_or(0)) > now + SKEW_SECS {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

/// A NumericDate of RFC 7519 section 2, truncated to whole seconds.
pub(super) fn numeric_date(json: &Json, name: &str) -> Result<Option<u64>, TokenError> {
    match json.get(name) {
        Json::Null => Ok(None),
        Json::Integer(seconds) if *seconds <= MAX_SAFE_INTEGER => Ok(Some(*seconds)),
        Json::Float(seconds) if (0.0..=MAX_SAFE_INTEGER as f64).contains(seconds) => {
            Ok(Some(*seconds as u64))
        }
        _ => Err(TokenError::Malformed),
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
        let claims = Claims::from_json(&Json::parse(text.as_bytes()).ok_or(TokenError::Malformed)?)?;
        claims.check(ExpectedClaims { issuer: "https://id.example", audience: "glimpse" }, NOW_MS)
    }

    #[test]
    fn accepts_valid_claims() {
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check(r#""glimpse""#, r#"["other","glimpse"]"#), Ok(()));
        assert_eq!(check("1700000100", "1699999941"), Ok(()), "expired 59 s ago: within the skew");
        assert_eq!(check("}", r#","nbf":1700000060}"#), Ok(()));
    }

    /// RFC 7519 section 2: a NumericDate may have a fraction.
    #[test]
    fn accepts_fractional_times() {
        for (from, to) in [
            ("1700000100", "1700000100.5"),
            ("1700000100", "1.7000001e9"),
            ("1700000100", "1700000100.0"),
            ("}", r#","nbf":1699999999.999,"iat":1699999999.001}"#),
            ("1700000100", "1699999941.9"),
        ] {
            assert_eq!(check(from, to), Ok(()), "{from} -> {to}");
        }
        assert_eq!(check("1700000100", "1699999940.9"), Err(TokenError::Expired));
        assert_eq!(check("}", r#","nbf":1700000061.5}"#), Err(TokenError::NotYetValid));
    }

    #[test]
    fn unused_claims_may_have_any_type() {
        for more in [
            r#""email":["a@b.example","c@d.example"]"#,
            r#""email":{"value":"a@b.example"}"#,
            r#""name":{"given":"Alice"}"#,
            r#""name":null,"nonce":17"#,
            r#""nonce":["x"],"azp":["a","b"],"client_id":{}"#,
            r#""azp":17,"groups":["a"],"realm_access":{"roles":["x"]},"scope":["a"],"cnf":{"jkt":"x"}"#,
        ] {
            assert_eq!(check("}", &format!(",{more}}}")), Ok(()), "{more}");
        }
        let text = GOOD.replace('}', r#","email":["a@b.example"],"name":7}"#);
        let claims = Claims::from_json(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!((claims.email, claims.name), (None, None));
        assert!(check("}", r#","token_use":["access"]}"#).is_err(), "this claim is checked");
    }

    /// Row J6 of the threat model: `client_id` and `azp` replace a missing `aud`, and are ignored beside one.
    #[test]
    fn bearer_without_aud_is_checked_by_client() {
        let audiences = ["3n4b5".to_owned(), "https://app.example".to_owned()];
        let check = |more: &str| {
            let text = GOOD.replace(r#""aud":"glimpse","#, "").replace('}', &format!(",{more}}}"));
            let claims = Claims::from_json(&Json::parse(text.as_bytes()).unwrap())?;
            claims.check_bearer("https://id.example", &audiences, NOW_MS)
        };
        for good in [
            r#""client_id":"3n4b5","token_use":"access""#,
            r#""azp":"https://app.example""#,
            r#""client_id":"3n4b5","azp":"3n4b5""#,
            r#""aud":["other","3n4b5"],"azp":"another client""#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            r#""scope":"openid""#,
            r#""client_id":"3n4b""#,
            r#""client_id":"3N4B5""#,
            r#""client_id":"""#,
            r#""client_id":["3n4b5"]"#,
            r#""client_id":null"#,
            r#""azp":"https://evil.example""#,
            r#""client_id":"3n4b5","azp":"other""#,
            r#""client_id":"3n4b5","token_use":"id""#,
            r#""client_id":"3n4b5","aud":"another API""#,
            r#""client_id":"3n4b5","aud":[]"#,
            r#""azp":"https://app.example","aud":"another API""#,
        ] {
            assert_eq!(check(bad), Err(TokenError::WrongIssuerOrAudience), "{bad}");
        }
        // An ID token must contain an audience: sign-in checks the client that requested it.
        let id_token = GOOD.replace(r#""aud":"glimpse","#, r#""azp":"glimpse","#);
        let claims = Claims::from_json(&Json::parse(id_token.as_bytes()).unwrap()).unwrap();
        let expected = ExpectedClaims { issuer: "https://id.example", audience: "glimpse" };
        assert_eq!(claims.check(expected, NOW_MS), Err(TokenError::WrongIssuerOrAudience));
    }

    /// Rows J5 and J6 of the threat model.
    #[test]
    fn rejects_wrong_times_audiences_and_issuers() {
        for (from, to) in [
            (r#","exp":1700000100"#, ""),
            ("1700000100", r#""1700000100""#),
            ("1700000100", "-1"),
            ("1700000100", "-0.5"),
            ("1700000100", "1e300"),
            ("1700000100", "[1700000100]"),
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
