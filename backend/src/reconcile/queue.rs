//! The SQS queue of S3's events, as the reconciler uses it.

use crate::aws::sqs::{MessageQueue, SqsQueue};
use crate::error::JobError;
use crate::reconcile::service::UploadQueue;

impl UploadQueue for SqsQueue {
    async fn depth(&self) -> Result<u64, JobError> {
        self.waiting_messages().await.map_err(JobError::upstream)
    }

    async fn send(&self, body: String) -> Result<(), JobError> {
        MessageQueue::send(self, &body).await.map_err(JobError::upstream)
    }
}
