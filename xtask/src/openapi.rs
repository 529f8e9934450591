//! `cargo xtask openapi`: writes the OpenAPI document, which is generated from the edge's types. It is stored in docs/,
//! so that changes of the API are visible in reviews and the page's build needs no compiler. A test of the edge
//! compares it with the code.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::project::Project;
use crate::run;

/// Path of the document below the repository's root.
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
