//! Decides which encoded pictures a video has before anybody asks: the poster, the moving preview, the storyboard. Pure.

use bytes::Bytes;
use glimpse_contract::{Format, Kind, Variant};

use crate::frames::{Footage, Frame, Part, Reel, Tiles};
use glimpse_media::image::header::{self, PictureError};
use glimpse_media::image::storyboard::{self, Sheet, Tile};
use glimpse_media::image::{gif, jpeg, webp};
use glimpse_media::plan;
use glimpse_media::size::Size;

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
    let sheet = sheet(&footage.tiles, footage.info.duration_ms)?;
    encode(|kind| match kind {
        Kind::Thumbnail => Some(Shown::Still(&footage.poster)),
        Kind::Animated => Some(Shown::Moving(&footage.reel)),
        Kind::Storyboard => Some(Shown::Sheet(&sheet)),
    })
}

/// As [`of`], those that are made of this part.
///
/// # Errors
/// As [`of`].
pub fn of_part(part: &Part, duration_ms: u64) -> Result<Album, PictureError> {
    match part {
        Part::Poster(poster, _) => encode(|kind| (kind == Kind::Thumbnail).then_some(Shown::Still(poster))),
        Part::Reel(reel) => encode(|kind| (kind == Kind::Animated).then_some(Shown::Moving(reel))),
        Part::Tiles(tiles) => {
            let sheet = sheet(tiles, duration_ms)?;
            encode(|kind| (kind == Kind::Storyboard).then_some(Shown::Sheet(&sheet)))
        }
    }
}

/// What one kind of picture is made of.
#[derive(Clone, Copy)]
enum Shown<'a> {
    Still(&'a Frame),
    Moving(&'a Reel),
    Sheet(&'a Sheet),
}

fn sheet(tiles: &Tiles, duration_ms: u64) -> Result<Sheet, PictureError> {
    let count = tiles.frames.len();
    let list: Vec<Tile<'_>> = tiles
        .frames
        .iter()
        .enumerate()
        .map(|(place, frame)| Tile { start_ms: plan::tile_start(place, count, duration_ms), frame })
        .collect();
    storyboard::sheet(&list, tiles.size, duration_ms)
}

/// The default pictures of those kinds of which something is shown.
fn encode<'a>(shown: impl Fn(Kind) -> Option<Shown<'a>>) -> Result<Album, PictureError> {
    std::thread::scope(|scope| {
        let working: Vec<_> = Variant::DEFAULTS
            .into_iter()
            .filter_map(|variant| Some((variant, shown(variant.kind())?)))
            .map(|(variant, shown)| (variant, scope.spawn(move || picture(variant.format(), shown))))
            .collect();
        working
            .into_iter()
            .map(|(variant, thread)| {
                let picture = thread.join().map_err(|_| PictureError::Encoder("it panicked".into()))??;
                Ok((variant, picture))
            })
            .collect()
    })
}

fn picture(format: Format, shown: Shown<'_>) -> Result<Picture, PictureError> {
    let (size, bytes) = match (shown, format) {
        (Shown::Still(poster), Format::Webp) => {
            (poster.size, webp::still(&poster.rgb, poster.size, webp::POSTER_QUALITY)?)
        }
        (Shown::Still(poster), _) => {
            (poster.size, jpeg::encode(&poster.rgb, poster.size, jpeg::POSTER_QUALITY)?)
        }
        (Shown::Moving(reel), Format::Webp) => {
            (reel.size, webp::animation(&reel.frames, reel.size, reel.fps, webp::FINE)?)
        }
        (Shown::Moving(reel), _) => (reel.size, gif::encode(&reel.frames, reel.size, reel.fps, &gif::FINE)?),
        (Shown::Sheet(sheet), Format::Webp) => {
            (sheet.size, webp::still(&sheet.frame, sheet.size, webp::SHEET_QUALITY)?)
        }
        (Shown::Sheet(sheet), Format::Vtt) => (sheet.size, sheet.map.webvtt(SHEET).into()),
        (Shown::Sheet(sheet), Format::Json) => (sheet.size, sheet.map.json(SHEET).into()),
        (Shown::Sheet(sheet), _) => {
            (sheet.size, jpeg::encode(&sheet.frame, sheet.size, jpeg::SHEET_QUALITY)?)
        }
    };
    if !matches!(format, Format::Vtt | Format::Json) {
        let facts = header::facts(format, &bytes);
        if facts.is_none_or(|facts| facts.size != size) {
            return Err(PictureError::Encoder(format!("it made {facts:?}, not a picture of {size:?}")));
        }
    }
    Ok(Picture { bytes, size })
}

/// The sheet as the tables name it: beside them.
const SHEET: &str = "storyboard.jpg";
