//! Decides how one program is started, when it counts as ready, and how it is stopped.

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

/// The longest line that is passed on whole, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// How long a program may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A program to run.
#[derive(Debug, Clone)]
pub struct ProgramSpec {
    /// What it is called in messages and before its lines.
    pub name: &'static str,
    /// The file to run.
    pub file: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to our environment, or all of it if `clear_env`.
    pub env: BTreeMap<String, String>,
    /// Whether it sees nothing of our own environment.
    pub clear_env: bool,
    /// Where it runs.
    pub current_dir: PathBuf,
}

/// When a program counts as ready.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// When a line that it prints begins so.
    Line(String),
    /// When an HTTP server answers there, with whatever status.
    Http(SocketAddr),
}

/// Why a program is not running.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no such file, or it cannot be run.
    #[error("{name} cannot be started: {file} ({source})", file = file.display())]
    Spawn {
        /// Which program.
        name: &'static str,
        /// Its file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended before it was ready ({status}); its last lines:\n{tail}")]
    Ended {
        /// Which program.
        name: &'static str,
        /// How it ended.
        status: String,
        /// What it said last.
        tail: String,
    },
    /// It was not ready in time.
    #[error("{name} was not ready within {} s; its last lines:\n{tail}", timeout.as_secs())]
    NotReady {
        /// Which program.
        name: &'static str,
        /// How long it had.
        timeout: Duration,
        /// What it said last.
        tail: String,
    },
}

/// A process group that can be killed, and everything that came out of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessGroupId(Pid);

impl ProcessGroupId {
    /// Sends a signal to the group, and to the groups that its members' children have made.
    pub(crate) fn signal(self, signal: Signal) {
        let leader = self.0.as_raw_nonzero().get();
        let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
        for group in tree::descendant_groups(leader) {
            if group != leader
                && group != own_group
                && let Some(group) = Pid::from_raw(group)
            {
                // One that has just ended is no error.
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

/// A started program: its lines, its end, and the guard that ends it.
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

/// Starts the program in its own group.
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
        // A line without an end must not fill the memory: it goes out in pieces.
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

/// A program that became ready. Dropped, it is killed.
#[derive(Debug)]
pub struct ManagedProcess {
    name: &'static str,
    exit_status: watch::Receiver<Option<ExitStatus>>,
    guard: KillGuard,
}

impl ManagedProcess {
    /// Starts the program and waits until it is ready. Every line that it prints goes to `print`.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; then nothing of it is left.
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
                        // Without lines left the program has ended, or is about to.
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

    /// Returns when the program has ended by itself, with how.
    pub async fn wait(&self) -> String {
        let mut exit_status = self.exit_status.clone();
        wait_for_exit(&mut exit_status).await;
        let status = *exit_status.borrow();
        status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
    }

    /// Asks the whole group to end, and kills what is left of it after three seconds.
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
            tracing::debug!(name = self.name, "killed: it did not end when asked");
        }
        self.guard.group.signal(Signal::KILL);
    }
}

pub(crate) async fn wait_for_exit(exit_status: &mut watch::Receiver<Option<ExitStatus>>) {
    // The sender lives until the process has been waited for; without it there is nothing to wait for either.
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
