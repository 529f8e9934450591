//! Timestamps of SigV4: ISO 8601 basic format, always UTC, from Unix milliseconds.

pub use glimpse_contract::format_rfc3339;

/// A timestamp such as `20130524T000000Z`.
pub fn amz_date(ms: u64) -> String {
    let iso = format_rfc3339(ms);
    // Remove the separators of RFC 3339, and the fraction.
    let whole = iso.split('.').next().unwrap_or_default();
    let mut text: String = whole.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_timestamps() {
        assert_eq!(amz_date(1_369_353_600_000), "20130524T000000Z");
        assert_eq!(amz_date(951_782_399_999), "20000228T235959Z");
    }
}
