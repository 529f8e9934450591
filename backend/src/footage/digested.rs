//! Decides how a video is seen whose container is read here: index, plan, fetch, digest, decode.
//!
//! The decoder gets digests and nothing else: it never sees the source, and reads nothing by itself.

mod defaults;
mod part;

use std::sync::Arc;

use bytes::Bytes;
use glimpse_contract::{Code, limits};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::sift::{self, Sifted};
use super::studio::{Feed, Studio, Worth};
use crate::decode::arguments::{self, Care};
use crate::demux::known::{Fault, Known};
use crate::demux::movie::{Movie, Sample, Want};
use crate::demux::sniff::Container;
use crate::demux::{flv, matroska, mp4};
use crate::digest::{self, Digest, Shot, mux};
use crate::error::JobError;
use crate::outcome;
use crate::picture::score;
use crate::plan::{self, Layout, Stretch};
use crate::probe::MediaInfo;
use crate::size::Size;
use crate::source::{Reader, Stop};
use crate::store::Store;

/// Frames that may wait to be looked at: their maker is to go on meanwhile, and memory is to stay small.
const WAITING_FRAMES: usize = 4;

/// How a digest is looked at.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    info: &'a MediaInfo,
    tone_map: bool,
    size: Size,
    care: Care,
    worth: Worth,
}

/// A video whose index was read.
#[derive(Debug)]
pub struct Digested<S> {
    studio: Studio,
    reader: Arc<Reader<S>>,
    known: Known,
    movie: Box<dyn Movie>,
    info: Option<(MediaInfo, bool)>,
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
            Container::Flv => Box::new(reader.ask(&mut known, flv::open).await?),
            _ => return Err(Stop::Foreign("its container is not read here")),
        };
        if plan::millis(movie.track(), movie.track().duration) > limits::MAX_DURATION_MS {
            return Err(JobError::Refused(Code::TooLong).into());
        }
        Ok(Self { studio, reader, known, movie, info: None })
    }

    /// The picture shown at a moment, in this size.
    ///
    /// # Errors
    /// As [`Digested::footage`]; [`Code::Truncated`] if there is none.
    pub async fn still(&mut self, at_ms: u64, size: Size) -> Result<Bytes, Stop> {
        let stretch = plan::moment(self.movie.track(), at_ms);
        let (_, frames) = self.exact(&[stretch], size, |_| Care::Full).await?;
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
            None => plan::reel(track, fps, pixels, &self.board().0),
        };
        let glance = |info: &MediaInfo| Care::glance(info, size, false);
        let (layout, frames) = self.exact(&stretches, size, glance).await?;
        let list = chosen(&layout, &frames, size);
        if list.is_empty() { Err(JobError::Refused(Code::Truncated).into()) } else { Ok(list) }
    }

    /// Lays out, fetches and decodes.
    async fn exact(
        &mut self,
        stretches: &[Stretch],
        size: Size,
        care: impl Fn(&MediaInfo) -> Care,
    ) -> Result<(Layout, Vec<Bytes>), Stop> {
        let mut layout = self.layout(stretches).await?;
        self.fetch(&layout).await?;
        if self.begins_amiss(&self.known, &layout) && self.movie.distrust_keyframes() {
            layout = self.layout(stretches).await?;
            self.fetch(&layout).await?;
        }
        let (info, tone_map) = self.probe(layout.shots.first()).await?;
        let digests = self.mux(&self.known, &layout.shots)?;
        let look = Look { info: &info, tone_map, size, care: care(&info), worth: Worth::Needed };
        let frames = self.see(look, digests).await?;
        Ok((layout, frames))
    }

    /// The stretches of the storyboard, and where each tile's is.
    fn board(&self) -> (Vec<Stretch>, Vec<(usize, usize)>) {
        let track = self.movie.track();
        let (board, places) = plan::storyboard(track, self.coded_pixels());
        let Some(alternatives) = plan::alternatives(track, &board) else { return (board, places) };
        let wants: Vec<Want> = alternatives.iter().flatten().map(|stretch| stretch.want).collect();
        // Only an index that lists every picture tells how large they are without another look at the file.
        match self.movie.runs(&Known::new(self.known.total()), &wants) {
            Ok(runs) => (plan::lightest(alternatives, &runs), places),
            Err(_) => (board, places),
        }
    }

    fn begins_amiss(&self, known: &Known, layout: &Layout) -> bool {
        digest::begins_amiss(self.movie.track(), known, &layout.shots)
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

    async fn fetch(&mut self, layout: &Layout) -> Result<(), JobError> {
        self.reader.fetch(&mut self.known, &digest::ranges(&layout.shots)).await
    }

    /// The digests of these samples, of which everything is known.
    fn mux(&self, known: &Known, shots: &[Shot]) -> Result<Vec<Digest>, Stop> {
        digest::digests(self.movie.track(), known, shots).map_err(|fault| match fault {
            Fault::Refused(code) => JobError::Refused(code).into(),
            Fault::Foreign(why) => Stop::Foreign(why),
            Fault::Missing(_) => JobError::internal("a sample was not fetched").into(),
        })
    }

    /// Asks ffprobe about one sample, once.
    async fn probe(&mut self, first: Option<&Shot>) -> Result<(MediaInfo, bool), Stop> {
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
    async fn see(&self, look: Look<'_>, digests: Vec<Digest>) -> Result<Vec<Bytes>, JobError> {
        let (to, mut from) = mpsc::channel(WAITING_FRAMES);
        let gather = async {
            let mut list = Vec::new();
            while let Some(frame) = from.recv().await {
                list.push(frame);
            }
            list
        };
        let (decoded, list) = tokio::join!(self.decode(look, digests, to), gather);
        decoded.map(|()| list)
    }

    async fn sift(&self, look: Look<'_>, digests: Vec<Digest>, tile: Size) -> Result<Sifted, JobError> {
        let (to, from) = mpsc::channel(WAITING_FRAMES);
        let size = look.size;
        let sifting = spawn_blocking(move || sift::sift(from, size, tile));
        self.decode(look, digests, to).await?;
        sifting.await.map_err(JobError::internal)
    }

    /// Decodes digests one after another; one that cannot be decoded leaves its slots to the frame before them.
    async fn decode(
        &self,
        look: Look<'_>,
        digests: Vec<Digest>,
        to: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        let Look { info, tone_map, size, care, worth } = look;
        let matrix = self.movie.track().matrix;
        let mut last: Option<Bytes> = None;
        let mut owed = 0;
        let mut refusal = None;
        for digest in digests {
            let arguments = arguments::digest(info, tone_map, &matrix, (size, digest.slots), care);
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

fn resized(frame: &Bytes, from: Size, to: Size) -> Bytes {
    if from == to { frame.clone() } else { crate::picture::colour::shrink(frame, from, to).into() }
}
