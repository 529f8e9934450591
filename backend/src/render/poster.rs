//! Decides how the owner's choice of a poster becomes what everybody sees: the default thumbnails anew, then the choice.
//!
//! Every other thumbnail that shows the poster is made on demand under the key of the chosen moment, so none of them has
//! to be found and replaced here.

use bytes::Bytes;
use glimpse_contract::{Key, Kind, MANIFEST_VERSION, Manifest, Output, Poster, TraceId, Variant, VideoId};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::error::JobError;
use crate::render::service::{Camera as _, Cameras, Darkroom, Refusal, check_moment, encode_still};
use crate::store::{Store, StoreError};
use glimpse_media::image::header::PictureError;
use glimpse_media::image::{placeholder, resize};
use glimpse_media::size::Size;

/// How often a choice that meets another one is written anew.
const ATTEMPTS: u32 = 5;
/// The longest choice that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A default thumbnail that shows the choice.
struct Shown {
    variant: Variant,
    bytes: Bytes,
}

impl<S: Store, C: Cameras> Darkroom<S, C> {
    /// Makes the frame of that moment in milliseconds, or the best frame, the poster.
    pub(super) async fn choose(
        &self,
        video: VideoId,
        time_ms: Option<u64>,
        deadline: Instant,
        traced: &mut Option<TraceId>,
    ) -> Result<Poster, Refusal> {
        let manifest = self.manifest(video).await?;
        *traced = Some(manifest.passthrough.trace(video));
        if let Some(time_ms) = time_ms {
            check_moment("time", time_ms, manifest.source.duration_ms)?;
        }
        let camera = self.cameras.open(&manifest, deadline).await?;
        let thumbnails: Vec<Variant> =
            Variant::DEFAULTS.into_iter().filter(|variant| variant.kind() == Kind::Thumbnail).collect();
        let still = thumbnails.iter().find_map(|variant| variant.still());
        let still = still.ok_or_else(|| JobError::internal("no thumbnail is a default"))?;
        let framing = resize::still(camera.shown(), &still);
        let (frame, decoded) = camera.still(time_ms, framing.scale).await?;
        let frame = framing.apply(frame, decoded).map_err(JobError::internal)?;
        let size = framing.size;
        let encode = move || {
            let shown: Result<Vec<_>, _> = thumbnails
                .into_iter()
                .map(|variant| Ok(Shown { variant, bytes: encode_still(&frame, size, variant.format())? }))
                .collect();
            shown.map(|shown| (shown, placeholder::thumbhash(&frame, size), placeholder::dominant(&frame)))
        };
        let encoded: Result<_, PictureError> = spawn_blocking(encode).await.map_err(JobError::internal)?;
        let (shown, thumbhash, dominant_color) = encoded.map_err(JobError::internal)?;
        for _ in 0..ATTEMPTS {
            let (over, revision) = self.present(video).await?;
            let poster = Poster {
                version: MANIFEST_VERSION,
                video,
                time_ms,
                revision: revision + 1,
                outputs: self.show(&manifest, &shown, size).await?,
                thumbhash: thumbhash.clone(),
                dominant_color: dominant_color.clone(),
                chosen_at: (self.now_ms)(),
            };
            let json = Bytes::from(serde_json::to_vec(&poster).map_err(JobError::internal)?);
            match self.store.put_poster(&Key::Poster(video), json, over.as_deref()).await {
                Ok(()) => return Ok(poster),
                // Somebody else chose in between, and of the thumbnails some may be theirs: all of it once more.
                Err(StoreError::Lost | StoreError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(JobError::storage(error).into()),
            }
        }
        Err(JobError::upstream(StoreError::Conflict).into())
    }

    /// The ETag of the present choice and which one it is.
    async fn present(&self, video: VideoId) -> Result<(Option<String>, u64), Refusal> {
        match self.store.whole(&Key::Poster(video), MAX_BYTES).await {
            Ok((head, json)) => {
                let revision = serde_json::from_slice::<Poster>(&json).map_or(0, |poster| poster.revision);
                Ok((Some(head.etag), revision))
            }
            Err(StoreError::Gone) => Ok((None, 0)),
            Err(error) => Err(JobError::storage(error).into()),
        }
    }

    async fn show(&self, manifest: &Manifest, shown: &[Shown], size: Size) -> Result<Vec<Output>, Refusal> {
        let mut outputs = Vec::with_capacity(shown.len());
        for Shown { variant, bytes } in shown {
            let content_type = variant.format().content_type();
            let key = Key::Output(manifest.video, *variant);
            let written = self.store.put_output(&key, bytes.clone(), content_type, manifest.visibility).await;
            outputs.push(Output {
                variant: variant.file_name(),
                bytes: bytes.len() as u64,
                content_type: content_type.to_owned(),
                etag: written.map_err(JobError::storage)?,
                width: size.width,
                height: size.height,
            });
        }
        Ok(outputs)
    }
}
