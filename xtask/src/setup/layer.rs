//! Provides the Lambda's ffmpeg on this machine: the layer's, which `layer/build.sh` builds from source into the tools
//! cache, or programs given by environment variables.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::MediaTools;
use super::system::{self, find_on_path};
use crate::project::Project;
use crate::run::{self, LoggedStep};

/// Programs that `layer/build.sh` needs, with their Debian packages.
const BUILD_TOOLS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("make", "make"),
    ("pkg-config", "pkg-config"),
    ("python3", "python3"),
    ("xz", "xz-utils"),
    ("curl", "curl"),
    #[cfg(target_arch = "x86_64")]
    ("nasm", "nasm"),
];
const ALTERNATIVE: &str = "set GLIMPSE_FFMPEG and GLIMPSE_FFPROBE to other programs";

/// The Lambda's two programs. `layer` builds the layer and returns its folder; it is called only if not both
/// environment variables are set.
pub(super) fn ffmpeg_programs(layer: impl FnOnce() -> Result<PathBuf>) -> Result<MediaTools> {
    let (ffmpeg, ffprobe) =
        (system::program_from_env("GLIMPSE_FFMPEG")?, system::program_from_env("GLIMPSE_FFPROBE")?);
    Ok(match (ffmpeg, ffprobe) {
        (Some(ffmpeg), Some(ffprobe)) => MediaTools { ffmpeg, ffprobe },
        (ffmpeg, ffprobe) => {
            let bin = layer()?.join("bin");
            MediaTools {
                ffmpeg: ffmpeg.unwrap_or_else(|| bin.join("ffmpeg")),
                ffprobe: ffprobe.unwrap_or_else(|| bin.join("ffprobe")),
            }
        }
    })
}

/// The folder of the built layer. The layer is built if necessary.
pub(super) fn ensure(project: &Project) -> Result<PathBuf> {
    if std::env::consts::OS != "linux" {
        bail!("the layer's ffmpeg needs Linux, but this system is {}: {ALTERNATIVE}", std::env::consts::OS);
    }
    if let Some(folder) = built_layer(project)? {
        run::print_ok("the layer's ffmpeg", folder.display());
        return Ok(folder);
    }
    let missing = missing_packages();
    if !missing.is_empty() {
        system::install(project, &missing).with_context(|| {
            format!("the layer's ffmpeg is built from source; alternatively, {ALTERNATIVE}")
        })?;
    }
    LoggedStep::new(
        "the layer's ffmpeg from source (once, five to twenty minutes)",
        project.log_path("layer"),
    )
    .run(
        &mut build_script(project),
        &format!("Fix the errors above and run this again, or {ALTERNATIVE}."),
    )?;
    built_layer(project)?.context("layer/build.sh succeeded, but its output folder does not exist")
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<_> = BUILD_TOOLS
        .iter()
        .filter(|(program, _)| find_on_path(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    // If these two are missing, the script installs them from Python's package index into a virtual environment.
    let has_meson = ["meson", "ninja"].iter().all(|program| find_on_path(program).is_some());
    let has_venv = || run::capture(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok();
    if !has_meson && !has_venv() {
        missing.push("python3-venv");
    }
    missing
}

fn build_script(project: &Project) -> Command {
    let mut command = Command::new(project.path("layer/build.sh"));
    command.current_dir(&project.root).env("GLIMPSE_TOOLS_DIR", &project.cache);
    command
}

/// The folder of the layer built from the current scripts, flags and sources, if it exists.
fn built_layer(project: &Project) -> Result<Option<PathBuf>> {
    let output = build_script(project)
        .arg("--where")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start layer/build.sh")?;
    if !output.status.success() {
        return Ok(None);
    }
    let folder = String::from_utf8(output.stdout).context("the path of the layer is not valid UTF-8")?;
    Ok(Some(PathBuf::from(folder.trim_end())))
}
