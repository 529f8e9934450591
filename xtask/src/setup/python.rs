//! Creates Python virtual environments in the tools cache, each with exactly the packages of one list, verified by
//! hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, LoggedStep};

const INSTALL_TIMEOUT: Duration = Duration::from_mins(10);

/// A list of packages for one environment.
pub(super) struct PythonPackages {
    /// Title in the progress output.
    title: &'static str,
    /// Path of the list in the checkout. The list is complete, so that no dependencies are resolved.
    requirements: &'static str,
}

/// Packages that signatures and the API are compared with: botocore and schemathesis.
pub(super) const TEST_PACKAGES: PythonPackages =
    PythonPackages { title: "botocore and schemathesis", requirements: "tests/python.txt" };
/// Packages that check and deploy template.yaml.
pub(super) const DEPLOY_PACKAGES: PythonPackages =
    PythonPackages { title: "SAM and moto", requirements: "deploy/tools.txt" };
/// The policy linter, which is incompatible with the other packages.
pub(super) const LINT_PACKAGES: PythonPackages =
    PythonPackages { title: "checkov", requirements: "deploy/checkov.txt" };

/// Packages that build the Lambdas.
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
    // An environment contains links to the system's Python, which may have been removed.
    if fingerprint::is_fresh(&stamp, inputs) && python.exists() {
        run::print_ok(packages.title, folder.display());
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    LoggedStep::new("python environment", project.log_path("python-venv")).with_timeout(INSTALL_TIMEOUT).run(
        Command::new(system_python).args(["-m", "venv"]).arg(&folder),
        "Install Python's venv module (Debian: `sudo apt-get install python3-venv`), then run this again.",
    )?;
    LoggedStep::new(packages.title, project.log_path("python-packages")).with_timeout(INSTALL_TIMEOUT).run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--require-hashes"])
            .args(["--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements),
        "Check that python3 is 3.11 or newer and that the Python package index is reachable (`pip download botocore`), then \
         run this again.",
    )?;
    fingerprint::write_stamp(&stamp, inputs)?;
    Ok(python)
}
