//! Workers of the tests, each in its own workerd. All of a test program are started by one Node.js process, with
//! `workerd.mjs`: `wrangler dev` takes seconds of CPU time for each.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::env_path;

/// The settings of a Worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    /// The port on the loopback address.
    pub(crate) port: u16,
    /// The variables that differ from `wrangler.toml`.
    pub(crate) vars: BTreeMap<String, String>,
    /// Whether the rate limits of `wrangler.toml` apply.
    pub(crate) has_limits: bool,
    /// Whether the cache stores anything.
    pub(crate) has_cache: bool,
    /// The folder of the cache.
    pub(crate) persist_to: PathBuf,
}

/// A running Worker. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Worker {
    id: u64,
}

impl Worker {
    /// Starts it and waits until it listens. Lines of its log go to `print`.
    ///
    /// # Errors
    /// The message of Node.js or workerd.
    pub(crate) async fn start(
        settings: WorkerSettings,
        print: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, String> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (ready, is_ready) = oneshot::channel();
        let host = Host::shared();
        host.entries().insert(id, Entry { ready: Some(ready), print: Box::new(print) });
        let worker = Self { id };
        host.send(&json!({
            "id": id,
            "port": settings.port,
            "vars": settings.vars,
            "hasLimits": settings.has_limits,
            "hasCache": settings.has_cache,
            "persistTo": settings.persist_to,
        }));
        is_ready.await.unwrap_or_else(|_| Err("Node.js ended: its output is above".into()))?;
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let host = Host::shared();
        host.send(&json!({ "id": self.id, "stop": true }));
        host.entries().remove(&self.id);
    }
}

/// A Worker that was requested.
struct Entry {
    /// `None` once it was ready or has failed.
    ready: Option<oneshot::Sender<Result<(), String>>>,
    print: Box<dyn Fn(&str) + Send>,
}

type Entries = Arc<Mutex<HashMap<u64, Entry>>>;

/// The Node.js process. It ends with this process, which closes its input.
struct Host {
    requests: Mutex<ChildStdin>,
    entries: Entries,
}

impl Host {
    fn shared() -> &'static Self {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(Self::start)
    }

    fn start() -> Self {
        let root = env_path("GLIMPSE_ROOT");
        let mut process = Command::new(env_path("GLIMPSE_NODE"))
            .arg(root.join("tests/src/workerd.mjs"))
            .arg(root.join("wrangler.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js starts");
        let requests = process.stdin.take().expect("standard input is a pipe");
        let output = process.stdout.take().expect("standard output is a pipe");
        let entries = Entries::default();
        let shared = Arc::clone(&entries);
        thread::spawn(move || {
            read_output(output, &shared);
            // Nothing waits for a Worker any more.
            lock(&shared).clear();
            // Its exit status says nothing that its output does not.
            let _ = process.wait();
        });
        Self { requests: Mutex::new(requests), entries }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Entry>> {
        lock(&self.entries)
    }

    fn send(&self, request: &Value) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // If Node.js has ended, the reader of its output reports it.
        let _ = requests.write_all(format!("{request}\n").as_bytes());
    }
}

fn lock(entries: &Mutex<HashMap<u64, Entry>>) -> std::sync::MutexGuard<'_, HashMap<u64, Entry>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on the messages of Node.js until it ends.
fn read_output(output: ChildStdout, entries: &Mutex<HashMap<u64, Entry>>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            eprintln!("workerd: {line}");
            continue;
        };
        let Some(id) = message["id"].as_u64() else { continue };
        let mut entries = lock(entries);
        let Some(entry) = entries.get_mut(&id) else { continue };
        if let Some(text) = message["line"].as_str() {
            text.lines().for_each(|line| (entry.print)(line));
            continue;
        }
        let result = match message["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(()),
        };
        if let Some(ready) = entry.ready.take() {
            // The test may have ended meanwhile.
            let _ = ready.send(result);
        }
    }
}
