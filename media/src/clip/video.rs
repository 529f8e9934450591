//! Plans the picture of a clip: H.264 samples from the keyframe at or before the start.

use bytes::Bytes;

use crate::clip::{ClipError, ClipTrack, ReencodeReason, Span, sample_ticks};
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Demuxer, Sample, SampleRequest, SeekMode, Track};
use crate::demux::error::ReadError;
use crate::demux::reference::{RandomAccess, random_access};
use crate::mux::{Edit, MuxSample, MuxTrack, MuxTrackKind};

/// How many bytes of the first sample show whether decoding can start at it.
const HEAD_BYTES: u64 = 4096;
/// A run of about this many bytes may have been ended by a demuxer's limit.
const MAX_RUN_BYTES: u64 = 60 << 20;
/// The profiles of H.264 that browsers decode: constrained baseline, main, extended, high. ITU-T H.264, A.2.
const PROFILES: [u8; 4] = [66, 77, 88, 100];
/// Offset of the width and of the height in a sample entry, and of its child boxes: ISO 14496-12, 12.1.3.
const WIDTH_OFFSET: usize = 32;
const CHILDREN_OFFSET: usize = 86;

/// Plans the samples that show a span.
///
/// # Errors
/// The outer error: the bytes that are missing, or why reading cannot continue. The inner error: why samples cannot be
/// copied.
pub(super) fn plan(
    demuxer: &dyn Demuxer,
    buffer: &SparseBuffer,
    span: Span,
) -> Result<Result<ClipTrack, ClipError>, ReadError> {
    let track = demuxer.track();
    if let Err(reason) = check_track(track) {
        return Ok(Err(ClipError::Reencode(reason)));
    }
    let (start, end) = (span.start(track.timescale), span.end(track.timescale));
    // Clients round times to milliseconds: a frame within the following half millisecond counts as shown.
    let half_ms = i64::from(track.timescale) / 2000;
    let from = if span.start_ms == 0 { start } else { start.saturating_add(half_ms) };
    let until = end.saturating_sub(half_ms).max(from.saturating_add(1));
    let request = SampleRequest { from, until, mode: SeekMode::Exact };
    let run = demuxer.find_samples(buffer, &[request])?.into_iter().next().unwrap_or_default();
    let Some(first) = run.first() else { return Ok(Err(ClipError::Empty)) };
    if let Err(refusal) = check_run(track, &run, from, until) {
        return Ok(Err(refusal));
    }
    let head = buffer.get(first.offset..first.offset + u64::from(first.size).min(HEAD_BYTES))?;
    if let Err(reason) = check_first_sample(&head, first.size, track.nal_length_size()) {
        return Ok(Err(ClipError::Reencode(reason)));
    }
    let entry =
        track.sample_entries.get(usize::from(first.entry)).and_then(|entry| playable_entry(entry).ok());
    let Some(sample_entry) = entry else { return Ok(Err(ClipError::Reencode(ReencodeReason::Format))) };
    let (samples, edit) = mux_samples(track, &run, from, (start, end));
    Ok(Ok(ClipTrack {
        track: MuxTrack {
            kind: MuxTrackKind::Video {
                display_size: display_size(track, &sample_entry),
                matrix: track.matrix,
            },
            timescale: track.timescale,
            sample_entry,
            samples,
            edit: Some(edit),
            delay_ms: 0,
        },
        sources: run.iter().map(|sample| sample.offset..sample.offset + u64::from(sample.size)).collect(),
    }))
}

/// Whether samples of a track can be copied.
fn check_track(track: &Track) -> Result<(), ReencodeReason> {
    if track.codec != "h264" {
        return Err(ReencodeReason::Codec);
    }
    if !track.sample_prefix.is_empty() {
        return Err(ReencodeReason::Format);
    }
    if track.is_intra_refresh {
        return Err(ReencodeReason::Keyframes);
    }
    for entry in &track.sample_entries {
        playable_entry(entry)?;
    }
    Ok(())
}

/// Whether a run is complete and can be shown with one decoder and one edit.
fn check_run(track: &Track, run: &[Sample], from: i64, until: i64) -> Result<(), ClipError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Err(ClipError::Empty) };
    let entry = |sample: &Sample| track.sample_entries.get(usize::from(sample.entry));
    if run.iter().any(|sample| entry(sample) != entry(first)) {
        return Err(ClipError::Reencode(ReencodeReason::Configuration));
    }
    // Another span begins with a keyframe that is never shown, or the one before has frames after its end.
    let is_hidden = |sample: &Sample| sample.is_key && sample.pts < 0;
    let has_joint = run.iter().skip_while(|sample| sample.pts < 0).any(is_hidden);
    if has_joint || run.iter().any(|sample| sample.pts == i64::MAX) {
        return Err(ClipError::Reencode(ReencodeReason::Edits));
    }
    let shown = run.iter().map(|sample| sample.pts).max().unwrap_or(0);
    // The first frame of a Flash video is shown later than the video starts.
    let begins_late = first.dts > from && first.pts > track.video_start;
    if !first.is_key || begins_late {
        return Err(ClipError::Reencode(ReencodeReason::Keyframes));
    }
    let bytes = last.offset.abs_diff(first.offset);
    let missing = until.min(track.video_end).saturating_sub(shown);
    if bytes > MAX_RUN_BYTES && missing > i64::from(track.timescale) {
        return Err(ClipError::TooLarge);
    }
    Ok(())
}

/// Whether decoding can start at a sample with this beginning, whose units follow their lengths.
fn check_first_sample(head: &[u8], size: u32, nal_length_size: usize) -> Result<(), ReencodeReason> {
    if nal_length_size == 0 || !has_lengths(head, u64::from(size), nal_length_size) {
        return Err(ReencodeReason::Format);
    }
    match random_access("h264", head, nal_length_size) {
        RandomAccess::Point | RandomAccess::RecoveryPoint(0) | RandomAccess::Unknown => Ok(()),
        RandomAccess::RecoveryPoint(_) | RandomAccess::Dependent => Err(ReencodeReason::Keyframes),
    }
}

/// Whether the NAL units of a sample follow their lengths, by the beginning of the sample.
fn has_lengths(head: &[u8], size: u64, nal_length_size: usize) -> bool {
    let mut at = 0_u64;
    loop {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(length) = head.get(start..).and_then(|rest| rest.get(..nal_length_size)) else {
            return at <= size;
        };
        let length = length.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        at = at.saturating_add(nal_length_size as u64).saturating_add(length);
        if at > size {
            return false;
        }
    }
}

/// A sample entry as browsers accept it: with a configuration of a profile that they decode.
fn playable_entry(entry: &Bytes) -> Result<Bytes, ReencodeReason> {
    let record = child(entry, *b"avcC").ok_or(ReencodeReason::Format)?;
    let [1, profile, _, _, _, sets, ..] = record else { return Err(ReencodeReason::Format) };
    if !PROFILES.contains(profile) {
        return Err(ReencodeReason::Profile);
    }
    let kind = entry.get(4..8).ok_or(ReencodeReason::Format)?;
    let kind = match kind {
        // Without parameter sets in the record, they are in the samples: ISO 14496-15, 5.3.3.
        b"avc1" if sets % 32 == 0 => *b"avc3",
        b"avc1" | b"H264" | b"h264" | b"X264" | b"x264" => *b"avc1",
        b"avc3" => *b"avc3",
        _ => return Err(ReencodeReason::Format),
    };
    let mut entry = entry.to_vec();
    entry[4..8].copy_from_slice(&kind);
    Ok(entry.into())
}

/// The body of a child box of a sample entry.
fn child(entry: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    let mut rest = entry.get(CHILDREN_OFFSET..)?;
    loop {
        let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (found, others) = rest.split_at_checked(size.max(8))?;
        if found.get(4..8)? == kind {
            return found.get(8..);
        }
        rest = others;
    }
}

/// The size for `tkhd`: that of the source, or that of the coded frame with its pixel aspect ratio.
fn display_size(track: &Track, entry: &[u8]) -> [u32; 2] {
    if track.display_size.iter().all(|side| *side > 0) {
        return track.display_size;
    }
    let side = |at: usize| {
        entry.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |side| u16::from_be_bytes(*side))
    };
    let (width, height) = (u64::from(side(WIDTH_OFFSET)), u64::from(side(WIDTH_OFFSET + 2)));
    let ratio = child(entry, *b"pasp").and_then(|body| {
        let (wide, high) = (body.first_chunk()?, body.get(4..)?.first_chunk()?);
        let ratio = (u64::from(u32::from_be_bytes(*wide)), u64::from(u32::from_be_bytes(*high)));
        (ratio.0 > 0 && ratio.1 > 0).then_some(ratio)
    });
    let (wide, high) = ratio.unwrap_or((1, 1));
    let shown = u32::try_from((width << 16) * wide / high).unwrap_or((width << 16) as u32);
    [shown, (height << 16) as u32]
}

/// The samples with decoding times from 0 and composition offsets that are not negative, and the edit that presents
/// `start..end`. The frame that is shown at `from` is presented from `start` on: players would otherwise skip it, since
/// it begins before the edit, and begin with the next.
fn mux_samples(track: &Track, run: &[Sample], from: i64, (start, end): (i64, i64)) -> (Vec<MuxSample>, Edit) {
    let shown = |sample: &&Sample| sample.pts <= from;
    let earliest = || run.iter().min_by_key(|sample| sample.pts);
    let begin =
        run.iter().filter(shown).max_by_key(|sample| sample.pts).or_else(earliest).map(|sample| sample.pts);
    let presented = |sample: &Sample| if Some(sample.pts) == begin { start } else { sample.pts };
    let base = run.first().map_or(0, |first| first.dts);
    let lowest = run.iter().map(|sample| presented(sample).saturating_sub(sample.dts)).min().unwrap_or(0);
    let shift = lowest.min(0).saturating_neg();
    let latest = run.iter().map(presented).filter(|pts| *pts < end).max().unwrap_or(start);
    // The last frame is shown up to the end of the clip.
    let last_duration = end.saturating_sub(latest).max(frame_ticks(track)).max(1);
    let next = run.iter().skip(1).map(|next| Some(next.dts)).chain([None]);
    let samples = run
        .iter()
        .zip(next)
        .map(|(sample, next)| {
            let duration = next.map_or(last_duration, |next| next.saturating_sub(sample.dts));
            let offset = presented(sample).saturating_sub(sample.dts).saturating_add(shift);
            MuxSample {
                size: sample.size,
                duration: sample_ticks(duration),
                composition_offset: i32::try_from(offset).unwrap_or(i32::MAX),
                is_sync: sample.is_key,
            }
        })
        .collect();
    let media_time = start.saturating_sub(base).saturating_add(shift);
    let edit = Edit {
        media_time: u64::try_from(media_time).unwrap_or(0),
        duration: u64::try_from(end.saturating_sub(start)).unwrap_or(0),
    };
    (samples, edit)
}

/// The duration of a frame, in ticks; 0 if unknown.
fn frame_ticks(track: &Track) -> i64 {
    if track.fps > 0.0 { (f64::from(track.timescale) / track.fps) as i64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{ClipPlan, ClipRequest};
    use crate::demux::demuxer::IDENTITY_MATRIX;
    use crate::demux::mp4;

    /// A sample entry of this type with one box.
    fn entry(kind: [u8; 4], configuration: [u8; 4], record: &[u8]) -> Bytes {
        let mut body = vec![0; CHILDREN_OFFSET - 8];
        (body[7], body[25], body[27]) = (1, 160, 90);
        body.extend((record.len() as u32 + 8).to_be_bytes());
        body.extend(configuration);
        body.extend(record);
        [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, &body].concat().into()
    }

    /// Of this profile, with one parameter set of each kind.
    fn avc(profile: u8) -> Vec<u8> {
        vec![1, profile, 0, 30, 0xff, 0xe1, 0, 2, 0x67, profile, 1, 0, 1, 0x68]
    }

    /// A video whose samples are these, whatever is requested.
    #[derive(Debug)]
    struct Film {
        track: Track,
        run: Vec<Sample>,
    }

    impl Demuxer for Film {
        fn track(&self) -> &Track {
            &self.track
        }

        fn find_samples(
            &self,
            _buffer: &SparseBuffer,
            _requests: &[SampleRequest],
        ) -> Result<Vec<Vec<Sample>>, ReadError> {
            Ok(vec![self.run.clone()])
        }
    }

    /// A film of 10 s with 100 ticks per second, and samples with these presentation times, 4 ticks apart. Each has 6
    /// bytes.
    fn film(times: &[i64]) -> Film {
        let run = times.iter().zip(0..).map(|(pts, place)| Sample {
            offset: place * 6,
            size: 6,
            dts: times[0] - 4 + place.cast_signed() * 4,
            pts: *pts,
            is_key: place == 0,
            entry: 0,
        });
        let track = Track {
            codec: "h264",
            timescale: 100,
            sample_entries: vec![entry(*b"avc1", *b"avcC", &avc(100))],
            matrix: IDENTITY_MATRIX,
            display_size: [0; 2],
            duration: 1000,
            video_start: 0,
            video_end: 1000,
            fps: 25.0,
            sample_prefix: Bytes::new(),
            has_audio: false,
            keyframes: None,
            is_intra_refresh: false,
            crop: None,
            dolby_vision: None,
        };
        Film { track, run: run.collect() }
    }

    fn plan_clip(film: &Film, start_ms: u64, end_ms: u64) -> Result<ClipPlan, ClipError> {
        let source = Bytes::from([0, 0, 0, 2, 0x65, 0x88].repeat(film.run.len()));
        let mut buffer = SparseBuffer::new(source.len() as u64);
        buffer.insert(0, &source);
        crate::clip::plan(film, &buffer, ClipRequest { start_ms, end_ms, has_audio: true }).unwrap()
    }

    /// The presentation times of a clip in ticks, and its end.
    fn shown(film: &Film, start_ms: u64, end_ms: u64) -> (Vec<i64>, i64) {
        let plan = plan_clip(film, start_ms, end_ms).unwrap();
        let bytes = [&plan.header[..], &[0, 0, 0, 2, 0x65, 0x88].repeat(film.run.len())].concat();
        let mut buffer = SparseBuffer::new(bytes.len() as u64);
        buffer.insert(0, &bytes.into());
        let clip = mp4::open(&buffer).unwrap();
        assert_eq!(clip.track().display_size, [160 << 16, 90 << 16]);
        (clip.all_samples().unwrap().map(|sample| sample.pts).collect(), clip.track().duration)
    }

    #[test]
    fn frame_at_start_begins_with_the_clip() {
        let film = film(&[100, 112, 104, 108, 116]);
        assert_eq!(shown(&film, 1000, 1200), (vec![0, 12, 4, 8, 16], 20));
        // The frame at 1.08 s is shown at 1.1 s. What precedes it is only decoded.
        assert_eq!(shown(&film, 1100, 1200), (vec![-10, 2, -6, 0, 6], 10));
        assert_eq!(shown(&film, 1110, 1130), (vec![-11, 1, -7, 0, 5], 2));
    }

    #[test]
    fn last_frame_is_shown_up_to_the_end() {
        let film = film(&[100, 104, 108]);
        assert_eq!(shown(&film, 1000, 9000), (vec![0, 4, 8], 800));
        assert_eq!(shown(&film, 2000, 9000), (vec![-100, -96, 0], 700));
        assert_eq!(shown(&film, 9990, 99_000), (vec![-899, -895, 0], 1));
        assert_eq!(plan_clip(&film, 10_000, 99_000), Err(ClipError::Empty));
        assert_eq!(plan_clip(&film, 5000, 5000), Err(ClipError::Empty));
    }

    #[test]
    fn late_video_begins_with_its_first_frame() {
        let mut late = film(&[30, 34, 38]);
        late.track.video_start = 30;
        assert_eq!(shown(&late, 0, 500), (vec![0, 34, 38], 50));
        late.track.video_start = 0;
        assert_eq!(plan_clip(&late, 0, 500), Err(ClipError::Reencode(ReencodeReason::Keyframes)));
    }

    #[test]
    fn other_samples_are_encoded() {
        let check = |name: &str, change: &dyn Fn(&mut Film), reason: ReencodeReason| {
            let mut film = film(&[0, 4, 8]);
            change(&mut film);
            assert_eq!(plan_clip(&film, 0, 100), Err(ClipError::Reencode(reason)), "{name}");
        };
        check("codec", &|film| film.track.codec = "hevc", ReencodeReason::Codec);
        check("prefix", &|film| film.track.sample_prefix = Bytes::from_static(b"a"), ReencodeReason::Format);
        check("intra refresh", &|film| film.track.is_intra_refresh = true, ReencodeReason::Keyframes);
        check("no keyframe", &|film| film.run[0].is_key = false, ReencodeReason::Keyframes);
        check(
            "another entry",
            &|film| {
                film.track.sample_entries.push(entry(*b"avc1", *b"avcC", &avc(77)));
                film.run[2].entry = 1;
            },
            ReencodeReason::Configuration,
        );
        check("after the span", &|film| film.run[1].pts = i64::MAX, ReencodeReason::Edits);
        check(
            "before the next span",
            &|film| (film.run[2].pts, film.run[2].is_key) = (-5, true),
            ReencodeReason::Edits,
        );
        // Equal entries are one configuration.
        let mut film = film(&[0, 4, 8]);
        film.track.sample_entries.push(film.track.sample_entries[0].clone());
        film.run[2].entry = 1;
        assert!(plan_clip(&film, 0, 100).is_ok());
    }

    #[test]
    fn accepts_entries_that_browsers_decode() {
        let empty = [1, 66, 0, 30, 0xff, 0xe0, 0];
        for (kind, record, expected) in [
            (*b"avc1", &avc(100)[..], Ok(*b"avc1")),
            (*b"avc3", &avc(66), Ok(*b"avc3")),
            (*b"h264", &avc(77), Ok(*b"avc1")),
            (*b"avc1", &empty, Ok(*b"avc3")),
            (*b"avc1", &avc(110), Err(ReencodeReason::Profile)),
            (*b"avc1", &avc(244), Err(ReencodeReason::Profile)),
            (*b"avc2", &avc(100), Err(ReencodeReason::Format)),
            (*b"avc1", &[1, 100], Err(ReencodeReason::Format)),
        ] {
            let found = playable_entry(&entry(kind, *b"avcC", record));
            assert_eq!(found.map(|entry| entry[4..8].to_vec()), expected.map(|kind| kind.to_vec()));
        }
        assert_eq!(playable_entry(&entry(*b"avc1", *b"glbl", &avc(100))), Err(ReencodeReason::Format));
        assert_eq!(playable_entry(&Bytes::new()), Err(ReencodeReason::Format));
    }

    #[test]
    fn start_codes_and_dependent_pictures_are_refused() {
        for (name, head, size, expected) in [
            ("IDR", &[0, 0, 0, 2, 0x65, 0x88][..], 6, Ok(())),
            ("only its beginning", &[0, 0, 0, 90, 0x65, 0x88], 94, Ok(())),
            ("start codes", &[0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x65], 12, Err(ReencodeReason::Format)),
            ("too long", &[0, 0, 0, 9, 0x65, 0x88], 6, Err(ReencodeReason::Format)),
            ("P", &[0, 0, 0, 3, 0x41, 0x98, 0x80], 7, Err(ReencodeReason::Keyframes)),
        ] {
            assert_eq!(check_first_sample(head, size, 4), expected, "{name}");
        }
        assert_eq!(check_first_sample(&[0, 0, 1, 0x65], 4, 0), Err(ReencodeReason::Format));
    }

    #[test]
    fn display_size_has_the_pixel_aspect() {
        let track = film(&[0]).track;
        let ratio = |wide: u32, high: u32| {
            let entry = entry(*b"avc1", *b"pasp", &[wide.to_be_bytes(), high.to_be_bytes()].concat());
            display_size(&track, &entry).map(|side| side >> 16)
        };
        assert_eq!(ratio(4, 3), [213, 90]);
        assert_eq!(ratio(0, 0), [160, 90]);
        assert_eq!(ratio(u32::MAX, 1), [160, 90]);
    }
}
