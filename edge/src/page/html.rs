//! HTML of a video's page, and of the page that reports its state. Pure.
//!
//! The static assets `watch.css` and `watch.js` of `web` contain its style and behavior.

use glimpse_contract::Problem;

use crate::page::escape::escape;
use crate::page::meta::VideoMeta;
use crate::page::oembed::oembed_url;

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
"#;
/// The card without a video. Every site shows the poster; the animation is second, for sites that show several images.
const IMAGE_CARD: &str = r#"<meta property="og:image" content="{gif}">
<meta property="og:image:type" content="image/gif">
<meta property="og:image:width" content="{gif_width}">
<meta property="og:image:height" content="{gif_height}">
<meta name="twitter:card" content="summary_large_image">
"#;
/// The card with the MP4 of the animation. The poster is its only image: of two, Discord makes a gallery,
/// <https://docs.discord.com/developers/link-previews/overview>. The player is the page itself, in a frame.
const PLAYER_CARD: &str = r#"<meta property="og:video" content="{mp4}">
<meta property="og:video:secure_url" content="{mp4}">
<meta property="og:video:type" content="video/mp4">
<meta property="og:video:width" content="{mp4_width}">
<meta property="og:video:height" content="{mp4_height}">
<meta name="twitter:card" content="player">
<meta name="twitter:player" content="{page}">
<meta name="twitter:player:width" content="{mp4_width}">
<meta name="twitter:player:height" content="{mp4_height}">
<meta name="twitter:player:stream" content="{mp4}">
<meta name="twitter:player:stream:content_type" content="video/mp4">
"#;
const BODY: &str = r#"<meta name="twitter:title" content="{title}">
<meta name="twitter:description" content="{summary}">
<meta name="twitter:image" content="{jpg}">
<meta name="twitter:image:alt" content="{title}">
<link rel="canonical" href="{page}">
<link rel="alternate" type="application/json+oembed" href="{oembed}" title="{title}">
<script src="/watch.js" defer></script>
<main id="watch" data-meta="{meta}" data-original="{original}">
<div id="player"><picture><source srcset="{webp}" type="image/webp"><img id="poster" src="{jpg}" width="{jpg_width}" height="{jpg_height}" alt="Poster: {title}"></picture></div>
<h1>{title}</h1>
<p class="muted">{summary}</p>
<noscript><p class="muted"><a href="{gif}">View the animation</a></p></noscript>
</main>
"#;
const STATE: &str = r#"<main id="state" data-code="{code}">
<h1>{title}</h1>
<p class="muted">{detail}</p>
"#;

/// Appends a template with every `{slot}` filled; values are always escaped. A slot without a value stays empty.
fn fill_template(html: &mut String, template: &str, placeholders: &[(&str, &str)]) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        html.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let value =
            placeholders.iter().find(|(placeholder, _)| *placeholder == name).map_or("", |(_, value)| *value);
        html.push_str(&escape(value));
        rest = after;
    }
    html.push_str(rest);
}

/// What a page shows beside the metadata of its video.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PageOptions<'a> {
    /// The URL at which this viewer can play the source.
    pub(super) original: Option<&'a str>,
    /// The name of the uploaded file, for its owner.
    pub(super) name: Option<&'a str>,
    /// Whether other sites can load the video and frame the page: it is public.
    pub(super) is_public: bool,
}

/// The page of a ready video.
pub(super) fn video_page(meta: &VideoMeta, options: PageOptions<'_>) -> String {
    let output_side = |file: &str, side: fn(&glimpse_contract::Output) -> u32| {
        meta.output(file).map(|picture| side(picture).to_string()).unwrap_or_default()
    };
    let title = options.name.unwrap_or(&meta.title);
    let has_player = options.is_public && meta.output("animated.mp4").is_some_and(|output| output.width > 0);
    let parts = [HEAD, CARD, if has_player { PLAYER_CARD } else { IMAGE_CARD }, BODY];
    let mut html = String::with_capacity(6 * 1024);
    fill_template(
        &mut html,
        &parts.concat(),
        &[
            ("title", title),
            ("color", meta.color()),
            ("summary", &meta.summary()),
            ("page", &meta.page_url()),
            ("oembed", &oembed_url(meta)),
            ("jpg", &meta.url("thumbnail.jpg")),
            ("webp", &meta.url("thumbnail.webp")),
            ("gif", &meta.url("animated.gif")),
            ("mp4", &meta.url("animated.mp4")),
            ("jpg_width", &output_side("thumbnail.jpg", |picture| picture.width)),
            ("jpg_height", &output_side("thumbnail.jpg", |picture| picture.height)),
            ("gif_width", &output_side("animated.gif", |picture| picture.width)),
            ("gif_height", &output_side("animated.gif", |picture| picture.height)),
            ("mp4_width", &output_side("animated.mp4", |film| film.width)),
            ("mp4_height", &output_side("animated.mp4", |film| film.height)),
            ("meta", &meta.to_json().to_string()),
            ("original", options.original.unwrap_or_default()),
        ],
    );
    html
}

/// The page that reports the state of a video without images; it reloads after `refresh_secs`, and links to `sign_in`.
pub(super) fn state_page(problem: &Problem, refresh_secs: Option<u32>, sign_in: Option<&str>) -> String {
    let mut html = String::with_capacity(1024);
    let title = problem.code.title();
    fill_template(&mut html, HEAD, &[("title", title)]);
    if let Some(seconds) = refresh_secs {
        fill_template(
            &mut html,
            "<meta http-equiv=\"refresh\" content=\"{seconds}\">\n",
            &[("seconds", &seconds.to_string())],
        );
    }
    let placeholders = [("code", problem.code.as_str()), ("title", title), ("detail", &problem.detail)];
    fill_template(&mut html, STATE, &placeholders);
    if let Some(sign_in) = sign_in {
        fill_template(
            &mut html,
            "<p><a class=\"button\" href=\"{sign_in}\">Sign in</a></p>\n",
            &[("sign_in", sign_in)],
        );
    }
    html.push_str("</main>\n");
    html
}

/// The allowed sources and embedders of the page. `bucket` is the origin of the source, if the viewer can play it.
///
/// Other sites may embed public pages: a page only displays the video.
pub(super) fn content_security_policy(bucket: Option<&str>, is_embeddable: bool) -> String {
    let frame_ancestors = if is_embeddable { "*" } else { "'none'" };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         media-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors {frame_ancestors}; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        bucket.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Code;
    use proptest::prelude::*;

    use super::*;
    use crate::page::meta::tests::{example_manifest, example_meta};

    const PUBLIC: PageOptions<'_> = PageOptions { original: None, name: None, is_public: true };

    #[test]
    fn page_has_card_tags() {
        let html = video_page(&example_meta(&example_manifest()), PUBLIC);
        let id = example_manifest().video;
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
            assert!(html.contains(&tag), "{html} does not contain {tag}");
        }
        assert!(
            html.find("thumbnail.jpg").unwrap() < html.find("animated.gif").unwrap(),
            "the poster is first"
        );
        for hidden in ["secret", "uploads/", "media/", "{", "og:video"] {
            let at = html
                .replace(&escape(&example_meta(&example_manifest()).to_json().to_string()), "")
                .find(hidden);
            assert_eq!(at, None, "{html} contains {hidden}");
        }
    }

    /// A manifest with an MP4 of that size.
    fn manifest_with_film(width: u32, height: u32) -> glimpse_contract::Manifest {
        let mut manifest = example_manifest();
        manifest.outputs.push(glimpse_contract::Output {
            variant: "animated.mp4".into(),
            width,
            height,
            etag: "\"fedcba9876543210\"".into(),
            ..manifest.outputs[0].clone()
        });
        manifest
    }

    #[test]
    fn card_of_public_video_plays_mp4() {
        let manifest = manifest_with_film(320, 180);
        let html = video_page(&example_meta(&manifest), PUBLIC);
        let page = format!("https://v.example/{}", manifest.video);
        let mp4 = format!("{page}/animated.mp4?v=fedcba98");
        for (attribute, name, content) in [
            ("property", "og:video", mp4.as_str()),
            ("property", "og:video:secure_url", &mp4),
            ("property", "og:video:type", "video/mp4"),
            ("property", "og:video:width", "320"),
            ("property", "og:video:height", "180"),
            ("name", "twitter:card", "player"),
            ("name", "twitter:player", &page),
            ("name", "twitter:player:width", "320"),
            ("name", "twitter:player:height", "180"),
            ("name", "twitter:player:stream", &mp4),
            ("name", "twitter:player:stream:content_type", "video/mp4"),
        ] {
            let tag = format!(r#"<meta {attribute}="{name}" content="{content}">"#);
            assert_eq!(html.matches(&tag).count(), 1, "{html} does not contain {tag}");
        }
        assert_eq!(html.matches(r#"property="og:image" "#).count(), 1, "two images are a gallery on Discord");
        assert_eq!(html.matches(r#"name="twitter:card""#).count(), 1);
    }

    #[test]
    fn private_page_has_no_player_tags() {
        let check = |manifest, options| {
            let html = video_page(&example_meta(&manifest), options);
            assert!(!html.contains("og:video") && !html.contains("twitter:player"), "{html}");
            assert!(html.contains(r#"content="summary_large_image""#), "{html}");
        };
        check(manifest_with_film(320, 180), PageOptions::default());
        check(manifest_with_film(0, 0), PUBLIC);
        check(example_manifest(), PUBLIC);
    }

    #[test]
    fn pages_escape_untrusted_text() {
        let evil = "\"'><img src=x onerror=alert(1)>&{title}";
        let mut manifest = example_manifest();
        manifest.client_metadata.metadata.insert("title".into(), evil.into());
        manifest.dominant_color = Some(evil.into());
        for html in [
            video_page(&example_meta(&manifest), PUBLIC),
            video_page(
                &example_meta(&manifest),
                PageOptions { original: Some("/x/original"), name: Some(evil), is_public: false },
            ),
        ] {
            assert!(!html.contains("<img src=x") && !html.contains("'>"), "{html}");
            assert_eq!(html.matches("<script").count(), 1);
        }
        let html = state_page(&Problem::with_detail(Code::NotAVideo, evil), None, None);
        assert!(!html.contains("<img"), "{html}");
    }

    proptest! {
        #[test]
        fn fill_template_escapes_any_value(value in "\\PC{0,60}") {
            let mut html = String::new();
            fill_template(&mut html, "<a b=\"{x}\">{x}</a>", &[("x", &value)]);
            let inner = escape(&value);
            prop_assert_eq!(&html, &format!("<a b=\"{inner}\">{inner}</a>"));
            prop_assert!(!inner.contains(['<', '>', '"', '\'']));
        }
    }

    #[test]
    fn state_page_refreshes_only_while_processing() {
        let processing = state_page(&Problem::new(Code::Processing), Some(2), None);
        assert!(
            processing.contains(r#"<meta http-equiv="refresh" content="2">"#)
                && processing.contains("still being generated")
        );
        let private = state_page(&Problem::new(Code::Unauthorized), None, Some("/auth/login?return_to=/x"));
        assert!(!private.contains("refresh") && private.contains(r#"href="/auth/login?return_to=/x""#));
    }

    #[test]
    fn csp_allows_nothing_inline() {
        let policy = content_security_policy(Some("https://clips.s3.amazonaws.com/"), true);
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors *"));
        assert!(super::content_security_policy(None, false).contains("frame-ancestors 'none'"));
    }
}
