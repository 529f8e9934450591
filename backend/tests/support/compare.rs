//! Compares frames, eight bytes at a time: tests run without optimization, and compare millions of bytes.

/// Numbers of 16 bits, four in each word: those at even places in a word of bytes.
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
/// One in each of the four numbers.
const ONES: u64 = 0x0001_0001_0001_0001;

/// The sum of the absolute differences of bytes.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> u64 {
    assert_eq!(one.len(), other.len());
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut sum = 0;
    for (place, word) in words.iter().enumerate() {
        let (a, b) = (u64::from_le_bytes(*word), u64::from_le_bytes(other_words[place]));
        if a == b {
            continue;
        }
        // The sums of two numbers are below 512, and that of all four fits into the upper 16 bits.
        let pairs = differences(a & EVEN, b & EVEN) + differences(a >> 8 & EVEN, b >> 8 & EVEN);
        sum += pairs.wrapping_mul(ONES) >> 48;
    }
    let rest = rest.iter().zip(other_rest).map(|(a, b)| u64::from(a.abs_diff(*b)));
    sum + rest.sum::<u64>()
}

/// The absolute differences of four numbers up to 255.
fn differences(a: u64, b: u64) -> u64 {
    // 256 more, so that none is negative: its bit 8 is set where `a` is at least `b`.
    let raised = (a | ONES << 8) - b;
    let is_less = !raised >> 8 & ONES;
    // The complement of two where `a` is less.
    ((raised ^ (is_less * 255)) & EVEN) + is_less
}

/// The mean absolute difference of bytes.
pub(crate) fn mean_difference(one: &[u8], other: &[u8]) -> f64 {
    difference(one, other) as f64 / one.len().max(1) as f64
}

/// The place of the first frame that is most similar, and the sum of its absolute differences.
pub(crate) fn nearest<F: AsRef<[u8]>>(picture: &[u8], frames: &[F]) -> (usize, u64) {
    let part_bytes = picture.len().div_ceil(16).max(1);
    let difference_of_part = |place: usize, part: usize| {
        let bytes = part * part_bytes..((part + 1) * part_bytes).min(picture.len());
        difference(&picture[bytes.clone()], &frames[place].as_ref()[bytes])
    };
    let parts = picture.len().div_ceil(part_bytes);
    // First the frames with a similar middle: most of the others differ too much after a few parts.
    let mut places: Vec<usize> = (0..frames.len()).collect();
    places.sort_by_cached_key(|place| difference_of_part(*place, parts / 2));
    let (mut nearest, mut least) = (0, u64::MAX);
    for place in places {
        let mut sum = 0;
        for part in 0..parts {
            sum += difference_of_part(place, part);
            if sum > least {
                break;
            }
        }
        if sum < least || (sum == least && place < nearest) {
            (nearest, least) = (place, sum);
        }
    }
    (nearest, least)
}

#[test]
fn difference_is_that_of_single_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    for step in 0..=255_u8 {
        let other: Vec<u8> = all.iter().map(|byte| byte.wrapping_mul(7).wrapping_add(step)).collect();
        for length in [0, 1, 7, 8, 9, 255, 256] {
            let expected: u64 =
                all[..length].iter().zip(&other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert_eq!(difference(&all[..length], &other[..length]), expected, "{step} {length}");
        }
    }
}

#[test]
fn nearest_is_the_first_of_the_least_difference() {
    let frame = |level: u8| vec![level; 100];
    let frames = [frame(9), frame(50), frame(40), frame(50), frame(200)];
    for (level, place, sum) in [(48, 1, 200), (0, 0, 900), (255, 4, 5500), (45, 1, 500)] {
        assert_eq!(nearest(&frame(level), &frames), (place, sum), "{level}");
    }
    // Its middle is similar, and the rest is not.
    let mut middle = frame(10);
    middle[40..60].fill(100);
    assert_eq!(nearest(&frame(100), &[middle, frame(90)]), (1, 1000));
}
