//! Server-sent events of a video: the parser, and the stream that is opened again until the outcome.

use std::time::Duration;

use glimpse_contract::VideoId;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::api::{Api, ErrorResponse, error_response, random_fraction};
use crate::context::Context;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::output::clean;
use crate::retry;

/// Time without a byte after which the stream is opened again. The deployment sends one every few seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay before a stream that has ended is opened again, unless the stream names another one.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// The longest line that is read, in bytes: a video with all its links.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// The longest error response that is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VideoEvent {
    /// The id: the stage of the video.
    pub(crate) id: String,
    /// The name, such as `processing`.
    pub(crate) name: String,
    /// The data, a JSON document.
    pub(crate) data: String,
}

impl VideoEvent {
    /// Whether the video has its outcome.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.name.as_str(), "ready" | "rejected" | "failed")
    }

    /// The video, as the API returns it.
    pub(crate) fn video(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

/// Parses a stream of events, <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
#[derive(Debug, Default)]
struct EventParser {
    buffer: Vec<u8>,
    event: VideoEvent,
    retry: Option<Duration>,
}

impl EventParser {
    /// Adds bytes, and returns the events that they complete; `None` if a line is too long.
    fn push(&mut self, bytes: &[u8]) -> Option<Vec<VideoEvent>> {
        let mut events = Vec::new();
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                events.extend((!event.data.is_empty()).then_some(event));
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut self.event.id),
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
                _ => {}
            }
        }
        (self.buffer.len() <= MAX_LINE_BYTES).then_some(events)
    }
}

/// The end of one stream.
enum StreamEnd {
    /// The receiver wants no more events.
    Stopped(VideoEvent),
    /// The stream has ended, or has failed: it can be opened again.
    Again(Duration),
    /// The outcome was already received.
    Finished,
}

/// Receives the events of a video until `on_event` returns true or the video has its outcome, and returns that event.
///
/// # Errors
/// The problem of the response, or no response in several attempts.
pub(crate) async fn follow(
    api: &Api,
    video: VideoId,
    mut on_event: impl FnMut(&VideoEvent) -> CommandResult<bool>,
) -> CommandResult<VideoEvent> {
    let mut last_id = String::new();
    let mut failures = 0;
    loop {
        let result = receive(api, video, &mut last_id, &mut on_event).await;
        match result {
            Ok(StreamEnd::Stopped(event)) => return Ok(event),
            Ok(StreamEnd::Finished) => return Err(Failure::failed("the deployment reports no event")),
            Ok(StreamEnd::Again(delay)) => {
                failures = 0;
                sleep(delay).await;
            }
            Err(StreamError::Command(failure)) => return Err(failure),
            Err(StreamError::Response(error)) => {
                failures += 1;
                let is_transient = error.status == 0 || retry::is_transient(error.status);
                if !is_transient || failures >= retry::MAX_ATTEMPTS {
                    return Err(error.failure);
                }
                sleep(retry::delay(failures, None, random_fraction())).await;
            }
        }
    }
}

enum StreamError {
    Response(ErrorResponse),
    Command(Failure),
}

async fn receive(
    api: &Api,
    video: VideoId,
    last_id: &mut String,
    on_event: &mut impl FnMut(&VideoEvent) -> CommandResult<bool>,
) -> Result<StreamEnd, StreamError> {
    let mut headers = vec![("accept", "text/event-stream")];
    if !last_id.is_empty() {
        headers.push(("last-event-id", last_id));
    }
    let path = format!("/api/videos/{video}/events");
    let response = api.open(&path, &headers).await.map_err(StreamError::Response)?;
    let (head, mut body) = response.into_parts();
    match head.status.as_u16() {
        200 => {}
        204 => return Ok(StreamEnd::Finished),
        status => {
            let body = http_body_util::Limited::new(body, MAX_ERROR_BYTES).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let response = glimpse_doctor::http::WebResponse { status, headers: head.headers, body };
            return Err(StreamError::Response(error_response(&response)));
        }
    }
    let mut parser = EventParser::default();
    while let Ok(Some(Ok(frame))) = timeout(IDLE_TIMEOUT, body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        let Some(events) = parser.push(&data) else {
            return Err(StreamError::Command(Failure::failed("an event of the deployment is too long")));
        };
        for event in events {
            event.id.clone_into(last_id);
            if on_event(&event).map_err(StreamError::Command)? || event.is_final() {
                return Ok(StreamEnd::Stopped(event));
            }
        }
    }
    Ok(StreamEnd::Again(parser.retry.unwrap_or(RECONNECT_DELAY)))
}

/// The failure of a video that was rejected or has failed, by its JSON.
pub(crate) fn outcome_failure(video: &Value) -> Option<Failure> {
    let state = video["state"].as_str().filter(|state| ["rejected", "failed"].contains(state))?;
    let message = video["problem"]["message"].as_str().map_or_else(String::new, clean);
    let verb = if state == "failed" { "could not be processed" } else { "was rejected" };
    let id = clean(video["id"].as_str().unwrap_or_default());
    let mut failure = Failure::new(ExitStatus::Rejected, format!("the video {id} {verb}: {message}"));
    failure.code = video["problem"]["code"].as_str().map(clean);
    Some(failure)
}

/// `glimpse events`.
pub(crate) async fn run(context: &Context, video: VideoId, is_following: bool) -> CommandResult<()> {
    let api = context.api()?;
    let last = follow(&api, video, |event| {
        let video = event.video();
        let document = json!({ "event": event.name, "id": event.id, "video": video });
        context.output.print(&document, || {
            let detail = video["problem"]["message"].as_str().map_or_else(String::new, clean);
            format!("{}  {detail}", clean(&event.name)).trim_end().to_owned()
        })?;
        Ok(!is_following)
    })
    .await?;
    match outcome_failure(&last.video()).filter(|_| is_following) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_events_across_chunks() {
        let text = "retry: 700\r\n\r\n: \n\nid: 1\nevent: uploading\ndata: {\"a\":\ndata: 1}\n\nid: 4\nevent:ready\ndata:{}\n\n";
        for size in [1, 3, text.len()] {
            let mut parser = EventParser::default();
            let events: Vec<VideoEvent> =
                text.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk).unwrap()).collect();
            assert_eq!(parser.retry, Some(Duration::from_millis(700)));
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!((events[0].name.as_str(), events[0].video()["a"].as_u64()), ("uploading", Some(1)));
            assert!(events[1].is_final() && !events[0].is_final());
        }
        assert!(EventParser::default().push(&vec![b'x'; MAX_LINE_BYTES + 1]).is_none());
    }

    #[test]
    fn only_bad_outcomes_are_failures() {
        let video =
            |state: &str| json!({ "id": "v", "state": state, "problem": { "code": "c", "message": "Why." } });
        for state in ["ready", "processing", "uploading"] {
            assert_eq!(outcome_failure(&video(state)), None, "{state}");
        }
        let failure = outcome_failure(&video("rejected")).unwrap();
        assert_eq!(failure.to_string(), "the video v was rejected: Why. (c)");
        assert_eq!(failure.status, ExitStatus::Rejected);
        assert!(outcome_failure(&video("failed")).unwrap().message.contains("could not be processed"));
    }
}
