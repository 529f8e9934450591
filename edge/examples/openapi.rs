//! Prints the OpenAPI document of the API, or with the argument `reference` the API reference for people. `cargo xtask
//! openapi` writes both to docs/.

#![expect(clippy::print_stdout, reason = "printing the document is its purpose")]

use glimpse_edge::openapi::{document_text, reference_text};

fn main() {
    let is_reference = std::env::args().nth(1).is_some_and(|argument| argument == "reference");
    print!("{}", if is_reference { reference_text() } else { document_text() });
}
