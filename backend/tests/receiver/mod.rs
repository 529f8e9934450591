//! A webhook receiver on this machine: records its requests and sends the responses of a test.
#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) line: String,
    /// The headers, with names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// The response to a request.
#[derive(Debug, Clone)]
pub(crate) enum CannedReply {
    /// These bytes, then the end of the connection.
    Bytes(String),
    /// Nothing; the connection stays open.
    Silence,
    /// The first text, then the second one repeatedly.
    Flood(&'static str, &'static str),
}

impl<T: Into<String>> From<T> for CannedReply {
    fn from(text: T) -> Self {
        Self::Bytes(text.into())
    }
}

#[derive(Debug)]
pub(crate) struct WebhookReceiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    server: JoinHandle<()>,
}

impl WebhookReceiver {
    /// Starts a receiver that sends `reply(n)` to the request number `n`, from 0.
    pub(crate) async fn new(reply: impl Fn(usize) -> CannedReply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(reply)).await
    }

    pub(crate) async fn with_tls(
        acceptor: TlsAcceptor,
        reply: impl Fn(usize) -> CannedReply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(acceptor), Arc::new(reply)).await
    }

    async fn start(tls: Option<TlsAcceptor>, reply: Arc<dyn Fn(usize) -> CannedReply + Send + Sync>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) =
            (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<Vec<ReceivedRequest>>>::default());
        let (count, received) = (Arc::clone(&connections), Arc::clone(&requests));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (tls, reply, received) = (tls.clone(), Arc::clone(&reply), Arc::clone(&received));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &received, &*reply).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &received, &*reply).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, connections, requests, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    received: &Mutex<Vec<ReceivedRequest>>,
    reply: &(dyn Fn(usize) -> CannedReply + Send + Sync),
) -> Option<()> {
    let request = read(&mut stream).await?;
    let number = {
        let mut received = received.lock().unwrap();
        received.push(request);
        received.len() - 1
    };
    match reply(number) {
        CannedReply::Bytes(text) => stream.write_all(text.as_bytes()).await.ok()?,
        CannedReply::Silence => while stream.read_u8().await.is_ok() {},
        CannedReply::Flood(first, next) => {
            stream.write_all(first.as_bytes()).await.ok()?;
            let next = next.repeat(1000);
            while stream.write_all(next.as_bytes()).await.is_ok() {}
        }
    }
    stream.shutdown().await.ok()
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<ReceivedRequest> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(ReceivedRequest { line, headers, body })
}

/// A test authority, and a TLS acceptor with its certificate for `hooks.example`.
pub(crate) fn tls() -> (CertificateDer<'static>, TlsAcceptor) {
    let certificate = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap();
    let server = certificate(include_bytes!("certificate.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server], key)
        .unwrap();
    (certificate(include_bytes!("authority.pem")), TlsAcceptor::from(Arc::new(config)))
}
