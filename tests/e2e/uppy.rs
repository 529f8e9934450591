//! Unmodified releases of Uppy: `tests/browser/uppy/run.mjs` in a real Chromium, once for each major version.

use std::process::Stdio;

use e2e::keys::{bearer_token, now_secs};
use e2e::stack::{Options, SESSION_SECRET, Stack, free_port};
use e2e::{env_path, media};
use glimpse_edge::auth::{Cookies, Oidc, Secret, Session};
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// The provider in the session cookie; it receives no requests.
const PROVIDER: &str = "http://localhost:1";

#[tokio::test]
async fn uppy_v4_uploads_pauses_resumes_and_retries() {
    run_uppy_script("v4").await;
}

#[tokio::test]
async fn uppy_v5_uploads_pauses_resumes_and_retries() {
    run_uppy_script("v5").await;
}

#[tokio::test]
async fn uppy_v6_uploads_pauses_resumes_and_retries() {
    run_uppy_script("v6").await;
}

async fn run_uppy_script(generation: &str) {
    let port = free_port();
    let stack = Stack::start(Options {
        origins: vec![format!("http://127.0.0.1:{port}")],
        vars: [("OIDC_ISSUER".to_owned(), PROVIDER.to_owned())].into(),
        ..Options::default()
    })
    .await;
    let folder = TempDir::new().unwrap();
    let clip = folder.path().join("clip.mp4");
    media::write_clip(3, "320x180", &clip);
    let root = env_path("GLIMPSE_ROOT");
    let s3 = stack.cloud.settings();
    let story = json!({
        "generation": generation,
        "edge": stack.edge,
        "port": port,
        "bearer": bearer_token("uppy"),
        "cookie": session_cookie(&stack),
        "clip": clip,
        "shots": root.join("target/screenshots"),
        "s3": {
            "endpoint": stack.cloud.addresses().s3_endpoint,
            "bucket": s3.bucket,
            "region": s3.region,
            "accessKeyId": s3.access_key_id,
            "secretAccessKey": s3.secret_access_key,
        },
    });
    let mut program = Command::new(env_path("GLIMPSE_NODE"))
        .arg(root.join("tests/browser/uppy/run.mjs"))
        .env("GLIMPSE_STORY", story.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut answers = program.stdin.take().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        match line.strip_prefix("stumble ") {
            Some(wish) => {
                stack.cloud.fault_injector().add(slow_down_fault(wish));
                answers.write_all(b"done\n").await.unwrap();
            }
            None => println!("{line}"),
        }
    }
    let status = program.wait().await.unwrap();
    if !status.success() {
        println!("{}", stack.lines().join("\n"));
    }
    assert!(status.success(), "Uppy {generation} failed: see above");
}

/// Parses a fault that `tests/browser/uppy/story.mjs` requests: `METHOD TIMES`.
fn slow_down_fault(spec: &str) -> InjectedFault {
    let (method, times) = spec.split_once(' ').unwrap();
    InjectedFault {
        method: method.parse::<Method>().unwrap(),
        prefix: "uploads/".into(),
        times: times.parse().unwrap(),
        kind: FaultKind::SlowDown,
    }
}

/// The cookie of a signed-in user, `{name, value}`.
fn session_cookie(stack: &Stack) -> Value {
    let oidc = Oidc {
        issuer: PROVIDER.into(),
        client_id: "glimpse-dev".into(),
        client_secret: None,
        session_secret: Secret::new(SESSION_SECRET.as_bytes().to_vec()),
    };
    let claims = json!({ "iss": PROVIDER, "sub": "uppy", "aud": oidc.client_id, "exp": now_secs() + 600 });
    let session = Session::new(e2e::keys::claims(&claims), &stack.edge, now_secs() * 1000);
    let set = Cookies::new(false).set_session(&session, &oidc);
    let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).unwrap();
    json!({ "name": name, "value": value })
}
