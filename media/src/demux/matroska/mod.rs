//! Decides what a Matroska or WebM file shows and where it lies: RFC 8794 (EBML) and RFC 9559 (Matroska).
//!
//! The cues tell where keyframes are; around the wanted ones, headers of blocks are read. A file without cues that
//! hold is read whole if it is small, and else searched for clusters. Nothing is recursive, and no memory is taken
//! but in proportion to bytes that are known.

mod bisect;
mod block;
mod cluster;
mod codec;
mod collector;
mod cue_seek;
mod cues;
mod ebml;
mod first_cluster;
mod full_index;
mod ids;
mod resync;
mod sample_entry;
mod segment;
mod timestamps;
mod track;
mod video;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::budget::PARSED_PER_STEP;
use crate::demux::buffer::{Fault, Known, held};
use crate::demux::demuxer::{Aim, Movie, Sample, Track, Want, nal_length};
use crate::demux::index::{VERIFIED_HEAD, VERIFIED_WHOLE};
use crate::demux::matroska::cluster::{Reader, Step, Walk};
use crate::demux::matroska::codec::Codec;
use crate::demux::matroska::cue_seek::Finder;
use crate::demux::matroska::cues::Cue;
use crate::demux::matroska::first_cluster::Opening;
use crate::demux::matroska::full_index::{Index, Judge};
use crate::demux::matroska::resync::Place;
use crate::demux::matroska::segment::Head;
use crate::demux::matroska::timestamps::Clock;
use crate::demux::matroska::track::Chosen;

/// How large files may be to be read through.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Always: they are known whole from the beginning on.
    known: u64,
    /// If they have no cues.
    asked: u64,
}

const LIMITS: Limits = Limits { known: 1 << 20, asked: 8 << 20 };
/// How much of a file's end is looked at for its last cluster, one after another.
const TAILS: [u64; 4] = [256 << 10, 1 << 20, 4 << 20, 16 << 20];
/// Where so much time follows the last cue, in seconds, it is looked whether pictures do: in so many bytes.
const LONG_GOP: i64 = 15;
const AFTER_LAST_CUE: u64 = 2 << 20;
/// Cues that stand farther apart than this on average are no index, in seconds.
const MAX_CUE_DISTANCE: i64 = 30;

/// A file whose head was read.
#[derive(Debug, Clone)]
pub struct Matroska {
    track: Track,
    codec: Codec,
    reader: Reader,
    patience: usize,
    keyframe: u64,
    cues: Vec<Cue>,
    index: Option<Index>,
    first: Place,
    end: Place,
}

/// Reads the head of a file: what it shows, and its index.
///
/// # Errors
/// What is missing, or why the file is refused or left to the relay.
pub fn open(known: &Known) -> Result<Matroska, Fault> {
    merged(known, open_within(known, LIMITS))
}

/// The codec of the first track of pictures: of a file that is refused for it.
///
/// # Errors
/// What is missing.
pub fn codec_name(known: &Known) -> Result<Option<String>, Fault> {
    Ok(track::codec_name(&merged(known, segment::read(known))?.tracks))
}

fn open_within(known: &Known, limits: Limits) -> Result<Matroska, Fault> {
    let head = segment::read(known)?;
    let parsed = head.info.len() + head.tracks.len() + head.cues.as_ref().map_or(0, Bytes::len);
    known.budget().spend(parsed as u64 / PARSED_PER_STEP)?;
    let chosen = track::choose(&head.tracks)?;
    let info = Info::read(&head.info);
    let clock = Clock::new(info.scale);
    let declared = clock.duration(info.duration).filter(|_| !head.is_cut);
    if declared.is_some_and(|ticks| is_too_long(&clock, ticks)) {
        return Err(Fault::Refused(Code::TooLong));
    }
    // Whether it has what its codec needs; how its frames are laid out, their bytes will tell.
    let mut entries =
        vec![sample_entry::write(&chosen, false).or_else(|_| sample_entry::write(&chosen, true))?];
    let frame_ticks = clock.nanoseconds(i128::from(chosen.default_duration));
    let mut reader = Reader {
        track: chosen.number,
        codec: Some(chosen.codec).filter(|_| chosen.prefix.is_empty()),
        nal_length: nal_length(&entries),
        verifies: false,
        clock,
        frame_ticks,
        end: head.segment.end,
    };

    let mut cues = match &head.cues {
        Some(body) => cues::read(body, &head.segment, chosen.number, &clock),
        None => Vec::new(),
    };
    let first = first_cluster(&head, &cues)?;
    if !is_index(&cues, &clock, declared) {
        cues.clear();
    }
    let reads_all =
        reader.end - first <= limits.known || (cues.is_empty() && reader.end - first <= limits.asked);
    if reads_all {
        let gaps = known.gaps(first..reader.end);
        if !gaps.is_empty() {
            return Err(Fault::Missing(gaps));
        }
    }

    let cue = cues.last().filter(|_| !reads_all);
    let Ends { opening, tail, last } = ends(known, reader, first, &chosen, (cue, declared, reads_all))?;
    if let Some(entry) = entry_of_frames(known, &chosen, &opening, reader.nal_length)? {
        entries = vec![entry];
        reader.nal_length = nal_length(&entries);
    }
    // No frame is called a keyframe, not even the first: that is for the frames to say.
    reader.verifies = !opening.frames.is_empty() && opening.frames.iter().all(|frame| !frame.is_key);
    let judge = Judge { codec: chosen.codec, prefix: &chosen.prefix, nal_length: reader.nal_length };
    let mut index = if reads_all { Some(Index::read(known, reader, first, &judge)?) } else { None };

    let origin = opening.origin;
    reader.clock.origin = origin;
    for cue in &mut cues {
        cue.time -= origin;
    }
    if let Some(index) = &mut index {
        index.rebase(origin);
    }
    let duration = match (declared, &index) {
        (Some(declared), _) => net(declared, origin, &cues, index.as_ref()),
        (None, Some(index)) => index.end(frame_ticks).max(index.latest),
        (None, None) => tail.map_or(0, |tail| tail.time - origin),
    }
    .max(0);
    if is_too_long(&reader.clock, duration) {
        return Err(Fault::Refused(Code::TooLong));
    }
    let last_picture = index.as_ref().map(|index| index.end(frame_ticks)).or(last.map(|time| time - origin));
    let picture_end = last_picture.map_or(duration, |end| end.clamp(0, duration));
    let frames = index.as_ref().map_or(&opening.frames, |index| &index.frames);
    let declared_rate = 1e9 / chosen.default_duration as f64;
    let fps =
        if declared_rate <= 1000.0 { declared_rate } else { first_cluster::rate(frames, clock.timescale) };
    let keyframes = match &index {
        Some(index) => Some(index.keys.iter().map(|(time, _)| *time).collect()),
        None => (!cues.is_empty()).then(|| cues.iter().map(|cue| cue.time).collect()),
    };
    let first_time = opening.frames.first().map_or(0, |frame| frame.pts - origin);
    Ok(Matroska {
        track: Track {
            codec: chosen.codec.name(),
            timescale: clock.timescale,
            entries,
            matrix: chosen.video.matrix(),
            display: [0; 2],
            duration,
            picture_begin: first_time.clamp(0, picture_end),
            picture_end,
            fps,
            prefix: chosen.prefix,
            has_audio: chosen.has_audio,
            keyframes,
            gradual: index.as_ref().is_some_and(|index| !index.gradual.is_empty()),
            crop: chosen.video.crop(),
            dolby_vision: chosen.dolby_vision,
        },
        codec: chosen.codec,
        reader,
        patience: chosen.codec.patience(),
        keyframe: opening.frames.iter().find(|frame| frame.is_key).map_or(0, |frame| u64::from(frame.size)),
        cues,
        index,
        first: Place { at: first, time: first_time },
        end: Place { at: tail.map_or(head.segment.end, |tail| tail.at), time: duration },
    })
}

/// What the beginning and the end of a file tell.
struct Ends {
    opening: Opening,
    /// The last cluster, where no length is declared.
    tail: Option<Place>,
    /// When the last picture ends, where sound goes on behind it.
    last: Option<i64>,
}

/// Reads the first frames of a file, and its end where that is needed. All that is missing for them is asked for at once.
fn ends(
    known: &Known,
    reader: Reader,
    first: u64,
    chosen: &Chosen,
    (cue, declared, reads_all): (Option<&Cue>, Option<i64>, bool),
) -> Result<Ends, Fault> {
    let mut missing = Vec::new();
    let opening = held(first_cluster::read(known, reader, first, chosen.has_audio), &mut missing)?;
    let tail = if reads_all || declared.is_some() {
        None
    } else {
        held(tail(known, reader, first), &mut missing)?.flatten()
    };
    let long = reader.clock.seconds(LONG_GOP);
    let last = match cue {
        Some(cue) if declared.is_some_and(|end| end - cue.time > long) => {
            held(last_picture(known, reader, cue), &mut missing)?.flatten()
        }
        _ => None,
    };
    let opening = opening.filter(|_| missing.is_empty()).ok_or(Fault::Missing(missing))?;
    Ok(Ends { opening, tail, last })
}

/// The sample entry of a track whose frames tell how their NAL units are laid out; none if they have no such units.
fn entry_of_frames(
    known: &Known,
    chosen: &Chosen,
    opening: &Opening,
    nal_length: usize,
) -> Result<Option<Bytes>, Fault> {
    let is_of_units = matches!(chosen.codec, Codec::H264 | Codec::Hevc);
    let Some(frame) = opening.frames.first().filter(|_| is_of_units) else { return Ok(None) };
    let head = known.available(frame.offset..frame.offset + u64::from(frame.size).min(VERIFIED_HEAD));
    let head = [&chosen.prefix[..], &head].concat();
    let size = u64::from(frame.size) + chosen.prefix.len() as u64;
    sample_entry::write(chosen, sample_entry::has_start_codes(&head, size, nal_length)).map(Some)
}

fn is_too_long(clock: &Clock, ticks: i64) -> bool {
    u64::try_from(clock.milliseconds(ticks)).is_ok_and(|length| length > limits::MAX_DURATION_MS)
}

/// What `Info` says.
#[derive(Debug, Clone, Copy)]
struct Info {
    scale: u64,
    duration: f64,
}

impl Info {
    fn read(body: &[u8]) -> Self {
        let mut info = Self { scale: 0, duration: 0.0 };
        for (id, body) in ebml::children(body) {
            match id {
                ids::TIMESTAMP_SCALE => info.scale = ebml::uint(body),
                ids::DURATION => info.duration = ebml::float(body),
                _ => {}
            }
        }
        info
    }
}

/// Where the first cluster begins: as met, or the first that the cues name.
fn first_cluster(head: &Head, cues: &[Cue]) -> Result<u64, Fault> {
    head.first_cluster
        .or_else(|| cues.iter().map(|cue| cue.cluster).min())
        .ok_or(Fault::Refused(Code::Truncated))
}

/// Whether cues tell where keyframes are, all over the file: they do not stand too far apart on average.
fn is_index(cues: &[Cue], clock: &Clock, duration: Option<i64>) -> bool {
    let (Some(first), Some(last)) = (cues.first(), cues.last()) else { return false };
    let length = duration.unwrap_or(last.time - first.time);
    length / i64::try_from(cues.len()).unwrap_or(i64::MAX) <= MAX_CUE_DISTANCE * i64::from(clock.timescale)
}

/// The length of a file that begins at `origin`: some writers count it from there, some from the zero of their clock.
fn net(declared: i64, origin: i64, cues: &[Cue], index: Option<&Index>) -> i64 {
    let last = cues.last().map(|cue| cue.time).max(index.map(|index| index.end(0)));
    if last.is_some_and(|last| last + origin > declared) { declared } else { declared - origin }
}

/// When the last picture of a file ends, whose sound goes on long after its last cue; none if that is not soon after it.
fn last_picture(known: &Known, reader: Reader, cue: &Cue) -> Result<Option<i64>, Fault> {
    let until = cue.cluster.saturating_add(AFTER_LAST_CUE).min(reader.end);
    let gaps = known.gaps(cue.cluster..until);
    if !gaps.is_empty() {
        return Err(Fault::Missing(gaps));
    }
    let mut walk = Walk::new(known, reader, cue.cluster);
    let (mut end, mut at) = (None, cue.cluster);
    while let Step::Frame(frame) = walk.next() {
        if frame.offset >= until {
            break;
        }
        end = end.max(Some(frame.pts.saturating_add(reader.frame_ticks.max(1))));
        at = frame.offset;
    }
    Ok(end.filter(|_| until == reader.end || at < cue.cluster + AFTER_LAST_CUE / 2))
}

/// The last cluster of a file, and the time at which its last frame ends.
fn tail(known: &Known, reader: Reader, first: u64) -> Result<Option<Place>, Fault> {
    for length in TAILS {
        let from = reader.end.saturating_sub(length).max(first);
        let gaps = known.gaps(from..reader.end);
        if !gaps.is_empty() {
            return Err(Fault::Missing(gaps));
        }
        if let Some(place) = resync::last(known, reader, from, reader.end) {
            let mut end = place.time;
            let mut walk = Walk::new(known, reader, place.at);
            while let Step::Frame(frame) = walk.next() {
                end = end.max(frame.pts.saturating_add(reader.frame_ticks.max(1)));
            }
            end = end.max(walk.latest());
            return Ok(Some(Place { at: place.at, time: end }));
        }
        if from == first {
            break;
        }
    }
    Ok(None)
}

impl Movie for Matroska {
    fn track(&self) -> &Track {
        &self.track
    }

    fn verified(&self, known: &Known) -> Result<Option<Box<dyn Movie>>, Fault> {
        if self.index.is_some() {
            // Its keyframes are those of the frames.
            return Ok(None);
        }
        let mut movie = self.clone();
        if self.reader.end - self.first.at <= VERIFIED_WHOLE {
            let Track { prefix, .. } = &self.track;
            let judge = Judge { codec: self.codec, prefix, nal_length: self.reader.nal_length };
            let index = Index::read(known, self.reader, self.first.at, &judge)?;
            movie.track.keyframes = Some(index.keys.iter().map(|(time, _)| *time).collect());
            movie.track.gradual = !index.gradual.is_empty();
            movie.index = Some(index);
        } else {
            // Cues still tell where clusters are.
            movie.reader.verifies = true;
            movie.track.keyframes = None;
        }
        Ok(Some(Box::new(movie)))
    }

    fn runs(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        if let Some(index) = &self.index {
            let budget = known.budget();
            return wants.iter().map(|want| index.run(want, self.patience, budget)).collect();
        }
        merged(known, self.find(known, wants))
    }
}

impl Matroska {
    fn find(&self, known: &Known, wants: &[Want]) -> Result<Vec<Vec<Sample>>, Fault> {
        let finder = Finder {
            known,
            reader: self.reader,
            cues: &self.cues,
            first: self.first,
            end: self.end,
            patience: self.patience,
            keyframe: self.keyframe,
        };
        let mut missing = Vec::new();
        let mut runs = vec![Vec::new(); wants.len()];
        let mut lost = Vec::new();
        for (place, want) in wants.iter().enumerate() {
            match held(finder.by_cues(want), &mut missing)? {
                Some(Some(run)) => runs[place] = run,
                Some(None) => lost.push(place),
                None => {}
            }
        }
        let searched: Vec<Want> = lost.iter().filter_map(|place| wants.get(*place).copied()).collect();
        if !searched.is_empty()
            && let Some(found) = held(finder.by_search(&searched), &mut missing)?
        {
            for (place, run) in lost.into_iter().zip(found) {
                runs[place] = run;
            }
        }
        if missing.is_empty() { Ok(runs) } else { Err(Fault::Missing(missing)) }
    }
}

/// Reads any bytes as a file, from its head to a few moments of it, as a driver does that fetches what is missing.
/// For fuzzing: it ends, whatever they are, and what it gives lies inside of the file.
pub fn survive(bytes: &[u8]) {
    survive_within(bytes, LIMITS);
    // As if the file were a large one, with cues and without.
    survive_within(bytes, Limits { known: 0, asked: LIMITS.asked });
    survive_within(bytes, Limits { known: 0, asked: 0 });
}

fn survive_within(bytes: &[u8], limits: Limits) {
    const ROUNDS: usize = 64;
    let source = Bytes::copy_from_slice(bytes);
    let mut known = Known::new(source.len() as u64);
    known.learn(0, &source.slice(..source.len().min(4096)));
    for _ in 0..ROUNDS {
        let answer = merged(&known, open_within(&known, limits)).and_then(|movie| {
            let length = movie.track().duration;
            let want = |aim, from: i64, long: i64| Want { from, until: from.saturating_add(long), aim };
            let runs = movie.runs(
                &known,
                &[
                    want(Aim::Keyframe, 0, 0),
                    want(Aim::Keyframe, length / 2, length / 8),
                    want(Aim::Exact, length / 3, 0),
                    want(Aim::Exact, length.saturating_mul(3) / 4, 1000),
                ],
            )?;
            for sample in runs.iter().flatten() {
                assert!(
                    sample.size > 0 && sample.offset + u64::from(sample.size) <= known.total(),
                    "{sample:?}"
                );
            }
            Ok(())
        });
        let Err(Fault::Missing(ranges)) = answer else { return };
        assert!(!ranges.is_empty(), "nothing is missing");
        for range in ranges {
            assert!(range.start < range.end && range.end <= known.total(), "{range:?}");
            assert!(!known.gaps(range.clone()).is_empty(), "{range:?} is known");
            known.learn(range.start, &source.slice(range.start as usize..range.end as usize));
        }
    }
    panic!("more than {ROUNDS} round trips");
}

/// Makes missing ranges ascend without touching each other. Without a budget no answer is believed.
fn merged<T>(known: &Known, result: Result<T, Fault>) -> Result<T, Fault> {
    let result = known.within_budget(result);
    let Err(Fault::Missing(mut ranges)) = result else { return result };
    ranges.retain(|range| range.start < range.end);
    if ranges.is_empty() {
        // Nothing that could be read would help.
        return Err(Fault::Refused(Code::Truncated));
    }
    Err(Fault::all_missing(ranges))
}
