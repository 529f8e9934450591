//! Decides how parameters and lists of words are written as JSON Schema.

use std::borrow::Cow;

use glimpse_contract::limits;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::delivery::token_request::TOKEN_TYPES;

/// What a file's name must have: a character that is neither space nor control character.
pub(super) const NAME: &str = r"[^\s\x00-\x1f\x7f-\x9f]";

/// A media type that may be uploaded, as a list of words.
#[derive(Debug)]
pub(super) enum UploadType {}

impl JsonSchema for UploadType {
    fn schema_name() -> Cow<'static, str> {
        "UploadType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A media type that may be uploaded.",
            "enum": limits::UPLOAD_TYPES })
    }
}

/// What a delivery token opens, as a list of words: those that `deliver/mint.rs` knows.
#[derive(Debug)]
pub(super) enum DeliveryType {}

impl JsonSchema for DeliveryType {
    fn schema_name() -> Cow<'static, str> {
        "DeliveryType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "What a delivery token opens.",
            "enum": TOKEN_TYPES.map(|(word, _)| word) })
    }
}

/// The id of a video.
pub(super) fn video_id() -> Value {
    json!({ "$ref": "#/components/schemas/VideoId" })
}

/// A whole number in a range.
pub(super) fn integer(min: u64, max: u64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// One of these words.
pub(super) fn string_enum(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// Any text of this form.
pub(super) fn pattern_string(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// A text that holds something.
pub(super) fn non_empty_string() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// Any text.
pub(super) fn string() -> Value {
    json!({ "type": "string" })
}

/// Seconds from zero on. The service rounds more than three decimals.
pub(super) fn seconds(max: u64) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": max })
}
