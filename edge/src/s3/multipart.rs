//! Multipart upload requests of S3: create, upload, list, complete and abort. Pure.

use glimpse_contract::{Grant, Key, Owner, VideoId, limits};

use super::{RequestBuilder, S3Request, XmlDocument, escape, parse_error_code};
use crate::config::Config;
use crate::s3::sigv4::SignError;

/// Creates an upload: type and metadata are those of the grant, and its parts cannot change them.
pub fn create_multipart_upload(grant: &Grant, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    create_multipart_request(grant, config).sign(config, now_ms)
}

fn create_multipart_request(grant: &Grant, config: &Config) -> RequestBuilder {
    let mut request = RequestBuilder::object("POST", &grant.key(), config)
        .query("uploads", "")
        .header("content-type", grant.content_type.clone());
    for (name, value) in grant.metadata() {
        request = request.header(name, value);
    }
    request
}

/// A part of a multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartId<'a> {
    /// The key of the upload.
    pub key: &'a Key,
    /// The upload id.
    pub upload_id: &'a str,
    /// From 1 to 10,000.
    pub number: u64,
}

/// The URL to which a client sends a part: of exactly `bytes`, if its length is known.
pub fn presign_part(
    part: PartId<'_>,
    bytes: Option<u64>,
    config: &Config,
    now_ms: u64,
) -> Result<String, SignError> {
    let mut request = part_request(part, config);
    if let Some(bytes) = bytes {
        request = request.header("content-length", bytes.to_string());
    }
    request.expires_secs = config.upload_expires_secs;
    Ok(request.sign(config, now_ms)?.url)
}

/// Uploads a part of this length from the Worker.
pub fn upload_part(
    part: PartId<'_>,
    bytes: usize,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    part_request(part, config).header("content-length", bytes.to_string()).sign(config, now_ms)
}

fn part_request(part: PartId<'_>, config: &Config) -> RequestBuilder {
    RequestBuilder::object("PUT", part.key, config)
        .query("partNumber", part.number.to_string())
        .query("uploadId", part.upload_id)
}

/// Lists the parts after `after` (0 for all), at most 1,000.
pub fn list_parts(
    key: &Key,
    upload_id: &str,
    after: u64,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut request = RequestBuilder::object("GET", key, config).query("max-parts", "1000");
    if after > 0 {
        request = request.query("part-number-marker", after.to_string());
    }
    request.query("uploadId", upload_id).sign(config, now_ms)
}

/// Completes an upload, unless an object with this key already exists.
pub fn complete_multipart_upload(
    key: &Key,
    upload_id: &str,
    parts: &[CompletedPart],
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut request = RequestBuilder::object("POST", key, config)
        .query("uploadId", upload_id)
        .header("content-type", "application/xml")
        .header("if-none-match", "*");
    let parts: Vec<String> = parts
        .iter()
        .map(|part| {
            let etag = escape(&format!("\"{}\"", part.etag));
            format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", part.number)
        })
        .collect();
    request.body = Some(format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat()));
    request.sign(config, now_ms)
}

/// Aborts an upload; S3 deletes its parts.
pub fn abort_multipart_upload(
    key: &Key,
    upload_id: &str,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    RequestBuilder::object("DELETE", key, config).query("uploadId", upload_id).sign(config, now_ms)
}

/// Selects the unfinished uploads of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFilter {
    /// All uploads of the owner.
    All,
    /// Those of one video.
    Video(VideoId),
    /// Those of videos whose ids have the same millisecond as this one, such as the videos of a token.
    SameMillisecond(VideoId),
}

/// Lists an owner's unfinished uploads, at most `limit` (S3 allows 1,000).
pub fn list_multipart_uploads(
    owner: &Owner,
    filter: UploadFilter,
    limit: usize,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let prefix = match filter {
        UploadFilter::All => Key::uploads_prefix(owner),
        UploadFilter::Video(video) => Key::Source { owner: owner.clone(), video }.to_string(),
        UploadFilter::SameMillisecond(video) => {
            format!("{}{}", Key::uploads_prefix(owner), video.timestamp_prefix())
        }
    };
    RequestBuilder::bucket("GET", config)
        .query("max-uploads", limit.to_string())
        .query("prefix", prefix)
        .query("uploads", "")
        .sign(config, now_ms)
}

/// The upload id in S3's response to [`create_multipart_upload`].
pub fn parse_upload_id(xml: &str) -> Option<String> {
    let mut document = XmlDocument::parse(xml, "")?;
    let is_result = document.root == "InitiateMultipartUploadResult";
    is_result.then(|| document.fields.remove("UploadId")).flatten().filter(|id| !id.is_empty())
}

/// The error in S3's response to [`complete_multipart_upload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionError {
    /// It can be 200: S3 starts the response before it has completed the upload.
    pub status: u16,
    /// S3's code; empty for a response that is neither a result nor an error.
    pub code: String,
}

impl CompletionError {
    /// Parses the response; `None` if the upload is completed.
    pub fn parse(status: u16, body: &[u8]) -> Option<Self> {
        if let Some(code) = parse_error_code(body) {
            return Some(Self { status, code });
        }
        let text = String::from_utf8_lossy(body);
        let is_result = XmlDocument::parse(&text, "")
            .is_some_and(|document| document.root == "CompleteMultipartUploadResult");
        (status != 200 || !is_result).then(|| Self { status, code: String::new() })
    }
}

/// An uploaded part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSummary {
    /// From 1 to 10,000.
    pub number: u64,
    /// With its quotes, as in S3's response.
    pub etag: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A part in a client's request to complete an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// From 1 to 10,000.
    pub number: u64,
    /// Without quotes.
    pub etag: String,
}

/// A page of the parts of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPartsPage {
    /// In the order of their numbers.
    pub parts: Vec<PartSummary>,
    /// The part number after which the next page begins, if there is one.
    pub next: Option<u64>,
}

impl ListPartsPage {
    /// Parses the XML of ListParts.
    pub fn parse(xml: &str) -> Option<Self> {
        let document =
            XmlDocument::parse(xml, "Part").filter(|document| document.root == "ListPartsResult")?;
        let mut parts = Vec::with_capacity(document.items.len());
        for item in &document.items {
            parts.push(PartSummary {
                number: item
                    .get("PartNumber")?
                    .parse()
                    .ok()
                    .filter(|n| (1..=limits::MAX_PARTS).contains(n))?,
                etag: item.get("ETag")?.clone(),
                bytes: item.get("Size")?.parse().ok()?,
            });
        }
        if !parts.is_sorted_by_key(|part| part.number) {
            return None;
        }
        let last = parts.last().map(|part| part.number);
        Some(Self { next: last.filter(|_| document.is_truncated()), parts })
    }
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartUpload {
    /// The key of the upload.
    pub key: Key,
    /// The video of the upload.
    pub video: VideoId,
    /// The upload id.
    pub upload_id: String,
    /// When it was created, RFC 3339.
    pub initiated_at: String,
}

/// A page of an owner's unfinished uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultipartUploadsPage {
    /// The uploads of the page.
    pub uploads: Vec<MultipartUpload>,
    /// Whether another page follows.
    pub is_truncated: bool,
}

impl MultipartUploadsPage {
    /// Parses the XML of ListMultipartUploads.
    pub fn parse(xml: &str) -> Option<Self> {
        let document = XmlDocument::parse(xml, "Upload")
            .filter(|document| document.root == "ListMultipartUploadsResult")?;
        let mut page = Self { is_truncated: document.is_truncated(), ..Self::default() };
        for item in document.items {
            let Ok(key @ Key::Source { video, .. }) = item.get("Key")?.parse() else { continue };
            let (upload_id, initiated_at) = (item.get("UploadId")?.clone(), item.get("Initiated")?.clone());
            page.uploads.push(MultipartUpload { key, video, upload_id, initiated_at });
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example_config;
    use crate::testing::example_grant;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn create_signs_granted_headers() {
        let request = create_multipart_upload(&example_grant(), &example_config(), NOW_MS).unwrap();
        assert!(request.url.contains("&uploads=&X-Amz-Signature="), "{}", request.url);
        let signed = "content-type%3Bhost%3Bx-amz-meta-name%3Bx-amz-meta-visibility";
        assert!(request.url.contains(&format!("X-Amz-SignedHeaders={signed}&")), "{}", request.url);
    }

    #[test]
    fn part_url_is_bound_to_number_and_upload() {
        let key = example_grant().key();
        let part = PartId { key: &key, upload_id: "a/b c", number: 7 };
        let sign = |bytes| presign_part(part, bytes, &example_config(), NOW_MS).unwrap();
        let url = sign(Some(5));
        assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bhost&"), "{url}");
        let url = sign(None);
        assert!(url.contains("&partNumber=7&uploadId=a%2Fb%20c&X-Amz-Signature="), "{url}");
        assert!(url.contains("X-Amz-Expires=900&"), "{url}");
    }

    #[test]
    fn complete_requires_absent_object() {
        let parts = [CompletedPart { number: 1, etag: "e".into() }];
        let request =
            complete_multipart_upload(&example_grant().key(), "u", &parts, &example_config(), NOW_MS)
                .unwrap();
        assert!(request.headers.contains(&("if-none-match", "*".to_owned())));
        assert_eq!(
            request.body.as_deref(),
            Some(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;e&quot;</ETag></Part>\
                 </CompleteMultipartUpload>"
            )
        );
    }

    #[test]
    fn completion_error_ignores_status() {
        let result = b"<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>";
        let completion_error =
            |status, body: &[u8]| CompletionError::parse(status, body).map(|error| error.code);
        assert_eq!(completion_error(200, result), None);
        let error = b"<Error><Code>InternalError</Code></Error>";
        assert_eq!(completion_error(200, error).as_deref(), Some("InternalError"));
        assert_eq!(completion_error(200, b"").as_deref(), Some(""));
        assert_eq!(completion_error(500, result).as_deref(), Some(""));
    }

    #[test]
    fn parses_parts_page() {
        let page = |truncated| {
            format!(
                "<ListPartsResult><IsTruncated>{truncated}</IsTruncated>\
                 <Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><Size>5</Size></Part>\
                 <Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag><Size>6</Size></Part></ListPartsResult>"
            )
        };
        let parsed = ListPartsPage::parse(&page("true")).unwrap();
        assert_eq!(parsed.parts[0], PartSummary { number: 1, etag: "\"a\"".into(), bytes: 5 });
        assert_eq!((parsed.next, ListPartsPage::parse(&page("false")).unwrap().next), (Some(2), None));
        assert_eq!(ListPartsPage::parse("<ListPartsResult><Part/></ListPartsResult>"), None);
        assert_eq!(ListPartsPage::parse("<Error/>"), None);
    }

    #[test]
    fn parses_multipart_uploads() {
        let key = example_grant().key();
        let xml = format!(
            "<ListMultipartUploadsResult><Upload><Key>{key}</Key><UploadId>u</UploadId>\
             <Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>\
             <Upload><Key>other</Key><UploadId>v</UploadId><Initiated>x</Initiated></Upload>\
             </ListMultipartUploadsResult>"
        );
        let page = MultipartUploadsPage::parse(&xml).unwrap();
        assert_eq!(page.uploads.len(), 1);
        assert_eq!((&page.uploads[0].key, page.uploads[0].upload_id.as_str()), (&key, "u"));
    }
}
