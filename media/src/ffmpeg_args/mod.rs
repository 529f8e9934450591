//! Builds the argument lists for ffmpeg and ffprobe. Does no IO: every command line can be tested as a list.
//!
//! No argument contains text that a user chose. ffmpeg only decodes and downscales; its output is raw frames. Its input
//! is either an excerpt on standard input, or the URL of the source proxy.

use glimpse_contract::limits;

use crate::codec::DECODERS;
use crate::container::Container;
use crate::demux::demuxer::Crop;
use crate::probe::{ColorTransfer, MediaInfo};
use crate::size::Size;

/// Additional codecs that cover images may have.
const COVER_CODECS: &str = "png,bmp";

/// The largest memory block that ffmpeg may allocate, in bytes (docs/threat-model.md, F9): an 8K frame with 16 bits per
/// sample fits.
const MAX_ALLOC_BYTES: u64 = 256 * 1024 * 1024;
/// Threads of a decoder that runs alone. More are hardly faster on the one or two cores of a Lambda, and use more
/// memory.
pub const MAX_THREADS: u32 = 2;
/// Frames with more pixels than 4K are decoded by a single thread: each further thread holds a frame of up to 106 MB.
const SINGLE_THREAD_PIXELS: u64 = 4096 * 2304;
/// A timestamp jump of this many seconds is a new clock; a shorter one is a pause. ffmpeg's default is ten.
const DTS_DELTA_THRESHOLD_SECS: u32 = 300;
/// By how much two aspect ratios may differ and still be treated as equal.
const ASPECT_TOLERANCE: &str = "0.03";
/// From this fraction of the source's frame rate, a requested rate counts as about the same.
const NEAR_SOURCE_RATE: f64 = 0.75;
/// How many packets are inspected for signs of encryption: they include the first packets of every track.
const PROBED_PACKETS: u32 = 32;
/// How many bytes ffprobe reads at most to find the headers of all streams.
const FAR_PROBE_BYTES: u64 = 32 * 1024 * 1024;

/// Where decoding starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTarget {
    /// At the first frame.
    FirstFrame,
    /// At the first frame. Each output frame is the one in the middle of its interval, not at the start.
    SlotMiddles,
    /// At the start of the file, which may be before the first frame that is decoded.
    FileStart,
    /// At the keyframe before this time, which is fast. In milliseconds.
    Keyframe(u64),
    /// At the frame that is shown at this time: all frames from the keyframe are decoded for it. In milliseconds.
    Exact {
        /// The requested time.
        at_ms: u64,
        /// How long before it reading starts.
        pre_roll_ms: u64,
    },
}

/// A request to decode frames of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeRequest {
    /// Where decoding starts.
    pub seek: SeekTarget,
    /// Whether only keyframes are decoded.
    pub keyframes_only: bool,
    /// Frames per second; if `None`, all frames. With [`SeekTarget::Exact`], each output frame is the one that is shown
    /// at its time; times without a known frame are skipped, and without a rate there is one frame.
    pub fps: Option<f64>,
    /// The maximum number of frames.
    pub count: u32,
    /// The size of the output frames.
    pub size: Size,
}

/// A request to decode the frames of an excerpt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExcerptRequest {
    /// The display matrix of the track: frames are rotated after downscaling.
    pub matrix: [i32; 9],
    /// The number of frames.
    pub count: u32,
    /// The size of the output frames.
    pub size: Size,
    /// The quality of decoding and downscaling.
    pub quality: DecodeQuality,
    /// The number of threads of the decoder, at most [`MAX_THREADS`].
    pub threads: u32,
}

fn split_args(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// The quality of decoding and downscaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeQuality {
    /// Conforming to the standard, with a sharp scaler.
    Full,
    /// For output frames that are much smaller than the coded ones: each pixel is the mean of its area. Deblocking is
    /// skipped for B-frames, which is not visible at that size: an error can only spread to the B-frames between the
    /// same two reference frames.
    Fast {
        /// Whether all frames are keyframes, so that none references another.
        keyframes_only: bool,
    },
}

impl DecodeQuality {
    /// The ratio of coded to output width from which fast decoding is used.
    const FAST_RATIO: u32 = 3;

    /// Selects fast decoding if the frames of this source are much larger than the output.
    pub fn choose(info: &MediaInfo, size: Size, keyframes_only: bool) -> Self {
        let Size { width, height } = size;
        let (long, short) = (
            info.coded_size.width.max(info.coded_size.height),
            info.coded_size.width.min(info.coded_size.height),
        );
        if long >= Self::FAST_RATIO * width.max(height) && short >= Self::FAST_RATIO * width.min(height) {
            Self::Fast { keyframes_only }
        } else {
            Self::Full
        }
    }

    fn scale_flags(self) -> &'static str {
        match self {
            Self::Full => "bicubic",
            Self::Fast { .. } => "area",
        }
    }

    fn decoder_args(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Fast { keyframes_only: true } => "-skip_loop_filter all",
            Self::Fast { keyframes_only: false } => "-skip_loop_filter bidir",
        }
    }
}

/// The input of ffmpeg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// An excerpt on standard input.
    Excerpt,
    /// A source of this container, at the URL of the source proxy.
    Proxy(Container, &'a str),
}

impl<'a> Input<'a> {
    fn container(self) -> Container {
        match self {
            Self::Excerpt => Container::Mov,
            Self::Proxy(container, _) => container,
        }
    }

    fn url(self) -> &'a str {
        match self {
            Self::Excerpt => "pipe:0",
            Self::Proxy(_, url) => url,
        }
    }

    fn protocols(self) -> &'static str {
        match self {
            Self::Excerpt => "pipe",
            Self::Proxy(..) => "http,tcp",
        }
    }
}

/// Restrictions for every read: one demuxer, one URL, the allowed decoders, and a maximum frame size.
fn allowlist_args(input: Input<'_>, codecs: &str, decoders: String) -> Vec<String> {
    let container = input.container();
    let demuxer = container.ffmpeg_name();
    let mut args: Vec<String> =
        ["-protocol_whitelist", input.protocols(), "-format_whitelist"].map(str::to_owned).into();
    args.push(demuxer.to_owned());
    args.push(codecs.to_owned());
    args.push(decoders);
    args.extend(split_args("-max_pixels"));
    args.push(limits::MAX_PIXELS.to_string());
    // Disables external references of QuickTime, regardless of the build's default (docs/threat-model.md, F4).
    if container == Container::Mov {
        args.extend(split_args("-enable_drefs 0 -use_absolute_path 0"));
    }
    args.extend(split_args("-f"));
    args.push(demuxer.to_owned());
    args
}

/// Arguments for ffprobe: the contents of the file, as JSON.
pub fn probe(input: Input<'_>) -> Vec<String> {
    let mut args: Vec<String> = split_args("-hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    // ffprobe opens a decoder for every stream and aborts at the first that is not allowed. Audio therefore uses the
    // build's decoders (the layer has none), and the codecs of cover images are allowed.
    args.extend(allowlist_args(
        input,
        "-codec_whitelist:v",
        format!("{},{COVER_CODECS}", DECODERS.join(",")),
    ));
    args.extend(split_args("-of json=compact=1 -show_entries"));
    args.push(
        "format=start_time,duration,nb_streams:\
         stream=index,codec_type,codec_name,codec_tag_string,width,height,pix_fmt,sample_aspect_ratio,color_space,\
         color_transfer,color_primaries,field_order,avg_frame_rate,r_frame_rate,duration,nb_frames:\
         stream_disposition=attached_pic,still_image,default:stream_tags=rotate,enc_key_id:\
         stream_side_data=side_data_type,rotation,dv_profile,dv_bl_signal_compatibility_id:\
         packet=stream_index,duration_time:packet_side_data=side_data_type"
            .into(),
    );
    args.extend(split_args("-read_intervals"));
    args.push(format!("%+#{PROBED_PACKETS}"));
    args.push(input.url().to_owned());
    args
}

/// Like [`probe`], but ffprobe searches up to `FAR_PROBE_BYTES` for the headers of every stream, and not about five
/// seconds: in a transport stream, a frame ends only where the next one begins or at the end of the file.
pub fn probe_far(input: Input<'_>) -> Vec<String> {
    let far = ["-probesize".into(), FAR_PROBE_BYTES.to_string(), "-analyzeduration".into(), "100000M".into()];
    far.into_iter().chain(probe(input)).collect()
}

/// Arguments for ffprobe: presentation times of the last packets of all streams, from the last keyframe that can be
/// found.
///
/// The start is after any permitted end, so that every demuxer seeks as far as possible.
pub fn last_packets(input: Input<'_>, start_ms: u64) -> Vec<String> {
    let past_end_ms = start_ms.saturating_add(limits::MAX_DURATION_MS);
    let mut args = packet_query_args(input, None);
    args.extend(["packet=pts_time,dts_time,duration_time", "-read_intervals"].map(str::to_owned));
    args.push(format!("{}%", format_secs(past_end_ms)));
    args.push(input.url().to_owned());
    args
}

/// Arguments for ffprobe: the presentation time of the packet at which a seek to this time ends. In milliseconds.
pub fn packet_at(input: Input<'_>, stream: u32, at_ms: u64) -> Vec<String> {
    let mut args = packet_query_args(input, Some(stream));
    args.extend(["packet=pts_time,dts_time,duration_time", "-read_intervals"].map(str::to_owned));
    args.push(format!("{}%+#1", format_secs(at_ms)));
    args.push(input.url().to_owned());
    args
}

/// Arguments for ffprobe: the number of packets in a stream.
pub fn count_packets(input: Input<'_>, stream: u32) -> Vec<String> {
    let mut args = packet_query_args(input, Some(stream));
    args.extend(["stream=nb_read_packets", "-count_packets"].map(str::to_owned));
    args.push(input.url().to_owned());
    args
}

fn packet_query_args(input: Input<'_>, stream: Option<u32>) -> Vec<String> {
    let mut args: Vec<String> = split_args("-hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    args.extend(allowlist_args(
        input,
        "-codec_whitelist:v",
        format!("{},{COVER_CODECS}", DECODERS.join(",")),
    ));
    args.extend(split_args("-of json=compact=1"));
    if let Some(stream) = stream {
        args.extend(["-select_streams".into(), stream.to_string()]);
    }
    args.extend(split_args("-show_entries"));
    args
}

/// The arguments before the input, the same for all decoding.
fn input_args(input: Input<'_>, info: &MediaInfo, threads: u32) -> Vec<String> {
    let mut args: Vec<String> = split_args("-nostdin -hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    if input.container().running_clock().is_some() {
        args.extend(["-dts_delta_threshold".into(), DTS_DELTA_THRESHOLD_SECS.to_string()]);
    }
    args.extend(split_args("-threads"));
    let is_huge = u64::from(info.coded_size.width) * u64::from(info.coded_size.height) > SINGLE_THREAD_PIXELS;
    args.push(if is_huge { 1 } else { threads.clamp(1, MAX_THREADS) }.to_string());
    args.extend(allowlist_args(input, "-codec_whitelist", DECODERS.join(",")));
    args
}

/// The arguments after the input, the same for all decoding: raw frames on standard output, without metadata of the
/// source.
fn push_output_args(args: &mut Vec<String>, info: &MediaInfo, filters: String, count: u32) {
    args.extend(split_args("-an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 -vf"));
    args.push(filters);
    args.extend(split_args("-frames:v"));
    args.push(count.to_string());
    // Each thread of the encoder, which only copies, would reserve a stack.
    args.extend(split_args(
        "-fps_mode passthrough -fflags +bitexact -flags:v +bitexact -threads:v 1 -pix_fmt",
    ));
    args.push(if info.is_ipt() { IPT_FORMAT } else { "rgb24" }.to_owned());
    args.extend(split_args("-f rawvideo pipe:1"));
}

/// Arguments for ffmpeg: decodes the output frames of an excerpt to raw frames.
pub fn decode_excerpt(info: &MediaInfo, tone_map: bool, request: &ExcerptRequest) -> Vec<String> {
    let ExcerptRequest { matrix, count, size, quality, threads } = *request;
    let mut args = input_args(Input::Excerpt, info, threads);
    let rotation = DisplayRotation::from_matrix(&matrix);
    if rotation != DisplayRotation::Arbitrary {
        args.push("-noautorotate".into());
        if allows_size_changes(info) {
            // A frame of another size must not restart the frame count.
            args.extend(split_args("-reinit_filter 0"));
        }
    }
    args.extend(split_args(quality.decoder_args()));
    args.extend(split_args("-i pipe:0 -map 0:v:0"));
    let unrotated =
        if rotation.swaps_sides() { Size { width: size.height, height: size.width } } else { size };
    let chain = format!(
        "fps=1:start_time=0:round=near:eof_action=pass,trim=end_frame={count},{}",
        filter_chain(info, tone_map, unrotated, quality, rotation.filters())
    );
    push_output_args(&mut args, info, chain, count);
    args
}

/// How a display matrix rotates a frame, with the semantics of ffmpeg's command-line tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DisplayRotation {
    /// Along the axes, by these filters.
    AxisAligned(&'static str),
    /// By a quarter turn, by these filters: width and height are swapped.
    QuarterTurn(&'static str),
    /// By another angle: ffmpeg rotates the frame itself, before all filters.
    Arbitrary,
}

impl DisplayRotation {
    fn from_matrix(matrix: &[i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(i32::signum);
        match (a, b, c, d) {
            (-1, 0, 0, -1) => Self::AxisAligned(",hflip,vflip"),
            (-1, 0, 0, _) => Self::AxisAligned(",hflip"),
            (_, 0, 0, -1) => Self::AxisAligned(",vflip"),
            (_, 0, 0, _) => Self::AxisAligned(""),
            (0, 1, 1, 0) => Self::QuarterTurn(",transpose=cclock_flip"),
            (0, 1, _, 0) => Self::QuarterTurn(",transpose=clock"),
            (0, -1, -1, 0) => Self::QuarterTurn(",transpose=clock_flip"),
            (0, -1, _, 0) => Self::QuarterTurn(",transpose=cclock"),
            _ => Self::Arbitrary,
        }
    }

    fn swaps_sides(self) -> bool {
        matches!(self, Self::QuarterTurn(_))
    }

    fn filters(self) -> &'static str {
        match self {
            Self::AxisAligned(filters) | Self::QuarterTurn(filters) => filters,
            Self::Arbitrary => "",
        }
    }
}

/// Arguments for ffmpeg: decodes raw frames of a source through the source proxy.
pub fn decode(
    container: Container,
    url: &str,
    info: &MediaInfo,
    tone_map: bool,
    request: &DecodeRequest,
) -> Vec<String> {
    let mut args = input_args(Input::Proxy(container, url), info, MAX_THREADS);
    // A frame of another size must not restart the frame count. Only these two containers specify a rotation, which
    // ffmpeg applies before all filters and only to frames of one size.
    if allows_size_changes(info) && !matches!(container, Container::Mov | Container::Matroska) {
        args.extend(split_args("-noautorotate -reinit_filter 0"));
    }
    if request.keyframes_only {
        args.extend(split_args("-skip_frame nokey"));
    }
    match request.seek {
        SeekTarget::FirstFrame | SeekTarget::SlotMiddles | SeekTarget::FileStart => {}
        SeekTarget::Keyframe(ms) => args.extend(["-noaccurate_seek".into(), "-ss".into(), format_secs(ms)]),
        SeekTarget::Exact { at_ms, pre_roll_ms: run_up_ms } => {
            // Keeps the timestamps of the file: shifting would round them to whole frames in some containers, like the
            // time of a seek.
            let half_ms = if info.fps > 0.0 { (500.0 / info.fps) as u64 + 1 } else { 500 };
            let seek_ms = at_ms.saturating_sub(run_up_ms).saturating_sub(half_ms);
            args.extend(split_args("-copyts -start_at_zero -noaccurate_seek -ss"));
            args.push(format_secs(seek_ms));
        }
    }
    args.extend(["-i".into(), url.to_owned(), "-map".into(), format!("0:{}", info.stream)]);
    let (before, after) = frame_rate_filters(info, request);
    let chain = before + &filter_chain(info, tone_map, request.size, DecodeQuality::Full, "") + &after;
    push_output_args(&mut args, info, chain, request.count);
    args
}

/// Filters that set the frame rate, before and after all other processing: frames are dropped before it and repeated
/// after it.
///
/// `fps` repeats a frame for as long as it is shown, and ffmpeg buffers every frame that a filter outputs for one input
/// frame before it writes the first. Each `fps` is therefore followed by a limit: without it, a pause of an hour takes
/// gigabytes.
fn frame_rate_filters(info: &MediaInfo, request: &DecodeRequest) -> (String, String) {
    let DecodeRequest { seek, count, .. } = *request;
    // Two fields may count as two frames.
    let source_fps = if info.is_interlaced { info.fps / 2.0 } else { info.fps };
    let (start, rounding, fps) = match (seek, request.fps) {
        (SeekTarget::Exact { at_ms, .. }, fps) => {
            return exact_frame_filters(at_ms, fps.unwrap_or(1.0), source_fps, count);
        }
        // From 0, regardless of the start time of the file.
        (SeekTarget::FileStart, fps) => (String::new(), ":start_time=0", fps),
        (SeekTarget::SlotMiddles, fps) => ("setpts=PTS-STARTPTS,".to_owned(), "", fps),
        (SeekTarget::FirstFrame | SeekTarget::Keyframe(_), fps) => {
            // At about the source's rate, each frame has its own interval even if its timestamp is rounded.
            let is_near_source_fps = fps.is_none_or(|fps| fps > NEAR_SOURCE_RATE * source_fps);
            ("setpts=PTS-STARTPTS,".to_owned(), if is_near_source_fps { "" } else { ":round=up" }, fps)
        }
    };
    let Some(fps) = fps else { return (String::new(), String::new()) };
    let limit = format!("trim=end_frame={count}");
    if source_fps <= 0.0 || fps <= source_fps {
        return (format!("{start}fps={fps:.6}{rounding},{limit},"), String::new());
    }
    let before = if info.is_interlaced {
        let source_count = (f64::from(count) * source_fps / fps).ceil() + 2.0;
        format!("fps={source_fps:.6}{rounding},trim=end_frame={source_count:.0},")
    } else {
        String::new()
    };
    (format!("{start}{before}"), format!(",fps={fps:.6}{rounding},{limit}"))
}

/// Like [`frame_rate_filters`], for the frames that are shown at a time and at each later output time.
///
/// Each frame is moved to the second whose number is the index of the first output frame for which it is shown, and all
/// frames that start before the requested time to 0: of several frames in one second, `fps` keeps the last. A frame
/// that starts within half a millisecond counts as started, since timestamps are rounded. Output frames for which the
/// decoder has no frame at the beginning are skipped. A single frame may be the last one of the source: `fps` outputs it
/// at the end of the source only if that is later, which the shift by less than half a second makes it.
fn exact_frame_filters(at_ms: u64, fps: f64, source_fps: f64, count: u32) -> (String, String) {
    let index = format!("max(ceil((PTS*TB-{}-0.0005)*{fps:.6}),0)", format_secs(at_ms));
    let (retime, at_end) = if count == 1 {
        (format!("setpts='({index}+0.4)/TB'"), ":eof_action=pass")
    } else {
        (format!("setpts='{index}/TB'"), "")
    };
    let limit = format!("fps=1{at_end},trim=end={}.5:end_frame={count}", count.saturating_sub(1));
    if source_fps <= 0.0 || fps <= source_fps {
        (format!("{retime},{limit},"), String::new())
    } else {
        (format!("{retime},"), format!(",{limit}"))
    }
}

fn format_secs(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Removes the invisible part, in whole pixels of the format. Frames may be smaller than the container specifies.
fn crop_filter(crop: Crop) -> String {
    let Crop { left, top, width, height } = crop;
    format!("crop=w=min({width}\\,iw):h=min({height}\\,ih):x={left}:y={top},")
}

/// Converts a decoded frame to a small one in `rgb24`, or in Dolby Vision's planes: deinterlaced, scaled, tone-mapped,
/// and then rotated by `rotation_filters`.
fn filter_chain(
    info: &MediaInfo,
    tone_map: bool,
    size: Size,
    quality: DecodeQuality,
    rotation_filters: &str,
) -> String {
    let Size { width, height } = size;
    let mut chain = relabel_filter(info);
    // Each frame separately: the previous frame in an excerpt may be from another scene.
    chain += if info.is_interlaced { "estdif=mode=frame:deint=interlaced," } else { "" };
    chain += &info.crop.map(crop_filter).unwrap_or_default();
    let mut color_options = String::new();
    if !info.unsupported_colors.matrix {
        if info.unsupported_colors.transfer {
            color_options += ":in_transfer=bt709";
        }
        if info.unsupported_colors.primaries {
            color_options += ":in_primaries=bt709";
        }
    }
    let scaler = format!("scale={width}:{height}:flags={}{color_options}", quality.scale_flags());
    if info.is_ipt() {
        // Without color conversion: `image::dolby_vision` converts the planes.
        return format!(
            "{chain}{scaler}:out_range=full,format={IPT_FORMAT}{rotation_filters},setsar=1,format={IPT_FORMAT}"
        );
    }
    match info.transfer {
        ColorTransfer::Pq | ColorTransfer::Hlg if tone_map => {
            let transfer = if info.transfer == ColorTransfer::Pq { "smpte2084" } else { "arib-std-b67" };
            // Scaled first: tone mapping uses floats and is the most expensive step; without chroma subsampling, since
            // zscale rejects it for odd sizes. 203 cd/m2 is white in ITU-R BT.2408, and 1000 cd/m2, 4.93 times as much,
            // is what most videos are graded for. Up to half of white, nothing is changed; brighter values are
            // compressed into the rest, so that faces keep their brightness.
            let tone_mapped = format!(
                "{scaler}:out_range=limited,format=yuv444p10le,\
                 zscale=tin={transfer}:pin=bt2020:min=bt2020nc:rin=limited:t=linear:npl=203,format=gbrpf32le,\
                 zscale=p=bt709,tonemap=tonemap=mobius:param=0.5:peak=4.93:desat=0,zscale=t=bt709:m=bt709:r=limited,format=yuv444p,\
                 scale=in_color_matrix=bt709:in_range=limited"
            );
            chain.push_str(&tone_mapped);
        }
        ColorTransfer::Pq | ColorTransfer::Hlg | ColorTransfer::Sdr => {
            chain += &(fit_filter(info, size, quality) + &color_options);
            // Without a specified matrix, use the usual one for its size, like players.
            if !info.has_color_matrix && !info.unsupported_colors.matrix {
                chain.push_str(":in_color_matrix=");
                chain.push_str(if is_large(info) { "bt709" } else { "bt601" });
            }
            chain += &center_filter(size);
        }
    }
    chain + rotation_filters + ",setsar=1,format=rgb24"
}

/// Whether no filter before the scaler requires a constant frame size.
fn allows_size_changes(info: &MediaInfo) -> bool {
    !info.is_interlaced && info.crop.is_none() && !info.unsupported_colors.matrix
}

/// Centers a smaller frame in a black one. A rotation by 0 does this in every build. It has to follow `scale`
/// immediately, which does not report the changed size to other filters.
fn center_filter(Size { width, height }: Size) -> String {
    format!(",rotate=a=0:ow={width}:oh={height}:c=black:bilinear=0")
}

/// The scaler for frames whose aspect ratio may differ from that of the video: such a frame is fitted into `size`.
/// Differences of less than [`ASPECT_TOLERANCE`] are rounding errors.
fn fit_filter(info: &MediaInfo, Size { width, height }: Size, quality: DecodeQuality) -> String {
    let Size { width: display_width, height: display_height } = info.unrotated_size();
    // The ratio of the frame's aspect ratio to the video's. Implausible pixel aspect ratios are ignored.
    let if_same_aspect = format!(
        "st(0,if(between(sar,1/4,4),dar,a)*{display_height}/{display_width});if(lt(abs(ld(0)-1),{ASPECT_TOLERANCE}),"
    );
    format!(
        "scale=w='{if_same_aspect}{width},max(1,round({width}*min(1,ld(0)))))'\
         :h='{if_same_aspect}{height},max(1,round({height}/max(1,ld(0)))))':eval=frame:flags={}",
        quality.scale_flags()
    )
}

/// The pixel format of Dolby Vision's planes: not subsampled, 16 bits per sample.
const IPT_FORMAT: &str = "yuv444p16le";

/// Whether frames of this size usually have the matrix of ITU-R BT.709.
fn is_large(info: &MediaInfo) -> bool {
    info.coded_size.height >= 720 || info.coded_size.width >= 1280
}

/// Replaces a matrix that the scaler rejects, even if another one is specified, with the usual one for the size. Pixels
/// are not changed: input and output are declared with the same values.
fn relabel_filter(info: &MediaInfo) -> String {
    if !info.unsupported_colors.matrix {
        return String::new();
    }
    let (matrix, transfer, primaries) = match info.transfer {
        ColorTransfer::Pq => ("2020_ncl", "smpte2084", "2020"),
        ColorTransfer::Hlg => ("2020_ncl", "arib-std-b67", "2020"),
        ColorTransfer::Sdr if is_large(info) => ("709", "709", "709"),
        ColorTransfer::Sdr => ("170m", "601", "170m"),
    };
    format!("zscale=min={matrix}:tin={transfer}:pin={primaries}:m={matrix}:t={transfer}:p={primaries},")
}

/// Arguments for ffmpeg: lists its filters.
pub fn list_filters() -> Vec<String> {
    split_args("-hide_banner -filters").collect()
}

#[cfg(test)]
mod tests;
