//! Tests of a track with several frame sizes: every output shows the frame of its time with its aspect ratio, and the
//! display size is that of the largest frames. The brightness of the upper half of each frame encodes its half second.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{TestJob, compare, make, reference_program};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_media::size::Size;
use tokio::time::Instant;

/// The increase in brightness per half second, of 219 levels.
const STEP: u32 = 5;
/// The tolerance of a brightness.
const NEAR: f64 = 4.0;

/// A part of a video with this size and ten frames per second that begins at a given second.
fn video_part(size: &str, begin: u32, seconds: u32) -> String {
    format!(
        "-f lavfi -i color=black:s={size}:r=10:d={seconds} \
         -vf geq=lum='if(lt(Y\\,H/2)\\,20+{STEP}*floor((T+{begin})*2+0.01)\\,40+150*X/W)':cb=128:cr=128"
    )
}

/// The brightness of a half second in `rgb24`.
fn level(half_seconds: u32) -> f64 {
    f64::from(4 + STEP * half_seconds) * 255.0 / 219.0
}

/// The brightness in the middle of the upper half, which frames of every aspect ratio cover.
fn brightness(frame: &[u8], size: Size) -> f64 {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut sum = 0;
    let mut count = 0_u32;
    for y in height * 30 / 100..height * 42 / 100 {
        for x in width * 45 / 100..width * 55 / 100 {
            sum += u64::from(frame[(y * width + x) * 3 + 1]);
            count += 1;
        }
    }
    sum as f64 / f64::from(count.max(1))
}

/// Concatenates IVF files of one codec.
fn join_ivf(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = parts[0][..32].to_vec();
    out[16..24].copy_from_slice(&[10, 0, 0, 0, 1, 0, 0, 0]);
    let mut number = 0_u64;
    for part in parts {
        let mut at = 32;
        while at + 12 <= part.len() {
            let length = u32::from_le_bytes(part[at..at + 4].try_into().unwrap()) as usize;
            out.extend(&part[at..at + 4]);
            out.extend(number.to_le_bytes());
            out.extend(&part[at + 12..at + 12 + length]);
            number += 1;
            at += 12 + length;
        }
    }
    out
}

/// A video whose parts have these sizes, four seconds each.
fn make_video(folder: &Path, codec: &str, sizes: &[&str]) -> Vec<u8> {
    let (arguments, kind, container) = match codec {
        "vp8" => ("-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M", "ivf", "webm"),
        "vp9" => ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M", "ivf", "webm"),
        "av1" => ("-c:v libaom-av1 -cpu-used 8 -usage realtime -b:v 2M", "ivf", "mp4"),
        "h264.mkv" => ("-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p", "h264", "mkv"),
        "h264.mp4" => ("-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p", "h264", "mp4"),
        "h264.ts" => ("-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p", "h264", "ts"),
        "hevc" => (
            "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none:bframes=0:repeat-headers=1",
            "hevc",
            "mp4",
        ),
        "mjpeg" => ("-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", "mjpeg", "mov"),
        other => panic!("{other}"),
    };
    let parts: Vec<Vec<u8>> = (0..)
        .zip(sizes)
        .map(|(place, size)| {
            // Generated once for all codecs.
            let raw = format!("{size}-{place}.nut");
            let file = folder.join(&raw);
            if !file.exists() {
                make(folder, &raw, &format!("{} -c:v rawvideo", video_part(size, place * 4, 4)));
            }
            // A keyframe every half second.
            let arguments = format!("-i {} -g 5 {arguments}", file.display());
            make(folder, &format!("part{place}.{kind}"), &arguments)
        })
        .collect();
    let bytes = if kind == "ivf" { join_ivf(&parts) } else { parts.concat() };
    let whole = format!("whole.{kind}");
    std::fs::write(folder.join(&whole), bytes).unwrap();
    let rate = if kind == "ivf" { "" } else { "-framerate 10" };
    make(folder, &format!("film.{container}"), &format!("{rate} -i {} -c copy", folder.join(whole).display()))
}

/// All frames of an animation as `rgb24` in this size.
fn decode_frames(folder: &Path, name: &str, bytes: &[u8], size: Size) -> Vec<Vec<u8>> {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&file)
        .args(["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.stdout.chunks_exact(size.frame_bytes()).map(<[u8]>::to_vec).collect()
}

/// The mismatches in the outputs of such a video, whose display size should be `main`.
async fn find_mismatches(name: &str, bytes: Vec<u8>, seconds: u32, main: Size) -> Vec<String> {
    let fixture = TestJob::new(bytes);
    assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
    let manifest = fixture.manifest().unwrap();
    let shown = Size { width: manifest.source.width, height: manifest.source.height };
    let mut wrong = Vec::new();
    if shown != main {
        return vec![format!("{name} is {shown:?}")];
    }
    let folder = tempfile::tempdir().unwrap();
    let tile = glimpse_media::image::storyboard::tile_size(shown.scale_to_fit(640));
    for (place, shown) in (0..).zip(support::decode_tiles(folder.path(), &fixture, tile)) {
        let half_seconds = (2 * place + 1) * seconds * 2 / 100;
        let off = (brightness(&shown, tile) - level(half_seconds)).abs();
        // A keyframe near the time is also correct.
        let near = (brightness(&shown, tile) - level(half_seconds.saturating_sub(1))).abs();
        if off.min(near) > NEAR {
            wrong.push(format!(
                "{name}: tile {place} is {:.0}, not {:.0}",
                brightness(&shown, tile),
                level(half_seconds)
            ));
        }
    }
    let animation_size = shown.scale_to_fit(320);
    let frames = decode_frames(folder.path(), "reel.gif", &fixture.output("animated.gif"), animation_size);
    let times: std::collections::BTreeSet<u32> = frames
        .iter()
        .map(|frame| (brightness(frame, animation_size) / level(1) * 2.0).round() as u32)
        .collect();
    if times.len() < 8 {
        wrong.push(format!("{name}: the animation shows {} times", times.len()));
    }
    let opener = fixture.source_opener();
    let frame_source = opener.open(&manifest, Instant::now() + Duration::from_mins(2)).await.unwrap();
    let size = shown.scale_to_fit(200);
    for half_seconds in (0..seconds * 2).step_by(3) {
        let ms = u64::from(half_seconds) * 500 + 250;
        let (frame, _) = frame_source.frame_at(Some(ms), size).await.unwrap();
        if (brightness(&frame, size) - level(half_seconds)).abs() > NEAR {
            wrong.push(format!(
                "{name}: at {ms} ms is {:.0}, not {:.0}",
                brightness(&frame, size),
                level(half_seconds)
            ));
        }
    }
    if let Some(ms) = manifest.poster_ms {
        let poster = support::decode_pixels_at(folder.path(), &fixture.output("thumbnail.jpg"), size);
        let off = (brightness(&poster, size) - level((ms / 500) as u32)).abs();
        if off > NEAR {
            wrong.push(format!("{name}: the poster is not of {ms} ms"));
        }
    }
    wrong
}

#[tokio::test]
async fn frames_of_several_sizes_match_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for codec in ["vp8", "vp9", "av1", "h264.mkv", "h264.mp4", "hevc", "mjpeg"] {
        let bytes = make_video(folder.path(), codec, &["160x90", "640x360", "320x180"]);
        found.extend(find_mismatches(codec, bytes, 12, Size { width: 640, height: 360 }).await);
    }
    // ffmpeg demuxes it: its display size is that of the first frame.
    let bytes = make_video(folder.path(), "h264.ts", &["640x360", "160x90", "320x180"]);
    found.extend(find_mismatches("h264.ts", bytes, 12, Size { width: 640, height: 360 }).await);
    assert!(found.is_empty(), "{found:#?}");
}

/// A phone that is rotated while it records.
#[tokio::test]
async fn rotated_frames_get_black_bars() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for (codec, sizes, main) in [
        ("vp8", ["320x180", "160x288"], Size { width: 320, height: 180 }),
        ("h264.mkv", ["180x320", "640x360"], Size { width: 640, height: 360 }),
        ("h264.mp4", ["320x240", "320x180"], Size { width: 320, height: 240 }),
    ] {
        let bytes = make_video(folder.path(), codec, &sizes);
        found.extend(find_mismatches(codec, bytes.clone(), 8, main).await);
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready));
        let opener = fixture.source_opener();
        let frame_source =
            opener.open(&fixture.manifest().unwrap(), Instant::now() + Duration::from_mins(2)).await.unwrap();
        for (place, text) in (0..).zip(sizes) {
            let (frame, size) = frame_source.frame_at(Some(place * 4000 + 2100), main).await.unwrap();
            let (width, height) = text.split_once('x').unwrap();
            let (width, height) = (width.parse::<u32>().unwrap(), height.parse::<u32>().unwrap());
            // The lit part of the lower half, which is dark nowhere.
            let row =
                frame.chunks_exact(size.width as usize * 3).nth(size.height as usize * 60 / 100).unwrap();
            let lit = row.chunks_exact(3).filter(|pixel| pixel[1] > 12).count() as u32;
            let expected = (main.height * width / height).min(main.width);
            if lit.abs_diff(expected) > 4 {
                found.push(format!("{codec}: {text} is {lit} wide in {main:?}, not {expected}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Real videos, compared with all frames that a full ffmpeg build decodes.
#[tokio::test]
async fn reported_videos_have_correct_tiles() {
    const SMALL: Size = Size { width: 64, height: 36 };
    let Some(folder) = support::media_folder() else { return };
    let mut found = Vec::new();
    for (name, main) in [("resize-vp8.webm", 640), ("resize-ramp.webm", 640), ("two-entries.mp4", 640)] {
        let file = folder.join("bugs").join(name);
        let raw = Command::new(reference_program("ffmpeg"))
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(&file)
            .args([
                "-vf",
                "scale=64:36:flags=area",
                "-fps_mode",
                "passthrough",
                "-pix_fmt",
                "rgb24",
                "-f",
                "rawvideo",
                "-",
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let frames: Vec<&[u8]> = raw.stdout.chunks_exact(SMALL.frame_bytes()).collect();
        let fixture = TestJob::new(std::fs::read(&file).unwrap());
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let manifest = fixture.manifest().unwrap();
        if manifest.source.width != main {
            found.push(format!("{name} is {} wide", manifest.source.width));
        }
        let length = manifest.source.duration_ms as f64;
        let ms_of = |place: usize| (place as f64) * length / frames.len() as f64;
        // The presentation time of the frame that is most similar to an image.
        let shown_at = |picture: &[u8]| ms_of(compare::nearest(picture, &frames).0);
        let folder = tempfile::tempdir().unwrap();
        let sheet = Size { width: 5 * SMALL.width, height: 10 * SMALL.height };
        let pixels = support::decode_pixels_at(folder.path(), &fixture.output("storyboard.webp"), sheet);
        for place in 0..50_u32 {
            let (left, top) = (place % 5 * SMALL.width, place / 5 * SMALL.height);
            let line = |y: u32| {
                let at = ((top + y) * sheet.width + left) as usize * 3;
                &pixels[at..at + SMALL.width as usize * 3]
            };
            let tile: Vec<u8> = (0..SMALL.height).flat_map(line).copied().collect();
            let moment = length * f64::from(2 * place + 1) / 100.0;
            let off = (shown_at(&tile) - moment).abs();
            if off > 1_200.0 {
                found.push(format!("{name}: tile {place} is {off:.0} ms off"));
            }
        }
        let opener = fixture.source_opener();
        let frame_source = opener.open(&manifest, Instant::now() + Duration::from_mins(2)).await.unwrap();
        for percent in [3, 21, 38, 49, 51, 66, 83, 97] {
            let ms = length * f64::from(percent) / 100.0;
            let (still, _) = frame_source.frame_at(Some(ms as u64), SMALL).await.unwrap();
            let off = (shown_at(&still) - ms).abs();
            if off > 100.0 {
                found.push(format!("{name}: the still at {ms:.0} ms is {off:.0} ms off"));
            }
        }
        let times: std::collections::BTreeSet<u64> = decode_frames(
            folder.path(),
            "reel.gif",
            &fixture.output("animated.gif"),
            Size { width: 320, height: 180 },
        )
        .iter()
        .map(|frame| {
            let small =
                glimpse_media::image::placeholder::shrink(frame, Size { width: 320, height: 180 }, SMALL);
            (shown_at(&small) / 500.0) as u64
        })
        .collect();
        if times.len() < 8 {
            found.push(format!("{name}: the animation shows {} half seconds", times.len()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
