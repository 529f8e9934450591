//! Decides when a Flash video ends, by its last bytes. Pure.
//!
//! A recorder that was cut off wrote no length, or one that it did not reach; each tag has its time, and repeats its size
//! behind itself, so that tags are found from any place on. Adobe Flash Video File Format Specification 10.1, annex E.

/// Type, size, time and stream of a tag.
const HEAD_BYTES: usize = 11;
/// What repeats a tag's size behind it.
const FOOT_BYTES: usize = 4;
const VIDEO: u8 = 9;

/// The time of the last whole tag with a picture among the last bytes of a file, in milliseconds.
pub(super) fn last_picture(tail: &[u8]) -> Option<u64> {
    let mut last = None;
    let mut at = 0;
    while at + HEAD_BYTES <= tail.len() {
        let Some((kind, time_ms, length)) = tag(&tail[at..]) else {
            at += 1;
            continue;
        };
        if kind == VIDEO {
            last = Some(time_ms);
        }
        at += length;
    }
    last
}

/// Kind, time and whole length of the tag that these bytes begin with, if it is one and is there as a whole.
fn tag(bytes: &[u8]) -> Option<(u8, u64, usize)> {
    let head = bytes.get(..HEAD_BYTES)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
    let kind = head[0];
    let size = number(&head[1..4]) as usize;
    if !matches!(kind, 8 | VIDEO | 18) || size == 0 || head[8..11] != [0; 3] {
        return None;
    }
    let length = HEAD_BYTES + size;
    let foot = bytes.get(length..length + FOOT_BYTES)?;
    (number(foot) == length as u64)
        .then(|| (kind, (u64::from(head[7]) << 24) | number(&head[4..7]), length + FOOT_BYTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(kind: u8, time_ms: u32, size: usize) -> Vec<u8> {
        let [high, time @ ..] = time_ms.to_be_bytes();
        let size_bytes = (size as u32).to_be_bytes();
        let foot = (size as u32 + 11).to_be_bytes();
        [&[kind][..], &size_bytes[1..], &time, &[high, 0, 0, 0], &vec![kind; size], &foot].concat()
    }

    #[test]
    fn the_last_whole_picture_is_found_from_any_place_on() {
        let tags = [
            made(VIDEO, 1000, 300),
            made(8, 1010, 20),
            made(VIDEO, 0x0102_0304, 500),
            made(8, 0x0102_0400, 9),
        ]
        .concat();
        for from in 0..600 {
            assert_eq!(last_picture(&tags[from.min(300)..]), Some(0x0102_0304), "{from}");
        }
        assert_eq!(last_picture(&tags[..tags.len() - 60]), Some(1000), "the last one is cut off");
        assert_eq!(last_picture(&made(8, 5, 9)), None);
        assert_eq!(last_picture(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = last_picture(&bytes);
        }

        #[test]
        fn any_bytes_before_and_behind_are_passed_over(
            before in prop::collection::vec(any::<u8>(), 0..100), time_ms: u32, size in 1_usize..400,
            behind in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let file = [&before[..], &made(VIDEO, time_ms, size), &behind].concat();
            prop_assert_eq!(last_picture(&file), Some(u64::from(time_ms)));
        }
    }
}
