//! Tests that pixels which a decoder conceals are not used as the poster, but equally gray frames of a video are.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support::{TestJob, make};
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::Code;

/// Overwrites the data after the slice header of each IDR frame with zeros.
fn blank_idr_slices(mut film: Vec<u8>) -> Vec<u8> {
    const HEADER: usize = 12;
    let starts: Vec<usize> = film
        .windows(5)
        .enumerate()
        .filter(|(_, bytes)| bytes[0] == 0 && bytes[4] & 0x1f == 5 && bytes[4] & 0x60 != 0)
        .filter(|(at, bytes)| {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            // After a length as in MP4, or a start code.
            bytes[..4] == [0, 0, 0, 1] || (length > 1000 && at + 4 + length <= film.len())
        })
        .map(|(at, _)| at)
        .collect();
    assert!(starts.len() > 10, "only {} frames", starts.len());
    for (place, start) in starts.iter().enumerate() {
        let is_length = film[start + 3] != 1 || film[start + 2] != 0;
        let end = if is_length {
            start + 4 + u32::from_be_bytes(film[*start..start + 4].try_into().unwrap()) as usize
        } else {
            // Up to the data after the frame, with its own start code and the chunk header before it.
            starts.get(place + 1).map_or(start + HEADER + 40, |next| next - 200)
        };
        if start + 4 + HEADER < end {
            film[start + 4 + HEADER..end].fill(0);
        }
    }
    film
}

#[tokio::test]
async fn fully_concealed_video_is_rejected_as_truncated() {
    let folder = tempfile::tempdir().unwrap();
    for (name, container) in [("film.mp4", "-movflags +faststart"), ("film.flv", ""), ("film.mkv", "")] {
        let arguments =
            format!("-f lavfi -i testsrc2=s=320x180:r=5:d=8 -c:v libx264 -pix_fmt yuv420p -g 1 {container}");
        let whole = make(folder.path(), name, &arguments);
        assert_eq!(TestJob::new(whole.clone()).run().await.result, Ok(JobOutcome::Ready), "{name}");
        let fixture = TestJob::new(blank_idr_slices(whole));
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Rejected(Code::Truncated)), "{name}");
    }
}

#[tokio::test]
async fn gray_video_has_a_poster() {
    let folder = tempfile::tempdir().unwrap();
    for (name, color, codec) in [
        ("gray.mp4", "0x828282", "-c:v libx264 -pix_fmt yuv420p"),
        ("gray.avi", "0x828282", "-c:v mpeg4 -q:v 2"),
        ("green.mp4", "0x008700", "-c:v libx264 -pix_fmt yuv420p"),
    ] {
        let film = make(folder.path(), name, &format!("-f lavfi -i color={color}:s=320x180:r=5:d=8 {codec}"));
        assert_eq!(TestJob::new(film).run().await.result, Ok(JobOutcome::Ready), "{name}");
    }
}
