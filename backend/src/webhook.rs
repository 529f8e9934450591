//! Decides how a customer's own systems are told of a video's outcome: to whom, signed how, tried how often.

pub mod config;
pub mod endpoint;
pub mod intake;
pub mod mail;
pub mod notify;
pub mod schedule;
pub mod sign;
