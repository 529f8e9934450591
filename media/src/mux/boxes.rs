//! Writes boxes of ISO 14496-12.

use bytes::BufMut as _;

/// Writes a box: its size, its type and what `fill` writes.
pub(crate) fn write_box(out: &mut Vec<u8>, kind: [u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u32(0);
    out.extend_from_slice(&kind);
    fill(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a box with a version and flags: ISO 14496-12, 4.2.
pub(crate) fn write_full_box(
    out: &mut Vec<u8>,
    kind: [u8; 4],
    version: u8,
    flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, kind, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        fill(out);
    });
}

/// Writes the sample entry of a video track with frames of this width and height, and its child boxes: ISO 14496-12,
/// 12.1.3.
pub(crate) fn write_visual_entry(
    out: &mut Vec<u8>,
    kind: [u8; 4],
    [width, height]: [u16; 2],
    depth: u16,
    write_children: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, kind, |out| {
        out.put_bytes(0, 6);
        // The samples are in this file.
        out.put_u16(1);
        out.put_bytes(0, 16);
        out.put_u16(width);
        out.put_u16(height);
        // 72 pixels per inch in both directions, no data, one frame per sample, no name.
        out.put_u32(0x48_0000);
        out.put_u32(0x48_0000);
        out.put_u32(0);
        out.put_u16(1);
        out.put_bytes(0, 32);
        out.put_u16(depth);
        out.put_i16(-1);
        write_children(out);
    });
}
