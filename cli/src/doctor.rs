//! `glimpse doctor`: runs the checks of the crate `glimpse-doctor` and prints their reports.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use glimpse_doctor::issue::Issue;
use glimpse_doctor::report::CheckReport;
use glimpse_doctor::{ApiCredential, Settings, roles, run_checks};
use jiff::Timestamp;
use serde_json::json;

use crate::args::DoctorOptions;
use crate::config::Credential;
use crate::context::Context;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::origin::DeploymentUrl;
use crate::output::print_line;

/// `glimpse doctor`; returns the exit status: 0 if no issue was found, 1 if an issue was found, 2 if something could not
/// be checked.
///
/// # Errors
/// The checks could not run: always exit status 2.
pub(crate) async fn run(context: &Context, options: &DoctorOptions) -> CommandResult<u8> {
    let could_not_run = |failure: Failure| Failure { status: ExitStatus::Usage, ..failure };
    let settings = settings(context, options).map_err(could_not_run)?;
    let is_json = context.output.is_json;
    let steps = check_deployment(settings.as_ref(), options.roles.as_deref(), context.now, is_json)
        .await
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    let (text, code) = summarize(&steps, settings.as_ref(), options.roles.is_some(), is_json);
    print_line(text)?;
    Ok(code)
}

/// The settings of the checks; `None` if only the roles are reported.
fn settings(context: &Context, options: &DoctorOptions) -> CommandResult<Option<Settings>> {
    if context.url.is_none() && options.roles.is_some() {
        return Ok(None);
    }
    let url = context.deployment()?;
    if url.upload_token().is_some() {
        return Err(Failure::usage("an upload token is not enough: pass the deployment's address"));
    }
    let credential = match context.credential(&url)? {
        Some(Credential::Token(token)) => Some(ApiCredential::Token(token.expose().to_owned())),
        Some(Credential::Session { cookie, .. }) => Some(ApiCredential::Cookie(cookie.expose().to_owned())),
        None => None,
    };
    let origin =
        |text: &String| DeploymentUrl::parse(text).map(|url| url.origin().to_owned()).map_err(Failure::usage);
    Ok(Some(Settings {
        edge: url.origin().to_owned(),
        credential,
        origins: options.origin.iter().map(origin).collect::<CommandResult<_>>()?,
        processing_timeout: Duration::from_secs(options.wait),
    }))
}

/// Reports the roles and runs the checks, and prints each report.
async fn check_deployment(
    settings: Option<&Settings>,
    roles_file: Option<&Path>,
    now: fn() -> Timestamp,
    is_json: bool,
) -> anyhow::Result<Vec<CheckReport>> {
    let print_report = |step: &CheckReport| {
        // A closed output does not stop the checks: the last one deletes the video.
        let _ = if is_json { print_line(step.to_json()) } else { print_line(step) };
    };
    let mut steps = roles_file.map_or(Ok(Vec::new()), read_roles)?;
    steps.iter().for_each(print_report);
    if let Some(settings) = settings.filter(|_| !roles::is_cause(&steps)) {
        steps.extend(run_checks(settings, now, print_report).await?);
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
fn summarize(
    steps: &[CheckReport],
    settings: Option<&Settings>,
    has_roles: bool,
    is_json: bool,
) -> (String, u8) {
    let mut issues = steps.iter().filter_map(|step| Some((step.name, step.result.as_ref().err()?.issue)));
    let failed = issues.clone().find(|(_, issue)| *issue != Issue::RolesUnseen).map(|(name, _)| name);
    let code = match failed {
        Some(_) => 1,
        None if issues.next().is_some() => 2,
        None => 0,
    };
    if is_json {
        return (json!({ "ok": code == 0, "failed": failed, "roles": has_roles }).to_string(), code);
    }
    let mut text = match (failed, code) {
        (Some(name), _) => format!("\n`{name}` is the first failed check."),
        (None, 0) if settings.is_none() => "\nThe roles are correct.".to_owned(),
        (None, 0) => "\nEverything works.".to_owned(),
        (None, _) => "\nNo issue was found, but not everything could be checked.".to_owned(),
    };
    // A local deployment has no roles.
    if !has_roles && settings.is_some_and(|settings| settings.edge.starts_with("https:")) {
        text.push_str(
            "\nThe roles were not checked: `cargo xtask doctor --stack NAME` checks them with your AWS credentials, \
             read-only.",
        );
    }
    (text, code)
}

#[cfg(test)]
mod tests {
    use glimpse_doctor::report::Finding;

    use super::*;

    #[test]
    fn summary_names_skipped_checks() {
        let settings = |edge: &str| Settings {
            edge: edge.to_owned(),
            credential: None,
            origins: Vec::new(),
            processing_timeout: Duration::from_secs(1),
        };
        let (remote, local) = (settings("https://a"), settings("http://localhost:1"));
        let good = CheckReport { name: "edge", result: Ok("x".into()) };
        let bad = |issue| CheckReport { name: "roles", result: Err(Finding::new(issue, "x")) };
        let (text, code) = summarize(std::slice::from_ref(&good), Some(&remote), false, false);
        assert!(
            text.starts_with("\nEverything works.\nThe roles were not checked: `cargo xtask doctor"),
            "{text}"
        );
        assert_eq!(code, 0);
        for (settings, has_roles) in [(&remote, true), (&local, false)] {
            let text = summarize(std::slice::from_ref(&good), Some(settings), has_roles, false).0;
            assert_eq!(text, "\nEverything works.");
        }
        let text = summarize(std::slice::from_ref(&good), None, true, false).0;
        assert!(text.contains("The roles are correct"), "only the roles: {text}");
        let (text, code) = summarize(&[bad(Issue::RolesUnseen), good.clone()], Some(&remote), true, false);
        assert!(text.contains("not everything could be checked"), "{text}");
        assert_eq!(code, 2, "the deployment has no issue");
        let steps = [bad(Issue::RolesUnseen), bad(Issue::RoleTooWide), good];
        let wrong = summarize(&steps, Some(&remote), true, false);
        assert_eq!(wrong, ("\n`roles` is the first failed check.".to_owned(), 1));
        let (text, _) = summarize(&steps, Some(&remote), true, true);
        assert_eq!(text, r#"{"failed":"roles","ok":false,"roles":true}"#);
    }
}
