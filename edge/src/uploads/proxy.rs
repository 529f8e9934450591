//! Decides nothing by itself: takes a video in one call and passes it on to the bucket while it comes.
//!
//! A body whose length is known goes through without being looked at. Otherwise (a form, or chunks) it is sent on in
//! parts, one at a time, so that no more than one part is ever held.

use glimpse_contract::{Code, Grant, Problem, object};

use crate::Call;
use crate::http::response::Reply;
use crate::platform::{self, Chunks, Request, Sent};
use crate::s3::client;
use crate::s3::{self, NamedPart, S3Request};
use crate::uploads::companion;
use crate::uploads::reservation;
use crate::uploads::{
    Allowance, Fields, FormEvent, FormReader, body_too_large, complete_error, grant, presign_upload,
};
use crate::videos::handlers;

/// The length of a part, in bytes: a Worker has 128 MB for everything, and each part is there twice for a moment.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// How often somebody who waits looks again, in milliseconds.
const LOOK_MS: u64 = 700;
/// The longest that somebody may wish to wait, in seconds: so many looks a Worker may take.
const MAX_WAIT_SECS: u64 = 30;

/// A file whose bytes are the body.
pub(crate) async fn raw(
    request: &Request,
    name: &str,
    content_type: &str,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let length = platform::header(request, "content-length").and_then(|text| text.parse::<u64>().ok());
    let stream = platform::body_stream(request).ok_or_else(|| Problem::new(Code::Empty))?;
    let allowance = call.allowance();
    let Some(length) = length else {
        let mut pipe = Pipe::open(name, content_type, &Fields::default(), allowance, call).await?;
        let mut chunks = Chunks::of(&stream).map_err(|_| broken_off())?;
        if let Err(problem) = copy_chunks(&mut chunks, &mut pipe).await {
            pipe.give_up().await?;
            chunks.drain().await;
            return Err(problem);
        }
        return answer(request, pipe.finish().await?, call).await;
    };
    fits(length, call)?;
    allowance.checked_size(length)?;
    let grant = granted(name, content_type, &Fields::default(), &allowance, call).await?;
    put(&grant, length, Sent::Stream(stream), call).await?;
    answer(request, grant, call).await
}

async fn copy_chunks(chunks: &mut Chunks, pipe: &mut Pipe<'_>) -> Result<(), Problem> {
    while let Some(chunk) = chunks.next().await.map_err(|_| broken_off())? {
        pipe.push(&chunk).await?;
    }
    Ok(())
}

/// A form with the file in it, as `curl -F` and a page's `FormData` send it.
pub(crate) async fn form(request: &Request, boundary: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let length = platform::header(request, "content-length").and_then(|text| text.parse::<u64>().ok());
    if let Some(length) = length {
        fits(length, call)?;
    }
    let stream = platform::body_stream(request).ok_or_else(|| Problem::new(Code::Empty))?;
    let chunks = Chunks::of(&stream).map_err(|_| broken_off())?;
    let mut form = Form { chunks, reader: FormReader::new(boundary) };
    match form.take(call).await {
        Ok(grant) => answer(request, grant, call).await,
        Err(problem) => {
            form.chunks.drain().await;
            Err(problem)
        }
    }
}

/// A form that is being read.
struct Form {
    chunks: Chunks,
    reader: FormReader,
}

impl Form {
    async fn take(&mut self, call: &Call<'_>) -> Result<Grant, Problem> {
        let mut fields = Fields::default();
        let (name, content_type) = loop {
            match self.next().await? {
                FormEvent::Field { name, value } => fields.set(&name, &value)?,
                FormEvent::File { name, content_type } => break (name, content_type),
                FormEvent::Data(_) | FormEvent::End => {
                    let detail = "The form has no file: send it as the field `file`, after the others.";
                    return Err(Problem::because(Code::BadParameter, detail));
                }
            }
        };
        let mut pipe = Pipe::open(&name, &content_type, &fields, call.allowance(), call).await?;
        match self.copy_file(&mut pipe).await {
            Ok(()) => pipe.finish().await,
            Err(problem) => {
                pipe.give_up().await?;
                Err(problem)
            }
        }
    }

    async fn next(&mut self) -> Result<FormEvent, Problem> {
        loop {
            if let Some(event) = self.reader.next_event()? {
                return Ok(event);
            }
            // A client that is gone ends here as well.
            let chunk = self.chunks.next().await.ok().flatten().ok_or_else(broken_off)?;
            self.reader.push(chunk);
        }
    }

    /// Sends the file on. The form has to end behind it: what would be said there would not be heard.
    async fn copy_file(&mut self, pipe: &mut Pipe<'_>) -> Result<(), Problem> {
        while let FormEvent::Data(data) = self.next().await? {
            pipe.push(&data).await?;
        }
        Ok(())
    }
}

/// A video on its way into the bucket.
struct Pipe<'a> {
    grant: Grant,
    allowance: Allowance,
    call: &'a Call<'a>,
    upload_id: Option<String>,
    part: Vec<u8>,
    parts: Vec<NamedPart>,
    bytes: u64,
}

impl<'a> Pipe<'a> {
    async fn open(
        name: &str,
        content_type: &str,
        fields: &Fields,
        allowance: Allowance,
        call: &'a Call<'a>,
    ) -> Result<Self, Problem> {
        let grant = granted(name, content_type, fields, &allowance, call).await?;
        Ok(Self { grant, allowance, call, upload_id: None, part: Vec::new(), parts: Vec::new(), bytes: 0 })
    }

    async fn push(&mut self, mut chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.allowance.max_bytes {
            self.give_up().await?;
            return Err(self.allowance.too_large("is larger than is allowed"));
        }
        if self.bytes > self.call.config.max_body_bytes {
            self.give_up().await?;
            return Err(body_too_large(self.call.config));
        }
        while self.part.len() + chunk.len() >= PART_BYTES {
            let (head, rest) = chunk.split_at(PART_BYTES - self.part.len());
            self.part.extend_from_slice(head);
            self.send_part().await?;
            chunk = rest;
        }
        self.part.extend_from_slice(chunk);
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), Problem> {
        if self.upload_id.is_none() {
            self.upload_id = Some(companion::begin(&self.grant, self.call).await?);
        }
        let upload_id = self.upload_id.as_deref().unwrap_or_default();
        let (config, request_id) = (self.call.config, self.call.request_id);
        let number = self.parts.len() as u64 + 1;
        let key = self.grant.key();
        let signed = s3::upload_part(&key, upload_id, number, self.part.len(), config, platform::now_ms());
        let signed = client::sign(signed, request_id)?;
        let answer = client::send_with(&signed, Sent::Bytes(&self.part), request_id).await;
        let etag = match answer {
            Ok(answer) if answer.status == 200 => answer.header("etag"),
            Ok(answer) => {
                self.give_up().await?;
                return Err(client::unexpected(answer.status, request_id));
            }
            Err(problem) => {
                self.give_up().await?;
                return Err(problem);
            }
        };
        let etag = etag.ok_or_else(|| client::unexpected(200, request_id))?;
        self.parts.push(NamedPart { number, etag: etag.trim_matches('"').to_owned() });
        self.part.clear();
        Ok(())
    }

    /// What was begun is taken back, so that nobody pays for it.
    async fn give_up(&mut self) -> Result<(), Problem> {
        match self.upload_id.take() {
            Some(upload_id) => companion::give_up(&self.grant.key(), &upload_id, self.call).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Grant, Problem> {
        if self.upload_id.is_none() {
            self.allowance.checked_size(self.bytes)?;
            put(&self.grant, self.bytes, Sent::Bytes(&self.part), self.call).await?;
            return Ok(self.grant);
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        let upload_id = self.upload_id.as_deref().unwrap_or_default();
        companion::finish(&self.grant.key(), upload_id, &self.parts, self.call).await?;
        Ok(self.grant)
    }
}

async fn put(grant: &Grant, bytes: u64, body: Sent<'_>, call: &Call<'_>) -> Result<(), Problem> {
    let upload = presign_upload(grant, bytes, None, call.config, platform::now_ms());
    let upload = client::sign(upload, call.request_id)?;
    let headers = upload.headers.into_iter().collect();
    let request = S3Request { method: "PUT", url: upload.url, headers, body: None };
    let answer = client::send_with(&request, body, call.request_id).await?;
    match answer.status {
        200 => Ok(()),
        412 => Err(complete_error("PreconditionFailed")),
        400 => Err(broken_off()),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

async fn granted(
    name: &str,
    content_type: &str,
    fields: &Fields,
    allowance: &Allowance,
    call: &Call<'_>,
) -> Result<Grant, Problem> {
    allowance.resolve_type(content_type, name)?;
    let allowance = fields.apply(allowance.clone(), call.caller)?;
    let video = reservation::next_video(call).await?;
    grant(&call.caller.owner, video, name, content_type, &allowance)
}

/// Whether the network before this Worker passes such a body on at all; where it does not, it answers in words of its own.
fn fits(length: u64, call: &Call<'_>) -> Result<(), Problem> {
    if length > call.config.max_body_bytes { Err(body_too_large(call.config)) } else { Ok(()) }
}

fn broken_off() -> Problem {
    Problem::because(Code::BadParameter, "The upload broke off before its end.")
}

/// 201 with the video, or 200 if the client wished to wait and the outcome is known.
async fn answer(request: &Request, grant: Grant, call: &Call<'_>) -> Result<Reply, Problem> {
    let wait = platform::header(request, "prefer").and_then(|prefer| wait_secs(&prefer));
    let until = platform::now_ms() + wait.unwrap_or(0).min(MAX_WAIT_SECS) * 1000;
    loop {
        let video = handlers::find(grant.video, call).await?.ok_or_else(|| Problem::new(Code::Upstream))?;
        let is_over = !matches!(video.state(), "uploading" | "processing");
        let has_time = platform::now_ms() + LOOK_MS < until;
        if is_over || !has_time {
            let status = if is_over { 200 } else { 201 };
            let mut reply =
                Reply::json(status, &object! { "video" => handlers::begun_json_for(&video, call.caller) })
                    .with("location", format!("/api/videos/{}", grant.video));
            if let Some(secs) = wait {
                reply = reply.with("preference-applied", format!("wait={}", secs.min(MAX_WAIT_SECS)));
            }
            return Ok(reply);
        }
        platform::sleep_ms(LOOK_MS).await;
    }
}

/// The seconds of `Prefer: wait=30`, RFC 7240 section 4.3.
fn wait_secs(prefer: &str) -> Option<u64> {
    prefer.split([',', ';']).find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_wait_is_read_among_others() {
        assert_eq!(wait_secs("wait=30"), Some(30));
        assert_eq!(wait_secs("respond-async, Wait = \"10\"; foo=bar"), Some(10));
        for none in ["", "wait", "wait=x", "return=minimal"] {
            assert_eq!(wait_secs(none), None, "{none}");
        }
    }
}
