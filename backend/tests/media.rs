//! Runs every file of a folder of real and hostile media through the whole pipeline. To run: `GLIMPSE_MEDIA=/folder
//! cargo test -p glimpse-backend --test backend media -- --nocapture`. `GLIMPSE_KEEP=/another` writes the images there for
//! inspection.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::time::Duration;

use crate::support::{ProcessedFile, REJECTED_FILES, process_once};
use glimpse_backend::preview::outputs::default_variants;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::{Code, State};

/// The results for hostile files on which every build of ffmpeg must agree.
const EXPECTED: &[(&str, JobOutcome)] = &[
    ("BA_MW_D_IDR_LOST.264", JobOutcome::Rejected(Code::NotAVideo)),
    ("WrongFile.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("broken.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("codec_magicyuv.avi", JobOutcome::Rejected(Code::UnsupportedCodec)),
    ("dancer1rb.webm", JobOutcome::Ready),
    ("dash_manifest.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("ffconcat_localfile.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("ffconcat_self.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("fixture-corrupt.mkv", JobOutcome::Ready),
    ("fixture-dash.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("fixture-null.webm", JobOutcome::Ready),
    ("gif_dimension_bomb.gif", JobOutcome::Rejected(Code::TooManyPixels)),
    ("h264_8192x8192.mp4", JobOutcome::Rejected(Code::TooManyPixels)),
    ("hls_concat_exfil.avi", JobOutcome::Rejected(Code::NotAVideo)),
    ("hls_localfile.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("hls_relative_segment.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("hls_ssrf.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("html_polyglot.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("invalid_vp9_bitstream-bug_1416.webm", JobOutcome::Rejected(Code::NotAVideo)),
    ("invalid_vp9_bitstream-bug_1417.webm", JobOutcome::Rejected(Code::NotAVideo)),
    ("minimal_init.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("mkv_400_streams.mkv", JobOutcome::Rejected(Code::TooManyStreams)),
    ("mp4_duration_max.mp4", JobOutcome::Rejected(Code::TooLong)),
    ("mp4_stts_huge_count.mp4", JobOutcome::Ready),
    ("mp4_tkhd_dims_65535.mp4", JobOutcome::Ready),
    ("mp4_truncated_25.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("one_byte.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("only_ftyp.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("projection.webm", JobOutcome::Ready),
    ("sample_qt.mp4", JobOutcome::Rejected(Code::Truncated)),
    ("sdp.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("seek_sub.webm", JobOutcome::Ready),
    ("split.webm", JobOutcome::Ready),
    ("subsample_encrypted.webm", JobOutcome::Rejected(Code::Encrypted)),
    ("ten_hours_one_keyframe.mp4", JobOutcome::Ready),
    ("testMP4AudioOnly.mp4", JobOutcome::Rejected(Code::NoVideoStream)),
    ("testMP4_QuickTimeMetadata.mov", JobOutcome::Rejected(Code::NoVideoStream)),
    ("testMP4_StillImageTimeZero.mov", JobOutcome::Rejected(Code::NoVideoStream)),
    ("tiny_2x2.mkv", JobOutcome::Rejected(Code::UnsupportedCodec)),
    ("y4m_dimension_bomb.mp4", JobOutcome::Rejected(Code::NotAVideo)),
    ("zero_bytes.mp4", JobOutcome::Rejected(Code::Empty)),
];

/// The codes with which any other hostile file may be rejected; a crash or an internal error is never correct.
const REFUSALS: &[Code] = &[
    Code::Empty,
    Code::NotAVideo,
    Code::NoVideoStream,
    Code::UnsupportedCodec,
    Code::TooManyPixels,
    Code::TooManyStreams,
    Code::TooLong,
    Code::Truncated,
    Code::Encrypted,
    Code::TimedOut,
];

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

async fn process_file(file: &Path) -> Result<JobOutcome, String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let processed = process_once(file).await;
    let ProcessedFile { job: fixture, report, took } = &*processed;
    eprintln!(
        "{name:55} {:28} {:6} ms {:4} requests {:9} bytes {:?}",
        report.result.as_ref().map_or_else(ToString::to_string, |done| format!("{done:?}")),
        took.as_millis(),
        report.counts.requests,
        report.counts.bytes,
        report.steps,
    );
    assert!(*took < Duration::from_mins(1), "{name} took {took:?}");
    if let Ok(folder) = std::env::var("GLIMPSE_KEEP") {
        for variant in default_variants().filter(|_| report.result == Ok(JobOutcome::Ready)) {
            let to = Path::new(&folder).join(format!("{name}.{}", variant.file_name()));
            std::fs::write(to, fixture.output(&variant.file_name())).unwrap();
        }
    }
    let keys = fixture.service.store.keys();
    let manifest = fixture.manifest();
    match &report.result {
        Ok(JobOutcome::Ready) => {
            assert_eq!(manifest.unwrap().state, State::Ready);
            assert_eq!(
                keys.len(),
                default_variants().count() + 2,
                "{name}: expected source, manifest and outputs"
            );
        }
        Ok(JobOutcome::Rejected(code)) => {
            assert_eq!(manifest.unwrap().rejected.unwrap().code, *code);
            assert_eq!(keys.len(), 2, "{name}: expected source and manifest only");
        }
        _ => {}
    }
    report.result.as_ref().map(|done| *done).map_err(ToString::to_string)
}

#[tokio::test]
async fn good_files_are_processed() {
    let Some(folder) = support::media_folder() else { return };
    let mut wrong = Vec::new();
    for file in files(&folder.join("good")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = REJECTED_FILES
            .iter()
            .find(|(refused, _)| *refused == name)
            .map_or(JobOutcome::Ready, |(_, code)| JobOutcome::Rejected(*code));
        let result = process_file(&file).await;
        if result != Ok(expected) {
            wrong.push((name, result));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn hostile_files_are_processed_or_rejected_correctly() {
    let Some(folder) = support::media_folder() else { return };
    let mut wrong = Vec::new();
    for file in files(&folder.join("hostile")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let result = process_file(&file).await;
        let expected = EXPECTED.iter().find(|(known, _)| *known == name).map(|(_, done)| *done);
        let right = match (&result, expected) {
            (result, Some(expected)) => *result == Ok(expected),
            (Ok(JobOutcome::Ready), None) => true,
            (Ok(JobOutcome::Rejected(code)), None) => REFUSALS.contains(code),
            _ => false,
        };
        if !right {
            wrong.push((name, result));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
