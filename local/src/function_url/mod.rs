//! HTTP access to a function, like Lambda's function URLs with `AuthType: AWS_IAM`: verifies the caller's signature and
//! invokes the function.

mod payload;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use self::payload::RequestMetadata;
use crate::clock::{Entropy, WallClock};
use crate::config::S3Settings;
use crate::lambda::Function;
use crate::sigv4::{self, CredentialScope};

/// The maximum size of a request body, in bytes: that of an invocation's payload.
const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// A function with a URL. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FunctionUrl(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    function: Function,
    /// The only key pair and its region.
    credentials: S3Settings,
    clock: WallClock,
    entropy: Entropy,
}

impl FunctionUrl {
    pub(crate) fn new(
        function: Function,
        credentials: S3Settings,
        clock: WallClock,
        entropy: Entropy,
    ) -> Self {
        Self(Arc::new(Inner { function, credentials, clock, entropy }))
    }

    /// Handles one request. An internal error becomes a response, too.
    pub(crate) async fn handle(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let response = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => self.invoke(&parts, &body.to_bytes(), peer).await,
            Err(_) => payload::message_response(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long"),
        };
        tracing::debug!(target: "function_url", %method, path, status = response.status().as_u16());
        Ok(response.map(Full::new))
    }

    async fn invoke(&self, parts: &http::request::Parts, body: &[u8], peer: SocketAddr) -> Response<Bytes> {
        let Inner { function, credentials: signer, clock, entropy } = &*self.0;
        let scope = CredentialScope {
            access_key_id: &signer.access_key_id,
            region: &signer.region,
            service: "lambda",
        };
        if let Err(why) = sigv4::verify(parts, body, scope, &signer.secret_access_key, clock.now()) {
            tracing::info!(target: "function_url", %why, "invalid signature");
            return payload::message_response(StatusCode::FORBIDDEN, "Forbidden");
        }
        let origin = RequestMetadata {
            access_key_id: &signer.access_key_id,
            source_ip: &peer.ip().to_string(),
            request_id: &entropy.uuid(),
            now_ms: clock.now_ms(),
        };
        let event = payload::from_request(parts, body, origin).to_string();
        payload::to_response(&function.invoke(event).await)
    }
}
