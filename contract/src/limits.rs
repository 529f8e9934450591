//! Decides what may be uploaded and asked for: one table.

/// The widest poster made without being asked for, in pixels.
pub const THUMBNAIL_WIDTH: u32 = 640;
/// The widest moving preview made without being asked for, in pixels.
pub const ANIMATION_WIDTH: u32 = 320;
/// Frames a second of the moving preview, unless asked otherwise.
pub const ANIMATION_FPS: u32 = 15;

/// The narrowest and lowest picture that may be asked for, in pixels.
pub const MIN_SIDE: u32 = 8;
/// The widest and highest still picture that may be asked for, in pixels: the width of what is sold as 4K. Raw, the
/// largest takes 44 MB.
pub const MAX_THUMBNAIL_SIDE: u32 = 3_840;
/// The most pixels of a PNG that may be asked for, 3840x2160: it grows with every pixel, whatever the picture shows. Raw,
/// so many take 25 MB, and no picture of more than 32 MiB is served.
pub const MAX_PNG_PIXELS: u64 = 3_840 * 2_160;
/// The widest and highest moving picture that may be asked for, in pixels, as at Mux,
/// <https://www.mux.com/docs/guides/get-images-from-a-video>.
pub const MAX_ANIMATION_SIDE: u32 = 640;
/// The most frames a second that may be asked for, as at Mux.
pub const MAX_ANIMATION_FPS: u32 = 30;
/// The shortest stretch of a video that may be asked for as a moving picture, in milliseconds, as at Mux.
pub const MIN_SPAN_MS: u64 = 250;
/// The longest stretch, in milliseconds, as at Mux.
pub const MAX_SPAN_MS: u64 = 10_000;
/// The stretch from a `start` without an `end`, in milliseconds, as at Mux.
pub const DEFAULT_SPAN_MS: u64 = 5_000;
/// The smallest `max_bytes` that may be asked for: below it no encoder could obey.
pub const MIN_MAX_BYTES: u64 = 10_000;
/// The largest `max_bytes` that may be asked for.
pub const MAX_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes that one signed PUT or POST can carry: 5 GiB, S3's own limit for a single upload,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>.
pub const MAX_SINGLE_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// The most bytes of one object, 5 TiB, in parts, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
/// (S3 allows ten times as much since December 2025; Uppy's parts of 5 GiB and other stores do not.)
pub const MAX_MULTIPART_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// The smallest part but the last, in bytes: 5 MiB, the same page.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// The most parts of one upload, the same page.
pub const MAX_PARTS: u64 = 10_000;
/// How long a signed upload stays usable unless configured otherwise, in seconds.
pub const UPLOAD_EXPIRES_SECS: u64 = 15 * 60;
/// The longest that a signed upload may be made to stay usable, in seconds.
pub const MAX_UPLOAD_EXPIRES_SECS: u64 = 60 * 60;
/// The longest name of a file that is kept, in bytes of UTF-8. S3 allows 2 KB for all metadata of an object,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>, and encoding may triple a name.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest `external_id`, in bytes of UTF-8; with the name and [`MAX_METADATA_BYTES`] it stays inside of S3's 2 KB.
pub const MAX_EXTERNAL_ID_BYTES: usize = 128;
/// The longest `metadata`, in bytes of its JSON.
pub const MAX_METADATA_BYTES: usize = 512;
/// The most videos that one upload token may be for.
pub const MAX_TOKEN_VIDEOS: u32 = 100;
/// The longest life of an upload token, in seconds: a day. The ids of its videos hold the time when it was made.
pub const MAX_UPLOAD_TOKEN_SECS: u64 = 24 * 60 * 60;
/// The life of an upload token unless asked otherwise, in seconds.
pub const UPLOAD_TOKEN_SECS: u64 = 60 * 60;
/// The life of a delivery token that the API makes, unless asked otherwise, in seconds.
pub const DELIVERY_TOKEN_SECS: u64 = 60 * 60;
/// The furthest from now that a delivery token may end, in seconds: a year.
pub const MAX_DELIVERY_TOKEN_SECS: u64 = 366 * 24 * 60 * 60;
/// How long after its grant a video that has no manifest is still said to be on its way, in milliseconds:
/// longer than the longest upload token, the longest signature, the queue's retries and a reconciler's turn together.
pub const PROCESSING_WINDOW_MS: u64 = 48 * 60 * 60 * 1000;

/// The widest or highest source that is decoded, in pixels.
pub const MAX_DIMENSION: u32 = 8_192;
/// The largest source picture that is decoded, in pixels: 8192 x 4320, what is sold as 8K.
pub const MAX_PIXELS: u64 = 35_389_440;
/// The most streams that a source may have.
pub const MAX_STREAMS: usize = 64;
/// The longest source that is decoded, in milliseconds: 24 hours.
pub const MAX_DURATION_MS: u64 = 24 * 60 * 60 * 1000;

/// The types that an upload may declare. What a file really is, the backend finds out from its bytes; this list
/// keeps a type that a browser would run (`text/html`, `image/svg+xml`) from ever being signed.
pub const UPLOAD_TYPES: &[&str] = &[
    "application/mxf",
    "application/ogg",
    "application/vnd.ms-asf",
    "image/gif",
    "video/3gpp",
    "video/3gpp2",
    "video/avi",
    "video/divx",
    "video/matroska",
    "video/mp2t",
    "video/mp4",
    "video/mpeg",
    "video/msvideo",
    "video/ogg",
    "video/quicktime",
    "video/vnd.dlna.mpeg-tts",
    "video/webm",
    "video/x-flv",
    "video/x-m4v",
    "video/x-matroska",
    "video/x-ms-asf",
    "video/x-ms-wmv",
    "video/x-msvideo",
];

/// The type of a file about which neither its uploader nor its name says anything that is known here.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Types of one kind of file: browsers and operating systems do not agree on their names.
const EQUIVALENT_TYPES: &[&[&str]] = &[
    &["application/ogg", "video/ogg"],
    &["application/vnd.ms-asf", "video/x-ms-asf"],
    &["video/avi", "video/divx", "video/msvideo", "video/x-msvideo"],
    &["video/matroska", "video/x-matroska"],
    &["video/mp2t", "video/vnd.dlna.mpeg-tts"],
];

/// A media type without its parameters (`video/webm;codecs=vp9`), in lower case.
///
/// ```
/// # use glimpse_contract::limits::bare_type;
/// assert_eq!(bare_type(" Video/WebM; codecs=\"vp9\""), "video/webm");
/// ```
pub fn mime_essence(declared: &str) -> String {
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a browser would run a file of this type, or one that it might take for it: such a type is never signed,
/// whatever the file is called. The type is one of [`mime_essence`].
///
/// ```
/// # use glimpse_contract::limits::is_active_type;
/// assert!(is_active_type("text/html") && is_active_type("image/svg+xml") && !is_active_type("video/mp4"));
/// ```
pub fn is_active_type(essence: &str) -> bool {
    const PARTS: &[&str] =
        &["html", "xml", "svg", "script", "css", "wasm", "flash", "java", "rfc822", "multipart/"];
    PARTS.iter().any(|part| essence.contains(part))
}

/// The type that an upload is signed with: the declared one if it is one of [`UPLOAD_TYPES`], else what the file's name
/// stands for, else [`UNKNOWN_TYPE`]. What the file really is, its bytes tell the backend.
///
/// ```
/// # use glimpse_contract::limits::resolve_type;
/// assert_eq!(resolve_type("video/webm;codecs=vp9", "a.mp4"), "video/webm");
/// assert_eq!(resolve_type("video/vnd.avi", "a.avi"), "video/x-msvideo");
/// assert_eq!(resolve_type("", "1000012345"), "application/octet-stream");
/// ```
pub fn resolve_type(declared: &str, name: &str) -> &'static str {
    let essence = mime_essence(declared);
    match UPLOAD_TYPES.binary_search(&essence.as_str()) {
        Ok(index) => UPLOAD_TYPES[index],
        Err(_) => type_from_name(name).unwrap_or(UNKNOWN_TYPE),
    }
}

/// Whether two types are names of one kind of file.
///
/// ```
/// # use glimpse_contract::limits::is_same_type;
/// assert!(is_same_type("video/avi", "video/x-msvideo") && !is_same_type("video/mp4", "video/webm"));
/// ```
pub fn is_same_type(a: &str, b: &str) -> bool {
    a == b || EQUIVALENT_TYPES.iter().any(|names| names.contains(&a) && names.contains(&b))
}

/// The type that a file's name stands for, where nobody says one: by its ending, in any case.
///
/// ```
/// # use glimpse_contract::limits::type_of_name;
/// assert_eq!(type_of_name("Ski trip.MP4"), Some("video/mp4"));
/// assert_eq!(type_of_name("notes.txt"), None);
/// ```
pub fn type_from_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.trim_end().rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "mp4" => "video/mp4",
        "m4v" => "video/x-m4v",
        "mov" | "qt" => "video/quicktime",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "avi" | "divx" => "video/x-msvideo",
        "flv" => "video/x-flv",
        "wmv" => "video/x-ms-wmv",
        "asf" => "video/x-ms-asf",
        "mpg" | "mpeg" | "m2v" | "vob" => "video/mpeg",
        "ts" | "mts" | "m2ts" => "video/mp2t",
        "3gp" => "video/3gpp",
        "3g2" => "video/3gpp2",
        "ogv" | "ogg" => "video/ogg",
        "mxf" => "application/mxf",
        "gif" => "image/gif",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_upload_type_is_active() {
        for kind in UPLOAD_TYPES {
            assert!(!is_active_type(kind), "{kind}");
            assert!(kind.is_ascii() && *kind == kind.to_lowercase(), "{kind}");
        }
        assert!(UPLOAD_TYPES.is_sorted(), "sorted, so that it can be searched");
        for ending in "mp4 m4v mov qt webm mkv avi divx flv wmv asf mpg ts mts 3gp 3g2 ogv mxf gif".split(' ')
        {
            let kind = type_from_name(&format!("a.b.{ending}")).unwrap();
            assert!(UPLOAD_TYPES.contains(&kind), "{ending} is {kind}");
        }
        assert!(!is_active_type(UNKNOWN_TYPE));
        assert!(
            EQUIVALENT_TYPES.iter().flat_map(|names| names.iter()).all(|kind| UPLOAD_TYPES.contains(kind))
        );
    }

    #[test]
    fn detects_active_types() {
        for kind in "text/html application/xhtml+xml image/svg+xml text/xml application/xml application/rss+xml \
                     text/javascript application/javascript application/ecmascript application/x-javascript text/css \
                     application/wasm application/x-shockwave-flash message/rfc822 multipart/related \
                     application/java-archive text/vbscript"
            .split_whitespace()
        {
            assert!(is_active_type(kind), "{kind}");
        }
    }

    /// What real browsers and clients declare.
    #[test]
    fn resolves_type_by_declaration_then_name() {
        for (declared, name, resolved) in [
            ("video/mp4", "a.webm", "video/mp4"),
            ("Video/WebM; codecs=\"vp9, opus\"", "a", "video/webm"),
            ("", "IMG_1.MOV", "video/quicktime"),
            ("null", "a.mkv", "video/x-matroska"),
            ("undefined", "a.MP4 ", "video/mp4"),
            ("video/vnd.avi", "a.avi", "video/x-msvideo"),
            ("application/mp4", "a.mp4", "video/mp4"),
            ("application/mp4", "a", UNKNOWN_TYPE),
            ("text/vnd.trolltech.linguist", "00001.ts", "video/mp2t"),
            ("audio/ogg", "a.ogg", "video/ogg"),
            ("audio/ogg", "a", UNKNOWN_TYPE),
            ("video/*", "a.m4v", "video/x-m4v"),
            ("video/*", "1000012345", UNKNOWN_TYPE),
            ("application/octet-stream", "a.gif", "image/gif"),
            ("application/x-www-form-urlencoded", "a.flv", "video/x-flv"),
            ("video/mp4\r\nx: y", "a", UNKNOWN_TYPE),
            ("", "a.html", UNKNOWN_TYPE),
            ("", "", UNKNOWN_TYPE),
        ] {
            assert_eq!(resolve_type(declared, name), resolved, "{declared} {name}");
        }
    }
}
