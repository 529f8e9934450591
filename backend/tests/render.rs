//! Tests of on-demand images: rendered once, then returned from the bucket, with at most one object in all cases; or
//! the correct problem.
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use glimpse_backend::error::JobError;
use glimpse_backend::lambda::Invocation;
use glimpse_backend::render::service::{FrameSource, OpenFrameSource, RenderService};
use glimpse_backend::store::memory::MemoryStore;
use glimpse_backend::store::{PutCondition, PutOptions, Store as _, StoreError};
use glimpse_contract::{
    Code, Key, MANIFEST_VERSION, Manifest, OutputFormat, Owner, Poster, ReadStats, Rejection, Source, State,
    Timings, VideoId, Visibility, limits,
};
use glimpse_media::clip::{ClipError, ClipPlan, ClipRequest, ClipTrack, ReencodeReason};
use glimpse_media::image::header;
use glimpse_media::plan::TileTimes;
use glimpse_media::size::Size;
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc};
use tokio::time::Instant;

const GRANTED_MS: u64 = 1_700_000_000_000;
const REFUSED: &str = ".refused.json";
const CLIP_HEADER: &[u8] = b"moov";
const DISPLAY_SIZE: Size = Size { width: 320, height: 180 };

fn video() -> VideoId {
    VideoId::new(GRANTED_MS, [1; 10])
}

fn manifest() -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        video: video(),
        owner: Owner::new("iss", "sub"),
        visibility: Visibility::Signed,
        client_metadata: glimpse_contract::ClientMetadata::default(),
        state: State::Ready,
        rejected: None,
        source: Source { width: 320, height: 180, duration_ms: 8_000, ..Source::default() },
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        poster_ms: None,
        timings: Timings::default(),
        reads: ReadStats::default(),
    }
}

/// A fake frame source: records the requests, and fails on demand.
#[derive(Debug, Clone, Default)]
struct FakeFrameSource(Arc<FakeFrameState>);

/// Span, size and frames per second.
type AnimationRequest = (Option<(u64, u64)>, Size, f64);

#[derive(Debug, Default)]
struct FakeFrameState {
    open_count: AtomicU32,
    frame_requests: Mutex<Vec<(Option<u64>, Size)>>,
    animation_requests: Mutex<Vec<AnimationRequest>>,
    tile_requests: Mutex<Vec<(TileTimes, Size)>>,
    open_error: Mutex<Option<JobError>>,
    /// The error of the next frame.
    frame_error: Mutex<Option<JobError>>,
    /// All renders wait here with a frame, so that they write at the same time.
    barrier: Mutex<Option<Arc<Barrier>>>,
    clip_requests: Mutex<Vec<ClipRequest>>,
    clip_error: Mutex<Option<ClipError>>,
    /// The number of bytes of a clip after its header.
    clip_bytes: AtomicU64,
    clip_reads: AtomicU32,
    /// Makes each frame different.
    varies_frames: AtomicBool,
}

impl OpenFrameSource for FakeFrameSource {
    type Source = Self;

    async fn open(&self, manifest: &Manifest, _: Instant) -> Result<Self, JobError> {
        assert_eq!(manifest.video, video());
        self.0.open_count.fetch_add(1, Ordering::Relaxed);
        let failure = self.0.open_error.lock().unwrap().clone();
        failure.map_or_else(|| Ok(self.clone()), Err)
    }
}

/// Red increases to the right, green downward.
fn frame(size: Size, blue: u8) -> Bytes {
    let mut bytes = Vec::with_capacity(size.frame_bytes());
    for y in 0..size.height {
        for x in 0..size.width {
            bytes.extend([(x * 255 / size.width) as u8, (y * 255 / size.height) as u8, blue]);
        }
    }
    bytes.into()
}

impl FrameSource for FakeFrameSource {
    fn display_size(&self) -> Size {
        DISPLAY_SIZE
    }

    async fn frame_at(&self, at_ms: Option<u64>, size: Size) -> Result<(Bytes, Size), JobError> {
        let count = {
            let mut stills = self.0.frame_requests.lock().unwrap();
            stills.push((at_ms, size));
            stills.len() as u8
        };
        let meet = self.0.barrier.lock().unwrap().clone();
        if let Some(barrier) = meet {
            barrier.wait().await;
        }
        let failure = self.0.frame_error.lock().unwrap().clone();
        if let Some(error) = failure {
            return Err(error);
        }
        let blue = if self.0.varies_frames.load(Ordering::Relaxed) { count * 20 } else { 128 };
        Ok((frame(size, blue), size))
    }

    async fn frames_between(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        self.0.animation_requests.lock().unwrap().push((span_ms, size, fps));
        Ok(((0..10).map(|blue| frame(size, blue * 25)).collect(), fps))
    }

    fn frame_rate(&self, max_fps: f64) -> f64 {
        max_fps
    }

    async fn send_frames(
        &self,
        span_ms: (u64, u64),
        size: Size,
        fps: f64,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), JobError> {
        self.0.animation_requests.lock().unwrap().push((Some(span_ms), size, fps));
        for blue in 0..10 {
            sender.send(frame(size, blue * 25)).await.map_err(JobError::internal)?;
        }
        Ok(())
    }

    async fn tile_frames(&self, tile_times: &TileTimes, size: Size) -> Result<Vec<Bytes>, JobError> {
        self.0.tile_requests.lock().unwrap().push((*tile_times, size));
        Ok((0..tile_times.count()).map(|tile| frame(size, tile as u8)).collect())
    }

    async fn plan_clip(&self, request: ClipRequest) -> Result<Result<ClipPlan, ClipError>, JobError> {
        self.0.clip_requests.lock().unwrap().push(request);
        let error = *self.0.clip_error.lock().unwrap();
        let ranges: Vec<_> = std::iter::once(0..self.0.clip_bytes.load(Ordering::Relaxed)).collect();
        let total_bytes = ranges[0].end + CLIP_HEADER.len() as u64;
        let ClipRequest { start_ms, end_ms, has_audio } = request;
        let header = Bytes::from_static(CLIP_HEADER);
        let plan = ClipPlan { header, ranges, total_bytes, start_ms, end_ms, has_audio };
        Ok(error.map_or(Ok(plan), Err))
    }

    async fn read_clip_audio(&self, _: ClipRequest) -> Result<Option<(ClipTrack, Bytes)>, JobError> {
        Ok(None)
    }

    async fn read_clip(&self, plan: &ClipPlan) -> Result<Bytes, JobError> {
        self.0.clip_reads.fetch_add(1, Ordering::Relaxed);
        Ok([CLIP_HEADER, &vec![7; plan.ranges[0].end as usize]].concat().into())
    }
}

#[derive(Debug)]
struct RenderFixture {
    service: Arc<RenderService<MemoryStore, FakeFrameSource>>,
    frames: FakeFrameSource,
}

impl RenderFixture {
    fn empty() -> Self {
        let frames = FakeFrameSource::default();
        let service = RenderService {
            store: Arc::new(MemoryStore::default()),
            frame_sources: frames.clone(),
            now_ms: || GRANTED_MS + 1_000,
        };
        Self { service: Arc::new(service), frames }
    }

    async fn with_manifest(manifest: &Manifest) -> Self {
        let fixture = Self::empty();
        let json = serde_json::to_vec(manifest).unwrap();
        fixture.service.store.put(&Key::Manifest(video()), json.into(), PutOptions::JSON).await.unwrap();
        fixture
    }

    async fn ready() -> Self {
        Self::with_manifest(&manifest()).await
    }

    async fn render(&self, name: &str) -> Invocation {
        render(&self.service, &format!("/{}/{name}", video())).await
    }

    async fn problem(&self, name: &str) -> (u64, String) {
        let answer = self.render(name).await.result.unwrap();
        let headers = &answer["headers"];
        assert_eq!(headers["content-type"], "application/problem+json; charset=utf-8", "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["status"], answer["statusCode"]);
        (answer["statusCode"].as_u64().unwrap(), body["code"].as_str().unwrap().to_owned())
    }

    /// The detail of a rejected parameter.
    async fn problem_detail(&self, name: &str) -> String {
        let answer = self.render(name).await.result.unwrap();
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["code"], "bad_parameter", "{body}");
        body["detail"].as_str().unwrap().to_owned()
    }

    /// The image in a response.
    async fn image(&self, name: &str) -> (Bytes, String, String) {
        decode_image(&self.render(name).await.result.unwrap())
    }

    fn open_count(&self) -> u32 {
        self.frames.0.open_count.load(Ordering::Relaxed)
    }

    fn stored_names(&self) -> Vec<String> {
        let prefix = format!("media/{}/", video());
        let keys = self.service.store.keys();
        let names = keys.iter().map(|key| key.strip_prefix(&prefix).unwrap_or_else(|| panic!("{key}")));
        names.filter(|name| *name != "manifest.json").map(str::to_owned).collect()
    }
}

fn event(path: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {},
        "requestContext": { "http": { "method": "POST", "path": path } }, "isBase64Encoded": false,
    })
}

async fn render(service: &RenderService<MemoryStore, FakeFrameSource>, path: &str) -> Invocation {
    service.handle(&event(path), "r1", Instant::now() + Duration::from_mins(1)).await
}

fn decode_image(answer: &Value) -> (Bytes, String, String) {
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(true)), "{answer}");
    let bytes = STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
    let header = |name: &str| answer["headers"][name].as_str().unwrap().to_owned();
    (bytes.into(), header("content-type"), header("etag"))
}

#[tokio::test]
async fn image_is_rendered_once_then_reused() {
    let fixture = RenderFixture::ready().await;
    let name = "thumbnail-time_1.5-width_200.jpg";
    let (bytes, content_type, etag) = fixture.image(name).await;
    assert_eq!(content_type, "image/jpeg");
    assert_eq!(header::parse(OutputFormat::Jpg, &bytes).unwrap().size, Size { width: 200, height: 113 });
    assert_eq!(
        *fixture.frames.0.frame_requests.lock().unwrap(),
        [(Some(1_500), Size { width: 200, height: 113 })]
    );

    let key: Key = format!("media/{}/{name}", video()).parse().unwrap();
    let stored = fixture.service.store.object(&key).unwrap();
    assert_eq!((&stored.bytes, &stored.head.etag), (&bytes, &etag));
    assert_eq!(stored.head.content_type, "image/jpeg");
    assert_eq!(stored.head.visibility.as_deref(), Some("signed"), "visibility must be that of the manifest");

    assert_eq!(fixture.image(name).await, (bytes, content_type, etag));
    assert_eq!((fixture.open_count(), fixture.stored_names()), (1, vec![name.to_owned()]));
}

/// A clip may be larger than the response of a function: only its ETag is returned.
#[tokio::test]
async fn clip_is_stored_and_not_returned() {
    let fixture = RenderFixture::ready().await;
    fixture.frames.0.clip_bytes.store(1_000, Ordering::Relaxed);
    let name = "clip-start_1.5-end_3-audio_false.mp4";
    let answer = fixture.render(name).await.result.unwrap();
    assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(204), &Value::Null));
    let expected = ClipRequest { start_ms: 1_500, end_ms: 3_000, has_audio: false };
    assert_eq!(*fixture.frames.0.clip_requests.lock().unwrap(), [expected]);

    let key: Key = format!("media/{}/{name}", video()).parse().unwrap();
    let stored = fixture.service.store.object(&key).unwrap();
    assert_eq!((&stored.bytes[..5], stored.bytes.len()), (&b"moov\x07"[..], 1_004));
    assert_eq!(answer["headers"]["etag"], stored.head.etag);
    assert_eq!(stored.head.content_type, "video/mp4");
    assert_eq!(stored.head.visibility.as_deref(), Some("signed"));

    assert_eq!(fixture.render(name).await.result.unwrap(), answer);
    assert_eq!((fixture.open_count(), fixture.stored_names()), (1, vec![name.to_owned()]));
}

#[tokio::test]
async fn too_large_clip_is_not_read() {
    let fixture = RenderFixture::ready().await;
    fixture.frames.0.clip_bytes.store(limits::MAX_CLIP_BYTES, Ordering::Relaxed);
    let name = "clip-start_0-end_8.mp4";
    let detail = fixture.problem_detail(name).await;
    assert_eq!(detail, "The clip has 100000004 bytes; the limit is 100000000. Request a shorter one.");
    *fixture.frames.0.clip_error.lock().unwrap() = Some(ClipError::TooLarge);
    let other = fixture.problem_detail("clip-start_0-end_7.mp4").await;
    assert!(other.contains("100000000 bytes"), "{other}");
    assert_eq!(fixture.frames.0.clip_reads.load(Ordering::Relaxed), 0);
    assert_eq!(
        fixture.stored_names(),
        [format!("clip-start_0-end_7.mp4{REFUSED}"), format!("{name}{REFUSED}")]
    );
    fixture.problem_detail(name).await;
    assert_eq!(fixture.open_count(), 2, "the refusal must be recorded");
}

#[cfg(feature = "h264")]
#[tokio::test]
async fn clip_of_another_codec_has_10_s() {
    let fixture = RenderFixture::with_manifest(&Manifest {
        source: Source { width: 1920, height: 1080, duration_ms: 60_000, ..Source::default() },
        ..manifest()
    })
    .await;
    *fixture.frames.0.clip_error.lock().unwrap() = Some(ClipError::Reencode(ReencodeReason::Codec));
    let detail = fixture.problem_detail("clip-start_1-end_11.001.mp4").await;
    assert!(detail.contains("at most 10 seconds after `start`"), "{detail}");
    fixture.render("clip-start_1-end_11.mp4").await.result.unwrap();
    // The end of the video counts.
    fixture.render("clip-start_55-end_85.mp4").await.result.unwrap();
    let requests = fixture.frames.0.animation_requests.lock().unwrap().clone();
    let size = DISPLAY_SIZE;
    assert_eq!(requests, [(Some((1_000, 11_000)), size, 30.0), (Some((55_000, 60_000)), size, 30.0)]);
    *fixture.frames.0.clip_error.lock().unwrap() = Some(ClipError::Empty);
    let detail = fixture.problem_detail("clip-start_60-end_61.mp4").await;
    assert!(detail.contains("`start` is after the end"), "{detail}");
}

#[tokio::test]
async fn each_kind_and_format_has_requested_size() {
    let fixture = RenderFixture::ready().await;
    for (name, format, width, height, frames) in [
        ("thumbnail.jpg", OutputFormat::Jpg, 320, 180, 1),
        ("thumbnail.png", OutputFormat::Png, 320, 180, 1),
        ("thumbnail-width_100.webp", OutputFormat::Webp, 100, 56, 1),
        ("thumbnail-width_100-rotate_90.png", OutputFormat::Png, 100, 178, 1),
        ("thumbnail-width_50-height_50-fit_mode_crop.png", OutputFormat::Png, 50, 50, 1),
        ("thumbnail-width_50-height_50-fit_mode_smartcrop.webp", OutputFormat::Webp, 50, 50, 1),
        ("thumbnail-width_500-height_50-fit_mode_stretch-flip_v_true.jpg", OutputFormat::Jpg, 500, 50, 1),
        ("thumbnail-width_500-height_500-fit_mode_pad.jpg", OutputFormat::Jpg, 500, 500, 1),
        ("thumbnail.avif", OutputFormat::Avif, 320, 180, 1),
        ("thumbnail-width_101-blur_8-quality_60-play_true.avif", OutputFormat::Avif, 101, 57, 1),
        ("thumbnail-width_200-blur_100-play_true.png", OutputFormat::Png, 200, 113, 1),
        ("animated-start_1-end_2-width_100-fps_10.gif", OutputFormat::Gif, 100, 56, 10),
        ("animated-height_90.webp", OutputFormat::Webp, 160, 90, 10),
    ] {
        let (bytes, content_type, _) = fixture.image(name).await;
        assert_eq!(content_type, format.content_type(), "{name}");
        let facts = header::parse(format, &bytes).unwrap_or_else(|| panic!("{name} is not an image"));
        assert_eq!((facts.size, facts.frames), (Size { width, height }, frames), "{name}");
    }
    let reels = fixture.frames.0.animation_requests.lock().unwrap().clone();
    assert_eq!(reels[0], (Some((1_000, 2_000)), Size { width: 100, height: 56 }, 10.0));
    assert_eq!(reels[1], (None, Size { width: 160, height: 90 }, 15.0));
}

/// The tables follow from the manifest, without the source: they agree with the sheet, whichever is requested first.
#[tokio::test]
async fn storyboard_sheet_and_tables_agree() {
    let tables_first = RenderFixture::ready().await;
    let sheet_first = RenderFixture::ready().await;
    let stem = "storyboard-tiles_9-width_100";
    let names = ["json", "vtt", "m3u8", "jpg", "webp"].map(|extension| format!("{stem}.{extension}"));
    let mut images = Vec::new();
    for name in &names {
        images.push(tables_first.image(name).await);
        assert_eq!(tables_first.open_count() > 0, images.len() > 3, "{name}: only a sheet needs the source");
    }
    for (name, expected) in names.iter().zip(&images).rev() {
        assert_eq!(&sheet_first.image(name).await, expected, "{name}");
    }
    let requests = tables_first.frames.0.tile_requests.lock().unwrap().clone();
    let (times, tile) = requests[0];
    assert_eq!((requests.len(), times.count(), tile), (2, 9, Size { width: 100, height: 56 }));
    let sheet = Size { width: 500, height: 112 };
    assert_eq!(header::parse(OutputFormat::Jpg, &images[3].0).unwrap().size, sheet);
    assert_eq!(header::parse(OutputFormat::Webp, &images[4].0).unwrap().size, sheet);
    let json: Value = serde_json::from_slice(&images[0].0).unwrap();
    assert_eq!(json["url"], "storyboard.jpg?tiles=9&width=100");
    assert_eq!((&json["tile_width"], &json["tile_height"]), (&json!(100), &json!(56)));
    for (place, entry) in json["tiles"].as_array().unwrap().iter().enumerate() {
        let start = times.tile_start_ms(place) as f64 / 1000.0;
        assert_eq!(*entry, json!({ "start": start, "x": place % 5 * 100, "y": place / 5 * 56 }));
    }
    let text = |place: usize| String::from_utf8(images[place].0.to_vec()).unwrap();
    assert_eq!(text(1).matches("storyboard.jpg?tiles=9&width=100#xywh=").count(), 9);
    assert!(
        text(2)
            .contains("RESOLUTION=100x56,LAYOUT=5x2,DURATION=0.888889\nstoryboard.jpg?tiles=9&width=100\n")
    );
    assert_eq!(images[2].1, "application/vnd.apple.mpegurl");
    assert_eq!(tables_first.stored_names().len(), 5);
}

/// Existing videos have it, too: it is made of the table that was published with the video.
#[tokio::test]
async fn default_playlist_is_made_of_the_stored_table() {
    let fixture = RenderFixture::ready().await;
    assert_eq!(fixture.problem("storyboard.m3u8").await, (404, "not_found".into()));
    let json = r#"{"url":"storyboard.jpg","tile_width":4,"tile_height":2,"duration":3.0,
        "tiles":[{"start":0.0,"x":0,"y":0},{"start":1.5,"x":4,"y":0}]}"#;
    let key: Key = format!("media/{}/storyboard.json", video()).parse().unwrap();
    fixture.service.store.put(&key, json.into(), PutOptions::JSON).await.unwrap();
    let (bytes, content_type, _) = fixture.image("storyboard.m3u8").await;
    assert_eq!(content_type, "application/vnd.apple.mpegurl");
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(
        "#EXTINF:3.000,\n#EXT-X-TILES:RESOLUTION=4x2,LAYOUT=2x1,DURATION=1.500000\nstoryboard.jpg\n"
    ));
    assert_eq!((fixture.open_count(), fixture.stored_names().len()), (0, 2));
    let key: Key = format!("media/{}/storyboard.m3u8", video()).parse().unwrap();
    let stored = fixture.service.store.object(&key).unwrap();
    assert_eq!(stored.head.visibility.as_deref(), Some("signed"), "visibility must be that of the manifest");
}

#[tokio::test]
async fn impossible_storyboards_are_explained() {
    let day = Manifest {
        source: Source { width: 1920, height: 1080, duration_ms: 86_400_000, ..Source::default() },
        ..manifest()
    };
    let fixture = RenderFixture::with_manifest(&day).await;
    for (stem, detail) in [
        (
            "storyboard-interval_1",
            "The parameter `interval` leads to 86400 tiles: at most 400, so it must be at least 216 for this video.",
        ),
        (
            "storyboard-tiles_400-width_320",
            "A sheet of 400 tiles of 320x180 is too large: at most 16777216 pixels, as in 4096x4096. Request fewer or \
             smaller tiles.",
        ),
        (
            "storyboard-asset_start_time_86400-tiles_2",
            "The parameter `asset_start_time` is after the end of the video.",
        ),
    ] {
        // The tables are rejected like the sheet.
        for extension in ["jpg", "vtt", "m3u8"] {
            let answer = fixture.render(&format!("{stem}.{extension}")).await.result.unwrap();
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!((&answer["statusCode"], &body["detail"]), (&json!(400), &json!(detail)), "{stem}");
        }
    }
    assert_eq!((fixture.open_count(), fixture.stored_names().len()), (0, 0));
    for name in ["storyboard-interval_216.json", "storyboard-tiles_400.jpg"] {
        assert_eq!(fixture.render(name).await.result.unwrap()["statusCode"], 200, "{name}");
    }
    let times = fixture.frames.0.tile_requests.lock().unwrap()[0].0;
    assert_eq!((times.count(), times.tile_start_ms(399)), (400, 86_184_000));
}

/// Also of a video whose manifest has none: an earlier version has processed it.
#[cfg(feature = "h264")]
#[tokio::test]
async fn mp4_is_made_with_even_sides() {
    let fixture = RenderFixture::ready().await;
    for (name, width, height, frames) in [
        ("animated.mp4", 320, 180, 10),
        ("animated-start_1-end_2-width_99-fps_10.mp4", 98, 56, 10),
        ("animated-max_bytes_10000.mp4", 320, 180, 10),
    ] {
        let (bytes, content_type, _) = fixture.image(name).await;
        assert_eq!(content_type, "video/mp4", "{name}");
        let facts = header::parse(OutputFormat::Mp4, &bytes).unwrap_or_else(|| panic!("{name} is no MP4"));
        assert_eq!((facts.size, facts.frames), (Size { width, height }, frames), "{name}");
    }
    assert!(fixture.stored_names().contains(&"animated.mp4".to_owned()));
}

#[cfg(not(feature = "h264"))]
#[tokio::test]
async fn mp4_without_an_encoder_is_rejected() {
    let fixture = RenderFixture::ready().await;
    for name in ["animated.mp4", "animated-start_1-end_2.mp4"] {
        assert_eq!(fixture.problem(name).await, (400, "bad_parameter".into()), "{name}");
    }
    let answer = fixture.render("animated.mp4").await.result.unwrap();
    assert!(answer["body"].as_str().unwrap().contains("Supported formats: gif, webp."), "{answer}");
    assert_eq!((fixture.open_count(), fixture.stored_names().len()), (0, 0));
}

#[cfg(not(feature = "h264"))]
#[tokio::test]
async fn clip_without_an_encoder_is_copied() {
    let fixture = RenderFixture::ready().await;
    assert_eq!(fixture.render("clip-start_0-end_1.mp4").await.result.unwrap()["statusCode"], 204);
    *fixture.frames.0.clip_error.lock().unwrap() = Some(ClipError::Reencode(ReencodeReason::Codec));
    let name = "clip-start_0-end_2.mp4";
    assert_eq!(fixture.problem(name).await, (422, "unsupported_codec".into()));
    let answer = fixture.render(name).await.result.unwrap();
    assert!(answer["body"].as_str().unwrap().contains("no encoder of H.264"), "{answer}");
}

#[tokio::test]
async fn animation_respects_max_bytes() {
    let fixture = RenderFixture::ready().await;
    for (name, format) in [
        ("animated-max_bytes_30000.gif", OutputFormat::Gif),
        ("animated-max_bytes_10000.webp", OutputFormat::Webp),
    ] {
        let (bytes, ..) = fixture.image(name).await;
        assert!(header::parse(format, &bytes).is_some());
        assert!(
            bytes.len() <= if format == OutputFormat::Gif { 30_000 } else { 10_000 },
            "{name}: {}",
            bytes.len()
        );
    }
}

/// Five concurrent renders, each with other bytes: there is one object, and all of them return it.
#[tokio::test]
async fn concurrent_renders_store_one_object() {
    let fixture = RenderFixture::ready().await;
    *fixture.frames.0.barrier.lock().unwrap() = Some(Arc::new(Barrier::new(5)));
    fixture.frames.0.varies_frames.store(true, Ordering::Relaxed);
    let path = format!("/{}/thumbnail-time_2.png", video());
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (service, path) = (Arc::clone(&fixture.service), path.clone());
            tokio::spawn(async move { render(&service, &path).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(decode_image(&task.await.unwrap().result.unwrap()));
    }
    assert_eq!(fixture.open_count(), 5, "all five must render");
    answers.dedup();
    assert_eq!(answers.len(), 1, "all must return the same bytes");
    let (_, writes) = fixture.service.store.counts();
    assert_eq!((writes, fixture.stored_names().len()), (2, 1), "expected the manifest and one image");
}

#[tokio::test]
async fn conflicting_write_is_retried() {
    let fixture = RenderFixture::ready().await;
    fixture.service.store.fail_next_conditional_put(StoreError::Conflict);
    fixture.service.store.fail_next_conditional_put(StoreError::Conflict);
    // Another write was first, but its object is deleted before it is read.
    fixture.service.store.fail_next_conditional_put(StoreError::AlreadyExists);
    fixture.image("thumbnail-width_100.jpg").await;
    for _ in 0..5 {
        fixture.service.store.fail_next_conditional_put(StoreError::Conflict);
    }
    assert_eq!(fixture.problem("thumbnail-width_101.jpg").await, (502, "upstream".into()));
    fixture.service.store.fail_next_conditional_put(StoreError::Transient("slow down".into()));
    assert_eq!(fixture.problem("thumbnail-width_101.jpg").await, (502, "upstream".into()));
    fixture.image("thumbnail-width_101.jpg").await;
}

#[tokio::test]
async fn video_that_is_not_ready_opens_no_source() {
    let name = "thumbnail-time_1.jpg";
    let empty = RenderFixture::empty();
    assert_eq!(empty.problem(name).await, (202, "processing".into()));

    let expired = RenderService {
        store: Arc::new(MemoryStore::default()),
        frame_sources: FakeFrameSource::default(),
        now_ms: || GRANTED_MS + 48 * 3_600_000,
    };
    let answer = render(&expired, &format!("/{}/{name}", video())).await.result.unwrap();
    assert_eq!(answer["statusCode"], 404);

    let rejected = Manifest {
        state: State::Rejected,
        rejected: Some(Rejection { code: Code::Encrypted }),
        ..manifest()
    };
    let fixture = RenderFixture::with_manifest(&rejected).await;
    assert_eq!(fixture.problem(name).await, (422, "encrypted".into()));
    assert_eq!(fixture.open_count(), 0);

    let foreign = Manifest { video: VideoId::new(5, [5; 10]), ..manifest() };
    let fixture = RenderFixture::with_manifest(&foreign).await;
    assert_eq!(fixture.problem(name).await, (500, "internal".into()));
    assert_eq!((fixture.open_count(), fixture.stored_names()), (0, Vec::new()));
}

#[tokio::test]
async fn rejects_times_and_names_out_of_range() {
    let fixture = RenderFixture::ready().await;
    for name in ["thumbnail-time_8.001.jpg", "animated-start_8.001-end_9.gif", "clip-start_8.001-end_9.mp4"] {
        assert_eq!(fixture.problem(name).await, (400, "bad_parameter".into()), "{name}");
    }
    for name in ["manifest.json", "thumbnail.gif", "thumbnail-width_640.jpg", "../manifest.json", ""] {
        assert_eq!(fixture.problem(name).await, (404, "not_found".into()), "{name}");
    }
    assert_eq!((fixture.open_count(), fixture.stored_names()), (0, Vec::new()));
    // The end of the video is its last frame.
    fixture.image("thumbnail-time_8.jpg").await;
    // A storyboard is generated with the video or not at all.
    assert_eq!(fixture.problem("storyboard.vtt").await, (404, "not_found".into()));
}

#[tokio::test]
async fn source_errors_map_to_codes_and_store_nothing() {
    let fixture = RenderFixture::ready().await;
    let name = "thumbnail-time_1.jpg";
    for (error, expected, is_tainted) in [
        (JobError::Rejected(Code::SourceGone), (410, "source_gone"), false),
        (JobError::Rejected(Code::TimedOut), (422, "timed_out"), false),
        (JobError::Superseded, (409, "superseded"), false),
        (JobError::upstream("S3 answered 503 at http://secret"), (502, "upstream"), false),
        (JobError::internal("out of /secret"), (500, "internal"), false),
        (JobError::Crashed("signal 11".into()), (422, "decoder_crash"), true),
    ] {
        *fixture.frames.0.open_error.lock().unwrap() = Some(error);
        let answer = fixture.render(name).await;
        assert_eq!(answer.must_restart, is_tainted);
        assert!(
            !answer.result.as_ref().unwrap().to_string().contains("secret"),
            "{}",
            answer.result.as_ref().unwrap()
        );
        assert_eq!(fixture.problem(name).await, (expected.0, expected.1.into()));
    }
    assert_eq!(fixture.stored_names(), Vec::<String>::new());
    // An image that was rendered before outlives its source.
    *fixture.frames.0.open_error.lock().unwrap() = None;
    let image = fixture.image(name).await;
    *fixture.frames.0.open_error.lock().unwrap() = Some(JobError::Rejected(Code::SourceGone));
    assert_eq!(fixture.image(name).await, image);
}

/// Work that cannot succeed is done once: for a day, or until the video's outputs are published again.
#[tokio::test]
async fn permanent_failure_is_not_retried() {
    let name = "thumbnail-time_1.jpg";
    for (error, status, code, hours) in [
        (JobError::Rejected(Code::Truncated), 422, "truncated", 23),
        (JobError::Crashed("signal 11".into()), 422, "decoder_crash", 23),
        (JobError::Rejected(Code::TimedOut), 422, "timed_out", 0),
    ] {
        let fixture = RenderFixture::ready().await;
        *fixture.frames.0.frame_error.lock().unwrap() = Some(error);
        assert_eq!(fixture.problem(name).await, (status, code.into()));
        assert_eq!(fixture.stored_names(), [format!("{name}.refused.json")]);
        *fixture.frames.0.frame_error.lock().unwrap() = None;
        for _ in 0..3 {
            assert_eq!(fixture.problem(name).await, (status, code.into()), "{code} is recorded");
        }
        assert_eq!(fixture.open_count(), 1, "{code}");
        fixture.image("thumbnail-time_2.jpg").await;
        let later = |now_ms| RenderService {
            store: Arc::clone(&fixture.service.store),
            frame_sources: fixture.frames.clone(),
            now_ms,
        };
        let path = format!("/{}/{name}", video());
        if hours > 0 {
            let soon = later(|| GRANTED_MS + 23 * 3_600_000);
            assert_eq!(render(&soon, &path).await.result.unwrap()["statusCode"], status);
        }
        let next_day = later(|| GRANTED_MS + 25 * 3_600_000);
        assert_eq!(render(&next_day, &path).await.result.unwrap()["statusCode"], 200, "{code} a day later");
    }
}

#[tokio::test]
async fn transient_failure_is_not_recorded() {
    let fixture = RenderFixture::ready().await;
    let name = "thumbnail-time_1.jpg";
    for error in [
        JobError::upstream("503"),
        JobError::internal("no memory"),
        JobError::Superseded,
        JobError::Rejected(Code::SourceGone),
    ] {
        *fixture.frames.0.frame_error.lock().unwrap() = Some(error);
        fixture.problem(name).await;
    }
    assert_eq!(fixture.stored_names(), Vec::<String>::new());
    *fixture.frames.0.frame_error.lock().unwrap() = None;
    fixture.image(name).await;
}

#[tokio::test]
async fn refusal_expires_when_video_is_reprocessed() {
    let fixture = RenderFixture::ready().await;
    let name = "thumbnail-time_1.jpg";
    *fixture.frames.0.frame_error.lock().unwrap() = Some(JobError::Rejected(Code::Truncated));
    fixture.problem(name).await;
    *fixture.frames.0.frame_error.lock().unwrap() = None;
    let timings = Timings { committed: GRANTED_MS + 2_000, ..Timings::default() };
    let json = serde_json::to_vec(&Manifest { timings, ..manifest() }).unwrap();
    let (head, _) = fixture.service.store.get(&Key::Manifest(video()), 1 << 20).await.unwrap();
    let options = PutOptions::JSON.with_condition(PutCondition::IfMatch(&head.etag));
    fixture.service.store.put(&Key::Manifest(video()), json.into(), options).await.unwrap();
    fixture.image(name).await;
}

/// It is refused by its size alone, before the source is opened, and the message contains the limit.
#[tokio::test]
async fn rejects_too_many_pixels_of_png_and_avif() {
    let square = Source { width: 7680, height: 7680, duration_ms: 8_000, ..Source::default() };
    let fixture = RenderFixture::with_manifest(&Manifest { source: square, ..manifest() }).await;
    for (name, limit) in [
        ("thumbnail-width_3840.png", "8294400 pixels, as in 3840x2160"),
        ("thumbnail-width_3840-height_3840-fit_mode_pad.png", "8294400 pixels, as in 3840x2160"),
        ("thumbnail-width_2560.avif", "3686400 pixels, as in 2560x1440"),
    ] {
        let answer = fixture.render(name).await.result.unwrap();
        let body = answer["body"].as_str().unwrap();
        assert_eq!(answer["statusCode"], 400, "{answer}");
        assert!(body.contains("bad_parameter") && body.contains(limit), "{body}");
    }
    assert_eq!((fixture.open_count(), fixture.stored_names()), (0, Vec::new()));
    let wide = Source { width: 7680, height: 4320, duration_ms: 8_000, ..Source::default() };
    let fixture = RenderFixture::with_manifest(&Manifest { source: wide, ..manifest() }).await;
    fixture.render("thumbnail-width_3840.png").await;
    assert_eq!(fixture.stored_names(), ["thumbnail-width_3840.png"]);
}

#[tokio::test]
async fn render_stops_at_deadline() {
    let fixture = RenderFixture::ready().await;
    // No second render follows.
    *fixture.frames.0.barrier.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    let path = format!("/{}/thumbnail-time_1.jpg", video());
    let deadline = Instant::now() + Duration::from_millis(20);
    let answer = fixture.service.handle(&event(&path), "r1", deadline).await.result.unwrap();
    assert_eq!(answer["statusCode"], 500);
    assert_eq!(fixture.stored_names(), Vec::<String>::new());
}

/// The chosen poster in a response.
fn parse_poster(answer: &Invocation) -> Poster {
    assert_eq!(answer.result.as_ref().unwrap()["statusCode"], 200, "{}", answer.result.as_ref().unwrap());
    serde_json::from_str(answer.result.as_ref().unwrap()["body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn poster_is_written_after_its_thumbnails() {
    let fixture = RenderFixture::ready().await;
    fixture.frames.0.varies_frames.store(true, Ordering::Relaxed);
    let first = parse_poster(&fixture.render("poster-time_1.5").await);
    assert_eq!((first.time_ms, first.revision, first.chosen_at), (Some(1500), 1, GRANTED_MS + 1_000));
    assert_eq!(fixture.frames.0.frame_requests.lock().unwrap()[0].0, Some(1500));
    assert_eq!(fixture.stored_names(), ["poster.json", "thumbnail.jpg", "thumbnail.webp"]);
    for output in &first.outputs {
        let key = format!("media/{}/{}", video(), output.variant).parse().unwrap();
        let stored = fixture.service.store.object(&key).unwrap();
        assert_eq!(
            (&stored.head.etag, stored.head.bytes),
            (&output.etag, output.bytes),
            "{}",
            output.variant
        );
        assert_eq!(stored.head.visibility.as_deref(), Some("signed"));
        let format = if output.variant.ends_with("jpg") { OutputFormat::Jpg } else { OutputFormat::Webp };
        assert_eq!(header::parse(format, &stored.bytes).unwrap().size, Size { width: 320, height: 180 });
    }
    let reset = parse_poster(&fixture.render("poster").await);
    assert_eq!((reset.time_ms, reset.revision), (None, 2));
    assert_ne!(reset.outputs[0].etag, first.outputs[0].etag);
    assert_eq!(fixture.frames.0.frame_requests.lock().unwrap()[1].0, None, "the best frame");
    let stored = fixture.service.store.object(&Key::Poster(video())).unwrap();
    assert_eq!(serde_json::from_slice::<Poster>(&stored.bytes).unwrap(), reset);
}

/// Of two concurrent choices the later one wins, with its thumbnails and its record.
#[tokio::test]
async fn concurrent_poster_choices_stay_consistent() {
    let fixture = RenderFixture::ready().await;
    fixture.frames.0.varies_frames.store(true, Ordering::Relaxed);
    *fixture.frames.0.barrier.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    let (a, b) = tokio::join!(fixture.render("poster-time_1"), fixture.render("poster-time_2"));
    let mut both = [parse_poster(&a), parse_poster(&b)];
    both.sort_by_key(|poster| poster.revision);
    assert_eq!([both[0].revision, both[1].revision], [1, 2]);
    let stored = fixture.service.store.object(&Key::Poster(video())).unwrap();
    assert_eq!(serde_json::from_slice::<Poster>(&stored.bytes).unwrap(), both[1]);
    for output in &both[1].outputs {
        let key = format!("media/{}/{}", video(), output.variant).parse().unwrap();
        assert_eq!(fixture.service.store.object(&key).unwrap().head.etag, output.etag);
    }
    *fixture.frames.0.barrier.lock().unwrap() = None;
    fixture.service.store.fail_next_conditional_put(StoreError::Conflict);
    assert_eq!(parse_poster(&fixture.render("poster-time_3").await).revision, 3);
}

#[tokio::test]
async fn invalid_poster_changes_nothing() {
    let fixture = RenderFixture::ready().await;
    assert_eq!(fixture.problem("poster-time_8.001").await, (400, "bad_parameter".to_owned()));
    *fixture.frames.0.open_error.lock().unwrap() = Some(JobError::Rejected(Code::SourceGone));
    assert_eq!(fixture.problem("poster-time_1").await, (410, "source_gone".to_owned()));
    assert!(fixture.stored_names().is_empty());
}
