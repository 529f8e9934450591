//! Formats timestamps (Unix milliseconds) as RFC 3339, always in UTC.

/// The end of the year 9999, the last one with four digits.
const MAX_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Formats a timestamp as `2013-05-24T00:00:00.000Z`, the format of RFC 3339 and of a POST policy's expiration.
pub fn format_rfc3339(ms: u64) -> String {
    // Times beyond the year 9999 do not occur.
    let ms = if ms <= MAX_MS { ms } else { 0 };
    let (year, month, day) = civil_date((ms / DAY_MS) as u32);
    let in_day = (ms % DAY_MS) as u32;
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of the Gregorian calendar, from the number of days since 1970: `civil_from_days` in
/// <https://howardhinnant.github.io/date_algorithms.html>.
fn civil_date(days: u32) -> (u32, u32, u32) {
    // Years begin in March, so that the leap day is their last one, and days count from March 1 of the year 0. An era
    // has 400 years.
    const DAYS_BEFORE_1970: u32 = 719_468;
    const DAYS_PER_ERA: u32 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

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
            (MAX_MS, "9999-12-31T23:59:59.999Z"),
            (MAX_MS + 1, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(format_rfc3339(ms), expected);
        }
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn equals_jiff(ms in 0..=Timestamp::MAX.as_millisecond()) {
            let expected = Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(format_rfc3339(ms as u64), expected.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
        }
    }
}
