//! OpenAPI responses of problems: one for each status, with its codes.

use glimpse_contract::{Code, Problem};
use serde_json::{Value, json};

use super::example;

/// The Response Object of the problems of one status; with `is_page`, it is an HTML page.
pub(super) fn problem_response(codes: &[Code], is_page: bool) -> Value {
    let code_names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let rows: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.message())).collect();
    let example = Problem::new(codes[0]).body("8d1f2ab3c4d5e6f7");
    let mut response = json!({
        "description": rows.join("\n\n"),
        "content": { "application/problem+json": {
            "schema": {
                "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                "properties": { "code": { "enum": code_names }, "status": { "const": codes[0].status() } },
            },
            "example": example::value(&example),
        } },
    });
    if is_page {
        let page = json!({ "schema": { "type": "string" } });
        // An invalid video id has no page.
        if codes.contains(&Code::NotFound) {
            response["content"]["text/html"] = page;
        } else {
            response["content"] = json!({ "text/html": page });
        }
    }
    let header = |text: &str| json!({ "description": text, "schema": { "type": "string" } });
    match codes[0].status() {
        202 | 429 => response["headers"] = json!({ "retry-after": header("When to retry, in seconds.") }),
        401 => response["headers"] = json!({ "www-authenticate": header("`Bearer`") }),
        _ => {}
    }
    response
}
