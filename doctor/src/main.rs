//! The doctor's command line: parses the arguments, runs the checks and prints their reports.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use glimpse_doctor::issue::Issue;
use glimpse_doctor::report::CheckReport;
use glimpse_doctor::{ApiCredential, Settings, roles, run_checks};
use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt as _};
use serde_json::json;

const HELP: &str = "\
Checks a Glimpse deployment end to end with a small video, and reports the first issue with its fix.

doctor --edge URL [--origin URL]... [--wait SECS] [--roles FILE] [--json]

  --edge URL      the Worker's origin
  --token TOKEN   a bearer token (or GLIMPSE_TOKEN, which is not visible in the process list)
  --origin URL    a site whose pages upload; repeatable (default: the Worker's origin)
  --wait SECS     timeout of the processing of the video (default: 120)
  --roles FILE    the output of `deploy/account roles`, reported first; without --edge, only the roles are reported
  --json          print one JSON document per line instead of text
GLIMPSE_COOKIE is a browser's session cookie, name=value, for deployments without bearer tokens.
The video is always deleted at the end. Exit status: 0 if no issue was found, 1 if an issue was found, 2 if the checks
could not run.";

struct Args {
    /// Settings of the checks; `None` if only the roles are reported.
    settings: Option<Settings>,
    roles_file: Option<PathBuf>,
    is_json: bool,
}

/// Parses the arguments; `None` for `--help`.
fn parse(
    args: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Args>> {
    let mut parser = Parser::from_args(args);
    let (mut edge, mut token, mut origins) = (None, None, Vec::new());
    let (mut wait_secs, mut is_json, mut roles) = (120, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long("edge") => edge = Some(parse_origin(&parser.value()?.string()?)?),
            Arg::Long("token") => token = Some(parser.value()?.string()?),
            Arg::Long("origin") => origins.push(parse_origin(&parser.value()?.string()?)?),
            Arg::Long("wait") => wait_secs = parser.value()?.parse().context("--wait")?,
            Arg::Long("roles") => roles = Some(PathBuf::from(parser.value()?)),
            Arg::Long("json") => is_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let from_env =
        |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let token = token.or_else(|| from_env("GLIMPSE_TOKEN")).map(ApiCredential::Token);
    ensure!(
        edge.is_some() || roles.is_some(),
        "missing argument: --edge https://video.example.com, the Worker's origin"
    );
    let settings = edge.map(|edge| Settings {
        edge,
        credential: token.or_else(|| from_env("GLIMPSE_COOKIE").map(ApiCredential::Cookie)),
        origins,
        processing_timeout: Duration::from_secs(wait_secs),
    });
    Ok(Some(Args { settings, roles_file: roles, is_json }))
}

fn parse_origin(text: &str) -> anyhow::Result<String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    // A token is sent to this origin, so URLs that parsers could interpret differently are rejected.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ensure!(
        !host.is_empty() && host.bytes().all(is_host),
        "{text} is not an origin such as https://video.example.com"
    );
    Ok(text.to_owned())
}

fn main() -> ExitCode {
    let args = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(said)) => said,
        Ok(None) => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return exit_with_error(&error),
    };
    match check_deployment(&args) {
        Ok(steps) => {
            let (text, code) = summarize(&steps, &args);
            print(&text);
            ExitCode::from(code)
        }
        Err(error) => exit_with_error(&error),
    }
}

/// Reports the roles and runs the checks, and prints each report.
fn check_deployment(args: &Args) -> anyhow::Result<Vec<CheckReport>> {
    let print_report =
        |step: &CheckReport| print(&if args.is_json { step.to_json().to_string() } else { step.to_string() });
    let mut steps = args.roles_file.as_deref().map_or(Ok(Vec::new()), read_roles)?;
    steps.iter().for_each(print_report);
    if let Some(settings) = args.settings.as_ref().filter(|_| !roles::is_cause(&steps)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the async runtime")?;
        steps.extend(runtime.block_on(run_checks(settings, Timestamp::now, print_report))?);
    }
    Ok(steps)
}

fn read_roles(file: &Path) -> anyhow::Result<Vec<CheckReport>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    roles::from_document(
        &serde_json::from_slice(&text).with_context(|| format!("{} is not valid JSON", file.display()))?,
    )
}

/// The last line of the output, and the exit status.
fn summarize(steps: &[CheckReport], args: &Args) -> (String, u8) {
    let mut issues = steps.iter().filter_map(|step| Some((step.name, step.result.as_ref().err()?.issue)));
    let failed = issues.clone().find(|(_, issue)| *issue != Issue::RolesUnseen).map(|(name, _)| name);
    let code = match failed {
        Some(_) => 1,
        None if issues.next().is_some() => 2,
        None => 0,
    };
    if args.is_json {
        return (
            json!({ "ok": code == 0, "failed": failed, "roles": args.roles_file.is_some() }).to_string(),
            code,
        );
    }
    let mut text = match (failed, code) {
        (Some(name), _) => format!("\n`{name}` is the first failed check."),
        (None, 0) if args.settings.is_none() => "\nThe roles are correct.".to_owned(),
        (None, 0) => "\nEverything works.".to_owned(),
        (None, _) => "\nNo issue was found, but not everything could be checked.".to_owned(),
    };
    // A local deployment has no roles.
    if args.roles_file.is_none()
        && args.settings.as_ref().is_some_and(|settings| settings.edge.starts_with("https:"))
    {
        text.push_str(
            "\nThe roles were not checked: `--stack NAME` checks them with your AWS credentials, read-only.",
        );
    }
    (text, code)
}

/// Prints a line. Errors are ignored: the reader may have closed the pipe.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn exit_with_error(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "doctor: {error:#}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use glimpse_doctor::report::Finding;

    use super::*;

    fn parse_words(words: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Option<Args>> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        parse(words.iter().map(OsString::from), lookup)
    }

    #[test]
    fn reads_token_from_argument_or_env() {
        let edge = ["--edge", "https://video.example/"];
        let args =
            parse_words(&edge, &[("GLIMPSE_TOKEN", " t \n"), ("GLIMPSE_COOKIE", "c=1")]).unwrap().unwrap();
        assert!(args.roles_file.is_none());
        let settings = args.settings.unwrap();
        assert_eq!(settings.edge, "https://video.example");
        assert!(settings.credential == Some(ApiCredential::Token("t".into())));
        let args = parse_words(&edge, &[("GLIMPSE_TOKEN", ""), ("GLIMPSE_COOKIE", "c=1")]).unwrap().unwrap();
        assert!(args.settings.unwrap().credential == Some(ApiCredential::Cookie("c=1".into())));
        assert!(parse_words(&edge, &[]).unwrap().unwrap().settings.unwrap().credential.is_none());
        assert!(
            parse_words(&["--roles", "file"], &[]).unwrap().unwrap().settings.is_none(),
            "only the roles"
        );
        assert!(parse_words(&["--help"], &[]).unwrap().is_none());
    }

    #[test]
    fn summary_names_skipped_checks() {
        let args = |words: &[&str]| parse_words(words, &[]).unwrap().unwrap();
        let (walked, both) = (args(&["--edge", "https://a"]), args(&["--edge", "https://a", "--roles", "f"]));
        let (local, alone) = (args(&["--edge", "http://localhost:1"]), args(&["--roles", "f"]));
        let good = CheckReport { name: "edge", result: Ok("x".into()) };
        let bad = |issue| CheckReport { name: "roles", result: Err(Finding::new(issue, "x")) };
        let (text, code) = summarize(std::slice::from_ref(&good), &walked);
        assert!(
            text.starts_with("\nEverything works.\nThe roles were not checked: `--stack NAME`"),
            "{text}"
        );
        assert_eq!(code, 0);
        for args in [&both, &local] {
            assert_eq!(summarize(std::slice::from_ref(&good), args).0, "\nEverything works.");
        }
        assert!(
            summarize(std::slice::from_ref(&good), &alone).0.contains("The roles are correct"),
            "only the roles"
        );
        let (text, code) = summarize(&[bad(Issue::RolesUnseen), good.clone()], &both);
        assert!(text.contains("not everything could be checked"), "{text}");
        assert_eq!(code, 2, "the deployment has no issue");
        let wrong = summarize(&[bad(Issue::RolesUnseen), bad(Issue::RoleTooWide), good], &both);
        assert_eq!(wrong, ("\n`roles` is the first failed check.".to_owned(), 1));
    }

    #[test]
    fn rejects_invalid_arguments() {
        for words in [
            &[][..],
            &["--edge"],
            &["--edge", "video.example"],
            &["--edge", "https://a/b"],
            &["--edge", "http://localhost:80@evil.example"],
            &["--edge", "https://video.example\\.evil.example"],
            &["--edge", "https://video.example\t.evil.example"],
            &["--edge", "https://a", "--wait", "x"],
            &["--fly"],
        ] {
            assert!(parse_words(words, &[]).is_err(), "{words:?}");
        }
    }
}
