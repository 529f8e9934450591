//! Retry rules: which errors are retried, and after which wait,
//! <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>. Pure: randomness is an
//! argument.

use std::time::Duration;

use serde::Deserialize;

/// A retrier for some errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct Retrier {
    pub(crate) error_equals: Vec<String>,
    #[serde(default = "one")]
    pub(crate) interval_seconds: u32,
    #[serde(default = "double")]
    pub(crate) backoff_rate: f64,
    #[serde(default = "three")]
    pub(crate) max_attempts: u32,
    #[serde(default)]
    pub(crate) max_delay_seconds: Option<u32>,
    #[serde(default)]
    pub(crate) jitter_strategy: Jitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Jitter {
    #[default]
    None,
    Full,
}

fn one() -> u32 {
    1
}

fn double() -> f64 {
    2.0
}

fn three() -> u32 {
    3
}

impl Retrier {
    /// The longest wait before this retry, counted from 0.
    pub(crate) fn max_wait(&self, retry: u32) -> Duration {
        let backoff_secs = f64::from(self.interval_seconds)
            * self.backoff_rate.powi(i32::try_from(retry).unwrap_or(i32::MAX));
        let max_secs = self.max_delay_seconds.map_or(f64::from(u32::MAX), f64::from);
        Duration::from_secs_f64(backoff_secs.min(max_secs))
    }

    /// The wait before this retry; `random` is from 0 to 1.
    pub(crate) fn wait(&self, retry: u32, random: f64) -> Duration {
        match self.jitter_strategy {
            Jitter::None => self.max_wait(retry),
            Jitter::Full => self.max_wait(retry).mul_f64(random.clamp(0.0, 1.0)),
        }
    }
}

/// Whether one of these names matches the error. `States.ALL` does not match everything: an invalid execution, or one
/// with too much data, ends.
pub(crate) fn matches_error(names: &[String], error: &str) -> bool {
    names.iter().any(|name| match name.as_str() {
        "States.ALL" => !matches!(error, "States.Runtime" | "States.DataLimitExceeded"),
        "States.TaskFailed" => {
            !matches!(error, "States.Runtime" | "States.DataLimitExceeded" | "States.Timeout")
        }
        name => name == error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier(json: &str) -> Retrier {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn backoff_is_capped_with_full_jitter() {
        let full = retrier(
            r#"{"ErrorEquals": ["x"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 60, "JitterStrategy": "FULL"}"#,
        );
        let longest: Vec<u64> = (0..5).map(|retry| full.max_wait(retry).as_secs()).collect();
        assert_eq!(longest, [2, 6, 18, 54, 60]);
        assert_eq!(full.wait(3, 0.0), Duration::ZERO);
        assert_eq!(full.wait(3, 0.5), Duration::from_secs(27));
        assert_eq!(full.wait(40, 1.0), Duration::from_mins(1));
        let plain = retrier(r#"{"ErrorEquals": ["x"]}"#);
        assert_eq!((plain.wait(2, 0.1), plain.max_attempts), (Duration::from_secs(4), 3));
    }

    #[test]
    fn states_all_excludes_data_limit_errors() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (list, error, fit) in [
            (&["States.ALL"][..], "upstream", true),
            (&["States.ALL"], "States.Timeout", true),
            (&["States.ALL"], "States.Runtime", false),
            (&["States.ALL"], "States.DataLimitExceeded", false),
            (&["States.TaskFailed"], "Sandbox.Timedout", true),
            (&["States.TaskFailed"], "States.Timeout", false),
            (&["a", "b"], "b", true),
            (&["a"], "A", false),
        ] {
            assert_eq!(matches_error(&names(list), error), fit, "{list:?} {error}");
        }
    }
}
