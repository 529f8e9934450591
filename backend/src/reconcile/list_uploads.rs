//! Decides how the bucket's uploads are listed, and what a listing says of each.

use aws_sdk_s3::types::Object;
use glimpse_contract::Key;

use crate::reconcile::service::{Page, Upload, Uploads};
use crate::store::StoreError;
use crate::store::s3::{S3, classify};

impl Uploads for S3 {
    async fn page(&self, after: Option<&str>) -> Result<Page, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(Key::UPLOADS);
        let answer = request
            .set_start_after(after.map(str::to_owned))
            .send()
            .await
            .map_err(|error| classify(&error, StoreError::Changed))?;
        let objects = answer.contents();
        let last = objects.last().and_then(Object::key).map(str::to_owned);
        Ok(Page {
            uploads: objects.iter().filter_map(upload).collect(),
            next: last.filter(|_| answer.is_truncated() == Some(true)),
        })
    }
}

/// What the listing says of an upload; `None` of anything else.
fn upload(object: &Object) -> Option<Upload> {
    let Ok(Key::Source { owner, video }) = object.key()?.parse() else { return None };
    Some(Upload {
        owner,
        video,
        etag: object.e_tag()?.to_owned(),
        bytes: u64::try_from(object.size()?).ok()?,
        modified_ms: u64::try_from(object.last_modified()?.to_millis().ok()?).ok()?,
    })
}
