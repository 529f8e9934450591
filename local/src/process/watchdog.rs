//! Kills the children when this process is killed: a shell that waits on a pipe kills their groups.
//!
//! Nothing else works without unsafe code: a handler does not run on SIGKILL, and a parent-death signal must be set
//! inside the child, between fork and exec.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Reads `add GROUP` and `del GROUP`; when the pipe closes because this process ended, it kills the remaining groups.
const SCRIPT: &str = r#"
groups=
while read -r verb group; do
    case $verb in
    add) groups="$groups $group" ;;
    del)
        left=
        for other in $groups; do [ "$other" = "$group" ] || left="$left $other"; done
        groups=$left
        ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// Kills its registered groups when this process ends for any reason. Clones share it.
#[derive(Debug, Clone)]
pub struct Watchdog(Arc<Mutex<ChildStdin>>);

impl Watchdog {
    /// Starts the watchdog.
    ///
    /// # Errors
    /// If there is no `/bin/sh`.
    pub fn start() -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            // In another process group, so that Ctrl-C in the terminal does not end it before this process.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take().expect("stdin was requested as a pipe");
        // It exits when the pipe closes; a thread waits for it until then.
        std::thread::Builder::new().name("watchdog".into()).spawn(move || child.wait())?;
        Ok(Self(Arc::new(Mutex::new(pipe))))
    }

    pub(crate) fn add(&self, group: i32) {
        self.send("add", group);
    }

    pub(crate) fn remove(&self, group: i32) {
        self.send("del", group);
    }

    fn send(&self, verb: &str, group: i32) {
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(pipe, "{verb} {group}") {
            tracing::warn!(%error, "the watchdog has exited: programs would survive a crash of this process");
        }
    }
}
