//! Generic HTTP: routes, CORS, client addresses and responses.

pub mod client_address;
pub(crate) mod cors;
pub(crate) mod response;
pub mod route;
