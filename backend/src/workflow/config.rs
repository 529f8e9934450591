//! Configuration of a workflow step from environment variables, checked all at once before it starts.
//!
//! | variable | meaning |
//! |---|---|
//! | `GLIMPSE_STEP` | the step: `probe`, `poster`, `animation`, `storyboard` or `publish` |
//! | the others | as in [`crate::config::Config`]; `publish` needs no ffmpeg |

use crate::config::{Config, EnvReader, EnvironmentErrors, FfmpegTools};
use crate::store::s3::S3Config;
use crate::workflow::state::WorkflowStep;

/// The complete configuration. Its `Debug` output contains no secrets.
#[derive(Debug, Clone)]
pub struct StepConfig {
    /// The step of this function.
    pub step: WorkflowStep,
    /// The bucket, with the credentials.
    pub s3: S3Config,
    /// Paths and limits of ffmpeg, for the steps that decode.
    pub tools: Option<FfmpegTools>,
}

impl StepConfig {
    /// Reads all variables through `lookup`.
    ///
    /// # Errors
    /// All missing and invalid variables at once, without values.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentErrors> {
        let mut env = EnvReader::new(lookup);
        let step = env.optional("GLIMPSE_STEP").and_then(|name| WorkflowStep::parse(&name));
        if step.is_none() {
            env.reject("GLIMPSE_STEP is not a step");
        }
        let (s3, tools) = if step == Some(WorkflowStep::Publish) {
            (S3Config::from_env(&mut env), None)
        } else {
            let Config { s3, tools, .. } = Config::from_env(&mut env);
            (s3, Some(tools))
        };
        match step {
            Some(step) => env.finish(Self { step, s3, tools }),
            None => Err(env.into_errors()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(step: &str, without: &str) -> Result<StepConfig, EnvironmentErrors> {
        StepConfig::from_lookup(|name| match name {
            _ if name == without => None,
            "GLIMPSE_STEP" => Some(step.to_owned()),
            "GLIMPSE_FFMPEG" | "GLIMPSE_FFPROBE" => Some("/bin/sh".to_owned()),
            "AWS_ENDPOINT_URL_S3" | "GLIMPSE_MAX_RECEIVES" => None,
            _ => Some("very-secret".to_owned()),
        })
    }

    #[test]
    fn each_step_requires_its_variables() {
        for (word, step) in WorkflowStep::ALL {
            let config = check(word, "").unwrap();
            assert_eq!((config.step, step.as_str()), (step, word));
            assert_eq!(config.tools.is_some(), step != WorkflowStep::Publish, "{word}");
            assert!(!format!("{config:?}").contains("AWS_SECRET"), "{word}");
        }
        assert!(check("publish", "GLIMPSE_FFMPEG").is_ok(), "the publish step needs no ffmpeg");
        for (step, without) in [
            ("poster", "S3_BUCKET"),
            ("publish", "S3_BUCKET"),
            ("poster", "GLIMPSE_STEP"),
            ("all", "S3_BUCKET"),
        ] {
            let text = check(step, without).unwrap_err().to_string();
            let named = if step == "all" { "GLIMPSE_STEP" } else { without };
            assert!(
                text.contains(named) && !text.contains("very-secret"),
                "{step} without {without}: {text}"
            );
        }
    }
}
