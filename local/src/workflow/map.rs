//! Decides how a distributed map goes over what a listing has: in batches, so many at once, until too many have failed; and
//! how an inline map goes over a list.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::definition::{InlineMap, Map};
use super::engine::{Execution, Fault, placed};
use super::path;

/// The most child executions that run at once, if nothing is said,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>.
const MOST_AT_ONCE: usize = 10_000;
/// How a batch ends that was not begun any more.
const NOT_BEGUN: &str = "Aborted";

/// How one batch ended.
struct Ended {
    input: Value,
    result: Result<Value, Fault>,
}

impl Execution {
    pub(crate) async fn map(&self, map: &Map, input: &Value) -> Result<Value, Fault> {
        let fill = |template: &Value| path::filled(template, input).map_err(Fault::runtime);
        let number = |at: &str| {
            let value = path::find(at, input).map_err(Fault::runtime)?;
            value.as_u64().ok_or_else(|| Fault::runtime(format!("{at} is no number")))
        };
        let at_once = match usize::try_from(number(&map.max_concurrency_path)?).unwrap_or(MOST_AT_ONCE) {
            0 => MOST_AT_ONCE,
            some => some.min(MOST_AT_ONCE),
        };
        let tolerated = number(&map.tolerated_failure_percentage_path)?;
        let batch_input = fill(&map.item_batcher.batch_input)?;
        let listed = self.listed(&map.item_reader.resource, fill(&map.item_reader.parameters)?).await;
        let items = listed.map_err(|fault| Fault::new("States.ItemReaderFailed", fault.cause))?;

        let (total, failed) = (items.len(), AtomicUsize::new(0));
        let is_over = || failed.load(Ordering::Relaxed) * 100 > total * tolerated as usize;
        let batches: Vec<Vec<Value>> =
            items.chunks(map.item_batcher.max_items_per_batch).map(<[_]>::to_vec).collect();
        let children = batches.into_iter().map(|batch| {
            let (items, child) = (batch.len(), json!({ "Items": batch, "BatchInput": batch_input }));
            let (failed, is_over) = (&failed, &is_over);
            async move {
                if is_over() {
                    let fault = Fault::new(NOT_BEGUN, "too many failed before it");
                    return Ended { input: child, result: Err(fault) };
                }
                let result = self.machine(&map.item_processor, child.clone()).await;
                if result.is_err() {
                    failed.fetch_add(items, Ordering::Relaxed);
                }
                Ended { input: child, result }
            }
        });
        let ended: Vec<Ended> = futures::stream::iter(children).buffer_unordered(at_once).collect().await;
        let details = self.write(map, &fill(&map.result_writer.parameters)?, &ended).await?;
        if is_over() {
            let cause = format!("{} of {total} items failed", failed.load(Ordering::Relaxed));
            return Err(Fault::new("States.ExceedToleratedFailureThreshold", cause));
        }
        Ok(json!({ "ResultWriterDetails": details }))
    }

    /// Goes over a list of the input, one item after another.
    pub(crate) async fn each(&self, map: &InlineMap, input: Value) -> Result<Value, Fault> {
        let items = path::find(&map.items_path, &input).map_err(Fault::runtime)?;
        let items =
            items.as_array().ok_or_else(|| Fault::runtime(format!("{} is no list", map.items_path)))?;
        let mut results = Vec::new();
        for item in items {
            let chosen = path::filled_of_item(&map.item_selector, &input, item).map_err(Fault::runtime)?;
            results.push(self.machine(&map.item_processor, chosen).await?);
        }
        placed(&map.result_path, input, Value::Array(results))
    }

    /// Everything that is there, page by page.
    async fn listed(&self, resource: &str, mut parameters: Value) -> Result<Vec<Value>, Fault> {
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

    /// Writes what became of the batches, a file for each way to end, and a manifest that says where those are,
    /// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html>.
    async fn write(&self, map: &Map, place: &Value, ended: &[Ended]) -> Result<Value, Fault> {
        let (bucket, prefix) = (&place["Bucket"], place["Prefix"].as_str().unwrap_or_default());
        let folder = format!("{prefix}/{}", self.name());
        let put = async |name: &str, body: &Value| {
            let key = format!("{folder}/{name}");
            let parameters = json!({ "Bucket": bucket, "Key": key, "Body": body });
            let written = self.tasks().call(&map.result_writer.resource, parameters).await;
            written.map_err(|fault| Fault::new("States.ResultWriterFailed", fault.cause))?;
            Ok(key)
        };
        let mut files = json!({});
        for status in ["FAILED", "PENDING", "SUCCEEDED"] {
            let list: Vec<Value> =
                ended.iter().filter(|ended| ended.status() == status).map(Ended::document).collect();
            files[status] = json!([]);
            if !list.is_empty() {
                let body = Value::Array(list);
                let key = put(&format!("{status}_0.json"), &body).await?;
                files[status] = json!([{ "Key": key, "Size": body.to_string().len() }]);
            }
        }
        let manifest = json!({ "DestinationBucket": bucket, "ResultFiles": files });
        Ok(json!({ "Bucket": bucket, "Key": put("manifest.json", &manifest).await? }))
    }
}

impl Ended {
    fn status(&self) -> &'static str {
        match &self.result {
            Ok(_) => "SUCCEEDED",
            Err(fault) if fault.error == NOT_BEGUN => "PENDING",
            Err(_) => "FAILED",
        }
    }

    fn document(&self) -> Value {
        let mut document = json!({ "Status": self.status(), "Input": self.input.to_string() });
        match &self.result {
            Ok(output) => document["Output"] = output.to_string().into(),
            Err(fault) => {
                document["Error"] = fault.error.as_str().into();
                document["Cause"] = fault.cause.as_str().into();
            }
        }
        document
    }
}
