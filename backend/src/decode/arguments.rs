//! Decides what ffmpeg and ffprobe are told. Pure: every call is a list of words that a test can read.
//!
//! Nothing that a user chose is among them. ffmpeg only decodes and makes smaller: what comes out is raw frames. It
//! reads either a digest, a small file of our own making on standard input, or the relay's one address.

use glimpse_contract::limits;

use crate::decode::codecs::DECODERS;
use crate::demux::sniff::Container;
use crate::probe::{MediaInfo, Transfer};
use crate::size::Size;

/// The formats that a cover picture may have besides.
const COVERS: &str = "png,bmp";

/// The largest block that ffmpeg may allocate, in bytes (THREATS F9): an 8K frame of 16 bits a sample fits.
const MAX_ALLOC_BYTES: u64 = 256 * 1024 * 1024;
/// Threads of one decoder. More help little on a Lambda's one or two cores and cost memory.
const THREADS: u32 = 2;
/// How much earlier a stream without an index is entered than it is wanted, in milliseconds: more than the keyframes of
/// broadcasts and discs lie apart.
const RUN_UP_MS: u64 = 3_000;
/// How many packets are looked at for signs of encryption: the first of every track are among them.
const PACKETS_PROBED: u32 = 32;

/// From where frames are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// From the first frame.
    Start,
    /// From where the file begins, which may be before the first frame that is looked at.
    All,
    /// From the keyframe before this moment: fast. Milliseconds.
    Keyframe(u64),
    /// From this very moment: everything from the keyframe on is decoded for it. Milliseconds.
    Exact(u64),
}

/// What is to be decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frames {
    /// From where.
    pub seek: Seek,
    /// Whether only keyframes are looked at.
    pub keyframes_only: bool,
    /// At how many frames a second; as they come if none.
    pub fps: Option<f64>,
    /// At most how many.
    pub count: u32,
    /// In which size.
    pub size: Size,
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// How faithfully pictures are decoded and made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// As the standard says, and sharp.
    Full,
    /// For pictures that are wanted far smaller than they are coded: each pixel is the mean of its area, and edges of
    /// blocks stay where no other picture builds on them, which is not to be seen in it.
    Glance {
        /// Whether every picture stands alone, so that none builds on another.
        keyframes: bool,
    },
}

impl Care {
    /// From how many coded pixels in a row for one that is wanted on a glance is enough.
    const FAR: u32 = 3;

    /// A glance, if the pictures of this source are far larger than this.
    pub fn glance(info: &MediaInfo, size: Size, keyframes: bool) -> Self {
        let Size { width, height } = size;
        let (long, short) =
            (info.coded.width.max(info.coded.height), info.coded.width.min(info.coded.height));
        if long >= Self::FAR * width.max(height) && short >= Self::FAR * width.min(height) {
            Self::Glance { keyframes }
        } else {
            Self::Full
        }
    }

    fn scaler(self) -> &'static str {
        match self {
            Self::Full => "bicubic",
            Self::Glance { .. } => "area",
        }
    }

    fn decoder(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Glance { keyframes: true } => "-skip_loop_filter all",
            Self::Glance { keyframes: false } => "-skip_loop_filter noref",
        }
    }
}

/// Where ffmpeg reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A digest on standard input.
    Digest,
    /// A source of this container through the relay's address.
    Relay(Container, &'a str),
}

impl<'a> Input<'a> {
    fn container(self) -> Container {
        match self {
            Self::Digest => Container::Mov,
            Self::Relay(container, _) => container,
        }
    }

    fn url(self) -> &'a str {
        match self {
            Self::Digest => "pipe:0",
            Self::Relay(_, url) => url,
        }
    }

    fn protocols(self) -> &'static str {
        match self {
            Self::Digest => "pipe",
            Self::Relay(..) => "http,tcp",
        }
    }
}

/// What holds for every read: one demuxer, one place, the known decoders, no huge picture.
fn confined(input: Input<'_>, codecs: &str, decoders: String) -> Vec<String> {
    let container = input.container();
    let demuxer = container.demuxer();
    let mut list: Vec<String> =
        ["-protocol_whitelist", input.protocols(), "-format_whitelist"].map(str::to_owned).into();
    list.push(demuxer.to_owned());
    list.push(codecs.to_owned());
    list.push(decoders);
    list.extend(words("-max_pixels"));
    list.push(limits::MAX_PIXELS.to_string());
    // External references of QuickTime stay closed, whatever a build's default is (THREATS F4).
    if container == Container::Mov {
        list.extend(words("-enable_drefs 0 -use_absolute_path 0"));
    }
    list.extend(words("-f"));
    list.push(demuxer.to_owned());
    list
}

/// ffprobe: what is in the file, as JSON.
pub fn probe(input: Input<'_>) -> Vec<String> {
    let mut list: Vec<String> = words("-hide_banner -v error -max_alloc").collect();
    list.push(MAX_ALLOC_BYTES.to_string());
    // ffprobe opens a decoder for every stream and ends at the first that is refused. Sound is therefore left to what
    // the build has (the layer's has none), and the formats of cover pictures are let in.
    list.extend(confined(input, "-codec_whitelist:v", format!("{},{COVERS}", DECODERS.join(","))));
    list.extend(words("-of json=compact=1 -show_entries"));
    list.push(
        "format=start_time,duration,nb_streams:\
         stream=index,codec_type,codec_name,codec_tag_string,width,height,sample_aspect_ratio,color_space,\
         color_transfer,field_order,avg_frame_rate,r_frame_rate,duration,nb_frames:\
         stream_disposition=attached_pic,still_image,default:stream_tags=rotate,enc_key_id:\
         stream_side_data=side_data_type,rotation:packet=stream_index,duration_time:packet_side_data=side_data_type"
            .into(),
    );
    list.extend(words("-read_intervals"));
    list.push(format!("%+#{PACKETS_PROBED}"));
    list.push(input.url().to_owned());
    list
}

/// ffprobe: when the last packets of a stream are shown, those from the last keyframe that can be found on.
///
/// Later than any end that is let through, so that every demuxer goes as far as it can.
pub fn last_packets(input: Input<'_>, stream: u32, start_ms: u64) -> Vec<String> {
    let far = start_ms.saturating_add(limits::MAX_DURATION_MS);
    let mut list = packets(input, stream);
    list.extend(["packet=pts_time,dts_time,duration_time", "-read_intervals"].map(str::to_owned));
    list.push(format!("{}%", seconds(far)));
    list.push(input.url().to_owned());
    list
}

/// ffprobe: how many packets a stream has.
pub fn count_packets(input: Input<'_>, stream: u32) -> Vec<String> {
    let mut list = packets(input, stream);
    list.extend(["stream=nb_read_packets", "-count_packets"].map(str::to_owned));
    list.push(input.url().to_owned());
    list
}

fn packets(input: Input<'_>, stream: u32) -> Vec<String> {
    let mut list: Vec<String> = words("-hide_banner -v error -max_alloc").collect();
    list.push(MAX_ALLOC_BYTES.to_string());
    list.extend(confined(input, "-codec_whitelist:v", format!("{},{COVERS}", DECODERS.join(","))));
    list.extend(words("-of json=compact=1 -select_streams"));
    list.push(stream.to_string());
    list.extend(words("-show_entries"));
    list
}

/// What every decoding begins with.
fn reading(input: Input<'_>) -> Vec<String> {
    let mut list: Vec<String> = words("-nostdin -hide_banner -v error -max_alloc").collect();
    list.push(MAX_ALLOC_BYTES.to_string());
    list.extend(words("-threads"));
    list.push(THREADS.to_string());
    list.extend(confined(input, "-codec_whitelist", DECODERS.join(",")));
    list
}

/// What every decoding ends with: raw frames, `rgb24`, on standard output, and nothing of the source's words.
fn writing(list: &mut Vec<String>, filters: String, count: u32) {
    list.extend(words("-an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 -vf"));
    list.push(filters);
    list.extend(words("-frames:v"));
    list.push(count.to_string());
    list.extend(words(
        "-fps_mode passthrough -fflags +bitexact -flags:v +bitexact -pix_fmt rgb24 -f rawvideo pipe:1",
    ));
}

/// ffmpeg: one raw frame of this size for each of so many slots of a digest.
///
/// `matrix` is its track's: the frames are turned after they were made small.
pub fn digest(
    info: &MediaInfo,
    tone_map: bool,
    matrix: &[i32; 9],
    (size, slots): (Size, u32),
    care: Care,
) -> Vec<String> {
    let mut list = reading(Input::Digest);
    let turn = Turn::of(matrix);
    if turn != Turn::Odd {
        list.push("-noautorotate".into());
    }
    list.extend(words(care.decoder()));
    list.extend(words("-i pipe:0 -map 0:v:0"));
    let upright = if turn.swaps_sides() { Size { width: size.height, height: size.width } } else { size };
    let chain = format!(
        "fps=1:start_time=0:round=near:eof_action=pass,{}",
        filters(info, tone_map, upright, care, turn.filters())
    );
    writing(&mut list, chain, slots);
    list
}

/// How a display matrix turns a picture, as ffmpeg's own command line tool understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Along the axes, by these filters.
    Straight(&'static str),
    /// By a quarter, by these filters: width and height change places.
    Quarter(&'static str),
    /// By another angle: ffmpeg does it by itself, before anything else.
    Odd,
}

impl Turn {
    fn of(matrix: &[i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(i32::signum);
        match (a, b, c, d) {
            (-1, 0, 0, -1) => Self::Straight(",hflip,vflip"),
            (-1, 0, 0, _) => Self::Straight(",hflip"),
            (_, 0, 0, -1) => Self::Straight(",vflip"),
            (_, 0, 0, _) => Self::Straight(""),
            (0, 1, 1, 0) => Self::Quarter(",transpose=cclock_flip"),
            (0, 1, _, 0) => Self::Quarter(",transpose=clock"),
            (0, -1, -1, 0) => Self::Quarter(",transpose=clock_flip"),
            (0, -1, _, 0) => Self::Quarter(",transpose=cclock"),
            _ => Self::Odd,
        }
    }

    fn swaps_sides(self) -> bool {
        matches!(self, Self::Quarter(_))
    }

    fn filters(self) -> &'static str {
        match self {
            Self::Straight(filters) | Self::Quarter(filters) => filters,
            Self::Odd => "",
        }
    }
}

/// ffmpeg: raw frames of a source behind the relay.
pub fn decode(
    container: Container,
    url: &str,
    info: &MediaInfo,
    tone_map: bool,
    frames: &Frames,
) -> Vec<String> {
    let mut list = reading(Input::Relay(container, url));
    // Without an index a seek may land behind the keyframe that was meant.
    let run_up_ms = match container {
        Container::Mpegts | Container::Mpeg => RUN_UP_MS,
        // It has no times at all: only counting from the first picture finds a moment.
        Container::Mpegvideo => u64::MAX,
        _ => 0,
    };
    if frames.keyframes_only {
        list.extend(words("-skip_frame nokey"));
    }
    match frames.seek {
        Seek::Start | Seek::All => {}
        Seek::Keyframe(ms) => list.extend(["-noaccurate_seek".into(), "-ss".into(), seconds(ms)]),
        Seek::Exact(ms) => list.extend(["-ss".into(), seconds(ms.saturating_sub(run_up_ms))]),
    }
    list.extend(["-i".into(), url.to_owned(), "-map".into(), format!("0:{}", info.stream)]);
    let mut chain = String::new();
    if let (Seek::Exact(ms), 1..) = (frames.seek, run_up_ms) {
        chain = format!("trim=start={},", seconds(ms.min(run_up_ms)));
    }
    let (before, behind) = frames.fps.map(|fps| paced(info, fps, frames.seek)).unwrap_or_default();
    chain += &before;
    chain += &filters(info, tone_map, frames.size, Care::Full, "");
    chain += &behind;
    writing(&mut list, chain, frames.count);
    list
}

/// What makes `fps` frames a second, before and behind all that is computed: frames are left out before it and repeated
/// behind it. From zero, wherever the seek landed.
fn paced(info: &MediaInfo, fps: f64, seek: Seek) -> (String, String) {
    let from_zero = if seek == Seek::All { ":start_time=0" } else { "" };
    let start = if seek == Seek::All { "" } else { "setpts=PTS-STARTPTS," };
    // Two fields may count as two pictures.
    let own = if info.interlaced { info.fps / 2.0 } else { info.fps };
    if own <= 0.0 || fps <= own {
        return (format!("{start}fps={fps:.6}{from_zero},"), String::new());
    }
    let before = if info.interlaced { format!("fps={own:.6}{from_zero},") } else { String::new() };
    (format!("{start}{before}"), format!(",fps={fps:.6}{from_zero}"))
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// From a decoded picture to a small one in `rgb24`: deinterlaced, scaled, tones mapped, and then `turned`.
fn filters(info: &MediaInfo, tone_map: bool, size: Size, care: Care, turned: &str) -> String {
    let Size { width, height } = size;
    // Each frame by itself: the one before it in a digest may be of another scene.
    let mut chain = String::from(if info.interlaced { "estdif=mode=frame:deint=interlaced," } else { "" });
    let sized = format!("scale={width}:{height}:flags={}", care.scaler());
    match info.transfer {
        Transfer::Pq | Transfer::Hlg if tone_map => {
            let transfer = if info.transfer == Transfer::Pq { "smpte2084" } else { "arib-std-b67" };
            // Shrunk first: tone mapping works on floats and costs most; without subsampling, which zscale refuses for
            // odd sizes. 203 cd/m2 is white in ITU-R BT.2408, and
            // 1000 cd/m2, 4.93 times as much, what most is graded for. Up to half of white nothing is changed; what is
            // brighter is squeezed into the rest, so that faces stay as bright as they were.
            let mapped = format!(
                "{sized}:out_range=limited,format=yuv444p10le,\
                 zscale=tin={transfer}:pin=bt2020:min=bt2020nc:rin=limited:t=linear:npl=203,format=gbrpf32le,\
                 zscale=p=bt709,tonemap=tonemap=mobius:param=0.5:peak=4.93:desat=0,zscale=t=bt709:m=bt709:r=limited,format=yuv444p,\
                 scale=in_color_matrix=bt709:in_range=limited"
            );
            chain.push_str(&mapped);
        }
        _ => {
            chain += &sized;
            // What does not say its matrix has the one of its size, as players guess it.
            if !info.has_matrix {
                let matrix =
                    if info.coded.height >= 720 || info.coded.width >= 1280 { "bt709" } else { "bt601" };
                chain.push_str(":in_color_matrix=");
                chain.push_str(matrix);
            }
        }
    }
    chain + turned + ",setsar=1,format=rgb24"
}

/// ffmpeg: which filters it has.
pub fn list_filters() -> Vec<String> {
    words("-hide_banner -filters").collect()
}

#[cfg(test)]
mod tests;
