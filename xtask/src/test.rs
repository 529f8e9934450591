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
use crate::build::{self, Component};
use crate::check;
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::{self, Purpose, Toolset};
use crate::summary::{self, SuiteResult, TestCounts};

pub(crate) fn run(project: &Project, filters: &[String]) -> Result<ExitCode> {
    let tools = setup::run(project, Purpose::Test)?;
    build::run(project, &tools, &[Component::Page, Component::Edge], &build::ConnectSrc::Loopback)?;
    build_tests(project)?;

    let mut outcomes = Vec::new();
    if filters.is_empty() {
        outcomes.extend(check::run_all(project, &tools)?);
    }
    remove_call_log(project)?;
    outcomes.push(run_tests("tests", filters, &mut rust_tests(project, &tools, filters)?)?);
    outcomes.push(run_tests("browser", filters, &mut browser_tests(project, &tools, filters)?)?);
    if filters.is_empty() {
        outcomes.push(run_tests("layer", filters, &mut layer_checks(project, &tools)?)?);
        for (_, bench) in Bench::ALL {
            outcomes.push(check::run_one(
                smoke_suite_name(bench),
                &mut bench::smoke_command(project, &tools, bench)?,
            )?);
        }
        outcomes.push(check::run_one("layer publishable", &mut layer_publish_check(project))?);
        outcomes.push(run_tests("template", filters, &mut template_checks(project, &tools)?)?);
        let origin = ["--origin", "https://video.example.com"];
        outcomes.push(check::run_one("deployable", dry_run_command("deploy")?.args(origin))?);
        outcomes.push(check::run_one("destroyable", &mut dry_run_command("destroy")?)?);
        outcomes.push(check_licenses(project));
    }

    run::print_heading("summary");
    let has_failed = outcomes.iter().any(SuiteResult::has_failed);
    println!("{}", summary::format_table(&outcomes));
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one program of tests with its output shown and counted.
fn run_tests(name: &'static str, filters: &[String], command: &mut Command) -> Result<SuiteResult> {
    run::print_heading(name);
    let started = Instant::now();
    let mut counts = TestCounts::default();
    let has_passed = run::stream(command, |line| counts.add_line(line))?;
    Ok(SuiteResult::from_tests(name, counts, has_passed, !filters.is_empty(), started.elapsed()))
}

/// Builds every test and, with them, the programs that the stories start: in one go, since cargo would build what two
/// selections of packages share twice, once with each selection's features.
fn build_tests(project: &Project) -> Result<()> {
    LoggedStep::new("local cloud, Lambdas and tests", project.log_path("tests")).run(
        project.cargo().args(["test", "--workspace", "--no-run"]),
        "Correct what the compiler says above, then start this again.",
    )
}

/// The units' tests, and the stories through the whole of it. What they start is named by the environment.
fn rust_tests(project: &Project, tools: &Toolset, filters: &[String]) -> Result<Command> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters);
    set_tool_env(project, tools, &mut command)?;
    command.env("GLIMPSE_S3_CALLS", call_log_path(project));
    Ok(command)
}

/// Where the stories' calls of S3 are written down, of which each has to be allowed by template.yaml.
fn call_log_path(project: &Project) -> PathBuf {
    project.target.join("s3-calls.jsonl")
}

/// What another run has seen says nothing about this one.
fn remove_call_log(project: &Project) -> Result<()> {
    match fs::remove_file(call_log_path(project)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the calls of the last run")
        }
        _ => Ok(()),
    }
}

/// What the summary calls the smoke run of a measurement: whether it still works, without figures.
fn smoke_suite_name(bench: Bench) -> &'static str {
    match bench {
        Bench::Engine => "bench engine",
        Bench::Layer => "bench layer",
        Bench::Edge => "bench edge",
        Bench::Deliver => "bench deliver",
    }
}

/// Whether what would be deployed is valid, and allows what the stories did and nothing else.
fn template_checks(project: &Project, tools: &Toolset) -> Result<Command> {
    let deploying = &tools.test()?.deploy;
    let mut command = Command::new(&deploying.python);
    command.current_dir(&project.root).args(["-u", "deploy/check", "--checkov"]).arg(&deploying.checkov);
    command.arg("--calls").arg(call_log_path(project));
    Ok(command)
}

/// The tests that Node runs.
fn browser_tests(project: &Project, tools: &Toolset, filters: &[String]) -> Result<Command> {
    let mut command = project.npm_command("node");
    // With a filter that no test of a file fits, that file would wait for ever for what it has set up.
    command.args(["--test", "--test-force-exit"]);
    // Several patterns mean any of them, as with cargo.
    command.args(filters.iter().map(|filter| format!("--test-name-pattern={}", escape_regex(filter))));
    command.arg("tests/browser/*.test.mjs");
    set_tool_env(project, tools, &mut command)?;
    Ok(command)
}

/// `text` as a regular expression that matches just it.
fn escape_regex(text: &str) -> String {
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
fn layer_checks(project: &Project, tools: &Toolset) -> Result<Command> {
    let reference = tools.reference()?;
    let mut command = Command::new(&reference.python);
    command
        .current_dir(&project.root)
        .args(["-u", "layer/verify"])
        .arg(&reference.layer)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg);
    set_media_env(&mut command)?;
    Ok(command)
}

/// Shows the call that publishes the layer of this machine's architecture, after a look that the file is what was built.
fn layer_publish_check(project: &Project) -> Command {
    let mut command = Command::new(project.path("layer/publish"));
    command
        .current_dir(&project.root)
        .args(["--dry-run", "--arch", env::consts::ARCH])
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    command
}

/// What a story starts or reads.
fn set_tool_env(project: &Project, tools: &Toolset, command: &mut Command) -> Result<()> {
    let (media, reference, test) = (tools.media()?, tools.reference()?, tools.test()?);
    command
        .env("GLIMPSE_ROOT", &project.root)
        .env("GLIMPSE_PREVIEW", project.binary_path("preview"))
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
    set_media_env(command)
}

/// The person's folder of samples, which they may have named from where they stand.
fn set_media_env(command: &mut Command) -> Result<()> {
    match env::var_os("GLIMPSE_MEDIA").filter(|media| !media.is_empty()) {
        Some(media) => command.env("GLIMPSE_MEDIA", std::path::absolute(media)?),
        None => command.env_remove("GLIMPSE_MEDIA"),
    };
    Ok(())
}

/// Everything that a verb of this program does but what needs an account.
fn dry_run_command(verb: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("this program has no path")?);
    command.args([verb, "--dry-run"]).env("GLIMPSE_PREBUILT", "1");
    Ok(command)
}

/// Whether everything that is linked may be.
fn check_licenses(project: &Project) -> SuiteResult {
    run::print_heading("licences");
    let started = Instant::now();
    let checked = crate::licenses::check(project);
    match &checked {
        Ok(packages) => println!("{packages} packages, all under licences on the list in deny.toml"),
        Err(error) => println!("error: {error:#}"),
    }
    SuiteResult::from_check("licences", checked.is_ok(), started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::escape_regex;

    #[test]
    fn filter_is_matched_literally() {
        assert_eq!(escape_regex("signs in"), "signs in");
        assert_eq!(escape_regex("a.gif (x+1)"), r"a\.gif \(x\+1\)");
    }
}
