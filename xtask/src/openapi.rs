//! Decides where the OpenAPI document lies that the edge's own types make: in docs/, so that a change of the API is seen in
//! a review, and the page's build needs no compiler. A test of the edge holds it against the code.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::project::Project;
use crate::run;

/// Where it lies below the project's root.
pub(crate) const DOCUMENT_PATH: &str = "docs/openapi.json";

pub(crate) fn write_document(project: &Project) -> Result<ExitCode> {
    let mut command = project.cargo();
    command.args(["run", "--quiet", "--package", "glimpse-edge", "--example", "openapi"]);
    let text = run::capture(&mut command)?;
    let path = project.path(DOCUMENT_PATH);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    run::print_ok(DOCUMENT_PATH, "written");
    Ok(ExitCode::SUCCESS)
}
