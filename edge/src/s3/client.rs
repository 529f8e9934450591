//! The client of the bucket: signs requests to S3, sends them, and maps the responses to results and problems.

use glimpse_contract::{Code, Grant, Json, Key, Manifest, Owner, Poster, Problem, State, VideoId};

use crate::config::Config;
use crate::platform::{self, FETCH_TIMEOUT_MS, FetchRequest, FetchResponse, RequestBody, Response};
use crate::s3::sigv4::SignError;
use crate::s3::{
    self, CompletedPart, CompletionError, Condition, ListPartsPage, MultipartUploadsPage, ObjectSelection,
    PartId, S3Request, UploadFilter,
};

/// Timeout of sending the bytes of a video to the storage, or of reading them, in milliseconds: long enough for a slow
/// client connection.
const TRANSFER_TIMEOUT_MS: u32 = 60 * 60 * 1000;
/// The largest JSON document or list page that is read, in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The bucket, as one request to the Worker uses it. Its methods are named after the operations of S3.
///
/// Each operation is signed at its own time, not at that of the request to the Worker: an upload through the Worker may
/// take longer than a signature is valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket<'a> {
    config: &'a Config,
    request_id: &'a str,
}

impl<'a> Bucket<'a> {
    /// The bucket of a deployment, for the request of this id.
    pub(crate) fn new(config: &'a Config, request_id: &'a str) -> Self {
        Self { config, request_id }
    }

    /// Signs a request now. `build` gets the configuration and the time in Unix milliseconds.
    ///
    /// # Errors
    /// `internal`
    pub(crate) fn sign<T>(
        &self,
        build: impl FnOnce(&'a Config, u64) -> Result<T, SignError>,
    ) -> Result<T, Problem> {
        build(self.config, platform::now_ms()).map_err(|error| {
            platform::log_error("sign", self.request_id, &error.to_string());
            Problem::new(Code::Internal)
        })
    }

    /// `GetObject`; `None` if there is no object.
    pub(crate) async fn get_object(&self, key: &Key) -> Result<Option<FetchResponse>, Problem> {
        self.find_object(self.sign(|config, now_ms| s3::get_object(key, config, now_ms))?).await
    }

    /// `GetObject` of the object with this ETag: these bytes, both ends included, or all of them. The body is not read
    /// here.
    pub(crate) async fn stream_object(
        &self,
        key: &Key,
        etag: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Response, Problem> {
        let request = self.sign(|config, now_ms| s3::get_range(key, etag, range, config, now_ms))?;
        let response = self.send_within(&request, RequestBody::Empty, TRANSFER_TIMEOUT_MS).await?;
        match response.status {
            200 | 206 => Ok(response.into_inner()),
            404 | 412 => Err(Problem::new(Code::NotFound)),
            status => Err(self.unexpected_status(status)),
        }
    }

    /// `HeadObject`; `None` if there is no object.
    pub(crate) async fn head_object(&self, key: &Key) -> Result<Option<FetchResponse>, Problem> {
        self.find_object(self.sign(|config, now_ms| s3::head_object(key, config, now_ms))?).await
    }

    /// `PutObject` with a signed request and its body; the status.
    pub(crate) async fn put_object(
        &self,
        request: &S3Request,
        body: RequestBody<'_>,
    ) -> Result<u16, Problem> {
        Ok(self.send_with_body(request, body).await?.status)
    }

    /// `PutObject` of a JSON document; `false` if its condition is not met.
    pub(crate) async fn put_json(
        &self,
        key: &Key,
        json: String,
        condition: Condition<'_>,
    ) -> Result<bool, Problem> {
        let request = self.sign(|config, now_ms| s3::put_json(key, json, condition, config, now_ms))?;
        match self.send(&request).await?.status {
            200 => Ok(true),
            404 | 409 | 412 if condition != Condition::Always => Ok(false),
            status => Err(self.unexpected_status(status)),
        }
    }

    /// `DeleteObject`; a missing object counts as deleted.
    pub(crate) async fn delete_object(&self, key: &Key) -> Result<(), Problem> {
        self.delete(self.sign(|config, now_ms| s3::delete_object(key, config, now_ms))?).await
    }

    /// `DeleteObjects`, at most 1,000.
    pub(crate) async fn delete_objects(&self, keys: &[String]) -> Result<(), Problem> {
        if keys.is_empty() {
            return Ok(());
        }
        let request = self.sign(|config, now_ms| s3::delete_objects(keys, config, now_ms))?;
        let response = self.send(&request).await?;
        let status = response.status;
        if status != 200 || read_text(response).await.contains("<Error>") {
            return Err(self.unexpected_status(status));
        }
        Ok(())
    }

    /// `ListObjectsV2`: one page, as `parse` reads it.
    pub(crate) async fn list_objects<T>(
        &self,
        selection: ObjectSelection,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Problem> {
        let request = self.sign(|config, now_ms| s3::list_objects(selection, config, now_ms))?;
        let xml = self.read_document(request).await?;
        parse(&xml).ok_or_else(|| self.unexpected_status(200))
    }

    /// `CreateMultipartUpload`: the upload id.
    pub(crate) async fn create_multipart_upload(&self, grant: &Grant) -> Result<String, Problem> {
        let request = self.sign(|config, now_ms| s3::create_multipart_upload(grant, config, now_ms))?;
        let xml = self.read_document(request).await?;
        s3::parse_upload_id(&xml).ok_or_else(|| self.unexpected_status(200))
    }

    /// `UploadPart`: the ETag of the part, with its quotes.
    pub(crate) async fn upload_part(&self, part: PartId<'_>, bytes: &[u8]) -> Result<String, Problem> {
        let request = self.sign(|config, now_ms| s3::upload_part(part, bytes.len(), config, now_ms))?;
        let response = self.send_with_body(&request, RequestBody::Bytes(bytes)).await?;
        let etag = response.header("etag").filter(|_| response.status == 200);
        etag.ok_or_else(|| self.unexpected_status(response.status))
    }

    /// `ListParts`: the page of parts after `after`; `None` if there is no such upload.
    pub(crate) async fn list_parts(
        &self,
        key: &Key,
        upload_id: &str,
        after: u64,
    ) -> Result<Option<ListPartsPage>, Problem> {
        let request = self.sign(|config, now_ms| s3::list_parts(key, upload_id, after, config, now_ms))?;
        let Some(response) = self.find_object(request).await? else { return Ok(None) };
        let page = ListPartsPage::parse(&read_text(response).await);
        page.map(Some).ok_or_else(|| self.unexpected_status(200))
    }

    /// `ListParts` without its parts: whether the upload is unfinished.
    pub(crate) async fn has_multipart_upload(&self, key: &Key, upload_id: &str) -> Result<bool, Problem> {
        let request = self.sign(|config, now_ms| s3::list_parts(key, upload_id, 0, config, now_ms))?;
        Ok(self.find_object(request).await?.is_some())
    }

    /// `CompleteMultipartUpload`; S3's error if it is not completed.
    pub(crate) async fn complete_multipart_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: &[CompletedPart],
    ) -> Result<Option<CompletionError>, Problem> {
        let request =
            self.sign(|config, now_ms| s3::complete_multipart_upload(key, upload_id, parts, config, now_ms))?;
        let response = self.send(&request).await?;
        let status = response.status;
        Ok(CompletionError::parse(status, read_text(response).await.as_bytes()))
    }

    /// `AbortMultipartUpload`; a missing upload counts as aborted.
    pub(crate) async fn abort_multipart_upload(&self, key: &Key, upload_id: &str) -> Result<(), Problem> {
        let sign = |config, now_ms| s3::abort_multipart_upload(key, upload_id, config, now_ms);
        self.delete(self.sign(sign)?).await
    }

    /// `ListMultipartUploads`: one page of the unfinished uploads of an owner.
    pub(crate) async fn list_multipart_uploads(
        &self,
        owner: &Owner,
        filter: UploadFilter,
        limit: usize,
    ) -> Result<MultipartUploadsPage, Problem> {
        let request =
            self.sign(|config, now_ms| s3::list_multipart_uploads(owner, filter, limit, config, now_ms))?;
        let xml = self.read_document(request).await?;
        MultipartUploadsPage::parse(&xml).ok_or_else(|| self.unexpected_status(200))
    }

    /// Reads a JSON document; `None` if it does not exist.
    pub(crate) async fn get_json(&self, key: &Key) -> Result<Option<Json>, Problem> {
        let Some(response) = self.get_object(key).await? else { return Ok(None) };
        let bytes = response.bytes(MAX_DOCUMENT_BYTES).await.unwrap_or_default();
        Json::parse(&bytes).map(Some).ok_or_else(|| self.unreadable_object(key))
    }

    /// The manifest of a video; `None` if there is none.
    pub(crate) async fn get_manifest(&self, video: VideoId) -> Result<Option<Manifest>, Problem> {
        let key = Key::Manifest(video);
        let Some(json) = self.get_json(&key).await? else { return Ok(None) };
        Manifest::from_json(&json).map(Some).ok_or_else(|| self.unreadable_object(&key))
    }

    /// The manifest with a poster that was chosen later.
    pub(crate) async fn get_manifest_with_poster(&self, video: VideoId) -> Result<Option<Manifest>, Problem> {
        let Some(mut manifest) = self.get_manifest(video).await? else { return Ok(None) };
        if manifest.state == State::Ready {
            let poster = self.get_json(&Key::Poster(video)).await?;
            if let Some(poster) = poster.as_ref().and_then(Poster::from_json) {
                manifest.apply_poster(poster);
            }
        }
        Ok(Some(manifest))
    }

    /// The problem for an unexpected status: a rejected signature, a missing permission, an internal error of S3.
    pub(crate) fn unexpected_status(&self, status: u16) -> Problem {
        platform::log_error("storage", self.request_id, &format!("S3 returned {status}"));
        Problem::new(match status {
            403 => Code::NoAccess,
            503 => Code::Busy,
            _ => Code::Upstream,
        })
    }

    fn unreadable_object(&self, key: &Key) -> Problem {
        platform::log_error("storage", self.request_id, &format!("{key} is not valid JSON"));
        Problem::new(Code::Upstream)
    }

    /// The response with status 200; `None` for 404.
    async fn find_object(&self, request: S3Request) -> Result<Option<FetchResponse>, Problem> {
        let response = self.send(&request).await?;
        match response.status {
            200 => Ok(Some(response)),
            404 => Ok(None),
            status => Err(self.unexpected_status(status)),
        }
    }

    async fn delete(&self, request: S3Request) -> Result<(), Problem> {
        match self.send(&request).await?.status {
            200 | 204 | 404 => Ok(()),
            status => Err(self.unexpected_status(status)),
        }
    }

    /// The XML of a response with status 200.
    async fn read_document(&self, request: S3Request) -> Result<String, Problem> {
        let response = self.send(&request).await?;
        match response.status {
            200 => Ok(read_text(response).await),
            status => Err(self.unexpected_status(status)),
        }
    }

    async fn send(&self, request: &S3Request) -> Result<FetchResponse, Problem> {
        let body = request.body.as_deref().map_or(RequestBody::Empty, RequestBody::Text);
        self.send_with_body(request, body).await
    }

    async fn send_with_body(
        &self,
        request: &S3Request,
        body: RequestBody<'_>,
    ) -> Result<FetchResponse, Problem> {
        let timeout_ms = match &body {
            RequestBody::Empty | RequestBody::Text(_) => FETCH_TIMEOUT_MS,
            RequestBody::Bytes(_) | RequestBody::Stream(_) => TRANSFER_TIMEOUT_MS,
        };
        self.send_within(request, body, timeout_ms).await
    }

    async fn send_within(
        &self,
        request: &S3Request,
        body: RequestBody<'_>,
        timeout_ms: u32,
    ) -> Result<FetchResponse, Problem> {
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            // It is signed, and set by the runtime when it sends the body.
            .filter(|(name, _)| *name != "content-length")
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let fetch_request =
            FetchRequest { method: request.method, url: &request.url, headers: &headers, body, timeout_ms };
        platform::fetch(fetch_request).await.map_err(|error| {
            platform::log_error("storage", self.request_id, &error.to_string());
            Problem::new(Code::Upstream)
        })
    }
}

/// The body of a response of S3 as text, at most [`MAX_DOCUMENT_BYTES`] of it; empty if it is longer or interrupted.
async fn read_text(response: FetchResponse) -> String {
    let bytes = response.bytes(MAX_DOCUMENT_BYTES).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
