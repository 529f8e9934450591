//! Tests of requested storyboards of generated media: each tile shows the frame of its time, by the number that is drawn
//! into every frame. The reference is a full decode by another build of ffmpeg.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glimpse_backend::frames::decoder::Decoder;
use glimpse_backend::frames::source_frames::{self, SourceOptions};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::render::service::RenderService;
use glimpse_backend::source::reader::{IoStats, RangeReader};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_contract::{OutputFormat, Variant};
use glimpse_media::image::header;
use glimpse_media::image::storyboard::StoryboardPlan;
use glimpse_media::size::Size;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{TestJob, decode_pixels, make, reference_program};

/// Frames per second of all films.
const RATE: u64 = 25;
/// The number of a frame in binary digits: white and black fields, four in a row.
const DIGITS: u32 = 12;
const DISPLAY_SIZE: Size = Size { width: 320, height: 180 };

/// Arguments of ffmpeg for a film with the number of each frame drawn into it.
fn numbered(seconds: u32) -> String {
    let fields: Vec<String> = (0..DIGITS)
        .map(|digit| {
            let (x, y, value) = (digit % 4 * 80, digit / 4 * 60, 1 << digit);
            format!("drawbox=x={x}:y={y}:w=80:h=60:c=white:t=fill:enable='mod(floor(n/{value}),2)'")
        })
        .collect();
    format!("-f lavfi -i color=black:s=320x180:r={RATE}:d={seconds} -vf {}", fields.join(","))
}

/// The number that is drawn into a frame.
fn read_number(rgb: &[u8], size: Size) -> u32 {
    (0..DIGITS)
        .filter(|digit| {
            let (x, y) = (size.width * (digit % 4 * 2 + 1) / 8, size.height * (digit / 4 * 2 + 1) / 6);
            rgb[((y * size.width + x) * 3) as usize] > 128
        })
        .map(|digit| 1 << digit)
        .sum()
}

/// The numbers of all frames of a file.
fn decode_numbers(file: &Path) -> Vec<u32> {
    let raw = std::process::Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0:v:0", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    raw.stdout
        .chunks_exact(DISPLAY_SIZE.frame_bytes())
        .map(|frame| read_number(frame, DISPLAY_SIZE))
        .collect()
}

/// A video that is ready, and the function that renders its images.
struct RenderedVideo {
    job: TestJob,
    service: RenderService<MemoryStore, SourceOpener<MemoryStore>>,
    folder: TempDir,
    numbers: Vec<u32>,
}

impl RenderedVideo {
    async fn process(name: &str, arguments: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let job = TestJob::new(make(folder.path(), name, arguments));
        assert_eq!(Box::pin(job.run()).await.result, Ok(JobOutcome::Ready), "{name}");
        let store = Arc::clone(&job.service.store);
        let frame_sources = job.source_opener();
        let service = RenderService { store, frame_sources, now_ms: || 1_700_000_002_000 };
        let numbers = decode_numbers(&folder.path().join(name));
        Self { job, service, folder, numbers }
    }

    /// The response of the function.
    async fn answer(&self, name: &str) -> Value {
        let path = format!("/{}/{name}", self.job.job.video);
        let event = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {},
            "requestContext": { "http": { "method": "POST", "path": path } }, "isBase64Encoded": false,
        });
        let deadline = Instant::now() + Duration::from_mins(1);
        self.service.handle(&event, "r1", deadline).await.result.unwrap()
    }

    async fn image(&self, name: &str) -> Vec<u8> {
        let answer = self.answer(name).await;
        assert_eq!(answer["statusCode"], 200, "{name}: {answer}");
        STANDARD.decode(answer["body"].as_str().unwrap()).unwrap()
    }

    async fn table(&self, stem: &str) -> StoryboardTable {
        let json = self.image(&format!("{stem}.json")).await;
        StoryboardTable::parse(&json)
    }

    /// The number on each tile.
    fn read_sheet(&self, sheet: &[u8], table: &StoryboardTable) -> Vec<u32> {
        let size = header::parse(OutputFormat::Jpg, sheet).unwrap().size;
        let pixels = decode_pixels(self.folder.path(), "sheet.jpg", sheet);
        let StoryboardTable { tile, tiles, .. } = table;
        let line = size.width as usize * 3;
        tiles
            .iter()
            .map(|(_, x, y)| {
                let rows = (0..tile.height as usize).flat_map(|row| {
                    let start = (*y as usize + row) * line + *x as usize * 3;
                    pixels[start..start + tile.width as usize * 3].iter().copied()
                });
                read_number(&rows.collect::<Vec<u8>>(), *tile)
            })
            .collect()
    }

    /// The number of the frame that is shown at a time in milliseconds, by the full decode.
    fn number_at(&self, ms: u64) -> u32 {
        let frame = (ms * RATE / 1000) as usize;
        self.numbers[frame.min(self.numbers.len() - 1)]
    }
}

/// A `storyboard.json`: start in milliseconds and position of each tile.
struct StoryboardTable {
    tile: Size,
    duration_ms: u64,
    tiles: Vec<(u64, u32, u32)>,
}

impl StoryboardTable {
    fn parse(json: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(json).unwrap();
        let number = |value: &Value| value.as_u64().unwrap() as u32;
        let ms = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as u64;
        let tiles = json["tiles"].as_array().unwrap();
        Self {
            tile: Size { width: number(&json["tile_width"]), height: number(&json["tile_height"]) },
            duration_ms: ms(&json["duration"]),
            tiles: tiles
                .iter()
                .map(|tile| (ms(&tile["start"]), number(&tile["x"]), number(&tile["y"])))
                .collect(),
        }
    }

    /// Start and end of each tile's interval.
    fn intervals(&self) -> Vec<(u64, u64)> {
        let starts = self.tiles.iter().map(|(start, ..)| *start);
        let ends = starts.clone().skip(1).chain([self.duration_ms]);
        starts.zip(ends).collect()
    }
}

/// Which frame a tile shows.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// The one in the middle of its interval.
    Middle,
    /// A keyframe: the last one before the middle, or one within an eighth of the interval. One in so many frames.
    Keyframe(u32),
}

#[tokio::test]
async fn tiles_show_the_frames_of_their_times() {
    let h264 = "-c:v libx264 -pix_fmt yuv420p -bf 2 -sc_threshold 0";
    let films = [
        (
            "sparse.mp4",
            20,
            format!("{h264} -g 250"),
            vec![
                ("storyboard-tiles_40-width_160", Expected::Middle, 0),
                ("storyboard-interval_0.7", Expected::Middle, 0),
                ("storyboard-asset_start_time_5-asset_end_time_15-tiles_20", Expected::Middle, 5_000),
                ("storyboard-asset_start_time_12.34-interval_0.5-width_100", Expected::Middle, 12_340),
                ("storyboard-tiles_400-width_60", Expected::Middle, 0),
            ],
        ),
        (
            "dense.mp4",
            60,
            format!("{h264} -g 12"),
            vec![
                ("storyboard-tiles_40", Expected::Keyframe(12), 0),
                (
                    "storyboard-asset_start_time_20-asset_end_time_50-interval_2",
                    Expected::Keyframe(12),
                    20_000,
                ),
                ("storyboard-tiles_400-width_80", Expected::Middle, 0),
            ],
        ),
        (
            "dense.mkv",
            60,
            format!("{h264} -g 12"),
            vec![("storyboard-tiles_30-width_240", Expected::Keyframe(12), 0)],
        ),
        (
            "short.ts",
            20,
            format!("{h264} -g 25"),
            vec![
                ("storyboard-tiles_40-width_160", Expected::Middle, 0),
                ("storyboard-asset_start_time_5-asset_end_time_15-tiles_20", Expected::Middle, 5_000),
            ],
        ),
    ];
    for (name, seconds, codec, boards) in films {
        let video = RenderedVideo::process(name, &format!("{} {codec}", numbered(seconds))).await;
        let all: Vec<u32> = (0..seconds * RATE as u32).collect();
        assert_eq!(video.numbers, all, "{name}: the numbers can be read");
        for (stem, expected, start_ms) in boards {
            let table = video.table(stem).await;
            let sheet = video.image(&format!("{stem}.jpg")).await;
            let shown = video.read_sheet(&sheet, &table);
            for (number, (from, until)) in shown.iter().zip(table.intervals()) {
                let (from, until) = (start_ms + from, start_ms + until);
                let middle = u64::midpoint(from, until);
                let what = format!("{name} {stem}: {number} at {from} to {until} ms");
                match expected {
                    // A middle on the boundary of two frames may be rounded.
                    Expected::Middle => {
                        let near = [video.number_at(middle.saturating_sub(1)), video.number_at(middle + 1)];
                        assert!(near.contains(number), "{what}, expected {near:?}");
                    }
                    Expected::Keyframe(distance) => {
                        let own = video.number_at(middle) / distance * distance;
                        let off = (u64::from(*number) * 1000 / RATE).abs_diff(middle);
                        let is_near = off <= (until - from) / 8 + 1;
                        assert!(
                            number % distance == 0 && (*number == own || is_near),
                            "{what}, expected {own}"
                        );
                    }
                }
            }
        }
    }
}

/// A requested storyboard with as many tiles as the default one shows the same frames at the same times.
#[tokio::test]
async fn requested_storyboard_equals_the_default() {
    let codec = "-c:v libx264 -pix_fmt yuv420p -bf 2 -sc_threshold 0";
    for (name, keyframes) in [("sparse.mp4", 250), ("dense.mp4", 12), ("stream.ts", 25)] {
        let video = RenderedVideo::process(name, &format!("{} {codec} -g {keyframes}", numbered(24))).await;
        let own = video.job.output("storyboard.json");
        let requested = video.image("storyboard-tiles_50.json").await;
        let text = |json: &[u8]| String::from_utf8(json.to_vec()).unwrap().replace("?tiles=50", "");
        assert_eq!(text(&requested), text(&own), "{name}");
        let table = StoryboardTable::parse(&own);
        let sheet = video.image("storyboard-tiles_50.jpg").await;
        let default = video.read_sheet(&video.job.output("storyboard.jpg"), &table);
        assert_eq!(video.read_sheet(&sheet, &table), default, "{name}");
    }
}

/// What is read of a film for the frames of a storyboard's tiles, with the index.
async fn tile_reads(film: Vec<u8>, name: &str) -> IoStats {
    let job = TestJob::new(film);
    let TestJob { service, job } = &job;
    let open = async |reader: &Arc<RangeReader<MemoryStore>>, options: SourceOptions| {
        let deadline = Instant::now() + Duration::from_mins(1);
        let decoder = Decoder::new(&service.tools, &service.time_budget, deadline);
        let mut observer = source_frames::ignore_event;
        source_frames::open(Arc::clone(reader), decoder, options, &mut observer).await.unwrap()
    };
    let reader = || {
        let store = Arc::clone(&service.store);
        Arc::new(RangeReader::new(store, job.key.clone(), job.etag.clone(), job.bytes))
    };
    let options = SourceOptions::new(|| [3; 16]);
    let mut observer = source_frames::ignore_event;
    let info = open(&reader(), options).await.inspect(&mut observer).await.unwrap().info;

    let reader = reader();
    let options = SourceOptions {
        display_size: Some(info.display_size),
        duration_ms: Some(info.duration_ms),
        ..options
    };
    let board = Variant::from_file_name(name).unwrap().storyboard().unwrap();
    let plan = StoryboardPlan::new(&board, info.display_size, info.duration_ms).unwrap();
    let tiles = open(&reader, options).await.tile_frames(&plan.times, plan.tile).await.unwrap();
    assert_eq!(tiles.len(), plan.times.count());
    reader.stats()
}

/// Of a long film, the keyframes of the tiles are read and nothing else, in few requests.
#[tokio::test]
async fn long_film_is_read_in_few_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let minute =
        "-f lavfi -i testsrc2=s=320x180:r=24:d=20 -c:v libx264 -preset ultrafast -g 48 -pix_fmt yuv420p";
    make(folder.path(), "minute.mp4", minute);
    let source = folder.path().join("minute.mp4");
    let arguments = format!("-stream_loop 29 -i {} -c copy -movflags +faststart", source.display());
    let film = make(folder.path(), "film.mp4", &arguments);
    let total_bytes = film.len() as u64;
    let read = tile_reads(film, "storyboard-tiles_200.jpg").await;
    assert!(read.bytes < total_bytes / 4, "{read:?} of {total_bytes}");
    assert!(read.requests <= 220, "{read:?}");
}

/// One frame, an image without a duration, an interval that is longer than the video: a sheet, and a table with a cue.
#[tokio::test]
async fn unusual_videos_have_storyboards() {
    for (name, arguments) in [
        ("one.mp4", "-f lavfi -i testsrc=s=64x48:r=10:d=1 -frames:v 1 -c:v libx264 -pix_fmt yuv420p"),
        ("one.gif", "-f lavfi -i testsrc=s=64x48:r=10:d=1 -frames:v 1"),
        ("blink.mp4", "-f lavfi -i testsrc=s=64x48:r=10:d=0.4 -c:v libx264 -pix_fmt yuv420p"),
        ("tall.webm", "-f lavfi -i testsrc=s=24x480:r=10:d=3 -c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
    ] {
        let video = RenderedVideo::process(name, arguments).await;
        for stem in ["storyboard-tiles_9", "storyboard-interval_60", "storyboard-interval_0.1-width_32"] {
            let table = video.table(stem).await;
            let sheet = video.image(&format!("{stem}.webp")).await;
            let size = header::parse(OutputFormat::Webp, &sheet).unwrap().size;
            let last = table.tiles.last().unwrap();
            assert!(
                last.1 + table.tile.width <= size.width && last.2 + table.tile.height <= size.height,
                "{name} {stem}"
            );
            let vtt = String::from_utf8(video.image(&format!("{stem}.vtt")).await).unwrap();
            assert!(vtt.contains(" --> "), "{name} {stem}: {vtt}");
            let m3u8 = String::from_utf8(video.image(&format!("{stem}.m3u8")).await).unwrap();
            assert!(!m3u8.contains("#EXTINF:0.000,"), "{name} {stem}: {m3u8}");
            if stem.contains("_60") {
                assert_eq!(table.tiles.len(), 1, "{name}");
            }
        }
    }
}
