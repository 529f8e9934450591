//! HTTP handlers for uploads, posters and tokens: parses requests and encodes responses.

use glimpse_contract::video::{UploadDetails, Video};
use glimpse_contract::{Code, Json, Problem, VideoId, limits, object};
use percent_encoding::percent_decode_str;

use crate::context::ApiContext;
use crate::delivery;
use crate::delivery::token_request::{issue_tokens, parse as parse_delivery};
use crate::http::response::Reply;
use crate::page;
use crate::platform::{self, Request};
use crate::s3::client;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::uploads::proxy;
use crate::uploads::reservation;
use crate::uploads::{
    UploadFields, UploadPolicy, build_upload_token, create_grant, parse_boundary, parse_new_video,
    parse_token_request, presign_upload, sanitize_for_message,
};
use crate::videos::handlers;
use crate::videos::links::SignedLinks;

/// The longest JSON body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// `GET /api/me`
pub(crate) fn me(context: &ApiContext<'_>) -> Reply {
    let caller = context.caller;
    let policy = UploadPolicy::from_caller(caller, context.config);
    let types: Vec<Json> = match &policy.types {
        Some(types) => types.iter().map(Json::from).collect(),
        None => limits::UPLOAD_TYPES.iter().map(|kind| Json::from(*kind)).collect(),
    };
    Reply::json(
        200,
        &object! {
            "owner" => &caller.owner,
            "subject" => &caller.subject,
            "name" => caller.name.as_deref(),
            "email" => caller.email.as_deref(),
            "limits" => object! {
                "max_upload_bytes" => policy.max_bytes,
                "max_single_upload_bytes" => policy.max_single_bytes(),
                "types" => types,
            },
        },
    )
}

/// `POST /api/videos`: JSON that describes a file, a form with the file, or the file itself.
pub(crate) async fn create_video(
    request: &Request,
    query: &str,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => create_presigned(request, context).await,
        "multipart/form-data" => {
            let boundary = parse_boundary(&content_type).ok_or_else(|| {
                Problem::with_detail(Code::BadParameter, "The form's `Content-Type` has no boundary.")
            })?;
            proxy::upload_form(request, &boundary, context).await
        }
        _ => upload_body(request, None, query, context).await,
    }
}

/// `PUT /api/videos/{name}`, or `POST /api/videos?name=`: the file itself.
pub(crate) async fn upload_body(
    request: &Request,
    name: Option<String>,
    query: &str,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let name_from_query = || {
        let value = query.split('&').find_map(|pair| pair.strip_prefix("name="))?;
        percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    let name = name.or_else(name_from_query).ok_or_else(|| {
        let detail = "Send JSON with name, size and type for a presigned upload, a form with the field `file`, or the file \
                      itself with its name: PUT /api/videos/clip.mp4, or POST /api/videos?name=clip.mp4.";
        Problem::with_detail(Code::BadParameter, detail)
    })?;
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    proxy::upload_raw(request, &name, &content_type, context).await
}

/// A presigned upload for a described file.
async fn create_presigned(request: &Request, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let body = read_json_body(request).await?;
    let policy = context.upload_policy();
    let new_video = parse_new_video(&body, &policy)?;
    policy.resolve_type(&new_video.content_type, &new_video.name)?;
    let fields =
        UploadFields { visibility: new_video.visibility, client_metadata: new_video.client_metadata };
    let allowance = fields.apply(policy, context.caller)?;
    let id = reservation::allocate_id(context).await?;
    let grant =
        create_grant(&context.caller.owner, id, &new_video.name, &new_video.content_type, &allowance)?;
    let checksum = new_video.checksum_sha256.as_deref();
    let upload = presign_upload(&grant, new_video.size, checksum, context.config, platform::now_ms());
    let upload = client::map_sign_error(upload, context.request_id)?;
    let info = UploadDetails {
        name: grant.name,
        bytes: new_video.size,
        content_type: grant.content_type,
        client_metadata: grant.client_metadata,
        visibility: Some(grant.visibility),
    };
    let video = Video::uploading(id, info, &SignedLinks::new(context.config, platform::now_ms()));
    Ok(Reply::json(
        201,
        &object! { "video" => handlers::created_json_for(&video, context.caller), "upload" => upload.to_json() },
    )
    .with_header("location", format!("/api/videos/{id}")))
}

/// `PUT /api/videos/{video}/poster`: sets another frame as the poster.
pub(crate) async fn set_poster(
    video: VideoId,
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let json =
        Json::parse_lenient(&read_json_body(request).await?).filter(Json::is_object).unwrap_or_default();
    let bad_parameter = |detail: String| Err(Problem::with_detail(Code::BadParameter, detail));
    if let Some(name) = json.unknown_member(&["time"]) {
        return bad_parameter(format!("Unknown parameter `{}`.", sanitize_for_message(name)));
    }
    match poster_ms(json.get("time")) {
        Some(ms) => update_poster(video, Some(ms), context).await,
        None => bad_parameter("The parameter `time` must be a number of seconds from 0 to 86400.".to_owned()),
    }
}

/// `DELETE /api/videos/{video}/poster`: restores the best frame as the poster.
pub(crate) async fn reset_poster(video: VideoId, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    update_poster(video, None, context).await
}

/// Converts a number of seconds to milliseconds.
fn poster_ms(time: &Json) -> Option<u64> {
    let ms = match time {
        Json::Integer(seconds) => seconds.checked_mul(1000)?,
        Json::Float(seconds) if *seconds >= 0.0 => (seconds * 1000.0).round() as u64,
        _ => return None,
    };
    (ms <= limits::MAX_DURATION_MS).then_some(ms)
}

async fn update_poster(
    video: VideoId,
    time_ms: Option<u64>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let current = handlers::find(video, context).await?.ok_or_else(|| Problem::new(Code::NotFound))?;
    if current.state() != "ready" {
        return Err(Problem::new(current.problem().unwrap_or(Code::Processing)));
    }
    delivery::set_poster(video, time_ms, context.config, context.request_id).await?;
    delivery::purge(&delivery::poster_paths(video, &context.config.public_widths), context.config).await;
    page::purge(video, context.config).await;
    handlers::show(video, context).await
}

/// `POST /api/upload-tokens`
pub(crate) async fn create_upload_token(
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let token_request = parse_token_request(&read_json_body(request).await?)?;
    let mut token = build_upload_token(
        token_request,
        context.caller,
        context.config,
        platform::random_bytes(),
        platform::now_ms(),
    )?;
    token.trace_id = context.trace_id;
    let text = context.config.upload_keys.sign(&token).ok_or_else(|| {
        Problem::with_detail(
            Code::NotFound,
            "Upload tokens are not configured: UPLOAD_TOKEN_SECRETS is not set.",
        )
    })?;
    let url = format!("{}/u/{text}", context.config.public_url);
    Ok(Reply::json(
        201,
        &object! { "token" => text, "url" => url, "expires_at" => format_rfc3339(token.exp * 1000),
        "videos" => token.video_ids().into_iter().map(Json::from).collect::<Vec<_>>() },
    ))
}

/// `POST /api/videos/{video}/tokens`
pub(crate) async fn create_delivery_tokens(
    video: VideoId,
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let token_request = parse_delivery(&read_json_body(request).await?)?;
    if handlers::find(video, context).await?.is_none() {
        return Err(Problem::new(Code::NotFound));
    }
    let config = context.config;
    let answer =
        issue_tokens(&token_request, video, &config.delivery_keys, &config.public_url, platform::now_ms())?;
    Ok(Reply::json(201, &answer))
}

async fn read_json_body(request: &Request) -> Result<Vec<u8>, Problem> {
    platform::read_body(request, MAX_BODY_BYTES)
        .await
        .ok_or_else(|| Problem::with_detail(Code::TooLarge, "The body must be JSON of at most 64 KiB."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poster_time_is_seconds() {
        for (text, ms) in [
            ("0", Some(0)),
            ("1.5", Some(1500)),
            ("1.0004", Some(1000)),
            ("86400", Some(86_400_000)),
            ("86400.001", None),
            ("-1", None),
            ("-0.5", None),
            ("1e300", None),
            ("18446744073709551615", None),
            ("\"1\"", None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(poster_ms(&Json::parse(text.as_bytes()).unwrap()), ms, "{text}");
        }
    }
}
