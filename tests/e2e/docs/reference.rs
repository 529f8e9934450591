//! Runs every curl example of docs/api.md, and compares status, media type and members of the response with the page.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::keys::bearer_token;
use e2e::media;
use e2e::person::{ApiClient, http_client};
use e2e::stack::{Options, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{DOCS_HOST, document};

/// The user whose token the examples send.
const READER: &str = "reader";

/// A section of the reference: operations that differ only in their format, and their examples.
#[derive(Debug)]
struct Section {
    /// Methods and paths.
    operations: Vec<String>,
    examples: Vec<Example>,
    text: String,
}

/// A request and its response.
#[derive(Debug, Clone)]
struct Example {
    command: String,
    status: String,
    /// The body; empty if the page shows none.
    body: String,
}

fn sections(reference: &str) -> Vec<Section> {
    reference.split("\n### ").skip(1).filter_map(read_section).collect()
}

/// Reads a section; `None` if it describes no operation.
fn read_section(text: &str) -> Option<Section> {
    let operations = between(text, "```http\n", "\n```")?.lines().map(str::to_owned).collect();
    let examples = text.split("\n```sh\n").skip(1).map(|rest| {
        let (command, rest) = rest.split_once("\n```\n\nResponse: `").unwrap();
        let (status, rest) = rest.split_once('`').unwrap();
        let rest = rest.split_once('\n').unwrap().1;
        let body = rest.strip_prefix("\n```").and_then(|body| between(body, "\n", "\n```"));
        let body = body.unwrap_or_default().to_owned();
        Example { command: command.to_owned(), status: status.to_owned(), body }
    });
    Some(Section { operations, examples: examples.collect(), text: text.to_owned() })
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inside, _)| inside)
}

impl Section {
    /// The examples of an operation. A format without its own has that of the first, with another file name.
    fn examples_of(&self, operation: &str) -> Vec<Example> {
        let file = |operation: &str| operation.rsplit('/').next().unwrap().to_owned();
        let (first, own) = (file(&self.operations[0]), file(operation));
        if self.operations.len() == 1 {
            return self.examples.clone();
        }
        let with_own = self.examples.iter().find(|example| example.command.contains(&own)).cloned();
        vec![with_own.unwrap_or_else(|| {
            let example = &self.examples[0];
            Example { command: example.command.replace(&first, &own), ..example.clone() }
        })]
    }

    /// The row of the table of responses with this status.
    fn response_row(&self, status: &str) -> &str {
        let start = format!("| {status} | ");
        self.text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {status}"))
    }
}

/// The values that an example is run with: of the deployment, and of the example.
struct Values {
    replacements: Vec<(String, String)>,
}

impl Values {
    fn fill(&self, command: &str) -> String {
        self.replacements.iter().fold(command.to_owned(), |text, (example, real)| text.replace(example, real))
    }
}

/// The example of a parameter in the OpenAPI document.
fn parameter_example(openapi: &Value, name: &str) -> String {
    openapi["components"]["parameters"][name]["example"].as_str().unwrap().to_owned()
}

/// Creates what the request of an operation needs.
async fn prepare(operation: &str, reader: &ApiClient, stack: &Stack, ready: &str, openapi: &Value) -> Values {
    let video = match operation {
        "DELETE /api/videos/{video}" => {
            reader.upload("clip.mp4", "video/mp4", media::clip(1, "160x90")).await
        }
        _ => ready.to_owned(),
    };
    let mut replacements = Vec::new();
    if operation.contains("{uploadId}") {
        let body = json!({ "filename": "clip.mp4", "type": "video/mp4" });
        let created = reader.call(Method::POST, "/s3/multipart", Some(body)).await.json();
        let [key, id] = ["key", "uploadId"].map(|name| created[name].as_str().unwrap().to_owned());
        if operation.ends_with("/complete") {
            let etag = send_part(reader, &key, &id).await;
            let example = &openapi["components"]["requestBodies"]["completeMultipart"]["content"]["application/json"]
                ["example"]["parts"][0]["ETag"];
            replacements.push((example.as_str().unwrap().trim_matches('"').to_owned(), etag));
        }
        replacements.push((parameter_example(openapi, "query.key"), key));
        replacements.push((parameter_example(openapi, "path.uploadId"), id));
    }
    // A key contains the id of its video.
    replacements.push((parameter_example(openapi, "path.video"), video));
    replacements.push((DOCS_HOST.to_owned(), stack.edge.clone()));
    Values { replacements }
}

/// Sends the first part of an upload, and returns its ETag without quotes.
async fn send_part(reader: &ApiClient, key: &str, id: &str) -> String {
    let signed = reader.get(&format!("/s3/multipart/{id}/1?key={key}")).await.json();
    let part = media::clip(1, "160x90");
    let sent = http_client().put(signed["url"].as_str().unwrap()).body(part).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    sent.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned()
}

/// What curl returns.
struct CurlOutput {
    status: String,
    /// The media type without parameters.
    media_type: String,
    body: String,
}

async fn run_example(command: &str, folder: &Path) -> CurlOutput {
    let report = "curl() { command curl -sS -w '%{stderr}%{http_code} %{content_type}' \"$@\"; }";
    let output = Command::new("sh")
        .args(["-eu", "-c", &format!("{report}\n{command}")])
        .env("TOKEN", bearer_token(READER))
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}\n{report}");
    let (status, media_type) = report.split_once(' ').unwrap();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    CurlOutput { status: status.to_owned(), media_type, body }
}

/// The names of an object's members, and of its video's.
fn members(value: &Value) -> BTreeSet<String> {
    let names = |value: &Value, prefix: &str| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(name, _)| format!("{prefix}{name}")).collect()
    };
    names(value, "").into_iter().chain(names(&value["video"], "video.")).collect()
}

/// Compares a body with that of the page: JSON by its members, text by its first line.
fn check_body(expected: &str, body: &str, command: &str) {
    match serde_json::from_str::<Value>(expected) {
        Ok(expected) => {
            let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{command}\n{body}"));
            assert_eq!(members(&body), members(&expected), "{command}\n{body}");
        }
        Err(_) => assert_eq!(body.lines().next(), expected.lines().next(), "{command}"),
    }
}

fn openapi() -> Value {
    serde_json::from_str(&document("docs/openapi.json")).unwrap()
}

/// Each operation of the OpenAPI document is described once, with an example; those with an upload token in the path
/// are described with the others.
#[test]
fn every_operation_has_a_curl_example() {
    let mut described = Vec::new();
    for section in sections(&document("docs/api.md")) {
        assert!(!section.examples.is_empty(), "{:?} has no example", section.operations);
        described.extend(section.operations);
    }
    described.sort_unstable();
    let openapi = openapi();
    let paths = openapi["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("/u/"));
    let mut all: Vec<String> = paths
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    all.sort_unstable();
    assert_eq!(described, all);
}

#[tokio::test]
async fn curl_examples_get_the_response_of_the_page() {
    let stack = Stack::start(Options { oidc: true, no_limits: true, ..Options::default() }).await;
    let reader = ApiClient::new(&stack, READER);
    let openapi = openapi();
    let folder = TempDir::new().unwrap();
    let clip = folder.path().join("clip.mp4");
    media::write_clip(6, "640x360", &clip);
    let film = std::fs::read(&clip).unwrap();
    let own = json!({ "external_id": "order 7" });
    let (ready, upload) = reader.create("clip.mp4", "video/mp4", film.len(), own).await;
    assert_eq!(reader.put(&upload, film).await.status, 200);
    assert_eq!(reader.wait_for_outcome(&ready).await["state"], "ready");

    let mut count = 0;
    for section in sections(&document("docs/api.md")) {
        for operation in &section.operations {
            let values = prepare(operation, &reader, &stack, &ready, &openapi).await;
            for example in section.examples_of(operation) {
                let command = values.fill(&example.command);
                let output = run_example(&command, folder.path()).await;
                assert_eq!(output.status, example.status, "{command}\n{}", output.body);
                let row = section.response_row(&example.status);
                let is_listed = |media_type: &str| row.contains(&format!("`{media_type}"));
                assert!(
                    output.media_type.is_empty() || is_listed(&output.media_type),
                    "{command}: {} is not in {row}",
                    output.media_type
                );
                if !example.body.is_empty() {
                    check_body(&example.body, &output.body, &command);
                }
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count} examples");
}
