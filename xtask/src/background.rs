//! Runs suites beside others, at a low priority and without output. The output of a failed one is shown afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::project::Project;
use crate::run;
use crate::summary::{SuiteResult, TestCounts};

/// A suite to run.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    /// Whether its output has the counts of a test runner. Otherwise it counts as one test.
    pub(crate) has_counts: bool,
}

/// A finished suite.
struct Finished {
    name: &'static str,
    has_counts: bool,
    has_passed: bool,
    duration: Duration,
    log: PathBuf,
}

/// Suites that run one after another.
pub(crate) struct Background<'scope>(ScopedJoinHandle<'scope, Result<Vec<Finished>>>);

impl<'scope> Background<'scope> {
    /// Starts the suites as soon as `start` receives a message or its sender is dropped.
    pub(crate) fn spawn(
        scope: &'scope Scope<'scope, '_>,
        project: &'scope Project,
        start: Receiver<()>,
        suites: Vec<Suite>,
    ) -> Self {
        Self(scope.spawn(move || {
            // Both a message and a dropped sender are the signal.
            let _ = start.recv();
            suites.into_iter().map(|suite| run_suite(project, suite)).collect()
        }))
    }

    /// Waits for the suites, shows the output of those that have failed, and returns the results.
    pub(crate) fn finish(self) -> Result<Vec<SuiteResult>> {
        let finished = self.0.join().map_err(|_| anyhow!("a suite panicked: its message is above"))??;
        finished.into_iter().map(report).collect()
    }
}

fn run_suite(project: &Project, suite: Suite) -> Result<Finished> {
    let Suite { name, command, has_counts } = suite;
    let log = project.log_path(&format!("suite {name}").replace(' ', "-"));
    let started = Instant::now();
    let has_passed = run::run_silently(&mut run::with_low_priority(&command), &log)?;
    Ok(Finished { name, has_counts, has_passed, duration: started.elapsed(), log })
}

fn report(finished: Finished) -> Result<SuiteResult> {
    let Finished { name, has_counts, has_passed, duration, log } = finished;
    let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let output = String::from_utf8_lossy(&output);
    let result = if has_counts {
        let mut counts = TestCounts::default();
        output.lines().for_each(|line| counts.add_line(line));
        SuiteResult::from_tests(name, counts, has_passed, false, duration)
    } else {
        SuiteResult::from_check(name, has_passed, duration)
    };
    if result.has_failed() {
        run::print_heading(name);
        println!("{output}");
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn suite(name: &'static str, script: &str, has_counts: bool) -> Suite {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Suite { name, command, has_counts }
    }

    #[test]
    fn suites_start_on_signal_and_are_counted() {
        let folder = std::env::temp_dir().join(format!("xtask-background-{}", std::process::id()));
        let project = Project { root: folder.clone(), target: folder.clone(), cache: folder.clone() };
        let mark = folder.join("mark");
        let outcomes = thread::scope(|scope| {
            let (start, started) = mpsc::channel();
            let suites = vec![
                suite("one", &format!("touch '{}'", mark.display()), false),
                suite("two", "echo '# pass 3'; echo '# fail 1'; exit 1", true),
                suite("three", "echo '# pass 2'", true),
            ];
            let background = Background::spawn(scope, &project, started, suites);
            thread::sleep(Duration::from_millis(50));
            assert!(!mark.exists(), "not before the signal");
            drop(start);
            background.finish().unwrap()
        });
        assert!(mark.exists());
        let counts: Vec<_> =
            outcomes.iter().map(|suite| (suite.counts.passed, suite.counts.failed)).collect();
        assert_eq!(counts, [(1, 0), (3, 1), (2, 0)]);
        fs::remove_dir_all(folder).unwrap();
    }
}
