//! `cargo xtask package`: builds and packages a release: the Lambdas for AL2023's C library, the layer, the Worker, the
//! command-line tool, checksums and an SBOM. The same sources, compiler and architecture produce the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{Arg, Parser, ValueExt as _};
use serde_json::Value;

use crate::build::{self, BuildPlan, Component, ConnectSrc};
use crate::path_remap;
use crate::project::{self, Project};
use crate::run::{self, LoggedStep};
use crate::setup::{self, Purpose};
use crate::worker::Optimization;

/// The C library of `provided.al2023` is 2.34, <https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html>.
const GLIBC_VERSION: &str = "2.34";
/// The crates whose programs are part of a release.
const LAMBDAS_CRATE: &str = "glimpse-backend";
const WORKER_CRATE: &str = "glimpse-edge";
const CLI_CRATE: &str = "glimpse-cli";
/// The command-line tool's program.
const CLI_PROGRAM: &str = "glimpse";
/// Name of the layer's package.
const LAYER: &str = "layer";

/// A CPU architecture of Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    X86,
    Arm,
}

impl Arch {
    /// The architecture's name in Lambda and in the layer's scripts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-gnu",
            Self::Arm => "aarch64-unknown-linux-gnu",
        }
    }

    /// The target of a program that is linked statically and runs on every distribution.
    fn static_triple(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-musl",
            Self::Arm => "aarch64-unknown-linux-musl",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "x86_64" => Ok(Self::X86),
            "arm64" | "aarch64" => Ok(Self::Arm),
            other => bail!("unknown architecture `{other}`: x86_64 or arm64"),
        }
    }
}

/// `cargo xtask package [x86_64|arm64]…`; without a name, both.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let arches = parse_arguments(arguments)?;
    let folder = build_all(project, &arches, Scope::Release)?;
    println!("\nThe packages are in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// The architectures to package, by default both.
fn parse_arguments(arguments: &[String]) -> Result<Vec<Arch>> {
    let mut arches = Vec::new();
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) => arches.push(Arch::parse(&name.string()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(if arches.is_empty() { vec![Arch::X86, Arch::Arm] } else { arches })
}

/// What is packaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What a deployment consists of.
    Deployment,
    /// Also the command-line tool.
    Release,
}

/// Builds and packages everything for the architectures, and returns the folder.
pub(crate) fn build_all(project: &Project, arches: &[Arch], scope: Scope) -> Result<PathBuf> {
    let tools = setup::run(project, Purpose::Build)?;
    let python = setup::python_for(project, setup::PythonTask::Building)?;
    let folder = project.target.join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    // Checked first, because otherwise a missing target would fail after minutes of building.
    for &arch in arches {
        ensure_target(project, arch)?;
    }
    if arches.contains(&Arch::Arm) {
        setup::ensure_arm_compilers(project)?;
    }
    for &arch in arches {
        package_lambdas(project, &python, arch, &folder)?;
        package_layer(project, arch, &folder)?;
        if scope == Scope::Release {
            package_cli(project, &python, arch, &folder)?;
        }
    }
    let plan = BuildPlan {
        components: &[Component::Page, Component::Edge],
        connect_src: &ConnectSrc::AnyHttps,
        optimization: Optimization::Size,
    };
    build::run(project, &tools, &plan)?;
    run::print_heading("package");
    package_worker(project, &python, &folder)?;
    write_sbom(project, &python, &folder)?;
    check_reproducible(project, &python, &folder)?;
    print!("{}", run_pack(project, &python, ["sums".as_ref(), folder.as_os_str()])?);
    Ok(folder)
}

/// The folder of the existing packages, after a check of their files against `SHA256SUMS`.
pub(crate) fn verify_existing(project: &Project) -> Result<PathBuf> {
    let folder = project.target.join("package");
    let sums = folder.join("SHA256SUMS");
    ensure!(sums.exists(), "{} does not exist: run `cargo xtask package`", sums.display());
    run::capture(Command::new("sha256sum").current_dir(&folder).args(["--check", "--strict", "SHA256SUMS"]))
        .context("the packages do not match their checksums")?;
    Ok(folder)
}

/// Whether Rust's standard library for the target is installed.
fn has_target(project: &Project, triple: &str) -> bool {
    let libraries = run::capture(Command::new("rustc").current_dir(&project.root).args([
        "--print",
        "target-libdir",
        "--target",
        triple,
    ]));
    libraries.is_ok_and(|folder| Path::new(folder.trim()).exists())
}

/// Ensures that the standard library for the architecture is installed.
fn ensure_target(project: &Project, arch: Arch) -> Result<()> {
    let triple = arch.triple();
    if has_target(project, triple) {
        run::print_ok("rust for Lambda", triple);
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(&project.root).args(["target", "add", triple]);
    let other_arch = match arch {
        Arch::X86 => "arm64",
        Arch::Arm => "x86_64",
    };
    LoggedStep::new(format!("rustup target add {triple}"), project.log_path("rustup-target"))
        .with_timeout(std::time::Duration::from_mins(2))
        .run(
            &mut rustup,
            &format!(
                "Rust's standard library for {} cannot be installed on this machine: package only {other_arch}.",
                arch.name()
            ),
        )
}

/// Names of the packages, without the architecture: each Lambda's program, and the layer.
pub(crate) fn package_names(project: &Project) -> Result<Vec<String>> {
    let mut names = lambda_programs(project)?;
    names.push(LAYER.to_owned());
    Ok(names)
}

/// Names of the Lambdas' programs.
fn lambda_programs(project: &Project) -> Result<Vec<String>> {
    let metadata = run::capture(project.cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("the output of cargo metadata has no packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == LAMBDAS_CRATE)
        .context("the output of cargo metadata has no Lambda package")?;
    let targets = package["targets"].as_array().context("the Lambda package has no targets")?;
    let names = targets.iter().filter(|target| target["kind"][0] == "bin");
    Ok(names.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect())
}

fn package_lambdas(project: &Project, python: &Path, arch: Arch, folder: &Path) -> Result<()> {
    let bin = python.parent().context("the path of Python has no parent folder")?;
    let target = project.target.join("package-build");
    let mut command = Command::new(bin.join("cargo-zigbuild"));
    command
        .current_dir(&project.root)
        .args(["zigbuild", "--release", "--locked", "--bins", "--package", LAMBDAS_CRATE, "--target"])
        .arg(format!("{}.{GLIBC_VERSION}", arch.triple()))
        .env("PATH", project::path_with(bin))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", path_remap::rustflags(project)?)
        .env("SOURCE_DATE_EPOCH", "0");
    LoggedStep::new(format!("Lambdas for {}, release", arch.name()), project.log_path("package-lambdas"))
        .run(&mut command, "Fix the errors above, then run this again.")?;
    let binaries = target.join(arch.triple()).join("release");
    for name in lambda_programs(project)? {
        let out = folder.join(format!("{name}-{}.zip", arch.name()));
        let entry = format!("bootstrap={}", binaries.join(&name).display());
        run_pack(project, python, ["zip".as_ref(), out.as_os_str(), entry.as_ref()])?;
    }
    Ok(())
}

/// Packages the command-line tool as one static program. It is left out where the standard library for the target is
/// not installed.
fn package_cli(project: &Project, python: &Path, arch: Arch, folder: &Path) -> Result<()> {
    let triple = arch.static_triple();
    if !has_target(project, triple) {
        run::print_note(&format!("{CLI_PROGRAM} is left out: `rustup target add {triple}` adds its target"));
        return Ok(());
    }
    let bin = python.parent().context("the path of Python has no parent folder")?;
    let target = project.target.join("package-build");
    let mut command = Command::new(bin.join("cargo-zigbuild"));
    command
        .current_dir(&project.root)
        .args(["zigbuild", "--release", "--locked", "--bins", "--package", CLI_CRATE, "--target", triple])
        .env("PATH", project::path_with(bin))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", path_remap::rustflags(project)?)
        .env("SOURCE_DATE_EPOCH", "0");
    let title = format!("{CLI_PROGRAM} for {}, release", arch.name());
    LoggedStep::new(title, project.log_path("package-cli"))
        .run(&mut command, "Fix the errors above, then run this again.")?;
    let program = target.join(triple).join("release").join(CLI_PROGRAM);
    fs::copy(&program, folder.join(format!("{CLI_PROGRAM}-{}", arch.name())))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(())
}

fn package_layer(project: &Project, arch: Arch, folder: &Path) -> Result<()> {
    let script = |arguments: &[&str]| {
        let mut command = Command::new(project.path("layer/build.sh"));
        command.current_dir(&project.root).args(["--arch", arch.name()]).args(arguments);
        command.env("GLIMPSE_TOOLS_DIR", &project.cache);
        command
    };
    LoggedStep::new(format!("layer for {}", arch.name()), project.log_path("package-layer"))
        .run(&mut script(&[]), "Fix the errors above, then run this again.")?;
    let layer_folder = run::capture(&mut script(&["--where"]))?;
    let name = arch.name();
    for (from, to) in [
        (format!("glimpse-ffmpeg-layer-{name}.zip"), format!("{LAYER}-{name}.zip")),
        ("sbom.cdx.json".to_owned(), format!("{LAYER}-{name}-sbom.cdx.json")),
    ] {
        fs::copy(Path::new(layer_folder.trim()).join(&from), folder.join(to))
            .with_context(|| format!("cannot copy {from}"))?;
    }
    Ok(())
}

/// Packages the Worker as bundled by wrangler, and the page.
fn package_worker(project: &Project, python: &Path, folder: &Path) -> Result<()> {
    let bundle = project.target.join("package-worker");
    if bundle.exists() {
        fs::remove_dir_all(&bundle)?;
    }
    let mut command = project.npm_command("wrangler");
    command.args(["deploy", "--dry-run", "--outdir"]).arg(&bundle).env("GLIMPSE_PREBUILT", "1");
    LoggedStep::new("Worker's bundle", project.log_path("package-worker"))
        .run(&mut command, "Fix the errors of wrangler above, then run this again.")?;
    // Remove wrangler's README and the source maps: they contain paths of this machine.
    for entry in fs::read_dir(&bundle)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "map" || extension == "md") {
            fs::remove_file(&path)?;
        }
    }
    let out = folder.join("worker.zip");
    let (code, page) = (format!("worker={}", bundle.display()), project.path("web/dist"));
    let page = format!("page={}", page.display());
    run_pack(project, python, ["zip".as_ref(), out.as_os_str(), code.as_ref(), page.as_ref()])?;
    Ok(())
}

fn write_sbom(project: &Project, python: &Path, folder: &Path) -> Result<()> {
    let metadata = project.target.join("package-metadata.json");
    let metadata_json =
        run::capture(project.cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    fs::write(&metadata, metadata_json)?;
    let (out, lock) = (folder.join("sbom.cdx.json"), project.path("Cargo.lock"));
    let arguments = [
        "sbom".as_ref(),
        out.as_os_str(),
        metadata.as_os_str(),
        lock.as_os_str(),
        LAMBDAS_CRATE.as_ref(),
        WORKER_CRATE.as_ref(),
        CLI_CRATE.as_ref(),
    ];
    run::print_note(run_pack(project, python, arguments)?.trim());
    Ok(())
}

/// Checks that the packages contain nothing that depends on the machine or the date.
fn check_reproducible(project: &Project, python: &Path, folder: &Path) -> Result<()> {
    let private_folders = path_remap::private_folders(project)?;
    let mut arguments = vec!["proof".as_ref(), folder.as_os_str()];
    arguments.extend(private_folders.iter().map(|folder| folder.as_os_str()));
    run::print_note(run_pack(project, python, arguments)?.trim());
    Ok(())
}

fn run_pack<'a>(
    project: &Project,
    python: &Path,
    arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>,
) -> Result<String> {
    let mut command = Command::new(python);
    command.arg(project.path("deploy/pack")).args(arguments).stderr(Stdio::inherit());
    let output = command.output().context("cannot start deploy/pack")?;
    ensure!(output.status.success(), "deploy/pack failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn arch_names_match_lambda() {
        for arch in [Arch::X86, Arch::Arm] {
            assert_eq!(Arch::parse(arch.name()).unwrap(), arch);
        }
        assert!(Arch::parse("mips").is_err());
    }

    #[test]
    fn rejects_packages_with_local_paths() {
        let project = Project::discover().unwrap();
        let folder = env::temp_dir().join(format!("glimpse-proof-{}", std::process::id()));
        fs::create_dir_all(folder.join("out")).unwrap();
        let proof = |content: &str| {
            let (program, out) = (folder.join("program"), folder.join("out/preview-arm64.zip"));
            fs::write(&program, content).unwrap();
            let entry = format!("bootstrap={}", program.display());
            let python = Path::new("python3");
            run_pack(&project, python, ["zip".as_ref(), out.as_os_str(), entry.as_ref()]).unwrap();
            let out = folder.join("out");
            run_pack(&project, python, ["proof".as_ref(), out.as_os_str(), "/home/ada".as_ref()])
        };
        assert!(proof("/crates/serde/src/lib.rs, /home/adam/lib.rs").is_ok());
        assert!(proof("thread panicked at /home/ada/.cargo/lib.rs").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
