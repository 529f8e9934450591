//! Clips to upload, which ffmpeg generates once per run.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::env_path;

/// A clip of this many seconds with moving video and a tone, as an MP4 with its index at the front.
///
/// # Panics
/// If ffmpeg fails.
pub fn clip(seconds: u32, size: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("clip.mp4");
    write_clip(seconds, size, &path);
    fs::read(path).expect("ffmpeg has written it")
}

/// A WebM of this many seconds with moving VP9 video, without sound.
///
/// # Panics
/// If ffmpeg fails.
pub fn webm(seconds: u32, size: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("clip.webm");
    let video = format!("testsrc2=duration={seconds}:size={size}:rate=30");
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"];
    ffmpeg(&[&["-f", "lavfi", "-i", &video], &vp9[..]].concat(), &path);
    fs::read(path).expect("ffmpeg has written it")
}

/// A transport stream of MPEG-2 video.
///
/// # Panics
/// If ffmpeg fails.
pub fn ts(seconds: u32, size: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("clip.ts");
    let video = format!("testsrc2=duration={seconds}:size={size}:rate=30");
    ffmpeg(&["-f", "lavfi", "-i", &video, "-c:v", "mpeg2video", "-q:v", "4", "-pix_fmt", "yuv420p"], &path);
    fs::read(path).expect("ffmpeg has written it")
}

/// An MP4 of this many seconds and megabits per second, which consists of filler for the most part.
///
/// # Panics
/// If ffmpeg fails.
pub fn filled(seconds: u32, megabits: u32) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("clip.mp4");
    let video = format!("testsrc2=duration={seconds}:size=320x180:rate=10");
    let rate = format!("{megabits}M");
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "20"];
    let fixed = ["-x264-params", "nal-hrd=cbr", "-b:v", &rate, "-minrate", &rate, "-maxrate", &rate];
    let rest = ["-bufsize", &rate, "-movflags", "+faststart"];
    ffmpeg(&[&["-f", "lavfi", "-i", &video], &h264[..], &fixed[..], &rest[..]].concat(), &path);
    fs::read(path).expect("ffmpeg has written it")
}

/// Writes the clip of [`clip`] to a file.
///
/// # Panics
/// If ffmpeg fails.
pub fn write_clip(seconds: u32, size: &str, path: &Path) {
    let video = format!("testsrc2=duration={seconds}:size={size}:rate=30");
    let audio = format!("sine=frequency=440:duration={seconds}");
    let sources = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio];
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60"];
    let rest = ["-c:a", "aac", "-shortest", "-movflags", "+faststart"];
    ffmpeg(&[&sources[..], &h264[..], &rest[..]].concat(), path);
}

fn ffmpeg(arguments: &[&str], path: &Path) {
    let output = Command::new(env_path("GLIMPSE_REFERENCE_FFMPEG"))
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .arg(path)
        .output()
        .expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
