//! Decides how a multipart upload is begun, signed part by part, listed, finished and given up at S3. Pure.

use glimpse_contract::{Grant, Key, Owner, VideoId, limits};

use super::{Ask, Document, S3Request, error_code, escape};
use crate::config::Config;
use crate::s3::sigv4::SignError;

/// Begins one: type and metadata of the grant are fixed now, and its parts cannot change them.
pub fn create(grant: &Grant, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    creation(grant, config).signed(config, now_ms)
}

fn creation(grant: &Grant, config: &Config) -> Ask {
    let mut ask = Ask::object("POST", &grant.key(), config)
        .query("uploads", "")
        .with("content-type", grant.content_type.clone());
    for (name, value) in grant.metadata() {
        ask = ask.with(name, value);
    }
    ask
}

/// The URL with which a client sends one part: of exactly `bytes`, if its length is known.
pub fn sign_part(
    key: &Key,
    upload_id: &str,
    part_number: u64,
    bytes: Option<u64>,
    config: &Config,
    now_ms: u64,
) -> Result<String, SignError> {
    let mut ask = part("PUT", key, upload_id, part_number, config);
    if let Some(bytes) = bytes {
        ask = ask.with("content-length", bytes.to_string());
    }
    ask.expires_secs = config.upload_expires_secs;
    Ok(ask.signed(config, now_ms)?.url)
}

/// Sends one part of this length from here.
pub fn upload_part(
    key: &Key,
    upload_id: &str,
    part_number: u64,
    bytes: usize,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    part("PUT", key, upload_id, part_number, config)
        .with("content-length", bytes.to_string())
        .signed(config, now_ms)
}

fn part(method: &'static str, key: &Key, upload_id: &str, part_number: u64, config: &Config) -> Ask {
    Ask::object(method, key, config).query("partNumber", part_number.to_string()).query("uploadId", upload_id)
}

/// Lists the parts behind `after` (0 for all), at most 1,000.
pub fn list_parts(
    key: &Key,
    upload_id: &str,
    after: u64,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut ask = Ask::object("GET", key, config).query("max-parts", "1000");
    if after > 0 {
        ask = ask.query("part-number-marker", after.to_string());
    }
    ask.query("uploadId", upload_id).signed(config, now_ms)
}

/// Finishes an upload, unless another one has already filled the key.
pub fn complete(
    key: &Key,
    upload_id: &str,
    parts: &[NamedPart],
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let mut ask = Ask::object("POST", key, config)
        .query("uploadId", upload_id)
        .with("content-type", "application/xml")
        .with("if-none-match", "*");
    let parts: Vec<String> = parts
        .iter()
        .map(|part| {
            let etag = escape(&format!("\"{}\"", part.etag));
            format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", part.number)
        })
        .collect();
    ask.body = Some(format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat()));
    ask.signed(config, now_ms)
}

/// Gives an upload up; S3 forgets its parts.
pub fn abort(key: &Key, upload_id: &str, config: &Config, now_ms: u64) -> Result<S3Request, SignError> {
    Ask::object("DELETE", key, config).query("uploadId", upload_id).signed(config, now_ms)
}

/// Whose unfinished uploads are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads {
    /// All of an owner's.
    All,
    /// Those of one video.
    Of(VideoId),
    /// Those of the videos that were granted in the same millisecond as this one, as a token's are.
    GrantedWith(VideoId),
}

/// Lists an owner's unfinished uploads, at most `limit` (S3 allows 1,000).
pub fn list_uploads(
    owner: &Owner,
    uploads: Uploads,
    limit: usize,
    config: &Config,
    now_ms: u64,
) -> Result<S3Request, SignError> {
    let prefix = match uploads {
        Uploads::All => Key::uploads_of(owner),
        Uploads::Of(video) => Key::Source { owner: owner.clone(), video }.to_string(),
        Uploads::GrantedWith(video) => format!("{}{}", Key::uploads_of(owner), video.time_part()),
    };
    Ask::bucket("GET", config)
        .query("max-uploads", limit.to_string())
        .query("prefix", prefix)
        .query("uploads", "")
        .signed(config, now_ms)
}

/// The id in S3's answer to [`create`].
pub fn upload_id(xml: &str) -> Option<String> {
    let mut document = Document::read(xml, "")?;
    let is_it = document.root == "InitiateMultipartUploadResult";
    is_it.then(|| document.fields.remove("UploadId")).flatten().filter(|id| !id.is_empty())
}

/// The error in S3's answer to [`complete`], which can come with status 200: S3 begins to answer before it is done.
/// An answer that is neither a result nor an error is `Some("")`.
pub fn completion_error(status: u16, body: &[u8]) -> Option<String> {
    if let Some(code) = error_code(body) {
        return Some(code);
    }
    let text = String::from_utf8_lossy(body);
    let is_result =
        Document::read(&text, "").is_some_and(|document| document.root == "CompleteMultipartUploadResult");
    (status != 200 || !is_result).then(String::new)
}

/// A part that S3 has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: u64,
    /// With its quotes, as S3 says it.
    pub etag: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A part that a client names to finish an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPart {
    /// From 1 to 10,000.
    pub number: u64,
    /// Without quotes.
    pub etag: String,
}

/// One page of the parts of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// In the order of their numbers.
    pub parts: Vec<Part>,
    /// The number to go on behind, if there are more.
    pub next: Option<u64>,
}

impl Parts {
    /// Reads ListParts' XML.
    pub fn read(xml: &str) -> Option<Self> {
        let document = Document::read(xml, "Part").filter(|document| document.root == "ListPartsResult")?;
        let mut parts = Vec::with_capacity(document.items.len());
        for item in &document.items {
            parts.push(Part {
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

/// A multipart upload that is neither finished nor given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// Where it goes.
    pub key: Key,
    /// Which video it becomes.
    pub video: VideoId,
    /// S3's name of it.
    pub upload_id: String,
    /// When it was begun, RFC 3339.
    pub initiated_at: String,
}

/// One page of an owner's unfinished uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnfinishedUploads {
    /// Those of the page.
    pub uploads: Vec<UnfinishedUpload>,
    /// Whether there are more.
    pub is_truncated: bool,
}

impl UnfinishedUploads {
    /// Reads ListMultipartUploads' XML.
    pub fn read(xml: &str) -> Option<Self> {
        let document =
            Document::read(xml, "Upload").filter(|document| document.root == "ListMultipartUploadsResult")?;
        let mut found = Self { is_truncated: document.is_truncated(), ..Self::default() };
        for item in document.items {
            let Ok(key @ Key::Source { video, .. }) = item.get("Key")?.parse() else { continue };
            let (upload_id, initiated_at) = (item.get("UploadId")?.clone(), item.get("Initiated")?.clone());
            found.uploads.push(UnfinishedUpload { key, video, upload_id, initiated_at });
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::example;
    use crate::uploads::tests::a_grant;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn what_is_granted_is_fixed_when_the_upload_begins() {
        let request = create(&a_grant(), &example(), NOW_MS).unwrap();
        assert!(request.url.contains("&uploads=&X-Amz-Signature="), "{}", request.url);
        let signed = "content-type%3Bhost%3Bx-amz-meta-name%3Bx-amz-meta-visibility";
        assert!(request.url.contains(&format!("X-Amz-SignedHeaders={signed}&")), "{}", request.url);
    }

    #[test]
    fn a_part_is_signed_for_its_number_and_upload_only() {
        let sign = |bytes| sign_part(&a_grant().key(), "a/b c", 7, bytes, &example(), NOW_MS).unwrap();
        let url = sign(Some(5));
        assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bhost&"), "{url}");
        let url = sign(None);
        assert!(url.contains("&partNumber=7&uploadId=a%2Fb%20c&X-Amz-Signature="), "{url}");
        assert!(url.contains("X-Amz-Expires=900&"), "{url}");
    }

    #[test]
    fn an_upload_is_finished_only_once() {
        let parts = [NamedPart { number: 1, etag: "e".into() }];
        let request = complete(&a_grant().key(), "u", &parts, &example(), NOW_MS).unwrap();
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
    fn a_result_is_told_from_an_error_whatever_the_status() {
        let result = b"<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>";
        assert_eq!(completion_error(200, result), None);
        let error = b"<Error><Code>InternalError</Code></Error>";
        assert_eq!(completion_error(200, error).as_deref(), Some("InternalError"));
        assert_eq!(completion_error(200, b"").as_deref(), Some(""));
        assert_eq!(completion_error(500, result).as_deref(), Some(""));
    }

    #[test]
    fn parts_are_read_page_by_page() {
        let page = |truncated| {
            format!(
                "<ListPartsResult><IsTruncated>{truncated}</IsTruncated>\
                 <Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><Size>5</Size></Part>\
                 <Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag><Size>6</Size></Part></ListPartsResult>"
            )
        };
        let parts = Parts::read(&page("true")).unwrap();
        assert_eq!(parts.parts[0], Part { number: 1, etag: "\"a\"".into(), bytes: 5 });
        assert_eq!((parts.next, Parts::read(&page("false")).unwrap().next), (Some(2), None));
        assert_eq!(Parts::read("<ListPartsResult><Part/></ListPartsResult>"), None);
        assert_eq!(Parts::read("<Error/>"), None);
    }

    #[test]
    fn unfinished_uploads_are_read() {
        let key = a_grant().key();
        let xml = format!(
            "<ListMultipartUploadsResult><Upload><Key>{key}</Key><UploadId>u</UploadId>\
             <Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>\
             <Upload><Key>other</Key><UploadId>v</UploadId><Initiated>x</Initiated></Upload>\
             </ListMultipartUploadsResult>"
        );
        let found = UnfinishedUploads::read(&xml).unwrap();
        assert_eq!(found.uploads.len(), 1);
        assert_eq!((&found.uploads[0].key, found.uploads[0].upload_id.as_str()), (&key, "u"));
    }
}
