//! oEmbed 1.0 (<https://oembed.com>) for links to videos. Pure.
//!
//! The response is a `video`: an `iframe` of the video's page, with animation and scrubbing. A `photo` would be static
//! by definition, and many sites support no `rich` type (Mastodon) or only the `iframe` in it (WordPress).

use glimpse_contract::{Code, Json, Problem, VideoId, object};

use crate::http::query::{Query, decode};
use crate::page::escape::escape;
use crate::page::meta::VideoMeta;
use crate::s3::sigv4::encode_query_value;

/// The default longer side of a frame, in pixels.
const DEFAULT_SIDE: u32 = 640;
/// How long the response may be cached, in seconds: the owner may choose another poster.
const CACHE_AGE_SECS: u32 = 300;

/// An oEmbed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OembedRequest {
    /// The video of the link.
    pub video: VideoId,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

impl OembedRequest {
    /// Parses the query of `GET /oembed`. Parameters unknown to the specification are ignored, as it requires.
    ///
    /// # Errors
    /// `not_found` for a link that is not the page of a video of this deployment, `bad_parameter` for a side that is
    /// not a number, `format_not_made` for XML.
    pub fn parse(query: Query<'_>, public_url: &str) -> Result<Self, Problem> {
        let mut url = None;
        let (mut max_width, mut max_height) = (None, None);
        for pair in query.pairs() {
            let (name, value) = (pair.name, pair.value_or_empty());
            match name {
                "url" => url = decode(value),
                "maxwidth" => max_width = Some(parse_side(name, value)?),
                "maxheight" => max_height = Some(parse_side(name, value)?),
                "format" if value != "json" => return Err(Problem::new(Code::FormatNotMade)),
                _ => {}
            }
        }
        let url = url.ok_or_else(|| {
            Problem::with_detail(Code::BadParameter, "The parameter `url` must be the URL of a video's page.")
        })?;
        let video = url.strip_prefix(public_url).and_then(|rest| rest.strip_prefix('/')).and_then(|rest| {
            let end = rest.find(['?', '#']).unwrap_or(rest.len());
            let path = &rest[..end];
            path.strip_suffix('/').unwrap_or(path).parse().ok()
        });
        let video = video.ok_or_else(|| {
            Problem::with_detail(
                Code::NotFound,
                "The parameter `url` is not the URL of a video's page on this site.",
            )
        })?;
        Ok(Self { video, max_width, max_height })
    }

    /// The request without limits.
    pub fn without_limits(video: VideoId) -> Self {
        Self { video, max_width: None, max_height: None }
    }

    /// The canonical form of the request.
    pub fn canonical(&self) -> String {
        let side = |side: Option<u32>| side.map(|side| side.to_string()).unwrap_or_default();
        format!(
            "/oembed?url={}&maxwidth={}&maxheight={}",
            self.video,
            side(self.max_width),
            side(self.max_height)
        )
    }

    /// The response.
    pub fn response(&self, meta: &VideoMeta) -> Json {
        let (width, height) = self.iframe_size((meta.width, meta.height));
        let title = escape(&meta.title);
        let html = format!(
            "<iframe src=\"{}\" width=\"{width}\" height=\"{height}\" title=\"{title}\" loading=\"lazy\" \
             allow=\"fullscreen\" allowfullscreen frameborder=\"0\" style=\"border:0\"></iframe>",
            meta.page_url()
        );
        let mut answer = object! {
            "version" => "1.0",
            "type" => "video",
            "title" => &meta.title,
            "provider_name" => "Glimpse",
            "provider_url" => meta.origin(),
            "cache_age" => CACHE_AGE_SECS,
            "width" => width,
            "height" => height,
            "html" => html,
        };
        if let Some((url, width, height)) = self.largest_poster(meta) {
            answer.put("thumbnail_url", url.into());
            answer.put("thumbnail_width", width.into());
            answer.put("thumbnail_height", height.into());
        }
        answer
    }

    /// The size of the frame: the video's aspect ratio, as large as allowed and not larger than the video.
    fn iframe_size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
        let limit = |max: Option<u32>, other: Option<u32>| {
            u64::from(max.unwrap_or(if other.is_some() { u32::MAX } else { DEFAULT_SIDE }))
        };
        let width_limit = limit(self.max_width, self.max_height).min(width);
        let height_limit = limit(self.max_height, self.max_width).min(height);
        let scaled = |side: u64, part: u64, whole: u64| (side * part / whole).max(1);
        let (width, height) = if width_limit * height <= height_limit * width {
            (width_limit, scaled(height, width_limit, width))
        } else {
            (scaled(width, height_limit, height), height_limit)
        };
        (width as u32, height as u32)
    }

    /// The largest allowed poster of a few: its URL, width and height.
    fn largest_poster(&self, meta: &VideoMeta) -> Option<(String, u32, u32)> {
        let is_within_limits = |width: u32, height: u32| {
            width <= self.max_width.unwrap_or(u32::MAX) && height <= self.max_height.unwrap_or(u32::MAX)
        };
        let poster = meta.output("thumbnail.jpg")?;
        if is_within_limits(poster.width, poster.height) {
            return Some((meta.url("thumbnail.jpg"), poster.width, poster.height));
        }
        meta.poster_widths().iter().rev().filter(|width| **width < poster.width).find_map(|&width| {
            // Rounded like the image itself.
            let height = ((width * poster.height + poster.width / 2) / poster.width).max(1);
            is_within_limits(width, height)
                .then(|| (format!("{}/thumbnail.jpg?width={width}", meta.page_url()), width, height))
        })
    }
}

/// The oEmbed URL in the discovery link of a page.
pub(super) fn oembed_url(meta: &VideoMeta) -> String {
    format!("{}/oembed?url={}", meta.origin(), encode_query_value(&meta.page_url()))
}

fn parse_side(name: &str, value: &str) -> Result<u32, Problem> {
    let is_number = !value.is_empty() && value.len() < 7 && value.bytes().all(|byte| byte.is_ascii_digit());
    let side = value.parse().ok().filter(|side| is_number && *side > 0);
    side.ok_or_else(|| {
        Problem::with_detail(
            Code::BadParameter,
            format!("The parameter `{name}` must be a number of pixels."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::meta::tests::{example_manifest, example_meta};

    const ORIGIN: &str = "https://v.example";

    fn request(more: &str) -> OembedRequest {
        let video = example_manifest().video;
        OembedRequest::parse(Query(&format!("url=https%3A%2F%2Fv.example%2F{video}{more}")), ORIGIN).unwrap()
    }

    #[test]
    fn accepts_only_own_page_urls() {
        let video = example_manifest().video;
        let check = |query: &str, expected: Result<VideoId, Code>| {
            let query = query.replace("{v}", &video.to_string());
            let found = OembedRequest::parse(Query(&query), ORIGIN);
            assert_eq!(found.map(|embed| embed.video).map_err(|problem| problem.code), expected, "{query}");
        };
        for good in [
            "url=https://v.example/{v}",
            "url=https%3a%2f%2Fv.example%2F{v}",
            "format=json&url=https://v.example/{v}&maxwidth=200&theme=dark",
            "url=https%3A%2F%2Fv.example%2F{v}%3Futm_source%3Dx",
            "url=https://v.example/{v}%23t=3",
            "url=https://v.example/{v}/",
            "url=https%3A%2F%2Fv.example%2F{v}%2F%3Futm_source%3Dx",
        ] {
            check(good, Ok(video));
        }
        for foreign in [
            "url=https://other.example/{v}",
            "url=http://v.example/{v}",
            "url=https://v.example.evil/{v}",
            "url=https://v.example@evil/{v}",
            "url=https://v.example/{v}/thumbnail.jpg",
            "url=https://v.example//{v}",
            "url=https://v.example/{v}//",
            "url=https://v.example/{v}x",
            "url=https://v.example/",
            "url=javascript:alert(1)",
            "url=",
        ] {
            check(foreign, Err(Code::NotFound));
        }
        check("maxwidth=3", Err(Code::BadParameter));
        check("url=%ff", Err(Code::BadParameter));
        check("url=https://v.example/{v}&maxwidth=wide", Err(Code::BadParameter));
        check("url=https://v.example/{v}&maxheight=0", Err(Code::BadParameter));
        check("url=https://v.example/{v}&maxheight=-5", Err(Code::BadParameter));
        check("url=https://v.example/{v}&format=xml", Err(Code::FormatNotMade));
    }

    #[test]
    fn respects_max_width_and_height() {
        let sizes = |more: &str| {
            let answer = request(more).response(&example_meta(&example_manifest()));
            let answer = serde_json::to_value(answer).unwrap();
            let member = |name: &str| answer[name].as_u64();
            (
                member("width").unwrap(),
                member("height").unwrap(),
                member("thumbnail_width"),
                member("thumbnail_height"),
            )
        };
        assert_eq!(sizes(""), (640, 360, Some(640), Some(360)));
        assert_eq!(sizes("&maxwidth=4000"), (1280, 720, Some(640), Some(360)));
        assert_eq!(sizes("&maxwidth=400"), (400, 225, Some(320), Some(180)));
        assert_eq!(sizes("&maxheight=200"), (355, 200, Some(320), Some(180)));
        assert_eq!(sizes("&maxwidth=100&maxheight=20"), (35, 20, None, None));
        assert_eq!(sizes("&maxwidth=100"), (100, 56, Some(80), Some(45)));
    }

    #[test]
    fn keeps_aspect_ratio_of_tall_video() {
        let mut manifest = example_manifest();
        (manifest.source.width, manifest.source.height) = (1080, 1920);
        let answer = request("").response(&example_meta(&manifest));
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!((answer["width"].as_u64(), answer["height"].as_u64()), (Some(360), Some(640)));
    }

    #[test]
    fn escapes_title_in_iframe() {
        let mut manifest = example_manifest();
        manifest.client_metadata.metadata.insert("title".into(), "\"><script>alert(1)</script>".into());
        let answer = request("").response(&example_meta(&manifest));
        let answer = serde_json::to_value(answer).unwrap();
        let html = answer["html"].as_str().unwrap();
        assert!(!html.contains("<script") && html.contains("&quot;&gt;&lt;script&gt;"), "{html}");
        assert_eq!(answer["type"], "video");
        assert_eq!(answer["title"], "\"><script>alert(1)</script>", "JSON needs no HTML escaping");
    }
}
