//! HTTP client for webhook endpoints and AWS services: one request per connection, only to checked addresses.

pub mod client;
pub mod public_address;
