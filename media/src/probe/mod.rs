//! Parses ffprobe's JSON into the properties of a file, and rejects files that must not be decoded. Does no IO.

use glimpse_contract::{Code, limits};
use serde::Deserialize;

use crate::codec::CODECS;
use crate::demux::demuxer::Crop;
use crate::size::{Size, scale_side};

/// The transfer function of the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorTransfer {
    /// Standard dynamic range.
    #[default]
    Sdr,
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

/// Which of a video's color code points cannot be converted. Its pixels are then interpreted with the usual values for
/// its size, as in players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnsupportedColors {
    /// The matrix coefficients.
    pub matrix: bool,
    /// The transfer function.
    pub transfer: bool,
    /// The primaries.
    pub primaries: bool,
}

/// The properties of a file that may be decoded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MediaInfo {
    /// Index of the selected video stream.
    pub stream: u32,
    /// Its codec.
    pub codec: String,
    /// Size of the coded frames.
    pub coded_size: Size,
    /// Size of the displayed frames: pixel aspect ratio and rotation applied.
    pub display_size: Size,
    /// Clockwise rotation for display: 0, 90, 180 or 270 degrees.
    pub rotation: u32,
    /// Whether the color matrix is specified.
    pub has_color_matrix: bool,
    /// Which of its color tags cannot be used.
    pub unsupported_colors: UnsupportedColors,
    /// The transfer function.
    pub transfer: ColorTransfer,
    /// The Dolby Vision profile, if it is required to interpret the pixels: 5, or 10 without a compatible base layer.
    pub dolby_vision_profile: Option<u8>,
    /// Duration in milliseconds; 0 if unknown.
    pub duration_ms: u64,
    /// The time of the first packet in milliseconds; 0 if unknown.
    pub start_ms: u64,
    /// The declared number of frames; 0 if unspecified.
    pub frame_count: u64,
    /// Average frames per second; 0 if unknown.
    pub fps: f64,
    /// Duration of each of the first frames in milliseconds; 0 if unknown. For a stream without timestamps, this is the
    /// rate from its headers.
    pub frame_ms: f64,
    /// Whether frames consist of two fields.
    pub is_interlaced: bool,
    /// Whether there is audio.
    pub has_audio: bool,
    /// The visible part of the coded frame, if it is not all of it.
    pub crop: Option<Crop>,
}

impl MediaInfo {
    /// Restricts the video to this part of the coded frame, and scales the display size accordingly.
    pub fn apply_crop(&mut self, crop: Crop) {
        let is_rotated = matches!(self.rotation, 90 | 270);
        let scale_to_crop = |shown: u32, crop: u32, coded: u32| {
            let coded = u64::from(coded.max(1));
            let part = (u64::from(shown) * u64::from(crop) + coded / 2) / coded;
            u32::try_from(part).unwrap_or(u32::MAX).max(1)
        };
        let Size { width, height } = self.display_size;
        let coded = self.coded_size;
        self.display_size = if is_rotated {
            Size {
                width: scale_to_crop(width, crop.height, coded.height),
                height: scale_to_crop(height, crop.width, coded.width),
            }
        } else {
            Size {
                width: scale_to_crop(width, crop.width, coded.width),
                height: scale_to_crop(height, crop.height, coded.height),
            }
        };
        self.crop = Some(crop);
    }
}

/// Frames with more pixels than this are large.
const LARGE_PIXELS: u64 = 1920 * 1200;

impl MediaInfo {
    /// The duration of this many frames, in milliseconds; 0 if the frame rate is unknown.
    pub fn frames_duration_ms(&self, frames: u64) -> u64 {
        if self.fps > 0.0 { (frames as f64 * 1000.0 / self.fps) as u64 } else { 0 }
    }

    /// Whether only one child at a time may decode its frames: each 4K decoder needs a few hundred megabytes.
    pub fn has_large_frames(&self) -> bool {
        let Size { width, height } = self.coded_size;
        u64::from(width) * u64::from(height) > LARGE_PIXELS
    }

    /// Whether the video has a high dynamic range.
    pub fn is_hdr(&self) -> bool {
        self.transfer != ColorTransfer::Sdr || self.is_ipt()
    }

    /// Whether its planes are Dolby Vision's IPT-PQ-c2.
    pub fn is_ipt(&self) -> bool {
        matches!(self.dolby_vision_profile, Some(5 | 10))
    }
}

impl MediaInfo {
    /// The display size before rotation.
    pub fn unrotated_size(&self) -> Size {
        let Size { width, height } = self.display_size;
        if matches!(self.rotation, 90 | 270) {
            Size { width: height, height: width }
        } else {
            self.display_size
        }
    }

    /// The display size of frames whose coded size differs from that of the first frame: with the same pixel aspect
    /// ratio and rotation.
    pub fn display_size_of(&self, coded: Size) -> Size {
        let width = scale_side(coded.width, self.unrotated_size().width, self.coded_size.width);
        let size = Size { width, height: coded.height };
        if matches!(self.rotation, 90 | 270) { Size { width: size.height, height: size.width } } else { size }
    }

    /// Sets the display size, as if the first frame had it.
    pub fn set_display_size(&mut self, display_size: Size) {
        if self.display_size == display_size {
            return;
        }
        let before = self.unrotated_size().width;
        self.display_size = display_size;
        let Size { width, height } = self.unrotated_size();
        self.coded_size = Size { width: scale_side(width, self.coded_size.width, before), height };
    }
}

/// Whether two durations differ by at most 2% of the first or half a second.
pub fn is_close_duration(one_ms: u64, other_ms: u64) -> bool {
    one_ms.abs_diff(other_ms) <= (one_ms / 50).max(500)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProbeReport {
    streams: Vec<Stream>,
    format: ProbeFormat,
    packets: Vec<ProbePacket>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProbeFormat {
    start_time: String,
    duration: String,
    nb_streams: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stream {
    index: u32,
    codec_type: String,
    codec_name: String,
    codec_tag_string: String,
    width: u32,
    height: u32,
    pix_fmt: String,
    sample_aspect_ratio: String,
    color_space: String,
    color_transfer: String,
    color_primaries: String,
    field_order: String,
    avg_frame_rate: String,
    r_frame_rate: String,
    duration: String,
    nb_frames: String,
    nb_read_packets: String,
    disposition: StreamDisposition,
    tags: Tags,
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamDisposition {
    attached_pic: u32,
    still_image: u32,
    default: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tags {
    enc_key_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SideData {
    #[serde(rename = "side_data_type")]
    kind: String,
    rotation: Option<f64>,
    dv_profile: Option<u8>,
    dv_bl_signal_compatibility_id: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProbePacket {
    stream_index: u32,
    pts_time: String,
    dts_time: String,
    duration_time: String,
    side_data_list: Vec<SideData>,
}

/// Parses ffprobe's report.
///
/// # Errors
/// The code with which the file is permanently rejected.
pub fn parse(json: &[u8]) -> Result<MediaInfo, Code> {
    // ffprobe's output is well-formed unless a malicious text in the file broke it. Nothing in it can be trusted then.
    let report: ProbeReport = serde_json::from_slice(json).map_err(|_| Code::Truncated)?;
    if report.format.nb_streams.max(report.streams.len()) > limits::MAX_STREAMS {
        return Err(Code::TooManyStreams);
    }
    // The stream that players show: with a known codec, with the default flag (in QuickTime: enabled), and not a cover
    // image beside a video; the first of equal ones.
    let rank = |stream: &&Stream| {
        let is_cover = stream.disposition.still_image == 1 || stream.codec_name == "mjpeg";
        (!is_supported(stream), stream.disposition.default == 0, is_cover)
    };
    let stream = report
        .streams
        .iter()
        .filter(|stream| stream.codec_type == "video" && stream.disposition.attached_pic == 0)
        .min_by_key(rank)
        .ok_or(Code::NoVideoStream)?;

    if is_encrypted(stream, &report.packets) {
        return Err(Code::Encrypted);
    }
    if !is_supported(stream) {
        return Err(Code::UnsupportedCodec);
    }
    let coded = Size { width: stream.width, height: stream.height };
    if coded.width > limits::MAX_DIMENSION
        || coded.height > limits::MAX_DIMENSION
        || u64::from(coded.width) * u64::from(coded.height) > limits::MAX_PIXELS
    {
        return Err(Code::TooManyPixels);
    }
    if coded.width == 0 || coded.height == 0 {
        // The container declares a video stream, but no header of a frame was found in it.
        return Err(Code::Truncated);
    }
    let duration_ms =
        [&report.format.duration, &stream.duration].into_iter().find_map(|text| parse_ms(text)).unwrap_or(0);
    let rotation = rotation(stream);
    Ok(MediaInfo {
        stream: stream.index,
        codec: stream.codec_name.clone(),
        coded_size: coded,
        display_size: display_size_from(coded, &stream.sample_aspect_ratio, rotation),
        rotation,
        has_color_matrix: MATRICES.contains(&stream.color_space.as_str()) && !is_mislabeled_rgb(stream),
        unsupported_colors: UnsupportedColors {
            matrix: is_mislabeled_rgb(stream) || is_unsupported(&stream.color_space, MATRICES),
            transfer: is_unsupported(&stream.color_transfer, TRANSFERS),
            primaries: is_unsupported(&stream.color_primaries, PRIMARIES),
        },
        dolby_vision_profile: dolby_vision_profile(stream),
        transfer: match stream.color_transfer.as_str() {
            "smpte2084" => ColorTransfer::Pq,
            "arib-std-b67" => ColorTransfer::Hlg,
            _ => ColorTransfer::Sdr,
        },
        duration_ms,
        start_ms: parse_ms(&report.format.start_time).unwrap_or(0),
        frame_count: stream.nb_frames.parse().unwrap_or(0),
        fps: parse_frame_rate(&stream.avg_frame_rate)
            .or_else(|| parse_frame_rate(&stream.r_frame_rate))
            .unwrap_or(0.0),
        frame_ms: mean_frame_ms(stream.index, &report.packets),
        is_interlaced: matches!(stream.field_order.as_str(), "tt" | "bb" | "tb" | "bt"),
        has_audio: report.streams.iter().any(|stream| stream.codec_type == "audio"),
        crop: None,
    })
}

/// The matrices that ffmpeg's scaler converts, by ffprobe's names.
const MATRICES: &[&str] = &["gbr", "bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"];
/// The transfer functions that it supports.
const TRANSFERS: &[&str] = &[
    "bt709",
    "bt470m",
    "bt470bg",
    "gamma22",
    "gamma28",
    "smpte170m",
    "smpte240m",
    "linear",
    "iec61966-2-1",
    "bt2020-10",
    "bt2020-12",
    "smpte2084",
    "smpte428",
    "arib-std-b67",
];
/// The primaries that it supports.
const PRIMARIES: &[&str] = &[
    "bt709",
    "bt470m",
    "bt470bg",
    "smpte170m",
    "smpte240m",
    "film",
    "bt2020",
    "smpte428",
    "smpte431",
    "smpte432",
    "ebu3213",
];

/// Whether a name is specified but not on the list.
fn is_unsupported(name: &str, list: &[&str]) -> bool {
    !matches!(name, "" | "unknown" | "unspecified") && !list.contains(&name)
}

/// Whether its planes are luma and chroma, although its matrix is that of RGB.
fn is_mislabeled_rgb(stream: &Stream) -> bool {
    stream.color_space == "gbr" && stream.pix_fmt.starts_with("yuv")
}

/// The profile, if the pixels are not conventional `Y'CbCr`: those of ETSI GS CCM 001 without a compatible base layer.
fn dolby_vision_profile(stream: &Stream) -> Option<u8> {
    let side = stream.side_data_list.iter().find(|side| side.dv_profile.is_some())?;
    match (side.dv_profile?, side.dv_bl_signal_compatibility_id.unwrap_or(0)) {
        (5, _) => Some(5),
        (10, 0) => Some(10),
        _ => None,
    }
}

/// The mean duration of a stream's packets.
fn mean_frame_ms(stream: u32, packets: &[ProbePacket]) -> f64 {
    let own_packets = packets.iter().filter(|packet| packet.stream_index == stream);
    let secs: Vec<f64> = own_packets.filter_map(|packet| packet.duration_time.parse().ok()).collect();
    let mean = secs.iter().sum::<f64>() * 1000.0 / secs.len() as f64;
    if mean.is_finite() && mean > 0.0 { mean } else { 0.0 }
}

/// Parses ffprobe's report of some packets: the end of the last of them, in milliseconds.
pub fn parse_end_ms(json: &[u8]) -> Option<u64> {
    let report: ProbeReport = serde_json::from_slice(json).ok()?;
    let end = |packet: &ProbePacket| {
        let at = parse_ms(&packet.pts_time).or_else(|| parse_ms(&packet.dts_time))?;
        Some(at.saturating_add(parse_ms(&packet.duration_time).unwrap_or(0)))
    };
    report.packets.iter().filter_map(end).max()
}

/// Parses ffprobe's report of the number of packets in a stream.
pub fn parse_packet_count(json: &[u8]) -> Option<u64> {
    let report: ProbeReport = serde_json::from_slice(json).ok()?;
    report.streams.first()?.nb_read_packets.parse().ok()
}

/// Parses non-negative seconds, and converts them to milliseconds.
fn parse_ms(text: &str) -> Option<u64> {
    let secs = text.parse::<f64>().ok().filter(|secs| secs.is_finite() && *secs > 0.0)?;
    Some((secs * 1000.0).min(u64::MAX as f64) as u64)
}

fn is_supported(stream: &Stream) -> bool {
    CODECS.contains(&stream.codec_name.as_str())
}

/// MP4 marks encrypted packets, Matroska the track, and an unsupported sample entry still has its name.
fn is_encrypted(stream: &Stream, packets: &[ProbePacket]) -> bool {
    stream.tags.enc_key_id.is_some()
        || stream.codec_tag_string == "encv"
        || packets.iter().any(|packet| {
            packet.stream_index == stream.index
                && packet.side_data_list.iter().any(|side| side.kind == "Encryption info")
        })
}

/// ffprobe reports the rotation of the display matrix counterclockwise, from -180 to 180.
fn rotation(stream: &Stream) -> u32 {
    let degrees = stream.side_data_list.iter().find_map(|side| side.rotation).unwrap_or(0.0);
    if !degrees.is_finite() {
        return 0;
    }
    let quarters = (-degrees / 90.0).round().rem_euclid(4.0);
    quarters as u32 * 90
}

fn display_size_from(coded: Size, pixel_aspect_ratio: &str, rotation: u32) -> Size {
    let mut size = coded;
    if let Some((num, den)) = pixel_aspect_ratio.split_once(':')
        && let (Ok(num), Ok(den)) = (num.parse::<u64>(), den.parse::<u64>())
        // No camera has a larger pixel aspect ratio. Other values are invalid.
        && num > 0 && den > 0 && num <= den.saturating_mul(4) && den <= num.saturating_mul(4)
    {
        let width = u64::from(coded.width).saturating_mul(num).saturating_add(den / 2) / den;
        size.width = u32::try_from(width).unwrap_or(u32::MAX).max(1);
    }
    if matches!(rotation, 90 | 270) { Size { width: size.height, height: size.width } } else { size }
}

fn parse_frame_rate(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let (num, den) = (num.parse::<f64>().ok()?, den.parse::<f64>().ok()?);
    let rate = num / den;
    (rate.is_finite() && rate > 0.0 && rate <= 1000.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// An HDR video from a phone in portrait orientation: captured.
    const ROTATED_HDR: &str = include_str!("rotated_hdr.json");
    /// A song with its cover image: captured.
    const COVER: &str = include_str!("cover.json");
    /// A DVD video with anamorphic pixels: captured.
    const ANAMORPHIC: &str = include_str!("anamorphic.json");
    /// A file with common encryption: captured.
    const ENCRYPTED_MP4: &str = include_str!("encrypted_mp4.json");
    /// An encrypted WebM: captured.
    const ENCRYPTED_WEBM: &str = include_str!("encrypted_webm.json");

    #[test]
    fn f23_parses_rotated_hdr_video() {
        let info = parse(ROTATED_HDR.as_bytes()).unwrap();
        assert_eq!(
            info,
            MediaInfo {
                stream: 0,
                codec: "hevc".into(),
                coded_size: Size { width: 1920, height: 1080 },
                display_size: Size { width: 1080, height: 1920 },
                rotation: 90,
                has_color_matrix: true,
                unsupported_colors: UnsupportedColors::default(),
                transfer: ColorTransfer::Hlg,
                dolby_vision_profile: None,
                duration_ms: 1666,
                start_ms: 0,
                frame_count: 0,
                fps: 24.0,
                frame_ms: 0.0,
                is_interlaced: false,
                has_audio: false,
                crop: None,
            }
        );
    }

    #[test]
    fn f23_applies_pixel_aspect_ratio() {
        let info = parse(ANAMORPHIC.as_bytes()).unwrap();
        assert_eq!(info.coded_size, Size { width: 720, height: 576 });
        assert_eq!(info.display_size, Size { width: 1024, height: 576 });
        assert!(info.has_audio);
    }

    #[test]
    fn f5_f22_rejects_captured_reports() {
        for (name, json, expected) in [
            ("cover", COVER, Code::NoVideoStream),
            ("encrypted mp4", ENCRYPTED_MP4, Code::Encrypted),
            ("encrypted webm", ENCRYPTED_WEBM, Code::Encrypted),
            ("nothing", "{}", Code::NoVideoStream),
            ("no json", "{", Code::Truncated),
        ] {
            assert_eq!(parse(json.as_bytes()), Err(expected), "{name}");
        }
    }

    fn parse_stream(changes: &Value) -> Result<MediaInfo, Code> {
        let mut stream =
            json!({"index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 480});
        for (name, value) in changes.as_object().unwrap() {
            stream[name] = value.clone();
        }
        parse(json!({"streams": [stream], "format": {"nb_streams": 1}}).to_string().as_bytes())
    }

    #[test]
    fn f6_f11_rejects_unsupported_streams() {
        for (changes, expected) in [
            (json!({"codec_name": "magicyuv"}), Code::UnsupportedCodec),
            (json!({"codec_name": "unknown"}), Code::UnsupportedCodec),
            (json!({"codec_name": "none", "codec_tag_string": "encv"}), Code::Encrypted),
            (json!({"codec_type": "audio"}), Code::NoVideoStream),
            (json!({"width": 8193}), Code::TooManyPixels),
            (json!({"height": 65535}), Code::TooManyPixels),
            (json!({"width": 8192, "height": 4321}), Code::TooManyPixels),
            (json!({"width": 0}), Code::Truncated),
        ] {
            assert_eq!(parse_stream(&changes), Err(expected), "{changes}");
        }
        assert!(parse_stream(&json!({"width": 8192, "height": 4320, "duration": "86400.0"})).is_ok());
        let many = json!({"streams": [], "format": {"nb_streams": 65}}).to_string();
        assert_eq!(parse(many.as_bytes()), Err(Code::TooManyStreams));
    }

    #[test]
    fn ignores_missing_and_absurd_values() {
        for (changes, display_size, rotation) in [
            (json!({}), (640, 480), 0),
            (json!({"sample_aspect_ratio": "0:1"}), (640, 480), 0),
            (json!({"sample_aspect_ratio": "1:65535"}), (640, 480), 0),
            (json!({"sample_aspect_ratio": "4:3"}), (853, 480), 0),
            (json!({"side_data_list": [{"rotation": 180}]}), (640, 480), 180),
            (json!({"side_data_list": [{"rotation": 90}]}), (480, 640), 270),
            (json!({"side_data_list": [{"rotation": -90}]}), (480, 640), 90),
            (json!({"side_data_list": [{"rotation": 5}]}), (640, 480), 0),
            (json!({"side_data_list": [{"rotation": -0.0}]}), (640, 480), 0),
        ] {
            let info = parse_stream(&changes).unwrap();
            assert_eq!(
                ((info.display_size.width, info.display_size.height), info.rotation),
                (display_size, rotation),
                "{changes}"
            );
        }
        let info =
            parse_stream(&json!({"duration": "N/A", "avg_frame_rate": "0/0", "r_frame_rate": "90000/1"}))
                .unwrap();
        assert_eq!((info.duration_ms, info.fps), (0, 0.0));
    }

    #[test]
    fn averages_packet_durations() {
        let packet = |stream: u32, duration: &str| json!({"stream_index": stream, "duration_time": duration});
        for (packets, expected) in [
            (vec![], 0.0),
            (vec![packet(0, "0.040000"), packet(1, "7.0"), packet(0, "0.060000"), packet(0, "N/A")], 50.0),
            (vec![packet(0, "nan"), packet(0, "0.040000")], 0.0),
            (vec![packet(0, "-1")], 0.0),
        ] {
            let stream = json!({"codec_type": "video", "codec_name": "h264", "width": 64, "height": 36});
            let report = json!({"streams": [stream], "packets": packets}).to_string();
            let found = parse(report.as_bytes()).unwrap().frame_ms;
            assert!((found - expected).abs() < 1e-9, "{found} ms of {packets:?}");
        }
    }

    #[test]
    fn f5_selects_stream_that_players_show() {
        let stream = |codec: &str, default: u32, more: &Value| {
            let mut stream = json!({"codec_type": "video", "codec_name": codec, "width": 64, "height": 36});
            stream["disposition"] = json!({"default": default});
            for (name, value) in more.as_object().unwrap() {
                stream["disposition"][name] = value.clone();
            }
            stream
        };
        let plain = json!({});
        for (name, mut streams, expected) in [
            ("the supported codec", vec![stream("bmp", 1, &plain), stream("vp9", 0, &plain)], 1),
            (
                "no cover image of a song",
                vec![stream("mjpeg", 1, &json!({"attached_pic": 1})), stream("vp9", 0, &plain)],
                1,
            ),
            ("the default", vec![stream("h264", 0, &plain), stream("h264", 1, &plain)], 1),
            ("no cover image beside a video", vec![stream("mjpeg", 1, &plain), stream("h264", 1, &plain)], 1),
            ("a cover that is the default", vec![stream("h264", 0, &plain), stream("mjpeg", 1, &plain)], 1),
            ("no still", vec![stream("h264", 0, &json!({"still_image": 1})), stream("h264", 0, &plain)], 1),
            ("the first", vec![stream("h264", 0, &plain), stream("h264", 0, &plain)], 0),
        ] {
            for (index, stream) in streams.iter_mut().enumerate() {
                stream["index"] = json!(index);
            }
            assert_eq!(
                parse(json!({"streams": streams}).to_string().as_bytes()).unwrap().stream,
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn crop_scales_display_size() {
        let crop = Crop { left: 0, top: 40, width: 640, height: 400 };
        for (changes, display_size) in [
            (json!({}), (640, 400)),
            (json!({"sample_aspect_ratio": "4:3"}), (853, 400)),
            (json!({"side_data_list": [{"rotation": 90}]}), (400, 640)),
        ] {
            let mut info = parse_stream(&changes).unwrap();
            info.apply_crop(crop);
            assert_eq!((info.display_size.width, info.display_size.height), display_size, "{changes}");
            assert_eq!((info.coded_size, info.crop), (Size { width: 640, height: 480 }, Some(crop)));
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            width: u32, height: u32, shape in "[0-9]{0,20}:[0-9]{0,20}", turn: f64, duration in "[-0-9.e]{0,12}",
        ) {
            let turn = if turn.is_finite() { json!(turn) } else { Value::Null };
            let _ = parse_stream(&json!({"width": width, "height": height, "sample_aspect_ratio": shape,
                "duration": duration, "side_data_list": [{"rotation": turn}]}));
        }
    }
}
