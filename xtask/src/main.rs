//! `cargo xtask COMMAND`: development tasks of Glimpse. This file parses the command and calls the modules. Nothing of
//! this crate is deployed.

#![expect(clippy::print_stdout, reason = "a command-line program prints its output")]

mod background;
mod bench;
mod build;
mod check;
mod cycles;
mod deploy;
mod dev;
mod doctor;
mod fingerprint;
mod openapi;
mod package;
mod parallel;
mod path_remap;
mod progress;
mod project;
mod run;
mod setup;
mod summary;
mod test;
mod version;
mod worker;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build::BuildPlan;
use crate::project::Project;
use crate::setup::Purpose;
use crate::worker::Optimization;

const HELP: &str = "\
cargo xtask COMMAND

  dev [args]            set up, build, then run all of Glimpse on this machine; Ctrl-C stops it
  test [-p PACKAGE] [filter…]
                        set up, build, then run every check and test; with filters only tests whose names contain one;
                        with -p only the tests of PACKAGE, after setting up what they need
  check                 the fast checks of `test`: import cycles, formatting, lints on both targets, documentation
  build [part…]         build edge, page and native (default: all three), if their inputs have changed
  openapi               generate docs/openapi.json and docs/api.md from the code of the API
  bench WHAT [args]     set up, then benchmark engine, layer, edge, deliver, ready, pictures, uploads, load or poster,
                        against alternatives where there are some; prints commands and tables; with --smoke, runs
                        everything once with small inputs and prints no figures
  package [arch…]       build and package a release for x86_64, arm64 or (default) both
  deploy --origin URL   package, then deploy the AWS stack, then the Worker; --dry-run needs no account
                        [--allow-origin URL]… [--stack NAME] [--region REGION] [--arch ARCH] [--parameter NAME=VALUE]…
                        [--new-key] [--prebuilt]: deploy the output of `package`, without building or installing anything
  doctor [--edge URL]   check a deployment end to end with a small video and report the first issue (default: the one
                        that `dev` runs). [--origin URL]… [--wait SECS] [--json]; GLIMPSE_TOKEN is a bearer token
                        [--stack NAME [--region REGION]]: also check the roles, with your AWS credentials; without
                        --edge, only the roles
  destroy               delete a deployment; [--stack NAME] [--region REGION] [--delete-videos] [--dry-run]
  setup                 install or build missing tools for development and tests
  help                  show this text

Setup stores the tools that it builds in $GLIMPSE_TOOLS_DIR, else in $XDG_CACHE_HOME/glimpse, else in ~/.cache/glimpse.
GLIMPSE_FFMPEG and GLIMPSE_FFPROBE are the Lambda's programs to use instead of the layer's, which setup builds.
GLIMPSE_REFERENCE_FFMPEG, GLIMPSE_REFERENCE_FFPROBE (to generate the tests' media), GLIMPSE_CHROMIUM, GLIMPSE_PYTHON3 and
GLIMPSE_WRK (to load a server in benchmarks) are programs to use instead of those on PATH.
GLIMPSE_MEDIA is a folder of additional sample videos for the tests.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run_verb(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_verb(arguments: &[String]) -> Result<ExitCode> {
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", arguments),
    };
    match name {
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        "setup" => {
            reject_arguments(name, rest)?;
            setup::run(&Project::discover()?, Purpose::Test)?;
            Ok(ExitCode::SUCCESS)
        }
        "build" => {
            let (parts, uploads) = build::parse_arguments(rest)?;
            let project = Project::discover()?;
            let plan =
                BuildPlan { components: &parts, connect_src: &uploads, optimization: Optimization::Size };
            build::set_up_and_run(&project, Purpose::Build, &plan)?;
            Ok(ExitCode::SUCCESS)
        }
        "dev" => dev::run(&Project::discover()?, rest),
        "check" => {
            reject_arguments(name, rest)?;
            check::run(&Project::discover()?)
        }
        "deploy" => deploy::deploy(&Project::discover()?, rest),
        "doctor" => doctor::run(&Project::discover()?, rest),
        "destroy" => deploy::destroy(&Project::discover()?, rest),
        "package" => package::run(&Project::discover()?, rest),
        "openapi" => {
            reject_arguments(name, rest)?;
            openapi::write_documents(&Project::discover()?)
        }
        "bench" => bench::run(&Project::discover()?, rest),
        "test" => test::run(&Project::discover()?, rest),
        other => bail!("unknown command `{other}`: `cargo xtask help` lists the commands"),
    }
}

fn reject_arguments(verb: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        Some(argument) => bail!("`cargo xtask {verb}` takes no arguments: `{argument}`"),
        None => Ok(()),
    }
}
