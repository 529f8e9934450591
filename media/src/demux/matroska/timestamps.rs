//! Converts the timestamps of a file to ticks of its track, by `TimestampScale` and relative to the origin.

/// Nanoseconds per second.
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// The finest timescale: finer ones would overflow the 32 bits of MP4 durations within a minute.
const MAX_TIMESCALE: u64 = 1_000_000;
/// Times beyond this many ticks, 9,000 years of microseconds, are invalid. Sums of times within it do not overflow.
const MAX_TICKS: i64 = 1 << 58;

/// Converts timestamps of a file to ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimestampConverter {
    /// Nanoseconds per unit of the file.
    timestamp_scale: u64,
    /// Ticks per second.
    pub(super) timescale: u32,
    /// The start of the file, in ticks of its timestamps.
    pub(super) origin: i64,
}

impl TimestampConverter {
    /// Creates a converter from the file's `TimestampScale`: one tick is one unit, or a microsecond if the unit does
    /// not divide a second evenly.
    pub(super) fn new(timestamp_scale: u64) -> Self {
        let nanos_per_unit = if timestamp_scale == 0 { 1_000_000 } else { timestamp_scale };
        let is_even = nanos_per_unit <= NANOS_PER_SECOND
            && NANOS_PER_SECOND.is_multiple_of(nanos_per_unit)
            && NANOS_PER_SECOND / nanos_per_unit <= MAX_TIMESCALE;
        Self {
            timestamp_scale: nanos_per_unit,
            timescale: if is_even { NANOS_PER_SECOND / nanos_per_unit } else { MAX_TIMESCALE } as u32,
            origin: 0,
        }
    }

    /// Converts a timestamp of the file.
    pub(super) fn to_ticks(self, units: i64) -> i64 {
        self.duration_to_ticks(units) - self.origin
    }

    /// Converts a duration in units of the file.
    pub(super) fn duration_to_ticks(&self, units: i64) -> i64 {
        self.nanos_to_ticks(i128::from(units) * i128::from(self.timestamp_scale))
    }

    /// Converts a duration in seconds.
    pub(super) fn seconds_to_ticks(&self, seconds: i64) -> i64 {
        seconds.saturating_mul(self.timescale.into())
    }

    /// Converts a duration in nanoseconds.
    pub(super) fn nanos_to_ticks(&self, nanoseconds: i128) -> i64 {
        let ticks = nanoseconds
            .saturating_mul(i128::from(self.timescale))
            .saturating_add(i128::from(NANOS_PER_SECOND / 2))
            .div_euclid(i128::from(NANOS_PER_SECOND));
        ticks.clamp(i128::from(-MAX_TICKS), i128::from(MAX_TICKS)) as i64
    }

    /// Converts a duration in fractional units; `None` if it is not a valid duration.
    pub(super) fn fractional_to_ticks(&self, units: f64) -> Option<i64> {
        let ticks = units * self.timestamp_scale as f64 * f64::from(self.timescale) / NANOS_PER_SECOND as f64;
        (ticks.is_finite() && ticks > 0.0).then(|| (ticks.round() as i64).clamp(1, MAX_TICKS))
    }

    /// Converts ticks to milliseconds.
    pub(super) fn to_ms(self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1000 / i128::from(self.timescale)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_is_one_unit_when_divisible() {
        for (scale, timescale, ticks) in [
            (1_000_000, 1000, 1234),
            (0, 1000, 1234),
            (100_000, 10_000, 1234),
            (1000, 1_000_000, 1234),
            // Samples of 44.1 kHz audio, which some writers use as units: microseconds instead.
            (22_675, 1_000_000, 27_981),
            (1, 1_000_000, 1),
            (10_000_000_000, 1_000_000, 12_340_000_000),
        ] {
            let clock = TimestampConverter::new(scale);
            assert_eq!((clock.timescale, clock.to_ticks(1234)), (timescale, ticks), "{scale}");
        }
    }

    #[test]
    fn clamps_absurd_times() {
        let clock = TimestampConverter { origin: MAX_TICKS, ..TimestampConverter::new(u64::MAX) };
        assert_eq!(clock.to_ticks(i64::MIN), -2 * MAX_TICKS);
        assert_eq!(clock.to_ticks(i64::MAX), 0);
        assert_eq!(clock.fractional_to_ticks(f64::NAN), None);
        assert_eq!(clock.fractional_to_ticks(1e30), Some(MAX_TICKS));
        assert_eq!(clock.fractional_to_ticks(-1.0), None);
    }
}
