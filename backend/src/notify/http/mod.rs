//! HTTP client for webhook endpoints: one request on one connection, to an address that was checked.

pub mod client;
pub mod public_address;
