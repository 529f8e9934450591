//! Decodes the frames of all default outputs of a natively read video: those of the animation first, the tiles in the
//! meantime, and then the best tile again in full size.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::Priority;
use crate::frames::exit_status;
use crate::frames::native::{DecodePass, NativeSource, are_blank, resize, snippet_frames, thin_layout};
use crate::frames::poster_selector::{self, PosterSelection, SharedFrames};
use crate::frames::{AnimationFrames, DecodedFrames, RgbFrame, StoryboardFrames, animation_fps};
use crate::source::reader::{self, OpenError};
use crate::store::Store;
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{SampleRequest, SeekMode};
use glimpse_media::excerpt::ExcerptSample;
use glimpse_media::excerpt::mp4_writer::{self, Excerpt};
use glimpse_media::excerpt::plan::{ExcerptPlan, FramePosition};
use glimpse_media::ffmpeg_args::{DecodeQuality, MAX_THREADS};
use glimpse_media::image::score::{self, Score};
use glimpse_media::image::storyboard;
use glimpse_media::plan::{self, FrameRequest};
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// How many attempts there are: one, another one after false keyframes, and one for mixed frame sizes.
const MAX_ATTEMPTS: usize = 3;
/// Width of the frames among which the poster is selected, in pixels: enough to recognize sharp ones, and that of the
/// animation, so that one pass can make both.
const CANDIDATE_WIDTH: u32 = limits::ANIMATION_WIDTH;
/// The codecs of which one pass may make tiles and animation. Samples of MPEG-4 part 2 may be split at the start of each
/// range (packed bitstream), and older codecs are rare.
const SHARED_PASS_CODECS: [&str; 3] = ["h264", "hevc", "vp9"];
/// Decoding a byte takes as long as this many pixels: 84 and 1.5 ns with ffmpeg's H.264 decoder.
const PIXELS_PER_BYTE: u64 = 58;

/// What to decode for the default outputs.
pub(super) struct DefaultsPlan {
    pub(super) tiles: ExcerptPlan,
    /// For each tile, the index of its range and its position in it.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) animation: ExcerptPlan,
    /// Frames per second of the animation.
    pub(super) fps: f64,
}

impl DefaultsPlan {
    /// The sample to probe.
    pub(super) fn first_sample(&self) -> Option<ExcerptSample> {
        self.animation.samples.first().or(self.tiles.samples.first()).copied()
    }
}

/// A candidate for the poster.
pub(super) struct Candidate {
    score: Score,
    /// In the size of the poster.
    pub(super) rgb: Bytes,
    pub(super) at_ms: Option<u64>,
}

/// The result of an attempt to decode the default frames.
enum AttemptResult {
    /// All frames were decoded.
    Done(Box<DecodedFrames>),
    /// The index marked a wrong frame as a keyframe; from now on it is not trusted. Requires another attempt.
    FalseKeyframes,
    /// The display size has changed. Requires another attempt.
    Resized,
}

/// The result of decoding the tiles.
enum TileResult {
    Tiles(PosterSelection, Option<Candidate>),
    /// The first sample of a range is not a keyframe.
    FalseKeyframes,
    /// The frames have several sizes; this is the one to use.
    MixedSizes(Option<Size>),
}

/// The sizes to decode, known once the first sample was probed.
pub(super) struct DecodeSizes {
    pub(super) info: MediaInfo,
    tone_map: bool,
    pub(super) poster: Size,
    candidate: Size,
    pub(super) tile: Size,
    pub(super) animation: Size,
    threads: DecoderThreads,
}

/// The number of threads of the two decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DecoderThreads {
    tiles: u32,
    animation: u32,
}

impl DecoderThreads {
    /// For a decoder that runs alone.
    const ALONE: Self = Self { tiles: MAX_THREADS, animation: MAX_THREADS };

    /// For the decoders of these plans, which run at the same time on this machine.
    fn for_plans(tiles: &ExcerptPlan, animation: &ExcerptPlan, pixels: u64) -> Self {
        let cost = |plan: &ExcerptPlan| decoding_cost(&plan.samples, pixels);
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::concurrent(cost(tiles), cost(animation), processors)
    }

    /// For decoders that run at the same time, by the cost of their work. A second thread costs a few percent of CPU
    /// time, which pays only if a processor would be idle: with many, or after the other decoder has finished.
    fn concurrent(tiles_cost: u64, animation_cost: u64, processors: usize) -> Self {
        let each = (processors as u32 / 2).clamp(1, MAX_THREADS);
        let threads = |cost: u64, other: u64| {
            let is_longer = cost.saturating_mul(2) > other.saturating_mul(3);
            (each + u32::from(is_longer)).min(MAX_THREADS).min(processors as u32)
        };
        Self { tiles: threads(tiles_cost, animation_cost), animation: threads(animation_cost, tiles_cost) }
    }
}

/// The cost of decoding these samples, in pixels, by the measurements of H.264.
fn decoding_cost(samples: &[ExcerptSample], pixels: u64) -> u64 {
    samples.iter().map(|sample| pixels + u64::from(sample.source.size) * PIXELS_PER_BYTE).sum()
}

impl DecodeSizes {
    pub(super) fn new(info: MediaInfo, tone_map: bool) -> Self {
        let poster = info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH);
        Self {
            poster,
            candidate: info.display_size.scale_to_fit(CANDIDATE_WIDTH),
            tile: storyboard::tile_size(poster),
            animation: info.display_size.scale_to_fit(limits::ANIMATION_WIDTH),
            info,
            tone_map,
            threads: DecoderThreads::ALONE,
        }
    }

    /// Whether tiles and animation are decoded at the same time.
    fn decodes_concurrently(&self) -> bool {
        !self.info.has_large_frames()
    }

    fn animation_pass(&self, quality: DecodeQuality, priority: Priority) -> DecodePass<'_> {
        let threads = self.threads.animation;
        DecodePass { threads, ..self.tile_pass(self.animation, quality, priority) }
    }

    fn tile_pass(&self, size: Size, quality: DecodeQuality, priority: Priority) -> DecodePass<'_> {
        let Self { info, tone_map, threads, .. } = self;
        DecodePass { info, tone_map: *tone_map, size, quality, priority, threads: threads.tiles }
    }
}

impl<S: Store> NativeSource<S> {
    /// The frames of the default outputs.
    ///
    /// # Errors
    /// [`OpenError::Unsupported`] if the file has to be read by ffmpeg; otherwise any error that ends the job.
    pub async fn default_frames(&mut self) -> Result<DecodedFrames, OpenError> {
        self.verify_sparse_keyframes().await?;
        // An index may mark samples as keyframes that are none, which only their bytes reveal, and frames may have
        // several sizes. Each is detected at most once.
        let mut check_keyframes = true;
        for _ in 0..MAX_ATTEMPTS {
            match Box::pin(self.try_default_frames(check_keyframes)).await? {
                AttemptResult::Done(frames) => return Ok(*frames),
                AttemptResult::FalseKeyframes => check_keyframes = false,
                AttemptResult::Resized => {}
            }
        }
        Err(JobError::internal("the default frames changed in every attempt").into())
    }

    async fn try_default_frames(&mut self, check_keyframes: bool) -> Result<AttemptResult, OpenError> {
        let plan = self.plan().await?;
        let first = plan.first_sample();
        let (DefaultsPlan { tiles, places, animation, fps }, shared_frames) = self.share_pass(plan).await?;
        let is_shared = shared_frames.is_some();
        // Everything is fetched in one round trip. The frames of the animation take longest to decode, so their
        // decoding starts as soon as their samples have arrived.
        let (tile_ranges, animation_ranges) =
            (mp4_writer::byte_ranges(&tiles.samples), mp4_writer::byte_ranges(&animation.samples));
        let tile_reads = reader::subtract_ranges(&tile_ranges, &animation_ranges);
        let mut pending = Some(self.reader.prefetch(&self.buffer, &tile_reads)?);
        self.reader.fetch(&mut self.buffer, &animation_ranges).await?;
        if animation.samples.is_empty()
            && let Some(pending) = pending.take()
        {
            pending.join(&mut self.buffer).await?;
        }
        if check_keyframes
            && self.has_false_keyframes(&self.buffer, &animation)
            && self.verify_keyframes().await?
        {
            return Ok(AttemptResult::FalseKeyframes);
        }
        // If the samples of the animation have several frame sizes, the tiles are also considered before anything is
        // decoded.
        if self.main_size(&self.buffer, [&animation]).is_some()
            && let Some(pending) = pending.take()
        {
            pending.join(&mut self.buffer).await?;
        }
        self.resolve_size(first.as_ref(), self.main_size(&self.buffer, [&animation, &tiles])).await?;
        let (info, tone_map) = self.probe(first.as_ref()).await?;
        let mut sizes = DecodeSizes::new(info, tone_map);
        if sizes.decodes_concurrently() && !is_shared {
            sizes.threads = DecoderThreads::for_plans(&tiles, &animation, self.coded_pixels());
        }
        let animation_excerpts = self.write_excerpts(&self.buffer, &animation.samples)?;
        let emptied = self.buffer.to_empty();
        let mut buffer = std::mem::replace(&mut self.buffer, emptied);

        let decode_tiles = async {
            if let Some(pending) = pending {
                pending.join(&mut buffer).await?;
            }
            let size = self.main_size(&buffer, [&animation, &tiles]);
            buffer.retain(&tile_ranges);
            if check_keyframes && self.has_false_keyframes(&buffer, &tiles) {
                return Ok(TileResult::FalseKeyframes);
            }
            if self.display_size.is_none() && size.is_some() && self.demuxer.track().crop.is_none() {
                return Ok(TileResult::MixedSizes(size));
            }
            let selection =
                self.select_candidates(&buffer, &tiles, &sizes, Priority::Required, shared_frames).await?;
            let best = self.decode_poster(&buffer, &tiles, &selection, &sizes).await?;
            Ok::<_, OpenError>(TileResult::Tiles(selection, best))
        };
        let decode_animation = self.decode_animation_excerpts(animation_excerpts, &sizes);
        let (tiles_result, animation_frames) = if sizes.decodes_concurrently() {
            tokio::try_join!(decode_tiles, decode_animation)?
        } else {
            let animation_frames = decode_animation.await?;
            (decode_tiles.await?, animation_frames)
        };
        self.buffer = buffer;
        let (mut selection, mut best) = match tiles_result {
            TileResult::Tiles(selection, best) => (selection, best),
            TileResult::FalseKeyframes => {
                self.verify_keyframes().await?;
                return Ok(AttemptResult::FalseKeyframes);
            }
            TileResult::MixedSizes(size) => {
                self.resolve_size(first.as_ref(), size).await?;
                return Ok(AttemptResult::Resized);
            }
        };
        self.buffer.retain(&[]);
        let animation_frames = if is_shared { std::mem::take(&mut selection.kept) } else { animation_frames };
        if selection.is_blank() {
            best = self.search_poster(best, &sizes).await?;
        }
        let best = self.reject_concealed(
            best.or_else(|| self.poster_from_animation(&animation, &animation_frames, &sizes)),
        )?;
        let mut selected = snippet_frames(&animation, &animation_frames, sizes.animation);
        if let Some(frames) = self.animation_around_poster(&selected, &best, fps, &sizes).await? {
            selected = frames;
        }
        let resized_poster = |size: Size| resize(&best.rgb, sizes.poster, size);
        if selected.is_empty() {
            selected.push(resized_poster(sizes.animation));
        }
        let storyboard = fill_tiles(&tiles, &places, &selection.tiles, &resized_poster(sizes.tile));
        let frames = DecodedFrames {
            poster_ms: best.at_ms,
            poster: RgbFrame { rgb: best.rgb, size: sizes.poster },
            animation: AnimationFrames { frames: selected, size: sizes.animation, fps },
            storyboard: StoryboardFrames { frames: storyboard, size: sizes.tile },
            info: sizes.info,
        };
        Ok(AttemptResult::Done(Box::new(frames)))
    }

    /// The main frame size of these layouts, if they have several, as far as their samples are known.
    pub(super) fn main_size<'a>(
        &self,
        buffer: &SparseBuffer,
        layouts: impl IntoIterator<Item = &'a ExcerptPlan>,
    ) -> Option<Size> {
        let samples = layouts.into_iter().flat_map(|layout| &layout.samples);
        mp4_writer::main_size(self.demuxer.track(), buffer, samples)
    }

    /// An animation around the time of the poster, if all other snippets are blank and this one is not.
    pub(super) async fn animation_around_poster(
        &mut self,
        frames: &[Bytes],
        best: &Candidate,
        fps: f64,
        sizes: &DecodeSizes,
    ) -> Result<Option<Vec<Bytes>>, OpenError> {
        let Some(at_ms) = best.at_ms.filter(|_| !best.score.blank && are_blank(frames, sizes.animation))
        else {
            return Ok(None);
        };
        let range = plan::snippet(self.demuxer.track(), at_ms, fps);
        let layout = self.plan_layout(&[range]).await?;
        self.fetch_samples(&layout).await?;
        let excerpts = self.write_excerpts(&self.buffer, &layout.samples)?;
        let quality = DecodeQuality::choose(&sizes.info, sizes.animation, false);
        let result =
            self.decode_frames(sizes.animation_pass(quality, self.decoder.best_effort()), excerpts).await;
        let decoded = exit_status::catch_rejection(result)?.unwrap_or_default();
        let around_frames = snippet_frames(&layout, &decoded, sizes.animation);
        Ok((!are_blank(&around_frames, sizes.animation)).then_some(around_frames))
    }

    /// The candidate, unless it shows only pixels that the decoder concealed.
    pub(super) fn reject_concealed(&self, best: Option<Candidate>) -> Result<Candidate, OpenError> {
        let best = best.filter(|best| !self.decoder.is_concealed(&best.rgb));
        best.ok_or(OpenError::Job(JobError::Rejected(Code::Truncated)))
    }

    /// The first frame of the animation as the poster, used if no tile could be decoded.
    pub(super) fn poster_from_animation(
        &self,
        layout: &ExcerptPlan,
        frames: &[Bytes],
        sizes: &DecodeSizes,
    ) -> Option<Candidate> {
        let rgb = resize(frames.first()?, sizes.animation, sizes.poster);
        let score = score::score(&rgb, sizes.poster.width);
        Some(Candidate { score, rgb, at_ms: self.presentation_ms(0, layout) })
    }

    /// Decodes the excerpts of the animation.
    pub(super) async fn decode_animation_excerpts(
        &self,
        excerpts: Vec<Excerpt>,
        sizes: &DecodeSizes,
    ) -> Result<Vec<Bytes>, OpenError> {
        let quality = DecodeQuality::choose(&sizes.info, sizes.animation, false);
        self.decode_frames(sizes.animation_pass(quality, Priority::Required), excerpts)
            .await
            .map_err(OpenError::from)
    }

    pub(super) async fn plan(&mut self) -> Result<DefaultsPlan, OpenError> {
        let pixels = self.coded_pixels();
        let tile_times = plan::default_tile_times(self.demuxer.track());
        let (ranges, places) = self.storyboard_ranges(&tile_times);
        let track = self.demuxer.track();
        let fps = animation_fps(track.fps, limits::ANIMATION_FPS);
        let snippets = plan::animation(track, fps, pixels, &ranges);
        let all_ranges: Vec<FrameRequest> = ranges.iter().chain(&snippets).cloned().collect();
        let mut samples = self.read_samples(&all_ranges).await?;
        let animation_samples = samples.split_off(ranges.len());
        let (tiles, animation) =
            (thin_layout(&ranges, samples, pixels), thin_layout(&snippets, animation_samples, pixels));
        if tiles.samples.is_empty() && animation.samples.is_empty() {
            return Err(JobError::Rejected(Code::Truncated).into());
        }
        Ok(DefaultsPlan { tiles, places, animation, fps })
    }

    /// A plan of one pass for tiles and animation, if that decodes less than two: where the tiles are decoded exactly,
    /// the animation shows frames that are decoded for them. Its `tiles` have all samples, its `animation` has none, and
    /// every frame is the same as in `plan`. Otherwise the plan itself.
    async fn share_pass(
        &mut self,
        plan: DefaultsPlan,
    ) -> Result<(DefaultsPlan, Option<SharedFrames>), OpenError> {
        // Tiles that are keyframes are decoded alone, and in some containers the samples between them are not known.
        let are_tiles_keyframes = plan.tiles.samples.iter().all(|sample| sample.source.is_key);
        if are_tiles_keyframes || !SHARED_PASS_CODECS.contains(&self.demuxer.track().codec) {
            return Ok((plan, None));
        }
        let pixels = self.coded_pixels();
        let all_positions = || plan.tiles.positions.iter().chain(&plan.animation.positions).flatten();
        let mut all_times: Vec<i64> = all_positions().map(|position| position.pts).collect();
        all_times.sort_unstable();
        all_times.dedup();
        let (Some(from), Some(last)) = (all_times.first().copied(), all_times.last().copied()) else {
            return Ok((plan, None));
        };
        let track = self.demuxer.track();
        let secs = (last - from) as f64 / f64::from(track.timescale.max(1));
        // Frames that are never shown have no time of their own.
        if from < 0 || last == i64::MAX || !plan::is_within_budget(secs * track.fps, pixels) {
            return Ok((plan, None));
        }
        let samples = SampleRequest { from, until: last + 1, mode: SeekMode::Exact };
        let request = FrameRequest { samples, times: all_times.clone() };
        let runs = self.read_samples(std::slice::from_ref(&request)).await?;
        let mut union = thin_layout(std::slice::from_ref(&request), runs, pixels);
        let cost = |plans: &[&ExcerptPlan]| -> u64 {
            plans.iter().map(|plan| decoding_cost(&plan.samples, pixels)).sum()
        };
        let positions = union.positions.pop().unwrap_or_default();
        let is_complete = positions.iter().map(|position| position.pts).eq(all_times.iter().copied());
        if !is_complete || cost(&[&union]) >= cost(&[&plan.tiles, &plan.animation]) {
            return Ok((plan, None));
        }
        let find =
            |position: &FramePosition| positions[all_times.partition_point(|time| *time < position.pts)];
        let map = |plan: &ExcerptPlan| -> Vec<Vec<FramePosition>> {
            plan.positions.iter().map(|request| request.iter().map(find).collect()).collect()
        };
        let indexes = |positions: &[Vec<FramePosition>]| {
            positions.iter().flatten().map(|position| position.frame_index).collect()
        };
        let (tiles, animation) = (map(&plan.tiles), map(&plan.animation));
        let frames = SharedFrames { candidates: indexes(&tiles), kept: indexes(&animation) };
        let plan = DefaultsPlan {
            tiles: ExcerptPlan { samples: union.samples, positions: tiles },
            animation: ExcerptPlan { samples: Vec::new(), positions: animation },
            ..plan
        };
        Ok((plan, Some(frames)))
    }

    /// Decodes the frames of a layout and scales them to tiles.
    pub(super) async fn select_candidates(
        &self,
        buffer: &SparseBuffer,
        layout: &ExcerptPlan,
        sizes: &DecodeSizes,
        priority: Priority,
        shared: Option<SharedFrames>,
    ) -> Result<PosterSelection, OpenError> {
        let excerpts = self.write_excerpts(buffer, &layout.samples)?;
        let keyframes = layout.samples.iter().all(|shot| shot.source.is_key);
        let quality = DecodeQuality::choose(&sizes.info, sizes.candidate, keyframes);
        Ok(self
            .select_poster(sizes.tile_pass(sizes.candidate, quality, priority), excerpts, sizes.tile, shared)
            .await?)
    }

    /// The best of the selected frames, decoded again in the size of the poster.
    pub(super) async fn decode_poster(
        &self,
        buffer: &SparseBuffer,
        layout: &ExcerptPlan,
        selection: &PosterSelection,
        sizes: &DecodeSizes,
    ) -> Result<Option<Candidate>, OpenError> {
        let Some(best) = &selection.best else { return Ok(None) };
        let mut full_size = None;
        if sizes.poster != sizes.candidate {
            let excerpts = self.write_excerpts(buffer, &layout.samples_for_frame(best.slot))?;
            let result = self
                .decode_frames(
                    sizes.tile_pass(sizes.poster, DecodeQuality::Full, Priority::Required),
                    excerpts,
                )
                .await;
            full_size = exit_status::catch_rejection(result)?.unwrap_or_default().into_iter().next();
        }
        let rgb = full_size.unwrap_or_else(|| resize(&best.rgb, sizes.candidate, sizes.poster));
        Ok(Some(Candidate { score: best.score, rgb, at_ms: self.presentation_ms(best.slot, layout) }))
    }

    /// The best frame between the first keyframes, if it is better than `best`. Used if the keyframes are blank.
    pub(super) async fn search_poster(
        &mut self,
        best: Option<Candidate>,
        sizes: &DecodeSizes,
    ) -> Result<Option<Candidate>, OpenError> {
        let range = plan::fallback_search(self.demuxer.track(), self.coded_pixels());
        let layout = self.plan_layout(&[range]).await?;
        self.fetch_samples(&layout).await?;
        let selection = match self
            .select_candidates(&self.buffer, &layout, sizes, self.decoder.best_effort(), None)
            .await
        {
            Err(OpenError::Job(error)) => exit_status::catch_rejection(Err(error))?.unwrap_or_default(),
            other => other?,
        };
        let is_better = |candidate: &poster_selector::BestFrame| {
            best.as_ref().is_none_or(|best| poster_selector::is_better(&candidate.score, &best.score))
        };
        if selection.best.as_ref().is_some_and(is_better) {
            return self.decode_poster(&self.buffer, &layout, &selection, sizes).await;
        }
        Ok(best)
    }

    /// The presentation time of a frame, in milliseconds.
    fn presentation_ms(&self, slot: u32, layout: &ExcerptPlan) -> Option<u64> {
        let request = layout.positions.iter().flatten().find(|pick| pick.frame_index == slot)?;
        Some(plan::frame_time_ms(self.demuxer.track(), request.pts))
    }
}

/// A frame for each tile: its own, else the one before it, else `fallback`.
pub(super) fn fill_tiles(
    layout: &ExcerptPlan,
    places: &[(usize, usize)],
    frames: &[Bytes],
    fallback: &Bytes,
) -> Vec<Bytes> {
    let mut last: Option<Bytes> = None;
    let first = frames.iter().find(|frame| !frame.is_empty()).unwrap_or(fallback);
    places
        .iter()
        .map(|(range_index, position)| {
            let request: Option<&FramePosition> =
                layout.positions.get(*range_index).and_then(|picks| picks.get(*position));
            let frame_of_tile = request.and_then(|pick| frames.get(pick.frame_index as usize)).cloned();
            let frame = frame_of_tile.or_else(|| last.clone()).unwrap_or_else(|| first.clone());
            last = Some(frame.clone());
            frame
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_of_two_decoders_has_two_threads() {
        let threads = |tiles, animation, processors| {
            let DecoderThreads { tiles, animation } =
                DecoderThreads::concurrent(tiles, animation, processors);
            (tiles, animation)
        };
        // A minute, and an hour.
        assert_eq!(threads(450, 450, 2), (1, 1));
        assert_eq!(threads(1300, 450, 2), (2, 1));
        assert_eq!(threads(0, 450, 2), (1, 2));
        assert_eq!((threads(1300, 450, 1), threads(450, 450, 8)), ((1, 1), (2, 2)));
    }
}
