//! Computes the pages of a listing. Pure: ordered keys in, a page out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The maximum number of entries per page, <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>.
pub(crate) const MAX_KEYS: usize = 1000;

/// The parameters of a listing.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery<'a> {
    pub(crate) prefix: &'a str,
    /// Keys are rolled up to this text after the prefix; empty: not rolled up.
    pub(crate) delimiter: &'a str,
    pub(crate) after: ListAfter<'a>,
    pub(crate) max_keys: usize,
}

/// The start of the page.
#[derive(Debug, Clone, Default)]
pub(crate) enum ListAfter<'a> {
    #[default]
    Start,
    /// After this key, `start-after`.
    Key(&'a str),
    /// After the last entry of the previous page: a key, or a common prefix with all keys below it.
    Entry(&'a str),
}

/// A page: keys with their values and common prefixes, each in the order of UTF-8 bytes.
#[derive(Debug)]
pub(crate) struct ListingPage<'a, T> {
    pub(crate) entries: Vec<(&'a str, &'a T)>,
    pub(crate) prefixes: Vec<String>,
    /// The last entry, if more entries follow.
    pub(crate) next: Option<String>,
}

impl<T> ListingPage<'_, T> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.prefixes.len()
    }
}

/// The page of an ordered map.
pub(crate) fn list_page<'a, T>(
    objects: &'a BTreeMap<String, T>,
    query: &ListQuery<'_>,
) -> ListingPage<'a, T> {
    let limit = query.max_keys.min(MAX_KEYS);
    let mut page = ListingPage { entries: Vec::new(), prefixes: Vec::new(), next: None };
    if limit == 0 {
        return page;
    }
    let (mut skipped, after) = match query.after {
        ListAfter::Start => (None, ""),
        ListAfter::Key(key) => (None, key),
        ListAfter::Entry(entry) => {
            let is_common_prefix = !query.delimiter.is_empty()
                && entry.strip_prefix(query.prefix).is_some_and(|rest| rest.ends_with(query.delimiter));
            (is_common_prefix.then(|| entry.to_owned()), entry)
        }
    };
    // No key is empty, so excluding the empty text skips nothing.
    let from = if after < query.prefix { Bound::Included(query.prefix) } else { Bound::Excluded(after) };
    let mut last = None;
    for (key, value) in objects.range::<str, _>((from, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(query.prefix) else { break };
        if skipped.as_deref().is_some_and(|prefix| key.starts_with(prefix)) {
            continue;
        }
        if page.len() == limit {
            page.next = last;
            return page;
        }
        let delimiter_index = if query.delimiter.is_empty() { None } else { rest.find(query.delimiter) };
        if let Some(at) = delimiter_index {
            let prefix = &key[..query.prefix.len() + at + query.delimiter.len()];
            page.prefixes.push(prefix.to_owned());
            skipped = Some(prefix.to_owned());
            last = Some(prefix.to_owned());
        } else {
            page.entries.push((key, value));
            last = Some(key.clone());
        }
    }
    page
}

/// The characters that S3 does not escape in its form encoding of keys: Java's `URLEncoder` and the slash.
const KEY_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// A key as in listings with `encoding-type=url` and in events: `+` for a space, `%XX` for other characters.
pub(crate) fn form_encode(key: &str) -> String {
    let text: Cow<'_, str> = utf8_percent_encode(key, KEY_ESCAPES).into();
    text.replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects(keys: &[&str]) -> BTreeMap<String, u8> {
        keys.iter().map(|key| ((*key).to_owned(), 0)).collect()
    }

    #[track_caller]
    fn check(query: &ListQuery<'_>, entries: &[&str], prefixes: &[&str], next: Option<&str>) {
        let all = objects(&["a", "b/", "b/1", "b/2", "b//3", "c", "x", "x/y", "é", "\u{ffff}", "\u{10000}"]);
        let page = list_page(&all, query);
        let found: Vec<_> = page.entries.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, entries, "{query:?}");
        assert_eq!(page.prefixes, prefixes, "{query:?}");
        assert_eq!(page.next.as_deref(), next, "{query:?}");
    }

    #[test]
    fn lists_in_byte_order() {
        let q = ListQuery { max_keys: 1000, ..ListQuery::default() };
        let all = ["a", "b/", "b//3", "b/1", "b/2", "c", "x", "x/y", "é", "\u{ffff}", "\u{10000}"];
        check(&q, &all, &[], None);
        check(&ListQuery { max_keys: 0, ..q.clone() }, &[], &[], None);
        check(&ListQuery { max_keys: 2, ..q.clone() }, &["a", "b/"], &[], Some("b/"));
        check(&ListQuery { prefix: "b/", ..q.clone() }, &["b/", "b//3", "b/1", "b/2"], &[], None);
        check(
            &ListQuery { prefix: "b/", delimiter: "/", ..q.clone() },
            &["b/", "b/1", "b/2"],
            &["b//"],
            None,
        );
        check(
            &ListQuery { delimiter: "/", ..q.clone() },
            &["a", "c", "x", "é", "\u{ffff}", "\u{10000}"],
            &["b/", "x/"],
            None,
        );
        check(&ListQuery { delimiter: "/", max_keys: 2, ..q.clone() }, &["a"], &["b/"], Some("b/"));
        check(
            &ListQuery { delimiter: "/", max_keys: 2, after: ListAfter::Entry("b/"), ..q.clone() },
            &["c", "x"],
            &[],
            Some("x"),
        );
        check(
            &ListQuery { after: ListAfter::Key("x"), ..q.clone() },
            &["x/y", "é", "\u{ffff}", "\u{10000}"],
            &[],
            None,
        );
        check(&ListQuery { prefix: "b", after: ListAfter::Key("a"), ..q.clone() }, &all[1..5], &[], None);
        check(&ListQuery { prefix: "zz", ..q }, &[], &[], None);
    }

    #[test]
    fn form_encodes_keys() {
        for (key, expected) in [
            ("uploads/a b+c", "uploads/a+b%2Bc"),
            ("é~*", "%C3%A9%7E*"),
            ("a//b", "a//b"),
            ("100%.mp4", "100%25.mp4"),
        ] {
            assert_eq!(form_encode(key), expected);
        }
    }

    proptest! {
        #[test]
        fn paging_returns_every_key_once(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in "/?",
            size in 1_usize..5,
        ) {
            let all: BTreeMap<String, u8> = keys.into_iter().map(|key| (key, 0)).collect();
            let whole = list_page(&all, &ListQuery {
                prefix: &prefix, delimiter: &delimiter, max_keys: MAX_KEYS, after: ListAfter::Start,
            });
            let mut walked = Vec::new();
            let mut next: Option<String> = None;
            loop {
                let after = next.as_deref().map_or(ListAfter::Start, ListAfter::Entry);
                let part = list_page(&all, &ListQuery { prefix: &prefix, delimiter: &delimiter, max_keys: size, after });
                walked.extend(part.entries.iter().map(|(key, _)| (*key).to_owned()));
                walked.extend(part.prefixes);
                next = part.next;
                if next.is_none() { break; }
            }
            let mut expected: Vec<_> = whole.entries.iter().map(|(key, _)| (*key).to_owned()).collect();
            expected.extend(whole.prefixes);
            walked.sort();
            expected.sort();
            prop_assert_eq!(walked, expected);
        }
    }
}
