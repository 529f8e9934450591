//! `cargo xtask test`: runs all checks and test suites. A failed suite does not stop the others; a failed setup or
//! build does. Skipped tests count as failed.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::background::{Background, Priority, Suite, is_start, wait_for};
use crate::bench::{self, Bench};
use crate::build::{self, BuildPlan, Component};
use crate::check;
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, Toolset};
use crate::summary::{self, SlowTests, SuiteResult, TestCounts};
use crate::worker::Optimization;

pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let Arguments { package, filters } = Arguments::parse(arguments)?;
    match package {
        Some(package) => run_package(project, package, &filters),
        None => run_all(project, &filters),
    }
}

/// A package of the workspace, and the tools that its tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Package {
    name: &'static str,
    /// `None`: only Rust.
    purpose: Option<Purpose>,
}

/// All packages. The end-to-end tests also need the page, the Worker and the Lambdas.
const PACKAGES: [Package; 10] = [
    Package { name: "glimpse-contract", purpose: None },
    Package { name: "glimpse-media", purpose: None },
    Package { name: "glimpse-edge", purpose: None },
    Package { name: "glimpse-backend", purpose: Some(Purpose::Measure) },
    Package { name: "glimpse-local", purpose: None },
    Package { name: "glimpse-doctor", purpose: None },
    Package { name: "glimpse-cli", purpose: None },
    Package { name: "xtask", purpose: None },
    Package { name: "xtask-wasm", purpose: None },
    Package { name: "e2e", purpose: Some(Purpose::Test) },
];

/// The arguments of `cargo xtask test`.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    package: Option<Package>,
    /// Parts of test names. Empty: all tests.
    filters: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut parsed = Self { package: None, filters: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "-p" | "--package" => {
                    let name = rest.next().context("-p needs the name of a package")?;
                    let package = PACKAGES.into_iter().find(|package| {
                        package.name == name || package.name.strip_prefix("glimpse-") == Some(name)
                    });
                    let names = PACKAGES.map(|package| package.name).join(", ");
                    let package =
                        package.with_context(|| format!("no package {name}: use one of {names}"))?;
                    parsed.package = Some(package);
                }
                option if option.starts_with('-') => bail!("unknown option {option}"),
                filter => parsed.filters.push(filter.to_owned()),
            }
        }
        Ok(parsed)
    }
}

/// Runs the tests of one package, after setting up only what they need.
fn run_package(project: &Project, package: Package, filters: &[String]) -> Result<ExitCode> {
    let tools = match package.purpose {
        None => None,
        Some(Purpose::Test) => Some(set_up_and_build(project)?),
        Some(purpose) => Some(setup::run(project, purpose)?),
    };
    let mut command = project.cargo();
    command.args(["test", "--package", package.name, "--no-fail-fast", "--"]).args(filters);
    if let Some(tools) = &tools {
        set_tool_env(project, tools, &mut command)?;
    }
    let suite = run_tests(package.name, filters, &mut command)?;
    run::print_heading("summary");
    println!("{}", summary::format_table(std::slice::from_ref(&suite)));
    Ok(if suite.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs every check and test suite; with filters, only the tests whose names contain one.
fn run_all(project: &Project, filters: &[String]) -> Result<ExitCode> {
    // The build of the tests may replace this program's file: then its path could not be found later.
    let program = env::current_exe().context("cannot find the path of this program")?;
    let tools = set_up_and_build(project)?;

    remove_call_log(project)?;
    let outcomes = if filters.is_empty() {
        run_every_suite(project, &tools, &program)?
    } else {
        vec![
            run_tests("tests", filters, &mut rust_tests(project, &tools, filters)?)?,
            run_tests("browser", filters, &mut browser_tests(project, &tools, filters)?)?,
        ]
    };

    run::print_heading("summary");
    let has_failed = outcomes.iter().any(SuiteResult::has_failed);
    println!("{}", summary::format_table(&outcomes));
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs every check and test suite, in three lanes. The end-to-end tests spend much of their time waiting; the other
/// tests run beside them, and the checks that only compile at a low priority beside both.
fn run_every_suite(project: &Project, tools: &Toolset, program: &Path) -> Result<Vec<SuiteResult>> {
    let mut outcomes = check::run_quick(project)?;
    let mut checks: Vec<Suite> =
        check::cargo_checks(project, tools).map(|(name, command)| Suite::new(name, command, false)).into();
    checks.push(Suite::new("doc tests", doc_tests(project, tools)?, true));
    let (on_start, are_tests_running) = mpsc::channel();
    let mut tests = Suite::new("tests", other_tests(project, tools)?, true);
    tests.on_start = Some(on_start);
    let tests = vec![tests, Suite::new("browser", browser_tests(project, tools, &[])?, true)];
    let template = Suite::new("template", template_checks(project, tools)?, true);
    thread::scope(|scope| {
        let (start_tests, now) = mpsc::channel();
        drop(start_tests);
        let tests = Background::spawn(scope, project, Priority::Normal, now, tests);
        wait_for(&are_tests_running);
        let (start_checks, is_end_to_end_running) = mpsc::channel();
        let checks = Background::spawn(scope, project, Priority::Low, is_end_to_end_running, checks);
        let mut start_checks = Some(start_checks);
        let on_line = |line: &str| {
            if is_start(line) {
                start_checks.take();
            }
        };
        let end_to_end = run_tests_with("end to end", &[], &mut end_to_end_tests(project, tools)?, on_line)?;
        // If the tests could not be built.
        start_checks.take();
        let (start_template, are_calls_logged) = mpsc::channel();
        drop(start_template);
        let template = Background::spawn(scope, project, Priority::Low, are_calls_logged, vec![template]);
        let mut others = vec![run_tests("layer", &[], &mut layer_checks(project, tools)?)?];
        for (_, bench) in Bench::ALL {
            let mut command = bench::smoke_command(project, tools, bench)?;
            others.push(check::run_one(smoke_suite_name(bench), &mut command)?);
        }
        others.push(check::run_one("layer publishable", &mut layer_publish_check(project))?);
        let origin = ["--origin", "https://video.example.com"];
        others.push(check::run_one("deployable", dry_run_command(program, "deploy").args(origin))?);
        others.push(check::run_one("destroyable", &mut dry_run_command(program, "destroy"))?);
        outcomes.push(end_to_end);
        outcomes.extend(others);
        outcomes.extend(template.finish()?);
        outcomes.extend(tests.finish()?);
        outcomes.extend(checks.finish()?);
        Ok(outcomes)
    })
}

/// Runs one test suite, shows its output and counts its tests.
fn run_tests(name: &'static str, filters: &[String], command: &mut Command) -> Result<SuiteResult> {
    run_tests_with(name, filters, command, |_| {})
}

/// Like [`run_tests`], and calls `on_line` for each line of output.
fn run_tests_with(
    name: &'static str,
    filters: &[String],
    command: &mut Command,
    mut on_line: impl FnMut(&str),
) -> Result<SuiteResult> {
    run::print_heading(name);
    let started = Instant::now();
    let mut counts = TestCounts::default();
    let mut slow_tests = SlowTests::default();
    let end = run::stream(command, Some(run::STALL_TIMEOUT), |line| {
        counts.add_line(line);
        slow_tests.add_line(line);
        on_line(line);
    })?;
    let result =
        SuiteResult::from_tests(name, counts, end.is_success(), !filters.is_empty(), started.elapsed());
    Ok(result.with_stall(end, &slow_tests.unfinished()))
}

/// Sets up everything, and builds what the tests use: page, Worker, all tests, and the programs that the end-to-end
/// tests start.
fn set_up_and_build(project: &Project) -> Result<Toolset> {
    let plan = BuildPlan {
        components: &[Component::Page, Component::Edge, Component::Tests],
        connect_src: &build::ConnectSrc::Loopback,
        optimization: Optimization::Size,
    };
    build::set_up_and_run(project, Purpose::Test, &plan)
}

/// The unit tests and the end-to-end tests. Environment variables contain the paths of the programs that they start.
fn rust_tests(project: &Project, tools: &Toolset, filters: &[String]) -> Result<Command> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters);
    set_tool_env(project, tools, &mut command)?;
    command.env("GLIMPSE_S3_CALLS", call_log_path(project));
    Ok(command)
}

/// The target of the end-to-end tests.
const END_TO_END: &str = "e2e";

/// The end-to-end tests, of all packages: with a selection of packages, cargo would compile the shared ones again.
fn end_to_end_tests(project: &Project, tools: &Toolset) -> Result<Command> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--test", END_TO_END]);
    set_tool_env(project, tools, &mut command)?;
    command.env("GLIMPSE_S3_CALLS", call_log_path(project));
    Ok(command)
}

/// All other tests, except for those in documentation.
fn other_tests(project: &Project, tools: &Toolset) -> Result<Command> {
    let metadata = run::capture(project.cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let names = integration_tests(&serde_json::from_str(&metadata)?);
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
    for name in names.iter().filter(|name| *name != END_TO_END) {
        command.args(["--test", name]);
    }
    set_tool_env(project, tools, &mut command)?;
    Ok(command)
}

/// The names of the integration tests of all packages, in cargo's metadata.
fn integration_tests(metadata: &Value) -> BTreeSet<String> {
    let members = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let targets = members(metadata, "packages").into_iter().flat_map(|package| members(&package, "targets"));
    let tests = targets.filter(|target| members(target, "kind").iter().any(|kind| kind == "test"));
    tests.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect()
}

/// The examples in the documentation of public items.
fn doc_tests(project: &Project, tools: &Toolset) -> Result<Command> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
    set_tool_env(project, tools, &mut command)?;
    Ok(command)
}

/// Log of the S3 calls of the end-to-end tests. template.yaml must allow each of them.
fn call_log_path(project: &Project) -> PathBuf {
    project.target.join("s3-calls.jsonl")
}

/// Removes the log of an earlier run.
fn remove_call_log(project: &Project) -> Result<()> {
    match fs::remove_file(call_log_path(project)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the call log of the last run")
        }
        _ => Ok(()),
    }
}

/// Name of a benchmark's smoke run in the summary.
fn smoke_suite_name(bench: Bench) -> &'static str {
    match bench {
        Bench::Engine => "bench engine",
        Bench::Layer => "bench layer",
        Bench::Edge => "bench edge",
        Bench::Deliver => "bench deliver",
        Bench::Ready => "bench ready",
        Bench::Pictures => "bench pictures",
        Bench::Uploads => "bench uploads",
        Bench::Load => "bench load",
        Bench::Poster => "bench poster",
    }
}

/// Checks that template.yaml is valid, and allows exactly the calls of the end-to-end tests.
fn template_checks(project: &Project, tools: &Toolset) -> Result<Command> {
    let deploying = &tools.test()?.deploy;
    let mut command = Command::new(&deploying.python);
    command.current_dir(&project.root).args(["-u", "deploy/check", "--checkov"]).arg(&deploying.checkov);
    command.arg("--calls").arg(call_log_path(project));
    Ok(command)
}

/// The tests that run in Node.
fn browser_tests(project: &Project, tools: &Toolset, filters: &[String]) -> Result<Command> {
    let mut command = project.npm_command("node");
    // If a filter matches no test of a file, that file would otherwise wait forever for the servers that it has
    // started.
    command.args(["--test", "--test-force-exit"]);
    // A test runs if it matches any of the patterns, as with cargo.
    command.args(filters.iter().map(|filter| format!("--test-name-pattern={}", escape_regex(filter))));
    command.args(["tests/browser/*.test.mjs", "clients/js/tests/*.test.mjs"]);
    set_tool_env(project, tools, &mut command)?;
    Ok(command)
}

/// Escapes `text` as a regular expression that matches it literally.
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

/// Checks the layer's ffmpeg against its files, but not whether its build is reproducible.
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

/// Dry run of publishing the layer for this machine's architecture, which verifies the file against the build.
fn layer_publish_check(project: &Project) -> Command {
    let mut command = Command::new(project.path("layer/publish"));
    command
        .current_dir(&project.root)
        .args(["--dry-run", "--arch", env::consts::ARCH])
        .env("GLIMPSE_TOOLS_DIR", &project.cache);
    command
}

/// Sets the environment variables with the programs and files that tests use.
fn set_tool_env(project: &Project, tools: &Toolset, command: &mut Command) -> Result<()> {
    let (media, reference) = (tools.media()?, tools.reference()?);
    command
        .env("GLIMPSE_ROOT", &project.root)
        .env("GLIMPSE_PREVIEW", project.binary_path("preview"))
        .env("GLIMPSE_FFMPEG", &media.ffmpeg)
        .env("GLIMPSE_FFPROBE", &media.ffprobe)
        .env("GLIMPSE_REFERENCE_FFMPEG", &reference.ffmpeg)
        .env("GLIMPSE_REFERENCE_FFPROBE", &reference.ffprobe)
        .env("GLIMPSE_NODE", project.npm_program("node"))
        // wrangler's build command then does nothing.
        .env("GLIMPSE_PREBUILT", "1")
        .env("WRANGLER_SEND_METRICS", "false")
        // Node keeps compiled code here: wrangler, which is started many times, then starts in two thirds of the time.
        .env("NODE_COMPILE_CACHE", project.target.join("node-compile-cache"));
    if let Ok(test) = tools.test() {
        command.env("GLIMPSE_CHROMIUM", &test.chromium).env("GLIMPSE_PYTHON", &test.python);
    }
    set_media_env(command)
}

/// Sets the user's folder of sample videos. Its path can be relative to the working directory.
fn set_media_env(command: &mut Command) -> Result<()> {
    match env::var_os("GLIMPSE_MEDIA").filter(|media| !media.is_empty()) {
        Some(media) => command.env("GLIMPSE_MEDIA", std::path::absolute(media)?),
        None => command.env_remove("GLIMPSE_MEDIA"),
    };
    Ok(())
}

/// Dry run of a command of this program, which needs no account.
fn dry_run_command(program: &Path, verb: &str) -> Command {
    let mut command = Command::new(program);
    command.args([verb, "--dry-run"]).env("GLIMPSE_PREBUILT", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_list_has_no_copyleft_license() {
        let config = Project::discover().unwrap().read("deny.toml").unwrap();
        let strings = config.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        let allowed: Vec<&str> = strings.collect();
        assert!(allowed.contains(&"Apache-2.0") && allowed.contains(&"MIT"), "{allowed:?}");
        // `GPL` is also in AGPL and LGPL.
        for family in ["GPL", "MPL", "EPL", "CDDL", "SSPL", "BUSL", "CC-BY"] {
            assert!(!allowed.iter().any(|license| license.contains(family)), "{family} is allowed");
        }
    }

    fn parse(arguments: &[&str]) -> Result<Arguments> {
        Arguments::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn integration_tests_are_those_of_the_workspace() {
        let project = Project::discover().unwrap();
        let metadata =
            project.cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output().unwrap();
        let names = integration_tests(&serde_json::from_slice(&metadata.stdout).unwrap());
        assert!(names.contains(END_TO_END) && names.contains("backend"), "{names:?}");
        // Each file in a folder of tests is a target, or a module of one.
        for package in ["cli", "local", "media", "xtask"] {
            for file in fs::read_dir(project.path(package).join("tests")).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.file_stem().unwrap().to_str().unwrap();
                    assert!(names.contains(name), "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn package_is_found_by_short_and_full_name() {
        for name in ["media", "glimpse-media"] {
            let parsed = parse(&["-p", name, "never_panics"]).unwrap();
            assert_eq!(parsed.package, Some(PACKAGES[1]));
            assert_eq!(parsed.filters, ["never_panics"]);
        }
        assert_eq!(
            parse(&["a", "b"]).unwrap(),
            Arguments { package: None, filters: vec!["a".into(), "b".into()] }
        );
        for wrong in [&["-p"][..], &["-p", "nothing"], &["--nothing"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_package_of_the_workspace_is_listed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let members = text.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
        let mut names: Vec<String> = members
            .split('"')
            .skip(1)
            .step_by(2)
            .map(|member| fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap())
            .map(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("name = "))
                    .unwrap()
                    .trim_matches('"')
                    .to_owned()
            })
            .collect();
        let mut listed: Vec<String> = PACKAGES.iter().map(|package| package.name.to_owned()).collect();
        names.sort();
        listed.sort();
        assert_eq!(listed, names);
    }

    #[test]
    fn filter_is_matched_literally() {
        assert_eq!(escape_regex("signs in"), "signs in");
        assert_eq!(escape_regex("a.gif (x+1)"), r"a\.gif \(x\+1\)");
    }
}
