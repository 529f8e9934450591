//! Parses the `Content-Disposition` header of a form part, in every encoding of names that clients use. Pure.
//!
//! Browsers percent-encode quotes and line breaks (WHATWG), other clients every special character (RFC 7578, section
//! 2); older HTTP libraries send `filename*` (RFC 8187), and .NET a MIME encoded word (RFC 2047).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::http::query;

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parameters of a part's `Content-Disposition`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContentDisposition {
    /// The field's name; empty if it has none.
    pub(super) name: String,
    /// The file's name, if the part is a file; it may be empty.
    pub(super) file_name: Option<String>,
}

impl ContentDisposition {
    /// Parses the header's value.
    pub(super) fn parse(value: &str) -> Self {
        let get = |name| header_parameter(value, name);
        let name = get("name*")
            .and_then(|text| decode_extended_value(&text))
            .or_else(|| get("name"))
            .unwrap_or_default();
        let file_name = get("filename*").and_then(|text| decode_extended_value(&text)).or_else(|| {
            get("filename")
                .map(|text| decode_encoded_words(&text).unwrap_or_else(|| decode_percent_encoded(&text)))
        });
        // A name in an unknown encoding still marks the part as a file.
        Self { name, file_name: file_name.or_else(|| get("filename*")) }
    }
}

/// Decodes the bytes of a header or a field: as UTF-8, or else as Latin-1, which accepts all bytes.
pub(super) fn decode_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => decode_latin1(bytes),
    }
}

fn decode_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The first parameter of that name in a header's value, without quotes.
pub(super) fn header_parameter(value: &str, wanted: &str) -> Option<String> {
    let (_, mut rest) = value.split_once(';')?;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (text, next) = split_parameter_value(after.trim_start());
        // Text without a value is not a parameter: the name follows it.
        let name = name.rsplit(';').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = next;
    }
}

/// A value that may be quoted, and the rest of the text.
fn split_parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[place + 1..]),
            // Other backslashes belong to a path, which old browsers send.
            '\\' => match characters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            _ => value.push(character),
        }
    }
    (value, "")
}

/// RFC 8187: `UTF-8'en'Ski%20trip.mp4`.
fn decode_extended_value(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_, value) = rest.split_once('\'')?;
    decode_charset(charset, &query::decode_bytes(value))
}

/// Decodes text of one of the supported charsets.
fn decode_charset(charset: &str, bytes: &[u8]) -> Option<String> {
    match charset.trim().to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" => Some(String::from_utf8_lossy(bytes).into_owned()),
        "iso-8859-1" | "latin1" | "windows-1252" => Some(decode_latin1(bytes)),
        _ => None,
    }
}

/// RFC 2047: `=?utf-8?B?U2tp?=`, one or more encoded words; `None` if none can be decoded.
fn decode_encoded_words(text: &str) -> Option<String> {
    let mut whole = String::new();
    // Adjacent words are joined before they are decoded: some clients split within a character.
    let mut pending: Option<(&str, Vec<u8>)> = None;
    let mut rest = text;
    let mut has_words = false;
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        let (charset, bytes, after) = parse_encoded_word(word)?;
        has_words = true;
        let is_neighbor = before.trim().is_empty();
        match &mut pending {
            Some((pending_charset, all)) if is_neighbor && pending_charset.eq_ignore_ascii_case(charset) => {
                all.extend(bytes);
            }
            _ => {
                if let Some((charset, bytes)) = pending.take() {
                    whole += &decode_charset(charset, &bytes)?;
                }
                if !is_neighbor {
                    whole += before;
                }
                pending = Some((charset, bytes));
            }
        }
        rest = after;
    }
    if let Some((charset, bytes)) = pending {
        whole += &decode_charset(charset, &bytes)?;
    }
    has_words.then(|| whole + rest)
}

/// An encoded word at the beginning of a text: its charset, its bytes, and the rest.
fn parse_encoded_word(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let mut parts = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (content, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(content).ok()?,
        "Q" | "q" => query::decode_bytes(&content.replace('%', "=25").replace('_', "=20").replace('=', "%")),
        _ => return None,
    };
    // RFC 2231 allows a language after the charset.
    let charset = charset.split('*').next().unwrap_or_default();
    Some((charset, bytes, after))
}

/// A name whose special characters are percent-encoded: all of them, or those that WHATWG's forms encode.
fn decode_percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let all_escapes = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().iter().take(2);
        rest.len() >= 2 && digits.clone().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    });
    if text.contains('%') && all_escapes && text.bytes().all(is_plain) {
        // No character is left that the client would have encoded: it encodes whole names.
        if let Some(name) = query::decode(text) {
            return name;
        }
    }
    text.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(parameters: &str, expected: Option<&str>) {
        let disposition = ContentDisposition::parse(&format!("form-data; name=\"file\"{parameters}"));
        assert_eq!(disposition.name, "file", "{parameters}");
        assert_eq!(disposition.file_name.as_deref(), expected, "{parameters}");
    }

    #[test]
    fn parses_file_names_of_common_clients() {
        check("", None);
        check("; filename=\"\"", Some(""));
        check("; filename=clip.mp4", Some("clip.mp4"));
        check(";FILENAME = \"Ski trip.mp4\" ", Some("Ski trip.mp4"));
        check("; filename=\"a;b=c.mp4\"; x=y", Some("a;b=c.mp4"));
        // curl escapes quotes by backslashes; old browsers send a path.
        check(r#"; filename="a\"b\\c.mp4""#, Some(r#"a"b\c.mp4"#));
        check(r#"; filename="C:\dir\clip.mp4""#, Some(r"C:\dir\clip.mp4"));
        check("; filename=\"Ski tr\u{ed}p.mp4\"", Some("Ski tr\u{ed}p.mp4"));
        check("; filename=\"not closed.mp4", Some("not closed.mp4"));
    }

    #[test]
    fn prefers_extended_file_name() {
        check("; filename*=UTF-8''Ski%20tr%C3%ADp.mp4", Some("Ski tr\u{ed}p.mp4"));
        check("; filename*=utf-8'en'%e2%82%ac.mp4; filename=\"_.mp4\"", Some("\u{20ac}.mp4"));
        check("; filename=\"_.mp4\"; filename*=\"utf-8''a%2Fb.mp4\"", Some("a/b.mp4"));
        check("; filename*=iso-8859-1''tr%EDp.mp4", Some("tr\u{ed}p.mp4"));
        // An undecodable name hides neither the other name nor that the part is a file.
        check("; filename*=koi8-r''%C1.mp4; filename=a.mp4", Some("a.mp4"));
        check("; filename*=a.mp4", Some("a.mp4"));
        let named = ContentDisposition::parse("form-data; name*=utf-8''metadata");
        assert_eq!(named, ContentDisposition { name: "metadata".into(), file_name: None });
    }

    #[test]
    fn decodes_encoded_words() {
        check("; filename=\"=?utf-8?B?U2tpIHRyw61wLm1wNA==?=\"", Some("Ski tr\u{ed}p.mp4"));
        check("; filename=\"=?UTF-8?Q?Ski_tr=C3=ADp_100%.mp4?=\"", Some("Ski tr\u{ed}p 100%.mp4"));
        check("; filename=\"=?iso-8859-1*de?q?tr=EDp?=.mp4\"", Some("tr\u{ed}p.mp4"));
        // A character that is split in two, and spaces between words, which are not part of the name.
        check("; filename=\"=?utf-8?B?w60=?= =?utf-8?B?w6w=?=.mp4\"", Some("\u{ed}\u{ec}.mp4"));
        check("; filename=\"=?utf-8?B?ww==?= =?utf-8?B?rQ==?=.mp4\"", Some("\u{ed}.mp4"));
        for plain in ["=?x.mp4", "=?utf-8?B?!?=", "=?utf-8?X?a?=", "=?koi8-r?B?wQ==?=", "a=?b"] {
            check(&format!("; filename=\"{plain}\""), Some(plain));
        }
    }

    #[test]
    fn decodes_only_valid_percent_encoding() {
        check("; filename=\"a%22b%0D%0A c.mp4\"", Some("a\"b\r\n c.mp4"));
        check("; filename=\"Ski%20tr%C3%ADp%2525.mp4\"", Some("Ski tr\u{ed}p%25.mp4"));
        for plain in ["100%.mp4", "100% a%20b.mp4", "a%2.mp4", "a%zz.mp4", "a%e9.mp4", "a%E9.mp4"] {
            check(&format!("; filename=\"{plain}\""), Some(plain));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "([;=\"\\\\*'%? ]|=\\?utf-8\\?[BQ]\\?|\\?=|filename|name|[a-f0-9\u{e9}]){0,40}") {
            let _ = ContentDisposition::parse(&text);
            let _ = header_parameter(&text, "boundary");
            let _ = decode_encoded_words(&text);
        }
    }
}
