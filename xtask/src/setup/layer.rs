//! Provides the Lambda's ffmpeg on this machine: the layer's, which `layer/build.sh` builds from source into the tools
//! cache; or programs given by environment variables; or, for running only, the system's, if `layer/verify` accepts it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::MediaTools;
use super::system::{self, find_on_path};
use crate::fingerprint::{self, Fingerprint};
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::version::Version;

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

/// The oldest ffmpeg of the system that is used: `-fps_mode`, which the Lambda's commands have, is new in 5.1.
const OLDEST_SYSTEM_FFMPEG: Version = Version(5, 1, 0);
const BUILD_SCRIPT: &str = "layer/build.sh";

/// The Lambda's two programs. `otherwise` provides them; it is called only if not both environment variables are set.
pub(super) fn ffmpeg_programs(otherwise: impl FnOnce() -> Result<MediaTools>) -> Result<MediaTools> {
    let (ffmpeg, ffprobe) =
        (system::program_from_env("GLIMPSE_FFMPEG")?, system::program_from_env("GLIMPSE_FFPROBE")?);
    Ok(match (ffmpeg, ffprobe) {
        (Some(ffmpeg), Some(ffprobe)) => MediaTools { ffmpeg, ffprobe, build: None },
        (ffmpeg, ffprobe) => {
            let other = otherwise()?;
            MediaTools {
                ffmpeg: ffmpeg.unwrap_or(other.ffmpeg),
                ffprobe: ffprobe.unwrap_or(other.ffprobe),
                build: other.build,
            }
        }
    })
}

/// The programs of the built layer.
pub(super) fn programs_in(layer: &Path) -> MediaTools {
    let bin = layer.join("bin");
    MediaTools { ffmpeg: bin.join("ffmpeg"), ffprobe: bin.join("ffprobe"), build: None }
}

/// The programs for running Glimpse, without waiting for a build: the layer's, else the system's, else the layer's that
/// are still to be built.
pub(super) fn find_or_plan(project: &Project) -> Result<MediaTools> {
    let (folder, is_built) = layer_folder(project)?;
    if is_built {
        run::print_ok("the layer's ffmpeg", folder.display());
        return Ok(programs_in(&folder));
    }
    if let Some(programs) = system_programs(project)? {
        return Ok(programs);
    }
    check_prerequisites(project)?;
    run::print_note("the layer's ffmpeg will be built from source while Glimpse runs");
    Ok(MediaTools { build: Some(project.path(BUILD_SCRIPT)), ..programs_in(&folder) })
}

/// The system's programs, if they decode what the layer's do.
fn system_programs(project: &Project) -> Result<Option<MediaTools>> {
    let (Some(ffmpeg), Some(ffprobe), Some(python)) =
        (find_on_path("ffmpeg"), find_on_path("ffprobe"), find_on_path("python3"))
    else {
        return Ok(None);
    };
    let Ok(version_text) = run::capture(Command::new(&ffmpeg).arg("-version")) else { return Ok(None) };
    let Some(version) = system_version(&version_text) else {
        run::print_note(&format!(
            "{} is not used: it is older than {OLDEST_SYSTEM_FFMPEG}, or its version is unknown",
            ffmpeg.display()
        ));
        return Ok(None);
    };
    let mut inputs = Fingerprint::new().with_bytes(version_text.as_bytes());
    for path in ["layer", "media/src/codec.rs", "media/src/ffmpeg_args"] {
        inputs = inputs.with_path(&project.path(path), &[])?;
    }
    let stamp = project.cache.join("system-ffmpeg-stamp");
    if !fingerprint::is_fresh(&stamp, inputs) {
        let mut verify = Command::new(python);
        verify
            .current_dir(&project.root)
            .args(["-u", "layer/verify", "--programs"])
            .args([&ffmpeg, &ffprobe]);
        // The samples are sufficient; a folder of videos can take minutes.
        verify.env_remove("GLIMPSE_MEDIA");
        let title = format!("samples with the system's ffmpeg {version}");
        let verified = LoggedStep::new(title, project.log_path("system-ffmpeg")).try_run(&mut verify)?;
        if verified.is_err() {
            run::print_note(&format!(
                "{} is not used: it does not decode all samples of layer/verify (target/setup/system-ffmpeg.log)",
                ffmpeg.display()
            ));
            return Ok(None);
        }
        fingerprint::write_stamp(&stamp, inputs)?;
    }
    run::print_ok(
        "the system's ffmpeg, instead of the layer's",
        format_args!("{} {version}, which decodes the same samples", ffmpeg.display()),
    );
    Ok(Some(MediaTools { ffmpeg, ffprobe, build: None }))
}

/// The version in the output of `ffmpeg -version`, if it is new enough: `ffmpeg version 5.1.6-0+deb12u1 …`.
fn system_version(text: &str) -> Option<Version> {
    let word = text.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
    // Some distributions print the name of the tag, `n7.1`.
    let version = Version::find_in(word.strip_prefix('n').unwrap_or(word))?;
    (version >= OLDEST_SYSTEM_FFMPEG).then_some(version)
}

/// The folder of the built layer. The layer is built if necessary.
pub(super) fn ensure(project: &Project) -> Result<PathBuf> {
    let (folder, is_built) = layer_folder(project)?;
    if is_built {
        run::print_ok("the layer's ffmpeg", folder.display());
        return Ok(folder);
    }
    check_prerequisites(project)?;
    LoggedStep::new(
        "the layer's ffmpeg from source (once, five to twenty minutes)",
        project.log_path("layer"),
    )
    .run(
        &mut build_script(project),
        &format!("Fix the errors above and run this again, or {ALTERNATIVE}."),
    )?;
    match layer_folder(project)? {
        (folder, true) => Ok(folder),
        _ => bail!("layer/build.sh succeeded, but its output folder does not exist"),
    }
}

/// Installs the programs that the build of the layer needs, if permitted.
fn check_prerequisites(project: &Project) -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!("the layer's ffmpeg needs Linux, but this system is {}: {ALTERNATIVE}", std::env::consts::OS);
    }
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    system::install(project, &missing)
        .with_context(|| format!("the layer's ffmpeg is built from source; alternatively, {ALTERNATIVE}"))
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
    let mut command = Command::new(project.path(BUILD_SCRIPT));
    command.current_dir(&project.root).env("GLIMPSE_TOOLS_DIR", &project.cache);
    command
}

/// The folder of the layer of the current scripts, flags and sources, and whether it has been built.
fn layer_folder(project: &Project) -> Result<(PathBuf, bool)> {
    let output = build_script(project)
        .arg("--where")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start layer/build.sh")?;
    let folder = String::from_utf8(output.stdout).context("the path of the layer is not valid UTF-8")?;
    Ok((PathBuf::from(folder.trim_end()), output.status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_or_unknown_ffmpeg_is_not_used() {
        let version = |word: &str| system_version(&format!("ffmpeg version {word} Copyright (c) 2000-2025"));
        assert_eq!(version("5.1.6-0+deb12u1"), Some(Version(5, 1, 6)));
        assert_eq!(version("7.1"), Some(Version(7, 1, 0)));
        assert_eq!(version("n8.0.1"), Some(Version(8, 0, 1)));
        for word in ["4.4.2-0ubuntu0.22.04.1", "N-118193-g5f38c82536", "git-2024"] {
            assert_eq!(version(word), None, "{word}");
        }
    }
}
