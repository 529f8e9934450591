//! Installs the tools that are crates into the tools cache, each in exactly one version.

use std::process::Command;

use anyhow::Result;

use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::Purpose;
use crate::version::Version;

/// A tool.
struct CrateTool {
    package: &'static str,
    program: &'static str,
    version: Version,
    /// The tool is part of this setup and of the following ones.
    purpose: Purpose,
}

const TOOLS: [CrateTool; 1] = [
    // Checks the licenses of dependencies.
    CrateTool {
        package: "cargo-deny",
        program: "cargo-deny",
        version: Version(0, 20, 2),
        purpose: Purpose::Test,
    },
];

const ADVICE: &str =
    "Check that the crate registry is reachable (`cargo update --dry-run`), then run this again.";

pub(super) fn ensure(project: &Project, purpose: Purpose) -> Result<()> {
    let mut has_built = false;
    for tool in TOOLS.iter().filter(|tool| purpose >= tool.purpose) {
        if installed_version(project, tool) == Some(tool.version) {
            run::print_ok(tool.program, tool.version);
            continue;
        }
        install_tool(project, tool)?;
        has_built = true;
    }
    if has_built {
        // Half a gigabyte that is no longer needed. If it cannot be removed, it only uses disk space.
        let _ = std::fs::remove_dir_all(build_target(project));
    }
    Ok(())
}

/// The version of the installed program.
fn installed_version(project: &Project, tool: &CrateTool) -> Option<Version> {
    let version_output = run::capture(Command::new(project.tool(tool.program)).arg("--version")).ok()?;
    Version::find_in(&version_output)
}

fn install_tool(project: &Project, tool: &CrateTool) -> Result<()> {
    let version = tool.version;
    let title = format!("{} {version}", tool.package);
    let install = |locked: bool| {
        let mut command = project.cargo();
        command.args(["install", tool.package, "--version", &format!("={version}"), "--root"]);
        command.arg(project.cache.join("tools")).env("CARGO_TARGET_DIR", build_target(project));
        // The tools run for a second or two per build, so optimizing them would take longer than it saves.
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        command.args(locked.then_some("--locked"));
        command
    };
    let step = |name: &str| LoggedStep::new(title.clone(), project.log_path(name));
    let Err(failure) = step(tool.package).try_run(&mut install(true))? else { return Ok(()) };
    // A mirror of the registry can lag behind the lockfile of a new release of a tool. In this case, use the newest
    // available versions. Other failures are reported.
    if !failure.tail.contains("failed to select a version") {
        return Err(failure.into_error(ADVICE));
    }
    run::print_note(
        "the registry lacks versions of the tool's lockfile; using the newest available versions",
    );
    step(&format!("{}-unlocked", tool.package)).run(&mut install(false), ADVICE)
}

fn build_target(project: &Project) -> std::path::PathBuf {
    project.target.join("tools")
}
