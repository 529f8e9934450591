//! Encodes the default outputs of a video: poster, animation and storyboard. Pure.

use bytes::Bytes;
use glimpse_contract::{OutputFormat, Variant, VariantKind};

use crate::frames::{AnimationFrames, DecodedFrames, KindFrames, RgbFrame, StoryboardFrames};
use glimpse_media::image::header::ImageError;
use glimpse_media::image::storyboard::{self, Sheet, Tile};
use glimpse_media::image::{self, EncoderInput};
use glimpse_media::plan;
use glimpse_media::size::Size;

/// An encoded output and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedImage {
    /// The encoded bytes.
    pub bytes: Bytes,
    /// Its size in pixels; for the tables of a storyboard, that of the sheet.
    pub size: Size,
}

/// Encoded outputs with their variants.
pub type EncodedOutputs = Vec<(Variant, EncodedImage)>;

/// The default outputs that this build makes: all for which it has an encoder.
pub fn default_variants() -> impl Iterator<Item = Variant> {
    Variant::DEFAULTS.into_iter().filter(|variant| image::has_encoder(variant.format()))
}

/// Encodes all default outputs. This takes a while, in several threads.
///
/// # Errors
/// An encoder rejects the decoded frames, or its output is not a valid image.
pub fn encode_all(frames: &DecodedFrames) -> Result<EncodedOutputs, ImageError> {
    let sheet = build_sheet(&frames.storyboard, frames.info.duration_ms)?;
    encode_variants(|kind| match kind {
        VariantKind::Thumbnail => Some(poster_input(&frames.poster)),
        VariantKind::Animation => Some(animation_input(&frames.animation)),
        VariantKind::Storyboard => Some(EncoderInput::Storyboard(&sheet)),
        VariantKind::Clip => None,
    })
}

/// Like [`encode_all`], for the outputs of one kind.
///
/// # Errors
/// Like [`encode_all`].
pub fn encode_kind(frames: &KindFrames, duration_ms: u64) -> Result<EncodedOutputs, ImageError> {
    match frames {
        KindFrames::Poster(poster, _) => {
            encode_variants(|kind| (kind == VariantKind::Thumbnail).then(|| poster_input(poster)))
        }
        KindFrames::Animation(animation) => {
            encode_variants(|kind| (kind == VariantKind::Animation).then(|| animation_input(animation)))
        }
        KindFrames::Storyboard(tiles) => {
            let sheet = build_sheet(tiles, duration_ms)?;
            encode_variants(|kind| {
                (kind == VariantKind::Storyboard).then_some(EncoderInput::Storyboard(&sheet))
            })
        }
    }
}

fn build_sheet(tiles: &StoryboardFrames, duration_ms: u64) -> Result<Sheet, ImageError> {
    let count = tiles.frames.len();
    let tiles_with_times: Vec<Tile<'_>> = tiles
        .frames
        .iter()
        .enumerate()
        .map(|(index, frame)| Tile { start_ms: plan::tile_start_ms(index, count, duration_ms), frame })
        .collect();
    storyboard::build_sheet(&tiles_with_times, tiles.size, duration_ms)
}

/// Encodes the default outputs of those kinds for which there are frames.
fn encode_variants<'a>(
    input_for: impl Fn(VariantKind) -> Option<EncoderInput<'a>>,
) -> Result<EncodedOutputs, ImageError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = default_variants()
            .filter_map(|variant| Some((variant, input_for(variant.kind())?)))
            .map(|(variant, input)| (variant, scope.spawn(move || encode_image(variant.format(), input))))
            .collect();
        threads
            .into_iter()
            .map(|(variant, thread)| {
                let picture =
                    thread.join().map_err(|_| ImageError::Encoder("the encoder panicked".into()))??;
                Ok((variant, picture))
            })
            .collect()
    })
}

fn encode_image(format: OutputFormat, input: EncoderInput<'_>) -> Result<EncodedImage, ImageError> {
    let size = match input {
        EncoderInput::Thumbnail { size, .. } | EncoderInput::Animation { size, .. } => size,
        EncoderInput::Storyboard(sheet) => sheet.size,
    };
    Ok(EncodedImage { bytes: image::encode(format, input)?, size: image::encoded_size(format, size) })
}

fn poster_input(poster: &RgbFrame) -> EncoderInput<'_> {
    EncoderInput::Thumbnail { frame: &poster.rgb, size: poster.size }
}

fn animation_input(animation: &AnimationFrames) -> EncoderInput<'_> {
    let AnimationFrames { frames, size, fps } = animation;
    EncoderInput::Animation { frames, size: *size, fps: *fps, max_bytes: None }
}
