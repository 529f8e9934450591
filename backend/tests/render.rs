//! A picture on demand: made once, found ever after, one object of it whatever happens; or a right refusal.
#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use glimpse_backend::error::JobError;
use glimpse_backend::render::service::{Answer, Camera, Cameras, Darkroom};
use glimpse_backend::store::memory::Memory;
use glimpse_backend::store::{Store as _, StoreError};
use glimpse_contract::{
    Code, Format, Key, MANIFEST_VERSION, Manifest, Owner, Poster, Reads, RejectedBecause, Source, State,
    Timings, VideoId, Visibility,
};
use glimpse_media::image::header;
use glimpse_media::size::Size;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::time::Instant;

const GRANTED_MS: u64 = 1_700_000_000_000;
const SHOWN: Size = Size { width: 320, height: 180 };

fn video() -> VideoId {
    VideoId::new(GRANTED_MS, [1; 10])
}

fn manifest() -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        video: video(),
        owner: Owner::of("iss", "sub"),
        visibility: Visibility::Signed,
        passthrough: glimpse_contract::Passthrough::default(),
        state: State::Ready,
        rejected: None,
        source: Source { width: 320, height: 180, duration_ms: 8_000, ..Source::default() },
        outputs: Vec::new(),
        thumbhash: None,
        dominant_color: None,
        poster_ms: None,
        timings: Timings::default(),
        reads: Reads::default(),
    }
}

/// What the studio was asked for, and what it does instead of working.
#[derive(Debug, Clone, Default)]
struct Studio(Arc<Inner>);

/// Span, size and frames a second.
type Reel = (Option<(u64, u64)>, Size, f64);

#[derive(Debug, Default)]
struct Inner {
    opened: AtomicU32,
    stills: Mutex<Vec<(Option<u64>, Size)>>,
    reels: Mutex<Vec<Reel>>,
    fails: Mutex<Option<JobError>>,
    /// Why no frame can be taken.
    takes_none: Mutex<Option<JobError>>,
    /// Everybody waits here with a frame, so that all write at once.
    meet: Mutex<Option<Arc<Barrier>>>,
    /// Each frame is another one.
    is_restless: AtomicBool,
}

impl Cameras for Studio {
    type Camera = Self;

    async fn open(&self, manifest: &Manifest, _: Instant) -> Result<Self, JobError> {
        assert_eq!(manifest.video, video());
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let failure = self.0.fails.lock().unwrap().clone();
        failure.map_or_else(|| Ok(self.clone()), Err)
    }
}

/// Red grows to the right, green downwards.
fn frame(size: Size, blue: u8) -> Bytes {
    let mut bytes = Vec::with_capacity(size.frame_bytes());
    for y in 0..size.height {
        for x in 0..size.width {
            bytes.extend([(x * 255 / size.width) as u8, (y * 255 / size.height) as u8, blue]);
        }
    }
    bytes.into()
}

impl Camera for Studio {
    fn shown(&self) -> Size {
        SHOWN
    }

    async fn still(&self, at_ms: Option<u64>, size: Size) -> Result<(Bytes, Size), JobError> {
        let count = {
            let mut stills = self.0.stills.lock().unwrap();
            stills.push((at_ms, size));
            stills.len() as u8
        };
        let meet = self.0.meet.lock().unwrap().clone();
        if let Some(barrier) = meet {
            barrier.wait().await;
        }
        let failure = self.0.takes_none.lock().unwrap().clone();
        if let Some(error) = failure {
            return Err(error);
        }
        let blue = if self.0.is_restless.load(Ordering::Relaxed) { count * 20 } else { 128 };
        Ok((frame(size, blue), size))
    }

    async fn moving(
        &self,
        span_ms: Option<(u64, u64)>,
        size: Size,
        fps: f64,
    ) -> Result<(Vec<Bytes>, f64), JobError> {
        self.0.reels.lock().unwrap().push((span_ms, size, fps));
        Ok(((0..10).map(|blue| frame(size, blue * 25)).collect(), fps))
    }
}

#[derive(Debug)]
struct Scene {
    room: Arc<Darkroom<Memory, Studio>>,
    studio: Studio,
}

impl Scene {
    fn empty() -> Self {
        let studio = Studio::default();
        let room = Darkroom {
            store: Arc::new(Memory::default()),
            cameras: studio.clone(),
            now_ms: || GRANTED_MS + 1_000,
        };
        Self { room: Arc::new(room), studio }
    }

    async fn with(manifest: &Manifest) -> Self {
        let scene = Self::empty();
        let json = serde_json::to_vec(manifest).unwrap();
        scene.room.store.create_manifest(&Key::Manifest(video()), json.into()).await.unwrap();
        scene
    }

    async fn ready() -> Self {
        Self::with(&manifest()).await
    }

    async fn answer(&self, name: &str) -> Answer {
        answer(&self.room, &format!("/{}/{name}", video())).await
    }

    async fn refused(&self, name: &str) -> (u64, String) {
        let answer = self.answer(name).await.response;
        let headers = &answer["headers"];
        assert_eq!(headers["content-type"], "application/problem+json; charset=utf-8", "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["status"], answer["statusCode"]);
        (answer["statusCode"].as_u64().unwrap(), body["code"].as_str().unwrap().to_owned())
    }

    /// The picture that an answer carries.
    async fn picture(&self, name: &str) -> (Bytes, String, String) {
        read(&self.answer(name).await.response)
    }

    fn opened(&self) -> u32 {
        self.studio.0.opened.load(Ordering::Relaxed)
    }

    fn pictures(&self) -> Vec<String> {
        let prefix = format!("media/{}/", video());
        let keys = self.room.store.keys();
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

async fn answer(room: &Darkroom<Memory, Studio>, path: &str) -> Answer {
    room.answer(&event(path), "r1", Instant::now() + Duration::from_mins(1)).await
}

fn read(answer: &Value) -> (Bytes, String, String) {
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(true)), "{answer}");
    let bytes = STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
    let header = |name: &str| answer["headers"][name].as_str().unwrap().to_owned();
    (bytes.into(), header("content-type"), header("etag"))
}

#[tokio::test]
async fn a_picture_is_made_once_and_found_ever_after() {
    let scene = Scene::ready().await;
    let name = "thumbnail-time_1.5-width_200.jpg";
    let (bytes, content_type, etag) = scene.picture(name).await;
    assert_eq!(content_type, "image/jpeg");
    assert_eq!(header::facts(Format::Jpg, &bytes).unwrap().size, Size { width: 200, height: 113 });
    assert_eq!(*scene.studio.0.stills.lock().unwrap(), [(Some(1_500), Size { width: 200, height: 113 })]);

    let key: Key = format!("media/{}/{name}", video()).parse().unwrap();
    let stored = scene.room.store.get(&key).unwrap();
    assert_eq!((&stored.bytes, &stored.head.etag), (&bytes, &etag));
    assert_eq!(stored.head.content_type, "image/jpeg");
    assert_eq!(stored.head.visibility.as_deref(), Some("signed"), "as the manifest says");

    assert_eq!(scene.picture(name).await, (bytes, content_type, etag));
    assert_eq!((scene.opened(), scene.pictures()), (1, vec![name.to_owned()]));
}

#[tokio::test]
async fn every_kind_and_format_is_a_picture_of_its_size() {
    let scene = Scene::ready().await;
    for (name, format, width, height, frames) in [
        ("thumbnail.jpg", Format::Jpg, 320, 180, 1),
        ("thumbnail.png", Format::Png, 320, 180, 1),
        ("thumbnail-width_100.webp", Format::Webp, 100, 56, 1),
        ("thumbnail-width_100-rotate_90.png", Format::Png, 100, 178, 1),
        ("thumbnail-width_50-height_50-fit_mode_crop.png", Format::Png, 50, 50, 1),
        ("thumbnail-width_50-height_50-fit_mode_smartcrop.webp", Format::Webp, 50, 50, 1),
        ("thumbnail-width_500-height_50-fit_mode_stretch-flip_v_true.jpg", Format::Jpg, 500, 50, 1),
        ("thumbnail-width_500-height_500-fit_mode_pad.jpg", Format::Jpg, 500, 500, 1),
        ("animated-start_1-end_2-width_100-fps_10.gif", Format::Gif, 100, 56, 10),
        ("animated-height_90.webp", Format::Webp, 160, 90, 10),
    ] {
        let (bytes, content_type, _) = scene.picture(name).await;
        assert_eq!(content_type, format.content_type(), "{name}");
        let facts = header::facts(format, &bytes).unwrap_or_else(|| panic!("{name} is no picture"));
        assert_eq!((facts.size, facts.frames), (Size { width, height }, frames), "{name}");
    }
    let reels = scene.studio.0.reels.lock().unwrap().clone();
    assert_eq!(reels[0], (Some((1_000, 2_000)), Size { width: 100, height: 56 }, 10.0));
    assert_eq!(reels[1], (None, Size { width: 160, height: 90 }, 15.0));
}

#[tokio::test]
async fn an_animation_keeps_within_its_bytes_or_says_that_it_cannot() {
    let scene = Scene::ready().await;
    for (name, format) in
        [("animated-max_bytes_30000.gif", Format::Gif), ("animated-max_bytes_10000.webp", Format::Webp)]
    {
        let (bytes, ..) = scene.picture(name).await;
        assert!(header::facts(format, &bytes).is_some());
        assert!(
            bytes.len() <= if format == Format::Gif { 30_000 } else { 10_000 },
            "{name}: {}",
            bytes.len()
        );
    }
}

/// Five at once, each with other bytes: one object, and everybody answers with it.
#[tokio::test]
async fn at_most_one_object_results_whoever_is_first() {
    let scene = Scene::ready().await;
    *scene.studio.0.meet.lock().unwrap() = Some(Arc::new(Barrier::new(5)));
    scene.studio.0.is_restless.store(true, Ordering::Relaxed);
    let path = format!("/{}/thumbnail-time_2.png", video());
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (room, path) = (Arc::clone(&scene.room), path.clone());
            tokio::spawn(async move { answer(&room, &path).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(read(&task.await.unwrap().response));
    }
    assert_eq!(scene.opened(), 5, "nobody found it");
    answers.dedup();
    assert_eq!(answers.len(), 1, "everybody answers the winner's");
    let (_, writes) = scene.room.store.counts();
    assert_eq!((writes, scene.pictures().len()), (2, 1), "the manifest and one picture");
}

#[tokio::test]
async fn a_write_that_meets_another_is_tried_again() {
    let scene = Scene::ready().await;
    scene.room.store.fail_next_create(StoreError::Conflict);
    scene.room.store.fail_next_create(StoreError::Conflict);
    // Lost to one that is deleted again before it is read.
    scene.room.store.fail_next_create(StoreError::Lost);
    scene.picture("thumbnail-width_100.jpg").await;
    for _ in 0..5 {
        scene.room.store.fail_next_create(StoreError::Conflict);
    }
    assert_eq!(scene.refused("thumbnail-width_101.jpg").await, (502, "upstream".into()));
    scene.room.store.fail_next_create(StoreError::Transient("slow down".into()));
    assert_eq!(scene.refused("thumbnail-width_101.jpg").await, (502, "upstream".into()));
    scene.picture("thumbnail-width_101.jpg").await;
}

#[tokio::test]
async fn what_is_not_ready_is_refused_and_nothing_is_opened() {
    let name = "thumbnail-time_1.jpg";
    let fresh = Scene::empty();
    assert_eq!(fresh.refused(name).await, (202, "processing".into()));

    let old = Darkroom {
        store: Arc::new(Memory::default()),
        cameras: Studio::default(),
        now_ms: || GRANTED_MS + 48 * 3_600_000,
    };
    let answer = answer(&old, &format!("/{}/{name}", video())).await.response;
    assert_eq!(answer["statusCode"], 404);

    let rejected = Manifest {
        state: State::Rejected,
        rejected: Some(RejectedBecause { code: Code::Encrypted }),
        ..manifest()
    };
    let scene = Scene::with(&rejected).await;
    assert_eq!(scene.refused(name).await, (422, "encrypted".into()));
    assert_eq!(scene.opened(), 0);

    let foreign = Manifest { video: VideoId::new(5, [5; 10]), ..manifest() };
    let scene = Scene::with(&foreign).await;
    assert_eq!(scene.refused(name).await, (500, "internal".into()));
    assert_eq!((scene.opened(), scene.pictures()), (0, Vec::new()));
}

#[tokio::test]
async fn what_the_video_does_not_have_is_refused() {
    let scene = Scene::ready().await;
    for name in ["thumbnail-time_8.001.jpg", "animated-start_8.001-end_9.gif"] {
        assert_eq!(scene.refused(name).await, (400, "bad_parameter".into()), "{name}");
    }
    for name in ["manifest.json", "thumbnail.gif", "thumbnail-width_640.jpg", "../manifest.json", ""] {
        assert_eq!(scene.refused(name).await, (404, "not_found".into()), "{name}");
    }
    assert_eq!((scene.opened(), scene.pictures()), (0, Vec::new()));
    // The very end is the last frame.
    scene.picture("thumbnail-time_8.jpg").await;
    // A storyboard is made with the video or not at all.
    assert_eq!(scene.refused("storyboard.vtt").await, (404, "not_found".into()));
}

#[tokio::test]
async fn what_goes_wrong_with_the_source_has_its_code_and_leaves_nothing() {
    let scene = Scene::ready().await;
    let name = "thumbnail-time_1.jpg";
    for (error, expected, is_tainted) in [
        (JobError::Refused(Code::SourceGone), (410, "source_gone"), false),
        (JobError::Refused(Code::TimedOut), (422, "timed_out"), false),
        (JobError::Superseded, (409, "superseded"), false),
        (JobError::upstream("S3 answered 503 at http://secret"), (502, "upstream"), false),
        (JobError::internal("out of /secret"), (500, "internal"), false),
        (JobError::Crashed("signal 11".into()), (422, "decoder_crash"), true),
    ] {
        *scene.studio.0.fails.lock().unwrap() = Some(error);
        let answer = scene.answer(name).await;
        assert_eq!(answer.tainted, is_tainted);
        assert!(!answer.response.to_string().contains("secret"), "{}", answer.response);
        assert_eq!(scene.refused(name).await, (expected.0, expected.1.into()));
    }
    assert_eq!(scene.pictures(), Vec::<String>::new());
    // A picture that was made while the source was there outlives it.
    *scene.studio.0.fails.lock().unwrap() = None;
    let made = scene.picture(name).await;
    *scene.studio.0.fails.lock().unwrap() = Some(JobError::Refused(Code::SourceGone));
    assert_eq!(scene.picture(name).await, made);
}

/// Work that cannot succeed is done once: for a day, or until the video's pictures are made again.
#[tokio::test]
async fn a_picture_that_cannot_be_made_is_not_tried_again() {
    let name = "thumbnail-time_1.jpg";
    for (error, status, code, hours) in [
        (JobError::Refused(Code::Truncated), 422, "truncated", 23),
        (JobError::Crashed("signal 11".into()), 422, "decoder_crash", 23),
        (JobError::Refused(Code::TimedOut), 422, "timed_out", 0),
    ] {
        let scene = Scene::ready().await;
        *scene.studio.0.takes_none.lock().unwrap() = Some(error);
        assert_eq!(scene.refused(name).await, (status, code.into()));
        assert_eq!(scene.pictures(), [format!("{name}.refused.json")]);
        *scene.studio.0.takes_none.lock().unwrap() = None;
        for _ in 0..3 {
            assert_eq!(scene.refused(name).await, (status, code.into()), "{code} is remembered");
        }
        assert_eq!(scene.opened(), 1, "{code}");
        scene.picture("thumbnail-time_2.jpg").await;
        let later =
            |now_ms| Darkroom { store: Arc::clone(&scene.room.store), cameras: scene.studio.clone(), now_ms };
        let path = format!("/{}/{name}", video());
        if hours > 0 {
            let soon = later(|| GRANTED_MS + 23 * 3_600_000);
            assert_eq!(answer(&soon, &path).await.response["statusCode"], status);
        }
        let next_day = later(|| GRANTED_MS + 25 * 3_600_000);
        assert_eq!(answer(&next_day, &path).await.response["statusCode"], 200, "{code} a day later");
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_not_remembered() {
    let scene = Scene::ready().await;
    let name = "thumbnail-time_1.jpg";
    for error in [
        JobError::upstream("503"),
        JobError::internal("no memory"),
        JobError::Superseded,
        JobError::Refused(Code::SourceGone),
    ] {
        *scene.studio.0.takes_none.lock().unwrap() = Some(error);
        scene.refused(name).await;
    }
    assert_eq!(scene.pictures(), Vec::<String>::new());
    *scene.studio.0.takes_none.lock().unwrap() = None;
    scene.picture(name).await;
}

#[tokio::test]
async fn a_refusal_is_void_when_the_video_is_made_again() {
    let scene = Scene::ready().await;
    let name = "thumbnail-time_1.jpg";
    *scene.studio.0.takes_none.lock().unwrap() = Some(JobError::Refused(Code::Truncated));
    scene.refused(name).await;
    *scene.studio.0.takes_none.lock().unwrap() = None;
    let timings = Timings { committed: GRANTED_MS + 2_000, ..Timings::default() };
    let json = serde_json::to_vec(&Manifest { timings, ..manifest() }).unwrap();
    let (head, _) = scene.room.store.whole(&Key::Manifest(video()), 1 << 20).await.unwrap();
    scene.room.store.replace_manifest(&Key::Manifest(video()), json.into(), &head.etag).await.unwrap();
    scene.picture(name).await;
}

/// It is refused by its size alone, before the source is opened, and says what may be asked for.
#[tokio::test]
async fn a_png_of_too_many_pixels_is_refused() {
    let square = Source { width: 7680, height: 7680, duration_ms: 8_000, ..Source::default() };
    let scene = Scene::with(&Manifest { source: square, ..manifest() }).await;
    for name in ["thumbnail-width_3840.png", "thumbnail-width_3840-height_3840-fit_mode_pad.png"] {
        let answer = scene.answer(name).await.response;
        let body = answer["body"].as_str().unwrap();
        assert_eq!(answer["statusCode"], 400, "{answer}");
        assert!(body.contains("bad_parameter") && body.contains("8294400 pixels"), "{body}");
    }
    assert_eq!((scene.opened(), scene.pictures()), (0, Vec::new()));
    let wide = Source { width: 7680, height: 4320, duration_ms: 8_000, ..Source::default() };
    let scene = Scene::with(&Manifest { source: wide, ..manifest() }).await;
    scene.answer("thumbnail-width_3840.png").await;
    assert_eq!(scene.pictures(), ["thumbnail-width_3840.png"]);
}

#[tokio::test]
async fn the_deadline_ends_the_work() {
    let scene = Scene::ready().await;
    // Nobody else comes to meet.
    *scene.studio.0.meet.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    let path = format!("/{}/thumbnail-time_1.jpg", video());
    let deadline = Instant::now() + Duration::from_millis(20);
    let answer = scene.room.answer(&event(&path), "r1", deadline).await.response;
    assert_eq!(answer["statusCode"], 500);
    assert_eq!(scene.pictures(), Vec::<String>::new());
}

/// The choice that an answer carries.
fn chosen(answer: &Answer) -> Poster {
    assert_eq!(answer.response["statusCode"], 200, "{}", answer.response);
    serde_json::from_str(answer.response["body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_chosen_poster_is_written_behind_the_thumbnails_that_show_it() {
    let scene = Scene::ready().await;
    scene.studio.0.is_restless.store(true, Ordering::Relaxed);
    let first = chosen(&scene.answer("poster-time_1.5").await);
    assert_eq!((first.time_ms, first.revision, first.chosen_at), (Some(1500), 1, GRANTED_MS + 1_000));
    assert_eq!(scene.studio.0.stills.lock().unwrap()[0].0, Some(1500));
    assert_eq!(scene.pictures(), ["poster.json", "thumbnail.jpg", "thumbnail.webp"]);
    for output in &first.outputs {
        let key = format!("media/{}/{}", video(), output.variant).parse().unwrap();
        let stored = scene.room.store.get(&key).unwrap();
        assert_eq!(
            (&stored.head.etag, stored.head.bytes),
            (&output.etag, output.bytes),
            "{}",
            output.variant
        );
        assert_eq!(stored.head.visibility.as_deref(), Some("signed"));
        let format = if output.variant.ends_with("jpg") { Format::Jpg } else { Format::Webp };
        assert_eq!(header::facts(format, &stored.bytes).unwrap().size, Size { width: 320, height: 180 });
    }
    let back = chosen(&scene.answer("poster").await);
    assert_eq!((back.time_ms, back.revision), (None, 2));
    assert_ne!(back.outputs[0].etag, first.outputs[0].etag);
    assert_eq!(scene.studio.0.stills.lock().unwrap()[1].0, None, "the best frame");
    let stored = scene.room.store.get(&Key::Poster(video())).unwrap();
    assert_eq!(serde_json::from_slice::<Poster>(&stored.bytes).unwrap(), back);
}

/// Of two who choose at once the later wins, with thumbnails and choice.
#[tokio::test]
async fn a_choice_that_meets_another_is_written_anew_and_whole() {
    let scene = Scene::ready().await;
    scene.studio.0.is_restless.store(true, Ordering::Relaxed);
    *scene.studio.0.meet.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    let (a, b) = tokio::join!(scene.answer("poster-time_1"), scene.answer("poster-time_2"));
    let mut both = [chosen(&a), chosen(&b)];
    both.sort_by_key(|poster| poster.revision);
    assert_eq!([both[0].revision, both[1].revision], [1, 2]);
    let stored = scene.room.store.get(&Key::Poster(video())).unwrap();
    assert_eq!(serde_json::from_slice::<Poster>(&stored.bytes).unwrap(), both[1]);
    for output in &both[1].outputs {
        let key = format!("media/{}/{}", video(), output.variant).parse().unwrap();
        assert_eq!(scene.room.store.get(&key).unwrap().head.etag, output.etag);
    }
    *scene.studio.0.meet.lock().unwrap() = None;
    scene.room.store.fail_next_create(StoreError::Conflict);
    assert_eq!(chosen(&scene.answer("poster-time_3").await).revision, 3);
}

#[tokio::test]
async fn a_poster_that_cannot_be_is_refused_and_changes_nothing() {
    let scene = Scene::ready().await;
    assert_eq!(scene.refused("poster-time_8.001").await, (400, "bad_parameter".to_owned()));
    *scene.studio.0.fails.lock().unwrap() = Some(JobError::Refused(Code::SourceGone));
    assert_eq!(scene.refused("poster-time_1").await, (410, "source_gone".to_owned()));
    assert!(scene.pictures().is_empty());
}
