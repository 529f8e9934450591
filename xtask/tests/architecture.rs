//! Checks invariants of ARCHITECTURE.md in the sources.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use glimpse_contract::Code;

fn repo_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below a folder with one of these endings, with their text.
fn sources(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![repo_root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|_| panic!("cannot list {}", folder.display())) {
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
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// The text before the test module.
fn text_before_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn every_file_opens_with_a_doc_comment() {
    for folder in ["contract", "media", "edge/src", "backend", "doctor", "cli", "local", "tests", "xtask"] {
        for (path, text) in sources(folder, &[".rs"]) {
            assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
        }
    }
    for folder in ["web", "bench/edge", "bench/ready", "tests", "local/oidc"] {
        for (path, text) in sources(folder, &[".js", ".mjs"]) {
            assert!(
                text.starts_with("// ") || text.starts_with("/*"),
                "{} does not begin with a comment",
                path.display()
            );
        }
    }
}

#[test]
fn only_contract_builds_keys() {
    for folder in ["edge/src", "backend/src", "media/src"] {
        for (path, text) in sources(folder, &[".rs"]) {
            if path.ends_with("memory.rs") || path.to_string_lossy().contains("tests") {
                continue;
            }
            for (number, line) in text_before_tests(&text).lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                let writes = line.contains("\"uploads/") || line.contains("\"media/");
                assert!(is_comment || !writes, "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

/// Fails if a file of the crate uses one of the words before its tests, or the crate depends on one of the names.
#[track_caller]
fn assert_does_no_io(crate_folder: &str, words: &[&str]) {
    let common = ["std::fs", "std::net", "std::env", "std::process", "SystemTime", "async fn"];
    for (path, text) in sources(&format!("{crate_folder}/src"), &[".rs"]) {
        for word in common.iter().chain(words) {
            assert!(!text_before_tests(&text).contains(word), "{} uses {word}", path.display());
        }
    }
    let manifest = fs::read_to_string(repo_root().join(crate_folder).join("Cargo.toml")).unwrap();
    for name in ["worker", "tokio", "aws-", "reqwest", "hyper"] {
        assert!(!manifest.contains(name), "{crate_folder} depends on {name}");
    }
}

#[test]
fn contract_does_no_io() {
    assert_does_no_io("contract", &["Instant"]);
}

#[test]
fn media_does_no_io() {
    assert_does_no_io("media", &[]);
    // The demuxers compare the clock with the deadline of the caller, in one file.
    for (path, text) in sources("media/src", &[".rs"]) {
        let reads_clock = text_before_tests(&text).contains("Instant::now");
        assert!(!reads_clock || path.ends_with("demux/budget.rs"), "{} reads the clock", path.display());
    }
}

#[test]
fn only_three_edge_files_use_the_runtime() {
    let allowed = ["src/lib.rs", "platform/mod.rs", "http/response.rs"];
    for (path, text) in sources("edge/src", &[".rs"]) {
        // Adapters only pass these two on.
        let text = ["Context", "Env", "{Context, Env}"]
            .iter()
            .fold(text, |text, known| text.replace(&format!("use worker::{known};"), ""));
        let names_runtime = ["worker::", "web_sys::", "js_sys::", "wasm_bindgen::"]
            .iter()
            .any(|w| text_before_tests(&text).contains(w));
        assert!(
            !names_runtime || allowed.iter().any(|file| path.ends_with(file)),
            "{} uses the runtime",
            path.display()
        );
    }
}

#[test]
fn backend_spawns_in_one_file() {
    for (path, text) in sources("backend/src", &[".rs"]) {
        let spawns = text_before_tests(&text).contains("Command::new");
        assert!(!spawns || path.ends_with("frames/process.rs"), "{} spawns", path.display());
    }
}

#[test]
fn f18_backend_writes_nothing_to_disk() {
    // A later job in the same environment could read the files of a job. Therefore nothing is written to disk: sources,
    // excerpts and images are in memory and in pipes, and a child process cannot write either (F14).
    for (path, text) in sources("backend/src", &[".rs"]) {
        for word in
            ["fs::write", "File::create", "create_dir", "OpenOptions", "tempfile", "tempdir", "temp_dir"]
        {
            assert!(!text_before_tests(&text).contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn workflow_decode_steps_publish_nothing() {
    let text = fs::read_to_string(repo_root().join("backend/src/workflow/decode.rs")).unwrap();
    for word in
        ["publish::", "Key::Output", "Key::Manifest", "Key::Failure", "put_failure", "PutOptions", ".put("]
    {
        assert!(!text.contains(word), "a decode step uses {word}");
    }
    assert!(text.contains("Key::Staged"), "a decode step must stage its outputs");
}

/// The rows of docs/threat-model.md about media and events: F1 to F23, E1 to E14.
#[test]
fn every_f_and_e_threat_has_a_test() {
    // The scheduled reconciler finds a lost event, and the queue holds a burst: both exist only in a deployment.
    let deployed = ["e5", "e14"];
    let mut named = BTreeSet::new();
    for folder in ["backend", "media", "tests", "local", "xtask"] {
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
    assert!(missing.is_empty(), "no test is named after {missing:?}");
}

#[test]
fn backend_connects_in_one_file() {
    for (path, text) in sources("backend/src", &[".rs"]) {
        let connects = ["TcpStream::connect", "lookup_host", "TlsConnector::from"];
        let connects = connects.iter().any(|word| text_before_tests(&text).contains(word));
        let may = path.ends_with("http/client.rs") || path.ends_with("tests.rs");
        assert!(!connects || may, "{} connects", path.display());
    }
}

#[test]
fn problem_table_lists_every_code() {
    let docs = fs::read_to_string(repo_root().join("docs/problems.md")).unwrap();
    for &code in Code::ALL {
        let (name, status) = (code.as_str(), code.status());
        let row =
            format!("| <a id=\"{name}\"></a>`{name}` | {status} | {} | {} |", code.title(), code.message());
        assert!(docs.contains(&row), "docs/problems.md lacks the row\n{row}");
    }
    let rows = docs.lines().filter(|line| line.starts_with("| <a")).count();
    assert_eq!(rows, Code::ALL.len(), "docs/problems.md has rows of unknown codes");
}

/// Every row of the table of threats in `tests/e2e/abuse.rs`, from U1 to U17, names existing tests.
#[test]
fn every_upload_threat_names_its_tests() {
    let table = fs::read_to_string(repo_root().join("tests/e2e/abuse.rs")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("//! | U")).collect();
    let mut everything = String::new();
    for folder in ["contract/src", "edge/src", "tests/e2e"] {
        everything.extend(sources(folder, &[".rs"]).into_iter().map(|(_, text)| text));
    }
    for number in 1..=17 {
        let start = format!("//! | U{number} |");
        let row =
            rows.iter().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no row for U{number}"));
        let shown_by = row.split('|').nth(3).unwrap();
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "U{number} names no test");
        for test in tests {
            let is_there = match test.split_once('/') {
                Some(_) => fs::read_to_string(repo_root().join(test))
                    .is_ok_and(|text| text.contains(&format!("U{number}"))),
                None => everything.contains(&format!("fn {test}(")),
            };
            assert!(is_there, "U{number}: no test {test}");
        }
    }
}

#[test]
fn worker_has_no_workers_dev_address() {
    let text = fs::read_to_string(repo_root().join("wrangler.toml")).unwrap();
    for line in ["workers_dev = false", "preview_urls = false"] {
        assert_eq!(text.lines().filter(|other| *other == line).count(), 1, "wrangler.toml lacks {line}");
    }
    for name in ["READ_LIMITER", "CLIENT_RENDER_LIMITER", "GRANT_LIMITER", "PART_LIMITER", "STREAM_LIMITER"] {
        assert!(text.contains(&format!("name = \"{name}\"")), "wrangler.toml does not bind {name}");
    }
}

#[test]
fn no_ignored_tests_or_todos() {
    for folder in [
        "contract",
        "media",
        "edge/src",
        "backend",
        "doctor",
        "cli",
        "local",
        "tests",
        "xtask",
        "web",
        "bench/edge",
        "bench/ready",
    ] {
        for (path, text) in sources(folder, &[".rs", ".js", ".mjs"]) {
            if path.ends_with("architecture.rs") {
                continue;
            }
            for word in ["#[ignore", "TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "should_panic"] {
                assert!(!text.contains(word), "{} has {word}", path.display());
            }
        }
    }
}

#[test]
fn worker_does_not_log_invocations() {
    let text = fs::read_to_string(repo_root().join("wrangler.toml")).unwrap();
    let section = |name: &str| {
        let (_, rest) = text.split_once(&format!("\n[{name}]\n")).unwrap_or_else(|| panic!("[{name}]"));
        rest.split("\n[").next().unwrap().lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    };
    // The log line of an invocation contains the full URL, with tokens and signatures of links, and codes of sign-ins.
    assert!(section("observability.logs").contains(&"invocation_logs = false".to_owned()));
    assert!(
        section("observability").contains(&"enabled = true".to_owned()),
        "the Worker's own log messages are stored"
    );
    for line in text.lines().filter(|line| line.contains("invocation_logs") && !line.trim().starts_with('#'))
    {
        assert_eq!(line.trim(), "invocation_logs = false", "in no environment");
    }
    assert!(
        !text.contains("logpush = true") && !text.contains("tail_consumers"),
        "URLs are not logged in another way either"
    );
}

/// A job that compiles or installs third-party code cannot request cloud credentials.
#[test]
fn ci_jobs_with_id_token_build_nothing() {
    let folder = repo_root().join(".github/workflows");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (head, jobs) = text.split_once("\njobs:\n").unwrap();
        assert!(!head.contains("id-token"), "{}: every job would have id-token", path.display());
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            let (action, tag) = line
                .split("uses: ")
                .nth(1)
                .unwrap()
                .split_once(" # v")
                .expect("an action is pinned to a commit, with its tag in a comment");
            let commit = action.rsplit_once('@').unwrap().1;
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
            assert!(tag.split('.').count() == 3, "{line}: the comment must be the tag of a release");
        }
        let mut each = Vec::<String>::new();
        for line in jobs.lines() {
            let is_name =
                line.starts_with("  ") && !line.starts_with("   ") && line.trim_end().ends_with(':');
            match each.last_mut().filter(|_| !is_name) {
                Some(job) => job.extend([line, "\n"]),
                None => each.push(format!("{line}\n")),
            }
        }
        assert!(each.len() > 1, "{}: {} jobs", path.display(), each.len());
        for job in each.iter().filter(|job| job.contains("id-token: write")) {
            for word in ["cargo ", "npm ", "npx ", "pip ", "actions/cache"] {
                assert!(!job.contains(word), "{}: a job with id-token has {word}:\n{job}", path.display());
            }
        }
    }
}

/// Measured figures are only in docs/benchmarks.md, each with its commit; other pages refer to it.
#[test]
fn figures_are_only_in_benchmarks_with_commit() {
    let read = |name: &str| fs::read_to_string(repo_root().join(name)).unwrap();
    let benchmarks = read("docs/benchmarks.md");
    for section in benchmarks.split("\n## ").skip(1) {
        let commits = section.split('`').skip(1).step_by(2);
        let has_commit =
            commits.clone().any(|word| word.len() == 7 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(has_commit || !section.contains("\n|"), "a table without a commit: {section}");
    }
    let is_ratio = |word: &str| {
        let digits = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).strip_suffix('x');
        digits.is_some_and(|digits| digits.contains('.') && digits.parse::<f64>().is_ok())
    };
    for name in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md"] {
        let text = read(name);
        let ratio = text.split_whitespace().find(|word| is_ratio(word));
        assert_eq!(ratio, None, "{name} contains a measured ratio");
        for size in ["237", "278 KB", "281,920", "281.9"] {
            assert!(!text.contains(size), "{name} contains the Worker's size, {size}");
        }
    }
    for name in ["README.md", "CHANGELOG.md"] {
        assert!(read(name).contains("docs/benchmarks.md"), "{name} does not refer to docs/benchmarks.md");
    }
}

/// Every row of docs/threat-model.md names existing tests.
#[test]
fn every_threat_model_row_names_its_tests() {
    let text = fs::read_to_string(repo_root().join("docs/threat-model.md")).unwrap();
    let mut everything = String::new();
    for folder in ["backend", "contract", "media", "doctor", "cli", "edge/src", "local", "tests", "xtask"] {
        everything.extend(sources(folder, &[".rs", ".mjs"]).into_iter().map(|(_, text)| text));
    }
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (id, shown_by) = (cells[0], cells[cells.len() - 1]);
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{id} names no test");
        for name in named {
            let is_there = if name.contains('/') {
                repo_root().join(name).exists()
            } else {
                everything.contains(&format!("fn {name}(")) || everything.contains(&format!("\"{name}\""))
            };
            assert!(is_there, "{id}: no test {name}");
        }
        rows.insert(id.to_owned());
    }
    for (kind, numbers) in [
        ("A", 0..=9),
        ("F", 1..=23),
        ("E", 1..=14),
        ("U", 1..=17),
        ("J", 1..=11),
        ("D", 1..=9),
        ("C", 1..=12),
    ] {
        for number in numbers {
            assert!(rows.contains(&format!("{kind}{number}")), "{kind}{number} has no row");
        }
    }
}
