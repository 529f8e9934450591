//! Runs state machines as AWS Step Functions does, as far as Glimpse's need it, and rejects unsupported features.
//!
//! The states language: <https://states-language.net/spec.html>, with JSONPath; Distributed Map:
//! <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>.

mod backfill;
mod bucket;
mod definition;
mod engine;
mod map;
mod path;
mod retry;
mod tasks;

pub(crate) use backfill::Backfill;
pub(crate) use bucket::BucketClient;
pub use definition::{DefinitionError, StateMachine};
pub use engine::{Execution, ExecutionError, ExecutionEvent, SleepFn, TaskRunner};
pub(crate) use tasks::Workflows;
pub use tasks::{ExecutionRecord, eventbridge_event};
