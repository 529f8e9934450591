//! Reads the samples of an AAC track: the blocks between those of the video. Matroska has no index of them, so that all
//! clusters of the requested time are read.

use std::ops::Range;

use bytes::Bytes;

use crate::demux::aac;
use crate::demux::audio::{self, AudioRun, AudioSample, AudioTrack, SampleClock};
use crate::demux::error::ReadError;
use crate::demux::matroska::cluster::{ClusterContext, ClusterEvent, ClusterReader};
use crate::demux::matroska::cue_seek::{CLUSTER_HEADER_BYTES, MAX_RUN_BYTES, MIN_MORE_BYTES, MatroskaSeeker};
use crate::demux::matroska::ebml::{children, parse_float, parse_uint};
use crate::demux::matroska::ids;
use crate::demux::mp4;

/// Nanoseconds per second.
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// How many earlier cues are tried if the audio begins after the requested time: its block may be in the cluster before
/// that of the keyframe.
const MAX_CUES_BACK: usize = 2;
/// How many seconds of other tracks after the requested time are read: audio may be stored later than video.
const MAX_LAG_SECS: i64 = 2;
/// How many seconds before the requested time the search without cues begins.
const LEAD_SECS: i64 = 1;
/// The most samples of a run: an hour at 48 kHz.
const MAX_RUN_SAMPLES: usize = 1 << 18;

/// The parsed fields of `Audio`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct AudioElement {
    sampling_frequency: f64,
    channels: u64,
}

/// Parses the body of an `Audio` element: RFC 9559, 5.1.4.1.29.
pub(super) fn parse(body: &[u8]) -> AudioElement {
    let mut audio = AudioElement { sampling_frequency: 8000.0, channels: 1 };
    for (id, body) in children(body) {
        match id {
            ids::SAMPLING_FREQUENCY => audio.sampling_frequency = parse_float(body),
            ids::CHANNELS => audio.channels = parse_uint(body),
            _ => {}
        }
    }
    audio
}

/// An AAC track.
#[derive(Debug, Clone)]
pub(super) struct AacTrack {
    /// The track number in its blocks.
    pub(super) number: u64,
    track: AudioTrack,
    /// Ticks of the track per frame.
    frame_ticks: u32,
    /// Nanoseconds per frame.
    frame_nanos: i128,
    /// Nanoseconds that are subtracted from all timestamps: RFC 9559, 5.1.4.1.24.
    delay_nanos: i128,
}

impl AacTrack {
    /// The track with this number and codec ID, from its other elements; `None` if it is not AAC. `nanos` is the
    /// duration of a frame, 0 if unspecified, and the delay of the decoder.
    pub(super) fn new(
        (number, codec_id): (u64, &[u8]),
        codec_private: &Bytes,
        element: &AudioElement,
        nanos: (u64, u64),
    ) -> Option<Self> {
        if !codec_id.starts_with(b"A_AAC") {
            return None;
        }
        let config = if codec_private.is_empty() {
            Bytes::copy_from_slice(&config_from_codec_id(codec_id, element)?)
        } else {
            codec_private.clone()
        };
        let aac = aac::parse(&config)?;
        let frame_nanos =
            i128::from(aac.frame_samples) * NANOS_PER_SECOND / i128::from(aac.sample_rate.max(1));
        Some(Self {
            number,
            track: AudioTrack { timescale: aac.sample_rate, sample_entry: mp4::write_audio_entry(&config)? },
            frame_ticks: aac.frame_samples,
            frame_nanos: if nanos.0 > 0 { nanos.0.into() } else { frame_nanos },
            delay_nanos: nanos.1.into(),
        })
    }

    /// Reads the samples of a range of milliseconds. `is_buffered` indicates that the whole file is buffered.
    ///
    /// # Errors
    /// The bytes that are missing.
    pub(super) fn find_samples(
        &self,
        seeker: &MatroskaSeeker<'_>,
        is_buffered: bool,
        range_ms: Range<u64>,
    ) -> Result<AudioRun, ReadError> {
        let clock = &seeker.context.clock;
        let video_ticks = |ms: u64| audio::ticks_from_ms(ms, clock.timescale);
        let range = audio::ticks_from_ms(range_ms.start, self.track.timescale)
            ..audio::ticks_from_ms(range_ms.end, self.track.timescale).saturating_add(1);
        // The times of blocks include the delay.
        let delay = clock.nanos_to_ticks(self.delay_nanos);
        let (from, until) = (
            video_ticks(range_ms.start).saturating_add(delay),
            video_ticks(range_ms.end).saturating_add(delay).saturating_add(1),
        );
        let context = ClusterContext {
            track: self.number,
            codec: None,
            nal_length_size: 0,
            verify_keyframes: false,
            frame_ticks: clock.nanos_to_ticks(self.frame_nanos),
            ..seeker.context
        };
        let cue = seeker.cues.partition_point(|cue| cue.time <= from).checked_sub(1);
        let (mut start, mut cues_back) = match cue {
            _ if is_buffered => (seeker.first_cluster.offset, 0..0),
            Some(place) => (seeker.cues[place].cluster, place.saturating_sub(MAX_CUES_BACK)..place),
            None if seeker.cues.is_empty() => {
                let lead = clock.seconds_to_ticks(LEAD_SECS);
                (seeker.bisect(from.saturating_sub(lead))?.offset, 0..0)
            }
            None => (seeker.first_cluster.offset, 0..0),
        };
        loop {
            let samples = self.read(seeker, context, start, until)?;
            let begins_late = samples.first().is_none_or(|first| first.pts > range.start);
            match cues_back.next_back() {
                Some(before) if begins_late => start = seeker.cues[before].cluster,
                _ => {
                    let samples = audio::select(samples.into_iter(), range);
                    return Ok(AudioRun { track: self.track.clone(), samples });
                }
            }
        }
    }

    /// Reads the samples from a cluster up to the time `until`, in ticks of the video.
    fn read(
        &self,
        seeker: &MatroskaSeeker<'_>,
        context: ClusterContext,
        start: u64,
        until: i64,
    ) -> Result<Vec<AudioSample>, ReadError> {
        let lag = context.clock.seconds_to_ticks(MAX_LAG_SECS);
        let next_cue = seeker.cues.iter().find(|cue| cue.time >= until);
        let likely_end = next_cue.map_or(start, |cue| cue.cluster.saturating_add(CLUSTER_HEADER_BYTES));
        let mut sample_clock = SampleClock::new(self.track.timescale, self.frame_ticks);
        let mut samples = Vec::new();
        let mut clusters = ClusterReader::new(seeker.buffer, context, start);
        while clusters.latest() < until.saturating_add(lag) && samples.len() < MAX_RUN_SAMPLES {
            match clusters.next() {
                ClusterEvent::Frame(frame) => {
                    if frame.offset.saturating_sub(start) > MAX_RUN_BYTES {
                        break;
                    }
                    let time = self.exact_time(context, frame.pts);
                    samples.push(sample_clock.place(frame.offset, frame.size, time));
                    if frame.pts >= until {
                        break;
                    }
                }
                ClusterEvent::Gap(gap) if gap.saturating_sub(start) > MAX_RUN_BYTES => break,
                ClusterEvent::Gap(gap) => {
                    let more = (gap.saturating_sub(start) / 2).clamp(MIN_MORE_BYTES, MAX_RUN_BYTES / 4);
                    let end = likely_end.max(gap.saturating_add(more)).min(context.end);
                    return Err(seeker.need_range(gap..end));
                }
                ClusterEvent::End | ClusterEvent::Damaged(_) => break,
            }
        }
        Ok(samples)
    }

    /// The time of a block in ticks of the audio, without the delay.
    fn exact_time(&self, context: ClusterContext, pts: i64) -> i64 {
        let nanos = i128::from(pts) * NANOS_PER_SECOND / i128::from(context.clock.timescale.max(1));
        let ticks =
            (nanos - self.delay_nanos).saturating_mul(i128::from(self.track.timescale)) / NANOS_PER_SECOND;
        i64::try_from(ticks).unwrap_or(i64::MAX / 2)
    }
}

/// The configuration of a track without private data, as old files have it: `A_AAC/MPEG4/LC/SBR` and others.
fn config_from_codec_id(codec_id: &[u8], element: &AudioElement) -> Option<[u8; 2]> {
    let profile = codec_id.split(|byte| *byte == b'/').nth(2)?;
    let object_type = match profile {
        b"MAIN" => 1,
        b"LC" => 2,
        b"SSR" => 3,
        b"LTP" => 4,
        _ => return None,
    };
    // With spectral band replication, the frequency is that of the core; decoders detect the extension.
    let rate = element.sampling_frequency;
    let rate = (rate.is_finite() && (1.0..1e6).contains(&rate)).then_some(rate.round() as u32)?;
    aac::build(object_type, rate, u8::try_from(element.channels).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configures_old_tracks_by_their_codec_id() {
        let stereo = AudioElement { sampling_frequency: 44_100.0, channels: 2 };
        for (codec_id, private, element, expected) in [
            ("A_AAC", &[0x12, 0x10][..], stereo, Some((44_100, 1024))),
            ("A_AAC", &[0x11, 0x94], stereo, Some((48_000, 960))),
            ("A_AAC/MPEG4/LC", &[], stereo, Some((44_100, 1024))),
            ("A_AAC/MPEG2/LC/SBR", &[], stereo, Some((44_100, 1024))),
            ("A_AAC/MPEG4/HD", &[], stereo, None),
            ("A_AAC", &[], stereo, None),
            ("A_AAC/MPEG4/LC", &[], AudioElement { sampling_frequency: f64::NAN, ..stereo }, None),
            ("A_AAC/MPEG4/LC", &[], AudioElement { channels: u64::MAX, ..stereo }, None),
            ("A_OPUS", &[0x12, 0x10], stereo, None),
        ] {
            let private = Bytes::copy_from_slice(private);
            let found = AacTrack::new((2, codec_id.as_bytes()), &private, &element, (0, 0));
            let found = found.map(|aac| (aac.track.timescale, aac.frame_ticks));
            assert_eq!(found, expected, "{codec_id} {private:?}");
        }
    }
}
