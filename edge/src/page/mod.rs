//! Decides how a video is shown to whoever has its link: as a page, as facts for programs, as a card for other sites.

mod handler;
mod html;
mod meta;
mod oembed;

pub use crate::page::meta::{Facts, Shown, shown};
pub use crate::page::oembed::Embed;
pub(crate) use handler::{Document, forget, serve, without_slash};
