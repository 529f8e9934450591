//! Lambda's event source mapping for SQS: passes messages to the function in batches,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::lambda::{Function, InvocationOutcome};
use crate::queue::{LocalQueue, ReceivedMessage};
use crate::shutdown::shutdown_signal;

/// The messages of a batch that are to be delivered again.
#[derive(Debug, PartialEq, Eq)]
enum BatchFailures<'a> {
    None,
    All,
    Some(HashSet<&'a str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialBatchResponse {
    #[serde(default)]
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: Option<String>,
}

/// Passes messages on until the stop signal; then returns the messages in flight, so that they are visible at the next
/// start.
pub(crate) async fn run(
    queue: LocalQueue,
    function: Function,
    region: String,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(function.concurrency()));
    let mut batches = JoinSet::new();
    loop {
        let next_slot = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            queue.wait_for_message().await;
            Some(permit)
        };
        let permit = tokio::select! {
            biased;
            () = shutdown_signal(&mut stop) => break,
            permit = next_slot => permit,
        };
        while batches.try_join_next().is_some() {}
        let deliveries = match queue.receive(queue.settings().batch_size) {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::error!(target: "queue", %error, "receive");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        if !deliveries.is_empty() {
            let (queue, function, region, stop) =
                (queue.clone(), function.clone(), region.clone(), stop.clone());
            batches.spawn(async move {
                let _permit = permit;
                deliver(&queue, &function, &region, &deliveries, stop).await;
            });
        }
    }
    while batches.join_next().await.is_some() {}
}

async fn deliver(
    queue: &LocalQueue,
    function: &Function,
    region: &str,
    deliveries: &[ReceivedMessage],
    mut stop: watch::Receiver<bool>,
) {
    let payload = sqs_event_payload(deliveries, queue, region).to_string();
    let outcome = tokio::select! {
        outcome = function.invoke(payload) => Some(outcome),
        () = shutdown_signal(&mut stop) => None,
    };
    let Some(outcome) = outcome else {
        for delivery in deliveries {
            let _ = queue.change_visibility(&delivery.receipt, std::time::Duration::ZERO);
        }
        return;
    };
    let failed = parse_failures(&outcome, deliveries);
    for delivery in deliveries {
        let is_failed = match &failed {
            BatchFailures::None => false,
            BatchFailures::All => true,
            BatchFailures::Some(ids) => ids.contains(delivery.message.id.as_str()),
        };
        if is_failed {
            tracing::warn!(target: "queue", id = delivery.message.id, receives = delivery.message.receives, "failed, will be delivered again");
        } else if let Err(error) = queue.delete(&delivery.receipt) {
            // The function took longer than the visibility timeout: the message was delivered again, as with SQS.
            tracing::warn!(target: "queue", id = delivery.message.id, %error, "succeeded, but was delivered again in the meantime");
        }
    }
}

/// Parses the function's response by Lambda's rules: after an error, an unreadable response, or an item id that is
/// empty or not of this batch, the whole batch is delivered again.
fn parse_failures<'a>(
    outcome: &'a InvocationOutcome,
    deliveries: &'a [ReceivedMessage],
) -> BatchFailures<'a> {
    let InvocationOutcome::Success(body) = outcome else { return BatchFailures::All };
    if matches!(body.trim_ascii(), b"" | b"null") {
        return BatchFailures::None;
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return BatchFailures::All };
    let Some(members) = value.as_object() else {
        // A response without items, such as a string, reports no failures.
        return BatchFailures::None;
    };
    if !members.contains_key("batchItemFailures") {
        return BatchFailures::None;
    }
    let Ok(response) = serde_json::from_value::<PartialBatchResponse>(value) else {
        return BatchFailures::All;
    };
    let mut ids = HashSet::new();
    for item in response.batch_item_failures.unwrap_or_default() {
        let message_id = item.item_identifier.as_deref().and_then(|id| {
            deliveries.iter().map(|delivery| delivery.message.id.as_str()).find(|candidate| *candidate == id)
        });
        match message_id {
            Some(id) => ids.insert(id),
            None => return BatchFailures::All,
        };
    }
    if ids.is_empty() { BatchFailures::None } else { BatchFailures::Some(ids) }
}

/// The event that the function receives.
pub(crate) fn sqs_event_payload(deliveries: &[ReceivedMessage], queue: &LocalQueue, region: &str) -> Value {
    let arn = format!("arn:aws:sqs:{region}:000000000000:{}", queue.settings().name);
    let record = |delivery: &ReceivedMessage| {
        let message = &delivery.message;
        json!({
            "messageId": message.id,
            "receiptHandle": delivery.receipt,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": message.receives.to_string(),
                "SentTimestamp": message.sent_at_ms.to_string(),
                "SenderId": "AIDAGLIMPSELOCAL",
                "ApproximateFirstReceiveTimestamp": message.first_received_at_ms.unwrap_or(0).to_string(),
            },
            "messageAttributes": {},
            "md5OfBody": message.md5_of_body(),
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": region,
        })
    };
    json!({ "Records": deliveries.iter().map(record).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::QueueMessage;

    fn delivery(id: &str) -> ReceivedMessage {
        let message = QueueMessage {
            number: 1,
            id: id.into(),
            body: "{}".into(),
            sent_at_ms: 1,
            receives: 1,
            first_received_at_ms: Some(2),
        };
        ReceivedMessage { receipt: format!("r:{id}"), message }
    }

    #[test]
    fn parses_batch_response_like_lambda() {
        let batch = [delivery("a"), delivery("b")];
        let some = |ids: &[&'static str]| BatchFailures::Some(ids.iter().copied().collect());
        let cases: [(&str, BatchFailures<'_>); 11] = [
            ("null", BatchFailures::None),
            ("", BatchFailures::None),
            ("\"done\"", BatchFailures::None),
            ("{}", BatchFailures::None),
            ("{\"batchItemFailures\":[]}", BatchFailures::None),
            ("{\"batchItemFailures\":null}", BatchFailures::None),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"}]}", some(&["b"])),
            (
                "{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"},{\"itemIdentifier\":\"x\"}]}",
                BatchFailures::All,
            ),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"\"}]}", BatchFailures::All),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":7}]}", BatchFailures::All),
            ("{\"batch", BatchFailures::All),
        ];
        for (answer, expected) in cases {
            let outcome = InvocationOutcome::Success(answer.as_bytes().to_vec().into());
            assert_eq!(parse_failures(&outcome, &batch), expected, "{answer}");
        }
        let outcome = InvocationOutcome::Failure { error_type: "x".into(), payload: "".into() };
        assert_eq!(parse_failures(&outcome, &batch), BatchFailures::All);
    }
}
