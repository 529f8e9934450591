//! Runs steps at the same time: those that download beside those that compile.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Error, Result, anyhow};

/// Steps that run one after another, beside other lanes.
pub(crate) type Lane<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

thread_local! {
    /// For each [`run`] that this thread is a lane of, also indirectly: whether a lane has failed.
    static FAILURES: RefCell<Vec<Arc<AtomicBool>>> = const { RefCell::new(Vec::new()) };
}

/// Whether another lane than this thread's has failed, so that the running step should end.
pub(crate) fn is_canceled() -> bool {
    FAILURES.with_borrow(|flags| flags.iter().any(|flag| flag.load(Ordering::Relaxed)))
}

/// Runs the lanes, each in its own thread, and waits for all of them. After a failure, the other lanes' running steps
/// are ended.
///
/// # Errors
/// The first failure.
pub(crate) fn run(lanes: Vec<Lane<'_>>) -> Result<()> {
    let has_failed = Arc::new(AtomicBool::new(false));
    let mut flags = FAILURES.with_borrow(Clone::clone);
    flags.push(Arc::clone(&has_failed));
    let first_error = Mutex::new(None::<Error>);
    let fail = |error: Error| {
        first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        has_failed.store(true, Ordering::Relaxed);
    };
    let (flags, fail) = (&flags, &fail);
    thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|lane| {
                scope.spawn(move || {
                    FAILURES.set(flags.clone());
                    if let Err(error) = lane() {
                        fail(error);
                    }
                })
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                fail(anyhow!("a step panicked: its message is above"));
            }
        }
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use anyhow::bail;

    use super::*;

    #[test]
    fn lanes_run_at_the_same_time() {
        let (to_first, of_second) = mpsc::channel();
        let (to_second, of_first) = mpsc::channel();
        let limit = Duration::from_secs(10);
        // Each lane waits for the other: one after the other, they would never end.
        let first: Lane<'_> = Box::new(move || {
            to_second.send(())?;
            Ok(of_second.recv_timeout(limit)?)
        });
        let second: Lane<'_> = Box::new(move || {
            to_first.send(())?;
            Ok(of_first.recv_timeout(limit)?)
        });
        run(vec![first, second]).unwrap();
    }

    #[test]
    fn failure_cancels_other_lanes_and_is_reported() {
        let started = Instant::now();
        let patient: Lane<'_> = Box::new(|| {
            while !is_canceled() {
                thread::sleep(Duration::from_millis(5));
                if started.elapsed() > Duration::from_secs(10) {
                    bail!("not canceled");
                }
            }
            bail!("canceled")
        });
        let nested: Lane<'_> = Box::new(|| run(vec![patient]));
        let failing: Lane<'_> = Box::new(|| bail!("no network"));
        assert_eq!(run(vec![nested, failing]).unwrap_err().to_string(), "no network");
        assert!(!is_canceled(), "this thread belongs to no lane");
    }
}
