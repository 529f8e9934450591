//! `cargo xtask setup`: installs the tools that are needed to build, run and test Glimpse. Each module first checks
//! whether its tools exist, so that a second run only checks.

mod layer;
mod node;
mod python;
mod system;
pub(crate) mod wasm;

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use self::system::SystemProgram;
pub(crate) use self::system::ensure_arm_compilers;
use self::wasm::Toolchain;
use crate::parallel::{self, Lane};
use crate::project::Project;
use crate::run;

/// The purpose of a setup. Each purpose includes the tools of the preceding ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building and checking, also for deploying.
    Build,
    /// Running Glimpse: ffmpeg, the layer's or another that works. The layer's is not built, which takes minutes.
    Run,
    /// Benchmarks: a full ffmpeg, to generate media and for comparison; Python.
    Measure,
    /// Tests: a browser, and Python with the library that signatures are compared with.
    Test,
}

/// The tools that setup found or built.
#[derive(Debug)]
pub(crate) struct Toolset {
    pub(crate) wasm: Toolchain,
    /// `None` after a setup for building only.
    media: Option<MediaTools>,
    /// `None` except after a setup for benchmarks or tests.
    reference: Option<ReferenceTools>,
    /// `None` except after a setup for tests.
    test: Option<TestTools>,
}

/// Programs of the `preview` function.
#[derive(Debug)]
pub(crate) struct MediaTools {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
    /// The script that builds them, if they must still be built. Only after a setup for running.
    pub(crate) build: Option<PathBuf>,
}

/// Programs that generate test media, and references for benchmarks and tests.
#[derive(Debug)]
pub(crate) struct ReferenceTools {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
    /// The system's Python, with only its standard library.
    pub(crate) python: PathBuf,
    /// The folder that the layer was built in, even if `MediaTools` contains other programs.
    pub(crate) layer: PathBuf,
}

/// Tools for tests only.
#[derive(Debug)]
pub(crate) struct TestTools {
    pub(crate) chromium: PathBuf,
    /// The Python with botocore.
    pub(crate) python: PathBuf,
    pub(crate) deploy: DeployTools,
}

/// Tools that check template.yaml.
#[derive(Debug)]
pub(crate) struct DeployTools {
    /// The Python with SAM, cfn-lint and moto; their programs are in the same folder.
    pub(crate) python: PathBuf,
    pub(crate) checkov: PathBuf,
}

impl Toolset {
    pub(crate) fn media(&self) -> Result<&MediaTools> {
        self.media.as_ref().context("setup did not include the tools for running")
    }

    pub(crate) fn reference(&self) -> Result<&ReferenceTools> {
        self.reference.as_ref().context("setup did not include the tools for benchmarks")
    }

    pub(crate) fn test(&self) -> Result<&TestTools> {
        self.test.as_ref().context("setup did not include the tools for tests")
    }
}

/// Tasks that need Python packages outside of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonTask {
    /// Building the Lambdas.
    Building,
    /// Deploying the packages.
    Deploying,
}

/// A Python with the packages of a task; their programs are in the same folder. To be called after [`run()`].
pub(crate) fn python_for(project: &Project, task: PythonTask) -> Result<PathBuf> {
    let programs = system::ensure(project, &[&system::PYTHON])?;
    let packages = match task {
        PythonTask::Building => &python::BUILD_PACKAGES,
        PythonTask::Deploying => &python::DEPLOY_PACKAGES,
    };
    python::ensure(project, &programs[0], packages)
}

/// Sets up the tools.
pub(crate) fn run(project: &Project, purpose: Purpose) -> Result<Toolset> {
    run_beside(project, purpose, |_| Ok(()))
}

/// Sets up the tools, and does `work` beside it, as soon as there is a toolchain for wasm32.
pub(crate) fn run_beside(
    project: &Project,
    purpose: Purpose,
    work: impl FnOnce(&Toolchain) -> Result<()> + Send,
) -> Result<Toolset> {
    run::print_heading("setup");
    fs::create_dir_all(&project.cache)
        .with_context(|| format!("cannot create the folder for tools, {}", project.cache.display()))?;
    // Two checkouts can be set up at the same time, and they share the cache.
    let lock = project.cache.join("setup.lock");
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    if lock.try_lock().is_err() {
        run::print_note("another setup is running; waiting for it");
        lock.lock().context("cannot wait for the other setup")?;
    }

    let mut programs_needed: Vec<&SystemProgram> = Vec::new();
    if purpose >= Purpose::Measure {
        programs_needed.extend([&system::REFERENCE_FFMPEG, &system::REFERENCE_FFPROBE, &system::PYTHON]);
    }
    if purpose >= Purpose::Test {
        programs_needed.extend([&system::CHROMIUM, &system::CURL, &system::JQ]);
    }
    let programs = system::ensure(project, &programs_needed)?;
    let (mut wasm, mut media, mut reference, mut test) = (None, None, None, None);
    // Each lane holds the lock until its tools are there. Compiling takes longer, and needs no lock.
    let lock = Arc::new(lock);
    let (lock_of_work, wasm_slot) = (Arc::clone(&lock), &mut wasm);
    let mut lanes: Vec<Lane<'_>> = vec![
        while_locked(&lock, || node::ensure(project)),
        Box::new(move || {
            let toolchain = wasm_slot.insert(wasm::ensure(project)?);
            drop(lock_of_work);
            work(toolchain)
        }),
    ];
    if let [_, _, python, chromium, ..] = programs.as_slice() {
        lanes.push(while_locked(&lock, || {
            let deploy_tools = DeployTools {
                checkov: python::ensure(project, python, &python::LINT_PACKAGES)?.with_file_name("checkov"),
                python: python::ensure(project, python, &python::DEPLOY_PACKAGES)?,
            };
            let python = python::ensure(project, python, &python::TEST_PACKAGES)?;
            test = Some(TestTools { chromium: chromium.clone(), python, deploy: deploy_tools });
            Ok(())
        }));
    }
    if let [ffmpeg, ffprobe, python, ..] = programs.as_slice() {
        lanes.push(while_locked(&lock, || {
            let layer = layer::ensure(project)?;
            media = Some(layer::ffmpeg_programs(|| Ok(layer::programs_in(&layer)))?);
            let (ffmpeg, ffprobe, python) = (ffmpeg.clone(), ffprobe.clone(), python.clone());
            reference = Some(ReferenceTools { ffmpeg, ffprobe, python, layer });
            Ok(())
        }));
    } else if purpose >= Purpose::Run {
        lanes.push(while_locked(&lock, || {
            media = Some(layer::ffmpeg_programs(|| layer::find_or_plan(project))?);
            Ok(())
        }));
    }
    drop(lock);
    parallel::run(lanes)?;
    let wasm = wasm.context("setup did not find a toolchain for wasm32")?;
    Ok(Toolset { wasm, media, reference, test })
}

/// The lane, which holds the lock until its end.
fn while_locked<'a>(lock: &Arc<File>, lane: impl FnOnce() -> Result<()> + Send + 'a) -> Lane<'a> {
    let lock = Arc::clone(lock);
    Box::new(move || {
        let result = lane();
        drop(lock);
        result
    })
}

/// The folder of the packages that the Worker is compared with.
pub(crate) const EDGE_BASELINES: &str = "bench/edge/";
/// The folder of the packages that uploads are compared with.
pub(crate) const UPLOADS_BASELINES: &str = "bench/uploads/";

/// Installs the packages that a benchmark compares with.
pub(crate) fn ensure_baselines(project: &Project, folder: &str) -> Result<()> {
    node::ensure_baselines(project, folder)
}

/// Installs wrk, which loads the Worker in benchmarks.
pub(crate) fn ensure_wrk(project: &Project) -> Result<PathBuf> {
    Ok(system::ensure(project, &[&system::WRK])?.remove(0))
}
