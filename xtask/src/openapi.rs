//! `cargo xtask openapi`: writes the OpenAPI document and the API reference, which are generated from the edge's types.
//! They are stored in docs/, so that changes of the API are visible in reviews and the page's build needs no compiler.
//! Tests of the edge compare them with the code.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::project::Project;
use crate::run;

/// Path of the document below the repository's root.
pub(crate) const DOCUMENT_PATH: &str = "docs/openapi.json";
/// Path of the reference below the repository's root.
const REFERENCE_PATH: &str = "docs/api.md";

pub(crate) fn write_documents(project: &Project) -> Result<ExitCode> {
    for (argument, path) in [("document", DOCUMENT_PATH), ("reference", REFERENCE_PATH)] {
        let mut command = project.cargo();
        command.args(["run", "--quiet", "--package", "glimpse-edge", "--example", "openapi", "--", argument]);
        let text = run::capture(&mut command)?;
        let file = project.path(path);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        run::print_ok(path, "written");
    }
    Ok(ExitCode::SUCCESS)
}
