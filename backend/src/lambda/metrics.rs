//! Metrics of the Lambdas in CloudWatch's embedded metric format: one line per operation.
//!
//! The format is
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! Data with many values, such as a video's id, is written as a searchable field and never as a dimension, because each
//! value of a dimension is a separate, billed metric.

use std::io::Write as _;
use std::sync::OnceLock;

use glimpse_contract::{TraceId, VideoId};
use serde_json::{Map, Value, json};

/// The process-wide meter, like the log; not set if metrics are disabled.
static METER: OnceLock<Meter> = OnceLock::new();

#[derive(Debug)]
struct Meter {
    namespace: String,
    now_ms: fn() -> u64,
}

/// One metric of a record, with CloudWatch's name of its unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    name: &'static str,
    unit: &'static str,
    value: Value,
}

/// The metrics and fields of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRecord {
    pub(crate) function: &'static str,
    /// If set, the first metric is also recorded per outcome.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

/// The subject of a record, for searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The video.
    pub video: VideoId,
    /// The trace that its upload is part of; `None` if its metadata could not be read.
    pub trace_id: Option<TraceId>,
}

impl Subject {
    /// The fields of a record.
    pub(crate) fn fields(self) -> Vec<(&'static str, Value)> {
        let trace_id = self.trace_id.map(|trace| ("trace_id", json!(trace)));
        [("video", json!(self.video))].into_iter().chain(trace_id).collect()
    }
}

/// Enables metrics under this namespace. Without one, or with an empty one, no records are written.
pub fn init(namespace: Option<String>, now_ms: fn() -> u64) {
    if let Some(namespace) = namespace.filter(|name| !name.is_empty()) {
        METER.get_or_init(|| Meter { namespace, now_ms });
    }
}

/// Writes a record to standard output, as one line.
pub fn emit(record: &MetricRecord) {
    if let Some(Meter { namespace, now_ms }) = METER.get() {
        let line = record.to_emf(namespace, now_ms()) + "\n";
        // Ignore errors writing to stdout.
        std::io::stdout().lock().write_all(line.as_bytes()).ok();
    }
}

/// A metric with CloudWatch's name of its unit: `Count`, `Milliseconds` or `Bytes`.
pub(crate) fn metric(name: &'static str, unit: &'static str, value: impl Into<Value>) -> Metric {
    Metric { name, unit, value: value.into() }
}

impl MetricRecord {
    /// The record as a JSON document of one line, without a line feed. `now_ms` is in Unix milliseconds.
    pub fn to_emf(&self, namespace: &str, now_ms: u64) -> String {
        let directive = |metrics: &[Metric], dimensions: &[&str]| {
            let metrics: Vec<_> =
                metrics.iter().map(|metric| json!({ "Name": metric.name, "Unit": metric.unit })).collect();
            json!({ "Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics })
        };
        let mut directives = vec![directive(&self.metrics, &["Function"])];
        let mut root = Map::new();
        root.insert("Function".into(), self.function.into());
        if let Some(outcome) = self.outcome {
            root.insert("Outcome".into(), outcome.into());
            let first = &self.metrics[..self.metrics.len().min(1)];
            directives.push(directive(first, &["Function", "Outcome"]));
        }
        let numbers = self.metrics.iter().map(|metric| (metric.name, metric.value.clone()));
        for (name, value) in numbers.chain(self.fields.iter().cloned()) {
            root.insert(name.into(), value);
        }
        root.insert("_aws".into(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": directives }));
        Value::Object(root).to_string()
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Code;

    use super::*;
    use crate::error::JobError;
    use crate::notify::service::{DeliveryResult, delivery_record};
    use crate::preview::handler::job_record;
    use crate::preview::service::{JobOutcome, JobReport, StepTimes};
    use crate::reconcile::service::{ReconcileSummary, reconcile_record};
    use crate::render::service::render_record;
    use crate::source::reader::IoStats;
    use crate::workflow::handler::step_record;
    use crate::workflow::state::WorkflowStep;

    /// A day in 2026.
    const NOW_MS: u64 = 1_790_000_000_000;

    fn report(result: Result<JobOutcome, JobError>) -> JobReport {
        JobReport {
            result,
            must_restart: false,
            counts: IoStats::default(),
            steps: StepTimes { index: 1, decode: 20, encode: 300, publish: 4000, ..StepTimes::default() },
            queued_ms: None,
            trace_id: Some(trace()),
        }
    }

    fn video() -> VideoId {
        VideoId::new(1, [1; 10])
    }

    fn trace() -> TraceId {
        TraceId::from_video(video())
    }

    fn subject() -> Subject {
        Subject { video: video(), trace_id: Some(trace()) }
    }

    fn all_records() -> Vec<MetricRecord> {
        let jobs = [
            Ok(JobOutcome::Ready),
            Ok(JobOutcome::Rejected(Code::NotAVideo)),
            Err(JobError::internal("why")),
        ]
        .map(|result| job_record(video(), &report(result)).unwrap());
        let renders = ["made", "found", "lost", "chosen", "refused", "failed"];
        let renders = renders.map(|how| render_record(Some(subject()), how, 7));
        let steps = WorkflowStep::ALL.into_iter().flat_map(|(_, step)| {
            [Some("look"), Some("refused"), None]
                .map(|state| step_record(step, Some(subject()), state, 7, IoStats::default()).unwrap())
        });
        let deliveries = [DeliveryResult::Delivered, DeliveryResult::Retried, DeliveryResult::DeadLettered]
            .map(delivery_record);
        let reconcile = reconcile_record(ReconcileSummary { pages: 1, looked: 5, queued: 2, busy: false });
        jobs.into_iter().chain(steps).chain(renders).chain(deliveries).chain([reconcile]).collect()
    }

    /// The rules of the specification that this line violates.
    fn violations(line: &str) -> Vec<String> {
        let root: Value = serde_json::from_str(line).unwrap();
        let mut violations = Vec::new();
        let mut check = |good: bool, what: String| {
            if !good {
                violations.push(what);
            }
        };
        check(!line.contains('\n') && line.len() < 1024 * 1024, "one line, at most 1 MB".into());
        // CloudWatch accepts 14 days back and two hours ahead: a time in seconds or microseconds would be outside.
        check(root["_aws"]["Timestamp"] == NOW_MS, "Timestamp".into());
        let directives = root["_aws"]["CloudWatchMetrics"].as_array().cloned().unwrap_or_default();
        check(!directives.is_empty(), "CloudWatchMetrics".into());
        for directive in &directives {
            let namespace = directive["Namespace"].as_str().unwrap_or_default();
            check((1..=1024).contains(&namespace.len()), format!("Namespace {namespace}"));
            let sets = directive["Dimensions"].as_array().cloned().unwrap_or_default();
            check(!sets.is_empty(), "Dimensions".into());
            for set in &sets {
                let names = set.as_array().cloned().unwrap_or_default();
                check((1..=30).contains(&names.len()), format!("dimensions {set}"));
                for name in names {
                    let name = name.as_str().unwrap_or_default();
                    let value = root[name].as_str().unwrap_or_default();
                    check((1..=250).contains(&name.len()), format!("dimension {name}"));
                    check((1..=1024).contains(&value.len()) && value.is_ascii(), format!("value of {name}"));
                    check(["Function", "Outcome"].contains(&name), format!("{name} has many values"));
                }
            }
            let metrics = directive["Metrics"].as_array().cloned().unwrap_or_default();
            check((1..=100).contains(&metrics.len()), format!("{} metrics", metrics.len()));
            for metric in &metrics {
                let name = metric["Name"].as_str().unwrap_or_default();
                check((1..=1024).contains(&name.len()), format!("name {metric}"));
                check(root[name].is_number(), format!("{name} is not a number in the root"));
                let unit = metric["Unit"].as_str().unwrap_or_default();
                check(["Milliseconds", "Bytes", "Count"].contains(&unit), format!("unit {metric}"));
            }
        }
        // The metric filters of the log match this field, so they would count the record twice.
        check(root.get("metric").is_none(), "`metric` is reserved for the log".into());
        violations
    }

    #[test]
    fn records_conform_to_emf_specification() {
        for record in all_records() {
            let line = record.to_emf("Glimpse/stack", NOW_MS);
            assert_eq!(violations(&line), [""; 0], "{line}");
        }
    }

    #[test]
    fn checker_detects_violations() {
        let good = render_record(Some(subject()), "made", 7).to_emf("Glimpse/stack", NOW_MS);
        for (old, new) in [
            ("1790000000000", "1790000000"),
            ("\"Glimpse/stack\"", "\"\""),
            ("\"RenderMs\":7", "\"RenderMs\":\"7\""),
            ("\"Made\":1", "\"made\":1"),
            ("\"Outcome\":\"made\"", "\"Outcome\":\"\""),
            ("[\"Function\"]", "[\"video\"]"),
            ("\"Milliseconds\"", "\"ms\""),
            ("\"video\":", "\"metric\":"),
        ] {
            let bad = good.replace(old, new);
            assert!(bad != good && !violations(&bad).is_empty(), "{old} to {new}: {bad}");
        }
    }

    #[test]
    fn job_record_has_outcome_dimension_and_video_field() {
        let rejected = job_record(video(), &report(Ok(JobOutcome::Rejected(Code::NotAVideo)))).unwrap();
        let root: Value = serde_json::from_str(&rejected.to_emf("Glimpse/stack", NOW_MS)).unwrap();
        assert_eq!((&root["JobMs"], &root["Outcome"]), (&json!(4321), &json!("rejected")));
        assert_eq!((&root["video"], &root["code"]), (&json!(video()), &json!(Code::NotAVideo.as_str())));
        assert_eq!(root["trace_id"], json!(trace()));
        let by_outcome = &root["_aws"]["CloudWatchMetrics"][1];
        assert_eq!(by_outcome["Dimensions"], json!([["Function", "Outcome"]]));
        assert_eq!(by_outcome["Metrics"], json!([{ "Name": "JobMs", "Unit": "Milliseconds" }]));
        for nothing in [JobOutcome::AlreadyProcessed, JobOutcome::Superseded] {
            assert_eq!(job_record(video(), &report(Ok(nothing))), None, "{nothing:?} must not be recorded");
        }
    }
    #[test]
    fn step_record_only_for_steps_that_worked() {
        let record = |state| {
            step_record(
                WorkflowStep::Probe,
                Some(subject()),
                state,
                9,
                IoStats { bytes: 5, ..IoStats::default() },
            )
        };
        for (state, outcome) in [
            (Some("look"), "done"),
            (Some("made"), "done"),
            (Some("ready"), "done"),
            (Some("refused"), "rejected"),
            (Some("rejected"), "rejected"),
            (Some("failed"), "failed"),
            (None, "failed"),
        ] {
            let root: Value =
                serde_json::from_str(&record(state).unwrap().to_emf("Glimpse/stack", NOW_MS)).unwrap();
            assert_eq!(
                (&root["Outcome"], &root["Function"]),
                (&json!(outcome), &json!("probe")),
                "{state:?}"
            );
            assert_eq!((&root["StepMs"], &root["BytesRead"]), (&json!(9), &json!(5)));
        }
        for nothing in ["already", "superseded", "ignored"] {
            assert_eq!(record(Some(nothing)), None, "{nothing}");
        }
        let publish = step_record(WorkflowStep::Publish, None, Some("ready"), 1, IoStats::default()).unwrap();
        assert!(
            !publish.to_emf("Glimpse/stack", NOW_MS).contains("BytesRead"),
            "the publish step reads no video"
        );
    }
}
