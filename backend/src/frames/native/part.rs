//! Decodes a natively read video in the steps of a workflow: one step inspects the file and decodes nothing, and each
//! of the others decodes one kind of output. The frames are the same as in a single job.

use bytes::Bytes;
use glimpse_contract::VariantKind;

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::native::defaults::{Candidate, DecodeSizes, DefaultsPlan, fill_tiles};
use crate::frames::native::{NativeSource, are_blank, resize, snippet_frames};
use crate::frames::poster_selector::PosterSelection;
use crate::frames::{self, AnimationFrames, KindFrames, RgbFrame, StoryboardFrames};
use crate::source::reader::OpenError;
use crate::store::Store;
use glimpse_media::excerpt::mp4_writer;
use glimpse_media::excerpt::plan::ExcerptPlan;
use glimpse_media::probe::MediaInfo;

impl<S: Store> NativeSource<S> {
    /// Information about the video, and whether the index's keyframes must be distrusted: both must be the same for
    /// every step.
    ///
    /// # Errors
    /// [`OpenError::Unsupported`] if the file has to be read by ffmpeg; otherwise any error that ends the job.
    pub async fn inspect(&mut self) -> Result<(MediaInfo, bool), OpenError> {
        let has_sparse_keyframes = self.verify_sparse_keyframes().await?;
        let mut plan = self.plan().await?;
        self.fetch_all(&plan).await?;
        let has_false_keyframes = self.has_false_keyframes(&self.buffer, &plan.animation)
            || self.has_false_keyframes(&self.buffer, &plan.tiles);
        let has_false_keyframes = has_false_keyframes && self.verify_keyframes().await?;
        let distrust_keyframes = has_sparse_keyframes || has_false_keyframes;
        if has_false_keyframes {
            plan = self.plan().await?;
            self.fetch_all(&plan).await?;
        }
        let size = self.main_size(&self.buffer, [&plan.animation, &plan.tiles]);
        self.resolve_size(plan.first_sample().as_ref(), size).await?;
        let (info, _) = self.probe(plan.first_sample().as_ref()).await?;
        // If the samples do not fit an excerpt, ffmpeg has to read the file in all steps.
        self.write_excerpts(&self.buffer, &plan.animation.samples)?;
        self.write_excerpts(&self.buffer, &plan.tiles.samples)?;
        Ok((info, distrust_keyframes))
    }

    /// The frames of one kind of default output; `distrust_keyframes` is the result of [`NativeSource::inspect`].
    ///
    /// # Errors
    /// Like [`NativeSource::default_frames`].
    pub async fn frames_for_kind(
        &mut self,
        kind: VariantKind,
        distrust_keyframes: bool,
    ) -> Result<(MediaInfo, KindFrames), OpenError> {
        if distrust_keyframes {
            self.verify_keyframes().await?;
        }
        let plan = self.plan().await?;
        let mut ranges = match kind {
            VariantKind::Animation => mp4_writer::byte_ranges(&plan.animation.samples),
            VariantKind::Thumbnail | VariantKind::Storyboard => mp4_writer::byte_ranges(&plan.tiles.samples),
            VariantKind::Clip => return Err(frames::no_default_frames().into()),
        };
        let first = plan.first_sample();
        ranges.extend(mp4_writer::byte_ranges(first.as_slice()));
        self.reader.fetch(&mut self.buffer, &ranges).await?;
        let (info, tone_map) = self.probe(first.as_ref()).await?;
        let sizes = DecodeSizes::new(info, tone_map);
        let frames = match kind {
            VariantKind::Thumbnail => {
                let selection = self.select_from_tiles(&plan.tiles, &sizes).await?;
                let poster = self.choose_poster(&plan, &selection, &sizes).await?;
                KindFrames::Poster(RgbFrame { rgb: poster.rgb, size: sizes.poster }, poster.at_ms)
            }
            VariantKind::Animation => KindFrames::Animation(self.animation(&plan, &sizes).await?),
            VariantKind::Storyboard => KindFrames::Storyboard(self.storyboard(&plan, &sizes).await?),
            VariantKind::Clip => return Err(frames::no_default_frames().into()),
        };
        Ok((sizes.info, frames))
    }

    async fn fetch_all(&mut self, plan: &DefaultsPlan) -> Result<(), JobError> {
        let mut ranges = mp4_writer::byte_ranges(&plan.animation.samples);
        ranges.extend(mp4_writer::byte_ranges(&plan.tiles.samples));
        self.reader.fetch(&mut self.buffer, &ranges).await
    }

    async fn select_from_tiles(
        &self,
        layout: &ExcerptPlan,
        sizes: &DecodeSizes,
    ) -> Result<PosterSelection, OpenError> {
        self.select_candidates(&self.buffer, layout, sizes, Priority::Required, None).await
    }

    async fn choose_poster(
        &mut self,
        plan: &DefaultsPlan,
        selection: &PosterSelection,
        sizes: &DecodeSizes,
    ) -> Result<Candidate, OpenError> {
        let mut best = self.decode_poster(&self.buffer, &plan.tiles, selection, sizes).await?;
        if selection.is_blank() {
            best = self.search_poster(best, sizes).await?;
        }
        if best.is_some() {
            return self.reject_concealed(best);
        }
        let frames = self.decode_animation(&plan.animation, sizes).await?;
        self.reject_concealed(self.poster_from_animation(&plan.animation, &frames, sizes))
    }

    /// Fetches and decodes the frames of the animation.
    async fn decode_animation(
        &mut self,
        layout: &ExcerptPlan,
        sizes: &DecodeSizes,
    ) -> Result<Vec<Bytes>, OpenError> {
        self.fetch_samples(layout).await?;
        let excerpts = self.write_excerpts(&self.buffer, &layout.samples)?;
        self.decode_animation_excerpts(excerpts, sizes).await
    }

    async fn animation(
        &mut self,
        plan: &DefaultsPlan,
        sizes: &DecodeSizes,
    ) -> Result<AnimationFrames, OpenError> {
        let frames = self.decode_animation(&plan.animation, sizes).await?;
        let mut frames = snippet_frames(&plan.animation, &frames, sizes.animation);
        if are_blank(&frames, sizes.animation) {
            self.fetch_samples(&plan.tiles).await?;
            let selection = self.select_from_tiles(&plan.tiles, sizes).await?;
            let poster = self.choose_poster(plan, &selection, sizes).await?;
            if let Some(around) = self.animation_around_poster(&frames, &poster, plan.fps, sizes).await? {
                frames = around;
            }
            if frames.is_empty() {
                frames.push(resize(&poster.rgb, sizes.poster, sizes.animation));
            }
        }
        Ok(AnimationFrames { frames, size: sizes.animation, fps: plan.fps })
    }

    async fn storyboard(
        &mut self,
        plan: &DefaultsPlan,
        sizes: &DecodeSizes,
    ) -> Result<StoryboardFrames, OpenError> {
        let selection = self.select_from_tiles(&plan.tiles, sizes).await?;
        let fallback = if selection.tiles.is_empty() {
            let poster = self.choose_poster(plan, &selection, sizes).await?;
            resize(&poster.rgb, sizes.poster, sizes.tile)
        } else {
            // No fallback needed: every tile has its own frame or one before it.
            Bytes::new()
        };
        let frames = fill_tiles(&plan.tiles, &plan.places, &selection.tiles, &fallback);
        Ok(StoryboardFrames { frames, size: sizes.tile })
    }
}
