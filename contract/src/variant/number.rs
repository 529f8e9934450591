//! Parses and formats numbers in URLs and names. Each number has one notation, except for trailing zeros of a fraction.

/// Parses an integer without sign, leading zeros or exponent.
pub(super) fn parse_u64(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = text == "0" || !text.starts_with('0');
    if is_number && is_canonical { text.parse().ok() } else { None }
}

/// Maximum number of decimals: JavaScript formats no number of seconds with more.
const MAX_DECIMALS: usize = 32;

/// Parses seconds into milliseconds, rounded: players send unrounded times.
pub(super) fn parse_seconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_fraction =
        (1..=MAX_DECIMALS).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let digit =
        |index| fraction.as_bytes().get(index).map_or(0, |byte: &u8| u64::from(byte.wrapping_sub(b'0')));
    let ms = digit(0) * 100 + digit(1) * 10 + digit(2) + u64::from(digit(3) >= 5);
    parse_u64(seconds).filter(|_| is_fraction)?.checked_mul(1000)?.checked_add(ms)
}

/// Formats milliseconds as seconds, without trailing zeros.
pub(super) fn format_seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Parses a number with at most two decimals into hundredths.
pub(super) fn parse_hundredths(text: &str) -> Option<u64> {
    let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    parse_seconds(text).filter(|_| decimals <= 2).map(|thousandths| thousandths / 10)
}

/// Formats hundredths as a number, without trailing zeros.
pub(super) fn format_hundredths(hundredths: u64) -> String {
    format_seconds(hundredths * 10)
}

/// Parses a time in Cloudflare Stream's notation (`1h2m3.5s`, each part at most once) into milliseconds.
pub(super) fn parse_clock(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    for (unit, ms) in [('h', 3_600_000), ('m', 60_000)] {
        if let Some((number, remainder)) = rest.split_once(unit) {
            total = total.checked_add(parse_u64(number)?.checked_mul(ms)?)?;
            rest = remainder;
        }
    }
    if let Some(number) = rest.strip_suffix('s') {
        return total.checked_add(parse_seconds(number)?);
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_seconds_strictly() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("1.50", Some(1500)),
            ("1.005", Some(1005)),
            ("86400", Some(86_400_000)),
            ("", None),
            (".5", None),
            ("1.", None),
            ("01", None),
            ("00", None),
            ("1.0005", Some(1001)),
            ("1.00049999", Some(1000)),
            ("12.3456789", Some(12_346)),
            ("0.30000000000000004", Some(300)),
            ("0.9996", Some(1000)),
            ("0.00000123456789012345678", Some(0)),
            ("1.000000000000000000000000000000001", None),
            ("1.0005x", None),
            ("1.000-", None),
            ("+1", None),
            ("-1", None),
            ("1e3", None),
            ("1,5", None),
            ("1.5.5", None),
            (" 1", None),
            ("1.+5", None),
            ("NaN", None),
            ("inf", None),
            ("\u{661}", None),
            ("18446744073709551615", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse_seconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn parses_hundredths_strictly() {
        for (text, expected) in [
            ("1", Some(100)),
            ("1.5", Some(150)),
            ("1.50", Some(150)),
            ("2.25", Some(225)),
            ("0.01", Some(1)),
            ("1.500", None),
            ("1.005", None),
            ("1.", None),
            (".5", None),
            ("01", None),
            ("1e0", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse_hundredths(text), expected, "{text:?}");
        }
        assert_eq!([100, 150, 225].map(format_hundredths), ["1", "1.5", "2.25"]);
    }

    #[test]
    fn parses_clock_strictly() {
        for (text, expected) in [
            ("1m2s", Some(62_000)),
            ("8m", Some(480_000)),
            ("1h", Some(3_600_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("1m2.3456s", Some(62_346)),
            ("90s", Some(90_000)),
            ("0s", Some(0)),
            ("", None),
            ("s", None),
            ("m", None),
            ("62", None),
            ("2s1m", None),
            ("1m1m", None),
            ("1m2", None),
            ("01s", None),
            ("-1s", None),
            ("1.5m", None),
            ("1ms", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(parse_clock(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn seconds_roundtrip(ms in 0..u64::from(u32::MAX) * 1000) {
            prop_assert_eq!(parse_seconds(&format_seconds(ms)), Some(ms));
        }

        #[test]
        fn never_panics(text in "\\PC{0,24}|[0-9.hms]{0,24}") {
            let _ = (parse_u64(&text), parse_seconds(&text), parse_clock(&text));
        }
    }
}
