//! Decides which encoded pictures a video has before anybody asks: the poster, the moving preview, the storyboard. Pure.

use bytes::Bytes;
use glimpse_contract::{Format, Kind, Variant};

use super::check::{self, PictureError};
use super::storyboard::{self, Sheet, Tile};
use super::{gif, jpeg, webp};
use crate::footage::Footage;
use crate::plan;
use crate::size::Size;

/// A picture and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The encoded bytes.
    pub bytes: Bytes,
    /// Its size; of a storyboard's tables that of the sheet that they are about.
    pub size: Size,
}

/// Pictures by what was asked for.
pub type Album = Vec<(Variant, Picture)>;

/// Makes every default picture. It computes for a while, in several threads.
///
/// # Errors
/// An encoder refuses frames of our own making, or made of them what is no picture.
pub fn of(footage: &Footage) -> Result<Album, PictureError> {
    let duration_ms = footage.info.duration_ms;
    let count = footage.tiles.frames.len();
    let tiles: Vec<Tile<'_>> = footage
        .tiles
        .frames
        .iter()
        .enumerate()
        .map(|(place, frame)| Tile { start_ms: plan::tile_start(place, count, duration_ms), frame })
        .collect();
    let sheet = storyboard::sheet(&tiles, footage.tiles.size, duration_ms)?;
    std::thread::scope(|scope| {
        let sheet = &sheet;
        let working =
            Variant::DEFAULTS.map(|variant| (variant, scope.spawn(move || picture(variant, footage, sheet))));
        working
            .into_iter()
            .map(|(variant, thread)| {
                let picture = thread.join().map_err(|_| PictureError::Encoder("it panicked".into()))??;
                Ok((variant, picture))
            })
            .collect()
    })
}

fn picture(variant: Variant, footage: &Footage, sheet: &Sheet) -> Result<Picture, PictureError> {
    let (poster, reel) = (&footage.poster, &footage.reel);
    let (size, bytes) = match (variant.kind(), variant.format()) {
        (Kind::Thumbnail, Format::Webp) => {
            (poster.size, webp::still(&poster.rgb, poster.size, webp::POSTER_QUALITY)?)
        }
        (Kind::Thumbnail, _) => (poster.size, jpeg::encode(&poster.rgb, poster.size, jpeg::POSTER_QUALITY)?),
        (Kind::Animated, Format::Webp) => {
            (reel.size, webp::animation(&reel.frames, reel.size, reel.fps, webp::FINE)?)
        }
        (Kind::Animated, _) => (reel.size, gif::encode(&reel.frames, reel.size, reel.fps, &gif::FINE)?),
        (Kind::Storyboard, Format::Webp) => {
            (sheet.size, webp::still(&sheet.frame, sheet.size, webp::SHEET_QUALITY)?)
        }
        (Kind::Storyboard, Format::Vtt) => (sheet.size, sheet.map.webvtt(SHEET).into()),
        (Kind::Storyboard, Format::Json) => (sheet.size, sheet.map.json(SHEET).into()),
        (Kind::Storyboard, _) => (sheet.size, jpeg::encode(&sheet.frame, sheet.size, jpeg::SHEET_QUALITY)?),
    };
    if !matches!(variant.format(), Format::Vtt | Format::Json) {
        let facts = check::facts(variant.format(), &bytes);
        if facts.is_none_or(|facts| facts.size != size) {
            return Err(PictureError::Encoder(format!("it made {facts:?}, not a picture of {size:?}")));
        }
    }
    Ok(Picture { bytes, size })
}

/// The sheet as the tables name it: beside them.
const SHEET: &str = "storyboard.jpg";
