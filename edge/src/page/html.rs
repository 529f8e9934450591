//! Decides the HTML of a video's page, and of the page that says why there is none. Pure.
//!
//! What it looks like and does is the static assets `watch.css` and `watch.js` of `web`.

use glimpse_contract::Problem;

use crate::page::meta::Facts;
use crate::page::oembed::endpoint;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/watch.css">
"#;
/// A poster is what every site shows; the moving preview stands second for those that show more than one picture. There
/// is no `og:video`: sites play an MP4 at that address or nothing, and none is made here.
const CARD: &str = r#"<meta name="theme-color" content="{color}">
<meta name="description" content="{summary}">
<meta property="og:type" content="video.other">
<meta property="og:site_name" content="Glimpse">
<meta property="og:title" content="{title}">
<meta property="og:description" content="{summary}">
<meta property="og:url" content="{page}">
<meta property="og:image" content="{jpg}">
<meta property="og:image:type" content="image/jpeg">
<meta property="og:image:width" content="{jpg_width}">
<meta property="og:image:height" content="{jpg_height}">
<meta property="og:image:alt" content="{title}">
<meta property="og:image" content="{gif}">
<meta property="og:image:type" content="image/gif">
<meta property="og:image:width" content="{gif_width}">
<meta property="og:image:height" content="{gif_height}">
<meta name="twitter:card" content="summary_large_image">
<meta name="twitter:title" content="{title}">
<meta name="twitter:description" content="{summary}">
<meta name="twitter:image" content="{jpg}">
<meta name="twitter:image:alt" content="{title}">
<link rel="canonical" href="{page}">
<link rel="alternate" type="application/json+oembed" href="{oembed}" title="{title}">
<script src="/watch.js" defer></script>
<main id="watch" data-meta="{meta}" data-original="{original}">
<div id="player"><picture><source srcset="{webp}" type="image/webp"><img id="poster" src="{jpg}" width="{jpg_width}" height="{jpg_height}" alt="Poster: {title}"></picture></div>
<h1>{title}</h1>
<p class="soft">{summary}</p>
<noscript><p class="soft"><a href="{gif}">See it move</a></p></noscript>
</main>
"#;
const STATE: &str = r#"<main id="state" data-code="{code}">
<h1>{title}</h1>
<p class="soft">{detail}</p>
"#;

/// Text as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Appends a template with every `{slot}` filled; there is no way to fill one without escaping. A slot that nobody fills
/// is left empty.
fn fill(html: &mut String, template: &str, slots: &[(&str, &str)]) {
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        html.push_str(before);
        let (name, behind) = behind.split_once('}').unwrap_or((behind, ""));
        let value = slots.iter().find(|(slot, _)| *slot == name).map_or("", |(_, value)| *value);
        html.push_str(&escape(value));
        rest = behind;
    }
    html.push_str(rest);
}

/// The page of a ready video. `original` is where its owner may play the very file; `name` is what they called it.
pub(super) fn watch(facts: &Facts, original: Option<&str>, name: Option<&str>) -> String {
    let side = |file: &str, side: fn(&glimpse_contract::Output) -> u32| {
        facts.picture(file).map(|picture| side(picture).to_string()).unwrap_or_default()
    };
    let title = name.unwrap_or(&facts.title);
    let mut html = String::with_capacity(6 * 1024);
    fill(&mut html, HEAD, &[("title", title)]);
    fill(
        &mut html,
        CARD,
        &[
            ("title", title),
            ("color", facts.color()),
            ("summary", &facts.summary()),
            ("page", &facts.page()),
            ("oembed", &endpoint(facts)),
            ("jpg", &facts.url("thumbnail.jpg")),
            ("webp", &facts.url("thumbnail.webp")),
            ("gif", &facts.url("animated.gif")),
            ("jpg_width", &side("thumbnail.jpg", |picture| picture.width)),
            ("jpg_height", &side("thumbnail.jpg", |picture| picture.height)),
            ("gif_width", &side("animated.gif", |picture| picture.width)),
            ("gif_height", &side("animated.gif", |picture| picture.height)),
            ("meta", &facts.meta().to_string()),
            ("original", original.unwrap_or_default()),
        ],
    );
    html
}

/// The page that says why there is nothing to see; it looks again after so many seconds, and offers to sign in at
/// `sign_in`.
pub(super) fn state(problem: &Problem, again_secs: Option<u32>, sign_in: Option<&str>) -> String {
    let mut html = String::with_capacity(1024);
    let title = problem.code.title();
    fill(&mut html, HEAD, &[("title", title)]);
    if let Some(seconds) = again_secs {
        fill(
            &mut html,
            "<meta http-equiv=\"refresh\" content=\"{seconds}\">\n",
            &[("seconds", &seconds.to_string())],
        );
    }
    let slots = [("code", problem.code.as_str()), ("title", title), ("detail", &problem.detail)];
    fill(&mut html, STATE, &slots);
    if let Some(sign_in) = sign_in {
        fill(
            &mut html,
            "<p><a class=\"button\" href=\"{sign_in}\">Sign in</a></p>\n",
            &[("sign_in", sign_in)],
        );
    }
    html.push_str("</main>\n");
    html
}

/// What the page may load and where it may be framed. `bucket` is where the owner's film comes from.
///
/// Other sites may frame what everybody may see: nothing on the page does more than show it.
pub(super) fn policy(bucket: Option<&str>, may_be_framed: bool) -> String {
    let frames = if may_be_framed { "*" } else { "'none'" };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         media-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors {frames}; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        bucket.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Code;
    use proptest::prelude::*;

    use super::*;
    use crate::page::meta::tests::{facts, manifest};

    #[test]
    fn a_pasted_link_has_a_card() {
        let html = watch(&facts(&manifest()), None, None);
        let id = manifest().video;
        for tag in [
            r#"<meta property="og:title" content="Video">"#.to_owned(),
            format!(r#"<meta property="og:url" content="https://v.example/{id}">"#),
            format!(
                r#"<meta property="og:image" content="https://v.example/{id}/thumbnail.jpg?v=01234567">"#
            ),
            format!(r#"<meta property="og:image" content="https://v.example/{id}/animated.gif?v=01234567">"#),
            r#"<meta property="og:image:width" content="640">"#.to_owned(),
            r#"<meta name="twitter:card" content="summary_large_image">"#.to_owned(),
            format!(
                r#"<link rel="alternate" type="application/json+oembed" href="https://v.example/oembed?url=https%3A%2F%2Fv.example%2F{id}" title="Video">"#
            ),
        ] {
            assert!(html.contains(&tag), "{tag} is not in {html}");
        }
        assert!(
            html.find("thumbnail.jpg").unwrap() < html.find("animated.gif").unwrap(),
            "the poster is first"
        );
        for hidden in ["secret", "uploads/", "media/", "{", "og:video"] {
            let at = html.replace(&escape(&facts(&manifest()).meta().to_string()), "").find(hidden);
            assert_eq!(at, None, "{hidden} is in {html}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        let evil = "\"'><img src=x onerror=alert(1)>&{title}";
        let mut manifest = manifest();
        manifest.passthrough.metadata.insert("title".into(), evil.into());
        manifest.dominant_color = Some(evil.into());
        for html in
            [watch(&facts(&manifest), None, None), watch(&facts(&manifest), Some("/x/original"), Some(evil))]
        {
            assert!(!html.contains("<img src=x") && !html.contains("'>"), "{html}");
            assert_eq!(html.matches("<script").count(), 1);
        }
        let html = state(&Problem::because(Code::NotAVideo, evil), None, None);
        assert!(!html.contains("<img"), "{html}");
    }

    proptest! {
        #[test]
        fn every_value_is_text(value in "\\PC{0,60}") {
            let mut html = String::new();
            fill(&mut html, "<a b=\"{x}\">{x}</a>", &[("x", &value)]);
            let inner = escape(&value);
            prop_assert_eq!(&html, &format!("<a b=\"{inner}\">{inner}</a>"));
            prop_assert!(!inner.contains(['<', '>', '"', '\'']));
        }
    }

    #[test]
    fn a_page_says_why_there_is_nothing_and_looks_again_if_that_may_help() {
        let waiting = state(&Problem::new(Code::Processing), Some(2), None);
        assert!(
            waiting.contains(r#"<meta http-equiv="refresh" content="2">"#)
                && waiting.contains("still being made")
        );
        let private = state(&Problem::new(Code::Unauthorized), None, Some("/auth/login?return_to=/x"));
        assert!(!private.contains("refresh") && private.contains(r#"href="/auth/login?return_to=/x""#));
    }

    #[test]
    fn the_policy_allows_nothing_inline() {
        let policy = policy(Some("https://clips.s3.amazonaws.com/"), true);
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors *"));
        assert!(super::policy(None, false).contains("frame-ancestors 'none'"));
    }
}
