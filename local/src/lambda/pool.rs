//! The pool of a function's environments: uses a warm one if there is one, else starts a new one, up to the concurrency
//! limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::environment::{ExecutionEnvironment, FunctionSpec, InitFailure, InvokeRequest, new_invocation};
use super::log::{InvocationLog, InvocationOutcome, LoggedInvocation};
use crate::clock::{Entropy, WallClock};
use crate::config::FunctionSettings;
use crate::process::Watchdog;

/// A function with its environments. Clones share them.
#[derive(Debug, Clone)]
pub struct Function(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: Arc<FunctionSpec>,
    entropy: Entropy,
    permits: Arc<Semaphore>,
    warm: Mutex<Vec<(u64, ExecutionEnvironment)>>,
    environments_started: AtomicU64,
    next_ticket: AtomicU64,
}

impl Function {
    /// A function without environments yet. `env` is added to Lambda's variables.
    pub fn new(
        settings: FunctionSettings,
        region: &str,
        env: BTreeMap<String, String>,
        watchdog: Watchdog,
        clock: WallClock,
        entropy: Entropy,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        let arn = format!("arn:aws:lambda:{region}:000000000000:function:{}", settings.name);
        let log = InvocationLog::default();
        let spec = Arc::new(FunctionSpec { settings, arn, env, watchdog, clock, log });
        Self(Arc::new(Inner {
            spec,
            entropy,
            permits,
            warm: Mutex::default(),
            environments_started: AtomicU64::new(0),
            next_ticket: AtomicU64::new(0),
        }))
    }

    /// Invokes the function and waits for its result; waits for an environment if all are busy.
    pub async fn invoke(&self, payload: impl Into<Bytes>) -> InvocationOutcome {
        let inner = &self.0;
        let Ok(permit) = Arc::clone(&inner.permits).acquire_owned().await else {
            return InvocationOutcome::Failure {
                error_type: "ServiceException".into(),
                payload: Bytes::new(),
            };
        };
        let trace = inner.entropy.random_hex();
        let (time, rest) = trace.split_at(8);
        let request = InvokeRequest {
            request_id: inner.entropy.uuid(),
            trace_id: format!("Root=1-{time}-{rest};Parent={};Sampled=0", &rest[..16]),
            payload: payload.into(),
        };
        let id = request.request_id.clone();
        inner.spec.log.push(new_invocation(&request));
        let environment = match self.acquire_environment(&id).await {
            Ok(environment) => environment,
            Err(failure) => {
                let outcome = failure.outcome(&id);
                let log = &inner.spec.log;
                log.add_line(
                    Some(&id),
                    &format!("INIT_REPORT Status: error\tError Type: {}", failure.error_type),
                );
                log.add_line(Some(&id), &failure.message);
                log.update(&id, |invocation| invocation.outcome = outcome.clone());
                return outcome;
            }
        };
        let (outcome, cooldown) = environment.invoke(request).await;
        let function = self.clone();
        tokio::spawn(async move {
            if let Some(environment) = cooldown.wait_until_idle().await {
                function.release(environment);
            }
            drop(permit);
        });
        outcome
    }

    async fn acquire_environment(&self, request_id: &str) -> Result<ExecutionEnvironment, InitFailure> {
        loop {
            let warm = self.0.warm().pop();
            match warm {
                Some((_, environment)) if environment.is_alive() => return Ok(environment),
                // The environment exited while it was idle.
                Some(_) => {}
                None => break,
            }
        }
        let number = self.0.environments_started.fetch_add(1, Ordering::Relaxed) + 1;
        ExecutionEnvironment::start(number, Arc::clone(&self.0.spec), request_id).await
    }

    fn release(&self, environment: ExecutionEnvironment) {
        if self.0.permits.is_closed() {
            return;
        }
        let ticket = self.0.next_ticket.fetch_add(1, Ordering::Relaxed);
        self.0.warm().push((ticket, environment));
        if let Some(idle) = self.0.spec.settings.idle_timeout {
            let function = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(idle).await;
                let mut warm = function.0.warm();
                // The same ticket: the environment has not been used since.
                let index = warm.iter().position(|(other, _)| *other == ticket);
                let environment = index.map(|index| warm.remove(index));
                drop(warm);
                drop(environment);
            });
        }
    }

    /// The recent invocations, oldest first.
    pub fn invocations(&self) -> Vec<LoggedInvocation> {
        self.0.spec.log.list()
    }

    /// The number of environments started so far.
    pub fn environments_started(&self) -> u64 {
        self.0.environments_started.load(Ordering::Relaxed)
    }

    /// The number of idle environments.
    pub fn warm_environments(&self) -> usize {
        self.0.warm().len()
    }

    /// The timeout of an invocation.
    pub fn timeout(&self) -> Duration {
        self.0.spec.settings.timeout
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.0.spec.settings.concurrency.max(1)
    }

    /// Ends every idle environment and accepts no more work.
    pub fn stop(&self) {
        self.0.permits.close();
        self.0.warm().clear();
    }
}

impl Inner {
    fn warm(&self) -> MutexGuard<'_, Vec<(u64, ExecutionEnvironment)>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
