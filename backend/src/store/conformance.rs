//! Checks that an implementation of [`Store`] behaves like S3, as far as the backend relies on it.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt as _;
use glimpse_contract::{Key, VideoId, Visibility};

use super::{ObjectMeta, PutCondition, PutOptions, Store, StoreError};

/// An ETag that no object of the checks has.
const FOREIGN_ETAG: &str = "\"00000000000000000000000000000000\"";

/// A sequence of calls on one key, which is deleted before.
struct ConformanceCheck {
    name: &'static str,
    steps: &'static [(StoreCall, ExpectedResult)],
}

/// A call.
#[derive(Debug)]
enum StoreCall {
    Head,
    /// Reads the whole object, up to this many bytes.
    Get(u64),
    ReadRange(EtagChoice, Range<u64>),
    /// Writes a record.
    Put(&'static str, ConditionChoice),
    /// Writes an output.
    PutOutput(&'static str, Visibility),
    Delete,
}

/// The condition of a write.
#[derive(Debug)]
enum ConditionChoice {
    Always,
    IfAbsent,
    IfMatch(EtagChoice),
}

/// An ETag.
#[derive(Debug)]
enum EtagChoice {
    /// That of the first write.
    First,
    /// That of the last write.
    Last,
    /// That of no write.
    Foreign,
}

/// The result of a call.
#[derive(Debug)]
enum ExpectedResult {
    /// It succeeds, and the metadata that it returns are those of the last write.
    Success,
    /// Like `Success`, with these bytes.
    Content(&'static str),
    NotFound,
    AlreadyExists,
    PreconditionFailed,
    Transient,
}

const CHECKS: &[ConformanceCheck] = &[
    ConformanceCheck {
        name: "a missing object is not found",
        steps: &[
            (StoreCall::Head, ExpectedResult::NotFound),
            (StoreCall::Get(10), ExpectedResult::NotFound),
            (StoreCall::ReadRange(EtagChoice::Foreign, 0..1), ExpectedResult::NotFound),
            (StoreCall::Delete, ExpectedResult::Success),
        ],
    },
    ConformanceCheck {
        name: "a record is read as written",
        steps: &[
            (StoreCall::Put("{}", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Head, ExpectedResult::Success),
            (StoreCall::Get(2), ExpectedResult::Content("{}")),
        ],
    },
    ConformanceCheck {
        name: "an output keeps its type and visibility",
        steps: &[
            (StoreCall::PutOutput("image", Visibility::Signed), ExpectedResult::Success),
            (StoreCall::Head, ExpectedResult::Success),
            (StoreCall::Get(5), ExpectedResult::Content("image")),
            (StoreCall::PutOutput("image", Visibility::Public), ExpectedResult::Success),
            (StoreCall::Head, ExpectedResult::Success),
        ],
    },
    ConformanceCheck {
        name: "an empty object is read as written",
        steps: &[
            (StoreCall::Put("", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Head, ExpectedResult::Success),
            (StoreCall::Get(0), ExpectedResult::Content("")),
        ],
    },
    ConformanceCheck {
        name: "an object above the maximum is not read",
        steps: &[
            (StoreCall::Put("abc", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Get(2), ExpectedResult::Transient),
            (StoreCall::Get(3), ExpectedResult::Content("abc")),
        ],
    },
    ConformanceCheck {
        name: "a range has the bytes from its start to before its end",
        steps: &[
            (StoreCall::Put("abcdef", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::ReadRange(EtagChoice::Last, 0..6), ExpectedResult::Content("abcdef")),
            (StoreCall::ReadRange(EtagChoice::Last, 2..4), ExpectedResult::Content("cd")),
            (StoreCall::ReadRange(EtagChoice::Last, 5..6), ExpectedResult::Content("f")),
        ],
    },
    ConformanceCheck {
        name: "a range behind the end shows that the object was replaced",
        steps: &[
            (StoreCall::Put("abc", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::ReadRange(EtagChoice::Last, 3..4), ExpectedResult::PreconditionFailed),
            (StoreCall::ReadRange(EtagChoice::Last, 2..9), ExpectedResult::Content("c")),
        ],
    },
    ConformanceCheck {
        name: "a range is read only of the object with the ETag",
        steps: &[
            (StoreCall::Put("old", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Put("new", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::ReadRange(EtagChoice::First, 0..3), ExpectedResult::PreconditionFailed),
            (StoreCall::ReadRange(EtagChoice::Foreign, 0..3), ExpectedResult::PreconditionFailed),
            (StoreCall::ReadRange(EtagChoice::Last, 0..3), ExpectedResult::Content("new")),
        ],
    },
    ConformanceCheck {
        name: "the same bytes have the same ETag",
        steps: &[
            (StoreCall::Put("same", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Put("other", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Put("same", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::ReadRange(EtagChoice::First, 0..4), ExpectedResult::Content("same")),
        ],
    },
    ConformanceCheck {
        name: "only the first of several writes to an absent object succeeds",
        steps: &[
            (StoreCall::Put("first", ConditionChoice::IfAbsent), ExpectedResult::Success),
            (StoreCall::Put("second", ConditionChoice::IfAbsent), ExpectedResult::AlreadyExists),
            (StoreCall::Put("first", ConditionChoice::IfAbsent), ExpectedResult::AlreadyExists),
            (StoreCall::Get(10), ExpectedResult::Content("first")),
            (StoreCall::Delete, ExpectedResult::Success),
            (StoreCall::Put("third", ConditionChoice::IfAbsent), ExpectedResult::Success),
            (StoreCall::Get(10), ExpectedResult::Content("third")),
        ],
    },
    ConformanceCheck {
        name: "a conditional write replaces only the object with the ETag",
        steps: &[
            (StoreCall::Put("first", ConditionChoice::Always), ExpectedResult::Success),
            (
                StoreCall::Put("wrong", ConditionChoice::IfMatch(EtagChoice::Foreign)),
                ExpectedResult::PreconditionFailed,
            ),
            (StoreCall::Put("second", ConditionChoice::IfMatch(EtagChoice::First)), ExpectedResult::Success),
            (
                StoreCall::Put("wrong", ConditionChoice::IfMatch(EtagChoice::First)),
                ExpectedResult::PreconditionFailed,
            ),
            (StoreCall::Put("third", ConditionChoice::IfMatch(EtagChoice::Last)), ExpectedResult::Success),
            (StoreCall::Get(10), ExpectedResult::Content("third")),
        ],
    },
    ConformanceCheck {
        name: "a conditional write does not create an object",
        steps: &[
            (
                StoreCall::Put("wrong", ConditionChoice::IfMatch(EtagChoice::Foreign)),
                ExpectedResult::PreconditionFailed,
            ),
            (StoreCall::Head, ExpectedResult::NotFound),
            (StoreCall::Put("first", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Delete, ExpectedResult::Success),
            (
                StoreCall::Put("wrong", ConditionChoice::IfMatch(EtagChoice::First)),
                ExpectedResult::PreconditionFailed,
            ),
            (StoreCall::Head, ExpectedResult::NotFound),
        ],
    },
    ConformanceCheck {
        name: "a deleted object is not found",
        steps: &[
            (StoreCall::Put("gone", ConditionChoice::Always), ExpectedResult::Success),
            (StoreCall::Delete, ExpectedResult::Success),
            (StoreCall::Head, ExpectedResult::NotFound),
            (StoreCall::Get(10), ExpectedResult::NotFound),
            (StoreCall::ReadRange(EtagChoice::Last, 0..4), ExpectedResult::NotFound),
            (StoreCall::Delete, ExpectedResult::Success),
        ],
    },
];

/// Runs all checks and returns a description of each call whose result differs from the expected one.
pub async fn find_violations<S: Store>(store: &S) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, check) in (0_u8..).zip(CHECKS) {
        let key = Key::Manifest(VideoId::new(0, [number; 10]));
        if let Err(error) = store.delete(&key).await {
            violations.push(format!("{}: the deletion before returned {error:?}", check.name));
            continue;
        }
        let mut run = ConformanceRun { store, key, written: Vec::new() };
        for (index, (call, expected)) in check.steps.iter().enumerate() {
            if let Err(why) = run.check_call(call, expected).await {
                violations.push(format!("{}: step {}, {call:?}: {why}", check.name, index + 1));
            }
        }
    }
    violations
}

/// One check while it runs.
struct ConformanceRun<'a, S> {
    store: &'a S,
    key: Key,
    /// The metadata of the objects that were written.
    written: Vec<ObjectMeta>,
}

impl<S: Store> ConformanceRun<'_, S> {
    async fn check_call(&mut self, call: &StoreCall, expected: &ExpectedResult) -> Result<(), String> {
        let result = self.call(call).await;
        let is_expected = match (&result, expected) {
            (Ok((meta, bytes)), ExpectedResult::Success | ExpectedResult::Content(_)) => {
                let is_content = match (bytes, expected) {
                    (Some(bytes), ExpectedResult::Content(text)) => bytes == text,
                    (None, ExpectedResult::Success) => true,
                    _ => false,
                };
                is_content && meta.as_ref().is_none_or(|meta| Some(meta) == self.written.last())
            }
            (Err(StoreError::NotFound), ExpectedResult::NotFound)
            | (Err(StoreError::AlreadyExists), ExpectedResult::AlreadyExists)
            | (Err(StoreError::PreconditionFailed), ExpectedResult::PreconditionFailed)
            | (Err(StoreError::Transient(_)), ExpectedResult::Transient) => true,
            _ => false,
        };
        if is_expected { Ok(()) } else { Err(format!("expected {expected:?}, not {result:?}")) }
    }

    /// Makes a call and returns the metadata and the bytes that it returned.
    async fn call(&mut self, call: &StoreCall) -> Result<(Option<ObjectMeta>, Option<Bytes>), StoreError> {
        match call {
            StoreCall::Head => self.store.head(&self.key).await.map(|meta| (Some(meta), None)),
            StoreCall::Get(max_bytes) => {
                self.store.get(&self.key, *max_bytes).await.map(|(meta, bytes)| (Some(meta), Some(bytes)))
            }
            StoreCall::ReadRange(version, range) => {
                let body = self.store.read_range(&self.key, self.etag(version), range.clone()).await?;
                let chunks: Vec<Bytes> = body.try_collect().await?;
                Ok((None, Some(chunks.concat().into())))
            }
            StoreCall::Put(text, condition) => {
                let condition = match condition {
                    ConditionChoice::Always => PutCondition::Always,
                    ConditionChoice::IfAbsent => PutCondition::IfAbsent,
                    ConditionChoice::IfMatch(version) => PutCondition::IfMatch(self.etag(version)),
                };
                let options = PutOptions::JSON.with_condition(condition);
                let etag = self.store.put(&self.key, Bytes::from(*text), options).await?;
                self.written.push(expected_meta(etag, text, options));
                Ok((None, None))
            }
            StoreCall::PutOutput(text, visibility) => {
                let options = PutOptions::new("image/jpeg").with_visibility(*visibility);
                let etag = self.store.put(&self.key, Bytes::from(*text), options).await?;
                self.written.push(expected_meta(etag, text, options));
                Ok((None, None))
            }
            StoreCall::Delete => self.store.delete(&self.key).await.map(|()| (None, None)),
        }
    }

    fn etag(&self, version: &EtagChoice) -> &str {
        let written = match version {
            EtagChoice::First => self.written.first(),
            EtagChoice::Last => self.written.last(),
            EtagChoice::Foreign => None,
        };
        written.map_or(FOREIGN_ETAG, |meta| &meta.etag)
    }
}

fn expected_meta(etag: String, text: &str, options: PutOptions<'_>) -> ObjectMeta {
    ObjectMeta {
        etag,
        bytes: text.len() as u64,
        content_type: options.content_type.to_owned(),
        visibility: options.visibility.map(|visibility| visibility.as_str().to_owned()),
        ..ObjectMeta::default()
    }
}
