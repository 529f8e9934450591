//! The doctor finds nothing wrong with a deployment that works, and names what is wrong with one that does not.
//!
//! Every ill of `glimpse_doctor::issue` is made on purpose here, but for those that this S3 and this edge do not have, or not
//! at every pace of the machine: their judges have tables of their own (`not_enforced`, `replaceable`, `not_conditional`,
//! `no_picture`, `limited`), and but for those of the roles, which `deploy/tampered.py` makes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::keys::{AUDIENCE, ISSUER, SECRET, now_secs, secret_token, tree};
use e2e::person::Person;
use e2e::stack::{Options, Stack, free_port};
use glimpse_doctor::issue::Ill;
use glimpse_doctor::report::Step;
use glimpse_doctor::{Proof, Settings, examine};
use glimpse_edge::auth::{Secret, sign_hs256};
use glimpse_local::Config;
use glimpse_local::s3::cors::CorsRule;
use glimpse_local::s3::fault::{Fault, FaultKind};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

/// Every step of a walk that finds nothing wrong.
const STEPS: [&str; 16] = [
    "edge", "token", "grant", "clock", "bucket", "cors", "limits", "upload", "once", "private", "pictures",
    "delivery", "etag", "render", "cache", "delete",
];

fn settings(edge: &str) -> Settings {
    Settings {
        edge: edge.to_owned(),
        proof: Some(Proof::Token(secret_token("doctor"))),
        origins: Vec::new(),
        wait: Duration::from_secs(90),
    }
}

async fn walk(settings: &Settings) -> Vec<Step> {
    walk_at(settings, Timestamp::now).await
}

async fn walk_at(settings: &Settings, now: fn() -> Timestamp) -> Vec<Step> {
    let mut told = Vec::new();
    let steps = examine(settings, now, |step| told.push(step.clone())).await.unwrap();
    assert_eq!(steps, told, "each step is told");
    steps
}

/// Where a walk has found what.
#[track_caller]
fn check(steps: &[Step], name: &str, ill: Ill) {
    let failed: Vec<_> = steps.iter().filter(|step| step.result.is_err()).collect();
    let found: Vec<_> =
        failed.iter().map(|step| (step.name, step.result.as_ref().map_err(|finding| finding.ill))).collect();
    assert_eq!(found, [(name, Err(ill))], "{steps:#?}");
    let text = failed[0].to_string();
    assert!(text.contains(ill.cure()) && text.contains("FAILED"), "{text}");
    assert!(!text.contains("X-Amz-Signature") && !text.contains(SECRET), "{text}");
}

/// What is wrong with a stack like that.
async fn finds(options: Options, name: &str, ill: Ill) {
    let stack = Stack::start(options).await;
    let steps = walk(&Settings { wait: Duration::from_mins(1), ..settings(&stack.edge) }).await;
    check(&steps, name, ill);
}

fn with(name: &str, value: &str) -> Options {
    Options { vars: [(name.to_owned(), value.to_owned())].into(), no_function: true, ..Options::default() }
}

fn denied(stack: &Stack, method: Method, prefix: &str) {
    stack.cloud.faults().add(Fault { method, prefix: prefix.into(), times: 10_000, kind: FaultKind::Denied });
}

#[tokio::test]
async fn a_doctor_finds_nothing_wrong_with_what_works_and_leaves_nothing() {
    let stack = Stack::start(Options::default()).await;
    let steps = walk(&settings(&stack.edge)).await;
    let names: Vec<_> = steps.iter().map(|step| step.name).collect();
    assert!(steps.iter().all(|step| step.result.is_ok()), "{steps:#?}");
    assert_eq!(names, STEPS);
    assert_eq!(stack.cloud.store().list("uploads/"), [""; 0]);
    assert!(
        stack.cloud.store().list("media/").iter().all(|key| key.ends_with("/manifest.json")),
        "tombstones"
    );

    // Who asks.
    let nobody = Settings { proof: None, ..settings(&stack.edge) };
    check(&walk(&nobody).await, "token", Ill::NoToken);
    let with_claims = |exp: u64, secret: &str| {
        let claims = json!({ "iss": ISSUER, "sub": "doctor", "aud": AUDIENCE, "exp": exp });
        let token = sign_hs256(&tree(&claims), &Secret::new(secret.as_bytes().to_vec()));
        Settings { proof: Some(Proof::Token(token)), ..settings(&stack.edge) }
    };
    check(&walk(&with_claims(now_secs() - 3600, SECRET)).await, "token", Ill::TokenExpired);
    let foreign = "another secret than the deployment's, 256 bits";
    check(&walk(&with_claims(now_secs() + 3600, foreign)).await, "token", Ill::TokenRefused);

    // Where, and when.
    let closed = settings(&format!("http://127.0.0.1:{}", free_port()));
    check(&walk(&closed).await, "edge", Ill::Unreachable);
    let foreign = settings(&stack.cloud.addresses().s3_endpoint);
    check(&walk(&foreign).await, "edge", Ill::NotGlimpse);
    let late = || Timestamp::now() + SignedDuration::from_mins(10);
    check(&walk_at(&settings(&stack.edge), late).await, "clock", Ill::OurClock);
}

#[tokio::test]
async fn a_doctor_sees_what_storage_refuses() {
    let stack = Stack::start(Options { no_limits: true, ..Options::default() }).await;
    let walk = || async { walk(&settings(&stack.edge)).await };
    denied(&stack, Method::PUT, "uploads/");
    check(&walk().await, "upload", Ill::UploadDenied);
    stack.cloud.faults().clear();

    // The Worker asks about sources by HEAD, the function reads them by GET.
    denied(&stack, Method::HEAD, "uploads/");
    check(&walk().await, "pictures", Ill::EdgeDenied);
    stack.cloud.faults().clear();
    denied(&stack, Method::GET, "uploads/");
    check(&walk().await, "pictures", Ill::EngineDenied);
    stack.cloud.faults().clear();
    denied(&stack, Method::DELETE, "uploads/");
    check(&walk().await, "delete", Ill::NotDeleted);
    stack.cloud.faults().clear();
    assert!(walk().await.iter().all(|step| step.result.is_ok()), "and once more it is well");
}

#[tokio::test]
async fn a_doctor_reads_the_buckets_cors() {
    let change = |config: &mut Config| {
        let rule = |host: &str| CorsRule::for_uploads([format!("https://{host}.example")]);
        config.s3.cors.extend([
            CorsRule { expose_headers: vec!["Location".into()], ..rule("etag") },
            CorsRule { allowed_methods: vec!["GET".into(), "HEAD".into()], ..rule("method") },
            CorsRule { allowed_headers: vec!["content-type".into()], ..rule("headers") },
        ]);
    };
    let stack = Stack::start(Options { change: Some(change), no_function: true, ..Options::default() }).await;
    for (host, name, ill) in [
        ("elsewhere", "cors", Ill::CorsOrigin),
        ("method", "cors", Ill::CorsMethod),
        ("headers", "cors", Ill::CorsHeaders),
        ("etag", "upload", Ill::CorsEtag),
    ] {
        let origins = vec![format!("https://{host}.example")];
        check(&walk(&Settings { origins, ..settings(&stack.edge) }).await, name, ill);
    }
}

#[tokio::test]
async fn a_doctor_tells_wrong_settings_of_the_worker_apart() {
    for (name, value, step, ill) in [
        ("S3_ACCESS_KEY_ID", "somebody-else", "upload", Ill::WrongKey),
        ("S3_SECRET_ACCESS_KEY", "not-the-other-half", "upload", Ill::WrongSecret),
        ("S3_REGION", "eu-west-1", "upload", Ill::WrongRegion),
        ("S3_BUCKET", "another-bucket", "upload", Ill::WrongBucket),
        ("S3_BUCKET", "", "edge", Ill::Misconfigured),
        ("MAX_UPLOAD_BYTES", "1000", "grant", Ill::GrantRefused),
    ] {
        finds(with(name, value), step, ill).await;
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    finds(with("S3_ENDPOINT", &nobody), "bucket", Ill::BucketUnreachable).await;
}

#[tokio::test]
async fn a_doctor_tells_a_bucket_that_everybody_reads_and_a_clock_that_is_wrong() {
    let change = |config: &mut Config| config.s3.is_public = true;
    let stack = Stack::start(Options { change: Some(change), no_function: true, ..Options::default() }).await;
    check(&walk(&settings(&stack.edge)).await, "private", Ill::PublicSource);
    denied(&stack, Method::GET, "uploads/");
    check(&walk(&settings(&stack.edge)).await, "private", Ill::PublicList);

    let change = |config: &mut Config| config.s3.clock_ahead_secs = 3600;
    let stack = Stack::start(Options { change: Some(change), no_function: true, ..Options::default() }).await;
    check(&walk(&settings(&stack.edge)).await, "bucket", Ill::BucketClock);
    // It is no false alarm: nothing can be uploaded.
    let ann = Person::new(&stack, "ann");
    let (_, upload) = ann.create("a.mp4", "video/mp4", 4, json!({})).await;
    let refused = ann.put(&upload, b"clip".to_vec()).await;
    assert_eq!(refused.status, 403, "{}", String::from_utf8_lossy(&refused.body));
}

#[tokio::test]
async fn a_doctor_tells_events_layer_and_engine_apart() {
    let no_events = |config: &mut Config| config.s3.event_prefix = "elsewhere/".into();
    let stack =
        Stack::start(Options { change: Some(no_events), no_function: true, ..Options::default() }).await;
    let hasty = Settings { wait: Duration::from_secs(3), ..settings(&stack.edge) };
    check(&walk(&hasty).await, "pictures", Ill::NoOutcome);
    drop(stack);

    let no_layer = |config: &mut Config| ffmpeg_of_preview(config, "/opt/bin/ffmpeg");
    let options = |change| Options { change: Some(change), ..Options::default() };
    finds(options(no_layer), "pictures", Ill::NoDecoder).await;
    // One that refuses every file.
    let useless = |config: &mut Config| ffmpeg_of_preview(config, "/bin/false");
    finds(options(useless), "pictures", Ill::EngineRefused).await;

    let stack = Stack::start(Options { max_receives: 1, ..Options::default() }).await;
    let kind = FaultKind::InternalError;
    stack.cloud.faults().add(Fault { method: Method::GET, prefix: "uploads/".into(), times: 10_000, kind });
    check(&walk(&settings(&stack.edge)).await, "pictures", Ill::EngineFailed);
}

fn ffmpeg_of_preview(config: &mut Config, path: &str) {
    let function = config.function.as_mut().expect("preview runs");
    function.env.insert("GLIMPSE_FFMPEG".into(), path.into());
}

#[tokio::test]
async fn a_doctor_looks_at_delivery_and_at_pictures_on_demand() {
    finds(Options { no_cache: true, ..Options::default() }, "cache", Ill::NoCache).await;
    let render = |url: &str| Options {
        vars: [("RENDER_URL".to_owned(), url.to_owned())].into(),
        ..Options::default()
    };
    finds(render(""), "render", Ill::NoRender).await;
    finds(render(&format!("http://127.0.0.1:{}", free_port())), "render", Ill::RenderRefused).await;
    let foreign_layer = |config: &mut Config| {
        let function = &mut config.render.as_mut().expect("render runs").function;
        function.env.insert("GLIMPSE_FFMPEG".into(), foreign_program().to_string_lossy().into_owned());
    };
    finds(Options { change: Some(foreign_layer), ..Options::default() }, "render", Ill::NoDecoder).await;
}

/// A program for another processor than any that this runs on (EM_AVR32).
fn foreign_program() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (bytes, program) = (folder.join("foreign"), folder.join("foreign-ffmpeg"));
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xad\x18\x01".to_vec();
    elf.resize(4096, 0);
    fs::write(&bytes, elf).unwrap();
    let installed = Command::new("install").args(["-m", "755"]).args([&bytes, &program]).status().unwrap();
    assert!(installed.success());
    program
}

/// The table of docs/operating.md is the code's.
#[test]
fn every_ill_stands_in_the_docs() {
    let docs = fs::read_to_string(e2e::named("GLIMPSE_ROOT").join("docs/operating.md")).unwrap();
    for ill in Ill::ALL {
        let row = format!("| `{}` | {} | {} |", ill.word(), ill.title(), ill.cure());
        assert!(docs.contains(&row), "docs/operating.md lacks the row\n{row}");
    }
    let table = docs.split("| what is said | what is wrong | what mends it |").nth(1).unwrap_or_default();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Ill::ALL.len(), "docs/operating.md has rows that are gone");
}
