//! Decides how the steps of a workflow see a digested video: one looks at everything and decodes nothing, the others decode
//! each its part, to the same frames as a job that does all of it.

use bytes::Bytes;
use glimpse_contract::Kind;

use crate::error::JobError;
use crate::frames::decoder::Worth;
use crate::frames::native::defaults::{Candidate, Planned, Scene, board_frames};
use crate::frames::native::{Digested, are_blank, chosen, resized};
use crate::frames::poster_selector::Sifted;
use crate::frames::{Frame, Part, Reel, Tiles};
use crate::source::reader::Stop;
use crate::store::Store;
use glimpse_media::excerpt::mp4_writer;
use glimpse_media::plan::Layout;
use glimpse_media::probe::MediaInfo;

impl<S: Store> Digested<S> {
    /// What is known of the video, and whether its keyframes are to be distrusted: what has to be the same for every part.
    ///
    /// # Errors
    /// [`Stop::Foreign`] if this is not the way to read the file; else what ends the job.
    pub async fn survey(&mut self) -> Result<(MediaInfo, bool), Stop> {
        let few = self.doubt_keyframes().await?;
        let mut planned = self.plan().await?;
        self.fetch_all(&planned).await?;
        let wrong =
            self.begins_amiss(&self.known, &planned.reel) || self.begins_amiss(&self.known, &planned.tiles);
        let wrong = wrong && self.verify_keyframes().await?;
        let amiss = few || wrong;
        if wrong {
            planned = self.plan().await?;
            self.fetch_all(&planned).await?;
        }
        let size = self.size_of(&self.known, [&planned.reel, &planned.tiles]);
        self.settle_size(first(&planned).as_ref(), size).await?;
        let (info, _) = self.probe(first(&planned).as_ref()).await?;
        // What cannot be put into a digest is seen by another way, and that by all parts.
        self.mux(&self.known, &planned.reel.shots)?;
        self.mux(&self.known, &planned.tiles.shots)?;
        Ok((info, amiss))
    }

    /// What the default pictures of that kind are made of; `amiss` is what the survey said.
    ///
    /// # Errors
    /// As [`Digested::footage`].
    pub async fn part(&mut self, kind: Kind, amiss: bool) -> Result<(MediaInfo, Part), Stop> {
        if amiss {
            self.verify_keyframes().await?;
        }
        let planned = self.plan().await?;
        let mut ranges = match kind {
            Kind::Animated => mp4_writer::ranges(&planned.reel.shots),
            Kind::Thumbnail | Kind::Storyboard => mp4_writer::ranges(&planned.tiles.shots),
        };
        let first = first(&planned);
        ranges.extend(mp4_writer::ranges(first.as_slice()));
        self.reader.fetch(&mut self.known, &ranges).await?;
        let (info, tone_map) = self.probe(first.as_ref()).await?;
        let scene = Scene::of(info, tone_map);
        let part = match kind {
            Kind::Thumbnail => {
                let sifted = self.tiles_of(&planned.tiles, &scene).await?;
                let best = self.poster_of(&planned, &sifted, &scene).await?;
                Part::Poster(Frame { rgb: best.rgb, size: scene.poster }, best.at_ms)
            }
            Kind::Animated => Part::Reel(self.reel(&planned, &scene).await?),
            Kind::Storyboard => Part::Tiles(self.tiles(&planned, &scene).await?),
        };
        Ok((scene.info, part))
    }

    async fn fetch_all(&mut self, planned: &Planned) -> Result<(), JobError> {
        let mut ranges = mp4_writer::ranges(&planned.reel.shots);
        ranges.extend(mp4_writer::ranges(&planned.tiles.shots));
        self.reader.fetch(&mut self.known, &ranges).await
    }

    async fn tiles_of(&self, layout: &Layout, scene: &Scene) -> Result<Sifted, Stop> {
        self.sifted(&self.known, layout, scene, Worth::Needed).await
    }

    async fn poster_of(
        &mut self,
        planned: &Planned,
        sifted: &Sifted,
        scene: &Scene,
    ) -> Result<Candidate, Stop> {
        let mut best = self.best_of(&self.known, &planned.tiles, sifted, scene).await?;
        if sifted.is_blank() {
            best = self.searched(best, scene).await?;
        }
        if best.is_some() {
            return self.sound(best);
        }
        let frames = self.moments(&planned.reel, scene).await?;
        self.sound(self.first_of(&planned.reel, &frames, scene))
    }

    /// The preview's frames, fetched and decoded.
    async fn moments(&mut self, reel: &Layout, scene: &Scene) -> Result<Vec<Bytes>, Stop> {
        self.fetch(reel).await?;
        let digests = self.mux(&self.known, &reel.shots)?;
        self.reel_frames(digests, scene).await
    }

    async fn reel(&mut self, planned: &Planned, scene: &Scene) -> Result<Reel, Stop> {
        let frames = self.moments(&planned.reel, scene).await?;
        let mut frames = chosen(&planned.reel, &frames, scene.reel);
        if are_blank(&frames, scene.reel) {
            self.fetch(&planned.tiles).await?;
            let sifted = self.tiles_of(&planned.tiles, scene).await?;
            let best = self.poster_of(planned, &sifted, scene).await?;
            if let Some(around) = self.around_poster(&frames, &best, planned.fps, scene).await? {
                frames = around;
            }
            if frames.is_empty() {
                frames.push(resized(&best.rgb, scene.poster, scene.reel));
            }
        }
        Ok(Reel { frames, size: scene.reel, fps: planned.fps })
    }

    async fn tiles(&mut self, planned: &Planned, scene: &Scene) -> Result<Tiles, Stop> {
        let sifted = self.tiles_of(&planned.tiles, scene).await?;
        let other = if sifted.tiles.is_empty() {
            let best = self.poster_of(planned, &sifted, scene).await?;
            resized(&best.rgb, scene.poster, scene.tile)
        } else {
            // Every tile has one of its own, or one before it.
            Bytes::new()
        };
        let frames = board_frames(&planned.tiles, &planned.places, &sifted, &other);
        Ok(Tiles { frames, size: scene.tile })
    }
}

/// The sample that tells what the video is.
fn first(planned: &Planned) -> Option<mp4_writer::Shot> {
    planned.reel.shots.first().or(planned.tiles.shots.first()).copied()
}
