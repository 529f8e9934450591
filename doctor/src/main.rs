//! The doctor's command line: reads it, walks, prints each step, and ends with 0 if nothing is wrong. Wiring only.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use glimpse_doctor::issue::Ill;
use glimpse_doctor::report::Step;
use glimpse_doctor::{Proof, Settings, examine, roles};
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

struct Said {
    /// What is walked through, if anything is.
    settings: Option<Settings>,
    roles: Option<PathBuf>,
    is_json: bool,
}

/// What was said; `None` if that was a call for help.
fn parse(
    args: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Said>> {
    let mut parser = Parser::from_args(args);
    let (mut edge, mut token, mut origins) = (None, None, Vec::new());
    let (mut wait_secs, mut is_json, mut roles) = (120, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long("edge") => edge = Some(origin(&parser.value()?.string()?)?),
            Arg::Long("token") => token = Some(parser.value()?.string()?),
            Arg::Long("origin") => origins.push(origin(&parser.value()?.string()?)?),
            Arg::Long("wait") => wait_secs = parser.value()?.parse().context("--wait")?,
            Arg::Long("roles") => roles = Some(PathBuf::from(parser.value()?)),
            Arg::Long("json") => is_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let said = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let token = token.or_else(|| said("GLIMPSE_TOKEN")).map(Proof::Token);
    ensure!(edge.is_some() || roles.is_some(), "say where the Worker is: --edge https://video.example.com");
    let settings = edge.map(|edge| Settings {
        edge,
        proof: token.or_else(|| said("GLIMPSE_COOKIE").map(Proof::Cookie)),
        origins,
        wait: Duration::from_secs(wait_secs),
    });
    Ok(Some(Said { settings, roles, is_json }))
}

fn origin(text: &str) -> anyhow::Result<String> {
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
    let said = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(said)) => said,
        Ok(None) => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return trouble(&error),
    };
    match look(&said) {
        Ok(steps) => {
            let (text, code) = conclusion(&steps, &said);
            print(&text);
            ExitCode::from(code)
        }
        Err(error) => trouble(&error),
    }
}

/// Every step, each of which is told.
fn look(said: &Said) -> anyhow::Result<Vec<Step>> {
    let tell = |step: &Step| print(&if said.is_json { step.to_json().to_string() } else { step.to_string() });
    let mut steps = said.roles.as_deref().map_or(Ok(Vec::new()), read)?;
    steps.iter().for_each(tell);
    if let Some(settings) = said.settings.as_ref().filter(|_| !roles::is_cause(&steps)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        steps.extend(runtime.block_on(examine(settings, Timestamp::now, tell))?);
    }
    Ok(steps)
}

fn read(file: &Path) -> anyhow::Result<Vec<Step>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    roles::steps(&serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?)
}

/// The last line, and what the program ends with.
fn conclusion(steps: &[Step], said: &Said) -> (String, u8) {
    let mut ills = steps.iter().filter_map(|step| Some((step.name, step.result.as_ref().err()?.ill)));
    let failed = ills.clone().find(|(_, ill)| *ill != Ill::RolesUnseen).map(|(name, _)| name);
    let code = match failed {
        Some(_) => 1,
        None if ills.next().is_some() => 2,
        None => 0,
    };
    if said.is_json {
        return (
            json!({ "ok": code == 0, "failed": failed, "roles": said.roles.is_some() }).to_string(),
            code,
        );
    }
    let mut text = match (failed, code) {
        (Some(name), _) => format!("\n`{name}` is the first thing that is wrong."),
        (None, 0) if said.settings.is_none() => "\nThe roles are as they have to be.".to_owned(),
        (None, 0) => "\nEverything works.".to_owned(),
        (None, _) => "\nNothing wrong was seen, but not everything was looked at.".to_owned(),
    };
    // A deployment on somebody's own machine has none.
    if said.roles.is_none()
        && said.settings.as_ref().is_some_and(|settings| settings.edge.starts_with("https:"))
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

fn trouble(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "doctor: {error:#}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use glimpse_doctor::report::Finding;

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
        assert!(said.roles.is_none());
        let settings = said.settings.unwrap();
        assert_eq!(settings.edge, "https://video.example");
        assert!(settings.proof == Some(Proof::Token("t".into())));
        let said = read(&edge, &[("GLIMPSE_TOKEN", ""), ("GLIMPSE_COOKIE", "c=1")]).unwrap().unwrap();
        assert!(said.settings.unwrap().proof == Some(Proof::Cookie("c=1".into())));
        assert!(read(&edge, &[]).unwrap().unwrap().settings.unwrap().proof.is_none());
        assert!(read(&["--roles", "file"], &[]).unwrap().unwrap().settings.is_none(), "the roles alone");
        assert!(read(&["--help"], &[]).unwrap().is_none());
    }

    #[test]
    fn the_end_says_what_was_not_looked_at() {
        let said = |words: &[&str]| read(words, &[]).unwrap().unwrap();
        let (walked, both) = (said(&["--edge", "https://a"]), said(&["--edge", "https://a", "--roles", "f"]));
        let (local, alone) = (said(&["--edge", "http://localhost:1"]), said(&["--roles", "f"]));
        let good = Step { name: "edge", result: Ok("x".into()) };
        let bad = |ill| Step { name: "roles", result: Err(Finding::new(ill, "x")) };
        let (text, code) = conclusion(std::slice::from_ref(&good), &walked);
        assert!(
            text.starts_with("\nEverything works.\nThe roles were not looked at: `--stack NAME`"),
            "{text}"
        );
        assert_eq!(code, 0);
        for said in [&both, &local] {
            assert_eq!(conclusion(std::slice::from_ref(&good), said).0, "\nEverything works.");
        }
        assert!(
            conclusion(std::slice::from_ref(&good), &alone).0.contains("The roles are as"),
            "the roles alone"
        );
        let (text, code) = conclusion(&[bad(Ill::RolesUnseen), good.clone()], &both);
        assert!(text.contains("not everything was looked at"), "{text}");
        assert_eq!(code, 2, "nothing is wrong with the deployment");
        let wrong = conclusion(&[bad(Ill::RolesUnseen), bad(Ill::RoleTooWide), good], &both);
        assert_eq!(wrong, ("\n`roles` is the first thing that is wrong.".to_owned(), 1));
    }

    #[test]
    fn what_is_wrong_is_refused() {
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
            assert!(read(words, &[]).is_err(), "{words:?}");
        }
    }
}
