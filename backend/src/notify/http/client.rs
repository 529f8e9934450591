//! Decides how one POST reaches another service: which addresses it may go to, over which connection, and how much of
//! the answer is read in how much time. No proxy, no redirect, no connection kept.
//!
//! A name is resolved once, every address it has is judged, and the connection goes to an address that was judged: a
//! name that points elsewhere a moment later changes nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::notify::http::public_address::{is_loopback, is_public};

/// How long one address may take to take a connection; the next one is tried then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The most of an answer's body that is read, in bytes; the rest is not waited for.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most of an answer's head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Where a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Wherever: the deployment itself chose the address, and a service of AWS may well have a private one.
    Anywhere,
    /// By https to addresses of the public internet.
    Public,
    /// The same, and to this machine itself by http too: for development.
    PublicOrLoopback,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum PostError {
    /// The address is not one that can be posted to.
    #[error("the URL has no host, or a scheme that is not known here")]
    Url,
    /// Plain http is for this machine's own addresses, in development.
    #[error("the address is not https")]
    NotHttps,
    /// The name has an address that is private, reserved, or this machine's own.
    #[error("{0} is no public address")]
    Refused(IpAddr),
    /// The name has no address.
    #[error("the name is not known: {0}")]
    Unknown(io::Error),
    /// No address took the connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// The other side could not prove its name, or speaks no TLS that is spoken here.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The connection broke before there was an answer, or the answer is not HTTP.
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// What is posted.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    /// Where to; a name and a port are all of it that is resolved.
    pub url: &'a Uri,
    /// Its headers, but `host` and `content-length`.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status. A redirect is a status like any other.
    pub status: u16,
    /// Its `Retry-After`, as it was sent.
    pub retry_after: Option<String>,
    /// The beginning of the body.
    pub body: Bytes,
}

/// Finds a name's addresses.
pub type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The certificates of the authorities that are trusted.
pub type Roots = Arc<dyn Fn() -> Vec<CertificateDer<'static>> + Send + Sync>;

/// Posts. It holds no connection; the authorities' certificates are read when they are first needed.
#[derive(Clone)]
pub struct Poster {
    resolve: Resolve,
    roots: Roots,
    tls: Arc<OnceLock<TlsConnector>>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poster")
    }
}

impl Default for Poster {
    /// By the system's resolver and the system's authorities.
    fn default() -> Self {
        let resolve: Resolve = Arc::new(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        Self::new(resolve, Arc::new(|| rustls_native_certs::load_native_certs().certs))
    }
}

impl Poster {
    /// By another resolver and other authorities.
    pub fn new(resolve: Resolve, roots: Roots) -> Self {
        Self { resolve, roots, tls: Arc::default() }
    }

    /// Posts a letter and waits `limit` for the answer, name and connection included.
    ///
    /// # Errors
    /// Nothing was answered, or the letter must not go there: then not a byte was sent.
    pub async fn post(&self, letter: Letter<'_>, reach: Reach, limit: Duration) -> Result<Answer, PostError> {
        timeout(limit, self.deliver(letter, reach)).await.unwrap_or(Err(PostError::TimedOut(limit)))
    }

    async fn deliver(&self, letter: Letter<'_>, reach: Reach) -> Result<Answer, PostError> {
        let Target { host, port, is_tls } = Target::of(letter.url)?;
        if !is_tls && reach == Reach::Public {
            return Err(PostError::NotHttps);
        }
        let addresses = (self.resolve)(host.clone(), port).await.map_err(PostError::Unknown)?;
        judge(&addresses, reach, is_tls)?;
        let stream = connect(&addresses).await?;
        let request = request_of(letter, &host)?;
        if !is_tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host).map_err(|_| PostError::Url)?;
        let stream = self.tls().connect(name, stream).await.map_err(PostError::Tls)?;
        exchange(stream, request).await
    }

    fn tls(&self) -> &TlsConnector {
        self.tls.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates((self.roots)());
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has the suites of TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        })
    }
}

/// The part of a URL that is connected to.
struct Target {
    host: String,
    port: u16,
    is_tls: bool,
}

impl Target {
    fn of(url: &Uri) -> Result<Self, PostError> {
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(PostError::Url),
        };
        let host = url.host().filter(|host| !host.is_empty()).ok_or(PostError::Url)?;
        // An address of IPv6 stands in brackets.
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host: host.to_owned(), port, is_tls })
    }
}

/// One address that is refused is enough: whoever gives a name a private address beside a public one means no good.
fn judge(addresses: &[SocketAddr], reach: Reach, is_tls: bool) -> Result<(), PostError> {
    if addresses.is_empty() {
        return Err(PostError::Unknown(io::ErrorKind::NotFound.into()));
    }
    for address in addresses.iter().map(SocketAddr::ip) {
        let is_own = reach == Reach::PublicOrLoopback && is_loopback(address);
        if reach == Reach::Anywhere || is_own {
            continue;
        }
        if !is_public(address) {
            return Err(PostError::Refused(address));
        }
        if !is_tls {
            return Err(PostError::NotHttps);
        }
    }
    Ok(())
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, PostError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(PostError::Connect(last))
}

fn request_of(letter: Letter<'_>, host: &str) -> Result<Request<Full<Bytes>>, PostError> {
    let path = letter.url.path_and_query().map_or("/", |path| path.as_str());
    let authority = letter.url.authority().ok_or(PostError::Url)?;
    // Without what may stand before an `@`.
    let named = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let named = authority.port_u16().map_or(named.clone(), |port| format!("{named}:{port}"));
    let mut request = Request::new(Full::new(letter.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|_| PostError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(named).map_err(|_| PostError::Url)?);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(letter.body.len()));
    headers
        .extend(letter.headers.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), value)));
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let mut answer = Box::pin(async move {
        let mut response = sender.send_request(request).await?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let mut body = BytesMut::new();
        // The status is the answer: what becomes of the body behind it changes nothing.
        while let Some(Ok(frame)) = response.body_mut().frame().await {
            let data = frame.into_data().unwrap_or_default();
            body.extend_from_slice(&data[..data.len().min(MAX_BODY_BYTES - body.len())]);
            if body.len() == MAX_BODY_BYTES {
                break;
            }
        }
        Ok(Answer { status: response.status().as_u16(), retry_after, body: body.freeze() })
    });
    tokio::select! {
        answer = &mut answer => answer,
        // It ends with the other side's last byte, which the answer may still have to be made of.
        _ = &mut connection => answer.await,
    }
}
