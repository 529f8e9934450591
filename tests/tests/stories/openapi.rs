//! The API is what its OpenAPI document says.

use std::fs;

use e2e::named;
use e2e::person::fetch;
use e2e::stack::{APP_ORIGIN, Options, Stack};
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;

fn written() -> Value {
    let path = named("GLIMPSE_ROOT").join("docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_description_is_served_to_every_page() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let url = format!("{}/api/openapi.json", stack.edge);
    let served = fetch(Method::GET, &url, &[("origin", "https://editor.example")]).await;
    assert_eq!(served.status, 200);
    assert!(served.header("content-type").starts_with("application/json"), "{:?}", served.headers);
    assert_eq!(served.header("access-control-allow-origin"), "*");
    assert_eq!(served.json(), written());
    let other =
        fetch(Method::GET, &format!("{}/api/openapi.yaml", stack.edge), &[("origin", APP_ORIGIN)]).await;
    assert_eq!(other.code(), "not_found", "the Worker answers for everything else");
}

/// Every example of the document is of the type that stands beside it.
#[tokio::test]
async fn the_examples_are_what_they_show() {
    let output = Command::new(named("GLIMPSE_PYTHON"))
        .arg(named("GLIMPSE_ROOT").join("tests/openapi/examples.py"))
        .arg(named("GLIMPSE_ROOT").join("docs/openapi.json"))
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(checked > 100, "{checked} examples");
}
