//! `cargo xtask bench`: sets up and starts the benchmarks. The benchmark programs define the measurements and the
//! tables.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::build::{self, BuildPlan, Component};
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, Toolset};
use crate::worker::Optimization;

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bench {
    /// The `preview` function against other ways to generate the same images. `backend/bench --help` lists the
    /// arguments.
    Engine,
    /// The layer's ffmpeg against the system's and a common static build. `layer/bench --help` lists the arguments.
    Layer,
    /// Verifying and signing at the edge against other implementations. `bench/edge/edge.mjs` lists the arguments.
    Edge,
    /// Image delivery at the edge: hits, misses, on-demand images. `bench/edge/deliver.mjs` lists the arguments.
    Deliver,
    /// The time from an upload to its outputs, through all components. `bench/ready/ready.mjs` lists the arguments.
    Ready,
    /// The image encoders against others, in bytes, quality and CPU time. `media/bench --help` lists the arguments.
    Pictures,
    /// Uploads that are disturbed, with our client, Uppy and tus. `bench/uploads/uploads.mjs` lists the arguments.
    Uploads,
    /// A burst of uploads beside requests for images. `bench/load/load.mjs` lists the arguments.
    Load,
    /// The choice of posters against other methods. `bench/poster/poster.mjs` lists the arguments.
    Poster,
}

impl Bench {
    pub(crate) const ALL: [(&str, Self); 9] = [
        ("engine", Self::Engine),
        ("layer", Self::Layer),
        ("edge", Self::Edge),
        ("deliver", Self::Deliver),
        ("ready", Self::Ready),
        ("pictures", Self::Pictures),
        ("uploads", Self::Uploads),
        ("load", Self::Load),
        ("poster", Self::Poster),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, bench)| *bench == self).map_or("", |(name, _)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(candidate, _)| *candidate == name).map(|(_, bench)| bench)
    }

    /// Whether the benchmark needs the Worker.
    fn has_worker(self) -> bool {
        matches!(self, Self::Edge | Self::Deliver | Self::Ready | Self::Uploads | Self::Load)
    }

    /// Whether the benchmark needs `wrk`.
    fn has_wrk(self) -> bool {
        matches!(self, Self::Edge | Self::Deliver)
    }

    /// The folder of the npm packages that the benchmark compares with.
    fn baselines(self) -> Option<&'static str> {
        match self {
            Self::Edge | Self::Deliver => Some(setup::EDGE_BASELINES),
            Self::Uploads => Some(setup::UPLOADS_BASELINES),
            Self::Engine | Self::Layer | Self::Ready | Self::Pictures | Self::Load | Self::Poster => None,
        }
    }

    /// The required setup.
    fn purpose(self) -> Purpose {
        if self == Self::Edge { Purpose::Build } else { Purpose::Measure }
    }
}

/// Argument for a short run that prints no figures.
const SMOKE: &str = "--smoke";

pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let names = || Bench::ALL.map(|(name, _)| name).join(", ");
    let Some((name, rest)) = arguments.split_first() else {
        bail!("missing benchmark: {}", names());
    };
    let Some(bench) = Bench::parse(name) else {
        bail!("unknown benchmark `{name}`: {}", names());
    };
    let tools = setup::run(project, bench.purpose())?;
    let is_smoke = rest.iter().any(|argument| argument == SMOKE);
    if let Some(folder) = bench.baselines() {
        setup::ensure_baselines(project, folder)?;
    }
    let wrk_program = if bench.has_wrk() && !is_smoke { Some(setup::ensure_wrk(project)?) } else { None };
    if bench.has_worker() {
        let plan = BuildPlan {
            components: &[Component::Edge],
            connect_src: &build::ConnectSrc::AnyHttps,
            optimization: Optimization::Size,
        };
        build::run(project, &tools, &plan)?;
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
    Ok(if run::stream(&mut command, None, |_| {})?.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A short run with the programs that `cargo xtask test` has built, to test that the benchmark still works.
pub(crate) fn smoke_command(project: &Project, tools: &Toolset, bench: Bench) -> Result<Command> {
    if let Some(folder) = bench.baselines() {
        setup::ensure_baselines(project, folder)?;
    }
    let mut command = bench_command(project, tools, bench, true)?;
    command.arg(SMOKE);
    Ok(command)
}

/// The command of the benchmark program. A smoke run uses the programs of the dev build.
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
        Bench::Ready => node("bench/ready/ready.mjs"),
        Bench::Pictures => python("media/bench")?,
        Bench::Uploads => node("bench/uploads/uploads.mjs"),
        Bench::Load => node("bench/load/load.mjs"),
        Bench::Poster => node("bench/poster/poster.mjs"),
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

/// Cargo's arguments for the measured programs; empty if only the Worker or ffmpeg is measured.
fn cargo_packages(bench: Bench) -> &'static [&'static str] {
    match bench {
        Bench::Engine => &["--package", "glimpse-backend", "--package", "glimpse-media", "--examples"],
        Bench::Poster => &["--package", "glimpse-backend", "--example", "engine"],
        Bench::Deliver | Bench::Ready | Bench::Uploads | Bench::Load => {
            &["--package", "glimpse-local", "--package", "glimpse-backend", "--bins"]
        }
        Bench::Pictures => &["--package", "glimpse-media", "--examples"],
        Bench::Layer | Bench::Edge => &[],
    }
}

fn build_release(project: &Project, bench: Bench) -> Result<()> {
    build_programs(project, bench, &["build", "--release", "--locked"], "release")
}

/// Builds the programs in the same way as `cargo xtask test`.
fn build_dev(project: &Project, bench: Bench) -> Result<()> {
    build_programs(project, bench, &["build", "--locked"], "dev")
}

fn build_programs(project: &Project, bench: Bench, cargo_args: &[&str], profile: &str) -> Result<()> {
    let packages = cargo_packages(bench);
    if packages.is_empty() {
        return Ok(());
    }
    let log = project.log_path(&format!("bench-{}", bench.name()));
    run::LoggedStep::new(format!("programs for `bench {}`, {profile}", bench.name()), log)
        .run(project.cargo().args(cargo_args).args(packages), "see the log for details")
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
                Bench::Ready => "bench/ready/ready.mjs",
                Bench::Pictures => "media/bench",
                Bench::Uploads => "bench/uploads/uploads.mjs",
                Bench::Load => "bench/load/load.mjs",
                Bench::Poster => "bench/poster/poster.mjs",
            };
            assert!(project.read(file).unwrap().contains("smoke"), "{file} has no smoke mode");
        }
        assert_eq!(Bench::parse("other"), None);
    }
}
