//! Decides how the backend speaks to others than S3: one request over one connection, to an address that was checked.

pub mod address;
pub mod post;
