//! Decides how the edge reads the bucket: presigned requests of its own, and what S3's answers mean. Pure.

use glimpse_contract::{Key, Owner, VideoId};
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::config::Config;
use crate::sign::{Presign, SignError, presign};

/// How long the edge's own requests are good for, in seconds: they are made at once.
const OWN_EXPIRES_SECS: u64 = 60;

/// A request to the bucket, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    /// The method.
    pub method: &'static str,
    /// The presigned URL: a secret, never logged.
    pub url: String,
}

/// Reads an object.
pub fn get(key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    object("GET", key, config, now_ms)
}

/// Asks whether an object is there, and for its headers.
pub fn head(key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    object("HEAD", key, config, now_ms)
}

fn object(method: &'static str, key: &Key, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    let url = config.location.object_url(&key.to_string());
    signed(method, &url, &[], config, now_ms)
}

/// Lists an owner's sources, newest first, behind `after` if given, at most `limit` (S3 allows 1,000).
pub fn list(
    owner: &Owner,
    after: Option<VideoId>,
    limit: usize,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let prefix = Key::uploads_of(owner);
    let start_after = after.map(|video| format!("{prefix}{video}"));
    let limit = limit.to_string();
    let mut query = vec![("list-type", "2"), ("max-keys", limit.as_str()), ("prefix", prefix.as_str())];
    if let Some(start) = &start_after {
        query.push(("start-after", start));
    }
    signed("GET", &config.location.bucket_url(), &query, config, now_ms)
}

fn signed(
    method: &'static str,
    url: &str,
    query: &[(&str, &str)],
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let request = Presign { method, url, query, headers: &[], expires_secs: OWN_EXPIRES_SECS };
    let url = presign(&request, &config.credentials, &config.location.region, now_ms)?;
    Ok(S3Request { method, url })
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which video's source it is.
    pub video: VideoId,
    /// Its length in bytes.
    pub bytes: u64,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The sources, in key order: newest first.
    pub items: Vec<Listed>,
    /// Whether there are more behind the last.
    pub is_truncated: bool,
}

impl Listing {
    /// Reads ListObjectsV2's XML. Objects that are no sources are passed over.
    pub fn read(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        let mut listing = Self::default();
        let mut seen_result = false;
        let mut text = String::new();
        let (mut key, mut size) = (None, None);
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) => {
                    seen_result |= tag.local_name().as_ref() == "ListBucketResult";
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part),
                Event::End(tag) => match tag.local_name().as_ref() {
                    "Key" => key = Some(std::mem::take(&mut text)),
                    "Size" => size = text.parse().ok(),
                    "IsTruncated" => listing.is_truncated = text == "true",
                    "Contents" => {
                        let (Some(key), Some(bytes)) = (key.take(), size.take()) else { return None };
                        if let Ok(Key::Source { video, .. }) = key.parse() {
                            listing.items.push(Listed { video, bytes });
                        }
                    }
                    _ => {}
                },
                Event::Eof => return seen_result.then_some(listing),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_listing() {
        let owner = Owner::of("i", "s");
        let (a, b) = (VideoId::new(2, [1; 10]), VideoId::new(1, [1; 10]));
        let xml = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>clips</Name>
            <Contents><Key>uploads/{owner}/{a}</Key><Size>12</Size><ETag>&quot;x&quot;</ETag></Contents>
            <Contents><Key>uploads/{owner}/stray &amp; odd</Key><Size>1</Size></Contents>
            <Contents><Key>uploads/{owner}/{b}</Key><Size>5368709120</Size></Contents>
            <IsTruncated>true</IsTruncated></ListBucketResult>"#
        );
        assert_eq!(
            Listing::read(&xml),
            Some(Listing {
                items: vec![Listed { video: a, bytes: 12 }, Listed { video: b, bytes: 5_368_709_120 }],
                is_truncated: true
            })
        );
    }

    #[test]
    fn what_is_no_listing_is_none() {
        for xml in [
            "",
            "<Error><Code>AccessDenied</Code></Error>",
            "<ListBucketResult><Contents></Contents></ListBucketResult>",
            "<ListBucketResult><Contents>",
            "not xml <",
        ] {
            let listing = Listing::read(xml);
            assert!(listing.is_none() || xml.ends_with("<Contents>"), "{xml}: {listing:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(xml in "\\PC{0,100}") {
            let _ = Listing::read(&xml);
        }
    }
}
