//! Starts every other program; nothing else here does. Decides how a step is shown while it runs, where its output is kept,
//! when it has taken too long, and what its failure says.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

/// How many of a failed step's last lines are shown.
const TAIL_LINES: usize = 12;
/// How often a step says that it is alive where lines cannot be rewritten.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often the counter on a terminal moves.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// How long the output of a program that has ended is waited for: something it left behind may hold the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// One line about something that needed no work.
pub(crate) fn print_ok(what: &str, detail: impl std::fmt::Display) {
    println!("  ok {what}: {detail}");
}

/// One line about what comes next.
pub(crate) fn print_note(text: &str) {
    println!("     {text}");
}

/// A heading over the steps or tests that follow.
pub(crate) fn print_heading(text: &str) {
    println!("\n== {text}");
}

/// Runs a short program to its end and answers what it wrote to standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program_name(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", program_name(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A long step: shown with its time while it runs, its output kept in a log.
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

    /// Ends the step as failed when it has taken this long.
    pub(crate) fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Runs `command` to its end. `advice` is the sentence that a failure ends with: what the person should do.
    pub(crate) fn run(self, command: &mut Command, advice: &str) -> Result<()> {
        self.try_run(command)?.map_err(|failure| failure.into_error(advice))
    }

    /// Like `run`, for a step that may fail because there is another way: the failure is a value.
    ///
    /// # Errors
    /// When the log cannot be written; a program that cannot be started is a failure.
    pub(crate) fn try_run(self, command: &mut Command) -> Result<Result<(), StepFailure>> {
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let log = File::create(&self.log)
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let started = Instant::now();
        let mut display = ProgressLine::new(&self.title);
        let (mut child, lines) = match spawn(command, Some(log)) {
            Ok(spawned) => spawned,
            Err(error) => {
                display.finish(false, started.elapsed());
                return Ok(Err(self
                    .to_failure(format!("cannot start {}: {error}", program_name(command)), String::new())));
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
                    break (!status.success()).then(|| format!("ended with {status}"));
                }
            }
            let elapsed = started.elapsed();
            display.update(elapsed, tail.back().map_or("", String::as_str));
            if self.timeout.is_some_and(|limit| elapsed > limit) {
                // It may have ended by itself in this moment; then there is nothing to kill.
                let _ = child.kill();
                child.wait()?;
                break Some(format!("no end after {} s", elapsed.as_secs()));
            }
            if let Some(status) = child.try_wait()? {
                let exited_at: &mut Instant = exited_at.get_or_insert_with(Instant::now);
                if exited_at.elapsed() > DRAIN_TIMEOUT {
                    break (!status.success()).then(|| format!("ended with {status}"));
                }
            }
        };
        display.finish(reason.is_none(), started.elapsed());
        let tail = tail.iter().map(|line| format!("     | {line}")).collect::<Vec<_>>().join("\n");
        Ok(reason.map_or(Ok(()), |reason| Err(self.to_failure(reason, tail))))
    }

    fn to_failure(self, reason: String, tail: String) -> StepFailure {
        StepFailure { title: self.title, reason, tail, log: self.log.display().to_string() }
    }
}

/// How a step failed.
#[derive(Debug)]
pub(crate) struct StepFailure {
    title: String,
    pub(crate) reason: String,
    /// The last lines of its output.
    pub(crate) tail: String,
    log: String,
}

impl StepFailure {
    /// Shows the end of the output, and makes an error of what happened and `advice`, what the person should do.
    pub(crate) fn into_error(self, advice: &str) -> anyhow::Error {
        if !self.tail.is_empty() {
            eprintln!("{}", self.tail);
        }
        anyhow!("{} {}\n{advice}\nIts whole output is in {}", self.title, self.reason, self.log)
    }
}

/// Runs `command` with its output passed on as it comes; `see` gets every line. Answers whether it succeeded.
pub(crate) fn stream(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always").env("FORCE_COLOR", "1");
    }
    let (mut child, lines) =
        spawn(command, None).with_context(|| format!("cannot start {}", program_name(command)))?;
    loop {
        // Looked at before the wait for a line: what was written before the end is then already on its way.
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

/// Starts `command` with both outputs in one pipe, so that their lines stay in order, and a thread that reads them.
fn spawn(command: &mut Command, log: Option<File>) -> io::Result<(Child, Receiver<String>)> {
    let (reader, writer) = io::pipe()?;
    let child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn();
    // The command holds the pipe's writing ends; while it does, the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    let child = child?;
    thread::spawn(move || read_lines(reader, log, &sender));
    Ok((child, receiver))
}

/// Ends with the pipe, or when nobody listens any more and there is no log to write.
fn read_lines(reader: PipeReader, mut log: Option<File>, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if let Some(file) = &mut log {
            // A full disk ends the log, not the step.
            let _ = file.write_all(&line);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        // What a program draws over and over on one line ends with its last state.
        let last = text.rsplit('\r').next().unwrap_or(text).to_owned();
        if sender.send(last).is_err() && log.is_none() {
            return;
        }
        line.clear();
    }
}

/// One line on a terminal that is drawn again and again; elsewhere a line now and then.
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
            // A terminal that is gone is no reason to stop the work.
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
        assert!(failure.reason.contains("no end after"), "{failure:?}");
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
