//! Reads the source from S3: in ranges for the native demuxers, through the source proxy for ffmpeg.

pub mod proxy;
pub mod range_stream;
pub mod reader;
