//! Injects faults into responses, for tests of how clients handle them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::Method;

/// Time for the bytes before a cut to reach the reader: a broken connection drops unread data.
const FLUSH_DELAY: Duration = Duration::from_millis(400);

/// The kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// 503 SlowDown, without any effect.
    SlowDown,
    /// 500 InternalError, without any effect.
    InternalError,
    /// 403 AccessDenied, as for a role without the permission, without any effect.
    AccessDenied,
    /// The response is delayed by this time.
    Delay(Duration),
    /// The connection breaks after this many bytes of the body.
    Truncate {
        /// The bytes of the body that still arrive.
        after_bytes: u64,
    },
}

/// A fault, the requests that it applies to, and how often.
#[derive(Debug, Clone)]
pub struct InjectedFault {
    /// The requests' method.
    pub method: Method,
    /// The prefix of their keys; empty: every key.
    pub prefix: String,
    /// The number of responses; each affected one counts down.
    pub times: u32,
    /// The kind of fault.
    pub kind: FaultKind,
}

/// The pending faults. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FaultInjector(Arc<Mutex<Vec<InjectedFault>>>);

impl FaultInjector {
    /// Adds a fault; faults apply in the order in which they were added.
    pub fn add(&self, fault: InjectedFault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Removes all pending faults, and returns their number of responses.
    pub fn clear(&self) -> u32 {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.drain(..).map(|fault| fault.times).sum()
    }

    /// The fault for this request, if there is one.
    pub(crate) fn take(&self, method: &Method, key: &str) -> Option<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = faults
            .iter()
            .position(|fault| fault.times > 0 && fault.method == *method && key.starts_with(&fault.prefix))?;
        let kind = faults[index].kind;
        faults[index].times -= 1;
        if faults[index].times == 0 {
            faults.remove(index);
        }
        Some(kind)
    }
}

/// The body up to this many bytes, followed by an error, which makes the server close the connection.
pub(crate) fn truncate<S, E>(
    body: S,
    after_bytes: u64,
) -> impl Stream<Item = Result<Bytes, s3s::StdError>> + Send + Sync + 'static + use<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    E: Into<s3s::StdError>,
{
    let mut bytes_left = usize::try_from(after_bytes).unwrap_or(usize::MAX);
    // A body in one piece ends before the consumer polls beyond the cut: the end of the body is a cut, too.
    let chunks = body.map(|data| data.map(Some).map_err(Into::into));
    chunks.chain(stream::once(std::future::ready(Ok(None)))).then(move |data: Result<_, s3s::StdError>| {
        let data = data.map(|data: Option<Bytes>| {
            let data = data?;
            let length = data.len().min(bytes_left);
            bytes_left -= length;
            (length > 0 || data.is_empty()).then(|| data.slice(..length))
        });
        async move {
            if let Some(data) = data? {
                return Ok(data);
            }
            // When the server closes the connection, it discards unsent data: this delay lets the bytes before the cut
            // out first.
            tokio::time::sleep(FLUSH_DELAY).await;
            Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_hits_given_number_of_times() {
        let faults = FaultInjector::default();
        let fault = InjectedFault {
            method: Method::GET,
            prefix: "uploads/".into(),
            times: 2,
            kind: FaultKind::SlowDown,
        };
        faults.add(fault);
        assert_eq!(faults.take(&Method::PUT, "uploads/a"), None);
        assert_eq!(faults.take(&Method::GET, "media/a"), None);
        assert_eq!(faults.take(&Method::GET, "uploads/a"), Some(FaultKind::SlowDown));
        assert_eq!(faults.take(&Method::GET, "uploads/b"), Some(FaultKind::SlowDown));
        assert_eq!(faults.take(&Method::GET, "uploads/c"), None);
        assert_eq!(faults.clear(), 0);
    }
}
