//! Connects the services of the local cloud: S3's events of uploads go to one queue and its function, those of outcomes
//! to another.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glimpse_contract::Key;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::{Entropy, WallClock};
use crate::config::{
    BackfillSettings, Config, FunctionSettings, FunctionUrlSettings, S3Settings, WorkflowSettings,
};
use crate::event::s3_event;
use crate::event_source_mapping;
use crate::function_url::FunctionUrl;
use crate::lambda::{Function, LoggedInvocation};
use crate::process::Watchdog;
use crate::queue::LocalQueue;
use crate::s3::call_log::CallLog;
use crate::s3::fault::FaultInjector;
use crate::s3::{EventFilter, EventSink, ObjectCreatedEvent, ObjectStore, S3Server};
use crate::services::{PublishedMessage, ServicesEndpoint};
use crate::shutdown::shutdown_signal;
use crate::workflow::{
    Backfill, BucketClient, DefinitionError, ExecutionRecord, Workflows, eventbridge_event,
};

/// The time that open connections have to finish when the cloud stops.
const GRACE: Duration = Duration::from_secs(2);

/// The reason why the cloud did not start.
#[derive(Debug, Error)]
pub enum CloudError {
    /// Another program listens on the address.
    #[error("{address} is in use by another program: stop it, or choose another port with --listen")]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// Listening on the address fails.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("the data folder {folder} cannot be used: {source}", folder = folder.display())]
    DataFolder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The function binary does not exist.
    #[error("there is no function binary at {path}: build it, or name another one", path = .binary.display())]
    MissingBinary {
        /// The expected path.
        binary: PathBuf,
    },
    /// A state machine is rejected.
    #[error("the workflow: {0}")]
    Workflow(#[from] DefinitionError),
    /// The watchdog, which kills the other programs, cannot be started.
    #[error("/bin/sh cannot be started: {0}")]
    Watchdog(#[source] io::Error),
}

/// The addresses of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The S3 server.
    pub s3: SocketAddr,
    /// The S3 server as an endpoint, `http://127.0.0.1:PORT`.
    pub s3_endpoint: String,
    /// The function URL that renders on-demand images, `http://127.0.0.1:PORT`, if there is one.
    pub render: Option<String>,
    /// The HTTP endpoint of the notify queue and the topic, `http://127.0.0.1:PORT`, if there are any.
    pub services: Option<String>,
}

/// A running cloud. Dropping it stops it immediately; [`Cloud::stop`] shuts it down gracefully.
#[derive(Debug)]
pub struct Cloud {
    addresses: Addresses,
    settings: S3Settings,
    store: ObjectStore,
    fault_injector: FaultInjector,
    call_log: CallLog,
    queue: LocalQueue,
    services: Option<ServicesEndpoint>,
    function: Option<Function>,
    render: Option<Function>,
    reconcile: Option<Function>,
    notify: Option<Function>,
    workflows: Option<Workflows>,
    backfill: Option<Backfill>,
    watchdog: Watchdog,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    mappings: Vec<JoinHandle<()>>,
}

impl Cloud {
    /// Starts S3, the queue, and the configured functions.
    ///
    /// # Errors
    /// A port in use, an unusable folder, a missing binary: each message contains a fix.
    pub async fn start(config: Config) -> Result<Self, CloudError> {
        let Config { data, listen, s3: settings, queue, function, render, notify, .. } = config;
        let Config { reconcile, workflow, backfill, function_ready, clock, entropy, .. } = config;
        let functions = render.iter().map(|render| &render.function).chain(&reconcile);
        let functions = functions.chain(notify.iter().filter_map(|notify| notify.function.as_ref()));
        let steps = workflow.iter().flat_map(|workflow| workflow.functions.values());
        for function in function.iter().chain(functions).chain(steps) {
            if !function.binary.is_file() {
                return Err(CloudError::MissingBinary { binary: function.binary.clone() });
            }
        }
        let (listener, address) = bind(listen).await?;
        let endpoint = format!("http://{address}");
        let watchdog = Watchdog::start().map_err(CloudError::Watchdog)?;

        let data_error = |source| CloudError::DataFolder { folder: data.clone(), source };
        let queue = LocalQueue::open(&data.join("queue"), queue, clock.clone(), entropy.clone())
            .map_err(data_error)?;
        let (stop, stopped) = watch::channel(false);
        let (mut servers, mut services, mut notify_function) = (Vec::new(), None, None);
        if let Some(notify) = notify {
            let (listener, address) = bind(notify.listen).await?;
            let queue =
                LocalQueue::open(&data.join("notify"), notify.queue.clone(), clock.clone(), entropy.clone());
            let queue = queue.map_err(data_error)?;
            let services_endpoint =
                ServicesEndpoint::new(address, queue, settings.clone(), clock.clone(), entropy.clone());
            notify_function = services_endpoint.function_settings(notify);
            let services = services.insert(services_endpoint).clone();
            let answer = move |request, peer| services.clone().handle(request, peer);
            servers.push(tokio::spawn(serve(listener, answer, stopped.clone())));
        }
        let environment = function_environment(&settings, &endpoint, queue.settings().max_receive_count);
        let start = |function: FunctionSettings| {
            let mut env = environment.clone();
            // A role's credentials have a session token, by which S3 identifies the caller.
            env.insert("AWS_SESSION_TOKEN".into(), function.name.clone());
            env.extend(function.env.clone());
            let (clock, entropy) = (clock.clone(), entropy.clone());
            Function::new(function, &settings.region, env, watchdog.clone(), clock, entropy)
        };
        let workflows = workflow.map(|workflow| open_workflows(workflow, start, &entropy)).transpose()?;
        let notify_queue = services.as_ref().map(|services| services.queue().clone());
        let (has_event, event_sink) =
            route_events(queue.clone(), notify_queue, workflows.clone(), &settings, &entropy);
        let store =
            ObjectStore::open(&data.join("s3"), has_event, clock.clone(), entropy.clone(), event_sink)
                .map_err(data_error)?;
        let (fault_injector, call_log) = (FaultInjector::default(), CallLog::default());
        let server = S3Server::new(settings.clone(), store.clone(), fault_injector.clone(), call_log.clone());
        let answer = move |request, peer| server.clone().handle(request, peer);
        servers.push(tokio::spawn(serve(listener, answer, stopped.clone())));

        let mut addresses = Addresses {
            s3: address,
            s3_endpoint: endpoint,
            render: None,
            services: services.as_ref().map(|services| services.endpoint().to_owned()),
        };
        let mut render_function = None;
        if let Some(FunctionUrlSettings { listen, function }) = render {
            let (listener, address) = bind(listen).await?;
            addresses.render = Some(format!("http://{address}"));
            let function = render_function.insert(start(function)).clone();
            let url = FunctionUrl::new(function, settings.clone(), clock.clone(), entropy.clone());
            let answer = move |request, peer| url.clone().handle(request, peer);
            servers.push(tokio::spawn(serve(listener, answer, stopped.clone())));
        }
        let mut reconcile_function = None;
        if let Some(mut function) = reconcile {
            let (listener, address) = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
            let (queue, settings) = (queue.clone(), settings.clone());
            let endpoint = ServicesEndpoint::new(address, queue, settings, clock.clone(), entropy.clone());
            function.env.extend(endpoint.upload_queue_environment());
            reconcile_function = Some(start(function));
            let answer = move |request, peer| endpoint.clone().handle(request, peer);
            servers.push(tokio::spawn(serve(listener, answer, stopped.clone())));
        }
        let (function, notify) = (function.map(start), notify_function.map(start));
        let backfill = open_backfill(backfill.zip(function.clone()), address, &settings, (&clock, &entropy))?;
        let notify_queue = services.as_ref().map(ServicesEndpoint::queue);
        let pairs = [(Some(&queue), &function, function_ready), (notify_queue, &notify, None)];
        let mappings = start_mappings(pairs, &settings.region, &stopped);
        Ok(Self {
            addresses,
            settings,
            store,
            fault_injector,
            call_log,
            queue,
            services,
            function,
            render: render_function,
            reconcile: reconcile_function,
            notify,
            workflows,
            backfill,
            watchdog,
            stop,
            servers,
            mappings,
        })
    }

    /// The addresses of the cloud.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The bucket and the key pair of the configuration.
    pub fn settings(&self) -> &S3Settings {
        &self.settings
    }

    /// The objects, accessed without the protocol.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// Injects faults into S3's responses.
    pub fn fault_injector(&self) -> &FaultInjector {
        &self.fault_injector
    }

    /// The logged requests to S3, with the sizes of the responses.
    pub fn call_log(&self) -> &CallLog {
        &self.call_log
    }

    /// The queue between S3 and the function.
    pub fn queue(&self) -> &LocalQueue {
        &self.queue
    }

    /// The function, if one is configured.
    pub fn function(&self) -> Option<&Function> {
        self.function.as_ref()
    }

    /// The function that renders on-demand images, if one is configured.
    pub fn render(&self) -> Option<&Function> {
        self.render.as_ref()
    }

    /// The function that finds uploads whose event was missed, if one is configured.
    pub fn reconcile(&self) -> Option<&Function> {
        self.reconcile.as_ref()
    }

    /// The queue of outcomes, if one is configured.
    pub fn notify_queue(&self) -> Option<&LocalQueue> {
        self.services.as_ref().map(ServicesEndpoint::queue)
    }

    /// The function that delivers webhooks, if one is configured.
    pub fn notify(&self) -> Option<&Function> {
        self.notify.as_ref()
    }

    /// The executions of uploads' workflows, oldest first.
    pub fn executions(&self) -> Vec<ExecutionRecord> {
        self.workflows.as_ref().map(Workflows::list).unwrap_or_default()
    }

    /// Passes an event in EventBridge's format to the workflow, as S3's are: a duplicate, for example.
    pub fn start_workflow(&self, event: serde_json::Value) {
        if let Some(workflows) = &self.workflows {
            workflows.start_upload(event);
        }
    }

    /// The function of a step, if a workflow is configured.
    pub fn step(&self, name: &str) -> Option<&Function> {
        self.workflows.as_ref()?.function(name)
    }

    /// Runs a backfill to its end; `None` if no backfill, or no function for it, is configured.
    pub async fn backfill(&self, input: serde_json::Value) -> Option<ExecutionRecord> {
        Some(self.backfill.as_ref()?.run(input).await)
    }

    /// The messages published to the topic so far, oldest first.
    pub fn published_messages(&self) -> Vec<PublishedMessage> {
        self.services.as_ref().map(ServicesEndpoint::published_messages).unwrap_or_default()
    }

    /// Makes the queue and the topic respond to this many requests with an error, as in an outage.
    pub fn fail_services(&self, times: u32) {
        if let Some(services) = &self.services {
            services.fail_next(times);
        }
    }

    /// The function's recent invocations, oldest first.
    pub fn invocations(&self) -> Vec<LoggedInvocation> {
        self.function.as_ref().map(Function::invocations).unwrap_or_default()
    }

    /// The watchdog, which also ends programs that run next to the cloud.
    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// Shuts down gracefully: no new requests, open ones finish, messages in flight return to the queue, the function's
    /// environments are killed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for mapping in &mut self.mappings {
            let _ = mapping.await;
        }
        self.workflows.iter().for_each(Workflows::stop);
        self.functions().for_each(Function::stop);
        for server in &mut self.servers {
            let _ = server.await;
        }
    }

    fn functions(&self) -> impl Iterator<Item = &Function> {
        let steps = self.workflows.iter().flat_map(Workflows::functions);
        self.function.iter().chain(&self.render).chain(&self.notify).chain(&self.reconcile).chain(steps)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.workflows.iter().for_each(Workflows::stop);
        self.functions().for_each(Function::stop);
        for task in self.servers.iter().chain(&self.mappings) {
            task.abort();
        }
    }
}

/// A queue, its function, and when the function is ready; `None`: at once.
type MappingParts<'a> = (Option<&'a LocalQueue>, &'a Option<Function>, Option<watch::Receiver<bool>>);

/// Starts an event source mapping for each queue that has a function, as soon as the function is ready.
fn start_mappings(
    pairs: [MappingParts<'_>; 2],
    region: &str,
    stopped: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    pairs
        .into_iter()
        .filter_map(|(queue, function, ready)| Some((queue?.clone(), function.clone()?, ready)))
        .map(|(queue, function, ready)| {
            let (region, mut stopped) = (region.to_owned(), stopped.clone());
            tokio::spawn(async move {
                if let Some(mut ready) = ready {
                    tokio::select! {
                        biased;
                        () = shutdown_signal(&mut stopped) => return,
                        // The function never becomes ready if the sender is gone.
                        is_ready = async { ready.wait_for(|is_ready| *is_ready).await.is_ok() } => {
                            if !is_ready { return }
                        }
                    }
                }
                event_source_mapping::run(queue, function, region, stopped).await;
            })
        })
        .collect()
}

fn open_workflows(
    WorkflowSettings { definitions, functions }: WorkflowSettings,
    start: impl Fn(FunctionSettings) -> Function,
    entropy: &Entropy,
) -> Result<Workflows, DefinitionError> {
    let functions = functions.into_iter().map(|(name, function)| (name, start(function))).collect();
    Workflows::open(&definitions, functions, entropy.clone())
}

/// The configured backfill, if the function that it calls is configured too.
fn open_backfill(
    parts: Option<(BackfillSettings, Function)>,
    address: SocketAddr,
    settings: &S3Settings,
    (clock, entropy): (&WallClock, &Entropy),
) -> Result<Option<Backfill>, DefinitionError> {
    let Some((BackfillSettings { definition, max_keys }, preview)) = parts else { return Ok(None) };
    let (settings, clock) = (settings.clone(), clock.clone());
    let bucket = BucketClient { address, settings, role: "glimpse-backfill".into(), max_keys, clock };
    Backfill::open(&definition, bucket, preview, entropy.clone()).map(Some)
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), CloudError> {
    let listen_error = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => CloudError::PortTaken { address: listen },
        _ => CloudError::Listen { address: listen, source },
    };
    let listener = TcpListener::bind(listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    Ok((listener, address))
}

/// The bucket's event notifications: uploads go to the one queue or the workflow, outcomes to the other queue.
fn route_events(
    uploads: LocalQueue,
    notify_queue: Option<LocalQueue>,
    workflows: Option<Workflows>,
    settings: &S3Settings,
    entropy: &Entropy,
) -> (EventFilter, EventSink) {
    let entropy = entropy.clone();
    let (bucket, region) = (settings.bucket.clone(), settings.region.clone());
    let (prefix, has_notify_queue) = (settings.event_prefix.clone(), notify_queue.is_some());
    let has_event = move |key: &str| key.starts_with(&prefix) || (has_notify_queue && is_outcome(key));
    let event_sink = move |created: &ObjectCreatedEvent| {
        let notify_queue = notify_queue.as_ref().filter(|_| is_outcome(&created.key));
        if let (None, Some(workflows)) = (notify_queue, &workflows) {
            workflows.start_upload(eventbridge_event(created, &bucket, &region, &entropy.uuid()));
            return Ok(());
        }
        let body = s3_event(created, &bucket, &region).to_string();
        notify_queue.unwrap_or(&uploads).send(body).map(drop).map_err(io::Error::other)
    };
    (Arc::new(has_event), Arc::new(event_sink))
}

/// Whether an object records the outcome of a video.
fn is_outcome(key: &str) -> bool {
    key.parse().is_ok_and(|key: Key| key.outcome().is_some())
}

/// The environment variables through which functions find the cloud.
fn function_environment(
    settings: &S3Settings,
    endpoint: &str,
    max_receives: u32,
) -> std::collections::BTreeMap<String, String> {
    [
        ("AWS_REGION", settings.region.clone()),
        ("AWS_DEFAULT_REGION", settings.region.clone()),
        ("AWS_ACCESS_KEY_ID", settings.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", settings.secret_access_key.clone()),
        ("AWS_ENDPOINT_URL_S3", endpoint.to_owned()),
        ("S3_BUCKET", settings.bucket.clone()),
        ("GLIMPSE_MAX_RECEIVES", max_receives.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Accepts connections and serves their requests until the stop signal; then open ones may finish.
async fn serve<A, F, B>(listener: TcpListener, answer: A, mut stop: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown_signal(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else {
            // Most likely out of file descriptors: some will be released.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (answer, mut stop) = (answer.clone(), stop.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, peer));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let connection_error = tokio::select! {
                result = &mut connection => result.err(),
                () = shutdown_signal(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await.err()
                }
            };
            if let Some(error) = connection_error {
                tracing::debug!(target: "s3", %error, "a connection broke");
            }
        });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, finished).await;
}
