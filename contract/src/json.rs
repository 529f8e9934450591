//! Decides how JSON is read and written where every byte of code counts: as one tree. Documents that something is decided
//! by are read strictly, requests of clients as leniently as JSON allows.
//!
//! The Worker's limit is its size, and each struct that serde derives for it costs two to four kilobytes; the tree costs
//! as much once. Fractions are read and never written, since writing them takes tables of ten kilobytes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most members of one object that are read: names are compared one by one, and no document here has as many.
const MAX_MEMBERS: usize = 256;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Json {
    /// `null`, and what is not there.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without sign or fraction, however it is written: `3`, `3.0` or `3e0`.
    Whole(u64),
    /// Any other number. It is written as `null`.
    Fraction(f64),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object: its members in their order, no name twice unless it was read leniently.
    Object(Vec<(String, Json)>),
}

/// A member that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongMember {
    /// The member's name.
    pub name: &'static str,
    /// What it should be.
    pub should: &'static str,
}

impl fmt::Display for WrongMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in ["`", self.name, "` must be ", self.should] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// An object, written out: `object! { "id" => id, "bytes" => 5 }`.
#[macro_export]
macro_rules! object {
    ($($name:literal => $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "an empty object is put together too")]
        let mut object = $crate::Json::Object(::std::vec::Vec::new());
        $(object.put($name, $crate::Json::from($value));)*
        object
    }};
}

impl Json {
    /// Reads a document. `None` if it is none, or an object in it has a name twice or more than 256 members.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Reads the body of a request, as other readers of JSON do: of members with one name the last counts, an object may
    /// have any number of members, a byte order mark is left out, and half of a surrogate pair becomes U+FFFD. `None` if
    /// it is no document.
    pub fn read_lenient(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut text = text.to_vec();
        replace_lone_surrogates(&mut text);
        let mut deserializer = serde_json::Deserializer::from_slice(&text);
        let json = Tree { is_strict: false }.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(json)
    }

    /// The member of that name of an object; `Null` if there is none, or this is no object.
    pub fn get(&self, name: &str) -> &Self {
        static NULL: Json = Json::Null;
        self.members().iter().rev().find(|(known, _)| known == name).map_or(&NULL, |(_, value)| value)
    }

    /// Adds a member to an object that does not have it yet.
    pub fn put(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[(String, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it has neither sign nor fraction.
    pub fn whole(&self) -> Option<u64> {
        if let Self::Whole(number) = self { Some(*number) } else { None }
    }

    /// The array, if this is one.
    pub fn list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// A member that may be absent or `null`, but is otherwise a text.
    pub fn text_if(&self, name: &'static str) -> Result<Option<String>, WrongMember> {
        match self.get(name) {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text.clone())),
            _ => Err(WrongMember { name, should: "a text" }),
        }
    }

    /// A member that must be a text.
    pub fn text_at(&self, name: &'static str) -> Result<String, WrongMember> {
        self.text_if(name)?.ok_or(WrongMember { name, should: "a text" })
    }

    /// A member that may be absent or `null`, but is otherwise a whole number.
    pub fn whole_if(&self, name: &'static str) -> Result<Option<u64>, WrongMember> {
        match self.get(name) {
            Self::Null => Ok(None),
            Self::Whole(number) => Ok(Some(*number)),
            _ => Err(WrongMember { name, should: "a whole number, and not negative" }),
        }
    }

    /// A member that must be a whole number.
    pub fn whole_at(&self, name: &'static str) -> Result<u64, WrongMember> {
        self.whole_if(name)?.ok_or(WrongMember { name, should: "a whole number, and not negative" })
    }

    /// A member that may be absent or `null`, but is otherwise an array of texts.
    pub fn texts_if(&self, name: &'static str) -> Result<Option<Vec<String>>, WrongMember> {
        let wrong = WrongMember { name, should: "an array of texts" };
        let list = match self.get(name) {
            Self::Null => return Ok(None),
            found => found.list().ok_or(wrong)?,
        };
        let mut texts = Vec::with_capacity(list.len());
        for item in list {
            texts.push(item.text().ok_or(wrong)?.to_owned());
        }
        Ok(Some(texts))
    }

    /// The object as texts by their names; `None` if this is no object of texts.
    pub fn text_map(&self) -> Option<BTreeMap<String, String>> {
        if !self.is_object() {
            return None;
        }
        let mut map = BTreeMap::new();
        for (name, value) in self.members() {
            map.insert(name.clone(), value.text()?.to_owned());
        }
        Some(map)
    }

    /// The first member whose name is none of these: where a slip in a name must not pass for silence.
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
    u16 => |value| Self::Whole(value.into());
    u32 => |value| Self::Whole(value.into());
    u64 => |value| Self::Whole(value);
    usize => |value| Self::Whole(value as u64);
    String => |value| Self::Text(value);
    &String => |value| Self::Text(value.clone());
    &str => |value| Self::Text(value.to_owned());
    Vec<Json> => |value| Self::List(value);
    crate::VideoId => |value| Self::Text(value.to_string());
    crate::TraceId => |value| Self::Text(value.to_string());
    &crate::Owner => |value| Self::Text(value.to_string());
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
            Self::Null | Self::Fraction(_) => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
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
        Tree { is_strict: true }.deserialize(deserializer)
    }
}

/// Replaces `\ud800` to `\udfff` by `\ufffd` wherever it is not one of a pair: JSON allows it, and no text can hold it.
fn replace_lone_surrogates(text: &mut [u8]) {
    let unit = |text: &[u8], at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            at += 1;
            continue;
        }
        match (unit(text, at), unit(text, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                text[at + 2..at + 6].copy_from_slice(b"fffd");
                at += 6;
            }
            // Also the second character of an escape such as `\\`, which begins none.
            _ => at += 2,
        }
    }
}

/// The largest whole number up to which every one has a double of its own: 2 to the power of 53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Copy)]
struct Tree {
    is_strict: bool,
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
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
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Fraction(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        let is_whole = (0.0..=MAX_EXACT).contains(&number) && number.fract() == 0.0;
        Ok(if is_whole { Json::Whole(number as u64) } else { Json::Fraction(number) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let is_refused =
                || members.len() == MAX_MEMBERS || members.iter().any(|(known, _)| *known == name);
            if self.is_strict && is_refused() {
                return Err(A::Error::custom("a name comes twice, or too many names"));
            }
            members.push((name, map.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name: like `String`, without the messages about what else it might have been.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(name) => Ok(Self(name)),
            _ => Err(D::Error::custom("no name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_survives() {
        let text = r#"{"a":[1,true,null,"é\"\\\n"],"b":{"c":18446744073709551615},"d":{}}"#;
        let json = Json::read(text.as_bytes()).unwrap();
        assert_eq!(json.to_string(), text);
        assert_eq!(json.get("b").get("c").whole(), Some(u64::MAX));
        assert_eq!(json.get("nothing").get("at all"), &Json::Null);
        assert_eq!(
            object! { "a" => vec![Json::from(1_u64)], "b" => None::<bool>, "c" => "d" }.to_string(),
            r#"{"a":[1],"b":null,"c":"d"}"#
        );
    }

    #[test]
    fn what_is_ambiguous_or_no_document_is_refused() {
        let wide = |members: usize| {
            let members: Vec<_> = (0..members).map(|place| format!("\"{place}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(Json::read(wide(MAX_MEMBERS).as_bytes()).unwrap().members().len(), MAX_MEMBERS);
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let (wide, twice) = (wide(MAX_MEMBERS + 1), r#"{"a":1,"b":{"c":1,"c":1}}"#);
        for text in ["", "{", "{}x", "{a:1}", "{1:2}", "'a'", "01", twice, &wide, &deep] {
            assert_eq!(Json::read(text.as_bytes()), None, "{text:.40}");
        }
        assert_eq!(Json::read(b"\"\xff\""), None, "no UTF-8");
    }

    #[test]
    fn a_request_is_read_as_leniently_as_json_allows() {
        let read = |text: &str| Json::read_lenient(text.as_bytes()).unwrap_or_else(|| panic!("{text:.60}"));
        assert_eq!(read("\u{feff}{\"a\":1}").get("a").whole(), Some(1));
        let twice = read(r#"{"a":1,"b":{"c":1,"c":2},"a":3}"#);
        assert_eq!((twice.get("a").whole(), twice.get("b").get("c").whole()), (Some(3), Some(2)));
        assert_eq!(read(r#"{"a":"x","a":"y"}"#).text_map().unwrap()["a"], "y");
        let wide: Vec<_> = (0..5_000).map(|place| format!("\"{place}\":1")).collect();
        assert_eq!(read(&format!("{{{}}}", wide.join(","))).members().len(), 5_000);
        for (text, expected) in [
            (r#""\ud83d.mp4""#, "\u{fffd}.mp4"),
            (r#""a\uDFFFb""#, "a\u{fffd}b"),
            (r#""\ud83c\udfbf \ud83c\ud83c\udfbf""#, "\u{1f3bf} \u{fffd}\u{1f3bf}"),
            (r#""\ud83c\n\\ud83c""#, "\u{fffd}\n\\ud83c"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
        ] {
            assert_eq!(read(text).text(), Some(expected), "{text}");
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
            assert_eq!(Json::read_lenient(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::read_lenient(b"\"\xff\""), None, "no UTF-8");
        assert_eq!(Json::read(br#""\ud800""#), None, "two texts must not become one where it matters");
        assert_eq!(Json::read("\u{feff}1".as_bytes()), None);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let whole = |text: &str| Json::read(text.as_bytes()).unwrap().whole();
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
        assert_eq!(Json::read(b"3.0").unwrap().to_string(), "3");
    }

    #[test]
    fn a_member_of_another_type_is_no_absent_one() {
        let json =
            Json::read(br#"{"text":"a","number":5,"no":null,"less":-1,"part":1.5,"list":["a",1]}"#).unwrap();
        assert_eq!(json.text_if("text"), Ok(Some("a".into())));
        assert_eq!((json.text_if("no"), json.text_if("none")), (Ok(None), Ok(None)));
        assert_eq!(json.whole_if("number"), Ok(Some(5)));
        for name in ["text", "less", "part", "list"] {
            assert_eq!(json.whole_if(name).unwrap_err().name, name);
        }
        assert_eq!(json.text_at("no").unwrap_err().to_string(), "`no` must be a text");
        assert!(
            json.text_if("number").is_err() && json.texts_if("list").is_err() && json.whole_at("no").is_err()
        );
        assert_eq!(json.unknown_member(&["text", "number", "no"]), Some("less"));
        assert_eq!(json.text_map(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in "\\PC{0,60}|[\\[\\]{}:,\"0-9eE.+-]{0,60}") {
            let strict = Json::read(text.as_bytes());
            let request = Json::read_lenient(text.as_bytes());
            prop_assert!(strict.is_none() || request == strict);
            let lenient = serde_json::from_str::<serde_json::Value>(&text).ok();
            // Whatever is read here, others read too; what is written is read again.
            prop_assert!(strict.is_none() || lenient.is_some());
            if let Some(json) = strict {
                prop_assert!(Json::read(json.to_string().as_bytes()).is_some());
            }
        }

        #[test]
        fn any_text_is_written_so_that_it_is_read_again(text: String) {
            let json = object! { "a" => &text };
            let again: serde_json::Value = serde_json::from_str(&json.to_string()).unwrap();
            prop_assert_eq!(again["a"].as_str(), Some(text.as_str()));
        }
    }
}
