//! Formats timestamps (Unix milliseconds) as RFC 3339, always in UTC.

use time::OffsetDateTime;

/// Formats a timestamp as `2013-05-24T00:00:00.000Z`, the format of RFC 3339 and of a POST policy's expiration.
pub fn format_rfc3339(ms: u64) -> String {
    // Times beyond the year 9999 do not occur.
    let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let utc = utc.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (utc.date(), utc.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second, milli) = (time.hour(), time.minute(), time.second(), time.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_timestamps() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(format_rfc3339(ms), expected);
        }
    }
}
