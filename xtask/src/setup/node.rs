//! Decides whether Node.js is good enough, and installs the npm packages of the lockfile when they are not what it says.

use std::path::Path;
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
    let programs = ["node", "wrangler", "esbuild", "wasm-opt"];
    if install(project, "", |folder| programs.iter().all(|name| folder.join(".bin").join(name).exists()))? {
        return Ok(());
    }
    // Install scripts may have been blocked without an error; the packages are then not what we need.
    if let Err(error) = run::capture(project.npm_command("node").arg("--version")) {
        fingerprint::forget(&project.path(STAMP))?;
        bail!(
            "npm installed the packages without running their install scripts ({error:#}): allow them in npm's settings"
        );
    }
    Ok(())
}

/// What the Worker is measured against: packages that nothing else needs, some hundred of them.
pub(super) fn ensure_rivals(project: &Project) -> Result<()> {
    install(project, "bench/edge/", |folder| folder.join("@uppy/companion").exists())?;
    Ok(())
}

const STAMP: &str = "node_modules/.glimpse-stamp";

/// Installs what the lockfile in `place` says; answers whether it was there already, by its stamp and by `is_there`.
fn install(project: &Project, place: &str, is_there: impl Fn(&Path) -> bool) -> Result<bool> {
    let stamp = project.path(&format!("{place}{STAMP}"));
    let lockfile = format!("{place}package-lock.json");
    let inputs = Fingerprint::new()
        .with_path(&project.path(&format!("{place}package.json")), &[])?
        .with_path(&project.path(&lockfile), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && is_there(&project.path(&format!("{place}node_modules"))) {
        run::found("npm packages", format_args!("as {lockfile} says"));
        return Ok(true);
    }
    let Some(npm) = on_path("npm") else {
        bail!(
            "npm is not on PATH although node is: install it (it comes with Node.js from https://nodejs.org)"
        );
    };
    fingerprint::forget(&stamp)?;
    let name = place.trim_end_matches('/');
    Step::new(format!("npm ci {name}"), project.log("npm-ci")).limit(LIMIT).run(
        Command::new(npm).current_dir(project.path(name)).args([
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
    fingerprint::write(&stamp, inputs)?;
    Ok(false)
}
