//! `cargo xtask check`: import cycles, formatting, lints for the host and for wasm32, and documentation.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::cycles;
use crate::project::Project;
use crate::run;
use crate::setup::wasm::{TARGET, Toolchain};
use crate::setup::{self, Purpose, Toolset};
use crate::summary::{self, SuiteResult};

pub(crate) fn run(project: &Project) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Build)?;
    let outcomes = run_all(project, &tools)?;
    run::print_heading("summary");
    println!("{}", summary::format_table(&outcomes));
    Ok(if outcomes.iter().any(SuiteResult::has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all checks, even after a failed one.
fn run_all(project: &Project, tools: &Toolset) -> Result<Vec<SuiteResult>> {
    let mut outcomes = run_quick(project)?;
    for (name, mut command) in cargo_checks(project, tools) {
        outcomes.push(run_one(name, &mut command)?);
    }
    Ok(outcomes)
}

/// The checks that compile nothing.
pub(crate) fn run_quick(project: &Project) -> Result<Vec<SuiteResult>> {
    let mut format = project.cargo();
    format.args(["fmt", "--all", "--check"]);
    Ok(vec![check_imports(project)?, run_one("format", &mut format)?])
}

/// A deployment may leave the encoder of H.264 out.
const LINTS_WITHOUT_H264: [&str; 9] = [
    "clippy",
    "--package",
    "glimpse-backend",
    "--package",
    "glimpse-media",
    "--no-default-features",
    "--all-targets",
    "--",
    "-Dwarnings",
];

/// The checks that compile, with their names.
pub(crate) fn cargo_checks(project: &Project, tools: &Toolset) -> [(&'static str, Command); 4] {
    let cargo = |arguments: &[&str]| {
        let mut command = project.cargo();
        command.args(arguments);
        command
    };
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    documentation.env("RUSTDOCFLAGS", "-Dwarnings");
    [
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"])),
        ("lints without H.264", cargo(&LINTS_WITHOUT_H264)),
        ("lints for wasm32", wasm_lints(project, tools)),
        ("documentation", documentation),
    ]
}

/// Checks that no modules import one another in a cycle.
fn check_imports(project: &Project) -> Result<SuiteResult> {
    run::print_heading("imports");
    let started = Instant::now();
    let cycles = cycles::find_all(&project.root)?;
    for cycle in &cycles {
        println!("these modules import one another: {cycle}");
    }
    Ok(SuiteResult::from_check("imports", cycles.is_empty(), started.elapsed()))
}

/// Runs one check and shows its output.
pub(crate) fn run_one(name: &'static str, command: &mut Command) -> Result<SuiteResult> {
    run::print_heading(name);
    let started = Instant::now();
    let end = run::stream(command, Some(run::STALL_TIMEOUT), |_| {})?;
    Ok(SuiteResult::from_check(name, end.is_success(), started.elapsed()).with_stall(end, &[]))
}

/// Clippy must belong to the toolchain whose standard library it reads. The system's Rust has no Clippy: there, only
/// the compiler's warnings are checked.
fn wasm_lints(project: &Project, tools: &Toolset) -> Command {
    let mut command = tools.wasm.cargo(project);
    match &tools.wasm {
        // In the target folder of the other lints, whose macros and build scripts it uses.
        Toolchain::Active => {
            command.args(["clippy", "--package", "glimpse-edge", "--target", TARGET, "--", "-Dwarnings"]);
        }
        // Two compilers in one target folder would invalidate each other's outputs.
        Toolchain::Custom(_) => {
            command.args(["check", "--package", "glimpse-edge", "--target", TARGET]);
            command.env("RUSTFLAGS", "-Dwarnings");
            command.env("CARGO_TARGET_DIR", project.target.join("wasm-build"));
        }
    }
    command
}
