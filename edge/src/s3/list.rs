//! S3 list requests of the edge: the sources of an owner, the reservations of a token, the images of a video. Pure.

use std::collections::BTreeMap;

use glimpse_contract::{Key, Owner, VideoId};

use super::{RequestBuilder, S3Request, XmlDocument};
use crate::config::Config;
use crate::s3::sigv4::SignError;

/// The most keys on a list page, S3's limit.
pub(crate) const MAX_KEYS: usize = 1_000;

/// The objects of one list page: those with a prefix, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSelection {
    prefix: String,
    /// The key after which the page begins.
    start_after: Option<String>,
    limit: usize,
}

impl ObjectSelection {
    fn new(prefix: String) -> Self {
        Self { prefix, start_after: None, limit: MAX_KEYS }
    }

    /// An owner's sources, newest first, after `after` if given, at most `limit` (S3 allows 1,000).
    pub fn sources(owner: &Owner, after: Option<VideoId>, limit: usize) -> Self {
        let prefix = Key::uploads_prefix(owner);
        let start_after = after.map(|video| format!("{prefix}{video}"));
        Self { prefix, start_after, limit }
    }

    /// An owner's sources whose ids have the same millisecond as `video`.
    pub fn sources_of_same_ms(owner: &Owner, video: VideoId) -> Self {
        Self::new(format!("{}{}", Key::uploads_prefix(owner), video.timestamp_prefix()))
    }

    /// An owner's reservations whose ids have the same millisecond as `video`.
    pub fn reservations_of_same_ms(owner: &Owner, video: VideoId) -> Self {
        Self::new(format!("{}{owner}/{}", Key::SLOTS, video.timestamp_prefix()))
    }

    /// The outputs of a video, after the key `after` if given.
    pub fn media(video: VideoId, after: Option<String>) -> Self {
        Self { start_after: after, ..Self::new(Key::media_prefix(video)) }
    }
}

/// Lists objects.
pub fn list_objects(
    selection: ObjectSelection,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut request = RequestBuilder::bucket("GET", config)
        .query("list-type", "2")
        .query("max-keys", selection.limit.to_string())
        .query("prefix", selection.prefix);
    if let Some(start) = selection.start_after {
        request = request.query("start-after", start);
    }
    request.sign(config, now_ms)
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSummary {
    /// The video of the source.
    pub video: VideoId,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A list page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// The sources, in key order: newest first.
    pub items: Vec<ObjectSummary>,
    /// All keys of the page, sources and others.
    pub keys: Vec<String>,
    /// Whether another page follows.
    pub is_truncated: bool,
}

impl ListPage {
    /// Parses the XML of ListObjectsV2.
    pub fn parse(xml: &str) -> Option<Self> {
        let document = parse_list_result(xml)?;
        let mut page = Self { is_truncated: document.is_truncated(), ..Self::default() };
        for item in document.items {
            let (key, bytes) = (item.get("Key")?, item.get("Size")?.parse().ok()?);
            if let Ok(Key::Source { video, .. }) = key.parse() {
                page.items.push(ObjectSummary { video, bytes });
            }
            page.keys.push(key.clone());
        }
        Some(page)
    }
}

/// The images on a page of [`ObjectSelection::media`] that were rendered on demand since a given time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentRenders {
    /// Their number.
    pub count: u64,
    /// The key after which the next page begins, if there is one.
    pub next: Option<String>,
}

impl RecentRenders {
    /// Parses the XML of ListObjectsV2. `since` is a time in S3's format, RFC 3339 with milliseconds.
    pub fn parse(xml: &str, since: &str) -> Option<Self> {
        let document = parse_list_result(xml)?;
        let mut renders = Self::default();
        let is_truncated = document.is_truncated();
        for item in document.items {
            let (key, modified) = (item.get("Key")?, item.get("LastModified")?);
            // A refusal record counts as well: the image cannot be rendered, but the attempt had a cost.
            let is_render = match key.parse() {
                Ok(Key::Output(_, variant)) => !variant.is_default(),
                Ok(Key::Refusal(..)) => true,
                _ => false,
            };
            renders.count += u64::from(is_render && modified.as_str() >= since);
            renders.next = Some(key.clone());
        }
        renders.next = renders.next.filter(|_| is_truncated);
        Some(renders)
    }
}

/// The reserved ids of a token, each with its time (RFC 3339) and ETag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservations(pub BTreeMap<VideoId, (String, String)>);

impl Reservations {
    /// Parses the XML of ListObjectsV2.
    pub fn parse(xml: &str) -> Option<Self> {
        let mut reservations = Self::default();
        for item in parse_list_result(xml)?.items {
            if let Ok(Key::Reservation { video, .. }) = item.get("Key")?.parse() {
                reservations.0.insert(video, (item.get("LastModified")?.clone(), item.get("ETag")?.clone()));
            }
        }
        Some(reservations)
    }
}

fn parse_list_result(xml: &str) -> Option<XmlDocument> {
    XmlDocument::parse(xml, "Contents").filter(|document| document.root == "ListBucketResult")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example_config;

    #[test]
    fn selections_are_prefixes() {
        let (owner, video) = (Owner::new("i", "s"), VideoId::new(2, [1; 10]));
        let url = |selection| list_objects(selection, &example_config(), 1_700_000_000_000).unwrap().url;
        let page = url(ObjectSelection::sources(&owner, Some(video), 12));
        let prefix = format!("uploads%2F{owner}%2F");
        assert!(
            page.contains(&format!("&list-type=2&max-keys=12&prefix={prefix}&start-after={prefix}{video}&")),
            "{page}"
        );
        let page = url(ObjectSelection::media(video, None));
        assert!(page.contains(&format!("&max-keys=1000&prefix=media%2F{video}%2F&")), "{page}");
        assert!(!page.contains("start-after"), "{page}");
        let same_ms = video.timestamp_prefix();
        let page = url(ObjectSelection::sources_of_same_ms(&owner, video));
        assert!(page.contains(&format!("&prefix={prefix}{same_ms}&")), "{page}");
        let page = url(ObjectSelection::reservations_of_same_ms(&owner, video));
        assert!(page.contains(&format!("&prefix=slots%2F{owner}%2F{same_ms}&")), "{page}");
    }

    #[test]
    fn parses_list_page() {
        let owner = Owner::new("i", "s");
        let (a, b) = (VideoId::new(2, [1; 10]), VideoId::new(1, [1; 10]));
        let xml = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>clips</Name>
            <Contents><Key>uploads/{owner}/{a}</Key><Size>12</Size><ETag>&quot;x&quot;</ETag></Contents>
            <Contents><Key>uploads/{owner}/stray &amp; odd</Key><Size>1</Size></Contents>
            <Contents><Key>uploads/{owner}/{b}</Key><Size>5368709120</Size></Contents>
            <IsTruncated>true</IsTruncated></ListBucketResult>"#
        );
        let page = ListPage::parse(&xml).unwrap();
        assert_eq!(
            page.items,
            [ObjectSummary { video: a, bytes: 12 }, ObjectSummary { video: b, bytes: 5_368_709_120 }]
        );
        assert_eq!(page.keys[1], format!("uploads/{owner}/stray & odd"));
        assert!(page.is_truncated);
    }

    #[test]
    fn counts_recent_renders() {
        let folder = Key::media_prefix(VideoId::new(2, [1; 10]));
        let item = |name: &str, day: &str| {
            format!(
                "<Contents><Key>{folder}{name}</Key><LastModified>{day}T12:00:00.000Z</LastModified></Contents>"
            )
        };
        let items = [
            item("manifest.json", "2026-01-02"),
            item("thumbnail.jpg", "2026-01-02"),
            item("thumbnail-time_1.jpg", "2026-01-01"),
            item("thumbnail-time_2.jpg", "2026-01-02"),
            item("thumbnail-width_98.png.refused.json", "2026-01-03"),
            item("thumbnail-width_99.webp", "2026-01-03"),
        ];
        let parse = |truncated: bool| {
            let xml = format!(
                "<ListBucketResult>{}<IsTruncated>{truncated}</IsTruncated></ListBucketResult>",
                items.concat()
            );
            RecentRenders::parse(&xml, "2026-01-02T00:00:00.000Z").unwrap()
        };
        assert_eq!(parse(false), RecentRenders { count: 3, next: None });
        assert_eq!(parse(true).next, Some(format!("{folder}thumbnail-width_99.webp")));
        assert_eq!(RecentRenders::parse("<Error/>", ""), None);
    }

    #[test]
    fn parses_reservations() {
        let owner = Owner::new("i", "s");
        let video = VideoId::new(2, [1; 10]);
        let xml = format!(
            "<ListBucketResult><Contents><Key>slots/{owner}/{video}</Key>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>\
             </ListBucketResult>"
        );
        let reservations = Reservations::parse(&xml).unwrap();
        assert_eq!(reservations.0[&video], ("2026-01-01T00:00:00.000Z".to_owned(), "\"e\"".to_owned()));
    }

    #[test]
    fn rejects_other_documents() {
        for xml in [
            "",
            "<Error><Code>AccessDenied</Code></Error>",
            "<ListBucketResult><Contents></Contents></ListBucketResult>",
            "<ListBucketResult><Contents>",
            "not xml <",
        ] {
            assert_eq!(ListPage::parse(xml), None, "{xml}");
        }
    }
}
