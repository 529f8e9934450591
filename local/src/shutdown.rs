//! Decides how the parts learn that it is over.

use tokio::sync::watch;

/// Returns when the cloud is told to stop, or is gone.
pub(crate) async fn shutdown_signal(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
