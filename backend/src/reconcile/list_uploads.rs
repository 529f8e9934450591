//! Lists the uploads in the bucket.

use aws_sdk_s3::types::Object;
use glimpse_contract::Key;

use crate::reconcile::service::{ListUploads, UploadPage, UploadedSource};
use crate::store::StoreError;
use crate::store::s3::{S3Store, classify};

impl ListUploads for S3Store {
    async fn list_page(&self, start_after: Option<&str>) -> Result<UploadPage, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(Key::UPLOADS);
        let response = request
            .set_start_after(start_after.map(str::to_owned))
            .send()
            .await
            .map_err(|error| classify(&error, StoreError::PreconditionFailed))?;
        let objects = response.contents();
        let last = objects.last().and_then(Object::key).map(str::to_owned);
        Ok(UploadPage {
            uploads: objects.iter().filter_map(parse_upload).collect(),
            next: last.filter(|_| response.is_truncated() == Some(true)),
        })
    }
}

/// The upload of a listed object; `None` if the object is not an upload.
fn parse_upload(object: &Object) -> Option<UploadedSource> {
    let Ok(Key::Source { owner, video }) = object.key()?.parse() else { return None };
    Some(UploadedSource {
        owner,
        video,
        etag: object.e_tag()?.to_owned(),
        bytes: u64::try_from(object.size()?).ok()?,
        modified_ms: u64::try_from(object.last_modified()?.to_millis().ok()?).ok()?,
    })
}
