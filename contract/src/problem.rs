//! Decides what may go wrong and what a client is told about it: one enum, one table.
//!
//! The wire form is RFC 9457, <https://www.rfc-editor.org/rfc/rfc9457>, with `message` and `error` beside
//! `detail`: clients of Uppy's Companion show the first, and older ones look for the second.

use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::object;

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal $message:literal)*) => {
        /// What went wrong, as a stable word for machines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $message] $variant,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// A short name for people, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// The sentence that a person is shown where nothing more precise is known.
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }

            /// The code of that word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    Unauthorized "unauthorized" 401 "Sign in first" "Sign in first: the request carries no valid token or session."
    ForbiddenKey "forbidden_key" 403 "Not yours" "This video belongs to somebody else."
    ForbiddenOrigin "forbidden_origin" 403 "Foreign origin" "Requests from this site are not allowed here."
    TooLarge "too_large" 413 "Too large" "The file is larger than is allowed here."
    Empty "empty" 422 "Empty file" "The file is empty."
    TypeNotAllowed "type_not_allowed" 415 "Type not allowed" "Files of this type are not accepted: upload a video."
    BadParameter "bad_parameter" 400 "Bad parameter" "A parameter of the request is missing or wrong."
    NotFound "not_found" 404 "Not found" "There is nothing at this address."
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed" "This address does not answer that method."
    SourceGone "source_gone" 410 "Source gone" "The uploaded file was deleted before its pictures were made."
    Processing "processing" 202 "Processing" "The pictures of this video are still being made. Try again in a moment."
    NotAVideo "not_a_video" 422 "Not a video" "The file is not a video, whatever its name says."
    NoVideoStream "no_video_stream" 422 "No picture" "The file has no video track."
    UnsupportedCodec "unsupported_codec" 422 "Unsupported codec" "The video is in a format that cannot be decoded here."
    TooManyPixels "too_many_pixels" 422 "Too many pixels" "The picture is larger than 8K."
    TooMuchMemory "too_much_memory" 422 "Needs too much memory" "The video needs more memory to decode than this service has."
    TooManyStreams "too_many_streams" 422 "Too many streams" "The file has more tracks than any real video."
    TooLong "too_long" 422 "Too long" "The video is longer than is allowed here."
    Truncated "truncated" 422 "Incomplete file" "The file is damaged or incomplete: no frame of it can be shown."
    Encrypted "encrypted" 422 "Encrypted" "The video is encrypted, so its pictures cannot be made."
    DecoderCrash "decoder_crash" 422 "Undecodable" "The file is malformed: the decoder gave up on it."
    TimedOut "timed_out" 422 "Took too long" "The video took too long to decode."
    Superseded "superseded" 409 "Superseded" "The uploaded file was replaced by another one."
    Deleted "deleted" 410 "Deleted" "This video was deleted by its owner."
    AlreadyUploaded "already_uploaded" 409 "Already uploaded" "This video was uploaded already, and an upload cannot be replaced."
    TokenUsedUp "token_used_up" 403 "Token used up" "All videos of this upload token were uploaded already."
    TokenRefused "token_refused" 403 "Token refused" "This link is not valid: its token is wrong or over, or it is for something else."
    Busy "busy" 429 "Busy" "Too many requests at once. Try again in a moment."
    FormatNotMade "format_not_made" 501 "Format not made" "This is not made in that format here: ask for JSON."
    NoDecoder "no_decoder" 500 "No decoder" "This service has no decoder that runs: whoever operates it has to mend that."
    NoAccess "no_access" 502 "Storage refused" "The storage refuses this service: whoever operates it has to mend that."
    Upstream "upstream" 502 "Storage trouble" "The storage behind this service did not answer as it should. Try again."
    Internal "internal" 500 "Our fault" "Something went wrong on our side."
}

impl Code {
    /// Whether nothing but a change of the deployment mends it: no other try, and no other file.
    pub fn needs_operator(self) -> bool {
        matches!(self, Self::NoDecoder | Self::NoAccess)
    }

    /// The code that a document names. A word that a later version added is read as [`Code::Internal`]: an old reader must
    /// not fail on it.
    pub fn from_json(json: &Json) -> Self {
        json.as_str().and_then(Self::from_word).unwrap_or(Self::Internal)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A word that a later version added is read as [`Code::Internal`]: an old reader must not fail on it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::from_word(&word).unwrap_or(Self::Internal))
    }
}

/// The only thing that a client is told when a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// The sentence for a person, about this very occurrence. It holds no key, bucket, URL or secret.
    pub detail: String,
}

impl Problem {
    /// A problem with the code's own sentence.
    pub fn new(code: Code) -> Self {
        Self { code, detail: code.message().to_owned() }
    }

    /// A problem with a sentence about this very occurrence.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The body of the response, `application/problem+json`. `requestId` is the request's id in the spelling that Uppy v4
    /// and v5 show.
    pub fn body(&self, request_id: &str) -> Json {
        object! {
            "type" => ["urn:glimpse:problem:", self.code.as_str()].concat(),
            "title" => self.code.title(),
            "status" => self.code.status(),
            "detail" => &self.detail,
            "code" => self.code.as_str(),
            "message" => &self.detail,
            "error" => &self.detail,
            "request_id" => request_id,
            "requestId" => request_id,
        }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_well_formed_and_distinct() {
        for &code in Code::ALL {
            assert_eq!(Code::from_word(code.as_str()), Some(code));
            assert!(code.message().ends_with('.'), "{code:?}: a message is a sentence");
            assert!(!code.title().ends_with('.'), "{code:?}: a title is not");
            assert!(matches!(code.status(), 202 | 400..=599), "{code:?}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
        }
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len(), "codes are distinct");
    }

    #[test]
    fn body_is_pinned() {
        let body = Problem::with_detail(Code::TooLarge, "At most 5 GB.").body("r1");
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            serde_json::json!({
                "type": "urn:glimpse:problem:too_large", "title": "Too large", "status": 413,
                "detail": "At most 5 GB.", "code": "too_large", "message": "At most 5 GB.",
                "error": "At most 5 GB.", "request_id": "r1", "requestId": "r1",
            })
        );
    }

    #[test]
    fn unknown_code_is_internal() {
        assert_eq!(serde_json::from_str::<Code>("\"moon\"").unwrap(), Code::Internal);
    }
}
