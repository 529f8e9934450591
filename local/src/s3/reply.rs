//! Responses to reads of an object: ranges, headers, conditions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, ETag, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::checksum::set_checksums;
use super::condition::{ReadConditions, ReadOutcome};
use super::list::{MAX_KEYS, form_encode};
use super::record::{ObjectEntry, UploadEntry, http_time};

/// S3's type of objects without a declared type.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// The selected bytes of an object.
#[derive(Debug)]
pub(crate) struct ByteSelection {
    pub(crate) bytes: Range<u64>,
    /// Whether they are a range: 206.
    pub(crate) is_partial: bool,
    parts_count: Option<i32>,
}

/// The time in HTTP's format.
pub(crate) fn http_date(time: &Timestamp) -> String {
    let mut text = Vec::new();
    // Years beyond 9999 cannot be formatted; a client that sends one gets no such header back.
    let _ = time.format(TimestampFormat::HttpDate, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Returns 304 or 412 if the conditions require it.
pub(crate) fn check_conditions(object: &ObjectEntry, conditions: &ReadConditions) -> S3Result<()> {
    match conditions.evaluate(&object.record.etag, &object.modified()) {
        ReadOutcome::Proceed => Ok(()),
        ReadOutcome::Failed => Err(s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        )),
        ReadOutcome::NotModified => {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            error.set_status_code(StatusCode::NOT_MODIFIED);
            let mut headers = HeaderMap::new();
            let validators = [
                (header::ETAG, format!("\"{}\"", object.record.etag)),
                (header::LAST_MODIFIED, http_date(&object.modified())),
            ];
            let kept_headers = ["cache-control", "expires"].into_iter().filter_map(|name| {
                Some((HeaderName::from_static(name), object.record.headers.get(name)?.clone()))
            });
            for (name, value) in validators.into_iter().chain(kept_headers) {
                headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
            }
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// The requested bytes, by range or by part.
pub(crate) fn select_bytes(
    object: &ObjectEntry,
    range: Option<dto::Range>,
    number: Option<i32>,
) -> S3Result<ByteSelection> {
    let total = object.record.bytes;
    let unsatisfiable = || {
        let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("bytes */{total}"));
        headers.extend(value.ok().map(|value| (header::CONTENT_RANGE, value)));
        error.set_headers(headers);
        error
    };
    match (range, number) {
        (Some(_), Some(_)) => {
            Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber"))
        }
        (None, None) => Ok(ByteSelection { bytes: 0..total, is_partial: false, parts_count: None }),
        (Some(range), None) => {
            let bytes =
                range.check(total).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(unsatisfiable)?;
            Ok(ByteSelection { bytes, is_partial: true, parts_count: None })
        }
        (None, Some(number)) => {
            let segments = &object.record.segments;
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let index = index.filter(|index| *index < segments.len()).ok_or_else(|| {
                let mut error = S3Error::new(S3ErrorCode::Custom("InvalidPartNumber".into()));
                error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
                error.set_message("The requested partnumber is not satisfiable");
                error
            })?;
            let start = segments[..index].iter().map(|segment| segment.bytes).sum::<u64>();
            let parts_count =
                object.record.multipart.then(|| i32::try_from(segments.len()).unwrap_or(i32::MAX));
            Ok(ByteSelection {
                bytes: start..start + segments[index].bytes,
                is_partial: total > 0,
                parts_count,
            })
        }
    }
}

macro_rules! object_output {
    ($kind:ident, $object:expr, $part:expr, $with_checksums:expr) => {{
        let (record, part) = (&$object.record, $part);
        let header = |name: &str| record.headers.get(name).cloned();
        let mut output = dto::$kind {
            accept_ranges: Some("bytes".into()),
            cache_control: header("cache-control"),
            content_disposition: header("content-disposition"),
            content_encoding: header("content-encoding"),
            content_language: header("content-language"),
            content_length: i64::try_from(part.bytes.end - part.bytes.start).ok(),
            content_range: part
                .is_partial
                .then(|| format!("bytes {}-{}/{}", part.bytes.start, part.bytes.end - 1, record.bytes)),
            content_type: Some(header("content-type").unwrap_or_else(|| DEFAULT_TYPE.into())),
            e_tag: Some(ETag::Strong(record.etag.clone())),
            expires: header("expires")
                .and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, &text).ok()),
            last_modified: Some($object.modified()),
            metadata: Some(record.metadata.clone().into_iter().collect()),
            parts_count: part.parts_count,
            ..Default::default()
        };
        if $with_checksums && !part.is_partial {
            set_checksums!(output, record.checksums);
            let kind = if record.checksum_of_all { "FULL_OBJECT" } else { "COMPOSITE" };
            output.checksum_type =
                (!record.checksums.is_empty()).then(|| dto::ChecksumType::from_static(kind));
        }
        output
    }};
}

/// The response to a GET, without its body.
pub(crate) fn get_output(
    object: &Arc<ObjectEntry>,
    part: &ByteSelection,
    with_checksums: bool,
) -> dto::GetObjectOutput {
    object_output!(GetObjectOutput, object, part, with_checksums)
}

/// The response to a HEAD.
pub(crate) fn head_output(
    object: &Arc<ObjectEntry>,
    part: &ByteSelection,
    with_checksums: bool,
) -> dto::HeadObjectOutput {
    object_output!(HeadObjectOutput, object, part, with_checksums)
}

/// Replaces headers by `response-*` parameters; s3s does this for GET, but not for HEAD.
pub(crate) fn override_headers(headers: &mut HeaderMap, input: &dto::HeadObjectInput) -> S3Result<()> {
    let overrides = [
        (header::CACHE_CONTROL, input.response_cache_control.clone()),
        (header::CONTENT_DISPOSITION, input.response_content_disposition.clone()),
        (header::CONTENT_ENCODING, input.response_content_encoding.clone()),
        (header::CONTENT_LANGUAGE, input.response_content_language.clone()),
        (header::CONTENT_TYPE, input.response_content_type.clone()),
        (header::EXPIRES, input.response_expires.as_ref().map(http_date)),
    ];
    for (name, value) in overrides {
        let Some(value) = value else { continue };
        let value = HeaderValue::try_from(value)
            .map_err(|_| s3_error!(InvalidArgument, "a response header contains invalid characters"))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Everything except unreserved characters and the slash is escaped in a path.
const PATH_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of an object, under the host that the client used.
pub(crate) fn object_location(headers: &HeaderMap, bucket: &str, key: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}/{bucket}/{}", utf8_percent_encode(key, PATH_ESCAPES))
}

/// A page of the unfinished uploads, by key and then by age of their ids.
pub(crate) fn list_uploads(
    uploads: &BTreeMap<(String, String), UploadEntry>,
    input: dto::ListMultipartUploadsInput,
) -> S3Result<dto::ListMultipartUploadsOutput> {
    let limit = match input.max_uploads.map(usize::try_from) {
        None => MAX_KEYS,
        Some(Ok(wanted)) => wanted.min(MAX_KEYS),
        Some(Err(_)) => return Err(s3_error!(InvalidArgument, "max-uploads must not be negative")),
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let key_marker = input.key_marker.clone().unwrap_or_default();
    let id_marker = input.upload_id_marker.clone().unwrap_or_default();
    let encode = |text: &str| if input.encoding_type.is_some() { form_encode(text) } else { text.to_owned() };

    let is_after_marker = |key: &str, id: &str| {
        key > key_marker.as_str() || (key == key_marker && !id_marker.is_empty() && id > id_marker.as_str())
    };
    let mut entries = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut last = None;
    let mut is_truncated = false;
    for ((key, id), upload) in uploads {
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        let common_prefix = (!delimiter.is_empty())
            .then(|| rest.find(&delimiter))
            .flatten()
            .map(|at| &key[..prefix.len() + at + delimiter.len()]);
        let is_listed_prefix =
            common_prefix.is_some_and(|rolled| rolled == key_marker || prefixes.iter().any(|p| p == rolled));
        if is_listed_prefix || !is_after_marker(key, id) {
            continue;
        }
        if entries.len() + prefixes.len() == limit {
            is_truncated = limit > 0;
            break;
        }
        if let Some(rolled) = common_prefix {
            prefixes.push(rolled.to_owned());
            last = Some((rolled.to_owned(), String::new()));
        } else {
            entries.push(dto::MultipartUpload {
                key: Some(encode(key)),
                upload_id: Some(id.clone()),
                initiated: Some(http_time(upload.record.started_ms)),
                storage_class: Some(dto::StorageClass::from_static("STANDARD")),
                ..Default::default()
            });
            last = Some((key.clone(), id.clone()));
        }
    }
    let (next_key, next_id) = last.filter(|_| is_truncated).unzip();
    let prefixes = prefixes.iter().map(|prefix| dto::CommonPrefix { prefix: Some(encode(prefix)) });
    Ok(dto::ListMultipartUploadsOutput {
        uploads: Some(entries),
        common_prefixes: Some(prefixes.collect()),
        is_truncated: Some(is_truncated),
        next_key_marker: next_key.map(|key| encode(&key)),
        next_upload_id_marker: next_id,
        max_uploads: i32::try_from(limit).ok(),
        prefix: Some(encode(&prefix)),
        delimiter: input.delimiter.as_deref().map(encode),
        key_marker: input.key_marker.as_deref().map(encode),
        upload_id_marker: input.upload_id_marker.clone(),
        bucket: Some(input.bucket.clone()),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_percent_encoded() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:9000"));
        assert_eq!(object_location(&headers, "b", "a b/+é"), "http://127.0.0.1:9000/b/a%20b/%2B%C3%A9");
    }
}
