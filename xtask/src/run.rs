//! Runs programs with progress output, logs and timeouts.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

/// Number of the last output lines that are shown when a step fails.
const TAIL_LINES: usize = 12;
/// Interval of progress lines if the output is not a terminal.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Interval at which the progress line on a terminal is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Time to wait for the remaining output of an exited program: an orphaned child process can keep the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Prints a line about something that needed no work.
pub(crate) fn print_ok(what: &str, detail: impl std::fmt::Display) {
    println!("  ok {what}: {detail}");
}

/// Prints a note.
pub(crate) fn print_note(text: &str) {
    println!("     {text}");
}

/// Prints a heading for the following steps or tests.
pub(crate) fn print_heading(text: &str) {
    println!("\n== {text}");
}

/// Runs a short program and returns its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program_name(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed with {}: {}", program_name(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A long step: its elapsed time is shown while it runs, and its output is written to a log.
#[derive(Debug)]
pub(crate) struct LoggedStep {
    title: String,
    log: PathBuf,
    timeout: Option<Duration>,
}

impl LoggedStep {
    pub(crate) fn new(title: impl Into<String>, log: PathBuf) -> Self {
        Self { title: title.into(), log, timeout: None }
    }

    /// Kills the step, which then has failed, after this time.
    pub(crate) fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Runs `command`. `advice` is the last sentence of the error message: what the user should do.
    pub(crate) fn run(self, command: &mut Command, advice: &str) -> Result<()> {
        self.try_run(command)?.map_err(|failure| failure.into_error(advice))
    }

    /// Like `run`, but returns the failure of the step as a value, for steps with an alternative.
    ///
    /// # Errors
    /// The log cannot be written. A program that cannot be started is a failure of the step.
    pub(crate) fn try_run(self, command: &mut Command) -> Result<Result<(), StepFailure>> {
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let log = File::create(&self.log)
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let started = Instant::now();
        let mut display = ProgressLine::new(&self.title);
        let (mut child, lines) = match spawn(command, Some(log)) {
            Ok(spawned) => spawned,
            Err(error) => {
                display.finish(false, started.elapsed());
                return Ok(Err(self.into_failure(
                    format!("cannot start {}: {error}", program_name(command)),
                    String::new(),
                )));
            }
        };
        let mut tail = VecDeque::with_capacity(TAIL_LINES);
        let mut exited_at = None;
        let reason = loop {
            match lines.recv_timeout(REDRAW_INTERVAL) {
                Ok(line) if !line.trim().is_empty() => {
                    if tail.len() == TAIL_LINES {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = child.wait()?;
                    break (!status.success()).then(|| format!("failed with {status}"));
                }
            }
            let elapsed = started.elapsed();
            display.update(elapsed, tail.back().map_or("", String::as_str));
            if self.timeout.is_some_and(|limit| elapsed > limit) {
                // The program may have exited meanwhile; then `kill` fails.
                let _ = child.kill();
                child.wait()?;
                break Some(format!("timed out after {} s", elapsed.as_secs()));
            }
            if let Some(status) = child.try_wait()? {
                let exited_at: &mut Instant = exited_at.get_or_insert_with(Instant::now);
                if exited_at.elapsed() > DRAIN_TIMEOUT {
                    break (!status.success()).then(|| format!("failed with {status}"));
                }
            }
        };
        display.finish(reason.is_none(), started.elapsed());
        let tail = tail.iter().map(|line| format!("     | {line}")).collect::<Vec<_>>().join("\n");
        Ok(reason.map_or(Ok(()), |reason| Err(self.into_failure(reason, tail))))
    }

    fn into_failure(self, reason: String, tail: String) -> StepFailure {
        StepFailure { title: self.title, reason, tail, log: self.log.display().to_string() }
    }
}

/// A failure of a step.
#[derive(Debug)]
pub(crate) struct StepFailure {
    title: String,
    pub(crate) reason: String,
    /// The last lines of the output.
    pub(crate) tail: String,
    log: String,
}

impl StepFailure {
    /// Prints the last lines of the output, and returns an error with the reason and `advice`, what the user should do.
    pub(crate) fn into_error(self, advice: &str) -> anyhow::Error {
        if !self.tail.is_empty() {
            eprintln!("{}", self.tail);
        }
        anyhow!("{} {}\n{advice}\nThe full output is in {}", self.title, self.reason, self.log)
    }
}

/// Runs `command`, prints its output line by line and calls `on_line` for each line. Returns whether the command
/// succeeded.
pub(crate) fn stream(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always").env("FORCE_COLOR", "1");
    }
    let (mut child, lines) =
        spawn(command, None).with_context(|| format!("cannot start {}", program_name(command)))?;
    loop {
        // Check the status before waiting for a line: output that was written before the exit is then already in the
        // pipe.
        let status = child.try_wait()?;
        match lines.recv_timeout(if status.is_some() { DRAIN_TIMEOUT } else { REDRAW_INTERVAL }) {
            Ok(line) => {
                println!("{line}");
                on_line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?.success()),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = status {
                    return Ok(status.success());
                }
            }
        }
    }
}

/// Starts `command` with stdout and stderr in one pipe, so that their lines stay in order, and a thread that reads it.
fn spawn(command: &mut Command, log: Option<File>) -> io::Result<(Child, Receiver<String>)> {
    let (reader, writer) = io::pipe()?;
    let child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn();
    // `command` still owns the pipe's write ends. Drop them, or the reader would never reach the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    let child = child?;
    thread::spawn(move || read_lines(reader, log, &sender));
    Ok((child, receiver))
}

/// Returns at the end of the pipe, or when the receiver is gone and there is no log.
fn read_lines(reader: PipeReader, mut log: Option<File>, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if let Some(file) = &mut log {
            // A full disk must not fail the step.
            let _ = file.write_all(&line);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        // Of a line that a program redraws with carriage returns, keep the last state.
        let last = text.rsplit('\r').next().unwrap_or(text).to_owned();
        if sender.send(last).is_err() && log.is_none() {
            return;
        }
        line.clear();
    }
}

/// Progress display: a line that is redrawn on a terminal; otherwise a new line at intervals.
struct ProgressLine<'a> {
    title: &'a str,
    is_terminal: bool,
    last_drawn: Duration,
}

impl<'a> ProgressLine<'a> {
    fn new(title: &'a str) -> Self {
        let terminal = io::stdout().is_terminal();
        if !terminal {
            println!("   … {title}");
        }
        Self { title, is_terminal: terminal, last_drawn: Duration::ZERO }
    }

    fn update(&mut self, elapsed: Duration, last_line: &str) {
        let interval = if self.is_terminal { REDRAW_INTERVAL } else { HEARTBEAT_INTERVAL };
        if elapsed < self.last_drawn + interval {
            return;
        }
        self.last_drawn = elapsed;
        let seconds = elapsed.as_secs();
        let tail: String = last_line.trim().chars().filter(|c| !c.is_control()).take(60).collect();
        if self.is_terminal {
            print!("\r\u{1b}[2K   … {} {seconds} s  \u{1b}[2m{tail}\u{1b}[0m", self.title);
            // A closed terminal must not stop the step.
            let _ = io::stdout().flush();
        } else {
            println!("   … {} {seconds} s  {tail}", self.title);
        }
    }

    fn finish(&self, is_ok: bool, elapsed: Duration) {
        let clear = if self.is_terminal { "\r\u{1b}[2K" } else { "" };
        let mark = if is_ok { "ok" } else { "!!" };
        println!("{clear}  {mark} {} ({:.1} s)", self.title, elapsed.as_secs_f64());
    }
}

/// The program's file name, for messages.
fn program_name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_command(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn temporary_step(name: &str) -> (LoggedStep, PathBuf) {
        let log = std::env::temp_dir().join(format!("xtask-run-{name}-{}.log", std::process::id()));
        (LoggedStep::new(name, log.clone()), log)
    }

    #[test]
    fn log_keeps_stdout_and_stderr_in_order() {
        let (step, log) = temporary_step("order");
        step.try_run(&mut shell_command("echo one; echo two >&2; echo three")).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn failure_has_output_tail() {
        let (step, log) = temporary_step("failure");
        let script = "i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo line $i; done; exit 3";
        let failure = step.try_run(&mut shell_command(script)).unwrap().unwrap_err();
        assert!(failure.reason.contains("exit status: 3"), "{failure:?}");
        assert!(failure.tail.ends_with("line 30") && !failure.tail.contains("line 18\n"), "{failure:?}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn kills_on_timeout() {
        let (step, log) = temporary_step("limit");
        let started = Instant::now();
        let failure = step
            .with_timeout(Duration::from_millis(300))
            .try_run(&mut shell_command("exec sleep 30"))
            .unwrap()
            .unwrap_err();
        assert!(failure.reason.contains("timed out after"), "{failure:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn orphaned_child_does_not_block_step() {
        let (step, log) = temporary_step("left-behind");
        let started = Instant::now();
        step.try_run(&mut shell_command("sleep 30 & echo $!")).unwrap().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        let left = fs::read_to_string(&log).unwrap();
        capture(&mut shell_command(&format!("kill {left}"))).unwrap();
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn streams_lines_and_exit_status() {
        let mut lines = Vec::new();
        let ok = stream(&mut shell_command("echo a; echo b >&2; exit 1"), |line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!((lines, ok), (vec!["a".to_owned(), "b".to_owned()], false));
    }
}
