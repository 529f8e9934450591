//! Converts the output of `deploy/account roles` into reports.
//!
//! They are reported before the checks, since a role that is too narrow causes the issues that the checks would find.
//! Pure functions.

use serde_json::Value;

use crate::issue::Issue;
use crate::report::{CheckReport, Finding};

const CHECK_NAME: &str = "roles";

/// The reports of a document; at least one.
///
/// # Errors
/// The document is not an output of `deploy/account roles`.
pub fn from_document(document: &Value) -> anyhow::Result<Vec<CheckReport>> {
    let list = |name: &str| {
        document[name]
            .as_array()
            .ok_or_else(|| anyhow::anyhow!("the output of `deploy/account roles` has no `{name}`"))
    };
    let mut reports = Vec::new();
    for value in list("findings")? {
        reports.push(failed_report(parse_finding(value)?));
    }
    let unchecked = strings(list("unseen")?);
    if !unchecked.is_empty() {
        reports.push(failed_report(Finding::new(Issue::RolesUnseen, unchecked.join("; "))));
    }
    let checked_roles = strings(list("checked")?);
    if reports.is_empty() {
        let observed = format!("{} have exactly the required permissions", checked_roles.join(", "));
        reports.push(CheckReport { name: CHECK_NAME, result: Ok(observed) });
    }
    for remark in strings(list("remarks")?) {
        reports.push(CheckReport { name: CHECK_NAME, result: Ok(format!("not checked: {remark}")) });
    }
    Ok(reports)
}

/// Whether further checks would only find consequences of these reports.
pub fn is_cause(steps: &[CheckReport]) -> bool {
    steps.iter().any(|step| step.result.as_ref().is_err_and(|finding| finding.issue == Issue::RoleTooNarrow))
}

fn failed_report(finding: Finding) -> CheckReport {
    CheckReport { name: CHECK_NAME, result: Err(finding) }
}

fn parse_finding(document: &Value) -> anyhow::Result<Finding> {
    let text = |name: &str| {
        document[name]
            .as_str()
            .ok_or_else(|| anyhow::anyhow!("a finding of `deploy/account roles` has no `{name}`"))
    };
    let code = text("issue")?;
    let issue = [Issue::RoleTooNarrow, Issue::RoleTooWide].into_iter().find(|issue| issue.code() == code);
    let issue = issue.ok_or_else(|| anyhow::anyhow!("`{code}` is not an issue of roles"))?;
    let observed = match document["more"].as_u64().unwrap_or_default() {
        0 => text("observed")?.to_owned(),
        more => format!("{}; and {more} more", text("observed")?),
    };
    Ok(Finding {
        fix_command: document["fix_command"].as_str().map(str::to_owned),
        ..Finding::new(issue, observed)
    })
}

fn strings(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reports_of(findings: &Value, unseen: &[&str]) -> Vec<CheckReport> {
        from_document(
            &json!({ "checked": ["a", "b"], "findings": findings, "unseen": unseen, "remarks": [] }),
        )
        .unwrap()
    }

    #[test]
    fn healthy_roles_are_one_line() {
        let steps = reports_of(&json!([]), &[]);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].to_string().starts_with("ok      roles      a, b have"), "{}", steps[0]);
        assert!(!is_cause(&steps));
    }

    #[test]
    fn finding_shows_principal_action_and_command() {
        let found = |issue: &str| json!([{ "issue": issue, "observed": "r may x", "more": 2, "fix_command": "aws iam y" }]);
        let steps = reports_of(&found("role_too_wide"), &[]);
        let text = steps[0].to_string();
        assert!(
            text.contains("(role_too_wide)") && text.contains("observed   r may x; and 2 more"),
            "{text}"
        );
        assert!(text.contains("\n        command    aws iam y\n"), "{text}");
        assert_eq!(steps[0].to_json()["command"], "aws iam y");
        assert!(!is_cause(&steps), "further checks are still useful");
        assert!(is_cause(&reports_of(&found("role_too_narrow"), &[])));
    }

    #[test]
    fn unchecked_roles_are_not_failures() {
        let steps = reports_of(&json!([]), &["iam:GetRole of r"]);
        assert_eq!(steps.len(), 1);
        let text = steps[0].to_string();
        assert!(text.starts_with("UNSEEN") && text.contains("iam:GetRole of r"), "{text}");
        assert!(!is_cause(&steps));
    }

    #[test]
    fn rejects_malformed_roles_document() {
        assert!(from_document(&json!({})).is_err());
        let strange = json!([{ "issue": "no_token", "observed": "x" }]);
        let document = json!({ "checked": [], "findings": strange, "unseen": [], "remarks": [] });
        assert!(from_document(&document).is_err());
    }
}
