//! Upload grants, and their encoding as signed S3 object metadata.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::id::{Owner, VideoId};
use crate::json::Json;
use crate::key::Key;
use crate::limits;
use crate::manifest::{ClientMetadata, Visibility};

/// The metadata header that contains the file's name, encoded by [`encode_name`].
pub const META_NAME: &str = "x-amz-meta-name";
/// The metadata header that contains the [`Visibility`].
pub const META_VISIBILITY: &str = "x-amz-meta-visibility";

/// The metadata header that contains the customer's `external_id`, encoded by [`encode_name`].
pub const META_EXTERNAL_ID: &str = "x-amz-meta-external-id";
/// The metadata header that contains the customer's `metadata`: base64url of a JSON object of strings.
pub const META_CUSTOM: &str = "x-amz-meta-custom";
/// The metadata header that contains the [`TraceId`](crate::TraceId) of the trace that the upload belongs to, if it
/// belongs to one.
pub const META_TRACE_ID: &str = "x-amz-meta-trace-id";

/// Escapes everything except RFC 3986's unreserved characters. The result is safe in a header, a form field and JSON.
const NAME_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Permission to upload one video. The edge signs it, and S3 enforces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The owner of the upload.
    pub owner: Owner,
    /// The id of the new video.
    pub video: VideoId,
    /// The original file name, for display only; at most [`limits::MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// The signed media type: one of [`limits::UPLOAD_TYPES`], or [`limits::UNKNOWN_TYPE`].
    pub content_type: String,
    /// Who can view the images.
    pub visibility: Visibility,
    /// Client metadata, returned unchanged in the manifest.
    pub client_metadata: ClientMetadata,
}

impl Grant {
    /// The key of the source.
    pub fn key(&self) -> Key {
        Key::Source { owner: self.owner.clone(), video: self.video }
    }

    /// The metadata headers that the upload must contain, with sorted names in lower case.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        let ClientMetadata { external_id, metadata: fields, trace_id } = &self.client_metadata;
        let mut headers = Vec::with_capacity(5);
        if !fields.is_empty() {
            headers.push((META_CUSTOM, URL_SAFE_NO_PAD.encode(Json::from(fields).to_string())));
        }
        if let Some(id) = external_id {
            headers.push((META_EXTERNAL_ID, encode_name(id)));
        }
        headers.push((META_NAME, encode_name(&self.name)));
        if let Some(trace) = trace_id {
            headers.push((META_TRACE_ID, trace.to_string()));
        }
        headers.push((META_VISIBILITY, self.visibility.as_str().to_owned()));
        headers
    }
}

impl ClientMetadata {
    /// Reads the metadata that [`Grant::metadata`] wrote from a stored object's headers. Invalid values are ignored.
    pub fn from_headers(header: impl Fn(&str) -> Option<String>) -> Self {
        let custom = header(META_CUSTOM).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        Self {
            external_id: header(META_EXTERNAL_ID).map(|text| decode_name(&text)),
            metadata: custom.and_then(|json| Json::parse(&json)?.as_str_map()).unwrap_or_default(),
            trace_id: header(META_TRACE_ID).and_then(|text| text.parse().ok()),
        }
    }

    /// Checks that the metadata fits into an object's headers. The error is a message for the caller.
    pub fn check(&self) -> Result<(), &'static str> {
        let id = self.external_id.as_deref().unwrap_or_default();
        if id.len() > limits::MAX_EXTERNAL_ID_BYTES || id.chars().any(char::is_control) {
            return Err("`external_id` must be at most 128 bytes without control characters");
        }
        if Json::from(&self.metadata).to_string().len() > limits::MAX_METADATA_BYTES {
            return Err("`metadata` must be at most 512 bytes as JSON");
        }
        Ok(())
    }
}

/// The longest extension that is kept when a name is truncated, in bytes, including the dot.
const MAX_EXTENSION_BYTES: usize = 17;

/// Removes control characters from a file name and truncates it to [`limits::MAX_NAME_BYTES`]. A longer name is
/// truncated at a character boundary, before its extension.
///
/// ```
/// # use glimpse_contract::truncate_name;
/// assert_eq!(truncate_name("Ski\n trip.mp4"), "Ski trip.mp4");
/// assert_eq!(truncate_name(&("x".repeat(300) + ".mp4")), "x".repeat(251) + ".mp4");
/// ```
pub fn truncate_name(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    if clean.len() <= limits::MAX_NAME_BYTES {
        return clean;
    }
    let extension = clean.rfind('.').map_or("", |dot| &clean[dot..]);
    let extension = if extension.len() <= MAX_EXTENSION_BYTES { extension } else { "" };
    let stem = &clean[..clean.floor_char_boundary(limits::MAX_NAME_BYTES - extension.len())];
    [stem, extension].concat()
}

/// Encodes a file name as a header value: truncated by [`truncate_name`], then percent-encoded except for unreserved
/// characters.
///
/// ```
/// # use glimpse_contract::{decode_name, encode_name};
/// assert_eq!(encode_name("Ski trip.mp4"), "Ski%20trip.mp4");
/// assert_eq!(decode_name(&encode_name("\u{1f3bf}\n.mp4")), "\u{1f3bf}.mp4");
/// ```
pub fn encode_name(name: &str) -> String {
    utf8_percent_encode(&truncate_name(name), NAME_ESCAPES).to_string()
}

/// Decodes a name that [`encode_name`] encoded. Invalid UTF-8 is replaced, control characters are removed.
pub fn decode_name(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::TraceId;

    #[test]
    fn long_name_is_cut_at_char_boundary() {
        let long = "é".repeat(200);
        assert_eq!(decode_name(&encode_name(&long)), "é".repeat(127));
        let cut = |name: &str| decode_name(&encode_name(name));
        assert_eq!(cut(&(long.clone() + ".mov")), "é".repeat(125) + ".mov", "the extension is kept");
        assert_eq!(cut(&(long.clone() + ".webm")), "é".repeat(125) + ".webm");
        let exact = "x".repeat(251) + ".mp4";
        assert_eq!(cut(&exact), exact);
        assert_eq!(cut(&format!("{long}.no ending but a sentence")).len(), 254);
        assert_eq!(cut(&(".".to_owned() + &long)).len(), 255);
    }

    fn grant(name: String, passthrough: ClientMetadata) -> Grant {
        Grant {
            owner: Owner::new("i", "s"),
            video: VideoId::new(1, [0; 10]),
            name,
            content_type: "video/mp4".into(),
            visibility: Visibility::Public,
            client_metadata: passthrough,
        }
    }

    #[test]
    fn largest_metadata_fits_s3_limit() {
        let passthrough = ClientMetadata {
            external_id: Some("\u{e9}".repeat(limits::MAX_EXTERNAL_ID_BYTES / 2)),
            metadata: [("k".to_owned(), "v".repeat(limits::MAX_METADATA_BYTES - 8))].into(),
            trace_id: Some(TraceId::from_video(VideoId::new(1, [0; 10]))),
        };
        assert_eq!(passthrough.check(), Ok(()));
        let headers = grant("\u{e9}".repeat(127), passthrough).metadata();
        let counts = |(name, value): &(&str, String)| name.len() - "x-amz-meta-".len() + value.len();
        let bytes: usize = headers.iter().map(counts).sum();
        assert!(bytes < 2_048, "{bytes}: S3 allows 2 KB of names and values");
        assert!(headers.is_sorted());
    }

    #[test]
    fn rejects_oversized_client_metadata() {
        let long = ClientMetadata { external_id: Some("x".repeat(129)), ..ClientMetadata::default() };
        let with_control = ClientMetadata { external_id: Some("a\nb".into()), ..ClientMetadata::default() };
        let wide = [("k".to_owned(), "v".repeat(limits::MAX_METADATA_BYTES))].into();
        let wide = ClientMetadata { metadata: wide, ..ClientMetadata::default() };
        for bad in [long, with_control, wide] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert_eq!(ClientMetadata::from_headers(|_| Some("%%%".into())).metadata.len(), 0);
    }

    proptest! {
        #[test]
        fn client_metadata_roundtrips(
            id in proptest::option::of("\\PC{0,30}"),
            metadata in proptest::collection::btree_map("\\PC{1,8}", "\\PC{0,20}", 0..6),
            trace_id in proptest::option::of(any::<[u8; 10]>()),
        ) {
            let trace_id = trace_id.map(|random| TraceId::from_video(VideoId::new(1, random)));
            let passthrough = ClientMetadata { external_id: id, metadata, trace_id };
            let headers = grant("a.mp4".into(), passthrough.clone()).metadata();
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            prop_assert!(headers.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())));
            prop_assert_eq!(ClientMetadata::from_headers(header), passthrough);
        }

        #[test]
        fn name_roundtrips_and_is_header_safe(name in "\\PC{0,60}|\\PC{60,120}\\.[a-z0-9]{2,4}") {
            prop_assert!(truncate_name(&name).len() <= limits::MAX_NAME_BYTES);
            prop_assert!(name.len() > limits::MAX_NAME_BYTES || truncate_name(&name) == name);
            let text = encode_name(&name);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\{}&".contains(&b)), "{}", text);
            prop_assert_eq!(decode_name(&text), truncate_name(&name));
        }

        #[test]
        fn decode_name_never_panics(text: String) {
            let _ = decode_name(&text);
        }
    }
}
