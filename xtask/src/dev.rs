//! `cargo xtask dev`: sets up and builds Glimpse, then replaces this process with the local cloud (`exec`), which thus
//! receives the terminal's Ctrl-C and determines the exit status.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{self, BuildPlan};
use crate::project::Project;
use crate::setup::Purpose;
use crate::worker::Optimization;

pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let plan = BuildPlan {
        components: &build::ALL,
        connect_src: &build::ConnectSrc::Loopback,
        optimization: Optimization::BuildTime,
    };
    let tools = build::set_up_and_run(project, Purpose::Run, &plan)?;
    let media = tools.media()?;
    println!();
    let program = project.binary_path("glimpse-local");
    let mut command = Command::new(&program);
    command
        .current_dir(&project.root)
        .arg("dev")
        .arg("--preview")
        .arg(project.binary_path("preview"))
        .arg("--ffmpeg")
        .arg(&media.ffmpeg)
        .arg("--ffprobe")
        .arg(&media.ffprobe)
        // wrangler then starts faster the next time.
        .env("NODE_COMPILE_CACHE", project.target.join("node-compile-cache"));
    if let Some(script) = &media.build {
        command.arg("--ffmpeg-build").arg(script).env("GLIMPSE_TOOLS_DIR", &project.cache);
    }
    command.args(arguments);
    // `exec` returns only if the program could not be started.
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}
