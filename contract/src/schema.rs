//! JSON Schemas of ids and codes, for the API's OpenAPI document. Not part of the Worker.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Code, Owner, TraceId, VideoId};

impl JsonSchema for VideoId {
    fn schema_name() -> Cow<'static, str> {
        "VideoId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Id of a video: 26 characters of Crockford's base32 in lower case. Newer ids sort first.",
            "pattern": "^[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": ["7xmg4ztpa10123456789abcdef"],
        })
    }
}

impl JsonSchema for Owner {
    fn schema_name() -> Cow<'static, str> {
        "Owner".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Id of an owner, derived from the issuer and the subject of the account.",
            "pattern": "^[A-Za-z0-9_-]{21}[AQgw]$",
        })
    }
}

impl JsonSchema for TraceId {
    fn schema_name() -> Cow<'static, str> {
        "TraceId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Id of a trace, as in W3C Trace Context. Logs, manifest and webhooks contain the upload's trace id.",
            "pattern": "^[0-9a-f]{32}$",
            "examples": ["4bf92f3577b34da6a3ce929d0e0e4736"],
        })
    }
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<&str> = Self::ALL.iter().map(|code| code.as_str()).collect();
        let rows = Self::ALL
            .iter()
            .map(|code| format!("- `{}` ({}): {}\n", code.as_str(), code.status(), code.message()));
        let rows: String = rows.collect();
        json_schema!({
            "type": "string",
            "description": format!("Stable, machine-readable error code.\n\n{rows}"),
            "enum": codes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema_pattern<T: JsonSchema>() -> String {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        schema.get("pattern").and_then(|pattern| pattern.as_str()).unwrap().to_owned()
    }

    /// The patterns are written by hand; this compares them with generated ids.
    #[test]
    fn ids_match_their_patterns() {
        let letters = |class: &str, letter: char| match class {
            "owner" => letter.is_ascii_alphanumeric() || "-_".contains(letter),
            _ => letter.is_ascii_digit() || (letter.is_ascii_lowercase() && !"ilou".contains(letter)),
        };
        for seed in 0..200_u8 {
            let video = VideoId::new(u64::from(seed) << 40, [seed; 10]).to_string();
            assert!(video.len() == 26 && video.as_bytes()[0] <= b'7', "{video}");
            assert!(video.chars().all(|letter| letters("video", letter)), "{video}");
            let owner = Owner::new("i", &seed.to_string()).to_string();
            assert!(owner.len() == 22 && owner.ends_with(['A', 'Q', 'g', 'w']), "{owner}");
            assert!(owner.chars().all(|letter| letters("owner", letter)), "{owner}");
        }
        assert!(
            schema_pattern::<VideoId>().ends_with("{25}$") && schema_pattern::<Owner>().contains("[AQgw]")
        );
    }
}
