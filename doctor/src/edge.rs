//! Decides what the Worker's own answers mean: is it there, does it know us, does it grant an upload, does it delete.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use glimpse_contract::VideoId;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::{Answer, Question};
use crate::issue::Ill;
use crate::{CLIP, Found, Proof, Visit, ill};

/// What the file is called.
const NAME: &str = "glimpse-doctor.mp4";

/// A permission to upload. The URL and the headers are a secret, never told.
pub(crate) struct Grant {
    pub(crate) video: VideoId,
    /// When the Worker made the video's id.
    pub(crate) at: Timestamp,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Whether somebody answers, and whether that is Glimpse.
pub(crate) async fn reach(visit: &Visit<'_>) -> Found<()> {
    let answer = visit.look(Question::new(Method::GET, &visit.url("/api/me"))).await?;
    match (answer.status, answer.code().as_str()) {
        (401, "unauthorized") => Ok(((), format!("{} answers as Glimpse does", visit.settings.edge))),
        (500, "internal") => ill(Ill::Misconfigured, answer.told()),
        _ => ill(Ill::NotGlimpse, answer.told()),
    }
}

/// Whether the Worker knows whoever asks.
pub(crate) async fn sign_in(visit: &Visit<'_>) -> Found<()> {
    let Some(proof) = &visit.settings.proof else {
        return ill(Ill::NoToken, "neither GLIMPSE_TOKEN nor GLIMPSE_COOKIE is set");
    };
    let answer = visit.call(Question::new(Method::GET, &visit.url("/api/me"))).await?;
    match (answer.status, proof) {
        (200, _) => {
            let owner = answer.json()["owner"].as_str().unwrap_or_default().to_owned();
            Ok(((), format!("owner {owner}")))
        }
        (401, Proof::Token(token)) => {
            let claims = claims(token);
            let kind = if is_now(&claims, (visit.now)()) { Ill::TokenRefused } else { Ill::TokenExpired };
            ill(kind, shown(&claims))
        }
        (401, Proof::Cookie(_)) => ill(Ill::TokenRefused, "a session cookie"),
        _ => ill(Ill::GrantRefused, answer.told()),
    }
}

/// What a token claims, unverified; `null` if it is none.
fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(middle).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn is_now(claims: &Value, now: Timestamp) -> bool {
    let number = |name: &str| claims[name].as_f64().map(|secs| secs as i64);
    number("exp").is_none_or(|exp| now.as_second() < exp)
        && number("nbf").is_none_or(|nbf| nbf <= now.as_second())
}

/// What of a token helps to find out why it is not taken. Who it is about is not among it.
fn shown(claims: &Value) -> String {
    if claims.is_null() {
        return "what was given is no JWT".into();
    }
    let member = |name: &str| format!("{name} {}", claims[name]);
    ["iss", "aud", "exp"].map(member).join(", ")
}

/// A permission to upload the clip.
pub(crate) async fn grant(visit: &Visit<'_>) -> Found<Grant> {
    let wish = json!({ "name": NAME, "size": CLIP.len(), "type": "video/mp4" });
    let url = visit.url("/api/videos");
    let mut question = Question::new(Method::POST, &url).with("content-type", "application/json");
    question.body = Bytes::from(wish.to_string());
    let answer = visit.call(question).await?;
    if let Some(kind) = ungranted(answer.status, &answer.code()) {
        return ill(kind, answer.told());
    }
    let Some(grant) = read_grant(&answer.json()) else {
        return ill(Ill::NotGlimpse, "the answer is no grant");
    };
    let seen = format!("video {}", grant.video);
    Ok((grant, seen))
}

/// Why nothing is granted.
fn ungranted(status: u16, code: &str) -> Option<Ill> {
    match (status, code) {
        (201, _) => None,
        (429, _) => Some(Ill::Limited),
        (_, "no_access") => Some(Ill::EdgeDenied),
        _ => Some(Ill::GrantRefused),
    }
}

fn read_grant(answer: &Value) -> Option<Grant> {
    let video: VideoId = answer["video"]["id"].as_str()?.parse().ok()?;
    let at = Timestamp::from_millisecond(i64::try_from(video.granted_at_ms()).ok()?).ok()?;
    let upload = &answer["upload"];
    let headers = upload["headers"].as_object()?.iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Some(Grant { video, at, url: upload["url"].as_str()?.to_owned(), headers })
}

/// Deletes the video. One that was never uploaded is gone already.
pub(crate) async fn delete(visit: &Visit<'_>, video: &str) -> Found<()> {
    let url = visit.url(&format!("/api/videos/{video}"));
    let answer = visit.call(Question::new(Method::DELETE, &url)).await?;
    match answer.status {
        200 => gone(visit, &url).await,
        404 => Ok(((), "nothing was left".into())),
        _ => ill(Ill::NotDeleted, answer.told()),
    }
}

async fn gone(visit: &Visit<'_>, url: &str) -> Found<()> {
    let answer: Answer = visit.call(Question::new(Method::GET, url)).await?;
    match answer.status {
        404 | 410 => Ok(((), "the video is gone".into())),
        _ => ill(Ill::NotDeleted, answer.told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_tells_why() {
        for (status, code, expected) in [
            (201, "", None),
            (429, "busy", Some(Ill::Limited)),
            (502, "no_access", Some(Ill::EdgeDenied)),
            (413, "too_large", Some(Ill::GrantRefused)),
            (500, "internal", Some(Ill::GrantRefused)),
        ] {
            assert_eq!(ungranted(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_token_tells_why_it_is_not_taken() {
        let token = |claims: &Value| format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let now = Timestamp::from_second(1_000).unwrap();
        let good = json!({ "iss": "https://id.example", "aud": "glimpse", "sub": "ann", "exp": 2_000 });
        let read = claims(&token(&good));
        assert!(is_now(&read, now));
        assert_eq!(shown(&read), r#"iss "https://id.example", aud "glimpse", exp 2000"#);
        for (name, secs) in [("exp", 1_000), ("nbf", 1_001)] {
            let mut other = good.clone();
            other[name] = secs.into();
            assert!(!is_now(&claims(&token(&other)), now), "{name}");
        }
        assert_eq!(shown(&claims("not a token")), "what was given is no JWT");
    }
}
