//! Decides which ffmpeg the Lambda runs with on this machine: the layer's own, which `layer/build.sh` builds from source and
//! keeps in the tools cache, or the programs that the person names.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::MediaTools;
use super::system::{self, find_on_path};
use crate::project::Project;
use crate::run::{self, LoggedStep};

/// What `layer/build.sh` starts, and the Debian package that brings it.
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
const ALTERNATIVE: &str = "name an ffmpeg and an ffprobe of your own with GLIMPSE_FFMPEG and GLIMPSE_FFPROBE";

/// The Lambda's two programs. `layer` makes the folder of the layer, and is asked only if the person does not name both.
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

/// The folder of the built layer, which is built first if it is not there.
pub(super) fn ensure(project: &Project) -> Result<PathBuf> {
    if std::env::consts::OS != "linux" {
        bail!("the layer's ffmpeg is a Linux program, and this is {}: {ALTERNATIVE}", std::env::consts::OS);
    }
    if let Some(folder) = built_layer(project)? {
        run::print_ok("the layer's ffmpeg", folder.display());
        return Ok(folder);
    }
    let missing = missing_packages();
    if !missing.is_empty() {
        system::install(project, &missing)
            .with_context(|| format!("the layer's ffmpeg is built from source; or {ALTERNATIVE}"))?;
    }
    LoggedStep::new(
        "the layer's ffmpeg, from source: five to twenty minutes, once",
        project.log_path("layer"),
    )
    .run(
        &mut build_script(project),
        &format!("Correct what it says above and start this again, or {ALTERNATIVE}."),
    )?;
    built_layer(project)?.context("layer/build.sh has ended well, but nothing is where it says")
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<_> = BUILD_TOOLS
        .iter()
        .filter(|(program, _)| find_on_path(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    // Where these two are missing, the script gets them from Python's package index, into an environment of its own.
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

/// Where the layer of these very scripts, flags and sources is, if it has been built.
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
    let folder = String::from_utf8(output.stdout).context("the path of the layer is not text")?;
    Ok(Some(PathBuf::from(folder.trim_end())))
}
