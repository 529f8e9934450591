//! Decides how an uploaded video becomes its default pictures: everything of the Lambdas but their `main`.

pub mod camera;
pub mod config;
pub mod decode;
pub mod demux;
pub mod digest;
pub mod error;
pub mod event;
pub mod footage;
pub mod invoke;
pub mod job;
pub mod lambda;
pub mod outcome;
pub mod patience;
pub mod picture;
pub mod plan;
pub mod probe;
pub mod publish;
pub mod reconcile;
pub mod relay;
pub mod render;
pub mod size;
pub mod source;
pub mod store;
