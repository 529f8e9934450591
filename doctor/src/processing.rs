//! Decides what a video's state says about events, queue, function, role and layer.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::edge::Grant;
use crate::http::Question;
use crate::issue::Ill;
use crate::{Found, Visit, ill};

/// How long a look waits for the next one.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until something became of the upload.
pub(crate) async fn outcome(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let started = Instant::now();
    let url = visit.url(&format!("/api/videos/{}", grant.video));
    loop {
        let answer = visit.call(Question::new(Method::GET, &url)).await?;
        match (answer.status, answer.code().as_str()) {
            (200, _) => {}
            (_, "no_access") => return ill(Ill::EdgeDenied, answer.told()),
            (429, _) => return ill(Ill::Limited, answer.told()),
            _ => return ill(Ill::EdgeDenied, format!("the video's state: {}", answer.told())),
        }
        let waited = started.elapsed();
        let video = answer.json();
        if let Some(found) = judge(&video, waited) {
            return found;
        }
        if waited >= visit.settings.wait {
            let state = video["state"].as_str().unwrap_or("unknown");
            return ill(Ill::NoOutcome, format!("still {state} after {} s", waited.as_secs()));
        }
        sleep(PAUSE).await;
    }
}

/// What a state says; `None` if it may still change for the better.
fn judge(video: &Value, waited: Duration) -> Option<Found<()>> {
    let code = video["problem"]["code"].as_str().unwrap_or_default();
    let seen = || format!("{} {}", code, video["problem"]["message"].as_str().unwrap_or_default());
    match video["state"].as_str()? {
        "ready" => Some(Ok(((), format!("ready after {:.1} s", waited.as_secs_f64())))),
        "rejected" => Some(ill(Ill::EngineRefused, seen())),
        "failed" => Some(ill(
            match code {
                "no_decoder" => Ill::NoDecoder,
                "no_access" => Ill::EngineDenied,
                _ => Ill::EngineFailed,
            },
            seen(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_says_what_is_wrong() {
        let judged = |state: &str, code: &str| {
            judge(&json!({ "state": state, "problem": { "code": code, "message": "Why." } }), Duration::ZERO)
        };
        assert!(judged("processing", "").is_none() && judged("uploading", "").is_none());
        assert!(judged("ready", "").unwrap().is_ok());
        for (state, code, expected) in [
            ("failed", "no_decoder", Ill::NoDecoder),
            ("failed", "no_access", Ill::EngineDenied),
            ("failed", "upstream", Ill::EngineFailed),
            ("rejected", "unsupported_codec", Ill::EngineRefused),
        ] {
            let finding = judged(state, code).unwrap().unwrap_err();
            assert_eq!((finding.ill, finding.seen), (expected, format!("{code} Why.")));
        }
    }
}
