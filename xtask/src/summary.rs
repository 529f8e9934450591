//! Decides what a test program's output means: reads the counts out of what cargo's and Node's test runners print, and
//! writes the table and the last line of `cargo xtask test`. Pure.

use std::fmt::Write as _;
use std::time::Duration;

/// What a run of tests counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored by cargo, skipped or to do for Node: a story that was not told.
    pub(crate) skipped: u64,
}

impl TestCounts {
    /// Adds what one line of output says. Lines that say nothing about counts are most of them.
    pub(crate) fn add_line(&mut self, line: &str) {
        let line = strip_color(line);
        let line = line.trim();
        if let Some(result) = line.strip_prefix("test result: ") {
            let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
            for count in counts.split("; ") {
                match count.split_once(' ') {
                    Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                    Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                    Some((number, "ignored")) => self.skipped += number.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(count) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
            match count.split_once(' ') {
                Some(("pass", number)) => self.passed += number.parse().unwrap_or(0),
                // A cancelled test (its parent failed, or a time limit) has not passed.
                Some(("fail" | "cancelled", number)) => self.failed += number.parse().unwrap_or(0),
                Some(("skipped" | "todo", number)) => self.skipped += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// `line` without the escape sequences that colour it.
fn strip_color(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        let sequence = &rest[start + 2..];
        let end = sequence.find(|c: char| ('@'..='~').contains(&c)).map_or(sequence.len(), |end| end + 1);
        rest = &sequence[end..];
    }
    plain + rest
}

/// How one part of the tests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SuiteResult {
    pub(crate) name: &'static str,
    pub(crate) counts: TestCounts,
    pub(crate) duration: Duration,
    /// Why it is red although nothing was counted as failed.
    pub(crate) reason: Option<String>,
}

impl SuiteResult {
    /// A check that has no counts of its own is one test.
    pub(crate) fn from_check(name: &'static str, has_passed: bool, time: Duration) -> Self {
        let counts = TestCounts { passed: u64::from(has_passed), failed: u64::from(!has_passed), skipped: 0 };
        Self { name, counts, duration: time, reason: None }
    }

    /// Judges a run of tests. What did not fail by its own count may still be red: the program ended badly (it did not
    /// compile, it crashed), a story was skipped, or there was none although nobody asked for a selection.
    pub(crate) fn from_tests(
        name: &'static str,
        raw_counts: TestCounts,
        has_passed: bool,
        is_filtered: bool,
        time: Duration,
    ) -> Self {
        let mut counts = raw_counts;
        counts.failed += raw_counts.skipped;
        let note = if raw_counts.skipped > 0 {
            Some(format!("{} skipped: a test that does not run proves nothing", raw_counts.skipped))
        } else if raw_counts.failed > 0 {
            None
        } else if !has_passed {
            counts.failed = 1;
            Some("ended with an error outside its tests".to_owned())
        } else if raw_counts.passed == 0 && !is_filtered {
            counts.failed = 1;
            Some("ran no test".to_owned())
        } else {
            None
        };
        Self { name, counts, duration: time, reason: note }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.counts.failed > 0
    }
}

/// The table of parts, and alone in the last line the sum.
pub(crate) fn format_table(outcomes: &[SuiteResult]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut total = TestCounts::default();
    for outcome in outcomes {
        let TestCounts { passed, failed, .. } = outcome.counts;
        total.passed += passed;
        total.failed += failed;
        let mark = match (passed, failed) {
            (0, 0) => "-",
            (_, 0) => "ok",
            _ => "FAILED",
        };
        let note = outcome.reason.as_ref().map(|note| format!("   {note}")).unwrap_or_default();
        let seconds = outcome.duration.as_secs_f64();
        let name = outcome.name;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {mark:<7}{name:<width$}  {passed:>4} passed {failed:>3} failed {seconds:>7.1} s{note}"
        );
    }
    let _ = write!(text, "\n{} passed, {} failed", total.passed, total.failed);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_lines(text: &str) -> TestCounts {
        let mut counts = TestCounts::default();
        text.lines().for_each(|line| counts.add_line(line));
        counts
    }

    fn counts(passed: u64, failed: u64, skipped: u64) -> TestCounts {
        TestCounts { passed, failed, skipped }
    }

    #[test]
    fn counts_cargo_and_node_results() {
        let cases = [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
                counts(12, 0, 1),
            ),
            (
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\ntest result: FAILED. 1 passed; 2 failed; 0 ignored",
                counts(4, 2, 0),
            ),
            ("test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 7 passed; 0 failed; 0 ignored", counts(7, 0, 0)),
            ("ℹ tests 5\nℹ pass 4\nℹ fail 1\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0", counts(4, 1, 0)),
            ("\u{1b}[34mℹ pass 2\u{1b}[39m\n\u{1b}[34mℹ skipped 1\u{1b}[39m", counts(2, 0, 1)),
            ("# tests 3\n# pass 1\n# fail 0\n# cancelled 1\n# todo 1", counts(1, 1, 1)),
            ("running 3 tests\ntest a ... ok\n# passwords\nthe test result: ok. 9 passed", counts(0, 0, 0)),
        ];
        for (text, expected) in cases {
            assert_eq!(count_lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn skipped_or_empty_runs_fail() {
        #[track_caller]
        fn check(counted: TestCounts, ok: bool, selected: bool, failed: u64) {
            let outcome = SuiteResult::from_tests("part", counted, ok, selected, Duration::ZERO);
            assert_eq!(outcome.counts.failed, failed, "{outcome:?}");
            assert_eq!(outcome.has_failed(), failed > 0);
        }
        check(counts(3, 0, 0), true, false, 0);
        check(counts(3, 2, 0), false, false, 2);
        check(counts(3, 2, 1), false, false, 3);
        check(counts(3, 0, 0), false, false, 1); // does not compile, or crashed
        check(counts(3, 0, 1), true, false, 1); // a story skipped in silence
        check(counts(3, 0, 1), true, true, 1); // also when a part was asked for
        check(counts(0, 0, 0), true, false, 1); // no tests at all
        check(counts(0, 0, 0), true, true, 0); // a filter that names nothing of this part
    }

    #[test]
    fn table_ends_with_total_line() {
        let outcomes = [
            SuiteResult::from_check("format", true, Duration::from_millis(1500)),
            SuiteResult::from_tests("stories", counts(4, 1, 0), false, false, Duration::from_secs(90)),
        ];
        assert_eq!(
            format_table(&outcomes),
            "  ok     format      1 passed   0 failed     1.5 s
  FAILED stories     4 passed   1 failed    90.0 s

5 passed, 1 failed"
        );
    }
}
