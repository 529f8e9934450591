//! Limits the number of unfinished multipart uploads of a token.

use futures_util::future::try_join_all;
use glimpse_contract::{Code, Problem};

use crate::context::ApiContext;
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::s3::{MAX_KEYS, UploadFilter};
use crate::uploads::{excess_uploads, reservation};

/// Aborts the unfinished uploads of a token beyond a few more than its videos: S3 stores the parts of each for a day.
/// Concurrent uploads see each other, and the later ones are aborted.
pub(super) async fn limit_unfinished(
    new_upload_id: Option<&str>,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    /// Spare uploads for interrupted attempts that were not aborted.
    const SPARE_UPLOADS: usize = 4;
    let Some(token) = context.caller.upload_token() else { return Ok(()) };
    let ids = token.video_ids();
    let bucket = context.bucket();
    let filter = UploadFilter::SameMillisecond(ids[0]);
    let found = bucket.list_multipart_uploads(&context.caller.owner, filter, MAX_KEYS).await?;
    let own = found.uploads.iter().filter(|upload| ids.contains(&upload.video)).collect();
    let stale_before = format_rfc3339(context.now_ms.saturating_sub(reservation::LEASE_SECS * 1000));
    let (excess, is_kept) = excess_uploads(own, new_upload_id, ids.len() + SPARE_UPLOADS, &stale_before);
    try_join_all(excess.iter().map(|upload| bucket.abort_multipart_upload(&upload.key, &upload.upload_id)))
        .await?;
    if is_kept {
        return Ok(());
    }
    let detail =
        "This upload token has too many unfinished uploads. Complete or cancel one, or try again in an hour.";
    Err(Problem::with_detail(Code::Busy, detail))
}
