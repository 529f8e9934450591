//! Checks the licenses and the sources of all packages in Cargo.lock, for every target, against `deny.toml`.

#![expect(clippy::unwrap_used, reason = "a panic of a test is its report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

/// The source of packages of crates.io in cargo's metadata.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn repo_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The allowed licenses, and those that are allowed for one package.
struct Policy {
    allowed: Vec<Licensee>,
    exceptions: Vec<(String, Licensee)>,
}

impl Policy {
    fn read() -> Self {
        let text = std::fs::read_to_string(repo_root().join("deny.toml")).unwrap();
        let licensee = |name: &str| Licensee::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let allowed: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
            .map(licensee)
            .collect();
        // exceptions = [{ crate = "NAME", allow = ["LICENSE"] }]
        let lines = text.lines().filter(|line| line.starts_with("exceptions"));
        let exceptions = lines.map(|line| {
            let words: Vec<&str> = line.split('"').collect();
            let [_, name, _, license, _] = words.as_slice() else { panic!("one exception in {line}") };
            ((*name).to_owned(), licensee(license))
        });
        let exceptions: Vec<_> = exceptions.collect();
        assert!(allowed.len() > 5 && exceptions.len() == 1, "deny.toml has the expected form");
        Self { allowed, exceptions }
    }

    /// Whether a package with this license expression may be used.
    fn allows(&self, name: &str, license: &str) -> bool {
        // Old packages write `MIT/Apache-2.0`.
        let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else { return false };
        let exceptions = self.exceptions.iter().filter(|(package, _)| package == name);
        let licensees: Vec<_> = self.allowed.iter().chain(exceptions.map(|(_, licensee)| licensee)).collect();
        expression.evaluate(|request| licensees.iter().any(|licensee| licensee.satisfies(request)))
    }
}

#[test]
fn dependencies_have_allowed_licenses_and_sources() {
    let output = Command::new(env!("CARGO"))
        .current_dir(repo_root())
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let policy = Policy::read();
    let mut wrong = Vec::new();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let (name, version) = (package["name"].as_str().unwrap(), &package["version"]);
        let license = package["license"].as_str().unwrap_or("none");
        if !policy.allows(name, license) {
            wrong.push(format!("{name} {version}: license {license}"));
        }
        // A package of the workspace has no source.
        let source = &package["source"];
        if !source.is_null() && source != CRATES_IO {
            wrong.push(format!("{name} {version}: source {source}"));
        }
    }
    assert!(packages.len() > 300, "{} packages", packages.len());
    assert!(wrong.is_empty(), "deny.toml does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn other_licenses_are_rejected() {
    let policy = Policy::read();
    for license in
        ["MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0-only) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(policy.allows("any", license), "{license}");
    }
    for license in ["GPL-3.0-only", "MIT AND LGPL-2.1-or-later", "NCSA", "none", "", "MPL-2.0", "Nobody-1.0"]
    {
        assert!(!policy.allows("any", license), "{license}");
    }
    assert!(policy.allows("libfuzzer-sys", "(MIT OR Apache-2.0) AND NCSA"));
}
