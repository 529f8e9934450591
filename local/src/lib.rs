//! Glimpse's cloud on one machine, in one process.
//!
//! An S3 server that checks signatures and sends events, queues, a topic, and the Lambda service for the real function
//! binaries. Clients cannot distinguish it from AWS except by its address, and all data survives a restart. workerd and
//! the OpenID provider are separate programs, see [`workerd`] and [`oidc`].

pub mod clock;
mod cloud;
pub mod config;
mod event;
mod event_source_mapping;
mod function_url;
pub mod lambda;
pub mod oidc;
pub mod process;
pub mod queue;
pub mod s3;
mod services;
mod shutdown;
mod sigv4;
pub mod workerd;
pub mod workflow;

pub use cloud::{Addresses, Cloud, CloudError};
pub use config::{
    BackfillSettings, Config, FunctionSettings, FunctionUrlSettings, NotifySettings, QueueSettings,
    S3Settings, WorkflowSettings,
};
pub use services::PublishedMessage;
