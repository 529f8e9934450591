//! Decides which Python each task gets: a virtual environment in the tools cache with exactly the packages of one list,
//! checked by hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, LoggedStep};

const INSTALL_TIMEOUT: Duration = Duration::from_mins(10);

/// A list of packages that go together.
pub(super) struct PythonPackages {
    /// What they are, for the person who waits.
    title: &'static str,
    /// The list, inside the checkout: whole, so that nothing has to be resolved.
    requirements: &'static str,
}

/// What our signatures and our API are held against: botocore and schemathesis.
pub(super) const TEST_PACKAGES: PythonPackages =
    PythonPackages { title: "botocore and schemathesis", requirements: "tests/python.txt" };
/// What checks template.yaml, and deploys it.
pub(super) const DEPLOY_PACKAGES: PythonPackages =
    PythonPackages { title: "SAM and moto", requirements: "deploy/tools.txt" };
/// The linter of policies, which does not go with the others.
pub(super) const LINT_PACKAGES: PythonPackages =
    PythonPackages { title: "checkov", requirements: "deploy/checkov.txt" };

/// What builds the Lambdas.
pub(super) const BUILD_PACKAGES: PythonPackages =
    PythonPackages { title: "zig and cargo-zigbuild", requirements: "deploy/building.txt" };

/// The environment's Python.
pub(super) fn ensure(project: &Project, system_python: &Path, packages: &PythonPackages) -> Result<PathBuf> {
    let requirements = project.path(packages.requirements);
    let version = run::capture(Command::new(system_python).arg("--version"))?;
    let inputs = Fingerprint::new().with_bytes(version.as_bytes()).with_path(&requirements, &[])?;
    let folder = project.cache.join(format!("python-{}", inputs.to_hex()));
    let stamp = folder.join("glimpse-stamp");
    let python = folder.join("bin/python3");
    // An environment is links into the system's Python, which may have gone since.
    if fingerprint::is_fresh(&stamp, inputs) && python.exists() {
        run::print_ok(packages.title, folder.display());
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    LoggedStep::new("python environment", project.log_path("python-venv")).with_timeout(INSTALL_TIMEOUT).run(
        Command::new(system_python).args(["-m", "venv"]).arg(&folder),
        "Install Python's venv module (Debian: `sudo apt-get install python3-venv`), then start this again.",
    )?;
    LoggedStep::new(packages.title, project.log_path("python-packages")).with_timeout(INSTALL_TIMEOUT).run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--require-hashes"])
            .args(["--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements),
        "See that python3 is 3.11 or newer and the Python package index can be reached (`pip download botocore`), then start \
         this again.",
    )?;
    fingerprint::write_stamp(&stamp, inputs)?;
    Ok(python)
}
