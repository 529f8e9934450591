//! The element IDs that the demuxer reads, as printed in RFC 9559, 5.

pub(super) const EBML: u32 = 0x1A45_DFA3;
pub(super) const EBML_MAX_ID_LENGTH: u32 = 0x42F2;
pub(super) const EBML_MAX_SIZE_LENGTH: u32 = 0x42F3;
pub(super) const DOC_TYPE: u32 = 0x4282;

pub(super) const VOID: u32 = 0xEC;
pub(super) const CRC32: u32 = 0xBF;

pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const SEEK_HEAD: u32 = 0x114D_9B74;
pub(super) const SEEK: u32 = 0x4DBB;
pub(super) const SEEK_ID: u32 = 0x53AB;
pub(super) const SEEK_POSITION: u32 = 0x53AC;
pub(super) const INFO: u32 = 0x1549_A966;
pub(super) const TRACKS: u32 = 0x1654_AE6B;
pub(super) const CUES: u32 = 0x1C53_BB6B;
pub(super) const CLUSTER: u32 = 0x1F43_B675;
pub(super) const CHAPTERS: u32 = 0x1043_A770;
pub(super) const ATTACHMENTS: u32 = 0x1941_A469;
pub(super) const TAGS: u32 = 0x1254_C367;

pub(super) const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
pub(super) const DURATION: u32 = 0x4489;

pub(super) const TRACK_ENTRY: u32 = 0xAE;
pub(super) const TRACK_NUMBER: u32 = 0xD7;
pub(super) const TRACK_TYPE: u32 = 0x83;
pub(super) const FLAG_ENABLED: u32 = 0xB9;
pub(super) const FLAG_DEFAULT: u32 = 0x88;
pub(super) const DEFAULT_DURATION: u32 = 0x0023_E383;
pub(super) const CODEC_ID: u32 = 0x86;
pub(super) const CODEC_PRIVATE: u32 = 0x63A2;
pub(super) const CODEC_DELAY: u32 = 0x56AA;

pub(super) const BLOCK_ADDITION_MAPPING: u32 = 0x41E4;
pub(super) const BLOCK_ADD_ID_TYPE: u32 = 0x41E7;
pub(super) const BLOCK_ADD_ID_EXTRA_DATA: u32 = 0x41ED;

pub(super) const AUDIO: u32 = 0xE1;
pub(super) const SAMPLING_FREQUENCY: u32 = 0xB5;
pub(super) const CHANNELS: u32 = 0x9F;

pub(super) const VIDEO: u32 = 0xE0;
pub(super) const FLAG_INTERLACED: u32 = 0x9A;
pub(super) const FIELD_ORDER: u32 = 0x9D;
pub(super) const STEREO_MODE: u32 = 0x53B8;
pub(super) const PIXEL_WIDTH: u32 = 0xB0;
pub(super) const PIXEL_HEIGHT: u32 = 0xBA;
pub(super) const PIXEL_CROP_BOTTOM: u32 = 0x54AA;
pub(super) const PIXEL_CROP_TOP: u32 = 0x54BB;
pub(super) const PIXEL_CROP_LEFT: u32 = 0x54CC;
pub(super) const PIXEL_CROP_RIGHT: u32 = 0x54DD;
pub(super) const DISPLAY_WIDTH: u32 = 0x54B0;
pub(super) const DISPLAY_HEIGHT: u32 = 0x54BA;
pub(super) const DISPLAY_UNIT: u32 = 0x54B2;

pub(super) const COLOUR: u32 = 0x55B0;
pub(super) const MATRIX_COEFFICIENTS: u32 = 0x55B1;
pub(super) const RANGE: u32 = 0x55B9;
pub(super) const TRANSFER: u32 = 0x55BA;
pub(super) const PRIMARIES: u32 = 0x55BB;
pub(super) const MAX_CLL: u32 = 0x55BC;
pub(super) const MAX_FALL: u32 = 0x55BD;
pub(super) const MASTERING: u32 = 0x55D0;
pub(super) const RED_X: u32 = 0x55D1;
pub(super) const LUMINANCE_MIN: u32 = 0x55DA;

pub(super) const PROJECTION: u32 = 0x7670;
pub(super) const PROJECTION_TYPE: u32 = 0x7671;
pub(super) const POSE_YAW: u32 = 0x7673;
pub(super) const POSE_PITCH: u32 = 0x7674;
pub(super) const POSE_ROLL: u32 = 0x7675;

pub(super) const CONTENT_ENCODINGS: u32 = 0x6D80;
pub(super) const CONTENT_ENCODING: u32 = 0x6240;
pub(super) const ENCODING_SCOPE: u32 = 0x5032;
pub(super) const ENCODING_TYPE: u32 = 0x5033;
pub(super) const COMPRESSION: u32 = 0x5034;
pub(super) const COMPRESSION_ALGORITHM: u32 = 0x4254;
pub(super) const COMPRESSION_SETTINGS: u32 = 0x4255;
pub(super) const ENCRYPTION: u32 = 0x5035;

pub(super) const CUE_POINT: u32 = 0xBB;
pub(super) const CUE_TIME: u32 = 0xB3;
pub(super) const CUE_TRACK_POSITIONS: u32 = 0xB7;
pub(super) const CUE_TRACK: u32 = 0xF7;
pub(super) const CUE_CLUSTER_POSITION: u32 = 0xF1;
pub(super) const CUE_RELATIVE_POSITION: u32 = 0xF0;

pub(super) const CLUSTER_TIMESTAMP: u32 = 0xE7;
pub(super) const CLUSTER_POSITION: u32 = 0xA7;
pub(super) const PREV_SIZE: u32 = 0xAB;
pub(super) const SILENT_TRACKS: u32 = 0x5854;
pub(super) const SIMPLE_BLOCK: u32 = 0xA3;
pub(super) const BLOCK_GROUP: u32 = 0xA0;
pub(super) const BLOCK: u32 = 0xA1;
pub(super) const BLOCK_DURATION: u32 = 0x9B;
pub(super) const REFERENCE_BLOCK: u32 = 0xFB;

/// Whether an element is a sibling of clusters and never inside of one: it ends a cluster of unknown size (RFC 8794,
/// 6.2).
pub(super) fn is_beside_clusters(id: u32) -> bool {
    matches!(id, EBML | SEGMENT | SEEK_HEAD | INFO | TRACKS | CUES | CLUSTER | CHAPTERS | ATTACHMENTS | TAGS)
}
