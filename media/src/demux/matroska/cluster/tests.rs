//! Tests of [`ClusterReader`] with hand-built clusters.

use bytes::Bytes;

use crate::demux::matroska::cluster::*;

/// An element with its size in eight bytes, or with an unknown size.
fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&id[..], &(1_u64 << 56 | body.len() as u64).to_be_bytes(), body].concat()
}

fn element_of_unknown_size(id: u32, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0xff], body].concat()
}

fn timestamp(time: u8) -> Vec<u8> {
    element(ids::CLUSTER_TIMESTAMP, &[time])
}

fn simple_block(track: u8, time: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    element(ids::SIMPLE_BLOCK, &[&[0x80 | track, 0, time, flags], data].concat())
}

fn block_group(time: u8, flags: u8, data: &[u8], more: &[u8]) -> Vec<u8> {
    let block = element(ids::BLOCK, &[&[0x81, 0, time, flags], data].concat());
    element(ids::BLOCK_GROUP, &[&block, more].concat())
}

fn context(end: usize) -> ClusterContext {
    ClusterContext {
        track: 1,
        codec: None,
        nal_length_size: 4,
        verify_keyframes: false,
        clock: TimestampConverter::new(0),
        frame_ticks: 40,
        end: end as u64,
    }
}

/// Checks the time, keyframe flag and bytes of every frame, and the final event.
#[track_caller]
fn check(parts: &[Vec<u8>], expected: &[(i64, bool, &str)], end: ClusterEvent) {
    let source: Bytes = parts.concat().into();
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source);
    let mut clusters = ClusterReader::new(&buffer, context(source.len()), 0);
    let mut found = Vec::new();
    let last = loop {
        match clusters.next() {
            ClusterEvent::Frame(frame) => {
                let bytes = &source[frame.offset as usize..frame.offset as usize + frame.size as usize];
                found.push((frame.pts, frame.is_key, String::from_utf8(bytes.to_vec()).unwrap()));
            }
            other => break other,
        }
    };
    let found: Vec<_> = found.iter().map(|(pts, key, bytes)| (*pts, *key, bytes.as_str())).collect();
    assert_eq!((found.as_slice(), last), (expected, end));
}

#[test]
fn finds_frames_among_other_elements() {
    let odd =
        [element(ids::VOID, b"\xa3\x81x"), element(ids::CRC32, b"crc!"), element(0x4fff, b"unheard of")];
    let cluster = [odd.concat(), timestamp(10), simple_block(2, 0, 0x80, b"sound"), odd.concat()].concat();
    let cluster =
        [cluster, simple_block(1, 1, 0x80, b"key"), odd.concat(), simple_block(1, 5, 0, b"next")].concat();
    let expected = [(11, true, "key"), (15, false, "next")];
    check(&[element(ids::CLUSTER, &cluster)], &expected, ClusterEvent::End);
    check(
        &[element(ids::VOID, b"x"), element_of_unknown_size(ids::CLUSTER, &cluster), odd[0].clone()],
        &expected,
        ClusterEvent::End,
    );
}

#[test]
fn unknown_size_ends_at_next_top_level_element() {
    let one = element_of_unknown_size(ids::CLUSTER, &[timestamp(0), simple_block(1, 0, 0x80, b"a")].concat());
    let two = element_of_unknown_size(ids::CLUSTER, &[timestamp(50), simple_block(1, 0, 0, b"b")].concat());
    let tags = element(ids::TAGS, b"");
    check(&[one.clone(), tags, two.clone()], &[(0, true, "a"), (50, false, "b")], ClusterEvent::End);
    check(&[one, element(ids::SEGMENT, b""), two], &[(0, true, "a")], ClusterEvent::End);
}

#[test]
fn group_keyframes_have_no_reference_block() {
    let reference = element(ids::REFERENCE_BLOCK, &[0xd8]);
    let duration = element(ids::BLOCK_DURATION, &[90]);
    // Three frames of two bytes, by EBML lacing: sizes 2, then a difference of 0.
    let laced = block_group(40, 0x06, b"\x02\x82\xbfaabbcc", &duration);
    let cluster =
        [timestamp(0), block_group(0, 0, b"key", &[]), block_group(20, 0, b"next", &reference), laced]
            .concat();
    check(
        &[element(ids::CLUSTER, &cluster)],
        &[(0, true, "key"), (20, false, "next"), (40, true, "aa"), (70, true, "bb"), (100, true, "cc")],
        ClusterEvent::End,
    );
}

#[test]
fn reports_damage_and_ends_at_truncation() {
    let first = simple_block(1, 0, 0x80, b"a");
    let oversized = [&[0xa3, 0x90][..], b"\x81\0\0\0short"].concat();
    let cluster = |parts: &[&[u8]]| element(ids::CLUSTER, &[&timestamp(0)[..], &parts.concat()].concat());
    check(&[cluster(&[&first, &oversized])], &[(0, true, "a")], ClusterEvent::End);
    let broken = cluster(&[&first, &oversized]);
    let at = (broken.len() - oversized.len()) as u64;
    check(&[broken, cluster(&[])], &[(0, true, "a")], ClusterEvent::Damaged(at));
    check(
        &[cluster(&[&first]), vec![0; 20]],
        &[(0, true, "a")],
        ClusterEvent::Damaged(cluster(&[&first]).len() as u64),
    );
}

#[test]
fn reports_gap_at_next_header() {
    let cluster =
        [timestamp(0), simple_block(1, 0, 0x80, &[b'x'; 5000]), simple_block(1, 40, 0, b"b")].concat();
    let source: Bytes = element(ids::CLUSTER, &cluster).into();
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source.slice(..100));
    let mut clusters = ClusterReader::new(&buffer, context(source.len()), 0);
    assert!(matches!(clusters.next(), ClusterEvent::Frame(BlockFrame { size: 5000, .. })));
    let second = (source.len() - 14) as u64;
    assert_eq!(clusters.next(), ClusterEvent::Gap(second));
}

#[test]
fn vp8_bitstream_overrides_keyframe_flag() {
    let cluster =
        [timestamp(0), simple_block(1, 0, 0x80, &[0x10, 1]), simple_block(1, 40, 0x80, &[0x11, 1])].concat();
    let source: Bytes = element(ids::CLUSTER, &cluster).into();
    let mut buffer = SparseBuffer::new(source.len() as u64);
    buffer.insert(0, &source);
    let vp8 = ClusterContext { codec: Some(Codec::Vp8), ..context(source.len()) };
    let mut clusters = ClusterReader::new(&buffer, vp8, 0);
    assert!(matches!(clusters.next(), ClusterEvent::Frame(BlockFrame { is_key: true, .. })));
    assert!(matches!(clusters.next(), ClusterEvent::Frame(BlockFrame { is_key: false, .. })));
}
