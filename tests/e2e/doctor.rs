//! The doctor reports no issue for a working deployment, and the right one for a broken one.
//!
//! Every issue of `glimpse_doctor::issue` is provoked here, with two exceptions. Some cannot occur with this S3 and
//! this edge, or not on machines of every speed: their checks have unit tests of their own (`not_enforced`,
//! `replaceable`, `not_conditional`, `no_picture`, `limited`). Those of the roles are provoked by `deploy/tests/test_drift.py`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::keys::{AUDIENCE, ISSUER, SECRET, bearer_token, now_secs, to_json};
use e2e::person::ApiClient;
use e2e::stack::{Options, Stack, free_port};
use glimpse_doctor::issue::Issue;
use glimpse_doctor::report::CheckReport;
use glimpse_doctor::{ApiCredential, Settings, run_checks};
use glimpse_edge::auth::{Secret, sign_hs256};
use glimpse_local::Config;
use glimpse_local::s3::cors::CorsRule;
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

/// All checks of a run without issues.
const STEPS: [&str; 16] = [
    "edge", "token", "grant", "clock", "bucket", "cors", "limits", "upload", "once", "private", "pictures",
    "delivery", "etag", "render", "cache", "delete",
];

fn settings(edge: &str) -> Settings {
    Settings {
        edge: edge.to_owned(),
        credential: Some(ApiCredential::Token(bearer_token("doctor"))),
        origins: Vec::new(),
        processing_timeout: Duration::from_secs(90),
    }
}

async fn run_doctor(settings: &Settings) -> Vec<CheckReport> {
    run_doctor_at(settings, Timestamp::now).await
}

async fn run_doctor_at(settings: &Settings, now: fn() -> Timestamp) -> Vec<CheckReport> {
    let mut reported = Vec::new();
    let steps = run_checks(settings, now, |step| reported.push(step.clone())).await.unwrap();
    assert_eq!(steps, reported, "each check is reported");
    steps
}

/// Asserts that the run ended with this issue at this check.
#[track_caller]
fn assert_only_issue(steps: &[CheckReport], name: &str, issue: Issue) {
    let failed: Vec<_> = steps.iter().filter(|step| step.result.is_err()).collect();
    let found: Vec<_> = failed
        .iter()
        .map(|step| (step.name, step.result.as_ref().map_err(|finding| finding.issue)))
        .collect();
    assert_eq!(found, [(name, Err(issue))], "{steps:#?}");
    let text = failed[0].to_string();
    assert!(text.contains(issue.fix()) && text.contains("FAILED"), "{text}");
    assert!(!text.contains("X-Amz-Signature") && !text.contains(SECRET), "{text}");
}

/// Asserts that the doctor reports this issue for a stack with these options.
async fn assert_doctor_finds(options: Options, name: &str, issue: Issue) {
    let stack = Stack::start(options).await;
    let steps =
        run_doctor(&Settings { processing_timeout: Duration::from_mins(1), ..settings(&stack.edge) }).await;
    assert_only_issue(&steps, name, issue);
}

fn stack_options(name: &str, value: &str) -> Options {
    Options { vars: [(name.to_owned(), value.to_owned())].into(), no_function: true, ..Options::default() }
}

fn deny(stack: &Stack, method: Method, prefix: &str) {
    stack.cloud.fault_injector().add(InjectedFault {
        method,
        prefix: prefix.into(),
        times: 10_000,
        kind: FaultKind::AccessDenied,
    });
}

#[tokio::test]
async fn healthy_stack_passes_and_is_left_clean() {
    let stack = Stack::start(Options::default()).await;
    let steps = run_doctor(&settings(&stack.edge)).await;
    let names: Vec<_> = steps.iter().map(|step| step.name).collect();
    assert!(steps.iter().all(|step| step.result.is_ok()), "{steps:#?}");
    assert_eq!(names, STEPS);
    assert_eq!(stack.cloud.store().list("uploads/"), [""; 0]);
    assert!(
        stack.cloud.store().list("media/").iter().all(|key| key.ends_with("/manifest.json")),
        "tombstones"
    );

    // Credentials.
    let no_credential = Settings { credential: None, ..settings(&stack.edge) };
    assert_only_issue(&run_doctor(&no_credential).await, "token", Issue::NoToken);
    let with_claims = |exp: u64, secret: &str| {
        let claims = json!({ "iss": ISSUER, "sub": "doctor", "aud": AUDIENCE, "exp": exp });
        let token = sign_hs256(&to_json(&claims), &Secret::new(secret.as_bytes().to_vec()));
        Settings { credential: Some(ApiCredential::Token(token)), ..settings(&stack.edge) }
    };
    assert_only_issue(
        &run_doctor(&with_claims(now_secs() - 3600, SECRET)).await,
        "token",
        Issue::TokenExpired,
    );
    let foreign = "another secret than the deployment's, 256 bits";
    assert_only_issue(
        &run_doctor(&with_claims(now_secs() + 3600, foreign)).await,
        "token",
        Issue::TokenRefused,
    );

    // URL and clock.
    let closed = settings(&format!("http://127.0.0.1:{}", free_port()));
    assert_only_issue(&run_doctor(&closed).await, "edge", Issue::Unreachable);
    let foreign = settings(&stack.cloud.addresses().s3_endpoint);
    assert_only_issue(&run_doctor(&foreign).await, "edge", Issue::NotGlimpse);
    let late = || Timestamp::now() + SignedDuration::from_mins(10);
    assert_only_issue(&run_doctor_at(&settings(&stack.edge), late).await, "clock", Issue::OurClock);
}

#[tokio::test]
async fn finds_denied_storage_actions() {
    let stack = Stack::start(Options { no_limits: true, ..Options::default() }).await;
    let walk = || async { run_doctor(&settings(&stack.edge)).await };
    deny(&stack, Method::PUT, "uploads/");
    assert_only_issue(&walk().await, "upload", Issue::UploadDenied);
    stack.cloud.fault_injector().clear();

    // The Worker checks sources by HEAD, the function reads them by GET.
    deny(&stack, Method::HEAD, "uploads/");
    assert_only_issue(&walk().await, "pictures", Issue::EdgeDenied);
    stack.cloud.fault_injector().clear();
    deny(&stack, Method::GET, "uploads/");
    assert_only_issue(&walk().await, "pictures", Issue::EngineDenied);
    stack.cloud.fault_injector().clear();
    deny(&stack, Method::DELETE, "uploads/");
    assert_only_issue(&walk().await, "delete", Issue::NotDeleted);
    stack.cloud.fault_injector().clear();
    assert!(walk().await.iter().all(|step| step.result.is_ok()), "no issue once the permission is back");
}

#[tokio::test]
async fn finds_wrong_bucket_cors() {
    let change = |config: &mut Config| {
        let rule = |host: &str| CorsRule::for_uploads([format!("https://{host}.example")]);
        config.s3.cors_rules.extend([
            CorsRule { expose_headers: vec!["Location".into()], ..rule("etag") },
            CorsRule { allowed_methods: vec!["GET".into(), "HEAD".into()], ..rule("method") },
            CorsRule { allowed_headers: vec!["content-type".into()], ..rule("headers") },
        ]);
    };
    let stack =
        Stack::start(Options { configure: Some(change), no_function: true, ..Options::default() }).await;
    for (host, name, issue) in [
        ("elsewhere", "cors", Issue::CorsOrigin),
        ("method", "cors", Issue::CorsMethod),
        ("headers", "cors", Issue::CorsHeaders),
        ("etag", "upload", Issue::CorsEtag),
    ] {
        let origins = vec![format!("https://{host}.example")];
        assert_only_issue(&run_doctor(&Settings { origins, ..settings(&stack.edge) }).await, name, issue);
    }
}

#[tokio::test]
async fn distinguishes_wrong_worker_settings() {
    for (name, value, step, issue) in [
        ("S3_ACCESS_KEY_ID", "another-key", "upload", Issue::WrongKey),
        ("S3_SECRET_ACCESS_KEY", "not-the-other-half", "upload", Issue::WrongSecret),
        ("S3_REGION", "eu-west-1", "upload", Issue::WrongRegion),
        ("S3_BUCKET", "another-bucket", "upload", Issue::WrongBucket),
        ("S3_BUCKET", "", "edge", Issue::Misconfigured),
        ("MAX_UPLOAD_BYTES", "1000", "grant", Issue::GrantRefused),
    ] {
        assert_doctor_finds(stack_options(name, value), step, issue).await;
    }
    let closed_port = format!("http://127.0.0.1:{}", free_port());
    assert_doctor_finds(stack_options("S3_ENDPOINT", &closed_port), "bucket", Issue::BucketUnreachable).await;
}

#[tokio::test]
async fn finds_public_bucket_and_wrong_clock() {
    let change = |config: &mut Config| config.s3.is_public = true;
    let stack =
        Stack::start(Options { configure: Some(change), no_function: true, ..Options::default() }).await;
    assert_only_issue(&run_doctor(&settings(&stack.edge)).await, "private", Issue::PublicSource);
    deny(&stack, Method::GET, "uploads/");
    assert_only_issue(&run_doctor(&settings(&stack.edge)).await, "private", Issue::PublicList);

    let change = |config: &mut Config| config.s3.clock_skew_secs = 3600;
    let stack =
        Stack::start(Options { configure: Some(change), no_function: true, ..Options::default() }).await;
    assert_only_issue(&run_doctor(&settings(&stack.edge)).await, "bucket", Issue::BucketClock);
    // Not a false alarm: uploads really fail.
    let ann = ApiClient::new(&stack, "ann");
    let (_, upload) = ann.create("a.mp4", "video/mp4", 4, json!({})).await;
    let refused = ann.put(&upload, b"clip".to_vec()).await;
    assert_eq!(refused.status, 403, "{}", String::from_utf8_lossy(&refused.body));
}

#[tokio::test]
async fn distinguishes_events_layer_and_ffmpeg_failures() {
    let no_events = |config: &mut Config| config.s3.event_prefix = "elsewhere/".into();
    let stack =
        Stack::start(Options { configure: Some(no_events), no_function: true, ..Options::default() }).await;
    let hasty = Settings { processing_timeout: Duration::from_secs(3), ..settings(&stack.edge) };
    assert_only_issue(&run_doctor(&hasty).await, "pictures", Issue::NoOutcome);
    drop(stack);

    let no_layer = |config: &mut Config| ffmpeg_of_preview(config, "/opt/bin/ffmpeg");
    let options = |change| Options { configure: Some(change), ..Options::default() };
    assert_doctor_finds(options(no_layer), "pictures", Issue::NoDecoder).await;
    // An ffmpeg that rejects every file.
    let useless = |config: &mut Config| ffmpeg_of_preview(config, "/bin/false");
    assert_doctor_finds(options(useless), "pictures", Issue::EngineRefused).await;

    let stack = Stack::start(Options { max_receives: 1, ..Options::default() }).await;
    let kind = FaultKind::InternalError;
    stack.cloud.fault_injector().add(InjectedFault {
        method: Method::GET,
        prefix: "uploads/".into(),
        times: 10_000,
        kind,
    });
    assert_only_issue(&run_doctor(&settings(&stack.edge)).await, "pictures", Issue::EngineFailed);
}

fn ffmpeg_of_preview(config: &mut Config, path: &str) {
    let function = config.function.as_mut().expect("preview runs");
    function.env.insert("GLIMPSE_FFMPEG".into(), path.into());
}

#[tokio::test]
async fn finds_delivery_and_render_failures() {
    assert_doctor_finds(Options { no_cache: true, ..Options::default() }, "cache", Issue::NoCache).await;
    let render = |url: &str| Options {
        vars: [("RENDER_URL".to_owned(), url.to_owned())].into(),
        ..Options::default()
    };
    assert_doctor_finds(render(""), "render", Issue::NoRender).await;
    assert_doctor_finds(render(&format!("http://127.0.0.1:{}", free_port())), "render", Issue::RenderRefused)
        .await;
    let foreign_layer = |config: &mut Config| {
        let function = &mut config.render.as_mut().expect("render runs").function;
        function.env.insert("GLIMPSE_FFMPEG".into(), foreign_program().to_string_lossy().into_owned());
    };
    assert_doctor_finds(
        Options { configure: Some(foreign_layer), ..Options::default() },
        "render",
        Issue::NoDecoder,
    )
    .await;
}

/// A program for a processor on which these tests never run (EM_AVR32).
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

/// The table of docs/operating.md matches the code.
#[test]
fn docs_list_every_issue() {
    let docs = fs::read_to_string(e2e::env_path("GLIMPSE_ROOT").join("docs/operating.md")).unwrap();
    for issue in Issue::ALL {
        let row = format!("| `{}` | {} | {} |", issue.code(), issue.title(), issue.fix());
        assert!(docs.contains(&row), "docs/operating.md lacks the row\n{row}");
    }
    let table = docs.split("| code | issue | fix |").nth(1).unwrap_or_default();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Issue::ALL.len(), "docs/operating.md has obsolete rows");
}
