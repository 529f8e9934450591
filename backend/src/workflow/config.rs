//! Decides what a step of the workflow must be told by its environment, and refuses to start with half of it.
//!
//! | variable | what it says |
//! |---|---|
//! | `GLIMPSE_STEP` | which step: `probe`, `poster`, `animation`, `storyboard` or `publish` |
//! | the others | as [`crate::config::Config`] reads them; `publish` needs no ffmpeg |

use crate::config::{Config, ConfigErrors, Tools, place};
use crate::store::s3::Place;
use crate::workflow::state::Step;

/// The whole configuration. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct StepConfig {
    /// What this function does.
    pub step: Step,
    /// The bucket, and who asks it.
    pub place: Place,
    /// The decoder, where there is something to decode.
    pub tools: Option<Tools>,
}

impl StepConfig {
    /// Reads every name through `lookup`.
    ///
    /// # Errors
    /// All that is wrong at once, without values.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let step = lookup("GLIMPSE_STEP").and_then(|word| Step::from_word(&word));
        if step.is_none() {
            errors.push("GLIMPSE_STEP names no step".to_owned());
        }
        let (place, tools) = if step == Some(Step::Publish) {
            (Some(place(&lookup, &mut errors)), None)
        } else {
            match Config::from_lookup(&lookup) {
                Ok(Config { place, tools, .. }) => (Some(place), Some(tools)),
                Err(ConfigErrors(more)) => {
                    errors.extend(more);
                    (None, None)
                }
            }
        };
        match (step, place) {
            (Some(step), Some(place)) if errors.is_empty() => Ok(Self { step, place, tools }),
            _ => Err(ConfigErrors(errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(step: &str, without: &str) -> Result<StepConfig, ConfigErrors> {
        StepConfig::from_lookup(|name| match name {
            _ if name == without => None,
            "GLIMPSE_STEP" => Some(step.to_owned()),
            "GLIMPSE_FFMPEG" | "GLIMPSE_FFPROBE" => Some("/bin/sh".to_owned()),
            "AWS_ENDPOINT_URL_S3" | "GLIMPSE_MAX_RECEIVES" => None,
            _ => Some("very-secret".to_owned()),
        })
    }

    #[test]
    fn a_step_knows_what_it_needs() {
        for (word, step) in Step::ALL {
            let config = check(word, "").unwrap();
            assert_eq!((config.step, step.as_str()), (step, word));
            assert_eq!(config.tools.is_some(), step != Step::Publish, "{word}");
            assert!(!format!("{config:?}").contains("AWS_SECRET"), "{word}");
        }
        assert!(check("publish", "GLIMPSE_FFMPEG").is_ok(), "it decodes nothing");
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
