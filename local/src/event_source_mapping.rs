//! Decides how messages reach the function: Lambda's event source mapping for SQS,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::lambda::{Function, Outcome};
use crate::queue::{Delivery, Queue};
use crate::shutdown::told;

/// Which of a batch's messages are to be delivered again.
#[derive(Debug, PartialEq, Eq)]
enum Failed<'a> {
    None,
    All,
    Some(HashSet<&'a str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchResponse {
    #[serde(default)]
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: Option<String>,
}

/// Moves messages until told to stop; then gives back what it holds, so that a later start finds it at once.
pub(crate) async fn run(queue: Queue, function: Function, region: String, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(function.concurrency()));
    let mut batches = JoinSet::new();
    loop {
        let turn = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            queue.ready().await;
            Some(permit)
        };
        let permit = tokio::select! {
            biased;
            () = told(&mut stop) => break,
            permit = turn => permit,
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
    queue: &Queue,
    function: &Function,
    region: &str,
    deliveries: &[Delivery],
    mut stop: watch::Receiver<bool>,
) {
    let payload = sqs_event(deliveries, queue, region).to_string();
    let outcome = tokio::select! {
        outcome = function.invoke(payload) => Some(outcome),
        () = told(&mut stop) => None,
    };
    let Some(outcome) = outcome else {
        for delivery in deliveries {
            let _ = queue.change_visibility(&delivery.receipt, std::time::Duration::ZERO);
        }
        return;
    };
    let failed = failed(&outcome, deliveries);
    for delivery in deliveries {
        let again = match &failed {
            Failed::None => false,
            Failed::All => true,
            Failed::Some(ids) => ids.contains(delivery.message.id.as_str()),
        };
        if again {
            tracing::warn!(target: "queue", id = delivery.message.id, receives = delivery.message.receives, "not done, delivered again later");
        } else if let Err(error) = queue.delete(&delivery.receipt) {
            // It took longer than the visibility timeout: the message is out again, as it would be with SQS.
            tracing::warn!(target: "queue", id = delivery.message.id, %error, "done, but delivered again meanwhile");
        }
    }
}

/// Reads the function's answer by Lambda's rules: an error, an unreadable answer, or an id that is empty or not of
/// this batch, and the whole batch comes again.
fn failed<'a>(outcome: &'a Outcome, deliveries: &'a [Delivery]) -> Failed<'a> {
    let Outcome::Success(body) = outcome else { return Failed::All };
    if matches!(body.trim_ascii(), b"" | b"null") {
        return Failed::None;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return Failed::All };
    let Some(members) = answer.as_object() else {
        // A plain value, such as a text, says nothing about items.
        return Failed::None;
    };
    if !members.contains_key("batchItemFailures") {
        return Failed::None;
    }
    let Ok(answer) = serde_json::from_value::<BatchResponse>(answer) else { return Failed::All };
    let mut ids = HashSet::new();
    for item in answer.batch_item_failures.unwrap_or_default() {
        let known = item.item_identifier.as_deref().and_then(|id| {
            deliveries.iter().map(|delivery| delivery.message.id.as_str()).find(|known| *known == id)
        });
        match known {
            Some(id) => ids.insert(id),
            None => return Failed::All,
        };
    }
    if ids.is_empty() { Failed::None } else { Failed::Some(ids) }
}

/// The event as the function gets it.
pub(crate) fn sqs_event(deliveries: &[Delivery], queue: &Queue, region: &str) -> Value {
    let arn = format!("arn:aws:sqs:{region}:000000000000:{}", queue.settings().name);
    let record = |delivery: &Delivery| {
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
    use crate::queue::Message;

    fn delivery(id: &str) -> Delivery {
        let message = Message {
            number: 1,
            id: id.into(),
            body: "{}".into(),
            sent_at_ms: 1,
            receives: 1,
            first_received_at_ms: Some(2),
        };
        Delivery { receipt: format!("r:{id}"), message }
    }

    #[test]
    fn the_answer_is_read_by_lambdas_rules() {
        let batch = [delivery("a"), delivery("b")];
        let some = |ids: &[&'static str]| Failed::Some(ids.iter().copied().collect());
        let cases: [(&str, Failed<'_>); 11] = [
            ("null", Failed::None),
            ("", Failed::None),
            ("\"done\"", Failed::None),
            ("{}", Failed::None),
            ("{\"batchItemFailures\":[]}", Failed::None),
            ("{\"batchItemFailures\":null}", Failed::None),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"}]}", some(&["b"])),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"},{\"itemIdentifier\":\"x\"}]}", Failed::All),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"\"}]}", Failed::All),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":7}]}", Failed::All),
            ("{\"batch", Failed::All),
        ];
        for (answer, expected) in cases {
            let outcome = Outcome::Success(answer.as_bytes().to_vec().into());
            assert_eq!(failed(&outcome, &batch), expected, "{answer}");
        }
        let outcome = Outcome::Failure { kind: "x".into(), payload: "".into() };
        assert_eq!(failed(&outcome, &batch), Failed::All);
    }
}
