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
pub enum AddressPolicy {
    /// Wherever: the deployment itself chose the address, and a service of AWS may well have a private one.
    Anywhere,
    /// By https to addresses of the public internet.
    Public,
    /// The same, and to this machine itself by http too: for development.
    PublicOrLoopback,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address is not one that can be posted to.
    #[error("the URL has no host, or a scheme that is not known here")]
    InvalidUrl,
    /// Plain http is for this machine's own addresses, in development.
    #[error("the address is not https")]
    NotHttps,
    /// The name has an address that is private, reserved, or this machine's own.
    #[error("{0} is no public address")]
    NonPublicAddress(IpAddr),
    /// The name has no address.
    #[error("the name is not known: {0}")]
    Resolve(io::Error),
    /// No address took the connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// The other side could not prove its name, or speaks no TLS that is spoken here.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The connection broke before there was an answer, or the answer is not HTTP.
    #[error("no answer: {0}")]
    Protocol(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// What is posted.
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    /// Where to; a name and a port are all of it that is resolved.
    pub url: &'a Uri,
    /// Its headers, but `host` and `content-length`.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status. A redirect is a status like any other.
    pub status: u16,
    /// Its `Retry-ListAfter`, as it was sent.
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
pub struct HttpClient {
    resolve: Resolve,
    roots: Roots,
    tls: Arc<OnceLock<TlsConnector>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

impl Default for HttpClient {
    /// By the system's resolver and the system's authorities.
    fn default() -> Self {
        let resolve: Resolve = Arc::new(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        Self::new(resolve, Arc::new(|| rustls_native_certs::load_native_certs().certs))
    }
}

impl HttpClient {
    /// By another resolver and other authorities.
    pub fn new(resolve: Resolve, roots: Roots) -> Self {
        Self { resolve, roots, tls: Arc::default() }
    }

    /// Posts a letter and waits `limit` for the answer, name and connection included.
    ///
    /// # Errors
    /// Nothing was answered, or the letter must not go there: then not a byte was sent.
    pub async fn post(
        &self,
        request: HttpRequest<'_>,
        policy: AddressPolicy,
        time_limit: Duration,
    ) -> Result<HttpResponse, HttpError> {
        timeout(time_limit, self.send(request, policy)).await.unwrap_or(Err(HttpError::TimedOut(time_limit)))
    }

    async fn send(&self, request: HttpRequest<'_>, policy: AddressPolicy) -> Result<HttpResponse, HttpError> {
        let HostPort { host, port, is_tls } = HostPort::from_url(request.url)?;
        if !is_tls && policy == AddressPolicy::Public {
            return Err(HttpError::NotHttps);
        }
        let addresses = (self.resolve)(host.clone(), port).await.map_err(HttpError::Resolve)?;
        check_addresses(&addresses, policy, is_tls)?;
        let stream = connect(&addresses).await?;
        let http_request = build_request(request, &host)?;
        if !is_tls {
            return exchange(stream, http_request).await;
        }
        let name = ServerName::try_from(host).map_err(|_| HttpError::InvalidUrl)?;
        let stream = self.tls().connect(name, stream).await.map_err(HttpError::Tls)?;
        exchange(stream, http_request).await
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
struct HostPort {
    host: String,
    port: u16,
    is_tls: bool,
}

impl HostPort {
    fn from_url(url: &Uri) -> Result<Self, HttpError> {
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::InvalidUrl),
        };
        let host = url.host().filter(|host| !host.is_empty()).ok_or(HttpError::InvalidUrl)?;
        // An address of IPv6 stands in brackets.
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host: host.to_owned(), port, is_tls })
    }
}

/// One address that is refused is enough: whoever gives a name a private address beside a public one means no good.
fn check_addresses(addresses: &[SocketAddr], policy: AddressPolicy, is_tls: bool) -> Result<(), HttpError> {
    if addresses.is_empty() {
        return Err(HttpError::Resolve(io::ErrorKind::NotFound.into()));
    }
    for address in addresses.iter().map(SocketAddr::ip) {
        let is_allowed_loopback = policy == AddressPolicy::PublicOrLoopback && is_loopback(address);
        if policy == AddressPolicy::Anywhere || is_allowed_loopback {
            continue;
        }
        if !is_public(address) {
            return Err(HttpError::NonPublicAddress(address));
        }
        if !is_tls {
            return Err(HttpError::NotHttps);
        }
    }
    Ok(())
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    let mut last_error = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last_error = error,
            Err(_) => last_error = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(HttpError::Connect(last_error))
}

fn build_request(request: HttpRequest<'_>, host: &str) -> Result<Request<Full<Bytes>>, HttpError> {
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    let authority = request.url.authority().ok_or(HttpError::InvalidUrl)?;
    // Without what may stand before an `@`.
    let host_header = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let host_header =
        authority.port_u16().map_or(host_header.clone(), |port| format!("{host_header}:{port}"));
    let mut http_request = Request::new(Full::new(request.body.clone()));
    *http_request.method_mut() = Method::POST;
    *http_request.uri_mut() = path.parse().map_err(|_| HttpError::InvalidUrl)?;
    let headers = http_request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(host_header).map_err(|_| HttpError::InvalidUrl)?);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
    headers.extend(
        request.headers.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), value)),
    );
    Ok(http_request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError>
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
        Ok(HttpResponse { status: response.status().as_u16(), retry_after, body: body.freeze() })
    });
    tokio::select! {
        answer = &mut answer => answer,
        // It ends with the other side's last byte, which the answer may still have to be made of.
        _ = &mut connection => answer.await,
    }
}
