//! Source whose container ffmpeg demuxes: it is read through the source proxy, with one child process per decode
//! request.

mod animation;
mod duration;
mod missing_index;
mod poster;
mod single_pass;
mod stream_map;
mod tiles;
mod timestamps;

use bytes::Bytes;
use glimpse_contract::{Code, VariantKind, limits};
use tokio::sync::mpsc;

use crate::error::JobError;
use crate::frames::decoder::{Decoder, DecoderInput, FrameFormat, Priority};
use crate::frames::exit_status;
use crate::frames::ffmpeg::single_pass::FullScan;
use crate::frames::ffmpeg::timestamps::TimelineSegment;
use crate::frames::{self, DecodedFrames, KindFrames, animation_fps};
use crate::source::proxy::SourceProxy;
use crate::source::reader::{self, IoStats};
use glimpse_media::container::{self, Container};
use glimpse_media::ffmpeg_args::{self, DecodeRequest, SeekTarget};
use glimpse_media::image::{placeholder, storyboard};
use glimpse_media::plan::TileTimes;
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// Maximum number of bytes of the frames that are decoded together to be sent.
const MAX_PIECE_BYTES: usize = 100_000_000;

/// A video that ffmpeg demuxes.
#[derive(Debug)]
pub struct FfmpegSource {
    decoder: Decoder,
    proxy: SourceProxy,
    container: Container,
    /// Information about the video.
    pub info: MediaInfo,
    tone_map: bool,
    /// The segments of a joined stream; empty if there is only one. Seeks work only within a segment.
    segments: Vec<TimelineSegment>,
}

impl FfmpegSource {
    /// Probes a source. `known_duration_ms` is its duration, if an earlier step determined it.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn open(
        decoder: Decoder,
        proxy: SourceProxy,
        container: Container,
        known_duration_ms: Option<u64>,
    ) -> Result<Self, JobError> {
        skip_leading_bytes(&proxy, container).await?;
        let mut info = probe(&decoder, &proxy, container).await?;
        info.fps = duration::frame_rate(container, &info);
        // A stream whose duration equals the difference of its first and last timestamps has one segment.
        let is_continuous =
            known_duration_ms.is_some_and(|length_ms| length_ms.abs_diff(info.duration_ms) <= 1);
        let mut segments = match container.running_clock() {
            Some(stream) if !is_continuous => timestamps::find_segments(&proxy, stream, info.fps).await?,
            _ => Vec::new(),
        };
        if container == Container::Mpeg {
            duration::recount(&decoder, &proxy, &info, &mut segments).await?;
        }
        let segments_end_ms = segments.last().map(|last| last.start_ms + last.duration_ms);
        info.duration_ms = match (known_duration_ms, segments_end_ms) {
            (Some(length_ms), _) => length_ms,
            (None, Some(length_ms)) => {
                duration::resolve_duration(length_ms, None).map_err(JobError::Rejected)?
            }
            (None, None) => duration::measure(&decoder, &proxy, container, &info).await?,
        };
        let tone_map = decoder.can_tone_map(&info).await;
        Ok(Self { decoder, proxy, container, info, tone_map, segments })
    }

    /// Statistics of the reads so far.
    pub fn stats(&self) -> IoStats {
        self.proxy.stats()
    }

    /// The frames of the default outputs.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn default_frames(&self) -> Result<DecodedFrames, JobError> {
        let (tile_times, tile_size) = self.default_tiles();
        let (poster, animation, storyboard) = if let Some(scan) = self.full_scan().await? {
            (scan.poster(), scan.animation(self).await?, scan.storyboard(tile_size).await?)
        } else {
            let poster = poster::choose(self).await?;
            let animation = animation::animation(self, Some(&poster)).await?;
            let storyboard = tiles::storyboard(self, &tile_times, tile_size, Some(&poster)).await?;
            (poster, animation, storyboard)
        };
        exit_status::check_source(self.proxy.first_error())?;
        // A seek ends at a keyframe whose time ffmpeg does not report.
        Ok(DecodedFrames { info: self.info.clone(), poster, poster_ms: None, animation, storyboard })
    }

    /// The frames of one kind of default output: the same as those of `default_frames`.
    ///
    /// # Errors
    /// Any error that ends the job.
    pub async fn frames_for_kind(&self, kind: VariantKind) -> Result<KindFrames, JobError> {
        let (tile_times, tile_size) = self.default_tiles();
        let frames = match (kind, self.full_scan().await?) {
            (VariantKind::Thumbnail, Some(scan)) => KindFrames::Poster(scan.poster(), None),
            (VariantKind::Animation, Some(scan)) => KindFrames::Animation(scan.animation(self).await?),
            (VariantKind::Storyboard, Some(scan)) => {
                KindFrames::Storyboard(scan.storyboard(tile_size).await?)
            }
            (VariantKind::Thumbnail, None) => KindFrames::Poster(poster::choose(self).await?, None),
            (VariantKind::Animation, None) => KindFrames::Animation(animation::animation(self, None).await?),
            (VariantKind::Storyboard, None) => {
                KindFrames::Storyboard(tiles::storyboard(self, &tile_times, tile_size, None).await?)
            }
            (VariantKind::Clip, _) => return Err(frames::no_default_frames()),
        };
        exit_status::check_source(self.proxy.first_error())?;
        Ok(frames)
    }

    /// One pass over the whole source, if seeks are expensive and the pass returns any frames.
    async fn full_scan(&self) -> Result<Option<FullScan>, JobError> {
        let size = self.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH);
        single_pass::scan_if_needed(self, &self.default_tiles().0, size).await
    }

    /// The frame shown at a time, in this size.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there is no frame.
    pub async fn frame_at(&self, at_ms: u64, size: Size) -> Result<Bytes, JobError> {
        let request = |seek, count| DecodeRequest { seek, keyframes_only: false, fps: None, count, size };
        let seek = if at_ms == 0 { SeekTarget::FirstFrame } else { self.exact_seek(at_ms) };
        if let Some(frame) = self.decode_or_empty(&request(seek, 1)).await?.pop() {
            return Ok(frame);
        }
        // Times before the first frame show the first frame.
        let first = request(SeekTarget::FirstFrame, 1);
        self.decode_or_empty(&first).await?.pop().ok_or(JobError::Rejected(Code::Truncated))
    }

    /// The best frame, in this size: the one of the poster.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there is no frame.
    pub async fn best_frame(&self, size: Size) -> Result<Bytes, JobError> {
        let default_size = self.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH);
        let scan_size = if size.frame_bytes() > default_size.frame_bytes() { size } else { default_size };
        if let Some(scan) = single_pass::scan_if_needed(self, &self.default_tiles().0, scan_size).await? {
            return Ok(placeholder::shrink(&scan.poster().rgb, scan_size, size).into());
        }
        let poster = poster::choose(self).await?;
        if poster.size.frame_bytes() >= size.frame_bytes() {
            return Ok(placeholder::shrink(&poster.rgb, poster.size, size).into());
        }
        poster::choose_at_size(self, size).await.map(|frame| frame.rgb)
    }

    /// The frames of a time span, or of snippets over the whole video, in this size.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn animation_frames(
        &self,
        range: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<Vec<Bytes>, JobError> {
        let selected = match range {
            Some((from, until)) => {
                let count = ((until.saturating_sub(from) as f64 * fps / 1000.0).round() as u32).max(1);
                let seek = if from == 0 { SeekTarget::FirstFrame } else { self.exact_seek(from) };
                let request = DecodeRequest { seek, keyframes_only: false, fps: Some(fps), count, size };
                match exit_status::catch_rejection(self.decode(&request, Priority::Required).await)? {
                    Ok(frames) if !frames.is_empty() => frames,
                    // After the last frame, that one is shown.
                    Ok(_) | Err(Code::Truncated) => vec![self.frame_at(from, size).await?],
                    Err(code) => return Err(JobError::Rejected(code)),
                }
            }
            None => match single_pass::scan_if_needed(self, &self.default_tiles().0, size).await? {
                Some(scan) => scan.preview_frames(),
                None => animation::decode_snippet_frames(self, size, fps).await?,
            },
        };
        if selected.is_empty() { Err(JobError::Rejected(Code::Truncated)) } else { Ok(selected) }
    }

    /// Sends the frames of a time span, in this size. They are decoded in pieces, so that few are in memory together.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn send_frames(
        &self,
        (from_ms, until_ms): (u64, u64),
        size: Size,
        fps: f64,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        // Pieces begin at the times of frames, rounded up: that frame is shown then, and not the one before it.
        let piece_frames = (MAX_PIECE_BYTES / size.frame_bytes().max(1)).max(1);
        let piece_start =
            |piece: usize| from_ms + ((piece * piece_frames) as f64 * 1000.0 / fps).ceil() as u64;
        for piece in 0.. {
            let span = (piece_start(piece), piece_start(piece + 1).min(until_ms));
            if span.0 >= span.1 {
                break;
            }
            for frame in self.animation_frames(Some(span), size, fps).await? {
                // The receiver has failed, and reports its own error.
                let _ = sender.send(frame).await;
            }
        }
        Ok(())
    }

    /// The frames of a storyboard's tiles, in this size, one for each tile.
    ///
    /// # Errors
    /// Any error that ends the job; [`Code::Truncated`] if there are none.
    pub async fn tile_frames(&self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, JobError> {
        let scan = if tile_times.is_whole() {
            single_pass::scan_if_needed(self, tile_times, size).await?
        } else {
            None
        };
        let tiles = match scan {
            Some(scan) => scan.storyboard(size).await?,
            None => tiles::storyboard(self, tile_times, size, None).await?,
        };
        exit_status::check_source(self.proxy.first_error())?;
        Ok(tiles.frames)
    }

    /// The times and the tile size of the default storyboard.
    fn default_tiles(&self) -> (TileTimes, Size) {
        let size = self.info.display_size.scale_to_fit(limits::THUMBNAIL_WIDTH);
        (TileTimes::whole(self.info.duration_ms), storyboard::tile_size(size))
    }

    /// The frames of one of several requests: none if nothing can be decoded.
    async fn decode_or_empty(&self, request: &DecodeRequest) -> Result<Vec<Bytes>, JobError> {
        Ok(exit_status::catch_rejection(self.decode(request, Priority::Required).await)?.unwrap_or_default())
    }

    /// The frames of a request. If the frame at its start is not found, the request is repeated with a longer pre-roll.
    pub(super) async fn decode(
        &self,
        request: &DecodeRequest,
        priority: Priority,
    ) -> Result<Vec<Bytes>, JobError> {
        let segment_index = self.segment_index(request.seek);
        let first = self.decode_segment(segment_index, request, priority).await;
        let SeekTarget::Exact { at_ms, pre_roll_ms: run_up_ms } = request.seek else { return first };
        // Where a stream has no frames to its end, ffmpeg reports an error.
        let is_undecodable = matches!(first, Err(JobError::Rejected(Code::Truncated)));
        let mut found = if is_undecodable { Vec::new() } else { first? };
        let expected = self.expected_frames(at_ms, request);
        let larger = self.container.pre_rolls_ms().iter().filter(|other| **other > run_up_ms);
        let mut current_pre_roll_ms = run_up_ms;
        for run_up_ms in larger {
            if found.len() >= expected || current_pre_roll_ms >= at_ms {
                break;
            }
            current_pre_roll_ms = *run_up_ms;
            let retry = DecodeRequest {
                seek: SeekTarget::Exact { at_ms, pre_roll_ms: current_pre_roll_ms },
                ..*request
            };
            let result = self.decode_segment(segment_index, &retry, self.best_effort()).await;
            if let Ok(decoded) = exit_status::catch_rejection(result)?
                && decoded.len() > found.len()
            {
                found = decoded;
            }
        }
        // If a segment ends before the request is fulfilled, the next segment continues it.
        let mut next_segment = segment_index.map_or(self.segments.len(), |place| place + 1);
        while next_segment < self.segments.len() && found.len() < request.count as usize {
            let count = request.count - found.len() as u32;
            let rest_request = DecodeRequest { seek: SeekTarget::FirstFrame, count, ..*request };
            let decoded = exit_status::catch_rejection(
                self.decode_segment(Some(next_segment), &rest_request, self.best_effort()).await,
            )?;
            found.extend(decoded.unwrap_or_default());
            next_segment += 1;
        }
        if is_undecodable && found.is_empty() { Err(JobError::Rejected(Code::Truncated)) } else { Ok(found) }
    }

    /// The frames of a request in one of several segments, or in the only one.
    async fn decode_segment(
        &self,
        segment_index: Option<usize>,
        request: &DecodeRequest,
        priority: Priority,
    ) -> Result<Vec<Bytes>, JobError> {
        let format = FrameFormat::new(&self.info, request.size, request.count);
        self.decoder
            .decode_frames(self.decoder_input(), &self.decode_args(segment_index, request), format, priority)
            .await
    }

    /// The index of the segment that contains a time.
    fn segment_index(&self, seek: SeekTarget) -> Option<usize> {
        let (SeekTarget::Keyframe(at_ms) | SeekTarget::Exact { at_ms, .. }) = seek else { return None };
        self.segments.partition_point(|segment| segment.start_ms <= at_ms).checked_sub(1)
    }

    /// The number of frames after a time, as far as the duration is known.
    fn expected_frames(&self, at_ms: u64, request: &DecodeRequest) -> usize {
        let count = request.count as usize;
        match self.info.duration_ms {
            0 => count,
            // The last frame is shown at every later time.
            _ if count == 1 => 1,
            duration_ms if duration_ms <= at_ms => 0,
            duration_ms => {
                let remaining = (duration_ms - at_ms) as f64 * request.fps.unwrap_or(1.0) / 1000.0;
                // The last one may be missing.
                count.min((remaining.ceil() as usize).saturating_sub(1).max(1))
            }
        }
    }

    /// The first seek to try for an exact time.
    pub(super) fn exact_seek(&self, at_ms: u64) -> SeekTarget {
        let run_up_ms = self.container.pre_rolls_ms().first().copied().unwrap_or(0);
        SeekTarget::Exact { at_ms, pre_roll_ms: run_up_ms }
    }

    fn decoder_input(&self) -> DecoderInput<'_> {
        DecoderInput::Proxy(&self.proxy, self.container)
    }

    /// The arguments of ffmpeg; `segment_index` selects one of several segments.
    fn decode_args(&self, segment_index: Option<usize>, request: &DecodeRequest) -> Vec<String> {
        let (info, tone_map) = (&self.info, self.tone_map);
        let Some(segment) = segment_index.and_then(|place| self.segments.get(place)) else {
            return ffmpeg_args::decode(self.container, self.proxy.url(), info, tone_map, request);
        };
        let seek = match request.seek {
            SeekTarget::Keyframe(at_ms) => SeekTarget::Keyframe(at_ms.saturating_sub(segment.start_ms)),
            SeekTarget::Exact { at_ms, pre_roll_ms: run_up_ms } => {
                SeekTarget::Exact { at_ms: at_ms.saturating_sub(segment.start_ms), pre_roll_ms: run_up_ms }
            }
            other => other,
        };
        let url = self.proxy.range_url(&segment.bytes);
        ffmpeg_args::decode(self.container, &url, info, tone_map, &DecodeRequest { seek, ..*request })
    }

    /// The priority of best-effort work that begins now.
    pub(super) fn best_effort(&self) -> Priority {
        self.decoder.best_effort()
    }

    /// The frame rate of an animation, at most the default one.
    pub(super) fn animation_fps(&self) -> f64 {
        animation_fps(self.info.fps, limits::ANIMATION_FPS)
    }
}

/// Skips bytes before the first packet of a transport stream, because the demuxer gives up after many of them.
async fn skip_leading_bytes(proxy: &SourceProxy, container: Container) -> Result<(), JobError> {
    if container != Container::Mpegts {
        return Ok(());
    }
    let head = proxy.read(0..proxy.total_bytes().min(reader::HEAD_BYTES)).await;
    exit_status::check_source(proxy.first_error())?;
    // In the files of camcorders, each packet is preceded by a timestamp of four bytes.
    if let Some(found) = head.ok().and_then(|head| container::find_packets(&head))
        && found.start >= found.length
    {
        proxy.skip(found.start as u64);
    }
    Ok(())
}

/// The report of ffprobe about a source. If it does not find the video at the beginning, it searches more of a stream;
/// for a program stream without a stream map, one is inserted first.
async fn probe(decoder: &Decoder, proxy: &SourceProxy, container: Container) -> Result<MediaInfo, JobError> {
    let input = DecoderInput::Proxy(proxy, container);
    let found = decoder.probe(input).await;
    let Err(JobError::Rejected(Code::NoVideoStream | Code::UnsupportedCodec | Code::Truncated)) = found
    else {
        return found;
    };
    if container.running_clock().is_none() {
        return found;
    }
    if container == Container::Mpeg {
        let head = proxy.read(0..proxy.total_bytes().min(stream_map::HEAD_BYTES)).await;
        exit_status::check_source(proxy.first_error())?;
        if let Some(map) = head.ok().and_then(|head| stream_map::build_missing(&head)) {
            proxy.prepend(map.into());
            let with_map = decoder.probe(input).await;
            if with_map.is_ok() {
                return with_map;
            }
        }
    }
    if found == Err(JobError::Rejected(Code::Truncated)) {
        decoder.probe_far(input).await.or(found)
    } else {
        found
    }
}
