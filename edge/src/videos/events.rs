//! Decides what somebody who watches a video is told, and when they are asked next. Pure.
//!
//! Server-sent events as HTML defines them, <https://html.spec.whatwg.org/multipage/server-sent-events.html>. The id of
//! an event is how far the video has come, so that a browser that connects again is told nothing twice.

use glimpse_contract::video::Video;

/// How far a video has come, as the events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Granted, and not in the bucket yet.
    Uploading,
    /// In the bucket, seen for the first time.
    Uploaded,
    /// In the bucket, and no outcome yet.
    Processing,
    /// The outcome is known for good, or the last try has failed.
    Over,
}

impl Stage {
    /// The stage behind a `Last-Event-ID`.
    pub fn from_id(id: &str) -> Option<Self> {
        Some(match id {
            "1" => Self::Uploading,
            "2" => Self::Uploaded,
            "3" => Self::Processing,
            "4" => Self::Over,
            _ => return None,
        })
    }

    fn id(self) -> u8 {
        self as u8 + 1
    }
}

/// Whether a client that connects again has seen the last event of this video: then it is answered 204, which ends the
/// connecting of an `EventSource`, <https://html.spec.whatwg.org/multipage/server-sent-events.html#processing-model>.
pub fn is_finished(last_event_id: Option<&str>, video: &Video) -> bool {
    let has_outcome = !matches!(video.state(), "uploading" | "processing");
    has_outcome && last_event_id.and_then(Stage::from_id) == Some(Stage::Over)
}

/// How often a video is looked at before the stream ends, and the browser connects again by itself: each look costs up to
/// three requests to the bucket, and a Worker of Cloudflare's free plan may make 50,
/// <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
pub const LOOKS: u32 = 15;
/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1000;

/// How long to wait before the look of that number, in milliseconds: soon at first, since most videos take seconds.
pub fn pause_ms(look: u32) -> u64 {
    match look {
        0 => 0,
        1..=4 => 700,
        5..=9 => 1500,
        _ => 3000,
    }
}

/// What one watcher has been told.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    told: Option<Stage>,
    is_begun: bool,
    is_status_only: bool,
}

impl Watch {
    /// Begins behind what a browser has seen before. Behind an outcome it begins again: a video that had failed is being
    /// processed once more.
    pub fn behind(last_event_id: Option<&str>) -> Self {
        let told = last_event_id.and_then(Stage::from_id).filter(|stage| *stage != Stage::Over);
        Self { told, ..Self::default() }
    }

    /// The same for a watcher who holds no more than an upload token, and sees no more than the state.
    #[must_use]
    pub fn of_status_only(self, is_status_only: bool) -> Self {
        Self { is_status_only, ..self }
    }

    /// What to send after a look, and whether that was the end.
    pub fn saw(&mut self, video: &Video) -> (String, bool) {
        let mut text = String::new();
        if !self.is_begun {
            self.is_begun = true;
            text = format!("retry: {RETRY_MS}\n\n");
        }
        let stage = match video.state() {
            "uploading" => Stage::Uploading,
            "processing" if self.told < Some(Stage::Uploaded) => Stage::Uploaded,
            "processing" => Stage::Processing,
            _ => Stage::Over,
        };
        if self.told < Some(stage) {
            let name = match stage {
                Stage::Uploaded => "uploaded",
                _ => video.state(),
            };
            let json = if self.is_status_only { video.status_json() } else { video.to_json() }.to_string();
            let lines = ["id: ", &stage.id().to_string(), "\nevent: ", name, "\ndata: ", &json, "\n\n"];
            text.extend(lines);
            self.told = Some(stage);
        } else {
            // A heartbeat: networks close connections on which nothing happens.
            text += ": \n\n";
        }
        (text, stage == Stage::Over)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::video::Uploaded;
    use glimpse_contract::{Code, Failure, MANIFEST_VERSION, Owner, Passthrough, VideoId};

    use super::*;

    fn video(state: &str) -> Video {
        let id = VideoId::new(1, [1; 10]);
        let uploaded = Uploaded { name: "a\nb".into(), bytes: 1, ..Uploaded::default() };
        let failure = Failure {
            version: MANIFEST_VERSION,
            video: id,
            owner: Owner::of("i", "s"),
            code: Code::Upstream,
            failed_at: 1,
            passthrough: Passthrough::default(),
        };
        match state {
            "uploading" => Video::granted(id, uploaded, &"https://v.example"),
            "processing" => Video::without_manifest(id, uploaded, None, &"https://v.example"),
            _ => Video::without_manifest(id, uploaded, Some(&failure), &"https://v.example"),
        }
    }

    fn names(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
    }

    #[test]
    fn each_stage_is_told_once() {
        let mut watch = Watch::behind(None);
        let mut told = Vec::new();
        for state in ["uploading", "uploading", "processing", "processing", "processing", "failed"] {
            let (text, is_over) = watch.saw(&video(state));
            assert!(text.ends_with("\n\n"));
            assert_eq!(is_over, state == "failed");
            told.extend(names(&text).into_iter().map(str::to_owned));
        }
        assert_eq!(told, ["uploading", "uploaded", "processing", "failed"]);
    }

    #[test]
    fn a_browser_that_comes_back_is_told_nothing_twice() {
        let mut watch = Watch::behind(Some("3"));
        assert_eq!(names(&watch.saw(&video("processing")).0).len(), 0);
        assert_eq!(names(&watch.saw(&video("failed")).0), ["failed"]);
        let mut watch = Watch::behind(Some("nonsense"));
        assert_eq!(names(&watch.saw(&video("processing")).0), ["uploaded"]);
    }

    #[test]
    fn a_client_that_has_seen_the_outcome_is_finished() {
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
        let mut again = Watch::behind(Some("4"));
        assert_eq!(names(&again.saw(&video("processing")).0), ["uploaded"], "it is tried once more");
        assert_eq!(names(&again.saw(&video("failed")).0), ["failed"]);
    }

    #[test]
    fn the_holder_of_a_token_is_told_the_state_alone() {
        let mut watch = Watch::behind(None).of_status_only(true);
        let (text, _) = watch.saw(&video("failed"));
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let names: Vec<_> = data.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["id", "problem", "state"]);
    }

    #[test]
    fn a_line_break_in_a_name_breaks_no_event() {
        let (text, _) = Watch::behind(None).saw(&video("uploading"));
        assert_eq!(text.lines().filter(|line| line.starts_with("data: ")).count(), 1);
        assert!(text.contains(r"a\nb"), "{text}");
    }

    #[test]
    fn a_stream_is_short_enough_for_the_free_plan() {
        let seconds: u64 = (0..LOOKS).map(pause_ms).sum::<u64>() / 1000;
        assert!(LOOKS * 3 < 50 && (20..60).contains(&seconds), "{seconds} s");
    }
}
