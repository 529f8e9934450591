//! What a walk finds in clusters that were made by hand.

use bytes::Bytes;

use crate::demux::matroska::cluster::*;

/// An element with its size in eight bytes, or an unknown one.
fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&id[..], &(1_u64 << 56 | body.len() as u64).to_be_bytes(), body].concat()
}

fn endless(id: u32, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0xff], body].concat()
}

fn timestamp(time: u8) -> Vec<u8> {
    element(ids::CLUSTER_TIMESTAMP, &[time])
}

fn simple(track: u8, time: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    element(ids::SIMPLE_BLOCK, &[&[0x80 | track, 0, time, flags], data].concat())
}

fn group(time: u8, flags: u8, data: &[u8], more: &[u8]) -> Vec<u8> {
    let block = element(ids::BLOCK, &[&[0x81, 0, time, flags], data].concat());
    element(ids::BLOCK_GROUP, &[&block, more].concat())
}

fn reader(end: usize) -> Reader {
    Reader {
        track: 1,
        codec: None,
        nal_length: 4,
        verifies: false,
        clock: Clock::new(0),
        frame_ticks: 40,
        end: end as u64,
    }
}

/// Time, keyness and bytes of every frame, and how the walk ended.
#[track_caller]
fn check(parts: &[Vec<u8>], expected: &[(i64, bool, &str)], end: Step) {
    let source: Bytes = parts.concat().into();
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source);
    let mut walk = Walk::new(&known, reader(source.len()), 0);
    let mut found = Vec::new();
    let last = loop {
        match walk.next() {
            Step::Frame(frame) => {
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
fn finds_frames_among_whatever_stands_beside_them() {
    let odd =
        [element(ids::VOID, b"\xa3\x81x"), element(ids::CRC32, b"crc!"), element(0x4fff, b"unheard of")];
    let cluster = [odd.concat(), timestamp(10), simple(2, 0, 0x80, b"sound"), odd.concat()].concat();
    let cluster = [cluster, simple(1, 1, 0x80, b"key"), odd.concat(), simple(1, 5, 0, b"next")].concat();
    let expected = [(11, true, "key"), (15, false, "next")];
    check(&[element(ids::CLUSTER, &cluster)], &expected, Step::End);
    check(&[element(ids::VOID, b"x"), endless(ids::CLUSTER, &cluster), odd[0].clone()], &expected, Step::End);
}

#[test]
fn a_cluster_of_unknown_size_ends_where_another_part_begins() {
    let one = endless(ids::CLUSTER, &[timestamp(0), simple(1, 0, 0x80, b"a")].concat());
    let two = endless(ids::CLUSTER, &[timestamp(50), simple(1, 0, 0, b"b")].concat());
    let tags = element(ids::TAGS, b"");
    check(&[one.clone(), tags, two.clone()], &[(0, true, "a"), (50, false, "b")], Step::End);
    check(&[one, element(ids::SEGMENT, b""), two], &[(0, true, "a")], Step::End);
}

#[test]
fn a_group_tells_keyframes_by_what_they_refer_to() {
    let reference = element(ids::REFERENCE_BLOCK, &[0xd8]);
    let lasting = element(ids::BLOCK_DURATION, &[90]);
    // Three frames of two bytes, by EBML lacing: sizes 2, then a difference of 0.
    let laced = group(40, 0x06, b"\x02\x82\xbfaabbcc", &lasting);
    let cluster = [timestamp(0), group(0, 0, b"key", &[]), group(20, 0, b"next", &reference), laced].concat();
    check(
        &[element(ids::CLUSTER, &cluster)],
        &[(0, true, "key"), (20, false, "next"), (40, true, "aa"), (70, true, "bb"), (100, true, "cc")],
        Step::End,
    );
}

#[test]
fn damage_is_said_and_what_is_cut_off_ends() {
    let first = simple(1, 0, 0x80, b"a");
    let over = [&[0xa3, 0x90][..], b"\x81\0\0\0short"].concat();
    let cluster = |parts: &[&[u8]]| element(ids::CLUSTER, &[&timestamp(0)[..], &parts.concat()].concat());
    check(&[cluster(&[&first, &over])], &[(0, true, "a")], Step::End);
    let broken = cluster(&[&first, &over]);
    let at = (broken.len() - over.len()) as u64;
    check(&[broken, cluster(&[])], &[(0, true, "a")], Step::Damaged(at));
    check(
        &[cluster(&[&first]), vec![0; 20]],
        &[(0, true, "a")],
        Step::Damaged(cluster(&[&first]).len() as u64),
    );
}

#[test]
fn skips_over_what_is_not_known_and_says_where_it_has_to_know() {
    let cluster = [timestamp(0), simple(1, 0, 0x80, &[b'x'; 5000]), simple(1, 40, 0, b"b")].concat();
    let source: Bytes = element(ids::CLUSTER, &cluster).into();
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source.slice(..100));
    let mut walk = Walk::new(&known, reader(source.len()), 0);
    assert!(matches!(walk.next(), Step::Frame(Frame { size: 5000, .. })));
    let second = (source.len() - 14) as u64;
    assert_eq!(walk.next(), Step::Gap(second));
}

#[test]
fn the_stream_tells_keyframes_of_vp8_better_than_its_marks() {
    let cluster = [timestamp(0), simple(1, 0, 0x80, &[0x10, 1]), simple(1, 40, 0x80, &[0x11, 1])].concat();
    let source: Bytes = element(ids::CLUSTER, &cluster).into();
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source);
    let vp8 = Reader { codec: Some(Codec::Vp8), ..reader(source.len()) };
    let mut walk = Walk::new(&known, vp8, 0);
    assert!(matches!(walk.next(), Step::Frame(Frame { is_key: true, .. })));
    assert!(matches!(walk.next(), Step::Frame(Frame { is_key: false, .. })));
}
