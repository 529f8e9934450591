//! The doctor's command line: reads it, walks, prints each step, and ends with 0 if nothing is wrong. Wiring only.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use glimpse_doctor::report::Step;
use glimpse_doctor::{Proof, Settings, examine};
use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt as _};
use serde_json::json;

const HELP: &str = "\
Walks the whole path through a deployment of Glimpse with a tiny video, and names the first thing that is wrong.

doctor --edge URL [--origin URL]... [--wait SECS] [--json]

  --edge URL      the Worker's origin
  --token TOKEN   a bearer token (or GLIMPSE_TOKEN, which no list of processes shows)
  --origin URL    a site whose pages upload; more than once for more (the Worker's own)
  --wait SECS     how long the pictures may take (120)
  --json          a JSON document a line instead of text
GLIMPSE_COOKIE is a session cookie of a browser, name=value, where there are no bearer tokens.
The video is deleted at the end, whatever happens. Ends with 0 if nothing is wrong, 1 if something is, 2 if it could not look.";

struct Said {
    settings: Settings,
    is_json: bool,
}

/// What was said; `None` if that was a call for help.
fn parse(
    args: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Said>> {
    let mut parser = Parser::from_args(args);
    let (mut edge, mut token, mut origins) = (None, None, Vec::new());
    let (mut wait_secs, mut is_json) = (120, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long("edge") => edge = Some(origin(&parser.value()?.string()?)?),
            Arg::Long("token") => token = Some(parser.value()?.string()?),
            Arg::Long("origin") => origins.push(origin(&parser.value()?.string()?)?),
            Arg::Long("wait") => wait_secs = parser.value()?.parse().context("--wait")?,
            Arg::Long("json") => is_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let said = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let token = token.or_else(|| said("GLIMPSE_TOKEN")).map(Proof::Token);
    let settings = Settings {
        edge: edge.context("say where the Worker is: --edge https://video.example.com")?,
        proof: token.or_else(|| said("GLIMPSE_COOKIE").map(Proof::Cookie)),
        origins,
        wait: Duration::from_secs(wait_secs),
    };
    Ok(Some(Said { settings, is_json }))
}

fn origin(text: &str) -> anyhow::Result<String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    ensure!(
        !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']),
        "{text} is no origin, like https://video.example.com"
    );
    Ok(text.to_owned())
}

fn main() -> ExitCode {
    let said = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(said)) => said,
        Ok(None) => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return trouble(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let steps = runtime.context("no runtime").and_then(|runtime| {
        let tell = |step: &Step| {
            print(&if said.is_json { step.to_json().to_string() } else { step.to_string() });
        };
        runtime.block_on(examine(&said.settings, Timestamp::now, tell))
    });
    let steps = match steps {
        Ok(steps) => steps,
        Err(error) => return trouble(&error),
    };
    let failed = steps.iter().find(|step| step.result.is_err());
    match (said.is_json, failed) {
        (true, failed) => {
            print(&json!({ "ok": failed.is_none(), "failed": failed.map(|step| step.name) }).to_string());
        }
        (false, None) => print("\nEverything works."),
        (false, Some(step)) => print(&format!("\n`{}` is the first thing that is wrong.", step.name)),
    }
    if failed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whoever has gone reads nothing.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn trouble(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "doctor: {error:#}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Option<Said>> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        parse(words.iter().map(OsString::from), lookup)
    }

    #[test]
    fn a_token_comes_by_argument_or_environment() {
        let edge = ["--edge", "https://video.example/"];
        let said = read(&edge, &[("GLIMPSE_TOKEN", " t \n"), ("GLIMPSE_COOKIE", "c=1")]).unwrap().unwrap();
        assert_eq!(said.settings.edge, "https://video.example");
        assert!(said.settings.proof == Some(Proof::Token("t".into())));
        let said = read(&edge, &[("GLIMPSE_TOKEN", ""), ("GLIMPSE_COOKIE", "c=1")]).unwrap().unwrap();
        assert!(said.settings.proof == Some(Proof::Cookie("c=1".into())));
        assert!(read(&edge, &[]).unwrap().unwrap().settings.proof.is_none());
        assert!(read(&["--help"], &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for words in [
            &[][..],
            &["--edge"],
            &["--edge", "video.example"],
            &["--edge", "https://a/b"],
            &["--edge", "https://a", "--wait", "x"],
            &["--fly"],
        ] {
            assert!(read(words, &[]).is_err(), "{words:?}");
        }
    }
}
