//! Results of a read that did not complete: missing byte ranges, a rejected file, or a file for ffmpeg.

use std::ops::Range;

use glimpse_contract::Code;
use thiserror::Error;

/// Why a demuxer returned no result. The variants differ in what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// These bytes of the source must be fetched first: all that are known to be missing, so that one round trip
    /// fetches them. Never empty; no range is empty or extends past the end of the source.
    #[error("{} ranges are not buffered yet", .0.len())]
    NeedMore(Vec<Range<u64>>),
    /// The file is permanently rejected.
    #[error("rejected: {}", .0.as_str())]
    Rejected(Code),
    /// The file may be valid, but this demuxer does not support it. ffmpeg reads it through the source proxy.
    #[error("not supported natively: {0}")]
    Unsupported(&'static str),
    /// The deadline of the work has passed. A retry may have more time.
    #[error("the deadline has passed")]
    DeadlineExceeded,
}

/// Collects missing ranges into `missing`, so that all of them can be requested together.
///
/// # Errors
/// Any error other than [`ReadError::NeedMore`].
pub fn collect_missing<T>(
    result: Result<T, ReadError>,
    missing: &mut Vec<Range<u64>>,
) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::NeedMore(ranges)) => {
            missing.extend(ranges);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

impl ReadError {
    /// Combines the missing ranges of several reads: sorted, without overlaps.
    pub fn from_missing_ranges(mut missing: Vec<Range<u64>>) -> Self {
        missing.sort_by_key(|gap| gap.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(missing.len());
        for gap in missing {
            match merged.last_mut() {
                Some(last) if gap.start <= last.end => last.end = last.end.max(gap.end),
                _ => merged.push(gap),
            }
        }
        Self::NeedMore(merged)
    }

    /// A single missing range.
    pub fn from_missing_range(range: Range<u64>) -> Self {
        Self::NeedMore(vec![range])
    }
}
