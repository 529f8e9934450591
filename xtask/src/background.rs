//! Runs suites beside others, at a low priority and without output. The output of a failed one is shown afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender};
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
    /// Dropped once cargo has compiled everything and starts the first program, or the suite ends.
    pub(crate) on_start: Option<Sender<()>>,
}

impl Suite {
    pub(crate) fn new(name: &'static str, command: Command, has_counts: bool) -> Self {
        Self { name, command, has_counts, on_start: None }
    }
}

/// Whether a line of cargo's output says that it starts a program. Before, cargo locks the target folder: another
/// command would wait until everything is compiled.
pub(crate) fn is_start(line: &str) -> bool {
    line.contains("Running")
}

/// Which share of the processor suites get while others run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Normal,
    /// What the others leave.
    Low,
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
    /// Starts the suites as soon as all senders of `start` are dropped.
    pub(crate) fn spawn(
        scope: &'scope Scope<'scope, '_>,
        project: &'scope Project,
        priority: Priority,
        start: Receiver<()>,
        suites: Vec<Suite>,
    ) -> Self {
        Self(scope.spawn(move || {
            wait_for(&start);
            suites.into_iter().map(|suite| run_suite(project, priority, suite)).collect()
        }))
    }

    /// Waits for the suites, shows the output of those that have failed, and returns the results.
    pub(crate) fn finish(self) -> Result<Vec<SuiteResult>> {
        let finished = self.0.join().map_err(|_| anyhow!("a suite panicked: its message is above"))??;
        finished.into_iter().map(report).collect()
    }
}

/// Waits until all senders are dropped.
pub(crate) fn wait_for(start: &Receiver<()>) {
    // Nothing is sent.
    while start.recv().is_ok() {}
}

fn run_suite(project: &Project, priority: Priority, suite: Suite) -> Result<Finished> {
    let Suite { name, mut command, has_counts, mut on_start } = suite;
    let log = project.log_path(&format!("suite {name}").replace(' ', "-"));
    let started = Instant::now();
    let stall_timeout = match priority {
        Priority::Normal => run::STALL_TIMEOUT,
        Priority::Low => {
            command = run::with_low_priority(&command);
            run::LOW_PRIORITY_STALL_TIMEOUT
        }
    };
    let has_passed = run::run_silently(&mut command, &log, stall_timeout, |line| {
        if is_start(line) {
            on_start.take();
        }
    })?;
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
        Suite::new(name, command, has_counts)
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
            let background = Background::spawn(scope, &project, Priority::Low, started, suites);
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

    #[test]
    fn start_of_the_first_program_is_signaled() {
        let folder = std::env::temp_dir().join(format!("xtask-signal-{}", std::process::id()));
        let project = Project { root: folder.clone(), target: folder.clone(), cache: folder.clone() };
        let end = folder.join("end");
        thread::scope(|scope| {
            let (on_start, has_started) = mpsc::channel();
            let script =
                format!("echo '  Running tests'; until [ -e '{}' ]; do sleep 0.01; done", end.display());
            let suites = vec![Suite { on_start: Some(on_start), ..suite("one", &script, false) }];
            let (_, now) = mpsc::channel();
            let background = Background::spawn(scope, &project, Priority::Normal, now, suites);
            wait_for(&has_started);
            fs::write(&end, "").unwrap();
            assert_eq!(background.finish().unwrap()[0].counts.passed, 1);
        });
        fs::remove_dir_all(folder).unwrap();
    }
}
