//! The invariants of ARCHITECTURE.md that a look at the sources can check.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use glimpse_contract::Code;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below a folder with one of these endings, with its text up to its own tests.
fn sources(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is there", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["node_modules", "target", "dist", "build"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// The text before the module of tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn every_file_says_first_what_it_decides() {
    for folder in ["contract", "edge/src", "backend", "doctor", "local", "tests", "xtask"] {
        for (path, text) in sources(folder, &[".rs"]) {
            assert!(text.starts_with("//! "), "{} does not open with //!", path.display());
        }
    }
    for folder in ["edge/page", "edge/bench", "tests", "local/oidc"] {
        for (path, text) in sources(folder, &[".js", ".mjs"]) {
            assert!(text.starts_with("// ") || text.starts_with("/*"), "{} does not say it", path.display());
        }
    }
}

#[test]
fn only_the_contract_writes_keys() {
    for folder in ["edge/src", "backend/src"] {
        for (path, text) in sources(folder, &[".rs"]) {
            if path.ends_with("memory.rs") || path.to_string_lossy().contains("tests") {
                continue;
            }
            for (number, line) in code(&text).lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                let writes = line.contains("\"uploads/") || line.contains("\"media/");
                assert!(is_comment || !writes, "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_contract_does_no_io() {
    for (path, text) in sources("contract/src", &[".rs"]) {
        for word in ["std::fs", "std::net", "std::env", "std::process", "SystemTime", "Instant", "async fn"] {
            assert!(!code(&text).contains(word), "{} uses {word}", path.display());
        }
    }
    let manifest = fs::read_to_string(root().join("contract/Cargo.toml")).unwrap();
    for name in ["worker", "tokio", "aws-", "reqwest", "hyper"] {
        assert!(!manifest.contains(name), "contract depends on {name}");
    }
}

#[test]
fn only_three_files_of_the_edge_build_on_the_runtime() {
    let allowed = ["lib.rs", "platform.rs", "reply.rs"];
    for (path, text) in sources("edge/src", &[".rs"]) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Adapters hand these two on, and do nothing with them.
        let text = ["Context", "Env", "{Context, Env}"]
            .iter()
            .fold(text, |text, known| text.replace(&format!("use worker::{known};"), ""));
        let names_runtime =
            ["worker::", "web_sys::", "js_sys::", "wasm_bindgen::"].iter().any(|w| code(&text).contains(w));
        assert!(!names_runtime || allowed.contains(&name.as_str()), "{} names the runtime", path.display());
    }
}

#[test]
fn the_backend_spawns_in_one_place() {
    for (path, text) in sources("backend/src", &[".rs"]) {
        let spawns = code(&text).contains("Command::new");
        assert!(!spawns || path.ends_with("decode/process.rs"), "{} spawns", path.display());
    }
}

#[test]
fn f18_the_backend_writes_nothing_to_a_disk() {
    // What a job leaves behind, a later one in the same environment could read. So nothing is left: sources, digests
    // and pictures are in memory and in pipes, and a child may not write either (F14).
    for (path, text) in sources("backend/src", &[".rs"]) {
        for word in
            ["fs::write", "File::create", "create_dir", "OpenOptions", "tempfile", "tempdir", "temp_dir"]
        {
            assert!(!code(&text).contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_decoders_of_a_workflow_publish_nothing() {
    let text = fs::read_to_string(root().join("backend/src/step/look.rs")).unwrap();
    for word in
        ["publish::", "Key::Output", "Key::Manifest", "Key::Failure", "put_failure", "create_manifest"]
    {
        assert!(!text.contains(word), "a step that decodes uses {word}");
    }
    assert!(text.contains("Key::Staged"), "it stages what it makes");
}

/// The rows of the threats that media and events are about: F1 to F23, E1 to E14.
#[test]
fn every_row_about_media_and_events_has_a_test() {
    // A lost event is found by what runs on a schedule, and a burst is held by the queue: both are of the deployment.
    let deployed = ["e5", "e14"];
    let mut named = BTreeSet::new();
    for folder in ["backend", "tests", "local"] {
        for (_, text) in sources(folder, &[".rs"]) {
            for name in text.lines().filter_map(|line| line.trim().split_once("fn ")).map(|(_, name)| name) {
                let is_row = |word: &&str| {
                    let (kind, number) = word.split_at(word.len().min(1));
                    ["e", "f"].contains(&kind)
                        && !number.is_empty()
                        && number.bytes().all(|digit| digit.is_ascii_digit())
                };
                named.extend(name.split('_').take_while(is_row).map(str::to_owned));
            }
        }
    }
    let rows = (1..=23).map(|row| format!("f{row}")).chain((1..=14).map(|row| format!("e{row}")));
    let missing: Vec<String> =
        rows.filter(|row| !named.contains(row) && !deployed.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "no test is named by {missing:?}");
}

#[test]
fn the_backend_connects_in_one_place() {
    for (path, text) in sources("backend/src", &[".rs"]) {
        let connects = ["TcpStream::connect", "lookup_host", "TlsConnector::from"];
        let connects = connects.iter().any(|word| code(&text).contains(word));
        let may = path.ends_with("net/post.rs") || path.ends_with("tests.rs");
        assert!(!connects || may, "{} connects", path.display());
    }
}

#[test]
fn every_problem_stands_in_the_docs() {
    let docs = fs::read_to_string(root().join("docs/problems.md")).unwrap();
    for &code in Code::ALL {
        let row =
            format!("| `{}` | {} | {} | {} |", code.as_str(), code.status(), code.title(), code.message());
        assert!(docs.contains(&row), "docs/problems.md lacks the row\n{row}");
    }
    let rows = docs.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Code::ALL.len(), "docs/problems.md has rows of codes that are gone");
}

/// The table of threats in `tests/tests/stories/abuse.rs`: every row from U1 to U15 names tests that are there.
#[test]
fn every_threat_to_uploads_has_its_tests() {
    let table = fs::read_to_string(root().join("tests/tests/stories/abuse.rs")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("//! | U")).collect();
    let mut everything = String::new();
    for folder in ["contract/src", "edge/src", "tests/tests"] {
        everything.extend(sources(folder, &[".rs"]).into_iter().map(|(_, text)| text));
    }
    for number in 1..=15 {
        let start = format!("//! | U{number} |");
        let row =
            rows.iter().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("U{number} has no row"));
        let shown_by = row.split('|').nth(3).unwrap();
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "U{number} names no test");
        for test in tests {
            let is_there = match test.split_once('/') {
                Some(_) => fs::read_to_string(root().join(test))
                    .is_ok_and(|text| text.contains(&format!("U{number}"))),
                None => everything.contains(&format!("fn {test}(")),
            };
            assert!(is_there, "U{number}: there is no test {test}");
        }
    }
}

#[test]
fn nothing_is_ignored_or_left_for_later() {
    for folder in
        ["contract", "edge/src", "backend", "doctor", "local", "tests", "xtask", "edge/page", "edge/bench"]
    {
        for (path, text) in sources(folder, &[".rs", ".js", ".mjs"]) {
            if path.ends_with("tidy.rs") {
                continue;
            }
            for word in ["#[ignore", "TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "should_panic"] {
                assert!(!text.contains(word), "{} has {word}", path.display());
            }
        }
    }
}
