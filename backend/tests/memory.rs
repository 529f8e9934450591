//! Measures the memory of decoders: for videos with pauses of hours, and for thousands of mutated files. The peak of
//! each child is read from `/proc` while it runs.
//!
//! `GLIMPSE_MEMORY_RUNS` sets the number of mutated files. `GLIMPSE_KEEP=/folder` keeps the one that used the most
//! memory.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_media::size::Size;
use support::{TestJob, make};

/// The default number of mutated files.
const RUNS: usize = 60;
/// The maximum memory of any child, in KiB.
const MOST_KIB: u64 = 600 * 1000;
/// The maximum memory of a child that decodes a small frame, in KiB.
const SMALL_KIB: u64 = 150 * 1000;

/// Polls the memory of this process's children continuously.
struct MemoryPeaks {
    most_kib: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryPeaks {
    fn watch() -> Self {
        let (most_kib, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (most, end) = (Arc::clone(&most_kib), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut others = BTreeSet::new();
            while !end.load(Ordering::Relaxed) {
                for pid in children(&mut others) {
                    most.fetch_max(peak_kib(pid).unwrap_or(0), Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self { most_kib, ended, thread: Some(thread) }
    }

    /// The peak since the last call, in KiB.
    fn take_kib(&self) -> u64 {
        self.most_kib.swap(0, Ordering::Relaxed)
    }
}

impl Drop for MemoryPeaks {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The child processes of this process; `others` are processes that are known not to be its children.
fn children(others: &mut BTreeSet<u32>) -> Vec<u32> {
    let own = format!("PPid:\t{}\n", std::process::id());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids: BTreeSet<u32> =
        entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect();
    // Process ids may be reused.
    others.retain(|pid| pids.contains(pid));
    let mut found = Vec::new();
    for pid in pids {
        if others.contains(&pid) {
            continue;
        }
        match std::fs::read_to_string(format!("/proc/{pid}/status")) {
            Ok(status) if status.contains(&own) => found.push(pid),
            Ok(_) => drop(others.insert(pid)),
            Err(_) => {}
        }
    }
    found
}

/// The peak memory of a decoder. Before `exec`, a child is a copy of this process.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    if !status.starts_with("Name:\tff") {
        return None;
    }
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One test at a time: each observes all children of the process.
static ALONE: Mutex<()> = Mutex::new(());

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// A video of four seconds with a pause of this length in the middle.
fn film_with_pause(folder: &Path, name: &str, codec: &str, secs: u32) -> Vec<u8> {
    let source = "-f lavfi -i testsrc2=s=320x180:r=15:d=4";
    let times = format!("settb=1/1000,setpts='(N/15+if(gte(N,30),{secs},0))/TB'");
    make(folder, name, &format!("{source} -vf {times} -fps_mode vfr -enc_time_base 1:1000 {codec}"))
}

#[test]
fn f9_long_pauses_take_little_memory_and_time() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let x264 = "-c:v libx264 -pix_fmt yuv420p";
    let mut files = Vec::new();
    for (name, codec) in [
        ("pause.flv", "-c:v flv -q:v 5"),
        ("pause.wmv", "-c:v wmv2 -q:v 5"),
        ("pause.mp4", x264),
        ("pause.mkv", x264),
        ("pause.ogv", "-c:v libtheora"),
    ] {
        for secs in [600, 3_600, 80_000] {
            files.push((format!("{secs} s in {name}"), film_with_pause(folder.path(), name, codec, secs)));
        }
    }
    if let Some(media) = support::media_folder() {
        files.push(("a mutated pause".into(), std::fs::read(media.join("bugs/pause-mutated.flv")).unwrap()));
    }
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let fixture = TestJob::new(bytes);
        let peaks = MemoryPeaks::watch();
        let started = Instant::now();
        let (result, clip) = runtime().block_on(async {
            let result = fixture.run().await.result;
            (result, render_clip(&fixture).await)
        });
        let (took, most) = (started.elapsed(), peaks.take_kib());
        eprintln!("{name:28} {:6.1} MB {:5} ms", most as f64 / 1000.0, took.as_millis());
        // A busy machine is slow, but a regression takes a minute or more.
        if result != Ok(JobOutcome::Ready)
            || clip == 0
            || most > SMALL_KIB + clip as u64 * CLIP.frame_bytes() as u64 / 1000
            || took > Duration::from_secs(20)
        {
            wrong.push(format!("{name}: {result:?}, {clip} frames, {most} KiB, {took:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const CLIP: Size = Size { width: 320, height: 180 };

/// The number of frames in an on-demand clip.
async fn render_clip(fixture: &TestJob) -> usize {
    let Some(manifest) = fixture.manifest() else { return 0 };
    let opener = fixture.source_opener();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    let Ok(frame_source) = opener.open(&manifest, deadline).await else { return 0 };
    frame_source.frames_between(Some((0, 10_000)), CLIP, 30.0).await.map_or(0, |(frames, _)| frames.len())
}

/// Reproducible random numbers: Marsaglia's xorshift, <https://doi.org/10.18637/jss.v008.i14>.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

/// Changes a few bytes, more of them near the beginning, where headers are.
fn mutate(file: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(12) {
        let reach = if numbers.below(2) == 0 { file.len() } else { file.len().min(800) };
        let at = numbers.below(reach);
        let length = (1 + numbers.below(16)).min(file.len() - at);
        match numbers.below(6) {
            0 => file[at] ^= 1 << numbers.below(8),
            1 => file[at] = numbers.below(256) as u8,
            2 => file[at..at + length].fill(0xff),
            3 => drop(file.drain(at..at + length)),
            4 => {
                let part = file[at..at + length].to_vec();
                file.splice(at..at, part);
            }
            _ => file[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
        }
        if file.len() < 16 {
            return;
        }
    }
}

#[test]
fn f9_mutated_files_take_bounded_memory() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x90:r=25:d=1";
    let mut files: Vec<(&str, Vec<u8>)> = [
        ("a.flv", "-c:v flv"),
        ("a.wmv", "-c:v wmv2"),
        ("a.avi", "-c:v mpeg4"),
        ("jpeg.avi", "-c:v mjpeg -pix_fmt yuvj420p"),
        ("a.ts", "-c:v libx264 -pix_fmt yuv420p"),
        ("two.ts", "-c:v mpeg2video"),
        ("a.mpg", "-c:v mpeg1video"),
        ("a.ogv", "-c:v libtheora"),
        ("a.gif", ""),
        ("a.mxf", "-c:v mpeg2video -pix_fmt yuv422p"),
        ("a.mp4", "-c:v libx264 -pix_fmt yuv420p"),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p -tag:v hvc1"),
        ("a.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("eight.webm", "-c:v libvpx -deadline realtime -cpu-used 8"),
        ("av1.mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
        ("pro.mov", "-c:v prores_ks -profile:v 0"),
    ]
    .into_iter()
    .map(|(name, codec)| (name, make(folder.path(), name, &format!("{source} {codec}"))))
    .collect();
    files.push(("pause.flv", film_with_pause(folder.path(), "p.flv", "-c:v flv", 3_600)));
    files.push(("pause.wmv", film_with_pause(folder.path(), "p.wmv", "-c:v wmv2", 3_600)));

    let runs = std::env::var("GLIMPSE_MEMORY_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let mut numbers = Numbers(15);
    let mut worst = (0, String::new(), Vec::new());
    let mut slow = (Duration::ZERO, String::new());
    let runtime = runtime();
    let peaks = MemoryPeaks::watch();
    for run in 0..runs {
        let (name, whole) = &files[run % files.len()];
        let mut bytes = whole.clone();
        mutate(&mut bytes, &mut numbers);
        let mut fixture = TestJob::new(bytes.clone());
        let second = Duration::from_secs(1);
        fixture.service.time_budget =
            TimeBudget { child: 10 * second, best_effort: second, job: 20 * second };
        let started = Instant::now();
        let report = runtime.block_on(fixture.run());
        let (took, most) = (started.elapsed(), peaks.take_kib());
        let what = format!("{name}, run {run}: {:?}", report.result);
        if most > worst.0 {
            worst = (most, what.clone(), bytes);
        }
        if took > slow.0 {
            slow = (took, what);
        }
        if (run + 1) % 500 == 0 {
            eprintln!("{} files: at most {:.1} MB, at most {:?}", run + 1, worst.0 as f64 / 1000.0, slow.0);
        }
    }
    if let Some(keep) = std::env::var_os("GLIMPSE_KEEP") {
        std::fs::write(Path::new(&keep).join("worst"), &worst.2).unwrap();
    }
    eprintln!("{runs} mutated files: at most {:.1} MB ({})", worst.0 as f64 / 1000.0, worst.1);
    eprintln!("the slowest took {:?} ({})", slow.0, slow.1);
    assert!(worst.0 < MOST_KIB, "{} took {} KiB", worst.1, worst.0);
}
