//! The S3 server: s3s implements the protocol, [`ObjectStore`] stores the objects, `S3Server` handles requests before
//! both.

mod body;
pub mod call_log;
mod checksum;
mod condition;
pub mod cors;
mod disk;
mod error;
pub mod fault;
mod list;
mod middleware;
mod post;
mod presigned;
mod record;
mod reply;
mod service;
mod storage;
mod store;

pub(crate) use crate::s3::middleware::S3Server;
pub(crate) use disk::{read_records, remove_record, write_record};
pub(crate) use list::form_encode;
pub use storage::StoredObject;
pub use store::{EventFilter, EventOrigin, EventSink, ObjectCreatedEvent, ObjectStore, ObjectStoreError};

/// Identifies a request in logs, responses and events.
#[derive(Debug, Clone)]
pub(crate) struct RequestId {
    /// 16 digits, in AWS's format.
    pub(crate) name: String,
    /// The client's address.
    pub(crate) client_ip: String,
}
