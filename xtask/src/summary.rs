//! Parses the counts in the output of cargo's and Node's test runners, and formats the table and the last line of
//! `cargo xtask test`. Pure functions.

use std::fmt::Write as _;
use std::time::Duration;

use crate::run::{self, StreamEnd};

/// Counts of a test run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that did not run: ignored in cargo, skipped or todo in Node.
    pub(crate) skipped: u64,
}

impl TestCounts {
    /// Adds the counts in a line of output. Lines without counts are ignored.
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
                // A canceled test (after a failure of its parent, or a timeout) has not passed.
                Some(("fail" | "cancelled", number)) => self.failed += number.parse().unwrap_or(0),
                Some(("skipped" | "todo", number)) => self.skipped += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Removes color escape sequences from a line.
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

/// The tests that cargo's test runner reports as running for over a minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowTests(Vec<String>);

impl SlowTests {
    /// Notes a test that starts to be slow, or that ends.
    pub(crate) fn add_line(&mut self, line: &str) {
        let line = strip_color(line);
        let Some(test) = line.trim().strip_prefix("test ") else { return };
        if let Some((name, _)) = test.split_once(" has been running for") {
            self.0.push(name.to_owned());
        } else if let Some((name, _)) = test.split_once(" ... ") {
            self.0.retain(|slow| slow != name);
        }
    }

    /// The names of those that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// Result of a test suite or a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SuiteResult {
    pub(crate) name: &'static str,
    pub(crate) counts: TestCounts,
    pub(crate) duration: Duration,
    /// Reason of a failure that is not in the suite's own counts.
    pub(crate) reason: Option<String>,
}

impl SuiteResult {
    /// Result of a check without counts, which counts as one test.
    pub(crate) fn from_check(name: &'static str, has_passed: bool, time: Duration) -> Self {
        let counts = TestCounts { passed: u64::from(has_passed), failed: u64::from(!has_passed), skipped: 0 };
        Self { name, counts, duration: time, reason: None }
    }

    /// Result of a test run. A run without failed tests also fails if the program failed (it did not compile or
    /// crashed), a test was skipped, or no test ran although there is no filter.
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
            Some(format!("{} skipped: skipped tests count as failed", raw_counts.skipped))
        } else if raw_counts.failed > 0 {
            None
        } else if !has_passed {
            counts.failed = 1;
            Some("failed outside of its tests".to_owned())
        } else if raw_counts.passed == 0 && !is_filtered {
            counts.failed = 1;
            Some("no test ran".to_owned())
        } else {
            None
        };
        Self { name, counts, duration: time, reason: note }
    }

    /// Adds the reason if the suite was stopped because it hung: the tests that it was waiting for.
    #[must_use]
    pub(crate) fn with_stall(self, end: StreamEnd, unfinished: &[&str]) -> Self {
        if end != StreamEnd::Stalled {
            return self;
        }
        let mut reason = format!("stopped after {} min without output", run::STALL_TIMEOUT.as_secs() / 60);
        if !unfinished.is_empty() {
            let _ = write!(reason, "; unfinished: {}", unfinished.join(", "));
        }
        let mut counts = self.counts;
        counts.failed = counts.failed.max(1);
        Self { counts, reason: Some(reason), ..self }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.counts.failed > 0
    }
}

/// The table of results, with the total in the last line.
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
        check(counts(3, 0, 1), true, false, 1); // a skipped test
        check(counts(3, 0, 1), true, true, 1); // a skipped test, with a filter
        check(counts(0, 0, 0), true, false, 1); // no tests at all
        check(counts(0, 0, 0), true, true, 0); // no test matches the filter
    }

    #[test]
    fn stalled_suite_names_its_unfinished_tests() {
        let mut slow = SlowTests::default();
        for line in [
            "test a::b has been running for over 60 seconds",
            "test c has been running for over 60 seconds",
            "test a::b ... \u{1b}[32mok\u{1b}(B\u{1b}[m",
        ] {
            slow.add_line(line);
        }
        let outcome = SuiteResult::from_tests("tests", counts(3, 0, 0), false, false, Duration::ZERO);
        assert_eq!(outcome.clone().with_stall(StreamEnd::Failure, &slow.unfinished()), outcome);
        let outcome = outcome.with_stall(StreamEnd::Stalled, &slow.unfinished());
        assert_eq!(outcome.counts, counts(3, 1, 0));
        assert_eq!(outcome.reason.unwrap(), "stopped after 10 min without output; unfinished: c");
    }

    #[test]
    fn table_ends_with_total_line() {
        let outcomes = [
            SuiteResult::from_check("format", true, Duration::from_millis(1500)),
            SuiteResult::from_tests("browser", counts(4, 1, 0), false, false, Duration::from_secs(90)),
        ];
        assert_eq!(
            format_table(&outcomes),
            "  ok     format      1 passed   0 failed     1.5 s
  FAILED browser     4 passed   1 failed    90.0 s

5 passed, 1 failed"
        );
    }
}
