//! Builds the Worker into `edge/build`: compiles it for wasm32, generates its JavaScript with wasm-bindgen (`xtask-wasm`),
//! optimizes the module with wasm-opt and bundles the JavaScript with esbuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::fingerprint::{self, Fingerprint};
use crate::path_remap;
use crate::project::Project;
use crate::run::{self, LoggedStep};
use crate::setup::wasm::{TARGET, Toolchain};

/// The package of the program that generates the JavaScript.
pub(crate) const GENERATOR: &str = "xtask-wasm";
const PACKAGE: &str = "glimpse-edge";
const OUTPUT: &str = "edge/build";
/// The two files of the Worker; `edge/entry.js` imports the first.
const FILES: [&str; 2] = ["index.js", "index_bg.wasm"];
const ADVICE: &str = "Fix the errors above, then run this again.";

/// For what the Worker is optimized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Optimization {
    /// The size of the deployed Worker.
    Size,
    /// The time of the build, for development on one machine.
    BuildTime,
}

/// Settings of the deployed Worker's cargo profile. They are set in the environment, because the release profile in
/// Cargo.toml is the Lambdas'.
const SIZE_PROFILE: [(&str, &str); 4] = [
    // Optimizing for speed (3) makes it half as large again, without more requests per second: the time is spent in
    // calls to JavaScript.
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    // Function names are a quarter of the size.
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// The same for the quick build. Link-time optimization saves time here: dependencies are not compiled to code that the
/// Worker does not use.
const BUILD_TIME_PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// Arguments of wasm-opt for the deployed Worker.
const WASM_OPT: [&str; 14] = [
    "-Oz",
    // Repeats the passes: later ones find what earlier ones uncovered.
    "--converge",
    // The lowest kilobyte is the end of the stack, so no pointer wraps around into it, and constants are folded into the
    // offsets of loads.
    "--low-memory-unused",
    "--strip-debug",
    "--strip-producers",
    "--strip-target-features",
    // The features of rustc's wasm32-unknown-unknown, and exceptions, which wasm-bindgen's wrappers catch. With all
    // features, wasm-opt would use some that workerd does not support.
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-reference-types",
    "--enable-exception-handling",
    "--debuginfo",
];

/// Maximum size of the wasm with gzip, in bytes: 300 KiB. Cloudflare allows 3 MB on its free plan,
/// <https://developers.cloudflare.com/workers/platform/limits/#worker-size>, but each byte slows down start-up and
/// every cold location.
const MAX_GZIP_BYTES: usize = 300 * 1024;

fn is_built(project: &Project) -> bool {
    FILES.iter().all(|file| project.path(OUTPUT).join(file).exists())
}

/// A build of the Worker, in two steps, so that the first can run beside the installation of npm's packages.
#[derive(Debug)]
pub(crate) struct WorkerBuild<'a> {
    project: &'a Project,
    toolchain: &'a Toolchain,
    optimization: Optimization,
    inputs: Fingerprint,
}

impl<'a> WorkerBuild<'a> {
    /// The build, or `None` if the output exists and its inputs have not changed.
    pub(crate) fn prepare(
        project: &'a Project,
        toolchain: &'a Toolchain,
        optimization: Optimization,
    ) -> Result<Option<Self>> {
        let build = Self { project, toolchain, optimization, inputs: Fingerprint::new() };
        let build = Self { inputs: build.fingerprint()?, ..build };
        let is_fresh = fingerprint::is_fresh(&build.stamp(), build.inputs) && is_built(project);
        Ok((!is_fresh).then_some(build))
    }

    fn stamp(&self) -> PathBuf {
        self.project.path(OUTPUT).join("glimpse-stamp")
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let mut inputs = Fingerprint::new().with_bytes(self.toolchain.version_text()?.as_bytes());
        for (name, value) in self.profile() {
            inputs = inputs.with_bytes(name.as_bytes()).with_bytes(value.as_bytes());
        }
        for argument in WASM_OPT {
            inputs = inputs.with_bytes(argument.as_bytes());
        }
        // Cargo.lock and package-lock.json also fix the versions of the tools.
        for path in ["edge", "contract", "xtask/wasm", "Cargo.toml", "Cargo.lock", "package-lock.json"] {
            let not_inputs = ["edge/build", "edge/tests", "edge/examples", "edge/src/openapi"]
                .map(|path| self.project.path(path));
            inputs = inputs.with_path(&self.project.path(path), &not_inputs)?;
        }
        Ok(inputs)
    }

    fn profile(&self) -> &'static [(&'static str, &'static str)] {
        match self.optimization {
            Optimization::Size => &SIZE_PROFILE,
            Optimization::BuildTime => &BUILD_TIME_PROFILE,
        }
    }

    /// Cargo's target folder of the Worker. In the same folder as the programs of this machine, cargo would let one build
    /// wait for the other, and two compilers would invalidate each other's outputs.
    fn target(&self) -> PathBuf {
        self.project.target.join("wasm-build")
    }

    /// Compiles the module. Needs only Rust.
    pub(crate) fn compile(&self) -> Result<()> {
        let mut command = self.toolchain.cargo(self.project);
        // Only the module, and not also a Rust library of it: dependencies are then compiled only for link-time
        // optimization.
        command.args(["rustc", "--release", "--lib", "--crate-type", "cdylib"]);
        command.args(["--package", PACKAGE, "--target", TARGET]);
        // The Worker contains the source locations of panics, but no paths of this machine.
        command.env("CARGO_ENCODED_RUSTFLAGS", path_remap::rustflags(self.project)?);
        command.env("CARGO_TARGET_DIR", self.target()).envs(self.profile().iter().copied());
        LoggedStep::new("Worker", self.project.log_path("edge")).run(&mut command, ADVICE)
    }

    /// Generates the output from the compiled module. Needs [`GENERATOR`] and npm's packages.
    pub(crate) fn finish(self) -> Result<()> {
        let (project, output) = (self.project, self.project.path(OUTPUT));
        fingerprint::invalidate(&self.stamp())?;
        let folder = project.target.join("edge");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let step = |title: &str, name: &str, command: &mut Command| {
            LoggedStep::new(title, project.log_path(name)).run(command.current_dir(&folder), ADVICE)
        };
        let module = self.target().join(TARGET).join("release/glimpse_edge.wasm");
        let mut generator = Command::new(project.binary_path(GENERATOR));
        step("Worker's JavaScript", "edge-bindgen", generator.arg(module).arg(&folder))?;
        if self.optimization == Optimization::Size {
            let mut wasm_opt = project.npm_command("wasm-opt");
            wasm_opt.args(["index_bg.wasm", "-o", "index_bg.wasm"]).args(WASM_OPT);
            step("Worker's optimization", "edge-wasm-opt", &mut wasm_opt)?;
        }
        let mut esbuild = project.npm_command("esbuild");
        esbuild.args(["index.js", "--bundle", "--format=esm", "--minify", "--external:./index_bg.wasm"]);
        step("Worker's bundle", "edge-bundle", esbuild.args(["--outfile=index.js", "--allow-overwrite"]))?;
        // workerd has no imports of the source phase: its imports of a module are what they would be.
        let bundle = folder.join("index.js");
        let code =
            fs::read_to_string(&bundle).with_context(|| format!("cannot read {}", bundle.display()))?;
        fs::write(&bundle, code.replace("import source ", "import "))?;
        if output.exists() {
            fs::remove_dir_all(&output).with_context(|| format!("cannot remove {}", output.display()))?;
        }
        fs::create_dir_all(&output)?;
        for file in FILES {
            fs::copy(folder.join(file), output.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        let (size_text, gzip_bytes) = measure_size(&output)?;
        run::print_note(&size_text);
        if self.optimization == Optimization::Size {
            check_size(gzip_bytes)?;
        }
        fingerprint::write_stamp(&self.stamp(), self.inputs)
    }
}

/// Prints the size of the existing output.
pub(crate) fn print_unchanged(project: &Project) -> Result<()> {
    run::print_ok("Worker", format_args!("{}; unchanged", measure_size(&project.path(OUTPUT))?.0));
    Ok(())
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
    fn optimizations_have_different_stamps() {
        let project = Project::discover().unwrap();
        let toolchain = Toolchain::Active;
        let [size, time] = [Optimization::Size, Optimization::BuildTime].map(|optimization| {
            let (project, toolchain, inputs) = (&project, &toolchain, Fingerprint::new());
            WorkerBuild { project, toolchain, optimization, inputs }.fingerprint().unwrap()
        });
        assert_ne!(size, time, "a quick build is never deployed");
    }
}
