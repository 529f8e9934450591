//! One execution environment: a process that is started, given work, and killed if necessary.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::log::{InvocationLog, InvocationOutcome, LoggedInvocation, report_line};
use super::runtime_api::{PendingInvocation, RuntimeApi, RuntimeReply};
use crate::clock::WallClock;
use crate::config::FunctionSettings;
use crate::process::{ProcessHandle, ProgramSpec, Watchdog, peak_memory_bytes, spawn, wait_for_exit};

/// How long the last lines of an invocation may take through the pipe after the function has requested more work.
const LINE_GRACE: Duration = Duration::from_millis(5);

/// The settings that all environments of a function share.
#[derive(Debug)]
pub(crate) struct FunctionSpec {
    pub(crate) settings: FunctionSettings,
    pub(crate) arn: String,
    /// The variables of Lambda, of the cloud and of the function.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) watchdog: Watchdog,
    pub(crate) clock: WallClock,
    pub(crate) log: InvocationLog,
}

/// A process that has requested work at least once.
#[derive(Debug)]
pub(crate) struct ExecutionEnvironment {
    number: u64,
    api: RuntimeApi,
    process: Process,
    current: Arc<Mutex<Option<String>>>,
    /// Reported with the first invocation only.
    init_duration: Option<Duration>,
    spec: Arc<FunctionSpec>,
    _tmp: TempDir,
}

#[derive(Debug)]
struct Process {
    exit_status: watch::Receiver<Option<ExitStatus>>,
    pid: i32,
    guard: crate::process::KillGuard,
}

/// The reason why there is no environment, as the caller receives it.
#[derive(Debug)]
pub(crate) struct InitFailure {
    pub(crate) error_type: String,
    pub(crate) message: String,
}

impl InitFailure {
    pub(crate) fn outcome(&self, request_id: &str) -> InvocationOutcome {
        failure_outcome(request_id, &self.error_type, &self.message)
    }
}

/// An invocation in progress.
#[derive(Debug)]
pub(crate) struct InvokeRequest {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    pub(crate) payload: Bytes,
}

impl ExecutionEnvironment {
    /// Starts a process and waits until it requests work.
    pub(crate) async fn start(
        number: u64,
        spec: Arc<FunctionSpec>,
        request_id: &str,
    ) -> Result<Self, InitFailure> {
        let init_failure = |error: std::io::Error| InitFailure {
            error_type: "Runtime.Unavailable".into(),
            message: error.to_string(),
        };
        let api = RuntimeApi::start().await.map_err(init_failure)?;
        let tmp = tempfile::tempdir().map_err(init_failure)?;
        let started = Instant::now();
        let ProcessHandle { mut lines, exit_status, guard } =
            spawn(&program(&spec, &api, number, tmp.path()), &spec.watchdog).map_err(|error| {
                InitFailure {
                    error_type: "Runtime.InvalidEntrypoint".into(),
                    message: format!("{}: {error}", spec.settings.binary.display()),
                }
            })?;
        let current = Arc::new(Mutex::new(Some(request_id.to_owned())));
        let (log, current_request) = (spec.log.clone(), Arc::clone(&current));
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let request_id = current_request.lock().unwrap_or_else(PoisonError::into_inner).clone();
                log.add_line(request_id.as_deref(), &line);
            }
        });
        let pid = guard.group.leader();
        let mut environment = Self {
            number,
            process: Process { exit_status, pid, guard },
            current,
            init_duration: None,
            spec: Arc::clone(&spec),
            _tmp: tmp,
            api,
        };
        environment.init(started).await?;
        Ok(environment)
    }

    async fn init(&mut self, started: Instant) -> Result<(), InitFailure> {
        let limit = self.spec.settings.init_timeout;
        let mut polls = self.api.polls.clone();
        let mut init_error = self.api.init_error.clone();
        tokio::select! {
            biased;
            init_failure = init_error.wait_for(Option::is_some) => {
                let init_failure = init_failure.ok().and_then(|failure| failure.clone());
                let (error_type, payload) = init_failure.unwrap_or_else(|| ("Runtime.Unknown".into(), Bytes::new()));
                let message = error_message(&payload).unwrap_or_else(|| "the function could not start".into());
                Err(InitFailure { error_type, message })
            }
            Ok(_) = polls.wait_for(|polls| *polls > 0) => {
                self.init_duration = Some(started.elapsed());
                Ok(())
            }
            status = self.process.exit() => {
                Err(InitFailure { error_type: "Runtime.ExitError".into(), message: exit_message(status) })
            }
            () = tokio::time::sleep(limit) => Err(InitFailure {
                error_type: "Sandbox.Timedout".into(),
                message: format!("Init timed out after {:.2} seconds", limit.as_secs_f64()),
            }),
        }
    }

    /// Whether the process is still running.
    pub(crate) fn is_alive(&self) -> bool {
        self.process.exit_status.borrow().is_none()
    }

    /// Runs one invocation. Returns the result, and the environment once it has requested work again; without one, the
    /// process has ended.
    pub(crate) async fn invoke(mut self, request: InvokeRequest) -> (InvocationOutcome, Cooldown) {
        let spec = Arc::clone(&self.spec);
        let id = request.request_id.clone();
        let init_duration = self.init_duration.take();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        spec.log.update(&id, |invocation| {
            invocation.environment = self.number;
            invocation.init_duration = init_duration;
        });
        spec.log.add_line(Some(&id), &format!("START RequestId: {id} Version: $LATEST"));

        let timeout = spec.settings.timeout;
        let deadline_ms = spec.clock.now_ms() + i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2);
        let polls_before = *self.api.polls.borrow();
        let (reply, answer) = oneshot::channel();
        let started = Instant::now();
        let work = PendingInvocation {
            request_id: id.clone(),
            deadline_ms,
            arn: spec.arn.clone(),
            trace_id: request.trace_id,
            payload: request.payload,
            reply,
        };
        let was_sent = self.api.pending.send(work).await.is_ok();
        let time_limit = tokio::time::sleep(timeout);
        tokio::pin!(time_limit);
        let mut is_alive = was_sent;
        let outcome = tokio::select! {
            biased;
            Ok(answer) = answer => match answer {
                RuntimeReply::Response(body) => InvocationOutcome::Success(body),
                RuntimeReply::Error { error_type, payload } => InvocationOutcome::Failure { error_type, payload },
            },
            status = self.process.exit() => {
                is_alive = false;
                failure_outcome(&id, "Runtime.ExitError", &exit_message(status))
            }
            () = &mut time_limit => {
                is_alive = false;
                self.process.guard.group.signal(rustix::process::Signal::KILL);
                let message = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
                spec.log.add_line(Some(&id), &format!("{:.3} {id} {message}", spec.clock.now()));
                failure_outcome(&id, "Sandbox.Timedout", &message)
            }
        };
        let duration = started.elapsed();
        let cooldown = Cooldown {
            environment: self,
            is_alive,
            polls_before,
            id,
            time_left: timeout.saturating_sub(duration),
        };
        spec.log.update(&cooldown.id, |invocation| {
            invocation.duration = duration;
            invocation.outcome = outcome.clone();
        });
        (outcome, cooldown)
    }
}

/// An environment whose function has responded and has not yet requested more work.
#[derive(Debug)]
pub(crate) struct Cooldown {
    environment: ExecutionEnvironment,
    is_alive: bool,
    polls_before: u64,
    id: String,
    time_left: Duration,
}

impl Cooldown {
    /// Waits until the function requests work again, and closes the invocation's log.
    pub(crate) async fn wait_until_idle(self) -> Option<ExecutionEnvironment> {
        let Self { mut environment, mut is_alive, polls_before, id, time_left } = self;
        if is_alive {
            let mut polls = environment.api.polls.clone();
            is_alive = tokio::select! {
                biased;
                polled = polls.wait_for(|polls| *polls > polls_before) => polled.is_ok(),
                _ = environment.process.exit() => false,
                () = tokio::time::sleep(time_left) => false,
            };
        }
        let memory = peak_memory_bytes(environment.process.pid);
        tokio::time::sleep(LINE_GRACE).await;
        let log = environment.spec.log.clone();
        log.add_line(Some(&id), &format!("END RequestId: {id}"));
        let mut report_text = String::new();
        log.update(&id, |invocation| {
            invocation.max_memory_bytes = memory;
            report_text = report_line(invocation, environment.spec.settings.memory_mb);
        });
        log.add_line(Some(&id), &report_text);
        *environment.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        is_alive.then_some(environment)
    }
}

impl Process {
    async fn exit(&mut self) -> Option<ExitStatus> {
        wait_for_exit(&mut self.exit_status).await;
        *self.exit_status.borrow()
    }
}

fn exit_message(status: Option<ExitStatus>) -> String {
    let status = status.map_or_else(|| "unknown status".to_owned(), |status| status.to_string());
    format!("Runtime exited with error: {status}")
}

/// The document that the caller receives for an error that the function did not report itself.
fn failure_outcome(request_id: &str, kind: &str, message: &str) -> InvocationOutcome {
    let document =
        json!({ "errorType": kind, "errorMessage": format!("RequestId: {request_id} Error: {message}") });
    InvocationOutcome::Failure { error_type: kind.to_owned(), payload: document.to_string().into() }
}

fn error_message(payload: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(document["errorMessage"].as_str()?.to_owned())
}

/// The program with Lambda's environment variables,
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.
fn program(spec: &FunctionSpec, api: &RuntimeApi, number: u64, tmp: &Path) -> ProgramSpec {
    let settings = &spec.settings;
    let root =
        settings.binary.parent().map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default();
    let mut env: BTreeMap<String, String> = [
        ("AWS_LAMBDA_RUNTIME_API", api.address.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", settings.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", settings.memory_mb.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", settings.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[$LATEST]{number:032x}")),
        ("LAMBDA_TASK_ROOT", root.clone()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".into()),
        ("_HANDLER", "bootstrap".into()),
        ("TZ", ":UTC".into()),
        ("LANG", "en_US.UTF-8".into()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin".into()),
        // A Lambda sandbox has its own /tmp; here each environment has its own folder.
        ("TMPDIR", tmp.to_string_lossy().into_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    env.extend(spec.env.clone());
    let dir = if root.is_empty() { ".".into() } else { root.into() };
    ProgramSpec {
        name: "function",
        file: settings.binary.clone(),
        args: Vec::new(),
        env,
        clear_env: true,
        current_dir: dir,
    }
}

/// The initial log entry of an invocation.
pub(crate) fn new_invocation(request: &InvokeRequest) -> LoggedInvocation {
    LoggedInvocation {
        request_id: request.request_id.clone(),
        environment: 0,
        payload: request.payload.clone(),
        outcome: InvocationOutcome::Running,
        lines: Vec::new(),
        duration: Duration::ZERO,
        init_duration: None,
        max_memory_bytes: None,
    }
}
