//! Evaluates conditional requests by RFC 9110 section 13.2.2 and S3's rules for writes.

use s3s::dto::{ETag, ETagCondition, Timestamp};

/// The conditions of a GET, a HEAD or the source of a copy.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the members have the names of the headers")]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

/// The result of a read's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Proceed,
    NotModified,
    Failed,
}

impl ReadConditions {
    /// Evaluates the conditions for an existing object with this ETag (without quotes) and modification time, in whole
    /// seconds.
    pub(crate) fn evaluate(&self, etag: &str, modified: &Timestamp) -> ReadOutcome {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !etag_matches(condition, etag) => return ReadOutcome::Failed,
            (None, Some(since)) if modified > since => return ReadOutcome::Failed,
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if etag_matches(condition, etag) => ReadOutcome::NotModified,
            (None, Some(since)) if modified <= since => ReadOutcome::NotModified,
            _ => ReadOutcome::Proceed,
        }
    }
}

fn etag_matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(ETag::Strong(value) | ETag::Weak(value)) => value == etag,
    }
}

/// The conditions of a write,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteConditions {
    /// `If-None-Match: *`: the object must not exist yet.
    pub(crate) if_absent: bool,
    /// `If-Match`: the object must have this ETag.
    pub(crate) if_match: Option<ETagCondition>,
}

/// The reason why a write is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteConditionError {
    PreconditionFailed,
    NoSuchKey,
}

impl WriteConditions {
    /// Parses the two headers. `None` stands for `If-None-Match` with an ETag, which S3 does not implement.
    pub(crate) fn from_input(
        if_match: Option<ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> Option<Self> {
        match if_none_match {
            Some(ETagCondition::ETag(_)) => None,
            other => Some(Self { if_absent: other.is_some(), if_match }),
        }
    }

    /// Evaluates the conditions with the ETag of the current object of the key, if there is one.
    pub(crate) fn evaluate(&self, current: Option<&str>) -> Result<(), WriteConditionError> {
        if self.if_absent && current.is_some() {
            return Err(WriteConditionError::PreconditionFailed);
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(WriteConditionError::NoSuchKey),
            (Some(condition), Some(etag)) if !etag_matches(condition, etag) => {
                Err(WriteConditionError::PreconditionFailed)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn at(secs: u64) -> Timestamp {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(secs)).into()
    }

    fn tag(text: &str) -> ETagCondition {
        if text == "*" { ETagCondition::Any } else { ETagCondition::ETag(ETag::Strong(text.into())) }
    }

    #[test]
    fn read_conditions_follow_rfc_9110() {
        use ReadOutcome::{Failed, NotModified, Proceed};
        type ReadCase = (Option<&'static str>, Option<u64>, Option<&'static str>, Option<u64>, ReadOutcome);
        // The object has the ETag `a` and was modified at second 100.
        let cases: [ReadCase; 16] = [
            (None, None, None, None, Proceed),
            (Some("a"), None, None, None, Proceed),
            (Some("*"), None, None, None, Proceed),
            (Some("b"), None, None, None, Failed),
            (None, Some(100), None, None, Proceed),
            (None, Some(99), None, None, Failed),
            (Some("a"), Some(99), None, None, Proceed),
            (Some("b"), Some(200), None, None, Failed),
            (None, None, Some("a"), None, NotModified),
            (None, None, Some("*"), None, NotModified),
            (None, None, Some("b"), None, Proceed),
            (None, None, None, Some(100), NotModified),
            (None, None, None, Some(99), Proceed),
            (None, None, Some("b"), Some(100), Proceed),
            (None, None, Some("a"), Some(99), NotModified),
            (Some("b"), None, Some("a"), None, Failed),
        ];
        for (if_match, unmodified, if_none_match, modified, expected) in cases {
            let conditions = ReadConditions {
                if_match: if_match.map(tag),
                if_none_match: if_none_match.map(tag),
                if_modified_since: modified.map(at),
                if_unmodified_since: unmodified.map(at),
            };
            assert_eq!(conditions.evaluate("a", &at(100)), expected, "{conditions:?}");
        }
    }

    #[test]
    fn write_conditions_check_current_object() {
        let absent = WriteConditions::from_input(None, Some(&tag("*"))).unwrap();
        assert_eq!(absent.evaluate(None), Ok(()));
        assert_eq!(absent.evaluate(Some("a")), Err(WriteConditionError::PreconditionFailed));
        let same = WriteConditions::from_input(Some(tag("a")), None).unwrap();
        assert_eq!(same.evaluate(Some("a")), Ok(()));
        assert_eq!(same.evaluate(Some("b")), Err(WriteConditionError::PreconditionFailed));
        assert_eq!(same.evaluate(None), Err(WriteConditionError::NoSuchKey));
        assert_eq!(WriteConditions::from_input(None, Some(&tag("a"))), None);
    }
}
