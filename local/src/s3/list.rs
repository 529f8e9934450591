//! Decides what a page of a listing holds. Pure: ordered keys in, a page out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The most entries of one page, <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>.
pub(crate) const MAX_KEYS: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Keys are rolled up to this text after the prefix; empty: not at all.
    pub(crate) delimiter: &'a str,
    pub(crate) after: After<'a>,
    pub(crate) max_keys: usize,
}

/// Where the page begins.
#[derive(Debug, Clone, Default)]
pub(crate) enum After<'a> {
    #[default]
    Start,
    /// Behind this key, `start-after`.
    Key(&'a str),
    /// Behind the last entry of the page before, a key or a common prefix with all that lies under it.
    Entry(&'a str),
}

/// A page: keys with their values and common prefixes, each in the order of UTF-8 bytes.
#[derive(Debug)]
pub(crate) struct Page<'a, T> {
    pub(crate) entries: Vec<(&'a str, &'a T)>,
    pub(crate) prefixes: Vec<String>,
    /// The last entry, if there is more behind it.
    pub(crate) next: Option<String>,
}

impl<T> Page<'_, T> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.prefixes.len()
    }
}

/// The page of an ordered map.
pub(crate) fn page<'a, T>(objects: &'a BTreeMap<String, T>, query: &Query<'_>) -> Page<'a, T> {
    let limit = query.max_keys.min(MAX_KEYS);
    let mut page = Page { entries: Vec::new(), prefixes: Vec::new(), next: None };
    if limit == 0 {
        return page;
    }
    let (mut skipped, after) = match query.after {
        After::Start => (None, ""),
        After::Key(key) => (None, key),
        After::Entry(entry) => {
            let rolled = !query.delimiter.is_empty()
                && entry.strip_prefix(query.prefix).is_some_and(|rest| rest.ends_with(query.delimiter));
            (rolled.then(|| entry.to_owned()), entry)
        }
    };
    // An empty text is no key, so that excluding it leaves nothing out.
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
        let cut = if query.delimiter.is_empty() { None } else { rest.find(query.delimiter) };
        if let Some(at) = cut {
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

/// What S3 leaves alone when it encodes a key in a form's way: Java's `URLEncoder` and the slash.
const KEY_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// A key as listings with `encoding-type=url` and events spell it: `+` for a space, `%XX` for the rest.
pub(crate) fn form_encoded(key: &str) -> String {
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
    fn check(query: &Query<'_>, entries: &[&str], prefixes: &[&str], next: Option<&str>) {
        let all = objects(&["a", "b/", "b/1", "b/2", "b//3", "c", "x", "x/y", "é", "\u{ffff}", "\u{10000}"]);
        let page = page(&all, query);
        let found: Vec<_> = page.entries.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, entries, "{query:?}");
        assert_eq!(page.prefixes, prefixes, "{query:?}");
        assert_eq!(page.next.as_deref(), next, "{query:?}");
    }

    #[test]
    fn pages_are_in_the_order_of_bytes() {
        let q = Query { max_keys: 1000, ..Query::default() };
        let all = ["a", "b/", "b//3", "b/1", "b/2", "c", "x", "x/y", "é", "\u{ffff}", "\u{10000}"];
        check(&q, &all, &[], None);
        check(&Query { max_keys: 0, ..q.clone() }, &[], &[], None);
        check(&Query { max_keys: 2, ..q.clone() }, &["a", "b/"], &[], Some("b/"));
        check(&Query { prefix: "b/", ..q.clone() }, &["b/", "b//3", "b/1", "b/2"], &[], None);
        check(&Query { prefix: "b/", delimiter: "/", ..q.clone() }, &["b/", "b/1", "b/2"], &["b//"], None);
        check(
            &Query { delimiter: "/", ..q.clone() },
            &["a", "c", "x", "é", "\u{ffff}", "\u{10000}"],
            &["b/", "x/"],
            None,
        );
        check(&Query { delimiter: "/", max_keys: 2, ..q.clone() }, &["a"], &["b/"], Some("b/"));
        check(
            &Query { delimiter: "/", max_keys: 2, after: After::Entry("b/"), ..q.clone() },
            &["c", "x"],
            &[],
            Some("x"),
        );
        check(
            &Query { after: After::Key("x"), ..q.clone() },
            &["x/y", "é", "\u{ffff}", "\u{10000}"],
            &[],
            None,
        );
        check(&Query { prefix: "b", after: After::Key("a"), ..q.clone() }, &all[1..5], &[], None);
        check(&Query { prefix: "zz", ..q }, &[], &[], None);
    }

    #[test]
    fn keys_are_encoded_as_a_form_would() {
        for (key, expected) in [
            ("uploads/a b+c", "uploads/a+b%2Bc"),
            ("é~*", "%C3%A9%7E*"),
            ("a//b", "a//b"),
            ("100%.mp4", "100%25.mp4"),
        ] {
            assert_eq!(form_encoded(key), expected);
        }
    }

    proptest! {
        #[test]
        fn walking_the_pages_meets_every_key_once(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in "/?",
            size in 1_usize..5,
        ) {
            let all: BTreeMap<String, u8> = keys.into_iter().map(|key| (key, 0)).collect();
            let whole = page(&all, &Query {
                prefix: &prefix, delimiter: &delimiter, max_keys: MAX_KEYS, after: After::Start,
            });
            let mut walked = Vec::new();
            let mut next: Option<String> = None;
            loop {
                let after = next.as_deref().map_or(After::Start, After::Entry);
                let part = page(&all, &Query { prefix: &prefix, delimiter: &delimiter, max_keys: size, after });
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
