//! Configuration of the `reconcile` Lambda from environment variables, checked all at once before it starts.

use crate::config::{EnvReader, EnvironmentErrors};
use crate::store::s3::S3Config;

/// The complete configuration. Its `Debug` output contains no secrets.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bucket that is scanned, with the credentials.
    pub s3: S3Config,
    /// The queue that receives S3's events.
    pub queue_url: String,
    /// Replaces the SQS endpoint of AWS.
    pub queue_endpoint: Option<String>,
}

impl Config {
    /// Reads all variables through `lookup`.
    ///
    /// # Errors
    /// All missing and invalid variables at once, without values.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentErrors> {
        let mut env = EnvReader::new(lookup);
        let s3 = S3Config::from_env(&mut env);
        let queue_url = env.require("UPLOAD_QUEUE_URL");
        let queue_endpoint = env.optional_origin("AWS_ENDPOINT_URL_SQS");
        env.finish(Self { s3, queue_url, queue_endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_all_errors_without_values() {
        let bad_endpoints = |name: &str| name.starts_with("AWS_ENDPOINT").then(|| "hidden".to_owned());
        let text = Config::from_lookup(bad_endpoints).unwrap_err().to_string();
        for name in [
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "S3_BUCKET",
            "UPLOAD_QUEUE_URL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_SQS",
        ] {
            assert!(text.contains(name), "{name} is missing from: {text}");
        }
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn reads_environment_and_hides_secrets() {
        let config = Config::from_lookup(|name| match name {
            "AWS_ENDPOINT_URL_S3" | "AWS_ENDPOINT_URL_SQS" => None,
            "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => Some("very-secret".to_owned()),
            name => Some(name.to_owned()),
        });
        let config = config.unwrap();
        assert_eq!((config.s3.bucket.as_str(), config.queue_url.as_str()), ("S3_BUCKET", "UPLOAD_QUEUE_URL"));
        assert!(!format!("{config:?}").contains("very-secret"));
    }
}
