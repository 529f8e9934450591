//! Tests of the exit status and the output of `glimpse doctor`. The end-to-end tests in `tests/` test its findings.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn run_doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glimpse"));
    command.arg("doctor").args(arguments);
    for name in ["GLIMPSE_URL", "GLIMPSE_TOKEN", "GLIMPSE_COOKIE"] {
        command.env_remove(name);
    }
    // A folder without a configuration.
    command.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR")).output().unwrap()
}

#[test]
fn exit_code_tells_failed_from_incomplete() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let found = run_doctor(&["--edge", &closed_port]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("FAILED  edge       No response from the Worker's address. (unreachable)"),
        "{text}"
    );
    assert!(text.ends_with("`edge` is the first failed check.\n"), "{text}");

    let found = run_doctor(&["--edge", &closed_port, "--json"]);
    let text = String::from_utf8(found.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["issue"], &lines[1]["ok"], lines.len()), (&"unreachable".into(), &false.into(), 2));

    assert_eq!(run_doctor(&["--help"]).status.code(), Some(0));
    let lost = run_doctor(&["--edge", "nowhere"]);
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8(lost.stderr).unwrap().contains("is not an address"));
}

#[test]
fn narrow_role_stops_further_checks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("roles.json");
    let file = file.to_str().unwrap();
    let look = |findings: &str, unseen: &str, arguments: &[&str]| {
        let text =
            format!(r#"{{"checked": ["r"], "findings": [{findings}], "unseen": [{unseen}], "remarks": []}}"#);
        std::fs::write(file, text).unwrap();
        let found = run_doctor(&[&["--roles", file], arguments].concat());
        (String::from_utf8(found.stdout).unwrap(), found.status.code())
    };
    let found = |issue: &str| {
        format!(r#"{{"issue": "{issue}", "observed": "r may x", "more": 0, "fix_command": "aws iam y"}}"#)
    };

    let (text, code) = look(&found("role_too_narrow"), "", &["--edge", &closed_port]);
    assert!(text.starts_with("FAILED  roles ") && !text.contains("unreachable"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    let (text, code) = look(&found("role_too_wide"), "", &["--edge", &closed_port]);
    assert!(text.starts_with("FAILED  roles ") && text.contains("FAILED  edge "), "{text}");
    assert!(text.ends_with("`roles` is the first failed check.\n"), "{text}");
    assert_eq!(code, Some(1), "{text}");

    assert_eq!(look("", "", &[]).1, Some(0), "only the roles");
    let (text, code) = look("", r#""iam:GetRole of r""#, &[]);
    assert!(text.starts_with("UNSEEN  roles ") && text.contains("iam:GetRole of r"), "{text}");
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(run_doctor(&["--roles", "/nowhere/at-all"]).status.code(), Some(2));
}
