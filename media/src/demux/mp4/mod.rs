//! Demuxes MP4, QuickTime and 3GP by their index: ISO 14496-12 and the QuickTime File Format. Progressive files, with
//! the index at either end, and fragmented ones.
//!
//! The cost of parsing is bounded by the size of the file: declared sizes are limited to the available bytes, nesting
//! is followed to a fixed depth without recursion, and other files are never opened.

mod audio;
mod audio_entry;
mod boxes;
mod codec;
mod edit_list;
mod fragment_index;
mod fragment_seek;
mod fragmented;
mod movie;
mod sample_entry;
mod sample_table;
mod top_level;
mod track_fragment;

use std::ops::Range;

use bytes::Bytes;
use glimpse_contract::{Code, limits};

use crate::demux::aac;
use crate::demux::audio::AudioRun;
use crate::demux::budget::PARSED_BYTES_PER_STEP;
use crate::demux::buffer::SparseBuffer;
use crate::demux::demuxer::{Demuxer, Sample, SampleRequest, Track};
use crate::demux::error::{ReadError, collect_missing};
use crate::demux::index::{EditedIndex, PresentedSpan, SampleIndex};
use crate::demux::mp4::audio::MovieLocation;
use crate::demux::mp4::fragment_seek::{FragmentScan, FragmentSeeker};
use crate::demux::mp4::track_fragment::FragmentSamples;
use crate::mux::boxes::write_box;

/// A file whose index was read.
#[derive(Debug, Clone)]
pub struct Mp4 {
    track: Track,
    samples: Mp4Samples,
    /// The movie, from which the audio track is read on request.
    movie: MovieLocation,
}

/// The known samples.
#[derive(Debug, Clone)]
enum Mp4Samples {
    All(Box<SampleIndex>),
    /// Spans of samples, as an edit list arranges them.
    Edited(Box<EditedIndex>),
    /// A large file, whose samples are read on request.
    Fragments(Box<FragmentSeeker>),
}

/// Reads the index of a file.
///
/// # Errors
/// The bytes that are missing, or the reason why the file is rejected or left to ffmpeg.
pub fn open(buffer: &SparseBuffer) -> Result<Mp4, ReadError> {
    buffer.check_budget(read(buffer))
}

fn read(buffer: &SparseBuffer) -> Result<Mp4, ReadError> {
    let top_level = top_level::find_moov(buffer)?;
    let moov = buffer.get(top_level.moov.clone())?;
    buffer.budget().spend(moov.len() as u64 / PARSED_BYTES_PER_STEP)?;
    let movie_box = movie::parse(&moov, top_level.is_truncated)?;
    let track_samples = match &movie_box.extends {
        Some(extends) => fragmented::read(buffer, &top_level, &movie_box, extends)?,
        None => None,
    };
    let TrackSamples { samples, video_end: video_end_tick, audio_end: audio_end_tick, fps, clock_start } =
        match track_samples {
            Some(found) => found,
            None => read_progressive(buffer, &movie_box)?,
        };
    let timescale = movie_box.track.timescale;
    let picture_end = video_end_tick.max(0);
    // An audio clock that exceeds the maximum duration of videos is ignored.
    let longest =
        i64::try_from(limits::MAX_DURATION_MS / 1000).unwrap_or(i64::MAX).saturating_mul(timescale.into());
    let duration = if audio_end_tick > longest { picture_end } else { picture_end.max(audio_end_tick) };
    if duration / i64::from(timescale) > (limits::MAX_DURATION_MS / 1000).cast_signed() {
        return Err(ReadError::Rejected(Code::TooLong));
    }
    let keyframes = match &samples {
        Mp4Samples::All(index) => Some(index.key_times()),
        Mp4Samples::Edited(edited) => Some(edited.key_times()),
        Mp4Samples::Fragments(_) => None,
    };
    let picture_begin = match &samples {
        Mp4Samples::All(index) => index.start(),
        Mp4Samples::Edited(edited) => edited.start(),
        Mp4Samples::Fragments(fragments) => fragments.span.presentation_start,
    };
    let first_entry = movie_box.sample_entries.first();
    let crop = first_entry.and_then(|picture| picture.crop);
    let mut track = Track {
        codec: movie_box.sample_entries.first().map_or("", |picture| picture.codec),
        timescale,
        sample_entries: movie_box
            .sample_entries
            .iter()
            .map(sample_entry::VisualSampleEntry::to_bytes)
            .collect(),
        matrix: movie_box.matrix,
        display_size: movie_box.track.display,
        duration,
        video_start: picture_begin.clamp(0, picture_end),
        video_end: picture_end,
        fps,
        sample_prefix: Bytes::new(),
        has_audio: movie_box.has_audio,
        keyframes,
        is_intra_refresh: false,
        crop,
        dolby_vision: first_entry.and_then(|picture| picture.dolby_vision),
    };
    let is_full_size = |first: &sample_entry::VisualSampleEntry| {
        track.display_size == [first.width, first.height].map(|side| u32::from(side) << 16)
    };
    if let (Some(crop), Some(first)) = (crop, first_entry.filter(|first| !is_full_size(first))) {
        // The track header contains the size of the visible part (QuickTime File Format, "Track header"); scale it to
        // the whole frame. Some writers store the size of the whole frame there.
        let scale_to_full = |side: u32, all: u16, shown: u32| {
            u32::try_from(u64::from(side) * u64::from(all) / u64::from(shown)).unwrap_or(side)
        };
        let [width, height] = track.display_size;
        track.display_size =
            [scale_to_full(width, first.width, crop.width), scale_to_full(height, first.height, crop.height)];
    }
    let movie = MovieLocation { moov: top_level.moov, is_truncated: top_level.is_truncated, clock_start };
    let mut mp4 = Mp4 { track, samples, movie };
    let has_keyframes = match &mp4.samples {
        Mp4Samples::All(index) => index.has_keys(),
        Mp4Samples::Edited(edited) => edited.has_keys(),
        Mp4Samples::Fragments(_) => true,
    };
    if !has_keyframes {
        mp4 = mp4.with_bitstream_keyframes(buffer)?;
    }
    Ok(mp4)
}

/// The codec of the first video track, for a file that is rejected because of it.
///
/// # Errors
/// The bytes that are missing.
pub fn codec_name(buffer: &SparseBuffer) -> Result<Option<String>, ReadError> {
    let top_level = top_level::find_moov(buffer)?;
    let moov = buffer.get(top_level.moov)?;
    buffer.budget().spend(moov.len() as u64 / PARSED_BYTES_PER_STEP)?;
    Ok(movie::codec_name(&moov))
}

/// Builds a sample entry for frames of this size with this decoder configuration record (of `avcC`, `hvcC` or `av1C`);
/// `None` if the record is invalid.
pub(super) fn write_sample_entry(codec: &str, [width, height]: [u16; 2], record: &[u8]) -> Option<Bytes> {
    let (kind, configuration) = match codec {
        "h264" => (*b"avc1", *b"avcC"),
        "hevc" => (*b"hvc1", *b"hvcC"),
        "av1" => (*b"av01", *b"av1C"),
        _ => return None,
    };
    let mut body = [0; 78];
    body[7] = 1;
    body[24..26].copy_from_slice(&width.to_be_bytes());
    body[26..28].copy_from_slice(&height.to_be_bytes());
    // 72 dots per inch, one frame per sample, 24 bits, no color table: ISO 14496-12, 12.1.3.
    (body[29], body[33], body[41], body[75], body[76], body[77]) = (0x48, 0x48, 1, 24, 0xff, 0xff);
    let mut body = body.to_vec();
    write_box(&mut body, configuration, |out| out.extend_from_slice(record));
    let sample_entry::SampleEntry::Visual(visual_entry) = sample_entry::parse(kind, &body, &[true]) else {
        return None;
    };
    let bytes = visual_entry.to_bytes();
    // Invalid records are not written to an entry.
    bytes.windows(4).any(|word| word == configuration).then_some(bytes)
}

/// Builds the sample entry of an AAC stream with this `AudioSpecificConfig`; `None` if it is invalid.
pub(super) fn write_audio_entry(config: &[u8]) -> Option<Bytes> {
    let aac = aac::parse(config)?;
    let entry = audio_entry::AacEntry { object_type: audio_entry::MPEG4_AUDIO, config, aac };
    Some(entry.to_bytes())
}

/// The samples of a file, and values that are computed from them.
struct TrackSamples {
    samples: Mp4Samples,
    /// End of the last frame, and end of the audio, in ticks.
    video_end: i64,
    audio_end: i64,
    fps: f64,
    /// The time of a stream's clock at which the presentation starts, in ticks; 0 for other files.
    clock_start: i64,
}

/// Frames per second, for `count` frames in `ticks`.
fn frame_rate(count: usize, ticks: i64, timescale: u32) -> f64 {
    if ticks > 0 { count as f64 * f64::from(timescale) / ticks as f64 } else { 0.0 }
}

/// Reads the samples of a file whose sample tables are complete.
fn read_progressive(buffer: &SparseBuffer, movie: &movie::MovieBox<'_>) -> Result<TrackSamples, ReadError> {
    let track_box = &movie.track;
    let spans =
        edit_list::parse(track_box.elst, track_box.timescale, (movie.timescale, movie.start_delay), false)?;
    let read = sample_table::parse(track_box.stbl, &movie.entry_indices, buffer)?;
    // A truncated file ends with its last frame.
    let audio_end_tick = if read.is_truncated { 0 } else { audio_end(movie, buffer.total_bytes()) };
    let track_samples = build_samples(
        FragmentSamples {
            index: read.index,
            next_dts: 0,
            last_duration: read.last_duration,
            count: read.count,
            ticks: read.total_ticks,
        },
        &spans,
        track_box,
        buffer,
    )?;
    Ok(TrackSamples { audio_end: audio_end_tick, ..track_samples })
}

/// End of the audio, in ticks of the selected track; not later than the declared end of the movie.
fn audio_end(movie: &movie::MovieBox<'_>, total: u64) -> i64 {
    let to = movie.track.timescale;
    let end = |trak: &movie::TrackBox<'_>| {
        let ticks = sample_table::total_ticks(trak.stbl, total)?;
        let end = edit_list::presentation_end(
            trak.elst,
            trak.timescale,
            (movie.timescale, movie.start_delay),
            ticks,
        );
        Some(edit_list::rescale(u64::try_from(end).unwrap_or(0), to, trak.timescale))
    };
    let declared = edit_list::rescale(movie.duration.saturating_sub(movie.start_delay), to, movie.timescale);
    let last = movie.audio_tracks.iter().filter_map(end).max().unwrap_or(0);
    if declared > 0 { last.min(declared) } else { last }
}

fn build_samples(
    run: FragmentSamples,
    spans: &[PresentedSpan],
    track_box: &movie::TrackBox<'_>,
    buffer: &SparseBuffer,
) -> Result<TrackSamples, ReadError> {
    let FragmentSamples { mut index, last_duration: last, count, ticks, .. } = run;
    if index.is_empty() {
        return Err(ReadError::Rejected(Code::Truncated));
    }
    let fps = frame_rate(count, ticks, track_box.timescale);
    if let [only] = spans {
        index.map_to_presentation(*only, last);
        return Ok(TrackSamples {
            video_end: index.end(),
            samples: Mp4Samples::All(Box::new(index)),
            audio_end: 0,
            fps,
            clock_start: 0,
        });
    }
    let edited = EditedIndex::new(index, spans.to_vec(), last, buffer)?;
    Ok(TrackSamples {
        video_end: edited.end(),
        samples: Mp4Samples::Edited(Box::new(edited)),
        audio_end: 0,
        fps,
        clock_start: 0,
    })
}

impl Mp4 {
    /// The same file with keyframes detected from the samples themselves.
    fn with_bitstream_keyframes(mut self, buffer: &SparseBuffer) -> Result<Self, ReadError> {
        match &mut self.samples {
            Mp4Samples::All(index) => {
                index.verify_keyframes(buffer, self.track.codec, self.track.nal_length_size())?;
                self.track.keyframes = Some(index.key_times());
                self.track.is_intra_refresh = index.is_intra_refresh();
            }
            Mp4Samples::Edited(edited) => {
                edited.verify_keyframes(buffer, self.track.codec, self.track.nal_length_size())?;
                self.track.keyframes = Some(edited.key_times());
            }
            Mp4Samples::Fragments(fragments) => fragments.context.verify_keyframes = true,
        }
        Ok(self)
    }

    /// All samples, in decoding order, if all of them are known.
    pub fn all_samples(&self) -> Option<impl Iterator<Item = Sample>> {
        match &self.samples {
            Mp4Samples::All(index) => Some(index.samples()),
            Mp4Samples::Edited(_) | Mp4Samples::Fragments(_) => None,
        }
    }
}

impl Demuxer for Mp4 {
    fn track(&self) -> &Track {
        &self.track
    }

    fn with_verified_keyframes(&self, buffer: &SparseBuffer) -> Result<Option<Box<dyn Demuxer>>, ReadError> {
        self.clone().with_bitstream_keyframes(buffer).map(|movie| Some(Box::new(movie) as Box<dyn Demuxer>))
    }

    fn find_samples(
        &self,
        buffer: &SparseBuffer,
        wants: &[SampleRequest],
    ) -> Result<Vec<Vec<Sample>>, ReadError> {
        let fragments = match &self.samples {
            Mp4Samples::All(index) => {
                return wants.iter().map(|want| index.find_samples(*want, buffer.budget())).collect();
            }
            Mp4Samples::Edited(edited) => {
                return wants.iter().map(|want| edited.find_samples(*want, buffer.budget())).collect();
            }
            Mp4Samples::Fragments(fragments) => fragments,
        };
        let (mut search, mut cache) = (FragmentScan::default(), None);
        let (mut runs, mut missing) = (Vec::with_capacity(wants.len()), Vec::new());
        for want in wants {
            runs.extend(collect_missing(
                fragments.find_samples(buffer, *want, &mut search, &mut cache),
                &mut missing,
            )?);
        }
        buffer.check_budget(if missing.is_empty() {
            Ok(runs)
        } else {
            Err(ReadError::from_missing_ranges(missing))
        })
    }

    fn find_audio(&self, buffer: &SparseBuffer, range_ms: Range<u64>) -> Result<Option<AudioRun>, ReadError> {
        let seeker = match &self.samples {
            Mp4Samples::Fragments(seeker) => Some(&**seeker),
            Mp4Samples::All(_) | Mp4Samples::Edited(_) => None,
        };
        buffer.check_budget(audio::read(buffer, &self.movie, (self.track.timescale, seeker), range_ms))
    }
}
