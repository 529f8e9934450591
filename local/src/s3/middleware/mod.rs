//! Request handling around the protocol: CORS, faults, form uploads, unsigned headers.

mod form;

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use s3s::dto::StreamingBlob;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3Result, s3_error};

use crate::clock::WallClock;
use crate::config::S3Settings;
use crate::s3::RequestId;
use crate::s3::call_log::{CallLog, S3Call, is_form};
use crate::s3::cors::{self, Preflight};
use crate::s3::fault::{FaultInjector, FaultKind, truncate};
use crate::s3::presigned::{self, AnonymousAccess, StaticCredentials};
use crate::s3::service::BucketService;
use crate::s3::store::ObjectStore;

/// The server's entry point: one request in, one response out. Clones share everything.
#[derive(Clone)]
pub(crate) struct S3Server {
    pub(crate) settings: Arc<S3Settings>,
    pub(crate) store: ObjectStore,
    fault_injector: FaultInjector,
    call_log: CallLog,
    s3_service: S3Service,
}

impl S3Server {
    pub(crate) fn new(
        settings: S3Settings,
        store: ObjectStore,
        fault_injector: FaultInjector,
        call_log: CallLog,
    ) -> Self {
        let mut builder = S3ServiceBuilder::new(BucketService {
            store: store.clone(),
            bucket: settings.bucket.clone(),
            region: settings.region.clone(),
            started_ms: store.0.clock.now_ms(),
        });
        let settings = Arc::new(settings);
        builder.set_auth(StaticCredentials(Arc::clone(&settings)));
        builder.set_access(AnonymousAccess { is_public: settings.is_public });
        Self { settings, store, fault_injector, call_log, s3_service: builder.build() }
    }

    /// Handles one request. An internal error becomes a response, too.
    pub(crate) async fn handle(
        self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let name = self.store.0.entropy.random_hex()[..16].to_uppercase();
        let id = RequestId { name, client_ip: peer.ip().to_string() };
        request.extensions_mut().insert(id.clone());
        let method = request.method().clone();
        let key = key_from_path(request.uri().path());
        let call = S3Call::from_request(&request, &key);
        let cors = cors::response_headers(&self.settings.cors_rules, request.headers(), method.as_str());

        let mut response =
            self.route(request, &key, &id).await.unwrap_or_else(|error| error_response(error, &id));
        if call.as_ref().is_some_and(|call| call.is_hidden_not_found(response.status())) {
            response = error_response(s3_error!(AccessDenied, "Access Denied"), &id);
            if method == Method::HEAD {
                *response.body_mut() = Body::empty();
            }
        }
        if let Some(call) = call {
            // A HEAD announces the length of the body that a GET would have.
            let length = response.headers().get(header::CONTENT_LENGTH).filter(|_| method != Method::HEAD);
            let bytes = length.and_then(|length| length.to_str().ok()?.parse().ok());
            self.call_log.push(&call, response.status(), bytes.unwrap_or(0));
            if let Some(file) = &self.settings.call_log_file {
                call.append_to(response.status(), file);
            }
        }
        tracing::debug!(target: "s3", %method, key, status = response.status().as_u16());
        if response.status() == StatusCode::OK && response.headers().contains_key(header::CONTENT_RANGE) {
            // s3s responds to a ranged GET with 206, but not to a HEAD.
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            // s3s writes its error document also to responses that cannot have a body.
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(header::CONTENT_TYPE);
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        let headers = response.headers_mut();
        if method != Method::OPTIONS {
            headers.extend(cors);
        }
        headers.extend(
            HeaderValue::try_from(id.name)
                .ok()
                .map(|value| (header::HeaderName::from_static("x-amz-request-id"), value)),
        );
        if let Some(date) = presigned::date_header(&self.settings, WallClock::system().now()) {
            headers.insert(header::DATE, date);
        }
        headers.insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>, key: &str, id: &RequestId) -> S3Result<Response<Body>> {
        if request.method() == Method::OPTIONS {
            return preflight_response(&self.settings, request.headers());
        }
        let fault = self.fault_injector.take(request.method(), key);
        match fault {
            Some(FaultKind::SlowDown) => return Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Some(FaultKind::InternalError) => {
                return Err(s3_error!(InternalError, "We encountered an internal error."));
            }
            Some(FaultKind::AccessDenied) => return Err(s3_error!(AccessDenied, "Access Denied")),
            Some(FaultKind::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(FaultKind::Truncate { .. }) | None => {}
        }
        if is_form(&request) {
            return form::handle(self, request, id).await;
        }
        check_signed_headers(&request)?;
        presigned::check(
            request.uri().query().unwrap_or_default(),
            &self.settings,
            WallClock::system().now(),
        )?;
        let response = self.s3_service.call(request.map(Body::from)).await.map_err(|error| {
            S3Error::with_source(s3s::S3ErrorCode::InternalError, s3s::StdError::from(error))
        })?;
        Ok(match fault {
            Some(FaultKind::Truncate { after_bytes }) => response.map(|body| {
                let body = BodyDataStream::new(body).map_err(std::io::Error::other);
                let body = truncate(body, after_bytes).map_err(std::io::Error::other);
                Body::from(StreamingBlob::wrap(body))
            }),
            _ => response,
        })
    }
}

/// An error as a response.
fn error_response(mut error: S3Error, id: &RequestId) -> Response<Body> {
    error.set_request_id(id.name.clone());
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn preflight_response(settings: &S3Settings, headers: &HeaderMap) -> S3Result<Response<Body>> {
    match cors::evaluate_preflight(&settings.cors_rules, headers) {
        Preflight::Allowed(headers) => {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = headers;
            Ok(response)
        }
        Preflight::Forbidden => {
            let code = s3s::S3ErrorCode::Custom("AccessForbidden".into());
            let mut error = S3Error::with_message(code, "CORSResponse: This CORS request is not allowed.");
            error.set_status_code(StatusCode::FORBIDDEN);
            Err(error)
        }
        Preflight::Incomplete => {
            let code = s3s::S3ErrorCode::Custom("BadRequest".into());
            let mut error =
                S3Error::with_message(code, "Insufficient information. Origin request header needed.");
            error.set_status_code(StatusCode::BAD_REQUEST);
            Err(error)
        }
    }
}

/// The key of a path-style path, as far as it can be decoded; only for faults and logs.
fn key_from_path(path: &str) -> String {
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned()
}

/// Rejects `x-amz-*` headers that the signature does not cover, as S3 does: otherwise the holder of a presigned URL
/// could add metadata, an ACL or a storage class. s3s accepts them.
fn check_signed_headers(request: &Request<Incoming>) -> S3Result<()> {
    let Some(signed) = signed_headers(request) else { return Ok(()) };
    let unsigned: Vec<_> = request
        .headers()
        .keys()
        .map(header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && *name != "x-amz-content-sha256")
        .filter(|name| !signed.contains(*name))
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    Err(s3_error!(
        AccessDenied,
        "There were headers present in the request which were not signed: {}",
        unsigned.join(", ")
    ))
}

/// The signed headers that the request names, in the query or in the header; `None` if it is not signed.
fn signed_headers(request: &Request<Incoming>) -> Option<HashSet<String>> {
    let query = request.uri().query().unwrap_or_default();
    let from_query = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="));
    let from_header = || {
        let text = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, rest) = text.split_once("SignedHeaders=")?;
        rest.split(',').next()
    };
    let names = from_query.or_else(from_header)?;
    let names = percent_encoding::percent_decode_str(names.trim()).decode_utf8_lossy();
    Some(names.split(';').map(str::to_ascii_lowercase).collect())
}
