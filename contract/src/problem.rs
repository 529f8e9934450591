//! Problems: error codes with their HTTP statuses, titles and messages, and the body of an error response.
//!
//! The body is RFC 9457's, <https://www.rfc-editor.org/rfc/rfc9457>, with `message` and `error` in addition to
//! `detail`: clients of Uppy's Companion display the first, and older ones read the second.

use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::object;

/// The cause of a problem. The problems of a video's images are all those of video, file and operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The request, or the caller's rights.
    Request,
    /// The video's state: its images do not exist yet, or no longer.
    Video,
    /// The content of the uploaded file, which is rejected.
    File,
    /// The load or a failure of the service: a retry may succeed.
    Service,
    /// The deployment: only the operator can fix it, neither a retry nor another file helps.
    Operator,
}

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $cause:ident $title:literal $message:literal)*) => {
        /// Stable, machine-readable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $message] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The HTTP status of the response.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// The cause of the problem.
            pub fn cause(self) -> Cause {
                match self { $(Self::$variant => Cause::$cause),* }
            }

            /// A short title for people, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// The default message for people.
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }

            /// Parses the code on the wire.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    Unauthorized "unauthorized" 401 Request "Authentication required" "The request has no valid token or session. Sign in first."
    ForbiddenKey "forbidden_key" 403 Request "Access denied" "This video belongs to another user."
    ForbiddenOrigin "forbidden_origin" 403 Request "Origin not allowed" "Requests from this site are not allowed."
    TooLarge "too_large" 413 Request "Too large" "The file is larger than allowed."
    Empty "empty" 422 File "Empty file" "The file is empty."
    TypeNotAllowed "type_not_allowed" 415 Request "Type not allowed" "This file type is not accepted. Upload a video."
    BadParameter "bad_parameter" 400 Request "Invalid parameter" "A request parameter is missing or invalid."
    NotFound "not_found" 404 Request "Not found" "There is nothing at this URL."
    MethodNotAllowed "method_not_allowed" 405 Request "Method not allowed" "Method not allowed for this URL."
    SourceGone "source_gone" 410 Video "Source deleted" "The uploaded file was deleted before its images were generated."
    Processing "processing" 202 Video "Processing" "The images of this video are still being generated. Try again in a moment."
    NotAVideo "not_a_video" 422 File "Not a video" "The file is not a video, regardless of its name."
    NoVideoStream "no_video_stream" 422 File "No video track" "The file has no video track."
    UnsupportedCodec "unsupported_codec" 422 File "Unsupported codec" "This video format cannot be decoded."
    TooManyPixels "too_many_pixels" 422 File "Too many pixels" "The video's resolution is higher than 8K."
    TooMuchMemory "too_much_memory" 422 File "Too much memory" "Decoding this video needs more memory than this service has."
    TooManyStreams "too_many_streams" 422 File "Too many streams" "The file has more tracks than allowed."
    TooLong "too_long" 422 File "Too long" "The video is longer than allowed."
    Truncated "truncated" 422 File "Incomplete file" "The file is damaged or incomplete: no frame can be decoded."
    Encrypted "encrypted" 422 File "Encrypted" "The video is encrypted and cannot be decoded."
    DecoderCrash "decoder_crash" 422 File "Decoding failed" "The file is malformed: the decoder could not process it."
    TimedOut "timed_out" 422 File "Timed out" "Decoding the video took too long."
    Superseded "superseded" 409 Video "Superseded" "The uploaded file was replaced by another file."
    Deleted "deleted" 410 Video "Deleted" "This video was deleted by its owner."
    AlreadyUploaded "already_uploaded" 409 Request "Already uploaded" "This video has already been uploaded, and an upload cannot be replaced."
    TokenUsedUp "token_used_up" 403 Request "Token used up" "All videos of this upload token have already been uploaded."
    TokenRefused "token_refused" 403 Request "Invalid link" "This link is invalid or has expired."
    Busy "busy" 429 Service "Too many requests" "Too many requests at once. Try again in a moment."
    FormatNotMade "format_not_made" 501 Request "Format not supported" "This format is not available. Request JSON instead."
    NoDecoder "no_decoder" 500 Operator "No decoder" "No working video decoder is installed. The operator of this service must fix this."
    NoAccess "no_access" 502 Operator "Storage access denied" "This service is not allowed to access its storage. The operator must fix its permissions."
    Upstream "upstream" 502 Service "Storage error" "The storage service did not respond correctly. Try again."
    Internal "internal" 500 Service "Internal error" "An internal error occurred."
}

impl Code {
    /// Whether only the operator can fix the error, by a change of the deployment: neither a retry nor another file
    /// helps.
    pub fn needs_operator(self) -> bool {
        self.cause() == Cause::Operator
    }

    /// Reads a code from a document. An unknown code, which a later version may have added, is read as
    /// [`Code::Internal`]: an old reader must not fail on it.
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
    /// An unknown code, which a later version may have added, is read as [`Code::Internal`]: an old reader must not
    /// fail on it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::from_word(&word).unwrap_or(Self::Internal))
    }
}

/// An error response. This is the only error type that reaches a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The error code.
    pub code: Code,
    /// Message for people about this occurrence. It contains no key, bucket, URL or secret.
    pub detail: String,
}

impl Problem {
    /// Creates a problem with the code's default message.
    pub fn new(code: Code) -> Self {
        Self { code, detail: code.message().to_owned() }
    }

    /// Creates a problem with a message about this occurrence.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The body of the response, `application/problem+json`. `requestId` repeats the request's id in the spelling that
    /// Uppy v4 and v5 display.
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
    fn causes_match_statuses() {
        for &code in Code::ALL {
            let is_expected = match code.cause() {
                Cause::Request => matches!(code.status(), 400..=415 | 501),
                Cause::Video => matches!(code.status(), 202 | 409 | 410),
                Cause::File => code.status() == 422,
                Cause::Service => matches!(code.status(), 429 | 500 | 502),
                Cause::Operator => matches!(code.status(), 500 | 502),
            };
            assert!(is_expected, "{code:?} is {} by {:?}", code.status(), code.cause());
        }
        let for_operators: Vec<Code> =
            Code::ALL.iter().copied().filter(|code| code.needs_operator()).collect();
        assert_eq!(for_operators, [Code::NoDecoder, Code::NoAccess]);
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
