//! Writes edit lists into MP4 files: ISO 14496-12, 8.6.6.

/// Adds this edit list to a video of one track whose index is at the end: the duration of each edit in milliseconds,
/// and its start in the media, in ticks of the track.
pub(crate) fn with_edits(mp4: &[u8], rows: &[(u32, i32)]) -> Vec<u8> {
    let boxed =
        |kind: &[u8; 4], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
    let mut list = [[0; 4], (rows.len() as u32).to_be_bytes()].concat();
    for (length, from) in rows {
        list.extend([length.to_be_bytes(), from.to_be_bytes(), [0, 1, 0, 0]].concat());
    }
    let edits = boxed(b"edts", &boxed(b"elst", &list));
    let mut mp4 = mp4.to_vec();
    let find =
        |film: &[u8], kind: &[u8; 4]| film.windows(4).rposition(|letters| letters == kind).unwrap() - 4;
    let size = |film: &[u8], at: usize| u32::from_be_bytes(film[at..at + 4].try_into().unwrap());
    // An existing list becomes free space.
    if let Some(old) = mp4.windows(4).rposition(|letters| letters == b"edts") {
        mp4[old..old + 4].copy_from_slice(b"free");
    }
    let (moov, trak, mdia) = (find(&mp4, b"moov"), find(&mp4, b"trak"), find(&mp4, b"mdia"));
    for at in [moov, trak] {
        let grown = size(&mp4, at) + edits.len() as u32;
        mp4[at..at + 4].copy_from_slice(&grown.to_be_bytes());
    }
    mp4.splice(mdia..mdia, edits);
    mp4
}
