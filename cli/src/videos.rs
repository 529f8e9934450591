//! The commands about the caller's videos: `ls`, `show`, `rm`, `poster` and `open`.

use glimpse_contract::VideoId;
use http::Method;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::output::{ask, clean, format_bytes, format_clock, format_fields};

/// The largest page of a listing.
const PAGE_SIZE: usize = 16;

/// `glimpse ls`: all pages, newest first, as they arrive.
pub(crate) async fn list(context: &Context, limit: Option<usize>) -> CommandResult<()> {
    let api = context.api()?;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut cursor = String::new();
    while left > 0 {
        let path = format!("/api/videos?limit={}{cursor}", left.min(PAGE_SIZE));
        let page = api.call(Method::GET, &path, None).await?;
        for video in page["videos"].as_array().into_iter().flatten().take(left) {
            context.output.print(video, || format_row(video))?;
            left = left.saturating_sub(1);
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    Ok(())
}

/// One line of a listing: id, state, time of creation, duration and name.
fn format_row(video: &Value) -> String {
    let text = |name: &str| video[name].as_str().map_or_else(String::new, clean);
    let duration = video["duration_ms"].as_u64().map_or_else(|| "-".to_owned(), format_clock);
    let created = text("created_at");
    let created = created.get(..16).unwrap_or(&created).replace('T', " ");
    format!("{}  {:<10}  {created:<16}  {duration:>8}  {}", text("id"), text("state"), text("name"))
}

/// `glimpse show`.
pub(crate) async fn show(context: &Context, video: VideoId) -> CommandResult<()> {
    let api = context.api()?;
    let found = api.call(Method::GET, &format!("/api/videos/{video}"), None).await?;
    let page = format!("{}/{video}", api.url());
    context.output.print(&found, || format_video(&found, &page))
}

/// All that is known about a video, a line for each member.
fn format_video(video: &Value, page: &str) -> String {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut push = |name: &str, value: Option<String>| {
        fields.extend(value.filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value)));
    };
    let text = |name: &str| video[name].as_str().map(clean);
    push("id", text("id"));
    push("state", text("state"));
    push("problem", video["problem"]["message"].as_str().map(clean));
    push("name", text("name"));
    push("created", text("created_at"));
    push("size", video["bytes"].as_u64().map(format_bytes));
    push("type", text("content_type"));
    push("duration", video["duration_ms"].as_u64().map(format_clock));
    let sides = video["width"].as_u64().zip(video["height"].as_u64());
    push("dimensions", sides.map(|(width, height)| format!("{width}x{height}")));
    push("sound", video["has_audio"].as_bool().map(|has| if has { "yes" } else { "no" }.to_owned()));
    push("visibility", text("visibility"));
    push("external id", text("external_id"));
    for (name, value) in video["metadata"].as_object().into_iter().flatten() {
        push(&format!("metadata {}", clean(name)), value.as_str().map(clean));
    }
    push("trace id", text("trace_id"));
    push("page", Some(page.to_owned()));
    for (name, url) in video["urls"].as_object().into_iter().flatten() {
        push(&clean(name), url.as_str().map(clean));
    }
    format_fields(&fields)
}

/// `glimpse rm`: asks on the terminal unless `--yes` is given.
pub(crate) async fn remove(context: &Context, videos: &[VideoId], is_confirmed: bool) -> CommandResult<()> {
    let api = context.api()?;
    if !is_confirmed {
        let what = match videos {
            [one] => format!("the video {one}"),
            several => format!("{} videos", several.len()),
        };
        match ask(&format!("Delete {what} of {} permanently?", api.url())) {
            Some(true) => {}
            Some(false) => return Err(Failure::failed("nothing was deleted")),
            None => return Err(Failure::usage("pass --yes to delete without a terminal to ask on")),
        }
    }
    let mut failures = Vec::new();
    for video in videos {
        match api.call(Method::DELETE, &format!("/api/videos/{video}"), None).await {
            Ok(answer) => context.output.print(&answer, || format!("deleted {video}"))?,
            Err(failure) => failures.push(failure.context(&video.to_string())),
        }
    }
    join_failures(failures, videos.len(), "videos were not deleted")
}

/// The failure of a command for several items: that of its only item, or the number of failures and each of them. The
/// exit status is that of the first.
pub(crate) fn join_failures(mut failures: Vec<Failure>, count: usize, what: &str) -> CommandResult<()> {
    if failures.is_empty() {
        return Ok(());
    }
    if count == 1 {
        return Err(failures.remove(0));
    }
    let lines: Vec<String> = failures.iter().map(|failure| format!("\n  {failure}")).collect();
    let message = format!("{} of {count} {what}:{}", failures.len(), lines.concat());
    Err(Failure { message, code: None, request_id: None, ..failures.remove(0) })
}

/// `glimpse poster`: the frame at that second, or the best frame.
pub(crate) async fn set_poster(context: &Context, video: VideoId, time: Option<f64>) -> CommandResult<()> {
    let api = context.api()?;
    let path = format!("/api/videos/{video}/poster");
    let body = time.map(|time| json!({ "time": time }));
    let method = if body.is_some() { Method::PUT } else { Method::DELETE };
    let found = api.call(method, &path, body.as_ref()).await?;
    context.output.print(&found, || {
        let url = found["urls"]["thumbnail.jpg"].as_str().map_or_else(String::new, clean);
        let at = found["poster_ms"].as_u64().map(|ms| format!("at {} s", ms as f64 / 1000.0));
        format!("poster {}  {url}", at.unwrap_or_else(|| "is the best frame".to_owned()))
    })
}

/// `glimpse open`: the video's page in the browser.
pub(crate) fn open_page(context: &Context, video: VideoId) -> CommandResult<()> {
    let url = format!("{}/{video}", context.deployment()?);
    context.output.print(&json!({ "url": url }), || url.clone())?;
    open_browser(&url)
        .map_err(|why| Failure::new(ExitStatus::Failed, format!("cannot open a browser: {why}")))
}

/// Opens a URL with the program in `BROWSER`, or with the system's browser.
pub(crate) fn open_browser(url: &str) -> Result<(), String> {
    let browser = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    match browser {
        Some(browser) => open::with_detached(url, browser),
        None => open::that_detached(url),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> Value {
        json!({
            "id": "7zz", "state": "ready", "visibility": "public", "name": "Ski\u{1b}[2J.mp4", "bytes": 12_345_678,
            "content_type": "video/mp4", "created_at": "2026-11-30T12:34:56.789Z", "width": 1920, "height": 1080,
            "duration_ms": 83_400, "has_audio": true, "problem": null, "external_id": "order 7",
            "metadata": { "shop": "x" }, "urls": { "thumbnail.jpg": "https://v/7zz/thumbnail.jpg" },
        })
    }

    #[test]
    fn several_failures_are_counted() {
        let failure = |text: &str| Failure::new(ExitStatus::NotFound, text);
        assert_eq!(join_failures(Vec::new(), 2, "x"), Ok(()));
        assert_eq!(join_failures(vec![failure("a")], 1, "x"), Err(failure("a")));
        let joined =
            join_failures(vec![failure("a"), failure("b")], 3, "videos were not deleted").unwrap_err();
        assert_eq!(joined, failure("2 of 3 videos were not deleted:\n  a\n  b"));
    }

    #[test]
    fn row_has_no_control_characters() {
        assert_eq!(format_row(&video()), "7zz  ready       2026-11-30 12:34      1:23  Ski[2J.mp4");
    }

    #[test]
    fn details_name_what_is_known() {
        let text = format_video(&video(), "https://v/7zz");
        for line in [
            "size           12.3 MB",
            "dimensions     1920x1080",
            "sound          yes",
            "metadata shop  x",
            "page           https://v/7zz",
            "thumbnail.jpg  https://v/7zz/thumbnail.jpg",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("problem") && !text.contains("trace"), "{text}");
    }
}
