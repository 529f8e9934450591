//! Transfer of bodies: from the network to a file, verified on the way, and from files to the network. At most a few
//! buffers of an object are in memory.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use s3s::TrailingHeaders;
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};
use tokio_util::io::ReaderStream;

use super::checksum::{ChecksumAlgorithm, ChecksumHashers, Checksums, from_headers};
use super::record::{ObjectEntry, StoredContent};
use super::store::ObjectStore;

const WRITE_BUFFER: usize = 256 * 1024;
const READ_BUFFER: usize = 128 * 1024;

/// The expected properties of a body, known before it arrives.
#[derive(Default)]
pub(crate) struct ExpectedBody {
    pub(crate) bytes: Option<u64>,
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) md5: Option<Vec<u8>>,
    pub(crate) checksums: Checksums,
    /// Checksums to compute although the client sends no value.
    pub(crate) algorithms: Vec<ChecksumAlgorithm>,
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl ExpectedBody {
    /// Adds the announcements of the headers: the algorithm, or the trailers that will contain a value.
    pub(crate) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        let words =
            headers.get_all("x-amz-trailer").iter().chain(headers.get_all("x-amz-sdk-checksum-algorithm"));
        for word in words.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let word = word.trim();
            let word = word.strip_prefix("x-amz-checksum-").unwrap_or(word);
            self.algorithms.extend(ChecksumAlgorithm::parse(word));
        }
        self
    }
}

/// The reason why a body was rejected.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    #[error("the body's length is not the announced one")]
    Incomplete,
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body is smaller than allowed")]
    TooSmall,
    #[error("the body does not match its MD5 or checksum")]
    BadDigest,
    #[error("the body does not match its signature")]
    PayloadMismatch,
    #[error("the body is incomplete")]
    Interrupted(#[source] s3s::StdError),
    #[error("disk error")]
    Io(#[from] io::Error),
}

/// A stored body.
#[derive(Debug)]
pub(crate) struct ReceivedBody {
    pub(crate) content: StoredContent,
    /// The MD5 in hexadecimal digits: the ETag of a plain object.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

/// Writes the body to a file of the store. If a check fails, the file is removed.
pub(crate) async fn receive<S, E>(
    store: &ObjectStore,
    body: Option<S>,
    expected: ExpectedBody,
) -> Result<ReceivedBody, BodyError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<s3s::StdError>,
{
    let (name, blob) = store.new_blob();
    let mut file = BufWriter::with_capacity(WRITE_BUFFER, File::create(blob.path()).await?);
    let algorithms: BTreeSet<_> =
        expected.checksums.keys().copied().chain(expected.algorithms.iter().copied()).collect();
    let mut hashers = ChecksumHashers::new(algorithms);
    let mut md5 = Md5::new();
    let mut bytes = 0_u64;
    if let Some(mut body) = body {
        while let Some(data) = body.next().await {
            let data = data.map_err(|error| classify_error(error.into()))?;
            bytes += data.len() as u64;
            if expected.max_bytes.is_some_and(|max| bytes > max) {
                return Err(BodyError::TooLarge);
            }
            md5.update(&data);
            hashers.update(&data);
            file.write_all(&data).await?;
        }
    }
    file.flush().await?;
    file.into_inner().sync_data().await?;

    if expected.bytes.is_some_and(|length| length != bytes) {
        return Err(BodyError::Incomplete);
    }
    if bytes < expected.min_bytes {
        return Err(BodyError::TooSmall);
    }
    let md5 = md5.finalize();
    let checksums = hashers.finish();
    let mut expected_checksums = expected.checksums;
    expected_checksums
        .extend(expected.trailers.and_then(|trailers| trailers.read(from_headers)).unwrap_or_default());
    let is_mismatch = |(algorithm, value): (_, &String)| checksums.get(algorithm) != Some(value);
    if expected.md5.is_some_and(|expected_md5| expected_md5[..] != md5[..])
        || expected_checksums.iter().any(is_mismatch)
    {
        return Err(BodyError::BadDigest);
    }
    Ok(ReceivedBody { content: StoredContent { name, bytes, blob }, etag: hex::encode(md5), checksums })
}

/// s3s reports through the stream that a body does not match its signature; its error types are private, their texts
/// are stable within the version that the Cargo manifest pins, and a test checks them.
fn classify_error(error: s3s::StdError) -> BodyError {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") || text.contains("SignatureMismatch") {
        BodyError::PayloadMismatch
    } else if text.contains("Incomplete") || text.contains("LengthMismatch") {
        BodyError::Incomplete
    } else {
        BodyError::Interrupted(error)
    }
}

/// The bytes of the range, segment after segment.
pub(crate) fn read_range(
    object: &Arc<ObjectEntry>,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static + use<> {
    let object = Arc::clone(object);
    let mut spans = Vec::new();
    let mut start = 0;
    for (index, segment) in object.record.segments.iter().enumerate() {
        let end = start + segment.bytes;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            spans.push((index, from - start, to - from));
        }
        start = end;
    }
    stream::iter(spans)
        .then(move |(index, offset, bytes)| {
            // The stream holds the object, so that its files outlive an overwrite until the last byte is sent.
            let object = Arc::clone(&object);
            async move {
                let mut file = File::open(object.blobs[index].path()).await?;
                file.seek(io::SeekFrom::Start(offset)).await?;
                io::Result::Ok(ReaderStream::with_capacity(file.take(bytes), READ_BUFFER))
            }
        })
        .try_flatten()
}
