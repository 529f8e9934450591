//! Generic HTTP: routes, queries, bodies, CORS, client addresses and responses.

pub(crate) mod body;
pub mod client_address;
pub(crate) mod cors;
pub mod query;
pub(crate) mod response;
pub mod route;
