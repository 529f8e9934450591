//! Decides into which steps a job can be cut, and what one hands to the next: small documents, for the state of a workflow
//! may have 256 KiB. Pictures go by the bucket, under [`glimpse_contract::Key::Staged`].

use glimpse_contract::{Code, Manifest, Output, ReadStats, VariantKind};
use serde::{Deserialize, Serialize};

/// What one function does of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowStep {
    /// Looks at what there is; decodes nothing.
    Probe,
    /// Makes the default pictures of one kind.
    Encode(VariantKind),
    /// Commits what came of it: pictures, a refusal, a failure. Opens no video.
    Publish,
}

impl WorkflowStep {
    /// Every step, by the word that a function's environment names it with.
    pub const ALL: [(&str, Self); 5] = [
        ("probe", Self::Probe),
        ("poster", Self::Encode(VariantKind::Thumbnail)),
        ("animation", Self::Encode(VariantKind::Animation)),
        ("storyboard", Self::Encode(VariantKind::Storyboard)),
        ("publish", Self::Publish),
    ];

    /// The step of that word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, step)| step)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, step)| *step == self).map_or("", |(word, _)| word)
    }
}

/// What `probe` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProbeResult {
    /// There is something to be made.
    Look(Box<StepInput>),
    /// The file is refused for good, which is to be committed.
    Refused {
        /// Why.
        code: Code,
        /// What is known of it.
        draft: Box<Manifest>,
    },
    /// Something became of the video before.
    Already,
    /// The event is about an object that was replaced since.
    Superseded,
    /// The event asks for nothing.
    Ignored,
}

/// A video of which pictures are to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepInput {
    /// The manifest as far as it is known.
    pub draft: Manifest,
    /// Whether ffmpeg reads the source, through the relay.
    pub by_relay: bool,
    /// Whether what its index calls keyframes is not to be believed.
    pub amiss: bool,
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StepOutput {
    /// Its pictures are staged.
    Made {
        /// The pictures as they are staged.
        outputs: Vec<Output>,
        /// What is known of the poster, if it is made.
        face: Option<PosterInfo>,
        /// When they were made, in Unix milliseconds.
        rendered: u64,
        /// What was read for them.
        reads: ReadStats,
    },
    /// The file is refused for good.
    Refused {
        /// Why.
        code: Code,
    },
    /// Something became of the video before, or meanwhile.
    Already,
    /// The source was replaced meanwhile.
    Superseded,
}

/// What stands for a poster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosterInfo {
    /// As in [`Manifest::thumbhash`].
    pub thumbhash: String,
    /// As in [`Manifest::dominant_color`].
    pub dominant_color: String,
    /// As in [`Manifest::poster_ms`].
    pub poster_ms: Option<u64>,
}

/// What a step is handed by those before it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct WorkflowState {
    /// By `probe`, if it came to its end.
    #[serde(default)]
    pub found: Option<ProbeResult>,
    /// By the makers of pictures: the poster's, the animation's, the storyboard's.
    #[serde(default)]
    pub parts: Vec<StepOutput>,
    /// Why a step was given up after its last try.
    #[serde(default)]
    pub error: Option<ErrorOutput>,
}

/// An error as a state machine catches it,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ErrorOutput {
    /// Its name: the code of a fault of ours, or a name of Lambda's or the engine's.
    pub error: String,
    /// For people.
    pub cause: String,
}

impl ErrorOutput {
    /// What a client is told.
    pub fn code(&self) -> Code {
        if self.error == Code::Upstream.as_str() { Code::Upstream } else { Code::Internal }
    }
}
