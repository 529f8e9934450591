//! The API conforms to its OpenAPI document.

use std::fs;

use e2e::keys::bearer_token;
use e2e::person::{ApiClient, fetch};
use e2e::stack::{APP_ORIGIN, Options, Stack};
use e2e::{env_path, media};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

fn read_openapi() -> Value {
    let path = env_path("GLIMPSE_ROOT").join("docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The types of request bodies: callers may send more members than are read.
const REQUEST_BODIES: &[&str] = &[
    "CreateVideoRequest",
    "CreateUploadTokenRequest",
    "CreateMultipartRequest",
    "CompleteMultipartRequest",
    "CompletedPart",
    "SignRequest",
    "SetPosterRequest",
];

/// The parameters that carry a credential for a private image.
const CREDENTIAL_PARAMETERS: &[&str] = &["token", "expires", "kid", "sig"];

/// A copy of the document in which responses have no undescribed members. (The published document is less strict, since
/// a later version may add members.) Its parameter examples are values that exist: `{operation or empty: {parameter:
/// value}}`.
fn make_strict(mut document: Value, examples: &Value) -> Value {
    let components = document["components"].clone();
    for name in REQUEST_BODIES {
        assert!(components["schemas"][name].is_object(), "{name} is no schema of the document");
    }
    for (name, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
        if schema["type"] == "object" && !REQUEST_BODIES.contains(&name.as_str()) {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    for path in document["paths"].as_object_mut().unwrap().values_mut() {
        for operation in path.as_object_mut().unwrap().values_mut() {
            let id = operation["operationId"].as_str().unwrap().trim_end_matches("WithToken").to_owned();
            let parameters = operation["parameters"].as_array_mut().unwrap();
            // Each operation has its own examples, so it needs a copy of the shared parameters.
            for parameter in &mut *parameters {
                if let Some(name) = shared_parameter_name(parameter) {
                    *parameter = components["parameters"][name].clone();
                }
            }
            // Valid credentials cannot be generated; the tests of `private` cover invalid ones.
            parameters.retain(|one| {
                one["in"] != "query" || CREDENTIAL_PARAMETERS.iter().all(|proof| one["name"] != *proof)
            });
            for parameter in parameters {
                let name = parameter["name"].as_str().unwrap();
                let own = examples.get(&id).and_then(|own| own.get(name));
                if let Some(value) = own.or_else(|| examples[""].get(name)) {
                    parameter["example"] = value.clone();
                }
            }
        }
    }
    replace_unsendable(&mut document);
    document
}

fn shared_parameter_name(parameter: &Value) -> Option<&str> {
    let reference = parameter.get("$ref")?.as_str().unwrap();
    Some(reference.strip_prefix("#/components/parameters/").unwrap())
}

/// Schemathesis cannot generate bodies for ranges of media types, and does not cope with lists of thousands of entries.
fn replace_unsendable(part: &mut Value) {
    match part {
        Value::Object(members) => {
            if let Some(file) = members.remove("video/*") {
                members.insert("application/octet-stream".into(), file);
            }
            if members.get("contentMediaType") == Some(&json!("video/*")) {
                members.insert("contentMediaType".into(), json!("application/octet-stream"));
            }
            if members.get("maxItems").and_then(Value::as_u64).is_some_and(|most| most > 1000) {
                members.remove("maxItems");
            }
            members.values_mut().for_each(replace_unsendable);
        }
        Value::Array(items) => items.iter_mut().for_each(replace_unsendable),
        _ => {}
    }
}

#[tokio::test]
async fn openapi_is_served_to_any_origin() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let url = format!("{}/api/openapi.json", stack.edge);
    let served = fetch(Method::GET, &url, &[("origin", "https://editor.example")]).await;
    assert_eq!(served.status, 200);
    assert!(served.header("content-type").starts_with("application/json"), "{:?}", served.headers);
    assert_eq!(served.header("access-control-allow-origin"), "*");
    assert_eq!(served.json(), read_openapi());
    let other =
        fetch(Method::GET, &format!("{}/api/openapi.yaml", stack.edge), &[("origin", APP_ORIGIN)]).await;
    assert_eq!(other.code(), "not_found", "the Worker serves all other paths");
}

/// Every example of the document is valid by its schema.
#[tokio::test]
async fn examples_match_their_schemas() {
    let output = Command::new(env_path("GLIMPSE_PYTHON"))
        .arg(env_path("GLIMPSE_ROOT").join("tests/clients/openapi/examples.py"))
        .arg(env_path("GLIMPSE_ROOT").join("docs/openapi.json"))
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(checked > 100, "{checked} examples");
}

/// Statuses, content types and bodies match the document for any input; input that the document does not allow is
/// rejected; nothing is returned without credentials; no response is a 500.
#[tokio::test]
async fn schemathesis_finds_no_violations() {
    let stack = Stack::start(Options { no_limits: true, ..Options::default() }).await;
    let ann = ApiClient::new(&stack, "ann");
    let ready = ann.upload("clip.mp4", "video/mp4", media::clip(2, "160x90")).await;
    assert_eq!(ann.wait_for_outcome(&ready).await["state"], "ready");
    let sent = ann.upload("text.mp4", "video/mp4", b"no video".to_vec()).await;
    assert_eq!(ann.wait_for_outcome(&sent).await["state"], "rejected");
    let doomed = ann.upload("doomed.mp4", "video/mp4", b"no video".to_vec()).await;
    let begin = async || {
        let body = json!({ "filename": "a.mp4", "type": "video/mp4" });
        let creation = ann.call(Method::POST, "/s3/multipart", Some(body)).await.json();
        json!({ "uploadId": creation["uploadId"], "key": creation["key"] })
    };
    let (upload, aborted) = (begin().await, begin().await);
    let token = ann.call(Method::POST, "/api/upload-tokens", Some(json!({ "videos": 100 }))).await.json();
    let member = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let examples = json!({
        "": { "video": ready, "token": token["token"], "uploadId": upload["uploadId"], "key": upload["key"] },
        "deleteVideo": { "video": doomed },
        "abortMultipart": aborted,
        "sendNamedVideo": { "name": "clip.mp4" },
    });

    let folder = TempDir::new().unwrap();
    let document = folder.path().join("openapi.json");
    fs::write(&document, make_strict(read_openapi(), &examples).to_string()).unwrap();
    let python = env_path("GLIMPSE_PYTHON");
    let mut program = Command::new(python.with_file_name("schemathesis"))
        .arg("--config-file")
        .arg(env_path("GLIMPSE_ROOT").join("tests/clients/openapi/schemathesis.toml"))
        .args(["run", "--url", &stack.edge])
        .arg(&document)
        .current_dir(folder.path())
        .env("GLIMPSE_BEARER", bearer_token("ann"))
        .env("GLIMPSE_READY", &ready)
        .env("GLIMPSE_SENT", &sent)
        .env("GLIMPSE_UPLOAD_ID", member(&upload, "uploadId"))
        .env("GLIMPSE_KEY", member(&upload, "key"))
        .env("GLIMPSE_UPLOAD_TOKEN", member(&token, "token"))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = program.wait().await.unwrap();
    if !status.success() {
        println!("{}", stack.lines().join("\n"));
    }
    assert!(status.success(), "schemathesis found violations: see above");
}
