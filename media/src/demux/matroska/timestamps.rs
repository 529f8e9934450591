//! Decides how the times of a file become ticks of its track: by `TimestampScale`, counted from the first moment.

/// Nanoseconds a second.
const SECOND: u64 = 1_000_000_000;
/// The finest scale that is kept: finer ones would overflow the 32 bits of an MP4's durations within a minute.
const FINEST: u64 = 1_000_000;
/// Times beyond this many ticks, 9,000 years of microseconds, are damage; sums of them never overflow.
const FARTHEST: i64 = 1 << 58;

/// Turns the times of a file into ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Nanoseconds of one unit of the file.
    scale: u64,
    /// Ticks a second.
    pub(super) timescale: u32,
    /// The first moment, in ticks from the file's own zero.
    pub(super) origin: i64,
}

impl Clock {
    /// By the file's `TimestampScale`: one tick is one unit, or a microsecond where that does not come out even.
    pub(super) fn new(timestamp_scale: u64) -> Self {
        let scale = if timestamp_scale == 0 { 1_000_000 } else { timestamp_scale };
        let is_even = scale <= SECOND && SECOND.is_multiple_of(scale) && SECOND / scale <= FINEST;
        Self { scale, timescale: if is_even { SECOND / scale } else { FINEST } as u32, origin: 0 }
    }

    /// A time of the file.
    pub(super) fn ticks(&self, units: i64) -> i64 {
        self.length(units) - self.origin
    }

    /// A stretch of the file.
    pub(super) fn length(&self, units: i64) -> i64 {
        self.nanoseconds(i128::from(units) * i128::from(self.scale))
    }

    /// So many seconds.
    pub(super) fn seconds(&self, seconds: i64) -> i64 {
        seconds.saturating_mul(self.timescale.into())
    }

    /// A stretch in nanoseconds.
    pub(super) fn nanoseconds(&self, nanoseconds: i128) -> i64 {
        let ticks = nanoseconds
            .saturating_mul(i128::from(self.timescale))
            .saturating_add(i128::from(SECOND / 2))
            .div_euclid(i128::from(SECOND));
        ticks.clamp(i128::from(-FARTHEST), i128::from(FARTHEST)) as i64
    }

    /// A stretch in units that may be broken; none if it is no length.
    pub(super) fn duration(&self, units: f64) -> Option<i64> {
        let ticks = units * self.scale as f64 * f64::from(self.timescale) / SECOND as f64;
        (ticks.is_finite() && ticks > 0.0).then(|| (ticks.round() as i64).clamp(1, FARTHEST))
    }

    /// Ticks in milliseconds.
    pub(super) fn milliseconds(&self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1000 / i128::from(self.timescale)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tick_is_one_unit_where_it_comes_out_even() {
        for (scale, timescale, ticks) in [
            (1_000_000, 1000, 1234),
            (0, 1000, 1234),
            (100_000, 10_000, 1234),
            (1000, 1_000_000, 1234),
            // Samples of 44.1 kHz sound, as some writers count: microseconds instead.
            (22_675, 1_000_000, 27_981),
            (1, 1_000_000, 1),
            (10_000_000_000, 1_000_000, 12_340_000_000),
        ] {
            let clock = Clock::new(scale);
            assert_eq!((clock.timescale, clock.ticks(1234)), (timescale, ticks), "{scale}");
        }
    }

    #[test]
    fn absurd_times_stay_in_bounds() {
        let clock = Clock { origin: FARTHEST, ..Clock::new(u64::MAX) };
        assert_eq!(clock.ticks(i64::MIN), -2 * FARTHEST);
        assert_eq!(clock.ticks(i64::MAX), 0);
        assert_eq!(clock.duration(f64::NAN), None);
        assert_eq!(clock.duration(1e30), Some(FARTHEST));
        assert_eq!(clock.duration(-1.0), None);
    }
}
