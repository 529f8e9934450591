//! `glimpse upload`: several files at once, whole or in parts; parts are sent in parallel, again after errors, and not
//! again after an interruption.

mod body;
mod fingerprint;
mod plan;
mod progress;
mod send;
mod state;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use glimpse_contract::{VideoId, limits};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::api::{Api, ErrorResponse, random_fraction};
use crate::context::Context;
use crate::events;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::output::{clean, format_bytes, print_note};
use crate::retry;
use crate::upload::body::Content;
use crate::upload::plan::{Part, StoredPart};
use crate::upload::progress::{FileProgress, Progress};
use crate::upload::send::{PutOutcome, SignedPut, put};
use crate::upload::state::{UnfinishedUpload, UploadRecord};
use crate::videos::join_failures;

/// How many files are uploaded at once.
const MAX_FILES: usize = 4;
/// How often a refused signature is replaced in a row: one that has expired while it was used, and one by chance.
const MAX_REFUSALS: u32 = 2;
/// The validity of the upload token that creates an upload in parts, in seconds.
const CREATION_TOKEN_SECS: u64 = 60;
/// The name of standard input.
const STDIN: &str = "-";

/// Escapes everything except RFC 3986's unreserved characters.
const ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The arguments of `glimpse upload`.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct UploadOptions {
    /// Paths, or `-`.
    pub(crate) files: Vec<String>,
    /// The name of the video, if not the file's.
    pub(crate) name: Option<String>,
    /// The media type, if not by the name.
    pub(crate) content_type: Option<String>,
    /// `visibility`, `external_id` and `metadata`.
    pub(crate) details: Map<String, Value>,
    /// Whether files are sent in one request, whatever their length.
    pub(crate) is_whole: bool,
    /// How many requests are sent at once.
    pub(crate) parallel: usize,
    /// Whether to wait for the outcome.
    pub(crate) is_waiting: bool,
    /// Whether no progress is shown.
    pub(crate) is_quiet: bool,
    /// Whether unfinished uploads are neither resumed nor recorded.
    pub(crate) is_fresh: bool,
}

/// `glimpse upload`.
pub(crate) async fn run(context: &Context, options: UploadOptions) -> CommandResult<()> {
    check_options(&options)?;
    let progress = Progress::new(options.is_quiet);
    let work = async {
        let api = context.api()?;
        let me = api.call(Method::GET, "/api/me", None).await?;
        let max_bytes =
            me["limits"]["max_upload_bytes"].as_u64().unwrap_or(limits::MAX_MULTIPART_UPLOAD_BYTES);
        let uploader = Uploader {
            api: &api,
            context,
            options: &options,
            progress: &progress,
            slots: Semaphore::new(options.parallel),
            max_bytes,
        };
        uploader.upload_all().await
    };
    let result = tokio::select! {
        result = work => result,
        () = interrupted() => {
            Err(Failure::new(ExitStatus::Interrupted, "interrupted: run the same command again to resume"))
        }
    };
    if result.is_err() {
        progress.clear();
    }
    result
}

fn check_options(options: &UploadOptions) -> CommandResult<()> {
    let stdin_count = options.files.iter().filter(|file| *file == STDIN).count();
    if stdin_count > 1 {
        return Err(Failure::usage("standard input can be uploaded once"));
    }
    if options.files.len() > 1 && options.name.is_some() {
        return Err(Failure::usage("--name is for a single file"));
    }
    if options.is_whole && stdin_count > 0 {
        return Err(Failure::usage("--whole needs a file, whose length is known"));
    }
    Ok(())
}

/// Returns when the user or the system asks the program to stop.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
        let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(received).await;
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// A file to upload.
struct Input {
    /// As it was given.
    argument: String,
    /// The name of the video.
    name: String,
    source: Source,
}

enum Source {
    File { path: PathBuf, metadata: std::fs::Metadata },
    Stdin,
}

struct Uploader<'a> {
    api: &'a Api,
    context: &'a Context,
    options: &'a UploadOptions,
    progress: &'a Progress,
    slots: Semaphore,
    max_bytes: u64,
}

impl Uploader<'_> {
    async fn upload_all(&self) -> CommandResult<()> {
        // All files are checked before the first is sent.
        let inputs: Vec<Input> =
            self.options.files.iter().map(|file| self.open(file)).collect::<CommandResult<_>>()?;
        let count = inputs.len();
        let mut results = stream::iter(inputs)
            .map(|input| async move { (self.upload(&input).await, input) })
            .buffer_unordered(MAX_FILES);
        let mut failures = Vec::new();
        while let Some((result, input)) = results.next().await {
            let printed = match result {
                // Without `--wait`, the outcome is not the command's, even if it is already known.
                Ok(video) => self
                    .print_video(&input, &video)
                    .map(|()| events::outcome_failure(&video).filter(|_| self.options.is_waiting)),
                Err(failure) => {
                    let is_listed = self.context.output.is_json && count > 1;
                    let document = json!({ "file": input.argument, "error": failure.to_json()["error"] });
                    let printed = if is_listed { self.print(&document, String::new) } else { Ok(()) };
                    printed.map(|()| Some(failure))
                }
            };
            failures.extend(printed?.map(|failure| failure.context(&clean(&input.argument))));
        }
        join_failures(failures, count, "files were not uploaded, rejected or not processed")
    }

    fn open(&self, argument: &str) -> CommandResult<Input> {
        let name = |default: &str| self.options.name.clone().unwrap_or_else(|| default.to_owned());
        if argument == STDIN {
            return Ok(Input { argument: argument.to_owned(), name: name("stdin"), source: Source::Stdin });
        }
        let path = PathBuf::from(argument);
        let failure = |error| Failure::io(&format!("cannot read {}", clean(argument)), &error);
        let metadata = File::open(&path).and_then(|file| file.metadata()).map_err(failure)?;
        if !metadata.is_file() {
            return Err(Failure::failed(format!("{} is not a file", clean(argument))));
        }
        if metadata.len() == 0 {
            return Err(Failure::failed(format!("{} is empty", clean(argument))));
        }
        self.check_size(argument, metadata.len())?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Input {
            argument: argument.to_owned(),
            name: name(&file_name),
            source: Source::File { path, metadata },
        })
    }

    fn check_size(&self, name: &str, bytes: u64) -> CommandResult<()> {
        let max = if self.options.is_whole {
            self.max_bytes.min(limits::MAX_SINGLE_UPLOAD_BYTES)
        } else {
            self.max_bytes
        };
        if bytes > max {
            let [bytes, max] = [bytes, max].map(format_bytes);
            return Err(Failure::failed(format!("{} has {bytes}; at most {max} are allowed", clean(name))));
        }
        Ok(())
    }

    /// Uploads a file, and returns its video: with the outcome, if that was asked for.
    async fn upload(&self, input: &Input) -> CommandResult<Value> {
        let total = match &input.source {
            Source::File { metadata, .. } => Some(metadata.len()),
            Source::Stdin => None,
        };
        let progress = Arc::new(self.progress.begin(&input.name, total));
        let result = self.send(input, &progress).await;
        let result = match result {
            Ok(video) if self.options.is_waiting => {
                progress.wait();
                events::follow(self.api, video, |_| Ok(false)).await.map(|event| event.video())
            }
            Ok(video) => self.api.call(Method::GET, &format!("/api/videos/{video}"), None).await,
            Err(failure) => Err(failure),
        };
        match &result {
            Ok(video) => progress.finish(&clean(video["state"].as_str().unwrap_or("done"))),
            Err(_) => progress.finish("failed"),
        }
        result
    }

    async fn send(&self, input: &Input, progress: &Arc<FileProgress>) -> CommandResult<VideoId> {
        match &input.source {
            Source::File { path, metadata } => {
                let bytes = metadata.len();
                if self.options.is_whole || bytes <= plan::MAX_WHOLE_BYTES {
                    let content = Content::File { path: path.clone(), offset: 0, bytes };
                    self.send_whole(&input.name, content, progress).await
                } else {
                    self.send_file_in_parts(input, path, metadata, progress).await
                }
            }
            Source::Stdin => self.send_stdin(&input.name, progress).await,
        }
    }

    /// Sends a content in one request.
    async fn send_whole(
        &self,
        name: &str,
        content: Content,
        progress: &Arc<FileProgress>,
    ) -> CommandResult<VideoId> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let mut body = self.options.details.clone();
        body.insert("name".to_owned(), name.into());
        body.insert("size".to_owned(), content.bytes().into());
        body.extend(self.options.content_type.clone().map(|kind| ("type".to_owned(), kind.into())));
        let body = Value::Object(body);
        let mut attempts = Attempts::default();
        loop {
            let grant = self.api.call(Method::POST, "/api/videos", Some(&body)).await?;
            let (video, signed) = parse_grant(&grant).ok_or_else(|| invalid_response(self.api))?;
            loop {
                match put(self.api.client(), &signed, &content, progress).await {
                    PutOutcome::Stored(_) | PutOutcome::AlreadyStored => return Ok(video),
                    PutOutcome::Retry(failure, delay) => attempts.wait(failure, delay, progress).await?,
                    PutOutcome::Refused(failure) => {
                        // The response to an earlier attempt may have been lost.
                        let path = format!("/api/videos/{video}");
                        match self.api.try_call(Method::GET, &path, None).await {
                            Ok(_) => return Ok(video),
                            Err(ErrorResponse { status: 404, .. }) => attempts.sign_again(failure)?,
                            Err(error) => return Err(error.failure),
                        }
                        break;
                    }
                    PutOutcome::NoSuchUpload => return Err(invalid_response(self.api)),
                    PutOutcome::Fatal(failure) => return Err(failure),
                }
            }
        }
    }

    /// Sends a file in parts; those that an earlier run has sent are not sent again.
    async fn send_file_in_parts(
        &self,
        input: &Input,
        path: &Path,
        metadata: &std::fs::Metadata,
        progress: &Arc<FileProgress>,
    ) -> CommandResult<VideoId> {
        let bytes = metadata.len();
        let record = if self.options.is_fresh { None } else { self.lock_record(input, path, metadata)? };
        let found = match record.as_ref().and_then(|record| Some((record, record.load()?))) {
            Some((record, upload)) => self.resume(record, upload).await?,
            None => None,
        };
        let (upload, stored) = if let Some(found) = found {
            found
        } else {
            let upload = self.create(&input.name, bytes, plan::part_bytes(bytes)).await?;
            if let Some(record) = &record {
                record.save(&upload).map_err(|error| Failure::io("cannot record the upload", &error))?;
            }
            (upload, Vec::new())
        };
        let parts = plan::parts(bytes, upload.part_bytes);
        let missing = if is_complete(&stored) { Vec::new() } else { plan::missing(&parts, &stored) };
        let mut finished = stored;
        finished.retain(|part| !missing.iter().any(|missing| missing.number == part.number));
        let stored_bytes: u64 = finished.iter().map(|part| part.bytes).sum();
        if stored_bytes > 0 {
            progress.resume(stored_bytes);
        }
        let sent = stream::iter(missing).map(|part| {
            let content = Content::File { path: path.to_owned(), offset: part.offset, bytes: part.bytes };
            self.send_part(&upload, part, content, progress)
        });
        let sent = sent.buffer_unordered(self.options.parallel).try_collect::<Vec<StoredPart>>().await;
        let changed = std::fs::metadata(path)
            .is_ok_and(|now| now.len() != bytes || now.modified().ok() != metadata.modified().ok());
        match sent {
            Ok(_) if changed => {
                self.abort(&upload).await;
                record.iter().for_each(UploadRecord::remove);
                Err(Failure::failed("the file was changed while it was sent"))
            }
            Ok(sent) => {
                finished.extend(sent);
                let video = self.complete(&upload, finished).await?;
                record.iter().for_each(UploadRecord::remove);
                Ok(video)
            }
            Err(PartError::NoSuchUpload) => {
                record.iter().for_each(UploadRecord::remove);
                Err(upload_is_gone())
            }
            Err(PartError::Failed(failure)) => Err(failure),
        }
    }

    /// The record of the file's upload; `None` if the state folder cannot be used, in which case the upload cannot be
    /// resumed.
    fn lock_record(
        &self,
        input: &Input,
        path: &Path,
        metadata: &std::fs::Metadata,
    ) -> CommandResult<Option<UploadRecord>> {
        let failure = |error| Failure::io("cannot read the file", &error);
        let mut file = File::open(path).map_err(failure)?;
        let fingerprint = fingerprint::fingerprint(&mut file, metadata).map_err(failure)?;
        let options = json!([input.name, self.options.content_type, self.options.details]).to_string();
        let folder = &self.context.folders()?.state;
        match UploadRecord::lock(folder, self.api.url().origin(), &fingerprint, &options) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(Failure::failed("another process is uploading this file"))
            }
            Err(error) => {
                print_note(format!(
                    "glimpse: cannot write to {}: {error}; this upload cannot be resumed",
                    folder.display()
                ));
                Ok(None)
            }
        }
    }

    /// The parts of a recorded upload that the storage has; `None` if the upload no longer exists, or is another
    /// account's.
    async fn resume(
        &self,
        record: &UploadRecord,
        upload: UnfinishedUpload,
    ) -> CommandResult<Option<(UnfinishedUpload, Vec<StoredPart>)>> {
        match self.api.try_call(Method::GET, &upload_path(&upload, "", ""), None).await {
            Ok(listed) => {
                let stored = parse_parts(&listed).ok_or_else(|| invalid_response(self.api))?;
                Ok(Some((upload, stored)))
            }
            Err(ErrorResponse { status: 403 | 404 | 410, .. }) => {
                record.remove();
                Ok(None)
            }
            Err(error) => Err(error.failure),
        }
    }

    /// Creates an upload in parts. The request has no members for visibility, external id and metadata, but an upload
    /// token has.
    async fn create(&self, name: &str, bytes: u64, part_bytes: u64) -> CommandResult<UnfinishedUpload> {
        let body =
            json!({ "filename": name, "type": self.options.content_type.as_deref().unwrap_or_default() });
        let created = if self.options.details.is_empty() {
            self.api.call(Method::POST, "/s3/multipart", Some(&body)).await?
        } else if self.api.url().upload_token().is_some() {
            return Err(Failure::usage(
                "visibility, external id and metadata of a file in parts are those of the upload token",
            ));
        } else {
            let mut request = self.options.details.clone();
            request.insert("expires_in".to_owned(), CREATION_TOKEN_SECS.into());
            let answer = self
                .api
                .call(Method::POST, "/api/upload-tokens", Some(&Value::Object(request)))
                .await
                .map_err(|failure| failure.context("visibility, external id and metadata of a file in parts need upload tokens (or use --whole)"))?;
            let token = answer["token"].as_str().ok_or_else(|| invalid_response(self.api))?;
            self.api.call(Method::POST, &format!("/u/{token}/s3/multipart"), Some(&body)).await?
        };
        let member = |name: &str| created[name].as_str().ok_or_else(|| invalid_response(self.api));
        Ok(UnfinishedUpload::new(name, bytes, part_bytes, member("key")?, member("uploadId")?))
    }

    /// Sends one part, again after errors, each time with a new signature.
    async fn send_part(
        &self,
        upload: &UnfinishedUpload,
        part: Part,
        content: Content,
        progress: &Arc<FileProgress>,
    ) -> Result<StoredPart, PartError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let path = upload_path(upload, &format!("/{}", part.number), &format!("&size={}", part.bytes));
        let mut attempts = Attempts::default();
        loop {
            let signed = match self.api.try_call(Method::GET, &path, None).await {
                Ok(signed) => signed,
                Err(ErrorResponse { status: 404, .. }) => return Err(PartError::NoSuchUpload),
                Err(error) => {
                    // Requests of the API are repeated a few times; those of a long upload for longer.
                    if error.status != 0 && !retry::is_transient(error.status) {
                        return Err(PartError::Failed(error.failure));
                    }
                    attempts.wait(error.failure, None, progress).await.map_err(PartError::Failed)?;
                    continue;
                }
            };
            let url = signed["url"].as_str().ok_or_else(|| PartError::Failed(invalid_response(self.api)))?;
            let signed = SignedPut { url: url.to_owned(), headers: Vec::new() };
            let outcome = put(self.api.client(), &signed, &content, progress).await;
            match outcome {
                PutOutcome::Stored(etag) => {
                    return Ok(StoredPart { number: part.number, bytes: part.bytes, etag });
                }
                PutOutcome::Retry(failure, delay) => {
                    attempts.wait(failure, delay, progress).await.map_err(PartError::Failed)?;
                }
                PutOutcome::Refused(failure) => attempts.sign_again(failure).map_err(PartError::Failed)?,
                PutOutcome::NoSuchUpload => return Err(PartError::NoSuchUpload),
                PutOutcome::AlreadyStored => return Err(PartError::Failed(invalid_response(self.api))),
                PutOutcome::Fatal(failure) => return Err(PartError::Failed(failure)),
            }
        }
    }

    /// Completes an upload. The request is idempotent.
    async fn complete(
        &self,
        upload: &UnfinishedUpload,
        mut parts: Vec<StoredPart>,
    ) -> CommandResult<VideoId> {
        parts.sort_unstable_by_key(|part| part.number);
        let parts: Vec<Value> =
            parts.iter().map(|part| json!({ "PartNumber": part.number, "ETag": part.etag })).collect();
        let body = json!({ "parts": parts });
        self.api.call(Method::POST, &upload_path(upload, "/complete", ""), Some(&body)).await?;
        let video = upload.key.rsplit('/').next().and_then(|id| id.parse().ok());
        video.ok_or_else(|| invalid_response(self.api))
    }

    /// Cancels an upload. The storage removes one that is left behind after a day.
    async fn abort(&self, upload: &UnfinishedUpload) {
        let _ = self.api.call(Method::DELETE, &upload_path(upload, "", ""), None).await;
    }

    /// Sends standard input: whole if it is short, otherwise in parts, each of which is held in memory until it is
    /// stored. It cannot be resumed.
    async fn send_stdin(&self, name: &str, progress: &Arc<FileProgress>) -> CommandResult<VideoId> {
        let part_bytes = plan::MAX_WHOLE_BYTES;
        let first = read_stdin(part_bytes).await?;
        if first.is_empty() {
            return Err(Failure::failed("standard input is empty"));
        }
        if (first.len() as u64) < part_bytes {
            self.check_size("standard input", first.len() as u64)?;
            return self.send_whole(name, Content::Memory(first), progress).await;
        }
        let upload = self.create(name, 0, part_bytes).await?;
        let result = self.send_stdin_in_parts(first, &upload, progress).await;
        match result {
            Ok(parts) => self.complete(&upload, parts).await,
            Err(error) => {
                self.abort(&upload).await;
                Err(match error {
                    PartError::NoSuchUpload => upload_is_gone(),
                    PartError::Failed(failure) => failure,
                })
            }
        }
    }

    async fn send_stdin_in_parts(
        &self,
        first: Bytes,
        upload: &UnfinishedUpload,
        progress: &Arc<FileProgress>,
    ) -> Result<Vec<StoredPart>, PartError> {
        let part_bytes = upload.part_bytes;
        let read = stream::try_unfold((Some(first), 0, 1), |(data, offset, number)| async move {
            let data = match data {
                Some(first) => first,
                None => read_stdin(part_bytes).await.map_err(PartError::Failed)?,
            };
            if data.is_empty() {
                return Ok(None);
            }
            let part = Part { number, offset, bytes: data.len() as u64 };
            let end = offset + part.bytes;
            self.check_size("standard input", end).map_err(PartError::Failed)?;
            if number > limits::MAX_PARTS {
                return Err(PartError::Failed(Failure::failed("standard input is too long: upload a file")));
            }
            Ok(Some(((part, data), (None, end, number + 1))))
        });
        // A part is read when the one before is being sent, and not earlier.
        read.map_ok(|(part, data)| self.send_part(upload, part, Content::Memory(data), progress))
            .try_buffer_unordered(self.options.parallel)
            .try_collect()
            .await
    }

    fn print_video(&self, input: &Input, video: &Value) -> CommandResult<()> {
        let document = json!({ "file": input.argument, "video": video });
        self.print(&document, || {
            let text = |name: &str| clean(video[name].as_str().unwrap_or_default());
            format!("{}/{}  {}  {}", self.api.url(), text("id"), text("state"), clean(&input.name))
        })
    }

    /// Prints a result; bars are hidden meanwhile.
    fn print(&self, document: &Value, text: impl FnOnce() -> String) -> CommandResult<()> {
        match self.progress {
            Progress::Bars(bars) => bars.suspend(|| self.context.output.print(document, text)),
            Progress::Lines | Progress::Hidden => self.context.output.print(document, text),
        }
    }
}

/// Why a part was not sent.
enum PartError {
    NoSuchUpload,
    Failed(Failure),
}

/// The attempts of one request.
#[derive(Debug, Default)]
struct Attempts {
    failures: u32,
    refusals: u32,
}

impl Attempts {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// This was the last one.
    async fn wait(
        &mut self,
        failure: Failure,
        retry_after: Option<std::time::Duration>,
        progress: &FileProgress,
    ) -> CommandResult<()> {
        self.failures += 1;
        if self.failures >= retry::MAX_ATTEMPTS {
            return Err(failure);
        }
        let delay = retry::delay(self.failures, retry_after, random_fraction());
        progress.note(&format!("{}; again in {:.1} s", failure.message, delay.as_secs_f64()));
        sleep(delay).await;
        progress.note("");
        Ok(())
    }

    /// Whether a refused signature may be replaced.
    ///
    /// # Errors
    /// Too many were refused.
    fn sign_again(&mut self, failure: Failure) -> CommandResult<()> {
        self.refusals += 1;
        if self.refusals > MAX_REFUSALS { Err(failure) } else { Ok(()) }
    }
}

fn invalid_response(api: &Api) -> Failure {
    Failure::failed(format!("{} returned an invalid response", api.url()))
}

fn upload_is_gone() -> Failure {
    Failure::failed("the upload was canceled or has expired: run the command again to start a new upload")
}

/// Reads at most that many bytes of standard input; fewer at its end.
async fn read_stdin(bytes: u64) -> CommandResult<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut data = Vec::new();
        std::io::stdin().lock().take(bytes).read_to_end(&mut data).map(|_| data)
    });
    let data = read.await.map_err(|error| Failure::failed(error.to_string()))?;
    data.map(Bytes::from).map_err(|error| Failure::io("cannot read standard input", &error))
}

/// The path of a call about an upload in parts.
fn upload_path(upload: &UnfinishedUpload, rest: &str, query: &str) -> String {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPES).to_string();
    format!("/s3/multipart/{}{rest}?key={}{query}", escape(&upload.upload_id), escape(&upload.key))
}

/// The id and the signed request of `POST /api/videos`.
fn parse_grant(grant: &Value) -> Option<(VideoId, SignedPut)> {
    let headers = grant["upload"]["headers"].as_object()?;
    let headers = headers.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let signed = SignedPut {
        url: grant["upload"]["url"].as_str()?.to_owned(),
        headers: headers.collect::<Option<_>>()?,
    };
    Some((grant["video"]["id"].as_str()?.parse().ok()?, signed))
}

/// The parts of `GET /s3/multipart/{uploadId}`.
fn parse_parts(listed: &Value) -> Option<Vec<StoredPart>> {
    let part = |part: &Value| {
        Some(StoredPart {
            number: part["PartNumber"].as_u64()?,
            bytes: part["Size"].as_u64()?,
            etag: part["ETag"].as_str()?.to_owned(),
        })
    };
    listed.as_array()?.iter().map(part).collect()
}

/// Whether these are the parts of a completed upload, each of which has the ETag of the object: `hash-count`.
fn is_complete(stored: &[StoredPart]) -> bool {
    let count = |etag: &str| etag.trim_matches('"').rsplit_once('-')?.1.parse().ok();
    !stored.is_empty() && stored.iter().all(|part| count(&part.etag) == Some(stored.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grant_is_parsed() {
        let grant = json!({
            "video": { "id": "7zzzzzzzzz0123456789abcdef" },
            "upload": { "url": "https://b/k?sig", "headers": { "if-none-match": "*" } },
        });
        let (video, signed) = parse_grant(&grant).unwrap();
        assert_eq!(video.to_string(), "7zzzzzzzzz0123456789abcdef");
        assert_eq!((signed.url.as_str(), signed.headers.len()), ("https://b/k?sig", 1));
        assert!(parse_grant(&json!({ "video": {} })).is_none());
    }

    #[test]
    fn listed_parts_are_parsed() {
        let listed = json!([{ "PartNumber": 2, "Size": 5, "ETag": "\"e\"" }]);
        let parts = parse_parts(&listed).unwrap();
        assert_eq!((parts[0].number, parts[0].bytes, parts[0].etag.as_str()), (2, 5, "\"e\""));
        assert!(parse_parts(&json!([{ "PartNumber": "2" }])).is_none() && parse_parts(&json!({})).is_none());
    }

    #[test]
    fn completed_upload_is_recognized() {
        let part = |number, etag: &str| StoredPart { number, bytes: 1, etag: etag.into() };
        assert!(is_complete(&[part(1, "\"ab-2\""), part(2, "\"ab-2\"")]));
        assert!(!is_complete(&[part(1, "\"ab\""), part(2, "\"cd\"")]));
        assert!(!is_complete(&[part(1, "\"ab-2\"")]) && !is_complete(&[]));
    }

    #[test]
    fn path_escapes_id_and_key() {
        let upload = UnfinishedUpload::new("a", 1, 1, "uploads/o/v", "a+/b");
        assert_eq!(
            upload_path(&upload, "/1", "&size=1"),
            "/s3/multipart/a%2B%2Fb/1?key=uploads%2Fo%2Fv&size=1"
        );
    }
}
