//! The steps of a workflow and the documents that they pass on. The documents are small because the state of a workflow
//! is limited to 256 KiB. Images are passed through the bucket, under [`glimpse_contract::Key::Staged`].

use glimpse_contract::{Code, Manifest, Output, ReadStats, VariantKind};
use serde::{Deserialize, Serialize};

/// The step of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowStep {
    /// Probes the source; decodes nothing.
    Probe,
    /// Generates the default outputs of one kind.
    Encode(VariantKind),
    /// Commits the result: outputs, a rejection or a failure. Does not read the video.
    Publish,
}

impl WorkflowStep {
    /// All steps, with their names in the environment.
    pub const ALL: [(&str, Self); 5] = [
        ("probe", Self::Probe),
        ("poster", Self::Encode(VariantKind::Thumbnail)),
        ("animation", Self::Encode(VariantKind::Animation)),
        ("storyboard", Self::Encode(VariantKind::Storyboard)),
        ("publish", Self::Publish),
    ];

    /// The step with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, step)| step)
    }

    /// The name of the step.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, step)| *step == self).map_or("", |(word, _)| word)
    }
}

/// The result of `probe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProbeResult {
    /// There are outputs to generate.
    Look(Box<StepInput>),
    /// The file is rejected permanently, which is to be committed.
    Refused {
        /// The reason.
        code: Code,
        /// The manifest with the data known so far.
        draft: Box<Manifest>,
    },
    /// The video already has an outcome.
    Already,
    /// The object of the event has been replaced.
    Superseded,
    /// The event contains no upload.
    Ignored,
}

/// A video to process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepInput {
    /// The manifest with the data known so far.
    pub draft: Manifest,
    /// Whether ffmpeg reads the source, through the source proxy.
    pub by_relay: bool,
    /// Whether the keyframes in the index must be distrusted.
    pub amiss: bool,
}

/// The result of one decode step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StepOutput {
    /// Its outputs are staged.
    Made {
        /// The staged outputs.
        outputs: Vec<Output>,
        /// The data of the poster, if this is its step.
        face: Option<PosterInfo>,
        /// When the outputs were encoded, in Unix milliseconds.
        rendered: u64,
        /// Statistics of the reads from the source.
        reads: ReadStats,
    },
    /// The file is rejected permanently.
    Refused {
        /// The reason.
        code: Code,
    },
    /// The video has an outcome, from before or in the meantime.
    Already,
    /// The source was replaced in the meantime.
    Superseded,
}

/// The data of the poster for the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosterInfo {
    /// As in [`Manifest::thumbhash`].
    pub thumbhash: String,
    /// As in [`Manifest::dominant_color`].
    pub dominant_color: String,
    /// As in [`Manifest::poster_ms`].
    pub poster_ms: Option<u64>,
}

/// The input of a step: the results of the steps before it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct WorkflowState {
    /// The output of `probe`, if it completed.
    #[serde(default)]
    pub found: Option<ProbeResult>,
    /// The outputs of the decode steps: poster, animation, storyboard.
    #[serde(default)]
    pub parts: Vec<StepOutput>,
    /// Why a step failed on its last attempt.
    #[serde(default)]
    pub error: Option<ErrorOutput>,
}

/// An error as a state machine catches it,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ErrorOutput {
    /// Its name: the code of a [`crate::error::JobError`], or a name of Lambda or Step Functions.
    pub error: String,
    /// A description for people.
    pub cause: String,
}

impl ErrorOutput {
    /// The problem code for clients.
    pub fn code(&self) -> Code {
        if self.error == Code::Upstream.as_str() { Code::Upstream } else { Code::Internal }
    }
}
