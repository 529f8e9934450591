//! Decides what can be measured, and how each measurement is set up. What is measured and the table are the measuring
//! program's own.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::build::{self, Component};
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, Toolset};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bench {
    /// The preview engine against other ways to the same pictures. `backend/bench --help` lists the arguments.
    Engine,
    /// The layer's ffmpeg against the system's and a usual static build. `layer/bench --help` lists the arguments.
    Layer,
    /// Verifying and signing at the edge against other ways to the same answers. `bench/edge/edge.mjs` lists the arguments.
    Edge,
    /// Pictures at the edge: hits, misses, on demand. `bench/edge/deliver.mjs` lists the arguments.
    Deliver,
}

impl Bench {
    pub(crate) const ALL: [(&str, Self); 4] =
        [("engine", Self::Engine), ("layer", Self::Layer), ("edge", Self::Edge), ("deliver", Self::Deliver)];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, bench)| *bench == self).map_or("", |(name, _)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(candidate, _)| *candidate == name).map(|(_, bench)| bench)
    }

    /// Whether it measures the Worker.
    fn is_edge_bench(self) -> bool {
        matches!(self, Self::Edge | Self::Deliver)
    }

    /// What has to be set up for it.
    fn purpose(self) -> Purpose {
        if self == Self::Edge { Purpose::Build } else { Purpose::Measure }
    }
}

/// The argument for a run that is over soon and claims no figures.
const SMOKE: &str = "--smoke";

pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let names = || Bench::ALL.map(|(name, _)| name).join(", ");
    let Some((name, rest)) = arguments.split_first() else {
        bail!("name what to measure: {}", names());
    };
    let Some(bench) = Bench::parse(name) else {
        bail!("there is no measurement `{name}`: {}", names());
    };
    let tools = setup::run(project, bench.purpose())?;
    let is_smoke = rest.iter().any(|argument| argument == SMOKE);
    let wrk_program = match (bench.is_edge_bench(), is_smoke) {
        (true, true) => setup::ensure_baselines(project).map(|()| None)?,
        (true, false) => Some(setup::ensure_wrk(project)?),
        (false, _) => None,
    };
    if bench.is_edge_bench() {
        build::run(project, &tools, &[Component::Edge], &build::ConnectSrc::AnyHttps)?;
    }
    if is_smoke {
        build_dev(project, bench)?;
    } else {
        build_release(project, bench)?;
    }
    let mut command = bench_command(project, &tools, bench, is_smoke)?;
    command.args(rest);
    if let Some(wrk) = wrk_program {
        command.env("GLIMPSE_WRK", wrk);
    }
    run::print_heading(&format!("bench {name}"));
    Ok(if run::stream(&mut command, |_| {})? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run that is over soon, with what `cargo xtask test` has built: whether the measurement still works.
pub(crate) fn smoke_command(project: &Project, tools: &Toolset, bench: Bench) -> Result<Command> {
    if bench.is_edge_bench() {
        setup::ensure_baselines(project)?;
    }
    let mut command = bench_command(project, tools, bench, true)?;
    command.arg(SMOKE);
    Ok(command)
}

/// The measuring program. A smoke run measures the dev build's programs.
fn bench_command(project: &Project, tools: &Toolset, bench: Bench, is_smoke: bool) -> Result<Command> {
    let built: PathBuf = project.target.join(if is_smoke { "debug" } else { "release" });
    let python = |script: &str| -> Result<Command> {
        let mut command = Command::new(&tools.reference()?.python);
        command.current_dir(&project.root).args(["-u", script]);
        Ok(command)
    };
    let node = |script: &str| {
        let mut command = project.npm_command("node");
        command.current_dir(&project.root).arg(script);
        command
    };
    let mut command = match bench {
        Bench::Engine => python("backend/bench")?,
        Bench::Layer => python("layer/bench")?,
        Bench::Edge => return Ok(node("bench/edge/edge.mjs")),
        Bench::Deliver => node("bench/edge/deliver.mjs"),
    };
    let reference = tools.reference()?;
    command
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_TOOLS_DIR", &project.cache)
        .env("GLIMPSE_ENGINE", built.join("examples"))
        .env("GLIMPSE_RELEASE", &built);
    if bench == Bench::Layer {
        command.arg(&reference.layer);
    } else {
        let media = tools.media()?;
        command.env("GLIMPSE_FFMPEG", &media.ffmpeg).env("GLIMPSE_FFPROBE", &media.ffprobe);
    }
    Ok(command)
}

/// The arguments of cargo for the programs that are measured; none if they are the Worker's or ffmpeg's alone.
fn cargo_packages(bench: Bench) -> &'static [&'static str] {
    match bench {
        Bench::Engine => &["--package", "glimpse-backend", "--package", "glimpse-media", "--examples"],
        Bench::Deliver => &["--package", "glimpse-local", "--package", "glimpse-backend", "--bins"],
        Bench::Layer | Bench::Edge => &[],
    }
}

fn build_release(project: &Project, bench: Bench) -> Result<()> {
    build_programs(project, bench, &["build", "--release", "--locked"], "release")
}

/// As `cargo xtask test` builds them.
fn build_dev(project: &Project, bench: Bench) -> Result<()> {
    build_programs(project, bench, &["build", "--locked"], "dev")
}

fn build_programs(project: &Project, bench: Bench, cargo_args: &[&str], profile: &str) -> Result<()> {
    let packages = cargo_packages(bench);
    if packages.is_empty() {
        return Ok(());
    }
    let log = project.log_path(&format!("bench-{}", bench.name()));
    run::LoggedStep::new(format!("what `bench {}` measures, {profile}", bench.name()), log)
        .run(project.cargo().args(cargo_args).args(packages), "read on in its log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bench_has_name_and_smoke_mode() {
        let project = Project::discover().unwrap();
        for (name, bench) in Bench::ALL {
            assert_eq!((bench.name(), Bench::parse(name)), (name, Some(bench)));
            let file = match bench {
                Bench::Engine => "backend/bench",
                Bench::Layer => "layer/bench",
                Bench::Edge => "bench/edge/edge.mjs",
                Bench::Deliver => "bench/edge/deliver.mjs",
            };
            assert!(project.read(file).unwrap().contains("smoke"), "{file} has no smoke mode");
        }
        assert_eq!(Bench::parse("other"), None);
    }
}
