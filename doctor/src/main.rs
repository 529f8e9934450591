//! The doctor's command line: reads it, walks, prints each step, and ends with 0 if nothing is wrong. Wiring only.

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
Walks the whole path through a deployment of Glimpse with a tiny video, and names the first thing that is wrong.

doctor --edge URL [--origin URL]... [--wait SECS] [--roles FILE] [--json]

  --edge URL      the Worker's origin
  --token TOKEN   a bearer token (or GLIMPSE_TOKEN, which no list of processes shows)
  --origin URL    a site whose pages upload; more than once for more (the Worker's own)
  --wait SECS     how long the pictures may take (120)
  --roles FILE    what `deploy/account roles` has found, told first; without --edge nothing else is
  --json          a JSON document a line instead of text
GLIMPSE_COOKIE is a session cookie of a browser, name=value, where there are no bearer tokens.
The video is deleted at the end, whatever happens. Ends with 0 if nothing is wrong, 1 if something is, 2 if it could not look.";

struct Args {
    /// What is walked through, if anything is.
    settings: Option<Settings>,
    roles_file: Option<PathBuf>,
    is_json: bool,
}

/// What was said; `None` if that was a call for help.
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
    ensure!(edge.is_some() || roles.is_some(), "say where the Worker is: --edge https://video.example.com");
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
    // A token is sent there: what URL parsers read in different ways is refused.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ensure!(
        !host.is_empty() && host.bytes().all(is_host),
        "{text} is no origin, like https://video.example.com"
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

/// Every step, each of which is told.
fn check_deployment(args: &Args) -> anyhow::Result<Vec<CheckReport>> {
    let print_report =
        |step: &CheckReport| print(&if args.is_json { step.to_json().to_string() } else { step.to_string() });
    let mut steps = args.roles_file.as_deref().map_or(Ok(Vec::new()), read_roles)?;
    steps.iter().for_each(print_report);
    if let Some(settings) = args.settings.as_ref().filter(|_| !roles::is_cause(&steps)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        steps.extend(runtime.block_on(run_checks(settings, Timestamp::now, print_report))?);
    }
    Ok(steps)
}

fn read_roles(file: &Path) -> anyhow::Result<Vec<CheckReport>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    roles::from_document(
        &serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?,
    )
}

/// The last line, and what the program ends with.
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
        (Some(name), _) => format!("\n`{name}` is the first thing that is wrong."),
        (None, 0) if args.settings.is_none() => "\nThe roles are as they have to be.".to_owned(),
        (None, 0) => "\nEverything works.".to_owned(),
        (None, _) => "\nNothing wrong was seen, but not everything was looked at.".to_owned(),
    };
    // A deployment on somebody's own machine has none.
    if args.roles_file.is_none()
        && args.settings.as_ref().is_some_and(|settings| settings.edge.starts_with("https:"))
    {
        text.push_str("\nThe roles were not looked at: `--stack NAME` does, by your credentials of AWS, and only reads.");
    }
    (text, code)
}

/// Whoever has gone reads nothing.
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
            "the roles alone"
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
            text.starts_with("\nEverything works.\nThe roles were not looked at: `--stack NAME`"),
            "{text}"
        );
        assert_eq!(code, 0);
        for args in [&both, &local] {
            assert_eq!(summarize(std::slice::from_ref(&good), args).0, "\nEverything works.");
        }
        assert!(
            summarize(std::slice::from_ref(&good), &alone).0.contains("The roles are as"),
            "the roles alone"
        );
        let (text, code) = summarize(&[bad(Issue::RolesUnseen), good.clone()], &both);
        assert!(text.contains("not everything was looked at"), "{text}");
        assert_eq!(code, 2, "nothing is wrong with the deployment");
        let wrong = summarize(&[bad(Issue::RolesUnseen), bad(Issue::RoleTooWide), good], &both);
        assert_eq!(wrong, ("\n`roles` is the first thing that is wrong.".to_owned(), 1));
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
