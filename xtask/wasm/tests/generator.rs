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
fn writes_module_and_javascript() {
    let folder = temporary_folder("module");
    let module = folder.join("worker.wasm");
    // An empty module: magic number and version.
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let out = folder.join("out");
    let output = generate(&[&module, &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let code = fs::read_to_string(out.join("index.js")).unwrap();
    assert!(code.contains("index_bg.wasm"), "{code}");
    assert!(code.contains("__wbg_reset_state"), "the entry reinitializes the module: {code}");
    assert!(out.join("index_bg.wasm").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn other_files_and_arguments_are_errors() {
    let folder = temporary_folder("error");
    let file = folder.join("file.wasm");
    fs::write(&file, "text").unwrap();
    assert!(!generate(&[&file, &folder]).status.success());
    let usage = generate(&[&file]);
    assert!(String::from_utf8_lossy(&usage.stderr).contains("usage: xtask-wasm MODULE FOLDER"));
    fs::remove_dir_all(folder).unwrap();
}
