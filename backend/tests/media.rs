//! Every file of a folder of real and of hostile media goes the whole way.
//! To run: `GLIMPSE_MEDIA=/folder cargo test -p glimpse-backend --test media -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use glimpse_backend::job::Done;
use glimpse_contract::{Code, State, Variant};
use support::Scene;

/// Good files that are refused nevertheless, and why.
const REFUSED: &[(&str, Code)] = &[
    // RealMedia: no browser, phone or camera writes it, so its demuxer and decoders are not in the build.
    ("fixture-realmedia-video.rm", Code::UnsupportedCodec),
];

/// What a hostile file may be refused with; a crash or a fault of ours is never right.
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

async fn go(file: &Path) -> Result<Done, String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let scene = Scene::new(std::fs::read(file).unwrap());
    let started = Instant::now();
    let report = scene.run().await;
    let took = started.elapsed();
    eprintln!(
        "{name:55} {:28} {:6} ms {:4} requests {:9} bytes {:?}",
        report.result.as_ref().map_or_else(ToString::to_string, |done| format!("{done:?}")),
        took.as_millis(),
        report.counts.requests,
        report.counts.bytes,
        report.steps_ms,
    );
    assert!(took < Duration::from_secs(250), "{name} took {took:?}");
    if let Ok(folder) = std::env::var("GLIMPSE_KEEP") {
        for variant in Variant::DEFAULTS.iter().filter(|_| report.result == Ok(Done::Ready)) {
            let to = Path::new(&folder).join(format!("{name}.{}", variant.file_name()));
            std::fs::write(to, scene.output(&variant.file_name())).unwrap();
        }
    }
    let keys = scene.workshop.store.keys();
    let manifest = scene.manifest();
    match report.result {
        Ok(Done::Ready) => {
            assert_eq!(manifest.unwrap().state, State::Ready);
            assert_eq!(keys.len(), 6, "{name}: source, manifest and four pictures");
        }
        Ok(Done::Rejected(code)) => {
            assert_eq!(manifest.unwrap().rejected.unwrap().code, code);
            assert_eq!(keys.len(), 2, "{name}: source and manifest only");
        }
        _ => {}
    }
    report.result.map_err(|error| error.to_string())
}

#[tokio::test]
async fn good_files_become_pictures() {
    let Some(folder) = support::media() else { return };
    let mut wrong = Vec::new();
    for file in files(&folder.join("good")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = REFUSED
            .iter()
            .find(|(refused, _)| *refused == name)
            .map_or(Done::Ready, |(_, code)| Done::Rejected(*code));
        let result = go(&file).await;
        if result != Ok(expected) {
            wrong.push((name, result));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn hostile_files_end_in_pictures_or_one_right_refusal() {
    let Some(folder) = support::media() else { return };
    let mut wrong = Vec::new();
    for file in files(&folder.join("hostile")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let result = go(&file).await;
        let right = match &result {
            Ok(Done::Ready) => true,
            Ok(Done::Rejected(code)) => REFUSALS.contains(code),
            _ => false,
        };
        if !right {
            wrong.push((name, result));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
