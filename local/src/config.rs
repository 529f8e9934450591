//! Configuration of the local cloud, with its defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use glimpse_contract::Key;
use tokio::sync::watch;

use crate::clock::{Entropy, WallClock};
use crate::s3::cors::CorsRule;

/// The port of the S3 server in development.
pub const S3_PORT: u16 = 9000;
/// The port of the function URL of `render` in development.
pub const RENDER_PORT: u16 = 9002;
/// The port of the notify queue and the topic in development.
pub const SERVICES_PORT: u16 = 9003;
/// The port of the Worker in development: the one URL that users open.
pub const EDGE_PORT: u16 = 8787;
/// The port of the OpenID provider in development.
pub const OIDC_PORT: u16 = 9400;

/// The configuration of [`crate::Cloud::start`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that persists: objects, uploads, messages. Created if it is missing.
    pub data: PathBuf,
    /// The address of the S3 server; with port 0 the system chooses a port.
    pub listen: SocketAddr,
    /// The bucket and its access settings.
    pub s3: S3Settings,
    /// The queue between S3 and the function.
    pub queue: QueueSettings,
    /// The function that the queue invokes; without one, messages stay in the queue for inspection.
    pub function: Option<FunctionSettings>,
    /// Until this is true, the function is not invoked, and messages wait in the queue; `None` if it can be from the
    /// start on. A program that it needs is being built, for example.
    pub function_ready: Option<watch::Receiver<bool>>,
    /// The function that renders on-demand images, and the address of its URL.
    pub render: Option<FunctionUrlSettings>,
    /// The function that finds uploads whose event was missed; it runs when it is invoked.
    pub reconcile: Option<FunctionSettings>,
    /// The queue of outcomes, and the function that delivers them.
    pub notify: Option<NotifySettings>,
    /// The state machine that uploads start instead of going to the queue.
    pub workflow: Option<WorkflowSettings>,
    /// The state machine that generates missing outputs of existing videos, with the function that the queue invokes.
    pub backfill: Option<BackfillSettings>,
    /// The wall clock.
    pub clock: WallClock,
    /// The source of random names.
    pub entropy: Entropy,
}

impl Config {
    /// A cloud with this data folder, on a port that the system chooses, without a function.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            s3: S3Settings::default(),
            queue: QueueSettings::default(),
            function: None,
            function_ready: None,
            render: None,
            reconcile: None,
            notify: None,
            workflow: None,
            backfill: None,
            clock: WallClock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// The bucket and its access settings.
#[derive(Clone)]
pub struct S3Settings {
    /// The one bucket.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The public half of the key.
    pub access_key_id: String,
    /// The secret half of the key; it is never printed.
    pub secret_access_key: String,
    /// The pages that may call S3 from a browser, as in a bucket's CORS configuration.
    pub cors_rules: Vec<CorsRule>,
    /// Objects created under this prefix send events to the queue of uploads.
    pub event_prefix: String,
    /// Whether the bucket can be read and listed without credentials, which no bucket should allow.
    pub is_public: bool,
    /// The offset of S3's clock from the system clock, in seconds; negative if it is behind.
    pub clock_skew_secs: i64,
    /// A file to which every call with known credentials is appended as one line of JSON: caller, call and status.
    pub call_log_file: Option<PathBuf>,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            bucket: "glimpse".into(),
            region: "us-east-1".into(),
            access_key_id: "glimpse-local".into(),
            secret_access_key: "glimpse-local-secret-key".into(),
            cors_rules: Vec::new(),
            event_prefix: Key::UPLOADS.into(),
            is_public: false,
            clock_skew_secs: 0,
            call_log_file: None,
        }
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"***")
            .field("cors", &self.cors_rules)
            .field("event_prefix", &self.event_prefix)
            .field("is_public", &self.is_public)
            .field("clock_ahead_secs", &self.clock_skew_secs)
            .field("calls", &self.call_log_file)
            .finish()
    }
}

/// A queue for outcomes, to which S3 sends an event when an outcome is stored (a manifest, or a failure record), with
/// an HTTP API like that of SQS, and a topic with one like that of SNS; both accept requests signed with the bucket's
/// key pair.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// The address of the queue and the topic; with port 0 the system chooses a port.
    pub listen: SocketAddr,
    /// The queue.
    pub queue: QueueSettings,
    /// The function that it invokes; without one, messages stay in the queue for inspection.
    pub function: Option<FunctionSettings>,
    /// Whether the function gets the topic's ARN.
    pub has_topic: bool,
    /// The origin of the URLs in outcomes: the Worker's.
    pub public_url: String,
}

impl NotifySettings {
    /// A queue with the settings of a deployment, on a port that the system chooses, without a function.
    pub fn new(public_url: impl Into<String>) -> Self {
        let queue = QueueSettings {
            name: "glimpse-notify".into(),
            visibility_timeout: Duration::from_mins(6),
            max_receive_count: 11,
            batch_size: 10,
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { listen, queue, function: None, has_topic: false, public_url: public_url.into() }
    }

    /// The same with this program as the function `glimpse-notify`.
    #[must_use]
    pub fn with_function(mut self, binary: impl Into<PathBuf>) -> Self {
        let mut function = FunctionSettings::new(binary);
        function.name = "glimpse-notify".into();
        function.timeout = Duration::from_mins(1);
        self.function = Some(function);
        self
    }
}

/// The workflow of an upload: its state machines, and the functions that their states call.
#[derive(Debug, Clone)]
pub struct WorkflowSettings {
    /// The folder of the definitions.
    pub definitions: PathBuf,
    /// The functions, by their names in the definitions.
    pub functions: BTreeMap<String, FunctionSettings>,
}

impl WorkflowSettings {
    /// This program as every function, with its step in the environment, and then changed by `configure`.
    pub fn new(
        definitions: impl Into<PathBuf>,
        binary: impl Into<PathBuf>,
        configure: impl Fn(&mut FunctionSettings),
    ) -> Self {
        let binary = binary.into();
        let functions = ["probe", "poster", "animation", "storyboard", "publish"].map(|step| {
            let mut function = FunctionSettings::new(binary.clone());
            function.name = format!("glimpse-{step}");
            function.env.insert("GLIMPSE_STEP".into(), step.into());
            configure(&mut function);
            (step.to_owned(), function)
        });
        Self { definitions: definitions.into(), functions: functions.into() }
    }
}

/// The state machine of a backfill, which runs on request.
#[derive(Debug, Clone)]
pub struct BackfillSettings {
    /// The file of its definition.
    pub definition: PathBuf,
    /// The keys per list request to the bucket; Step Functions uses 1000, S3's maximum.
    pub max_keys: u32,
}

/// A queue in front of a function, in SQS's terms.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The queue's name, the last component of its ARN.
    pub name: String,
    /// How long a received message stays invisible before it is delivered again.
    pub visibility_timeout: Duration,
    /// The number of receives after which a message becomes a dead letter.
    pub max_receive_count: u32,
    /// The maximum number of messages per invocation; SQS allows 10 without a batching window.
    pub batch_size: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            name: "glimpse-uploads".into(),
            visibility_timeout: Duration::from_secs(30),
            max_receive_count: 5,
            batch_size: 1,
        }
    }
}

/// A Lambda function: a program that implements the Runtime API.
#[derive(Clone)]
pub struct FunctionSettings {
    /// The function's name, the last component of its ARN.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// Its environment variables, in addition to those of Lambda and the cloud.
    pub env: BTreeMap<String, String>,
    /// The timeout of an invocation.
    pub timeout: Duration,
    /// The time limit of a new environment up to its first request for work; Lambda's is 10 s,
    /// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>.
    pub init_timeout: Duration,
    /// The memory size in its environment, in MB. Not enforced.
    pub memory_mb: u32,
    /// The maximum number of concurrent environments.
    pub concurrency: usize,
    /// An environment that was idle for this long is shut down; `None` keeps it warm.
    pub idle_timeout: Option<Duration>,
}

/// A function with a function URL, whose requests are signed with the bucket's key pair for the service `lambda`.
#[derive(Debug, Clone)]
pub struct FunctionUrlSettings {
    /// The address of its URL; with port 0 the system chooses a port.
    pub listen: SocketAddr,
    /// The function.
    pub function: FunctionSettings,
}

impl FunctionUrlSettings {
    /// This program as the function `glimpse-render`, on a port that the system chooses.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let mut function = FunctionSettings::new(binary);
        function.name = "glimpse-render".into();
        function.timeout = Duration::from_secs(30);
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), function }
    }
}

impl FunctionSettings {
    /// A function that runs this program with Lambda's defaults, in one environment at a time.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            name: "glimpse-preview".into(),
            binary: binary.into(),
            env: BTreeMap::new(),
            timeout: Duration::from_mins(2),
            init_timeout: Duration::from_secs(10),
            memory_mb: 1769,
            concurrency: 1,
            idle_timeout: None,
        }
    }
}

impl fmt::Debug for FunctionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionSettings")
            .field("name", &self.name)
            .field("binary", &self.binary)
            .field("env", &self.env.keys())
            .field("timeout", &self.timeout)
            .field("init_timeout", &self.init_timeout)
            .field("memory_mb", &self.memory_mb)
            .field("concurrency", &self.concurrency)
            .field("idle_shutdown", &self.idle_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secrets() {
        let mut config = Config::new("data");
        let mut function = FunctionSettings::new("preview");
        function.env.insert("TOKEN".into(), "hush".into());
        config.function = Some(function);
        let text = format!("{config:?}");
        assert!(!text.contains("glimpse-local-secret-key") && !text.contains("hush"), "{text}");
    }
}
