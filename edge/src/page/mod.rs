//! Documents that present a video to visitors: its page, `meta.json`, and the oEmbed response.

mod escape;
mod handler;
mod html;
mod meta;
mod oembed;

pub use crate::page::meta::{VideoMeta, VideoView, view_video};
pub use crate::page::oembed::OembedRequest;
pub(crate) use handler::{VideoDocument, purge, redirect_without_slash, serve};
