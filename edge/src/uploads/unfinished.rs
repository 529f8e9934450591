//! Unfinished multipart uploads: listing, limiting and aborting them.

use futures_util::future::try_join_all;
use glimpse_contract::{Code, Key, Problem};

use crate::context::ApiContext;
use crate::platform;
use crate::s3::sigv4::SignError;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::s3::{self, S3Request, client};
use crate::uploads::{excess_uploads, reservation};

/// Aborts the unfinished uploads of a token beyond a few more than its videos: S3 stores the parts of each for a day.
/// Concurrent uploads see each other, and the later ones are aborted.
pub(super) async fn limit_unfinished(
    new_upload_id: Option<&str>,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    /// Spare uploads for interrupted attempts that were not aborted.
    const SPARE_UPLOADS: usize = 4;
    let Some(token) = &context.caller.token else { return Ok(()) };
    let ids = token.video_ids();
    let now_ms = platform::now_ms();
    let uploads = s3::UploadFilter::SameMillisecond(ids[0]);
    let found = list_unfinished(uploads, s3::MAX_KEYS, context).await?;
    let own = found.uploads.iter().filter(|upload| ids.contains(&upload.video)).collect();
    let stale_before = format_rfc3339(now_ms.saturating_sub(reservation::LEASE_SECS * 1000));
    let (excess, is_kept) = excess_uploads(own, new_upload_id, ids.len() + SPARE_UPLOADS, &stale_before);
    try_join_all(excess.iter().map(|upload| abort_multipart_upload(&upload.key, &upload.upload_id, context)))
        .await?;
    if is_kept {
        return Ok(());
    }
    let detail =
        "This upload token has too many unfinished uploads. Complete or cancel one, or try again in an hour.";
    Err(Problem::with_detail(Code::Busy, detail))
}

/// Lists the caller's unfinished uploads, one list page.
pub(crate) async fn list_unfinished(
    uploads: s3::UploadFilter,
    limit: usize,
    context: &ApiContext<'_>,
) -> Result<s3::MultipartUploadsPage, Problem> {
    let request =
        s3::list_multipart_uploads(&context.caller.owner, uploads, limit, context.config, platform::now_ms());
    let answer = send(request, context).await?;
    if answer.status != 200 {
        return Err(client::unexpected_status(answer.status, context.request_id));
    }
    let found = s3::MultipartUploadsPage::parse(&client::read_text(answer).await);
    found.ok_or_else(|| client::unexpected_status(200, context.request_id))
}

/// Aborts an upload.
pub(crate) async fn abort_multipart_upload(
    key: &Key,
    upload_id: &str,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    let answer =
        send(s3::abort_multipart_upload(key, upload_id, context.config, platform::now_ms()), context).await?;
    match answer.status {
        200 | 204 | 404 => Ok(()),
        status => Err(client::unexpected_status(status, context.request_id)),
    }
}

/// Signs and sends a request to S3.
pub(super) async fn send(
    signed: Result<S3Request, SignError>,
    context: &ApiContext<'_>,
) -> Result<platform::FetchResponse, Problem> {
    client::send(&client::map_sign_error(signed, context.request_id)?, context.request_id).await
}
