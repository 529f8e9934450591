//! Checks the version of Node.js, and installs the npm packages of the lockfile if they are missing or outdated.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::system::find_on_path;
use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::version::Version;

/// Oldest Node.js that can run the packages' install scripts. The packages include a newer Node.js.
const MIN_VERSION: Version = Version(20, 0, 0);
/// Timeout of an installation. npm alone waits five minutes per attempt for an unresponsive mirror.
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
    // npm can block install scripts without an error; the packages are then incomplete.
    if let Err(error) = run::capture(project.npm_command("node").arg("--version")) {
        fingerprint::invalidate(&project.path(STAMP))?;
        bail!(
            "npm installed the packages without running their install scripts ({error:#}): allow them in npm's settings"
        );
    }
    Ok(())
}

/// Installs the packages of a benchmark's folder, which nothing else needs.
pub(super) fn ensure_baselines(project: &Project, folder: &str) -> Result<()> {
    install(project, folder, Path::exists)?;
    Ok(())
}

const STAMP: &str = "node_modules/.glimpse-stamp";

/// Installs the packages of the lockfile in `folder`. Returns whether they were already installed, according to the
/// stamp and `is_complete`.
fn install(project: &Project, folder: &str, is_complete: impl Fn(&Path) -> bool) -> Result<bool> {
    let stamp = project.path(&format!("{folder}{STAMP}"));
    let lockfile = format!("{folder}package-lock.json");
    let inputs = Fingerprint::new()
        .with_path(&project.path(&format!("{folder}package.json")), &[])?
        .with_path(&project.path(&lockfile), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && is_complete(&project.path(&format!("{folder}node_modules"))) {
        run::print_ok("npm packages", format_args!("match {lockfile}"));
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
        "Check that the npm registry is reachable (`npm ping`), then run this again.",
    )?;
    fingerprint::write_stamp(&stamp, inputs)?;
    Ok(false)
}
