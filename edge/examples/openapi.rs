//! Decides nothing: prints the OpenAPI document of the API. `cargo xtask openapi` keeps it in docs/openapi.json.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

fn main() {
    print!("{}", glimpse_edge::openapi::document_text());
}
