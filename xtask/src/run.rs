//! Runs programs with progress output, logs and timeouts.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::parallel;
use crate::progress::{self, REDRAW_INTERVAL, StepDisplay};

/// Number of the last output lines that are shown when a step fails.
const TAIL_LINES: usize = 12;
/// Time to wait for the remaining output of an exited program: an orphaned child process can keep the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without any output after which a program is considered to hang.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_mins(10);
/// The same for a program of low priority, which may have to wait for the others.
pub(crate) const LOW_PRIORITY_STALL_TIMEOUT: Duration = Duration::from_mins(20);
/// Interval at which the exit of a program that has closed its output is awaited.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Prints a line about something that needed no work.
pub(crate) fn print_ok(what: &str, detail: impl std::fmt::Display) {
    progress::print_line(&format!("  ok {what}: {detail}"));
}

/// Prints a note.
pub(crate) fn print_note(text: &str) {
    progress::print_line(&format!("     {text}"));
}

/// Prints a heading for the following steps or tests.
pub(crate) fn print_heading(text: &str) {
    progress::print_line(&format!("\n== {text}"));
}

/// Prints the durations of the steps since the last call, if there were any long ones.
pub(crate) fn print_times() {
    const SHORTEST: Duration = Duration::from_secs(1);
    let mut times = progress::take_times();
    times.retain(|time| time.wall >= SHORTEST);
    if !times.is_empty() {
        print_note(&format!("steps: {}", progress::format_times(&times)));
    }
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
        let display = StepDisplay::begin(&self.title);
        let (mut child, lines) = match spawn(command, Some(log)) {
            Ok(spawned) => spawned,
            Err(error) => {
                display.finish(false, None);
                return Ok(Err(self.into_failure(
                    format!("cannot start {}: {error}", program_name(command)),
                    String::new(),
                )));
            }
        };
        let mut tail = VecDeque::with_capacity(TAIL_LINES);
        let mut exit: Option<(Exit, Instant)> = None;
        let mut has_output = true;
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
                    has_output = false;
                    thread::sleep(EXIT_POLL_INTERVAL);
                }
            }
            display.update(tail.back().map_or("", String::as_str));
            if exit.is_none() {
                exit = try_reap(&mut child)?.map(|exit| (exit, Instant::now()));
            }
            if let Some((Exit { status, .. }, exited_at)) = &exit
                && (!has_output || exited_at.elapsed() > DRAIN_TIMEOUT)
            {
                break (!status.success()).then(|| format!("failed with {status}"));
            }
            let is_late = self.timeout.is_some_and(|limit| started.elapsed() > limit);
            if exit.is_none() && (is_late || parallel::is_canceled()) {
                // The program may have exited meanwhile; then `kill` fails.
                let _ = child.kill();
                child.wait()?;
                break Some(if is_late {
                    format!("timed out after {} s", started.elapsed().as_secs())
                } else {
                    "was stopped, because another step failed".to_owned()
                });
            }
        };
        display.finish(reason.is_none(), exit.and_then(|(exit, _)| exit.cpu));
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

/// How a program ended whose output was read line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Success,
    Failure,
    /// It was killed, because it had no output for too long.
    Stalled,
}

impl StreamEnd {
    pub(crate) fn is_success(self) -> bool {
        self == Self::Success
    }

    fn from_status(status: ExitStatus) -> Self {
        if status.success() { Self::Success } else { Self::Failure }
    }
}

/// Runs `command`, prints its output line by line and calls `on_line` for each line. A program that has no output for
/// `stall_timeout` is killed with all its children.
pub(crate) fn stream(
    command: &mut Command,
    stall_timeout: Option<Duration>,
    mut on_line: impl FnMut(&str),
) -> Result<StreamEnd> {
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always").env("FORCE_COLOR", "1");
    }
    let started = spawn(command, None).with_context(|| format!("cannot start {}", program_name(command)))?;
    read_until_end(started, stall_timeout, |line| {
        println!("{line}");
        on_line(line);
    })
}

/// Calls `on_line` for each line until the program ends, or has had no output for `stall_timeout` and was killed.
fn read_until_end(
    (mut child, lines): (Child, Receiver<String>),
    stall_timeout: Option<Duration>,
    mut on_line: impl FnMut(&str),
) -> Result<StreamEnd> {
    let mut last_output = Instant::now();
    loop {
        // Check the status before waiting for a line: output that was written before the exit is then already in the
        // pipe.
        let status = child.try_wait()?;
        match lines.recv_timeout(if status.is_some() { DRAIN_TIMEOUT } else { REDRAW_INTERVAL }) {
            Ok(line) => {
                last_output = Instant::now();
                on_line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(StreamEnd::from_status(child.wait()?)),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = status {
                    return Ok(StreamEnd::from_status(status));
                }
                if stall_timeout.is_some_and(|limit| last_output.elapsed() > limit) {
                    kill_tree(&mut child)?;
                    return Ok(StreamEnd::Stalled);
                }
            }
        }
    }
}

/// Kills a program and all its descendants, and waits for it.
fn kill_tree(child: &mut Child) -> Result<()> {
    let listing = capture(Command::new("ps").args(["-A", "-o", "pid=,ppid="]))?;
    let mut tree = vec![child.id()];
    let parents: Vec<(u32, u32)> = listing.lines().filter_map(parse_process).collect();
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| process));
        next += 1;
    }
    // Some may have ended meanwhile; then `kill` reports them and kills the others.
    let _ = capture(Command::new("kill").arg("-KILL").args(tree.iter().map(u32::to_string)));
    child.wait()?;
    Ok(())
}

/// The ids of a process and of its parent, in a line of `ps`.
fn parse_process(line: &str) -> Option<(u32, u32)> {
    let (process, parent) = line.trim().split_once(char::is_whitespace)?;
    Some((process.parse().ok()?, parent.trim().parse().ok()?))
}

/// The same command at a low priority: it gets the processor when nothing else needs it.
pub(crate) fn with_low_priority(command: &Command) -> Command {
    let mut low = Command::new("nice");
    low.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => low.env(name, value),
            None => low.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        low.current_dir(folder);
    }
    low
}

/// Runs `command` without any output, which is written to `log`; calls `on_line` for each line. A program that has no
/// output for `stall_timeout` is killed with all its children. Returns whether the command succeeded.
pub(crate) fn run_silently(
    command: &mut Command,
    log: &Path,
    stall_timeout: Duration,
    on_line: impl FnMut(&str),
) -> Result<bool> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
    let started =
        spawn(command, Some(file)).with_context(|| format!("cannot start {}", program_name(command)))?;
    let end = read_until_end(started, Some(stall_timeout), on_line)?;
    if end == StreamEnd::Stalled {
        let mut file = File::options().append(true).open(log)?;
        writeln!(file, "stopped: no output for {} minutes", stall_timeout.as_secs() / 60)?;
    }
    Ok(end.is_success())
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

/// The end of a process.
struct Exit {
    status: ExitStatus,
    /// User and system time of the process and of all processes that it has waited for; `None` if unknown.
    cpu: Option<Duration>,
}

/// Returns how the process ended, if it has. The kernel only tells the total of all children, so that no two children
/// are waited for at the same time.
fn try_reap(child: &mut Child) -> io::Result<Option<Exit>> {
    static REAPING: Mutex<()> = Mutex::new(());
    let _guard = REAPING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = children_cpu();
    let Some(status) = child.try_wait()? else { return Ok(None) };
    let cpu = before.zip(children_cpu()).map(|(before, after)| after.saturating_sub(before));
    Ok(Some(Exit { status, cpu }))
}

/// User and system time of all children that this process has waited for. Only Linux has this file.
fn children_cpu() -> Option<Duration> {
    parse_children_cpu(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The sum of `cutime` and `cstime` of `/proc/PID/stat`, proc_pid_stat(5). Its unit, `USER_HZ`, is a hundredth of a
/// second on every architecture that Rust supports.
fn parse_children_cpu(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, which can contain spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(13).map(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis(10 * (times.next()?? + times.next()??)))
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
    fn low_priority_keeps_environment_and_output() {
        let log = std::env::temp_dir().join(format!("xtask-run-low-{}.log", std::process::id()));
        let mut command = shell_command("echo $VALUE; pwd; nice; exit 1");
        command.env("VALUE", "kept").current_dir("/");
        let mut lines = 0;
        let mut low = with_low_priority(&command);
        assert!(!run_silently(&mut low, &log, STALL_TIMEOUT, |_| lines += 1).unwrap());
        assert_eq!(lines, 3);
        assert_eq!(fs::read_to_string(&log).unwrap(), "kept\n/\n19\n");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn counts_cpu_time_of_children() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 250 30 20 0 1";
        assert_eq!(parse_children_cpu(stat), Some(Duration::from_millis(2800)));
        assert_eq!(parse_children_cpu("7 (a) S 1"), None);
        let mut child = shell_command("i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done").spawn().unwrap();
        let exit = loop {
            match try_reap(&mut child).unwrap() {
                Some(exit) => break exit,
                None => thread::sleep(EXIT_POLL_INTERVAL),
            }
        };
        assert!(exit.status.success());
        assert!(
            !cfg!(target_os = "linux") || exit.cpu.unwrap() > Duration::from_millis(20),
            "{:?}",
            exit.cpu
        );
    }

    #[test]
    fn failed_lane_stops_running_step() {
        let started = Instant::now();
        let (step, log) = temporary_step("canceled");
        let error = parallel::run(vec![
            Box::new(move || step.run(&mut shell_command("exec sleep 30"), "advice")),
            Box::new(|| bail!("the cause")),
        ]);
        assert_eq!(error.unwrap_err().to_string(), "the cause");
        assert!(started.elapsed() < Duration::from_secs(10));
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
        let mut command = shell_command("echo a; echo b >&2; exit 1");
        let end = stream(&mut command, None, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!((lines, end), (vec!["a".to_owned(), "b".to_owned()], StreamEnd::Failure));
    }

    #[test]
    fn program_without_output_is_killed_with_children() {
        let started = Instant::now();
        let program = spawn(&mut shell_command("sleep 30 & echo $!; wait"), None).unwrap();
        let mut process = String::new();
        let end =
            read_until_end(program, Some(Duration::from_millis(300)), |line| line.clone_into(&mut process));
        assert_eq!(end.unwrap(), StreamEnd::Stalled);
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(!process.is_empty());
        // Until its new parent waits for it, it is a zombie.
        let state = capture(Command::new("ps").args(["-o", "stat=", "-p", &process]));
        assert!(!state.is_ok_and(|state| !state.starts_with('Z')), "the child {process} is running");
    }
}
