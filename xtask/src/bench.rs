//! Decides what can be measured, and how each measurement is set up. What is measured and the table are the measuring
//! program's own.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::build::{self, Part};
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, Tools};

pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        bail!("name what to measure: {NAMES}");
    };
    match name.as_str() {
        "engine" => engine(project, rest),
        "layer" => layer(project, rest),
        "edge" => edge(project, rest),
        "deliver" => deliver(project, rest),
        other => bail!("there is no measurement `{other}`: {NAMES}"),
    }
}

const NAMES: &str = "engine, layer, edge or deliver";

/// The preview engine against other ways to the same pictures. `backend/bench --help` lists the arguments.
fn engine(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Measure)?;
    let (media, reference) = (tools.media()?, tools.reference()?);
    run::Step::new("engine, release", project.log("bench-engine")).run(
        project.cargo().args(["build", "--release", "--locked", "-p", "glimpse-backend", "--examples"]),
        "read on in its log",
    )?;
    let mut command = Command::new(&reference.python);
    command
        .current_dir(&project.root)
        .args(["-u", "backend/bench"])
        .args(arguments)
        .env("GLIMPSE_FFMPEG", &media.ffmpeg)
        .env("GLIMPSE_FFPROBE", &media.ffprobe)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_ENGINE", project.target.join("release/examples"))
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    measure("engine", &mut command)
}

/// The layer's ffmpeg against the system's and a usual static build. `layer/bench --help` lists the arguments.
fn layer(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Measure)?;
    let reference = tools.reference()?;
    let mut command = Command::new(&reference.python);
    command
        .current_dir(&project.root)
        .args(["-u", "layer/bench"])
        .arg(&reference.layer)
        .args(arguments)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    measure("layer", &mut command)
}

/// Verifying and signing at the edge against other ways to the same answers. `edge/bench/edge.mjs` lists the arguments.
fn edge(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let (_, wrk) = worker(project, Purpose::Build)?;
    let mut command = project.npm_command("node");
    measure("edge", command.arg("edge/bench/edge.mjs").args(arguments).env("GLIMPSE_WRK", wrk))
}

/// Pictures at the edge: hits, misses, on demand. `edge/bench/deliver.mjs` lists the arguments.
fn deliver(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let (tools, wrk) = worker(project, Purpose::Measure)?;
    let (media, reference) = (tools.media()?, tools.reference()?);
    run::Step::new("local cloud and Lambdas, release", project.log("bench-deliver")).run(
        project.cargo().args(["build", "--release", "--locked", "--bins"]).args([
            "--package",
            "glimpse-local",
            "--package",
            "glimpse-backend",
        ]),
        "read on in its log",
    )?;
    let mut command = project.npm_command("node");
    command
        .arg("edge/bench/deliver.mjs")
        .args(arguments)
        .env("GLIMPSE_WRK", wrk)
        .env("GLIMPSE_RELEASE", project.target.join("release"))
        .env("GLIMPSE_FFMPEG", &media.ffmpeg)
        .env("GLIMPSE_FFPROBE", &media.ffprobe)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    measure("deliver", &mut command)
}

/// The Worker as it is deployed, the packages that it is compared with, and the program that loads it.
fn worker(project: &Project, purpose: Purpose) -> Result<(Tools, PathBuf)> {
    let tools = setup::run(project, purpose)?;
    let wrk = setup::load(project)?;
    build::run(project, &tools, &[Part::Edge], build::Uploads::Https)?;
    Ok((tools, wrk))
}

/// Runs a measuring program with what it prints passed on.
fn measure(name: &str, command: &mut Command) -> Result<ExitCode> {
    run::heading(&format!("bench {name}"));
    Ok(if run::stream(command, |_| {})? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
