//! Decides which answers go wrong on purpose, so that a test can see what its subject does about it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::Method;

/// How long the bytes before a cut have to reach whoever reads them: a broken connection drops what lies unread.
const FLUSH_DELAY: Duration = Duration::from_millis(400);

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// 503 SlowDown, and nothing is done.
    SlowDown,
    /// 500 InternalError, and nothing is done.
    InternalError,
    /// 403 AccessDenied, as to a role that may not, and nothing is done.
    AccessDenied,
    /// The answer comes that much later.
    Delay(Duration),
    /// The connection breaks after so many bytes of the body.
    Truncate {
        /// Bytes of the body that still arrive.
        after_bytes: u64,
    },
}

/// Which requests go wrong, how, and how often.
#[derive(Debug, Clone)]
pub struct InjectedFault {
    /// The requests' method.
    pub method: Method,
    /// What their keys begin with; empty: every key.
    pub prefix: String,
    /// How many of them; each one that is hit counts down.
    pub times: u32,
    /// How.
    pub kind: FaultKind,
}

/// The faults that wait to happen. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FaultInjector(Arc<Mutex<Vec<InjectedFault>>>);

impl FaultInjector {
    /// Adds a fault; the ones added first hit first.
    pub fn add(&self, fault: InjectedFault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Takes back what has not happened yet, and says how many answers that is.
    pub fn clear(&self) -> u32 {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.drain(..).map(|fault| fault.times).sum()
    }

    /// The fault of this request, if it has one.
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

/// The body up to so many bytes, and then an error, which makes the server break the connection.
pub(crate) fn truncate<S, E>(
    body: S,
    after_bytes: u64,
) -> impl Stream<Item = Result<Bytes, s3s::StdError>> + Send + Sync + 'static + use<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    E: Into<s3s::StdError>,
{
    let mut bytes_left = usize::try_from(after_bytes).unwrap_or(usize::MAX);
    // A body that comes in one piece ends before more than the cut is asked of it: its end is a cut, too.
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
            // The server gives up a connection with all that it has not sent yet: what was promised goes first.
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
