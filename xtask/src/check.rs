//! Decides which checks need no test to run, and how: formatting, lints natively and for wasm32, documentation.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::project::Project;
use crate::run;
use crate::setup::wasm::{TARGET, Toolchain};
use crate::setup::{self, Purpose, Tools};
use crate::summary::{self, Outcome};

pub(crate) fn run(project: &Project) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Build)?;
    let outcomes = all(project, &tools)?;
    run::heading("summary");
    println!("{}", summary::table(&outcomes));
    Ok(if outcomes.iter().any(Outcome::is_red) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs every check, also after one has failed.
pub(crate) fn all(project: &Project, tools: &Tools) -> Result<Vec<Outcome>> {
    let cargo = |arguments: &[&str]| {
        let mut command = project.cargo();
        command.args(arguments);
        command
    };
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    documentation.env("RUSTDOCFLAGS", "-Dwarnings");
    Ok(vec![
        one("format", &mut cargo(&["fmt", "--all", "--check"]))?,
        one("lints", &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]))?,
        one("lints for wasm32", &mut for_wasm(project, tools))?,
        one("documentation", &mut documentation)?,
    ])
}

/// Runs one check with its output shown.
pub(crate) fn one(name: &'static str, command: &mut Command) -> Result<Outcome> {
    run::heading(name);
    let started = Instant::now();
    let ok = run::stream(command, |_| {})?;
    Ok(Outcome::of_check(name, ok, started.elapsed()))
}

/// Clippy belongs to the toolchain whose standard library it reads. The system's Rust comes without one: there the
/// compiler's own warnings are what can be checked.
fn for_wasm(project: &Project, tools: &Tools) -> Command {
    let mut command = match &tools.wasm {
        Toolchain::Active => {
            let mut command = project.cargo();
            command.args(["clippy", "--package", "glimpse-edge", "--target", TARGET, "--", "-Dwarnings"]);
            command
        }
        Toolchain::Own(folder) => {
            let mut command = Command::new(folder.join("bin/cargo"));
            command.current_dir(&project.root).args([
                "check",
                "--package",
                "glimpse-edge",
                "--target",
                TARGET,
            ]);
            command.env("RUSTFLAGS", "-Dwarnings");
            command
        }
    };
    tools.wasm.apply(&mut command).env("CARGO_TARGET_DIR", project.target.join("wasm-build"));
    command
}
