//! Decides what `cargo xtask test` runs and in which order, and that nothing of it is skipped in silence. A part that fails
//! does not stop the others; a setup or build that fails does.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::bench::{self, Bench};
use crate::build::{self, Part};
use crate::check;
use crate::project::Project;
use crate::run::{self, Step};
use crate::setup::{self, Purpose, Tools};
use crate::summary::{self, Counts, Outcome};

pub(crate) fn run(project: &Project, filters: &[String]) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Test)?;
    build::run(project, &tools, &[Part::Page, Part::Edge], &build::Uploads::Loopback)?;
    build_tests(project)?;

    let mut outcomes = Vec::new();
    if filters.is_empty() {
        outcomes.extend(check::all(project, &tools)?);
    }
    forget_calls(project)?;
    outcomes.push(tests("tests", filters, &mut rust_tests(project, &tools, filters)?)?);
    outcomes.push(tests("browser", filters, &mut browser(project, &tools, filters)?)?);
    if filters.is_empty() {
        outcomes.push(tests("layer", filters, &mut verify_layer(project, &tools)?)?);
        for (_, bench) in Bench::ALL {
            outcomes.push(check::one(smoke_name(bench), &mut bench::smoke(project, &tools, bench)?)?);
        }
        outcomes.push(check::one("layer publishable", &mut publish_layer(project))?);
        outcomes.push(tests("template", filters, &mut check_template(project, &tools)?)?);
        let origin = ["--origin", "https://video.example.com"];
        outcomes.push(check::one("deployable", dry_run("deploy")?.args(origin))?);
        outcomes.push(check::one("destroyable", &mut dry_run("destroy")?)?);
        outcomes.push(licences(project));
    }

    run::heading("summary");
    let is_red = outcomes.iter().any(Outcome::is_red);
    println!("{}", summary::table(&outcomes));
    Ok(if is_red { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one program of tests with its output shown and counted.
fn tests(name: &'static str, filters: &[String], command: &mut Command) -> Result<Outcome> {
    run::heading(name);
    let started = Instant::now();
    let mut counts = Counts::default();
    let ok = run::stream(command, |line| counts.read(line))?;
    Ok(Outcome::of_tests(name, counts, ok, !filters.is_empty(), started.elapsed()))
}

/// Builds every test and, with them, the programs that the stories start: in one go, since cargo would build what two
/// selections of packages share twice, once with each selection's features.
fn build_tests(project: &Project) -> Result<()> {
    Step::new("local cloud, Lambdas and tests", project.log("tests")).run(
        project.cargo().args(["test", "--workspace", "--no-run"]),
        "Correct what the compiler says above, then start this again.",
    )
}

/// The units' tests, and the stories through the whole of it. What they start is named by the environment.
fn rust_tests(project: &Project, tools: &Tools, filters: &[String]) -> Result<Command> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters);
    name_tools(project, tools, &mut command)?;
    command.env("GLIMPSE_S3_CALLS", calls(project));
    Ok(command)
}

/// Where the stories' calls of S3 are written down, of which each has to be allowed by template.yaml.
fn calls(project: &Project) -> PathBuf {
    project.target.join("s3-calls.jsonl")
}

/// What another run has seen says nothing about this one.
fn forget_calls(project: &Project) -> Result<()> {
    match fs::remove_file(calls(project)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the calls of the last run")
        }
        _ => Ok(()),
    }
}

/// What the summary calls the smoke run of a measurement: whether it still works, without figures.
fn smoke_name(bench: Bench) -> &'static str {
    match bench {
        Bench::Engine => "bench engine",
        Bench::Layer => "bench layer",
        Bench::Edge => "bench edge",
        Bench::Deliver => "bench deliver",
    }
}

/// Whether what would be deployed is valid, and allows what the stories did and nothing else.
fn check_template(project: &Project, tools: &Tools) -> Result<Command> {
    let deploying = &tools.test()?.deploying;
    let mut command = Command::new(&deploying.python);
    command.current_dir(&project.root).args(["-u", "deploy/check", "--checkov"]).arg(&deploying.checkov);
    command.arg("--calls").arg(calls(project));
    Ok(command)
}

/// The tests that Node runs.
fn browser(project: &Project, tools: &Tools, filters: &[String]) -> Result<Command> {
    let mut command = project.npm_command("node");
    // With a filter that no test of a file fits, that file would wait for ever for what it has set up.
    command.args(["--test", "--test-force-exit"]);
    // Several patterns mean any of them, as with cargo.
    command.args(filters.iter().map(|filter| format!("--test-name-pattern={}", literal(filter))));
    command.arg("tests/browser/*.test.mjs");
    name_tools(project, tools, &mut command)?;
    Ok(command)
}

/// `text` as a regular expression that matches just it.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\^$.|?*+()[]{}/".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Whether the layer's ffmpeg is what its files say; not whether it is built twice with the same bytes.
fn verify_layer(project: &Project, tools: &Tools) -> Result<Command> {
    let reference = tools.reference()?;
    let mut command = Command::new(&reference.python);
    command
        .current_dir(&project.root)
        .args(["-u", "layer/verify"])
        .arg(&reference.layer)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg);
    name_media(&mut command)?;
    Ok(command)
}

/// Shows the call that publishes the layer of this machine's architecture, after a look that the file is what was built.
fn publish_layer(project: &Project) -> Command {
    let mut command = Command::new(project.path("layer/publish"));
    command
        .current_dir(&project.root)
        .args(["--dry-run", "--arch", env::consts::ARCH])
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    command
}

/// What a story starts or reads.
fn name_tools(project: &Project, tools: &Tools, command: &mut Command) -> Result<()> {
    let (media, reference, test) = (tools.media()?, tools.reference()?, tools.test()?);
    command
        .env("GLIMPSE_ROOT", &project.root)
        .env("GLIMPSE_PREVIEW", project.binary("preview"))
        .env("GLIMPSE_FFMPEG", &media.ffmpeg)
        .env("GLIMPSE_FFPROBE", &media.ffprobe)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_REFERENCE_FFPROBE", &reference.ffprobe)
        .env("GLIMPSE_CHROMIUM", &test.chromium)
        .env("GLIMPSE_PYTHON", &test.python)
        .env("GLIMPSE_NODE", project.npm_program("node"))
        // wrangler's build command is ours, and has nothing to do.
        .env("GLIMPSE_PREBUILT", "1")
        .env("WRANGLER_SEND_METRICS", "false");
    name_media(command)
}

/// The person's folder of samples, which they may have named from where they stand.
fn name_media(command: &mut Command) -> Result<()> {
    match env::var_os("GLIMPSE_MEDIA").filter(|media| !media.is_empty()) {
        Some(media) => command.env("GLIMPSE_MEDIA", std::path::absolute(media)?),
        None => command.env_remove("GLIMPSE_MEDIA"),
    };
    Ok(())
}

/// Everything that a verb of this program does but what needs an account.
fn dry_run(verb: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("this program has no path")?);
    command.args([verb, "--dry-run"]).env("GLIMPSE_PREBUILT", "1");
    Ok(command)
}

/// Whether everything that is linked may be.
fn licences(project: &Project) -> Outcome {
    run::heading("licences");
    let started = Instant::now();
    let checked = crate::licenses::check(project);
    match &checked {
        Ok(packages) => println!("{packages} packages, all under licences on the list in deny.toml"),
        Err(error) => println!("error: {error:#}"),
    }
    Outcome::of_check("licences", checked.is_ok(), started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_filter_is_text_and_not_a_pattern() {
        assert_eq!(literal("signs in"), "signs in");
        assert_eq!(literal("a.gif (x+1)"), r"a\.gif \(x\+1\)");
    }
}
