//! The JavaScript package `@glimpse-video/client`, in Node.js, in workerd and in Chromium, with the real Worker.
//!
//! The scripts are in `tests/clients/js`. A script prints a request as one line of JSON and reads the answer from its
//! standard input.

mod proxy;
mod vectors;

use std::path::Path;
use std::process::Stdio;

use e2e::keys::{self, bearer_token};
use e2e::person::ApiClient;
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, Stack, UPLOAD_TOKEN_SECRETS, free_port};
use e2e::{env_path, media};
use glimpse_local::Config;
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::watch;

use proxy::Proxy;

/// A stack whose clients and Worker reach S3 through the proxy.
async fn stack_with_proxy(options: Options) -> (Stack, Proxy) {
    let port = free_port();
    let (set_target, target) = watch::channel(String::new());
    let proxy = Proxy::start(port, target).await;
    let mut options = options;
    options.vars.insert("S3_ENDPOINT".to_owned(), format!("http://127.0.0.1:{port}"));
    let stack = Stack::start(options).await;
    let endpoint = stack.cloud.addresses().s3_endpoint.clone();
    set_target.send(endpoint.trim_start_matches("http://").to_owned()).unwrap();
    (stack, proxy)
}

/// The first key of a list of secrets, as `{kid, secret}`.
fn first_key(secrets: &str) -> Value {
    let (kid, secret) = secrets.split(',').next().and_then(|pair| pair.split_once('=')).unwrap();
    json!({ "kid": kid, "secret": secret })
}

/// The settings that every script gets.
fn settings(stack: &Stack) -> Value {
    json!({
        "edge": stack.edge,
        "bearer": bearer_token("ann"),
        "issuer": keys::ISSUER,
        "subject": "ann",
        "uploadKey": first_key(UPLOAD_TOKEN_SECRETS),
        "deliveryKey": first_key(DELIVERY_TOKEN_SECRETS),
    })
}

/// Runs a script of `tests/clients/js` and answers its requests.
async fn run_script(script: &str, stack: &Stack, proxy: Option<&Proxy>, more: Value) {
    let mut story = settings(stack);
    story.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut program = Command::new(env_path("GLIMPSE_NODE"))
        .arg(env_path("GLIMPSE_ROOT").join("tests/clients/js").join(script))
        .env("GLIMPSE_STORY", story.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut answers = program.stdin.take().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        match serde_json::from_str::<Value>(&line) {
            Ok(request) if request.is_object() => {
                let answer = answer(&request, stack, proxy);
                answers.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
            _ => println!("{line}"),
        }
    }
    let status = program.wait().await.unwrap();
    assert!(status.success(), "{script} failed; output of the stack:\n{}", stack.lines().join("\n"));
}

/// The answer to a request of a script.
fn answer(request: &Value, stack: &Stack, proxy: Option<&Proxy>) -> Value {
    let number = |name: &str| request[name].as_u64().unwrap_or_else(|| panic!("{request} has no {name}"));
    match request["ask"].as_str().unwrap_or_default() {
        // The calls of S3 since the last request of this kind.
        "calls" => stack
            .cloud
            .call_log()
            .take()
            .into_iter()
            .map(|call| {
                let (method, status, bytes) = (call.method, call.status, call.received_bytes);
                json!({ "method": method, "key": call.key, "status": status, "bytes": bytes, "part": call.part })
            })
            .collect(),
        // S3 answers so many requests of a method with this error.
        "fault" => {
            let kind = match request["kind"].as_str() {
                Some("SlowDown") => FaultKind::SlowDown,
                Some("InternalError") => FaultKind::InternalError,
                _ => panic!("{request} has no known kind"),
            };
            let method = request["method"].as_str().unwrap().parse().unwrap();
            let times = number("times") as u32;
            stack.cloud.fault_injector().add(InjectedFault { method, prefix: "uploads/".into(), times, kind });
            json!({})
        }
        "clear" => json!({ "pending": stack.cloud.fault_injector().clear() }),
        "cut" => {
            proxy.unwrap().cut_after(number("after"));
            json!({})
        }
        "traffic" => json!({ "sent": proxy.unwrap().sent(), "cuts": proxy.unwrap().cuts() }),
        // The number of multipart uploads that S3 has.
        "unfinished" => json!({ "count": stack.cloud.store().multipart_upload_count() }),
        _ => panic!("{request} is unknown"),
    }
}

/// A clip of about 42 MB, which has several parts.
fn write_large_clip(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("large clip.mp4");
    std::fs::write(&path, media::filled(21, 16)).unwrap();
    path
}

fn write_small_clip(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("Ski trip.mp4");
    media::write_clip(4, "640x360", &path);
    path
}

#[tokio::test]
async fn client_uploads_in_node() {
    // Signatures are valid for a minute, and S3's clock is ahead by most of it: they expire after a few seconds.
    let vars = [("UPLOAD_EXPIRES_SECS".to_owned(), "60".to_owned())].into();
    let configure = Some((|config| config.s3.clock_skew_secs = 54) as fn(&mut Config));
    let (stack, proxy) = stack_with_proxy(Options { vars, configure, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let clips = json!({
        "small": write_small_clip(folder.path()),
        "large": write_large_clip(folder.path()),
    });
    run_script("upload.mjs", &stack, Some(&proxy), clips).await;
}

#[tokio::test]
async fn client_resumes_after_its_process_was_killed() {
    let (stack, proxy) = stack_with_proxy(Options { no_function: true, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let more = json!({ "large": write_large_clip(folder.path()), "folder": folder.path() });
    run_script("kill.mjs", &stack, Some(&proxy), more).await;
}

#[tokio::test]
async fn client_resumes_after_a_reload_in_chromium() {
    let port = free_port();
    let origins = vec![format!("http://127.0.0.1:{port}")];
    let stack = Stack::start(Options { origins, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let more = json!({ "large": write_large_clip(folder.path()), "port": port, "small": write_small_clip(folder.path()) });
    run_script("reload.mjs", &stack, None, more).await;
}

/// Uploads the clip as a ready video with this visibility.
async fn ready_video(stack: &Stack, clip: &Path, visibility: &str) -> String {
    let ann = ApiClient::new(stack, "ann");
    let clip = std::fs::read(clip).unwrap();
    let more = json!({ "visibility": visibility, "metadata": { "title": "Ski trip" } });
    let (video, upload) = ann.create("Ski trip.mp4", "video/mp4", clip.len(), more).await;
    assert_eq!(ann.put(&upload, clip).await.status, 200);
    assert_eq!(ann.wait_for_outcome(&video).await["state"], "ready");
    video
}

#[tokio::test]
async fn client_calls_the_api_and_signs() {
    let stack = Stack::start(Options::default()).await;
    let folder = TempDir::new().unwrap();
    let small = write_small_clip(folder.path());
    let public = ready_video(&stack, &small, "public").await;
    let private = ready_video(&stack, &small, "signed").await;
    run_script("api.mjs", &stack, None, json!({ "public": public, "private": private, "small": small }))
        .await;
}

#[tokio::test]
async fn client_examples_of_the_docs_work() {
    const SECRET: &str = "a secret of the examples in the docs only";
    let port = free_port();
    let origins = vec![format!("http://127.0.0.1:{port}")];
    let secrets = || format!("2026={SECRET}");
    let vars =
        [("DELIVERY_TOKEN_SECRETS".into(), secrets()), ("UPLOAD_TOKEN_SECRETS".into(), secrets())].into();
    let stack = Stack::start(Options { origins, vars, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let small = write_small_clip(folder.path());
    let private = ready_video(&stack, &small, "signed").await;
    let more = json!({ "port": port, "small": small, "private": private, "secret": SECRET });
    run_script("docs.mjs", &stack, None, more).await;
}
