//! Detects files without the index that their demuxer needs for seeking, from their header.

use crate::error::JobError;
use crate::frames::exit_status;
use crate::source::proxy::SourceProxy;
use glimpse_media::container::Container;

/// How much of the beginning is read: the script tag of a Flash video may be long.
const HEAD_BYTES: u64 = 1024 * 1024;

/// Whether a source certainly has no index. `false` for a source that cannot be read and for other containers.
///
/// # Errors
/// An error of the storage.
pub(super) async fn is_index_missing(proxy: &SourceProxy, container: Container) -> Result<bool, JobError> {
    let Some(is_missing) = container.index_check() else { return Ok(false) };
    let total_bytes = proxy.total_bytes();
    let head = proxy.read(0..total_bytes.min(HEAD_BYTES)).await;
    exit_status::check_source(proxy.first_error())?;
    Ok(head.is_ok_and(|head| is_missing(&head, total_bytes)))
}
