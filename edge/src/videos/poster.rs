//! HTTP handlers for the poster of a video: another frame, or the best one again.

use glimpse_contract::{Code, Json, Problem, VideoId, limits};

use crate::context::ApiContext;
use crate::delivery;
use crate::http::body;
use crate::http::response::Reply;
use crate::page;
use crate::platform::Request;
use crate::uploads::sanitize_for_message;
use crate::videos::handlers;

/// `PUT /api/videos/{video}/poster`: sets another frame as the poster.
pub(crate) async fn set_poster(
    video: VideoId,
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let json =
        Json::parse_lenient(&body::read_json(request).await?).filter(Json::is_object).unwrap_or_default();
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
    delivery::set_poster(video, time_ms, context).await?;
    delivery::purge(&delivery::poster_paths(video, &context.config.public_widths), context.config).await;
    page::purge(video, context.config).await;
    handlers::show(video, context).await
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
