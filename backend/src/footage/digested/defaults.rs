//! Decides how the default pictures of a digested video are seen: the preview's frames first, the tiles while those are
//! decoded, and the best of the tiles once more in full size.

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use super::{Digested, Look, chosen, resized, thinned};
use crate::decode::arguments::Care;
use crate::demux::known::Known;
use crate::digest::{self, Digest};
use crate::error::JobError;
use crate::footage::sift::{self, Sifted};
use crate::footage::studio::Worth;
use crate::footage::{Footage, Frame, Reel, Tiles, rate};
use crate::outcome;
use crate::picture::score::{self, Score};
use crate::picture::storyboard;
use crate::plan::{self, Layout, Pick, Stretch};
use crate::probe::MediaInfo;
use crate::size::Size;
use crate::source::{self, Stop};
use crate::store::Store;

/// Sources larger than this are decoded one child at a time: each 4K decoder takes a few hundred megabytes.
const LARGE_PIXELS: u64 = 1920 * 1200;
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
        // An index may call pictures keyframes that are none, which only their bytes tell.
        if let Some(footage) = Box::pin(self.attempt(true)).await? {
            return Ok(footage);
        }
        let again = Box::pin(self.attempt(false)).await?;
        again.ok_or_else(|| JobError::internal("a second attempt ended like the first").into())
    }

    /// None if this is to be tried again with the keyframes distrusted, which only a wary attempt ends with.
    async fn attempt(&mut self, wary: bool) -> Result<Option<Footage>, Stop> {
        let Planned { tiles, places, reel, fps } = self.plan().await?;
        // All of it is one round trip. The preview's frames take longest to decode: that begins when those are here.
        let (tile_ranges, reel_ranges) = (digest::ranges(&tiles.shots), digest::ranges(&reel.shots));
        let to_come = source::without(&tile_ranges, &reel_ranges);
        let mut delivery = Some(self.reader.order(&self.known, &to_come)?);
        self.reader.fetch(&mut self.known, &reel_ranges).await?;
        if reel.shots.is_empty()
            && let Some(delivery) = delivery.take()
        {
            delivery.arrive(&mut self.known).await?;
        }
        if wary && self.begins_amiss(&self.known, &reel) && self.movie.distrust_keyframes() {
            return Ok(None);
        }
        let (info, tone_map) = self.probe(reel.shots.first().or(tiles.shots.first())).await?;
        let scene = Scene::of(info, tone_map);
        let reel_digests = self.mux(&self.known, &reel.shots)?;
        let mut known = std::mem::replace(&mut self.known, Known::new(self.reader.total()));

        let see_tiles = async {
            if let Some(delivery) = delivery {
                delivery.arrive(&mut known).await?;
            }
            known.keep_only(&tile_ranges);
            if wary && self.begins_amiss(&known, &tiles) {
                return Ok(None);
            }
            let sifted = self.sifted(&known, &tiles, &scene, Worth::Needed).await?;
            let best = self.best_of(&known, &tiles, &sifted, &scene).await?;
            Ok::<_, Stop>(Some((sifted, best)))
        };
        let see_reel = self.reel_frames(reel_digests, &scene);
        let (seen, frames) = if scene.is_large() {
            let frames = see_reel.await?;
            (see_tiles.await?, frames)
        } else {
            tokio::try_join!(see_tiles, see_reel)?
        };
        self.known = known;
        let Some((sifted, mut best)) = seen else {
            self.movie.distrust_keyframes();
            return Ok(None);
        };
        self.known.keep_only(&[]);
        if sifted.is_blank() {
            best = self.searched(best, &scene).await?;
        }
        let Some(best) = best.or_else(|| first_of(&frames, scene.reel, scene.poster)) else {
            return Err(JobError::Refused(Code::Truncated).into());
        };
        Ok(Some(assemble(&scene, best, (&reel, &frames, fps), (&tiles, &places, &sifted))))
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
            large = outcome::of_a_look(look)?.unwrap_or_default().into_iter().next();
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
            Err(Stop::Job(error)) => outcome::of_a_look(Err(error))?.unwrap_or_default(),
            other => other?,
        };
        let is_better =
            |found: &sift::Best| best.as_ref().is_none_or(|best| sift::is_better(&found.score, &best.score));
        if sifted.best.as_ref().is_some_and(is_better) {
            return self.best_of(&self.known, &layout, &sifted, scene).await;
        }
        Ok(best)
    }

    /// When the picture of a slot is shown, in milliseconds.
    fn shown_ms(&self, slot: u32, layout: &Layout) -> Option<u64> {
        let pick = layout.picks.iter().flatten().find(|pick| pick.slot == slot)?;
        Some(plan::millis(self.movie.track(), pick.pts))
    }
}

fn assemble(
    scene: &Scene,
    best: Candidate,
    (reel, frames, fps): (&Layout, &[Bytes], f64),
    (tiles, places, sifted): (&Layout, &[(usize, usize)], &Sifted),
) -> Footage {
    let small = |size: Size| resized(&best.rgb, scene.poster, size);
    let frames = chosen(reel, frames, scene.reel);
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

/// The preview's first frame as the poster, where no tile could be decoded.
pub(super) fn first_of(frames: &[Bytes], from: Size, to: Size) -> Option<Candidate> {
    let rgb = resized(frames.first()?, from, to);
    Some(Candidate { score: score::score(&rgb, to.width), rgb, at_ms: None })
}
