//! Decides the life of one environment: one process that is started, given work, and killed when it must be.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::log::{Invocation, InvocationLog, Outcome, report};
use super::runtime_api::{Reply, RuntimeApi, Work};
use crate::clock::Clock;
use crate::config::FunctionSettings;
use crate::process::{Handle, Program, Watchdog, peak_memory_bytes, spawn, wait_for_end};

/// How long the last lines of an invocation may take through the pipe once the function has asked for more work.
const LINE_GRACE: Duration = Duration::from_millis(5);

/// What every environment of a function shares.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) settings: FunctionSettings,
    pub(crate) arn: String,
    /// What Lambda and the cloud set, with the function's own.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) watchdog: Watchdog,
    pub(crate) clock: Clock,
    pub(crate) log: InvocationLog,
}

/// A process that has asked for work at least once.
#[derive(Debug)]
pub(crate) struct Environment {
    number: u64,
    api: RuntimeApi,
    process: Process,
    current: Arc<Mutex<Option<String>>>,
    /// Told of with the first invocation only.
    init_duration: Option<Duration>,
    blueprint: Arc<Blueprint>,
    _tmp: TempDir,
}

#[derive(Debug)]
struct Process {
    ended: watch::Receiver<Option<ExitStatus>>,
    pid: i32,
    guard: crate::process::Guard,
}

/// Why there is no environment: what a caller gets.
#[derive(Debug)]
pub(crate) struct InitFailure {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl InitFailure {
    pub(crate) fn outcome(&self, request_id: &str) -> Outcome {
        failure(request_id, &self.kind, &self.message)
    }
}

/// An invocation on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    pub(crate) payload: Bytes,
}

impl Environment {
    /// Starts a process and waits until it asks for work.
    pub(crate) async fn start(
        number: u64,
        blueprint: Arc<Blueprint>,
        request_id: &str,
    ) -> Result<Self, InitFailure> {
        let unavailable = |error: std::io::Error| InitFailure {
            kind: "Runtime.Unavailable".into(),
            message: error.to_string(),
        };
        let api = RuntimeApi::start().await.map_err(unavailable)?;
        let tmp = tempfile::tempdir().map_err(unavailable)?;
        let started = Instant::now();
        let Handle { mut lines, ended, guard } =
            spawn(&program(&blueprint, &api, number, tmp.path()), &blueprint.watchdog).map_err(|error| {
                InitFailure {
                    kind: "Runtime.InvalidEntrypoint".into(),
                    message: format!("{}: {error}", blueprint.settings.binary.display()),
                }
            })?;
        let current = Arc::new(Mutex::new(Some(request_id.to_owned())));
        let (log, owner) = (blueprint.log.clone(), Arc::clone(&current));
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let request_id = owner.lock().unwrap_or_else(PoisonError::into_inner).clone();
                log.line(request_id.as_deref(), &line);
            }
        });
        let pid = guard.group.leader();
        let mut environment = Self {
            number,
            process: Process { ended, pid, guard },
            current,
            init_duration: None,
            blueprint: Arc::clone(&blueprint),
            _tmp: tmp,
            api,
        };
        environment.init(started).await?;
        Ok(environment)
    }

    async fn init(&mut self, started: Instant) -> Result<(), InitFailure> {
        let limit = self.blueprint.settings.init_timeout;
        let mut polls = self.api.polls.clone();
        let mut init_error = self.api.init_error.clone();
        tokio::select! {
            biased;
            said = init_error.wait_for(Option::is_some) => {
                let said = said.ok().and_then(|said| said.clone());
                let (kind, payload) = said.unwrap_or_else(|| ("Runtime.Unknown".into(), Bytes::new()));
                let message = message_of(&payload).unwrap_or_else(|| "the function could not start".into());
                Err(InitFailure { kind, message })
            }
            Ok(_) = polls.wait_for(|polls| *polls > 0) => {
                self.init_duration = Some(started.elapsed());
                Ok(())
            }
            status = self.process.exit() => {
                Err(InitFailure { kind: "Runtime.ExitError".into(), message: exit_message(status) })
            }
            () = tokio::time::sleep(limit) => Err(InitFailure {
                kind: "Sandbox.Timedout".into(),
                message: format!("Init timed out after {:.2} seconds", limit.as_secs_f64()),
            }),
        }
    }

    /// Whether the process is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.process.ended.borrow().is_none()
    }

    /// Runs one invocation. Returns what came of it, and the environment once it has asked for work again;
    /// without one it is gone.
    pub(crate) async fn invoke(mut self, call: Call) -> (Outcome, Settling) {
        let blueprint = Arc::clone(&self.blueprint);
        let id = call.request_id.clone();
        let init_duration = self.init_duration.take();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        blueprint.log.change(&id, |invocation| {
            invocation.environment = self.number;
            invocation.init_duration = init_duration;
        });
        blueprint.log.line(Some(&id), &format!("START RequestId: {id} Version: $LATEST"));

        let timeout = blueprint.settings.timeout;
        let deadline_ms =
            blueprint.clock.now_ms() + i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2);
        let polls_before = *self.api.polls.borrow();
        let (reply, answer) = oneshot::channel();
        let started = Instant::now();
        let work = Work {
            request_id: id.clone(),
            deadline_ms,
            arn: blueprint.arn.clone(),
            trace_id: call.trace_id,
            payload: call.payload,
            reply,
        };
        let sent = self.api.work.send(work).await.is_ok();
        let late = tokio::time::sleep(timeout);
        tokio::pin!(late);
        let mut alive = sent;
        let outcome = tokio::select! {
            biased;
            Ok(answer) = answer => match answer {
                Reply::Response(body) => Outcome::Success(body),
                Reply::Error { kind, payload } => Outcome::Failure { kind, payload },
            },
            status = self.process.exit() => {
                alive = false;
                failure(&id, "Runtime.ExitError", &exit_message(status))
            }
            () = &mut late => {
                alive = false;
                self.process.guard.group.signal(rustix::process::Signal::KILL);
                let message = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
                blueprint.log.line(Some(&id), &format!("{:.3} {id} {message}", blueprint.clock.now()));
                failure(&id, "Sandbox.Timedout", &message)
            }
        };
        let duration = started.elapsed();
        let settling =
            Settling { environment: self, alive, polls_before, id, left: timeout.saturating_sub(duration) };
        blueprint.log.change(&settling.id, |invocation| {
            invocation.duration = duration;
            invocation.outcome = outcome.clone();
        });
        (outcome, settling)
    }
}

/// An environment whose function has answered and has not yet asked for more work.
#[derive(Debug)]
pub(crate) struct Settling {
    environment: Environment,
    alive: bool,
    polls_before: u64,
    id: String,
    left: Duration,
}

impl Settling {
    /// Waits until the function asks for work again, and closes the invocation's log.
    pub(crate) async fn settle(self) -> Option<Environment> {
        let Self { mut environment, mut alive, polls_before, id, left } = self;
        if alive {
            let mut polls = environment.api.polls.clone();
            alive = tokio::select! {
                biased;
                polled = polls.wait_for(|polls| *polls > polls_before) => polled.is_ok(),
                _ = environment.process.exit() => false,
                () = tokio::time::sleep(left) => false,
            };
        }
        let memory = peak_memory_bytes(environment.process.pid);
        tokio::time::sleep(LINE_GRACE).await;
        let log = environment.blueprint.log.clone();
        log.line(Some(&id), &format!("END RequestId: {id}"));
        let mut closing = String::new();
        log.change(&id, |invocation| {
            invocation.max_memory_bytes = memory;
            closing = report(invocation, environment.blueprint.settings.memory_mb);
        });
        log.line(Some(&id), &closing);
        *environment.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        alive.then_some(environment)
    }
}

impl Process {
    async fn exit(&mut self) -> Option<ExitStatus> {
        wait_for_end(&mut self.ended).await;
        *self.ended.borrow()
    }
}

fn exit_message(status: Option<ExitStatus>) -> String {
    let status = status.map_or_else(|| "unknown status".to_owned(), |status| status.to_string());
    format!("Runtime exited with error: {status}")
}

/// The document that a caller gets for a fault that the function did not report itself.
fn failure(request_id: &str, kind: &str, message: &str) -> Outcome {
    let document =
        json!({ "errorType": kind, "errorMessage": format!("RequestId: {request_id} Error: {message}") });
    Outcome::Failure { kind: kind.to_owned(), payload: document.to_string().into() }
}

fn message_of(payload: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(document["errorMessage"].as_str()?.to_owned())
}

/// The program with the environment that Lambda gives,
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.
fn program(blueprint: &Blueprint, api: &RuntimeApi, number: u64, tmp: &Path) -> Program {
    let settings = &blueprint.settings;
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
        // A sandbox has a /tmp of its own; here each environment has its own folder.
        ("TMPDIR", tmp.to_string_lossy().into_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    env.extend(blueprint.env.clone());
    let dir = if root.is_empty() { ".".into() } else { root.into() };
    Program { name: "function", file: settings.binary.clone(), args: Vec::new(), env, clean: true, dir }
}

/// What the log begins with.
pub(crate) fn opened(call: &Call) -> Invocation {
    Invocation {
        request_id: call.request_id.clone(),
        environment: 0,
        payload: call.payload.clone(),
        outcome: Outcome::Running,
        lines: Vec::new(),
        duration: Duration::ZERO,
        init_duration: None,
        max_memory_bytes: None,
    }
}
