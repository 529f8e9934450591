//! Checks of the Worker: reachability, sign-in, upload grant and deletion.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use glimpse_contract::VideoId;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::{WebRequest, WebResponse};
use crate::issue::Issue;
use crate::{ApiCredential, CLIP, CheckContext, CheckResult, fail};

/// Name of the uploaded file.
const FILE_NAME: &str = "glimpse-doctor.mp4";

/// A grant to upload the clip. The URL and the headers are secret and never printed.
pub(crate) struct ClipGrant {
    pub(crate) video: VideoId,
    /// Creation time of the video's id, by the Worker's clock.
    pub(crate) granted_at: Timestamp,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Checks that the address serves Glimpse.
pub(crate) async fn check_reachable(context: &CheckContext<'_>) -> CheckResult<()> {
    let response = context.fetch(WebRequest::new(Method::GET, &context.url("/api/me"))).await?;
    match (response.status, response.problem_code().as_str()) {
        (401, "unauthorized") => Ok(((), format!("{} serves Glimpse", context.settings.edge))),
        (500, "internal") => fail(Issue::Misconfigured, response.summary()),
        _ => fail(Issue::NotGlimpse, response.summary()),
    }
}

/// Checks that the Worker accepts the credential.
pub(crate) async fn check_sign_in(context: &CheckContext<'_>) -> CheckResult<()> {
    let Some(credential) = &context.settings.credential else {
        return fail(Issue::NoToken, "neither GLIMPSE_TOKEN nor GLIMPSE_COOKIE is set");
    };
    let response = context.fetch_as_caller(WebRequest::new(Method::GET, &context.url("/api/me"))).await?;
    match (response.status, credential) {
        (200, _) => {
            let owner = response.json()["owner"].as_str().unwrap_or_default().to_owned();
            Ok(((), format!("owner {owner}")))
        }
        (401, ApiCredential::Token(token)) => {
            let claims = claims(token);
            let issue = if is_within_validity(&claims, (context.now)()) {
                Issue::TokenRefused
            } else {
                Issue::TokenExpired
            };
            fail(issue, describe_claims(&claims))
        }
        (401, ApiCredential::Cookie(_)) => fail(Issue::TokenRefused, "a session cookie"),
        _ => fail(Issue::GrantRefused, response.summary()),
    }
}

/// The claims of a token, unverified; `null` if it is not a JWT.
fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(middle).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn is_within_validity(claims: &Value, now: Timestamp) -> bool {
    let numeric_date = |name: &str| claims[name].as_f64().map(|secs| secs as i64);
    numeric_date("exp").is_none_or(|exp| now.as_second() < exp)
        && numeric_date("nbf").is_none_or(|nbf| nbf <= now.as_second())
}

/// The claims that help to find out why a token is rejected. The subject is not included.
fn describe_claims(claims: &Value) -> String {
    if claims.is_null() {
        return "the token is not a JWT".into();
    }
    let member = |name: &str| format!("{name} {}", claims[name]);
    ["iss", "aud", "exp"].map(member).join(", ")
}

/// Requests a grant to upload the clip.
pub(crate) async fn request_upload(context: &CheckContext<'_>) -> CheckResult<ClipGrant> {
    let body = json!({ "name": FILE_NAME, "size": CLIP.len(), "type": "video/mp4" });
    let url = context.url("/api/videos");
    let mut request = WebRequest::new(Method::POST, &url).with_header("content-type", "application/json");
    request.body = Bytes::from(body.to_string());
    let response = context.fetch_as_caller(request).await?;
    if let Some(issue) = grant_issue(response.status, &response.problem_code()) {
        return fail(issue, response.summary());
    }
    let Some(grant) = parse_grant(&response.json()) else {
        return fail(Issue::NotGlimpse, "the response is not a grant");
    };
    let observed = format!("video {}", grant.video);
    Ok((grant, observed))
}

/// The issue if no upload was granted.
fn grant_issue(status: u16, code: &str) -> Option<Issue> {
    match (status, code) {
        (201, _) => None,
        (429, _) => Some(Issue::Limited),
        (_, "no_access") => Some(Issue::EdgeDenied),
        _ => Some(Issue::GrantRefused),
    }
}

fn parse_grant(response: &Value) -> Option<ClipGrant> {
    let video: VideoId = response["video"]["id"].as_str()?.parse().ok()?;
    let at = Timestamp::from_millisecond(i64::try_from(video.timestamp_ms()).ok()?).ok()?;
    let upload = &response["upload"];
    let headers = upload["headers"].as_object()?.iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Some(ClipGrant { video, granted_at: at, url: upload["url"].as_str()?.to_owned(), headers })
}

/// Deletes the video. A video that was never uploaded does not exist, which is not an issue.
pub(crate) async fn delete_video(context: &CheckContext<'_>, video: &str) -> CheckResult<()> {
    let url = context.url(&format!("/api/videos/{video}"));
    let response = context.fetch_as_caller(WebRequest::new(Method::DELETE, &url)).await?;
    match response.status {
        200 => check_deleted(context, &url).await,
        404 => Ok(((), "nothing to delete".into())),
        _ => fail(Issue::NotDeleted, response.summary()),
    }
}

async fn check_deleted(context: &CheckContext<'_>, url: &str) -> CheckResult<()> {
    let response: WebResponse = context.fetch_as_caller(WebRequest::new(Method::GET, url)).await?;
    match response.status {
        404 | 410 => Ok(((), "the video was deleted".into())),
        _ => fail(Issue::NotDeleted, response.summary()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_refused_grants() {
        for (status, code, expected) in [
            (201, "", None),
            (429, "busy", Some(Issue::Limited)),
            (502, "no_access", Some(Issue::EdgeDenied)),
            (413, "too_large", Some(Issue::GrantRefused)),
            (500, "internal", Some(Issue::GrantRefused)),
        ] {
            assert_eq!(grant_issue(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn describes_rejected_tokens() {
        let token = |claims: &Value| format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let now = Timestamp::from_second(1_000).unwrap();
        let good = json!({ "iss": "https://id.example", "aud": "glimpse", "sub": "ann", "exp": 2_000 });
        let read = claims(&token(&good));
        assert!(is_within_validity(&read, now));
        assert_eq!(describe_claims(&read), r#"iss "https://id.example", aud "glimpse", exp 2000"#);
        for (name, secs) in [("exp", 1_000), ("nbf", 1_001)] {
            let mut other = good.clone();
            other[name] = secs.into();
            assert!(!is_within_validity(&claims(&token(&other)), now), "{name}");
        }
        assert_eq!(describe_claims(&claims("not a token")), "the token is not a JWT");
    }
}
