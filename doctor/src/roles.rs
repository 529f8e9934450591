//! Decides how a look at the roles is told: what `deploy/account roles` has read and judged, as steps before the walk.
//! They come first, since a role that is too narrow is the cause of what a walk would see. Pure.

use serde_json::Value;

use crate::issue::Ill;
use crate::report::{Finding, Step};

const NAME: &str = "roles";

/// The steps of a look; at least one.
///
/// # Errors
/// It is not what `deploy/account roles` prints.
pub fn steps(document: &Value) -> anyhow::Result<Vec<Step>> {
    let list = |name: &str| {
        document[name].as_array().ok_or_else(|| anyhow::anyhow!("the look at the roles has no `{name}`"))
    };
    let mut steps = Vec::new();
    for found in list("findings")? {
        steps.push(wrong(finding(found)?));
    }
    let unseen = texts(list("unseen")?);
    if !unseen.is_empty() {
        steps.push(wrong(Finding::new(Ill::RolesUnseen, unseen.join("; "))));
    }
    let looked = texts(list("looked")?);
    if steps.is_empty() {
        let seen = format!("{} may do what they have to, and nothing more", looked.join(", "));
        steps.push(Step { name: NAME, result: Ok(seen) });
    }
    for remark in texts(list("remarks")?) {
        steps.push(Step { name: NAME, result: Ok(format!("left out of it: {remark}")) });
    }
    Ok(steps)
}

/// Whether a walk after these steps would only see what came of what they found.
pub fn is_cause(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.result.as_ref().is_err_and(|finding| finding.ill == Ill::RoleTooNarrow))
}

fn wrong(finding: Finding) -> Step {
    Step { name: NAME, result: Err(finding) }
}

fn finding(found: &Value) -> anyhow::Result<Finding> {
    let text = |name: &str| {
        found[name].as_str().ok_or_else(|| anyhow::anyhow!("a finding about roles has no `{name}`"))
    };
    let word = text("ill")?;
    let ill = [Ill::RoleTooNarrow, Ill::RoleTooWide].into_iter().find(|ill| ill.word() == word);
    let ill = ill.ok_or_else(|| anyhow::anyhow!("`{word}` is nothing that can be wrong with a role"))?;
    let seen = match found["more"].as_u64().unwrap_or_default() {
        0 => text("seen")?.to_owned(),
        more => format!("{}; and {more} more", text("seen")?),
    };
    Ok(Finding { command: found["cure"].as_str().map(str::to_owned), ..Finding::new(ill, seen) })
}

fn texts(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(findings: &Value, unseen: &[&str]) -> Vec<Step> {
        steps(&json!({ "looked": ["a", "b"], "findings": findings, "unseen": unseen, "remarks": [] }))
            .unwrap()
    }

    #[test]
    fn what_is_well_is_one_line() {
        let steps = look(&json!([]), &[]);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].to_string().starts_with("ok      roles      a, b may do"), "{}", steps[0]);
        assert!(!is_cause(&steps));
    }

    #[test]
    fn a_finding_says_who_may_what_and_the_command_that_mends_it() {
        let found = |ill: &str| json!([{ "ill": ill, "seen": "r may x", "more": 2, "cure": "aws iam y" }]);
        let steps = look(&found("role_too_wide"), &[]);
        let text = steps[0].to_string();
        assert!(
            text.contains("(role_too_wide)") && text.contains("seen       r may x; and 2 more"),
            "{text}"
        );
        assert!(text.contains("\n        command    aws iam y\n"), "{text}");
        assert_eq!(steps[0].to_json()["command"], "aws iam y");
        assert!(!is_cause(&steps), "a walk still says something");
        assert!(is_cause(&look(&found("role_too_narrow"), &[])));
    }

    #[test]
    fn what_was_not_seen_is_nothing_wrong_with_the_deployment() {
        let steps = look(&json!([]), &["iam:GetRole of r"]);
        assert_eq!(steps.len(), 1);
        let text = steps[0].to_string();
        assert!(text.starts_with("UNSEEN") && text.contains("iam:GetRole of r"), "{text}");
        assert!(!is_cause(&steps));
    }

    #[test]
    fn what_is_no_look_is_an_error() {
        assert!(steps(&json!({})).is_err());
        let strange = json!([{ "ill": "no_token", "seen": "x" }]);
        let document = json!({ "looked": [], "findings": strange, "unseen": [], "remarks": [] });
        assert!(steps(&document).is_err());
    }
}
