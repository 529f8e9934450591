//! Tests of the outputs of generated media, from upload to manifest, by their pixels.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use crate::support::{TestJob, decode_pixels, make, with_matrix};
use glimpse_backend::preview::outputs::default_variants;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::{Code, Manifest, OutputFormat, State, VariantKind, limits};
use glimpse_media::image::header::{ImageHeader, parse};
use glimpse_media::size::Size;
use tempfile::TempDir;

type Rgb = [u8; 3];

const RED: Rgb = [255, 0, 0];
const LIME: Rgb = [0, 255, 0];
const BLUE: Rgb = [0, 0, 255];
const YELLOW: Rgb = [255, 255, 0];

/// Red, lime, blue and yellow: top left, top right, bottom left, bottom right.
const QUADRANTS: &str = "-f lavfi -i color=red:s=160x96:d=1:r=10,drawbox=x=80:y=0:w=80:h=48:c=lime:t=fill,\
     drawbox=x=0:y=48:w=80:h=48:c=blue:t=fill,drawbox=x=80:y=48:w=80:h=48:c=yellow:t=fill";

/// A finished job with its outputs.
struct ProcessedVideo {
    fixture: TestJob,
    manifest: Manifest,
    folder: TempDir,
}

impl ProcessedVideo {
    async fn process(bytes: Vec<u8>) -> Self {
        let fixture = TestJob::new(bytes);
        let report = fixture.run().await;
        assert_eq!(report.result, Ok(JobOutcome::Ready));
        let manifest = fixture.manifest().unwrap();
        assert_eq!(manifest.state, State::Ready);
        let made = Self { fixture, manifest, folder: tempfile::tempdir().unwrap() };
        made.assert_consistent();
        made
    }

    /// Checks that the manifest lists all default outputs, and that its data matches their bytes.
    fn assert_consistent(&self) {
        for (output, variant) in self.manifest.outputs.iter().zip(default_variants()) {
            assert_eq!(output.variant, variant.file_name());
            assert_eq!(output.content_type, variant.format().content_type());
            if matches!(variant.format(), OutputFormat::Vtt | OutputFormat::Json) {
                continue;
            }
            let facts = parse(variant.format(), &self.fixture.output(&output.variant)).unwrap();
            assert_eq!((facts.size.width, facts.size.height), (output.width, output.height));
            let most = match variant.kind() {
                VariantKind::Thumbnail => limits::THUMBNAIL_WIDTH,
                VariantKind::Animation => limits::ANIMATION_WIDTH,
                VariantKind::Storyboard => 1920,
                VariantKind::Clip => continue,
            };
            assert!(output.width <= most, "{} is too wide", output.variant);
        }
        assert_eq!(self.manifest.outputs.len(), default_variants().count());
    }

    fn display_size(&self) -> (u32, u32) {
        (self.manifest.source.width, self.manifest.source.height)
    }

    fn size(&self, name: &str) -> (u32, u32) {
        let output = self.manifest.outputs.iter().find(|output| output.variant == name).unwrap();
        (output.width, output.height)
    }

    fn frames(&self, name: &str, format: OutputFormat) -> u32 {
        let ImageHeader { frames, .. } = parse(format, &self.fixture.output(name)).unwrap();
        frames
    }

    /// The mean color around a point, in percent of width and height.
    fn mean_color(&self, name: &str, (x, y): (u32, u32)) -> Rgb {
        let (width, height) = self.size(name);
        let raw = decode_pixels(self.folder.path(), name, &self.fixture.output(name));
        assert_eq!(raw.len(), Size { width, height }.frame_bytes());
        let (x, y) = (width * x / 100, height * y / 100);
        let mut sum = [0_u32; 3];
        for row in y - 2..y + 2 {
            for column in x - 2..x + 2 {
                let at = (row * width + column) as usize * 3;
                for (total, value) in sum.iter_mut().zip(&raw[at..at + 3]) {
                    *total += u32::from(*value);
                }
            }
        }
        sum.map(|total| (total / 16) as u8)
    }
}

fn make_media(arguments: &str, name: &str) -> Vec<u8> {
    make(tempfile::tempdir().unwrap().path(), name, arguments)
}

#[track_caller]
fn assert_near(found: Rgb, expected: Rgb, tolerance: u8, what: &str) {
    let far = found.iter().zip(&expected).any(|(one, other)| one.abs_diff(*other) > tolerance);
    assert!(!far, "{what}: {found:?} is not {expected:?}");
}

#[tokio::test]
async fn common_formats_are_processed() {
    for (name, arguments) in [
        ("h264.mp4", "-c:v libx264 -pix_fmt yuv420p -c:a aac"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
        ("mpeg2.ts", "-c:v mpeg2video -c:a mp2"),
    ] {
        let inputs = "-f lavfi -i testsrc=s=800x450:r=15:d=2 -f lavfi -i sine=d=2 -shortest";
        let made = ProcessedVideo::process(make_media(&format!("{inputs} {arguments}"), name)).await;
        assert_eq!(made.display_size(), (800, 450), "{name}");
        assert_eq!((made.size("thumbnail.jpg"), made.size("thumbnail.webp")), ((640, 360), (640, 360)));
        assert_eq!((made.size("animated.gif"), made.size("animated.webp")), ((320, 180), (320, 180)));
        let source = &made.manifest.source;
        assert!(source.has_audio && (1900..2200).contains(&source.duration_ms), "{name}: {source:?}");
        assert!((source.fps - 15.0).abs() < 0.5, "{name}: {source:?}");
        let frames = made.frames("animated.gif", OutputFormat::Gif);
        assert!((28..=31).contains(&frames), "{name}: {frames} frames of two seconds");
        assert_eq!(source.name, "Ski trip é.mp4");
        assert!(made.manifest.thumbhash.is_some() && made.manifest.dominant_color.is_some());
    }
}

#[tokio::test]
async fn f23_rotated_video_is_shown_upright() {
    let mp4 = make_media(&format!("{QUADRANTS} -c:v libx264 -pix_fmt yuv420p"), "q.mp4");
    for (rotation, matrix, corners) in [
        (0, [1, 0, 0, 1], [RED, LIME, BLUE, YELLOW]),
        (90, [0, 1, -1, 0], [BLUE, RED, YELLOW, LIME]),
        (180, [-1, 0, 0, -1], [YELLOW, BLUE, LIME, RED]),
        (270, [0, -1, 1, 0], [LIME, YELLOW, RED, BLUE]),
    ] {
        let made = ProcessedVideo::process(with_matrix(mp4.clone(), matrix)).await;
        let size = if rotation % 180 == 0 { (160, 96) } else { (96, 160) };
        assert_eq!((made.manifest.source.rotation, made.display_size()), (rotation, size));
        for name in ["thumbnail.jpg", "animated.gif"] {
            for (place, expected) in [(25, 25), (75, 25), (25, 75), (75, 75)].into_iter().zip(corners) {
                assert_near(
                    made.mean_color(name, place),
                    expected,
                    12,
                    &format!("{name} turned by {rotation} at {place:?}"),
                );
            }
        }
    }
}

#[tokio::test]
async fn black_intro_is_not_the_poster() {
    // Short and long, with many keyframes and with one: each is searched in a different way.
    for (seconds, keyframes) in [(5, 10), (9, 10), (9, 1000)] {
        let arguments = format!(
            "-f lavfi -i testsrc=s=160x120:r=10:d={seconds} -vf drawbox=t=fill:c=black:enable='lt(t,3)' \
             -c:v libx264 -pix_fmt yuv420p -g {keyframes}"
        );
        let made = ProcessedVideo::process(make_media(&arguments, "intro.mp4")).await;
        let raw = decode_pixels(made.folder.path(), "poster.jpg", &made.fixture.output("thumbnail.jpg"));
        let mean = raw.iter().map(|value| u64::from(*value)).sum::<u64>() / raw.len() as u64;
        assert!(mean > 40, "{seconds} s, a keyframe every {keyframes}: the poster's mean is {mean}");
    }
}

#[tokio::test]
async fn very_short_videos_have_all_outputs() {
    for (name, arguments, frames) in [
        ("one.mp4", "-f lavfi -i testsrc=s=64x48:r=10:d=1 -frames:v 1 -c:v libx264 -pix_fmt yuv420p", 1..=1),
        ("blink.mp4", "-f lavfi -i testsrc=s=64x48:r=10:d=0.4 -c:v libx264 -pix_fmt yuv420p", 3..=5),
        ("one.gif", "-f lavfi -i testsrc=s=64x48:r=10:d=1 -frames:v 1", 1..=1),
    ] {
        let made = ProcessedVideo::process(make_media(arguments, name)).await;
        let found = made.frames("animated.gif", OutputFormat::Gif);
        assert!(frames.contains(&found), "{name}: {found} frames");
        assert_eq!(made.size("thumbnail.jpg"), (64, 48), "{name} is not scaled up");
    }
}

#[tokio::test]
async fn f23_output_applies_sample_aspect_ratio() {
    let arguments = "-f lavfi -i testsrc=s=352x288:r=10:d=1 -vf setsar=16/11 -c:v libx264 -pix_fmt yuv420p";
    let made = ProcessedVideo::process(make_media(arguments, "wide.mp4")).await;
    assert_eq!((made.display_size(), made.size("thumbnail.jpg")), ((512, 288), (512, 288)));
    assert_eq!(made.size("animated.webp"), (320, 180));
}

#[tokio::test]
async fn odd_and_narrow_sizes_keep_their_aspect() {
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p";
    for (size, thumbnail, animated) in [
        ("161x121", (161, 121), (161, 121)),
        ("967x33", (640, 22), (320, 11)),
        // The height is limited to twice the width limit: a frame has to fit in memory many times.
        ("102x1601", (82, 1280), (41, 640)),
    ] {
        let made = ProcessedVideo::process(make_media(
            &format!("-f lavfi -i testsrc=s={size}:r=5:d=1 {vp9}"),
            "odd.webm",
        ))
        .await;
        assert_eq!((made.size("thumbnail.jpg"), made.size("animated.gif")), (thumbnail, animated), "{size}");
    }
}

#[tokio::test]
async fn f23_flat_colors_survive_every_color_coding() {
    const COLORS: [Rgb; 3] = [[200, 60, 40], [40, 90, 200], [235, 235, 16]];
    let [left, middle, right] = COLORS.map(|[red, green, blue]| format!("0x{red:02x}{green:02x}{blue:02x}"));
    for (matrix, range, declared) in [
        ("bt709", "tv", "-colorspace bt709 -color_range tv"),
        ("bt601", "tv", "-colorspace smpte170m -color_range tv"),
        ("bt709", "pc", "-colorspace bt709 -color_range pc"),
        // A small frame without declared colors is decoded like in players.
        ("bt601", "tv", ""),
    ] {
        let arguments = format!(
            "-f lavfi -i color={left}:s=192x64:d=0.3:r=10,format=rgb24,drawbox=x=64:w=64:c={middle}:t=fill,\
             drawbox=x=128:w=64:c={right}:t=fill \
             -vf scale=out_color_matrix={matrix}:out_range={range},format=yuv420p -c:v libx264 -qp 10 {declared}"
        );
        let made = ProcessedVideo::process(make_media(&arguments, "patch.mp4")).await;
        for name in ["thumbnail.jpg", "thumbnail.webp", "animated.gif"] {
            for (x, colour) in [17, 50, 83].into_iter().zip(COLORS) {
                assert_near(
                    made.mean_color(name, (x, 50)),
                    colour,
                    6,
                    &format!("{name} of {matrix} {range} `{declared}`"),
                );
            }
        }
    }
}

#[tokio::test]
async fn f23_hdr_is_tone_mapped_to_reference_white() {
    if !support::has_filter("zscale") {
        eprintln!("NOT RUN: this ffmpeg has no tone mapping");
        return;
    }
    for (transfer, range, white, grey) in [
        // ITU-R BT.2408-7, table 1: reference white of 203 cd/m2 and a gray card of 26 as 10-bit signals. 0.765 of
        // white is reserved for brighter parts, and the gamma of a screen is 2.4: 228 and 108.
        ("arib-std-b67", "tv", 721, 397),
        ("smpte2084", "tv", 573, 397),
        // The same signals in full range: (code - 64) * 1023 / 876.
        ("arib-std-b67", "pc", 767, 389),
        ("smpte2084", "pc", 594, 389),
    ] {
        let arguments = format!(
            "-f lavfi -i color=black:s=161x91:d=0.3:r=10,format=yuv444p10le,setparams=range={range},\
             geq=lum='if(lt(X,80),{white},{grey})':cb=512:cr=512 -c:v libx264 -qp 4 -color_primaries bt2020 \
             -color_trc {transfer} -colorspace bt2020nc -color_range {range}"
        );
        let made = ProcessedVideo::process(make_media(&arguments, "hdr.mp4")).await;
        assert!(made.manifest.source.hdr);
        for name in ["thumbnail.jpg", "animated.gif"] {
            let what = format!("{name} of {transfer} {range}");
            assert_near(made.mean_color(name, (25, 50)), [228; 3], 8, &format!("white in {what}"));
            assert_near(made.mean_color(name, (75, 50)), [108; 3], 8, &format!("gray in {what}"));
        }
    }
}

#[tokio::test]
async fn transparent_pixels_do_not_hide_opaque_ones() {
    // The left half is opaque; the right half is transparent.
    let source = "-f lavfi -i color=0xc83c28:s=160x96:d=1:r=10,format=yuva444p10le,geq=lum='lum(X,Y)':cb='cb(X,Y)':\
         cr='cr(X,Y)':a='if(lt(X,80),1023,0)'";
    for (name, codec) in [
        ("a.mov", "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le"),
        ("a.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuva420p -b:v 1M"),
        ("a.mkv", "-c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 0 -pix_fmt yuva420p -b:v 1M"),
    ] {
        let made = ProcessedVideo::process(make_media(&format!("{source} {codec}"), name)).await;
        for output in ["thumbnail.jpg", "thumbnail.webp", "animated.gif"] {
            assert_near(made.mean_color(output, (25, 50)), [200, 60, 40], 12, &format!("{output} of {name}"));
        }
    }
}

#[tokio::test]
async fn f23_interlaced_video_has_no_combing() {
    // A white bar that jumps between the fields of each frame: interleaved, they are stripes.
    let source = "-f lavfi -i color=black:s=320x192:r=20:d=2,format=yuv420p,\
         geq=lum='if(between(mod(X-N*16,320),0,80),235,16)':cb=128:cr=128,interlace=scan=tff:lowpass=0";
    for (name, codec) in [
        ("i.mp4", "-c:v libx264 -qp 12 -flags +ilme+ildct -x264-params tff=1"),
        ("i.ts", "-c:v mpeg2video -q:v 2 -flags +ilme+ildct -top 1"),
    ] {
        let film = make_media(&format!("{source} {codec}"), name);
        let folder = tempfile::tempdir().unwrap();
        let woven = stripes(&decode_pixels(folder.path(), name, &film), 320);
        let made = ProcessedVideo::process(film).await;
        assert_eq!(made.size("thumbnail.jpg"), (320, 192));
        let shown =
            stripes(&decode_pixels(folder.path(), "t.jpg", &made.fixture.output("thumbnail.jpg")), 320);
        assert!(woven > 1000 && shown * 20 < woven, "{name}: {shown} pixels in stripes, of {woven}");
    }
}

/// The number of pixels that are much brighter or much darker than both the one above and the one below.
fn stripes(raw: &[u8], width: usize) -> usize {
    let at = |place: usize| i32::from(raw[place * 3]);
    let is_striped = |place: &usize| {
        let (above, own, below) = (at(place - width), at(*place), at(place + width));
        (own - above).min(own - below) > 60 || (above - own).min(below - own) > 60
    };
    (width..raw.len() / 3 - width).filter(is_striped).count()
}

#[tokio::test]
async fn f21_files_without_video_are_rejected() {
    let whole = make_media("-f lavfi -i testsrc=s=160x120:r=10:d=2 -c:v libx264 -pix_fmt yuv420p", "t.mp4");
    let half = whole[..whole.len() / 2].to_vec();
    let song = make_media("-f lavfi -i sine=d=1 -c:a aac", "song.mp4");
    let text = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n".to_vec();
    let page = b"<!DOCTYPE html><title>holiday.mp4</title>".to_vec();
    for (name, bytes, code) in [
        ("empty", Vec::new(), Code::Empty),
        ("text", text, Code::NotAVideo),
        ("page", page, Code::NotAVideo),
        ("sound", song, Code::NoVideoStream),
        ("truncated before its index", half, Code::Truncated),
    ] {
        let fixture = TestJob::new(bytes);
        let report = fixture.run().await;
        assert_eq!(report.result, Ok(JobOutcome::Rejected(code)), "{name}");
        assert!(!report.must_restart);
        let manifest = fixture.manifest().unwrap();
        assert_eq!((manifest.state, manifest.rejected.unwrap().code), (State::Rejected, code), "{name}");
        assert!(manifest.outputs.is_empty());
        assert_eq!(fixture.service.store.keys().len(), 2, "{name}: expected source and manifest only");
    }
}

#[tokio::test]
async fn f21_truncated_video_shows_its_first_frames() {
    let arguments =
        "-f lavfi -i testsrc=s=320x240:r=10:d=8 -c:v libx264 -g 10 -pix_fmt yuv420p -movflags +faststart";
    let mut bytes = make_media(arguments, "start.mp4");
    bytes.truncate(bytes.len() * 6 / 10);
    let made = ProcessedVideo::process(bytes).await;
    assert!(made.frames("animated.gif", OutputFormat::Gif) > 5);
}
