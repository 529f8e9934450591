//! Prints the OpenAPI document of the API. `cargo xtask openapi` writes it to docs/openapi.json.

#![expect(clippy::print_stdout, reason = "printing the document is its purpose")]

fn main() {
    print!("{}", glimpse_edge::openapi::document_text());
}
