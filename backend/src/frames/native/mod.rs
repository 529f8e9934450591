//! Source whose container Glimpse demuxes itself. It reads the index, plans the samples, fetches them, writes them to
//! an excerpt and decodes that.
//!
//! The decoder receives excerpts only: it never sees the source, and has no other input.

mod defaults;
mod part;

use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, limits};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::error::JobError;
use crate::frames::decoder::{Decoder, DecoderInput, FrameFormat, Priority};
use crate::frames::exit_status;
use crate::frames::native::defaults::fill_tiles;
use crate::frames::poster_selector::{self, PosterSelection, SharedFrames};
use crate::source::reader::{self, OpenError, RangeReader};
use crate::store::Store;
use glimpse_media::clip::{self, ClipError, ClipPlan, ClipRequest, ClipTrack};
use glimpse_media::container::Container;
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, DolbyVision, Sample, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::excerpt;
use glimpse_media::excerpt::ExcerptSample;
use glimpse_media::excerpt::frame_size;
use glimpse_media::excerpt::mp4_writer::{self, Excerpt, write_excerpt};
use glimpse_media::excerpt::plan::ExcerptPlan;
use glimpse_media::ffmpeg_args::{self, DecodeQuality, ExcerptRequest, MAX_THREADS};
use glimpse_media::image::score;
use glimpse_media::plan::{self, FrameRequest, TileTimes};
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// How many frames may be queued: enough for the decoder to continue, and few enough to keep memory small.
const FRAME_QUEUE_LEN: usize = 4;

/// Parameters of a decode.
#[derive(Debug, Clone, Copy)]
struct DecodePass<'a> {
    info: &'a MediaInfo,
    tone_map: bool,
    size: Size,
    quality: DecodeQuality,
    priority: Priority,
    /// The number of threads of the decoder.
    threads: u32,
}

/// A video whose index was read.
#[derive(Debug)]
pub struct NativeSource<S> {
    decoder: Decoder,
    reader: Arc<RangeReader<S>>,
    buffer: SparseBuffer,
    demuxer: Box<dyn Demuxer>,
    info: Option<(MediaInfo, bool)>,
    /// The display size, if it is known without probing the first sample.
    display_size: Option<Size>,
}

impl<S: Store> NativeSource<S> {
    /// Reads the index of a file whose beginning is in `buffer`.
    ///
    /// # Errors
    /// [`OpenError::Unsupported`] if the file has to be read by ffmpeg.
    pub async fn open(
        decoder: Decoder,
        reader: Arc<RangeReader<S>>,
        mut buffer: SparseBuffer,
        container: Container,
    ) -> Result<Self, OpenError> {
        buffer.set_deadline(decoder.deadlines.invocation.into_std());
        let native = container.native_demuxer();
        let open = native.ok_or(OpenError::Unsupported("container not supported"))?.open;
        let demuxer = reader.read_until_ready(&mut buffer, open).await?;
        if plan::ms_from_ticks(demuxer.track(), demuxer.track().duration) > limits::MAX_DURATION_MS {
            return Err(JobError::Rejected(Code::TooLong).into());
        }
        Ok(Self { decoder, reader, buffer, demuxer, info: None, display_size: None })
    }

    /// Shows all frames in this size, regardless of the first one: frames with another aspect ratio get black borders.
    #[must_use]
    pub fn with_display_size(mut self, size: Size) -> Self {
        self.display_size = Some(size);
        self
    }

    /// Prepares the source for another request with this decoder. Only the index is kept: the streams are probed again,
    /// since they may change within the file and an image must not depend on earlier requests.
    pub fn renew(&mut self, decoder: Decoder) {
        self.release_buffer();
        self.buffer.set_deadline(decoder.deadlines.invocation.into_std());
        self.info = None;
        self.decoder = decoder;
    }

    /// Frees the memory of the bytes that were read; they are read again if they are needed.
    pub fn release_buffer(&mut self) {
        self.buffer = self.buffer.to_empty();
    }

    /// The frame shown at a time, in this size.
    ///
    /// # Errors
    /// Like [`NativeSource::default_frames`]; [`Code::Truncated`] if there is no frame.
    pub async fn frame_at(&mut self, at_ms: u64, size: Size) -> Result<Bytes, OpenError> {
        let range = plan::frame_at(self.demuxer.track(), at_ms);
        self.decode_range(range, size).await
    }

    /// The poster, identified by its stored time, in this size.
    ///
    /// # Errors
    /// Like [`NativeSource::frame_at`].
    pub async fn poster_frame(&mut self, poster_ms: u64, size: Size) -> Result<Bytes, OpenError> {
        let range = plan::stored_frame_at(self.demuxer.track(), poster_ms);
        self.decode_range(range, size).await
    }

    async fn decode_range(&mut self, range: FrameRequest, size: Size) -> Result<Bytes, OpenError> {
        let (_, frames) = self.decode_exact(&[range], size, |_| DecodeQuality::Full).await?;
        frames.into_iter().next().ok_or(OpenError::Job(JobError::Rejected(Code::Truncated)))
    }

    /// Plans a clip whose samples are copied.
    ///
    /// # Errors
    /// The outer error: the index cannot be read. The inner error: why there is no such clip.
    pub async fn plan_clip(
        &mut self,
        request: ClipRequest,
    ) -> Result<Result<ClipPlan, ClipError>, OpenError> {
        self.verify_sparse_keyframes().await?;
        let (demuxer, reader) = (&self.demuxer, &self.reader);
        let parse = |known: &SparseBuffer| clip::plan(demuxer.as_ref(), known, request);
        reader.read_until_ready(&mut self.buffer, parse).await
    }

    /// Plans the sound of a clip whose frames are encoded; `None` if none can be copied.
    ///
    /// # Errors
    /// The index cannot be read.
    pub async fn plan_clip_audio(&mut self, request: ClipRequest) -> Result<Option<ClipTrack>, OpenError> {
        let (demuxer, reader) = (&self.demuxer, &self.reader);
        let parse = |known: &SparseBuffer| clip::plan_audio(demuxer.as_ref(), known, request);
        reader.read_until_ready(&mut self.buffer, parse).await
    }

    /// Sends the frames of a time span, in this size, one after another: they are never in memory together.
    ///
    /// # Errors
    /// Like [`NativeSource::animation_frames`]. [`OpenError::Unsupported`] before the first frame only.
    pub async fn send_frames(
        &mut self,
        (from_ms, until_ms): (u64, u64),
        size: Size,
        fps: f64,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), OpenError> {
        self.verify_sparse_keyframes().await?;
        let range = plan::clip(self.demuxer.track(), from_ms, until_ms, fps);
        let layout = self.fetch_layout(&[range]).await?;
        let (info, tone_map) = self.probe(layout.samples.first()).await?;
        let excerpts = self.write_excerpts(&self.buffer, &layout.samples)?;
        let quality = DecodeQuality::choose(&info, size, false);
        let pass = DecodePass {
            info: &info,
            tone_map,
            size,
            quality,
            priority: Priority::Required,
            threads: MAX_THREADS,
        };
        let mut positions = layout.positions.iter().flatten().peekable();
        let (frame_sender, mut receiver) = mpsc::channel::<Bytes>(FRAME_QUEUE_LEN);
        let forward = async {
            let mut count = 0_u32;
            while let Some(frame) = receiver.recv().await {
                while positions.next_if(|position| position.frame_index <= count).is_some() {
                    // The receiver has failed, and reports its own error.
                    let _ = sender.send(frame.clone()).await;
                }
                count += 1;
            }
            count
        };
        let (decoded, count) = tokio::join!(self.decode_excerpts(pass, excerpts, frame_sender), forward);
        decoded?;
        if count == 0 { Err(JobError::Rejected(Code::Truncated).into()) } else { Ok(()) }
    }

    /// The frames of a time span, or of snippets over the whole video, in this size. If all snippets are blank, the
    /// frames around the poster.
    ///
    /// # Errors
    /// Like [`NativeSource::default_frames`]; [`Code::Truncated`] if there are none.
    pub async fn animation_frames(
        &mut self,
        span: Option<(u64, u64)>,
        poster_ms: Option<u64>,
        size: Size,
        fps: f64,
    ) -> Result<Vec<Bytes>, OpenError> {
        self.verify_sparse_keyframes().await?;
        let pixels = self.coded_pixels();
        let track = self.demuxer.track();
        let default_tiles = || self.storyboard_ranges(&plan::default_tile_times(track)).0;
        let ranges = match span {
            Some((from, until)) => vec![plan::clip(track, from, until, fps)],
            None => plan::animation(track, fps, pixels, &default_tiles()),
        };
        let quality = |info: &MediaInfo| DecodeQuality::choose(info, size, false);
        let (layout, frames) = self.decode_exact(&ranges, size, quality).await?;
        let mut selected = snippet_frames(&layout, &frames, size);
        if let Some(poster_ms) = poster_ms.filter(|_| span.is_none() && are_blank(&selected, size)) {
            let range = plan::snippet(self.demuxer.track(), poster_ms, fps);
            let (layout, frames) = self.decode_exact(&[range], size, quality).await?;
            let around = snippet_frames(&layout, &frames, size);
            if !are_blank(&around, size) {
                selected = around;
            }
        }
        if selected.is_empty() { Err(JobError::Rejected(Code::Truncated).into()) } else { Ok(selected) }
    }

    /// The frames of a storyboard's tiles, in this size, one for each tile.
    ///
    /// # Errors
    /// Like [`NativeSource::default_frames`]; [`Code::Truncated`] if there are none.
    pub async fn tile_frames(&mut self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, OpenError> {
        self.verify_sparse_keyframes().await?;
        let (ranges, places) = self.storyboard_ranges(tile_times);
        let are_keyframes = ranges.iter().all(|range| range.samples.mode == SeekMode::Keyframe);
        let quality = |info: &MediaInfo| DecodeQuality::choose(info, size, are_keyframes);
        let (layout, frames) = self.decode_exact(&ranges, size, quality).await?;
        let first = frames.first().cloned().ok_or(JobError::Rejected(Code::Truncated))?;
        Ok(fill_tiles(&layout, &places, &frames, &first))
    }

    /// Plans, fetches and decodes these ranges.
    async fn decode_exact(
        &mut self,
        ranges: &[FrameRequest],
        size: Size,
        quality: impl Fn(&MediaInfo) -> DecodeQuality,
    ) -> Result<(ExcerptPlan, Vec<Bytes>), OpenError> {
        let layout = self.fetch_layout(ranges).await?;
        let (info, tone_map) = self.probe(layout.samples.first()).await?;
        let excerpts = self.write_excerpts(&self.buffer, &layout.samples)?;
        let pass = DecodePass {
            info: &info,
            tone_map,
            size,
            quality: quality(&info),
            priority: Priority::Required,
            threads: MAX_THREADS,
        };
        let frames = self.decode_frames(pass, excerpts).await?;
        Ok((layout, frames))
    }

    /// Plans these ranges, and fetches their samples.
    async fn fetch_layout(&mut self, ranges: &[FrameRequest]) -> Result<ExcerptPlan, OpenError> {
        let layout = self.plan_layout(ranges).await?;
        self.fetch_samples(&layout).await?;
        if !self.has_false_keyframes(&self.buffer, &layout) || !self.verify_keyframes().await? {
            return Ok(layout);
        }
        let layout = self.plan_layout(ranges).await?;
        self.fetch_samples(&layout).await?;
        Ok(layout)
    }

    /// Reads from the samples themselves which of them are keyframes. Returns whether that was possible.
    async fn verify_keyframes(&mut self) -> Result<bool, OpenError> {
        let (demuxer, reader) = (&self.demuxer, &self.reader);
        let Some(verified) =
            reader.read_until_ready(&mut self.buffer, |known| demuxer.with_verified_keyframes(known)).await?
        else {
            return Ok(false);
        };
        self.demuxer = verified;
        Ok(true)
    }

    /// Verifies the keyframes if the index lists so few that it may have omitted most. Returns whether that changed
    /// them.
    async fn verify_sparse_keyframes(&mut self) -> Result<bool, OpenError> {
        if !plan::has_few_keyframes(self.demuxer.track(), self.coded_pixels()) {
            return Ok(false);
        }
        let before = self.demuxer.track().keyframes.clone();
        Ok(self.verify_keyframes().await? && self.demuxer.track().keyframes != before)
    }

    /// The ranges of a storyboard, and for each tile its range and position.
    fn storyboard_ranges(&self, tile_times: &TileTimes) -> (Vec<FrameRequest>, Vec<(usize, usize)>) {
        let track = self.demuxer.track();
        let (ranges, places) = plan::storyboard(track, self.coded_pixels(), tile_times);
        let Some(alternatives) = plan::tile_alternatives(track, tile_times, &ranges) else {
            return (ranges, places);
        };
        let requests: Vec<SampleRequest> = alternatives.iter().flatten().map(|range| range.samples).collect();
        // Only an index that lists every sample contains their sizes without another read of the file.
        match self.demuxer.find_samples(&self.buffer.to_empty(), &requests) {
            Ok(samples) => (plan::choose_lightest(alternatives, &samples), places),
            Err(_) => (ranges, places),
        }
    }

    fn has_false_keyframes(&self, buffer: &SparseBuffer, layout: &ExcerptPlan) -> bool {
        mp4_writer::has_false_keyframe(self.demuxer.track(), buffer, &layout.samples)
    }

    async fn plan_layout(&mut self, ranges: &[FrameRequest]) -> Result<ExcerptPlan, OpenError> {
        let pixels = self.coded_pixels();
        let samples = self.read_samples(ranges).await?;
        let mut layout = thin_layout(ranges, samples, pixels);
        // The index may list too few keyframes.
        if excerpt::plan::is_over_budget(&layout, pixels) && self.verify_sparse_keyframes().await? {
            let samples = self.read_samples(ranges).await?;
            layout = thin_layout(ranges, samples, pixels);
        }
        if excerpt::plan::is_over_budget(&layout, pixels) {
            let near_ranges: Vec<FrameRequest> = ranges.iter().map(plan::relax_to_keyframe).collect();
            let samples = self.read_samples(&near_ranges).await?;
            layout = thin_layout(&near_ranges, samples, pixels);
        }
        if layout.samples.is_empty() {
            return Err(JobError::Rejected(Code::Truncated).into());
        }
        Ok(layout)
    }

    async fn read_samples(&mut self, ranges: &[FrameRequest]) -> Result<Vec<Vec<Sample>>, OpenError> {
        let requests: Vec<SampleRequest> = ranges.iter().map(|range| range.samples).collect();
        let (demuxer, reader) = (&self.demuxer, &self.reader);
        reader.read_until_ready(&mut self.buffer, |known| demuxer.find_samples(known, &requests)).await
    }

    async fn fetch_samples(&mut self, layout: &ExcerptPlan) -> Result<(), JobError> {
        self.reader.fetch(&mut self.buffer, &mp4_writer::byte_ranges(&layout.samples)).await
    }

    /// Writes excerpts of these samples, all of which have been fetched.
    fn write_excerpts(
        &self,
        buffer: &SparseBuffer,
        samples: &[ExcerptSample],
    ) -> Result<Vec<Excerpt>, OpenError> {
        mp4_writer::write_excerpts(self.demuxer.track(), buffer, samples).map_err(|fault| match fault {
            ReadError::Rejected(code) => JobError::Rejected(code).into(),
            ReadError::Unsupported(why) => OpenError::Unsupported(why),
            ReadError::NeedMore(_) => JobError::internal("a sample was not fetched").into(),
            ReadError::DeadlineExceeded => reader::deadline_error().into(),
        })
    }

    /// Probes one sample with ffprobe, once.
    async fn probe(&mut self, first: Option<&ExcerptSample>) -> Result<(MediaInfo, bool), OpenError> {
        if let Some(cached) = &self.info {
            return Ok(cached.clone());
        }
        let sample = *first.ok_or(JobError::Rejected(Code::Truncated))?;
        let (demuxer, reader) = (&self.demuxer, &self.reader);
        let excerpt = reader
            .read_until_ready(&mut self.buffer, |known| write_excerpt(demuxer.track(), known, &[sample]))
            .await?;
        let mut info = self.decoder.probe(DecoderInput::Excerpt(&excerpt.bytes)).await?;
        let track = self.demuxer.track();
        info.duration_ms = plan::ms_from_ticks(track, track.duration);
        info.fps = track.fps;
        info.has_audio = track.has_audio;
        // An excerpt does not contain the Dolby Vision configuration.
        info.dolby_vision_profile = track.dolby_vision.and_then(DolbyVision::incompatible_profile);
        if let Some(crop) = track.crop {
            info.apply_crop(crop);
        }
        if let Some(display_size) = self.display_size {
            info.set_display_size(display_size);
        }
        let tone_map = self.decoder.can_tone_map(&info).await;
        Ok(self.info.insert((info, tone_map)).clone())
    }

    /// One frame for each requested position, as far as they can be decoded.
    async fn decode_frames(
        &self,
        pass: DecodePass<'_>,
        excerpts: Vec<Excerpt>,
    ) -> Result<Vec<Bytes>, JobError> {
        let (sender, mut receiver) = mpsc::channel(FRAME_QUEUE_LEN);
        let collect = async {
            let mut list = Vec::new();
            while let Some(frame) = receiver.recv().await {
                list.push(frame);
            }
            list
        };
        let (decoded, list) = tokio::join!(self.decode_excerpts(pass, excerpts, sender), collect);
        decoded.map(|()| list)
    }

    async fn select_poster(
        &self,
        pass: DecodePass<'_>,
        excerpts: Vec<Excerpt>,
        tile: Size,
        shared: Option<SharedFrames>,
    ) -> Result<PosterSelection, JobError> {
        let (sender, receiver) = mpsc::channel(FRAME_QUEUE_LEN);
        let size = pass.size;
        let selecting = spawn_blocking(move || poster_selector::select_poster(receiver, size, tile, shared));
        self.decode_excerpts(pass, excerpts, sender).await?;
        selecting.await.map_err(JobError::internal)
    }

    /// Decodes excerpts one after another. The frames of an excerpt that cannot be decoded repeat the frame before
    /// them.
    async fn decode_excerpts(
        &self,
        pass: DecodePass<'_>,
        excerpts: Vec<Excerpt>,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        let DecodePass { info, tone_map, size, quality, priority, threads } = pass;
        let matrix = self.demuxer.track().matrix;
        let mut last: Option<Bytes> = None;
        let mut missing = 0;
        let mut rejection = None;
        for excerpt in excerpts {
            let request = ExcerptRequest { matrix, count: excerpt.frame_count, size, quality, threads };
            let arguments = ffmpeg_args::decode_excerpt(info, tone_map, &request);
            let (frame_sender, mut receiver) = mpsc::channel(1);
            let format = FrameFormat::new(info, size, excerpt.frame_count);
            let decode = self.decoder.decode(
                DecoderInput::Excerpt(&excerpt.bytes),
                &arguments,
                format,
                priority,
                frame_sender,
            );
            let forward = async {
                let mut count = 0;
                while let Some(frame) = receiver.recv().await {
                    count += 1;
                    // Positions before the first decoded frame repeat that frame.
                    for _ in 0..std::mem::take(&mut missing) {
                        let _ = sender.send(last.get_or_insert_with(|| frame.clone()).clone()).await;
                    }
                    let _ = sender.send(frame.clone()).await;
                    last = Some(frame);
                }
                count
            };
            let (result, count) = tokio::join!(decode, forward);
            match exit_status::catch_rejection(result)? {
                Ok(count) => missing += excerpt.frame_count.saturating_sub(count),
                // There were more frames than requested, so they are not those of the video.
                Err(code) if count > 0 => return Err(JobError::Rejected(code)),
                Err(code) => {
                    rejection = Some(code);
                    missing += excerpt.frame_count;
                    if code == Code::TimedOut {
                        break;
                    }
                }
            }
        }
        if let Some(last) = last {
            for _ in 0..missing {
                let _ = sender.send(last.clone()).await;
            }
            return Ok(());
        }
        // Without any frame, the reason is the result.
        rejection.map_or(Ok(()), |code| Err(JobError::Rejected(code)))
    }

    /// Sets one display size, if the frames of these samples have several. Returns whether it differs from the one
    /// before.
    async fn resolve_size(
        &mut self,
        first: Option<&ExcerptSample>,
        size: Option<Size>,
    ) -> Result<bool, OpenError> {
        let is_unset = self.display_size.is_none() && self.demuxer.track().crop.is_none();
        let Some(coded) = size.filter(|_| is_unset) else { return Ok(false) };
        let (info, _) = self.probe(first).await?;
        let display_size = info.display_size_of(coded);
        self.display_size = Some(display_size);
        self.info = None;
        Ok(display_size != info.display_size)
    }

    /// Number of coded pixels per frame, from the sample entries: ISO 14496-12, 12.1.3.
    fn coded_pixels(&self) -> u64 {
        let sizes = self.demuxer.track().sample_entries.iter().filter_map(frame_size::size_from_entry);
        sizes.map(|Size { width, height }| u64::from(width) * u64::from(height)).max().unwrap_or(1)
    }
}

/// The name of the codec of a rejected source, if its container names it.
pub async fn codec_name<S: Store>(reader: &RangeReader<S>, container: Container) -> Option<String> {
    let (mut buffer, _) = reader.detect_container().await.ok()?;
    let read_codec_name = container.native_demuxer()?.codec_name?;
    let name = reader.read_until_ready(&mut buffer, read_codec_name).await;
    name.ok().flatten()
}

/// The layout of these ranges; if they are too large for an excerpt, of fewer ranges.
fn thin_layout(ranges: &[FrameRequest], mut samples: Vec<Vec<Sample>>, pixels: u64) -> ExcerptPlan {
    let mut layout = excerpt::plan::plan_excerpt(ranges, samples.clone());
    let mut step = 2;
    while excerpt::plan::is_over_budget(&layout, pixels) && step <= ranges.len() {
        // Drop every second of the remaining ranges; each is similar to its neighbors.
        for (index, run) in samples.iter_mut().enumerate() {
            if index % step != 0 {
                run.clear();
            }
        }
        layout = excerpt::plan::plan_excerpt(ranges, samples.clone());
        step *= 2;
    }
    layout
}

/// The frames of an animation without blank snippets, unless all are blank.
fn snippet_frames(layout: &ExcerptPlan, frames: &[Bytes], size: Size) -> Vec<Bytes> {
    let snippets: Vec<Vec<Bytes>> = layout
        .positions
        .iter()
        .map(|picks| picks.iter().filter_map(|pick| frames.get(pick.frame_index as usize).cloned()).collect())
        .collect();
    let is_visible = |snippet: &&Vec<Bytes>| {
        snippet.get(snippet.len() / 2).is_some_and(|frame| !score::score(frame, size.width).blank)
    };
    let visible: Vec<Bytes> = snippets.iter().filter(is_visible).flatten().cloned().collect();
    if visible.is_empty() { snippets.into_iter().flatten().collect() } else { visible }
}

/// Whether all of these frames are blank.
fn are_blank(frames: &[Bytes], size: Size) -> bool {
    frames.iter().all(|frame| score::score(frame, size.width).blank)
}

fn resize(frame: &Bytes, from: Size, to: Size) -> Bytes {
    if from == to { frame.clone() } else { glimpse_media::image::placeholder::shrink(frame, from, to).into() }
}
