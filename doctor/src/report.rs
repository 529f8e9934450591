//! Report of a check, as text and as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::issue::Issue;

/// An issue that a check found, with the observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The issue.
    pub issue: Issue,
    /// The observation. It contains no token, signature or secret.
    pub observed: String,
    /// The command that fixes this issue, if there is one.
    pub fix_command: Option<String>,
}

impl Finding {
    /// Creates a finding without a command.
    pub fn new(issue: Issue, observed: impl Into<String>) -> Self {
        Self { issue, observed: observed.into(), fix_command: None }
    }

    /// The status column. Roles that could not be checked are not a failure of the deployment.
    fn status(&self) -> &'static str {
        if self.issue == Issue::RolesUnseen { "UNSEEN" } else { "FAILED" }
    }
}

/// Report of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The check's name.
    pub name: &'static str,
    /// The observation, or the finding.
    pub result: Result<String, Finding>,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(observed) => write!(f, "ok      {:<10} {observed}", self.name),
            Err(finding @ Finding { issue, observed, fix_command: command }) => {
                write!(f, "{}  {:<10} {} ({})", finding.status(), self.name, issue.title(), issue.code())?;
                write!(f, "\n        observed   {observed}\n        fix        {}", issue.fix())?;
                if let Some(command) = command {
                    write!(f, "\n        command    {command}")?;
                }
                write!(f, "\n        more       docs/operating.md, \"Doctor\"")
            }
        }
    }
}

impl CheckReport {
    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        match &self.result {
            Ok(observed) => json!({ "step": self.name, "ok": true, "observed": observed }),
            Err(Finding { issue, observed, fix_command: command }) => json!({
                "step": self.name, "ok": false, "observed": observed, "issue": issue.code(), "title": issue.title(), "fix": issue.fix(),
                "command": command,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_shows_observation_and_fix() {
        let good = CheckReport { name: "edge", result: Ok("serves Glimpse".into()) };
        assert_eq!(good.to_string(), "ok      edge       serves Glimpse");
        let bad = CheckReport {
            name: "upload",
            result: Err(Finding::new(Issue::WrongRegion, "400 PermanentRedirect")),
        };
        assert_eq!(
            bad.to_string(),
            "FAILED  upload     The bucket is in another region than the Worker signs for. (wrong_region)\n        \
             observed   400 PermanentRedirect\n        fix        Correct S3_REGION.\n        more       \
             docs/operating.md, \"Doctor\""
        );
        assert_eq!(bad.to_json()["issue"], "wrong_region");
    }
}
