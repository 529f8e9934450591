//! Tests that outputs show the times that they claim, even if an index is wrong about keyframes, tracks and durations.
//! The brightness of the videos encodes the time. `GLIMPSE_MEDIA=/folder` names a folder that contains `bugs`: videos
//! of public bug reports.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::time::Duration;

use crate::support::{TestJob, compare, decode_tiles, make, media_folder};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::frame_source::OpenedSource;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_contract::Manifest;
use glimpse_media::size::Size;
use tokio::time::Instant;

/// The size at which a frame is searched among all frames of a video.
const SMALL: Size = Size { width: 96, height: 54 };
/// The difference in brightness between the end and the beginning of a video.
const RISE: f64 = 210.0;

/// Ten frames per second of 192 by 108; the brightness of the right half encodes the time. At the end it is the
/// brightness that a video of `of` seconds has then.
fn rising_clock(secs: u32, of: u32) -> String {
    let slope = RISE / f64::from(of);
    format!(
        "-f lavfi -i testsrc2=s=192x108:r=10:d={secs},format=yuv420p,\
         geq=lum='if(lt(X,96),lum(X,Y),20+T*{slope})':cb='if(lt(X,48),cb(X,Y),128)':cr='if(lt(X,48),cr(X,Y),128)'"
    )
}

/// The arguments that read such a video, which is generated once for a folder.
fn clock_file(folder: &Path, secs: u32, of: u32) -> String {
    let name = format!("clock-{secs}-{of}.nut");
    let file = folder.join(&name);
    if !file.exists() {
        make(folder, &name, &format!("{} -c:v rawvideo", rising_clock(secs, of)));
    }
    format!("-i {}", file.display())
}

/// The relative time that a frame of this size shows.
fn time_fraction(rgb: &[u8], stride: u32, (left, top): (u32, u32), size: Size) -> f64 {
    let Size { width, height } = size;
    let at = |x: u32, y: u32| f64::from(rgb[(((top + y) * stride + left + x) * 3) as usize]);
    let (xs, ys) = (width * 5 / 8..width * 7 / 8, height / 5..height * 4 / 5);
    let count = f64::from((xs.end - xs.start) * (ys.end - ys.start));
    let sum: f64 = xs.flat_map(|x| ys.clone().map(move |y| (x, y))).map(|(x, y)| at(x, y)).sum();
    (sum / count * 219.0 / 255.0 + 16.0 - 20.0) / RISE
}

/// The relative time that each tile of a storyboard shows.
fn tile_fractions(folder: &Path, fixture: &TestJob) -> Vec<f64> {
    let tile = Size { width: 192, height: 108 };
    let tiles = decode_tiles(folder, fixture, tile);
    tiles.iter().map(|pixels| time_fraction(pixels, tile.width, (0, 0), tile)).collect()
}

/// The relative time that the still at a time shows.
async fn still_fraction(fixture: &TestJob, manifest: &Manifest, ms: u64) -> Result<f64, String> {
    let size = Size { width: 192, height: 108 };
    render_still(fixture, manifest, ms, size).await.map(|rgb| time_fraction(&rgb, size.width, (0, 0), size))
}

/// The still at a time, of this size.
async fn render_still(
    fixture: &TestJob,
    manifest: &Manifest,
    ms: u64,
    size: Size,
) -> Result<Vec<u8>, String> {
    let frame_source = open_source(fixture, manifest).await?;
    let (rgb, found) = frame_source.frame_at(Some(ms), size).await.map_err(|error| error.to_string())?;
    assert_eq!(found, size);
    Ok(rgb.to_vec())
}

/// The relative time that the first frame of a clip of half a second shows.
async fn clip_fraction(fixture: &TestJob, manifest: &Manifest, ms: u64) -> Result<f64, String> {
    let size = Size { width: 192, height: 108 };
    let frame_source = open_source(fixture, manifest).await?;
    let clip = frame_source.frames_between(Some((ms, ms + 500)), size, 10.0).await;
    let (frames, _) = clip.map_err(|error| error.to_string())?;
    Ok(time_fraction(&frames[0], size.width, (0, 0), size))
}

async fn open_source(fixture: &TestJob, manifest: &Manifest) -> Result<OpenedSource<MemoryStore>, String> {
    let opener = fixture.source_opener();
    let deadline = Instant::now() + Duration::from_mins(1);
    opener.open(manifest, deadline).await.map_err(|error| error.to_string())
}

/// The expected times of a video.
struct ExpectedTimes {
    secs: f64,
    /// When its last frame begins.
    last: f64,
    /// How far a tile may be from its time: before and after.
    near: (f64, f64),
}

/// The mismatches in the outputs of a video.
async fn find_mismatches(folder: &Path, name: &str, bytes: Vec<u8>, expected: &ExpectedTimes) -> Vec<String> {
    let fixture = TestJob::new(bytes);
    let result = fixture.run().await.result;
    if result != Ok(JobOutcome::Ready) {
        return vec![format!("{name}: {result:?}")];
    }
    let mut mismatches = Vec::new();
    let manifest = fixture.manifest().unwrap();
    let found = manifest.source.duration_ms as f64 / 1000.0;
    if (found - expected.secs).abs() > 0.25 {
        mismatches.push(format!("{name}: {found} s instead of {}", expected.secs));
    }
    for (place, shown) in tile_fractions(folder, &fixture).into_iter().enumerate() {
        let shown = shown * expected.secs;
        let middle = (expected.secs * (place as f64 + 0.5) / 50.0).min(expected.last);
        if !(middle - expected.near.0..=middle + expected.near.1).contains(&shown) {
            mismatches.push(format!("{name}: tile {place} of {middle:.1} s shows {shown:.1} s"));
        }
    }
    for percent in [0, 13, 37, 50, 71, 96] {
        let ms = (expected.secs * f64::from(percent) * 10.0) as u64;
        let right = (ms as f64 / 1000.0).min(expected.last);
        let mut shown = vec![("still", still_fraction(&fixture, &manifest, ms).await)];
        if percent == 71 {
            shown.push(("clip", clip_fraction(&fixture, &manifest, ms).await));
        }
        for (kind, shown) in shown {
            match shown {
                Ok(shown) if (shown * expected.secs - right).abs() < expected.secs / 75.0 => {}
                Ok(shown) => {
                    let shown = shown * expected.secs;
                    mismatches.push(format!("{name}: the {kind} of {right:.1} s shows {shown:.1} s"));
                }
                Err(error) => mismatches.push(format!("{name}: the {kind} of {right:.1} s: {error}")),
            }
        }
    }
    mismatches
}

/// The offsets of the bodies of all boxes of this kind, at any depth.
fn find_boxes(bytes: &[u8], kind: [u8; 4]) -> Vec<usize> {
    bytes.windows(4).enumerate().filter(|(_, word)| *word == kind).map(|(at, _)| at + 4).collect()
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

/// Removes the list of keyframes: all samples are.
fn without_stss(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = find_boxes(&bytes, *b"stss")[0];
    bytes[at - 4..at].copy_from_slice(b"free");
    bytes
}

/// Empties the list of keyframes.
fn with_empty_stss(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = find_boxes(&bytes, *b"stss")[0];
    put_u32(&mut bytes, at + 4, 0);
    bytes
}

/// Lists the samples after the keyframes instead.
fn with_shifted_stss(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = find_boxes(&bytes, *b"stss")[0];
    for row in 0..read_u32(&bytes, at + 4) as usize {
        let place = at + 8 + row * 4;
        let key = read_u32(&bytes, place);
        put_u32(&mut bytes, place, key + 3);
    }
    bytes
}

/// Sets these flags for all samples of all fragments: ISO 14496-12, 8.8.3.1.
fn with_flags(mut bytes: Vec<u8>, flags: u32) -> Vec<u8> {
    for at in find_boxes(&bytes, *b"trex") {
        put_u32(&mut bytes, at + 20, flags);
    }
    for at in find_boxes(&bytes, *b"tfhd") {
        let has = read_u32(&bytes, at);
        let before: usize = [(0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4)]
            .iter()
            .filter(|(bit, _)| has & bit != 0)
            .map(|(_, length)| length)
            .sum();
        if has & 0x20 != 0 {
            put_u32(&mut bytes, at + 8 + before, flags);
        }
    }
    for at in find_boxes(&bytes, *b"trun") {
        let (has, count) = (read_u32(&bytes, at), read_u32(&bytes, at + 4));
        let mut place = at + 8 + if has & 1 != 0 { 4 } else { 0 };
        if has & 4 != 0 {
            put_u32(&mut bytes, place, flags);
            place += 4;
        }
        for _ in 0..count {
            place += [0x100, 0x200].iter().filter(|bit| has & **bit != 0).count() * 4;
            if has & 0x400 != 0 {
                put_u32(&mut bytes, place, flags);
                place += 4;
            }
            place += if has & 0x800 != 0 { 4 } else { 0 };
        }
    }
    bytes
}

const SYNC: u32 = 0x0200_0000;
const NO_SYNC: u32 = 0x0101_0000;

/// An EBML variable-size integer, and its length in bytes.
fn vint(bytes: &[u8]) -> (u64, usize) {
    let length = bytes[0].leading_zeros() as usize + 1;
    let value = bytes[..length].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    (value & ((1 << (7 * length)) - 1), length)
}

/// A Matroska file in which all frames are marked as keyframes, or none: a `SimpleBlock` by its flag, other blocks by
/// their references.
fn with_keyframe_marks(mut bytes: Vec<u8>, all: bool) -> Vec<u8> {
    let mut at = 0;
    while at + 12 < bytes.len() {
        let id_length = bytes[at].leading_zeros() as usize + 1;
        let id = bytes[at..at + id_length].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let (size, length) = vint(&bytes[at + id_length..]);
        let body = at + id_length + length;
        match id {
            // Segment, cluster and group: their children come next.
            0x1853_8067 | 0x1f43_b675 | 0xa0 => at = body,
            0xa3 => {
                bytes[body + 3] = bytes[body + 3] & 0x7f | u8::from(all) << 7;
                at = body + size as usize;
            }
            // The reference is replaced by a void element.
            0xfb => {
                if all {
                    bytes[at] = 0xec;
                }
                at = body + size as usize;
            }
            _ => at = body + size as usize,
        }
    }
    bytes
}

const X264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 20 -sc_threshold 0";

#[tokio::test]
async fn wrong_index_keyframes_change_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock_file(folder.path(), 30, 30);
    let film = |name: &str, codec: &str| make(folder.path(), name, &format!("{clock} {codec}"));
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k -g 20";
    let vp8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -g 20";
    let av1 = "-c:v libaom-av1 -cpu-used 8 -usage realtime -b:v 300k -g 20";
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=20:scenecut=0 -tag:v hvc1";
    let fragments = "-movflags frag_keyframe+empty_moov+default_base_moof";
    let (h264, h264_vp9, h264_av1) = (film("a.mp4", X264), film("vp9.mp4", vp9), film("av1.mp4", av1));
    let open = film("open.mp4", "-c:v libx264 -x264-params open-gop=1:keyint=20:bframes=2:scenecut=0");
    let fragmented = film("f.mp4", &format!("{X264} {fragments}"));
    let mkv = film("a.mkv", X264);
    let cases = [
        ("H.264, all", without_stss(h264.clone())),
        ("H.264, none", with_empty_stss(h264.clone())),
        ("H.264, others", with_shifted_stss(h264)),
        ("H.264 of open groups, all", without_stss(open.clone())),
        ("H.264 of open groups, others", with_shifted_stss(open)),
        ("HEVC, all", without_stss(film("hevc.mp4", hevc))),
        ("VP9, all", without_stss(h264_vp9.clone())),
        ("VP9, others", with_shifted_stss(h264_vp9)),
        ("AV1, all", without_stss(h264_av1.clone())),
        ("AV1, others", with_shifted_stss(h264_av1)),
        ("MPEG-4, all", without_stss(film("mpeg4.mp4", "-c:v mpeg4 -q:v 3 -bf 2 -g 20"))),
        ("fragments, all", with_flags(fragmented.clone(), SYNC)),
        ("fragments, none", with_flags(fragmented, NO_SYNC)),
        ("Matroska, all", with_keyframe_marks(mkv.clone(), true)),
        ("Matroska, none", with_keyframe_marks(mkv, false)),
        ("WebM of VP9, all", with_keyframe_marks(film("vp9.webm", vp9), true)),
        ("WebM of VP8, none", with_keyframe_marks(film("vp8.webm", vp8), false)),
        ("WebM of AV1, all", with_keyframe_marks(film("av1.webm", av1), true)),
        ("WebM of AV1, none", with_keyframe_marks(film("av1n.webm", av1), false)),
        (
            "Matroska of HEVC, all",
            with_keyframe_marks(film("hevc.mkv", hevc.trim_end_matches("-tag:v hvc1")), true),
        ),
    ];
    let expected = ExpectedTimes { secs: 30.0, last: 29.9, near: (0.9, 0.5) };
    let mut found = Vec::new();
    for (name, bytes) in cases {
        found.extend(find_mismatches(folder.path(), name, bytes, &expected).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// In videos that are too large to be decoded as a whole, and some of them to be read as a whole, tiles are keyframes:
/// the correct ones.
#[tokio::test]
async fn large_files_find_their_real_keyframes() {
    let folder = tempfile::tempdir().unwrap();
    let clock = rising_clock(60, 60).replace("r=10", "r=15");
    let size = "scale=1280:720:flags=neighbor";
    // Bytes without content make the file large, and are decoded fast.
    let x264 = "-c:v libx264 -preset ultrafast -g 30 -sc_threshold 0 -b:v 2M -maxrate 2M -bufsize 2M -qmin 26 \
         -x264-params nal-hrd=cbr";
    let mp4 = make(folder.path(), "a.mp4", &format!("{clock},{size} {x264}"));
    let path = folder.path().join("a.mp4");
    let copy = format!("-i {} -c copy", path.display());
    let fragments = "-movflags frag_keyframe+empty_moov+default_base_moof";
    let fragmented = make(folder.path(), "f.mp4", &format!("{copy} {fragments}"));
    let mkv = make(folder.path(), "a.mkv", &copy);
    assert!(
        fragmented.len() > 9 << 20 && mkv.len() > 9 << 20,
        "{} and {} bytes",
        fragmented.len(),
        mkv.len()
    );
    let cases = [
        ("all", without_stss(mp4.clone())),
        ("none", with_empty_stss(mp4.clone())),
        ("others", with_shifted_stss(mp4)),
        ("fragments, all", with_flags(fragmented.clone(), SYNC)),
        ("fragments, none", with_flags(fragmented, NO_SYNC)),
        ("Matroska, all", with_keyframe_marks(mkv.clone(), true)),
        ("Matroska, none", with_keyframe_marks(mkv, false)),
    ];
    let frames = all_frames(&path, 0, "", SMALL);
    let mut found = Vec::new();
    for (name, bytes) in cases {
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        // A tile is its own frame, or the keyframe up to two seconds before it; if the file has no valid index, the
        // next keyframe is accepted.
        for (tile, frame) in nearest_frames(folder.path(), &fixture, &frames, SMALL).into_iter().enumerate() {
            let right = (tile * 900 + 450) / 50;
            if !(right.saturating_sub(31)..=right + 31).contains(&frame) {
                found.push(format!("{name}: tile {tile} is frame {frame} instead of {right}"));
            }
        }
        let manifest = fixture.manifest().unwrap();
        for ms in [0, 17_300, 44_000, 59_900] {
            let shown = render_still(&fixture, &manifest, ms, SMALL).await;
            let shown = shown.map(|rgb| compare::nearest(&rgb, &frames).0);
            let right = ms as usize * 15 / 1000;
            if !shown.as_ref().is_ok_and(|shown| shown.abs_diff(right) <= 1) {
                found.push(format!("{name}: the still of frame {right} is {shown:?}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Intra refresh: no frame after the first can be decoded alone.
#[tokio::test]
async fn intra_refresh_frames_are_complete() {
    let folder = tempfile::tempdir().unwrap();
    let refresh = "-c:v libx264 -preset ultrafast -x264-params intra-refresh=1:keyint=20:bframes=0";
    let mut found = Vec::new();
    for name in ["a.mp4", "a.mkv", "a.flv"] {
        let bytes = make(folder.path(), name, &format!("{} {refresh}", clock_file(folder.path(), 40, 40)));
        let expected = ExpectedTimes { secs: 40.0, last: 39.9, near: (0.9, 0.5) };
        found.extend(find_mismatches(folder.path(), name, bytes, &expected).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Frames after start codes, without a length, without an index.
#[tokio::test]
async fn reads_matroska_with_start_codes() {
    let folder = tempfile::tempdir().unwrap();
    let again = |name: &str, of: &str, words: &str| {
        make(
            folder.path(),
            name,
            &format!("-fflags +genpts -r 10 -i {} -c copy {words}", folder.path().join(of).display()),
        )
    };
    let clock = clock_file(folder.path(), 30, 30);
    let film = |name: &str, codec: &str| make(folder.path(), name, &format!("{clock} {codec}"));
    film("a.h264", "-c:v libx264 -preset ultrafast -bf 0 -g 20 -sc_threshold 0");
    film(
        "a.h265",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=20:scenecut=0:bframes=0",
    );
    let h264 = again("live.mkv", "a.h264", "-live 1 -f matroska");
    let hevc = again("live-hevc.mkv", "a.h265", "-live 1 -f matroska");
    let cases = [
        ("H.264", h264.clone()),
        ("HEVC", hevc.clone()),
        ("H.264 behind start codes", with_start_codes(h264.clone(), CodecPrivate::Kept)),
        ("H.264 behind start codes without a record", with_start_codes(h264.clone(), CodecPrivate::Removed)),
        ("H.264 without a record", with_codec_private(h264, CodecPrivate::Removed)),
        ("HEVC behind start codes", with_start_codes(hevc.clone(), CodecPrivate::Kept)),
        ("HEVC behind start codes without a record", with_start_codes(hevc.clone(), CodecPrivate::Removed)),
        ("HEVC without a record", with_codec_private(hevc, CodecPrivate::Removed)),
    ];
    let expected = ExpectedTimes { secs: 30.0, last: 29.9, near: (0.9, 0.5) };
    let mut found = Vec::new();
    for (name, bytes) in cases {
        found.extend(find_mismatches(folder.path(), name, bytes, &expected).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What happens to a codec's configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodecPrivate {
    Kept,
    Removed,
}

/// Keeps the codec's configuration, or replaces it by a void element.
fn with_codec_private(mut bytes: Vec<u8>, codec_private: CodecPrivate) -> Vec<u8> {
    if codec_private == CodecPrivate::Removed {
        let at = bytes.windows(2).position(|id| id == [0x63, 0xa2]).unwrap();
        let (size, length) = vint(&bytes[at + 2..]);
        // Its id is one byte shorter: the size field becomes longer.
        assert_eq!(length, 1);
        bytes[at..at + 3].copy_from_slice(&[0xec, 0x40, size as u8]);
    }
    bytes
}

/// Replaces the lengths of NAL units by start codes; both have four bytes.
fn with_start_codes(bytes: Vec<u8>, codec_private: CodecPrivate) -> Vec<u8> {
    let mut bytes = with_codec_private(bytes, codec_private);
    let mut at = 0;
    while at + 12 < bytes.len() {
        let id_length = bytes[at].leading_zeros() as usize + 1;
        let id = bytes[at..at + id_length].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let (size, length) = vint(&bytes[at + id_length..]);
        let body = at + id_length + length;
        if matches!(id, 0x1853_8067 | 0x1f43_b675 | 0xa0) {
            at = body;
            continue;
        }
        if matches!(id, 0xa1 | 0xa3) {
            let (mut unit, end) = (body + 4, body + size as usize);
            while unit + 4 < end {
                let length = read_u32(&bytes, unit) as usize;
                put_u32(&mut bytes, unit, 1);
                unit += 4 + length;
            }
        }
        at = body + size as usize;
    }
    bytes
}

/// Audio that is longer than the video: the duration is that of the whole file, and the last frame remains.
#[tokio::test]
async fn last_frame_stays_until_audio_ends() {
    let folder = tempfile::tempdir().unwrap();
    let song = "-f lavfi -i sine=d=60 -c:a aac -b:a 32k";
    let film = |name: &str, secs: u32, more: &str| {
        make(folder.path(), name, &format!("{} {song} {X264} {more}", clock_file(folder.path(), secs, 60)))
    };
    let fragments = "-movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 1000000";
    let one = |name: &str| {
        let picture = rising_clock(12, 60).replace("d=12", "d=0.1");
        make(folder.path(), name, &format!("{picture} {song} {X264}"))
    };
    let mut found = Vec::new();
    for (name, bytes, last) in [
        ("an MP4", film("a.mp4", 12, ""), 11.9),
        ("a MOV", film("a.mov", 12, ""), 11.9),
        ("fragments", film("f.mp4", 12, fragments), 11.9),
        ("Matroska", film("a.mkv", 12, ""), 11.9),
        ("Matroska of a stream", film("live.mkv", 12, "-live 1"), 11.9),
        ("Flash video", film("a.flv", 12, ""), 11.9),
        ("one frame in an MP4", one("one.mp4"), 0.0),
        ("one frame in Matroska", one("one.mkv"), 0.0),
    ] {
        let expected = ExpectedTimes { secs: 60.0, last, near: (0.9, 0.5) };
        found.extend(find_mismatches(folder.path(), name, bytes, &expected).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The same in containers that ffmpeg demuxes. Their tiles are keyframes, of which there is one every two seconds.
#[tokio::test]
async fn last_frame_stays_where_ffmpeg_demuxes() {
    let folder = tempfile::tempdir().unwrap();
    let song = "-f lavfi -i sine=d=60:r=44100 -g 20";
    let film = |name: &str, codecs: &str| {
        make(folder.path(), name, &format!("{} {song} {codecs}", clock_file(folder.path(), 12, 60)))
    };
    let one = |name: &str, codecs: &str| {
        let picture = rising_clock(12, 60).replace("d=12", "d=0.1");
        make(folder.path(), name, &format!("{picture} {song} {codecs}"))
    };
    let (avi, flv, wmv) =
        ("-c:v mpeg4 -q:v 2 -c:a mp2", "-c:v flv -q:v 2 -c:a mp3", "-c:v wmv2 -q:v 2 -c:a wmav2");
    let ts = "-c:v libx264 -preset ultrafast -bf 2 -sc_threshold 0 -c:a aac";
    let ogg = "-c:v libtheora -q:v 9 -c:a libvorbis";
    let mpg = "-c:v mpeg2video -q:v 2 -r 25 -c:a mp2";
    let live = "-flvflags no_duration_filesize";
    let mut found = Vec::new();
    for (name, bytes, last) in [
        ("an AVI", film("a.avi", avi), 11.9),
        ("Flash video", film("a.flv", flv), 11.9),
        ("Flash video without a duration", film("live.flv", &format!("{flv} {live}")), 11.9),
        ("a WMV", film("a.wmv", wmv), 11.9),
        ("a transport stream", film("a.ts", ts), 11.9),
        ("a program stream", film("a.mpg", mpg), 11.9),
        ("an Ogg", film("a.ogv", ogg), 11.9),
        ("one frame in an AVI", one("one.avi", avi), 0.0),
        ("one frame in Flash video", one("one.flv", flv), 0.0),
        ("one frame in a WMV", one("one.wmv", wmv), 0.0),
        ("one frame in a transport stream", one("one.ts", ts), 0.0),
        ("one frame in a program stream", one("one.mpg", mpg), 0.0),
        ("one frame in an Ogg", one("one.ogv", ogg), 0.0),
    ] {
        // ffmpeg reports the duration of streams without that of the last audio frame.
        let secs = if name.ends_with(" stream") { 59.8 } else { 60.0 };
        let expected = ExpectedTimes { secs, last, near: (2.2, 0.9) };
        found.extend(find_mismatches(folder.path(), name, bytes, &expected).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// B-frames that AVI packed into the frames that they refer to, copied to other containers.
#[tokio::test]
async fn unpacks_packed_b_frames() {
    let Some(media) = media_folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let packed = media.join("bugs/packed.mkv");
    let copy = |name: &str, words: &str| {
        make(folder.path(), name, &format!("-i {} -c copy {words}", packed.display()))
    };
    for (name, bytes) in [("a.mkv", std::fs::read(&packed).unwrap()), ("a.mp4", copy("a.mp4", ""))] {
        let file = folder.path().join(name);
        std::fs::write(&file, &bytes).unwrap();
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let found = nearest_frames(folder.path(), &fixture, &all_frames(&file, 0, "", SMALL), SMALL);
        let count = found.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(count > 45 && found.is_sorted(), "{name}: {found:?}");
        for (tile, frame) in found.into_iter().enumerate() {
            let right = (tile as f64 + 0.5) * 301.0 / 50.0;
            assert!((frame as f64 - right).abs() < 4.0, "{name}: tile {tile} of {right:.1} is frame {frame}");
        }
    }
}

/// The frame of a full decode, of this size, that each tile of a storyboard shows.
fn nearest_frames(folder: &Path, fixture: &TestJob, frames: &[Vec<u8>], size: Size) -> Vec<usize> {
    let tiles = decode_tiles(folder, fixture, size);
    tiles.iter().map(|pixels| compare::nearest(pixels, frames).0).collect()
}

/// All frames of a stream of a file in this size.
fn all_frames(file: &Path, stream: u32, crop: &str, size: Size) -> Vec<Vec<u8>> {
    let Size { width, height } = size;
    let output = std::process::Command::new(support::reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-map", &format!("0:{stream}"), "-fps_mode", "passthrough"])
        .args(["-vf", &format!("{crop}scale={width}:{height}:flags=bicubic")])
        .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout.chunks_exact(size.frame_bytes()).map(<[u8]>::to_vec).collect()
}

/// The expected result for a video of a bug report.
struct ReportedVideo {
    name: &'static str,
    /// The stream that is shown.
    stream: u32,
    secs: f64,
    size: (u32, u32),
    /// The tolerance of a tile, in frames.
    off: f64,
}

#[tokio::test]
async fn reported_videos_show_requested_times() {
    let Some(media) = media_folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let film = |name, stream, secs, off| ReportedVideo { name, stream, secs, size: (320, 180), off };
    let mut wrong = Vec::new();
    for ReportedVideo { name, stream, secs, size, off } in [
        film("h264-no-stss.mp4", 0, 20.0, 1.5),
        film("h264-all-keys.mkv", 0, 20.0, 1.5),
        film("annexb.mkv", 0, 30.0, 1.5),
        film("cover-track.mkv", 1, 20.0, 1.5),
        film("gdr.mp4", 0, 20.0, 1.5),
        film("packed.mkv", 0, 10.0, 2.5),
        film("clap.mov", 0, 3.0, 1.5),
        film("still-song.mp4", 0, 180.0, 1.5),
        // Tiles are keyframes, of which there is one per second.
        film("audio-longer.mkv", 0, 60.0, 30.0),
    ] {
        let path = media.join("bugs").join(name);
        let fixture = TestJob::new(std::fs::read(&path).unwrap());
        let result = fixture.run().await.result;
        if result != Ok(JobOutcome::Ready) {
            wrong.push(format!("{name}: {result:?}"));
            continue;
        }
        let source = fixture.manifest().unwrap().source;
        if (source.width, source.height) != size {
            wrong.push(format!("{name}: {}x{}", source.width, source.height));
        }
        if (source.duration_ms as f64 / 1000.0 - secs).abs() > 0.1 {
            wrong.push(format!("{name}: {} ms", source.duration_ms));
        }
        let crop = if name == "clap.mov" { "crop=320:180," } else { "" };
        let frames = all_frames(&path, stream, crop, SMALL);
        let found = nearest_frames(folder.path(), &fixture, &frames, SMALL);
        let last = frames.len() as f64 - 1.0;
        for (tile, frame) in found.iter().enumerate() {
            let right = ((tile as f64 + 0.5) * secs / 50.0 * 30.0).floor().min(last);
            let off = if right < last { off } else { 0.0 };
            if (*frame as f64 - right).abs() > off {
                wrong.push(format!("{name}: tile {tile} is frame {frame} instead of {right}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
