//! The body of a request: a range of a file, which is read while it is sent, or bytes in memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use glimpse_doctor::http::RequestBody;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::progress::FileProgress;

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many chunks are read ahead.
const READ_AHEAD: usize = 2;

/// What is sent: a range of a file, or bytes.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A range of a file.
    File {
        /// The file's path.
        path: PathBuf,
        /// Where the range begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Bytes in memory.
    Memory(Bytes),
}

impl Content {
    /// The length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Memory(data) => data.len() as u64,
        }
    }

    /// A body of this content, which counts what is sent.
    pub(crate) fn to_body(&self, progress: &Arc<AttemptProgress>) -> RequestBody {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let content = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = content.read(&sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        ChannelBody { receiver, left: self.bytes(), progress: Arc::clone(progress) }.boxed_unsync()
    }

    /// Reads the content in chunks, until the receiver is gone.
    fn read(&self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        match self {
            Self::Memory(data) => {
                for start in (0..data.len()).step_by(CHUNK_BYTES) {
                    let chunk = data.slice(start..data.len().min(start + CHUNK_BYTES));
                    if sender.blocking_send(Ok(chunk)).is_err() {
                        break;
                    }
                }
                Ok(())
            }
            Self::File { path, offset, bytes } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                let mut left = *bytes;
                while left > 0 {
                    let mut chunk = vec![0; left.min(CHUNK_BYTES as u64) as usize];
                    file.read_exact(&mut chunk)
                        .map_err(|error| io::Error::new(error.kind(), "the file became shorter"))?;
                    left -= chunk.len() as u64;
                    if sender.blocking_send(Ok(chunk.into())).is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The progress of one attempt to send a content. If it is dropped before [`AttemptProgress::keep`], what it has sent
/// does not count.
#[derive(Debug)]
pub(crate) struct AttemptProgress {
    file: Arc<FileProgress>,
    sent: std::sync::atomic::AtomicU64,
    is_kept: std::sync::atomic::AtomicBool,
}

impl AttemptProgress {
    /// An attempt for a file.
    pub(crate) fn new(file: &Arc<FileProgress>) -> Arc<Self> {
        Arc::new(Self { file: Arc::clone(file), sent: 0.into(), is_kept: false.into() })
    }

    /// How many bytes were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The attempt has succeeded.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        self.file.add(bytes);
    }
}

impl Drop for AttemptProgress {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            self.file.subtract(*self.sent.get_mut());
        }
    }
}

/// A body of known length that a thread reads.
struct ChannelBody {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    progress: Arc<AttemptProgress>,
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|received| match received {
            Some(Ok(chunk)) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                self.progress.add(chunk.len() as u64);
                Some(Ok(Frame::data(chunk)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(content: &Content, progress: &Arc<AttemptProgress>) -> io::Result<Bytes> {
        let body = content.to_body(progress);
        assert_eq!(body.size_hint().exact(), Some(content.bytes()));
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn sends_exactly_the_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let data: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        std::fs::write(&path, &data).unwrap();
        let file = Arc::new(FileProgress::hidden());
        let content = Content::File { path: path.clone(), offset: 1000, bytes: 600_000 };
        let attempt = AttemptProgress::new(&file);
        assert_eq!(collect(&content, &attempt).await.unwrap(), data[1000..601_000]);
        assert_eq!((attempt.sent(), file.position()), (600_000, 600_000));
        attempt.keep();
        drop(attempt);
        assert_eq!(file.position(), 600_000);
        let memory = Content::Memory(data.clone().into());
        let attempt = AttemptProgress::new(&file);
        assert_eq!(collect(&memory, &attempt).await.unwrap(), data);
        drop(attempt);
        assert_eq!(file.position(), 600_000, "a failed attempt does not count");

        let attempt = AttemptProgress::new(&file);
        let beyond = Content::File { path, offset: 900_000, bytes: 200_000 };
        let error = collect(&beyond, &attempt).await.unwrap_err();
        assert_eq!(error.to_string(), "the file became shorter");
    }
}
