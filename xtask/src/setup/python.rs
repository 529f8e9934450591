//! Decides which Python the tests get: a virtual environment in the tools cache with exactly the packages of
//! `tests/botocore.txt`, checked by hash. Our signatures are compared with botocore's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, Step};

const LIMIT: Duration = Duration::from_mins(10);

pub(super) fn ensure(project: &Project, system: &Path) -> Result<PathBuf> {
    let requirements = project.path("tests/botocore.txt");
    let version = run::capture(Command::new(system).arg("--version"))?;
    let inputs = Fingerprint::new().with(version.as_bytes()).with_path(&requirements, &[])?;
    let folder = project.cache.join(format!("python-{}", inputs.text()));
    let stamp = folder.join("glimpse-stamp");
    let python = folder.join("bin/python3");
    // An environment is links into the system's Python, which may have gone since.
    if fingerprint::is_fresh(&stamp, inputs) && python.exists() {
        run::found("python packages", folder.display());
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Step::new("python environment", project.log("python-venv")).limit(LIMIT).run(
        Command::new(system).args(["-m", "venv"]).arg(&folder),
        "Install Python's venv module (Debian: `sudo apt-get install python3-venv`), then start this again.",
    )?;
    Step::new("python packages", project.log("python-packages")).limit(LIMIT).run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--require-hashes"])
            .args(["--only-binary", ":all:", "--requirement"])
            .arg(&requirements),
        "See that the Python package index can be reached (`pip download botocore`), then start this again.",
    )?;
    fingerprint::write(&stamp, inputs)?;
    Ok(python)
}
