//! Uploads one encoded output and describes it for a manifest.

use glimpse_contract::{Key, Output, Variant, Visibility};

use crate::error::JobError;
use crate::preview::outputs::EncodedImage;
use crate::store::{PutOptions, Store};

/// Writes an encoded output under this key and returns its entry in the manifest.
///
/// # Errors
/// The error of the storage.
pub async fn upload_output<S: Store>(
    store: &S,
    key: &Key,
    variant: Variant,
    image: &EncodedImage,
    visibility: Visibility,
) -> Result<Output, JobError> {
    let content_type = variant.format().content_type();
    let options = PutOptions::new(content_type).with_visibility(visibility);
    let etag = store.put(key, image.bytes.clone(), options).await.map_err(JobError::storage)?;
    Ok(Output {
        variant: variant.file_name(),
        bytes: image.bytes.len() as u64,
        content_type: content_type.to_owned(),
        etag,
        width: image.size.width,
        height: image.size.height,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use glimpse_contract::VideoId;
    use glimpse_media::size::Size;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn describes_the_stored_object() {
        let store = MemoryStore::default();
        let variant = Variant::DEFAULTS[0];
        let key = Key::Staged(VideoId::new(0, [0; 10]), variant);
        let image = EncodedImage { bytes: Bytes::from_static(b"jpeg"), size: Size { width: 4, height: 2 } };
        let output = upload_output(&store, &key, variant, &image, Visibility::Signed).await.unwrap();
        let stored = store.object(&key).unwrap();
        assert_eq!(stored.bytes, image.bytes);
        assert_eq!(stored.head.visibility.as_deref(), Some(Visibility::Signed.as_str()));
        assert_eq!((output.etag, output.bytes), (stored.head.etag, stored.head.bytes));
        assert_eq!(output.content_type, stored.head.content_type);
        assert_eq!((output.variant, output.width, output.height), (variant.file_name(), 4, 2));
    }
}
