//! A TCP proxy in front of S3 that counts the bytes of requests and breaks connections.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long the rest of a request is read after S3 has closed the connection.
const LINGER: Duration = Duration::from_secs(5);

/// The state that the connections share.
#[derive(Debug)]
struct Shared {
    /// The bytes that clients have sent.
    sent: AtomicU64,
    /// After this many bytes in total, all connections break, once.
    cut_at: Mutex<Option<u64>>,
    /// The number of cuts; each change ends the connections.
    cuts: watch::Sender<u32>,
}

impl Shared {
    /// Whether the connections break now that clients have sent this many bytes; true once for each cut.
    fn reaches_cut(&self, sent: u64) -> bool {
        let mut cut_at = self.cut_at.lock().unwrap_or_else(PoisonError::into_inner);
        cut_at.take_if(|limit| sent >= *limit).is_some()
    }
}

/// The proxy. It runs until the test's runtime ends.
#[derive(Debug, Clone)]
pub(super) struct Proxy(Arc<Shared>);

impl Proxy {
    /// Starts a proxy on this port; `target` is an address as in a URL, known once S3 has started.
    pub(super) async fn start(port: u16, mut target: watch::Receiver<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (cuts, _) = watch::channel(0);
        let shared = Arc::new(Shared { sent: AtomicU64::new(0), cut_at: Mutex::new(None), cuts });
        let state = Arc::clone(&shared);
        tokio::spawn(async move {
            let target = target.wait_for(|target| !target.is_empty()).await.unwrap().clone();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target.clone(), Arc::clone(&state)));
            }
        });
        Self(shared)
    }

    /// The bytes that clients have sent so far, with the headers of their requests.
    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Breaks all connections once clients have sent this many more bytes.
    pub(super) fn cut_after(&self, bytes: u64) {
        *self.0.cut_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.sent() + bytes);
    }

    /// The number of times that the connections were broken.
    pub(super) fn cuts(&self) -> u32 {
        *self.0.cuts.borrow()
    }
}

/// Forwards one connection until S3 closes it or it is cut. Then both sides are closed, as without a proxy: a client must
/// not reuse a connection that S3 has closed.
async fn forward(client: TcpStream, target: String, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(&target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut cuts = shared.cuts.subscribe();
    // Ends only with a cut.
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            let sent = shared.sent.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
            if shared.reaches_cut(sent) {
                shared.cuts.send_modify(|cuts| *cuts += 1);
                return;
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        // A client may close only its own direction, and S3 may have responded before it has read everything.
        let _ = to_server.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = cuts.changed() => return,
        () = requests => return,
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
    // If the rest of the request were not read, the client would lose the response,
    // <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>.
    let _ = to_client.shutdown().await;
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut from_client, &mut tokio::io::sink())).await;
}
