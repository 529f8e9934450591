//! Decides what is said about the pictures: one call for each kind and format, and Cloudflare Stream's names.

use glimpse_contract::{Code, Format, Kind, limits};

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
    for kind in [Kind::Thumbnail, Kind::Animated, Kind::Storyboard] {
        operations.extend(kind.formats().iter().map(|&format| own(kind, format)));
    }
    operations.push(of_stream(Kind::Thumbnail, Format::Jpg));
    operations.push(of_stream(Kind::Animated, Format::Gif));
    operations
}

/// What is said about a video beside its pictures.
fn document(path: &str, id: &str) -> Operation {
    Operation::new("GET", path, id, TAG)
        .open()
        .header("if-none-match", "The ETag of the copy that is there already.", shape::text())
        .answers_nothing(304, "The copy is good.")
        .problems(&PROBLEMS)
        .problems(&[Code::Unauthorized])
}

fn original() -> Operation {
    Operation::new("GET", "/{video}/original", "original", TAG)
        .says("The uploaded file, to save it", "For its owner, or by a delivery token of its own.")
        .path("video", "The video's id.", shape::video())
        .answers_nothing(302, "To the bucket, by an address that is good for some minutes.")
        .sends("location", "A secret: whoever has it has the file.")
        .problems(&[Code::BadParameter, Code::NotFound, Code::Deleted, Code::SourceGone, Code::Superseded])
        .problems(&[Code::TokenRefused])
}

fn page() -> Operation {
    document("/{video}", "videoPage")
        .shown_to_people()
        .says("A page that shows the video", "With Open Graph and Twitter cards; it may be framed. That of a private video is its owner's alone: no token opens it.")
        .path("video", "The video's id.", shape::video())
        .answers_bytes(200, "The page.", "text/html")
}

fn page_with_slash() -> Operation {
    Operation::new("GET", "/{video}/", "videoPageWithSlash", TAG)
        .open()
        .says("The same page", "Its address has one spelling.")
        .path("video", "The video's id.", shape::video())
        .answers_nothing(301, "To the address without the slash.")
        .sends("location", "The page, with the query that was sent.")
        .problems(&[Code::NotFound])
}

fn meta() -> Operation {
    document("/{video}/meta.json", "videoMeta")
        .says("What a page needs to show a video", "Size, duration, stand-in, and the URLs of its pictures. Those of a private video are its owner's alone: no token opens them.")
        .path("video", "The video's id.", shape::video())
        .answers_json(200, "The facts.")
}

fn oembed() -> Operation {
    document("/oembed", "oembed")
        .says("How another site shows a video", "oEmbed 1.0, <https://oembed.com>.")
        .needs("url", "The address of the video's page.", shape::text())
        .query("maxwidth", "The widest frame, in pixels.", shape::whole(1, 999_999))
        .query("maxheight", "The highest frame, in pixels.", shape::whole(1, 999_999))
        .query("format", "What is made; for anything else oEmbed wants 501.", shape::one_of(&["json"]))
        .answers_json(200, "A frame with the page.")
        .problems(&[Code::FormatNotMade])
}

fn picture(path: &str, id: &str, format: Format) -> Operation {
    let media = format.content_type();
    Operation::new("GET", path, id, TAG)
        .open()
        .path("video", "The video's id.", shape::video())
        .query(
            "token",
            "For a private video: a JWT as Mux makes them, which names the picture; then no other parameter.",
            shape::text(),
        )
        .query(
            "expires",
            "For a private video, with `kid` and `sig`: when the link ends, in Unix seconds.",
            shape::whole(0, u64::from(u32::MAX)),
        )
        .query("kid", "Which key `sig` is made with.", shape::text())
        .query("sig", "The HMAC-SHA256 of path and parameters.", shape::text())
        .query(
            "v",
            "The revision that the API's URLs carry: with it the picture is kept for a year.",
            shape::matching("^[0-9a-f]{8}$"),
        )
        .header("if-none-match", "The ETag of the copy that is there already.", shape::text())
        .header("range", "A part of the picture.", shape::text())
        .answers_bytes(200, "The picture.", media)
        .sends("etag", "A strong ETag.")
        .sends(
            "cache-control",
            "A year and `immutable` where the URL fixes the picture, otherwise five minutes.",
        )
        .answers_bytes(206, "The part that was asked for.", media)
        .sends("content-range", "Which part of how much.")
        .answers_nothing(304, "The copy is good.")
        .answers_nothing(416, "There is no such part.")
        .sends("content-range", "How much there is.")
        .problems(&PROBLEMS)
        .problems(&[Code::Unauthorized, Code::TokenRefused])
}

fn own(kind: Kind, format: Format) -> Operation {
    let (word, extension) = (kind.as_str(), format.extension());
    let id = format!("{word}{}{}", extension[..1].to_uppercase(), &extension[1..]);
    let operation = picture(&format!("/{{video}}/{word}.{extension}"), &id, format);
    let side = |most: u32| shape::whole(limits::MIN_SIDE.into(), most.into());
    let day = limits::MAX_DURATION_MS / 1000;
    match kind {
        Kind::Thumbnail => operation
            .says("A still picture", "Bare, the poster: the best frame, up to 640 pixels wide. Without an extension `Accept` chooses the format. A PNG has at most 8294400 pixels (3840x2160). A picture that cannot be made is refused for a day without another try, one that took too long for ten minutes.")
            .query("time", "The moment, in seconds.", shape::seconds(day))
            .query("width", "Width in pixels.", side(limits::MAX_THUMBNAIL_SIDE))
            .query("height", "Height in pixels.", side(limits::MAX_THUMBNAIL_SIDE))
            .query("fit_mode", "How it is brought into width and height.", shape::one_of(&["preserve", "stretch", "crop", "smartcrop", "pad"]))
            .query("rotate", "Degrees clockwise.", shape::one_of(&["90", "180", "270"]))
            .query("flip_v", "Upside down.", shape::one_of(&["true", "false"]))
            .query("flip_h", "As in a mirror.", shape::one_of(&["true", "false"])),
        Kind::Animated => operation
            .says("A moving picture", "Bare, a reel of the whole video, up to 320 pixels wide; otherwise any clip of up to 10 s.")
            .query("start", "Where it begins, in seconds.", shape::seconds(day))
            .query("end", "Where it ends, in seconds: 0.25 to 10 after the beginning.", shape::seconds(day + limits::MAX_SPAN_MS / 1000))
            .query("width", "Width in pixels.", side(limits::MAX_ANIMATED_SIDE))
            .query("height", "Height in pixels.", side(limits::MAX_ANIMATED_SIDE))
            .query("fps", "Frames a second, at most.", shape::whole(1, limits::MAX_ANIMATED_FPS.into()))
            .query("max_bytes", "Its length, at most.", shape::whole(limits::MIN_MAX_BYTES, limits::MAX_MAX_BYTES)),
        Kind::Storyboard => {
            let operation = operation.says(
                "Tiles over the whole video",
                "50 of them on one sheet, 100 from 15 minutes on; as `vtt` or `json` the table of what lies where on it.",
            );
            if !matches!(format, Format::Vtt | Format::Json) {
                return operation;
            }
            operation.query(
                "format",
                "The format of the sheet that the table names, `jpg` unless said otherwise. It may stand beside `token`.",
                shape::one_of(&["jpg", "webp"]),
            )
        }
    }
}

fn of_stream(kind: Kind, format: Format) -> Operation {
    let extension = format.extension();
    let id = if kind == Kind::Animated { "streamAnimation" } else { "streamThumbnail" };
    let operation = picture(&format!("/{{video}}/thumbnails/thumbnail.{extension}"), id, format);
    let clock = || shape::matching(r"^(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]{1,32})?s)?$");
    let most = if kind == Kind::Animated { limits::MAX_ANIMATED_SIDE } else { limits::MAX_THUMBNAIL_SIDE };
    let side = || shape::whole(limits::MIN_SIDE.into(), most.into());
    let operation = operation
        .says("The same by Cloudflare Stream's names", "What is left out is this service's default.")
        .query("time", "The moment, such as `1m2s`.", clock())
        .query("width", "Width in pixels.", side())
        .query("height", "Height in pixels.", side())
        .query(
            "fit",
            "How it is brought into width and height.",
            shape::one_of(&["clip", "scale", "crop", "fill"]),
        );
    if kind != Kind::Animated {
        return operation;
    }
    operation.query("duration", "How long it is, 0.25 to 10 s, such as `2s`.", clock()).query(
        "fps",
        "Frames a second, at most.",
        shape::whole(1, limits::MAX_ANIMATED_FPS.into()),
    )
}
