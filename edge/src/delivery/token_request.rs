//! Parses requests for delivery tokens, and issues the tokens and links. Pure.

use glimpse_contract::{
    Code, Json, OutputFormat, Problem, VariantKind, VariantRequest, VideoId, limits, object,
};

use crate::auth::{DeliveryKeys, TokenScope, scalar_to_string};
use crate::delivery::signed_url::{required_scope, signed_path};
use crate::s3::sigv4::timestamp::format_rfc3339;

/// The body of `POST /api/videos/{video}/tokens`; every member is optional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryTokenRequest {
    types: Vec<&'static str>,
    query: String,
    ttl_secs: u64,
}

/// The values of `types`, each with its kind of image, if it is one.
pub const TOKEN_TYPES: [(&str, Option<VariantKind>); 4] = [
    ("thumbnail", Some(VariantKind::Thumbnail)),
    ("animated", Some(VariantKind::Animation)),
    ("storyboard", Some(VariantKind::Storyboard)),
    ("original", None),
];

fn bad_parameter(detail: &str) -> Problem {
    Problem::with_detail(Code::BadParameter, detail)
}

/// Parses the body; an empty one requests a token of each kind of image.
///
/// # Errors
/// `bad_parameter`, with the name of the invalid member.
pub fn parse(body: &[u8]) -> Result<DeliveryTokenRequest, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    let body = Json::parse_lenient(body).filter(Json::is_object);
    let body = body.ok_or_else(|| bad_parameter("The body must be a JSON object."))?;
    let mut request = DeliveryTokenRequest {
        types: vec!["thumbnail", "animated", "storyboard"],
        query: String::new(),
        ttl_secs: limits::DELIVERY_TOKEN_SECS,
    };
    for (name, value) in body.members() {
        match name.as_str() {
            "types" => {
                request.types = parse_types(value).ok_or_else(|| {
                    bad_parameter(
                        "`types` must list some of thumbnail, animated, storyboard and original, each once.",
                    )
                })?;
            }
            "parameters" => request.query = parse_parameters(value)?,
            "expires_in" => {
                let ttl_secs =
                    value.as_u64().filter(|secs| (1..=limits::MAX_DELIVERY_TOKEN_SECS).contains(secs));
                request.ttl_secs = ttl_secs.ok_or_else(|| {
                    bad_parameter("`expires_in` must be a number of seconds from 1 to 31622400.")
                })?;
            }
            _ => {
                return Err(bad_parameter(
                    "Unknown member: only `types`, `parameters` and `expires_in` are allowed.",
                ));
            }
        }
    }
    if !request.query.is_empty() && request.types.len() != 1 {
        return Err(bad_parameter("`parameters` apply to one image: `types` must contain exactly one type."));
    }
    Ok(request)
}

fn parse_types(value: &Json) -> Option<Vec<&'static str>> {
    let mut found = Vec::new();
    for word in value.as_array()? {
        let word = word.as_str()?;
        let (known, _) = TOKEN_TYPES.into_iter().find(|(known, _)| word == *known)?;
        if found.contains(&known) {
            return None;
        }
        found.push(known);
    }
    (!found.is_empty()).then_some(found)
}

/// The parameters as the query of a URL, for the parser of all URLs.
fn parse_parameters(value: &Json) -> Result<String, Problem> {
    let wrong =
        || bad_parameter("`parameters` must be an object of image parameters, such as \"time\": 1.5.");
    if !value.is_object() {
        return Err(wrong());
    }
    let mut query = String::new();
    for (name, value) in value.members() {
        let text = scalar_to_string(value).ok_or_else(wrong)?;
        if name.contains(['&', '=']) || text.contains('&') {
            return Err(wrong());
        }
        let separator = if query.is_empty() { "" } else { "&" };
        query.extend([separator, name.as_str(), "=", &text]);
    }
    Ok(query)
}

/// The response: a token of each type, and links with the token and with the short form.
///
/// # Errors
/// A parameter that the image does not have, or a deployment without secrets.
pub fn issue_tokens(
    request: &DeliveryTokenRequest,
    video: VideoId,
    keys: &DeliveryKeys,
    public_url: &str,
    now_ms: u64,
) -> Result<Json, Problem> {
    let expires_at_secs = now_ms / 1000 + request.ttl_secs;
    let mut tokens = Vec::new();
    for (word, kind) in TOKEN_TYPES.into_iter().filter(|(word, _)| request.types.contains(word)) {
        let targets = link_targets(video, kind, &request.query)?;
        // The format in which no value is the default: a token is valid for all of them.
        let longest = targets.iter().max_by_key(|(_, _, parameters)| parameters.len());
        let (scope, parameters) = match (kind, longest) {
            (Some(kind), Some((_, _, parameters))) => (required_scope(kind), parameters.clone()),
            _ => (TokenScope::Original, Vec::new()),
        };
        let token = keys.sign(video, scope, &parameters, expires_at_secs).ok_or_else(|| {
            let detail = "Delivery tokens are not configured: DELIVERY_TOKEN_SECRETS is not set.";
            Problem::with_detail(Code::NotFound, detail)
        })?;
        let mut urls = object! {};
        for (file, signed_path, _) in &targets {
            let signed_url = keys.sign_url(signed_path, expires_at_secs).unwrap_or_default();
            let by_token = format!("{public_url}/{video}/{file}?token={token}");
            let links = object! { "token" => by_token, "short" => format!("{public_url}{signed_url}") };
            urls.put(file, links);
        }
        tokens.push(object! { "type" => word, "token" => token, "urls" => urls });
    }
    Ok(
        object! { "video" => video, "expires_at" => format_rfc3339(expires_at_secs * 1000), "tokens" => tokens },
    )
}

/// A file of a video, its canonical path and query, and its canonical parameters.
type LinkTarget = (String, String, Vec<(&'static str, String)>);

/// All files with the same content in different formats.
fn link_targets(video: VideoId, kind: Option<VariantKind>, query: &str) -> Result<Vec<LinkTarget>, Problem> {
    let Some(kind) = kind else {
        if !query.is_empty() {
            return Err(bad_parameter("The original takes no parameters."));
        }
        return Ok(vec![("original".to_owned(), format!("/{video}/original"), Vec::new())]);
    };
    kind.formats()
        .iter()
        .map(|format| {
            let file = format!("{}.{}", kind.as_str(), format.extension());
            let wanted = VariantRequest::parse(&format!("/{video}/{file}"), Some(query));
            match wanted.ok_or_else(|| Problem::new(Code::Internal))? {
                Ok(wanted) => Ok(Some((file, signed_path(&wanted), wanted.variant.parameters()))),
                // A quality is for the other formats.
                Err(wrong) if wrong.name == "quality" && *format == OutputFormat::Png => Ok(None),
                Err(wrong) => Err(bad_parameter(&format!("The parameter `{}` {}.", wrong.name, wrong.why))),
            }
        })
        .filter_map(Result::transpose)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use serde_json::Value;

    use crate::auth::{DeliveryToken, Secret, UnverifiedToken};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn keys() -> DeliveryKeys {
        DeliveryKeys { secrets: vec![("a".into(), Secret::new(vec![7; 32]))], public: Vec::new() }
    }

    fn issue(body: &str) -> Result<Value, Problem> {
        let video = VideoId::new(1, [1; 10]);
        let answer = issue_tokens(&parse(body.as_bytes())?, video, &keys(), "https://v.example", NOW_MS)?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    #[test]
    fn issues_token_with_a_link_per_format() {
        let all = issue("").unwrap();
        assert_eq!(all["expires_at"], "2023-11-14T23:13:20.000Z");
        let types: Vec<_> = all["tokens"].as_array().unwrap().iter().map(|token| &token["type"]).collect();
        assert_eq!(types, ["thumbnail", "animated", "storyboard"]);

        let one =
            issue(r#"{"types":["thumbnail"],"parameters":{"width":200,"time":"1.50"},"expires_in":60}"#);
        let one = one.unwrap()["tokens"][0].clone();
        let files: BTreeSet<_> = one["urls"].as_object().unwrap().keys().cloned().collect();
        let formats = VariantKind::Thumbnail.formats().iter();
        let expected: BTreeSet<_> =
            formats.map(|format| format!("thumbnail.{}", format.extension())).collect();
        assert_eq!(files, expected);
        let short = one["urls"]["thumbnail.png"]["short"].as_str().unwrap();
        assert!(short.contains("/thumbnail.png?time=1.5&width=200&expires=1700000060&kid=a&sig="), "{short}");

        let text = one["token"].as_str().unwrap();
        assert!(one["urls"]["thumbnail.png"]["token"].as_str().unwrap().ends_with(text));
        let token = UnverifiedToken::parse(text).unwrap();
        let claims = token.claims().unwrap();
        assert!(keys().verify(&token, &claims).unwrap().is_none());
        let claims = DeliveryToken::from_claims(&claims, NOW_MS).unwrap();
        assert_eq!((claims.query.as_str(), claims.expires_at_secs), ("time=1.5&width=200", 1_700_000_060));
    }

    #[test]
    fn rejects_invalid_token_requests() {
        for (body, word) in [
            ("[]", "JSON object"),
            (r#"{"type":"thumbnail"}"#, "types"),
            (r#"{"types":[]}"#, "types"),
            (r#"{"types":["thumbnail","thumbnail"]}"#, "types"),
            (r#"{"types":["manifest"]}"#, "types"),
            (r#"{"parameters":{"time":1}}"#, "types"),
            (r#"{"types":["thumbnail"],"parameters":{"start":1}}"#, "start"),
            (r#"{"types":["thumbnail"],"parameters":{"time":[1]}}"#, "parameters"),
            (r#"{"types":["thumbnail"],"parameters":[]}"#, "parameters"),
            (r#"{"types":["thumbnail"],"parameters":{"time":"1&width=9"}}"#, "parameters"),
            (r#"{"types":["original"],"parameters":{"time":1}}"#, "original"),
            (r#"{"expires_in":0}"#, "expires_in"),
            (r#"{"expires_in":31622401}"#, "expires_in"),
            (r#"{"expires_in":"60"}"#, "expires_in"),
        ] {
            let problem = issue(body).unwrap_err();
            assert_eq!(problem.code, Code::BadParameter, "{body}");
            assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
        }
        let request = parse(b"").unwrap();
        let none = issue_tokens(
            &request,
            VideoId::new(1, [1; 10]),
            &DeliveryKeys::default(),
            "https://v.example",
            NOW_MS,
        );
        assert_eq!(none.unwrap_err().code, Code::NotFound);
    }
}
