//! Finds programs of the system by environment variable or PATH, and installs missing Debian packages if permitted;
//! otherwise the error contains the command to run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::project::Project;
use crate::run::{self, LoggedStep};

/// A required program of the system.
pub(super) struct SystemProgram {
    /// Environment variable with the path of another program to use.
    variable: &'static str,
    /// Names on PATH, in order of preference.
    names: &'static [&'static str],
    /// Debian packages that contain it.
    packages: &'static [&'static str],
    /// Arguments of a test run that succeeds if the program is complete.
    probe: &'static [&'static str],
}

/// A full ffmpeg: the layer's has no video encoder.
pub(super) const REFERENCE_FFMPEG: SystemProgram = SystemProgram {
    variable: "GLIMPSE_REFERENCE_FFMPEG",
    names: &["ffmpeg"],
    packages: &["ffmpeg"],
    probe: &["-version"],
};
pub(super) const REFERENCE_FFPROBE: SystemProgram = SystemProgram {
    variable: "GLIMPSE_REFERENCE_FFPROBE",
    names: &["ffprobe"],
    packages: &["ffmpeg"],
    probe: &["-version"],
};
pub(super) const CHROMIUM: SystemProgram = SystemProgram {
    variable: "GLIMPSE_CHROMIUM",
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    packages: &["chromium"],
    probe: &[],
};
/// Load generator for benchmarks.
pub(super) const WRK: SystemProgram =
    SystemProgram { variable: "GLIMPSE_WRK", names: &["wrk"], packages: &["wrk"], probe: &[] };
/// Used by shell snippets in the documentation.
pub(super) const CURL: SystemProgram =
    SystemProgram { variable: "GLIMPSE_CURL", names: &["curl"], packages: &["curl"], probe: &["--version"] };
pub(super) const JQ: SystemProgram =
    SystemProgram { variable: "GLIMPSE_JQ", names: &["jq"], packages: &["jq"], probe: &["--version"] };
pub(super) const PYTHON: SystemProgram = SystemProgram {
    variable: "GLIMPSE_PYTHON3",
    names: &["python3"],
    // Debian has a separate package for virtual environments.
    packages: &["python3", "python3-venv"],
    probe: &["-c", "import ensurepip, venv"],
};

/// The path of each program, in the order of `programs`.
pub(super) fn ensure(project: &Project, programs: &[&SystemProgram]) -> Result<Vec<PathBuf>> {
    let mut missing: Vec<&str> = Vec::new();
    for program in programs {
        if locate(program)?.is_none() {
            missing.extend(
                program.packages.iter().filter(|package| !missing.contains(package)).collect::<Vec<_>>(),
            );
        }
    }
    if !missing.is_empty() {
        install(project, &missing)?;
    }
    let mut paths = Vec::new();
    for program in programs {
        let Some(path) = locate(program)? else {
            bail!(
                "{} is not on PATH although its packages ({}) are installed: set {} to its path",
                program.names[0],
                program.packages.join(", "),
                program.variable
            );
        };
        run::print_ok(program.names[0], path.display());
        paths.push(path);
    }
    Ok(paths)
}

/// The path of the program, if it exists and works.
fn locate(program: &SystemProgram) -> Result<Option<PathBuf>> {
    if let Some(path) = program_from_env(program.variable)? {
        return Ok(Some(path));
    }
    let is_working = |path: &PathBuf| {
        program.probe.is_empty() || run::capture(Command::new(path).args(program.probe)).is_ok()
    };
    Ok(program.names.iter().find_map(|name| find_on_path(name)).filter(is_working))
}

/// The program at the path in an environment variable.
pub(super) fn program_from_env(variable: &str) -> Result<Option<PathBuf>> {
    let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = std::path::absolute(&value)?;
    if !path.is_file() {
        bail!("{variable} is {}, which does not exist: correct it or unset it", path.display());
    }
    Ok(Some(path))
}

/// The first file with this name on PATH.
pub(crate) fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Installs the cross compilers that build the layer for arm64 on another architecture. `layer/build.sh` would install
/// them too, but only after it has recorded the compiler in the layer's name and in its bill of materials.
pub(crate) fn ensure_arm_compilers(project: &Project) -> Result<()> {
    const NEEDED: [(&str, &str); 2] = [
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
    ];
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|(program, _)| find_on_path(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() || cfg!(target_arch = "aarch64") { Ok(()) } else { install(project, &missing) }
}

/// Held during an installation: apt-get does not wait for another one.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Installs Debian packages, if permitted; otherwise the error contains the command.
pub(super) fn install(project: &Project, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let command_line = format!("apt-get install -y {list}");
    if find_on_path("apt-get").is_none() {
        bail!(
            "missing packages: {list} (Debian names). Install the packages of your system, then run this again"
        );
    }
    let Some(prefix) = root_prefix() else {
        bail!("missing packages: {list}. Run `sudo {command_line}`, then run this again");
    };
    let advice =
        format!("Run `sudo apt-get update && sudo {command_line}` and fix its errors, then run this again.");
    let apt = |arguments: &[&str]| {
        let mut words = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        // `prefix` can be empty, but the chain is not.
        let mut command = Command::new(words.next().unwrap_or("apt-get"));
        command.args(words).args(arguments);
        command
    };
    // If the package lists cannot be updated, the existing ones may be sufficient.
    let _guard = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let update_result =
        LoggedStep::new("apt-get update", project.log_path("apt-update")).try_run(&mut apt(&["update"]))?;
    if let Err(failure) = update_result {
        run::print_note(&format!("apt-get update {}; using the existing package lists", failure.reason));
    }
    // `--no-remove`: do not remove packages that the user has installed in case of a conflict.
    let arguments: Vec<&str> =
        ["install", "-y", "--no-install-recommends", "--no-remove"].iter().chain(packages).copied().collect();
    LoggedStep::new(format!("apt-get install {list}"), project.log_path("apt-install"))
        .run(&mut apt(&arguments), &advice)
}

/// Prefix to run a command as root: empty for root, `sudo` if it needs no password.
fn root_prefix() -> Option<&'static [&'static str]> {
    let is_root = run::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root {
        return Some(&[]);
    }
    let sudo = find_on_path("sudo")?;
    run::capture(Command::new(sudo).args(["-n", "true"])).is_ok().then_some(&["sudo", "-n"])
}

/// Whether the folder contains a file with this prefix and suffix.
pub(super) fn has_file(folder: &Path, prefix: &str, suffix: &str) -> bool {
    folder.read_dir().is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
        })
    })
}
