//! The program itself: its output, its exit, and that no child process outlives it. Run: `cargo test -p glimpse-local
//! --test binary`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::wait_for;
use glimpse_local::S3Settings;
use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_glimpse-local");

/// Starts `start_serve` with a uniquely named copy of the test function, and returns its S3 endpoint.
fn start_serve(folder: &Path) -> (Child, String) {
    let tests = std::env::current_exe().unwrap();
    let function = tests.parent().unwrap().parent().unwrap().join("examples/function");
    std::fs::copy(function, folder.join("preview")).unwrap();
    let mut child = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .arg("--preview")
        .arg(folder.join("preview"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("S3 listens on ").unwrap().to_owned();
    (child, endpoint)
}

fn count_functions(folder: &Path) -> usize {
    let binary = folder.join("preview");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == binary))
        .count()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn children_die_with_the_process() {
    for (end, code) in [(Signal::TERM, Some(0)), (Signal::INT, Some(0)), (Signal::KILL, None)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let (mut child, endpoint) = start_serve(&path);
        let client = common::S3Client {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            endpoint,
            settings: S3Settings::default(),
        };
        common::assert_status(&client.put("uploads/o/v", b"x").await, 200);
        wait_for("the function runs", || (count_functions(&path) == 1).then_some(())).await;
        signal(&child, end);
        assert_eq!(child.wait().unwrap().code(), code, "{end:?}");
        wait_for("the function is gone", || (count_functions(&path) == 0).then_some(())).await;
    }
}

#[test]
fn missing_files_are_reported_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (
            &["serve", "--listen", &address, "--data", data],
            "is in use by another program: stop it, or choose another port with --listen",
        ),
        (
            &["serve", "--listen", "127.0.0.1:0", "--data", data, "--preview", "/nowhere"],
            "there is no function binary at /nowhere: build it",
        ),
        (&["dev", "--root", data, "--port", &port], "choose another with --port"),
        (
            // The system chooses every port, since a `dev` may be running on the developer's machine.
            &[
                ["dev", "--root", data].as_slice(),
                &["--port=0", "--s3-port=0", "--render-port=0", "--services-port=0", "--oidc-port=0"],
            ]
            .concat(),
            "there is no function binary at",
        ),
        (&[], "missing command: use serve, dev or token, or --help"),
    ];
    for (args, expected) in cases {
        let output = Command::new(BINARY).args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.trim().lines().count() == 1, "{args:?}: {stderr}");
    }
}
