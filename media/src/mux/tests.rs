//! Tests of the MP4 writer: an independent reader of the sample tables finds what was written.

use proptest::prelude::*;

use super::*;

const SAMPLE_ENTRY: &[u8] = b"\0\0\0\x08test";

/// A sample as the reader finds it: position, size, decoding time, composition offset, sync.
type Found = (u64, u32, u64, i64, bool);

fn video(samples: Vec<MuxSample>) -> MuxTrack {
    let kind = MuxTrackKind::Video {
        display_size: [320 << 16, 180 << 16],
        matrix: [0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000],
    };
    let sample_entry = Bytes::from_static(SAMPLE_ENTRY);
    MuxTrack { kind, timescale: 30_000, sample_entry, samples, edit: None, delay_ms: 0 }
}

fn sample(size: u32, duration: u32) -> MuxSample {
    MuxSample { size, duration, composition_offset: 0, is_sync: true }
}

/// The boxes in `bytes`: type and body.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 8 {
        let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let kind = bytes[4..8].try_into().unwrap();
        if kind == *b"mdat" {
            break;
        }
        found.push((kind, &bytes[8..size]));
        bytes = &bytes[size..];
    }
    found
}

fn find<'a>(bytes: &'a [u8], path: &str) -> Option<&'a [u8]> {
    path.split('/').try_fold(bytes, |bytes, kind| {
        boxes(bytes).into_iter().find(|(found, _)| found == kind.as_bytes()).map(|(_, body)| body)
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The items of a table whose rows are runs: the length and the value of each.
fn runs(body: &[u8]) -> Vec<u32> {
    let rows = (0..u32_at(body, 4) as usize).map(|row| 8 + row * 8);
    rows.flat_map(|at| vec![u32_at(body, at + 4); u32_at(body, at) as usize]).collect()
}

fn read_track(trak: &[u8]) -> Vec<Found> {
    let table = |name: &str| find(trak, &format!("mdia/minf/stbl/{name}"));
    let sizes = table("stsz").unwrap();
    let count = u32_at(sizes, 8) as usize;
    let size = |index: usize| match u32_at(sizes, 4) {
        0 => u32_at(sizes, 12 + index * 4),
        size => size,
    };
    let durations = runs(table("stts").unwrap());
    let offsets = table("ctts").map(|ctts| (ctts[0], runs(ctts)));
    let sync_samples = table("stss");
    let is_sync = |index: usize| {
        sync_samples.is_none_or(|sync_samples| {
            (0..u32_at(sync_samples, 4) as usize)
                .any(|row| u32_at(sync_samples, 8 + row * 4) as usize == index + 1)
        })
    };
    let positions: Vec<u64> = match (table("stco"), table("co64")) {
        (Some(offsets_32), None) => {
            (0..u32_at(offsets_32, 4) as usize).map(|row| u32_at(offsets_32, 8 + row * 4).into()).collect()
        }
        (None, Some(offsets_64)) => {
            (0..u32_at(offsets_64, 4) as usize).map(|row| u64_at(offsets_64, 8 + row * 8)).collect()
        }
        other => panic!("{other:?}"),
    };
    let chunk_runs = table("stsc").unwrap();
    let rows: Vec<(u32, u32)> = (0..u32_at(chunk_runs, 4) as usize)
        .map(|row| (u32_at(chunk_runs, 8 + row * 12), u32_at(chunk_runs, 12 + row * 12)))
        .collect();
    let per_chunk = |chunk: u32| rows.iter().rev().find(|(first, _)| *first <= chunk).unwrap().1;
    let (mut found, mut dts) = (Vec::new(), 0);
    for (mut position, chunk) in positions.into_iter().zip(1..) {
        for _ in 0..per_chunk(chunk) {
            let index = found.len();
            let offset = offsets.as_ref().map_or(0, |(version, offsets)| match version {
                0 => i64::from(offsets[index]),
                _ => i64::from(offsets[index].cast_signed()),
            });
            found.push((position, size(index), dts, offset, is_sync(index)));
            position += u64::from(size(index));
            dts += u64::from(durations[index]);
        }
    }
    assert_eq!(found.len(), count);
    found
}

fn read(header: &MuxHeader) -> Vec<Vec<Found>> {
    let moov = find(&header.bytes, "moov").unwrap();
    let traks = boxes(moov).into_iter().filter(|(kind, _)| kind == b"trak");
    traks.map(|(_, trak)| read_track(trak)).collect()
}

/// The samples of each track as they must be found, by the order of the header.
fn expected(tracks: &[MuxTrack], header: &MuxHeader) -> Vec<Vec<Found>> {
    let mut position = header.bytes.len() as u64;
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); tracks.len()];
    let mut dts = vec![0; tracks.len()];
    for SampleIndex { track, sample } in &header.order {
        let of_track = &tracks[*track].samples[*sample];
        assert_eq!(found[*track].len(), *sample, "samples of a track are in order");
        let offset = i64::from(of_track.composition_offset);
        found[*track].push((position, of_track.size, dts[*track], offset, of_track.is_sync));
        position += u64::from(of_track.size);
        dts[*track] += u64::from(of_track.duration);
    }
    assert_eq!(position, header.total_bytes);
    found
}

#[test]
fn moov_is_first() {
    let header = write_header(&[video(vec![sample(10, 1001)])]).unwrap();
    let kinds: Vec<_> = boxes(&header.bytes).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [*b"ftyp", *b"moov"]);
    assert!(header.bytes.ends_with(b"\0\0\0\x12mdat"));
    assert_eq!(header.total_bytes, header.bytes.len() as u64 + 10);
}

#[test]
fn header_has_matrix_edit_and_durations() {
    let mut track = video(vec![sample(10, 1001); 60]);
    track.edit = Some(Edit { media_time: 2002, duration: 30_030 });
    let header = write_header(&[track]).unwrap();
    let moov = find(&header.bytes, "moov").unwrap();
    assert_eq!(u32_at(find(moov, "mvhd").unwrap(), 16), 1001);
    let tkhd = find(moov, "trak/tkhd").unwrap();
    assert_eq!((u32_at(tkhd, 20), u32_at(tkhd, 44), u32_at(tkhd, 76)), (1001, 0x1_0000, 320 << 16));
    let elst = find(moov, "trak/edts/elst").unwrap();
    assert_eq!((u32_at(elst, 4), u32_at(elst, 8), u32_at(elst, 12)), (1, 1001, 2002));
    let mdhd = find(moov, "trak/mdia/mdhd").unwrap();
    assert_eq!((u32_at(mdhd, 12), u32_at(mdhd, 16)), (30_000, 60_060));
}

#[test]
fn delayed_track_begins_with_empty_edit() {
    let mut track = MuxTrack { delay_ms: 250, ..video(vec![sample(10, 1001); 60]) };
    let elst = |track: &MuxTrack| {
        let header = write_header(&[video(vec![sample(1, 1)]), track.clone()]).unwrap();
        let moov = find(&header.bytes, "moov").unwrap();
        let (_, second) = boxes(moov).into_iter().rfind(|(kind, _)| kind == b"trak").unwrap();
        assert_eq!(u32_at(find(second, "tkhd").unwrap(), 20), u32_at(find(moov, "mvhd").unwrap(), 16));
        let elst = find(second, "edts/elst").unwrap();
        let row = |at: usize| (u32_at(elst, at), u32_at(elst, at + 4).cast_signed());
        assert_eq!(u32_at(elst, 4), 2);
        [row(8), row(20)]
    };
    assert_eq!(elst(&track), [(250, -1), (2002, 0)]);
    track.edit = Some(Edit { media_time: 2002, duration: 30_030 });
    assert_eq!(elst(&track), [(250, -1), (1001, 2002)]);
}

#[test]
fn tracks_are_interleaved() {
    let audio = MuxTrack {
        kind: MuxTrackKind::Audio,
        timescale: 48_000,
        sample_entry: Bytes::from_static(SAMPLE_ENTRY),
        samples: vec![sample(300, 1024); 94],
        edit: None,
        delay_ms: 0,
    };
    let header = write_header(&[video(vec![sample(9000, 1001); 60]), audio]).unwrap();
    let mut turns = header.order.iter().map(|index| index.track).collect::<Vec<_>>();
    turns.dedup();
    // Two seconds in chunks of half a second.
    assert_eq!(turns, [0, 1, 0, 1, 0, 1, 0, 1]);
}

#[test]
fn large_files_have_64_bit_offsets() {
    let tracks = [video(vec![sample(1 << 30, 1001); 5])];
    let header = write_header(&tracks).unwrap();
    assert_eq!(read(&header), expected(&tracks, &header));
    let at = header.bytes.len() - 16;
    assert_eq!(u64_at(&header.bytes, at + 8), (5 << 30) + 16);
}

#[test]
fn long_durations_have_64_bits() {
    let tracks = [video(vec![sample(1, u32::MAX); 3])];
    let header = write_header(&tracks).unwrap();
    assert_eq!(read(&header), expected(&tracks, &header));
    let mdhd = find(&header.bytes, "moov/trak/mdia/mdhd").unwrap();
    assert_eq!((mdhd[0], u64_at(mdhd, 24)), (1, 3 * u64::from(u32::MAX)));
}

#[test]
fn rejects_what_cannot_be_written() {
    assert_eq!(write_header(&[]), Err(MuxError::NoTracks));
    assert_eq!(write_header(&[video(Vec::new())]), Err(MuxError::NoSamples));
    let untimed = MuxTrack { timescale: 0, ..video(vec![sample(1, 1)]) };
    assert_eq!(write_header(&[untimed]), Err(MuxError::NoTimescale));
    let edit = Some(Edit { media_time: u64::MAX, duration: 1 });
    let endless = MuxTrack { edit, ..video(vec![sample(1, 1)]) };
    assert_eq!(write_header(&[endless]), Err(MuxError::TooLarge));
}

fn any_sample() -> impl Strategy<Value = MuxSample> {
    (0..5000_u32, 0..3000_u32, -2000..4000_i32, any::<bool>()).prop_map(
        |(size, duration, composition_offset, is_sync)| MuxSample {
            size,
            duration,
            composition_offset,
            is_sync,
        },
    )
}

fn any_track() -> impl Strategy<Value = MuxTrack> {
    let edit = proptest::option::of(
        (0..90_000_u64, 1..90_000_u64).prop_map(|(media_time, duration)| Edit { media_time, duration }),
    );
    (proptest::collection::vec(any_sample(), 1..120), 1..90_000_u32, any::<bool>(), edit).prop_map(
        |(samples, timescale, is_audio, edit)| MuxTrack {
            kind: if is_audio { MuxTrackKind::Audio } else { video(Vec::new()).kind },
            timescale,
            edit,
            ..video(samples)
        },
    )
}

proptest! {
    #[test]
    fn reader_finds_every_sample(tracks in proptest::collection::vec(any_track(), 1..4)) {
        let header = write_header(&tracks).unwrap();
        prop_assert_eq!(read(&header), expected(&tracks, &header));
    }
}
