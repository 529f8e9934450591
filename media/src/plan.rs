//! Plans which frames of a video are decoded for each output. Does no IO; [`crate::excerpt::plan::plan_excerpt`]
//! selects the samples.
//!
//! A storyboard tile is the keyframe before its time, and a snippet of the animation starts with a keyframe, so that no
//! frame is decoded without being used. If keyframes are so far apart that many tiles would be equal, and the frames
//! between them are cheap to decode, the exact times are decoded. After the last frame, where only audio continues,
//! that frame is shown, as in players. The animation covers only the part with frames.

use glimpse_contract::{StoryboardParams, TileSpacing, limits};
use thiserror::Error;

use crate::demux::demuxer::{Sample, SampleRequest, SeekMode, Track};

/// Sources up to this length are shown completely by their animation, in milliseconds.
pub const FULL_ANIMATION_MS: u64 = 6_000;
/// The number of snippets in the animation of a longer source.
pub const SNIPPET_COUNT: u64 = 5;
/// The length of each snippet, in milliseconds.
pub const SNIPPET_MS: u64 = 1_000;
/// From this duration on, a storyboard has [`LONG_TILE_COUNT`] tiles, in milliseconds: 15 minutes, as at Mux.
const LONG_MS: u64 = 15 * 60 * 1000;
const TILE_COUNT: usize = 50;
const LONG_TILE_COUNT: usize = 100;
/// The most pixels that are decoded for exact times: ten seconds of 1080p at 30 frames per second.
const MAX_EXACT_PIXELS: u64 = 300 * 1920 * 1080;
/// The largest distance between a tile's time and its keyframe, as a divisor of the tile's interval.
const TILE_REACH_DIVISOR: i64 = 8;
/// The most keyframes that are compared for a tile.
const MAX_ALTERNATIVES: usize = 256;
/// If keyframes are more than this many seconds apart, the index may omit most of them.
const SPARSE_KEYFRAME_SECS: i64 = 30;
/// Approximately how long frames are decoded until one is correct, with intra refresh, in seconds.
const INTRA_REFRESH_SECS: f64 = 2.0;
/// The highest frame rate at which a stored time that was rounded down identifies its frame.
const MAX_FPS_ROUNDED_DOWN: f64 = 250.0;
/// How much of the beginning is searched if all frames so far are blank, in milliseconds.
const SEARCH_MS: u64 = 60_000;
/// Frames per second of that search.
const SEARCH_FPS: f64 = 2.0;

/// A range of the video that is decoded in one pass, and the times of its requested frames.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameRequest {
    /// The request to the demuxer.
    pub samples: SampleRequest,
    /// Times in ticks, ascending: relative to the keyframe that was found ([`SeekMode::Keyframe`]), or to the track.
    pub times: Vec<i64>,
}

/// Converts milliseconds to ticks of the track.
pub fn ticks_from_ms(track: &Track, ms: u64) -> i64 {
    i64::try_from(u128::from(ms) * u128::from(track.timescale) / 1000).unwrap_or(i64::MAX)
}

/// Converts ticks of the track to milliseconds, at least 0.
pub fn ms_from_ticks(track: &Track, ticks: i64) -> u64 {
    let ticks = u128::from(ticks.unsigned_abs()) * u128::from(ticks >= 0);
    u64::try_from(ticks * 1000 / u128::from(track.timescale.max(1))).unwrap_or(u64::MAX)
}

/// The time of a frame in milliseconds, as it is stored and used for seeking: rounded up, so that it is within the
/// duration of the frame and not of the one before.
pub fn frame_time_ms(track: &Track, ticks: i64) -> u64 {
    let ticks = u128::from(ticks.unsigned_abs()) * u128::from(ticks >= 0);
    u64::try_from((ticks * 1000).div_ceil(u128::from(track.timescale.max(1)))).unwrap_or(u64::MAX)
}

/// The tick at which the frame for a time is looked up. Clients round to the nearest millisecond, so a frame that
/// starts within the following half millisecond counts as shown.
fn seek_tick(track: &Track, ms: u64) -> i64 {
    if ms == 0 {
        return 0;
    }
    let twice = (u128::from(ms) * 2 + 1) * u128::from(track.timescale);
    i64::try_from(twice / 2000).unwrap_or(i64::MAX)
}

/// The number of storyboard tiles for a video of this duration.
pub fn tile_count(duration_ms: u64) -> usize {
    if duration_ms < LONG_MS { TILE_COUNT } else { LONG_TILE_COUNT }
}

/// The start of each tile's interval, in milliseconds.
pub fn tile_start_ms(place: usize, count: usize, duration_ms: u64) -> u64 {
    duration_ms * place as u64 / count.max(1) as u64
}

/// The times of a storyboard's tiles: equal intervals over the whole video, or over a part of it. Each tile shows the
/// middle of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileTimes {
    duration_ms: u64,
    start_ms: u64,
    end_ms: u64,
    count: usize,
    /// If the length of an interval was requested: the last one may then be shorter.
    interval_ms: Option<u64>,
}

/// Error of an interval that is too short for a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{count} tiles are too many, the shortest interval is {min_interval_ms} ms")]
pub struct TooManyTiles {
    /// The number of tiles that the interval leads to.
    pub count: u64,
    /// The shortest interval for the video, in milliseconds.
    pub min_interval_ms: u64,
}

impl TileTimes {
    /// The times of the default storyboard of a video of this duration in milliseconds.
    pub fn whole(duration_ms: u64) -> Self {
        let count = tile_count(duration_ms);
        Self { duration_ms, start_ms: 0, end_ms: duration_ms, count, interval_ms: None }
    }

    /// The times of a requested storyboard. The part that is shown ends with the video, whatever was requested; a video
    /// without a duration has one frame, at 0.
    ///
    /// # Errors
    /// The requested interval is too short for the part.
    pub fn new(board: &StoryboardParams, duration_ms: u64) -> Result<Self, TooManyTiles> {
        let end_ms = board.end_ms.map_or(duration_ms, |end| end.min(duration_ms));
        let start_ms = board.start_ms.min(end_ms);
        let length_ms = end_ms - start_ms;
        let (count, interval_ms) = match board.spacing {
            TileSpacing::Default => (tile_count(length_ms), None),
            TileSpacing::Count(count) => (count as usize, None),
            TileSpacing::IntervalMs(interval_ms) => {
                let interval_ms = interval_ms.max(1);
                let count = length_ms.div_ceil(interval_ms).max(1);
                if count > u64::from(limits::MAX_TILES) {
                    let min_interval_ms = length_ms.div_ceil(limits::MAX_TILES.into());
                    return Err(TooManyTiles { count, min_interval_ms });
                }
                (count as usize, Some(interval_ms))
            }
        };
        Ok(Self { duration_ms, start_ms, end_ms, count, interval_ms })
    }

    /// The number of tiles, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The length of the part that is shown, in milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.end_ms - self.start_ms
    }

    /// The requested length of an interval in milliseconds, if the number of tiles follows from it.
    pub fn interval_ms(&self) -> Option<u64> {
        self.interval_ms
    }

    /// Whether the tiles cover the whole video.
    pub fn is_whole(&self) -> bool {
        self.start_ms == 0 && self.end_ms == self.duration_ms
    }

    /// Tiles per second.
    pub fn rate(&self) -> f64 {
        match self.interval_ms {
            Some(interval_ms) => 1000.0 / interval_ms as f64,
            None => self.count as f64 * 1000.0 / self.length_ms() as f64,
        }
    }

    /// The start of a tile's interval in milliseconds, from the start of the part.
    pub fn tile_start_ms(&self, place: usize) -> u64 {
        match self.interval_ms {
            Some(interval_ms) => interval_ms * place as u64,
            None => tile_start_ms(place, self.count, self.length_ms()),
        }
    }

    /// The middle of a tile's interval in milliseconds, from the beginning of the video.
    pub fn middle_ms(&self, place: usize) -> u64 {
        let middle = self.middle(place, self.start_ms.into(), self.end_ms.into(), Into::into);
        u64::try_from(middle).unwrap_or(u64::MAX)
    }

    /// The middle of a tile's interval in ticks. A part that ends with the video is divided in the track's own unit.
    fn middle_ticks(&self, track: &Track, place: usize) -> i64 {
        let ticks = |ms: u64| i128::from(ticks_from_ms(track, ms));
        let middle = self.middle(place, ticks(self.start_ms), self.end_ticks(track).into(), ticks);
        i64::try_from(middle).unwrap_or(i64::MAX)
    }

    fn middle(&self, place: usize, start: i128, end: i128, from_ms: impl Fn(u64) -> i128) -> i128 {
        let place = place as u64;
        match self.interval_ms {
            Some(interval_ms) => {
                let from = start + from_ms(interval_ms * place);
                let until = (start + from_ms(interval_ms * (place + 1))).min(end);
                i128::midpoint(from, until.max(from))
            }
            None => start + (end - start) * (2 * i128::from(place) + 1) / (2 * self.count as i128),
        }
    }

    /// The length of an interval, in ticks.
    fn interval_ticks(&self, track: &Track) -> i64 {
        if let Some(interval_ms) = self.interval_ms {
            return ticks_from_ms(track, interval_ms);
        }
        let length = self.end_ticks(track) - ticks_from_ms(track, self.start_ms);
        length / i64::try_from(self.count.max(1)).unwrap_or(i64::MAX)
    }

    fn end_ticks(&self, track: &Track) -> i64 {
        if self.end_ms == self.duration_ms { track.duration } else { ticks_from_ms(track, self.end_ms) }
    }
}

/// The frame requests of a storyboard, and for each tile the index of its request and of its time in that request.
pub fn storyboard(
    track: &Track,
    pixels: u64,
    tile_times: &TileTimes,
) -> (Vec<FrameRequest>, Vec<(usize, usize)>) {
    let count = tile_times.count();
    // A video without a duration has only one frame.
    let middle = |place: usize| tile_times.middle_ticks(track, place);
    let last = last_frame_time(track);
    let times: Vec<i64> = (0..count).map(|place| middle(place).min(last)).collect();
    if let Some(groups) = group_by_keyframe(track, &times, pixels) {
        let mut frame_requests = Vec::new();
        let mut places = Vec::new();
        for group in groups {
            for at in 0..group.len() {
                places.push((frame_requests.len(), at));
            }
            let samples =
                SampleRequest { from: group[0], until: group[group.len() - 1] + 1, mode: SeekMode::Exact };
            frame_requests.push(FrameRequest { samples, times: group });
        }
        return (frame_requests, places);
    }
    let tile = |(place, at): (usize, &i64)| {
        let (from, until) = (*at, *at);
        if track.is_intra_refresh || middle(place) > last {
            return FrameRequest {
                samples: SampleRequest { from, until, mode: SeekMode::Exact },
                times: vec![*at],
            };
        }
        FrameRequest { samples: SampleRequest { from, until, mode: SeekMode::Keyframe }, times: vec![0] }
    };
    let frame_requests = times.iter().enumerate().map(tile).collect();
    (frame_requests, (0..count).map(|place| (place, 0)).collect())
}

/// The last time at which a frame is shown, if only audio follows it.
fn last_frame_time(track: &Track) -> i64 {
    if track.video_end > 0 && track.video_end < track.duration { track.video_end - 1 } else { i64::MAX }
}

/// The duration of the part with frames, in milliseconds.
fn video_ms(track: &Track) -> u64 {
    ms_from_ticks(track, if last_frame_time(track) < i64::MAX { track.video_end } else { track.duration })
}

/// Whether the index has so few keyframes that it may omit most of them, and the frames between them are too many to
/// decode.
pub fn has_few_keyframes(track: &Track, pixels: u64) -> bool {
    let Some(keyframes) = track.keyframes.as_deref() else { return false };
    let secs = track.duration.min(last_frame_time(track)) / i64::from(track.timescale.max(1));
    let is_few =
        i64::try_from(keyframes.len()).unwrap_or(i64::MAX).saturating_mul(SPARSE_KEYFRAME_SECS) < secs;
    is_few
        && !track.is_intra_refresh
        && storyboard(track, pixels, &default_tile_times(track))
            .0
            .iter()
            .any(|tile| tile.samples.mode == SeekMode::Keyframe)
}

/// The times of the default storyboard of a track.
pub fn default_tile_times(track: &Track) -> TileTimes {
    TileTimes::whole(ms_from_ticks(track, track.duration))
}

/// Other keyframes that are suitable for the tiles of a storyboard, as alternative requests for each tile: those within
/// an eighth of a tile's interval from its time. `None` if no tile is a keyframe, or if the index does not list all
/// keyframes.
pub fn tile_alternatives(
    track: &Track,
    tile_times: &TileTimes,
    tile_requests: &[FrameRequest],
) -> Option<Vec<Vec<FrameRequest>>> {
    let keyframes = track.keyframes.as_deref()?;
    let reach = tile_times.interval_ticks(track) / TILE_REACH_DIVISOR;
    let near_keyframes = |tile: &FrameRequest| {
        if tile.samples.mode == SeekMode::Exact {
            return vec![tile.clone()];
        }
        let at = tile.samples.from;
        let first = keyframes.partition_point(|key| *key < at - reach);
        let near = &keyframes[first..keyframes.partition_point(|key| *key <= at + reach).max(first)];
        let near = near.iter().step_by(near.len() / MAX_ALTERNATIVES + 1);
        let request_at = |key: &i64| FrameRequest {
            samples: SampleRequest { from: *key, until: *key, ..tile.samples },
            ..tile.clone()
        };
        std::iter::once(tile.clone()).chain(near.map(request_at)).collect()
    };
    tile_requests
        .iter()
        .any(|tile| tile.samples.mode == SeekMode::Keyframe)
        .then(|| tile_requests.iter().map(near_keyframes).collect())
}

/// Selects the smallest alternative for each tile, so that fewer bytes are read and decoded, except those with
/// noticeably less content than usual, which is also judged by their size. `runs` are the samples that were found for
/// them.
pub fn choose_lightest(alternatives: Vec<Vec<FrameRequest>>, runs: &[Vec<Sample>]) -> Vec<FrameRequest> {
    let mut sizes: Vec<u32> = runs.iter().filter_map(|run| run.first()).map(|sample| sample.size).collect();
    sizes.sort_unstable();
    let usual = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
    let mut runs = runs.iter().map(|run| run.first().map_or(0, |sample| sample.size));
    alternatives
        .into_iter()
        .filter_map(|tile| {
            let mut best: Option<(u32, FrameRequest)> = None;
            for (frame_request, size) in tile.into_iter().zip(runs.by_ref()) {
                // The first alternative is the tile's own keyframe.
                let better = best.as_ref().is_none_or(|(least, _)| size < *least && size > usual / 3 * 2);
                if better {
                    best = Some((size, frame_request));
                }
            }
            best.map(|(_, frame_request)| frame_request)
        })
        .collect()
}

/// Groups the times by the keyframe from which they are decoded, if that is useful and cheap enough.
fn group_by_keyframe(track: &Track, times: &[i64], pixels: u64) -> Option<Vec<Vec<i64>>> {
    let keyframes = track.keyframes.as_deref()?;
    let before = |at: i64| keyframes.partition_point(|key| *key <= at).max(1) - 1;
    let mut groups: Vec<(usize, Vec<i64>)> = Vec::new();
    for at in times {
        match groups.last_mut() {
            Some((key, group)) if *key == before(*at) => group.push(*at),
            _ => groups.push((before(*at), vec![*at])),
        }
    }
    // Most tiles are different frames already.
    let mut distinct = times.to_vec();
    distinct.dedup();
    if groups.len() * 5 >= distinct.len() * 4 && !track.is_intra_refresh {
        return None;
    }
    let rate = if track.fps > 0.0 { track.fps } else { 30.0 };
    let frames: f64 = groups
        .iter()
        .map(|(key, group)| {
            let begin = keyframes.get(*key).copied().unwrap_or(0);
            let ticks = group.last().map_or(0, |last| last - begin).max(0);
            ticks as f64 / f64::from(track.timescale) * rate + 1.0
        })
        .sum();
    is_within_budget(frames, pixels).then(|| groups.into_iter().map(|(_, group)| group).collect())
}

/// Whether this many frames of this many pixels may be decoded for exact times.
pub fn is_within_budget(frames: f64, pixels: u64) -> bool {
    frames * pixels as f64 <= MAX_EXACT_PIXELS as f64
}

/// The frame requests of the animation at `fps` frames per second. Its snippets start at tiles of the storyboard, so
/// that their keyframes are read only once.
pub fn animation(track: &Track, fps: f64, pixels: u64, tile_requests: &[FrameRequest]) -> Vec<FrameRequest> {
    let duration_ms = video_ms(track);
    // If the audio continues for at least a tile's interval after the last frame, snippets do not use the tiles' times.
    let tile = track.duration / i64::try_from(tile_requests.len().max(1)).unwrap_or(i64::MAX);
    let tile_requests = if last_frame_time(track) < track.duration - tile { &[] } else { tile_requests };
    if duration_ms <= FULL_ANIMATION_MS {
        let until = if duration_ms == 0 { FULL_ANIMATION_MS } else { duration_ms };
        return vec![clip(track, 0, until, fps)];
    }
    let last_start = ticks_from_ms(track, duration_ms - SNIPPET_MS);
    let count = tile_count(duration_ms) as u64;
    // Before the first frame, a snippet would repeat that frame.
    let begin = track.video_start.clamp(0, last_start);
    let begin_ms = ms_from_ticks(track, begin);
    let starts: Vec<i64> = (0..SNIPPET_COUNT)
        .map(|place| {
            (begin_ms * 10 + (duration_ms - begin_ms) * (2 * place + 1)) * count / (duration_ms * 10)
        })
        .map(|tile| match tile_requests.get(tile as usize) {
            Some(tile_request)
                if tile_requests.len() as u64 == count && tile_request.samples.mode == SeekMode::Keyframe =>
            {
                tile_request.samples.from
            }
            _ => ticks_from_ms(track, duration_ms * (2 * tile + 1) / (2 * count)),
        })
        .map(|at| at.clamp(begin, last_start))
        .collect();
    // Two snippets that start at the same keyframe would be equal.
    let has_own_keyframe = |at: i64| match &track.keyframes {
        Some(keys) => {
            let key = keys[..keys.partition_point(|key| *key <= at)].last().copied().unwrap_or(0);
            starts.iter().filter(|other| key <= **other).min() == Some(&at)
        }
        None => true,
    };
    let can_use_keyframe = |at: i64| !track.is_intra_refresh && has_own_keyframe(at);
    let mut budget = MAX_EXACT_PIXELS as f64;
    let mut frame_requests = Vec::new();
    for at in &starts {
        let times = frame_times(track, SNIPPET_MS, fps);
        let length = ticks_from_ms(track, SNIPPET_MS);
        if can_use_keyframe(*at) {
            let samples = SampleRequest { from: *at, until: at + length, mode: SeekMode::Keyframe };
            frame_requests.push(FrameRequest { samples, times });
            continue;
        }
        let key = track.keyframes.iter().flatten().rev().find(|key| **key <= *at).copied().unwrap_or(0);
        let secs = (at - key) as f64 / f64::from(track.timescale);
        let secs = if track.is_intra_refresh { secs.min(INTRA_REFRESH_SECS) } else { secs };
        let cost = secs * track.fps.max(1.0) * pixels as f64;
        if cost <= budget {
            budget -= cost;
            let samples = SampleRequest { from: *at, until: at + length, mode: SeekMode::Exact };
            frame_requests
                .push(FrameRequest { samples, times: times.iter().map(|moment| at + moment).collect() });
        }
    }
    frame_requests
}

/// All frames between two times in milliseconds, at `fps` frames per second.
pub fn clip(track: &Track, from_ms: u64, until_ms: u64, fps: f64) -> FrameRequest {
    let from = seek_tick(track, from_ms);
    let samples = SampleRequest { from, until: ticks_from_ms(track, until_ms), mode: SeekMode::Exact };
    let times = frame_times(track, until_ms.saturating_sub(from_ms), fps);
    FrameRequest { samples, times: times.iter().map(|moment| from + moment).collect() }
}

/// A snippet of the animation that starts at the frame of a stored time, see [`frame_time_ms`].
pub fn snippet(track: &Track, at_ms: u64, fps: f64) -> FrameRequest {
    let from = stored_frame_at(track, at_ms).samples.from;
    let length = ticks_from_ms(track, SNIPPET_MS);
    let times = frame_times(track, SNIPPET_MS, fps).iter().map(|moment| from + moment).collect();
    FrameRequest {
        samples: SampleRequest { from, until: from.saturating_add(length), mode: SeekMode::Exact },
        times,
    }
}

/// The frame that is shown at a time in milliseconds.
pub fn frame_at(track: &Track, ms: u64) -> FrameRequest {
    single_frame(seek_tick(track, ms).min(last_frame_time(track)))
}

/// The frame whose [`frame_time_ms`] is stored. Manifests of earlier versions have that time rounded down, so a frame
/// that starts within the millisecond also matches, provided that frames are known to be shown longer.
pub fn stored_frame_at(track: &Track, ms: u64) -> FrameRequest {
    if track.fps <= 0.0 || track.fps > MAX_FPS_ROUNDED_DOWN {
        return frame_at(track, ms);
    }
    let next_ms_ticks = (u128::from(ms) + 1) * u128::from(track.timescale);
    let from = i64::try_from(next_ms_ticks.div_ceil(1000)).unwrap_or(i64::MAX).saturating_sub(1);
    single_frame(from.min(last_frame_time(track)))
}

fn single_frame(from: i64) -> FrameRequest {
    FrameRequest { samples: SampleRequest { from, until: from, mode: SeekMode::Exact }, times: vec![from] }
}

/// Where frames are searched if all keyframes are blank.
pub fn fallback_search(track: &Track, pixels: u64) -> FrameRequest {
    let rate = if track.fps > 0.0 { track.fps } else { 30.0 };
    let affordable_ms = (2 * MAX_EXACT_PIXELS) as f64 / pixels.max(1) as f64 / rate * 1000.0;
    let until = video_ms(track).min(SEARCH_MS).min(affordable_ms as u64);
    clip(track, 0, until.max(1), SEARCH_FPS)
}

/// The times of frames within this many milliseconds, starting at 0.
fn frame_times(track: &Track, ms: u64, fps: f64) -> Vec<i64> {
    let count = ((ms as f64 * fps / 1000.0).round() as u64).max(1);
    (0..count).map(|place| (place as f64 / fps * f64::from(track.timescale)).round() as i64).collect()
}

/// The same request from the keyframe before it, for use if decoding up to its exact start is too expensive.
#[must_use]
pub fn relax_to_keyframe(frame_request: &FrameRequest) -> FrameRequest {
    let SampleRequest { from, until, mode: aim } = frame_request.samples;
    let base = if aim == SeekMode::Exact { from } else { 0 };
    FrameRequest {
        samples: SampleRequest { from, until, mode: SeekMode::Keyframe },
        times: frame_request.times.iter().map(|moment| moment - base).collect(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::excerpt::plan::plan_excerpt;

    fn track(duration_ms: i64, keyframes: Option<Vec<i64>>) -> Track {
        Track {
            codec: "h264",
            timescale: 1000,
            sample_entries: Vec::new(),
            matrix: [0; 9],
            display_size: [0; 2],
            duration: duration_ms,
            video_start: 0,
            video_end: duration_ms,
            fps: 30.0,
            sample_prefix: Bytes::new(),
            has_audio: false,
            keyframes,
            is_intra_refresh: false,
            crop: None,
            dolby_vision: None,
        }
    }

    /// The requests of the default storyboard.
    fn storyboard(track: &Track, pixels: u64) -> (Vec<FrameRequest>, Vec<(usize, usize)>) {
        super::storyboard(track, pixels, &default_tile_times(track))
    }

    fn tile_alternatives(track: &Track, tile_requests: &[FrameRequest]) -> Option<Vec<Vec<FrameRequest>>> {
        super::tile_alternatives(track, &default_tile_times(track), tile_requests)
    }

    fn board(spacing: TileSpacing, start_ms: u64, end_ms: Option<u64>) -> StoryboardParams {
        StoryboardParams { start_ms, end_ms, spacing, width: None }
    }

    fn every(step: usize, until: i64) -> Vec<i64> {
        (0..until).step_by(step).collect()
    }

    const HD: u64 = 1920 * 1080;

    fn sample(offset: u64, pts: i64, key: bool) -> Sample {
        Sample { offset, size: 1, dts: 0, pts, is_key: key, entry: 0 }
    }

    /// Frames per second as a fraction: all rates that cameras and editors write, and others.
    fn rates() -> impl Strategy<Value = (u64, u64)> {
        let known = vec![
            (24_000, 1001),
            (24, 1),
            (25, 1),
            (30_000, 1001),
            (30, 1),
            (50, 1),
            (60_000, 1001),
            (60, 1),
            (120, 1),
            (120_000, 1001),
            (240, 1),
            (15, 1),
            (12, 1),
            (10, 1),
            (1, 1),
            (1, 3),
            (7, 2),
        ];
        prop_oneof![
            3 => prop::sample::select(known),
            1 => (1_u64..240_000, 1_u64..2000).prop_filter("up to 240 fps", |(num, den)| num / den <= 240),
        ]
    }

    /// Ticks per second of all kinds of files.
    fn scales() -> impl Strategy<Value = u32> {
        let known = vec![
            600, 1000, 10_000, 11_988, 12_288, 15_360, 24_000, 30_000, 48_000, 60_000, 90_000, 1_000_000,
        ];
        prop_oneof![prop::sample::select(known), 500_u32..2_000_000]
    }

    proptest! {
        #[test]
        fn stored_time_finds_its_frame(
            (num, den) in rates(), timescale in scales(), number in 0_u64..200_000, late in 0_i64..5_000,
        ) {
            let mut track = track(0, None);
            track.timescale = timescale;
            track.fps = num as f64 / den as f64;
            let pts = |number: u64| {
                late + i64::try_from((u128::from(number * den) * u128::from(timescale) + u128::from(num) / 2)
                    / u128::from(num)).unwrap()
            };
            // Frames closer together than two milliseconds may share one stored time.
            prop_assume!((pts(number + 1) - pts(number)) * 500 > i64::from(timescale));
            let run: Vec<Sample> = (number.saturating_sub(3)..number + 4)
                .map(|number| sample(number, pts(number), number == 0))
                .collect();
            let found = |frame_request: FrameRequest| plan_excerpt(&[frame_request], vec![run.clone()]).positions[0][0].pts;
            let stored = frame_time_ms(&track, pts(number));
            prop_assert_eq!(found(frame_at(&track, stored)), pts(number), "as the time of a URL or a chosen poster");
            prop_assert_eq!(found(stored_frame_at(&track, stored)), pts(number), "as the poster of a manifest");
            prop_assert_eq!(found(clip(&track, stored, stored + 1000, 10.0)), pts(number), "as the start of a clip");
            // A player's clock in milliseconds, rounded to the nearest, and the manifests of earlier versions.
            let nearest = (pts(number) as u128 * 2000 + u128::from(timescale)) / (2 * u128::from(timescale));
            prop_assert_eq!(found(frame_at(&track, nearest as u64)), pts(number), "rounded to the nearest");
            let down = ms_from_ticks(&track, pts(number));
            prop_assert_eq!(found(stored_frame_at(&track, down)), pts(number), "rounded down");
        }
    }

    #[test]
    fn storyboard_has_50_or_100_tiles() {
        for (ms, count) in [(1_000, 50), (899_999, 50), (900_000, 100), (3_600_000, 100)] {
            let (frame_requests, places) = storyboard(&track(ms, Some(every(2_000, ms))), HD);
            assert_eq!(places.len(), count, "{ms}");
            assert!(frame_requests.len() <= count);
        }
        assert_eq!((tile_start_ms(0, 50, 60_000), tile_start_ms(49, 50, 60_000)), (0, 58_800));
    }

    #[test]
    fn tiles_use_keyframes_when_dense_or_costly() {
        let aim = |ms, step, pixels| storyboard(&track(ms, Some(every(step, ms))), pixels).0[0].samples.mode;
        assert_eq!(aim(60_000, 1_000, HD), SeekMode::Keyframe, "one keyframe per second is enough");
        assert_eq!(aim(60_000, 8_000, HD), SeekMode::Keyframe, "a minute of HD is too expensive");
        assert_eq!(aim(9_000, 8_000, HD), SeekMode::Exact, "nine seconds are within the budget");
        assert_eq!(aim(60_000, 8_000, 320 * 240), SeekMode::Exact, "so are small frames");
        let unknown = track(60_000, None);
        assert_eq!(storyboard(&unknown, 1).0[0].samples.mode, SeekMode::Keyframe);
    }

    #[test]
    fn spreads_snippets_over_the_video() {
        let froms = |frame_requests: Vec<FrameRequest>| {
            frame_requests.iter().map(|one| one.samples.from).collect::<Vec<_>>()
        };
        let minute = track(60_000, Some(every(1_000, 60_000)));
        let tile_requests = storyboard(&minute, HD).0;
        assert_eq!(
            froms(animation(&minute, 15.0, HD, &tile_requests)),
            [6_600, 18_600, 30_600, 42_600, 54_600]
        );
        assert!(animation(&minute, 15.0, HD, &tile_requests).iter().all(|one| one.times.len() == 15));
        let short = animation(&track(4_000, Some(every(1_000, 4_000))), 10.0, HD, &[]);
        assert_eq!((short.len(), short[0].times.len(), short[0].samples.mode), (1, 40, SeekMode::Exact));
        // One keyframe for the whole video: the first snippet starts there, others only if that is cheap.
        let sparse = track(60_000, Some(vec![0]));
        assert_eq!(froms(animation(&sparse, 15.0, HD, &storyboard(&sparse, HD).0)), [6_600]);
        assert_eq!(froms(animation(&sparse, 15.0, 160 * 90, &storyboard(&sparse, 160 * 90).0)).len(), 5);
        // The last snippet is complete, too.
        let brief = track(7_000, None);
        assert_eq!(froms(animation(&brief, 15.0, HD, &[])).last(), Some(&6_000));
    }

    #[test]
    fn tiles_after_last_frame_repeat_it() {
        // A minute of audio, ten seconds of video.
        for (keyframes, pixels) in [(every(200, 10_000), HD), (vec![0], 160 * 90)] {
            let song = Track { video_end: 10_000, ..track(60_000, Some(keyframes)) };
            let (tile_requests, places) = storyboard(&song, pixels);
            let moment = |place: usize| {
                let (stretch, at) = places[place];
                let tile = &tile_requests[stretch];
                if tile.samples.mode == SeekMode::Exact { tile.times[at] } else { tile.samples.from }
            };
            assert_eq!((moment(0), moment(7), moment(8), moment(49)), (600, 9_000, 9_999, 9_999));
            assert!(tile_requests.iter().all(|tile| tile.samples.from < 10_000));
            let snippets = animation(&song, 15.0, HD, &tile_requests);
            assert!(
                snippets.iter().all(|one| one.samples.from <= 9_000),
                "the animation covers only the part with frames"
            );
        }
        // Usually, audio is slightly longer: snippets start with keyframes of tiles.
        let film = Track { video_end: 59_950, ..track(60_000, Some(every(1_000, 59_950))) };
        let tile_requests = storyboard(&film, HD).0;
        for (snippet, tile) in animation(&film, 15.0, HD, &tile_requests).iter().zip([5, 15, 25, 35, 45]) {
            assert_eq!(snippet.samples.from, tile_requests[tile].samples.from);
        }
        // A single frame with music.
        let still = Track { video_end: 33, ..track(180_000, Some(vec![0])) };
        assert_eq!(animation(&still, 15.0, HD, &[]).len(), 1);
        assert_eq!(frame_at(&still, 90_000).times, [32]);
        assert_eq!(frame_at(&track(60_000, None), 90_000).times, [90_000]);
    }

    #[test]
    fn intra_refresh_uses_exact_times() {
        let call = Track { is_intra_refresh: true, ..track(600_000, Some(vec![0])) };
        let (tile_requests, places) = storyboard(&call, HD);
        assert_eq!((tile_requests.len(), places.len()), (50, 50));
        assert!(
            tile_requests
                .iter()
                .all(|tile| tile.samples.mode == SeekMode::Exact && tile.times == [tile.samples.from])
        );
        let snippets = animation(&call, 15.0, HD, &tile_requests);
        assert!(!snippets.is_empty() && snippets.iter().all(|one| one.samples.mode == SeekMode::Exact));
        assert!(!has_few_keyframes(&call, HD));
    }

    #[test]
    fn detects_suspiciously_few_keyframes() {
        let few = |ms, keyframes, pixels| has_few_keyframes(&track(ms, keyframes), pixels);
        assert!(few(600_000, Some(vec![0]), HD));
        assert!(!few(600_000, Some(every(10_000, 600_000)), HD), "a keyframe every ten seconds is usual");
        assert!(!few(60_000, Some(vec![0]), 160 * 90), "all frames are decoded anyway");
        assert!(!few(600_000, None, HD));
    }

    #[test]
    fn snippets_skip_late_video_start() {
        let late = Track { video_start: 6_000, ..track(16_000, Some(every(1_000, 16_000)[6..].to_vec())) };
        let tile_requests = storyboard(&late, HD).0;
        let froms: Vec<i64> =
            animation(&late, 15.0, HD, &tile_requests).iter().map(|one| one.samples.from).collect();
        assert_eq!(froms.len(), 5);
        assert!(froms.is_sorted() && froms[0] >= 6_000 && froms[4] >= 14_000, "{froms:?}");
        assert!(froms.windows(2).all(|pair| pair[1] - pair[0] >= 1_500), "{froms:?}");
    }

    #[test]
    fn snippets_start_at_tile_keyframes() {
        let hour = track(3_600_000, Some(every(2_000, 3_600_000)));
        let mut tile_requests = storyboard(&hour, HD).0;
        tile_requests[10].samples.from += 4_000;
        let snippets = animation(&hour, 15.0, HD, &tile_requests);
        for (snippet, tile) in snippets.iter().zip([10, 30, 50, 70, 90]) {
            assert_eq!(snippet.samples.from, tile_requests[tile].samples.from);
        }
    }

    #[test]
    fn tile_uses_lightest_near_keyframe() {
        let hour = track(3_600_000, Some(every(2_000, 3_600_000)));
        let tile_requests = storyboard(&hour, HD).0;
        let near = tile_alternatives(&hour, &tile_requests).unwrap();
        let froms: Vec<i64> = near[0].iter().map(|one| one.samples.from).collect();
        assert_eq!(froms, [18_000, 14_000, 16_000, 18_000, 20_000, 22_000]);
        let sized = |sizes: &[u32]| -> Vec<Vec<Sample>> {
            let one = |size: &u32| vec![Sample { size: *size, ..sample(0, 0, true) }];
            sizes.iter().map(one).collect()
        };
        let chosen = |sizes: &[u32]| choose_lightest(vec![near[0].clone()], &sized(sizes))[0].samples.from;
        assert_eq!(chosen(&[100, 120, 90, 100, 80, 95]), 20_000, "the smallest");
        assert_eq!(chosen(&[100, 120, 90, 100, 20, 95]), 16_000, "but not a nearly blank one");
        assert_eq!(chosen(&[50, 120, 90, 100, 80, 95]), 18_000, "its own keyframe is small enough");
        // If tiles are as close together as keyframes, there are no alternatives.
        let minute = track(60_000, Some(every(2_000, 60_000)));
        assert!(
            tile_alternatives(&minute, &storyboard(&minute, HD).0).unwrap().iter().all(|tile| tile.len() < 3)
        );
        assert_eq!(tile_alternatives(&track(60_000, None), &tile_requests), None);
    }

    /// A requested storyboard of as many tiles as the default one is the default one.
    #[test]
    fn requested_default_count_has_default_times() {
        for (duration, timescale) in [(61_234, 1000), (5_511_060, 90_000), (1_001_001, 24_000), (7, 30_000)] {
            let film = Track { timescale, ..track(duration, Some(every(250, duration))) };
            let ms = ms_from_ticks(&film, film.duration);
            let times = TileTimes::new(&board(TileSpacing::Count(50), 0, Some(u64::MAX)), ms).unwrap();
            assert_eq!(
                super::storyboard(&film, HD, &times),
                storyboard(&film, HD),
                "{duration} / {timescale}"
            );
            assert_eq!(times, TileTimes::whole(ms));
        }
    }

    /// Spacing, start, end, duration; then the starts of the first and the last tile, their middles, and the length.
    #[test]
    fn tiles_divide_the_requested_part() {
        use TileSpacing::{Count, Default, IntervalMs};
        for (spacing, start, end, duration, count, starts, middles, length) in [
            (Default, 0, None, 60_000, 50, [0, 58_800], [600, 59_400], 60_000),
            (Default, 0, None, 900_000, 100, [0, 891_000], [4_500, 895_500], 900_000),
            (Default, 60_000, Some(120_000), 900_000, 50, [0, 58_800], [60_600, 119_400], 60_000),
            (Count(2), 0, None, 60_000, 2, [0, 30_000], [15_000, 45_000], 60_000),
            (Count(400), 0, None, 86_400_000, 400, [0, 86_184_000], [108_000, 86_292_000], 86_400_000),
            (Count(4), 10_000, None, 20_000, 4, [0, 7_500], [11_250, 18_750], 10_000),
            (Count(4), 10_000, Some(99_000), 20_000, 4, [0, 7_500], [11_250, 18_750], 10_000),
            (IntervalMs(10_000), 0, None, 60_000, 6, [0, 50_000], [5_000, 55_000], 60_000),
            // The last interval is shorter.
            (IntervalMs(10_000), 0, None, 61_000, 7, [0, 60_000], [5_000, 60_500], 61_000),
            (IntervalMs(10_000), 5_000, Some(28_000), 61_000, 3, [0, 20_000], [10_000, 26_500], 23_000),
            // Longer than the video: one tile, which shows its middle.
            (IntervalMs(90_000), 0, None, 60_000, 1, [0, 0], [30_000, 30_000], 60_000),
            // Without a duration there is one frame.
            (IntervalMs(1_000), 0, None, 0, 1, [0, 0], [0, 0], 0),
            (Count(3), 5_000, Some(6_000), 0, 3, [0, 0], [0, 0], 0),
            (Default, 0, None, 0, 50, [0, 0], [0, 0], 0),
            (Count(50), 0, None, 40, 50, [0, 39], [0, 39], 40),
        ] {
            let times = TileTimes::new(&board(spacing, start, end), duration).unwrap();
            let last = times.count() - 1;
            let film = track(i64::try_from(duration).unwrap(), None);
            let what = format!("{spacing:?} {start} {end:?} {duration}");
            assert_eq!(times.count(), count, "{what}");
            assert_eq!([times.tile_start_ms(0), times.tile_start_ms(last)], starts, "{what}");
            assert_eq!([times.middle_ms(0), times.middle_ms(last)], middles, "{what}");
            assert_eq!(
                middles.map(|ms| i64::try_from(ms).unwrap()),
                [0, last].map(|place| times.middle_ticks(&film, place))
            );
            assert_eq!(times.length_ms(), length, "{what}");
            assert_eq!(times.is_whole(), length == duration, "{what}");
        }
        let too_short = TileTimes::new(&board(IntervalMs(1_000), 0, None), 86_400_000);
        assert_eq!(too_short, Err(TooManyTiles { count: 86_400, min_interval_ms: 216_000 }));
        let shortest = TileTimes::new(&board(IntervalMs(216_000), 0, None), 86_400_000).unwrap();
        assert_eq!(shortest.count(), 400);
    }

    proptest! {
        /// Every tile shows a time within its own interval, and the intervals follow each other to the end.
        #[test]
        fn tile_times_are_ordered_and_within_the_part(
            duration in 1..=limits::MAX_DURATION_MS,
            start in 0..=limits::MAX_DURATION_MS,
            length in prop::option::of(1..=limits::MAX_DURATION_MS),
            spacing in prop_oneof![
                Just(TileSpacing::Default),
                (2..=400_u32).prop_map(TileSpacing::Count),
                (100..=limits::MAX_DURATION_MS).prop_map(TileSpacing::IntervalMs),
            ],
        ) {
            let start = start % duration;
            let request = board(spacing, start, length.map(|length| start + length));
            let end = length.map_or(duration, |length| (start + length).min(duration));
            match TileTimes::new(&request, duration) {
                Ok(times) => {
                    prop_assert!((1..=limits::MAX_TILES as usize).contains(&times.count()));
                    prop_assert_eq!(times.length_ms(), end - start);
                    for place in 0..times.count() {
                        let from = start + times.tile_start_ms(place);
                        let until = if place + 1 == times.count() { end } else { start + times.tile_start_ms(place + 1) };
                        let middle = times.middle_ms(place);
                        prop_assert!(from <= middle && middle <= until && until <= end, "{place}: {from} {middle} {until}");
                    }
                }
                Err(error) => {
                    let again = StoryboardParams { spacing: TileSpacing::IntervalMs(error.min_interval_ms), ..request };
                    prop_assert!(TileTimes::new(&again, duration).is_ok());
                    let shorter = TileSpacing::IntervalMs(error.min_interval_ms - 1);
                    let again = StoryboardParams { spacing: shorter, ..request };
                    prop_assert!(TileTimes::new(&again, duration).is_err());
                }
            }
        }
    }
}
