//! Sets the poster that the owner chose: writes the default thumbnails again, then the choice.
//!
//! All other thumbnails of the poster are rendered on demand under the key of the chosen time, so none of them has to
//! be found and replaced here.

use bytes::Bytes;
use glimpse_contract::{
    Key, MANIFEST_VERSION, Manifest, Output, Poster, TraceId, Variant, VariantKind, VideoId,
};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::error::JobError;
use crate::preview::outputs::{EncodedImage, EncodedOutputs};
use crate::preview::upload::upload_output;
use crate::render::service::{
    FrameSource as _, OpenFrameSource, RenderError, RenderService, check_within_duration,
};
use crate::store::{PutCondition, PutOptions, Store, StoreError};
use glimpse_media::image::header::ImageError;
use glimpse_media::image::{self, EncoderInput, placeholder, resize};

/// Maximum number of attempts to write a choice after a conflict with another one.
const ATTEMPTS: u32 = 5;
/// The maximum size of a stored choice, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// Makes the frame at this time in milliseconds, or the best frame, the poster.
    pub(super) async fn set_poster(
        &self,
        video: VideoId,
        time_ms: Option<u64>,
        deadline: Instant,
        trace_id: &mut Option<TraceId>,
    ) -> Result<Poster, RenderError> {
        let manifest = self.ready_manifest(video).await?;
        *trace_id = Some(manifest.client_metadata.trace_id_or_default(video));
        if let Some(time_ms) = time_ms {
            check_within_duration("time", time_ms, manifest.source.duration_ms)?;
        }
        let source = self.frame_sources.open(&manifest, deadline).await?;
        let thumbnails: Vec<Variant> = Variant::DEFAULTS
            .into_iter()
            .filter(|variant| variant.kind() == VariantKind::Thumbnail)
            .collect();
        let still = thumbnails.iter().find_map(|variant| variant.thumbnail());
        let still = still.ok_or_else(|| JobError::internal("there is no default thumbnail"))?;
        let framing = resize::thumbnail_geometry(source.display_size(), &still);
        let (frame, decoded) = source.frame_at(time_ms, framing.decode_size).await?;
        let frame = framing.apply(frame, decoded).map_err(JobError::internal)?;
        let size = framing.size;
        let encode = move || {
            let images: Result<EncodedOutputs, _> = thumbnails
                .into_iter()
                .map(|variant| {
                    let input = EncoderInput::Thumbnail { frame: &frame, size };
                    let bytes = image::encode(variant.format(), input)?;
                    Ok((variant, EncodedImage { bytes, size }))
                })
                .collect();
            images.map(|shown| {
                (shown, placeholder::thumbhash(&frame, size), placeholder::dominant_color(&frame))
            })
        };
        let encoded: Result<_, ImageError> = spawn_blocking(encode).await.map_err(JobError::internal)?;
        let (images, thumbhash, dominant_color) = encoded.map_err(JobError::internal)?;
        for _ in 0..ATTEMPTS {
            let (current_etag, revision) = self.current_poster(video).await?;
            let poster = Poster {
                version: MANIFEST_VERSION,
                video,
                time_ms,
                revision: revision + 1,
                outputs: self.put_thumbnails(&manifest, &images).await?,
                thumbhash: thumbhash.clone(),
                dominant_color: dominant_color.clone(),
                chosen_at: (self.now_ms)(),
            };
            let json = Bytes::from(serde_json::to_vec(&poster).map_err(JobError::internal)?);
            let condition = current_etag.as_deref().map_or(PutCondition::IfAbsent, PutCondition::IfMatch);
            let options = PutOptions::JSON.with_condition(condition);
            match self.store.put(&Key::Poster(video), json, options).await {
                Ok(_) => return Ok(poster),
                // Another choice was written in the meantime, and some of the thumbnails may be those of that one:
                // write all of them again.
                Err(StoreError::AlreadyExists | StoreError::PreconditionFailed | StoreError::Conflict) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(JobError::storage(error).into()),
            }
        }
        Err(JobError::upstream(StoreError::Conflict).into())
    }

    /// The ETag and the revision of the current choice.
    async fn current_poster(&self, video: VideoId) -> Result<(Option<String>, u64), RenderError> {
        match self.store.get(&Key::Poster(video), MAX_BYTES).await {
            Ok((head, json)) => {
                let revision = serde_json::from_slice::<Poster>(&json).map_or(0, |poster| poster.revision);
                Ok((Some(head.etag), revision))
            }
            Err(StoreError::NotFound) => Ok((None, 0)),
            Err(error) => Err(JobError::storage(error).into()),
        }
    }

    async fn put_thumbnails(
        &self,
        manifest: &Manifest,
        images: &EncodedOutputs,
    ) -> Result<Vec<Output>, RenderError> {
        let mut outputs = Vec::with_capacity(images.len());
        for (variant, image) in images {
            let key = Key::Output(manifest.video, *variant);
            outputs.push(upload_output(&*self.store, &key, *variant, image, manifest.visibility).await?);
        }
        Ok(outputs)
    }
}
