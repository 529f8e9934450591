//! A job from upload to manifest, on the real ffmpeg and a bucket in memory.
#![allow(dead_code, reason = "each test file uses its part of it")]
#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use glimpse_backend::config::{Tools, resolve};
use glimpse_backend::event::Job;
use glimpse_backend::job::{Patience, Report, Workshop};
use glimpse_backend::store::memory::Memory;
use glimpse_contract::{Grant, Key, Manifest, Owner, Variant, VideoId, Visibility};
use tokio::time::Instant;

/// The programs: named by the environment, or wherever PATH has them.
pub(crate) fn tools() -> Tools {
    let path = std::env::var("PATH").unwrap_or_default();
    let find = |name: &str, default: &str| {
        let wanted = std::env::var(name).unwrap_or_else(|_| default.to_owned());
        resolve(&wanted, &path).unwrap_or_else(|| panic!("install {default}, or name it by {name}"))
    };
    Tools { ffmpeg: find("GLIMPSE_FFMPEG", "ffmpeg"), ffprobe: find("GLIMPSE_FFPROBE", "ffprobe") }
}

/// The ffmpeg that makes the tests' media and looks at pictures. It is a whole one: a layer's has no encoder for video.
fn maker() -> PathBuf {
    resolve("ffmpeg", &std::env::var("PATH").unwrap_or_default()).expect("install ffmpeg")
}

/// Whether the ffmpeg under test has a filter.
pub(crate) fn has_filter(name: &str) -> bool {
    let output = Command::new(tools().ffmpeg).args(["-hide_banner", "-filters"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(&format!(" {name} "))
}

/// Makes a file with ffmpeg and returns its bytes.
pub(crate) fn make(folder: &Path, name: &str, arguments: &str) -> Vec<u8> {
    let file = folder.join(name);
    let output = Command::new(maker())
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(file).unwrap()
}

pub(crate) struct Scene {
    pub(crate) workshop: Workshop<Memory>,
    pub(crate) job: Job,
}

impl Scene {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self::with_tools(bytes, tools())
    }

    pub(crate) fn with_tools(bytes: Vec<u8>, tools: Tools) -> Self {
        let store = Arc::new(Memory::default());
        let grant = Grant {
            owner: Owner::of("iss", "sub"),
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            name: "Ski trip é.mp4".into(),
            content_type: "video/mp4".into(),
            visibility: Visibility::Signed,
        };
        let length = bytes.len() as u64;
        let etag = store.upload(&grant, bytes);
        let job = Job {
            key: grant.key(),
            owner: grant.owner,
            video: grant.video,
            etag,
            bytes: length,
            received_ms: 1_700_000_000_500,
            message: Some("m".into()),
            receives: 1,
        };
        let workshop = Workshop {
            store,
            tools,
            now_ms: || 1_700_000_001_000,
            random: || [9; 16],
            max_receives: 5,
            patience: Patience::default(),
        };
        Self { workshop, job }
    }

    pub(crate) async fn run(&self) -> Report {
        self.workshop.run(&self.job, Instant::now() + Duration::from_mins(5)).await
    }

    pub(crate) fn manifest(&self) -> Option<Manifest> {
        let object = self.workshop.store.get(&Key::Manifest(self.job.video))?;
        Some(serde_json::from_slice(&object.bytes).unwrap())
    }

    pub(crate) fn output(&self, name: &str) -> Vec<u8> {
        let variant = Variant::from_file_name(name).unwrap();
        self.workshop.store.get(&Key::Output(self.job.video, variant)).unwrap().bytes.to_vec()
    }
}

/// Decodes the first frame of a picture to `rgb24`.
pub(crate) fn pixels(folder: &Path, name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new(maker())
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&file)
        .args(["-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The folder of real and hostile media, if the environment names one.
pub(crate) fn media() -> Option<PathBuf> {
    // `RUST_LOG=debug` shows what each child complained about.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let folder = std::env::var_os("GLIMPSE_MEDIA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("NOT RUN: GLIMPSE_MEDIA names no folder with `good` and `hostile` in it");
    }
    folder
}
