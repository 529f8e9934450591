//! Decides what ffmpeg and ffprobe are told. Pure: every call is a list of words that a test can read.
//!
//! Nothing that a user chose is among them. ffmpeg only decodes and makes smaller: what comes out is raw frames. It
//! reads either a digest, a small file of our own making on standard input, or the relay's one address.

use glimpse_contract::limits;

use crate::codec::DECODERS;
use crate::container::Container;
use crate::demux::demuxer::Crop;
use crate::probe::{ColorTransfer, MediaInfo};
use crate::size::Size;

/// The formats that a cover picture may have besides.
const COVER_CODECS: &str = "png,bmp";

/// The largest block that ffmpeg may allocate, in bytes (THREATS F9): an 8K frame of 16 bits a sample fits.
const MAX_ALLOC_BYTES: u64 = 256 * 1024 * 1024;
/// Threads of one decoder. More help little on a Lambda's one or two cores and cost memory.
const THREADS: u32 = 2;
/// Pictures of more pixels than 4K has are decoded by one thread: each more keeps a picture of up to 106 MB.
const SINGLE_THREAD_PIXELS: u64 = 4096 * 2304;
/// How much earlier a stream without an index is entered than it is wanted, in milliseconds: first more than the keyframes
/// of broadcasts and discs lie apart; where no picture before the moment is found so, ten times and a hundred times that.
const PRE_ROLLS_MS: [u64; 4] = [3_000, 30_000, 300_000, u64::MAX];
/// The same of a stream that may have an index, which may be wrong.
const INDEXED_PRE_ROLLS_MS: [u64; 3] = [0, 30_000, u64::MAX];
/// A clock that jumps so far is another's, in seconds: less is a pause. ffmpeg would take ten for another clock.
const DTS_DELTA_THRESHOLD_SECS: u32 = 300;
/// By how much the shapes of two pictures may differ and still count as the same.
const ASPECT_TOLERANCE: &str = "0.03";
/// From how much of its own rate on a source is seen at about that.
const NEAR_SOURCE_RATE: f64 = 0.75;
/// How many packets are looked at for signs of encryption: the first of every track are among them.
const PROBED_PACKETS: u32 = 32;

/// From where frames are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTarget {
    /// From the first frame.
    FirstFrame,
    /// From the first frame, and of each slot the picture in its middle, not at its beginning.
    SlotMiddles,
    /// From where the file begins, which may be before the first frame that is looked at.
    FileStart,
    /// From the keyframe before this moment: fast. Milliseconds.
    Keyframe(u64),
    /// From the picture that is shown at this moment: everything from the keyframe on is decoded for it. Milliseconds.
    Exact {
        /// The moment.
        at_ms: u64,
        /// How much earlier the stream is entered.
        pre_roll_ms: u64,
    },
}

/// What is to be decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeRequest {
    /// From where.
    pub seek: SeekTarget,
    /// Whether only keyframes are looked at.
    pub keyframes_only: bool,
    /// At how many frames a second; as they come if none. From [`SeekTarget::Exact`] each is the picture that is shown at its
    /// moment, and those for which none is known yet are left out; without a rate there is one.
    pub fps: Option<f64>,
    /// At most how many.
    pub count: u32,
    /// In which size.
    pub size: Size,
}

fn split_args(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// How faithfully pictures are decoded and made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeQuality {
    /// As the standard says, and sharp.
    Full,
    /// For pictures that are wanted far smaller than they are coded: each pixel is the mean of its area, and edges of
    /// blocks stay where no other picture builds on them, which is not to be seen in it.
    Fast {
        /// Whether every picture stands alone, so that none builds on another.
        keyframes_only: bool,
    },
}

impl DecodeQuality {
    /// From how many coded pixels in a row for one that is wanted on a glance is enough.
    const FAST_RATIO: u32 = 3;

    /// A glance, if the pictures of this source are far larger than this.
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
            Self::Fast { keyframes_only: false } => "-skip_loop_filter noref",
        }
    }
}

/// Where ffmpeg reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A digest on standard input.
    Excerpt,
    /// A source of this container through the relay's address.
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

/// What holds for every read: one demuxer, one place, the known decoders, no huge picture.
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
    // External references of QuickTime stay closed, whatever a build's default is (THREATS F4).
    if container == Container::Mov {
        args.extend(split_args("-enable_drefs 0 -use_absolute_path 0"));
    }
    args.extend(split_args("-f"));
    args.push(demuxer.to_owned());
    args
}

/// ffprobe: what is in the file, as JSON.
pub fn probe(input: Input<'_>) -> Vec<String> {
    let mut args: Vec<String> = split_args("-hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    // ffprobe opens a decoder for every stream and ends at the first that is refused. Sound is therefore left to what
    // the build has (the layer's has none), and the formats of cover pictures are let in.
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

/// ffprobe: when the last packets of a stream are shown, those from the last keyframe that can be found on.
///
/// Later than any end that is let through, so that every demuxer goes as far as it can.
pub fn last_packets(input: Input<'_>, stream: u32, start_ms: u64) -> Vec<String> {
    let past_end_ms = start_ms.saturating_add(limits::MAX_DURATION_MS);
    let mut args = packet_query_args(input, stream);
    args.extend(["packet=pts_time,dts_time,duration_time", "-read_intervals"].map(str::to_owned));
    args.push(format!("{}%", format_secs(past_end_ms)));
    args.push(input.url().to_owned());
    args
}

/// ffprobe: when the packet is shown where a seek to this moment ends. Milliseconds.
pub fn packet_at(input: Input<'_>, stream: u32, at_ms: u64) -> Vec<String> {
    let mut args = packet_query_args(input, stream);
    args.extend(["packet=pts_time,dts_time,duration_time", "-read_intervals"].map(str::to_owned));
    args.push(format!("{}%+#1", format_secs(at_ms)));
    args.push(input.url().to_owned());
    args
}

/// ffprobe: how many packets a stream has.
pub fn count_packets(input: Input<'_>, stream: u32) -> Vec<String> {
    let mut args = packet_query_args(input, stream);
    args.extend(["stream=nb_read_packets", "-count_packets"].map(str::to_owned));
    args.push(input.url().to_owned());
    args
}

fn packet_query_args(input: Input<'_>, stream: u32) -> Vec<String> {
    let mut args: Vec<String> = split_args("-hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    args.extend(allowlist_args(
        input,
        "-codec_whitelist:v",
        format!("{},{COVER_CODECS}", DECODERS.join(",")),
    ));
    args.extend(split_args("-of json=compact=1 -select_streams"));
    args.push(stream.to_string());
    args.extend(split_args("-show_entries"));
    args
}

/// What every decoding begins with.
fn input_args(input: Input<'_>, info: &MediaInfo) -> Vec<String> {
    let mut args: Vec<String> = split_args("-nostdin -hide_banner -v error -max_alloc").collect();
    args.push(MAX_ALLOC_BYTES.to_string());
    if let Input::Proxy(Container::Mpegts | Container::Mpeg, _) = input {
        args.extend(["-dts_delta_threshold".into(), DTS_DELTA_THRESHOLD_SECS.to_string()]);
    }
    args.extend(split_args("-threads"));
    let is_huge = u64::from(info.coded_size.width) * u64::from(info.coded_size.height) > SINGLE_THREAD_PIXELS;
    args.push(if is_huge { 1 } else { THREADS }.to_string());
    args.extend(allowlist_args(input, "-codec_whitelist", DECODERS.join(",")));
    args
}

/// What every decoding ends with: raw frames on standard output, and nothing of the source's words.
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

/// ffmpeg: one raw frame of this size for each of so many slots of a digest.
///
/// `matrix` is its track's: the frames are turned after they were made small.
pub fn decode_excerpt(
    info: &MediaInfo,
    tone_map: bool,
    matrix: &[i32; 9],
    (size, slots): (Size, u32),
    quality: DecodeQuality,
) -> Vec<String> {
    let mut args = input_args(Input::Excerpt, info);
    let rotation = DisplayRotation::from_matrix(matrix);
    if rotation != DisplayRotation::Arbitrary {
        args.push("-noautorotate".into());
        if allows_size_changes(info) {
            // A picture of another size does not begin the count of slots once more.
            args.extend(split_args("-reinit_filter 0"));
        }
    }
    args.extend(split_args(quality.decoder_args()));
    args.extend(split_args("-i pipe:0 -map 0:v:0"));
    let unrotated =
        if rotation.swaps_sides() { Size { width: size.height, height: size.width } } else { size };
    let chain = format!(
        "fps=1:start_time=0:round=near:eof_action=pass,trim=end_frame={slots},{}",
        filter_chain(info, tone_map, unrotated, quality, rotation.filters())
    );
    push_output_args(&mut args, info, chain, slots);
    args
}

/// How a display matrix turns a picture, as ffmpeg's own command line tool understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DisplayRotation {
    /// Along the axes, by these filters.
    AxisAligned(&'static str),
    /// By a quarter, by these filters: width and height change places.
    QuarterTurn(&'static str),
    /// By another angle: ffmpeg does it by itself, before anything else.
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

/// How much earlier than the moment that is wanted a container is entered, one try after another: without an index a seek
/// may land behind the keyframe that was meant.
pub fn pre_rolls_ms(container: Container) -> &'static [u64] {
    match container {
        Container::Mpegts | Container::Mpeg => &PRE_ROLLS_MS,
        // It has no times at all: only counting from the first picture finds a moment.
        Container::Mpegvideo => &[u64::MAX],
        _ => &INDEXED_PRE_ROLLS_MS,
    }
}

/// ffmpeg: raw frames of a source behind the relay.
pub fn decode(
    container: Container,
    url: &str,
    info: &MediaInfo,
    tone_map: bool,
    request: &DecodeRequest,
) -> Vec<String> {
    let mut args = input_args(Input::Proxy(container, url), info);
    // A picture of another size does not begin the count of frames once more. Only these containers say how a film is
    // turned, which ffmpeg does before anything else, for pictures of one size.
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
            // Its times stay those of the file: a shift would be rounded to whole pictures in some containers, and so is the
            // moment of a seek.
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

/// What makes so many frames a second, before and behind all that is computed: frames are left out before it and repeated
/// behind it.
///
/// `fps` repeats a picture for as long as it is shown, and ffmpeg keeps every frame that a filter makes of one picture
/// before it writes the first. So each `fps` is followed by a limit: without it, a pause of an hour takes gigabytes.
fn frame_rate_filters(info: &MediaInfo, request: &DecodeRequest) -> (String, String) {
    let DecodeRequest { seek, count, .. } = *request;
    // Two fields may count as two pictures.
    let source_fps = if info.is_interlaced { info.fps / 2.0 } else { info.fps };
    let (start, rounding, fps) = match (seek, request.fps) {
        (SeekTarget::Exact { at_ms, .. }, fps) => {
            return exact_frame_filters(at_ms, fps.unwrap_or(1.0), source_fps, count);
        }
        // From zero, wherever the file begins.
        (SeekTarget::FileStart, fps) => (String::new(), ":start_time=0", fps),
        (SeekTarget::SlotMiddles, fps) => ("setpts=PTS-STARTPTS,".to_owned(), "", fps),
        (SeekTarget::FirstFrame | SeekTarget::Keyframe(_), fps) => {
            // At about its own rate each picture has a slot, although its time may be rounded.
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

/// As [`frame_rate_filters`], of the pictures that are shown at a moment and at each later one.
///
/// Each picture is moved to the second that has the number of the first slot in which it is shown, and all that begin
/// earlier than the moment to zero: of several in one second `fps` keeps the last. A picture that begins within half a
/// millisecond has begun, since times are rounded. A slot for which the decoder has no picture at the beginning is left out.
fn exact_frame_filters(at_ms: u64, fps: f64, source_fps: f64, count: u32) -> (String, String) {
    let retime = format!("setpts='max(ceil((PTS*TB-{}-0.0005)*{fps:.6}),0)/TB'", format_secs(at_ms));
    let limit = format!("fps=1,trim=end={}.5:end_frame={count}", count.saturating_sub(1));
    if source_fps <= 0.0 || fps <= source_fps {
        (format!("{retime},{limit},"), String::new())
    } else {
        (format!("{retime},"), format!(",{limit}"))
    }
}

fn format_secs(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Leaves out what is not shown, by whole pixels of the format; a picture may be smaller than the container says.
fn crop_filter(crop: Crop) -> String {
    let Crop { left, top, width, height } = crop;
    format!("crop=w=min({width}\\,iw):h=min({height}\\,ih):x={left}:y={top},")
}

/// From a decoded picture to a small one in `rgb24`, or in Dolby Vision's planes: deinterlaced, scaled, tones mapped, and
/// then `turned`.
fn filter_chain(
    info: &MediaInfo,
    tone_map: bool,
    size: Size,
    quality: DecodeQuality,
    rotation_filters: &str,
) -> String {
    let Size { width, height } = size;
    let mut chain = relabel_filter(info);
    // Each frame by itself: the one before it in a digest may be of another scene.
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
        // Not a color is computed: what the planes mean, `picture::ipt` knows.
        return format!(
            "{chain}{scaler}:out_range=full,format={IPT_FORMAT}{rotation_filters},setsar=1,format={IPT_FORMAT}"
        );
    }
    match info.transfer {
        ColorTransfer::Pq | ColorTransfer::Hlg if tone_map => {
            let transfer = if info.transfer == ColorTransfer::Pq { "smpte2084" } else { "arib-std-b67" };
            // Shrunk first: tone mapping works on floats and costs most; without subsampling, which zscale refuses for
            // odd sizes. 203 cd/m2 is white in ITU-R BT.2408, and
            // 1000 cd/m2, 4.93 times as much, what most is graded for. Up to half of white nothing is changed; what is
            // brighter is squeezed into the rest, so that faces stay as bright as they were.
            let tone_mapped = format!(
                "{scaler}:out_range=limited,format=yuv444p10le,\
                 zscale=tin={transfer}:pin=bt2020:min=bt2020nc:rin=limited:t=linear:npl=203,format=gbrpf32le,\
                 zscale=p=bt709,tonemap=tonemap=mobius:param=0.5:peak=4.93:desat=0,zscale=t=bt709:m=bt709:r=limited,format=yuv444p,\
                 scale=in_color_matrix=bt709:in_range=limited"
            );
            chain.push_str(&tone_mapped);
        }
        _ => {
            chain += &(fit_filter(info, size, quality) + &color_options);
            // What does not say its matrix has the one of its size, as players guess it.
            if !info.has_color_matrix && !info.unsupported_colors.matrix {
                chain.push_str(":in_color_matrix=");
                chain.push_str(if is_large(info) { "bt709" } else { "bt601" });
            }
            chain += &center_filter(size);
        }
    }
    chain + rotation_filters + ",setsar=1,format=rgb24"
}

/// Whether nothing stands before the scaler that takes pictures of one size only.
fn allows_size_changes(info: &MediaInfo) -> bool {
    !info.is_interlaced && info.crop.is_none() && !info.unsupported_colors.matrix
}

/// Puts a smaller picture into the middle of a black one. A turn by nothing does that in every build. It has to follow `scale`
/// immediately, which tells no other filter that its size has changed.
fn center_filter(Size { width, height }: Size) -> String {
    format!(",rotate=a=0:ow={width}:oh={height}:c=black:bilinear=0")
}

/// The scaler of pictures that may have another shape than the video: such a picture is made to fit into `size`. What
/// differs by less than [`ASPECT_TOLERANCE`] has been rounded.
fn fit_filter(info: &MediaInfo, Size { width, height }: Size, quality: DecodeQuality) -> String {
    let Size { width: display_width, height: display_height } = info.unrotated_size();
    // How much wider than the video the picture is. A shape of pixels that no camera has is not believed.
    let if_same_aspect = format!(
        "st(0,if(between(sar,1/4,4),dar,a)*{display_height}/{display_width});if(lt(abs(ld(0)-1),{ASPECT_TOLERANCE}),"
    );
    format!(
        "scale=w='{if_same_aspect}{width},max(1,round({width}*min(1,ld(0)))))'\
         :h='{if_same_aspect}{height},max(1,round({height}/max(1,ld(0)))))':eval=frame:flags={}",
        quality.scale_flags()
    )
}

/// How Dolby Vision's planes are written: each whole, 16 bits a sample.
const IPT_FORMAT: &str = "yuv444p16le";

/// Whether a picture has the size of those whose matrix is that of ITU-R BT.709.
fn is_large(info: &MediaInfo) -> bool {
    info.coded_size.height >= 720 || info.coded_size.width >= 1280
}

/// Replaces a matrix that the scaler refuses, even if it is told another one, by what the size suggests. Not a pixel is
/// changed: what comes in and what goes out are said to be the same.
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

/// ffmpeg: which filters it has.
pub fn list_filters() -> Vec<String> {
    split_args("-hide_banner -filters").collect()
}

#[cfg(test)]
mod tests;
