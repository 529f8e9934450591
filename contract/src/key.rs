//! S3 keys of the bucket's objects. This is the only module that builds and parses keys.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::id::{Owner, VideoId};
use crate::variant::Variant;

/// Error of a string that is not a key of this layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a key of this layout")]
pub struct ParseKeyError;

/// Key of an object in the bucket. Keys never contain user input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `uploads/{owner}/{video}`: the source, written once by the client.
    Source {
        /// The owner of the video.
        owner: Owner,
        /// The video.
        video: VideoId,
    },
    /// `slots/{owner}/{video}`: the reservation of one video of an upload token for several videos. Also stores the
    /// name of a file during a multipart upload.
    Reservation {
        /// The owner of the video.
        owner: Owner,
        /// The video.
        video: VideoId,
    },
    /// `media/{video}/manifest.json`: the commit point, ready or rejected.
    Manifest(VideoId),
    /// `media/{video}/failure.json`: the last attempt failed. A later manifest outranks it.
    Failure(VideoId),
    /// `media/{video}/attempt.json`: a second or later delivery of the upload's message has started. Not visible to
    /// callers.
    Attempt(VideoId),
    /// `media/{video}/poster.json`: the owner chose another poster.
    Poster(VideoId),
    /// `media/{video}/{variant}.{ext}`: an image, or a storyboard table.
    Output(VideoId, Variant),
    /// `media/{video}/{variant}.{ext}.refused.json`: why an on-demand image cannot be rendered.
    Refusal(VideoId, Variant),
    /// `work/{video}/{variant}.{ext}`: an output of one workflow step, until the `publish` step publishes it.
    Staged(VideoId, Variant),
}

/// An object that records the outcome of a video: S3 sends an event about it to the notify queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The manifest.
    Manifest(VideoId),
    /// The record of the last failure.
    Failure(VideoId),
}

/// Suffix that turns an output's key into the key of its refusal record.
const REFUSAL_SUFFIX: &str = ".refused.json";

impl Key {
    /// Prefix of all sources. S3 sends events only for this prefix.
    pub const UPLOADS: &str = "uploads/";
    /// Prefix of all published outputs and records of the backend.
    pub const MEDIA: &str = "media/";

    /// Prefix of all reservations.
    pub const SLOTS: &str = "slots/";

    /// Prefix of all staged outputs. They expire after one day.
    pub const WORK: &str = "work/";

    /// The outcome that the object records, if it records one.
    pub fn outcome(&self) -> Option<Outcome> {
        match *self {
            Self::Manifest(video) => Some(Outcome::Manifest(video)),
            Self::Failure(video) => Some(Outcome::Failure(video)),
            Self::Source { .. }
            | Self::Reservation { .. }
            | Self::Attempt(_)
            | Self::Poster(_)
            | Self::Output(..)
            | Self::Refusal(..)
            | Self::Staged(..) => None,
        }
    }

    /// Prefix of all outputs and records of a video.
    pub fn media_prefix(video: VideoId) -> String {
        format!("{}{video}/", Self::MEDIA)
    }

    /// Prefix of all sources of an owner, for listings.
    pub fn uploads_prefix(owner: &Owner) -> String {
        format!("{}{owner}/", Self::UPLOADS)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { owner, video } => write!(f, "{}{owner}/{video}", Self::UPLOADS),
            Self::Reservation { owner, video } => write!(f, "{}{owner}/{video}", Self::SLOTS),
            Self::Manifest(video) => write!(f, "{}{video}/manifest.json", Self::MEDIA),
            Self::Failure(video) => write!(f, "{}{video}/failure.json", Self::MEDIA),
            Self::Attempt(video) => write!(f, "{}{video}/attempt.json", Self::MEDIA),
            Self::Poster(video) => write!(f, "{}{video}/poster.json", Self::MEDIA),
            Self::Output(video, variant) => write!(f, "{}{video}/{}", Self::MEDIA, variant.file_name()),
            Self::Refusal(video, variant) => {
                write!(f, "{}{video}/{}{REFUSAL_SUFFIX}", Self::MEDIA, variant.file_name())
            }
            Self::Staged(video, variant) => write!(f, "{}{video}/{}", Self::WORK, variant.file_name()),
        }
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let parse_owned = |rest: &str| {
            let (owner, video) = rest.split_once('/').ok_or(ParseKeyError)?;
            let owner = owner.parse().map_err(|_| ParseKeyError)?;
            Ok((owner, video.parse().map_err(|_| ParseKeyError)?))
        };
        if let Some(rest) = text.strip_prefix(Self::UPLOADS) {
            return parse_owned(rest).map(|(owner, video)| Self::Source { owner, video });
        }
        if let Some(rest) = text.strip_prefix(Self::SLOTS) {
            return parse_owned(rest).map(|(owner, video)| Self::Reservation { owner, video });
        }
        if let Some(rest) = text.strip_prefix(Self::WORK) {
            let (video, name) = rest.split_once('/').ok_or(ParseKeyError)?;
            let variant = Variant::from_file_name(name).ok_or(ParseKeyError)?;
            return Ok(Self::Staged(video.parse().map_err(|_| ParseKeyError)?, variant));
        }
        let rest = text.strip_prefix(Self::MEDIA).ok_or(ParseKeyError)?;
        let (video, name) = rest.split_once('/').ok_or(ParseKeyError)?;
        let video = video.parse().map_err(|_| ParseKeyError)?;
        if let Some(name) = name.strip_suffix(REFUSAL_SUFFIX) {
            return Ok(Self::Refusal(video, Variant::from_file_name(name).ok_or(ParseKeyError)?));
        }
        Ok(match name {
            "manifest.json" => Self::Manifest(video),
            "failure.json" => Self::Failure(video),
            "attempt.json" => Self::Attempt(video),
            "poster.json" => Self::Poster(video),
            _ => Self::Output(video, Variant::from_file_name(name).ok_or(ParseKeyError)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> VideoId {
        VideoId::new(1_700_000_000_000, *b"0123456789")
    }

    #[test]
    fn every_key_roundtrips() {
        let mut keys = vec![
            Key::Source { owner: Owner::new("iss", "sub"), video: video() },
            Key::Reservation { owner: Owner::new("iss", "sub"), video: video() },
            Key::Manifest(video()),
            Key::Failure(video()),
            Key::Attempt(video()),
            Key::Poster(video()),
        ];
        keys.extend(Variant::DEFAULTS.map(|variant| Key::Output(video(), variant)));
        keys.extend(Variant::DEFAULTS.map(|variant| Key::Staged(video(), variant)));
        keys.extend(Variant::DEFAULTS.map(|variant| Key::Refusal(video(), variant)));
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn key_text_is_pinned() {
        let key = Key::Output(video(), Variant::from_file_name("thumbnail.jpg").unwrap());
        assert_eq!(key.to_string(), format!("media/{}/thumbnail.jpg", video()));
        let name = "thumbnail-time_1.5-width_200.jpg";
        let key = Key::Output(video(), Variant::from_file_name(name).unwrap());
        assert_eq!(key.to_string(), format!("media/{}/{name}", video()));
        assert_eq!(key.to_string().parse(), Ok(key));
        let key = Key::Refusal(video(), Variant::from_file_name(name).unwrap());
        assert_eq!(key.to_string(), format!("media/{}/{name}.refused.json", video()));
        assert!(Key::uploads_prefix(&Owner::new("iss", "sub")).ends_with('/'));
    }

    #[test]
    fn manifest_and_failure_are_outcomes() {
        assert_eq!(Key::Manifest(video()).outcome(), Some(Outcome::Manifest(video())));
        assert_eq!(Key::Failure(video()).outcome(), Some(Outcome::Failure(video())));
        let variant = Variant::DEFAULTS[0];
        for key in [
            Key::Source { owner: Owner::new("iss", "sub"), video: video() },
            Key::Reservation { owner: Owner::new("iss", "sub"), video: video() },
            Key::Attempt(video()),
            Key::Poster(video()),
            Key::Output(video(), variant),
            Key::Refusal(video(), variant),
            Key::Staged(video(), variant),
        ] {
            assert_eq!(key.outcome(), None, "{key}");
        }
    }

    #[test]
    fn rejects_malformed_keys() {
        let owner = Owner::new("iss", "sub");
        let video = video();
        for case in [
            String::new(),
            "uploads/".into(),
            format!("uploads/{owner}"),
            format!("uploads/{owner}/{video}/"),
            format!("uploads/{owner}/../{video}"),
            format!("uploads//{owner}/{video}"),
            format!("/uploads/{owner}/{video}"),
            format!("uploads/{owner}/{video}%00"),
            format!("media/{video}"),
            format!("media/{video}/thumbnail.exe"),
            format!("media/{video}/thumbnail.exe.refused.json"),
            format!("media/{video}/manifest.json.refused.json"),
            format!("media/{video}/thumbnail-width_640.jpg"),
            format!("media/{video}/a/manifest.json"),
            format!("Media/{video}/manifest.json"),
            format!("work/{video}/manifest.json"),
        ] {
            assert_eq!(case.parse::<Key>(), Err(ParseKeyError), "{case:?}");
        }
    }
}
