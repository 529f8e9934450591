//! OpenAPI operations of images and documents: one for each kind and format, and Cloudflare Stream's URLs.

use glimpse_contract::{Cause, Code, OutputFormat, PARAMETERS, VariantKind, limits};
use serde_json::{Value, json};

use super::operation::Operation;
use super::{example, shape};

pub(super) const TAG: &str = "pictures";

const WEBVTT_EXAMPLE: &str = "WEBVTT

00:00:00.000 --> 00:00:15.010
storyboard.jpg?tiles=4#xywh=0,0,192,108

00:00:15.010 --> 00:00:30.020
storyboard.jpg?tiles=4#xywh=192,0,192,108

00:00:30.020 --> 00:00:45.030
storyboard.jpg?tiles=4#xywh=384,0,192,108

00:00:45.030 --> 00:01:00.040
storyboard.jpg?tiles=4#xywh=576,0,192,108
";
const PLAYLIST_EXAMPLE: &str = "#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:61
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-IMAGES-ONLY
#EXTINF:60.040,
#EXT-X-TILES:RESOLUTION=192x108,LAYOUT=4x1,DURATION=15.010000
storyboard.jpg?tiles=4
#EXT-X-ENDLIST
";

/// The problems of an image: of the request, of the video and of the deployment.
pub(super) fn image_problems() -> Vec<Code> {
    let is_of_image = |code: &Code| matches!(code.cause(), Cause::Video | Cause::File | Cause::Operator);
    let mut codes: Vec<Code> = Code::ALL.iter().copied().filter(is_of_image).collect();
    codes.extend([Code::BadParameter, Code::NotFound, Code::Busy, Code::Upstream]);
    codes
}

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![page(), page_with_slash(), meta(), oembed(), original()];
    for kind in [VariantKind::Thumbnail, VariantKind::Animation, VariantKind::Storyboard, VariantKind::Clip] {
        operations.extend(kind.formats().iter().map(|&format| variant_operation(kind, format)));
    }
    operations.push(stream_operation(VariantKind::Thumbnail, OutputFormat::Jpg));
    operations.push(stream_operation(VariantKind::Animation, OutputFormat::Gif));
    operations
}

/// An operation that returns a document about a video.
fn document_operation(path: &str, id: &str) -> Operation {
    Operation::new("GET", path, id, TAG)
        .public()
        .header_parameter("if-none-match", "The ETag of the client's copy.", shape::string())
        .empty_response(304, "The client's copy is current.")
        .problems(&image_problems())
        .problems(&[Code::Unauthorized])
}

fn original() -> Operation {
    Operation::new("GET", "/{video}/original", "original", TAG)
        .describe("Download the source", "For its owner. By the deployment's `PLAYBACK` also with a delivery token for the source (`token`, the default), or for everyone if the video is public (`public`).")
        .path_parameter("video", "The video's id.", shape::video_id())
        .empty_response(302, "To the bucket, with a URL that is valid for some minutes.")
        .response_header("location", "A secret: the URL gives access to the file.")
        .problems(&[Code::BadParameter, Code::NotFound, Code::Deleted, Code::SourceGone, Code::Superseded])
        .problems(&[Code::TokenRefused])
}

fn page() -> Operation {
    document_operation("/{video}", "videoPage")
        .html()
        .describe("The video's page", "With Open Graph and Twitter cards, which play the animation; it may be framed. The owner, or everyone by the deployment's `PLAYBACK`, can play the source. Only the owner can view the page of a private video: tokens do not apply.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .binary_response(200, "The page.", "text/html")
}

fn page_with_slash() -> Operation {
    Operation::new("GET", "/{video}/", "videoPageWithSlash", TAG)
        .public()
        .describe("The video's page, with a trailing slash", "Redirects to the canonical URL.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .empty_response(301, "To the URL without the slash.")
        .response_header("location", "The page, with the query of the request.")
        .problems(&[Code::NotFound])
}

fn meta() -> Operation {
    document_operation("/{video}/meta.json", "videoMeta")
        .describe("Metadata of a video", "Size, duration, placeholder, and the URLs of its images. Only the owner can read those of a private video: tokens do not apply.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .object_response(200, "The metadata.")
        .response_example(example::meta())
}

fn oembed() -> Operation {
    document_operation("/oembed", "oembed")
        .describe("Embed a video in another site", "oEmbed 1.0, <https://oembed.com>.")
        .required_query_parameter("url", "The URL of the video's page.", shape::string())
        .example(format!("{}/{}", example::config().public_url, example::video_id()).into())
        .query_parameter("maxwidth", "The maximum width of the frame, in pixels.", shape::integer(1, 999_999))
        .query_parameter(
            "maxheight",
            "The maximum height of the frame, in pixels.",
            shape::integer(1, 999_999),
        )
        .query_parameter(
            "format",
            "The format of the response; for any other, oEmbed requires 501.",
            shape::string_enum(&["json"]),
        )
        .default_value("json".into())
        .object_response(200, "A frame with the page.")
        .response_example(example::oembed())
        .problems(&[Code::FormatNotMade])
}

fn image_operation(path: &str, id: &str, format: OutputFormat) -> Operation {
    let media = format.content_type();
    let operation = Operation::new("GET", path, id, TAG)
        .public()
        .path_parameter("video", "The video's id.", shape::video_id())
        .query_parameter(
            "token",
            "For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter.",
            shape::string(),
        )
        .query_parameter(
            "expires",
            "For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds.",
            shape::integer(0, u64::from(u32::MAX)),
        )
        .query_parameter("kid", "The id of the key of `sig`.", shape::string())
        .query_parameter("sig", "The HMAC-SHA256 of path and parameters.", shape::string())
        .query_parameter(
            "v",
            "The revision in the URLs of the API: with it, the image is cached for a year.",
            shape::pattern_string("^[0-9a-f]{8}$"),
        )
        .header_parameter("if-none-match", "The ETag of the client's copy.", shape::string())
        .header_parameter("range", "A range of the image, such as `bytes=0-999`.", shape::string());
    let operation = match table_example(format) {
        Some(table) if format == OutputFormat::Json => {
            operation.object_response(200, "The table.").response_example(table)
        }
        Some(table) => operation.binary_response(200, "The table.", media).response_example(table),
        None => operation.binary_response(200, "The image.", media),
    };
    operation
        .response_header("etag", "A strong ETag.")
        .response_header(
            "cache-control",
            "A year and `immutable` if the URL determines the image, otherwise five minutes.",
        )
        .binary_response(206, "The requested range.", media)
        .response_header("content-range", "The range and the total length.")
        .empty_response(304, "The client's copy is current.")
        .empty_response(416, "The range is not satisfiable.")
        .response_header("content-range", "The total length.")
        .problems(&image_problems())
        .problems(&[Code::Unauthorized, Code::TokenRefused])
}

/// The value of an image parameter in the request example.
fn example_of(kind: VariantKind, name: &str) -> Option<Value> {
    Some(match (kind, name) {
        (VariantKind::Thumbnail, "time") => json!(1.5),
        (VariantKind::Thumbnail, "width") => json!(400),
        (VariantKind::Animation, "start") => json!(1),
        (VariantKind::Animation, "end") => json!(3.5),
        (VariantKind::Animation, "width") => json!(480),
        (VariantKind::Storyboard, "tiles") => json!(4),
        (VariantKind::Clip, "start") => json!(0.5),
        (VariantKind::Clip, "end") => json!(3),
        _ => return None,
    })
}

/// The value that has the same effect as an absent image parameter, if there is one.
fn default_of(kind: VariantKind, name: &str) -> Option<Value> {
    Some(match (kind, name) {
        (VariantKind::Thumbnail, "fit_mode") => "preserve".into(),
        (VariantKind::Thumbnail, "flip_v" | "flip_h" | "play") => "false".into(),
        (VariantKind::Thumbnail, "dpr") => json!(1),
        (VariantKind::Animation, "fps") => json!(limits::ANIMATION_FPS),
        (VariantKind::Storyboard, "asset_start_time") | (VariantKind::Clip, "start") => json!(0),
        (VariantKind::Clip, "audio") => "true".into(),
        _ => return None,
    })
}

/// A table of the example's storyboard, with as many tiles as in the request example; `None` for images.
fn table_example(format: OutputFormat) -> Option<Value> {
    Some(match format {
        OutputFormat::Vtt => WEBVTT_EXAMPLE.into(),
        OutputFormat::M3u8 => PLAYLIST_EXAMPLE.into(),
        OutputFormat::Json => json!({
            "url": format!("{}/{}/storyboard.jpg?tiles=4", example::config().public_url, example::video_id()),
            "tile_width": 192,
            "tile_height": 108,
            "duration": 60.04,
            "tiles": [
                { "start": 0, "x": 0, "y": 0 },
                { "start": 15.01, "x": 192, "y": 0 },
                { "start": 30.02, "x": 384, "y": 0 },
                { "start": 45.03, "x": 576, "y": 0 },
            ],
        }),
        _ => return None,
    })
}

fn variant_operation(kind: VariantKind, format: OutputFormat) -> Operation {
    let (word, extension) = (kind.as_str(), format.extension());
    let id = format!("{word}{}{}", extension[..1].to_uppercase(), &extension[1..]);
    let operation = image_operation(&format!("/{{video}}/{word}.{extension}"), &id, format);
    let operation = PARAMETERS.iter().filter(|parameter| parameter.kind == kind).fold(
        operation,
        |operation, parameter| {
            let mut schema = shape::parameter(parameter.value);
            if let Some(value) = default_of(kind, parameter.name) {
                schema["default"] = value;
            }
            let description = parameter.description().unwrap_or_default();
            let operation = operation.query_parameter(parameter.name, description, schema);
            match example_of(kind, parameter.name) {
                Some(value) => operation.example(value),
                None => operation,
            }
        },
    );
    match kind {
        VariantKind::Thumbnail => operation
            .describe("Thumbnail", "Without parameters, the poster: the best frame, up to 640 pixels wide; with any, another still image. Without an extension, `Accept` selects the format: WebP or JPEG, and AVIF if the deployment's `NEGOTIATE` includes it. A PNG has at most 8294400 pixels (3840x2160), an AVIF 3686400 (2560x1440). An image that cannot be rendered is rejected for a day without another attempt, after a timeout for ten minutes."),
        VariantKind::Animation => operation
            .describe("Animation", "Without parameters, snippets of the whole video, up to 320 pixels wide; with any, one part of up to 10 s. Without an extension, `Accept` selects WebP or GIF. The MP4 is H.264 without sound, for `<video muted autoplay loop playsinline>`."),
        VariantKind::Storyboard => {
            let operation = operation.describe(
                "Storyboard",
                "50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.",
            );
            if !format.is_table() {
                return operation;
            }
            operation.query_parameter(
                "format",
                "The format of the sheet in the table. Allowed beside `token`.",
                shape::string_enum(&["jpg", "webp"]),
            )
            .default_value("jpg".into())
        }
        VariantKind::Clip => operation.describe(
            "Clip",
            "Up to 60 s of the video with its sound, by default the first 10 s: H.264 is copied without decoding, other codecs are encoded, up to 10 s and 1280 pixels. At most 100000000 bytes.",
        ),
    }
}

fn stream_operation(kind: VariantKind, format: OutputFormat) -> Operation {
    let extension = format.extension();
    let id = if kind == VariantKind::Animation { "streamAnimation" } else { "streamThumbnail" };
    let operation = image_operation(&format!("/{{video}}/thumbnails/thumbnail.{extension}"), id, format);
    let clock = || shape::pattern_string(r"^(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]{1,32})?s)?$");
    let max =
        if kind == VariantKind::Animation { limits::MAX_ANIMATION_SIDE } else { limits::MAX_THUMBNAIL_SIDE };
    let side = || shape::integer(limits::MIN_SIDE.into(), max.into());
    let operation = operation
        .describe("Image by Cloudflare Stream's URL", "Absent parameters have the defaults of Glimpse.")
        .query_parameter("time", "The time, such as `1m2s`.", clock())
        .example("1s".into())
        .query_parameter("width", "Width in pixels.", side())
        .example(320.into())
        .query_parameter("height", "Height in pixels.", side())
        .query_parameter(
            "fit",
            "How the frame is fitted to width and height.",
            shape::string_enum(&["clip", "scale", "crop", "fill"]),
        );
    if kind != VariantKind::Animation {
        return operation;
    }
    operation
        .query_parameter("duration", "The duration, 0.25 to 10 s, such as `2s`.", clock())
        .example("2s".into())
        .query_parameter(
            "fps",
            "The maximum frame rate.",
            shape::integer(1, limits::MAX_ANIMATION_FPS.into()),
        )
}
