//! Runs the generator. With an integration test, cargo builds the program together with all tests.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn generate(arguments: &[&PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask-wasm")).args(arguments).output().unwrap()
}

fn temporary_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("xtask-wasm-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn other_files_and_arguments_are_errors() {
    let folder = temporary_folder("error");
    let file = folder.join("file.wasm");
    fs::write(&file, "text").unwrap();
    let invalid = generate(&[&file, &folder]);
    assert!(!invalid.status.success());
    assert!(String::from_utf8_lossy(&invalid.stderr).contains("failed getting Wasm module"), "{invalid:?}");
    let usage = generate(&[&file]);
    assert!(String::from_utf8_lossy(&usage.stderr).contains("usage: xtask-wasm MODULE FOLDER"));
    fs::remove_dir_all(folder).unwrap();
}
