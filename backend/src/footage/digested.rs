//! Decides how a video is seen whose container is read here: index, plan, fetch, digest, decode.
//!
//! The decoder gets digests and nothing else: it never sees the source, and reads nothing by itself.

use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, limits};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::sift::{self, Sifted};
use super::studio::{Feed, Studio, Worth};
use super::{Footage, Frame, Reel, Tiles, rate};
use crate::decode::arguments;
use crate::demux::known::Known;
use crate::demux::movie::{Movie, Sample, Want};
use crate::demux::sniff::Container;
use crate::demux::{matroska, mp4};
use crate::digest::{self, Digest, Shot, mux};
use crate::error::JobError;
use crate::outcome;
use crate::picture::score;
use crate::picture::storyboard;
use crate::plan::{self, Layout, Pick, Stretch};
use crate::probe::MediaInfo;
use crate::size::Size;
use crate::source::{Reader, Stop};
use crate::store::Store;

/// Sources larger than this are decoded one child at a time: each 4K decoder takes a few hundred megabytes.
const LARGE_PIXELS: u64 = 1920 * 1200;
/// Frames that may wait to be looked at: their maker is to go on meanwhile, and memory is to stay small.
const WAITING_FRAMES: usize = 4;

/// A video whose index was read.
#[derive(Debug)]
pub struct Digested<S> {
    studio: Studio,
    reader: Arc<Reader<S>>,
    known: Known,
    movie: Box<dyn Movie>,
    info: Option<(MediaInfo, bool)>,
}

/// What is decoded for the default pictures.
struct Planned {
    tiles: Layout,
    /// For each tile its stretch and its place among that one's moments.
    places: Vec<(usize, usize)>,
    reel: Layout,
    /// Frames a second of the preview.
    fps: f64,
}

impl<S: Store> Digested<S> {
    /// Reads the index of a file of which the beginning is known.
    ///
    /// # Errors
    /// [`Stop::Foreign`] if this is not the way to read the file.
    pub async fn open(
        studio: Studio,
        reader: Arc<Reader<S>>,
        mut known: Known,
        container: Container,
    ) -> Result<Self, Stop> {
        let movie: Box<dyn Movie> = match container {
            Container::Mov => Box::new(reader.ask(&mut known, mp4::open).await?),
            Container::Matroska => Box::new(reader.ask(&mut known, matroska::open).await?),
            _ => return Err(Stop::Foreign("its container is not read here")),
        };
        if plan::millis(movie.track(), movie.track().duration) > limits::MAX_DURATION_MS {
            return Err(JobError::Refused(Code::TooLong).into());
        }
        Ok(Self { studio, reader, known, movie, info: None })
    }

    /// What the default pictures are made of.
    ///
    /// # Errors
    /// [`Stop::Foreign`] if this is not the way to read the file; else what ends the job.
    pub async fn footage(&mut self) -> Result<Footage, Stop> {
        let mut planned = self.plan().await?;
        // One round trip for all of it.
        self.fetch([&planned.tiles, &planned.reel]).await?;
        if [&planned.tiles, &planned.reel].into_iter().any(|layout| self.begins_amiss(layout))
            && self.movie.distrust_keyframes()
        {
            planned = self.plan().await?;
            self.fetch([&planned.tiles, &planned.reel]).await?;
        }
        let Planned { tiles, places, reel, fps } = planned;
        let tiles_digest = self.mux(&tiles.shots).await?;
        let reel_digest = self.mux(&reel.shots).await?;
        let (info, tone_map) = self.look(tiles.shots.first().or(reel.shots.first())).await?;
        self.known.keep_only(&[]);

        let poster_size = info.shown.fitted(limits::THUMBNAIL_WIDTH);
        let tile_size = storyboard::tile_size(poster_size);
        let reel_size = info.shown.fitted(limits::ANIMATED_WIDTH);
        let see_tiles = self.sift(&info, tone_map, tiles_digest, poster_size, tile_size, Worth::Needed);
        let see_reel = self.see(&info, tone_map, reel_digest, reel_size, Worth::Needed);
        let large = u64::from(info.coded.width) * u64::from(info.coded.height) > LARGE_PIXELS;
        let (sifted, reel_frames) =
            if large { (see_tiles.await?, see_reel.await?) } else { tokio::try_join!(see_tiles, see_reel)? };

        let mut poster_ms = sifted.best.as_ref().and_then(|best| self.shown_ms(best.slot, &tiles));
        let mut best = sifted.best.clone();
        if sifted.is_blank() {
            // Keyframes show nothing: what lies between the first of them may.
            let (found, layout) = self.search(&info, tone_map, poster_size, tile_size).await?;
            if let Some(other) = found.best
                && best.as_ref().is_none_or(|best| sift::is_better(&other.score, &best.score))
            {
                poster_ms = self.shown_ms(other.slot, &layout);
                best = Some(other);
            }
        }
        let Some(best) = best.or_else(|| first_of(&reel_frames, reel_size, poster_size)) else {
            return Err(JobError::Refused(Code::Truncated).into());
        };
        let frames = chosen(&reel, &reel_frames, reel_size);
        let reel = Reel {
            frames: if frames.is_empty() { vec![resized(&best.rgb, poster_size, reel_size)] } else { frames },
            size: reel_size,
            fps,
        };
        let board = board_frames(&tiles, &places, &sifted, &resized(&best.rgb, poster_size, tile_size));
        Ok(Footage {
            info,
            poster: Frame { rgb: best.rgb, size: poster_size },
            poster_ms,
            reel,
            tiles: Tiles { frames: board, size: tile_size },
        })
    }

    async fn plan(&mut self) -> Result<Planned, Stop> {
        let pixels = self.coded_pixels();
        let track = self.movie.track();
        let fps = rate(track.fps, limits::ANIMATED_FPS);
        let (board, places) = plan::storyboard(track, pixels);
        let snippets = plan::reel(track, fps, pixels);
        let stretches: Vec<Stretch> = board.iter().chain(&snippets).cloned().collect();
        let mut runs = self.runs(&stretches).await?;
        let reel_runs = runs.split_off(board.len());
        let (tiles, reel) = (thinned(&board, runs, pixels), thinned(&snippets, reel_runs, pixels));
        if tiles.shots.is_empty() && reel.shots.is_empty() {
            return Err(JobError::Refused(Code::Truncated).into());
        }
        Ok(Planned { tiles, places, reel, fps })
    }

    fn begins_amiss(&self, layout: &Layout) -> bool {
        digest::begins_amiss(self.movie.track(), &self.known, &layout.shots)
    }

    /// The picture shown at a moment, in this size.
    ///
    /// # Errors
    /// As [`Digested::footage`]; [`Code::Truncated`] if there is none.
    pub async fn still(&mut self, at_ms: u64, size: Size) -> Result<Bytes, Stop> {
        let stretch = plan::moment(self.movie.track(), at_ms);
        let (_, frames) = self.exact(&[stretch], size).await?;
        frames.into_iter().next().ok_or(Stop::Job(JobError::Refused(Code::Truncated)))
    }

    /// The pictures of a span of time, or of snippets over the whole video, in this size.
    ///
    /// # Errors
    /// As [`Digested::footage`]; [`Code::Truncated`] if there are none.
    pub async fn moving(
        &mut self,
        span: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<Vec<Bytes>, Stop> {
        let pixels = self.coded_pixels();
        let track = self.movie.track();
        let stretches = match span {
            Some((from, until)) => vec![plan::span(track, from, until, fps)],
            None => plan::reel(track, fps, pixels),
        };
        let (layout, frames) = self.exact(&stretches, size).await?;
        let list = chosen(&layout, &frames, size);
        if list.is_empty() { Err(JobError::Refused(Code::Truncated).into()) } else { Ok(list) }
    }

    /// Lays out, fetches and decodes.
    async fn exact(&mut self, stretches: &[Stretch], size: Size) -> Result<(Layout, Vec<Bytes>), Stop> {
        let mut layout = self.layout(stretches).await?;
        self.fetch([&layout]).await?;
        if self.begins_amiss(&layout) && self.movie.distrust_keyframes() {
            layout = self.layout(stretches).await?;
            self.fetch([&layout]).await?;
        }
        let (info, tone_map) = self.look(layout.shots.first()).await?;
        let digest = self.mux(&layout.shots).await?;
        let frames = self.see(&info, tone_map, digest, size, Worth::Needed).await?;
        Ok((layout, frames))
    }

    async fn layout(&mut self, stretches: &[Stretch]) -> Result<Layout, Stop> {
        let pixels = self.coded_pixels();
        let runs = self.runs(stretches).await?;
        let mut layout = thinned(stretches, runs, pixels);
        if plan::is_too_much(&layout, pixels) {
            let near: Vec<Stretch> = stretches.iter().map(plan::near).collect();
            let runs = self.runs(&near).await?;
            layout = thinned(&near, runs, pixels);
        }
        if layout.shots.is_empty() {
            return Err(JobError::Refused(Code::Truncated).into());
        }
        Ok(layout)
    }

    async fn runs(&mut self, stretches: &[Stretch]) -> Result<Vec<Vec<Sample>>, Stop> {
        let wants: Vec<Want> = stretches.iter().map(|stretch| stretch.want).collect();
        let (movie, reader) = (&self.movie, &self.reader);
        reader.ask(&mut self.known, |known| movie.runs(known, &wants)).await
    }

    async fn fetch<const N: usize>(&mut self, layouts: [&Layout; N]) -> Result<(), JobError> {
        let ranges: Vec<_> = layouts
            .iter()
            .flat_map(|layout| layout.shots.iter().map(|shot| digest::range_of(&shot.sample)))
            .collect();
        self.reader.fetch(&mut self.known, &ranges).await
    }

    async fn mux(&mut self, shots: &[Shot]) -> Result<Vec<Digest>, Stop> {
        let (movie, reader) = (&self.movie, &self.reader);
        reader.ask(&mut self.known, |known| digest::digests(movie.track(), known, shots)).await
    }

    /// Asks ffprobe about one sample, once.
    async fn look(&mut self, first: Option<&Shot>) -> Result<(MediaInfo, bool), Stop> {
        if let Some(seen) = &self.info {
            return Ok(seen.clone());
        }
        let shot = *first.ok_or(JobError::Refused(Code::Truncated))?;
        let (movie, reader) = (&self.movie, &self.reader);
        let digest = reader.ask(&mut self.known, |known| mux(movie.track(), known, &[shot])).await?;
        let mut info = self.studio.probe(Feed::Digest(&digest.bytes)).await?;
        let track = self.movie.track();
        info.duration_ms = plan::millis(track, track.duration);
        info.fps = track.fps;
        info.has_audio = track.has_audio;
        let tone_map = self.studio.can_map_tones(&info).await;
        Ok(self.info.insert((info, tone_map)).clone())
    }

    /// One frame for each slot, as far as they can be decoded.
    async fn see(
        &self,
        info: &MediaInfo,
        tone_map: bool,
        digests: Vec<Digest>,
        size: Size,
        worth: Worth,
    ) -> Result<Vec<Bytes>, JobError> {
        let (to, mut from) = mpsc::channel(WAITING_FRAMES);
        let gather = async {
            let mut list = Vec::new();
            while let Some(frame) = from.recv().await {
                list.push(frame);
            }
            list
        };
        let (decoded, list) = tokio::join!(self.decode(info, tone_map, digests, size, worth, to), gather);
        decoded.map(|()| list)
    }

    async fn sift(
        &self,
        info: &MediaInfo,
        tone_map: bool,
        digests: Vec<Digest>,
        size: Size,
        tile: Size,
        worth: Worth,
    ) -> Result<Sifted, JobError> {
        let (to, from) = mpsc::channel(WAITING_FRAMES);
        let sifting = spawn_blocking(move || sift::sift(from, size, tile));
        self.decode(info, tone_map, digests, size, worth, to).await?;
        sifting.await.map_err(JobError::internal)
    }

    /// Decodes digests one after another; one that cannot be decoded leaves its slots to the frame before them.
    async fn decode(
        &self,
        info: &MediaInfo,
        tone_map: bool,
        digests: Vec<Digest>,
        size: Size,
        worth: Worth,
        to: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        let matrix = self.movie.track().matrix;
        let mut last: Option<Bytes> = None;
        let mut owed = 0;
        let mut refusal = None;
        for digest in digests {
            let arguments = arguments::digest(info, tone_map, &matrix, size, digest.slots);
            let (own, mut frames) = mpsc::channel(1);
            let what = (size, digest.slots);
            let decode = self.studio.decode(Feed::Digest(&digest.bytes), &arguments, what, worth, own);
            let pass = async {
                let mut passed = 0;
                while let Some(frame) = frames.recv().await {
                    passed += 1;
                    // Those that are owed from before the first frame are like it.
                    for _ in 0..std::mem::take(&mut owed) {
                        let _ = to.send(last.get_or_insert_with(|| frame.clone()).clone()).await;
                    }
                    let _ = to.send(frame.clone()).await;
                    last = Some(frame);
                }
                passed
            };
            let (ended, passed) = tokio::join!(decode, pass);
            match outcome::of_a_look(ended)? {
                Ok(passed) => owed += digest.slots.saturating_sub(passed),
                // More frames than were asked for: whatever those are, they are not the video's.
                Err(code) if passed > 0 => return Err(JobError::Refused(code)),
                Err(code) => {
                    refusal = Some(code);
                    owed += digest.slots;
                    if code == Code::TimedOut {
                        break;
                    }
                }
            }
        }
        if let Some(last) = last {
            for _ in 0..owed {
                let _ = to.send(last.clone()).await;
            }
            return Ok(());
        }
        // Nothing at all: then it matters why.
        refusal.map_or(Ok(()), |code| Err(JobError::Refused(code)))
    }

    async fn search(
        &mut self,
        info: &MediaInfo,
        tone_map: bool,
        size: Size,
        tile: Size,
    ) -> Result<(Sifted, Layout), Stop> {
        let stretch = plan::search(self.movie.track(), self.coded_pixels());
        let layout = self.layout(&[stretch]).await?;
        self.fetch([&layout]).await?;
        let digests = self.mux(&layout.shots).await?;
        let look = self.sift(info, tone_map, digests, size, tile, self.studio.extra()).await;
        Ok((outcome::of_a_look(look)?.unwrap_or_default(), layout))
    }

    /// When the picture of a slot is shown, in milliseconds.
    fn shown_ms(&self, slot: u32, layout: &Layout) -> Option<u64> {
        let pick = layout.picks.iter().flatten().find(|pick| pick.slot == slot)?;
        Some(plan::millis(self.movie.track(), pick.pts))
    }

    /// Pixels of a coded picture, as its sample entry says: ISO 14496-12, 12.1.3.
    fn coded_pixels(&self) -> u64 {
        let side = |entry: &Bytes, at: usize| {
            entry.get(at..at + 2).map_or(0, |two| u64::from(two[0]) << 8 | u64::from(two[1]))
        };
        let entries = self.movie.track().entries.iter();
        entries.map(|entry| side(entry, 32) * side(entry, 34)).max().unwrap_or(0).max(1)
    }
}

/// The layout of these stretches; where that is too much for a digest, of fewer.
fn thinned(stretches: &[Stretch], mut runs: Vec<Vec<Sample>>, pixels: u64) -> Layout {
    let mut layout = plan::lay(stretches, runs.clone());
    let mut step = 2;
    while plan::is_too_much(&layout, pixels) && step <= stretches.len() {
        // Every second of those that are left; the others are like their neighbours.
        for (place, run) in runs.iter_mut().enumerate() {
            if place % step != 0 {
                run.clear();
            }
        }
        layout = plan::lay(stretches, runs.clone());
        step *= 2;
    }
    layout
}

/// The frames of a moving preview, without snippets in which there is nothing to be seen, unless that is all there is.
fn chosen(layout: &Layout, frames: &[Bytes], size: Size) -> Vec<Bytes> {
    let snippets: Vec<Vec<Bytes>> = layout
        .picks
        .iter()
        .map(|picks| picks.iter().filter_map(|pick| frames.get(pick.slot as usize).cloned()).collect())
        .collect();
    let shows = |snippet: &&Vec<Bytes>| {
        snippet.get(snippet.len() / 2).is_some_and(|frame| !score::score(frame, size.width).blank)
    };
    let good: Vec<Bytes> = snippets.iter().filter(shows).flatten().cloned().collect();
    if good.is_empty() { snippets.into_iter().flatten().collect() } else { good }
}

/// A frame for each tile: its own, else the one before, else `other`.
fn board_frames(layout: &Layout, places: &[(usize, usize)], sifted: &Sifted, other: &Bytes) -> Vec<Bytes> {
    let mut last: Option<Bytes> = None;
    let first = sifted.tiles.first().unwrap_or(other);
    places
        .iter()
        .map(|(stretch, moment)| {
            let pick: Option<&Pick> = layout.picks.get(*stretch).and_then(|picks| picks.get(*moment));
            let own = pick.and_then(|pick| sifted.tiles.get(pick.slot as usize)).cloned();
            let frame = own.or_else(|| last.clone()).unwrap_or_else(|| first.clone());
            last = Some(frame.clone());
            frame
        })
        .collect()
}

/// The preview's first frame as the poster, where no tile could be decoded.
fn first_of(frames: &[Bytes], from: Size, to: Size) -> Option<sift::Best> {
    let rgb = resized(frames.first()?, from, to);
    Some(sift::Best { score: score::score(&rgb, to.width), rgb, slot: 0 })
}

fn resized(frame: &Bytes, from: Size, to: Size) -> Bytes {
    if from == to { frame.clone() } else { crate::picture::colour::shrink(frame, from, to).into() }
}
