//! Runs one job on a local file as if it were in S3, for measurements and to inspect the images.
//! `engine FILE [--out FOLDER] [--still MS [--width N]] [--latency-ms N] [--mb-per-s N]` prints one line of JSON; with
//! `--still` it renders one on-demand image instead of the default outputs. The environment variables `GLIMPSE_FFMPEG`
//! and `GLIMPSE_FFPROBE` name the programs.
#![expect(clippy::print_stdout, reason = "prints its results")]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use glimpse_backend::config::{FfmpegTools, find_executable};
use glimpse_backend::frames::time_budget::TimeBudget;
use glimpse_backend::preview::event::Job;
use glimpse_backend::preview::service::{PreviewService, StepTimes};
use glimpse_backend::render::frame_source::SourceOpener;
use glimpse_backend::render::service::{FrameSource as _, OpenFrameSource as _};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_backend::store::{ObjectBody, ObjectMeta, PutOptions, Store, StoreError};
use glimpse_contract::{
    Key, MANIFEST_VERSION, Manifest, Owner, ReadStats, Source, State, Timings, VideoId, Visibility,
};
use glimpse_media::image::jpeg;
use glimpse_media::size::Size;
use tokio::time::Instant;

/// The size of the chunks of a body, in bytes.
const PIECE: usize = 256 * 1024;

/// A bucket whose only upload is a local file, with the given latency and throughput.
#[derive(Debug)]
struct BenchBucket {
    file: std::fs::File,
    head: ObjectMeta,
    outputs: MemoryStore,
    latency: Duration,
    bytes_per_sec: f64,
    /// When the simulated connection is free again.
    line: Arc<Mutex<Instant>>,
}

impl BenchBucket {
    /// When this many bytes have arrived over the single simulated connection.
    fn arrival(line: &Mutex<Instant>, bytes: usize, bytes_per_sec: f64) -> Instant {
        let mut free = line.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free).max(Instant::now());
        *free = start + Duration::from_secs_f64(bytes as f64 / bytes_per_sec);
        *free
    }
}

impl Store for BenchBucket {
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        tokio::time::sleep(self.latency).await;
        if matches!(key, Key::Source { .. }) { Ok(self.head.clone()) } else { self.outputs.head(key).await }
    }

    async fn read_range(&self, _: &Key, _: &str, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        use std::os::unix::fs::FileExt as _;
        tokio::time::sleep(self.latency).await;
        let file = self.file.try_clone().map_err(|error| StoreError::Transient(error.to_string()))?;
        let (line, bytes_per_sec) = (Arc::clone(&self.line), self.bytes_per_sec);
        let body = futures::stream::unfold(range, move |range| {
            let (file, line) = (file.try_clone(), Arc::clone(&line));
            async move {
                if range.is_empty() {
                    return None;
                }
                let length = ((range.end - range.start) as usize).min(PIECE);
                let mut piece = vec![0; length];
                let read = file.and_then(|file| file.read_exact_at(&mut piece, range.start));
                let arrival = Self::arrival(&line, length, bytes_per_sec);
                tokio::time::sleep_until(arrival).await;
                let next = range.start + length as u64..range.end;
                let piece = read.map(|()| Bytes::from(piece));
                Some((piece.map_err(|error| StoreError::Transient(error.to_string())), next))
            }
        });
        Ok(body.boxed())
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<(ObjectMeta, Bytes), StoreError> {
        self.outputs.get(key, max_bytes).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, options: PutOptions<'_>) -> Result<String, StoreError> {
        tokio::time::sleep(self.latency).await;
        self.outputs.put(key, bytes, options).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.outputs.delete(key).await
    }
}

struct Options {
    file: PathBuf,
    out: Option<PathBuf>,
    still_ms: Option<u64>,
    width: u32,
    latency: Duration,
    bytes_per_sec: f64,
}

fn options() -> anyhow::Result<Options> {
    let mut words = std::env::args().skip(1);
    let file = words.next().context("engine FILE [--out FOLDER] [--latency-ms N] [--mb-per-s N]")?.into();
    let mut options =
        Options { file, out: None, still_ms: None, width: 320, latency: Duration::ZERO, bytes_per_sec: 1e12 };
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--out" => options.out = Some(value.into()),
            "--still" => options.still_ms = Some(value.parse()?),
            "--width" => options.width = value.parse()?,
            "--latency-ms" => options.latency = Duration::from_secs_f64(value.parse::<f64>()? / 1000.0),
            "--mb-per-s" => options.bytes_per_sec = value.parse::<f64>()? * 1e6,
            _ => bail!("unknown option {word}"),
        }
    }
    Ok(options)
}

fn tools() -> anyhow::Result<FfmpegTools> {
    let path = std::env::var("PATH").unwrap_or_default();
    let find = |name: &str, default: &str| {
        let wanted = std::env::var(name).unwrap_or_else(|_| default.to_owned());
        find_executable(&wanted, &path).with_context(|| format!("{name} does not name a program"))
    };
    Ok(FfmpegTools::new(find("GLIMPSE_FFMPEG", "ffmpeg")?, find("GLIMPSE_FFPROBE", "ffprobe")?, None))
}

/// CPU time of this process or of its children, in seconds.
fn cpu(of: &str) -> f64 {
    // `/proc/self/stat`, see `proc_pid_stat(5)`: fields 14 to 17, in ticks of a hundredth of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect()
        })
        .unwrap_or_default();
    let [user, system, child_user, child_system] = fields[..] else { return 0.0 };
    (if of == "self" { user + system } else { child_user + child_system }) / 100.0
}

/// Decodes and encodes one image like the `render` Lambda, and prints its figures.
async fn still(store: &Arc<BenchBucket>, job: &Job, at_ms: u64, width: u32) -> anyhow::Result<()> {
    let opener = SourceOpener::new(Arc::clone(store), tools()?, || [7; 16], TimeBudget::default());
    let started = Instant::now();
    let etag = job.etag.clone();
    let source = Source { etag, bytes: job.bytes, width: 1920, height: 1080, ..Source::default() };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        video: job.video,
        owner: job.owner.clone(),
        visibility: Visibility::Public,
        client_metadata: glimpse_contract::ClientMetadata::default(),
        state: State::Ready,
        rejected: None,
        source,
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        poster_ms: None,
        timings: Timings::default(),
        reads: ReadStats::default(),
    };
    let frame_source = opener.open(&manifest, started + Duration::from_mins(1)).await?;
    let size = Size { width, height: width * 9 / 16 };
    let (frame, _) = frame_source.frame_at(Some(at_ms), size).await?;
    let picture = jpeg::encode(&frame, size, jpeg::POSTER_QUALITY)?;
    println!(
        "{}",
        serde_json::json!({ "result": "still", "seconds": started.elapsed().as_secs_f64(), "bytes": picture.len(),
            "cpu_self": cpu("self"), "cpu_children": cpu("children") })
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = options()?;
    let file = std::fs::File::open(&options.file).with_context(|| options.file.display().to_string())?;
    let bytes = file.metadata()?.len();
    let owner = Owner::new("bench", "bench");
    let video = VideoId::new(1_700_000_000_000, [1; 10]);
    let job = Job {
        key: Key::Source { owner: owner.clone(), video },
        owner,
        video,
        etag: "\"source\"".into(),
        bytes,
        received_ms: 0,
        message: None,
        receives: 1,
        sent_ms: 0,
    };
    let head = ObjectMeta {
        etag: job.etag.clone(),
        bytes,
        content_type: "video/mp4".into(),
        ..ObjectMeta::default()
    };
    let store = Arc::new(BenchBucket {
        file,
        head,
        outputs: MemoryStore::default(),
        latency: options.latency,
        bytes_per_sec: options.bytes_per_sec,
        line: Arc::new(Mutex::new(Instant::now())),
    });
    if let Some(still_ms) = options.still_ms {
        return still(&store, &job, still_ms, options.width).await;
    }
    let service = PreviewService {
        store: Arc::clone(&store),
        tools: tools()?,
        now_ms: || 0,
        random: || [7; 16],
        max_receives: 5,
        time_budget: TimeBudget::default(),
    };
    let started = Instant::now();
    let report = service.run(&job, started + Duration::from_mins(10)).await;
    let wall = started.elapsed();
    let StepTimes { check, index, fetch, decode, encode, publish } = report.steps;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kb = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("0", str::trim);
    let manifest = store.outputs.object(&Key::Manifest(video)).map(|object| object.bytes);
    let manifest: serde_json::Value =
        manifest.map(|bytes| serde_json::from_slice(&bytes)).transpose()?.unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({
            "result": format!("{:?}", report.result), "seconds": wall.as_secs_f64(),
            "cpu_self": cpu("self"), "cpu_children": cpu("children"),
            "peak_mb": peak_kb.trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0,
            "requests": report.counts.requests, "bytes": report.counts.bytes,
            "round_trips": report.counts.round_trips, "source_bytes": bytes, "steps_ms": [check, index, fetch, decode, encode, publish],
            "poster_ms": manifest["poster_ms"], "source": manifest["source"], "outputs": manifest["outputs"],
        })
    );
    if let Some(folder) = options.out {
        std::fs::create_dir_all(&folder)?;
        for key in store.outputs.keys() {
            let Ok(key @ Key::Output(_, variant)) = key.parse::<Key>() else { continue };
            if let Some(object) = store.outputs.object(&key) {
                std::fs::write(folder.join(variant.file_name()), &object.bytes)?;
            }
        }
    }
    Ok(())
}
