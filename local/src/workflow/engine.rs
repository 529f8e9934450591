//! Decides what an execution does next: one state after another, what is tried again, what is caught, how it ends.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::definition::{AnyMap, Catcher, Choice, Fail, Machine, Parallel, ResultPath, State, Task};
use super::path;
use super::retry::{Retrier, fits};

/// The largest input or output of a state, in bytes,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const MAX_STATE_BYTES: usize = 256 * 1024;

/// An error as a state machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name: a retrier or a catcher knows it by that.
    pub error: String,
    /// For people.
    pub cause: String,
}

impl Fault {
    /// An error of that name.
    pub fn new(error: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { error: error.into(), cause: cause.to_string() }
    }

    /// The execution itself is wrong: nothing catches that.
    pub(crate) fn runtime(cause: impl fmt::Display) -> Self {
        Self::new("States.Runtime", cause)
    }

    fn document(&self) -> Value {
        json!({ "Error": self.error, "Cause": self.cause })
    }
}

/// What states call: functions, the bucket, other state machines.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Calls a resource with these parameters.
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, Fault>;
}

/// How an execution waits before it tries again: a test's clock need not.
pub type Wait = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A state was entered.
    Entered(String),
    /// A state failed, and is tried again.
    Retried {
        /// Which.
        state: String,
        /// By which error.
        error: String,
        /// How often before, by the same retrier.
        retry: u32,
        /// After how long.
        wait: Duration,
        /// The longest that it could have been.
        longest: Duration,
    },
    /// A state failed for good, and another one goes on.
    Caught {
        /// Which.
        state: String,
        /// By which error.
        error: String,
        /// Where it goes on.
        next: String,
    },
}

/// One execution.
pub struct Execution {
    tasks: Arc<dyn Tasks>,
    wait: Wait,
    chance: Arc<dyn Fn() -> f64 + Send + Sync>,
    events: Mutex<Vec<Event>>,
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Execution {
    /// An execution that calls `tasks`, waits by `wait`, and spreads its waits by `chance`, from 0 to 1.
    pub fn new(tasks: Arc<dyn Tasks>, wait: Wait, chance: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { tasks, wait, chance: Arc::new(chance), events: Mutex::default() }
    }

    /// What happened so far, of every branch.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many states were entered or tried again: what a Standard execution is paid by.
    pub fn transitions(&self) -> usize {
        self.events().iter().filter(|event| !matches!(event, Event::Caught { .. })).count()
    }

    /// Runs a machine to its end.
    ///
    /// # Errors
    /// That with which the execution fails.
    pub async fn run(&self, machine: &Machine, input: Value) -> Result<Value, Fault> {
        let most = Duration::from_secs(machine.timeout_seconds.unwrap_or(u64::from(u32::MAX)));
        timeout(most, self.machine(machine, input))
            .await
            .unwrap_or_else(|_| Err(Fault::new("States.Timeout", "the execution took too long")))
    }

    /// A name that no other has, by the same chance.
    pub(crate) fn name(&self) -> String {
        let digit =
            |_| char::from_digit(((self.chance)() * 15.0) as u32, 16).expect("a chance is from 0 to 1");
        (0..32).map(digit).collect()
    }

    pub(crate) fn tasks(&self) -> &Arc<dyn Tasks> {
        &self.tasks
    }

    /// An execution of its own by the same means, with this one's history.
    pub(crate) fn machine<'a>(
        &'a self,
        machine: &'a Machine,
        input: Value,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let (mut name, mut input) = (machine.start_at.clone(), input);
            loop {
                self.tell(Event::Entered(name.clone()));
                let state = machine.states.get(&name).expect("every name was checked");
                let (next, output) = self.state(&name, state, input).await?;
                if output.to_string().len() > MAX_STATE_BYTES {
                    return Err(Fault::new(
                        "States.DataLimitExceeded",
                        format!("{name} has too much to say"),
                    ));
                }
                match next {
                    Some(next) => (name, input) = (next, output),
                    None => return Ok(output),
                }
            }
        })
    }

    /// Where it goes on, and with what.
    async fn state(&self, name: &str, state: &State, input: Value) -> Result<(Option<String>, Value), Fault> {
        match state {
            State::Task(task) => match self.task(name, task, &input).await {
                Ok(output) => Ok((task.next.clone(), output)),
                Err(fault) => self.caught(name, &task.catch, fault, input),
            },
            State::Parallel(parallel) => match self.parallel(parallel, &input).await {
                Ok(output) => Ok((parallel.next.clone(), output)),
                Err(fault) => self.caught(name, &parallel.catch, fault, input),
            },
            State::Choice(choice) => Ok((Some(chosen(choice, &input)?), input)),
            State::Pass(pass) => {
                let result = match &pass.parameters {
                    Some(template) => path::filled(template, &input).map_err(Fault::runtime)?,
                    None => input.clone(),
                };
                Ok((pass.next.clone(), placed(&pass.result_path, input, result)?))
            }
            State::Map(map) => match &**map {
                AnyMap::Distributed(map) => Ok((map.next.clone(), self.map(map, &input).await?)),
                AnyMap::Inline(map) => Ok((map.next.clone(), self.each(map, input).await?)),
            },
            State::Succeed { .. } => Ok((None, input)),
            State::Fail(fail) => Err(failed(fail, &input)?),
        }
    }

    async fn task(&self, name: &str, task: &Task, input: &Value) -> Result<Value, Fault> {
        let parameters = path::filled(&task.parameters, input).map_err(Fault::runtime)?;
        let mut counts = vec![0; task.retry.len()];
        let result = loop {
            let call = self.tasks.call(&task.resource, parameters.clone());
            let ended = timeout(Duration::from_secs(task.timeout_seconds), call).await;
            let ended = ended.unwrap_or_else(|_| Err(Fault::new("States.Timeout", "the task took too long")));
            match ended {
                Ok(result) => break result,
                Err(fault) => self.again(name, &task.retry, &mut counts, fault).await?,
            }
        };
        let result = match &task.result_selector {
            Some(template) => path::filled(template, &result).map_err(Fault::runtime)?,
            None => result,
        };
        let output = placed(&task.result_path, input.clone(), result)?;
        match &task.output_path {
            Some(path) => path::find(path, &output).map_err(Fault::runtime),
            None => Ok(output),
        }
    }

    /// Waits for another try, if there is one.
    async fn again(
        &self,
        name: &str,
        retriers: &[Retrier],
        counts: &mut [u32],
        fault: Fault,
    ) -> Result<(), Fault> {
        let Some(place) = retriers.iter().position(|retrier| fits(&retrier.error_equals, &fault.error))
        else {
            return Err(fault);
        };
        let (retrier, retry) = (&retriers[place], counts[place]);
        if retry >= retrier.max_attempts {
            return Err(fault);
        }
        counts[place] += 1;
        let wait = retrier.wait(retry, (self.chance)());
        let longest = retrier.longest(retry);
        self.tell(Event::Retried { state: name.to_owned(), error: fault.error, retry, wait, longest });
        (self.wait)(wait).await;
        Ok(())
    }

    async fn parallel(&self, parallel: &Parallel, input: &Value) -> Result<Value, Fault> {
        let branches = parallel.branches.iter().map(|branch| self.machine(branch, input.clone()));
        // The engine ends the others when one fails; a function that runs is not ended by that, and here all come to
        // their end, so that what a test sees does not hang on who was faster.
        let results: Result<Vec<Value>, Fault> = join_all(branches).await.into_iter().collect();
        placed(&parallel.result_path, input.clone(), Value::Array(results?))
    }

    fn caught(
        &self,
        name: &str,
        catchers: &[Catcher],
        fault: Fault,
        input: Value,
    ) -> Result<(Option<String>, Value), Fault> {
        let Some(catcher) = catchers.iter().find(|catcher| fits(&catcher.error_equals, &fault.error)) else {
            return Err(fault);
        };
        let output = placed(&catcher.result_path, input, fault.document())?;
        self.tell(Event::Caught { state: name.to_owned(), error: fault.error, next: catcher.next.clone() });
        Ok((Some(catcher.next.clone()), output))
    }

    fn tell(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

pub(super) fn placed(path: &ResultPath, input: Value, result: Value) -> Result<Value, Fault> {
    match path {
        ResultPath::Whole => Ok(result),
        ResultPath::Nowhere => Ok(input),
        ResultPath::At(path) => path::put(path, input, result).map_err(Fault::runtime),
    }
}

fn chosen(choice: &Choice, input: &Value) -> Result<String, Fault> {
    for rule in &choice.choices {
        let value = path::find(&rule.variable, input).map_err(Fault::runtime)?;
        if value.as_str() == Some(&rule.string_equals) {
            return Ok(rule.next.clone());
        }
    }
    Ok(choice.default.clone())
}

fn failed(fail: &Fail, input: &Value) -> Result<Fault, Fault> {
    let text = |path: &str| match path::find(path, input) {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(Fault::runtime(format!("{path} is no text"))),
        Err(why) => Err(Fault::runtime(why)),
    };
    Ok(Fault { error: text(&fail.error_path)?, cause: text(&fail.cause_path)? })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers in order; then always the last one.
    struct Scripted(Mutex<VecDeque<Result<Value, Fault>>>, Mutex<Vec<Value>>);

    #[async_trait]
    impl Tasks for Scripted {
        async fn call(&self, _: &str, parameters: Value) -> Result<Value, Fault> {
            self.1.lock().unwrap().push(parameters);
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        }
    }

    async fn run(
        states: Value,
        answers: Vec<Result<Value, Fault>>,
    ) -> (Result<Value, Fault>, Vec<Event>, usize) {
        let text = json!({"Comment": "c", "QueryLanguage": "JSONPath", "StartAt": "A", "States": states});
        let machine = Machine::read(&text.to_string(), &[]).unwrap();
        let tasks = Arc::new(Scripted(Mutex::new(answers.into()), Mutex::default()));
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
    async fn retriers_count_by_themselves_and_then_it_is_caught() {
        let states = json!({
            "A": task(&json!({"End": true, "Retry": [
                {"ErrorEquals": ["busy"], "MaxAttempts": 2, "JitterStrategy": "FULL"},
                {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "B"}]})),
            "B": {"Type": "Succeed"},
        });
        let fault = |name: &str| Err(Fault::new(name, "why"));
        let (result, events, calls) =
            run(states.clone(), vec![fault("busy"), fault("other"), fault("busy"), Ok(json!(7))]).await;
        assert_eq!((result, calls), (Ok(json!(7)), 4));
        let waits: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Retried { error, retry, wait, .. } => Some((error.as_str(), *retry, wait.as_millis())),
                _ => None,
            })
            .collect();
        assert_eq!(waits, [("busy", 0, 500), ("other", 0, 1000), ("busy", 1, 1000)]);

        let (result, events, calls) = run(states, vec![fault("other")]).await;
        let caught = json!({"in": 1, "error": {"Error": "other", "Cause": "why"}});
        assert_eq!((result, calls), (Ok(caught), 2));
        assert_eq!(events.last(), Some(&Event::Entered("B".into())));
    }

    #[tokio::test]
    async fn what_is_wrong_by_itself_is_not_caught() {
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
    async fn results_go_where_they_are_said_to_and_failures_have_a_name() {
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
