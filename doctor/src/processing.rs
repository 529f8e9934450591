//! Waits for a video's outcome, and maps its state to issues of events, queue, function, role and layer.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::edge::ClipGrant;
use crate::http::WebRequest;
use crate::issue::Issue;
use crate::{CheckContext, CheckResult, fail};

/// Pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Waits until the upload was processed.
pub(crate) async fn check_outcome(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let started = Instant::now();
    let url = context.url(&format!("/api/videos/{}", grant.video));
    loop {
        let response = context.fetch_as_caller(WebRequest::new(Method::GET, &url)).await?;
        match (response.status, response.problem_code().as_str()) {
            (200, _) => {}
            (_, "no_access") => return fail(Issue::EdgeDenied, response.summary()),
            (429, _) => return fail(Issue::Limited, response.summary()),
            _ => return fail(Issue::EdgeDenied, format!("the video's state: {}", response.summary())),
        }
        let waited = started.elapsed();
        let video = response.json();
        if let Some(result) = evaluate(&video, waited) {
            return result;
        }
        if waited >= context.settings.processing_timeout {
            let state = video["state"].as_str().unwrap_or("unknown");
            return fail(Issue::NoOutcome, format!("still {state} after {} s", waited.as_secs()));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The result for a video's state; `None` if the video is still being processed.
fn evaluate(video: &Value, waited: Duration) -> Option<CheckResult<()>> {
    let code = video["problem"]["code"].as_str().unwrap_or_default();
    let observed = || format!("{} {}", code, video["problem"]["message"].as_str().unwrap_or_default());
    match video["state"].as_str()? {
        "ready" => Some(Ok(((), format!("ready after {:.1} s", waited.as_secs_f64())))),
        "rejected" => Some(fail(Issue::EngineRefused, observed())),
        "failed" => Some(fail(
            match code {
                "no_decoder" => Issue::NoDecoder,
                "no_access" => Issue::EngineDenied,
                _ => Issue::EngineFailed,
            },
            observed(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_video_states_to_issues() {
        let evaluate_state = |state: &str, code: &str| {
            evaluate(
                &json!({ "state": state, "problem": { "code": code, "message": "Why." } }),
                Duration::ZERO,
            )
        };
        assert!(evaluate_state("processing", "").is_none() && evaluate_state("uploading", "").is_none());
        assert!(evaluate_state("ready", "").unwrap().is_ok());
        for (state, code, expected) in [
            ("failed", "no_decoder", Issue::NoDecoder),
            ("failed", "no_access", Issue::EngineDenied),
            ("failed", "upstream", Issue::EngineFailed),
            ("rejected", "unsupported_codec", Issue::EngineRefused),
        ] {
            let finding = evaluate_state(state, code).unwrap().unwrap_err();
            assert_eq!((finding.issue, finding.observed), (expected, format!("{code} Why.")));
        }
    }
}
