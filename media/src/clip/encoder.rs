//! Encodes the frames of a clip whose samples cannot be copied, and adds the sound of the source.

use bytes::Bytes;

use crate::clip::ClipTrack;
#[cfg(feature = "h264")]
use crate::image::h264::{self, FrameEncoder};
use crate::image::header::ImageError;
#[cfg(feature = "h264")]
use crate::mux;
use crate::size::Size;

/// Encodes one frame after another.
#[cfg(feature = "h264")]
#[derive(Debug)]
pub struct ClipEncoder {
    frames: FrameEncoder,
}

/// A build without the feature `h264` has no encoder.
#[cfg(not(feature = "h264"))]
#[derive(Debug)]
pub enum ClipEncoder {}

#[cfg(feature = "h264")]
impl ClipEncoder {
    /// An encoder of raw `rgb24` frames of this size.
    ///
    /// # Errors
    /// The size is not supported.
    pub fn new(size: Size) -> Result<Self, ImageError> {
        Ok(Self { frames: FrameEncoder::new(size, h264::HIGH_QUALITY)? })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// The frame is not of the encoder's size, or the encoder fails.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), ImageError> {
        self.frames.push(frame)
    }

    /// The file: the frames at `fps` per second, and the sound with the bytes of its samples, in decoding order.
    ///
    /// # Errors
    /// There are no frames, the bytes are not those of the samples, or the encoder fails.
    pub fn finish(self, fps: f64, sound: Option<(ClipTrack, Bytes)>) -> Result<Bytes, ImageError> {
        let video = self.frames.finish_at(fps)?;
        let Some((sound, sound_bytes)) = sound else { return video.to_file() };
        let video_samples: Vec<&[u8]> = video.samples.iter().map(Vec::as_slice).collect();
        let sizes = sound.track.samples.iter().map(|sample| sample.size as usize);
        let sound_samples: Vec<&[u8]> = sizes
            .scan(&sound_bytes[..], |rest, size| {
                let (sample, after) = rest.split_at_checked(size)?;
                *rest = after;
                Some(sample)
            })
            .collect();
        mux::write_file(&[video.track, sound.track], &[&video_samples, &sound_samples])
            .map_err(|error| ImageError::Encoder(error.to_string()))
    }
}

#[cfg(not(feature = "h264"))]
impl ClipEncoder {
    /// There is no encoder.
    ///
    /// # Errors
    /// [`ImageError::NoEncoder`].
    pub fn new(_: Size) -> Result<Self, ImageError> {
        Err(ImageError::NoEncoder(glimpse_contract::OutputFormat::Mp4.extension()))
    }

    /// Adds a frame. There is no value of this type to call it with.
    ///
    /// # Errors
    /// None.
    pub fn push(&mut self, _: &[u8]) -> Result<(), ImageError> {
        match *self {}
    }

    /// The file. There is no value of this type to call it with.
    ///
    /// # Errors
    /// None.
    pub fn finish(self, _: f64, _: Option<(ClipTrack, Bytes)>) -> Result<Bytes, ImageError> {
        match self {}
    }
}
