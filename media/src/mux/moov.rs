//! Writes `moov`, the index of an MP4 file.

use bytes::BufMut as _;

use crate::mux::boxes::{write_box, write_full_box};
use crate::mux::{Chunk, MuxError, MuxSample, MuxTrack, MuxTrackKind};

/// Ticks per second of the durations of `mvhd`, `tkhd` and `elst`.
const MOVIE_TIMESCALE: u64 = 1000;
/// The display matrix of audio tracks and of the movie.
const IDENTITY_MATRIX: [i32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Writes the content of `moov`. `offset` is the position of the first sample in the file, and `wide` whether positions
/// have 64 bits.
pub(super) fn write(
    out: &mut Vec<u8>,
    tracks: &[MuxTrack],
    chunks: &[Chunk],
    offset: u64,
    wide: bool,
) -> Result<(), MuxError> {
    let durations: Vec<TrackDurations> = tracks.iter().map(TrackDurations::new).collect::<Result<_, _>>()?;
    let movie = durations.iter().map(|duration| duration.movie).max().unwrap_or(0);
    let next_track = tracks.len() as u32 + 1;
    write_timed_box(out, *b"mvhd", 0, movie, |out, version| {
        put_times(out, version);
        out.put_u32(MOVIE_TIMESCALE as u32);
        put_time(out, version, movie);
        // Rate 1.0, volume 1.0.
        out.put_u32(0x1_0000);
        out.put_u16(0x100);
        out.put_bytes(0, 10);
        put_matrix(out, IDENTITY_MATRIX);
        out.put_bytes(0, 24);
        out.put_u32(next_track);
    });
    for ((track, durations), index) in tracks.iter().zip(&durations).zip(0..) {
        let chunks: Vec<&Chunk> = chunks.iter().filter(|chunk| chunk.track == index).collect();
        let tables = SampleTables { samples: &track.samples, chunks: &chunks, offset, wide };
        write_box(out, *b"trak", |out| write_trak(out, track, durations, index as u32 + 1, &tables));
    }
    Ok(())
}

/// The durations of a track.
struct TrackDurations {
    /// Of all samples, in ticks of the track.
    media: u64,
    /// Of what is presented and of the delay before it, in ticks of the movie.
    movie: u64,
    /// Of the delay, in ticks of the movie.
    delay: u64,
}

impl TrackDurations {
    fn new(track: &MuxTrack) -> Result<Self, MuxError> {
        let delay = u64::from(track.delay_ms) * MOVIE_TIMESCALE / 1000;
        let media = track.samples.iter().map(|sample| u64::from(sample.duration)).sum();
        let ticks = track.edit.map_or(media, |edit| edit.duration);
        // Rounded up, so that the last frame is not cut off.
        let movie = (u128::from(ticks) * u128::from(MOVIE_TIMESCALE)).div_ceil(u128::from(track.timescale));
        let fits = track.edit.is_none_or(|edit| i64::try_from(edit.media_time).is_ok());
        match u64::try_from(movie) {
            Ok(movie) if fits => {
                movie.checked_add(delay).map(|movie| Self { media, movie, delay }).ok_or(MuxError::TooLarge)
            }
            _ => Err(MuxError::TooLarge),
        }
    }
}

/// The samples of a track, and where they are.
struct SampleTables<'a> {
    samples: &'a [MuxSample],
    chunks: &'a [&'a Chunk],
    offset: u64,
    wide: bool,
}

fn write_trak(
    out: &mut Vec<u8>,
    track: &MuxTrack,
    durations: &TrackDurations,
    id: u32,
    tables: &SampleTables<'_>,
) {
    let is_video = matches!(track.kind, MuxTrackKind::Video { .. });
    let (display_size, matrix) = match track.kind {
        MuxTrackKind::Video { display_size, matrix } => (display_size, matrix),
        MuxTrackKind::Audio => ([0; 2], IDENTITY_MATRIX),
    };
    // The track is enabled and in the movie.
    write_timed_box(out, *b"tkhd", 3, durations.movie, |out, version| {
        put_times(out, version);
        out.put_u32(id);
        out.put_u32(0);
        put_time(out, version, durations.movie);
        out.put_bytes(0, 8);
        // Layer 0, then a group for each kind: tracks of one group are alternatives. Then the volume.
        out.put_u16(0);
        out.put_u16(u16::from(!is_video));
        out.put_u16(if is_video { 0 } else { 0x100 });
        out.put_u16(0);
        put_matrix(out, matrix);
        for side in display_size {
            out.put_u32(side);
        }
    });
    if track.edit.is_some() || durations.delay > 0 {
        let media_time = track.edit.map_or(0, |edit| edit.media_time);
        // A media time of -1 presents nothing.
        let empty = (durations.delay > 0).then_some((durations.delay, u64::MAX));
        let edits = empty.into_iter().chain([(durations.movie - durations.delay, media_time)]);
        write_box(out, *b"edts", |out| {
            let largest = durations.movie.max(media_time << 1);
            write_timed_box(out, *b"elst", 0, largest, |out, version| {
                put_counted(out, edits, |out, (duration, media_time)| {
                    put_time(out, version, duration);
                    put_time(out, version, media_time);
                    // Rate 1.0.
                    out.put_u32(0x1_0000);
                });
            });
        });
    }
    write_box(out, *b"mdia", |out| {
        write_timed_box(out, *b"mdhd", 0, durations.media, |out, version| {
            put_times(out, version);
            out.put_u32(track.timescale);
            put_time(out, version, durations.media);
            // The language `und`, packed in 15 bits.
            out.put_u16(0x55c4);
            out.put_u16(0);
        });
        let (handler, name): (&[u8], &[u8]) =
            if is_video { (b"vide", b"Video\0") } else { (b"soun", b"Audio\0") };
        write_full_box(out, *b"hdlr", 0, 0, |out| {
            out.put_u32(0);
            out.extend_from_slice(handler);
            out.put_bytes(0, 12);
            out.extend_from_slice(name);
        });
        write_box(out, *b"minf", |out| {
            if is_video {
                write_full_box(out, *b"vmhd", 0, 1, |out| out.put_bytes(0, 8));
            } else {
                write_full_box(out, *b"smhd", 0, 0, |out| out.put_bytes(0, 4));
            }
            write_box(out, *b"dinf", |out| {
                write_full_box(out, *b"dref", 0, 0, |out| {
                    out.put_u32(1);
                    // The samples are in this file.
                    write_full_box(out, *b"url ", 0, 1, |_| {});
                });
            });
            write_box(out, *b"stbl", |out| write_stbl(out, &track.sample_entry, tables));
        });
    });
}

fn write_stbl(out: &mut Vec<u8>, sample_entry: &[u8], tables: &SampleTables<'_>) {
    let samples = tables.samples;
    write_full_box(out, *b"stsd", 0, 0, |out| {
        out.put_u32(1);
        out.extend_from_slice(sample_entry);
    });
    write_full_box(out, *b"stts", 0, 0, |out| {
        put_runs(out, samples.iter().map(|sample| sample.duration));
    });
    if samples.iter().any(|sample| sample.composition_offset != 0) {
        let version = u8::from(samples.iter().any(|sample| sample.composition_offset < 0));
        write_full_box(out, *b"ctts", version, 0, |out| {
            put_runs(out, samples.iter().map(|sample| sample.composition_offset.cast_unsigned()));
        });
    }
    if samples.iter().any(|sample| !sample.is_sync) {
        write_full_box(out, *b"stss", 0, 0, |out| {
            put_counted(out, samples.iter().zip(1_u32..).filter(|(sample, _)| sample.is_sync), |out, key| {
                out.put_u32(key.1);
            });
        });
    }
    write_full_box(out, *b"stsz", 0, 0, |out| {
        let first = samples.first().map_or(0, |sample| sample.size);
        if first > 0 && samples.iter().all(|sample| sample.size == first) {
            out.put_u32(first);
            out.put_u32(samples.len() as u32);
        } else {
            out.put_u32(0);
            put_counted(out, samples.iter(), |out, sample| out.put_u32(sample.size));
        }
    });
    write_full_box(out, *b"stsc", 0, 0, |out| {
        let mut last = None;
        let runs = tables.chunks.iter().zip(1_u32..).filter(|(chunk, _)| {
            let differs = last != Some(chunk.count);
            last = Some(chunk.count);
            differs
        });
        put_counted(out, runs, |out, (chunk, number)| {
            for field in [number, chunk.count as u32, 1] {
                out.put_u32(field);
            }
        });
    });
    write_full_box(out, if tables.wide { *b"co64" } else { *b"stco" }, 0, 0, |out| {
        put_counted(out, tables.chunks.iter(), |out, chunk| {
            let position = tables.offset + chunk.offset;
            if tables.wide {
                out.put_u64(position);
            } else {
                out.put_u32(position as u32);
            }
        });
    });
}

/// Writes the number of items and the items.
fn put_counted<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    let at = out.len();
    out.put_u32(0);
    let mut count = 0_u32;
    for item in items {
        put(out, item);
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
}

/// Writes a table of runs of equal values: the number of runs, then the length and the value of each.
fn put_runs(out: &mut Vec<u8>, values: impl Iterator<Item = u32>) {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((count, last)) if *last == value => *count += 1,
            _ => runs.push((1, value)),
        }
    }
    put_counted(out, runs.into_iter(), |out, (count, value)| {
        out.put_u32(count);
        out.put_u32(value);
    });
}

/// Writes a box whose version is 1, with times of 64 bits, if `largest` does not fit into 32 bits.
fn write_timed_box(
    out: &mut Vec<u8>,
    kind: [u8; 4],
    flags: u32,
    largest: u64,
    fill: impl FnOnce(&mut Vec<u8>, u8),
) {
    // All bits set means that a duration is unknown.
    let version = u8::from(largest >= u64::from(u32::MAX));
    write_full_box(out, kind, version, flags, |out| fill(out, version));
}

/// Writes the times of creation and of the last change: unknown, so that equal input gives equal bytes.
fn put_times(out: &mut Vec<u8>, version: u8) {
    put_time(out, version, 0);
    put_time(out, version, 0);
}

fn put_time(out: &mut Vec<u8>, version: u8, time: u64) {
    if version == 0 { out.put_u32(time as u32) } else { out.put_u64(time) }
}

fn put_matrix(out: &mut Vec<u8>, matrix: [i32; 9]) {
    for number in matrix {
        out.put_i32(number);
    }
}
