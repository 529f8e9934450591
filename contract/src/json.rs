//! JSON as a tree, with a small reader and writer for the Worker. Trusted documents such as tokens and manifests are
//! parsed strictly, request bodies as leniently as JSON allows.
//!
//! The Worker is limited in size. Each struct for which serde derives an implementation costs two to four kilobytes;
//! the tree costs as much once. Fractions are read but never written, because writing them needs tables of ten
//! kilobytes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum number of members of an object in a strict parse. Names are compared linearly, and no document here has as
/// many.
const MAX_MEMBERS: usize = 256;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Json {
    /// `null`, or an absent member.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without sign or fraction, in any notation: `3`, `3.0` or `3e0`.
    Integer(u64),
    /// Any other number. It is serialized as `null`.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: its members in order. Names are unique unless the object was parsed leniently.
    Object(Vec<(String, Json)>),
}

/// Error of a member that is missing or has the wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidMember {
    /// The member's name.
    pub name: &'static str,
    /// The expected type.
    pub expected: &'static str,
}

impl fmt::Display for InvalidMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in ["`", self.name, "` must be ", self.expected] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Builds an object: `object! { "id" => id, "bytes" => 5 }`.
#[macro_export]
macro_rules! object {
    ($($name:literal => $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "an empty object is not mutated")]
        let mut object = $crate::Json::Object(::std::vec::Vec::new());
        $(object.put($name, $crate::Json::from($value));)*
        object
    }};
}

impl Json {
    /// Parses a document strictly. Returns `None` if it is invalid, or if an object in it has a duplicate name or more
    /// than 256 members.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Parses a request body leniently, as other JSON parsers do: the last of several members with the same name wins,
    /// an object can have any number of members, a byte order mark is skipped, and a lone surrogate becomes U+FFFD.
    /// Returns `None` if the document is invalid.
    pub fn parse_lenient(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut text = text.to_vec();
        replace_lone_surrogates(&mut text);
        let mut deserializer = serde_json::Deserializer::from_slice(&text);
        let json = JsonVisitor { is_strict: false }.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(json)
    }

    /// The member with this name; `Null` if it does not exist or the value is not an object.
    pub fn get(&self, name: &str) -> &Self {
        static NULL: Json = Json::Null;
        self.members().iter().rev().find(|(known, _)| known == name).map_or(&NULL, |(_, value)| value)
    }

    /// Adds a member to an object. The name must not exist yet.
    pub fn put(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    /// The members of an object; empty for other values.
    pub fn members(&self) -> &[(String, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The string, if the value is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, if the value is one without sign and fraction.
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The array, if the value is one.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(list) = self { Some(list) } else { None }
    }

    /// An optional string: the member can be absent or `null`.
    pub fn get_opt_str(&self, name: &'static str) -> Result<Option<String>, InvalidMember> {
        match self.get(name) {
            Self::Null => Ok(None),
            Self::String(text) => Ok(Some(text.clone())),
            _ => Err(InvalidMember { name, expected: "a string" }),
        }
    }

    /// A required string.
    pub fn get_str(&self, name: &'static str) -> Result<String, InvalidMember> {
        self.get_opt_str(name)?.ok_or(InvalidMember { name, expected: "a string" })
    }

    /// An optional unsigned integer: the member can be absent or `null`.
    pub fn get_opt_u64(&self, name: &'static str) -> Result<Option<u64>, InvalidMember> {
        match self.get(name) {
            Self::Null => Ok(None),
            Self::Integer(number) => Ok(Some(*number)),
            _ => Err(InvalidMember { name, expected: "a non-negative integer" }),
        }
    }

    /// A required unsigned integer.
    pub fn get_u64(&self, name: &'static str) -> Result<u64, InvalidMember> {
        self.get_opt_u64(name)?.ok_or(InvalidMember { name, expected: "a non-negative integer" })
    }

    /// An optional array of strings: the member can be absent or `null`.
    pub fn get_opt_str_array(&self, name: &'static str) -> Result<Option<Vec<String>>, InvalidMember> {
        let invalid = InvalidMember { name, expected: "an array of strings" };
        let list = match self.get(name) {
            Self::Null => return Ok(None),
            value => value.as_array().ok_or(invalid)?,
        };
        let mut texts = Vec::with_capacity(list.len());
        for item in list {
            texts.push(item.as_str().ok_or(invalid)?.to_owned());
        }
        Ok(Some(texts))
    }

    /// The object as a map of strings; `None` if the value is not an object or a member is not a string.
    pub fn as_str_map(&self) -> Option<BTreeMap<String, String>> {
        if !self.is_object() {
            return None;
        }
        let mut map = BTreeMap::new();
        for (name, value) in self.members() {
            map.insert(name.clone(), value.as_str()?.to_owned());
        }
        Some(map)
    }

    /// The first member whose name is not in `known`, so that a misspelled name is reported instead of ignored.
    pub fn unknown_member(&self, known: &[&str]) -> Option<&str> {
        self.members().iter().map(|(name, _)| name.as_str()).find(|name| !known.contains(name))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $json:expr;)*) => {
        $(impl From<$from> for Json {
            fn from($value: $from) -> Self {
                $json
            }
        })*
    };
}
from! {
    bool => |value| Self::Bool(value);
    u16 => |value| Self::Integer(value.into());
    u32 => |value| Self::Integer(value.into());
    u64 => |value| Self::Integer(value);
    usize => |value| Self::Integer(value as u64);
    String => |value| Self::String(value);
    &String => |value| Self::String(value.clone());
    &str => |value| Self::String(value.to_owned());
    Vec<Json> => |value| Self::Array(value);
    crate::VideoId => |value| Self::String(value.to_string());
    crate::TraceId => |value| Self::String(value.to_string());
    &crate::Owner => |value| Self::String(value.to_string());
    &BTreeMap<String, String> => |map| {
        Self::Object(map.iter().map(|(name, value)| (name.clone(), value.into())).collect())
    };
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Float(_) => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_u64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for item in list {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonVisitor { is_strict: true }.deserialize(deserializer)
    }
}

/// Replaces lone surrogates (`\ud800` to `\udfff`) with `\ufffd`: JSON allows them, but a Rust string cannot hold them.
fn replace_lone_surrogates(text: &mut [u8]) {
    let unit = |text: &[u8], offset: usize| {
        let digits = text.get(offset..offset + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut offset = 0;
    while offset < text.len() {
        if text[offset] != b'\\' {
            offset += 1;
            continue;
        }
        match (unit(text, offset), unit(text, offset + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => offset += 12,
            (Some(0xd800..=0xdfff), _) => {
                text[offset + 2..offset + 6].copy_from_slice(b"fffd");
                offset += 6;
            }
            // Also skips the second character of an escape such as `\\`, which does not begin another escape.
            _ => offset += 2,
        }
    }
}

/// The integer up to which a double represents every integer exactly: 2 to the power of 53.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Copy)]
struct JsonVisitor {
    is_strict: bool,
}

impl<'de> DeserializeSeed<'de> for JsonVisitor {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Float(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        let is_whole = (0.0..=MAX_SAFE_INTEGER).contains(&number) && number.fract() == 0.0;
        Ok(if is_whole { Json::Integer(number as u64) } else { Json::Float(number) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(MemberName(name)) = map.next_key()? {
            let is_rejected =
                || members.len() == MAX_MEMBERS || members.iter().any(|(known, _)| *known == name);
            if self.is_strict && is_rejected() {
                return Err(A::Error::custom("duplicate member name or too many members"));
            }
            members.push((name, map.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name: like `String`, but without the code of serde's error messages.
struct MemberName(String);

impl<'de> Deserialize<'de> for MemberName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(name) => Ok(Self(name)),
            _ => Err(D::Error::custom("not a member name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn document_roundtrips() {
        let text = r#"{"a":[1,true,null,"é\"\\\n"],"b":{"c":18446744073709551615},"d":{}}"#;
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json.to_string(), text);
        assert_eq!(json.get("b").get("c").as_u64(), Some(u64::MAX));
        assert_eq!(json.get("nothing").get("at all"), &Json::Null);
        assert_eq!(
            object! { "a" => vec![Json::from(1_u64)], "b" => None::<bool>, "c" => "d" }.to_string(),
            r#"{"a":[1],"b":null,"c":"d"}"#
        );
    }

    #[test]
    fn rejects_ambiguous_or_invalid_documents() {
        let wide = |members: usize| {
            let members: Vec<_> = (0..members).map(|place| format!("\"{place}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(Json::parse(wide(MAX_MEMBERS).as_bytes()).unwrap().members().len(), MAX_MEMBERS);
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let (wide, twice) = (wide(MAX_MEMBERS + 1), r#"{"a":1,"b":{"c":1,"c":1}}"#);
        for text in ["", "{", "{}x", "{a:1}", "{1:2}", "'a'", "01", twice, &wide, &deep] {
            assert_eq!(Json::parse(text.as_bytes()), None, "{text:.40}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None, "invalid UTF-8");
    }

    #[test]
    fn lenient_parse_accepts_all_json() {
        let read = |text: &str| Json::parse_lenient(text.as_bytes()).unwrap_or_else(|| panic!("{text:.60}"));
        assert_eq!(read("\u{feff}{\"a\":1}").get("a").as_u64(), Some(1));
        let twice = read(r#"{"a":1,"b":{"c":1,"c":2},"a":3}"#);
        assert_eq!((twice.get("a").as_u64(), twice.get("b").get("c").as_u64()), (Some(3), Some(2)));
        assert_eq!(read(r#"{"a":"x","a":"y"}"#).as_str_map().unwrap()["a"], "y");
        let wide: Vec<_> = (0..5_000).map(|place| format!("\"{place}\":1")).collect();
        assert_eq!(read(&format!("{{{}}}", wide.join(","))).members().len(), 5_000);
        for (text, expected) in [
            (r#""\ud83d.mp4""#, "\u{fffd}.mp4"),
            (r#""a\uDFFFb""#, "a\u{fffd}b"),
            (r#""\ud83c\udfbf \ud83c\ud83c\udfbf""#, "\u{1f3bf} \u{fffd}\u{1f3bf}"),
            (r#""\ud83c\n\\ud83c""#, "\u{fffd}\n\\ud83c"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
        ] {
            assert_eq!(read(text).as_str(), Some(expected), "{text}");
        }
        for text in [
            "",
            "{",
            "{}x",
            "{a:1}",
            "\"\\ud8\"",
            "\"\\ud800",
            "01",
            "'a'",
            "\u{feff}\u{feff}1",
            "\"\\",
            "\"\\u",
        ] {
            assert_eq!(Json::parse_lenient(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::parse_lenient(b"\"\xff\""), None, "invalid UTF-8");
        assert_eq!(
            Json::parse(br#""\ud800""#),
            None,
            "distinct strings must stay distinct in a strict parse"
        );
        assert_eq!(Json::parse("\u{feff}1".as_bytes()), None);
    }

    #[test]
    fn integer_may_have_fraction_or_exponent() {
        let whole = |text: &str| Json::parse(text.as_bytes()).unwrap().as_u64();
        for (text, number) in [
            ("3.0", Some(3)),
            ("3e2", Some(300)),
            ("-0.0", Some(0)),
            ("-0", Some(0)),
            ("9007199254740992.0", Some(9_007_199_254_740_992)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("3.5", None),
            ("-3.0", None),
            ("-3", None),
            ("1e300", None),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
        assert_eq!(Json::parse(b"3.0").unwrap().to_string(), "3");
    }

    #[test]
    fn wrong_type_is_not_absent() {
        let json =
            Json::parse(br#"{"text":"a","number":5,"no":null,"less":-1,"part":1.5,"list":["a",1]}"#).unwrap();
        assert_eq!(json.get_opt_str("text"), Ok(Some("a".into())));
        assert_eq!((json.get_opt_str("no"), json.get_opt_str("none")), (Ok(None), Ok(None)));
        assert_eq!(json.get_opt_u64("number"), Ok(Some(5)));
        for name in ["text", "less", "part", "list"] {
            assert_eq!(json.get_opt_u64(name).unwrap_err().name, name);
        }
        assert_eq!(json.get_str("no").unwrap_err().to_string(), "`no` must be a string");
        assert!(
            json.get_opt_str("number").is_err()
                && json.get_opt_str_array("list").is_err()
                && json.get_u64("no").is_err()
        );
        assert_eq!(json.unknown_member(&["text", "number", "no"]), Some("less"));
        assert_eq!(json.as_str_map(), None);
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "\\PC{0,60}|[\\[\\]{}:,\"0-9eE.+-]{0,60}") {
            let strict = Json::parse(text.as_bytes());
            let request = Json::parse_lenient(text.as_bytes());
            prop_assert!(strict.is_none() || request == strict);
            let lenient = serde_json::from_str::<serde_json::Value>(&text).ok();
            // serde_json accepts every accepted document, and the output can be parsed again.
            prop_assert!(strict.is_none() || lenient.is_some());
            if let Some(json) = strict {
                prop_assert!(Json::parse(json.to_string().as_bytes()).is_some());
            }
        }

        #[test]
        fn string_roundtrips(text: String) {
            let json = object! { "a" => &text };
            let again: serde_json::Value = serde_json::from_str(&json.to_string()).unwrap();
            prop_assert_eq!(again["a"].as_str(), Some(text.as_str()));
        }
    }
}
