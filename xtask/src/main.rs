//! `cargo xtask VERB`: the tasks of Glimpse's own development. This file decides which verbs exist and what each does in
//! which order; the work is in the modules. Nothing here is deployed.

#![expect(clippy::print_stdout, reason = "a program for the terminal: what it prints is what it is for")]

mod bench;
mod build;
mod check;
mod deploy;
mod dev;
mod doctor;
mod fingerprint;
mod licenses;
mod openapi;
mod package;
mod path_remap;
mod project;
mod run;
mod setup;
mod summary;
mod test;
mod version;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::setup::Purpose;

const HELP: &str = "\
cargo xtask VERB

  dev [args]            set up, build, then run the whole of Glimpse on this machine; Ctrl-C stops it
  test [filter…]        set up, build, then run every check and test; with filters only tests whose names contain one
  check                 the quick part of `test`: formatting, lints on both targets, documentation
  build [part…]         edge, page, native (without any: all three): what has changed since the last time
  openapi               write the API's OpenAPI document, which the code makes, to docs/openapi.json
  bench WHAT [args]     set up, then measure engine, layer, edge or deliver against others; prints commands and tables;
                        with --smoke everything once and small, without figures
  package [arch…]       build and pack what is released, for x86_64, arm64 or (without any) both
  deploy --origin URL   package, then AWS's side, then the Worker; --dry-run needs no account
                        [--allow-origin URL]… [--stack NAME] [--region REGION] [--arch ARCH] [--parameter NAME=VALUE]…
                        [--new-key] [--prebuilt]: what `package` has made, without building or installing anything
  doctor [--edge URL]   walk the whole path with a tiny video and name the first thing that is wrong; without an address,
                        that of `dev`. [--origin URL]… [--wait SECS] [--json]; GLIMPSE_TOKEN is a bearer token
                        [--stack NAME [--region REGION]]: the roles too, by your credentials of AWS; alone, only they
  destroy               take it down; [--stack NAME] [--region REGION] [--delete-videos] [--dry-run]
  setup                 install or build what is missing for developing and testing; quick when nothing is
  help                  this text

What setup builds is kept in $GLIMPSE_TOOLS_DIR, else in $XDG_CACHE_HOME/glimpse, else in ~/.cache/glimpse.
GLIMPSE_FFMPEG and GLIMPSE_FFPROBE name programs for the Lambda to use instead of the layer's, which setup builds.
GLIMPSE_REFERENCE_FFMPEG, GLIMPSE_REFERENCE_FFPROBE (which make the tests' media), GLIMPSE_CHROMIUM, GLIMPSE_PYTHON3 and
GLIMPSE_WRK (which loads a server that is measured) name programs to use instead of those on PATH.
GLIMPSE_MEDIA names a folder of sample videos that the tests use besides their own.
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
            // The tests start wrangler many times, and each start runs this as its build command.
            if std::env::var_os("GLIMPSE_PREBUILT").is_some_and(|value| value == "1")
                && build::are_built(&parts, &std::env::current_dir()?)
            {
                return Ok(ExitCode::SUCCESS);
            }
            let project = Project::discover()?;
            let tools = setup::run(&project, Purpose::Build)?;
            build::run(&project, &tools, &parts, &uploads)?;
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
            openapi::write_document(&Project::discover()?)
        }
        "bench" => bench::run(&Project::discover()?, rest),
        "test" => test::run(&Project::discover()?, rest),
        other => bail!("there is no verb `{other}`: `cargo xtask help` lists them"),
    }
}

fn reject_arguments(verb: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        Some(argument) => bail!("`cargo xtask {verb}` takes no argument, but was given `{argument}`"),
        None => Ok(()),
    }
}
