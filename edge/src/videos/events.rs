//! Event stream of a video's state: its events, and the intervals at which the state is polled. Pure.
//!
//! Server-sent events as defined by HTML, <https://html.spec.whatwg.org/multipage/server-sent-events.html>. The id of
//! an event is the stage of the video, so that a browser that reconnects gets no event twice.

use glimpse_contract::video::Video;

/// The stage of a video, as the events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VideoStage {
    /// Granted, and not in the bucket yet.
    Uploading,
    /// In the bucket, first seen.
    Uploaded,
    /// In the bucket, without an outcome.
    Processing,
    /// The outcome is final, or the last attempt failed.
    Finished,
}

impl VideoStage {
    /// The stage of a `Last-Event-ID`.
    pub fn from_id(id: &str) -> Option<Self> {
        Some(match id {
            "1" => Self::Uploading,
            "2" => Self::Uploaded,
            "3" => Self::Processing,
            "4" => Self::Finished,
            _ => return None,
        })
    }

    fn id(self) -> u8 {
        self as u8 + 1
    }
}

/// Whether a reconnecting client has already received the last event of this video: then the response is 204, which
/// stops an `EventSource`, <https://html.spec.whatwg.org/multipage/server-sent-events.html#processing-model>.
pub fn is_finished(last_event_id: Option<&str>, video: &Video) -> bool {
    let has_outcome = !matches!(video.state(), "uploading" | "processing");
    has_outcome && last_event_id.and_then(VideoStage::from_id) == Some(VideoStage::Finished)
}

/// How often a video is polled before the stream ends, and the browser reconnects by itself: each poll costs up to
/// three requests to the bucket, and a Worker of Cloudflare's free plan may make 50,
/// <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
pub const MAX_POLLS: u32 = 15;
/// How long a browser waits before it reconnects, in milliseconds.
const RETRY_MS: u32 = 1000;

/// The delay before the poll of that number, in milliseconds: short at first, since most videos take seconds.
pub fn poll_delay_ms(poll: u32) -> u64 {
    match poll {
        0 => 0,
        1..=4 => 700,
        5..=9 => 1500,
        _ => 3000,
    }
}

/// The state of one event stream.
#[derive(Debug, Clone, Default)]
pub struct EventStream {
    last_sent: Option<VideoStage>,
    has_started: bool,
    is_status_only: bool,
}

impl EventStream {
    /// Resumes after the last event that the browser received. After an outcome it starts again: a video that had
    /// failed is being processed again.
    pub fn resume_after(last_event_id: Option<&str>) -> Self {
        let last_sent =
            last_event_id.and_then(VideoStage::from_id).filter(|stage| *stage != VideoStage::Finished);
        Self { last_sent, ..Self::default() }
    }

    /// Restricts the stream to the state, for a caller with only an upload token.
    #[must_use]
    pub fn with_status_only(self, is_status_only: bool) -> Self {
        Self { is_status_only, ..self }
    }

    /// The events to send after a poll, and whether the stream ends.
    pub fn observe(&mut self, video: &Video) -> (String, bool) {
        let mut text = String::new();
        if !self.has_started {
            self.has_started = true;
            text = format!("retry: {RETRY_MS}\n\n");
        }
        let stage = match video.state() {
            "uploading" => VideoStage::Uploading,
            "processing" if self.last_sent < Some(VideoStage::Uploaded) => VideoStage::Uploaded,
            "processing" => VideoStage::Processing,
            _ => VideoStage::Finished,
        };
        if self.last_sent < Some(stage) {
            let name = match stage {
                VideoStage::Uploaded => "uploaded",
                _ => video.state(),
            };
            let json = if self.is_status_only { video.status_json() } else { video.to_json() }.to_string();
            let lines = ["id: ", &stage.id().to_string(), "\nevent: ", name, "\ndata: ", &json, "\n\n"];
            text.extend(lines);
            self.last_sent = Some(stage);
        } else {
            // A heartbeat: networks close idle connections.
            text += ": \n\n";
        }
        (text, stage == VideoStage::Finished)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::video::UploadDetails;
    use glimpse_contract::{ClientMetadata, Code, Failure, MANIFEST_VERSION, Owner, VideoId};

    use super::*;

    fn video(state: &str) -> Video {
        let id = VideoId::new(1, [1; 10]);
        let uploaded = UploadDetails { name: "a\nb".into(), bytes: 1, ..UploadDetails::default() };
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: id,
            owner: Owner::new("i", "s"),
            code: Code::Upstream,
            failed_at: 1,
            client_metadata: ClientMetadata::default(),
        };
        match state {
            "uploading" => Video::uploading(id, uploaded, &"https://v.example"),
            "processing" => Video::from_upload(id, uploaded, None, &"https://v.example"),
            _ => Video::from_upload(id, uploaded, Some(&failure), &"https://v.example"),
        }
    }

    fn event_names(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
    }

    #[test]
    fn sends_each_stage_once() {
        let mut stream = EventStream::resume_after(None);
        let mut sent = Vec::new();
        for state in ["uploading", "uploading", "processing", "processing", "processing", "failed"] {
            let (text, is_over) = stream.observe(&video(state));
            assert!(text.ends_with("\n\n"));
            assert_eq!(is_over, state == "failed");
            sent.extend(event_names(&text).into_iter().map(str::to_owned));
        }
        assert_eq!(sent, ["uploading", "uploaded", "processing", "failed"]);
    }

    #[test]
    fn resumes_after_last_event_id() {
        let mut stream = EventStream::resume_after(Some("3"));
        assert_eq!(event_names(&stream.observe(&video("processing")).0).len(), 0);
        assert_eq!(event_names(&stream.observe(&video("failed")).0), ["failed"]);
        let mut stream = EventStream::resume_after(Some("nonsense"));
        assert_eq!(event_names(&stream.observe(&video("processing")).0), ["uploaded"]);
    }

    #[test]
    fn final_event_id_ends_reconnecting() {
        for (id, state, expected) in [
            (Some("4"), "failed", true),
            (Some("3"), "failed", false),
            (None, "failed", false),
            (Some("x"), "failed", false),
            (Some("4"), "processing", false),
            (Some("4"), "uploading", false),
        ] {
            assert_eq!(is_finished(id, &video(state)), expected, "{id:?} {state}");
        }
        let mut resumed = EventStream::resume_after(Some("4"));
        assert_eq!(
            event_names(&resumed.observe(&video("processing")).0),
            ["uploaded"],
            "it is being processed again"
        );
        assert_eq!(event_names(&resumed.observe(&video("failed")).0), ["failed"]);
    }

    #[test]
    fn token_holder_sees_status_only() {
        let mut stream = EventStream::resume_after(None).with_status_only(true);
        let (text, _) = stream.observe(&video("failed"));
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let names: Vec<_> = data.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["id", "problem", "state"]);
    }

    #[test]
    fn escapes_line_breaks_in_data() {
        let (text, _) = EventStream::resume_after(None).observe(&video("uploading"));
        assert_eq!(text.lines().filter(|line| line.starts_with("data: ")).count(), 1);
        assert!(text.contains(r"a\nb"), "{text}");
    }

    #[test]
    fn stream_fits_subrequest_limit() {
        let seconds: u64 = (0..MAX_POLLS).map(poll_delay_ms).sum::<u64>() / 1000;
        assert!(MAX_POLLS * 3 < 50 && (20..60).contains(&seconds), "{seconds} s");
    }
}
