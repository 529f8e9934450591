//! Decides how a video is shown to whoever has its link: as a page, as facts for programs, as a card for other sites.

mod embed;
mod facts;
mod handler;
mod html;

pub use embed::Embed;
pub use facts::{Facts, Shown, shown};
pub(crate) use handler::{Document, forget, serve, without_slash};
