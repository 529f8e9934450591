//! The Runtime API, one server for each environment, <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

/// The maximum size of a function's response,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// An invocation that the function is about to receive.
#[derive(Debug)]
pub(crate) struct PendingInvocation {
    pub(crate) request_id: String,
    pub(crate) deadline_ms: i64,
    pub(crate) arn: String,
    pub(crate) trace_id: String,
    pub(crate) payload: Bytes,
    pub(crate) reply: oneshot::Sender<RuntimeReply>,
}

/// The function's response.
#[derive(Debug)]
pub(crate) enum RuntimeReply {
    Response(Bytes),
    Error { error_type: String, payload: Bytes },
}

/// The server side of an environment.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    pub(crate) address: SocketAddr,
    pub(crate) pending: mpsc::Sender<PendingInvocation>,
    /// The number of the function's requests for work.
    pub(crate) polls: watch::Receiver<u64>,
    /// The error that the function reported if it could not start.
    pub(crate) init_error: watch::Receiver<Option<InitErrorReport>>,
    server: tokio::task::JoinHandle<()>,
}

/// An initialization error: its type and its document.
pub(crate) type InitErrorReport = (String, Bytes);

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The invocation that the function works on, and the receiver of its response.
type CurrentInvocation = (String, oneshot::Sender<RuntimeReply>);

#[derive(Clone)]
struct RuntimeApiState {
    pending: Arc<AsyncMutex<mpsc::Receiver<PendingInvocation>>>,
    current: Arc<Mutex<Option<CurrentInvocation>>>,
    polls: Arc<watch::Sender<u64>>,
    init_error: Arc<watch::Sender<Option<InitErrorReport>>>,
}

impl RuntimeApi {
    /// Listens on a new port.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (pending, receiver) = mpsc::channel(1);
        let (polls_sender, polls) = watch::channel(0);
        let (error_sender, init_error) = watch::channel(None);
        let state = RuntimeApiState {
            pending: Arc::new(AsyncMutex::new(receiver)),
            current: Arc::default(),
            polls: Arc::new(polls_sender),
            init_error: Arc::new(error_sender),
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_invocation))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(invocation_response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(invocation_error))
            .route("/2018-06-01/runtime/init/error", post(initialization_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE_BYTES))
            .with_state(state);
        let server = tokio::spawn(async move {
            // The server stops when the environment drops the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, pending, polls, init_error, server })
    }
}

async fn next_invocation(State(state): State<RuntimeApiState>) -> Response {
    state.polls.send_modify(|polls| *polls += 1);
    let Some(pending) = state.pending.lock().await.recv().await else {
        // The environment is shutting down: Lambda freezes it at this point.
        return std::future::pending().await;
    };
    let headers = [
        ("lambda-runtime-aws-request-id", pending.request_id.clone()),
        ("lambda-runtime-deadline-ms", pending.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", pending.arn),
        ("lambda-runtime-trace-id", pending.trace_id),
        ("content-type", "application/json".to_owned()),
    ];
    *state.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((pending.request_id, pending.reply));
    let mut response = pending.payload.into_response();
    for (name, value) in headers {
        let value = HeaderValue::try_from(value).expect("ids and numbers are header text");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

async fn invocation_response(
    State(state): State<RuntimeApiState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    complete(&state, &id, RuntimeReply::Response(body))
}

async fn invocation_error(
    State(state): State<RuntimeApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    complete(&state, &id, RuntimeReply::Error { error_type: error_type(&headers, &body), payload: body })
}

async fn initialization_error(
    State(state): State<RuntimeApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    state.init_error.send_replace(Some((error_type(&headers, &body), body)));
    accepted_response()
}

fn complete(state: &RuntimeApiState, id: &str, reply: RuntimeReply) -> Response {
    let mut current = state.current.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((_, sender)) = current.take_if(|(current, _)| current == id) else {
        let body = json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    };
    // The receiver is gone after a timeout; the function does not need to know.
    let _ = sender.send(reply);
    accepted_response()
}

fn accepted_response() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

/// The error's type, from the header or the document.
fn error_type(headers: &HeaderMap, body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let in_body = document.as_ref().and_then(|value| value["errorType"].as_str());
    let in_header = headers.get("lambda-runtime-function-error-type").and_then(|value| value.to_str().ok());
    in_body.or(in_header).unwrap_or("Runtime.Unknown").to_owned()
}
