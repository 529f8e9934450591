//! HTTP handlers for single-request uploads: streams the file to the bucket while it is received.
//!
//! A body of known length is passed through unread. Otherwise (a form, or chunked encoding) it is uploaded in parts,
//! one at a time, so that at most one part is in memory.

use glimpse_contract::{Code, Grant, Problem, object};

use crate::context::ApiContext;
use crate::http::response::Reply;
use crate::platform::{self, ChunkReader, Request, RequestBody};
use crate::s3::{CompletedPart, PartId, S3Request};
use crate::uploads::companion;
use crate::uploads::reservation;
use crate::uploads::{
    FormEvent, FormReader, UploadFields, UploadPolicy, body_too_large, complete_error, create_grant,
    presign_upload,
};
use crate::videos::handlers;

/// The length of a part, in bytes: a Worker has 128 MB in total, and each part is in memory twice for a moment.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// How often the outcome is checked for a client that waits, in milliseconds.
const POLL_INTERVAL_MS: u64 = 700;
/// The longest wait that a client may request, in seconds: limited by the number of requests that a Worker may make.
const MAX_WAIT_SECS: u64 = 30;

/// Uploads a file that is the body.
pub(crate) async fn upload_raw(
    request: &Request,
    name: &str,
    content_type: &str,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let length = platform::header(request, "content-length").and_then(|text| text.parse::<u64>().ok());
    let stream = platform::body_stream(request).ok_or_else(|| Problem::new(Code::Empty))?;
    let policy = context.upload_policy();
    let Some(length) = length else {
        let mut writer =
            UploadWriter::open(name, content_type, &UploadFields::default(), policy, context).await?;
        let mut chunks = ChunkReader::new(&stream).map_err(|_| client_disconnected())?;
        if let Err(problem) = copy_chunks(&mut chunks, &mut writer).await {
            writer.abort().await?;
            chunks.drain().await;
            return Err(problem);
        }
        return wait_and_respond(request, writer.complete().await?, context).await;
    };
    check_body_size(length, context)?;
    policy.check_size(length)?;
    let grant = reserve_grant(name, content_type, &UploadFields::default(), &policy, context).await?;
    put_object(&grant, length, RequestBody::Stream(stream), context).await?;
    wait_and_respond(request, grant, context).await
}

async fn copy_chunks(chunks: &mut ChunkReader, writer: &mut UploadWriter<'_>) -> Result<(), Problem> {
    while let Some(chunk) = chunks.next().await.map_err(|_| client_disconnected())? {
        writer.write(&chunk).await?;
    }
    Ok(())
}

/// Uploads the file in a form, as sent by `curl -F` or a page's `FormData`.
pub(crate) async fn upload_form(
    request: &Request,
    boundary: &str,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let length = platform::header(request, "content-length").and_then(|text| text.parse::<u64>().ok());
    if let Some(length) = length {
        check_body_size(length, context)?;
    }
    let stream = platform::body_stream(request).ok_or_else(|| Problem::new(Code::Empty))?;
    let chunks = ChunkReader::new(&stream).map_err(|_| client_disconnected())?;
    let mut form_upload = FormUpload { chunks, reader: FormReader::new(boundary) };
    match form_upload.receive_file(context).await {
        Ok(grant) => wait_and_respond(request, grant, context).await,
        Err(problem) => {
            form_upload.chunks.drain().await;
            Err(problem)
        }
    }
}

/// A form that is being received.
struct FormUpload {
    chunks: ChunkReader,
    reader: FormReader,
}

impl FormUpload {
    async fn receive_file(&mut self, context: &ApiContext<'_>) -> Result<Grant, Problem> {
        let mut fields = UploadFields::default();
        let (name, content_type) = loop {
            match self.next_event().await? {
                FormEvent::Field { name, value } => fields.set(&name, &value)?,
                FormEvent::File { name, content_type } => break (name, content_type),
                FormEvent::Data(_) | FormEvent::End => {
                    let detail = "The form has no file. Send it as the last field, `file`.";
                    return Err(Problem::with_detail(Code::BadParameter, detail));
                }
            }
        };
        let mut writer =
            UploadWriter::open(&name, &content_type, &fields, context.upload_policy(), context).await?;
        match self.copy_file(&mut writer).await {
            Ok(()) => writer.complete().await,
            Err(problem) => {
                writer.abort().await?;
                Err(problem)
            }
        }
    }

    async fn next_event(&mut self) -> Result<FormEvent, Problem> {
        loop {
            if let Some(event) = self.reader.next_event()? {
                return Ok(event);
            }
            // A disconnected client ends here as well.
            let chunk = self.chunks.next().await.ok().flatten().ok_or_else(client_disconnected)?;
            self.reader.push(chunk);
        }
    }

    /// Uploads the file. The form must end after it: the upload is already signed, so later fields would have no
    /// effect.
    async fn copy_file(&mut self, writer: &mut UploadWriter<'_>) -> Result<(), Problem> {
        while let FormEvent::Data(data) = self.next_event().await? {
            writer.write(&data).await?;
        }
        Ok(())
    }
}

/// A multipart upload of the received file to the bucket.
struct UploadWriter<'a> {
    grant: Grant,
    policy: UploadPolicy,
    context: &'a ApiContext<'a>,
    upload_id: Option<String>,
    part: Vec<u8>,
    parts: Vec<CompletedPart>,
    bytes: u64,
}

impl<'a> UploadWriter<'a> {
    async fn open(
        name: &str,
        content_type: &str,
        fields: &UploadFields,
        policy: UploadPolicy,
        context: &'a ApiContext<'a>,
    ) -> Result<Self, Problem> {
        let grant = reserve_grant(name, content_type, fields, &policy, context).await?;
        Ok(Self { grant, policy, context, upload_id: None, part: Vec::new(), parts: Vec::new(), bytes: 0 })
    }

    async fn write(&mut self, mut chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.policy.max_bytes {
            self.abort().await?;
            return Err(self.policy.too_large_problem("is too large"));
        }
        if self.bytes > self.context.config.max_body_bytes {
            self.abort().await?;
            return Err(body_too_large(self.context.config));
        }
        while self.part.len() + chunk.len() >= PART_BYTES {
            let (head, rest) = chunk.split_at(PART_BYTES - self.part.len());
            self.part.extend_from_slice(head);
            self.upload_part().await?;
            chunk = rest;
        }
        self.part.extend_from_slice(chunk);
        Ok(())
    }

    async fn upload_part(&mut self) -> Result<(), Problem> {
        let bucket = self.context.bucket();
        if self.upload_id.is_none() {
            self.upload_id = Some(bucket.create_multipart_upload(&self.grant).await?);
        }
        let upload_id = self.upload_id.as_deref().unwrap_or_default();
        let number = self.parts.len() as u64 + 1;
        let key = self.grant.key();
        let part = PartId { key: &key, upload_id, number };
        match bucket.upload_part(part, &self.part).await {
            Ok(etag) => {
                self.parts.push(CompletedPart { number, etag: etag.trim_matches('"').to_owned() });
                self.part.clear();
                Ok(())
            }
            Err(problem) => {
                self.abort().await?;
                Err(problem)
            }
        }
    }

    /// Aborts the upload, so that its parts do not cost anything.
    async fn abort(&mut self) -> Result<(), Problem> {
        match self.upload_id.take() {
            Some(upload_id) => {
                self.context.bucket().abort_multipart_upload(&self.grant.key(), &upload_id).await
            }
            None => Ok(()),
        }
    }

    async fn complete(mut self) -> Result<Grant, Problem> {
        if self.upload_id.is_none() {
            self.policy.check_size(self.bytes)?;
            put_object(&self.grant, self.bytes, RequestBody::Bytes(&self.part), self.context).await?;
            return Ok(self.grant);
        }
        if !self.part.is_empty() {
            self.upload_part().await?;
        }
        let upload_id = self.upload_id.as_deref().unwrap_or_default();
        companion::complete_multipart_upload(&self.grant.key(), upload_id, &self.parts, self.context).await?;
        Ok(self.grant)
    }
}

async fn put_object(
    grant: &Grant,
    bytes: u64,
    body: RequestBody<'_>,
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    let bucket = context.bucket();
    let upload = bucket.sign(|config, now_ms| presign_upload(grant, bytes, None, config, now_ms))?;
    let headers = upload.headers.into_iter().collect();
    let request = S3Request { method: "PUT", url: upload.url, headers, body: None };
    match bucket.put_object(&request, body).await? {
        200 => Ok(()),
        412 => Err(complete_error("PreconditionFailed")),
        400 => Err(client_disconnected()),
        status => Err(bucket.unexpected_status(status)),
    }
}

async fn reserve_grant(
    name: &str,
    content_type: &str,
    fields: &UploadFields,
    policy: &UploadPolicy,
    context: &ApiContext<'_>,
) -> Result<Grant, Problem> {
    policy.resolve_type(content_type, name)?;
    let policy = fields.apply(policy.clone())?;
    let video = reservation::allocate_id(context).await?;
    create_grant(&context.caller.owner, video, name, content_type, &policy)
}

/// Rejects a body that exceeds the limit of Cloudflare's network, which would reject it without a problem document.
fn check_body_size(length: u64, context: &ApiContext<'_>) -> Result<(), Problem> {
    if length > context.config.max_body_bytes { Err(body_too_large(context.config)) } else { Ok(()) }
}

fn client_disconnected() -> Problem {
    Problem::with_detail(Code::BadParameter, "The upload was interrupted.")
}

/// 201 with the video, or 200 if the client requested to wait and the outcome is known.
async fn wait_and_respond(
    request: &Request,
    grant: Grant,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let wait = platform::header(request, "prefer").and_then(|prefer| prefer_wait_secs(&prefer));
    let deadline_ms = platform::now_ms() + wait.unwrap_or(0).min(MAX_WAIT_SECS) * 1000;
    loop {
        let video = handlers::find(grant.video, &context.at_current_time())
            .await?
            .ok_or_else(|| Problem::new(Code::Upstream))?;
        let has_outcome = !matches!(video.state(), "uploading" | "processing");
        let has_time = platform::now_ms() + POLL_INTERVAL_MS < deadline_ms;
        if has_outcome || !has_time {
            let status = if has_outcome { 200 } else { 201 };
            let mut reply = Reply::json(
                status,
                &object! { "video" => handlers::created_json_for(&video, context.caller) },
            )
            .with_header("location", format!("/api/videos/{}", grant.video));
            if let Some(secs) = wait {
                reply = reply.with_header("preference-applied", format!("wait={}", secs.min(MAX_WAIT_SECS)));
            }
            return Ok(reply);
        }
        platform::sleep_ms(POLL_INTERVAL_MS).await;
    }
}

/// The seconds of `Prefer: wait=30`, RFC 7240 section 4.3.
fn prefer_wait_secs(prefer: &str) -> Option<u64> {
    prefer.split([',', ';']).find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prefer_wait() {
        assert_eq!(prefer_wait_secs("wait=30"), Some(30));
        assert_eq!(prefer_wait_secs("respond-async, Wait = \"10\"; foo=bar"), Some(10));
        for none in ["", "wait", "wait=x", "return=minimal"] {
            assert_eq!(prefer_wait_secs(none), None, "{none}");
        }
    }
}
