//! The shutdown signal of the cloud's tasks.

use tokio::sync::watch;

/// Waits until the cloud stops or is dropped.
pub(crate) async fn shutdown_signal(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
