//! Decides what the edge promises about an upload, and how the promise travels: as signed object metadata.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::id::{Owner, VideoId};
use crate::key::Key;
use crate::limits;
use crate::manifest::Visibility;

/// The metadata header that carries the file's name, encoded by [`encode_name`].
pub const META_NAME: &str = "x-amz-meta-name";
/// The metadata header that carries who may see the pictures.
pub const META_VISIBILITY: &str = "x-amz-meta-visibility";

/// Everything but RFC 3986's unreserved characters is escaped: what is left is safe in a header, in a form
/// field and in JSON alike.
const NAME_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Permission to upload one video, which the edge signs and S3 enforces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who may upload.
    pub owner: Owner,
    /// The video that the upload becomes.
    pub video: VideoId,
    /// The file's name as the user has it, for display only; at most [`limits::MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// The declared media type, one of [`limits::UPLOAD_TYPES`].
    pub content_type: String,
    /// Who may see the pictures.
    pub visibility: Visibility,
}

impl Grant {
    /// Where the upload goes.
    pub fn key(&self) -> Key {
        Key::Source { owner: self.owner.clone(), video: self.video }
    }

    /// The metadata headers that the upload must carry, names in lower case and sorted.
    pub fn metadata(&self) -> [(&'static str, String); 2] {
        [(META_NAME, encode_name(&self.name)), (META_VISIBILITY, self.visibility.as_str().to_owned())]
    }
}

/// A file's name as header text: cut to [`limits::MAX_NAME_BYTES`] at a character's edge, control characters
/// dropped, everything but unreserved characters percent-encoded.
///
/// ```
/// # use glimpse_contract::{decode_name, encode_name};
/// assert_eq!(encode_name("Ski trip.mp4"), "Ski%20trip.mp4");
/// assert_eq!(decode_name(&encode_name("\u{1f3bf}\n.mp4")), "\u{1f3bf}.mp4");
/// ```
pub fn encode_name(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    let end = clean.floor_char_boundary(limits::MAX_NAME_BYTES);
    utf8_percent_encode(&clean[..end], NAME_ESCAPES).to_string()
}

/// The name behind [`encode_name`]'s text; what is not UTF-8 is replaced, control characters are dropped.
pub fn decode_name(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "é".repeat(200);
        assert_eq!(decode_name(&encode_name(&long)), "é".repeat(127));
    }

    proptest! {
        #[test]
        fn a_name_survives_and_is_safe_in_a_header(name in "\\PC{0,60}") {
            let text = encode_name(&name);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\{}&".contains(&b)), "{}", text);
            let kept = &name[..name.floor_char_boundary(limits::MAX_NAME_BYTES)];
            prop_assert_eq!(decode_name(&text), kept);
        }

        #[test]
        fn any_text_decodes(text: String) {
            let _ = decode_name(&text);
        }
    }
}
