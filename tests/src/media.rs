//! Decides what the stories upload: clips that ffmpeg makes, each once a run.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::named;

/// A clip of so many seconds with a moving picture and a tone, as an MP4 with its index at the front.
///
/// # Panics
/// If ffmpeg does not make it.
pub fn clip(seconds: u32, size: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("clip.mp4");
    make(seconds, size, &path);
    fs::read(path).expect("ffmpeg has written it")
}

/// The same as a file.
///
/// # Panics
/// If ffmpeg does not make it.
pub fn make(seconds: u32, size: &str, path: &Path) {
    let video = format!("testsrc2=duration={seconds}:size={size}:rate=30");
    let audio = format!("sine=frequency=440:duration={seconds}");
    let output = Command::new(named("GLIMPSE_REFERENCE_FFMPEG"))
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60"])
        .args(["-c:a", "aac", "-shortest", "-movflags", "+faststart"])
        .arg(path)
        .output()
        .expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
