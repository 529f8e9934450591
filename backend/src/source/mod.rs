//! Reads the uploaded file from S3: in ranges for the demuxers, through a loopback proxy for ffmpeg.

pub mod proxy;
pub mod reader;
