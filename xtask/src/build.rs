//! `cargo xtask build`: builds the Worker (`worker`), the page with esbuild, and the programs of the local cloud in the
//! dev profile. Worker and page are skipped if their inputs have not changed.

use anyhow::{Context as _, Result, bail};
use lexopt::{Arg, Parser, ValueExt as _};

use crate::fingerprint::{self, Fingerprint};
use crate::openapi;
use crate::parallel::{self, Lane};
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::wasm::Toolchain;
use crate::setup::{self, Purpose, Toolset};
use crate::worker::{self, Optimization, WorkerBuild};

/// A component that can be built separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Page,
    Edge,
    /// The programs of the local cloud and the Lambdas.
    Native,
    /// The same, and all tests.
    Tests,
}

pub(crate) const ALL: [Component; 3] = [Component::Page, Component::Edge, Component::Native];

/// Parses the arguments of `cargo xtask build`: the components, all by default, and the page's upload targets.
pub(crate) fn parse_arguments(arguments: &[String]) -> Result<(Vec<Component>, ConnectSrc)> {
    let (mut components, mut connect_src) = (Vec::new(), ConnectSrc::AnyHttps);
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("connect") => {
                let origin = parser.value().context("--connect needs the origin of the bucket")?;
                connect_src = ConnectSrc::Bucket(origin.string()?);
            }
            Arg::Value(name) => match name.string()?.as_str() {
                "page" => components.push(Component::Page),
                "edge" => components.push(Component::Edge),
                "native" => components.push(Component::Native),
                "all" => components.extend(ALL),
                other => bail!("unknown part `{other}`: edge, page, native or all"),
            },
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((if components.is_empty() { ALL.to_vec() } else { components }, connect_src))
}

/// Upload targets in the page's content security policy (`connect-src`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectSrc {
    /// Any https host: the bucket is unknown.
    AnyHttps,
    /// The origin of one bucket, used by `deploy`.
    Bucket(String),
    /// Also this machine, where the local S3 uses plain HTTP.
    Loopback,
}

/// What to build, and how.
#[derive(Debug)]
pub(crate) struct BuildPlan<'a> {
    pub(crate) components: &'a [Component],
    pub(crate) connect_src: &'a ConnectSrc,
    pub(crate) optimization: Optimization,
}

/// Sets up and builds: what needs only Rust is compiled while npm's packages and other tools are installed.
pub(crate) fn set_up_and_run(project: &Project, purpose: Purpose, plan: &BuildPlan<'_>) -> Result<Toolset> {
    let tools = setup::run_beside(project, purpose, |toolchain| plan.compile(project, toolchain))?;
    run::print_heading("build");
    plan.bundle(project, &tools)?;
    run::print_times();
    Ok(tools)
}

/// Builds the components.
pub(crate) fn run(project: &Project, tools: &Toolset, plan: &BuildPlan<'_>) -> Result<()> {
    run::print_heading("build");
    plan.compile(project, &tools.wasm)?;
    plan.bundle(project, tools)
}

impl BuildPlan<'_> {
    fn contains(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// The steps that need only Rust.
    fn compile(&self, project: &Project, toolchain: &Toolchain) -> Result<()> {
        let worker = if self.contains(Component::Edge) {
            WorkerBuild::prepare(project, toolchain, self.optimization)?
        } else {
            None
        };
        let native: Lane<'_> = Box::new(|| self.compile_native(project, worker.is_some()));
        let Some(worker) = &worker else { return native() };
        let edge: Lane<'_> = Box::new(|| worker.compile());
        parallel::run(vec![native, edge])
    }

    /// Compiles the programs of this machine with one cargo command: with two selections of packages, cargo would build
    /// the shared packages twice, once with each selection's features.
    fn compile_native(&self, project: &Project, needs_generator: bool) -> Result<()> {
        let mut command = project.cargo();
        let title = if self.contains(Component::Tests) {
            command.args(["test", "--workspace", "--no-run"]);
            "local cloud, Lambdas and tests"
        } else if self.contains(Component::Native) {
            command.args(["build", "--bins", "--package", "glimpse-local", "--package", "glimpse-backend"]);
            command.args(needs_generator.then_some(["--package", worker::GENERATOR]).iter().flatten());
            "local cloud and Lambdas"
        } else if needs_generator {
            command.args(["build", "--package", worker::GENERATOR]);
            "wasm-bindgen"
        } else {
            return Ok(());
        };
        LoggedStep::new(title, project.log_path("native"))
            .run(&mut command, "Fix the errors above, then run this again.")
    }

    /// The steps that also need npm's packages.
    fn bundle(&self, project: &Project, tools: &Toolset) -> Result<()> {
        if self.contains(Component::Page) {
            build_page(project, self.connect_src)?;
        }
        if self.contains(Component::Edge) {
            match WorkerBuild::prepare(project, &tools.wasm, self.optimization)? {
                Some(worker) => worker.finish()?,
                None => worker::print_unchanged(project)?,
            }
        }
        Ok(())
    }
}

fn build_page(project: &Project, connect_src: &ConnectSrc) -> Result<()> {
    let output = project.path("web/dist");
    // The output folder is served publicly, so the stamp is stored elsewhere.
    let stamp = project.path("node_modules/.glimpse-page-stamp");
    let arguments: &[&str] = match connect_src {
        ConnectSrc::AnyHttps => &["web/build.mjs"],
        ConnectSrc::Bucket(origin) => &["web/build.mjs", "--connect", origin],
        ConnectSrc::Loopback => &["web/build.mjs", "--dev"],
    };
    let inputs = Fingerprint::new()
        .with_bytes(arguments.join(" ").as_bytes())
        .with_path(&project.path("web"), std::slice::from_ref(&output))?
        .with_path(&project.path("clients/js/src"), &[])?
        .with_path(&project.path(openapi::DOCUMENT_PATH), &[])?
        .with_path(&project.path("package-lock.json"), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && output.exists() {
        run::print_ok("page", "unchanged");
        return Ok(());
    }
    fingerprint::invalidate(&stamp)?;
    LoggedStep::new("page", project.log_path("page")).run(
        project.npm_command("node").args(arguments),
        "Fix the errors of esbuild above, then run this again.",
    )?;
    fingerprint::write_stamp(&stamp, inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_components() {
        let arguments = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            super::parse_arguments(&words)
        };
        let parts = |text: &str| arguments(text).map(|(parts, _)| parts);
        assert_eq!(parts("").unwrap(), ALL);
        assert_eq!(parts("all").unwrap(), ALL);
        assert_eq!(parts("edge page").unwrap(), [Component::Edge, Component::Page]);
        let (one, uploads) = arguments("page --connect https://b.s3.eu-central-1.amazonaws.com").unwrap();
        assert_eq!(one, [Component::Page]);
        assert_eq!(uploads, ConnectSrc::Bucket("https://b.s3.eu-central-1.amazonaws.com".into()));
        assert_eq!(arguments("page").unwrap().1, ConnectSrc::AnyHttps);
        for (wrong, message) in [
            ("page --connect", "--connect needs the origin of the bucket"),
            ("page --fast", "invalid option '--fast'"),
            ("-x", "invalid option '-x'"),
        ] {
            assert_eq!(arguments(wrong).unwrap_err().to_string(), message);
        }
        let error = parts("edge layer").unwrap_err().to_string();
        assert_eq!(error, "unknown part `layer`: edge, page, native or all");
    }
}
