//! Decides whether Node.js is good enough, and installs the npm packages of the lockfile when they are not what it says.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::system::on_path;
use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, Step};
use crate::version::Version;

/// The oldest Node.js that can run npm's install scripts of our packages; the packages bring their own newer one.
const OLDEST: Version = Version(20, 0, 0);
/// A mirror that does not answer must not hold a person up for npm's own five minutes a try.
const LIMIT: Duration = Duration::from_mins(15);

pub(super) fn ensure(project: &Project) -> Result<()> {
    let Some(node) = on_path("node") else {
        bail!("Node.js is not on PATH: install version {} or newer from https://nodejs.org", OLDEST.0);
    };
    let answer = run::capture(Command::new(&node).arg("--version"))?;
    match Version::find(&answer) {
        Some(version) if version >= OLDEST => run::found("node", version),
        _ => bail!(
            "{} is {}, but Glimpse needs Node.js {} or newer: install it from https://nodejs.org",
            node.display(),
            answer.trim(),
            OLDEST.0
        ),
    }
    let Some(npm) = on_path("npm") else {
        bail!(
            "npm is not on PATH although node is: install it (it comes with Node.js from https://nodejs.org)"
        );
    };

    let stamp = project.path("node_modules/.glimpse-stamp");
    let inputs = Fingerprint::new()
        .with_path(&project.path("package.json"), &[])?
        .with_path(&project.path("package-lock.json"), &[])?;
    let programs = ["node", "wrangler", "esbuild", "wasm-opt"];
    if fingerprint::is_fresh(&stamp, inputs) && programs.iter().all(|name| project.npm_program(name).exists())
    {
        run::found("npm packages", "as package-lock.json says");
        return Ok(());
    }
    fingerprint::forget(&stamp)?;
    Step::new("npm ci", project.log("npm-ci")).limit(LIMIT).run(
        Command::new(npm).current_dir(&project.root).args([
            "ci",
            "--no-audit",
            "--no-fund",
            "--loglevel=http",
            "--fetch-retries=2",
            "--fetch-retry-mintimeout=2000",
            "--fetch-retry-maxtimeout=10000",
        ]),
        "See that the npm registry can be reached (`npm ping`), then start this again.",
    )?;
    // Install scripts may have been blocked without an error; the packages are then not what we need.
    if let Err(error) = run::capture(project.npm_command("node").arg("--version")) {
        bail!(
            "npm installed the packages without running their install scripts ({error:#}): allow them in npm's settings"
        );
    }
    fingerprint::write(&stamp, inputs)
}
