//! `cargo xtask build`: builds the Worker with worker-build, optimized for size, the page with esbuild, and the
//! programs of the local cloud in the dev profile. Worker and page are skipped if their inputs have not changed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use lexopt::{Arg, Parser, ValueExt as _};

use crate::fingerprint::{self, Fingerprint};
use crate::openapi;
use crate::path_remap;
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::Toolset;

/// A component that can be built separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Page,
    Edge,
    Native,
}

pub(crate) const ALL: [Component; 3] = [Component::Page, Component::Edge, Component::Native];

/// Parses the arguments of `cargo xtask build`: the components, all by default, and the page's upload targets.
pub(crate) fn parse_arguments(arguments: &[String]) -> Result<(Vec<Component>, ConnectSrc)> {
    let (mut components, mut connect_src) = (Vec::new(), ConnectSrc::AnyHttps);
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("connect") => {
                let origin = parser.value().context("--connect needs the origin of the bucket")?;
                connect_src = ConnectSrc::Bucket(origin.string()?);
            }
            Arg::Value(name) => match name.string()?.as_str() {
                "page" => components.push(Component::Page),
                "edge" => components.push(Component::Edge),
                "native" => components.push(Component::Native),
                "all" => components.extend(ALL),
                other => bail!("unknown part `{other}`: edge, page, native or all"),
            },
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((if components.is_empty() { ALL.to_vec() } else { components }, connect_src))
}

/// Cargo profile of the Worker. It is set in the environment, because the release profile in Cargo.toml is the
/// Lambdas'.
const WORKER_PROFILE: [(&str, &str); 4] = [
    // Optimizing for speed (3) makes it half as large again, without more requests per second: the time is spent in
    // calls to JavaScript.
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    // Function names are a quarter of the size.
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// Maximum size of the wasm with gzip, in bytes: 300 KiB. Cloudflare allows 3 MB on its free plan,
/// <https://developers.cloudflare.com/workers/platform/limits/#worker-size>, but each byte slows down start-up and
/// every cold location.
const MAX_GZIP_BYTES: usize = 300 * 1024;

/// Upload targets in the page's content security policy (`connect-src`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectSrc {
    /// Any https host: the bucket is unknown.
    AnyHttps,
    /// The origin of one bucket, used by `deploy`.
    Bucket(String),
    /// Also this machine, where the local S3 uses plain HTTP.
    Loopback,
}

/// Builds each of the components once, regardless of their order.
pub(crate) fn run(
    project: &Project,
    tools: &Toolset,
    components: &[Component],
    connect_src: &ConnectSrc,
) -> Result<()> {
    run::print_heading("build");
    for component in ALL.iter().filter(|part| components.contains(part)) {
        match component {
            Component::Page => build_page(project, connect_src)?,
            Component::Edge => build_edge(project, tools)?,
            Component::Native => build_native(project)?,
        }
    }
    Ok(())
}

/// Whether a build output of every component exists, even if it is outdated. `checkout` is the working directory:
/// wrangler runs in the checkout. Cargo tracks the inputs of the native component, so it must always run.
pub(crate) fn are_built(components: &[Component], checkout: &Path) -> bool {
    components.iter().all(|part| match part {
        Component::Page => checkout.join("web/dist").exists(),
        Component::Edge => checkout.join("edge/build/index.js").exists(),
        Component::Native => false,
    })
}

fn build_edge(project: &Project, tools: &Toolset) -> Result<()> {
    let output = project.path("edge/build");
    let stamp = output.join("glimpse-stamp");
    let mut inputs = Fingerprint::new().with_bytes(tools.wasm.version_text()?.as_bytes());
    for (name, value) in WORKER_PROFILE {
        inputs = inputs.with_bytes(name.as_bytes()).with_bytes(value.as_bytes());
    }
    inputs = inputs.with_bytes(b"remapped");
    // Cargo.lock and package-lock.json also fix the versions of the tools.
    for path in ["edge", "contract", "Cargo.toml", "Cargo.lock", "package-lock.json"] {
        let not_inputs =
            ["edge/build", "edge/tests", "edge/examples", "edge/src/openapi"].map(|path| project.path(path));
        inputs = inputs.with_path(&project.path(path), &not_inputs)?;
    }
    if fingerprint::is_fresh(&stamp, inputs) && output.join("index.js").exists() {
        run::print_ok("Worker", format_args!("{}; unchanged", measure_size(&output)?.0));
        return Ok(());
    }
    fingerprint::invalidate(&stamp)?;
    let mut command = Command::new(project.tool("worker-build"));
    command
        .current_dir(project.path("edge"))
        .arg("--release")
        // Two compilers in one target folder would invalidate each other's outputs.
        .env("CARGO_TARGET_DIR", project.target.join("wasm-build"))
        .env("WASM_BINDGEN_BIN", project.tool("wasm-bindgen"))
        .env("WASM_OPT_BIN", project.npm_program("wasm-opt"))
        .env("ESBUILD_BIN", project.npm_program("esbuild"))
        // The Worker contains the source locations of panics, but no paths of this machine.
        .env("CARGO_ENCODED_RUSTFLAGS", path_remap::rustflags(project)?)
        .envs(WORKER_PROFILE);
    tools.wasm.apply(&mut command);
    LoggedStep::new("Worker", project.log_path("edge"))
        .run(&mut command, "Fix the errors above, then run this again.")?;
    let (size_text, gzip_bytes) = measure_size(&output)?;
    run::print_note(&size_text);
    check_size(gzip_bytes)?;
    fingerprint::write_stamp(&stamp, inputs)
}

fn check_size(gzip_bytes: Option<usize>) -> Result<()> {
    match gzip_bytes {
        Some(bytes) if bytes > MAX_GZIP_BYTES => {
            bail!("the Worker has {bytes} bytes with gzip; the limit is {MAX_GZIP_BYTES}")
        }
        _ => Ok(()),
    }
}

/// The Worker's size as text, uncompressed and with gzip, which counts against the limit of a Cloudflare plan; and the
/// latter in bytes, if a gzip program exists.
fn measure_size(output: &Path) -> Result<(String, Option<usize>)> {
    let wasm = output.join("index_bg.wasm");
    let plain = fs::metadata(&wasm).with_context(|| format!("cannot read {}", wasm.display()))?.len();
    let gzip = Command::new("gzip").args(["-9", "-c"]).arg(&wasm).stderr(Stdio::null()).output();
    Ok(match gzip {
        Ok(zipped) if zipped.status.success() => {
            let bytes = zipped.stdout.len();
            (format!("{plain} bytes of wasm, {bytes} with gzip"), Some(bytes))
        }
        _ => (format!("{plain} bytes of wasm"), None),
    })
}

fn build_page(project: &Project, connect_src: &ConnectSrc) -> Result<()> {
    let output = project.path("web/dist");
    // The output folder is served publicly, so the stamp is stored elsewhere.
    let stamp = project.path("node_modules/.glimpse-page-stamp");
    let arguments: &[&str] = match connect_src {
        ConnectSrc::AnyHttps => &["web/build.mjs"],
        ConnectSrc::Bucket(origin) => &["web/build.mjs", "--connect", origin],
        ConnectSrc::Loopback => &["web/build.mjs", "--dev"],
    };
    let inputs = Fingerprint::new()
        .with_bytes(arguments.join(" ").as_bytes())
        .with_path(&project.path("web"), std::slice::from_ref(&output))?
        .with_path(&project.path("clients/js/src"), &[])?
        .with_path(&project.path(openapi::DOCUMENT_PATH), &[])?
        .with_path(&project.path("package-lock.json"), &[])?;
    if fingerprint::is_fresh(&stamp, inputs) && output.exists() {
        run::print_ok("page", "unchanged");
        return Ok(());
    }
    fingerprint::invalidate(&stamp)?;
    LoggedStep::new("page", project.log_path("page")).run(
        project.npm_command("node").args(arguments),
        "Fix the errors of esbuild above, then run this again.",
    )?;
    fingerprint::write_stamp(&stamp, inputs)
}

fn build_native(project: &Project) -> Result<()> {
    LoggedStep::new("local cloud and Lambdas", project.log_path("native")).run(
        project.cargo().args([
            "build",
            "--package",
            "glimpse-local",
            "--package",
            "glimpse-backend",
            "--bins",
        ]),
        "Fix the errors above, then run this again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_oversized_worker() {
        assert!(check_size(Some(MAX_GZIP_BYTES)).is_ok() && check_size(None).is_ok());
        let error = check_size(Some(MAX_GZIP_BYTES + 1)).unwrap_err().to_string();
        assert_eq!(error, "the Worker has 307201 bytes with gzip; the limit is 307200");
    }

    #[test]
    fn parses_components() {
        let arguments = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            super::parse_arguments(&words)
        };
        let parts = |text: &str| arguments(text).map(|(parts, _)| parts);
        assert_eq!(parts("").unwrap(), ALL);
        assert_eq!(parts("all").unwrap(), ALL);
        assert_eq!(parts("edge page").unwrap(), [Component::Edge, Component::Page]);
        let (one, uploads) = arguments("page --connect https://b.s3.eu-central-1.amazonaws.com").unwrap();
        assert_eq!(one, [Component::Page]);
        assert_eq!(uploads, ConnectSrc::Bucket("https://b.s3.eu-central-1.amazonaws.com".into()));
        assert_eq!(arguments("page").unwrap().1, ConnectSrc::AnyHttps);
        for (wrong, message) in [
            ("page --connect", "--connect needs the origin of the bucket"),
            ("page --fast", "invalid option '--fast'"),
            ("-x", "invalid option '-x'"),
        ] {
            assert_eq!(arguments(wrong).unwrap_err().to_string(), message);
        }
        let error = parts("edge layer").unwrap_err().to_string();
        assert_eq!(error, "unknown part `layer`: edge, page, native or all");
    }
}
