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

use crate::error::JobError;
use crate::frames::decoder::{Feed, Shape, Studio, Worth};
use crate::frames::exit_status;
use crate::frames::poster_selector::{self, Sifted};
use crate::source::reader::{self, Reader, Stop};
use crate::store::Store;
use glimpse_media::container::Container;
use glimpse_media::demux::buffer::{Fault, Known};
use glimpse_media::demux::demuxer::{DolbyVision, Movie, Sample, Want};
use glimpse_media::demux::{flv, matroska, mp4};
use glimpse_media::excerpt::frame_size;
use glimpse_media::excerpt::mp4_writer::{self, Digest, Shot, mux};
use glimpse_media::ffmpeg_args::{self, Care};
use glimpse_media::image::score;
use glimpse_media::plan::{self, Layout, Stretch};
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

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
    /// The size in which the video is shown, where that is known without its first picture.
    shown: Option<Size>,
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
        known.end_at(studio.deadlines.invocation.into_std());
        let movie: Box<dyn Movie> = match container {
            Container::Mov => Box::new(reader.ask(&mut known, mp4::open).await?),
            Container::Matroska => Box::new(reader.ask(&mut known, matroska::open).await?),
            Container::Flv => Box::new(reader.ask(&mut known, flv::open).await?),
            _ => return Err(Stop::Foreign("its container is not read here")),
        };
        if plan::millis(movie.track(), movie.track().duration) > limits::MAX_DURATION_MS {
            return Err(JobError::Refused(Code::TooLong).into());
        }
        Ok(Self { studio, reader, known, movie, info: None, shown: None })
    }

    /// Shows every picture in this size, whatever the first one has: pictures of another shape get black edges.
    #[must_use]
    pub fn shown_in(mut self, size: Size) -> Self {
        self.shown = Some(size);
        self
    }

    /// The picture shown at a moment, in this size.
    ///
    /// # Errors
    /// As [`Digested::footage`]; [`Code::Truncated`] if there is none.
    pub async fn still(&mut self, at_ms: u64, size: Size) -> Result<Bytes, Stop> {
        let stretch = plan::moment(self.movie.track(), at_ms);
        self.picture(stretch, size).await
    }

    /// The poster, by its moment as it was stored, in this size.
    ///
    /// # Errors
    /// As [`Digested::still`].
    pub async fn poster(&mut self, poster_ms: u64, size: Size) -> Result<Bytes, Stop> {
        let stretch = plan::stored_moment(self.movie.track(), poster_ms);
        self.picture(stretch, size).await
    }

    async fn picture(&mut self, stretch: Stretch, size: Size) -> Result<Bytes, Stop> {
        let (_, frames) = self.exact(&[stretch], size, |_| Care::Full).await?;
        frames.into_iter().next().ok_or(Stop::Job(JobError::Refused(Code::Truncated)))
    }

    /// The pictures of a span of time, or of snippets over the whole video, in this size; of the moment of the poster where
    /// the snippets show nothing.
    ///
    /// # Errors
    /// As [`Digested::footage`]; [`Code::Truncated`] if there are none.
    pub async fn moving(
        &mut self,
        span: Option<(u64, u64)>,
        poster_ms: Option<u64>,
        size: Size,
        fps: f64,
    ) -> Result<Vec<Bytes>, Stop> {
        self.doubt_keyframes().await?;
        let pixels = self.coded_pixels();
        let track = self.movie.track();
        let stretches = match span {
            Some((from, until)) => vec![plan::span(track, from, until, fps)],
            None => plan::reel(track, fps, pixels, &self.board().0),
        };
        let glance = |info: &MediaInfo| Care::glance(info, size, false);
        let (layout, frames) = self.exact(&stretches, size, glance).await?;
        let mut list = chosen(&layout, &frames, size);
        if let Some(poster_ms) = poster_ms.filter(|_| span.is_none() && are_blank(&list, size)) {
            let stretch = plan::snippet(self.movie.track(), poster_ms, fps);
            let (layout, frames) = self.exact(&[stretch], size, glance).await?;
            let around = chosen(&layout, &frames, size);
            if !are_blank(&around, size) {
                list = around;
            }
        }
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
        if self.begins_amiss(&self.known, &layout) && self.verify_keyframes().await? {
            layout = self.layout(stretches).await?;
            self.fetch(&layout).await?;
        }
        let (info, tone_map) = self.probe(layout.shots.first()).await?;
        let digests = self.mux(&self.known, &layout.shots)?;
        let look = Look { info: &info, tone_map, size, care: care(&info), worth: Worth::Needed };
        let frames = self.see(look, digests).await?;
        Ok((layout, frames))
    }

    /// Takes the coded pictures' word for which of them are keyframes. Whether that can be done.
    async fn verify_keyframes(&mut self) -> Result<bool, Stop> {
        let (movie, reader) = (&self.movie, &self.reader);
        let Some(verified) = reader.ask(&mut self.known, |known| movie.verified(known)).await? else {
            return Ok(false);
        };
        self.movie = verified;
        Ok(true)
    }

    /// Does so where the index names so few keyframes that it may have left out most. Whether there are others then.
    async fn doubt_keyframes(&mut self) -> Result<bool, Stop> {
        if !plan::has_few_keyframes(self.movie.track(), self.coded_pixels()) {
            return Ok(false);
        }
        let before = self.movie.track().keyframes.clone();
        Ok(self.verify_keyframes().await? && self.movie.track().keyframes != before)
    }

    /// The stretches of the storyboard, and where each tile's is.
    fn board(&self) -> (Vec<Stretch>, Vec<(usize, usize)>) {
        let track = self.movie.track();
        let (board, places) = plan::storyboard(track, self.coded_pixels());
        let Some(alternatives) = plan::alternatives(track, &board) else { return (board, places) };
        let wants: Vec<Want> = alternatives.iter().flatten().map(|stretch| stretch.want).collect();
        // Only an index that lists every picture tells how large they are without another look at the file.
        match self.movie.runs(&self.known.emptied(), &wants) {
            Ok(runs) => (plan::lightest(alternatives, &runs), places),
            Err(_) => (board, places),
        }
    }

    fn begins_amiss(&self, known: &Known, layout: &Layout) -> bool {
        mp4_writer::begins_amiss(self.movie.track(), known, &layout.shots)
    }

    async fn layout(&mut self, stretches: &[Stretch]) -> Result<Layout, Stop> {
        let pixels = self.coded_pixels();
        let runs = self.runs(stretches).await?;
        let mut layout = thinned(stretches, runs, pixels);
        // It may be the index that names too few keyframes.
        if plan::is_too_much(&layout, pixels) && self.doubt_keyframes().await? {
            let runs = self.runs(stretches).await?;
            layout = thinned(stretches, runs, pixels);
        }
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
        self.reader.fetch(&mut self.known, &mp4_writer::ranges(&layout.shots)).await
    }

    /// The digests of these samples, of which everything is known.
    fn mux(&self, known: &Known, shots: &[Shot]) -> Result<Vec<Digest>, Stop> {
        mp4_writer::digests(self.movie.track(), known, shots).map_err(|fault| match fault {
            Fault::Refused(code) => JobError::Refused(code).into(),
            Fault::Foreign(why) => Stop::Foreign(why),
            Fault::Missing(_) => JobError::internal("a sample was not fetched").into(),
            Fault::Late => reader::late().into(),
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
        // Its configuration is no part of a digest.
        info.dolby_vision_profile = track.dolby_vision.and_then(DolbyVision::of_other_planes);
        if let Some(crop) = track.crop {
            info.cut(crop);
        }
        if let Some(shown) = self.shown {
            info.show_in(shown);
        }
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
        let sifting = spawn_blocking(move || poster_selector::sift(from, size, tile));
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
            let arguments = ffmpeg_args::digest(info, tone_map, &matrix, (size, digest.slots), care);
            let (own, mut frames) = mpsc::channel(1);
            let shape = Shape::of(info, size, digest.slots);
            let decode = self.studio.decode(Feed::Digest(&digest.bytes), &arguments, shape, worth, own);
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
            match exit_status::of_a_look(ended)? {
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

    /// Shows the pictures of these keyframes in one size, if they have several. Whether that is another size than before.
    async fn settle_size(&mut self, first: Option<&Shot>, size: Option<Size>) -> Result<bool, Stop> {
        let is_open = self.shown.is_none() && self.movie.track().crop.is_none();
        let Some(coded) = size.filter(|_| is_open) else { return Ok(false) };
        let (info, _) = self.probe(first).await?;
        let shown = info.shown_of(coded);
        self.shown = Some(shown);
        self.info = None;
        Ok(shown != info.shown)
    }

    /// Pixels of a coded picture, as its sample entry says: ISO 14496-12, 12.1.3.
    fn coded_pixels(&self) -> u64 {
        let sizes = self.movie.track().entries.iter().filter_map(frame_size::of_entry);
        sizes.map(|Size { width, height }| u64::from(width) * u64::from(height)).max().unwrap_or(1)
    }
}

/// The codec of a source that is refused for it, if its container names it.
pub async fn codec_name<S: Store>(reader: &Reader<S>, container: Container) -> Option<String> {
    let (mut known, _) = reader.begin().await.ok()?;
    let name = match container {
        Container::Mov => reader.ask(&mut known, mp4::codec_name).await,
        Container::Matroska => reader.ask(&mut known, matroska::codec_name).await,
        _ => return None,
    };
    name.ok().flatten()
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

/// Whether there is nothing to be seen in any of these frames.
fn are_blank(frames: &[Bytes], size: Size) -> bool {
    frames.iter().all(|frame| score::score(frame, size.width).blank)
}

fn resized(frame: &Bytes, from: Size, to: Size) -> Bytes {
    if from == to { frame.clone() } else { glimpse_media::image::placeholder::shrink(frame, from, to).into() }
}
