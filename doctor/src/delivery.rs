//! Decides what a viewer has to get: the picture, out of the cache the second time, nothing if he has it, and a picture that
//! nobody asked for before.

use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep};

use crate::edge::Grant;
use crate::http::{Answer, Question};
use crate::issue::Ill;
use crate::{Found, Visit, ill};

/// How every JPEG begins.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
/// How much of a picture is asked for, in bytes.
const RANGE: usize = 100;
/// How long a picture may take to be found in the cache after it was put there.
const STORED: Duration = Duration::from_secs(10);
/// How long a picture on demand may take, with a function's cold start.
const MADE: Duration = Duration::from_mins(1);
/// How long a look waits for the next one.
const PAUSE: Duration = Duration::from_millis(250);

/// A picture that was served.
pub(crate) struct Picture {
    url: String,
    etag: String,
}

/// The poster, as everybody gets it.
pub(crate) async fn picture(visit: &Visit<'_>, grant: &Grant) -> Found<Picture> {
    let url = visit.url(&format!("/{}/thumbnail.jpg", grant.video));
    let answer = visit.look(Question::new(Method::GET, &url)).await?;
    if let Some(kind) = unserved(&answer) {
        return ill(kind, answer.told());
    }
    let seen = format!("the poster, {} bytes, from {}", answer.body.len(), came_from(&answer));
    Ok((Picture { etag: answer.header("etag").to_owned(), url }, seen))
}

/// Why a picture that exists is not served.
fn unserved(answer: &Answer) -> Option<Ill> {
    match (answer.status, answer.code().as_str()) {
        (200, _) if answer.body.starts_with(JPEG) => None,
        (_, "no_access") => Some(Ill::EdgeDenied),
        _ => Some(Ill::NoPicture),
    }
}

/// Whether whoever has the picture is told so, and a part of it can be had.
pub(crate) async fn conditional(visit: &Visit<'_>, picture: &Picture) -> Found<()> {
    let question = Question::new(Method::GET, &picture.url);
    let same = visit.look(question.clone().with("if-none-match", &picture.etag)).await?;
    let part = visit.look(question.with("range", format!("bytes=0-{}", RANGE - 1))).await?;
    judge_conditional(&same, &part)
}

fn judge_conditional(same: &Answer, part: &Answer) -> Found<()> {
    let seen = format!("If-None-Match answers {}, a range {}", same.status, part.status);
    if same.status != 304 || (part.status, part.body.len()) != (206, RANGE) {
        return ill(Ill::NotConditional, seen);
    }
    Ok(((), seen))
}

/// Whether a picture is made that nobody has asked for before.
pub(crate) async fn render(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let started = Instant::now();
    let mut url = visit.url(&format!("/{}/thumbnail.jpg?time=0.4", grant.video));
    loop {
        let answer = visit.look(Question::new(Method::GET, &url)).await?;
        match (answer.status, width_of(&answer)) {
            // The deployment makes certain widths only, and says which.
            (400, Some(width)) if !url.contains("width") => {
                url = format!("{url}&width={width}");
                continue;
            }
            (202, _) if started.elapsed() < MADE => {
                sleep(PAUSE).await;
                continue;
            }
            (200, _) if answer.body.starts_with(JPEG) => {}
            _ => return ill(unmade(&answer), answer.told()),
        }
        return Ok(((), format!("the frame of 0.4 s after {:.1} s", started.elapsed().as_secs_f64())));
    }
}

fn unmade(answer: &Answer) -> Ill {
    match (answer.status, answer.code().as_str()) {
        (404, _) => Ill::NoRender,
        (429, _) => Ill::Limited,
        (_, "no_decoder") => Ill::NoDecoder,
        (_, "no_access") => Ill::EngineDenied,
        _ => Ill::RenderRefused,
    }
}

/// The first of the widths that a refusal names.
fn width_of(answer: &Answer) -> Option<u32> {
    let detail = answer.json()["detail"].as_str()?.to_owned();
    detail.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok())
}

/// Whether the picture comes out of the cache once it was served.
pub(crate) async fn cache(visit: &Visit<'_>, picture: &Picture) -> Found<()> {
    let started = Instant::now();
    loop {
        let answer = visit.look(Question::new(Method::GET, &picture.url)).await?;
        let from = came_from(&answer);
        if from == "hit" || answer.header("cf-cache-status") == "HIT" {
            return Ok(((), "the poster comes out of it".into()));
        }
        if started.elapsed() >= STORED {
            return ill(Ill::NoCache, format!("the same picture once more comes from {from}"));
        }
        sleep(PAUSE).await;
    }
}

/// Where a picture came from, by `Server-Timing`: `hit`, `s3`, `render`.
fn came_from(answer: &Answer) -> String {
    let timing = answer.header("server-timing");
    let from = timing.split_once("desc=").map_or("somewhere", |(_, rest)| rest);
    from.split([';', ',']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn answer(status: u16, code: &str, detail: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/problem+json; charset=utf-8".parse().unwrap());
        headers.insert("server-timing", "cache;desc=s3;dur=12".parse().unwrap());
        let body = format!(r#"{{"code":"{code}","detail":"{detail}"}}"#);
        Answer { status, headers, body: Bytes::from(body) }
    }

    #[test]
    fn a_picture_comes_whole_in_part_or_not_at_all() {
        let mut whole = answer(200, "", "");
        assert_eq!(unserved(&whole), Some(Ill::NoPicture), "it is no JPEG");
        whole.body = Bytes::from([JPEG, &[0; 200]].concat());
        assert_eq!(unserved(&whole), None);
        assert_eq!(unserved(&answer(502, "upstream", "")), Some(Ill::NoPicture));
        assert_eq!(unserved(&answer(502, "no_access", "")), Some(Ill::EdgeDenied));
        let part = Answer { status: 206, body: whole.body.slice(..RANGE), ..whole.clone() };
        let same = answer(304, "", "");
        assert!(judge_conditional(&same, &part).is_ok());
        for (same, part) in [(&whole, &part), (&same, &whole)] {
            assert_eq!(judge_conditional(same, part).unwrap_err().ill, Ill::NotConditional);
        }
    }

    #[test]
    fn a_picture_that_is_not_made_tells_why() {
        for (status, code, expected) in [
            (404, "not_found", Ill::NoRender),
            (429, "busy", Ill::Limited),
            (500, "no_decoder", Ill::NoDecoder),
            (502, "no_access", Ill::EngineDenied),
            (502, "upstream", Ill::RenderRefused),
        ] {
            assert_eq!(unmade(&answer(status, code, "Why.")), expected, "{code}");
        }
        let widths = answer(400, "bad_parameter", "The parameter `width` must be one of 160, 320 here.");
        assert_eq!((width_of(&widths), came_from(&widths).as_str()), (Some(160), "s3"));
    }
}
