//! Runs ffmpeg and ffprobe, which read untrusted bytes, in limited child processes. This is the only place in the
//! backend that spawns.
//!
//! A child has an empty environment, `/` as its working directory, its own process group, resource limits, a deadline,
//! and bounded pipes. When the run ends first, for any reason, the whole group is killed and the child is reaped
//! (threats F13 to F17).

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How much of the child's standard error is kept, in bytes.
const STDERR_BYTES: usize = 64 * 1024;
/// Maximum number of open files: three pipes, the loopback connections, and what the C library needs.
const MAX_OPEN_FILES: u64 = 64;
/// How much more address space than memory a child may have. Each thread reserves 8 MiB of stack and an arena of 64
/// MiB, of which it uses little; programs and libraries are mapped as well.
const EXTRA_ADDRESS_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Limits of a child.
#[derive(Debug, Clone, Copy)]
pub struct ProcessLimits {
    /// The time at which it is killed.
    pub deadline: Instant,
    /// Maximum number of bytes on standard output. The child is killed when it writes more.
    pub max_stdout: usize,
    /// Maximum size of the child's writable memory, in bytes. Beyond it, allocations fail.
    pub memory_bytes: u64,
}

/// How a child's standard output is returned.
#[derive(Debug)]
pub enum OutputMode {
    /// Buffered, and returned when the child has exited.
    Buffered,
    /// Sent in chunks of this many bytes as they arrive; an incomplete chunk at the end is dropped. The child is killed
    /// when the receiver is gone.
    Chunks(usize, mpsc::Sender<Bytes>),
}

/// The output of a child that exited successfully.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOutput {
    /// The whole standard output.
    pub stdout: Bytes,
    /// The end of standard error, sanitized.
    pub stderr_tail: String,
}

/// Why a run failed.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The program does not exist.
    #[error("the program does not exist")]
    NotFound,
    /// The program is not executable.
    #[error("the program is not executable")]
    PermissionDenied,
    /// The program is for another processor, or it is not a program.
    #[error("the program is not built for this processor")]
    WrongFormat,
    /// The system could not start it, or its pipes broke.
    #[error("cannot run the program: {0}")]
    Io(#[source] io::Error),
    /// It was still running at its deadline.
    #[error("killed at the deadline")]
    TimedOut {
        /// The output up to then.
        stdout: Bytes,
    },
    /// A signal that this process did not send killed it.
    #[error("killed by signal {signal}: {tail}")]
    Crashed {
        /// The signal's number.
        signal: i32,
        /// The end of standard error.
        tail: String,
    },
    /// It exited with an error.
    #[error("exited with status {status}: {tail}")]
    Failed {
        /// The exit status.
        status: i32,
        /// The end of standard error.
        tail: String,
        /// The output up to then.
        stdout: Bytes,
    },
    /// It wrote more than the limit.
    #[error("output limit exceeded")]
    TooMuchOutput,
}

/// Kills the child's whole process group, unless the child has been reaped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn kill(&mut self) {
        if let Some(pgid) = self.0.take() {
            // An error means that the group has already ended.
            let _ = kill_process_group(pgid, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `program` with `arguments`, writes `stdin` to it, and waits for its exit. `secret` is removed from its standard
/// error.
///
/// # Errors
/// Any variant of [`ProcessError`]. In every case the child and its group have ended.
pub async fn run(
    program: &Path,
    arguments: &[String],
    stdin: Option<Bytes>,
    output: OutputMode,
    limits: ProcessLimits,
    secret: &str,
) -> Result<ProcessOutput, ProcessError> {
    let mut child = spawn(program, arguments, stdin.is_some())?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = ProcessGroup(pid);
    if let Some(pid) = pid {
        apply_rlimits(pid, limits.deadline.saturating_duration_since(Instant::now()), limits.memory_bytes);
    }

    let mut stdout = Vec::new();
    let mut stderr = VecDeque::new();
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let communicate = async {
        let (stdin_pipe, stdout_pipe, stderr_pipe) = pipes;
        let write_stdin = async {
            if let (Some(mut pipe), Some(bytes)) = (stdin_pipe, stdin) {
                // A child that needs no more input closes its end of the pipe: its exit status shows the result.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let (overflow, (), ()) = tokio::join!(
            read_stdout(stdout_pipe, output, &mut stdout, limits.max_stdout),
            read_stderr(stderr_pipe, &mut stderr),
            write_stdin
        );
        if overflow { None } else { Some(child.wait().await) }
    };
    let communicated = timeout_at(limits.deadline, communicate).await;
    let status = if let Ok(Some(status)) = communicated {
        status.map_err(ProcessError::Io)?
    } else {
        group.kill();
        let _ = child.wait().await;
        if communicated.is_ok() {
            return Err(ProcessError::TooMuchOutput);
        }
        return Err(ProcessError::TimedOut { stdout: stdout.into() });
    };
    // Kill the processes that the child left in its group.
    group.kill();
    let tail = sanitize_stderr(&stderr.into_iter().collect::<Vec<_>>(), secret);
    classify_status(status, stdout.into(), tail)
}

fn spawn(program: &Path, arguments: &[String], with_stdin: bool) -> Result<Child, ProcessError> {
    Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(if with_stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProcessError::NotFound,
            io::ErrorKind::PermissionDenied => ProcessError::PermissionDenied,
            _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => ProcessError::WrongFormat,
            _ => ProcessError::Io(error),
        })
}

/// Sets resource limits shortly after the start, before the child has read any of its input.
fn apply_rlimits(pid: Pid, time: Duration, memory_bytes: u64) {
    // Two threads may use two CPU seconds per second. Ten more are added so that the deadline ends the child first.
    let cpu_secs = time.as_secs().saturating_mul(2) + 10;
    for (resource, amount) in [
        (Resource::Cpu, cpu_secs),
        // No files are written: all output uses pipes, to which this limit does not apply.
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, MAX_OPEN_FILES),
        (Resource::Data, memory_bytes),
        // Kernels before 4.7 do not count all memory as data; there, this stops runaway allocations.
        (Resource::As, memory_bytes.saturating_add(EXTRA_ADDRESS_BYTES)),
    ] {
        // Some sandboxes refuse to set limits; the deadline and the kill of the group remain.
        let _ = prlimit(Some(pid), resource, Rlimit { current: Some(amount), maximum: Some(amount) });
    }
}

/// Reads to the end. Returns true if there were more than `max` bytes.
async fn read_stdout(
    pipe: Option<impl AsyncRead + Unpin>,
    output: OutputMode,
    into: &mut Vec<u8>,
    max: usize,
) -> bool {
    let Some(pipe) = pipe else { return false };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut pipe = pipe.take(limit);
    match output {
        OutputMode::Buffered => {
            let _ = pipe.read_to_end(into).await;
            into.len() > max
        }
        OutputMode::Chunks(length, sender) => {
            let mut chunk = BytesMut::with_capacity(length);
            let mut total = 0;
            while let Ok(read @ 1..) = pipe.read_buf(&mut chunk).await {
                total += read;
                while chunk.len() >= length && total <= max {
                    if sender.send(chunk.split_to(length).freeze()).await.is_err() {
                        return true;
                    }
                    chunk.reserve(length);
                }
            }
            total > max
        }
    }
}

/// Reads to the end and keeps the last [`STDERR_BYTES`].
async fn read_stderr(pipe: Option<impl AsyncRead + Unpin>, into: &mut VecDeque<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0_u8; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        into.extend(&chunk[..length]);
        let excess = into.len().saturating_sub(STDERR_BYTES);
        into.drain(..excess);
    }
}

fn classify_status(status: ExitStatus, stdout: Bytes, tail: String) -> Result<ProcessOutput, ProcessError> {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(ProcessOutput { stdout, stderr_tail: tail }),
        (_, Some(signal)) if signal == Signal::XCPU.as_raw() => Err(ProcessError::TimedOut { stdout }),
        (_, Some(signal)) => Err(ProcessError::Crashed { signal, tail }),
        (status, None) => Err(ProcessError::Failed { status: status.unwrap_or(-1), tail, stdout }),
    }
}

/// Text that is safe in a log: without control characters except line feeds, and without the URL of the source proxy.
fn sanitize_stderr(bytes: &[u8], secret: &str) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    if secret.is_empty() { text } else { text.replace(secret, "/***") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 256 * 1024 * 1024;

    async fn run_shell(
        script: &str,
        stdin: Option<&str>,
        timeout: Duration,
    ) -> Result<ProcessOutput, ProcessError> {
        let limits =
            ProcessLimits { deadline: Instant::now() + timeout, max_stdout: 1 << 20, memory_bytes: MEMORY };
        let arguments = ["-c".to_owned(), script.to_owned()];
        let stdin = stdin.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        run(Path::new("/bin/sh"), &arguments, stdin, OutputMode::Buffered, limits, "/secret").await
    }

    const GENEROUS_DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn returns_child_output() {
        let finished = run_shell("cat; echo oops >&2", Some("hello"), GENEROUS_DEADLINE).await.unwrap();
        assert_eq!(
            (finished.stdout.as_ref(), finished.stderr_tail.as_str()),
            (b"hello".as_slice(), "oops\n")
        );
    }

    #[tokio::test]
    async fn f17_child_has_no_environment_and_no_folder() {
        let finished = run_shell("/usr/bin/env; pwd", None, GENEROUS_DEADLINE).await.unwrap();
        let text = String::from_utf8(finished.stdout.to_vec()).unwrap();
        // The shell itself sets PWD, and some set OLDPWD, SHLVL and _.
        let unexpected = text.lines().find(|line| {
            line.contains('=')
                && !["PWD=/", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own))
        });
        assert_eq!(unexpected, None);
        assert!(text.ends_with("/\n"), "{text}");
    }

    #[tokio::test]
    async fn reports_exit_status() {
        let failed = run_shell("echo part; echo why >&2; exit 3", None, GENEROUS_DEADLINE).await.unwrap_err();
        assert!(
            matches!(&failed, ProcessError::Failed { status: 3, tail, stdout } if tail == "why\n" && &stdout[..] == b"part\n"),
            "{failed:?}"
        );
        let crashed = run_shell("kill -SEGV $$", None, GENEROUS_DEADLINE).await.unwrap_err();
        assert!(matches!(crashed, ProcessError::Crashed { signal: 11, .. }), "{crashed:?}");
        let out_of_cpu = run_shell("kill -XCPU $$", None, GENEROUS_DEADLINE).await.unwrap_err();
        assert!(matches!(out_of_cpu, ProcessError::TimedOut { .. }), "{out_of_cpu:?}");
        let limits = ProcessLimits {
            deadline: Instant::now() + GENEROUS_DEADLINE,
            max_stdout: 10,
            memory_bytes: MEMORY,
        };
        let absent =
            run(Path::new("/nowhere/ffmpeg"), &[], None, OutputMode::Buffered, limits, "").await.unwrap_err();
        assert!(matches!(absent, ProcessError::NotFound), "{absent:?}");
        let denied =
            run(Path::new("/etc/passwd"), &[], None, OutputMode::Buffered, limits, "").await.unwrap_err();
        assert!(matches!(denied, ProcessError::PermissionDenied), "{denied:?}");
    }

    #[tokio::test]
    async fn f13_kills_process_group_at_deadline() {
        // The grandchild holds the pipe open: the output ends only when the whole group is killed.
        let started = Instant::now();
        let error =
            run_shell("echo $$; sleep 600 & sleep 600", None, Duration::from_millis(300)).await.unwrap_err();
        let ProcessError::TimedOut { stdout } = error else { panic!("{error:?}") };
        assert!(started.elapsed() < Duration::from_secs(10));
        let group: i32 = String::from_utf8(stdout.to_vec()).unwrap().trim().parse().unwrap();
        let group = Pid::from_raw(group).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(Instant::now() < deadline, "a process of the group is still running");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn f14_child_writes_no_file_and_bounded_output() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        let script = format!("sleep 0.2; printf hello > {0}; wc -c < {0}", file.display());
        let _ = run_shell(&script, None, GENEROUS_DEADLINE).await;
        assert_eq!(std::fs::read(&file).unwrap_or_default(), b"", "the child wrote to a file");
        let result = run_shell("yes", None, GENEROUS_DEADLINE).await.unwrap_err();
        assert!(matches!(result, ProcessError::TooMuchOutput), "{result:?}");
    }

    #[tokio::test]
    async fn f9_child_memory_is_limited() {
        // A variable that doubles in size each time; a shell that cannot allocate it exits.
        let script = "sleep 0.2; a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done";
        let error = run_shell(script, None, GENEROUS_DEADLINE).await.unwrap_err();
        assert!(matches!(error, ProcessError::Failed { .. } | ProcessError::Crashed { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn f15_stderr_is_bounded_and_sanitized() {
        let script = r"head -c 300000 /dev/zero | tr '\0' x >&2; printf '\033[31mred\007\000 http://127.0.0.1/secret end\n' >&2";
        let tail = run_shell(script, None, GENEROUS_DEADLINE).await.unwrap().stderr_tail;
        assert!(tail.len() <= STDERR_BYTES && tail.len() > STDERR_BYTES / 2, "{}", tail.len());
        assert!(tail.ends_with("x[31mred http://127.0.0.1/*** end\n"), "{}", &tail[tail.len() - 60..]);
    }

    #[tokio::test]
    async fn streams_output_in_chunks() {
        let limits = ProcessLimits {
            deadline: Instant::now() + GENEROUS_DEADLINE,
            max_stdout: 100,
            memory_bytes: MEMORY,
        };
        let arguments = ["-c".to_owned(), "printf abcdefgh".to_owned()];
        let (to, mut from) = mpsc::channel(1);
        let output = OutputMode::Chunks(3, to);
        let (finished, pieces) =
            tokio::join!(run(Path::new("/bin/sh"), &arguments, None, output, limits, ""), async {
                let mut pieces = Vec::new();
                while let Some(piece) = from.recv().await {
                    pieces.push(piece);
                }
                pieces
            });
        assert!(finished.is_ok());
        assert_eq!(pieces, ["abc", "def"]);

        let (to, from) = mpsc::channel(1);
        drop(from);
        let flood = ["-c".to_owned(), "yes".to_owned()];
        let result = run(Path::new("/bin/sh"), &flood, None, OutputMode::Chunks(3, to), limits, "").await;
        assert!(matches!(result, Err(ProcessError::TooMuchOutput)), "{result:?}");
    }

    #[tokio::test]
    async fn child_that_never_reads_does_not_block() {
        let large_input = "x".repeat(1 << 20);
        assert!(run_shell("exit 0", Some(&large_input), GENEROUS_DEADLINE).await.is_ok());
    }
}
