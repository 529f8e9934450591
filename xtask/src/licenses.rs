//! Checks the license of each package in Cargo.lock against the list in deny.toml.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use spdx::{Expression, ParseMode};

use crate::project::Project;

/// Checks every package of Cargo.lock, for all targets.
///
/// # Errors
/// Lists each package whose license is not on the list, with its license.
pub(crate) fn check(project: &Project) -> Result<usize> {
    let allow_list = parse_allow_list(&fs::read_to_string(project.path("deny.toml")).context("deny.toml")?)?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(&project.root)
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("the output of cargo metadata has no packages")?;
    let rejected: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let license = package["license"].as_str().unwrap_or("none");
            (!is_allowed(license, &allow_list))
                .then(|| format!("{} {}: {license}", package["name"], package["version"]))
        })
        .collect();
    if !rejected.is_empty() {
        bail!("licenses that deny.toml does not allow:\n  {}", rejected.join("\n  "));
    }
    Ok(packages.len())
}

/// Parses the strings in deny.toml's `allow = [ … ]`.
fn parse_allow_list(text: &str) -> Result<Vec<String>> {
    let list = text.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list);
    let list = list.context("deny.toml has no list `allow`")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Whether the SPDX expression can be satisfied with allowed licenses only.
fn is_allowed(license: &str, allow_list: &[String]) -> bool {
    Expression::parse_mode(license, ParseMode::LAX)
        .is_ok_and(|expression| expression.evaluate(|required| allow_list.contains(&required.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_expression_needs_one_allowed_branch() {
        let allowed =
            parse_allow_list("x = 1\nallow = [\n \"MIT\",\n \"Apache-2.0 WITH LLVM-exception\" ]").unwrap();
        for (licence, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0-only", true),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT AND GPL-3.0-only", false),
            ("AGPL-3.0-or-later", false),
            ("Apache-2.0", false),
            ("none", false),
        ] {
            assert_eq!(is_allowed(licence, &allowed), expected, "{licence}");
        }
    }
}
