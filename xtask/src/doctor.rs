//! `cargo xtask doctor`: builds and runs `glimpse doctor`. Without an address, it checks the deployment that `cargo xtask
//! dev` runs, with a token that the local cloud prints. `deploy/account`, which has credentials, reads a stack's roles;
//! the doctor, which has none, reports the result.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{Arg, Parser, ValueExt as _};

use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::{self, PythonTask};

/// Origin of the edge that `cargo xtask dev` runs.
const LOCAL_EDGE: &str = "http://localhost:8787";

/// Default region of a stack, also for `deploy`.
pub(crate) const DEFAULT_REGION: &str = "eu-central-1";

/// The doctor's exit status if the checks could not run.
pub(crate) const EXIT_INCOMPLETE: u8 = 2;

/// The stack whose roles are checked.
#[derive(Debug, PartialEq, Eq)]
struct StackRef {
    name: String,
    region: String,
}

impl StackRef {
    /// Splits the arguments into the stack, if one is given, and the other arguments, which are the doctor's.
    fn split_from(arguments: &[String]) -> Result<(Option<Self>, Vec<String>)> {
        let (mut name, mut region, mut others) = (None, None, Vec::new());
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("stack") => name = Some(parse_name(&mut parser, "--stack")?),
                Arg::Long("region") => region = Some(parse_name(&mut parser, "--region")?),
                Arg::Long(option @ ("edge" | "url" | "origin" | "roles" | "token" | "wait")) => {
                    others.push(format!("--{option}"));
                    others.push(parser.value()?.string()?);
                }
                Arg::Long(option) => others.push(format!("--{option}")),
                Arg::Short(option) => others.push(format!("-{option}")),
                Arg::Value(value) => others.push(value.string()?),
            }
        }
        match (name, region) {
            (Some(name), region) => {
                Ok((Some(Self { name, region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()) }), others))
            }
            (None, Some(_)) => bail!("--region requires --stack"),
            (None, None) => Ok((None, others)),
        }
    }

    /// Writes the findings to a file. This is the only step that uses credentials.
    fn write_roles_file(&self, project: &Project) -> Result<PathBuf> {
        let python = setup::python_for(project, PythonTask::Deploying)?;
        let mut command = Command::new(python);
        command.arg(project.path("deploy/account")).arg("roles");
        let findings = run::capture(command.args(["--region", &self.region, "--stack", &self.name]))?;
        let file = project.target.join("roles.json");
        fs::create_dir_all(&project.target)?;
        fs::write(&file, findings).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// The value of an option that is a name.
fn parse_name(parser: &mut Parser, option: &str) -> Result<String> {
    let name = parser.value()?.string()?;
    ensure!(!name.is_empty() && !name.starts_with('-'), "{option} needs a value");
    Ok(name)
}

/// `cargo xtask doctor`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let (stack, arguments) = StackRef::split_from(arguments)?;
    let has_argument = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut command = doctor_command(project)?;
    command.args(&arguments);
    let is_help = has_argument("--help") || has_argument("-h");
    if let Some(stack) = stack.as_ref().filter(|_| !is_help) {
        command.arg("--roles").arg(stack.write_roles_file(project)?);
    }
    // With a stack and without an address, only the roles are checked.
    if stack.is_none() && !has_argument("--edge") && !has_argument("--url") && !is_help {
        command.args(["--edge", LOCAL_EDGE]);
        if !has_argument("--token") {
            command.env("GLIMPSE_TOKEN", local_token(project)?);
        }
    }
    println!();
    let status = command.status().context("cannot start the doctor")?;
    // The doctor's exit status distinguishes an issue from checks that could not run.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn doctor_command(project: &Project) -> Result<Command> {
    build_package(project, "doctor", "glimpse-cli")?;
    let mut command = Command::new(project.binary_path("glimpse"));
    // Only the arguments name the deployment, not the configuration of this user.
    command.arg("doctor").env_remove("GLIMPSE_URL");
    Ok(command)
}

/// A token that is valid for the Worker of `cargo xtask dev`.
fn local_token(project: &Project) -> Result<String> {
    build_package(project, "local cloud", "glimpse-local")?;
    let token = run::capture(Command::new(project.binary_path("glimpse-local")).arg("token"))?;
    Ok(token.trim().to_owned())
}

fn build_package(project: &Project, title: &str, package: &str) -> Result<()> {
    LoggedStep::new(title, project.log_path(package)).run(
        project.cargo().args(["build", "--package", package, "--bins"]),
        "Fix the errors above, then run this again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<(Option<StackRef>, Vec<String>)> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        StackRef::split_from(&words)
    }

    #[test]
    fn splits_stack_from_doctor_arguments() {
        let (stack, others) = split("--edge https://a --stack mine --json --region=us-east-1").unwrap();
        assert_eq!(stack, Some(StackRef { name: "mine".into(), region: "us-east-1".into() }));
        assert_eq!(others, ["--edge", "https://a", "--json"]);
        assert_eq!(split("--stack=mine").unwrap().0.unwrap().region, DEFAULT_REGION);
        for same in ["--edge https://a", "--edge=https://a"] {
            assert_eq!(split(same).unwrap(), (None, vec!["--edge".into(), "https://a".into()]), "{same}");
        }
        // The doctor itself rejects what it does not know.
        assert_eq!(split("-h --fly x --token -t").unwrap().1, ["-h", "--fly", "x", "--token", "-t"]);
        for wrong in ["--stack", "--stack --json", "--stack=", "--region us-east-1", "--edge", "--json=x"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
