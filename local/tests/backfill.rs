//! A backfill of ten thousand videos with the project's definition, and functions whose duration is simulated with a
//! test clock: the number of batches, their concurrency, throttling and retries.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]
#![expect(clippy::print_stdout, reason = "the counts are shown with --nocapture")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use glimpse_local::workflow::{Execution, ExecutionError, ExecutionEvent, StateMachine, TaskRunner};
use serde_json::{Value, json};
use tokio::time::Instant;

const VIDEOS: u64 = 10_000;
/// The number of keys in a list page of S3.
const PAGE: u64 = 1000;
/// The time for a minute of 1080p, docs/operating.md.
const INVOCATION_TIME: Duration = Duration::from_millis(2700);

/// A bucket of [`VIDEOS`] and a function with a reserved concurrency of `reserved`.
#[derive(Default)]
struct FakeAccount {
    reserved: u64,
    /// Every nth video fails at the first attempt of its batch; 0: none.
    weak: u64,
    /// Every nth video always fails; 0: none.
    broken: u64,
    running: AtomicU64,
    peak: AtomicU64,
    calls: AtomicU64,
    throttled: AtomicU64,
    /// The number of attempts of each batch, by its first key.
    tries: Mutex<BTreeMap<String, u64>>,
    made: Mutex<BTreeMap<String, u64>>,
    written: Mutex<BTreeMap<String, Value>>,
}

#[async_trait]
impl TaskRunner for FakeAccount {
    async fn call(&self, resource: &str, parameters: Value) -> Result<Value, ExecutionError> {
        match resource {
            "arn:aws:states:::s3:listObjectsV2" => {
                assert_eq!(
                    (&parameters["Bucket"], &parameters["Prefix"]),
                    (&"bucket".into(), &"uploads/".into())
                );
                let from = parameters["ContinuationToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let item = |n: u64| json!({"Key": format!("uploads/o/{n:05}"), "Etag": "\"e\"", "Size": 1});
                let to = from + PAGE;
                let next = (to < VIDEOS).then(|| to.to_string());
                let items: Vec<Value> = (from..to).map(item).collect();
                Ok(json!({ "Contents": items, "NextContinuationToken": next }))
            }
            "arn:aws:states:::s3:putObject" => {
                let key = parameters["Key"].as_str().unwrap().to_owned();
                self.written.lock().unwrap().insert(key, parameters["Body"].clone());
                Ok(json!({}))
            }
            "arn:aws:states:::lambda:invoke" => self.invoke(&parameters["Payload"]["backfill"]).await,
            other => panic!("{other}"),
        }
    }
}

impl FakeAccount {
    async fn invoke(&self, batch: &Value) -> Result<Value, ExecutionError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.running.fetch_add(1, Ordering::Relaxed) >= self.reserved {
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.throttled.fetch_add(1, Ordering::Relaxed);
            return Err(ExecutionError::new("Lambda.TooManyRequestsException", "Rate Exceeded."));
        }
        self.peak.fetch_max(self.running.load(Ordering::Relaxed), Ordering::Relaxed);
        let items = batch["Items"].as_array().unwrap();
        let keys: Vec<&str> = items.iter().map(|item| item["Key"].as_str().unwrap()).collect();
        let tries = {
            let mut tries = self.tries.lock().unwrap();
            let tries = tries.entry(keys[0].to_owned()).or_default();
            *tries += 1;
            *tries
        };
        let mut failed = false;
        for key in keys {
            if self.made.lock().unwrap().contains_key(key) {
                continue;
            }
            tokio::time::sleep(INVOCATION_TIME).await;
            let number: u64 = key[key.len() - 5..].parse().unwrap();
            let is_hit = |every: u64| every > 0 && number % every == every - 1;
            if is_hit(self.broken) || (is_hit(self.weak) && tries == 1) {
                failed = true;
            } else {
                *self.made.lock().unwrap().entry(key.to_owned()).or_default() += 1;
            }
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        if failed {
            return Err(ExecutionError::new("upstream", "failed"));
        }
        Ok(json!({ "StatusCode": 200, "Payload": { "made": 10 } }))
    }

    fn made_count(&self) -> u64 {
        self.made.lock().unwrap().len() as u64
    }

    fn batches(&self) -> usize {
        self.tries.lock().unwrap().len()
    }

    /// The batches with this status, from the written manifest.
    fn report(&self, status: &str) -> Vec<Value> {
        let written = self.written.lock().unwrap();
        let (_, manifest) = written.iter().find(|(key, _)| key.ends_with("/manifest.json")).unwrap();
        let files = manifest["ResultFiles"][status].as_array().unwrap();
        let body = |file: &Value| written[file["Key"].as_str().unwrap()].as_array().unwrap().clone();
        files.iter().flat_map(body).collect()
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn machine() -> StateMachine {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../workflow/backfill.asl.json");
    let text = std::fs::read_to_string(file).unwrap();
    StateMachine::parse(&text, &[("Partition", "aws"), ("Bucket", "bucket"), ("Preview", "preview")]).unwrap()
}

struct RunResult {
    account: Arc<FakeAccount>,
    execution: Execution,
    result: Result<Value, ExecutionError>,
    hours: f64,
}

/// Runs it with the test clock, and prints the counts.
async fn run(case: &str, account: FakeAccount, input: Value) -> RunResult {
    let account = Arc::new(account);
    // A pseudorandom number, the same in every run.
    let state = AtomicU64::new(7);
    let chance = move || {
        let next = state.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.store(next, Ordering::Relaxed);
        (next >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let wait = Arc::new(|time| -> BoxFuture<'static, ()> { Box::pin(tokio::time::sleep(time)) });
    let tasks: Arc<dyn TaskRunner> = account.clone();
    let execution = Execution::new(tasks, wait, chance);
    let started = Instant::now();
    let result = execution.run(&machine(), input).await;
    let hours = started.elapsed().as_secs_f64() / 3600.0;
    println!(
        "{case}: {} batches, {} calls of the function, {} concurrent at most, {} throttled, \
         {} state transitions, {hours:.2} h",
        account.batches(),
        load(&account.calls),
        load(&account.peak),
        load(&account.throttled),
        execution.transitions(),
    );
    RunResult { account, execution, result, hours }
}

#[tokio::test(start_paused = true)]
async fn backfills_ten_thousand_videos_in_batches() {
    let account = FakeAccount { reserved: 1000, weak: 97, ..FakeAccount::default() };
    let RunResult { account, result, hours, .. } = run("ten at once", account, json!({})).await;
    let place = result.unwrap()["ResultWriterDetails"]["Key"].clone();
    assert!(account.written.lock().unwrap().contains_key(place.as_str().unwrap()), "{place}");
    assert_eq!(account.batches(), 1000, "batches of ten");
    assert_eq!(load(&account.peak), 10, "never more concurrent batches than configured");
    assert_eq!(load(&account.throttled), 0);
    assert_eq!(
        (account.made_count(), account.made.lock().unwrap().values().max()),
        (VIDEOS, Some(&1)),
        "each once"
    );
    // 103 videos failed once, each in another batch.
    assert_eq!(load(&account.calls), 1000 + VIDEOS / 97);
    assert_eq!(account.report("SUCCEEDED").len(), 1000);
    assert!((0.74..1.0).contains(&hours), "{hours}");
}

#[tokio::test(start_paused = true)]
async fn throttled_batches_retry_with_jitter() {
    let account = FakeAccount { reserved: 40, weak: 97, ..FakeAccount::default() };
    let ran = run("100 at once where 40 may run", account, json!({"concurrency": 100})).await;
    let account = &ran.account;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!((load(&account.peak), account.made_count()), (40, VIDEOS));
    let throttled = load(&account.throttled);
    assert!((500..20_000).contains(&throttled), "{throttled}");
    for event in ran.execution.events() {
        if let ExecutionEvent::Retried { wait, max_wait, retry, .. } = event {
            let is_bounded = wait <= max_wait && max_wait <= Duration::from_mins(5) && retry < 60;
            assert!(is_bounded, "{wait:?} of {max_wait:?}, {retry}");
        }
    }
    assert_eq!(ran.execution.transitions() as u64, 3 + load(&account.calls));
}

#[tokio::test(start_paused = true)]
async fn tolerates_failures_up_to_threshold() {
    let account = FakeAccount { reserved: 1000, broken: 2000, ..FakeAccount::default() };
    let RunResult { account, result, .. } =
        run("five that always fail", account, json!({"concurrency": 50})).await;
    assert!(result.is_ok(), "{result:?}");
    let failed = account.report("FAILED");
    assert_eq!(failed.len(), 5);
    assert!(failed[0]["Input"].as_str().unwrap().contains("uploads/o/0"), "{failed:?}");
    assert_eq!(account.made_count(), VIDEOS - 5, "the other videos of their batches were processed");

    let account = FakeAccount { reserved: 1000, broken: 50, ..FakeAccount::default() };
    let ran = run("one of fifty always fails", account, json!({"concurrency": 50})).await;
    assert_eq!(ran.result.unwrap_err().error, "States.ExceedToleratedFailureThreshold");
    assert!(ran.account.batches() < 500, "the backfill ends early");
    assert!(ran.account.report("PENDING").len() > 500, "batches that were not started are reported");
}
