//! Decides how a step is told, to people and to machines.

use std::fmt;

use serde_json::{Value, json};

use crate::issue::Ill;

/// What a step found wrong, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub ill: Ill,
    /// What was seen. No token, signature or secret is in it.
    pub seen: String,
    /// The command that mends just this, where there is one.
    pub command: Option<String>,
}

impl Finding {
    /// What is wrong, and what was seen.
    pub fn new(ill: Ill, seen: impl Into<String>) -> Self {
        Self { ill, seen: seen.into(), command: None }
    }

    /// What it is called: that something was not seen is no failure of what is looked at.
    fn kind(&self) -> &'static str {
        if self.ill == Ill::RolesUnseen { "UNSEEN" } else { "FAILED" }
    }
}

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub name: &'static str,
    /// What was seen, or what is wrong.
    pub result: Result<String, Finding>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(seen) => write!(f, "ok      {:<10} {seen}", self.name),
            Err(finding @ Finding { ill, seen, command }) => {
                write!(f, "{}  {:<10} {} ({})", finding.kind(), self.name, ill.title(), ill.word())?;
                write!(f, "\n        seen       {seen}\n        cure       {}", ill.cure())?;
                if let Some(command) = command {
                    write!(f, "\n        command    {command}")?;
                }
                write!(f, "\n        more       docs/operating.md, \"Doctor\"")
            }
        }
    }
}

impl Step {
    /// For machines.
    pub fn to_json(&self) -> Value {
        match &self.result {
            Ok(seen) => json!({ "step": self.name, "ok": true, "seen": seen }),
            Err(Finding { ill, seen, command }) => json!({
                "step": self.name, "ok": false, "seen": seen, "ill": ill.word(), "title": ill.title(), "cure": ill.cure(),
                "command": command,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_was_seen_and_what_mends_it() {
        let good = Step { name: "edge", result: Ok("answers".into()) };
        assert_eq!(good.to_string(), "ok      edge       answers");
        let bad =
            Step { name: "upload", result: Err(Finding::new(Ill::WrongRegion, "400 PermanentRedirect")) };
        assert_eq!(
            bad.to_string(),
            "FAILED  upload     The bucket is in another region than the Worker signs for. (wrong_region)\n        \
             seen       400 PermanentRedirect\n        cure       Correct S3_REGION.\n        more       \
             docs/operating.md, \"Doctor\""
        );
        assert_eq!(bad.to_json()["ill"], "wrong_region");
    }
}
