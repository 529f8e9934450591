//! Decides what ffmpeg and ffprobe are told. Pure: every call is a list of words that a test can read.
//!
//! Nothing that a user chose is among them. Decoding and encoding are separate calls: a decoder writes raw frames,
//! an encoder reads raw frames, so no encoder ever sees an uploaded file.

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
/// How many packets are looked at for signs of encryption: the first of every track are among them.
const PACKETS_PROBED: u32 = 32;

/// From where frames are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// From the first frame.
    Start,
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

/// What holds for every read of a source: one demuxer, the loopback, the known decoders, no huge picture.
fn confined(container: Container, codecs: &str, decoders: String) -> Vec<String> {
    let demuxer = container.demuxer();
    let mut list: Vec<String> = words("-protocol_whitelist http,tcp -format_whitelist").collect();
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
pub fn probe(container: Container, url: &str) -> Vec<String> {
    let mut list: Vec<String> = words("-hide_banner -v error -max_alloc").collect();
    list.push(MAX_ALLOC_BYTES.to_string());
    // ffprobe opens a decoder for every stream and ends at the first that is refused. Sound is therefore left to what
    // the build has (the layer's has none), and the formats of cover pictures are let in.
    list.extend(confined(container, "-codec_whitelist:v", format!("{},{COVERS}", DECODERS.join(","))));
    list.extend(words("-of json=compact=1 -show_entries"));
    list.push(
        "format=duration,nb_streams:\
         stream=index,codec_type,codec_name,codec_tag_string,width,height,sample_aspect_ratio,color_space,\
         color_transfer,avg_frame_rate,r_frame_rate,duration:\
         stream_disposition=attached_pic,still_image,default:stream_tags=rotate,enc_key_id:\
         stream_side_data=side_data_type,rotation:packet=stream_index:packet_side_data=side_data_type"
            .into(),
    );
    list.extend(words("-read_intervals"));
    list.push(format!("%+#{PACKETS_PROBED}"));
    list.push(url.to_owned());
    list
}

/// ffmpeg: raw frames, `rgb24`, on standard output.
pub fn decode(
    container: Container,
    url: &str,
    info: &MediaInfo,
    tone_map: bool,
    frames: &Frames,
) -> Vec<String> {
    let mut list: Vec<String> = words("-nostdin -hide_banner -v error -max_alloc").collect();
    list.push(MAX_ALLOC_BYTES.to_string());
    list.extend(words("-threads"));
    list.push(THREADS.to_string());
    list.extend(confined(container, "-codec_whitelist", DECODERS.join(",")));
    if frames.keyframes_only {
        list.extend(words("-skip_frame nokey"));
    }
    match frames.seek {
        Seek::Start => {}
        Seek::Keyframe(ms) => list.extend(["-noaccurate_seek".into(), "-ss".into(), seconds(ms)]),
        Seek::Exact(ms) => list.extend(["-ss".into(), seconds(ms)]),
    }
    list.extend(["-i".into(), url.to_owned(), "-map".into(), format!("0:{}", info.stream)]);
    list.extend(words("-an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 -vf"));
    list.push(filters(info, tone_map, frames));
    list.extend(words("-frames:v"));
    list.push(frames.count.to_string());
    list.extend(words(
        "-fps_mode passthrough -fflags +bitexact -flags:v +bitexact -pix_fmt rgb24 -f rawvideo pipe:1",
    ));
    list
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn filters(info: &MediaInfo, tone_map: bool, frames: &Frames) -> String {
    let Size { width, height } = frames.size;
    let mut chain = String::new();
    if let Some(fps) = frames.fps {
        // Thinned out before anything is computed; from zero, wherever the seek landed.
        chain = format!("setpts=PTS-STARTPTS,fps={fps:.3},");
    }
    let sized = format!("scale={width}:{height}:flags=bicubic");
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
    chain + ",setsar=1,format=rgb24"
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A JPEG.
    Jpeg,
    /// A still WebP.
    Webp,
    /// A GIF that loops for ever.
    Gif,
    /// An animated WebP that loops for ever.
    AnimatedWebp,
}

/// ffmpeg: raw frames on standard input become a picture on standard output.
pub fn encode(encoding: Encoding, size: Size, fps: f64) -> Vec<String> {
    let mut list: Vec<String> =
        words("-hide_banner -v error -threads 2 -f rawvideo -pixel_format rgb24 -video_size").collect();
    list.push(format!("{}x{}", size.width, size.height));
    list.push("-framerate".into());
    list.push(format!("{fps:.3}"));
    list.extend(words("-i pipe:0 -map_metadata -1 -fflags +bitexact -flags:v +bitexact -filter_complex"));
    // JFIF is BT.601 in full range, <https://www.w3.org/Graphics/JPEG/jfif3.pdf>; WebP is BT.601 in limited range,
    // <https://www.rfc-editor.org/rfc/rfc9649#section-2.5>.
    // libwebp hands over a whole file, which loops for ever unless told otherwise; the muxer `webp` would go back in it
    // to fill in a length, which a pipe does not allow.
    let (graph, rest) = match encoding {
        Encoding::Jpeg => (
            "scale=flags=bicubic+accurate_rnd+full_chroma_int:out_color_matrix=bt601:out_range=full,format=yuvj420p",
            "-c:v mjpeg -q:v 3 -frames:v 1 -f mjpeg",
        ),
        Encoding::Webp => (
            "scale=flags=bicubic+accurate_rnd+full_chroma_int:out_color_matrix=bt601:out_range=limited,format=yuv420p",
            "-c:v libwebp -quality 80 -compression_level 4 -frames:v 1 -f image2pipe",
        ),
        Encoding::Gif => (
            "split[a][b];[a]palettegen=stats_mode=full:max_colors=128[p];[b][p]paletteuse=dither=bayer:bayer_scale=5",
            "-c:v gif -loop 0 -f gif",
        ),
        Encoding::AnimatedWebp => (
            "scale=flags=bicubic+accurate_rnd+full_chroma_int:out_color_matrix=bt601:out_range=limited,format=yuv420p",
            "-c:v libwebp_anim -quality 60 -compression_level 4 -f image2pipe",
        ),
    };
    list.push(graph.to_owned());
    list.extend(words(rest));
    list.push("pipe:1".into());
    list
}

/// ffmpeg: which filters it has.
pub fn list_filters() -> Vec<String> {
    words("-hide_banner -filters").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:1/x";

    fn info() -> MediaInfo {
        MediaInfo {
            stream: 1,
            coded: Size { width: 1920, height: 1080 },
            shown: Size { width: 1920, height: 1080 },
            has_matrix: true,
            ..MediaInfo::default()
        }
    }

    fn frames() -> Frames {
        Frames {
            seek: Seek::Keyframe(12_345),
            keyframes_only: true,
            fps: None,
            count: 1,
            size: Size { width: 640, height: 360 },
        }
    }

    /// The words that matter, without the list of decoders.
    fn line(list: &[String]) -> String {
        list.iter()
            .map(|word| if word.contains("h264,") { "DECODERS" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn probes_like_this() {
        let line = line(&probe(Container::Matroska, URL));
        assert!(line.starts_with(
            "-hide_banner -v error -max_alloc 268435456 -protocol_whitelist http,tcp -format_whitelist matroska \
             -codec_whitelist:v DECODERS -max_pixels 35389440 -f matroska -of json=compact=1 -show_entries format="
        ), "{line}");
        assert!(line.ends_with("-read_intervals %+#32 http://127.0.0.1:1/x"), "{line}");
    }

    #[test]
    fn decodes_one_frame_like_this() {
        assert_eq!(
            line(&decode(Container::Mov, URL, &info(), false, &frames())),
            "-nostdin -hide_banner -v error -max_alloc 268435456 -threads 2 -protocol_whitelist http,tcp \
             -format_whitelist mov -codec_whitelist DECODERS -max_pixels 35389440 -enable_drefs 0 \
             -use_absolute_path 0 -f mov -skip_frame nokey -noaccurate_seek -ss 12.345 -i http://127.0.0.1:1/x \
             -map 0:1 -an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 \
             -vf scale=640:360:flags=bicubic,setsar=1,format=rgb24 -frames:v 1 -fps_mode passthrough \
             -fflags +bitexact -flags:v +bitexact -pix_fmt rgb24 -f rawvideo pipe:1"
        );
    }

    #[test]
    fn decodes_a_snippet_like_this() {
        let snippet =
            Frames { seek: Seek::Exact(500), keyframes_only: false, fps: Some(15.0), count: 15, ..frames() };
        let line = line(&decode(Container::Mpegts, URL, &info(), false, &snippet));
        assert!(line.contains("-f mpegts -ss 0.500 -i"), "{line}");
        assert!(line.contains("-vf setpts=PTS-STARTPTS,fps=15.000,scale=640:360:flags=bicubic,"), "{line}");
        assert!(line.contains("-frames:v 15") && !line.contains("drefs"), "{line}");
    }

    #[test]
    fn guesses_a_matrix_by_size_and_maps_tones_where_it_can() {
        let chain = |info: &MediaInfo, tone_map| filters(info, tone_map, &frames());
        let unsaid = MediaInfo { has_matrix: false, ..info() };
        assert!(chain(&unsaid, true).contains("in_color_matrix=bt709,"));
        let small = MediaInfo { coded: Size { width: 720, height: 576 }, ..unsaid };
        assert!(chain(&small, true).contains("in_color_matrix=bt601,"));
        let hlg = MediaInfo { transfer: Transfer::Hlg, ..info() };
        assert!(chain(&hlg, true).contains("zscale=tin=arib-std-b67:"));
        assert!(!chain(&hlg, false).contains("zscale"));
    }

    #[test]
    fn encodes_like_this() {
        let size = Size { width: 320, height: 181 };
        assert_eq!(
            encode(Encoding::Gif, size, 12.5).join(" "),
            "-hide_banner -v error -threads 2 -f rawvideo -pixel_format rgb24 -video_size 320x181 -framerate 12.500 \
             -i pipe:0 -map_metadata -1 -fflags +bitexact -flags:v +bitexact -filter_complex \
             split[a][b];[a]palettegen=stats_mode=full:max_colors=128[p];[b][p]paletteuse=dither=bayer:bayer_scale=5 \
             -c:v gif -loop 0 -f gif pipe:1"
        );
        for (encoding, end) in [
            (Encoding::Jpeg, "format=yuvj420p -c:v mjpeg -q:v 3 -frames:v 1 -f mjpeg pipe:1"),
            (
                Encoding::Webp,
                "-c:v libwebp -quality 80 -compression_level 4 -frames:v 1 -f image2pipe pipe:1",
            ),
            (
                Encoding::AnimatedWebp,
                "-c:v libwebp_anim -quality 60 -compression_level 4 -f image2pipe pipe:1",
            ),
        ] {
            let line = encode(encoding, size, 15.0).join(" ");
            assert!(line.ends_with(end), "{line}");
        }
    }

    #[test]
    fn f1_f2_every_read_is_confined() {
        for container in Container::ALL {
            for list in [probe(container, URL), decode(container, URL, &info(), true, &frames())] {
                let value =
                    |name: &str| list.iter().position(|word| word == name).map(|at| list[at + 1].as_str());
                assert_eq!(value("-protocol_whitelist"), Some("http,tcp"));
                assert_eq!(value("-format_whitelist"), Some(container.demuxer()));
                assert_eq!(value("-f"), Some(container.demuxer()));
                assert_eq!(value("-max_pixels"), Some("35389440"));
                assert!(
                    value("-codec_whitelist")
                        .or(value("-codec_whitelist:v"))
                        .is_some_and(|codecs| !codecs.contains("magicyuv"))
                );
            }
        }
    }
}
