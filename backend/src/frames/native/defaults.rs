//! Decides how the default pictures of a digested video are seen: the preview's frames first, the tiles while those are
//! decoded, and the best of the tiles once more in full size.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::error::JobError;
use crate::frames::decoder::Worth;
use crate::frames::exit_status;
use crate::frames::native::{Digested, Look, are_blank, chosen, resized, thinned};
use crate::frames::poster_selector::{self, Sifted};
use crate::frames::{Footage, Frame, Reel, Tiles, rate};
use crate::source::reader::{self, Stop};
use crate::store::Store;
use glimpse_media::demux::buffer::Known;
use glimpse_media::excerpt::mp4_writer::{self, Digest};
use glimpse_media::ffmpeg_args::Care;
use glimpse_media::image::score::{self, Score};
use glimpse_media::image::storyboard;
use glimpse_media::plan::{self, Layout, Pick, Stretch};
use glimpse_media::probe::MediaInfo;
use glimpse_media::size::Size;

/// Sources larger than this are decoded one child at a time: each 4K decoder takes a few hundred megabytes.
const LARGE_PIXELS: u64 = 1920 * 1200;
/// How often the default pictures are attempted: once more for keyframes that are none, and once for pictures of several
/// sizes.
const ATTEMPTS: usize = 3;
/// How wide the pictures are among which the poster is chosen: enough to tell sharp ones.
const SIFTED_WIDTH: u32 = 320;

/// What is decoded for the default pictures.
pub(super) struct Planned {
    pub(super) tiles: Layout,
    /// For each tile its stretch and its place among that one's moments.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) reel: Layout,
    /// Frames a second of the preview.
    pub(super) fps: f64,
}

/// What stands for the video unless there is a better one.
pub(super) struct Candidate {
    score: Score,
    /// In the poster's size.
    pub(super) rgb: Bytes,
    pub(super) at_ms: Option<u64>,
}

/// How an attempt at the default pictures ended.
enum Attempt {
    /// With them.
    Done(Box<Footage>),
    /// The keyframes are distrusted from now on: once more.
    Amiss,
    /// The size is another one from now on: once more.
    Resized,
}

/// How a look at the tiles ended.
enum Seen {
    Tiles(Sifted, Option<Candidate>),
    /// What begins a stretch is no keyframe.
    Amiss,
    /// Pictures have several sizes, of which this one counts.
    Sizes(Option<Size>),
}

/// What is known once the first picture was looked at.
pub(super) struct Scene {
    pub(super) info: MediaInfo,
    tone_map: bool,
    pub(super) poster: Size,
    sifted: Size,
    pub(super) tile: Size,
    pub(super) reel: Size,
}

impl Scene {
    pub(super) fn of(info: MediaInfo, tone_map: bool) -> Self {
        let poster = info.shown.fitted(limits::THUMBNAIL_WIDTH);
        Self {
            poster,
            sifted: info.shown.fitted(SIFTED_WIDTH),
            tile: storyboard::tile_size(poster),
            reel: info.shown.fitted(limits::ANIMATED_WIDTH),
            info,
            tone_map,
        }
    }

    fn is_large(&self) -> bool {
        u64::from(self.info.coded.width) * u64::from(self.info.coded.height) > LARGE_PIXELS
    }

    fn look(&self, size: Size, care: Care, worth: Worth) -> Look<'_> {
        Look { info: &self.info, tone_map: self.tone_map, size, care, worth }
    }
}

impl<S: Store> Digested<S> {
    /// What the default pictures are made of.
    ///
    /// # Errors
    /// [`Stop::Foreign`] if this is not the way to read the file; else what ends the job.
    pub async fn footage(&mut self) -> Result<Footage, Stop> {
        self.doubt_keyframes().await?;
        // An index may call pictures keyframes that are none, which only their bytes tell, and pictures may have several
        // sizes. Each is found once.
        let mut wary = true;
        for _ in 0..ATTEMPTS {
            match Box::pin(self.attempt(wary)).await? {
                Attempt::Done(footage) => return Ok(*footage),
                Attempt::Amiss => wary = false,
                Attempt::Resized => {}
            }
        }
        Err(JobError::internal("the last attempt ended like those before").into())
    }

    async fn attempt(&mut self, wary: bool) -> Result<Attempt, Stop> {
        let Planned { tiles, places, reel, fps } = self.plan().await?;
        // All of it is one round trip. The preview's frames take longest to decode: that begins when those are here.
        let (tile_ranges, reel_ranges) = (mp4_writer::ranges(&tiles.shots), mp4_writer::ranges(&reel.shots));
        let to_come = reader::without(&tile_ranges, &reel_ranges);
        let mut delivery = Some(self.reader.order(&self.known, &to_come)?);
        self.reader.fetch(&mut self.known, &reel_ranges).await?;
        if reel.shots.is_empty()
            && let Some(delivery) = delivery.take()
        {
            delivery.arrive(&mut self.known).await?;
        }
        if wary && self.begins_amiss(&self.known, &reel) && self.verify_keyframes().await? {
            return Ok(Attempt::Amiss);
        }
        let first = reel.shots.first().or(tiles.shots.first()).copied();
        // Where the preview's pictures have several sizes, those of the tiles count before anything is decoded.
        if self.size_of(&self.known, [&reel]).is_some()
            && let Some(delivery) = delivery.take()
        {
            delivery.arrive(&mut self.known).await?;
        }
        self.settle_size(first.as_ref(), self.size_of(&self.known, [&reel, &tiles])).await?;
        let (info, tone_map) = self.probe(first.as_ref()).await?;
        let scene = Scene::of(info, tone_map);
        let reel_digests = self.mux(&self.known, &reel.shots)?;
        let emptied = self.known.emptied();
        let mut known = std::mem::replace(&mut self.known, emptied);

        let see_tiles = async {
            if let Some(delivery) = delivery {
                delivery.arrive(&mut known).await?;
            }
            let size = self.size_of(&known, [&reel, &tiles]);
            known.keep_only(&tile_ranges);
            if wary && self.begins_amiss(&known, &tiles) {
                return Ok(Seen::Amiss);
            }
            if self.shown.is_none() && size.is_some() && self.movie.track().crop.is_none() {
                return Ok(Seen::Sizes(size));
            }
            let sifted = self.sifted(&known, &tiles, &scene, Worth::Needed).await?;
            let best = self.best_of(&known, &tiles, &sifted, &scene).await?;
            Ok::<_, Stop>(Seen::Tiles(sifted, best))
        };
        let see_reel = self.reel_frames(reel_digests, &scene);
        let (seen, frames) = if scene.is_large() {
            let frames = see_reel.await?;
            (see_tiles.await?, frames)
        } else {
            tokio::try_join!(see_tiles, see_reel)?
        };
        self.known = known;
        let (sifted, mut best) = match seen {
            Seen::Tiles(sifted, best) => (sifted, best),
            Seen::Amiss => {
                self.verify_keyframes().await?;
                return Ok(Attempt::Amiss);
            }
            Seen::Sizes(size) => {
                self.settle_size(first.as_ref(), size).await?;
                return Ok(Attempt::Resized);
            }
        };
        self.known.keep_only(&[]);
        if sifted.is_blank() {
            best = self.searched(best, &scene).await?;
        }
        let best = self.sound(best.or_else(|| self.first_of(&reel, &frames, &scene)))?;
        let mut shown = chosen(&reel, &frames, scene.reel);
        if let Some(frames) = self.around_poster(&shown, &best, fps, &scene).await? {
            shown = frames;
        }
        let reel = (shown, fps);
        let footage = assemble(&scene, best, reel, (&tiles, &places, &sifted));
        Ok(Attempt::Done(Box::new(footage)))
    }

    /// The size of the pictures of these layouts, if they have several, as far as they are known.
    pub(super) fn size_of<'a>(
        &self,
        known: &Known,
        layouts: impl IntoIterator<Item = &'a Layout>,
    ) -> Option<Size> {
        let shots = layouts.into_iter().flat_map(|layout| &layout.shots);
        mp4_writer::main_size(self.movie.track(), known, shots)
    }

    /// A preview of the moment of the poster, where that shows something and all other snippets nothing.
    pub(super) async fn around_poster(
        &mut self,
        frames: &[Bytes],
        best: &Candidate,
        fps: f64,
        scene: &Scene,
    ) -> Result<Option<Vec<Bytes>>, Stop> {
        let Some(at_ms) = best.at_ms.filter(|_| !best.score.blank && are_blank(frames, scene.reel)) else {
            return Ok(None);
        };
        let stretch = plan::snippet(self.movie.track(), at_ms, fps);
        let layout = self.layout(&[stretch]).await?;
        self.fetch(&layout).await?;
        let digests = self.mux(&self.known, &layout.shots)?;
        let care = Care::glance(&scene.info, scene.reel, false);
        let look = self.see(scene.look(scene.reel, care, self.studio.extra()), digests).await;
        let found = exit_status::of_a_look(look)?.unwrap_or_default();
        let found = chosen(&layout, &found, scene.reel);
        Ok((!are_blank(&found, scene.reel)).then_some(found))
    }

    /// A poster that shows pixels of the file.
    pub(super) fn sound(&self, best: Option<Candidate>) -> Result<Candidate, Stop> {
        let best = best.filter(|best| !self.studio.is_concealed(&best.rgb));
        best.ok_or(Stop::Job(JobError::Refused(Code::Truncated)))
    }

    /// The preview's first frame as the poster, where no tile could be decoded.
    pub(super) fn first_of(&self, reel: &Layout, frames: &[Bytes], scene: &Scene) -> Option<Candidate> {
        let rgb = resized(frames.first()?, scene.reel, scene.poster);
        let score = score::score(&rgb, scene.poster.width);
        Some(Candidate { score, rgb, at_ms: self.shown_ms(0, reel) })
    }

    /// The frames of the preview's digests.
    pub(super) async fn reel_frames(&self, digests: Vec<Digest>, scene: &Scene) -> Result<Vec<Bytes>, Stop> {
        let care = Care::glance(&scene.info, scene.reel, false);
        self.see(scene.look(scene.reel, care, Worth::Needed), digests).await.map_err(Stop::from)
    }

    pub(super) async fn plan(&mut self) -> Result<Planned, Stop> {
        let pixels = self.coded_pixels();
        let (board, places) = self.board();
        let track = self.movie.track();
        let fps = rate(track.fps, limits::ANIMATED_FPS);
        let snippets = plan::reel(track, fps, pixels, &board);
        let stretches: Vec<Stretch> = board.iter().chain(&snippets).cloned().collect();
        let mut runs = self.runs(&stretches).await?;
        let reel_runs = runs.split_off(board.len());
        let (tiles, reel) = (thinned(&board, runs, pixels), thinned(&snippets, reel_runs, pixels));
        if tiles.shots.is_empty() && reel.shots.is_empty() {
            return Err(JobError::Refused(Code::Truncated).into());
        }
        Ok(Planned { tiles, places, reel, fps })
    }

    /// The pictures of a layout, as tiles.
    pub(super) async fn sifted(
        &self,
        known: &Known,
        layout: &Layout,
        scene: &Scene,
        worth: Worth,
    ) -> Result<Sifted, Stop> {
        let digests = self.mux(known, &layout.shots)?;
        let keyframes = layout.shots.iter().all(|shot| shot.sample.key);
        let care = Care::glance(&scene.info, scene.sifted, keyframes);
        Ok(self.sift(scene.look(scene.sifted, care, worth), digests, scene.tile).await?)
    }

    /// The best of what was sifted, decoded once more in the poster's size.
    pub(super) async fn best_of(
        &self,
        known: &Known,
        layout: &Layout,
        sifted: &Sifted,
        scene: &Scene,
    ) -> Result<Option<Candidate>, Stop> {
        let Some(best) = &sifted.best else { return Ok(None) };
        let mut large = None;
        if scene.poster != scene.sifted {
            let digests = self.mux(known, &layout.alone(best.slot))?;
            let look = self.see(scene.look(scene.poster, Care::Full, Worth::Needed), digests).await;
            large = exit_status::of_a_look(look)?.unwrap_or_default().into_iter().next();
        }
        let rgb = large.unwrap_or_else(|| resized(&best.rgb, scene.sifted, scene.poster));
        Ok(Some(Candidate { score: best.score, rgb, at_ms: self.shown_ms(best.slot, layout) }))
    }

    /// The best of what lies between the first keyframes, where those show nothing, if that is any better.
    pub(super) async fn searched(
        &mut self,
        best: Option<Candidate>,
        scene: &Scene,
    ) -> Result<Option<Candidate>, Stop> {
        let stretch = plan::search(self.movie.track(), self.coded_pixels());
        let layout = self.layout(&[stretch]).await?;
        self.fetch(&layout).await?;
        let sifted = match self.sifted(&self.known, &layout, scene, self.studio.extra()).await {
            Err(Stop::Job(error)) => exit_status::of_a_look(Err(error))?.unwrap_or_default(),
            other => other?,
        };
        let is_better = |found: &poster_selector::Best| {
            best.as_ref().is_none_or(|best| poster_selector::is_better(&found.score, &best.score))
        };
        if sifted.best.as_ref().is_some_and(is_better) {
            return self.best_of(&self.known, &layout, &sifted, scene).await;
        }
        Ok(best)
    }

    /// When the picture of a slot is shown, in milliseconds.
    fn shown_ms(&self, slot: u32, layout: &Layout) -> Option<u64> {
        let pick = layout.picks.iter().flatten().find(|pick| pick.slot == slot)?;
        Some(plan::moment_ms(self.movie.track(), pick.pts))
    }
}

fn assemble(
    scene: &Scene,
    best: Candidate,
    (frames, fps): (Vec<Bytes>, f64),
    (tiles, places, sifted): (&Layout, &[(usize, usize)], &Sifted),
) -> Footage {
    let small = |size: Size| resized(&best.rgb, scene.poster, size);
    let frames = if frames.is_empty() { vec![small(scene.reel)] } else { frames };
    let board = board_frames(tiles, places, sifted, &small(scene.tile));
    Footage {
        info: scene.info.clone(),
        poster_ms: best.at_ms,
        poster: Frame { rgb: best.rgb, size: scene.poster },
        reel: Reel { frames, size: scene.reel, fps },
        tiles: Tiles { frames: board, size: scene.tile },
    }
}

/// A frame for each tile: its own, else the one before, else `other`.
pub(super) fn board_frames(
    layout: &Layout,
    places: &[(usize, usize)],
    sifted: &Sifted,
    other: &Bytes,
) -> Vec<Bytes> {
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
