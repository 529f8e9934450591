//! Decides how a deployment is looked at: by the doctor's own program, which is built first; without an address, that of
//! `cargo xtask dev`, as whom it prints a token for.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::project::Project;
use crate::run::{self, Step};

/// Where `cargo xtask dev` answers.
const LOCAL: &str = "http://localhost:8787";

/// `cargo xtask doctor`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let names =
        |word: &str| arguments.iter().any(|said| said == word || said.starts_with(&format!("{word}=")));
    let mut command = program(project)?;
    command.args(arguments);
    if !names("--edge") && !names("--help") && !names("-h") {
        command.args(["--edge", LOCAL]);
        if !names("--token") {
            command.env("GLIMPSE_TOKEN", local_token(project)?);
        }
    }
    println!();
    let status = command.status().context("cannot start the doctor")?;
    // Its own code says whether it found something or could not look.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn program(project: &Project) -> Result<Command> {
    build(project, "doctor", "glimpse-doctor")?;
    Ok(Command::new(project.binary("glimpse-doctor")))
}

/// A token that the Worker of `cargo xtask dev` takes.
fn local_token(project: &Project) -> Result<String> {
    build(project, "local cloud", "glimpse-local")?;
    let token = run::capture(Command::new(project.binary("glimpse-local")).arg("token"))?;
    Ok(token.trim().to_owned())
}

fn build(project: &Project, title: &str, package: &str) -> Result<()> {
    Step::new(title, project.log(package)).run(
        project.cargo().args(["build", "--package", package, "--bins"]),
        "Correct what the compiler says above, then start this again.",
    )
}
