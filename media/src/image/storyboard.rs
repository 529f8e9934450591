//! Arranges storyboard tiles on a sheet, and writes the tables of their times and positions. Does no IO.

use std::fmt::Write as _;

use serde::Serialize;

use crate::image::header::ImageError;
use crate::image::webp;
use crate::size::Size;

/// The longer side of a tile: one hundred tiles of 16:9 fill a sheet of 1920x1080.
const MAX_TILE_SIDE: u32 = 192;
/// Tiles per row of a sheet of up to fifty, and of a larger one.
const FEW_COLUMNS: usize = 5;
const MANY_COLUMNS: usize = 10;
const FEW_TILES: usize = 50;

/// The tile size for a video with this display size: with the same aspect ratio, and never larger than the video.
pub fn tile_size(display_size: Size) -> Size {
    let longer = display_size.width.max(display_size.height).max(1);
    if longer <= MAX_TILE_SIDE {
        return Size { width: display_size.width.max(1), height: display_size.height.max(1) };
    }
    let side = |side: u32| {
        let scaled = (u64::from(side) * u64::from(MAX_TILE_SIDE) + u64::from(longer) / 2) / u64::from(longer);
        (scaled as u32).max(1)
    };
    Size { width: side(display_size.width), height: side(display_size.height) }
}

/// A frame of the video for the storyboard.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Presentation time of the frame.
    pub start_ms: u64,
    /// The raw `rgb24` frame.
    pub frame: &'a [u8],
}

/// A sheet: raw `rgb24`, with rows of tiles, and black where there is no tile.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// The pixels.
    pub frame: Vec<u8>,
    /// The size in pixels.
    pub size: Size,
    /// The position of each tile.
    pub tile_map: TileMap,
}

/// The times and positions of the tiles on a sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileMap {
    tile: Size,
    columns: usize,
    duration_ms: u64,
    starts_ms: Vec<u64>,
}

/// Arranges tiles of the same size in the given order. Intended for at most one hundred tiles.
pub fn build_sheet(tiles: &[Tile<'_>], tile: Size, duration_ms: u64) -> Result<Sheet, ImageError> {
    let frames: Vec<&[u8]> = tiles.iter().map(|tile| tile.frame).collect();
    crate::image::header::check_frames(&frames, tile)?;
    let most = if tiles.len() <= FEW_TILES { FEW_COLUMNS } else { MANY_COLUMNS };
    let columns = most.min(tiles.len());
    let rows = tiles.len().div_ceil(columns);
    let side_pixels = |side: u32, count: usize| {
        u64::from(side).saturating_mul(count as u64).min(u64::from(u32::MAX)) as u32
    };
    let size = Size { width: side_pixels(tile.width, columns), height: side_pixels(tile.height, rows) };
    crate::image::header::check_size(size, webp::MAX_SIDE)?;
    let mut frame = vec![0; size.frame_bytes()];
    let (line, stride) = (tile.width as usize * 3, size.width as usize * 3);
    for (index, tile_frame) in frames.iter().enumerate() {
        let start = index / columns * tile.height as usize * stride + index % columns * line;
        for (y, row) in tile_frame.chunks_exact(line).enumerate() {
            frame[start + y * stride..][..line].copy_from_slice(row);
        }
    }
    let starts_ms = tiles.iter().map(|tile| tile.start_ms).collect();
    Ok(Sheet { frame, size, tile_map: TileMap { tile, columns, duration_ms, starts_ms } })
}

/// The JSON members of Mux, <https://docs.mux.com/guides/create-timeline-hover-previews>.
#[derive(Debug, Serialize)]
struct StoryboardJson<'a> {
    url: &'a str,
    tile_width: u32,
    tile_height: u32,
    duration: f64,
    tiles: Vec<TileJson>,
}

#[derive(Debug, Serialize)]
struct TileJson {
    start: f64,
    x: usize,
    y: usize,
}

/// `HH:MM:SS.mmm`, <https://www.w3.org/TR/webvtt1/#webvtt-timestamp>.
fn format_timestamp(ms: u64) -> String {
    let (seconds, minutes) = (ms / 1000, ms / 60_000);
    format!("{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, seconds % 60, ms % 1000)
}

impl TileMap {
    /// The start time of each tile, and its top left corner.
    fn tile_origins(&self) -> impl Iterator<Item = (u64, usize, usize)> {
        self.starts_ms.iter().enumerate().map(|(index, start)| {
            let x = index % self.columns * self.tile.width as usize;
            (*start, x, index / self.columns * self.tile.height as usize)
        })
    }

    /// The table for players: WebVTT whose cues reference a region of the image at `url`
    /// (<https://www.w3.org/TR/media-frags/#naming-space>).
    ///
    /// A cue lasts until the start of the next tile, the last one until the end of the video. The first starts at 0, so
    /// that there is a tile for every time. Of several tiles with the same time, the last one is referenced.
    pub fn to_webvtt(&self, url: &str) -> String {
        let mut text = "WEBVTT\n".to_owned();
        let ends = self.starts_ms.iter().skip(1).copied().chain([self.duration_ms]);
        let last = self.starts_ms.len().saturating_sub(1);
        let mut from = 0;
        for (index, ((start, x, y), end)) in self.tile_origins().zip(ends).enumerate() {
            let end = if index == last { end.max(start.max(from) + 1) } else { end };
            if end <= from {
                continue;
            }
            let Size { width, height } = self.tile;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n{} --> {}\n{url}#xywh={x},{y},{width},{height}\n",
                format_timestamp(from),
                format_timestamp(end)
            );
            from = end;
        }
        text
    }

    /// The table for programs, as JSON.
    pub fn to_json(&self, url: &str) -> String {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let json = StoryboardJson {
            url,
            tile_width: self.tile.width,
            tile_height: self.tile.height,
            duration: seconds(self.duration_ms),
            tiles: self
                .tile_origins()
                .map(|(start, x, y)| TileJson { start: seconds(start), x, y })
                .collect(),
        };
        serde_json::to_string(&json).expect("numbers and strings can always be serialized as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: Size = Size { width: 4, height: 2 };

    /// Tiles of one color each, numbered from 1.
    fn test_sheet(starts_ms: &[u64], duration_ms: u64) -> Sheet {
        let frames: Vec<Vec<u8>> =
            (1..=starts_ms.len()).map(|tile| vec![tile as u8; TILE.frame_bytes()]).collect();
        let tiles: Vec<Tile<'_>> = starts_ms
            .iter()
            .zip(&frames)
            .map(|(start_ms, frame)| Tile { start_ms: *start_ms, frame })
            .collect();
        build_sheet(&tiles, TILE, duration_ms).unwrap()
    }

    #[test]
    fn tile_size_keeps_aspect_and_never_upscales() {
        for (display_size, tile) in [
            ((1920, 1080), (192, 108)),
            ((1080, 1920), (108, 192)),
            ((640, 480), (192, 144)),
            ((100, 60), (100, 60)),
            ((8192, 1), (192, 1)),
            ((0, 0), (1, 1)),
        ] {
            let size = tile_size(Size { width: display_size.0, height: display_size.1 });
            assert_eq!((size.width, size.height), tile, "{display_size:?}");
        }
    }

    #[test]
    fn tiles_match_their_table_entries() {
        for (count, (columns, rows)) in
            [(1, (1, 1)), (4, (4, 1)), (7, (5, 2)), (50, (5, 10)), (51, (10, 6)), (100, (10, 10))]
        {
            let starts: Vec<u64> = (0..count).map(|tile| tile * 1000).collect();
            let sheet = test_sheet(&starts, count * 1000);
            let expected = Size { width: columns * TILE.width, height: rows * TILE.height };
            assert_eq!(sheet.size, expected, "{count}");
            for (index, (start, x, y)) in sheet.tile_map.tile_origins().enumerate() {
                assert_eq!(start, starts[index]);
                let at = (y * sheet.size.width as usize + x) * 3;
                let last = at + ((sheet.size.width + TILE.width - 1) * 3) as usize;
                assert_eq!(
                    (sheet.frame[at], sheet.frame[last]),
                    (index as u8 + 1, index as u8 + 1),
                    "{count}: {index}"
                );
            }
        }
    }

    #[test]
    fn cues_last_until_the_next_or_the_end() {
        let sheet = test_sheet(&[400, 2000, 3_661_001], 3_700_000);
        let expected = "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nstoryboard.jpg#xywh=0,0,4,2\n\n\
                        00:00:02.000 --> 01:01:01.001\nstoryboard.jpg#xywh=4,0,4,2\n\n\
                        01:01:01.001 --> 01:01:40.000\nstoryboard.jpg#xywh=8,0,4,2\n";
        assert_eq!(sheet.tile_map.to_webvtt("storyboard.jpg"), expected);
    }

    #[test]
    fn cues_are_never_empty() {
        let cases: [(&[u64], u64); 5] =
            [(&[0], 0), (&[0, 0, 0], 0), (&[0, 5, 5, 9], 5), (&[7, 3, 9], 10), (&[0, 100_000_000], 1)];
        for (starts, duration) in cases {
            let text = test_sheet(starts, duration).tile_map.to_webvtt("s");
            let cues: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(" --> ")).collect();
            assert!(!cues.is_empty(), "{starts:?}");
            assert!(cues.iter().all(|(from, to)| from < to), "{starts:?}: {text}");
            assert!(cues.windows(2).all(|pair| pair[0].1 == pair[1].0), "{starts:?}: {text}");
        }
    }

    #[test]
    fn json_matches_mux_format() {
        let json = test_sheet(&[0, 1500], 3000).tile_map.to_json("storyboard.jpg");
        let expected = r#"{"url":"storyboard.jpg","tile_width":4,"tile_height":2,"duration":3.0,"tiles":[{"start":0.0,"x":0,"y":0},{"start":1.5,"x":4,"y":0}]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn rejects_oversized_sheets() {
        assert!(matches!(build_sheet(&[], TILE, 0), Err(ImageError::NoFrames)));
        let wide = Size { width: 9000, height: 1 };
        let frame = vec![0; wide.frame_bytes()];
        let tiles = [Tile { start_ms: 0, frame: &frame }; 2];
        assert!(matches!(
            build_sheet(&tiles, wide, 1),
            Err(ImageError::UnsupportedSize { width: 18_000, height: 1 })
        ));
        let other = [Tile { start_ms: 0, frame: &frame }];
        assert!(matches!(build_sheet(&other, TILE, 1), Err(ImageError::FrameLength { .. })));
    }
}
