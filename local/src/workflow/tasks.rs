//! The resources that Glimpse's workflows call on this machine: functions, and other workflows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::definition::{DefinitionError, StateMachine};
use super::engine::{Execution, ExecutionError, ExecutionEvent, SleepFn, TaskRunner};
use crate::clock::Entropy;
use crate::lambda::{Function, InvocationOutcome};
use crate::s3::ObjectCreatedEvent;

pub(super) const LAMBDA_INVOKE: &str = "arn:aws:states:::lambda:invoke";
const START_EXECUTION: &str = "arn:aws:states:::states:startExecution";

/// An execution of an upload's workflow, or of a backfill.
#[derive(Debug, Clone)]
pub struct ExecutionRecord {
    /// Its name, by which duplicates are recognized.
    pub name: String,
    /// Its input; for an upload, an event of EventBridge.
    pub input: Value,
    /// Its result; `None` while it runs.
    pub result: Option<Result<Value, ExecutionError>>,
    /// Its history.
    pub events: Vec<ExecutionEvent>,
}

/// The workflows, and the resources that they call. Clones share it.
#[derive(Clone)]
pub(crate) struct Workflows(Arc<Inner>);

struct Inner {
    begin: StateMachine,
    preview: StateMachine,
    functions: BTreeMap<String, Function>,
    entropy: Entropy,
    records: Mutex<Vec<ExecutionRecord>>,
    running: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Workflows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workflows").field("records", &*self.records()).finish_non_exhaustive()
    }
}

impl Workflows {
    /// Opens the definitions in this folder, with these functions: probe, poster, animation, storyboard, publish.
    pub(crate) fn open(
        folder: &Path,
        functions: BTreeMap<String, Function>,
        entropy: Entropy,
    ) -> Result<Self, DefinitionError> {
        let text = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file)
                .map_err(|error| DefinitionError::Invalid(format!("{}: {error}", file.display())))
        };
        let begin = [("Partition", "aws"), ("Workflow", "preview")];
        let preview = [
            ("Partition", "aws"),
            ("Probe", "probe"),
            ("Poster", "poster"),
            ("Animation", "animation"),
            ("Storyboard", "storyboard"),
            ("Publish", "publish"),
        ];
        Ok(Self(Arc::new(Inner {
            begin: StateMachine::parse(&text("begin.asl.json")?, &begin)?,
            preview: StateMachine::parse(&text("preview.asl.json")?, &preview)?,
            functions,
            entropy,
            records: Mutex::default(),
            running: Mutex::default(),
        })))
    }

    /// Starts an upload's execution, as EventBridge does. Executions do not wait before retries.
    pub(crate) fn start_upload(&self, event: Value) {
        let this = self.clone();
        self.0.running().spawn(async move {
            let result = this.new_execution().run(&this.0.begin, event).await;
            if let Err(fault) = result {
                tracing::error!(
                    error = fault.error,
                    cause = fault.cause,
                    "cannot start the workflow of an upload"
                );
            }
        });
    }

    /// All executions, oldest first.
    pub(crate) fn list(&self) -> Vec<ExecutionRecord> {
        self.records().clone()
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.0.functions.values()
    }

    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        self.0.functions.get(name)
    }

    pub(crate) fn stop(&self) {
        self.0.running().abort_all();
    }

    fn records(&self) -> MutexGuard<'_, Vec<ExecutionRecord>> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_execution(&self) -> Execution {
        new_execution(Arc::new(self.clone()), &self.0.entropy)
    }

    /// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>: a name can be used
    /// only once.
    fn start_execution(&self, parameters: &Value) -> Result<Value, ExecutionError> {
        let (Some("preview"), Some(name)) =
            (parameters["StateMachineArn"].as_str(), parameters["Name"].as_str())
        else {
            return Err(ExecutionError::new("StepFunctions.StateMachineDoesNotExistException", parameters));
        };
        if name.len() > 80 || name.contains(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
            return Err(ExecutionError::new("StepFunctions.InvalidNameException", name));
        }
        let mut records = self.records();
        if records.iter().any(|record| record.name == name) {
            return Err(ExecutionError::new("StepFunctions.ExecutionAlreadyExistsException", name));
        }
        let (index, input) = (records.len(), parameters["Input"].clone());
        records.push(ExecutionRecord {
            name: name.to_owned(),
            input: input.clone(),
            result: None,
            events: Vec::new(),
        });
        drop(records);
        let this = self.clone();
        self.0.running().spawn(async move {
            let execution = this.new_execution();
            let result = execution.run(&this.0.preview, input).await;
            let mut records = this.records();
            records[index].events = execution.events();
            records[index].result = Some(result);
        });
        Ok(
            json!({ "ExecutionArn": format!("arn:aws:states:us-east-1:000000000000:execution:preview:{name}") }),
        )
    }

    async fn invoke(&self, parameters: &Value) -> Result<Value, ExecutionError> {
        let name = parameters["FunctionName"].as_str().unwrap_or_default();
        match self.function(name) {
            Some(function) => invoke(function, parameters).await,
            None => Err(ExecutionError::new("Lambda.ResourceNotFoundException", name)),
        }
    }
}

/// An execution that does not wait before retries.
pub(super) fn new_execution(tasks: Arc<dyn TaskRunner>, entropy: &Entropy) -> Execution {
    let sleep: SleepFn = Arc::new(|_| Box::pin(tokio::task::yield_now()));
    let entropy = entropy.clone();
    let random = move || f64::from(u8::from_str_radix(&entropy.random_hex()[..2], 16).unwrap_or(0)) / 255.0;
    Execution::new(tasks, sleep, random)
}

/// Calls a function, <https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html>.
pub(super) async fn invoke(function: &Function, parameters: &Value) -> Result<Value, ExecutionError> {
    match function.invoke(parameters["Payload"].to_string()).await {
        InvocationOutcome::Success(bytes) => {
            let payload: Value = serde_json::from_slice(&bytes).map_err(ExecutionError::runtime_error)?;
            Ok(json!({ "ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200 }))
        }
        InvocationOutcome::Failure { error_type: kind, payload } => {
            Err(ExecutionError::new(kind, String::from_utf8_lossy(&payload)))
        }
        InvocationOutcome::Running => {
            Err(ExecutionError::new("Lambda.ServiceException", "the invocation did not end"))
        }
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TaskRunner for Workflows {
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, ExecutionError> {
        match resource {
            LAMBDA_INVOKE => self.invoke(&parameters).await,
            START_EXECUTION => self.start_execution(&parameters),
            other => Err(ExecutionError::runtime_error(format!("{other} is not supported"))),
        }
    }
}

/// EventBridge's event for a new object, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>. `id`
/// is the event's id: duplicates have other ids.
pub fn eventbridge_event(created: &ObjectCreatedEvent, bucket: &str, region: &str, id: &str) -> Value {
    let time = Timestamp::from_millisecond(created.at_ms).unwrap_or_default();
    json!({
        "version": "0",
        "id": id,
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "000000000000",
        "time": format!("{time:.0}"),
        "region": region,
        "resources": [format!("arn:aws:s3:::{bucket}")],
        "detail": {
            "version": "0",
            "bucket": { "name": bucket },
            "object": {
                "key": created.key,
                "size": created.bytes,
                "etag": created.etag,
                "sequencer": format!("{:018X}", created.sequencer),
            },
            "request-id": created.origin.request_id,
            "requester": "000000000000",
            "source-ip-address": created.origin.source_ip,
            "reason": created.origin.event.trim_start_matches("ObjectCreated:"),
        },
    })
}
