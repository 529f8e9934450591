//! Files that would take much more work than their size suggests: every demuxer stops within its work budget, and data
//! that is not selected costs nothing.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::path::Path;

use bytes::Bytes;
use glimpse_contract::Code;
use glimpse_media::demux::budget::WorkBudget;
use glimpse_media::demux::buffer::SparseBuffer;
use glimpse_media::demux::demuxer::{Demuxer, SampleRequest, SeekMode};
use glimpse_media::demux::error::ReadError;
use glimpse_media::demux::{flv, matroska, mp4};

/// The most rounds of a job, see `source::MAX_ROUNDS`.
const MAX_ROUNDS: usize = 24;
/// The most steps beyond the budget before it is checked: those of a table or an index of 64 MiB.
const TOLERANCE_STEPS: u64 = 32 << 20;
/// The most processor time for one file, in milliseconds. Those here take up to a third of it.
const MAX_CPU_MS: u64 = 10_000;
const MEGABYTE: usize = 1024 * 1024;

/// How reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ReadEnd {
    /// Samples were found for this many requests.
    Found(usize),
    Fault(ReadError),
    /// The maximum number of rounds was exceeded.
    Rounds,
}

fn read_until_ready<T>(
    source: &Bytes,
    buffer: &mut SparseBuffer,
    parse: impl Fn(&SparseBuffer) -> Result<T, ReadError>,
) -> Result<T, ReadEnd> {
    for _ in 0..MAX_ROUNDS {
        match parse(buffer) {
            Ok(answer) => return Ok(answer),
            Err(ReadError::NeedMore(ranges)) => {
                for range in ranges {
                    buffer.insert(range.start, &source.slice(range.start as usize..range.end as usize));
                }
            }
            Err(fault) => return Err(ReadEnd::Fault(fault)),
        }
    }
    Err(ReadEnd::Rounds)
}

/// Opens a file and sends as many requests as a job, and checks that this takes no more steps than the file's budget.
fn read<M: Demuxer>(
    name: &str,
    open: impl Fn(&SparseBuffer) -> Result<M, ReadError>,
    file: Vec<u8>,
) -> (ReadEnd, u64) {
    let source = Bytes::from(file);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..source.len().min(64 * 1024)));
    let started = cpu_ms();
    let end = read_until_ready(&source, &mut buffer, open).and_then(|movie| {
        let length = movie.track().duration.max(1);
        let tile =
            |place: i64| SampleRequest { from: place * length / 100, until: 0, mode: SeekMode::Keyframe };
        let still =
            |place: i64| SampleRequest { from: place * length / 10, until: length, mode: SeekMode::Exact };
        let wants: Vec<SampleRequest> = (0..100).map(tile).chain((0..10).map(still)).collect();
        let runs = read_until_ready(&source, &mut buffer, |known| movie.find_samples(known, &wants))?;
        Ok(ReadEnd::Found(runs.iter().filter(|run| !run.is_empty()).count()))
    });
    let end = end.unwrap_or_else(|end| end);
    let (used, took_ms) = (buffer.budget().used_steps(), cpu_ms() - started);
    eprintln!(
        "{name:45} {:9} bytes {used:10} steps, {:5.2} per byte, {took_ms:6} ms: {end:?}",
        source.len(),
        used as f64 / source.len() as f64
    );
    assert!(took_ms <= MAX_CPU_MS, "{name}: {took_ms} ms of processor time");
    assert!(
        used <= WorkBudget::max_steps(source.len() as u64) + TOLERANCE_STEPS,
        "{name}: {used} steps for {} bytes",
        source.len()
    );
    (end, used)
}

/// The processor time of this thread, in milliseconds; 0 if the system does not report it.
fn cpu_ms() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<u64>().ok()).unwrap_or(0)
        / 1_000_000
}

fn corpus(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)).unwrap()
}

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A fragment of this many bytes, with runs of one track with 86,400 samples each. A run takes 16 bytes.
fn fragment_of_runs(track: u32, size: u32, bytes: usize) -> Vec<u8> {
    const DURATION: u32 = 0x08;
    const SIZE: u32 = 0x10;
    let run = boxed(*b"trun", &words(&[0, 86_400]));
    let header = boxed(*b"tfhd", &words(&[0x02_0000 | DURATION | SIZE, track, 1, size]));
    let traf = boxed(*b"traf", &[header, run.repeat(bytes / run.len())].concat());
    boxed(*b"moof", &[boxed(*b"mfhd", &words(&[0, 1])), traf].concat())
}

/// A fragmented video, and the number of its selected track.
fn fragments() -> (Vec<u8>, u32) {
    (corpus("mp4/fragments.mp4"), 1)
}

/// The video with these boxes before its first fragment.
fn with_boxes(film: &[u8], boxes: &[u8]) -> Vec<u8> {
    let first = film.windows(4).position(|letters| letters == b"moof").unwrap() - 4;
    [&film[..first], boxes, &film[first..]].concat()
}

#[test]
fn f8_runs_of_other_tracks_are_skipped() {
    let (film, shown) = fragments();
    let alone = read("the video alone", mp4::open, film.clone());
    for (bytes, size) in
        [(MEGABYTE * 8 / 10, 0), (MEGABYTE * 32 / 10, 1), (11 * MEGABYTE, 1), (7 * MEGABYTE, 900)]
    {
        // Fragments of up to 8 MB are read.
        let fragment = fragment_of_runs(shown + 1, size, bytes.min(3 * MEGABYTE));
        let boxes = fragment.repeat(bytes.div_ceil(fragment.len()));
        let name = format!("{} KB of runs of another track", bytes / 1024);
        let (end, used) = read(&name, mp4::open, with_boxes(&film, &boxes));
        assert_eq!(end, alone.0, "{name}");
        assert!(used < 2 * bytes as u64 + 16 * alone.1, "{name}: {used} steps");
    }
}

#[test]
fn f8_runs_of_the_selected_track_end_with_the_budget() {
    let (film, shown) = fragments();
    for (name, bytes, size) in [
        ("empty samples", 11 * MEGABYTE, 0),
        ("samples of one byte", 3 * MEGABYTE, 1),
        ("samples of one byte, large", 11 * MEGABYTE, 1),
        ("samples beyond the end", 11 * MEGABYTE, u32::MAX),
    ] {
        let fragment = fragment_of_runs(shown, size, bytes.min(3 * MEGABYTE));
        let boxes = fragment.repeat(bytes.div_ceil(fragment.len()));
        let (end, _) = read(name, mp4::open, with_boxes(&film, &boxes));
        assert_ne!(end, ReadEnd::Rounds, "{name}");
    }
}

/// The beginning of a Matroska video up to its first cluster, with a segment and without cues, and its clusters.
fn matroska_film() -> (Vec<u8>, Vec<u8>) {
    let film = corpus("matroska/live.webm");
    let first = film.windows(4).position(|id| id == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
    (film[..first].to_vec(), film[first..].to_vec())
}

/// A movie with one H.264 track, 160x90, 1,000 ticks per second, these tables and other boxes in the track.
fn movie(edits: &[u8], tables: &[Vec<u8>]) -> Vec<u8> {
    let picture = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 160, 0, 90], &[0; 50]].concat();
    let entry = boxed(*b"stsd", &[words(&[0, 1]), boxed(*b"avc1", &picture)].concat());
    let stbl = boxed(*b"stbl", &[&[entry], tables].concat().concat());
    let handler = boxed(*b"hdlr", b"\0\0\0\0\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let media = [boxed(*b"mdhd", &words(&[0, 0, 0, 1000, 0, 0])), handler, boxed(*b"minf", &stbl)].concat();
    let header = [words(&[1, 0, 0, 1, 0, 0]), vec![0; 60]].concat();
    let body = [boxed(*b"tkhd", &header), edits.to_vec(), boxed(*b"mdia", &media)].concat();
    let clock = [words(&[0, 0, 0, 1000, 0]), vec![0; 80]].concat();
    boxed(*b"moov", &[boxed(*b"mvhd", &clock), boxed(*b"trak", &body)].concat())
}

/// Tables of `chunks` chunks, all at the same offset, with this many samples of `size` bytes each.
fn tables(chunks: u32, samples_per_chunk: u32, size: u32) -> Vec<Vec<u8>> {
    vec![
        boxed(*b"stts", &words(&[0, 1, u32::MAX, 1])),
        boxed(*b"stsc", &words(&[0, 1, 1, samples_per_chunk, 1])),
        boxed(*b"stsz", &words(&[0, size, chunks.saturating_mul(samples_per_chunk)])),
        boxed(*b"stco", &[words(&[0, chunks]), words(&[64]).repeat(chunks as usize)].concat()),
    ]
}

#[test]
fn f8_oversized_sample_tables_end_with_the_budget() {
    let data = boxed(*b"mdat", &vec![7; 4 * MEGABYTE]);
    for (name, tables) in [
        ("one sample per byte", tables(1, 4_000_000, 1)),
        ("billions of one-byte samples", tables(1, u32::MAX, 1)),
        ("billions of empty samples", tables(1, u32::MAX, 0)),
        ("billions of samples beyond the end", tables(1, u32::MAX, u32::MAX)),
        ("a thousand chunks at one offset", tables(1000, 4000, 1)),
        ("a million empty chunks", tables(1_000_000, 0, 1)),
    ] {
        read(name, mp4::open, [&data[..], &movie(&[], &tables)].concat());
    }
    let film = |name: &str, kind: &[u8; 4], rows: Vec<u8>| {
        let count = (rows.len() / 8) as u32;
        let table = boxed(*kind, &[words(&[0, count]), rows].concat());
        read(
            name,
            mp4::open,
            [&data[..], &movie(&[], &[vec![table], tables(1, 1000, 100)].concat())].concat(),
        );
    };
    film("empty duration runs", b"stts", words(&[0, 1]).repeat(MEGABYTE));
    film("empty composition offset runs", b"ctts", words(&[0, 1]).repeat(MEGABYTE));
    film("keyframes beyond the last sample", b"stss", words(&[5_000_000]).repeat(2 * MEGABYTE));
    film("a million boxes", b"free", boxed(*b"free", &[]).repeat(MEGABYTE));
    let edits = [words(&[0, 600_000]), words(&[1, 0, 0x1_0000]).repeat(600_000)].concat();
    let edits = boxed(*b"edts", &boxed(*b"elst", &edits));
    read("edits", mp4::open, [&data[..], &movie(&edits, &tables(1, 1000, 100))].concat());
    let boxes = boxed(*b"free", &[]).repeat(4 * MEGABYTE);
    read("top-level boxes", mp4::open, [&boxes[..], &movie(&[], &tables(1, 1000, 100))].concat());
}

/// Opens a file and reads all of its sound, and checks that this takes no more steps than the file's budget.
fn read_sound<M: Demuxer>(
    name: &str,
    open: impl Fn(&SparseBuffer) -> Result<M, ReadError>,
    file: Vec<u8>,
) -> Result<usize, ReadEnd> {
    let source = Bytes::from(file);
    let mut buffer = SparseBuffer::new(source.len() as u64);
    let found = read_until_ready(&source, &mut buffer, open).and_then(|movie| {
        let run = read_until_ready(&source, &mut buffer, |known| movie.find_audio(known, 0..u64::MAX))?;
        Ok(run.map_or(0, |run| run.samples.len()))
    });
    let used = buffer.budget().used_steps();
    eprintln!("{name:45} {:9} bytes {used:10} steps: {found:?}", source.len());
    let most = WorkBudget::max_steps(source.len() as u64) + TOLERANCE_STEPS;
    assert!(used <= most, "{name}: {used} steps for {} bytes", source.len());
    found
}

/// A movie with a short video and an AAC track with these tables and edits.
fn movie_with_sound(edits: &[u8], tables: &[Vec<u8>]) -> Vec<u8> {
    let decoder = [&[4, 17, 0x40, 0x15][..], &[0; 11], &[5, 2, 0x12, 0x10]].concat();
    let esds = boxed(*b"esds", &[&[0, 0, 0, 0, 3, decoder.len() as u8 + 3, 0, 0, 0][..], &decoder].concat());
    let sound = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &[0, 2, 0, 16], &[0; 8], &esds].concat();
    let entry = boxed(*b"stsd", &[words(&[0, 1]), boxed(*b"mp4a", &sound)].concat());
    let stbl = boxed(*b"stbl", &[&[entry], tables].concat().concat());
    let handler = boxed(*b"hdlr", b"\0\0\0\0\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let media = [boxed(*b"mdhd", &words(&[0, 0, 0, 44_100, 0, 0])), handler, boxed(*b"minf", &stbl)].concat();
    let header = [words(&[1, 0, 0, 2, 0, 0]), vec![0; 60]].concat();
    let body = [boxed(*b"tkhd", &header), edits.to_vec(), boxed(*b"mdia", &media)].concat();
    let video = movie(&[], &self::tables(1, 10, 100));
    boxed(*b"moov", &[&video[8..], &boxed(*b"trak", &body)].concat())
}

#[test]
fn f8_oversized_sound_tables_end_with_the_budget() {
    let data = boxed(*b"mdat", &vec![7; 4 * MEGABYTE]);
    let film = |edits: &[u8], tables: &[Vec<u8>]| [&data[..], &movie_with_sound(edits, tables)].concat();
    assert_eq!(read_sound("plain", mp4::open, film(&[], &tables(1, 1000, 100))), Ok(1000));
    for (name, tables) in [
        ("one sample per byte", tables(1, 4_000_000, 1)),
        ("billions of one-byte samples", tables(1, u32::MAX, 1)),
        ("billions of empty samples", tables(1, u32::MAX, 0)),
        ("a thousand chunks at one offset", tables(1000, 4000, 1)),
    ] {
        let _ = read_sound(name, mp4::open, film(&[], &tables));
    }
    // Each of many edits presents all samples again.
    let edits = [
        words(&[0, 500]),
        [words(&[1000, 0, 0x1_0000]), words(&[1, u32::MAX, 0x1_0000])].concat().repeat(250),
    ];
    let edits = boxed(*b"edts", &boxed(*b"elst", &edits.concat()));
    let _ = read_sound("edits that repeat all samples", mp4::open, film(&edits, &tables(1, 4_000_000, 1)));
    let (shown, _) = fragments();
    let fragment = fragment_of_runs(2, 1, 3 * MEGABYTE);
    let _ = read_sound("fragments", mp4::open, with_boxes(&shown, &fragment.repeat(4)));
    let (head, clusters) = matroska_film();
    let one = [&[0xa3, 0x41, 0x05, 0x82, 0, 0, 0x84, 0xff][..], &[0; 256]].concat();
    let cluster = [&[0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x81, 9][..], &one.repeat(40_000)].concat();
    let _ = read_sound("laced frames", matroska::open, [&head[..], &clusters, &cluster].concat());
    let sound =
        [flv_tag(8, 0, &[0xaf, 0, 0x12, 0x10]), flv_tag(8, 0, &[0xaf, 1, 0]).repeat(1_000_000)].concat();
    let flash = corpus("flv/plain.flv");
    let _ = read_sound("tiny sound tags", flv::open, [&flash[..13], &sound, &flash[13..]].concat());
}

/// A video of more than 8 MB, which is searched: its fragments, `between`, its fragments again, `behind`.
fn large_film(between: &[u8], behind: &[u8]) -> Vec<u8> {
    let (film, _) = fragments();
    let gap = boxed(*b"mdat", &vec![0; 9 * MEGABYTE]);
    let first = film.windows(4).position(|letters| letters == b"moof").unwrap() - 4;
    let end = film.windows(4).rposition(|letters| letters == b"mfra").map_or(film.len(), |place| place - 4);
    [&film[..end], between, &gap, &film[first..end], behind].concat()
}

#[test]
fn f8_nested_fragments_and_indexes_end_with_the_budget() {
    let head = [&[0, 16, 0, 0][..], b"moof\0\0\0\x10mfhd"].concat();
    for megabytes in [1, 15, 80] {
        // Each looks like a fragment of a megabyte, which contains the following ones.
        let heads = boxed(*b"mdat", &head.repeat(megabytes * MEGABYTE / head.len()));
        let name = format!("{megabytes} MB of fragment headers");
        let (end, _) = read(&name, mp4::open, large_film(&heads, &[]));
        assert_eq!(end, ReadEnd::Fault(ReadError::Rejected(Code::TimedOut)), "{name}");
        let open = [&boxed(*b"moof", &[])[..], &boxed(*b"mdat", &[])].concat();
        let empty = open.repeat(megabytes * MEGABYTE / open.len());
        read(&format!("{megabytes} MB of empty fragments"), mp4::open, large_film(&empty, &[]));
        let rows = (megabytes * MEGABYTE).min(50 * MEGABYTE) / 11;
        let row = [words(&[1, 2000]), vec![1, 1, 1]].concat();
        let table = boxed(*b"tfra", &[words(&[0, 1, 0, rows as u32]), row.repeat(rows)].concat());
        let own = boxed(*b"mfro", &words(&[0, table.len() as u32 + 24]));
        let index = boxed(*b"mfra", &[table, own].concat());
        read(&format!("{megabytes} MB of index at the end"), mp4::open, large_film(&[], &index));
    }
    let nested = words(&[0x8000_0000 | 32, 1, 0]).repeat(60_000);
    let index = boxed(*b"sidx", &[words(&[0, 1, 1000, 0, 0, 60_000]), nested].concat());
    for count in [1, 20] {
        read(&format!("{count} nested indexes"), mp4::open, large_film(&index.repeat(count), &[]));
    }
}

#[test]
fn f8_tiny_elements_end_with_the_budget() {
    let (head, clusters) = matroska_film();
    for megabytes in [1, 6, 24, 90] {
        let voids = [0xec, 0x80].repeat(megabytes * MEGABYTE / 2);
        // A cluster of unknown size with a timestamp and only elements of two bytes.
        let open = [&[0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x81, 0][..], &voids].concat();
        let short = [0x1f, 0x43, 0xb6, 0x75, 0x83, 0xe7, 0x81, 0].repeat(megabytes * MEGABYTE / 8);
        let empty = [0x1f, 0x43, 0xb6, 0x75, 0xff].repeat(megabytes * MEGABYTE / 5);
        for (name, file) in [
            ("voids before the clusters", [&head[..], &voids, &clusters].concat()),
            ("voids between clusters", [&head[..], &clusters, &voids, &clusters].concat()),
            ("voids after clusters", [&head[..], &clusters, &voids].concat()),
            ("voids in a cluster", [&head[..], &clusters, &open, &clusters].concat()),
            ("clusters with only a timestamp", [&head[..], &clusters, &short, &clusters].concat()),
            ("empty clusters", [&head[..], &clusters, &empty, &clusters].concat()),
        ] {
            read(&format!("{megabytes} MB of {name}"), matroska::open, file);
        }
    }
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &(1_u64 << 56 | body.len() as u64).to_be_bytes(), body].concat()
}

#[test]
fn f8_many_cues_and_laced_frames_end_with_the_budget() {
    let (head, clusters) = matroska_film();
    let voids = [0xec, 0x80].repeat(12 * MEGABYTE);
    // Each cue references the same cluster, which contains no block for megabytes.
    let place = (head.len() + clusters.len()) as u32;
    let cue = |time: u32| {
        let at = [&[0xf7, 0x81, 1, 0xf1, 0x84][..], &place.to_be_bytes()].concat();
        let positions = [&[0xb7, 0x80 | at.len() as u8][..], &at].concat();
        let time = [&[0xb3, 0x84][..], &time.to_be_bytes()].concat();
        [&[0xbb, 0x80 | (time.len() + positions.len()) as u8][..], &time, &positions].concat()
    };
    let cluster = [&[0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x81, 0][..], &voids].concat();
    let cues: Vec<u8> = (0..300_000).flat_map(|time| cue(time * 10)).collect();
    let cues = element(&[0x1c, 0x53, 0xbb, 0x6b], &cues);
    for (name, file) in [
        ("cues before the clusters", [&head[..], &cues, &clusters, &cluster].concat()),
        ("cues after the clusters", [&head[..], &clusters, &cluster, &cues].concat()),
    ] {
        read(name, matroska::open, file);
    }
    for megabytes in [1, 6, 40] {
        // A block of track 1 with 256 empty frames, and one with frames of one byte each.
        let nothing = [0xa3, 0x85, 0x81, 0, 0, 0x84, 0xff].repeat(megabytes * MEGABYTE / 7);
        let one = [&[0xa3, 0x41, 0x05, 0x81, 0, 0, 0x84, 0xff][..], &[0; 256]].concat();
        let one = one.repeat(megabytes * MEGABYTE / one.len());
        for (name, blocks) in [("empty frames", nothing), ("one-byte frames", one)] {
            let cluster = [&[0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x81, 9][..], &blocks].concat();
            let title = format!("{megabytes} MB of {name}");
            let (end, _) = read(&title, matroska::open, [&head[..], &clusters, &cluster].concat());
            // A larger file is not read as a whole.
            if name == "empty frames" && megabytes <= 6 {
                assert_eq!(end, ReadEnd::Fault(ReadError::Rejected(Code::TimedOut)), "{title}");
            }
        }
    }
}

fn flv_tag(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
    let [high, time @ ..] = time.to_be_bytes();
    let size = (body.len() as u32).to_be_bytes();
    let foot = (body.len() as u32 + 11).to_be_bytes();
    [&[kind][..], &size[1..], &time, &[high, 0, 0, 0], body, &foot].concat()
}

#[test]
fn f8_tiny_flv_tags_end_with_the_budget() {
    let film = corpus("flv/plain.flv");
    for megabytes in [1, 6, 24, 90] {
        let count = megabytes * MEGABYTE / 16;
        let later = |kind: u8, body: &[u8]| flv_tag(kind, 400, body).repeat(count);
        let last = flv_tag(9, 3_600_000, &[0x17, 1, 0, 0, 0, 9, 9, 9, 9, 9]);
        for (name, tags) in [
            ("audio tags", later(8, &[1])),
            ("video tags without keyframes", later(9, &[0x27])),
            ("invalid tags", vec![9; megabytes * MEGABYTE]),
            ("tag headers", [9, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(megabytes * MEGABYTE / 11)),
        ] {
            read(&format!("{megabytes} MB of {name}"), flv::open, [&film[..], &tags, &last].concat());
        }
        // Before the first frame that the header announces.
        let late = [&film[..13], &later(8, &[1]), &film[13..]].concat();
        read(&format!("{megabytes} MB of audio before video"), flv::open, late);
    }
}
