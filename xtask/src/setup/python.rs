//! Decides which Python each task gets: a virtual environment in the tools cache with exactly the packages of one list,
//! checked by hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, Step};

const LIMIT: Duration = Duration::from_mins(10);

/// A list of packages that go together.
pub(super) struct Packages {
    /// What they are, for the person who waits.
    title: &'static str,
    /// The list, inside the checkout: whole, so that nothing has to be resolved.
    list: &'static str,
}

/// What our signatures and our API are held against: botocore and schemathesis.
pub(super) const TESTING: Packages =
    Packages { title: "botocore and schemathesis", list: "tests/python.txt" };
/// What checks template.yaml, and deploys it.
pub(super) const DEPLOYING: Packages = Packages { title: "SAM and moto", list: "deploy/tools.txt" };
/// The linter of policies, which does not go with the others.
pub(super) const LINTING: Packages = Packages { title: "checkov", list: "deploy/checkov.txt" };

/// What builds the Lambdas.
pub(super) const BUILDING: Packages =
    Packages { title: "zig and cargo-zigbuild", list: "deploy/building.txt" };

/// The environment's Python.
pub(super) fn ensure(project: &Project, system: &Path, packages: &Packages) -> Result<PathBuf> {
    let requirements = project.path(packages.list);
    let version = run::capture(Command::new(system).arg("--version"))?;
    let inputs = Fingerprint::new().with(version.as_bytes()).with_path(&requirements, &[])?;
    let folder = project.cache.join(format!("python-{}", inputs.text()));
    let stamp = folder.join("glimpse-stamp");
    let python = folder.join("bin/python3");
    // An environment is links into the system's Python, which may have gone since.
    if fingerprint::is_fresh(&stamp, inputs) && python.exists() {
        run::found(packages.title, folder.display());
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Step::new("python environment", project.log("python-venv")).limit(LIMIT).run(
        Command::new(system).args(["-m", "venv"]).arg(&folder),
        "Install Python's venv module (Debian: `sudo apt-get install python3-venv`), then start this again.",
    )?;
    Step::new(packages.title, project.log("python-packages")).limit(LIMIT).run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--require-hashes"])
            .args(["--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements),
        "See that python3 is 3.11 or newer and the Python package index can be reached (`pip download botocore`), then start \
         this again.",
    )?;
    fingerprint::write(&stamp, inputs)?;
    Ok(python)
}
