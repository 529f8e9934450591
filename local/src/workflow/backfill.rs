//! Runs a backfill on this machine: the deployed definition, over the local bucket, with the preview function.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::bucket::BucketClient;
use super::definition::{DefinitionError, StateMachine};
use super::engine::{ExecutionError, TaskRunner};
use super::tasks::{ExecutionRecord, LAMBDA_INVOKE, invoke, new_execution};
use crate::clock::Entropy;
use crate::lambda::Function;

const LIST_OBJECTS: &str = "arn:aws:states:::s3:listObjectsV2";
const PUT_OBJECT: &str = "arn:aws:states:::s3:putObject";
/// The name of the function in the definition.
const PREVIEW: &str = "preview";

/// The state machine, and the resources that it calls.
#[derive(Debug)]
pub(crate) struct Backfill {
    machine: StateMachine,
    tasks: Arc<BackfillTasks>,
    entropy: Entropy,
}

#[derive(Debug)]
struct BackfillTasks {
    bucket: BucketClient,
    preview: Function,
}

impl Backfill {
    /// Opens the definition in this file.
    pub(crate) fn open(
        file: &Path,
        bucket: BucketClient,
        preview: Function,
        entropy: Entropy,
    ) -> Result<Self, DefinitionError> {
        let text = fs::read_to_string(file)
            .map_err(|error| DefinitionError::Invalid(format!("{}: {error}", file.display())))?;
        let substitutions =
            [("Partition", "aws"), ("Bucket", bucket.settings.bucket.as_str()), ("Preview", PREVIEW)];
        let machine = StateMachine::parse(&text, &substitutions)?;
        Ok(Self { machine, tasks: Arc::new(BackfillTasks { bucket, preview }), entropy })
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, input: Value) -> ExecutionRecord {
        let tasks: Arc<dyn TaskRunner> = self.tasks.clone();
        let execution = new_execution(tasks, &self.entropy);
        let result = execution.run(&self.machine, input.clone()).await;
        ExecutionRecord { name: self.entropy.uuid(), input, result: Some(result), events: execution.events() }
    }
}

#[async_trait]
impl TaskRunner for BackfillTasks {
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, ExecutionError> {
        match resource {
            LIST_OBJECTS => self.bucket.list(&parameters).await,
            PUT_OBJECT => self.bucket.put(&parameters).await,
            LAMBDA_INVOKE if parameters["FunctionName"] == PREVIEW => {
                invoke(&self.preview, &parameters).await
            }
            other => Err(ExecutionError::runtime_error(format!("{other} of {parameters} is not supported"))),
        }
    }
}
