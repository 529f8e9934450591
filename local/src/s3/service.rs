//! S3's operations: each decodes, calls the store once, and encodes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use s3s::dto::{self, ETag, ETagCondition};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::RequestId;
use super::body::{ExpectedBody, read_range, receive};
use super::checksum::{ChecksumAlgorithm, checksums_of, set_checksums};
use super::condition::WriteConditions;
use super::list::{ListAfter, ListQuery, ListingPage, MAX_KEYS, form_encode, list_page};
use super::record::{NewObject, ObjectEntry, ObjectHeaders, StoredContent, UploadRecord, http_time};
use super::reply;
use super::store::{EventOrigin, ObjectStore};
use crate::s3::store::multipart::{CompletionRequest, MAX_PART_NUMBER, PartReference};

/// S3's limit for the length of a key, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;

/// The operations on the only bucket.
#[derive(Debug, Clone)]
pub(crate) struct BucketService {
    pub(crate) store: ObjectStore,
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) started_ms: i64,
}

/// Collects the headers with which an object is served from one of s3s's inputs.
macro_rules! headers_of {
    ($input:expr) => {
        headers_from([
            ("cache-control", $input.cache_control.clone()),
            ("content-disposition", $input.content_disposition.clone()),
            ("content-encoding", $input.content_encoding.as_deref().and_then(without_aws_chunked)),
            ("content-language", $input.content_language.clone()),
            ("content-type", $input.content_type.clone()),
            ("expires", $input.expires.as_ref().map(reply::http_date)),
        ])
    };
}

fn headers_from(pairs: [(&str, Option<String>); 6]) -> ObjectHeaders {
    pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_empty())?)))
        .collect()
}

/// `aws-chunked` is a transfer encoding, not an encoding of the object.
fn without_aws_chunked(encoding: &str) -> Option<String> {
    let left: Vec<_> = encoding.split(',').map(str::trim).filter(|word| *word != "aws-chunked").collect();
    (!left.is_empty()).then(|| left.join(","))
}

#[expect(clippy::unnecessary_wraps, reason = "it ends operations that return a Result")]
fn ok<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

fn etag(object: &ObjectEntry) -> ETag {
    ETag::Strong(object.record.etag.clone())
}

fn event_origin<T>(request: &S3Request<T>, event: &str) -> EventOrigin {
    let id = request.extensions.get::<RequestId>();
    EventOrigin {
        event: format!("ObjectCreated:{event}"),
        request_id: id.map(|id| id.name.clone()).unwrap_or_default(),
        source_ip: id.map_or_else(|| "127.0.0.1".into(), |id| id.client_ip.clone()),
        principal: request
            .credentials
            .as_ref()
            .map(|credentials| credentials.access_key.clone())
            .unwrap_or_default(),
    }
}

fn write_conditions(
    if_match: Option<ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<WriteConditions> {
    WriteConditions::from_input(if_match, if_none_match)
        .ok_or_else(|| s3_error!(NotImplemented, "writes support If-None-Match with `*` only"))
}

fn parse_md5(text: Option<&str>) -> S3Result<Option<Vec<u8>>> {
    let Some(text) = text else { return Ok(None) };
    let digest = STANDARD.decode(text).ok().filter(|digest| digest.len() == 16);
    digest.map(Some).ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 must be the base64 of 16 bytes"))
}

fn part_number(number: i32) -> S3Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=MAX_PART_NUMBER).contains(number))
        .ok_or_else(|| s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000"))
}

impl BucketService {
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn find(&self, bucket: &str, key: &str) -> S3Result<Arc<ObjectEntry>> {
        self.check_bucket(bucket)?;
        self.store.find(key).ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    /// The source of a copy: the object, if its conditions hold.
    fn copy_source(
        &self,
        source: &dto::CopySource,
        conditions: &super::condition::ReadConditions,
    ) -> S3Result<Arc<ObjectEntry>> {
        let dto::CopySource::Bucket { bucket, key, version_id: None } = source else {
            return Err(s3_error!(
                NotImplemented,
                "the source of a copy must be a key of this bucket, without a version"
            ));
        };
        let object = self.find(bucket, key)?;
        match conditions.evaluate(&object.record.etag, &object.modified()) {
            super::condition::ReadOutcome::Proceed => Ok(object),
            _ => Err(s3_error!(PreconditionFailed)),
        }
    }

    /// The object's files under new names: nothing is copied if the disk supports links.
    async fn link_content(&self, object: &Arc<ObjectEntry>) -> S3Result<Vec<StoredContent>> {
        let object = Arc::clone(object);
        let copying = self.store.run_blocking(move |inner| {
            let mut content = Vec::new();
            for (segment, blob) in object.record.segments.iter().zip(&object.blobs) {
                let (name, new) = inner.new_blob();
                if std::fs::hard_link(blob.path(), new.path()).is_err() {
                    std::fs::copy(blob.path(), new.path())?;
                }
                content.push(StoredContent { name, bytes: segment.bytes, blob: new });
            }
            Ok(content)
        });
        Ok(copying.await?)
    }
}

macro_rules! source_conditions {
    ($input:expr) => {
        super::condition::ReadConditions {
            if_match: $input.copy_source_if_match.clone(),
            if_none_match: $input.copy_source_if_none_match.clone(),
            if_modified_since: $input.copy_source_if_modified_since.clone(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.clone(),
        }
    };
}

macro_rules! read_conditions {
    ($input:expr) => {
        super::condition::ReadConditions {
            if_match: $input.if_match.clone(),
            if_none_match: $input.if_none_match.clone(),
            if_modified_since: $input.if_modified_since.clone(),
            if_unmodified_since: $input.if_unmodified_since.clone(),
        }
    };
}

#[async_trait::async_trait]
impl S3 for BucketService {
    async fn head_bucket(
        &self,
        req: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let bucket_region = Some(self.region.clone());
        ok(dto::HeadBucketOutput { bucket_region, ..Default::default() })
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        self.check_bucket(&req.input.bucket)?;
        // An empty response means us-east-1,
        // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html.
        let location = (self.region != "us-east-1").then(|| self.region.clone().into());
        ok(dto::GetBucketLocationOutput { location_constraint: location })
    }

    async fn list_buckets(
        &self,
        _: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let bucket = dto::Bucket {
            name: Some(self.bucket.clone()),
            creation_date: Some(http_time(self.started_ms)),
            bucket_region: Some(self.region.clone()),
        };
        ok(dto::ListBucketsOutput { buckets: Some(vec![bucket]), ..Default::default() })
    }

    async fn put_object(
        &self,
        mut req: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let conditions = write_conditions(req.input.if_match.take(), req.input.if_none_match.as_ref())?;
        // This early check saves the transfer; the commit checks again.
        let current = self.store.find(&req.input.key);
        conditions
            .evaluate(current.as_ref().map(|object| object.record.etag.as_str()))
            .map_err(super::store::ObjectStoreError::from)?;
        let expected = ExpectedBody {
            bytes: parse_length(req.input.content_length)?,
            md5: parse_md5(req.input.content_md5.as_deref())?,
            checksums: checksums_of!(req.input),
            trailers: req.trailing_headers.take(),
            ..ExpectedBody::default()
        }
        .with_headers(&req.headers);
        let received = receive(&self.store, req.input.body.take(), expected).await?;
        let new_object = NewObject {
            etag: received.etag,
            headers: headers_of!(req.input),
            metadata: req.input.metadata.take().unwrap_or_default().into_iter().collect(),
            checksums: received.checksums,
            checksum_of_all: true,
            multipart: false,
            content: vec![received.content],
            key: req.input.key.clone(),
        };
        let object = self.store.commit(new_object, conditions, event_origin(&req, "Put")).await?;
        let mut output = dto::PutObjectOutput { e_tag: Some(etag(&object)), ..Default::default() };
        set_checksums!(output, object.record.checksums);
        ok(output)
    }

    async fn get_object(
        &self,
        req: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let object = self.find(&req.input.bucket, &req.input.key)?;
        reply::check_conditions(&object, &read_conditions!(req.input))?;
        let part = reply::select_bytes(&object, req.input.range, req.input.part_number)?;
        let body = read_range(&object, part.bytes.clone());
        let mut output = reply::get_output(&object, &part, req.input.checksum_mode.is_some());
        output.body = Some(dto::StreamingBlob::wrap(body));
        ok(output)
    }

    async fn head_object(
        &self,
        req: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let object = self.find(&req.input.bucket, &req.input.key)?;
        reply::check_conditions(&object, &read_conditions!(req.input))?;
        let part = reply::select_bytes(&object, req.input.range, req.input.part_number)?;
        let mut answer =
            S3Response::new(reply::head_output(&object, &part, req.input.checksum_mode.is_some()));
        reply::override_headers(&mut answer.headers, &req.input)?;
        Ok(answer)
    }

    async fn delete_object(
        &self,
        mut req: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let conditions = write_conditions(req.input.if_match.take(), None)?;
        self.store.remove(req.input.key, conditions).await?;
        ok(dto::DeleteObjectOutput::default())
    }

    async fn delete_objects(
        &self,
        req: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let dto::Delete { objects, quiet } = req.input.delete;
        if objects.is_empty() || objects.len() > MAX_KEYS {
            return Err(s3_error!(MalformedXML, "a deletion must name 1 to 1000 keys"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            let conditions = write_conditions(object.e_tag.map(ETagCondition::ETag), None)?;
            match self.store.remove(object.key.clone(), conditions).await.map_err(S3Error::from) {
                Ok(()) => {
                    deleted.push(dto::DeletedObject { key: Some(object.key), ..Default::default() });
                }
                Err(error) => errors.push(dto::Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let deleted = (!quiet.unwrap_or(false)).then_some(deleted);
        ok(dto::DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() })
    }

    async fn copy_object(
        &self,
        mut req: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let source = self.copy_source(&req.input.copy_source, &source_conditions!(req.input))?;
        let replace = req.input.metadata_directive.as_ref().is_some_and(|word| word.as_str() == "REPLACE");
        if source.record.key == req.input.key && !replace {
            return Err(s3_error!(
                InvalidRequest,
                "an object can be copied to itself only to change its metadata"
            ));
        }
        let (headers, metadata) = if replace {
            (headers_of!(req.input), req.input.metadata.take().unwrap_or_default().into_iter().collect())
        } else {
            (source.record.headers.clone(), source.record.metadata.clone())
        };
        let new_object = NewObject {
            etag: source.record.etag.clone(),
            headers,
            metadata,
            checksums: source.record.checksums.clone(),
            checksum_of_all: source.record.checksum_of_all,
            multipart: source.record.multipart,
            content: self.link_content(&source).await?,
            key: req.input.key.clone(),
        };
        let conditions = WriteConditions::default();
        let object = self.store.commit(new_object, conditions, event_origin(&req, "Copy")).await?;
        let mut result = dto::CopyObjectResult {
            e_tag: Some(etag(&object)),
            last_modified: Some(object.modified()),
            ..Default::default()
        };
        set_checksums!(result, object.record.checksums);
        ok(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = req.input;
        self.check_bucket(&input.bucket)?;
        let token = input.continuation_token.as_deref().map(decode_token).transpose()?;
        let query = ListQuery {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: match (&token, &input.start_after) {
                (Some(entry), _) => ListAfter::Entry(entry),
                (None, Some(key)) => ListAfter::Key(key),
                (None, None) => ListAfter::Start,
            },
            max_keys: max_keys(input.max_keys)?,
        };
        let is_url_encoded = input.encoding_type.is_some();
        let state = self.store.0.state();
        let page = list_page(&state.objects, &query);
        ok(dto::ListObjectsV2Output {
            key_count: i32::try_from(page.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(|entry| URL_SAFE_NO_PAD.encode(entry)),
            contents: Some(contents(&page, is_url_encoded)),
            common_prefixes: Some(common_prefixes(&page, is_url_encoded)),
            max_keys: i32::try_from(query.max_keys).ok(),
            prefix: Some(encode_key(query.prefix, is_url_encoded)),
            delimiter: input.delimiter.as_deref().map(|text| encode_key(text, is_url_encoded)),
            start_after: input.start_after.as_deref().map(|text| encode_key(text, is_url_encoded)),
            continuation_token: input.continuation_token.clone(),
            encoding_type: input.encoding_type,
            name: Some(input.bucket),
            ..Default::default()
        })
    }

    async fn list_objects(
        &self,
        req: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let input = req.input;
        self.check_bucket(&input.bucket)?;
        let query = ListQuery {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.marker.as_deref().map_or(ListAfter::Start, ListAfter::Entry),
            max_keys: max_keys(input.max_keys)?,
        };
        let is_url_encoded = input.encoding_type.is_some();
        let state = self.store.0.state();
        let page = list_page(&state.objects, &query);
        // Without a delimiter the client uses the last key instead.
        let next = page.next.as_deref().filter(|_| !query.delimiter.is_empty());
        ok(dto::ListObjectsOutput {
            is_truncated: Some(page.next.is_some()),
            next_marker: next.map(|entry| encode_key(entry, is_url_encoded)),
            contents: Some(contents(&page, is_url_encoded)),
            common_prefixes: Some(common_prefixes(&page, is_url_encoded)),
            max_keys: i32::try_from(query.max_keys).ok(),
            prefix: Some(encode_key(query.prefix, is_url_encoded)),
            marker: Some(encode_key(input.marker.as_deref().unwrap_or_default(), is_url_encoded)),
            delimiter: input.delimiter.as_deref().map(|text| encode_key(text, is_url_encoded)),
            encoding_type: input.encoding_type,
            name: Some(input.bucket),
            ..Default::default()
        })
    }

    async fn create_multipart_upload(
        &self,
        mut req: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let algorithm_name = req.input.checksum_algorithm.as_ref().map(|word| word.as_str().to_owned());
        let algorithm = algorithm_name.as_deref().and_then(ChecksumAlgorithm::parse);
        let checksum_type = req.input.checksum_type.as_ref().map(|word| word.as_str().to_owned());
        // CRC64NVME supports no checksum of checksums.
        let is_full_object = checksum_type.as_deref() == Some("FULL_OBJECT")
            || algorithm == Some(ChecksumAlgorithm::Crc64nvme);
        let record = UploadRecord {
            id: self.store.0.entropy.random_hex(),
            started_ms: self.store.0.clock.now_ms(),
            headers: headers_of!(req.input),
            metadata: req.input.metadata.take().unwrap_or_default().into_iter().collect(),
            algorithm,
            checksum_of_all: is_full_object,
            key: req.input.key.clone(),
        };
        let id = record.id.clone();
        self.store.create_upload(record).await?;
        ok(dto::CreateMultipartUploadOutput {
            bucket: Some(req.input.bucket),
            key: Some(req.input.key),
            upload_id: Some(id),
            checksum_algorithm: req.input.checksum_algorithm,
            checksum_type: req.input.checksum_type,
            ..Default::default()
        })
    }

    async fn upload_part(
        &self,
        mut req: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let number = part_number(req.input.part_number)?;
        let upload = self.store.upload(&req.input.key, &req.input.upload_id)?;
        let expected = ExpectedBody {
            bytes: parse_length(req.input.content_length)?,
            md5: parse_md5(req.input.content_md5.as_deref())?,
            checksums: checksums_of!(req.input),
            algorithms: upload.record.algorithm.into_iter().collect(),
            trailers: req.trailing_headers.take(),
            ..ExpectedBody::default()
        }
        .with_headers(&req.headers);
        let received = receive(&self.store, req.input.body.take(), expected).await?;
        let name = (req.input.key, req.input.upload_id);
        let part =
            self.store.add_part(name, number, received.content, received.etag, received.checksums).await?;
        let mut output =
            dto::UploadPartOutput { e_tag: Some(ETag::Strong(part.etag.clone())), ..Default::default() };
        set_checksums!(output, part.checksums);
        ok(output)
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let number = part_number(req.input.part_number)?;
        let upload = self.store.upload(&req.input.key, &req.input.upload_id)?;
        let source = self.copy_source(&req.input.copy_source, &source_conditions!(req.input))?;
        let range = match req.input.copy_source_range.as_deref() {
            None => 0..source.record.bytes,
            // Unlike a GET's, this range must be within the source, and have both ends.
            Some(text) => dto::Range::parse(text)
                .ok()
                .and_then(|range| match range {
                    dto::Range::Int { first, last: Some(last) } if last < source.record.bytes => {
                        Some(first..last + 1)
                    }
                    _ => None,
                })
                .ok_or_else(|| s3_error!(InvalidArgument, "the range is not within the source"))?,
        };
        let expected = ExpectedBody {
            algorithms: upload.record.algorithm.into_iter().collect(),
            ..ExpectedBody::default()
        };
        let body = Box::pin(read_range(&source, range));
        let received = receive(&self.store, Some(body), expected).await?;
        let name = (req.input.key, req.input.upload_id);
        let part =
            self.store.add_part(name, number, received.content, received.etag, received.checksums).await?;
        let mut result = dto::CopyPartResult {
            e_tag: Some(ETag::Strong(part.etag.clone())),
            last_modified: Some(http_time(part.modified_ms)),
            ..Default::default()
        };
        set_checksums!(result, part.checksums);
        ok(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
    }

    async fn list_parts(
        &self,
        req: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let input = req.input;
        self.check_bucket(&input.bucket)?;
        let upload = self.store.upload(&input.key, &input.upload_id)?;
        let limit = max_keys(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let mut later_parts = upload.parts.values().filter(|part| i32::from(part.record.number) > marker);
        let parts: Vec<_> = later_parts
            .by_ref()
            .take(limit)
            .map(|part| {
                let mut output = dto::Part {
                    e_tag: Some(ETag::Strong(part.record.etag.clone())),
                    last_modified: Some(http_time(part.record.modified_ms)),
                    part_number: Some(i32::from(part.record.number)),
                    size: i64::try_from(part.record.segment.bytes).ok(),
                    ..Default::default()
                };
                set_checksums!(output, part.record.checksums);
                output
            })
            .collect();
        let last = parts.last().and_then(|part| part.part_number);
        ok(dto::ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(later_parts.next().is_some()),
            next_part_number_marker: last.or(Some(marker)),
            part_number_marker: Some(marker),
            max_parts: i32::try_from(limit).ok(),
            parts: Some(parts),
            storage_class: Some(dto::StorageClass::from_static("STANDARD")),
            ..Default::default()
        })
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        self.check_bucket(&req.input.bucket)?;
        reply::list_uploads(&self.store.0.state().uploads, req.input).map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        self.check_bucket(&req.input.bucket)?;
        self.store.abort(req.input.key, req.input.upload_id).await?;
        ok(dto::AbortMultipartUploadOutput::default())
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let conditions = write_conditions(req.input.if_match.take(), req.input.if_none_match.as_ref())?;
        let completed_parts =
            req.input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
        if completed_parts.is_empty() {
            return Err(s3_error!(MalformedXML, "a completion must name at least one part"));
        }
        let parts = completed_parts
            .into_iter()
            .map(|part| PartReference {
                number: part.part_number.unwrap_or(0),
                checksums: checksums_of!(part),
                etag: part.e_tag.map(ETag::into_value).unwrap_or_default(),
            })
            .collect();
        let request = CompletionRequest {
            key: req.input.key.clone(),
            id: req.input.upload_id.clone(),
            parts,
            checksums: checksums_of!(req.input),
            bytes: parse_length(req.input.mpu_object_size)?,
            conditions,
            origin: event_origin(&req, "CompleteMultipartUpload"),
        };
        let object = self.store.complete(request).await?;
        let mut output = dto::CompleteMultipartUploadOutput {
            location: Some(reply::object_location(&req.headers, &req.input.bucket, &req.input.key)),
            bucket: Some(req.input.bucket),
            key: Some(req.input.key),
            e_tag: Some(etag(&object)),
            ..Default::default()
        };
        set_checksums!(output, object.record.checksums);
        ok(output)
    }
}

fn parse_length(bytes: Option<i64>) -> S3Result<Option<u64>> {
    bytes.map(u64::try_from).transpose().map_err(|_| S3Error::new(S3ErrorCode::InvalidArgument))
}

fn max_keys(requested: Option<i32>) -> S3Result<usize> {
    match requested.map(usize::try_from) {
        None => Ok(MAX_KEYS),
        Some(Ok(requested)) => Ok(requested.min(MAX_KEYS)),
        Some(Err(_)) => Err(s3_error!(InvalidArgument, "the maximum number of entries must not be negative")),
    }
}

fn decode_token(token: &str) -> S3Result<String> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|entry| entry.len() <= MAX_KEY_BYTES)
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

fn encode_key(text: &str, is_url_encoded: bool) -> String {
    if is_url_encoded { form_encode(text) } else { text.to_owned() }
}

fn contents(page: &ListingPage<'_, Arc<ObjectEntry>>, is_url_encoded: bool) -> Vec<dto::Object> {
    let entry = |(key, object): &(&str, &Arc<ObjectEntry>)| dto::Object {
        key: Some(encode_key(key, is_url_encoded)),
        e_tag: Some(etag(object)),
        last_modified: Some(object.modified()),
        size: i64::try_from(object.record.bytes).ok(),
        storage_class: Some(dto::ObjectStorageClass::from_static("STANDARD")),
        ..Default::default()
    };
    page.entries.iter().map(entry).collect()
}

fn common_prefixes(page: &ListingPage<'_, Arc<ObjectEntry>>, is_url_encoded: bool) -> Vec<dto::CommonPrefix> {
    page.prefixes
        .iter()
        .map(|prefix| dto::CommonPrefix { prefix: Some(encode_key(prefix, is_url_encoded)) })
        .collect()
}
