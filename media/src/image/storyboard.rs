//! Arranges storyboard tiles on a sheet, and writes the tables of their times and positions. Does no IO.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use glimpse_contract::{StoryboardParams, limits};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::image::header::ImageError;
use crate::image::webp;
use crate::plan::{TileTimes, TooManyTiles};
use crate::size::Size;

/// The longer side of a tile: one hundred tiles of 16:9 fill a sheet of 1920x1080.
const MAX_TILE_SIDE: u32 = 192;
/// The tiles per row of a sheet of up to this many tiles. A larger sheet has [`MOST_COLUMNS`].
const COLUMNS: [(usize, usize); 2] = [(50, 5), (100, 10)];
/// With the largest tiles, no side of the largest sheet exceeds WebP's limit.
const MOST_COLUMNS: usize = 20;
/// The length of a table's only interval if the video has no duration, in milliseconds.
const MIN_LENGTH_MS: u64 = 1;

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
    /// The length of a tile's interval, if the last one may be shorter.
    interval_ms: Option<u64>,
}

/// A requested storyboard: the times and the positions of its tiles. It depends only on the parameters, the display
/// size and the duration, so that a sheet and its tables agree, whichever of them is requested first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryboardPlan {
    /// The times of the frames.
    pub times: TileTimes,
    /// The size of the frames.
    pub tile: Size,
    /// The positions on the sheet.
    pub tile_map: TileMap,
}

/// Why a storyboard cannot be as requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The requested interval is too short.
    #[error(transparent)]
    TooManyTiles(#[from] TooManyTiles),
    /// The sheet would have more than [`limits::MAX_SHEET_PIXELS`].
    #[error("{count} tiles of {}x{} pixels are too many pixels for one sheet", .tile.width, .tile.height)]
    TooManyPixels {
        /// The number of tiles.
        count: usize,
        /// The size of one tile.
        tile: Size,
    },
}

impl StoryboardPlan {
    /// Plans the storyboard of a video with this display size, and this duration in milliseconds.
    ///
    /// # Errors
    /// There would be too many tiles, or the sheet would be too large.
    pub fn new(board: &StoryboardParams, display_size: Size, duration_ms: u64) -> Result<Self, PlanError> {
        let times = TileTimes::new(board, duration_ms)?;
        let tile = match board.width {
            Some(width) => display_size.scale_to_fit(width),
            None => tile_size(display_size.scale_to_fit(limits::THUMBNAIL_WIDTH)),
        };
        let starts_ms: Vec<u64> = (0..times.count()).map(|place| times.tile_start_ms(place)).collect();
        let tile_map =
            TileMap { interval_ms: times.interval_ms(), ..TileMap::new(tile, times.length_ms(), starts_ms) };
        let sheet = tile_map.sheet_size();
        if u64::from(sheet.width) * u64::from(sheet.height) > limits::MAX_SHEET_PIXELS {
            return Err(PlanError::TooManyPixels { count: times.count(), tile });
        }
        Ok(Self { times, tile, tile_map })
    }

    /// Arranges the frames of the tiles on the sheet.
    ///
    /// # Errors
    /// A frame is not of the size of a tile, or there are more frames or fewer than tiles.
    pub fn build_sheet(&self, frames: &[Bytes]) -> Result<Sheet, ImageError> {
        if frames.len() != self.times.count() {
            return Err(ImageError::NoFrames);
        }
        let frames: Vec<&[u8]> = frames.iter().map(Bytes::as_ref).collect();
        self.tile_map.clone().arrange(&frames)
    }
}

/// Arranges tiles of the same size in the given order. Intended for at most [`limits::MAX_TILES`].
pub fn build_sheet(tiles: &[Tile<'_>], tile: Size, duration_ms: u64) -> Result<Sheet, ImageError> {
    let frames: Vec<&[u8]> = tiles.iter().map(|tile| tile.frame).collect();
    let starts_ms = tiles.iter().map(|tile| tile.start_ms).collect();
    TileMap::new(tile, duration_ms, starts_ms).arrange(&frames)
}

/// The JSON members of Mux, <https://docs.mux.com/guides/create-timeline-hover-previews>.
#[derive(Debug, Serialize, Deserialize)]
struct StoryboardJson<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    tile_width: u32,
    tile_height: u32,
    duration: f64,
    tiles: Vec<TileJson>,
}

#[derive(Debug, Serialize, Deserialize)]
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
    fn new(tile: Size, duration_ms: u64, starts_ms: Vec<u64>) -> Self {
        let count = starts_ms.len();
        let most =
            COLUMNS.iter().find(|(most, _)| count <= *most).map_or(MOST_COLUMNS, |(_, columns)| *columns);
        Self { tile, columns: most.min(count), duration_ms, starts_ms, interval_ms: None }
    }

    /// Reads a table that [`TileMap::to_json`] has written; `None` if it is another.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let table: StoryboardJson<'_> = serde_json::from_slice(json).ok()?;
        let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
        let tile = Size { width: table.tile_width, height: table.tile_height };
        let columns = table.tiles.iter().take_while(|tile| tile.y == 0).count();
        let starts_ms: Vec<u64> = table.tiles.iter().map(|tile| ms(tile.start)).collect();
        let tile_map = Self { columns, ..Self::new(tile, ms(table.duration), starts_ms) };
        let is_same = |(read, (_, x, y)): (&TileJson, (u64, usize, usize))| (read.x, read.y) == (x, y);
        let is_grid = columns > 0 && table.tiles.iter().zip(tile_map.tile_origins()).all(is_same);
        is_grid.then_some(tile_map)
    }

    fn rows(&self) -> usize {
        self.starts_ms.len().div_ceil(self.columns.max(1))
    }

    /// The size of the sheet in pixels.
    fn sheet_size(&self) -> Size {
        let side_pixels = |side: u32, count: usize| {
            u64::from(side).saturating_mul(count as u64).min(u64::from(u32::MAX)) as u32
        };
        Size {
            width: side_pixels(self.tile.width, self.columns),
            height: side_pixels(self.tile.height, self.rows()),
        }
    }

    /// The sheet with these frames, in the order of the tiles.
    fn arrange(self, frames: &[&[u8]]) -> Result<Sheet, ImageError> {
        crate::image::header::check_frames(frames, self.tile)?;
        let size = self.sheet_size();
        crate::image::header::check_size(size, webp::MAX_SIDE)?;
        let mut frame = vec![0; size.frame_bytes()];
        let (line, stride) = (self.tile.width as usize * 3, size.width as usize * 3);
        for (index, tile_frame) in frames.iter().enumerate() {
            let start =
                index / self.columns * self.tile.height as usize * stride + index % self.columns * line;
            for (y, row) in tile_frame.chunks_exact(line).enumerate() {
                frame[start + y * stride..][..line].copy_from_slice(row);
            }
        }
        Ok(Sheet { frame, size, tile_map: self })
    }

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
            url: url.into(),
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

    /// The table for HLS players: an image media playlist with one segment, the sheet at `url`
    /// (<https://github.com/image-media-playlist/spec>, 0.4).
    ///
    /// `LAYOUT` is columns by rows, and tiles may be missing at the end of the last row. `DURATION` is the length of a
    /// tile's interval, of which the last may be shorter: the segment is as long as the part that is shown. A segment
    /// must not have the duration 0.
    pub fn to_m3u8(&self, url: &str) -> String {
        let count = self.starts_ms.len().max(1) as u64;
        let length_ms = self.duration_ms.max(MIN_LENGTH_MS);
        let tile_ms =
            self.interval_ms.map_or(length_ms as f64 / count as f64, |interval_ms| interval_ms as f64);
        let tile_secs = tile_ms / 1000.0;
        format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-IMAGES-ONLY\n#EXTINF:{}.{:03},\n\
             #EXT-X-TILES:RESOLUTION={}x{},LAYOUT={}x{},DURATION={tile_secs:.6}\n{url}\n#EXT-X-ENDLIST\n",
            length_ms.div_ceil(1000),
            length_ms / 1000,
            length_ms % 1000,
            self.tile.width,
            self.tile.height,
            self.columns,
            self.rows(),
        )
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::TileSpacing;

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
    fn json_table_can_be_read_again() {
        for count in [1, 4, 7, 50, 51, 100] {
            let starts: Vec<u64> = (0..count).map(|tile| tile * 1234 / 7).collect();
            let tile_map = test_sheet(&starts, 61_234).tile_map;
            assert_eq!(TileMap::from_json(tile_map.to_json("s.jpg").as_bytes()), Some(tile_map), "{count}");
        }
        let json = test_sheet(&[0, 1500], 3000).tile_map.to_json("storyboard.jpg");
        for other in ["{}", "", &json.replace("\"x\":4", "\"x\":5"), &json.replace("\"y\":0", "\"y\":9")] {
            assert_eq!(TileMap::from_json(other.as_bytes()), None, "{other}");
        }
    }

    /// The example of the specification has the same tags; players divide the segment by `DURATION`.
    #[test]
    fn playlist_has_one_segment_of_tiles() {
        let starts: Vec<u64> = (0..7).map(|tile| tile * 8_747).collect();
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:62\n#EXT-X-PLAYLIST-TYPE:VOD\n\
                        #EXT-X-IMAGES-ONLY\n#EXTINF:61.234,\n\
                        #EXT-X-TILES:RESOLUTION=4x2,LAYOUT=5x2,DURATION=8.747714\nstoryboard.jpg\n\
                        #EXT-X-ENDLIST\n";
        assert_eq!(test_sheet(&starts, 61_234).tile_map.to_m3u8("storyboard.jpg"), expected);
        let empty = test_sheet(&[0, 0, 0], 0).tile_map.to_m3u8("s");
        assert!(empty.contains("TARGETDURATION:1\n") && empty.contains("EXTINF:0.001,"), "{empty}");
    }

    fn requested(spacing: TileSpacing, width: Option<u32>) -> StoryboardParams {
        StoryboardParams { start_ms: 0, end_ms: None, spacing, width }
    }

    #[test]
    fn requested_tiles_keep_aspect_and_never_upscale() {
        for (display_size, width, tile) in [
            ((1920, 1080), None, (192, 108)),
            ((1080, 1920), None, (108, 192)),
            ((1920, 1080), Some(320), (320, 180)),
            ((1080, 1920), Some(100), (100, 178)),
            ((1080, 4000), Some(100), (54, 200)),
            ((100, 60), Some(320), (100, 60)),
        ] {
            let display_size = Size { width: display_size.0, height: display_size.1 };
            let plan =
                StoryboardPlan::new(&requested(TileSpacing::Count(9), width), display_size, 9_000).unwrap();
            assert_eq!((plan.tile.width, plan.tile.height), tile, "{display_size:?} {width:?}");
            let frames = vec![Bytes::from(vec![7; plan.tile.frame_bytes()]); 9];
            let sheet = plan.build_sheet(&frames).unwrap();
            assert_eq!(sheet.size, Size { width: 5 * tile.0, height: 2 * tile.1 });
            assert_eq!(sheet.tile_map, plan.tile_map);
            assert!(plan.build_sheet(&frames[1..]).is_err());
        }
    }

    /// The table of a requested storyboard with the default parameters is the default table.
    #[test]
    fn requested_default_is_the_default_table() {
        let size = Size { width: 1280, height: 720 };
        let plan = StoryboardPlan::new(&requested(TileSpacing::Default, None), size, 61_234).unwrap();
        let tile = tile_size(size);
        let frame = vec![0; tile.frame_bytes()];
        let tiles: Vec<Tile<'_>> = (0..50)
            .map(|place| Tile { start_ms: crate::plan::tile_start_ms(place, 50, 61_234), frame: &frame })
            .collect();
        assert_eq!(plan.tile_map, build_sheet(&tiles, tile, 61_234).unwrap().tile_map);
    }

    #[test]
    fn last_interval_may_be_shorter() {
        let size = Size { width: 640, height: 360 };
        let board = requested(TileSpacing::IntervalMs(10_000), Some(160));
        let table = StoryboardPlan::new(&board, size, 25_500).unwrap().tile_map;
        let vtt = table.to_webvtt("s");
        assert!(vtt.contains("00:00:20.000 --> 00:00:25.500\ns#xywh=320,0,160,90\n"), "{vtt}");
        let m3u8 = table.to_m3u8("s");
        assert!(
            m3u8.contains("EXTINF:25.500,\n") && m3u8.contains("LAYOUT=3x1,DURATION=10.000000\n"),
            "{m3u8}"
        );
    }

    /// Every sheet that is not rejected for its pixels is within the limits of JPEG and WebP.
    #[test]
    fn largest_sheets_are_within_the_limits() {
        for display_size in [(8192, 1), (1, 8192), (1920, 1080), (1080, 1920), (320, 640), (8192, 4320)] {
            let display_size = Size { width: display_size.0, height: display_size.1 };
            for width in [8, 100, limits::MAX_TILE_WIDTH] {
                for count in limits::MIN_TILES..=limits::MAX_TILES {
                    let board = requested(TileSpacing::Count(count), Some(width));
                    match StoryboardPlan::new(&board, display_size, 60_000) {
                        Ok(plan) => {
                            let Size { width, height } = plan.tile_map.sheet_size();
                            let most = u32::from(webp::MAX_SIDE);
                            assert!(width <= most && height <= most, "{width}x{height}");
                            assert!(u64::from(width) * u64::from(height) <= limits::MAX_SHEET_PIXELS);
                        }
                        Err(error) => {
                            let tile = display_size.scale_to_fit(width);
                            assert_eq!(error, PlanError::TooManyPixels { count: count as usize, tile });
                        }
                    }
                }
            }
        }
        let size = Size { width: 1920, height: 1080 };
        let most =
            |count, width| StoryboardPlan::new(&requested(TileSpacing::Count(count), width), size, 1).is_ok();
        assert!(most(400, None) && most(400, Some(270)) && !most(400, Some(320)) && most(280, Some(320)));
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
