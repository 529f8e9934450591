//! Decides how a distributed map goes over what a listing has: in batches, so many at once, until too many have failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::definition::Map;
use super::engine::{Execution, Fault};
use super::path;

/// The most child executions that run at once, if nothing is said,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>.
const MOST_AT_ONCE: usize = 10_000;

/// How one batch ended.
struct Ended {
    input: Value,
    items: usize,
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
        let listed = self.tasks().call(&map.item_reader.resource, fill(&map.item_reader.parameters)?).await;
        let listed = listed.map_err(|fault| Fault::new("States.ItemReaderFailed", fault.cause))?;
        let items = listed["Contents"].as_array().cloned().unwrap_or_default();

        let (total, failed) = (items.len(), AtomicUsize::new(0));
        let is_over = || failed.load(Ordering::Relaxed) * 100 > total * tolerated as usize;
        let batches: Vec<Vec<Value>> =
            items.chunks(map.item_batcher.max_items_per_batch).map(<[_]>::to_vec).collect();
        let children = batches.into_iter().map(|batch| {
            let (items, child) = (batch.len(), json!({ "Items": batch, "BatchInput": batch_input }));
            let (failed, is_over) = (&failed, &is_over);
            async move {
                if is_over() {
                    let fault = Fault::new("Aborted", "too many failed before it");
                    return Ended { input: child, items, result: Err(fault) };
                }
                let result = self.machine(&map.item_processor, child.clone()).await;
                if result.is_err() {
                    failed.fetch_add(items, Ordering::Relaxed);
                }
                Ended { input: child, items, result }
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

    /// Writes what became of the batches: those that did, those that failed, and where both are.
    async fn write(&self, map: &Map, place: &Value, ended: &[Ended]) -> Result<Value, Fault> {
        let (bucket, prefix) = (&place["Bucket"], place["Prefix"].as_str().unwrap_or_default());
        let of = |wanted: bool| -> Vec<Value> {
            let those = ended.iter().filter(|ended| ended.result.is_ok() == wanted);
            those
                .map(|ended| match &ended.result {
                    Ok(output) => json!({ "Status": "SUCCEEDED", "Input": ended.input.to_string(), "Output": output.to_string() }),
                    Err(fault) => json!({
                        "Status": "FAILED", "Input": ended.input.to_string(), "Error": fault.error, "Cause": fault.cause,
                        "Items": ended.items,
                    }),
                })
                .collect()
        };
        for (name, list) in [("SUCCEEDED_0.json", of(true)), ("FAILED_0.json", of(false))] {
            let parameters = json!({ "Bucket": bucket, "Key": format!("{prefix}/{name}"), "Body": list });
            let written = self.tasks().call(&map.result_writer.resource, parameters).await;
            written.map_err(|fault| Fault::new("States.ResultWriterFailed", fault.cause))?;
        }
        Ok(json!({ "Bucket": bucket, "Key": format!("{prefix}/manifest.json") }))
    }
}
