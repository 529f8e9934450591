//! Limits and defaults of uploads and image requests.

/// Width of the default poster, in pixels, at most.
pub const THUMBNAIL_WIDTH: u32 = 640;
/// Width of the default animation, in pixels, at most.
pub const ANIMATION_WIDTH: u32 = 320;
/// Default frame rate of animations, in frames per second.
pub const ANIMATION_FPS: u32 = 15;

/// Minimum `width` and `height` of a requested image, in pixels.
pub const MIN_SIDE: u32 = 8;
/// Maximum `width` and `height` of a requested thumbnail, in pixels: the width of consumer 4K. The largest takes 44 MB
/// uncompressed.
pub const MAX_THUMBNAIL_SIDE: u32 = 3_840;
/// Maximum number of pixels of a requested PNG, 3840x2160. The size of a PNG grows with its pixels, whatever its
/// content: this many take 25 MB uncompressed, and images over 32 MiB are not served.
pub const MAX_PNG_PIXELS: u64 = 3_840 * 2_160;
/// Maximum number of pixels of a requested AVIF, 2560x1440: its encoder takes the most time per pixel, while a client
/// waits.
pub const MAX_AVIF_PIXELS: u64 = 2_560 * 1_440;
/// Default `quality` of a JPEG thumbnail.
pub const JPEG_QUALITY: u8 = 81;
/// Default `quality` of a WebP thumbnail.
pub const WEBP_QUALITY: u8 = 80;
/// Default `quality` of an AVIF thumbnail: about the same score of SSIMULACRA2 as [`WEBP_QUALITY`].
pub const AVIF_QUALITY: u8 = 55;
/// Maximum `blur` of a thumbnail, in pixels.
pub const MAX_BLUR: u8 = 100;
/// Maximum `dpr` of a thumbnail, in hundredths.
pub const MAX_DPR_HUNDREDTHS: u64 = 300;
/// Maximum `width` and `height` of a requested animation, in pixels, the same as Mux,
/// <https://www.mux.com/docs/guides/get-images-from-a-video>.
pub const MAX_ANIMATION_SIDE: u32 = 640;
/// Maximum `fps` of a requested animation, the same as Mux.
pub const MAX_ANIMATION_FPS: u32 = 30;
/// Minimum length of a requested animation, in milliseconds, the same as Mux.
pub const MIN_SPAN_MS: u64 = 250;
/// Maximum length of a requested animation, in milliseconds, the same as Mux.
pub const MAX_SPAN_MS: u64 = 10_000;
/// Length of an animation with a `start` and without an `end`, in milliseconds, the same as Mux.
pub const DEFAULT_SPAN_MS: u64 = 5_000;
/// Minimum `max_bytes`: no encoder can reach less.
pub const MIN_MAX_BYTES: u64 = 10_000;
/// Maximum `max_bytes`.
pub const MAX_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Maximum number of bytes of one signed PUT or POST: 5 GiB, S3's limit for a single upload,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>.
pub const MAX_SINGLE_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// Maximum number of bytes of a multipart upload: 5 TiB,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>. (S3 has allowed ten times as much since
/// December 2025; Uppy with its parts of at most 5 GiB and other stores do not.)
pub const MAX_MULTIPART_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// Minimum size of a part, except the last one, in bytes: 5 MiB, same page.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// Maximum number of parts of one upload, same page.
pub const MAX_PARTS: u64 = 10_000;
/// Default validity of a signed upload, in seconds.
pub const UPLOAD_EXPIRES_SECS: u64 = 15 * 60;
/// Maximum validity of a signed upload that can be configured, in seconds.
pub const MAX_UPLOAD_EXPIRES_SECS: u64 = 60 * 60;
/// Maximum length of a stored file name, in bytes of UTF-8. S3 allows 2 KB for all metadata of an object,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>, and encoding can triple a name.
pub const MAX_NAME_BYTES: usize = 255;
/// Maximum length of `external_id`, in bytes of UTF-8. Together with the name and [`MAX_METADATA_BYTES`], it fits into
/// S3's 2 KB.
pub const MAX_EXTERNAL_ID_BYTES: usize = 128;
/// Maximum size of `metadata`, in bytes of its JSON.
pub const MAX_METADATA_BYTES: usize = 512;
/// Maximum number of videos of one upload token.
pub const MAX_TOKEN_VIDEOS: u32 = 100;
/// Maximum lifetime of an upload token, in seconds: one day. The ids of its videos contain the token's creation time.
pub const MAX_UPLOAD_TOKEN_SECS: u64 = 24 * 60 * 60;
/// Default lifetime of an upload token, in seconds.
pub const UPLOAD_TOKEN_SECS: u64 = 60 * 60;
/// Default lifetime of a delivery token that the API creates, in seconds.
pub const DELIVERY_TOKEN_SECS: u64 = 60 * 60;
/// Maximum time from now to the expiry of a delivery token, in seconds: one year.
pub const MAX_DELIVERY_TOKEN_SECS: u64 = 366 * 24 * 60 * 60;
/// Time after its grant during which a video without a manifest is reported as processing, in milliseconds. Longer than
/// the sum of the longest upload token, the longest signature, the queue's retries and one run of the reconciler.
pub const PROCESSING_WINDOW_MS: u64 = 48 * 60 * 60 * 1000;
/// How far the clock that created an id may be ahead, in milliseconds.
pub const MAX_CLOCK_SKEW_MS: u64 = 60 * 1000;

/// Maximum width and height of a source, in pixels.
pub const MAX_DIMENSION: u32 = 8_192;
/// Maximum number of pixels of a source's frame: 8192 x 4320, 8K.
pub const MAX_PIXELS: u64 = 35_389_440;
/// Maximum number of streams of a source.
pub const MAX_STREAMS: usize = 64;
/// Maximum duration of a source, in milliseconds: 24 hours.
pub const MAX_DURATION_MS: u64 = 24 * 60 * 60 * 1000;

/// Media types that an upload can declare. The backend detects the actual type from the file's bytes; this list ensures
/// that a type with active content (`text/html`, `image/svg+xml`) is never signed.
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

/// The type of a file whose declared type and extension are both unknown.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Groups of equivalent types: browsers and operating systems use different names for the same file type.
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
/// # use glimpse_contract::limits::mime_essence;
/// assert_eq!(mime_essence(" Video/WebM; codecs=\"vp9\""), "video/webm");
/// ```
pub fn mime_essence(declared: &str) -> String {
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a browser could execute a file of this type, or sniff it as such a type. These types are never signed,
/// regardless of the file's name. `essence` is a result of [`mime_essence`].
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

/// The type that an upload is signed with: the declared one if it is in [`UPLOAD_TYPES`], else the one of the file's
/// extension, else [`UNKNOWN_TYPE`]. The backend detects the actual type from the file's bytes.
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

/// Whether two types are equal or equivalent.
///
/// ```
/// # use glimpse_contract::limits::is_same_type;
/// assert!(is_same_type("video/avi", "video/x-msvideo") && !is_same_type("video/mp4", "video/webm"));
/// ```
pub fn is_same_type(a: &str, b: &str) -> bool {
    a == b || EQUIVALENT_TYPES.iter().any(|names| names.contains(&a) && names.contains(&b))
}

/// The type of a file name's extension, case-insensitive.
///
/// ```
/// # use glimpse_contract::limits::type_from_name;
/// assert_eq!(type_from_name("Ski trip.MP4"), Some("video/mp4"));
/// assert_eq!(type_from_name("notes.txt"), None);
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
        assert!(UPLOAD_TYPES.is_sorted(), "binary search needs a sorted list");
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

    /// Declared types as real browsers and clients send them.
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
