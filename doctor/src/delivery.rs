//! Checks of the delivery to viewers: the poster, conditional and range requests, an on-demand image, and the cache.

use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep};

use crate::edge::ClipGrant;
use crate::http::{WebRequest, WebResponse};
use crate::issue::Issue;
use crate::{CheckContext, CheckResult, fail};

/// First bytes of every JPEG file.
const JPEG_MAGIC: &[u8] = &[0xff, 0xd8, 0xff];
/// Length of the requested range of an image, in bytes.
const RANGE_BYTES: usize = 100;
/// Time until a stored image must be found in the cache.
const CACHE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of an on-demand image, including a function's cold start.
const RENDER_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The served poster.
pub(crate) struct ServedPoster {
    url: String,
    etag: String,
}

/// Checks that the poster is served.
pub(crate) async fn check_poster(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<ServedPoster> {
    let url = context.url(&format!("/{}/thumbnail.jpg", grant.video));
    let response = context.fetch(WebRequest::new(Method::GET, &url)).await?;
    if let Some(issue) = delivery_issue(&response) {
        return fail(issue, response.summary());
    }
    let observed = format!("the poster, {} bytes, from {}", response.body.len(), cache_source(&response));
    Ok((ServedPoster { etag: response.header("etag").to_owned(), url }, observed))
}

/// The issue if the response does not contain the poster.
fn delivery_issue(response: &WebResponse) -> Option<Issue> {
    match (response.status, response.problem_code().as_str()) {
        (200, _) if response.body.starts_with(JPEG_MAGIC) => None,
        (_, "no_access") => Some(Issue::EdgeDenied),
        _ => Some(Issue::NoPicture),
    }
}

/// Checks conditional requests (`If-None-Match`) and range requests.
pub(crate) async fn check_conditional(context: &CheckContext<'_>, poster: &ServedPoster) -> CheckResult<()> {
    let request = WebRequest::new(Method::GET, &poster.url);
    let not_modified = context.fetch(request.clone().with_header("if-none-match", &poster.etag)).await?;
    let partial = context.fetch(request.with_header("range", format!("bytes=0-{}", RANGE_BYTES - 1))).await?;
    check_conditional_responses(&not_modified, &partial)
}

fn check_conditional_responses(not_modified: &WebResponse, partial: &WebResponse) -> CheckResult<()> {
    let observed =
        format!("status {} for If-None-Match, {} for a range request", not_modified.status, partial.status);
    if not_modified.status != 304 || (partial.status, partial.body.len()) != (206, RANGE_BYTES) {
        return fail(Issue::NotConditional, observed);
    }
    Ok(((), observed))
}

/// Checks that an on-demand image is rendered.
pub(crate) async fn check_render(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let started = Instant::now();
    let mut url = context.url(&format!("/{}/thumbnail.jpg?time=0.4", grant.video));
    loop {
        let response = context.fetch(WebRequest::new(Method::GET, &url)).await?;
        match (response.status, allowed_width(&response)) {
            // The deployment allows only certain widths, which the response lists.
            (400, Some(width)) if !url.contains("width") => {
                url = format!("{url}&width={width}");
                continue;
            }
            (202, _) if started.elapsed() < RENDER_TIMEOUT => {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            (200, _) if response.body.starts_with(JPEG_MAGIC) => {}
            _ => return fail(render_issue(&response), response.summary()),
        }
        return Ok((
            (),
            format!("the frame at 0.4 s was rendered in {:.1} s", started.elapsed().as_secs_f64()),
        ));
    }
}

fn render_issue(response: &WebResponse) -> Issue {
    match (response.status, response.problem_code().as_str()) {
        (404, _) => Issue::NoRender,
        (429, _) => Issue::Limited,
        (_, "no_decoder") => Issue::NoDecoder,
        (_, "no_access") => Issue::EngineDenied,
        _ => Issue::RenderRefused,
    }
}

/// The first width in the message of an error response.
fn allowed_width(response: &WebResponse) -> Option<u32> {
    let detail = response.json()["detail"].as_str()?.to_owned();
    detail.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok())
}

/// Checks that the poster is served from the cache after the first request.
pub(crate) async fn check_cache(context: &CheckContext<'_>, poster: &ServedPoster) -> CheckResult<()> {
    let started = Instant::now();
    loop {
        let response = context.fetch(WebRequest::new(Method::GET, &poster.url)).await?;
        let from = cache_source(&response);
        if from == "hit" || response.header("cf-cache-status") == "HIT" {
            return Ok(((), "the poster is served from the cache".into()));
        }
        if started.elapsed() >= CACHE_TIMEOUT {
            return fail(
                Issue::NoCache,
                format!("the repeated request for the poster is served from {from}"),
            );
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The origin of an image, from `Server-Timing`: `hit`, `s3` or `render`.
fn cache_source(response: &WebResponse) -> String {
    let timing = response.header("server-timing");
    let from = timing.split_once("desc=").map_or("an unknown source", |(_, rest)| rest);
    from.split([';', ',']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn answer(status: u16, code: &str, detail: &str) -> WebResponse {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/problem+json; charset=utf-8".parse().unwrap());
        headers.insert("server-timing", "cache;desc=s3;dur=12".parse().unwrap());
        let body = format!(r#"{{"code":"{code}","detail":"{detail}"}}"#);
        WebResponse { status, headers, body: Bytes::from(body) }
    }

    #[test]
    fn checks_full_and_partial_responses() {
        let mut whole = answer(200, "", "");
        assert_eq!(delivery_issue(&whole), Some(Issue::NoPicture), "the body is not a JPEG");
        whole.body = Bytes::from([JPEG_MAGIC, &[0; 200]].concat());
        assert_eq!(delivery_issue(&whole), None);
        assert_eq!(delivery_issue(&answer(502, "upstream", "")), Some(Issue::NoPicture));
        assert_eq!(delivery_issue(&answer(502, "no_access", "")), Some(Issue::EdgeDenied));
        let partial = WebResponse { status: 206, body: whole.body.slice(..RANGE_BYTES), ..whole.clone() };
        let not_modified = answer(304, "", "");
        assert!(check_conditional_responses(&not_modified, &partial).is_ok());
        for (not_modified, partial) in [(&whole, &partial), (&not_modified, &whole)] {
            assert_eq!(
                check_conditional_responses(not_modified, partial).unwrap_err().issue,
                Issue::NotConditional
            );
        }
    }

    #[test]
    fn explains_render_failures() {
        for (status, code, expected) in [
            (404, "not_found", Issue::NoRender),
            (429, "busy", Issue::Limited),
            (500, "no_decoder", Issue::NoDecoder),
            (502, "no_access", Issue::EngineDenied),
            (502, "upstream", Issue::RenderRefused),
        ] {
            assert_eq!(render_issue(&answer(status, code, "Why.")), expected, "{code}");
        }
        let widths = answer(400, "bad_parameter", "The parameter `width` must be one of 160, 320 here.");
        assert_eq!((allowed_width(&widths), cache_source(&widths).as_str()), (Some(160), "s3"));
    }
}
