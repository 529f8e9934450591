//! Parses image requests from the raw bytes of a URL. Nothing is decoded or normalized before validation.

use std::borrow::Cow;

use super::{Variant, VariantKind, stream};
use crate::id::VideoId;
use crate::variant::builder::BadParameter;
use crate::variant::parameter::ParameterValues;

/// Length of a revision: the number of characters of the ETag in the URL.
pub const REVISION_LEN: usize = 8;

/// The revision for `v=` in a URL: the first characters of the image's ETag, without quotes.
///
/// ```
/// # use glimpse_contract::revision_from_etag;
/// assert_eq!(revision_from_etag("\"0123456789abcdef\""), Some("01234567"));
/// assert_eq!(revision_from_etag("\"0123\""), None);
/// ```
pub fn revision_from_etag(etag: &str) -> Option<&str> {
    let revision = etag.trim_matches('"').get(..REVISION_LEN)?;
    is_revision(revision).then_some(revision)
}

fn is_revision(text: &str) -> bool {
    text.len() == REVISION_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A request for an image, parsed from the raw bytes of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantRequest {
    /// The video.
    pub video: VideoId,
    /// The image.
    pub variant: Variant,
    /// The revision in the URL, if there is one. Always `None` for an image with a fixed time.
    pub revision: Option<String>,
    /// Whether a storyboard table refers to the WebP sheet instead of the JPEG sheet: Mux's `format=webp`.
    pub has_webp_sheet: bool,
}

/// The file that a path names.
enum FileTarget {
    /// An image under Glimpse's name.
    Variant(VariantKind, super::OutputFormat),
    /// An image under Cloudflare Stream's name.
    StreamAlias(VariantKind, super::OutputFormat),
    /// An image that other services support and Glimpse does not.
    Unsupported(BadParameter),
}

impl VariantRequest {
    /// Parses the path `/{video}/{file}` and the query, both in their raw form.
    ///
    /// Returns `None` if the path does not name an image.
    ///
    /// # Errors
    /// A parameter is unknown, repeated, out of range or in conflict with another one, or the format is not supported
    /// for this kind of image.
    pub fn parse(path: &str, query: Option<&str>) -> Option<Result<Self, BadParameter>> {
        let (video, file) = path.strip_prefix('/')?.split_once('/')?;
        let video = video.parse().ok()?;
        let query = query.unwrap_or_default();
        let mut has_webp_sheet = false;
        let parsed = match parse_file(file)? {
            FileTarget::Variant(kind, format) => {
                let mut values = ParameterValues::default();
                let mut set = |name: &str, value: &str| {
                    if name != "format" {
                        return values.set(kind, name, value);
                    }
                    if !format.is_table() {
                        return Err("is for the tables of a storyboard: an image has one format".into());
                    }
                    has_webp_sheet = match value {
                        "jpg" => false,
                        "webp" => true,
                        _ => return Err("must be jpg or webp, the format of the sheet".into()),
                    };
                    Ok(())
                };
                parse_query(query, &mut set).and_then(|revision| Ok((values.build(kind, format)?, revision)))
            }
            FileTarget::StreamAlias(kind, format) => {
                let mut params = stream::StreamParams::default();
                parse_query(query, |name, value| params.set(kind, name, value))
                    .and_then(|revision| Ok((params.into_values(kind)?.build(kind, format)?, revision)))
            }
            FileTarget::Unsupported(error) => Err(error),
        };
        Some(parsed.map(|(variant, revision)| Self {
            video,
            variant,
            revision: revision.filter(|_| !variant.is_fixed()),
            has_webp_sheet,
        }))
    }

    /// The path and query of this request in canonical form: one string, and one cache entry, per image.
    pub fn canonical(&self) -> String {
        let mut query = self.variant.query();
        let mut push = |name: &str, value: &str| {
            let separator = if query.is_empty() { "" } else { "&" };
            query.extend([separator, name, value]);
        };
        if self.has_webp_sheet {
            push("format=", "webp");
        }
        if let Some(revision) = &self.revision {
            push("v=", revision);
        }
        let question_mark = if query.is_empty() { "" } else { "?" };
        format!("/{}/{}{question_mark}{query}", self.video, self.variant.base_name())
    }
}

fn parse_file(file: &str) -> Option<FileTarget> {
    if let Some(file) = file.strip_prefix("thumbnails/") {
        return stream::parse_file_name(file).map(|(kind, format)| FileTarget::StreamAlias(kind, format));
    }
    let (kind_name, extension) = file.split_once('.')?;
    let kind = VariantKind::parse(kind_name)?;
    match kind.format(extension) {
        Some(format) => Some(FileTarget::Variant(kind, format)),
        None => kind
            .unsupported_format(extension)
            .map(|why| FileTarget::Unsupported(BadParameter::new("format", why.into()))),
    }
}

/// Calls `set` for each parameter of the query except the revision, which is returned.
fn parse_query(
    query: &str,
    mut set: impl FnMut(&str, &str) -> Result<(), Cow<'static, str>>,
) -> Result<Option<String>, BadParameter> {
    let mut seen = Vec::new();
    let mut revision = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(BadParameter::new(name, "is repeated".into()));
        }
        seen.push(name);
        match name {
            "v" if is_revision(value) => revision = Some(value.to_owned()),
            "v" => {
                let reason = "must be eight hexadecimal digits, from a URL that this API returned";
                return Err(BadParameter::new(name, reason.into()));
            }
            _ => set(name, value).map_err(|why| BadParameter::new(name, why))?,
        }
    }
    Ok(revision)
}
