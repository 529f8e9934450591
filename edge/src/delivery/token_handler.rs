//! HTTP handler that issues delivery tokens to the owner of a video.

use glimpse_contract::{Code, Problem, VideoId};

use crate::context::ApiContext;
use crate::delivery::token_request;
use crate::http::body;
use crate::http::response::Reply;
use crate::platform::Request;
use crate::videos::handlers;

/// `POST /api/videos/{video}/tokens`
pub(crate) async fn create_delivery_tokens(
    video: VideoId,
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let token_request = token_request::parse(&body::read_json(request).await?)?;
    token_request.check_playback(context.config.playback)?;
    if handlers::find(video, context).await?.is_none() {
        return Err(Problem::new(Code::NotFound));
    }
    let config = context.config;
    let answer = token_request::issue_tokens(
        &token_request,
        video,
        &config.delivery_keys,
        &config.public_url,
        context.now_ms,
    )?;
    Ok(Reply::json(201, &answer))
}
