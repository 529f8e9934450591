//! Starts the stack of a test: S3, queue and Lambda in this process, the Worker in workerd.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use glimpse_local::clock::WallClock;
use glimpse_local::oidc::{OidcProvider, OidcSettings};
use glimpse_local::s3::cors::CorsRule;
use glimpse_local::workerd::{Workerd, WorkerdSettings};
use glimpse_local::{
    BackfillSettings, Cloud, Config, FunctionSettings, FunctionUrlSettings, NotifySettings, WorkflowSettings,
};
use tempfile::TempDir;

use crate::workerd::{Worker, WorkerSettings};
use crate::{env_path, keys};

/// The client id that the OpenID provider for development accepts.
const CLIENT_ID: &str = "glimpse-dev";
/// The secret that signs session cookies.
pub const SESSION_SECRET: &str = "a session secret for tests only, 256 bits";
/// The secrets of upload tokens: the first key signs, both verify.
pub const UPLOAD_TOKEN_SECRETS: &str =
    "new=an upload token secret for tests only,old=a former upload token secret for tests";
/// The secrets of delivery tokens: the first key signs, both verify.
pub const DELIVERY_TOKEN_SECRETS: &str =
    "new=a delivery token secret for tests only,old=a former delivery token secret for tests";
/// An origin that may call the API, in addition to the Worker's own.
pub const APP_ORIGIN: &str = "https://app.example";

/// The differences from the usual stack.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch")]
pub struct Options {
    /// The Worker's variables that differ; an empty value removes one.
    pub vars: BTreeMap<String, String>,
    /// Origins whose pages may call the API and the bucket, in addition to the Worker's own and [`APP_ORIGIN`].
    pub origins: Vec<String>,
    /// Whether an OpenID provider runs.
    pub oidc: bool,
    /// Whether the Lambdas are left out: events stay in the queue, and nothing is rendered on demand.
    pub no_function: bool,
    /// Whether rate limits are off.
    pub no_limits: bool,
    /// How often a message is received before it is a dead letter; 0 means 3.
    pub max_receives: u32,
    /// The recipients of outcomes; `None` disables the notify function.
    pub notify: Option<NotifyOptions>,
    /// Other changes to the configuration of the local cloud.
    pub configure: Option<fn(&mut Config)>,
    /// Whether the edge's cache stores nothing, as on workers.dev.
    pub no_cache: bool,
    /// Whether the Worker runs in `wrangler dev`, as with `cargo xtask dev`; slower to start.
    pub wrangler: bool,
    /// Whether uploads start the state machine instead of going to the queue, and which of its steps have another
    /// program than ffmpeg: a line of shell by the step's name, in which `$FFMPEG` is the real ffmpeg and `$MARK` an
    /// unused path.
    pub workflow: Option<BTreeMap<String, String>>,
    /// The wall clock of S3, queues and functions' deadlines; `None` is the system clock.
    pub clock: Option<WallClock>,
}

/// The recipients of outcomes, as variables of the notify function.
#[derive(Debug, Clone, Default)]
pub struct NotifyOptions {
    /// `WEBHOOK_URLS`
    pub urls: String,
    /// `WEBHOOK_SECRETS`
    pub secrets: String,
    /// How often a message is received before it is a dead letter; 0 means as often as in a deployment.
    pub max_receives: u32,
    /// Whether there is a topic.
    pub has_topic: bool,
    /// Whether only HTTPS and public addresses are allowed, as in a deployment.
    pub is_strict: bool,
}

impl NotifyOptions {
    fn into_settings(self, edge: &str, binary: PathBuf) -> NotifySettings {
        let mut settings = NotifySettings::new(edge).with_function(binary);
        settings.has_topic = self.has_topic;
        if self.max_receives > 0 {
            settings.queue.max_receive_count = self.max_receives;
        }
        if let Some(function) = &mut settings.function {
            function.env.insert("WEBHOOK_URLS".into(), self.urls);
            function.env.insert("WEBHOOK_SECRETS".into(), self.secrets);
            let allow = if self.is_strict { "" } else { "1" };
            function.env.insert("WEBHOOK_ALLOW_LOOPBACK".into(), allow.into());
        }
        settings
    }
}

/// All processes of a test. Dropping it stops them and deletes their folder.
#[derive(Debug)]
pub struct Stack {
    /// S3, queue and function.
    pub cloud: Cloud,
    /// The Worker's URL for a browser.
    pub edge: String,
    lines: Arc<Mutex<Vec<String>>>,
    _worker: WorkerProcess,
    _oidc: Option<OidcProvider>,
    _folder: TempDir,
}

/// What runs the Worker.
#[derive(Debug)]
enum WorkerProcess {
    Miniflare { _worker: Worker },
    Wrangler { _workerd: Workerd },
}

impl Stack {
    /// Starts all processes and waits until they respond.
    ///
    /// # Panics
    /// If one does not start, with its name.
    pub async fn start(options: Options) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let edge = format!("http://localhost:{port}");

        let mut config = Config::new(folder.path().join("cloud"));
        let allowed_origins = || options.origins.iter().cloned().chain([APP_ORIGIN.to_owned()]);
        config.s3.cors_rules = vec![CorsRule::for_uploads(allowed_origins().chain([edge.clone()]))];
        config.s3.call_log_file = std::env::var_os("GLIMPSE_S3_CALLS").map(Into::into);
        config.queue.max_receive_count = if options.max_receives == 0 { 3 } else { options.max_receives };
        if let Some(clock) = options.clock {
            config.clock = clock;
        }
        config.notify = options
            .notify
            .map(|notify| notify.into_settings(&edge, env_path("GLIMPSE_PREVIEW").with_file_name("notify")));
        if !options.no_function {
            let preview = env_path("GLIMPSE_PREVIEW");
            // Cargo puts both binaries into one folder.
            let mut render = FunctionUrlSettings::new(preview.with_file_name("render"));
            let mut reconcile = FunctionSettings::new(preview.with_file_name("reconcile"));
            reconcile.name = "glimpse-reconcile".into();
            config.reconcile = Some(reconcile);
            let mut function = FunctionSettings::new(preview);
            for function in [&mut function, &mut render.function] {
                for name in ["GLIMPSE_FFMPEG", "GLIMPSE_FFPROBE"] {
                    function.env.insert(name.into(), env_path(name).to_string_lossy().into_owned());
                }
                function.concurrency = 2;
            }
            render.function.env.insert("S3_ON_DEMAND_TAG".into(), "glimpse=on-demand".into());
            config.workflow =
                options.workflow.map(|broken| workflow_settings(&broken, folder.path(), &function));
            config.function = Some(function);
            // Few keys per list page, so that listings have more than one page.
            let definition = env_path("GLIMPSE_ROOT").join("workflow/backfill.asl.json");
            config.backfill = Some(BackfillSettings { definition, max_keys: 4 });
            config.render = Some(render);
        }
        if let Some(change) = options.configure {
            change(&mut config);
        }
        let cloud = Cloud::start(config).await.unwrap_or_else(|error| panic!("the local cloud: {error}"));

        let lines = Arc::new(Mutex::new(Vec::new()));
        let collect_lines = |name: &'static str| {
            let lines = Arc::clone(&lines);
            move |line: &str| {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {line}"));
            }
        };
        let oidc = if options.oidc {
            let settings = OidcSettings {
                root: env_path("GLIMPSE_ROOT"),
                port: free_port(),
                client_id: CLIENT_ID.into(),
                redirect_uri: format!("{edge}/auth/callback"),
            };
            let provider = OidcProvider::start(settings, cloud.watchdog(), collect_lines("oidc")).await;
            Some(provider.unwrap_or_else(|error| panic!("{error}")))
        } else {
            None
        };
        let mut vars = worker_vars(&cloud, &edge, oidc.as_ref());
        vars.insert("ALLOWED_ORIGINS".into(), allowed_origins().collect::<Vec<_>>().join(","));
        vars.extend(options.vars);
        let persist_to = folder.path().join("workerd");
        let worker = if options.wrangler {
            let settings = WorkerdSettings { root: env_path("GLIMPSE_ROOT"), port, vars, persist_to };
            let workerd = Workerd::start(settings, cloud.watchdog(), collect_lines("workerd")).await;
            WorkerProcess::Wrangler { _workerd: workerd.unwrap_or_else(|error| panic!("{error}")) }
        } else {
            let settings = WorkerSettings {
                port,
                vars,
                has_limits: !options.no_limits,
                has_cache: !options.no_cache,
                persist_to,
            };
            let worker = Worker::start(settings, collect_lines("workerd")).await;
            WorkerProcess::Miniflare { _worker: worker.unwrap_or_else(|error| panic!("the Worker: {error}")) }
        };
        Self { cloud, edge, lines, _worker: worker, _oidc: oidc, _folder: folder }
    }

    /// The output of workerd and the provider so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the function's environments took from process start to the first request for work.
    pub fn init_durations(&self) -> Vec<Duration> {
        self.cloud.invocations().iter().filter_map(|invocation| invocation.init_duration).collect()
    }
}

/// A program that a test creates.
#[derive(Debug)]
pub struct ShellScript;

impl ShellScript {
    /// Writes a shell script into that folder, which is created if necessary; returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn install(folder: &Path, script: &str) -> String {
        fs::create_dir_all(folder).expect("a folder");
        let (text, program) = (folder.join("script.sh"), folder.join("program"));
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("a program");
        // Another process installs it: while this process has it open for writing, none of its threads can execute it.
        let installed = Command::new("install").args(["-m", "755"]).args([&text, &program]).status();
        assert!(installed.is_ok_and(|status| status.success()), "`install` succeeds");
        program.display().to_string()
    }
}

/// The project's workflow, with the settings of `preview`, except for the broken steps.
fn workflow_settings(
    broken: &BTreeMap<String, String>,
    folder: &Path,
    preview: &FunctionSettings,
) -> WorkflowSettings {
    let binary = preview.binary.with_file_name("workflow");
    WorkflowSettings::new(env_path("GLIMPSE_ROOT").join("workflow"), binary, |function| {
        function.env.extend(preview.env.clone());
        function.concurrency = 2;
        let Some(line) = broken.iter().find(|(step, _)| function.name.ends_with(step.as_str())) else {
            return;
        };
        let (ffmpeg, mark) = (preview.env["GLIMPSE_FFMPEG"].clone(), folder.join(format!("{}.mark", line.0)));
        let script = format!("FFMPEG={ffmpeg}\nMARK={}\n{}", mark.display(), line.1);
        function.env.insert("GLIMPSE_FFMPEG".into(), ShellScript::install(&folder.join(line.0), &script));
        // Long enough to start, so that a hanging function ends soon.
        function.timeout = Duration::from_secs(20);
    })
}

/// The Worker's variables on this stack, with which it accepts the bearer tokens of [`keys::bearer_token`].
fn worker_vars(cloud: &Cloud, edge: &str, oidc: Option<&OidcProvider>) -> BTreeMap<String, String> {
    let settings = cloud.settings();
    let mut vars: BTreeMap<String, String> = [
        ("PUBLIC_URL", edge),
        ("S3_BUCKET", &settings.bucket),
        ("S3_REGION", &settings.region),
        ("S3_ENDPOINT", &cloud.addresses().s3_endpoint),
        ("S3_ACCESS_KEY_ID", &settings.access_key_id),
        ("S3_SECRET_ACCESS_KEY", &settings.secret_access_key),
        ("RENDER_URL", cloud.addresses().render.as_deref().unwrap_or_default()),
        ("JWT_ISSUER", keys::ISSUER),
        ("JWT_AUDIENCE", keys::AUDIENCE),
        ("JWT_SECRET", keys::SECRET),
        ("SESSION_SECRET", SESSION_SECRET),
        ("UPLOAD_TOKEN_SECRETS", UPLOAD_TOKEN_SECRETS),
        ("DELIVERY_TOKEN_SECRETS", DELIVERY_TOKEN_SECRETS),
        ("OIDC_ISSUER", oidc.map_or("", OidcProvider::issuer)),
        ("OIDC_CLIENT_ID", CLIENT_ID),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    vars.retain(|_, value| !value.is_empty());
    if oidc.is_none() {
        // wrangler.toml names an example provider; an empty value removes it.
        vars.insert("OIDC_ISSUER".into(), String::new());
    }
    vars
}

/// Returns a free port that stays free until it is used. It is below the range from which systems choose for port 0
/// (32768 and up on Linux, 49152 and up by RFC 6335), where the listeners and connections of other stacks come and go,
/// and it is returned only once per run.
///
/// # Panics
/// If the machine has none.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT_OFFSET: AtomicU16 = AtomicU16::new(0);
    // Concurrent runs start at different ports.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT_OFFSET.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free")
}
