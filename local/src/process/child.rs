//! Child processes: start, readiness and shutdown.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

use super::tree;
use super::watchdog::Watchdog;

/// The maximum length of a line that is passed on whole, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// The time that a program has to exit by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A program to run.
#[derive(Debug, Clone)]
pub struct ProgramSpec {
    /// Its name in messages and in front of its output.
    pub name: &'static str,
    /// The file to run.
    pub file: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to this process's environment, or the whole environment if `clear_env`.
    pub env: BTreeMap<String, String>,
    /// Whether it inherits nothing of this process's environment.
    pub clear_env: bool,
    /// Its working directory.
    pub current_dir: PathBuf,
}

/// The condition under which a program counts as ready.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// It has printed a line that starts with this text.
    Line(String),
    /// An HTTP server responds at this address, with any status.
    Http(SocketAddr),
}

/// The reason why a program is not running.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file does not exist, or cannot be executed.
    #[error("{name} cannot be started: {file} ({source})", file = file.display())]
    Spawn {
        /// The program.
        name: &'static str,
        /// Its file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It exited before it was ready.
    #[error("{name} ended before it was ready ({status}); its last lines:\n{tail}")]
    Ended {
        /// The program.
        name: &'static str,
        /// Its exit status.
        status: String,
        /// Its last lines of output.
        tail: String,
    },
    /// It was not ready in time.
    #[error("{name} was not ready within {} s; its last lines:\n{tail}", timeout.as_secs())]
    NotReady {
        /// The program.
        name: &'static str,
        /// The time limit.
        timeout: Duration,
        /// Its last lines of output.
        tail: String,
    },
}

/// A process group that can be killed with all its descendants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessGroupId(Pid);

impl ProcessGroupId {
    /// Sends a signal to the group, and to the groups that its members' children have created.
    pub(crate) fn signal(self, signal: Signal) {
        let leader = self.0.as_raw_nonzero().get();
        let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
        for group in tree::descendant_groups(leader) {
            if group != leader
                && group != own_group
                && let Some(group) = Pid::from_raw(group)
            {
                // A group that has just ended is not an error.
                let _ = kill_process_group(group, signal);
            }
        }
        let _ = kill_process_group(self.0, signal);
    }

    fn is_alive(self) -> bool {
        test_kill_process_group(self.0).is_ok()
    }

    pub(crate) fn leader(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }
}

/// A started program: its output, its exit status, and the guard that kills it.
#[derive(Debug)]
pub(crate) struct ProcessHandle {
    pub(crate) lines: mpsc::UnboundedReceiver<String>,
    pub(crate) exit_status: watch::Receiver<Option<ExitStatus>>,
    pub(crate) guard: KillGuard,
}

/// Kills the group when dropped.
#[derive(Debug)]
pub(crate) struct KillGuard {
    pub(crate) group: ProcessGroupId,
    watchdog: Watchdog,
}

impl Drop for KillGuard {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
        self.watchdog.remove(self.group.leader());
    }
}

/// Starts the program in its own process group.
pub(crate) fn spawn(program: &ProgramSpec, watchdog: &Watchdog) -> io::Result<ProcessHandle> {
    let mut command = Command::new(&program.file);
    if program.clear_env {
        command.env_clear();
    }
    command
        .args(&program.args)
        .envs(&program.env)
        .current_dir(&program.current_dir)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = ProcessGroupId(id.ok_or_else(|| io::Error::other("the program has no process id"))?);
    watchdog.add(group.leader());
    let (sender, lines) = mpsc::unbounded_channel();
    if let Some(out) = child.stdout.take() {
        tokio::spawn(forward_lines(out, sender.clone()));
    }
    if let Some(err) = child.stderr.take() {
        tokio::spawn(forward_lines(err, sender));
    }
    let (exit_sender, exit_status) = watch::channel(None);
    tokio::spawn(async move {
        let status = child.wait().await.ok();
        exit_sender.send_replace(status.or(Some(ExitStatus::default())));
    });
    Ok(ProcessHandle { lines, exit_status, guard: KillGuard { group, watchdog: watchdog.clone() } })
}

async fn forward_lines(stream: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        // An endless line must not fill the memory: it is passed on in pieces.
        match (&mut stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if lines.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
            return;
        }
    }
}

/// A ready program. Dropping it kills it.
#[derive(Debug)]
pub struct ManagedProcess {
    name: &'static str,
    exit_status: watch::Receiver<Option<ExitStatus>>,
    guard: KillGuard,
}

impl ManagedProcess {
    /// Starts the program and waits until it is ready. Its output goes to `print`, line by line.
    ///
    /// # Errors
    /// If it cannot be started, exits, or is not ready in time; then none of its processes remain.
    pub async fn start(
        program: ProgramSpec,
        ready: Readiness,
        timeout: Duration,
        watchdog: &Watchdog,
        print: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, StartError> {
        let name = program.name;
        let mut handle = spawn(&program, watchdog).map_err(|source| StartError::Spawn {
            name,
            file: program.file.clone(),
            source,
        })?;
        let mut tail: Vec<String> = Vec::new();
        let mut exit_status = handle.exit_status.clone();
        let time_limit = tokio::time::sleep(timeout);
        tokio::pin!(time_limit);
        let mut probe = tokio::time::interval(Duration::from_millis(50));
        loop {
            let is_ready = tokio::select! {
                biased;
                line = handle.lines.recv() => {
                    let Some(line) = line else {
                        // The output has ended, so the program has exited or is about to.
                        wait_for_exit(&mut exit_status).await;
                        let status = exit_status.borrow().map_or_else(String::new, |status| status.to_string());
                        return Err(StartError::Ended { name, status, tail: tail.join("\n") });
                    };
                    print(&line);
                    let is_ready_line = matches!(&ready, Readiness::Line(start) if line.starts_with(start.as_str()));
                    if tail.len() == 20 { tail.remove(0); }
                    tail.push(line);
                    is_ready_line
                }
                () = &mut time_limit => {
                    return Err(StartError::NotReady { name, timeout, tail: tail.join("\n") });
                }
                _ = probe.tick() => match &ready {
                    Readiness::Http(address) => has_http_server(*address).await,
                    Readiness::Line(_) => false,
                },
            };
            if is_ready {
                break;
            }
        }
        let ProcessHandle { mut lines, exit_status, guard } = handle;
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                print(&line);
            }
        });
        Ok(Self { name, exit_status, guard })
    }

    /// The program's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until the program exits by itself, and returns its exit status.
    pub async fn wait(&self) -> String {
        let mut exit_status = self.exit_status.clone();
        wait_for_exit(&mut exit_status).await;
        let status = *exit_status.borrow();
        status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
    }

    /// Terminates the whole group, and kills the rest after three seconds.
    pub async fn stop(self) {
        self.guard.group.signal(Signal::TERM);
        let mut exit_status = self.exit_status.clone();
        let all_ended = async {
            wait_for_exit(&mut exit_status).await;
            while self.guard.group.is_alive() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(GRACE, all_ended).await.is_err() {
            tracing::debug!(name = self.name, "killed: it did not exit on SIGTERM");
        }
        self.guard.group.signal(Signal::KILL);
    }
}

pub(crate) async fn wait_for_exit(exit_status: &mut watch::Receiver<Option<ExitStatus>>) {
    // The sender exists until the process has been waited for; without it there is nothing left to wait for.
    let _ = exit_status.wait_for(Option::is_some).await;
}

async fn has_http_server(address: SocketAddr) -> bool {
    let probe = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await?;
        io::Result::Ok(&start == b"HTTP/")
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), probe).await, Ok(Ok(true)))
}
