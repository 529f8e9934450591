//! JSON Schema of parameters and enumerations.

use std::borrow::Cow;

use glimpse_contract::{ParameterType, limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::delivery::token_request::TOKEN_TYPES;

/// The required content of a file's name: a character that is neither space nor control character.
pub(super) const NAME: &str = r"[^\s\x00-\x1f\x7f-\x9f]";

/// A media type that may be uploaded, as an enumeration.
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

/// The type of a delivery token, as an enumeration: the values in `delivery/token_request.rs`.
#[derive(Debug)]
pub(super) enum DeliveryType {}

impl JsonSchema for DeliveryType {
    fn schema_name() -> Cow<'static, str> {
        "DeliveryType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "The type of file that a delivery token gives access to.",
            "enum": TOKEN_TYPES.map(|(word, _)| word) })
    }
}

/// The id of a video.
pub(super) fn video_id() -> Value {
    json!({ "$ref": "#/components/schemas/VideoId" })
}

/// An integer in a range.
pub(super) fn integer(min: u64, max: u64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// One of these strings.
pub(super) fn string_enum(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// A string that matches a pattern.
pub(super) fn pattern_string(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// A string that is not empty.
pub(super) fn non_empty_string() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// Any string.
pub(super) fn string() -> Value {
    json!({ "type": "string" })
}

/// Seconds from zero up. The service rounds to three decimals.
pub(super) fn seconds(max: u64) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": max })
}

/// A number with at most two decimals, in hundredths.
fn hundredths(min: u64, max: u64) -> Value {
    let number = |hundredths: u64| match hundredths % 100 {
        0 => json!(hundredths / 100),
        _ => json!(hundredths as f64 / 100.0),
    };
    json!({ "type": "number", "minimum": number(min), "maximum": number(max), "multipleOf": 0.01 })
}

/// The values of an image parameter.
pub(super) fn parameter(value: ParameterType) -> Value {
    match value {
        ParameterType::Seconds { max_ms } => seconds(max_ms / 1000),
        ParameterType::Integer { min, max, .. } => integer(min, max),
        ParameterType::Hundredths { min, max } => hundredths(min, max),
        ParameterType::Words { words, .. } => {
            string_enum(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>())
        }
    }
}
