//! Decides what can be set of the local cloud, and what holds when nothing is said.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use glimpse_contract::Key;

use crate::clock::{Entropy, WallClock};
use crate::s3::cors::CorsRule;

/// The port of the S3 server in development.
pub const S3_PORT: u16 = 9000;
/// The port of the function URL of `render` in development.
pub const RENDER_PORT: u16 = 9002;
/// The port of the notify queue and the topic in development.
pub const SERVICES_PORT: u16 = 9003;
/// The port of the Worker in development: the one address that a person opens.
pub const EDGE_PORT: u16 = 8787;
/// The port of the OpenID provider in development.
pub const OIDC_PORT: u16 = 9400;

/// Everything that [`crate::Cloud::start`] needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that survives: objects, uploads, messages. Made if it is not there.
    pub data: PathBuf,
    /// Where the S3 server listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The bucket and who may use it.
    pub s3: S3Settings,
    /// The queue between S3 and the function.
    pub queue: QueueSettings,
    /// The function that the queue wakes; without one, messages stay in the queue to be looked at.
    pub function: Option<FunctionSettings>,
    /// The function that makes pictures on demand, and where its URL is.
    pub render: Option<FunctionUrlSettings>,
    /// The function that finds uploads whose event was missed; it runs when it is invoked.
    pub reconcile: Option<FunctionSettings>,
    /// The queue that hears of outcomes, and who tells others of them.
    pub notify: Option<NotifySettings>,
    /// The state machine that uploads go to instead of to the queue.
    pub workflow: Option<WorkflowSettings>,
    /// The state machine that makes what a bucket's videos have not, by the function that the queue wakes.
    pub backfill: Option<BackfillSettings>,
    /// The wall clock.
    pub clock: WallClock,
    /// Where random names come from.
    pub entropy: Entropy,
}

impl Config {
    /// A cloud in that folder, on a port of the system's choice, without a function.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            s3: S3Settings::default(),
            queue: QueueSettings::default(),
            function: None,
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

/// The bucket and who may use it.
#[derive(Clone)]
pub struct S3Settings {
    /// The one bucket.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The public half of the key.
    pub access_key_id: String,
    /// The secret half of the key; it never prints.
    pub secret_access_key: String,
    /// Which pages may call from a browser, as a bucket's CORS configuration says it.
    pub cors_rules: Vec<CorsRule>,
    /// Objects made under this prefix send events to the queue of uploads.
    pub event_prefix: String,
    /// Whether everybody may read and list the bucket, as no bucket should let them.
    pub is_public: bool,
    /// How far S3's clock is ahead of the machine's, in seconds; behind it, if that is negative.
    pub clock_skew_secs: i64,
    /// A file to which every call of somebody known is added, a JSON document a line: who, what, and its status.
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

/// A queue beside the one of uploads, to which S3 writes when an outcome is stored (a manifest, or the note of a failure),
/// asked over HTTP as SQS is, and a topic as SNS is; both by requests signed with the bucket's key pair.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Where queue and topic are asked; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The queue.
    pub queue: QueueSettings,
    /// The function that it wakes; without one, messages stay in the queue to be looked at.
    pub function: Option<FunctionSettings>,
    /// Whether the function is told of the topic.
    pub has_topic: bool,
    /// The origin of the URLs that outcomes carry: where the Worker is.
    pub public_url: String,
}

impl NotifySettings {
    /// A queue with the settings that a deployment gives it, on a port of the system's choice, without a function.
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

    /// The same with that program as the function `glimpse-notify`.
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
    /// The functions, by the names that states know them by.
    pub functions: BTreeMap<String, FunctionSettings>,
}

impl WorkflowSettings {
    /// That program as every function, each told its step, with what `configure` makes of it.
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

/// The state machine of a backfill, which runs when it is asked for.
#[derive(Debug, Clone)]
pub struct BackfillSettings {
    /// The file of its definition.
    pub definition: PathBuf,
    /// How many names it asks the bucket for at once; the engine asks for 1000, as many as S3 gives.
    pub max_keys: u32,
}

/// A queue between others and a function, in the words of SQS.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The queue's name, the last part of its ARN.
    pub name: String,
    /// How long a received message stays hidden before it is delivered again.
    pub visibility_timeout: Duration,
    /// After this many receives a message becomes a dead letter.
    pub max_receive_count: u32,
    /// The most messages that one invocation gets, SQS allows 10 without a batching window.
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

/// A function of the Lambda kind: a program that speaks the Runtime API.
#[derive(Clone)]
pub struct FunctionSettings {
    /// The function's name, the last part of its ARN.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// What it finds in its environment besides what Lambda and the cloud set.
    pub env: BTreeMap<String, String>,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// How long a new environment may take to its first request for work; Lambda gives 10 s,
    /// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>.
    pub init_timeout: Duration,
    /// The memory that it is told it has, in MB. Not enforced.
    pub memory_mb: u32,
    /// How many environments run side by side at the most.
    pub concurrency: usize,
    /// An environment without work for this long is shut down; without a value it stays warm.
    pub idle_timeout: Option<Duration>,
}

/// A function that is called by its URL, with requests signed by the bucket's key pair for the service `lambda`.
#[derive(Debug, Clone)]
pub struct FunctionUrlSettings {
    /// Where its URL is; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The function.
    pub function: FunctionSettings,
}

impl FunctionUrlSettings {
    /// That program as the function `glimpse-render`, on a port of the system's choice.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let mut function = FunctionSettings::new(binary);
        function.name = "glimpse-render".into();
        function.timeout = Duration::from_secs(30);
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), function }
    }
}

impl FunctionSettings {
    /// A function of that program with Lambda's own defaults, one environment at a time.
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
