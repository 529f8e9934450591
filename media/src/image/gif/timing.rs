//! Schedules the frames of a GIF, whose delays are in hundredths of a second. Does no IO.

/// The shortest delay, in hundredths of a second: browsers change a delay of 0 or 1 to 10.
const MIN_DELAY_CS: u64 = 2;
/// The longest delay of the format.
const MAX_DELAY_CS: u64 = 65_535;

/// A frame and its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameTiming {
    /// Index of the input frame.
    pub(crate) frame: usize,
    /// In hundredths of a second, 2 to 65535.
    pub(crate) delay_cs: u16,
}

/// Selects every `frame_step`-th of `count` frames at `fps` frames per second, without those that would be shown too
/// briefly. The total duration is that of the input, rounded to the nearest hundredth of a second.
pub(crate) fn schedule(count: usize, fps: f64, frame_step: usize) -> Vec<FrameTiming> {
    let fps = if fps.is_finite() && fps > 0.0 { fps } else { 1.0 };
    let time_cs = |place: usize| (place as f64 * 100.0 / fps).round().min(1e15) as u64;
    let end = time_cs(count);
    let mut starts: Vec<(usize, u64)> = Vec::new();
    for place in (0..count).step_by(frame_step.max(1)) {
        let start = time_cs(place);
        let is_early = starts.last().is_some_and(|(_, before)| start < before + MIN_DELAY_CS);
        let is_late = !starts.is_empty() && start + MIN_DELAY_CS > end;
        if !is_early && !is_late {
            starts.push((place, start));
        }
    }
    let ends = starts.iter().skip(1).map(|(_, begin)| *begin).chain([end]);
    starts
        .iter()
        .zip(ends)
        .map(|((frame, begin), end)| FrameTiming {
            frame: *frame,
            delay_cs: end.saturating_sub(*begin).clamp(MIN_DELAY_CS, MAX_DELAY_CS) as u16,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(count: usize, fps: f64, frame_step: usize) -> Vec<u16> {
        schedule(count, fps, frame_step).iter().map(|timing| timing.delay_cs).collect()
    }

    #[test]
    fn delays_add_up_to_the_duration() {
        assert_eq!(delays(6, 15.0, 1), [7, 6, 7, 7, 6, 7]);
        assert_eq!(delays(4, 30.0, 1), [3, 4, 3, 3]);
        assert_eq!(delays(5, 10.0, 2), [20, 20, 10]);
        for fps in [
            0.3, 1.0, 7.5, 10.0, 12.5, 14.985, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 50.0, 60.0,
            120.0, 1000.0,
        ] {
            for every in 1..5 {
                let list = delays(90, fps, every);
                let total: u32 = list.iter().map(|delay| u32::from(*delay)).sum();
                assert!((f64::from(total) - 9000.0 / fps).abs() <= 1.0, "{fps}: {total}");
                assert!(list.iter().all(|delay| *delay >= 2), "{fps}: {list:?}");
            }
        }
    }

    #[test]
    fn drops_frames_shorter_than_minimum_delay() {
        let frames: Vec<usize> = schedule(7, 100.0, 1).iter().map(|timing| timing.frame).collect();
        assert_eq!(frames, [0, 2, 4]);
    }

    #[test]
    fn never_panics_without_rate_or_frames() {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            assert!(delays(3, fps, 0).iter().all(|delay| *delay >= 2), "{fps}");
            assert!(schedule(0, fps, 1).is_empty());
        }
        assert_eq!(delays(1, 60.0, 1), [2]);
        assert_eq!(delays(1, 0.0001, 1), [65_535]);
    }
}
