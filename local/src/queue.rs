//! A queue with SQS's rules for visibility timeouts, receive counts and dead letters, stored on disk.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::clock::{Entropy, WallClock};
use crate::config::QueueSettings;
use crate::s3::{read_records, remove_record, write_record};

/// The reason why a queue operation failed.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The receipt belongs to a deleted message, or to an earlier delivery.
    #[error("the receipt handle has expired")]
    InvalidReceipt,
    /// A disk operation failed.
    #[error("disk error")]
    Io(#[from] io::Error),
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMessage {
    /// Increases with every message: the usual order of delivery, which is not guaranteed.
    pub number: u64,
    /// The message's id, a UUID.
    pub id: String,
    /// The sent text.
    pub body: String,
    /// The time of sending, in Unix milliseconds.
    pub sent_at_ms: i64,
    /// The number of deliveries.
    pub receives: u32,
    /// The time of the first delivery, in Unix milliseconds.
    pub first_received_at_ms: Option<i64>,
}

/// A delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The receipt handle, which is required to delete it.
    pub receipt: String,
    /// The message, with this delivery counted.
    pub message: QueueMessage,
}

impl QueueMessage {
    /// MD5 of the body in hexadecimal digits.
    pub fn md5_of_body(&self) -> String {
        hex::encode(Md5::digest(self.body.as_bytes()))
    }
}

/// The number of messages in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Waiting to be delivered.
    pub visible: usize,
    /// Delivered, and neither deleted nor visible again.
    pub in_flight: usize,
    /// In the dead-letter queue.
    pub dead: usize,
}

#[derive(Debug)]
struct StoredMessage {
    message: QueueMessage,
    /// Invisible until this time, under this receipt.
    invisible_until: Option<(i64, String)>,
}

#[derive(Debug, Default)]
struct State {
    queued: BTreeMap<u64, StoredMessage>,
    dead_letters: BTreeMap<u64, QueueMessage>,
    last_number: u64,
}

/// A queue with its dead letters. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    settings: QueueSettings,
    clock: WallClock,
    entropy: Entropy,
    state: Mutex<State>,
    changed: Notify,
}

impl LocalQueue {
    /// Opens the folder. Messages that were in flight are visible: their receivers ended with the process.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn open(
        root: &Path,
        settings: QueueSettings,
        clock: WallClock,
        entropy: Entropy,
    ) -> io::Result<Self> {
        fs::create_dir_all(root.join("live"))?;
        fs::create_dir_all(root.join("dead"))?;
        let mut state = State::default();
        for (_, message) in read_records::<QueueMessage>(&root.join("dead"))? {
            state.last_number = state.last_number.max(message.number);
            state.dead_letters.insert(message.number, message);
        }
        for (path, message) in read_records::<QueueMessage>(&root.join("live"))? {
            if state.dead_letters.contains_key(&message.number) {
                // The message was dead-lettered just before a crash.
                remove_record(&path)?;
                continue;
            }
            state.last_number = state.last_number.max(message.number);
            state.queued.insert(message.number, StoredMessage { message, invisible_until: None });
        }
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            settings,
            clock,
            entropy,
            state: Mutex::new(state),
            changed: Notify::new(),
        })))
    }

    /// The queue's settings.
    pub fn settings(&self) -> &QueueSettings {
        &self.0.settings
    }

    /// Sends a message; on return it is on disk. Sending the same body twice results in two messages.
    ///
    /// # Errors
    /// On a disk error.
    pub fn send(&self, body: impl Into<String>) -> Result<String, QueueError> {
        let mut state = self.0.state();
        let message = QueueMessage {
            number: state.last_number + 1,
            id: self.0.entropy.uuid(),
            body: body.into(),
            sent_at_ms: self.0.clock.now_ms(),
            receives: 0,
            first_received_at_ms: None,
        };
        write_record(&self.0.path("live", message.number), &message)?;
        state.last_number = message.number;
        let id = message.id.clone();
        state.queued.insert(message.number, StoredMessage { message, invisible_until: None });
        drop(state);
        self.0.changed.notify_waiters();
        Ok(id)
    }

    /// Delivers up to this many visible messages and makes them invisible. A message that has reached the maximum
    /// number of receives becomes a dead letter instead.
    ///
    /// # Errors
    /// On a disk error.
    pub fn receive(&self, max_messages: usize) -> Result<Vec<ReceivedMessage>, QueueError> {
        let mut state = self.0.state();
        let now = self.0.clock.now_ms();
        let hidden_until =
            now + i64::try_from(self.0.settings.visibility_timeout.as_millis()).unwrap_or(i64::MAX / 2);
        let visible: Vec<_> = state
            .queued
            .iter()
            .filter(|(_, stored)| stored.is_visible(now))
            .map(|(number, _)| *number)
            .collect();
        let mut deliveries = Vec::new();
        for number in visible {
            if deliveries.len() == max_messages {
                break;
            }
            let stored = state.queued.get_mut(&number).expect("it was just listed");
            if stored.message.receives >= self.0.settings.max_receive_count {
                write_record(&self.0.path("dead", number), &stored.message)?;
                remove_record(&self.0.path("live", number))?;
                let dead = state.queued.remove(&number).expect("it was just listed").message;
                tracing::warn!(target: "queue", id = dead.id, receives = dead.receives, "dead letter");
                state.dead_letters.insert(number, dead);
                continue;
            }
            let mut message = stored.message.clone();
            message.receives += 1;
            message.first_received_at_ms.get_or_insert(now);
            write_record(&self.0.path("live", number), &message)?;
            let receipt = format!("{}:{number}", self.0.entropy.random_hex());
            stored.message = message.clone();
            stored.invisible_until = Some((hidden_until, receipt.clone()));
            deliveries.push(ReceivedMessage { receipt, message });
        }
        drop(state);
        self.0.changed.notify_waiters();
        Ok(deliveries)
    }

    /// Deletes a delivered message.
    ///
    /// # Errors
    /// If the receipt is not that of its latest delivery, or on a disk error.
    pub fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        let mut state = self.0.state();
        let number = find_in_flight(&state, receipt)?;
        remove_record(&self.0.path("live", number))?;
        state.queued.remove(&number);
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Makes a delivered message invisible for this long from now; zero makes it visible immediately.
    ///
    /// # Errors
    /// If the receipt is not that of its latest delivery.
    pub fn change_visibility(&self, receipt: &str, timeout: Duration) -> Result<(), QueueError> {
        let mut state = self.0.state();
        let number = find_in_flight(&state, receipt)?;
        let stored = state.queued.get_mut(&number).ok_or(QueueError::InvalidReceipt)?;
        stored.invisible_until = (!timeout.is_zero()).then(|| {
            let until = self.0.clock.now_ms() + i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2);
            (until, receipt.to_owned())
        });
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// The number of messages in each state.
    pub fn depth(&self) -> QueueDepth {
        let state = self.0.state();
        let now = self.0.clock.now_ms();
        let visible = state.queued.values().filter(|stored| stored.is_visible(now)).count();
        QueueDepth { visible, in_flight: state.queued.len() - visible, dead: state.dead_letters.len() }
    }

    /// The messages that are neither deleted nor dead-lettered, oldest first.
    pub fn messages(&self) -> Vec<QueueMessage> {
        self.0.state().queued.values().map(|stored| stored.message.clone()).collect()
    }

    /// The dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<QueueMessage> {
        self.0.state().dead_letters.values().cloned().collect()
    }

    /// Sends every dead letter back to the queue as a new message, and returns their number.
    ///
    /// # Errors
    /// On a disk error.
    pub fn redrive(&self) -> Result<usize, QueueError> {
        let mut state = self.0.state();
        let numbers: Vec<_> = state.dead_letters.keys().copied().collect();
        for number in &numbers {
            let mut message = state.dead_letters[number].clone();
            message.receives = 0;
            message.first_received_at_ms = None;
            // A new number: a crash between the two steps leaves a duplicate, but loses nothing.
            message.number = state.last_number + 1;
            write_record(&self.0.path("live", message.number), &message)?;
            state.last_number = message.number;
            remove_record(&self.0.path("dead", *number))?;
            state.dead_letters.remove(number);
            state.queued.insert(message.number, StoredMessage { message, invisible_until: None });
        }
        drop(state);
        self.0.changed.notify_waiters();
        Ok(numbers.len())
    }

    /// Returns as soon as a message may be visible, or something has changed; spurious returns are possible.
    pub async fn wait_for_message(&self) {
        let changed = self.0.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let next_ms = {
            let state = self.0.state();
            let now = self.0.clock.now_ms();
            let remaining_ms = |stored: &StoredMessage| {
                stored.invisible_until.as_ref().map_or(0, |(until, _)| (until - now).max(0))
            };
            state.queued.values().map(remaining_ms).min()
        };
        match next_ms {
            Some(0) => {}
            Some(ms) => {
                // A test may advance the clock, so the wait is never long.
                let wait = Duration::from_millis(ms.unsigned_abs().min(1000));
                let _ = tokio::time::timeout(wait, changed).await;
            }
            None => changed.await,
        }
    }
}

impl StoredMessage {
    fn is_visible(&self, now: i64) -> bool {
        self.invisible_until.as_ref().is_none_or(|(until, _)| *until <= now)
    }
}

fn find_in_flight(state: &State, receipt: &str) -> Result<u64, QueueError> {
    receipt
        .rsplit_once(':')
        .and_then(|(_, number)| number.parse().ok())
        .filter(|number| {
            let invisible_until = state.queued.get(number).and_then(|stored| stored.invisible_until.as_ref());
            invisible_until.is_some_and(|(_, current)| current == receipt)
        })
        .ok_or(QueueError::InvalidReceipt)
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, folder: &str, number: u64) -> PathBuf {
        self.root.join(folder).join(format!("{number:020}.json"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::Timestamp;

    use super::*;

    struct QueueFixture {
        folder: tempfile::TempDir,
        now_ms: Arc<AtomicI64>,
    }

    impl QueueFixture {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), now_ms: Arc::new(AtomicI64::new(1_000)) }
        }

        fn open(&self) -> LocalQueue {
            let now_ms = Arc::clone(&self.now_ms);
            let clock =
                WallClock::new(move || Timestamp::from_millisecond(now_ms.load(Ordering::Relaxed)).unwrap());
            let settings = QueueSettings {
                visibility_timeout: Duration::from_secs(10),
                max_receive_count: 2,
                ..QueueSettings::default()
            };
            LocalQueue::open(self.folder.path(), settings, clock, Entropy::system()).unwrap()
        }

        fn advance(&self, secs: i64) {
            self.now_ms.fetch_add(secs * 1000, Ordering::Relaxed);
        }
    }

    fn depth(visible: usize, in_flight: usize, dead: usize) -> QueueDepth {
        QueueDepth { visible, in_flight, dead }
    }

    #[test]
    fn message_retries_then_dead_letters_then_redrives() {
        let world = QueueFixture::new();
        let queue = world.open();
        let id = queue.send("hello").unwrap();
        let first = queue.receive(10).unwrap().remove(0);
        assert_eq!((first.message.receives, first.message.id.as_str()), (1, id.as_str()));
        assert_eq!(queue.receive(10).unwrap(), []);
        assert_eq!(queue.depth(), depth(0, 1, 0));

        world.advance(10);
        assert_eq!(queue.depth(), depth(1, 0, 0));
        let second = queue.receive(10).unwrap().remove(0);
        assert_eq!((second.message.receives, second.message.first_received_at_ms), (2, Some(1_000)));
        assert!(matches!(queue.delete(&first.receipt), Err(QueueError::InvalidReceipt)), "an older delivery");

        world.advance(10);
        assert_eq!(queue.receive(10).unwrap(), []);
        assert_eq!(queue.depth(), depth(0, 0, 1));
        assert_eq!(queue.dead_letters()[0].body, "hello");

        assert_eq!(queue.redrive().unwrap(), 1);
        let third = queue.receive(10).unwrap().remove(0);
        assert_eq!((third.message.receives, third.message.id.as_str()), (1, id.as_str()));
        queue.delete(&third.receipt).unwrap();
        assert_eq!(queue.depth(), depth(0, 0, 0));
    }

    #[test]
    fn restart_keeps_messages_and_counts() {
        let world = QueueFixture::new();
        let queue = world.open();
        for body in ["a", "b", "c"] {
            queue.send(body).unwrap();
        }
        let taken = queue.receive(2).unwrap();
        queue.delete(&taken[0].receipt).unwrap();
        drop(queue);
        let queue = world.open();
        assert_eq!(queue.depth(), depth(2, 0, 0));
        let bodies: Vec<_> =
            queue.receive(10).unwrap().into_iter().map(|d| (d.message.body, d.message.receives)).collect();
        assert_eq!(bodies, [("b".to_owned(), 2), ("c".to_owned(), 1)]);
    }

    #[test]
    fn change_visibility_redelivers() {
        let world = QueueFixture::new();
        let queue = world.open();
        queue.send("a").unwrap();
        let taken = queue.receive(1).unwrap().remove(0);
        queue.change_visibility(&taken.receipt, Duration::ZERO).unwrap();
        assert_eq!(queue.depth(), depth(1, 0, 0));
    }
}
