//! The help texts in docs/cli.md are those of the program; completions and man pages can be created.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const BEGIN: &str = "<!-- The help texts below are written by the test, see the end of this page. -->\n";
const END: &str = "<!-- The end of the help texts. -->\n";
const COMMANDS: [&str; 18] = [
    "login",
    "logout",
    "whoami",
    "upload",
    "ls",
    "show",
    "rm",
    "poster",
    "open",
    "url",
    "token",
    "token upload",
    "token delivery",
    "events",
    "doctor",
    "completions",
    "man",
    "",
];

fn glimpse(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glimpse"));
    command.args(arguments).env_clear().env("HOME", "/nowhere").env("COLUMNS", "100").output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = glimpse(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn help_texts() -> String {
    let mut commands = COMMANDS;
    commands.rotate_right(1);
    let section = |command: &&str| {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = stdout(&words);
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let title = ["glimpse", command].join(" ");
        format!("### {}\n\n```text\n{}\n```\n\n", title.trim(), lines.join("\n").trim_end())
    };
    commands.iter().map(section).collect()
}

/// `UPDATE_DOCS=1 cargo test -p glimpse-cli --test manual` writes them.
#[test]
fn docs_have_the_help_texts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", help_texts());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text == expected,
        "docs/cli.md is outdated: UPDATE_DOCS=1 cargo test -p glimpse-cli --test manual"
    );
}

#[test]
fn every_command_is_documented() {
    let help = stdout(&["--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // The other lines continue a description.
    let lines = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names.len(), 16, "{names:?}");
    for name in names.iter().filter(|name| **name != "help") {
        assert!(COMMANDS.contains(name), "{name} is not in the documentation");
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = stdout(&["completions", shell]);
        for name in ["upload", "whoami", "--fit-mode", "doctor"] {
            assert!(text.contains(name.trim_start_matches('-')), "{shell} lacks {name}");
        }
    }
    // The shell accepts it.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join("glimpse.bash");
    fs::write(&file, stdout(&["completions", "bash"])).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&file).status().unwrap();
    assert!(checked.success());
}

#[test]
fn man_pages_are_written() {
    let page = stdout(&["man"]);
    assert!(page.contains(".TH glimpse 1") && page.contains("upload"), "{page}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    let _ = fs::remove_dir_all(&folder);
    stdout(&["man", "--out", folder.to_str().unwrap()]);
    for name in ["glimpse.1", "glimpse-upload.1", "glimpse-token-delivery.1"] {
        let page = fs::read_to_string(folder.join(name)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
}

#[test]
fn invalid_command_line_exits_with_2() {
    for arguments in [&[][..], &["fly"], &["show", "x"], &["--token"]] {
        assert_eq!(glimpse(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(glimpse(&["ls"]).status.code(), Some(2), "no deployment");
    assert_eq!(glimpse(&["ls", "--url", "http://video.example"]).status.code(), Some(2), "no TLS");
    let with_token = glimpse(&["ls", "--url", "https://video.example/u/hush.x", "--json"]);
    let error = String::from_utf8(with_token.stderr).unwrap();
    assert!(error.starts_with("{\"error\":{") && !error.contains("hush"), "{error}");
    assert_eq!(stdout(&["--version"]), format!("glimpse {}\n", env!("CARGO_PKG_VERSION")));
}
