//! Decides how a video is seen whose container ffmpeg reads: through the relay, a child a look.

mod board;
mod length;
mod map;
mod poster;
mod reel;

use bytes::Bytes;
use glimpse_contract::{Code, Kind, limits};

use super::studio::{Feed, Studio, Worth};
use super::{Footage, Part, rate};
use crate::decode::arguments::{self, Frames, Seek};
use crate::demux::sniff::Container;
use crate::error::JobError;
use crate::outcome;
use crate::picture::colour;
use crate::probe::MediaInfo;
use crate::relay::Relay;
use crate::size::Size;
use crate::source::Counts;

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
        let mut info = probed(&studio, &relay, container).await?;
        info.fps = length::rate(container, &info);
        info.duration_ms = match length_ms {
            Some(length_ms) => length_ms,
            None => length::measure(&studio, &relay, container, &info).await?,
        };
        let tone_map = studio.can_map_tones(&info).await;
        Ok(Self { studio, relay, container, info, tone_map })
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
        let poster = poster::choose(self).await?;
        let reel = reel::reel(self, Some(&poster)).await?;
        let tiles = board::tiles(self, Some(&poster)).await?;
        outcome::of_storage(self.relay.seen())?;
        // A seek lands on a keyframe that does not say when it is shown.
        Ok(Footage { info: self.info.clone(), poster, poster_ms: None, reel, tiles })
    }

    /// What the default pictures of that kind are made of: the same as in all of the footage.
    ///
    /// # Errors
    /// What ends the job.
    pub async fn part(&self, kind: Kind) -> Result<Part, JobError> {
        let part = match kind {
            Kind::Thumbnail => Part::Poster(poster::choose(self).await?, None),
            Kind::Animated => Part::Reel(reel::reel(self, None).await?),
            Kind::Storyboard => Part::Tiles(board::tiles(self, None).await?),
        };
        outcome::of_storage(self.relay.seen())?;
        Ok(part)
    }

    /// The picture shown at a moment, in this size.
    ///
    /// # Errors
    /// What ends the job; [`Code::Truncated`] if there is none.
    pub async fn still(&self, at_ms: u64, size: Size) -> Result<Bytes, JobError> {
        let seek = if at_ms == 0 { Seek::Start } else { Seek::Exact(at_ms) };
        let frames = Frames { seek, keyframes_only: false, fps: None, count: 1, size };
        let mut list = self.look(&frames).await?;
        // Behind the last picture that one is shown.
        let end_ms = self.info.duration_ms.min(at_ms);
        for back_ms in [END_MS, 10 * END_MS] {
            if list.is_empty() {
                let from = end_ms.saturating_sub(back_ms);
                let count = (rate(self.info.fps, 120) * (2 * back_ms) as f64 / 1000.0).ceil() as u32;
                let seek = if from == 0 { Seek::Start } else { Seek::Exact(from) };
                list = self.look(&Frames { seek, count, ..frames }).await?;
            }
        }
        list.pop().ok_or(JobError::Refused(Code::Truncated))
    }

    /// The best picture, in this size: the one that the poster shows.
    ///
    /// # Errors
    /// What ends the job; [`Code::Truncated`] if there is none.
    pub async fn best(&self, size: Size) -> Result<Bytes, JobError> {
        let poster = poster::choose(self).await?;
        if poster.size.frame_bytes() >= size.frame_bytes() {
            return Ok(colour::shrink(&poster.rgb, poster.size, size).into());
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
                let seek = if from == 0 { Seek::Start } else { Seek::Exact(from) };
                let frames = Frames { seek, keyframes_only: false, fps: Some(fps), count, size };
                self.decode(&frames, Worth::Needed).await?
            }
            None => reel::frames(self, size, fps).await?,
        };
        if list.is_empty() { Err(JobError::Refused(Code::Truncated)) } else { Ok(list) }
    }

    /// Frames of one look of several: none where there is nothing to be decoded.
    async fn look(&self, frames: &Frames) -> Result<Vec<Bytes>, JobError> {
        Ok(outcome::of_a_look(self.decode(frames, Worth::Needed).await)?.unwrap_or_default())
    }

    /// Frames of one look.
    pub(super) async fn decode(&self, frames: &Frames, worth: Worth) -> Result<Vec<Bytes>, JobError> {
        let arguments =
            arguments::decode(self.container, self.relay.url(), &self.info, self.tone_map, frames);
        let feed = Feed::Relay(&self.relay, self.container);
        self.studio.frames(feed, &arguments, (frames.size, frames.count), worth).await
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

/// What ffprobe finds in a source; in a program stream that lacks its map, with one put before it.
async fn probed(studio: &Studio, relay: &Relay, container: Container) -> Result<MediaInfo, JobError> {
    let found = studio.probe(Feed::Relay(relay, container)).await;
    let Err(JobError::Refused(Code::NoVideoStream | Code::UnsupportedCodec | Code::Truncated)) = found else {
        return found;
    };
    if container != Container::Mpeg {
        return found;
    }
    let head = relay.read(0..relay.total().min(map::HEAD_BYTES)).await;
    outcome::of_storage(relay.seen())?;
    let Some(map) = head.ok().and_then(|head| map::missing(&head)) else { return found };
    relay.put_before(map.into());
    studio.probe(Feed::Relay(relay, container)).await.or(found)
}
