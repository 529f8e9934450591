//! HTTP client for POST requests to webhook endpoints and AWS services. It checks the addresses of the host, and limits
//! the time and the size of the response. It uses no proxy, follows no redirects and keeps no connections.
//!
//! A host name is resolved once, all of its addresses are checked, and the connection is made to a checked address. A
//! name that resolves to another address a moment later (DNS rebinding) has no effect.

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

/// Connection timeout per address, after which the next address is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum length of a response body that is read, in bytes; the rest is ignored.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The maximum length of a response's status line and headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The addresses to which a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Any address: the URL comes from the deployment itself, and AWS services may have private addresses.
    Anywhere,
    /// Public addresses only, with https.
    Public,
    /// The same, and also this machine, with or without TLS: for development.
    PublicOrLoopback,
}

/// Why a request has no response.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The URL cannot be posted to.
    #[error("the URL has no host, or an unknown scheme")]
    InvalidUrl,
    /// Plain http is allowed only for loopback addresses, in development.
    #[error("the URL is not https")]
    NotHttps,
    /// The host has an address that is private, reserved, or loopback.
    #[error("{0} is not a public address")]
    NonPublicAddress(IpAddr),
    /// The host name has no address.
    #[error("cannot resolve the host name: {0}")]
    Resolve(io::Error),
    /// No address accepted the connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The server could not prove its name, or supports no TLS version and cipher suite of this client.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The connection broke before a response arrived, or the response is not HTTP.
    #[error("no valid response: {0}")]
    Protocol(#[from] hyper::Error),
    /// The request timed out.
    #[error("no response within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// A POST request.
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    /// The URL. Only its host and port are resolved.
    pub url: &'a Uri,
    /// The headers, except `host` and `content-length`.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status. Redirects are not followed.
    pub status: u16,
    /// The `Retry-After` header, unparsed.
    pub retry_after: Option<String>,
    /// The beginning of the body, up to the size limit.
    pub body: Bytes,
}

/// Resolves a host name and port to addresses.
pub type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The certificates of the trusted authorities.
pub type Roots = Arc<dyn Fn() -> Vec<CertificateDer<'static>> + Send + Sync>;

/// HTTP client without connection pooling. The certificates of the authorities are loaded on first use.
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
    /// A client with the resolver and the certificate authorities of the system.
    fn default() -> Self {
        let resolve: Resolve = Arc::new(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        Self::new(resolve, Arc::new(|| rustls_native_certs::load_native_certs().certs))
    }
}

impl HttpClient {
    /// A client with another resolver and other certificate authorities.
    pub fn new(resolve: Resolve, roots: Roots) -> Self {
        Self { resolve, roots, tls: Arc::default() }
    }

    /// Sends a request and waits at most `time_limit` for the response, name resolution and connection included.
    ///
    /// # Errors
    /// There was no response, or the policy forbids the address: then no byte was sent.
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

/// The part of a URL that identifies the connection.
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
        // An IPv6 address is in brackets.
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host: host.to_owned(), port, is_tls })
    }
}

/// Rejects the host if any of its addresses is forbidden: private addresses beside public ones indicate DNS rebinding.
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
    // Without the user information before an `@`.
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
        // The status is the result: an error while reading the body does not change it.
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
        // The connection ends with the server's last byte, but the response may not have been processed yet.
        _ = &mut connection => answer.await,
    }
}
