//! The query string of a URL: its pairs as they were sent, and the decoders of their values. Pure.
//!
//! How strict a query is, its reader decides: the query of an image has one spelling and is compared as it was sent;
//! forms and links of other software are decoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A query string, without its `?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(pub &'a str);

/// A pair of a query, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryPair<'a> {
    /// The whole pair.
    pub text: &'a str,
    /// The name.
    pub name: &'a str,
    /// The value; `None` without `=`.
    pub value: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// The pairs that are not empty.
    pub fn pairs(self) -> impl Iterator<Item = QueryPair<'a>> {
        self.0.split('&').filter(|text| !text.is_empty()).map(|text| match text.split_once('=') {
            Some((name, value)) => QueryPair { text, name, value: Some(value) },
            None => QueryPair { text, name: text, value: None },
        })
    }

    /// The first value of a name, both as they were sent.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.pairs().filter(|pair| pair.name == name).find_map(|pair| pair.value)
    }

    /// The first value of a name in a query that is encoded as a form.
    pub fn get_form(self, name: &str) -> Option<String> {
        self.pairs()
            .filter(|pair| decode_form(pair.name) == name)
            .find_map(|pair| pair.value)
            .map(decode_form)
    }
}

impl<'a> QueryPair<'a> {
    /// The value; empty without `=`.
    pub fn value_or_empty(self) -> &'a str {
        self.value.unwrap_or_default()
    }
}

/// Decodes `%XX`; `None` if the result is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// Decodes `%XX`, whatever the result is.
pub fn decode_bytes(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Decodes `%XX`, and replaces what is not UTF-8.
pub fn decode_lossy(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Decodes a name or value of a form, in which `+` is a space, and replaces what is not UTF-8.
pub fn decode_form(text: &str) -> String {
    decode_lossy(&replace_plus(text))
}

/// The text with spaces for `+`, as a form encodes them.
pub fn replace_plus(text: &str) -> String {
    text.replace('+', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_pairs_verbatim() {
        let pair = |text, name, value| QueryPair { text, name, value };
        let pairs: Vec<_> = Query("a=1&&b&=c&d=e=%20+").pairs().collect();
        assert_eq!(
            pairs,
            [
                pair("a=1", "a", Some("1")),
                pair("b", "b", None),
                pair("=c", "", Some("c")),
                pair("d=e=%20+", "d", Some("e=%20+")),
            ]
        );
        assert_eq!(Query("").pairs().count(), 0);
    }

    #[test]
    fn finds_first_value() {
        let query = Query("a&a=1&a=2&%61b=x+y%2B");
        assert_eq!((query.get("a"), query.get("b"), query.get("ab")), (Some("1"), None, None));
        assert_eq!((query.get_form("a"), query.get_form("ab")), (Some("1".into()), Some("x y+".into())));
    }

    #[test]
    fn decoders_differ_in_strictness() {
        assert_eq!(
            (decode("a+%20%2B"), decode("%ff"), decode("100%")),
            (Some("a+ +".into()), None, Some("100%".into()))
        );
        assert_eq!((decode_lossy("+%ff"), decode_form("+%ff")), ("+\u{fffd}".into(), " \u{fffd}".into()));
        assert_eq!(decode_bytes("%ff"), [0xff]);
    }
}
