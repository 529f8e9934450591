//! The commands that create links and tokens: `url`, `token upload` and `token delivery`; by the API, or offline with
//! the deployment's secret.

use std::time::Duration;

use glimpse_contract::{VideoId, Visibility, format_rfc3339, limits};
use http::Method;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::{CommandResult, Failure};
use crate::parameters::{FileKind, ImageParameters};
use crate::sign::SigningKey;

/// The environment variable with the secret of links and delivery tokens.
pub(crate) const DELIVERY_SECRET: &str = "GLIMPSE_DELIVERY_SECRET";
/// The environment variable with the secret of upload tokens.
pub(crate) const UPLOAD_SECRET: &str = "GLIMPSE_UPLOAD_SECRET";

/// The arguments of `glimpse url`.
#[derive(Debug, Clone)]
pub(crate) struct UrlRequest<'a> {
    pub(crate) video: VideoId,
    pub(crate) kind: FileKind,
    pub(crate) format: Option<&'a str>,
    pub(crate) sheet: Option<&'a str>,
    pub(crate) parameters: &'a ImageParameters,
    pub(crate) expires: Option<Duration>,
    pub(crate) is_unsigned: bool,
}

/// The signing key in an environment variable, if it is set.
///
/// # Errors
/// The value is invalid. It is not part of the message.
pub(crate) fn key_from(variable: &str, value: Option<&str>) -> CommandResult<Option<SigningKey>> {
    let value = value.filter(|text| !text.trim().is_empty());
    value.map(|text| text.parse().map_err(|why| Failure::usage(format!("{variable} {why}")))).transpose()
}

/// The validity of a link or token, in seconds.
fn ttl_secs(expires: Option<Duration>, default: u64, max: u64) -> CommandResult<u64> {
    let secs = expires.map_or(default, |expires| expires.as_secs());
    if secs > max {
        return Err(Failure::usage(format!("--expires must be at most {max} seconds")));
    }
    Ok(secs)
}

/// `glimpse url`.
pub(crate) async fn print_url(
    context: &Context,
    request: &UrlRequest<'_>,
    key: Option<SigningKey>,
) -> CommandResult<()> {
    let UrlRequest { video, kind, format, sheet, parameters, .. } = *request;
    let target = parameters.target(video, kind, format, sheet)?;
    let ttl = ttl_secs(request.expires, limits::DELIVERY_TOKEN_SECS, limits::MAX_DELIVERY_TOKEN_SECS)?;
    let print = |url: String, expires_at: Option<String>| {
        context.output.print(&json!({ "url": url, "expires_at": expires_at }), || url.clone())
    };
    if request.is_unsigned {
        return print(format!("{}{}", context.deployment()?, target.path), None);
    }
    if let Some(key) = key {
        let expires = context.now_secs() + ttl;
        let url = format!("{}{}", context.deployment()?, key.sign_path(&target.path, expires));
        return print(url, Some(format_rfc3339(expires * 1000)));
    }
    let api = context.api()?;
    if request.expires.is_none() && kind != FileKind::Original {
        // Links of public videos need no token.
        let found = api.call(Method::GET, &format!("/api/videos/{video}"), None).await?;
        if found["visibility"] == Visibility::Public.as_str() {
            return print(format!("{}{}", api.url(), target.path), None);
        }
    }
    let body = token_request(kind, parameters, ttl);
    let answer = api.call(Method::POST, &format!("/api/videos/{video}/tokens"), Some(&body)).await?;
    let url = answer["tokens"][0]["urls"][&target.file]["short"].as_str();
    let url = url.ok_or_else(|| Failure::failed("the deployment returned no link of this format"))?;
    let url = match sheet {
        // The API signs a table with the default sheet; with another one, the token is used, which covers both.
        Some(sheet) => {
            let by_token = answer["tokens"][0]["urls"][&target.file]["token"].as_str().unwrap_or(url);
            format!("{by_token}&format={sheet}")
        }
        None => url.to_owned(),
    };
    print(url, answer["expires_at"].as_str().map(str::to_owned))
}

fn token_request(kind: FileKind, parameters: &ImageParameters, ttl_secs: u64) -> Value {
    let parameters: Map<String, Value> =
        parameters.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    json!({ "types": [kind.as_str()], "parameters": parameters, "expires_in": ttl_secs })
}

/// `glimpse token delivery`.
pub(crate) async fn print_delivery_token(
    context: &Context,
    video: VideoId,
    kind: FileKind,
    parameters: &ImageParameters,
    expires: Option<Duration>,
    key: Option<SigningKey>,
) -> CommandResult<()> {
    let ttl = ttl_secs(expires, limits::DELIVERY_TOKEN_SECS, limits::MAX_DELIVERY_TOKEN_SECS)?;
    let canonical = parameters.for_all_formats(video, kind)?;
    if let Some(key) = key {
        let expires = context.now_secs() + ttl;
        let mut claims = json!({ "sub": video.to_string(), "aud": kind.audience(), "exp": expires });
        for (name, value) in canonical {
            claims[name] = value.into();
        }
        let token = key.sign_token(&claims);
        let document = json!({ "token": token, "expires_at": format_rfc3339(expires * 1000) });
        return context.output.print(&document, || token.clone());
    }
    let api = context.api()?;
    let body = token_request(kind, parameters, ttl);
    let answer = api.call(Method::POST, &format!("/api/videos/{video}/tokens"), Some(&body)).await?;
    let token = answer["tokens"][0]["token"].as_str().unwrap_or_default().to_owned();
    context.output.print(&answer, || token)
}

/// The arguments of `glimpse token upload`.
#[derive(Debug, Clone)]
pub(crate) struct UploadTokenRequest {
    /// The members of the request, without `expires_in`.
    pub(crate) members: Map<String, Value>,
    pub(crate) expires: Option<Duration>,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
}

/// `glimpse token upload`.
pub(crate) async fn print_upload_token(
    context: &Context,
    request: UploadTokenRequest,
    key: Option<SigningKey>,
) -> CommandResult<()> {
    let ttl = ttl_secs(request.expires, limits::UPLOAD_TOKEN_SECS, limits::MAX_UPLOAD_TOKEN_SECS)?;
    let is_offline = request.issuer.is_some() || request.subject.is_some();
    let document = match (key, request.issuer, request.subject) {
        (Some(key), Some(issuer), Some(subject)) => {
            let now = context.now_secs();
            let url = context.deployment()?;
            let mut jti = [0; 16];
            getrandom::fill(&mut jti).map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
            let mut claims = Value::Object(request.members);
            claims["iss"] = issuer.into();
            claims["sub"] = subject.into();
            claims["aud"] = format!("{}/u", url.origin()).into();
            claims["iat"] = now.into();
            claims["exp"] = (now + ttl).into();
            claims["jti"] = hex::encode(jti).into();
            let token = key.sign_token(&claims);
            json!({
                "token": token,
                "url": format!("{}/u/{token}", url.origin()),
                "expires_at": format_rfc3339((now + ttl) * 1000),
            })
        }
        (None, ..) if is_offline => {
            return Err(Failure::usage(format!("--issuer and --subject need {UPLOAD_SECRET}")));
        }
        (Some(_), ..) => {
            return Err(Failure::usage(format!(
                "with {UPLOAD_SECRET}, --issuer and --subject name the account that will own the videos"
            )));
        }
        (None, ..) => {
            let mut body = request.members;
            body.insert("expires_in".to_owned(), ttl.into());
            context.api()?.call(Method::POST, "/api/upload-tokens", Some(&Value::Object(body))).await?
        }
    };
    context.output.print(&document, || document["url"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_secret_is_not_repeated() {
        let error = key_from(DELIVERY_SECRET, Some("2026=hush")).unwrap_err();
        assert_eq!(error.message, "GLIMPSE_DELIVERY_SECRET must have a secret of at least 32 characters");
        assert!(key_from(DELIVERY_SECRET, None).unwrap().is_none());
        assert!(key_from(DELIVERY_SECRET, Some(" ")).unwrap().is_none());
    }

    #[test]
    fn validity_is_limited() {
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(ttl_secs(None, 3600, 86_400), Ok(3600));
        assert_eq!(ttl_secs(secs(86_400), 3600, 86_400), Ok(86_400));
        assert!(ttl_secs(secs(86_401), 3600, 86_400).is_err());
    }

    #[test]
    fn request_has_the_given_parameters() {
        let parameters = ImageParameters(vec![("time", "3".into()), ("width", "320".into())]);
        assert_eq!(
            token_request(FileKind::Thumbnail, &parameters, 60),
            json!({ "types": ["thumbnail"], "parameters": { "time": "3", "width": "320" }, "expires_in": 60 })
        );
    }
}
