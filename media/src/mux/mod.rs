//! Writes MP4 files: `moov` first, tracks interleaved, edit lists. Does no IO.
//!
//! [`write_header`] returns everything before the first sample, and the order of the samples after it. The caller
//! appends their bytes, so a file need not be in memory as a whole. [`write_file`] writes one that is. ISO 14496-12
//! specifies the layout of the boxes.

pub(crate) mod boxes;
mod moov;

use bytes::{BufMut as _, Bytes};
use thiserror::Error;

use crate::mux::boxes::write_box;

/// How much of a track is written before the next track follows, in milliseconds. Players read both tracks at once.
const CHUNK_MS: u64 = 500;

/// A track and its samples, in decoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuxTrack {
    /// Video or audio.
    pub kind: MuxTrackKind,
    /// Ticks per second, the unit of every time below. Not 0.
    pub timescale: u32,
    /// The complete sample entry box: `avc1` with its `avcC`, `mp4a` with its `esds`, …
    pub sample_entry: Bytes,
    /// The samples, at least one.
    pub samples: Vec<MuxSample>,
    /// The part that is presented; `None` for all of it.
    pub edit: Option<Edit>,
    /// Time from the start of the presentation to the start of the track, in milliseconds.
    pub delay_ms: u32,
}

/// The kind of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MuxTrackKind {
    /// Video.
    Video {
        /// Width and height for `tkhd`, as 16.16 fixed-point numbers, before the matrix is applied.
        display_size: [u32; 2],
        /// The display matrix: ISO 14496-12, 8.3.2.
        matrix: [i32; 9],
    },
    /// Audio.
    Audio,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuxSample {
    /// Size in bytes.
    pub size: u32,
    /// Time to the next sample in decoding order, in ticks.
    pub duration: u32,
    /// Presentation time minus decoding time, in ticks.
    pub composition_offset: i32,
    /// Whether decoding can start at this sample.
    pub is_sync: bool,
}

/// The part of a track that is presented: ISO 14496-12, 8.6.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// The presentation time within the track at which the presentation starts, in ticks. The decoding time of the
    /// first sample is 0.
    pub media_time: u64,
    /// Its length, in ticks.
    pub duration: u64,
}

/// The position of a sample in the arguments of [`write_header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleIndex {
    /// The track.
    pub track: usize,
    /// The sample of the track.
    pub sample: usize,
}

/// Everything before the first sample, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuxHeader {
    /// `ftyp`, `moov`, and the header of `mdat`.
    pub bytes: Bytes,
    /// The order in which the samples follow.
    pub order: Vec<SampleIndex>,
    /// The length of the whole file, in bytes.
    pub total_bytes: u64,
}

/// Why tracks cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MuxError {
    /// There is no track.
    #[error("an MP4 needs a track")]
    NoTracks,
    /// A track has no samples.
    #[error("a track has no samples")]
    NoSamples,
    /// A timescale is 0.
    #[error("a timescale is 0")]
    NoTimescale,
    /// A number does not fit into its field.
    #[error("a number of the header is too large")]
    TooLarge,
    /// The bytes of a sample are missing, or are not as long as its track says.
    #[error("the samples are not those of the track")]
    WrongSamples,
}

/// Samples of one track that follow one another in the file.
struct Chunk {
    track: usize,
    first: usize,
    count: usize,
    /// The distance from the first byte of the samples.
    offset: u64,
}

/// Writes everything before the first sample.
///
/// # Errors
/// There is no track or sample, a timescale is 0, or a number does not fit into its field.
pub fn write_header(tracks: &[MuxTrack]) -> Result<MuxHeader, MuxError> {
    check(tracks)?;
    let chunks = interleave(tracks);
    let data_bytes: u64 =
        tracks.iter().flat_map(|track| &track.samples).map(|sample| u64::from(sample.size)).sum();
    let header = |offset: u64, wide: bool| -> Result<Vec<u8>, MuxError> {
        let mut out = Vec::new();
        write_box(&mut out, *b"ftyp", |out| out.extend_from_slice(b"isom\0\0\x02\0isomiso2avc1mp41"));
        let mut moov = Ok(());
        write_box(&mut out, *b"moov", |out| {
            moov = moov::write(out, tracks, &chunks, offset, wide);
        });
        moov?;
        // The size of a box is the length of what was written: it is wrong only if it does not fit.
        if u32::try_from(out.len()).is_err() { Err(MuxError::TooLarge) } else { Ok(out) }
    };
    // The length of the header depends on the width of the offsets, and not on the offsets.
    let narrow = header(0, false)?.len() as u64 + 8;
    let wide = narrow.checked_add(data_bytes).is_none_or(|total| total > u64::from(u32::MAX));
    let offset = if wide { header(0, true)?.len() as u64 + 16 } else { narrow };
    let mut bytes = header(offset, wide)?;
    if wide {
        bytes.put_u32(1);
        bytes.extend_from_slice(b"mdat");
        bytes.put_u64(data_bytes + 16);
    } else {
        bytes.put_u32((data_bytes + 8) as u32);
        bytes.extend_from_slice(b"mdat");
    }
    let order = chunks.iter().flat_map(|chunk| {
        (chunk.first..chunk.first + chunk.count).map(|sample| SampleIndex { track: chunk.track, sample })
    });
    Ok(MuxHeader { bytes: bytes.into(), order: order.collect(), total_bytes: offset + data_bytes })
}

/// Writes a whole file. `samples` are those of each track.
///
/// # Errors
/// Like [`write_header`], or the samples are not those of the tracks.
pub fn write_file(tracks: &[MuxTrack], samples: &[&[&[u8]]]) -> Result<Bytes, MuxError> {
    let header = write_header(tracks)?;
    let mut bytes = Vec::with_capacity(header.total_bytes as usize);
    bytes.extend_from_slice(&header.bytes);
    for index in &header.order {
        let declared = tracks[index.track].samples[index.sample].size as usize;
        let sample = samples.get(index.track).and_then(|samples| samples.get(index.sample));
        let sample = sample.filter(|sample| sample.len() == declared).ok_or(MuxError::WrongSamples)?;
        bytes.extend_from_slice(sample);
    }
    Ok(bytes.into())
}

fn check(tracks: &[MuxTrack]) -> Result<(), MuxError> {
    if tracks.is_empty() {
        return Err(MuxError::NoTracks);
    }
    for track in tracks {
        if track.samples.is_empty() {
            return Err(MuxError::NoSamples);
        }
        if track.timescale == 0 {
            return Err(MuxError::NoTimescale);
        }
    }
    // The identifiers of tracks and the numbers of samples have 32 bits.
    let samples: usize = tracks.iter().map(|track| track.samples.len()).sum();
    if u32::try_from(samples).is_err() { Err(MuxError::TooLarge) } else { Ok(()) }
}

/// Divides the tracks into chunks, by the presentation time of their first sample. The track whose next chunk starts
/// first is next.
fn interleave(tracks: &[MuxTrack]) -> Vec<Chunk> {
    struct Cursor {
        sample: usize,
        /// The decoding time of `sample`, in ticks from the start of the presentation.
        time: i128,
    }
    let mut cursors: Vec<Cursor> = tracks
        .iter()
        .map(|track| Cursor {
            sample: 0,
            time: i128::from(track.delay_ms) * i128::from(track.timescale) / 1000
                - i128::from(track.edit.map_or(0, |edit| edit.media_time)),
        })
        .collect();
    // Times of different timescales are compared without rounding.
    let micros = |track: usize, time: i128| time * 1_000_000 / i128::from(tracks[track].timescale);
    let mut chunks = Vec::new();
    let mut offset = 0;
    while let Some(track) = (0..tracks.len())
        .filter(|track| cursors[*track].sample < tracks[*track].samples.len())
        .min_by_key(|track| micros(*track, cursors[*track].time))
    {
        let MuxTrack { timescale, samples, .. } = &tracks[track];
        let limit = u64::from(*timescale) * CHUNK_MS / 1000;
        let first = cursors[track].sample;
        let (mut ticks, mut bytes, mut count) = (0, 0, 0);
        for sample in &samples[first..] {
            if count > 0 && ticks >= limit {
                break;
            }
            ticks += u64::from(sample.duration);
            bytes += u64::from(sample.size);
            count += 1;
        }
        chunks.push(Chunk { track, first, count, offset });
        cursors[track].sample += count;
        cursors[track].time += i128::from(ticks);
        offset += bytes;
    }
    chunks
}

#[cfg(test)]
mod tests;
