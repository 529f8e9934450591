//! Detects files without the index that their demuxer needs for seeking, from their header.

use crate::error::JobError;
use crate::frames::exit_status;
use crate::source::proxy::SourceProxy;
use glimpse_media::container::Container;

/// How much of the beginning is read: the script tag of a Flash video may be long.
const HEAD_BYTES: u64 = 1024 * 1024;

/// Whether a source certainly has no index. `false` for a source that cannot be read and for other containers.
///
/// # Errors
/// An error of the storage.
pub(super) async fn is_index_missing(proxy: &SourceProxy, container: Container) -> Result<bool, JobError> {
    let Some(is_missing) = index_check(container) else { return Ok(false) };
    let total_bytes = proxy.total_bytes();
    let head = proxy.read(0..total_bytes.min(HEAD_BYTES)).await;
    exit_status::check_source(proxy.first_error())?;
    Ok(head.is_ok_and(|head| is_missing(&head, total_bytes)))
}

/// Tells from the beginning and the number of bytes of a file whether its index is missing. `None` for a container
/// whose beginning does not tell.
fn index_check(container: Container) -> Option<fn(&[u8], u64) -> bool> {
    match container {
        Container::Avi => Some(is_avi_truncated),
        Container::Flv => Some(|head, _| is_keyframe_index_missing(head)),
        Container::Mxf => Some(is_mxf_footer_missing),
        Container::Mov
        | Container::Matroska
        | Container::Mpegts
        | Container::Mpeg
        | Container::Mpegvideo
        | Container::Ogg
        | Container::Asf
        | Container::Gif => None,
    }
}

/// Whether there is no index of keyframes: a script tag with one contains this name.
fn is_keyframe_index_missing(head: &[u8]) -> bool {
    !head.windows(11).any(|name| name == b"\0\x09keyframes")
}

fn is_mxf_footer_missing(head: &[u8], total_bytes: u64) -> bool {
    mxf_footer_offset(head).is_some_and(|offset| offset == 0 || offset >= total_bytes)
}

/// Whether an AVI ends before its first RIFF chunk does, which contains the index after the data. A size of 0 was never
/// filled in.
fn is_avi_truncated(head: &[u8], total_bytes: u64) -> bool {
    let size = head.get(4..).and_then(|rest| rest.first_chunk()).map(|size| u32::from_le_bytes(*size));
    size.is_some_and(|size| size == 0 || u64::from(size) + 8 > total_bytes)
}

/// The offset of the footer of an MXF, which contains the index: SMPTE ST 377-1, 7.1. 0 if the writer did not finish.
fn mxf_footer_offset(head: &[u8]) -> Option<u64> {
    const KEY_BYTES: usize = 16;
    /// The fields of the partition pack before the offset.
    const PRECEDING_BYTES: usize = 24;
    let length = *head.get(KEY_BYTES)?;
    let length_bytes = if length < 0x80 { 0 } else { usize::from(length & 0x7f) };
    let at = KEY_BYTES + 1 + length_bytes + PRECEDING_BYTES;
    head.get(at..).and_then(|rest| rest.first_chunk()).map(|offset| u64::from_be_bytes(*offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn avi_head(size: u32) -> Vec<u8> {
        [&b"RIFF"[..], &size.to_le_bytes(), b"AVI LIST"].concat()
    }

    fn mxf_head(footer_offset: u64) -> Vec<u8> {
        let length = [0x83, 0, 0, 0x78];
        [&[6; 16][..], &length, &[0; 24], &footer_offset.to_be_bytes(), &[0; 40]].concat()
    }

    #[test]
    fn detects_missing_index_from_header() {
        let script = b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x12\0\0\x30\0\0\0\0\0\0\0\x02\0\x0aonMetaData";
        for (container, head, expected) in [
            (Container::Avi, avi_head(992), false),
            (Container::Avi, avi_head(993), true),
            (Container::Avi, avi_head(0), true),
            (Container::Avi, b"RIFF".to_vec(), false),
            (Container::Mxf, mxf_head(999), false),
            (Container::Mxf, mxf_head(1000), true),
            (Container::Mxf, mxf_head(0), true),
            (Container::Mxf, mxf_head(0)[..30].to_vec(), false),
            (Container::Flv, script.to_vec(), true),
            (Container::Flv, [&script[..], b"\0\x09keyframes\x03"].concat(), false),
            (Container::Asf, avi_head(0), false),
        ] {
            assert_eq!(
                index_check(container).is_some_and(|is_missing| is_missing(&head, 1000)),
                expected,
                "{container:?} {}",
                head.escape_ascii()
            );
        }
    }
}
