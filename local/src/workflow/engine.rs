//! Runs executions: one state after another, with retries, catches and an outcome.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::definition::{
    Catcher, ChoiceState, FailState, MapState, ParallelState, ResultPath, State, StateMachine, TaskState,
};
use super::path;
use super::retry::{Retrier, matches_error};

/// The maximum size of a state's input or output, in bytes,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const MAX_STATE_BYTES: usize = 256 * 1024;

/// An error of a state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionError {
    /// Its name, which retriers and catchers match.
    pub error: String,
    /// A description for people.
    pub cause: String,
}

impl ExecutionError {
    /// An error with this name.
    pub fn new(error: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { error: error.into(), cause: cause.to_string() }
    }

    /// An error of the execution itself, which cannot be caught.
    pub(crate) fn runtime_error(cause: impl fmt::Display) -> Self {
        Self::new("States.Runtime", cause)
    }

    fn to_json(&self) -> Value {
        json!({ "Error": self.error, "Cause": self.cause })
    }
}

/// The resources that states call: functions, the bucket, other state machines.
#[async_trait]
pub trait TaskRunner: Send + Sync {
    /// Calls a resource with parameters.
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, ExecutionError>;
}

/// Waits between retries; a test need not really wait.
pub type SleepFn = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// An event in an execution's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionEvent {
    /// A state was entered.
    Entered(String),
    /// A state failed and is retried.
    Retried {
        /// The state.
        state: String,
        /// The error's name.
        error: String,
        /// The number of earlier retries by the same retrier.
        retry: u32,
        /// The wait before the retry.
        wait: Duration,
        /// The longest possible wait.
        max_wait: Duration,
    },
    /// A state failed permanently, and the error was caught.
    Caught {
        /// The state.
        state: String,
        /// The error's name.
        error: String,
        /// The next state.
        next: String,
    },
}

/// One execution.
pub struct Execution {
    tasks: Arc<dyn TaskRunner>,
    sleep: SleepFn,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    events: Mutex<Vec<ExecutionEvent>>,
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Execution {
    /// An execution that calls `tasks`, waits with `sleep`, and spreads its waits with `random`, from 0 to 1.
    pub fn new(
        tasks: Arc<dyn TaskRunner>,
        sleep: SleepFn,
        random: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { tasks, sleep, random: Arc::new(random), events: Mutex::default() }
    }

    /// All events so far, of every branch.
    pub fn events(&self) -> Vec<ExecutionEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of entered and retried states, by which Standard executions are billed.
    pub fn transitions(&self) -> usize {
        self.events().iter().filter(|event| !matches!(event, ExecutionEvent::Caught { .. })).count()
    }

    /// Runs a machine to its end.
    ///
    /// # Errors
    /// The error with which the execution fails.
    pub async fn run(&self, machine: &StateMachine, input: Value) -> Result<Value, ExecutionError> {
        let time_limit = Duration::from_secs(machine.timeout_seconds.unwrap_or(u64::from(u32::MAX)));
        timeout(time_limit, self.run_machine(machine, input))
            .await
            .unwrap_or_else(|_| Err(ExecutionError::new("States.Timeout", "the execution took too long")))
    }

    /// A unique name, from the same source of randomness.
    pub(crate) fn random_name(&self) -> String {
        let digit = |_| {
            char::from_digit(((self.random)() * 15.0) as u32, 16).expect("the random number is from 0 to 1")
        };
        (0..32).map(digit).collect()
    }

    pub(crate) fn tasks(&self) -> &Arc<dyn TaskRunner> {
        &self.tasks
    }

    /// Runs a nested machine with the same resources and history.
    pub(crate) fn run_machine<'a>(
        &'a self,
        machine: &'a StateMachine,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, ExecutionError>> {
        Box::pin(async move {
            let (mut name, mut input) = (machine.start_at.clone(), input);
            loop {
                self.record(ExecutionEvent::Entered(name.clone()));
                let state = machine.states.get(&name).expect("every name was checked");
                let (next, output) = self.run_state(&name, state, input).await?;
                if output.to_string().len() > MAX_STATE_BYTES {
                    return Err(ExecutionError::new(
                        "States.DataLimitExceeded",
                        format!("the input or output of {name} is too large"),
                    ));
                }
                match next {
                    Some(next) => (name, input) = (next, output),
                    None => return Ok(output),
                }
            }
        })
    }

    /// Returns the next state and its input.
    async fn run_state(
        &self,
        name: &str,
        state: &State,
        input: Value,
    ) -> Result<(Option<String>, Value), ExecutionError> {
        match state {
            State::Task(task) => match self.run_task(name, task, &input).await {
                Ok(output) => Ok((task.next.clone(), output)),
                Err(error) => self.catch_error(name, &task.catch, error, input),
            },
            State::Parallel(parallel) => match self.run_parallel(parallel, &input).await {
                Ok(output) => Ok((parallel.next.clone(), output)),
                Err(error) => self.catch_error(name, &parallel.catch, error, input),
            },
            State::Choice(choice) => Ok((Some(evaluate_choice(choice, &input)?), input)),
            State::Pass(pass) => {
                let result = match &pass.parameters {
                    Some(template) => path::fill(template, &input).map_err(ExecutionError::runtime_error)?,
                    None => input.clone(),
                };
                Ok((pass.next.clone(), apply_result_path(&pass.result_path, input, result)?))
            }
            State::Map(map) => match &**map {
                MapState::Distributed(map) => {
                    Ok((map.next.clone(), self.run_distributed_map(map, &input).await?))
                }
                MapState::Inline(map) => Ok((map.next.clone(), self.run_inline_map(map, input).await?)),
            },
            State::Succeed { .. } => Ok((None, input)),
            State::Fail(fail) => Err(fail_error(fail, &input)?),
        }
    }

    async fn run_task(&self, name: &str, task: &TaskState, input: &Value) -> Result<Value, ExecutionError> {
        let parameters = path::fill(&task.parameters, input).map_err(ExecutionError::runtime_error)?;
        let mut counts = vec![0; task.retry.len()];
        let result = loop {
            let call = self.tasks.call(&task.resource, parameters.clone());
            let result = timeout(Duration::from_secs(task.timeout_seconds), call).await;
            let result = result
                .unwrap_or_else(|_| Err(ExecutionError::new("States.Timeout", "the task took too long")));
            match result {
                Ok(result) => break result,
                Err(error) => self.wait_for_retry(name, &task.retry, &mut counts, error).await?,
            }
        };
        let result = match &task.result_selector {
            Some(template) => path::fill(template, &result).map_err(ExecutionError::runtime_error)?,
            None => result,
        };
        let output = apply_result_path(&task.result_path, input.clone(), result)?;
        match &task.output_path {
            Some(path) => path::resolve(path, &output).map_err(ExecutionError::runtime_error),
            None => Ok(output),
        }
    }

    /// Waits for the next attempt, if there is one.
    async fn wait_for_retry(
        &self,
        name: &str,
        retriers: &[Retrier],
        counts: &mut [u32],
        error: ExecutionError,
    ) -> Result<(), ExecutionError> {
        let Some(index) =
            retriers.iter().position(|retrier| matches_error(&retrier.error_equals, &error.error))
        else {
            return Err(error);
        };
        let (retrier, retry) = (&retriers[index], counts[index]);
        if retry >= retrier.max_attempts {
            return Err(error);
        }
        counts[index] += 1;
        let wait = retrier.wait(retry, (self.random)());
        let max_wait = retrier.max_wait(retry);
        self.record(ExecutionEvent::Retried {
            state: name.to_owned(),
            error: error.error,
            retry,
            wait,
            max_wait,
        });
        (self.sleep)(wait).await;
        Ok(())
    }

    async fn run_parallel(&self, parallel: &ParallelState, input: &Value) -> Result<Value, ExecutionError> {
        let branches = parallel.branches.iter().map(|branch| self.run_machine(branch, input.clone()));
        // Step Functions cancels the other branches when one fails, but does not stop a running function; here all
        // branches run to their end, so that a test's observations do not depend on timing.
        let results: Result<Vec<Value>, ExecutionError> = join_all(branches).await.into_iter().collect();
        apply_result_path(&parallel.result_path, input.clone(), Value::Array(results?))
    }

    fn catch_error(
        &self,
        name: &str,
        catchers: &[Catcher],
        error: ExecutionError,
        input: Value,
    ) -> Result<(Option<String>, Value), ExecutionError> {
        let Some(catcher) =
            catchers.iter().find(|catcher| matches_error(&catcher.error_equals, &error.error))
        else {
            return Err(error);
        };
        let output = apply_result_path(&catcher.result_path, input, error.to_json())?;
        self.record(ExecutionEvent::Caught {
            state: name.to_owned(),
            error: error.error,
            next: catcher.next.clone(),
        });
        Ok((Some(catcher.next.clone()), output))
    }

    fn record(&self, event: ExecutionEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

pub(super) fn apply_result_path(
    path: &ResultPath,
    input: Value,
    result: Value,
) -> Result<Value, ExecutionError> {
    match path {
        ResultPath::Replace => Ok(result),
        ResultPath::Discard => Ok(input),
        ResultPath::Path(path) => path::insert(path, input, result).map_err(ExecutionError::runtime_error),
    }
}

fn evaluate_choice(choice: &ChoiceState, input: &Value) -> Result<String, ExecutionError> {
    for rule in &choice.choices {
        let value = path::resolve(&rule.variable, input).map_err(ExecutionError::runtime_error)?;
        if value.as_str() == Some(&rule.string_equals) {
            return Ok(rule.next.clone());
        }
    }
    Ok(choice.default.clone())
}

fn fail_error(fail: &FailState, input: &Value) -> Result<ExecutionError, ExecutionError> {
    let resolve_text = |path: &str| match path::resolve(path, input) {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(ExecutionError::runtime_error(format!("{path} is not a string"))),
        Err(why) => Err(ExecutionError::runtime_error(why)),
    };
    Ok(ExecutionError { error: resolve_text(&fail.error_path)?, cause: resolve_text(&fail.cause_path)? })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Returns the results in order; then always the last one.
    struct ScriptedRunner(Mutex<VecDeque<Result<Value, ExecutionError>>>, Mutex<Vec<Value>>);

    #[async_trait]
    impl TaskRunner for ScriptedRunner {
        async fn call(&self, _: &str, parameters: Value) -> Result<Value, ExecutionError> {
            self.1.lock().unwrap().push(parameters);
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        }
    }

    async fn run(
        states: Value,
        answers: Vec<Result<Value, ExecutionError>>,
    ) -> (Result<Value, ExecutionError>, Vec<ExecutionEvent>, usize) {
        let text = json!({"Comment": "c", "QueryLanguage": "JSONPath", "StartAt": "A", "States": states});
        let machine = StateMachine::parse(&text.to_string(), &[]).unwrap();
        let tasks = Arc::new(ScriptedRunner(Mutex::new(answers.into()), Mutex::default()));
        let execution = Execution::new(tasks.clone(), Arc::new(|_| Box::pin(async {})), || 0.5);
        let result = execution.run(&machine, json!({"in": 1})).await;
        let calls = tasks.1.lock().unwrap().len();
        (result, execution.events(), calls)
    }

    fn task(more: &Value) -> Value {
        let mut task = json!({"Type": "Task", "Resource": "r", "Parameters": {}, "TimeoutSeconds": 9});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    }

    #[tokio::test]
    async fn exhausted_retriers_fall_through_to_catcher() {
        let states = json!({
            "A": task(&json!({"End": true, "Retry": [
                {"ErrorEquals": ["busy"], "MaxAttempts": 2, "JitterStrategy": "FULL"},
                {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "B"}]})),
            "B": {"Type": "Succeed"},
        });
        let fault = |name: &str| Err(ExecutionError::new(name, "why"));
        let (result, events, calls) =
            run(states.clone(), vec![fault("busy"), fault("other"), fault("busy"), Ok(json!(7))]).await;
        assert_eq!((result, calls), (Ok(json!(7)), 4));
        let waits: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                ExecutionEvent::Retried { error, retry, wait, .. } => {
                    Some((error.as_str(), *retry, wait.as_millis()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(waits, [("busy", 0, 500), ("other", 0, 1000), ("busy", 1, 1000)]);

        let (result, events, calls) = run(states, vec![fault("other")]).await;
        let caught = json!({"in": 1, "error": {"Error": "other", "Cause": "why"}});
        assert_eq!((result, calls), (Ok(caught), 2));
        assert_eq!(events.last(), Some(&ExecutionEvent::Entered("B".into())));
    }

    #[tokio::test]
    async fn runtime_errors_are_not_caught() {
        let catching = |parameters: Value| {
            let catch = json!([{"ErrorEquals": ["States.ALL"], "Next": "B"}]);
            json!({"A": task(&json!({"Parameters": parameters, "Catch": catch, "Next": "B"})), "B": {"Type": "Succeed"}})
        };
        let (result, _, calls) = run(catching(json!({"x.$": "$.missing"})), vec![Ok(json!(1))]).await;
        assert_eq!((result.unwrap_err().error.as_str(), calls), ("States.Runtime", 0));
        let (result, ..) = run(catching(json!({})), vec![Ok("x".repeat(300_000).into())]).await;
        assert_eq!(result.unwrap_err().error, "States.DataLimitExceeded");
    }

    #[tokio::test]
    async fn applies_result_paths_and_names_failures() {
        let states = json!({
            "A": {"Type": "Parallel", "ResultPath": "$.both", "Next": "C", "Branches": [
                {"StartAt": "X", "States": {"X": task(&json!({"OutputPath": "$.p", "End": true}))}},
                {"StartAt": "Y", "States": {"Y": task(&json!({"ResultSelector": {"q.$": "$.p"}, "ResultPath": "$.s", "End": true}))}}]},
            "C": {"Type": "Choice", "Default": "D", "Choices": [{"Variable": "$.in", "StringEquals": "1", "Next": "E"}]},
            "D": task(&json!({"ResultPath": null, "Next": "F"})),
            "E": {"Type": "Succeed"},
            "F": {"Type": "Pass", "Parameters": {"whole.$": "$"}, "ResultPath": "$.w", "End": true},
        });
        let (result, events, _) = run(states, vec![Ok(json!({"p": 2}))]).await;
        let both = json!([2, {"in": 1, "s": {"q": 2}}]);
        assert_eq!(result, Ok(json!({"in": 1, "both": both, "w": {"whole": {"in": 1, "both": both}}})));
        assert_eq!(events.len(), 6);
        let fail = json!({"A": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "$.e"}});
        assert_eq!(run(fail, vec![Ok(json!(1))]).await.0.unwrap_err().error, "States.Runtime");
    }
}
