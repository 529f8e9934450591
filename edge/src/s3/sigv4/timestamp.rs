//! Decides how SigV4 writes a moment: basic form, always UTC. Moments are Unix milliseconds.

pub use glimpse_contract::format_rfc3339;

/// `20130524T000000Z`, as SigV4 writes it.
pub fn amz_date(ms: u64) -> String {
    let iso = format_rfc3339(ms);
    // What RFC 3339 has between its digits, and the fraction, are left out.
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
