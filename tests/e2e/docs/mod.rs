//! Runs every snippet of the documentation: in a browser, in a shell, in a backend.
//!
//! URL and token are filled in; nothing else is changed.

#[expect(unreachable_pub, reason = "the snippet is a function in the customer's code")]
mod mint;
mod reference;
#[expect(unreachable_pub, reason = "the snippet is written for the reader's crate")]
pub(crate) mod snippet;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use e2e::keys::{SECRET, bearer_token, now_secs, to_json};
use e2e::person::{ApiClient, ApiResponse, http_client};
use e2e::stack::{Options, Stack, free_port};
use e2e::{env_path, media};
use glimpse_edge::auth::{Secret, sign_hs256};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use mint::upload_token;

/// The placeholder of a deployment's URL in the documentation.
const DOCS_HOST: &str = "https://video.example.com";
/// The placeholder of a token in the documentation.
const DOCS_TOKEN: &str = "eyJ…";

/// A fenced block of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snippet {
    /// The info string of the fence: a language and a purpose.
    title: String,
    text: String,
}

fn document(path: &str) -> String {
    fs::read_to_string(env_path("GLIMPSE_ROOT").join(path)).unwrap()
}

fn snippets(path: &str) -> Vec<Snippet> {
    let text = document(path);
    let blocks = text.split("\n```").collect::<Vec<_>>();
    // Text and code blocks alternate; a block begins with its title.
    let inside = blocks.iter().skip(1).step_by(2);
    let read = inside.map(|block| {
        let (title, text) = block.split_once('\n').unwrap();
        Snippet { title: title.to_owned(), text: format!("{text}\n") }
    });
    read.collect()
}

/// Returns the one snippet with this title.
fn snippet(title: &str) -> String {
    let mut found = snippets("docs/uploads.md").into_iter().filter(|snippet| snippet.title == title);
    let only = found.next().unwrap_or_else(|| panic!("docs/uploads.md has no `{title}`"));
    assert_eq!(found.next(), None, "{title}");
    only.text
}

fn fill_placeholders(text: &str, host: &str, token: &str) -> String {
    let filled = text.replace(DOCS_HOST, host).replace(DOCS_TOKEN, token);
    assert!(!filled.contains('…'), "another placeholder remains: {filled}");
    filled
}

fn stdout_of(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn write_clip_to(folder: &TempDir) -> std::path::PathBuf {
    let clip = folder.path().join("clip.mp4");
    media::write_clip(2, "320x180", &clip);
    clip
}

/// A snippet that no test below uses would never run.
#[test]
fn every_snippet_is_run() {
    let known = [
        "js fetch",
        "js uppy v4",
        "js uppy v5",
        "js uppy v6",
        "sh",
        "js mint",
        "python mint",
        "rust mint",
        // tests/browser/examples.mjs runs it.
        "html uploader",
    ];
    let found = snippets("docs/uploads.md");
    for snippet in &found {
        assert!(known.contains(&snippet.title.as_str()), "nothing runs `{}`", snippet.title);
    }
    let pages =
        found.iter().filter(|snippet| snippet.title.starts_with("js uppy") || snippet.title == "js fetch");
    assert_eq!(pages.count(), 5);
    assert!(found.iter().filter(|snippet| snippet.title == "sh").count() >= 6);
    assert!(snippets("README.md").iter().any(|snippet| snippet.title == "sh"));
}

#[tokio::test]
async fn browser_snippets_work() {
    let port = free_port();
    let origins = vec![format!("http://127.0.0.1:{port}")];
    let stack = Stack::start(Options { origins, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let mut pages = Vec::new();
    for (number, Snippet { title, text }) in snippets("docs/uploads.md").into_iter().enumerate() {
        let Some(title) = title.strip_prefix("js ").filter(|title| *title != "mint") else { continue };
        let person = format!("reader {number}");
        let bearer = bearer_token(&person);
        let token =
            if text.contains("/u/eyJ") { issue_upload_token(&stack, &person).await } else { bearer.clone() };
        pages.push(json!({
            "title": title, "generation": title.strip_prefix("uppy ").unwrap_or("v6"), "bearer": bearer,
            "program": fill_placeholders(&text, &stack.edge, &token),
        }));
    }
    let story =
        json!({ "edge": stack.edge, "port": port, "clip": write_clip_to(&folder), "snippets": pages });
    let status = tokio::process::Command::new(env_path("GLIMPSE_NODE"))
        .arg(env_path("GLIMPSE_ROOT").join("tests/browser/uppy/docs.mjs"))
        .env("GLIMPSE_STORY", story.to_string())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    if !status.success() {
        println!("{}", stack.lines().join("\n"));
    }
    assert!(status.success(), "a snippet failed: see above");
}

async fn issue_upload_token(stack: &Stack, person: &str) -> String {
    let token_response =
        ApiClient::new(stack, person).call(Method::POST, "/api/upload-tokens", Some(json!({}))).await;
    assert_eq!(token_response.status, 201);
    token_response.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn shell_snippets_work() {
    let stack = Stack::start(Options::default()).await;
    for (document, videos) in [("docs/uploads.md", 4), ("README.md", 2)] {
        let folder = TempDir::new().unwrap();
        write_clip_to(&folder);
        let script: String = snippets(document)
            .into_iter()
            .filter(|snippet| snippet.title == "sh")
            .map(|snippet| fill_placeholders(&snippet.text, &stack.edge, &bearer_token(document)))
            .collect();
        let output = tokio::process::Command::new("sh")
            .args(["-eu", "-c", &script])
            .current_dir(folder.path())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = stdout_of(&output);
        assert!(!text.contains("urn:glimpse:problem"), "{text}");
        let reader = ApiClient::new(&stack, document);
        let listed = reader.get("/api/videos").await.json()["videos"].as_array().unwrap().clone();
        assert_eq!(listed.len(), videos, "{document}: {text}");
        for video in &listed {
            assert_eq!(video["name"], "clip.mp4");
            assert_eq!(
                reader.wait_for_outcome(video["id"].as_str().unwrap()).await["state"],
                "ready",
                "{document}"
            );
        }
        if document == "docs/uploads.md" {
            assert!(text.contains("event: ready"), "the event stream ended with `ready`: {text}");
            assert!(text.contains("/u/eyJ"), "a token was created: {text}");
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
            assert_eq!(listed.iter().filter(|video| video["trace_id"] == trace).count(), 1, "{text}");
        }
    }
}

/// Three backends that share a secret with the deployment; the URL is the documentation's.
#[tokio::test]
async fn upload_token_snippets_work() {
    let secret = "a secret that backend and deployment share";
    let vars = [
        ("PUBLIC_URL", DOCS_HOST.to_owned()),
        ("JWT_ISSUER", "https://id.example.com".to_owned()),
        ("UPLOAD_TOKEN_SECRETS", format!("2026={secret}")),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value)).into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let written = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();

    written("mint.mjs", snippet("js mint"));
    written(
        "run.mjs",
        "import { uploadToken } from './mint.mjs';\nconsole.log(uploadToken(...process.argv.slice(2)));"
            .into(),
    );
    let node = run(&env_path("GLIMPSE_NODE"), &["run.mjs", secret, "node"], folder.path());
    written("mint.py", snippet("python mint"));
    written("run.py", "import sys, mint\nprint(mint.upload_token(*sys.argv[1:]))".into());
    let python = run(&env_path("GLIMPSE_PYTHON"), &["run.py", secret, "python"], folder.path());
    let here = include_str!("mint.rs");
    assert!(here.ends_with(&format!("\n\n{}", snippet("rust mint"))), "mint.rs differs from docs/uploads.md");
    let rust = upload_token(secret, "rust", now_secs(), "a random text");

    for (user, token) in [("node", node), ("python", python), ("rust", rust)] {
        let holder = ApiClient::with_token(&stack, "");
        let body = json!({ "name": "clip.mp4", "size": 4, "type": "video/mp4" }).to_string();
        let headers = [("content-type", "application/json")];
        let answer = holder.send(Method::POST, &format!("/u/{token}/api/videos"), &headers, body).await;
        assert_eq!(answer.status, 201, "{user}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(holder.put(&answer.json()["upload"], b"clip".to_vec()).await.status, 200, "{user}");
        let listed = list_videos_of(&stack, user).await;
        assert_eq!(
            listed["videos"][0]["id"],
            answer.json()["video"]["id"],
            "{user}: the account owns the video"
        );
        let too_large = json!({ "name": "a.mp4", "size": 100_000_001, "type": "video/mp4" }).to_string();
        let refused = holder.send(Method::POST, &format!("/u/{token}/api/videos"), &headers, too_large).await;
        assert_eq!(refused.code(), "too_large", "{user}");
    }
}

async fn list_videos_of(stack: &Stack, user: &str) -> Value {
    let claims = json!({ "iss": "https://id.example.com", "sub": user, "aud": e2e::keys::AUDIENCE, "exp": now_secs() + 600 });
    let token = sign_hs256(&to_json(&claims), &Secret::new(SECRET.as_bytes().to_vec()));
    let request = http_client().get(format!("{}/api/videos", stack.edge)).bearer_auth(token);
    ApiResponse::from_response(request.send().await.unwrap()).await.json()
}

fn run(program: &Path, arguments: &[&str], folder: &Path) -> String {
    stdout_of(&Command::new(program).args(arguments).current_dir(folder).output().unwrap())
}
