//! Decides what this machine needs before Glimpse can be built, run and tested, and in which order it gets it. Each part
//! asks first whether its thing is there, so that a second run only asks.

mod crates;
mod layer;
mod node;
mod python;
mod system;
pub(crate) mod wasm;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::system::SystemProgram;
pub(crate) use self::system::ensure_arm_compilers;
use crate::project::Project;
use crate::run;

/// What the machine is set up for; each purpose needs what those before it need, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building and checking: also what a machine does that only deploys.
    Build,
    /// Running: the layer's ffmpeg.
    Run,
    /// Measuring: a whole ffmpeg, to make media with and to compare with; Python.
    Measure,
    /// Tests: a browser, and Python with the library that our signatures are compared with.
    Test,
}

/// What setup found or made, and the later verbs name to what they start.
#[derive(Debug)]
pub(crate) struct Toolset {
    pub(crate) wasm: wasm::Toolchain,
    /// `None` when set up for building alone.
    media: Option<MediaTools>,
    /// `None` unless set up for measurements or tests.
    reference: Option<ReferenceTools>,
    /// `None` unless set up for tests.
    test: Option<TestTools>,
}

/// What the previews are made with.
#[derive(Debug)]
pub(crate) struct MediaTools {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
}

/// What media are made with, and what is measured or proven is compared with.
#[derive(Debug)]
pub(crate) struct ReferenceTools {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
    /// The system's Python, with nothing but its own library.
    pub(crate) python: PathBuf,
    /// The folder that the layer was built in, also when `MediaTools` is of other programs.
    pub(crate) layer: PathBuf,
}

/// What only tests need.
#[derive(Debug)]
pub(crate) struct TestTools {
    pub(crate) chromium: PathBuf,
    /// The Python that has botocore.
    pub(crate) python: PathBuf,
    pub(crate) deploy: DeployTools,
}

/// What checks template.yaml.
#[derive(Debug)]
pub(crate) struct DeployTools {
    /// The Python that has SAM, cfn-lint and moto; their programs lie beside it.
    pub(crate) python: PathBuf,
    pub(crate) checkov: PathBuf,
}

impl Toolset {
    pub(crate) fn media(&self) -> Result<&MediaTools> {
        self.media.as_ref().context("set up without what running needs")
    }

    pub(crate) fn reference(&self) -> Result<&ReferenceTools> {
        self.reference.as_ref().context("set up without what measurements need")
    }

    pub(crate) fn test(&self) -> Result<&TestTools> {
        self.test.as_ref().context("set up without what tests need")
    }
}

/// What is done with Python packages outside of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonTask {
    /// Building the Lambdas.
    Building,
    /// Deploying what was built.
    Deploying,
}

/// A Python with the packages of a task; their programs lie beside it. After [`run()`].
pub(crate) fn python_for(project: &Project, task: PythonTask) -> Result<PathBuf> {
    let programs = system::ensure(project, &[&system::PYTHON])?;
    let packages = match task {
        PythonTask::Building => &python::BUILD_PACKAGES,
        PythonTask::Deploying => &python::DEPLOY_PACKAGES,
    };
    python::ensure(project, &programs[0], packages)
}

pub(crate) fn run(project: &Project, purpose: Purpose) -> Result<Toolset> {
    run::print_heading("setup");
    fs::create_dir_all(&project.cache)
        .with_context(|| format!("cannot make the folder for tools, {}", project.cache.display()))?;
    // Two checkouts may be set up at the same time, and share the cache.
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
    node::ensure(project)?;
    let wasm = wasm::ensure(project)?;
    crates::ensure(project)?;
    let mut tools = Toolset { wasm, media: None, reference: None, test: None };
    if let [_, _, python, chromium, ..] = programs.as_slice() {
        let deploy_tools = DeployTools {
            checkov: python::ensure(project, python, &python::LINT_PACKAGES)?.with_file_name("checkov"),
            python: python::ensure(project, python, &python::DEPLOY_PACKAGES)?,
        };
        let python = python::ensure(project, python, &python::TEST_PACKAGES)?;
        tools.test = Some(TestTools { chromium: chromium.clone(), python, deploy: deploy_tools });
    }
    if let [ffmpeg, ffprobe, python, ..] = programs.as_slice() {
        let layer = layer::ensure(project)?;
        tools.media = Some(layer::ffmpeg_programs(|| Ok(layer.clone()))?);
        let (ffmpeg, ffprobe, python) = (ffmpeg.clone(), ffprobe.clone(), python.clone());
        tools.reference = Some(ReferenceTools { ffmpeg, ffprobe, python, layer });
    } else if purpose >= Purpose::Run {
        tools.media = Some(layer::ffmpeg_programs(|| layer::ensure(project))?);
    }
    Ok(tools)
}

/// The packages that the Worker is compared with.
pub(crate) fn ensure_baselines(project: &Project) -> Result<()> {
    node::ensure_baselines(project)
}

/// The program that the Worker is put under load with, beside the packages that it is compared with.
pub(crate) fn ensure_wrk(project: &Project) -> Result<PathBuf> {
    ensure_baselines(project)?;
    Ok(system::ensure(project, &[&system::WRK])?.remove(0))
}
