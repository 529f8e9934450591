//! Decides nothing by itself: decodes an API request, asks the pure modules, encodes the answer.

use glimpse_contract::video::{Uploaded, Video};
use glimpse_contract::{Code, Json, Problem, VideoId, limits, object};
use percent_encoding::percent_decode_str;

use crate::Call;
use crate::delivery;
use crate::delivery::token_request::{minted, parse_mint as parse_delivery};
use crate::http::response::Reply;
use crate::page;
use crate::platform::{self, Request};
use crate::s3::client;
use crate::s3::sigv4::timestamp::iso_date;
use crate::uploads::proxy;
use crate::uploads::reservation;
use crate::uploads::{
    Allowance, Fields, boundary, grant, parse_mint, parse_new_video, presign_upload, shown, token_of,
};
use crate::videos::handlers;
use crate::videos::links::Links;

/// The longest JSON body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// `GET /api/me`
pub(crate) fn me(call: &Call<'_>) -> Reply {
    let caller = call.caller;
    let allowance = Allowance::of(caller, call.config);
    let types: Vec<Json> = match &allowance.types {
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
                "max_upload_bytes" => allowance.max_bytes,
                "max_single_upload_bytes" => allowance.max_single_bytes(),
                "types" => types,
            },
        },
    )
}

/// `POST /api/videos`: JSON that describes a file, a form with the file, or the file itself.
pub(crate) async fn create(request: &Request, query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    let bare = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match bare.as_str() {
        "application/json" => describe(request, call).await,
        "multipart/form-data" => {
            let boundary = boundary(&content_type)
                .ok_or_else(|| Problem::because(Code::BadParameter, "The form does not say its boundary."))?;
            proxy::form(request, &boundary, call).await
        }
        _ => send(request, None, query, call).await,
    }
}

/// `PUT /api/videos/{name}`, or `POST /api/videos?name=`: the file itself.
pub(crate) async fn send(
    request: &Request,
    name: Option<String>,
    query: &str,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let in_query = || {
        let value = query.split('&').find_map(|pair| pair.strip_prefix("name="))?;
        percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    let name = name.or_else(in_query).ok_or_else(|| {
        let detail = "Send JSON with name, size and type for a signed upload, a form with the field `file`, or the file \
                      itself with its name: PUT /api/videos/clip.mp4, or POST /api/videos?name=clip.mp4.";
        Problem::because(Code::BadParameter, detail)
    })?;
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    proxy::raw(request, &name, &content_type, call).await
}

/// A signed upload for a file that is described.
async fn describe(request: &Request, call: &Call<'_>) -> Result<Reply, Problem> {
    let body = json_body(request).await?;
    let allowance = call.allowance();
    let wanted = parse_new_video(&body, &allowance)?;
    allowance.resolve_type(&wanted.content_type, &wanted.name)?;
    let fields = Fields { visibility: wanted.visibility, passthrough: wanted.passthrough };
    let allowance = fields.apply(allowance, call.caller)?;
    let id = reservation::next_video(call).await?;
    let grant = grant(&call.caller.owner, id, &wanted.name, &wanted.content_type, &allowance)?;
    let checksum = wanted.checksum_sha256.as_deref();
    let upload = presign_upload(&grant, wanted.size, checksum, call.config, platform::now_ms());
    let upload = client::sign(upload, call.request_id)?;
    let uploaded = Uploaded {
        name: grant.name,
        bytes: wanted.size,
        content_type: grant.content_type,
        passthrough: grant.passthrough,
        visibility: Some(grant.visibility),
    };
    let video = Video::granted(id, uploaded, &Links::new(call.config, platform::now_ms()));
    Ok(Reply::json(
        201,
        &object! { "video" => handlers::begun_json_for(&video, call.caller), "upload" => upload.to_json() },
    )
    .with("location", format!("/api/videos/{id}")))
}

/// `PUT /api/videos/{video}/poster`: another frame becomes the poster.
pub(crate) async fn set_poster(video: VideoId, request: &Request, call: &Call<'_>) -> Result<Reply, Problem> {
    let json = Json::read_lenient(&json_body(request).await?).filter(Json::is_object).unwrap_or_default();
    let bad = |detail: String| Err(Problem::because(Code::BadParameter, detail));
    if let Some(name) = json.unknown_member(&["time"]) {
        return bad(format!("The parameter `{}` is not known here.", shown(name)));
    }
    match poster_ms(json.get("time")) {
        Some(ms) => choose_poster(video, Some(ms), call).await,
        None => bad("The parameter `time` must be seconds from 0 to 86400, as a number.".to_owned()),
    }
}

/// `DELETE /api/videos/{video}/poster`: the best frame is the poster again.
pub(crate) async fn reset_poster(video: VideoId, call: &Call<'_>) -> Result<Reply, Problem> {
    choose_poster(video, None, call).await
}

/// Seconds as a number, in milliseconds.
fn poster_ms(time: &Json) -> Option<u64> {
    let ms = match time {
        Json::Whole(seconds) => seconds.checked_mul(1000)?,
        Json::Fraction(seconds) if *seconds >= 0.0 => (seconds * 1000.0).round() as u64,
        _ => return None,
    };
    (ms <= limits::MAX_DURATION_MS).then_some(ms)
}

async fn choose_poster(video: VideoId, time_ms: Option<u64>, call: &Call<'_>) -> Result<Reply, Problem> {
    let found = handlers::find(video, call).await?.ok_or_else(|| Problem::new(Code::NotFound))?;
    if found.state() != "ready" {
        return Err(Problem::new(found.problem().unwrap_or(Code::Processing)));
    }
    delivery::choose_poster(video, time_ms, call.config, call.request_id).await?;
    delivery::purge(&delivery::bare_thumbnails(video, &call.config.public_widths), call.config).await;
    page::forget(video, call.config).await;
    handlers::show(video, call).await
}

/// `POST /api/upload-tokens`
pub(crate) async fn mint(request: &Request, call: &Call<'_>) -> Result<Reply, Problem> {
    let mint = parse_mint(&json_body(request).await?)?;
    let mut token = token_of(mint, call.caller, call.config, platform::random(), platform::now_ms())?;
    token.trace_id = call.trace_id;
    let text = call.config.upload_keys.sign(&token).ok_or_else(|| {
        Problem::because(Code::NotFound, "There are no upload tokens here: UPLOAD_TOKEN_SECRETS is not set.")
    })?;
    let url = format!("{}/u/{text}", call.config.public_url);
    Ok(Reply::json(
        201,
        &object! { "token" => text, "url" => url, "expires_at" => iso_date(token.exp * 1000),
        "videos" => token.slots().into_iter().map(Json::from).collect::<Vec<_>>() },
    ))
}

/// `POST /api/videos/{video}/tokens`
pub(crate) async fn mint_delivery(
    video: VideoId,
    request: &Request,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let mint = parse_delivery(&json_body(request).await?)?;
    if handlers::find(video, call).await?.is_none() {
        return Err(Problem::new(Code::NotFound));
    }
    let config = call.config;
    let answer = minted(&mint, video, &config.delivery_keys, &config.public_url, platform::now_ms())?;
    Ok(Reply::json(201, &answer))
}

async fn json_body(request: &Request) -> Result<Vec<u8>, Problem> {
    platform::body(request, MAX_BODY_BYTES)
        .await
        .ok_or_else(|| Problem::because(Code::TooLarge, "The body must be JSON of at most 64 KiB."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posters_moment_is_a_number_of_seconds() {
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
            assert_eq!(poster_ms(&Json::read(text.as_bytes()).unwrap()), ms, "{text}");
        }
    }
}
