//! Tells from the beginning of a file whether the index that its demuxer needs for seeking is missing. Does no IO.

/// Whether there is no index of keyframes: a script tag with one contains this name.
pub(super) fn is_keyframe_index_missing(head: &[u8]) -> bool {
    !head.windows(11).any(|name| name == b"\0\x09keyframes")
}

/// Whether an MXF has no footer, or ends before it.
pub(super) fn is_mxf_footer_missing(head: &[u8], total_bytes: u64) -> bool {
    mxf_footer_offset(head).is_some_and(|offset| offset == 0 || offset >= total_bytes)
}

/// Whether an AVI ends before its first RIFF chunk does, which contains the index after the data. A size of 0 was never
/// filled in.
pub(super) fn is_avi_truncated(head: &[u8], total_bytes: u64) -> bool {
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
    use crate::container::Container;

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
                container.index_check().is_some_and(|is_missing| is_missing(&head, 1000)),
                expected,
                "{container:?} {}",
                head.escape_ascii()
            );
        }
    }
}
