//! Decides how a video is seen whose container ffmpeg reads: through the relay, a child a look.

mod animation;
mod duration;
mod poster;
mod single_pass;
mod stream_map;
mod tiles;
mod timestamps;

use bytes::Bytes;
use glimpse_contract::{Code, Kind, limits};
use tokio::sync::mpsc;

use crate::error::JobError;
use crate::frames::decoder::{Feed, Shape, Studio, Worth};
use crate::frames::exit_status;
use crate::frames::ffmpeg::single_pass::Pass;
use crate::frames::ffmpeg::timestamps::Piece;
use crate::frames::{Footage, Part, rate};
use crate::source::proxy::Relay;
use crate::source::reader::{self, Counts};
use glimpse_media::container::{self, Container};
use glimpse_media::ffmpeg_args::{self, Frames, Seek};
use glimpse_media::image::placeholder;
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// How much before its end a video is decoded for its last picture, in milliseconds.
const END_MS: u64 = 1_000;

/// A video that ffmpeg reads by itself.
#[derive(Debug)]
pub struct Relayed {
    studio: Studio,
    relay: Relay,
    container: Container,
    /// What is known of it.
    pub info: MediaInfo,
    tone_map: bool,
    /// The films that it is made of, if those are several: times are found within one only.
    pieces: Vec<Piece>,
}

impl Relayed {
    /// Asks what there is to be seen. `length_ms` is its length if that was found out before.
    ///
    /// # Errors
    /// What ends the job.
    pub async fn open(
        studio: Studio,
        relay: Relay,
        container: Container,
        length_ms: Option<u64>,
    ) -> Result<Self, JobError> {
        skip_others(&relay, container).await?;
        let mut info = probed(&studio, &relay, container).await?;
        info.fps = duration::rate(container, &info);
        // A stream that is as long as its two ends tell is one film.
        let is_one = length_ms.is_some_and(|length_ms| length_ms.abs_diff(info.duration_ms) <= 1);
        let mut pieces = match container {
            Container::Mpegts | Container::Mpeg if !is_one => {
                timestamps::pieces(&relay, container, info.fps).await?
            }
            _ => Vec::new(),
        };
        if container == Container::Mpeg {
            duration::recount(&studio, &relay, &info, &mut pieces).await?;
        }
        let in_pieces = pieces.last().map(|last| last.start_ms + last.length_ms);
        info.duration_ms = match (length_ms, in_pieces) {
            (Some(length_ms), _) => length_ms,
            (None, Some(length_ms)) => duration::settled(length_ms, None).map_err(JobError::Refused)?,
            (None, None) => duration::measure(&studio, &relay, container, &info).await?,
        };
        let tone_map = studio.can_map_tones(&info).await;
        Ok(Self { studio, relay, container, info, tone_map, pieces })
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        self.relay.counts()
    }

    /// What the default pictures are made of.
    ///
    /// # Errors
    /// What ends the job.
    pub async fn footage(&self) -> Result<Footage, JobError> {
        let (poster, reel, tiles) = if let Some(pass) = self.passed().await? {
            (pass.poster(), pass.reel(self).await?, pass.tiles().await?)
        } else {
            let poster = poster::choose(self).await?;
            let reel = animation::reel(self, Some(&poster)).await?;
            let tiles = tiles::tiles(self, Some(&poster)).await?;
            (poster, reel, tiles)
        };
        exit_status::of_storage(self.relay.seen())?;
        // A seek lands on a keyframe that does not say when it is shown.
        Ok(Footage { info: self.info.clone(), poster, poster_ms: None, reel, tiles })
    }

    /// What the default pictures of that kind are made of: the same as in all of the footage.
    ///
    /// # Errors
    /// What ends the job.
    pub async fn part(&self, kind: Kind) -> Result<Part, JobError> {
        let part = match (kind, self.passed().await?) {
            (Kind::Thumbnail, Some(pass)) => Part::Poster(pass.poster(), None),
            (Kind::Animated, Some(pass)) => Part::Reel(pass.reel(self).await?),
            (Kind::Storyboard, Some(pass)) => Part::Tiles(pass.tiles().await?),
            (Kind::Thumbnail, None) => Part::Poster(poster::choose(self).await?, None),
            (Kind::Animated, None) => Part::Reel(animation::reel(self, None).await?),
            (Kind::Storyboard, None) => Part::Tiles(tiles::tiles(self, None).await?),
        };
        exit_status::of_storage(self.relay.seen())?;
        Ok(part)
    }

    /// One pass over all of it, if nothing else is cheap and anything comes of it.
    async fn passed(&self) -> Result<Option<Pass>, JobError> {
        single_pass::over(self, self.info.shown.fitted(limits::THUMBNAIL_WIDTH)).await
    }

    /// The picture shown at a moment, in this size.
    ///
    /// # Errors
    /// What ends the job; [`Code::Truncated`] if there is none.
    pub async fn still(&self, at_ms: u64, size: Size) -> Result<Bytes, JobError> {
        let frames = |seek, count| Frames { seek, keyframes_only: false, fps: None, count, size };
        let seek = if at_ms == 0 { Seek::Start } else { self.exact(at_ms) };
        if let Some(frame) = self.look(&frames(seek, 1)).await?.pop() {
            return Ok(frame);
        }
        let first = frames(Seek::Start, 1);
        // Before the first picture that one is shown, and after the last one that.
        if at_ms < self.info.duration_ms / 2
            && let Some(frame) = self.look(&first).await?.pop()
        {
            return Ok(frame);
        }
        let end_ms = self.info.duration_ms.min(at_ms);
        for back_ms in [END_MS, 10 * END_MS] {
            let from = end_ms.saturating_sub(back_ms);
            // Twice as often as there are pictures, so that the last one has a slot of its own.
            let fps = 2.0 * rate(self.info.fps, 60);
            let count = (fps * (2 * back_ms) as f64 / 1000.0).ceil() as u32;
            let frames = Frames { fps: Some(fps), ..frames(self.exact(from), count) };
            if let Some(frame) = self.last(&frames).await? {
                return Ok(frame);
            }
        }
        self.look(&first).await?.pop().ok_or(JobError::Refused(Code::Truncated))
    }

    /// The best picture, in this size: the one that the poster shows.
    ///
    /// # Errors
    /// What ends the job; [`Code::Truncated`] if there is none.
    pub async fn best(&self, size: Size) -> Result<Bytes, JobError> {
        let least = self.info.shown.fitted(limits::THUMBNAIL_WIDTH);
        let larger = if size.frame_bytes() > least.frame_bytes() { size } else { least };
        if let Some(pass) = single_pass::over(self, larger).await? {
            return Ok(placeholder::shrink(&pass.poster().rgb, larger, size).into());
        }
        let poster = poster::choose(self).await?;
        if poster.size.frame_bytes() >= size.frame_bytes() {
            return Ok(placeholder::shrink(&poster.rgb, poster.size, size).into());
        }
        poster::choose_in(self, size).await.map(|frame| frame.rgb)
    }

    /// The pictures of a span of time, or of snippets over the whole video, in this size.
    ///
    /// # Errors
    /// What ends the job; [`Code::Truncated`] if there are none.
    pub async fn moving(
        &self,
        span: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<Vec<Bytes>, JobError> {
        let list = match span {
            Some((from, until)) => {
                let count = ((until.saturating_sub(from) as f64 * fps / 1000.0).round() as u32).max(1);
                let seek = if from == 0 { Seek::Start } else { self.exact(from) };
                let frames = Frames { seek, keyframes_only: false, fps: Some(fps), count, size };
                self.decode(&frames, Worth::Needed).await?
            }
            None => match single_pass::over(self, size).await? {
                Some(pass) => pass.preview(),
                None => animation::frames(self, size, fps).await?,
            },
        };
        if list.is_empty() { Err(JobError::Refused(Code::Truncated)) } else { Ok(list) }
    }

    /// Frames of one look of several: none where there is nothing to be decoded.
    async fn look(&self, frames: &Frames) -> Result<Vec<Bytes>, JobError> {
        Ok(exit_status::of_a_look(self.decode(frames, Worth::Needed).await)?.unwrap_or_default())
    }

    /// The last frame of one look; none if it has none. No other is kept.
    async fn last(&self, frames: &Frames) -> Result<Option<Bytes>, JobError> {
        let (to, mut from) = mpsc::channel(1);
        let gather = async {
            let mut last = None;
            while let Some(frame) = from.recv().await {
                last = Some(frame);
            }
            last
        };
        let arguments = self.arguments(self.place(frames.seek), frames);
        let (feed, shape) = (self.feed(), Shape::of(&self.info, frames.size, frames.count));
        let decode = self.studio.decode(feed, &arguments, shape, Worth::Needed, to);
        let (decoded, last) = tokio::join!(decode, gather);
        Ok(exit_status::of_a_look(decoded)?.ok().and(last))
    }

    /// Frames of one look. Where the picture of its first moment was not found, the source is entered earlier.
    pub(super) async fn decode(&self, frames: &Frames, worth: Worth) -> Result<Vec<Bytes>, JobError> {
        let place = self.place(frames.seek);
        let mut found = self.decode_in(place, frames, worth).await?;
        let Seek::Exact { at_ms, run_up_ms } = frames.seek else { return Ok(found) };
        let expected = self.expected(at_ms, frames);
        let earlier = ffmpeg_args::run_ups(self.container).iter().filter(|other| **other > run_up_ms);
        let mut entered = run_up_ms;
        for run_up_ms in earlier {
            if found.len() >= expected || entered >= at_ms {
                break;
            }
            entered = *run_up_ms;
            let again = Frames { seek: Seek::Exact { at_ms, run_up_ms: entered }, ..*frames };
            let look = self.decode_in(place, &again, self.extra()).await;
            if let Ok(better) = exit_status::of_a_look(look)?
                && better.len() > found.len()
            {
                found = better;
            }
        }
        // What a film of several does not hold any more, the next one does.
        let mut next = place.map_or(self.pieces.len(), |place| place + 1);
        while next < self.pieces.len() && found.len() < frames.count as usize {
            let count = frames.count - found.len() as u32;
            let rest = Frames { seek: Seek::Start, count, ..*frames };
            let look = exit_status::of_a_look(self.decode_in(Some(next), &rest, self.extra()).await)?;
            found.extend(look.unwrap_or_default());
            next += 1;
        }
        Ok(found)
    }

    /// Frames of one look in one of several films, or in the only one.
    async fn decode_in(
        &self,
        place: Option<usize>,
        frames: &Frames,
        worth: Worth,
    ) -> Result<Vec<Bytes>, JobError> {
        let shape = Shape::of(&self.info, frames.size, frames.count);
        self.studio.frames(self.feed(), &self.arguments(place, frames), shape, worth).await
    }

    /// Which of several films a moment is in.
    fn place(&self, seek: Seek) -> Option<usize> {
        let (Seek::Keyframe(at_ms) | Seek::Exact { at_ms, .. }) = seek else { return None };
        self.pieces.partition_point(|piece| piece.start_ms <= at_ms).checked_sub(1)
    }

    /// How many frames there are from a moment on, as far as the length is known.
    fn expected(&self, at_ms: u64, frames: &Frames) -> usize {
        let count = frames.count as usize;
        match self.info.duration_ms {
            0 => count,
            duration_ms if duration_ms <= at_ms => 0,
            duration_ms => {
                let left = (duration_ms - at_ms) as f64 * frames.fps.unwrap_or(1.0) / 1000.0;
                // The last of them may be missing.
                count.min((left.ceil() as usize).saturating_sub(1).max(1))
            }
        }
    }

    /// Where the picture of a moment is looked for first.
    pub(super) fn exact(&self, at_ms: u64) -> Seek {
        let run_up_ms = ffmpeg_args::run_ups(self.container).first().copied().unwrap_or(0);
        Seek::Exact { at_ms, run_up_ms }
    }

    fn feed(&self) -> Feed<'_> {
        Feed::Relay(&self.relay, self.container)
    }

    /// The decoder's arguments; `place` is that of the film of several in which the moment is, or which is meant.
    fn arguments(&self, place: Option<usize>, frames: &Frames) -> Vec<String> {
        let (info, tone_map) = (&self.info, self.tone_map);
        let Some(piece) = place.and_then(|place| self.pieces.get(place)) else {
            return ffmpeg_args::decode(self.container, self.relay.url(), info, tone_map, frames);
        };
        let seek = match frames.seek {
            Seek::Keyframe(at_ms) => Seek::Keyframe(at_ms.saturating_sub(piece.start_ms)),
            Seek::Exact { at_ms, run_up_ms } => {
                Seek::Exact { at_ms: at_ms.saturating_sub(piece.start_ms), run_up_ms }
            }
            other => other,
        };
        let url = self.relay.url_of(&piece.bytes);
        ffmpeg_args::decode(self.container, &url, info, tone_map, &Frames { seek, ..*frames })
    }

    /// The worth of looks that begin now and can be done without.
    pub(super) fn extra(&self) -> Worth {
        self.studio.extra()
    }

    /// Frames a second of a preview that may have at most the default's.
    pub(super) fn rate(&self) -> f64 {
        rate(self.info.fps, limits::ANIMATED_FPS)
    }
}

/// Leaves out what is no part of a transport stream and stands before it, since the demuxer gives up on much of it.
async fn skip_others(relay: &Relay, container: Container) -> Result<(), JobError> {
    if container != Container::Mpegts {
        return Ok(());
    }
    let head = relay.read(0..relay.total().min(reader::FIRST_BYTES)).await;
    exit_status::of_storage(relay.seen())?;
    // A time of four bytes stands before each packet of a camcorder's.
    if let Some(found) = head.ok().and_then(|head| container::packets(&head))
        && found.start >= found.length
    {
        relay.skip(found.start as u64);
    }
    Ok(())
}

/// What ffprobe finds in a source; in a program stream that lacks its map, with one put before it.
async fn probed(studio: &Studio, relay: &Relay, container: Container) -> Result<MediaInfo, JobError> {
    let found = studio.probe(Feed::Relay(relay, container)).await;
    let Err(JobError::Refused(Code::NoVideoStream | Code::UnsupportedCodec | Code::Truncated)) = found else {
        return found;
    };
    if container != Container::Mpeg {
        return found;
    }
    let head = relay.read(0..relay.total().min(stream_map::HEAD_BYTES)).await;
    exit_status::of_storage(relay.seen())?;
    let Some(map) = head.ok().and_then(|head| stream_map::missing(&head)) else { return found };
    relay.put_before(map.into());
    studio.probe(Feed::Relay(relay, container)).await.or(found)
}
