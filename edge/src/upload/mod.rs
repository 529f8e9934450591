//! Decides what may be uploaded, and turns a permission into a request that S3 itself enforces. Pure.

mod companion;
mod oneshot;

pub use companion::{UppyAnswer, UppyQuery, answer_uppy, parse_uppy};
pub use oneshot::{NewVideo, Upload, parse_new_video, presign_upload};

use glimpse_contract::{Code, Grant, Owner, Passthrough, Problem, VideoId, Visibility, limits};

use crate::config::Config;

/// A permission to upload one file, or the reason why there is none.
pub(crate) fn grant(owner: &Owner, video: VideoId, name: &str, content_type: &str) -> Result<Grant, Problem> {
    Ok(Grant {
        owner: owner.clone(),
        video,
        name: checked_name(name)?,
        content_type: checked_type(content_type)?,
        visibility: Visibility::Public,
        passthrough: Passthrough::default(),
    })
}

fn checked_name(name: &str) -> Result<String, Problem> {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    if clean.is_empty() {
        return Err(Problem::because(Code::BadParameter, "The file's name is missing."));
    }
    Ok(clean[..clean.floor_char_boundary(limits::MAX_NAME_BYTES)].to_owned())
}

/// The type without its parameters (`video/webm;codecs=vp9`), in lower case, if it is one that may be uploaded.
fn checked_type(content_type: &str) -> Result<String, Problem> {
    let bare = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if limits::UPLOAD_TYPES.binary_search(&bare.as_str()).is_ok() {
        return Ok(bare);
    }
    let shown: String =
        bare.chars().filter(|c| c.is_ascii_alphanumeric() || "/.+-".contains(*c)).take(64).collect();
    let detail = if shown.is_empty() {
        "The file's type is missing: upload a video.".to_owned()
    } else {
        format!("Files of type {shown} are not accepted: upload a video.")
    };
    Err(Problem::because(Code::TypeNotAllowed, detail))
}

fn checked_size(bytes: u64, config: &Config) -> Result<u64, Problem> {
    if bytes == 0 {
        return Err(Problem::new(Code::Empty));
    }
    if bytes > config.max_upload_bytes {
        let detail = format!("The file has {bytes} bytes; at most {} are allowed.", config.max_upload_bytes);
        return Err(Problem::because(Code::TooLarge, detail));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked() {
        assert_eq!(checked_type("Video/WebM; codecs=\"vp9\"").unwrap(), "video/webm");
        for bad in ["", "text/html", "image/svg+xml", "video/*", "video/mp4\r\nx: y", "undefined", "null"] {
            assert_eq!(checked_type(bad).unwrap_err().code, Code::TypeNotAllowed, "{bad}");
        }
    }

    #[test]
    fn names_are_kept_but_for_control_characters() {
        assert_eq!(checked_name(" Ski\u{0}\r\n trip.mp4 ").unwrap(), "Ski trip.mp4");
        assert_eq!(checked_name("../../x").unwrap(), "../../x", "only ever shown, never in a key");
        assert!(checked_name("\u{7f}").is_err());
    }
}
