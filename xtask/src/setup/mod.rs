//! Decides what this machine needs before Glimpse can be built, run and tested, and in which order it gets it. Each part
//! asks first whether its thing is there, so that a second run only asks.

mod crates;
mod node;
mod python;
mod system;
pub(crate) mod wasm;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::system::Need;
use crate::project::Project;
use crate::run;

/// What the machine is set up for; each purpose needs what those before it need, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building and checking: also what a machine does that only deploys.
    Build,
    /// Running: ffmpeg.
    Run,
    /// Tests: a browser, and Python with the library that our signatures are compared with.
    Test,
}

/// What setup found or made, and the later verbs name to what they start.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) wasm: wasm::Toolchain,
    /// `None` when set up for building alone.
    media: Option<Media>,
    /// `None` unless set up for tests.
    test: Option<TestTools>,
}

/// What the previews are made with.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
}

/// What only tests need.
#[derive(Debug)]
pub(crate) struct TestTools {
    pub(crate) chromium: PathBuf,
    pub(crate) python: PathBuf,
}

impl Tools {
    pub(crate) fn media(&self) -> Result<&Media> {
        self.media.as_ref().context("set up without what running needs")
    }

    pub(crate) fn test(&self) -> Result<&TestTools> {
        self.test.as_ref().context("set up without what tests need")
    }
}

pub(crate) fn run(project: &Project, purpose: Purpose) -> Result<Tools> {
    run::heading("setup");
    fs::create_dir_all(&project.cache)
        .with_context(|| format!("cannot make the folder for tools, {}", project.cache.display()))?;
    // Two checkouts may be set up at the same time, and share the cache.
    let lock = project.cache.join("setup.lock");
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    if lock.try_lock().is_err() {
        run::note("another setup is running; waiting for it");
        lock.lock().context("cannot wait for the other setup")?;
    }

    let mut needs: Vec<&Need> = Vec::new();
    if purpose >= Purpose::Run {
        needs.extend([&system::FFMPEG, &system::FFPROBE]);
    }
    if purpose >= Purpose::Test {
        needs.extend([&system::CHROMIUM, &system::PYTHON]);
    }
    let mut programs = system::ensure(project, &needs)?.into_iter();
    node::ensure(project)?;
    let wasm = wasm::ensure(project)?;
    crates::ensure(project)?;
    let media = programs.next().zip(programs.next()).map(|(ffmpeg, ffprobe)| Media { ffmpeg, ffprobe });
    let test = match programs.next().zip(programs.next()) {
        Some((chromium, python)) => Some(TestTools { chromium, python: python::ensure(project, &python)? }),
        None => None,
    };
    Ok(Tools { wasm, media, test })
}
