//! Decides what is said about the pictures: one call for each kind and format, and Cloudflare Stream's names.

use glimpse_contract::{Code, OutputFormat, VariantKind, limits};

use super::operation::Operation;
use super::shape;

pub(super) const TAG: &str = "pictures";

/// Why there may be no picture: what is said of the request, and what became of the video.
pub(super) const PROBLEMS: [Code; 22] = [
    Code::Processing,
    Code::BadParameter,
    Code::NotFound,
    Code::SourceGone,
    Code::Deleted,
    Code::Superseded,
    Code::Empty,
    Code::NotAVideo,
    Code::NoVideoStream,
    Code::UnsupportedCodec,
    Code::TooManyPixels,
    Code::TooMuchMemory,
    Code::TooManyStreams,
    Code::TooLong,
    Code::Truncated,
    Code::Encrypted,
    Code::DecoderCrash,
    Code::TimedOut,
    Code::Busy,
    Code::NoDecoder,
    Code::NoAccess,
    Code::Upstream,
];

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![page(), page_with_slash(), meta(), oembed(), original()];
    for kind in [VariantKind::Thumbnail, VariantKind::Animation, VariantKind::Storyboard] {
        operations.extend(kind.formats().iter().map(|&format| variant_operation(kind, format)));
    }
    operations.push(stream_operation(VariantKind::Thumbnail, OutputFormat::Jpg));
    operations.push(stream_operation(VariantKind::Animation, OutputFormat::Gif));
    operations
}

/// What is said about a video beside its pictures.
fn document_operation(path: &str, id: &str) -> Operation {
    Operation::new("GET", path, id, TAG)
        .public()
        .header_parameter("if-none-match", "The ETag of the copy that is there already.", shape::string())
        .empty_response(304, "The copy is good.")
        .problems(&PROBLEMS)
        .problems(&[Code::Unauthorized])
}

fn original() -> Operation {
    Operation::new("GET", "/{video}/original", "original", TAG)
        .describe("The uploaded file, to save it", "For its owner, or by a delivery token of its own.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .empty_response(302, "To the bucket, by an address that is good for some minutes.")
        .response_header("location", "A secret: whoever has it has the file.")
        .problems(&[Code::BadParameter, Code::NotFound, Code::Deleted, Code::SourceGone, Code::Superseded])
        .problems(&[Code::TokenRefused])
}

fn page() -> Operation {
    document_operation("/{video}", "videoPage")
        .html()
        .describe("A page that shows the video", "With Open Graph and Twitter cards; it may be framed. That of a private video is its owner's alone: no token opens it.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .binary_response(200, "The page.", "text/html")
}

fn page_with_slash() -> Operation {
    Operation::new("GET", "/{video}/", "videoPageWithSlash", TAG)
        .public()
        .describe("The same page", "Its address has one spelling.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .empty_response(301, "To the address without the slash.")
        .response_header("location", "The page, with the query that was sent.")
        .problems(&[Code::NotFound])
}

fn meta() -> Operation {
    document_operation("/{video}/meta.json", "videoMeta")
        .describe("What a page needs to show a video", "Size, duration, stand-in, and the URLs of its pictures. Those of a private video are its owner's alone: no token opens them.")
        .path_parameter("video", "The video's id.", shape::video_id())
        .object_response(200, "The facts.")
}

fn oembed() -> Operation {
    document_operation("/oembed", "oembed")
        .describe("How another site shows a video", "oEmbed 1.0, <https://oembed.com>.")
        .required_query_parameter("url", "The address of the video's page.", shape::string())
        .query_parameter("maxwidth", "The widest frame, in pixels.", shape::integer(1, 999_999))
        .query_parameter("maxheight", "The highest frame, in pixels.", shape::integer(1, 999_999))
        .query_parameter(
            "format",
            "What is made; for anything else oEmbed wants 501.",
            shape::string_enum(&["json"]),
        )
        .object_response(200, "A frame with the page.")
        .problems(&[Code::FormatNotMade])
}

fn image_operation(path: &str, id: &str, format: OutputFormat) -> Operation {
    let media = format.content_type();
    Operation::new("GET", path, id, TAG)
        .public()
        .path_parameter("video", "The video's id.", shape::video_id())
        .query_parameter(
            "token",
            "For a private video: a JWT as Mux makes them, which names the picture; then no other parameter.",
            shape::string(),
        )
        .query_parameter(
            "expires",
            "For a private video, with `kid` and `sig`: when the link ends, in Unix seconds.",
            shape::integer(0, u64::from(u32::MAX)),
        )
        .query_parameter("kid", "Which key `sig` is made with.", shape::string())
        .query_parameter("sig", "The HMAC-SHA256 of path and parameters.", shape::string())
        .query_parameter(
            "v",
            "The revision that the API's URLs carry: with it the picture is kept for a year.",
            shape::pattern_string("^[0-9a-f]{8}$"),
        )
        .header_parameter("if-none-match", "The ETag of the copy that is there already.", shape::string())
        .header_parameter("range", "A part of the picture.", shape::string())
        .binary_response(200, "The picture.", media)
        .response_header("etag", "A strong ETag.")
        .response_header(
            "cache-control",
            "A year and `immutable` where the URL fixes the picture, otherwise five minutes.",
        )
        .binary_response(206, "The part that was asked for.", media)
        .response_header("content-range", "Which part of how much.")
        .empty_response(304, "The copy is good.")
        .empty_response(416, "There is no such part.")
        .response_header("content-range", "How much there is.")
        .problems(&PROBLEMS)
        .problems(&[Code::Unauthorized, Code::TokenRefused])
}

fn variant_operation(kind: VariantKind, format: OutputFormat) -> Operation {
    let (word, extension) = (kind.as_str(), format.extension());
    let id = format!("{word}{}{}", extension[..1].to_uppercase(), &extension[1..]);
    let operation = image_operation(&format!("/{{video}}/{word}.{extension}"), &id, format);
    let side = |max: u32| shape::integer(limits::MIN_SIDE.into(), max.into());
    let day = limits::MAX_DURATION_MS / 1000;
    match kind {
        VariantKind::Thumbnail => operation
            .describe("A still picture", "Bare, the poster: the best frame, up to 640 pixels wide. Without an extension `Accept` chooses the format. A PNG has at most 8294400 pixels (3840x2160). A picture that cannot be made is refused for a day without another try, one that took too long for ten minutes.")
            .query_parameter("time", "The moment, in seconds.", shape::seconds(day))
            .query_parameter("width", "Width in pixels.", side(limits::MAX_THUMBNAIL_SIDE))
            .query_parameter("height", "Height in pixels.", side(limits::MAX_THUMBNAIL_SIDE))
            .query_parameter("fit_mode", "How it is brought into width and height.", shape::string_enum(&["preserve", "stretch", "crop", "smartcrop", "pad"]))
            .query_parameter("rotate", "Degrees clockwise.", shape::string_enum(&["90", "180", "270"]))
            .query_parameter("flip_v", "Upside down.", shape::string_enum(&["true", "false"]))
            .query_parameter("flip_h", "As in a mirror.", shape::string_enum(&["true", "false"])),
        VariantKind::Animation => operation
            .describe("A moving picture", "Bare, a reel of the whole video, up to 320 pixels wide; otherwise any clip of up to 10 s.")
            .query_parameter("start", "Where it begins, in seconds.", shape::seconds(day))
            .query_parameter("end", "Where it ends, in seconds: 0.25 to 10 after the beginning.", shape::seconds(day + limits::MAX_SPAN_MS / 1000))
            .query_parameter("width", "Width in pixels.", side(limits::MAX_ANIMATION_SIDE))
            .query_parameter("height", "Height in pixels.", side(limits::MAX_ANIMATION_SIDE))
            .query_parameter("fps", "Frames a second, at most.", shape::integer(1, limits::MAX_ANIMATION_FPS.into()))
            .query_parameter("max_bytes", "Its length, at most.", shape::integer(limits::MIN_MAX_BYTES, limits::MAX_MAX_BYTES)),
        VariantKind::Storyboard => {
            let operation = operation.describe(
                "Tiles over the whole video",
                "50 of them on one sheet, 100 from 15 minutes on; as `vtt` or `json` the table of what lies where on it.",
            );
            if !matches!(format, OutputFormat::Vtt | OutputFormat::Json) {
                return operation;
            }
            operation.query_parameter(
                "format",
                "The format of the sheet that the table names, `jpg` unless said otherwise. It may stand beside `token`.",
                shape::string_enum(&["jpg", "webp"]),
            )
        }
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
        .describe("The same by Cloudflare Stream's names", "What is left out is this service's default.")
        .query_parameter("time", "The moment, such as `1m2s`.", clock())
        .query_parameter("width", "Width in pixels.", side())
        .query_parameter("height", "Height in pixels.", side())
        .query_parameter(
            "fit",
            "How it is brought into width and height.",
            shape::string_enum(&["clip", "scale", "crop", "fill"]),
        );
    if kind != VariantKind::Animation {
        return operation;
    }
    operation
        .query_parameter("duration", "How long it is, 0.25 to 10 s, such as `2s`.", clock())
        .query_parameter(
            "fps",
            "Frames a second, at most.",
            shape::integer(1, limits::MAX_ANIMATION_FPS.into()),
        )
}
