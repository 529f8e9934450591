//! Configuration of the `notify` Lambda from environment variables, checked all at once before it starts.
//!
//! | variable | meaning |
//! |---|---|
//! | `S3_BUCKET` | the bucket that outcomes are read from |
//! | `AWS_ENDPOINT_URL_S3` | replaces the S3 endpoint of AWS |
//! | `PUBLIC_URL` | the origin of the URLs in events: that of the edge |
//! | `NOTIFY_QUEUE_URL` | the URL of the function's own queue, to which it sends one message per endpoint |
//! | `WEBHOOK_URLS` | the endpoints: `name=https://…`, separated by commas or spaces; one may have no name |
//! | `WEBHOOK_SECRETS` | `name=whsec_…`, up to three per endpoint; each of them signs |
//! | `SNS_TOPIC_ARN` | a topic that also receives the events, for email |
//! | `AWS_ENDPOINT_URL_SNS` | replaces the SNS endpoint of AWS |
//! | `WEBHOOK_ALLOW_LOOPBACK` | `1`: endpoints may be on this machine, also with http. For development |

use crate::aws::sns::TopicAddress;
use crate::aws::sqs::QueueAddress;
use crate::config::{EnvReader, EnvironmentErrors, is_origin};
use crate::notify::endpoint::{self, WebhookEndpoint};
use crate::notify::http::client::AddressPolicy;
use crate::store::s3::S3Config;

/// The complete configuration. Its `Debug` output contains no secrets.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bucket that outcomes are read from, with the credentials.
    pub s3: S3Config,
    /// The origin of the URLs in events.
    pub public_url: String,
    /// The function's own queue.
    pub queue: QueueAddress,
    /// The endpoints of webhooks.
    pub endpoints: Vec<WebhookEndpoint>,
    /// A topic that also receives the events.
    pub topic: Option<TopicAddress>,
    /// The addresses to which webhooks may be sent.
    pub address_policy: AddressPolicy,
}

impl Config {
    /// Reads all variables through `lookup`.
    ///
    /// # Errors
    /// All missing and invalid variables at once, without values.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentErrors> {
        let mut env = EnvReader::new(lookup);
        let s3 = S3Config::from_env(&mut env);
        let public_url = env.require("PUBLIC_URL").trim_end_matches('/').to_owned();
        if !public_url.is_empty() && !is_origin(&public_url) {
            env.reject("PUBLIC_URL is not an http or https origin");
        }
        let queue_url = env.require("NOTIFY_QUEUE_URL");
        let queue = QueueAddress::parse(&queue_url, None);
        if queue.is_none() && !queue_url.is_empty() {
            env.reject("NOTIFY_QUEUE_URL is not a URL");
        }
        let address_policy = match env.optional("WEBHOOK_ALLOW_LOOPBACK").as_deref() {
            None => AddressPolicy::Public,
            Some("1") => AddressPolicy::PublicOrLoopback,
            Some(_) => {
                env.reject("WEBHOOK_ALLOW_LOOPBACK is not 1");
                AddressPolicy::Public
            }
        };
        let urls = env.optional("WEBHOOK_URLS").unwrap_or_default();
        let secrets = env.optional("WEBHOOK_SECRETS").unwrap_or_default();
        let parsed = endpoint::parse(&urls, &secrets, address_policy == AddressPolicy::PublicOrLoopback);
        let endpoints = parsed.unwrap_or_else(|errors| {
            for error in errors {
                env.reject(error);
            }
            Vec::new()
        });
        let arn = env.optional("SNS_TOPIC_ARN");
        let sns_endpoint = env.optional("AWS_ENDPOINT_URL_SNS");
        let topic = arn.as_deref().and_then(|arn| TopicAddress::parse(arn, sns_endpoint.as_deref()));
        if arn.is_some() && topic.is_none() {
            env.reject("SNS_TOPIC_ARN is not the ARN of a topic, or AWS_ENDPOINT_URL_SNS not a URL");
        }
        match queue {
            Some(queue) => env.finish(Self { s3, public_url, queue, endpoints, topic, address_policy }),
            None => Err(env.into_errors()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "very-secret-key"),
        ("AWS_SESSION_TOKEN", "very-secret-token"),
        ("S3_BUCKET", "glimpse"),
        ("PUBLIC_URL", "https://v.example/"),
        ("NOTIFY_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/notify"),
        ("WEBHOOK_URLS", "https://app.example/hooks"),
        ("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("SNS_TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:videos"),
    ];

    fn config_with(changes: &[(&str, &str)]) -> Result<Config, EnvironmentErrors> {
        let lookup = |name: &str| {
            changes.iter().chain(GOOD).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(lookup)
    }

    #[test]
    fn reads_complete_environment() {
        let config = config_with(&[]).unwrap();
        assert_eq!((config.s3.bucket.as_str(), config.public_url.as_str()), ("glimpse", "https://v.example"));
        assert_eq!(
            (config.endpoints.len(), config.topic.is_some(), config.address_policy),
            (1, true, AddressPolicy::Public)
        );
        let minimal =
            config_with(&[("WEBHOOK_URLS", ""), ("WEBHOOK_SECRETS", ""), ("SNS_TOPIC_ARN", "")]).unwrap();
        assert!(minimal.endpoints.is_empty() && minimal.topic.is_none());
        let local = [("WEBHOOK_ALLOW_LOOPBACK", "1"), ("WEBHOOK_URLS", "http://127.0.0.1:9999/")];
        assert_eq!(config_with(&local).unwrap().address_policy, AddressPolicy::PublicOrLoopback);
    }

    #[test]
    fn reports_all_errors_without_values() {
        let error = Config::from_lookup(|_| None).unwrap_err().to_string();
        for name in [
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "NOTIFY_QUEUE_URL",
            "S3_BUCKET",
            "PUBLIC_URL",
        ] {
            assert!(error.contains(name), "{name} is missing from: {error}");
        }
        let invalid = [
            ("NOTIFY_QUEUE_URL", "hidden"),
            ("PUBLIC_URL", "https://hidden/hidden"),
            ("AWS_ENDPOINT_URL_S3", "hidden"),
            ("WEBHOOK_URLS", "http://hidden/"),
            ("SNS_TOPIC_ARN", "arn:aws:sqs:eu-west-1:123456789012:hidden"),
            ("WEBHOOK_ALLOW_LOOPBACK", "hidden"),
        ];
        let error = config_with(&invalid).unwrap_err().to_string();
        assert!(invalid.iter().all(|(name, _)| error.contains(name)) && !error.contains("hidden"), "{error}");
    }

    #[test]
    fn debug_hides_secrets() {
        let text = format!("{:?}", config_with(&[]));
        assert!(text.contains("AKIDEXAMPLE"), "not the Debug output of the configuration: {text}");
        assert!(!text.contains("very-secret") && !text.contains("MfKQ"), "{text}");
    }
}
