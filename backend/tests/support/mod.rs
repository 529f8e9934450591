//! A job from upload to manifest, with the real ffmpeg and an in-memory bucket.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

pub(crate) mod compare;
pub(crate) mod edits;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use glimpse_backend::config::{FfmpegTools, find_executable};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::event::Job;
use glimpse_backend::preview::service::{JobReport, PreviewService};
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::store::memory::MemoryStore;
use glimpse_contract::{Code, Grant, Key, Manifest, Owner, Variant, VideoId, Visibility};
use glimpse_media::size::Size;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The programs: from the environment (`cargo xtask test` sets those of the layer), or from PATH.
pub(crate) fn tools() -> FfmpegTools {
    FfmpegTools::new(
        find_program("GLIMPSE_FFMPEG", "ffmpeg"),
        find_program("GLIMPSE_FFPROBE", "ffprobe"),
        None,
    )
}

/// The ffmpeg that generates the tests' media and decodes images. It must be a full build: the layer's has no video
/// encoder.
fn reference_ffmpeg() -> PathBuf {
    reference_program("ffmpeg")
}

/// A full build of ffmpeg, or its ffprobe.
pub(crate) fn reference_program(program: &str) -> PathBuf {
    find_program(&format!("GLIMPSE_REFERENCE_{}", program.to_uppercase()), program)
}

fn find_program(name: &str, default: &str) -> PathBuf {
    let program = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    find_executable(&program, &std::env::var("PATH").unwrap_or_default())
        .unwrap_or_else(|| panic!("install {default}, or set {name}"))
}

/// Whether the ffmpeg under test has a filter.
pub(crate) fn has_filter(name: &str) -> bool {
    let output = Command::new(tools().ffmpeg).args(["-hide_banner", "-filters"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(&format!(" {name} "))
}

/// Makes a file with ffmpeg and returns its bytes.
pub(crate) fn make(folder: &Path, name: &str, arguments: &str) -> Vec<u8> {
    let file = folder.join(name);
    let output = Command::new(reference_ffmpeg())
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(file).unwrap()
}

pub(crate) struct TestJob {
    pub(crate) service: PreviewService<MemoryStore>,
    pub(crate) job: Job,
}

impl TestJob {
    /// Opens the source of the job for images on demand.
    pub(crate) fn source_opener(&self) -> SourceOpener<MemoryStore> {
        let PreviewService { store, tools, time_budget, .. } = &self.service;
        SourceOpener::new(Arc::clone(store), tools.clone(), || [3; 16], *time_budget)
    }

    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self::with_tools(bytes, tools())
    }

    pub(crate) fn with_tools(bytes: Vec<u8>, tools: FfmpegTools) -> Self {
        let store = Arc::new(MemoryStore::default());
        let grant = Grant {
            owner: Owner::new("iss", "sub"),
            video: VideoId::new(1_700_000_000_000, [1; 10]),
            name: "Ski trip é.mp4".into(),
            content_type: "video/mp4".into(),
            visibility: Visibility::Signed,
            client_metadata: glimpse_contract::ClientMetadata::default(),
        };
        let length_bytes = bytes.len() as u64;
        let etag = store.upload(&grant, bytes);
        let job = Job {
            key: grant.key(),
            owner: grant.owner,
            video: grant.video,
            etag,
            bytes: length_bytes,
            received_ms: 1_700_000_000_500,
            message: Some("m".into()),
            receives: 1,
            sent_ms: 0,
        };
        let service = PreviewService {
            store,
            tools,
            now_ms: || 1_700_000_001_000,
            random: || [9; 16],
            max_receives: 5,
            time_budget: TimeBudget::default(),
        };
        Self { service, job }
    }

    pub(crate) async fn run(&self) -> JobReport {
        self.service.run(&self.job, Instant::now() + Duration::from_mins(5)).await
    }

    pub(crate) fn manifest(&self) -> Option<Manifest> {
        let object = self.service.store.object(&Key::Manifest(self.job.video))?;
        Some(serde_json::from_slice(&object.bytes).unwrap())
    }

    pub(crate) fn output(&self, name: &str) -> Vec<u8> {
        let variant = Variant::from_file_name(name).unwrap();
        self.service.store.object(&Key::Output(self.job.video, variant)).unwrap().bytes.to_vec()
    }
}

/// The real ffprobe next to this script instead of ffmpeg.
pub(crate) fn fake_ffmpeg(folder: &Path, script: &str) -> FfmpegTools {
    let ffmpeg = install_program(folder, format!("#!/bin/sh\n{script}\n").as_bytes());
    FfmpegTools { ffmpeg, ..tools() }
}

/// Installs a program with these bytes.
pub(crate) fn install_program(folder: &Path, bytes: &[u8]) -> PathBuf {
    let (staged, program) = (folder.join("text"), folder.join("ffmpeg"));
    std::fs::write(&staged, bytes).unwrap();
    // Installed by another process: while this one has a program open for writing, none of its threads can start it.
    let status = Command::new("install").args(["-m", "755"]).args([&staged, &program]).status().unwrap();
    assert!(status.success());
    program
}

/// Decodes the first frame of an image to `rgb24`.
pub(crate) fn decode_pixels(folder: &Path, name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new(reference_ffmpeg())
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
pub(crate) fn media_folder() -> Option<PathBuf> {
    // `RUST_LOG=debug` shows the errors of each child process.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let folder = std::env::var_os("GLIMPSE_MEDIA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("NOT RUN: GLIMPSE_MEDIA does not name a folder with `good` and `hostile` in it");
    }
    folder
}

/// Writes a rotation into the track header, as phones do: a matrix of 16.16 and 2.30 numbers, ISO 14496-12, 8.3.2.
pub(crate) fn with_matrix(mut mp4: Vec<u8>, matrix: [i32; 4]) -> Vec<u8> {
    const ONE: i32 = 1 << 16;
    let at = mp4.windows(4).position(|word| word == b"tkhd").expect("a track has a header") + 44;
    let [a, b, c, d] = matrix.map(|number| number * ONE);
    for (place, number) in [a, b, 0, c, d, 0, 0, 0, 1 << 30].into_iter().enumerate() {
        mp4[at + place * 4..][..4].copy_from_slice(&number.to_be_bytes());
    }
    mp4
}

/// A file after its job.
pub(crate) struct ProcessedFile {
    pub(crate) job: TestJob,
    pub(crate) report: JobReport,
    /// How long the job took.
    pub(crate) took: Duration,
}

/// Runs the job of a file.
pub(crate) async fn process(file: &Path) -> ProcessedFile {
    let job = TestJob::new(std::fs::read(file).unwrap());
    let started = Instant::now();
    let report = Box::pin(job.run()).await;
    ProcessedFile { job, report, took: started.elapsed() }
}

/// Runs the job of a file that does not change, once for all tests.
pub(crate) async fn process_once(file: &Path) -> Arc<ProcessedFile> {
    type Files = HashMap<PathBuf, Arc<OnceCell<Arc<ProcessedFile>>>>;
    static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);
    let cell = Arc::clone(FILES.lock().unwrap().entry(file.to_owned()).or_default());
    Arc::clone(cell.get_or_init(async || Arc::new(process(file).await)).await)
}

/// Valid files that are rejected nevertheless, with their code.
pub(crate) const REJECTED_FILES: &[(&str, Code)] = &[
    // RealMedia: no browser, phone or frame_source writes it, so its demuxer and decoders are not in the build.
    ("fixture-realmedia-video.rm", Code::UnsupportedCodec),
];

/// Whether a valid file is rejected nevertheless.
pub(crate) fn is_rejected(name: &str) -> bool {
    REJECTED_FILES.iter().any(|(rejected, _)| *rejected == name)
}

/// Decodes the first frame of an image to `rgb24` in this size.
pub(crate) fn decode_pixels_at(folder: &Path, bytes: &[u8], size: Size) -> Vec<u8> {
    let file = folder.join("picture");
    std::fs::write(&file, bytes).unwrap();
    let Size { width, height } = size;
    let output = Command::new(reference_program("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&file)
        .args(["-frames:v", "1", "-vf", &format!("scale={width}:{height}:flags=bicubic")])
        .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The 50 tiles of a job's storyboard, each decoded to `rgb24` in this size.
pub(crate) fn decode_tiles(folder: &Path, job: &TestJob, tile: Size) -> Vec<Vec<u8>> {
    let (columns, rows) = (5, 10);
    let (tile_line, sheet_line) = (tile.width as usize * 3, (columns * tile.width) as usize * 3);
    let sheet = Size { width: columns * tile.width, height: rows * tile.height };
    let pixels = decode_pixels_at(folder, &job.output("storyboard.webp"), sheet);
    let mut tiles = vec![Vec::new(); (columns * rows) as usize];
    for (y, line) in pixels.chunks_exact(sheet_line).enumerate() {
        let row = y / tile.height as usize * columns as usize;
        for (column, part) in line.chunks_exact(tile_line).enumerate() {
            tiles[row + column].extend_from_slice(part);
        }
    }
    tiles
}
