//! Decides how a video is shown to whoever has its link: as a page, as facts for programs, as a card for other sites.

mod handler;
mod html;
mod meta;
mod oembed;

pub use crate::page::meta::{VideoMeta, VideoView, view_video};
pub use crate::page::oembed::OembedRequest;
pub(crate) use handler::{VideoDocument, purge, redirect_without_slash, serve};
