//! Decides how a step is told, to people and to machines.

use std::fmt;

use serde_json::{Value, json};

use crate::issue::Issue;

/// What a step found wrong, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub issue: Issue,
    /// What was seen. No token, signature or secret is in it.
    pub observed: String,
    /// The command that mends just this, where there is one.
    pub fix_command: Option<String>,
}

impl Finding {
    /// What is wrong, and what was seen.
    pub fn new(issue: Issue, observed: impl Into<String>) -> Self {
        Self { issue, observed: observed.into(), fix_command: None }
    }

    /// What it is called: that something was not seen is no failure of what is looked at.
    fn status(&self) -> &'static str {
        if self.issue == Issue::RolesUnseen { "UNSEEN" } else { "FAILED" }
    }
}

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// What was looked at.
    pub name: &'static str,
    /// What was seen, or what is wrong.
    pub result: Result<String, Finding>,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(seen) => write!(f, "ok      {:<10} {seen}", self.name),
            Err(finding @ Finding { issue, observed: seen, fix_command: command }) => {
                write!(f, "{}  {:<10} {} ({})", finding.status(), self.name, issue.title(), issue.code())?;
                write!(f, "\n        seen       {seen}\n        cure       {}", issue.fix())?;
                if let Some(command) = command {
                    write!(f, "\n        command    {command}")?;
                }
                write!(f, "\n        more       docs/operating.md, \"Doctor\"")
            }
        }
    }
}

impl CheckReport {
    /// For machines.
    pub fn to_json(&self) -> Value {
        match &self.result {
            Ok(seen) => json!({ "step": self.name, "ok": true, "seen": seen }),
            Err(Finding { issue, observed: seen, fix_command: command }) => json!({
                "step": self.name, "ok": false, "seen": seen, "ill": issue.code(), "title": issue.title(), "cure": issue.fix(),
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
        let good = CheckReport { name: "edge", result: Ok("answers".into()) };
        assert_eq!(good.to_string(), "ok      edge       answers");
        let bad = CheckReport {
            name: "upload",
            result: Err(Finding::new(Issue::WrongRegion, "400 PermanentRedirect")),
        };
        assert_eq!(
            bad.to_string(),
            "FAILED  upload     The bucket is in another region than the Worker signs for. (wrong_region)\n        \
             seen       400 PermanentRedirect\n        cure       Correct S3_REGION.\n        more       \
             docs/operating.md, \"Doctor\""
        );
        assert_eq!(bad.to_json()["ill"], "wrong_region");
    }
}
