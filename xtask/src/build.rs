//! Decides what is built how: the Worker by worker-build for size, the page by esbuild, the programs of the local cloud in
//! the dev profile. Worker and page are skipped when nothing that goes into them has changed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::fingerprint::{self, Fingerprint};
use crate::openapi;
use crate::path_remap;
use crate::project::Project;
use crate::run::{self, Step};
use crate::setup::Tools;

/// What can be built by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Page,
    Edge,
    Native,
}

pub(crate) const ALL: [Part; 3] = [Part::Page, Part::Edge, Part::Native];

/// The parts that the arguments of `cargo xtask build` name, all if they name none; and where the page may send uploads.
pub(crate) fn arguments(arguments: &[String]) -> Result<(Vec<Part>, Uploads)> {
    let (mut parts, mut uploads) = (Vec::new(), Uploads::Https);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--connect" => {
                let origin = arguments.next().context("--connect needs the origin of the bucket")?;
                uploads = Uploads::Only(origin.clone());
            }
            "page" => parts.push(Part::Page),
            "edge" => parts.push(Part::Edge),
            "native" => parts.push(Part::Native),
            "all" => parts.extend(ALL),
            other => bail!("there is no part `{other}` to build: edge, page, native or all"),
        }
    }
    Ok((if parts.is_empty() { ALL.to_vec() } else { parts }, uploads))
}

/// How the Worker is compiled. In the environment and not in Cargo.toml, whose release profile is the Lambdas'.
const WORKER_PROFILE: [(&str, &str); 4] = [
    // Speed (3) makes half as much again of it and no more requests a second: the time goes into crossings to JavaScript.
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    // The names of functions are a quarter of the size.
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// The most bytes of wasm with gzip: 300 KiB. Cloudflare allows 3 MB on its free plan,
/// <https://developers.cloudflare.com/workers/platform/limits/#worker-size>; start-up and every cold place pay for each.
const MAX_ZIPPED_BYTES: usize = 300 * 1024;

/// Where the page may send uploads: its content security policy says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uploads {
    /// Any https host: the bucket is not known.
    Https,
    /// The origin of one bucket: what `deploy` builds.
    Only(String),
    /// This machine too, where the local S3 speaks plain HTTP.
    Loopback,
}

/// Builds each of the parts once, whatever their order.
pub(crate) fn run(project: &Project, tools: &Tools, parts: &[Part], uploads: &Uploads) -> Result<()> {
    run::heading("build");
    for part in ALL.iter().filter(|part| parts.contains(part)) {
        match part {
            Part::Page => page(project, uploads)?,
            Part::Edge => edge(project, tools)?,
            Part::Native => native(project)?,
        }
    }
    Ok(())
}

/// Whether something has been built for every part, up to date or not. `checkout` is the folder that this was started in:
/// wrangler's is the checkout. Cargo looks after the native part itself, so it always has to be asked.
pub(crate) fn are_there(parts: &[Part], checkout: &Path) -> bool {
    parts.iter().all(|part| match part {
        Part::Page => checkout.join("web/dist").exists(),
        Part::Edge => checkout.join("edge/build/index.js").exists(),
        Part::Native => false,
    })
}

fn edge(project: &Project, tools: &Tools) -> Result<()> {
    let output = project.path("edge/build");
    let stamp = output.join("glimpse-stamp");
    let mut inputs = Fingerprint::new().with(tools.wasm.identity()?.as_bytes());
    for (name, value) in WORKER_PROFILE {
        inputs = inputs.with(name.as_bytes()).with(value.as_bytes());
    }
    inputs = inputs.with(b"remapped");
    // Cargo.lock and package-lock.json also fix the versions of the tools.
    for path in ["edge", "contract", "Cargo.toml", "Cargo.lock", "package-lock.json"] {
        let not_inputs =
            ["edge/build", "edge/tests", "edge/examples", "edge/src/openapi"].map(|path| project.path(path));
        inputs = inputs.with_path(&project.path(path), &not_inputs)?;
    }
    if fingerprint::is_fresh(&stamp, inputs) && output.join("index.js").exists() {
        run::found("Worker", format_args!("{}; nothing has changed", size(&output)?.0));
        return Ok(());
    }
    fingerprint::forget(&stamp)?;
    let mut command = Command::new(project.tool("worker-build"));
    command
        .current_dir(project.path("edge"))
        .arg("--release")
        // Two compilers in one target folder would throw each other's work away.
        .env("CARGO_TARGET_DIR", project.target.join("wasm-build"))
        .env("WASM_BINDGEN_BIN", project.tool("wasm-bindgen"))
        .env("WASM_OPT_BIN", project.npm_program("wasm-opt"))
        .env("ESBUILD_BIN", project.npm_program("esbuild"))
        // Where something panicked is in the Worker; where that lies on this machine is not.
        .env("CARGO_ENCODED_RUSTFLAGS", path_remap::flags(project)?)
        .envs(WORKER_PROFILE);
    tools.wasm.apply(&mut command);
    Step::new("Worker", project.log("edge"))
        .run(&mut command, "Correct what the compiler says above, then start this again.")?;
    let (words, zipped) = size(&output)?;
    run::note(&words);
    check_size(zipped)?;
    fingerprint::write(&stamp, inputs)
}

fn check_size(zipped: Option<usize>) -> Result<()> {
    match zipped {
        Some(bytes) if bytes > MAX_ZIPPED_BYTES => {
            bail!("the Worker has {bytes} bytes with gzip, and may have {MAX_ZIPPED_BYTES}")
        }
        _ => Ok(()),
    }
}

/// The Worker's size in words, plain and as Cloudflare counts it against the limit of a plan; and the latter, where there
/// is a gzip.
fn size(output: &Path) -> Result<(String, Option<usize>)> {
    let wasm = output.join("index_bg.wasm");
    let plain = fs::metadata(&wasm).with_context(|| format!("no {}", wasm.display()))?.len();
    let zipped = Command::new("gzip").args(["-9", "-c"]).arg(&wasm).stderr(Stdio::null()).output();
    Ok(match zipped {
        Ok(zipped) if zipped.status.success() => {
            let bytes = zipped.stdout.len();
            (format!("{plain} bytes of wasm, {bytes} with gzip"), Some(bytes))
        }
        _ => (format!("{plain} bytes of wasm"), None),
    })
}

fn page(project: &Project, uploads: &Uploads) -> Result<()> {
    let output = project.path("web/dist");
    // Everything in the output folder is served to the world; the stamp is better off elsewhere.
    let stamp = project.path("node_modules/.glimpse-page-stamp");
    let arguments: &[&str] = match uploads {
        Uploads::Https => &["web/build.mjs"],
        Uploads::Only(origin) => &["web/build.mjs", "--connect", origin],
        Uploads::Loopback => &["web/build.mjs", "--dev"],
    };
    let inputs = Fingerprint::new()
        .with(arguments.join(" ").as_bytes())
        .with_path(&project.path("web"), std::slice::from_ref(&output))?
        .with_path(&project.path(openapi::FILE), &[])?
        .with_path(&project.path("package-lock.json"), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && output.exists() {
        run::found("page", "nothing has changed");
        return Ok(());
    }
    fingerprint::forget(&stamp)?;
    Step::new("page", project.log("page")).run(
        project.npm_command("node").args(arguments),
        "Correct what esbuild says above, then start this again.",
    )?;
    fingerprint::write(&stamp, inputs)
}

fn native(project: &Project) -> Result<()> {
    Step::new("local cloud and Lambdas", project.log("native")).run(
        project.cargo().args([
            "build",
            "--package",
            "glimpse-local",
            "--package",
            "glimpse-backend",
            "--bins",
        ]),
        "Correct what the compiler says above, then start this again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_too_large_is_not_built() {
        assert!(check_size(Some(MAX_ZIPPED_BYTES)).is_ok() && check_size(None).is_ok());
        let error = check_size(Some(MAX_ZIPPED_BYTES + 1)).unwrap_err().to_string();
        assert_eq!(error, "the Worker has 307201 bytes with gzip, and may have 307200");
    }

    #[test]
    fn the_arguments_name_parts() {
        let arguments = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            super::arguments(&words)
        };
        let parts = |text: &str| arguments(text).map(|(parts, _)| parts);
        assert_eq!(parts("").unwrap(), ALL);
        assert_eq!(parts("all").unwrap(), ALL);
        assert_eq!(parts("edge page").unwrap(), [Part::Edge, Part::Page]);
        let (one, uploads) = arguments("page --connect https://b.s3.eu-central-1.amazonaws.com").unwrap();
        assert_eq!(one, [Part::Page]);
        assert_eq!(uploads, Uploads::Only("https://b.s3.eu-central-1.amazonaws.com".into()));
        assert_eq!(arguments("page").unwrap().1, Uploads::Https);
        assert!(arguments("page --connect").is_err());
        let error = parts("edge layer").unwrap_err().to_string();
        assert_eq!(error, "there is no part `layer` to build: edge, page, native or all");
    }
}
