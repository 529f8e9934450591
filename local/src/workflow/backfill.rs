//! Decides how a backfill runs on this machine: by the definition that is deployed, over the bucket here, with the function
//! that makes pictures.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::bucket::Bucket;
use super::definition::{DefinitionError, Machine};
use super::engine::{Fault, Tasks};
use super::tasks::{INVOKE, Record, execution, invoke};
use crate::clock::Entropy;
use crate::lambda::Function;

const LIST: &str = "arn:aws:states:::s3:listObjectsV2";
const PUT: &str = "arn:aws:states:::s3:putObject";
/// By what the definition here calls its function.
const PREVIEW: &str = "preview";

/// The state machine, and what it calls.
#[derive(Debug)]
pub(crate) struct Backfill {
    machine: Machine,
    calls: Arc<Calls>,
    entropy: Entropy,
}

#[derive(Debug)]
struct Calls {
    bucket: Bucket,
    preview: Function,
}

impl Backfill {
    /// That of this file.
    pub(crate) fn open(
        file: &Path,
        bucket: Bucket,
        preview: Function,
        entropy: Entropy,
    ) -> Result<Self, DefinitionError> {
        let text = fs::read_to_string(file)
            .map_err(|error| DefinitionError::Wrong(format!("{}: {error}", file.display())))?;
        let slots = [("Partition", "aws"), ("Bucket", bucket.settings.bucket.as_str()), ("Preview", PREVIEW)];
        let machine = Machine::read(&text, &slots)?;
        Ok(Self { machine, calls: Arc::new(Calls { bucket, preview }), entropy })
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, input: Value) -> Record {
        let tasks: Arc<dyn Tasks> = self.calls.clone();
        let execution = execution(tasks, &self.entropy);
        let result = execution.run(&self.machine, input.clone()).await;
        Record { name: self.entropy.uuid(), input, result: Some(result), events: execution.events() }
    }
}

#[async_trait]
impl Tasks for Calls {
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, Fault> {
        match resource {
            LIST => self.bucket.list(&parameters).await,
            PUT => self.bucket.put(&parameters).await,
            INVOKE if parameters["FunctionName"] == PREVIEW => invoke(&self.preview, &parameters).await,
            other => Err(Fault::runtime(format!("{other} of {parameters} is not known here"))),
        }
    }
}
