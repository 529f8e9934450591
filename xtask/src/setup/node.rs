//! Decides whether Node.js is good enough, and installs the npm packages of the lockfile when they are not what it says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::system::find_on_path;
use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::version::Version;

/// The oldest Node.js that can run npm's install scripts of our packages; the packages bring their own newer one.
const MIN_VERSION: Version = Version(20, 0, 0);
/// A mirror that does not answer must not hold a person up for npm's own five minutes a try.
const INSTALL_TIMEOUT: Duration = Duration::from_mins(15);

pub(super) fn ensure(project: &Project) -> Result<()> {
    let Some(node) = find_on_path("node") else {
        bail!("Node.js is not on PATH: install version {} or newer from https://nodejs.org", MIN_VERSION.0);
    };
    let version_output = run::capture(Command::new(&node).arg("--version"))?;
    match Version::find_in(&version_output) {
        Some(version) if version >= MIN_VERSION => run::print_ok("node", version),
        _ => bail!(
            "{} is {}, but Glimpse needs Node.js {} or newer: install it from https://nodejs.org",
            node.display(),
            version_output.trim(),
            MIN_VERSION.0
        ),
    }
    let programs = ["node", "wrangler", "esbuild", "wasm-opt"];
    if install(project, "", |folder| programs.iter().all(|name| folder.join(".bin").join(name).exists()))? {
        return Ok(());
    }
    // Install scripts may have been blocked without an error; the packages are then not what we need.
    if let Err(error) = run::capture(project.npm_command("node").arg("--version")) {
        fingerprint::invalidate(&project.path(STAMP))?;
        bail!(
            "npm installed the packages without running their install scripts ({error:#}): allow them in npm's settings"
        );
    }
    Ok(())
}

/// What the Worker is measured against: packages that nothing else needs, some hundred of them.
pub(super) fn ensure_baselines(project: &Project) -> Result<()> {
    install(project, "bench/edge/", |folder| folder.join("@uppy/companion").exists())?;
    Ok(())
}

const STAMP: &str = "node_modules/.glimpse-stamp";

/// Installs what the lockfile in `place` says; answers whether it was there already, by its stamp and by `is_there`.
fn install(project: &Project, folder: &str, is_complete: impl Fn(&Path) -> bool) -> Result<bool> {
    let stamp = project.path(&format!("{folder}{STAMP}"));
    let lockfile = format!("{folder}package-lock.json");
    let inputs = Fingerprint::new()
        .with_path(&project.path(&format!("{folder}package.json")), &[])?
        .with_path(&project.path(&lockfile), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && is_complete(&project.path(&format!("{folder}node_modules"))) {
        run::print_ok("npm packages", format_args!("as {lockfile} says"));
        return Ok(true);
    }
    let Some(npm) = find_on_path("npm") else {
        bail!(
            "npm is not on PATH although node is: install it (it comes with Node.js from https://nodejs.org)"
        );
    };
    fingerprint::invalidate(&stamp)?;
    let name = folder.trim_end_matches('/');
    LoggedStep::new(format!("npm ci {name}"), project.log_path("npm-ci")).with_timeout(INSTALL_TIMEOUT).run(
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
    fingerprint::write_stamp(&stamp, inputs)?;
    Ok(false)
}
