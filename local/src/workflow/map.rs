//! Map states: a distributed map over a listing, in concurrent batches, until too many have failed; and an inline map
//! over a list.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::definition::{DistributedMap, InlineMap};
use super::engine::{Execution, ExecutionError, apply_result_path};
use super::path;

/// The default maximum of concurrent child executions,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>.
const MAX_CONCURRENCY: usize = 10_000;
/// The error of a batch that was not started.
const ABORTED: &str = "Aborted";

/// The result of one batch.
struct BatchResult {
    input: Value,
    result: Result<Value, ExecutionError>,
}

impl Execution {
    pub(crate) async fn run_distributed_map(
        &self,
        map: &DistributedMap,
        input: &Value,
    ) -> Result<Value, ExecutionError> {
        let fill_template =
            |template: &Value| path::fill(template, input).map_err(ExecutionError::runtime_error);
        let resolve_number = |path: &str| {
            let value = path::resolve(path, input).map_err(ExecutionError::runtime_error)?;
            value.as_u64().ok_or_else(|| ExecutionError::runtime_error(format!("{path} is not a number")))
        };
        let concurrency =
            match usize::try_from(resolve_number(&map.max_concurrency_path)?).unwrap_or(MAX_CONCURRENCY) {
                0 => MAX_CONCURRENCY,
                some => some.min(MAX_CONCURRENCY),
            };
        let tolerated_percentage = resolve_number(&map.tolerated_failure_percentage_path)?;
        let batch_input = fill_template(&map.item_batcher.batch_input)?;
        let listing =
            self.list_items(&map.item_reader.resource, fill_template(&map.item_reader.parameters)?).await;
        let items = listing.map_err(|error| ExecutionError::new("States.ItemReaderFailed", error.cause))?;

        let (total, failed) = (items.len(), AtomicUsize::new(0));
        let is_threshold_exceeded =
            || failed.load(Ordering::Relaxed) * 100 > total * tolerated_percentage as usize;
        let batches: Vec<Vec<Value>> =
            items.chunks(map.item_batcher.max_items_per_batch).map(<[_]>::to_vec).collect();
        let children = batches.into_iter().map(|batch| {
            let (items, child) = (batch.len(), json!({ "Items": batch, "BatchInput": batch_input }));
            let (failed, is_over) = (&failed, &is_threshold_exceeded);
            async move {
                if is_over() {
                    let error = ExecutionError::new(ABORTED, "too many batches failed before it");
                    return BatchResult { input: child, result: Err(error) };
                }
                let result = self.run_machine(&map.item_processor, child.clone()).await;
                if result.is_err() {
                    failed.fetch_add(items, Ordering::Relaxed);
                }
                BatchResult { input: child, result }
            }
        });
        let results: Vec<BatchResult> =
            futures::stream::iter(children).buffer_unordered(concurrency).collect().await;
        let details =
            self.write_results(map, &fill_template(&map.result_writer.parameters)?, &results).await?;
        if is_threshold_exceeded() {
            let cause = format!("{} of {total} items failed", failed.load(Ordering::Relaxed));
            return Err(ExecutionError::new("States.ExceedToleratedFailureThreshold", cause));
        }
        Ok(json!({ "ResultWriterDetails": details }))
    }

    /// Runs over a list of the input, one item after another.
    pub(crate) async fn run_inline_map(
        &self,
        map: &InlineMap,
        input: Value,
    ) -> Result<Value, ExecutionError> {
        let items = path::resolve(&map.items_path, &input).map_err(ExecutionError::runtime_error)?;
        let items = items
            .as_array()
            .ok_or_else(|| ExecutionError::runtime_error(format!("{} is not a list", map.items_path)))?;
        let mut results = Vec::new();
        for item in items {
            let child_input = path::fill_for_item(&map.item_selector, &input, item)
                .map_err(ExecutionError::runtime_error)?;
            results.push(self.run_machine(&map.item_processor, child_input).await?);
        }
        apply_result_path(&map.result_path, input, Value::Array(results))
    }

    /// All entries, page by page.
    async fn list_items(&self, resource: &str, mut parameters: Value) -> Result<Vec<Value>, ExecutionError> {
        let mut items = Vec::new();
        loop {
            let page = self.tasks().call(resource, parameters.clone()).await?;
            items.extend(page["Contents"].as_array().cloned().unwrap_or_default());
            match &page["NextContinuationToken"] {
                Value::Null => return Ok(items),
                token => parameters["ContinuationToken"] = token.clone(),
            }
        }
    }

    /// Writes the results of the batches, one file for each status, and a manifest with the files' names,
    /// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html>.
    async fn write_results(
        &self,
        map: &DistributedMap,
        destination: &Value,
        results: &[BatchResult],
    ) -> Result<Value, ExecutionError> {
        let (bucket, prefix) = (&destination["Bucket"], destination["Prefix"].as_str().unwrap_or_default());
        let folder = format!("{prefix}/{}", self.random_name());
        let put_object = async |name: &str, body: &Value| {
            let key = format!("{folder}/{name}");
            let parameters = json!({ "Bucket": bucket, "Key": key, "Body": body });
            let result = self.tasks().call(&map.result_writer.resource, parameters).await;
            result.map_err(|error| ExecutionError::new("States.ResultWriterFailed", error.cause))?;
            Ok(key)
        };
        let mut files = json!({});
        for status in ["FAILED", "PENDING", "SUCCEEDED"] {
            let list: Vec<Value> =
                results.iter().filter(|ended| ended.status() == status).map(BatchResult::to_json).collect();
            files[status] = json!([]);
            if !list.is_empty() {
                let body = Value::Array(list);
                let key = put_object(&format!("{status}_0.json"), &body).await?;
                files[status] = json!([{ "Key": key, "Size": body.to_string().len() }]);
            }
        }
        let manifest = json!({ "DestinationBucket": bucket, "ResultFiles": files });
        Ok(json!({ "Bucket": bucket, "Key": put_object("manifest.json", &manifest).await? }))
    }
}

impl BatchResult {
    fn status(&self) -> &'static str {
        match &self.result {
            Ok(_) => "SUCCEEDED",
            Err(error) if error.error == ABORTED => "PENDING",
            Err(_) => "FAILED",
        }
    }

    fn to_json(&self) -> Value {
        let mut document = json!({ "Status": self.status(), "Input": self.input.to_string() });
        match &self.result {
            Ok(output) => document["Output"] = output.to_string().into(),
            Err(error) => {
                document["Error"] = error.error.as_str().into();
                document["Cause"] = error.cause.as_str().into();
            }
        }
        document
    }
}
