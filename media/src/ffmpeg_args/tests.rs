//! Tests of the argument lists.

use crate::ffmpeg_args::*;
use crate::probe::UnsupportedColors;

const URL: &str = "http://127.0.0.1:1/x";

fn media_info() -> MediaInfo {
    MediaInfo {
        stream: 1,
        coded_size: Size { width: 1920, height: 1080 },
        display_size: Size { width: 1920, height: 1080 },
        has_color_matrix: true,
        ..MediaInfo::default()
    }
}

fn request() -> DecodeRequest {
    DecodeRequest {
        seek: SeekTarget::Keyframe(12_345),
        keyframes_only: true,
        fps: None,
        count: 1,
        size: Size { width: 640, height: 360 },
    }
}

/// The relevant arguments, without the list of decoders, and with the scaler of this size abbreviated.
fn join_args(list: &[String]) -> String {
    let line = list
        .iter()
        .map(|word| if word.contains("h264,") { "DECODERS" } else { word })
        .collect::<Vec<_>>()
        .join(" ");
    shorten_scaler(&line)
}

/// A filter chain with its scaler as `FIT=WIDTH:HEIGHT:…`.
fn shorten_scaler(chain: &str) -> String {
    let Some((before, rest)) = chain.split_once("scale=w='") else { return chain.to_owned() };
    let (scaler, after) = rest.split_once(",rotate=a=0:ow=").unwrap();
    let (width, after) = after.split_once(":oh=").unwrap();
    let (height, after) = after.split_once(":c=black:bilinear=0").unwrap();
    let (_, options) = scaler.split_once(":eval=frame").unwrap();
    format!("{before}FIT={width}:{height}{options}{after}")
}

#[test]
fn probe_arguments() {
    let line = join_args(&probe(Input::Proxy(Container::Matroska, URL)));
    assert!(line.starts_with(
        "-hide_banner -v error -max_alloc 268435456 -protocol_whitelist http,tcp -format_whitelist matroska \
         -codec_whitelist:v DECODERS -max_pixels 35389440 -f matroska -of json=compact=1 -show_entries format="
    ), "{line}");
    assert!(line.ends_with("-read_intervals %+#32 http://127.0.0.1:1/x"), "{line}");
}

#[test]
fn last_packets_arguments() {
    let input = Input::Proxy(Container::Asf, URL);
    assert!(join_args(&last_packets(input, 3_600_000)).ends_with(
        "-of json=compact=1 -show_entries packet=pts_time,dts_time,duration_time -read_intervals 90000.000% \
             http://127.0.0.1:1/x"
    ));
    assert!(join_args(&count_packets(input, 1)).ends_with(
        "-select_streams 1 -show_entries stream=nb_read_packets -count_packets http://127.0.0.1:1/x"
    ));
}

#[test]
fn single_pass_arguments() {
    let request =
        DecodeRequest { seek: SeekTarget::FileStart, fps: Some(50.0 / 600.0), count: 50, ..request() };
    let line = join_args(&decode(Container::Mpegts, URL, &media_info(), false, &request));
    assert!(line.contains("-f mpegts -noautorotate -reinit_filter 0 -skip_frame nokey -i http"), "{line}");
    assert!(line.contains("-vf fps=0.083333:start_time=0,trim=end_frame=50,FIT="), "{line}");
}

#[test]
fn single_frame_arguments() {
    assert_eq!(
        join_args(&decode(Container::Mov, URL, &media_info(), false, &request())),
        "-nostdin -hide_banner -v error -max_alloc 268435456 -threads 2 -protocol_whitelist http,tcp \
         -format_whitelist mov -codec_whitelist DECODERS -max_pixels 35389440 -enable_drefs 0 \
         -use_absolute_path 0 -f mov -skip_frame nokey -noaccurate_seek -ss 12.345 -i http://127.0.0.1:1/x \
         -map 0:1 -an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 \
         -vf FIT=640:360:flags=bicubic,setsar=1,format=rgb24 -frames:v 1 -fps_mode passthrough \
         -fflags +bitexact -flags:v +bitexact -threads:v 1 -pix_fmt rgb24 -f rawvideo pipe:1"
    );
}

#[test]
fn snippet_arguments() {
    let seek = SeekTarget::Exact { at_ms: 500, pre_roll_ms: 3_000 };
    let info = MediaInfo { fps: 30.0, ..media_info() };
    let snippet = DecodeRequest { seek, keyframes_only: false, fps: Some(15.0), count: 15, ..request() };
    let line = join_args(&decode(Container::Mpegts, URL, &info, false, &snippet));
    assert!(
        line.contains(
            "-f mpegts -noautorotate -reinit_filter 0 -copyts -start_at_zero -noaccurate_seek -ss 0.000 -i"
        ),
        "{line}"
    );
    let chain =
        "-vf setpts='max(ceil((PTS*TB-0.500-0.0005)*15.000000),0)/TB',fps=1,trim=end=14.5:end_frame=15,FIT=";
    assert!(line.contains(chain), "{line}");
    assert!(line.contains("-frames:v 15") && !line.contains("drefs"), "{line}");
}

/// The last frame of a source has no following frame.
#[test]
fn still_may_be_the_last_frame() {
    let seek = SeekTarget::Exact { at_ms: 500, pre_roll_ms: 3_000 };
    let still = DecodeRequest { seek, keyframes_only: false, ..request() };
    let line = join_args(&decode(Container::Mpegts, URL, &media_info(), false, &still));
    let chain = "-vf setpts='(max(ceil((PTS*TB-0.500-0.0005)*1.000000),0)+0.4)/TB',fps=1:eof_action=pass,\
                 trim=end=0.5:end_frame=1,FIT=";
    assert!(line.contains(chain), "{line}");
}

#[test]
fn far_probe_arguments() {
    let line = join_args(&probe_far(Input::Proxy(Container::Mpegts, URL)));
    assert!(line.starts_with("-probesize 33554432 -analyzeduration 100000M -hide_banner "), "{line}");
}

#[test]
fn guesses_matrix_by_size_and_maps_tones() {
    let chain =
        |info: &MediaInfo, tone_map| filter_chain(info, tone_map, request().size, DecodeQuality::Full, "");
    let unspecified = MediaInfo { has_color_matrix: false, ..media_info() };
    assert!(chain(&unspecified, true).contains("in_color_matrix=bt709,"));
    let small = MediaInfo { coded_size: Size { width: 720, height: 576 }, ..unspecified };
    assert!(chain(&small, true).contains("in_color_matrix=bt601,"));
    let hlg = MediaInfo { transfer: ColorTransfer::Hlg, ..media_info() };
    assert!(chain(&hlg, true).contains("zscale=tin=arib-std-b67:"));
    assert!(!chain(&hlg, false).contains("zscale"));
}

#[test]
fn excerpt_arguments() {
    let one = 1 << 16;
    let size = Size { width: 360, height: 640 };
    let quarter_turn = [0, one, 0, -one, 0, 0, 0, 0, 1 << 30];
    assert_eq!(
        join_args(&decode_excerpt(
            &media_info(),
            false,
            &ExcerptRequest {
                matrix: quarter_turn,
                count: 50,
                size,
                quality: DecodeQuality::Full,
                threads: MAX_THREADS
            }
        )),
        "-nostdin -hide_banner -v error -max_alloc 268435456 -threads 2 -protocol_whitelist pipe \
         -format_whitelist mov -codec_whitelist DECODERS -max_pixels 35389440 -enable_drefs 0 \
         -use_absolute_path 0 -f mov -noautorotate -reinit_filter 0 -i pipe:0 -map 0:v:0 -an -sn -dn -map_metadata -1 \
         -map_chapters -1 -filter_threads 2 -vf fps=1:start_time=0:round=near:eof_action=pass,\
         trim=end_frame=50,FIT=640:360:flags=bicubic,transpose=clock,setsar=1,format=rgb24 -frames:v 50 \
         -fps_mode passthrough -fflags +bitexact -flags:v +bitexact -threads:v 1 -pix_fmt rgb24 -f rawvideo \
         pipe:1"
    );
    let arbitrary = [one, one, 0, -one, one, 0, 0, 0, 1 << 30];
    let line = join_args(&decode_excerpt(
        &media_info(),
        false,
        &ExcerptRequest {
            matrix: arbitrary,
            count: 50,
            size,
            quality: DecodeQuality::Full,
            threads: MAX_THREADS,
        },
    ));
    assert!(
        !line.contains("noautorotate") && !line.contains("reinit") && line.contains("FIT=360:640:"),
        "{line}"
    );
}

#[test]
fn fast_quality_skips_loop_filter_when_downscaling() {
    let small = Size { width: 320, height: 180 };
    let line = |size, keyframes| {
        join_args(&decode_excerpt(
            &media_info(),
            false,
            &ExcerptRequest {
                matrix: [1; 9],
                count: 1,
                size,
                quality: DecodeQuality::choose(&media_info(), size, keyframes),
                threads: MAX_THREADS,
            },
        ))
    };
    let snippets = line(small, false);
    assert!(snippets.contains("-skip_loop_filter bidir ") && snippets.contains("flags=area"), "{snippets}");
    assert!(line(small, true).contains("-skip_loop_filter all "));
    let upright = Size { width: 180, height: 320 };
    assert!(line(upright, true).contains("flags=area"), "after rotation, it has the same size");
    for size in [Size { width: 640, height: 361 }, Size { width: 641, height: 360 }] {
        let full = line(size, true);
        assert!(!full.contains("skip_loop_filter") && full.contains("flags=bicubic"), "{full}");
    }
}

/// The aspect ratio of a frame is compared with that of the video before rotation.
#[test]
fn fits_frames_of_another_aspect() {
    let upright =
        MediaInfo { display_size: Size { width: 1080, height: 1920 }, rotation: 90, ..media_info() };
    for info in [media_info(), upright] {
        assert_eq!(
            fit_filter(&info, Size { width: 640, height: 360 }, DecodeQuality::Full),
            "scale=w='st(0,if(between(sar,1/4,4),dar,a)*1080/1920);\
             if(lt(abs(ld(0)-1),0.03),640,max(1,round(640*min(1,ld(0)))))'\
             :h='st(0,if(between(sar,1/4,4),dar,a)*1080/1920);\
             if(lt(abs(ld(0)-1),0.03),360,max(1,round(360/max(1,ld(0)))))':eval=frame:flags=bicubic"
        );
    }
}

#[test]
fn deinterlaces_interlaced_video() {
    let interlaced = MediaInfo { is_interlaced: true, ..media_info() };
    let chain = filter_chain(&interlaced, false, request().size, DecodeQuality::Full, "");
    assert!(chain.starts_with("estdif="), "{chain}");
    let list = decode_excerpt(
        &interlaced,
        false,
        &ExcerptRequest {
            matrix: [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30],
            count: 1,
            size: request().size,
            quality: DecodeQuality::Full,
            threads: MAX_THREADS,
        },
    );
    assert!(!list.contains(&"-reinit_filter".to_owned()), "the filter requires a constant frame size");
}

#[test]
fn f1_f2_every_read_is_restricted() {
    for container in Container::ALL {
        for list in [
            probe(Input::Proxy(container, URL)),
            probe_far(Input::Proxy(container, URL)),
            last_packets(Input::Proxy(container, URL), 3_600_000),
            count_packets(Input::Proxy(container, URL), 1),
            decode(container, URL, &media_info(), true, &request()),
        ] {
            let value =
                |name: &str| list.iter().position(|word| word == name).map(|at| list[at + 1].as_str());
            assert_eq!(value("-protocol_whitelist"), Some("http,tcp"));
            assert_eq!(value("-format_whitelist"), Some(container.ffmpeg_name()));
            assert_eq!(value("-f"), Some(container.ffmpeg_name()));
            assert_eq!(value("-max_pixels"), Some("35389440"));
            assert!(
                value("-codec_whitelist")
                    .or(value("-codec_whitelist:v"))
                    .is_some_and(|codecs| !codecs.contains("magicyuv"))
            );
        }
    }
}

/// The filters of a call, with one word each for the scaler and for the conversion to `rgb24`.
fn filter_chain_of(info: &MediaInfo, frames: &DecodeRequest) -> String {
    let list = decode(Container::Mpegts, URL, info, false, frames);
    let at = list.iter().position(|word| word == "-vf").unwrap();
    shorten_scaler(&list[at + 1])
        .replace("FIT=640:360:flags=bicubic", "SCALE")
        .replace("setsar=1,format=rgb24", "RGB")
}

#[test]
fn drops_frames_before_scaling_and_repeats_after() {
    let chain = |interlaced, fps, seek| {
        let info = MediaInfo { is_interlaced: interlaced, fps: 30.0, ..media_info() };
        filter_chain_of(&info, &DecodeRequest { seek, fps: Some(fps), count: 9, ..request() })
    };
    let (dropping, repeating) = (
        "setpts=PTS-STARTPTS,fps=2.000000:round=up,trim=end_frame=9,SCALE,RGB",
        "setpts=PTS-STARTPTS,SCALE,RGB,fps=48.000000,trim=end_frame=9",
    );
    assert_eq!(chain(false, 2.0, SeekTarget::FirstFrame), dropping);
    assert_eq!(chain(false, 48.0, SeekTarget::FirstFrame), repeating);
    let deinterlaced = "estdif=mode=frame:deint=interlaced,SCALE,RGB";
    assert_eq!(
        chain(true, 48.0, SeekTarget::FirstFrame),
        format!(
            "setpts=PTS-STARTPTS,fps=15.000000,trim=end_frame=5,{deinterlaced},fps=48.000000,trim=end_frame=9"
        )
    );
    assert_eq!(chain(false, 2.0, SeekTarget::SlotMiddles), dropping.replace(":round=up", ""));
    let from_file_start = format!(
        "fps=15.000000:start_time=0,trim=end_frame=5,{deinterlaced},fps=48.000000:start_time=0,trim=end_frame=9"
    );
    assert_eq!(chain(true, 48.0, SeekTarget::FileStart), from_file_start);
}

#[test]
fn f9_every_fps_filter_has_a_frame_limit() {
    let seeks = [
        SeekTarget::FirstFrame,
        SeekTarget::SlotMiddles,
        SeekTarget::FileStart,
        SeekTarget::Keyframe(500),
        SeekTarget::Exact { at_ms: 500, pre_roll_ms: 0 },
    ];
    for (seek, fps, interlaced) in seeks
        .iter()
        .flat_map(|seek| [2.0, 48.0].map(|fps| [(*seek, fps, true), (*seek, fps, false)]))
        .flatten()
    {
        let info = MediaInfo { is_interlaced: interlaced, fps: 30.0, ..media_info() };
        let chain = filter_chain_of(&info, &DecodeRequest { seek, fps: Some(fps), count: 9, ..request() });
        let filters: Vec<&str> = chain.split(',').collect();
        for (index, filter) in filters.iter().enumerate().filter(|(_, filter)| filter.starts_with("fps=")) {
            assert!(filters[index + 1].starts_with("trim="), "{filter} has no limit in {chain}");
        }
    }
    let excerpt = decode_excerpt(
        &media_info(),
        false,
        &ExcerptRequest {
            matrix: [1; 9],
            count: 7,
            size: Size { width: 64, height: 36 },
            quality: DecodeQuality::Full,
            threads: MAX_THREADS,
        },
    );
    assert!(excerpt.iter().any(|word| word.contains("eof_action=pass,trim=end_frame=7,scale=")));
}

#[test]
fn unsupported_matrix_is_replaced_by_size() {
    let unsupported = |matrix, transfer, primaries| UnsupportedColors { matrix, transfer, primaries };
    let chain = |unsupported, transfer, size| {
        let info = MediaInfo {
            unsupported_colors: unsupported,
            transfer,
            coded_size: size,
            has_color_matrix: !unsupported.matrix,
            ..media_info()
        };
        filter_chain(&info, false, request().size, DecodeQuality::Full, "")
    };
    let (small, large) = (Size { width: 720, height: 576 }, Size { width: 1280, height: 720 });
    for (transfer, size, expected) in [
        (ColorTransfer::Sdr, small, "zscale=min=170m:tin=601:pin=170m:m=170m:t=601:p=170m,scale="),
        (ColorTransfer::Sdr, large, "zscale=min=709:tin=709:pin=709:m=709:t=709:p=709,scale="),
        (
            ColorTransfer::Pq,
            large,
            "zscale=min=2020_ncl:tin=smpte2084:pin=2020:m=2020_ncl:t=smpte2084:p=2020,scale=",
        ),
    ] {
        let chain = chain(unsupported(true, true, true), transfer, size);
        assert!(chain.starts_with(expected), "{chain}");
        assert!(!chain.contains("in_color_matrix") && !chain.contains("in_transfer"), "{chain}");
    }
    let without_matrix = chain(unsupported(false, true, true), ColorTransfer::Sdr, large);
    assert!(
        without_matrix.contains(":in_transfer=bt709:in_primaries=bt709,")
            && !without_matrix.contains("zscale"),
        "{without_matrix}"
    );
}

#[test]
fn f9_frames_above_4k_decode_on_one_thread() {
    let line = |width, height, threads| {
        let info = MediaInfo { coded_size: Size { width, height }, ..media_info() };
        join_args(&decode_excerpt(
            &info,
            false,
            &ExcerptRequest {
                matrix: [1; 9],
                count: 7,
                size: Size { width: 64, height: 36 },
                quality: DecodeQuality::Full,
                threads,
            },
        ))
    };
    assert!(line(4096, 2160, 2).contains("-threads 2 ") && line(2160, 3840, 2).contains("-threads 2 "));
    assert!(line(7680, 4320, 2).contains("-threads 1 "));
    assert!(line(640, 360, 1).contains("-threads 1 ") && line(640, 360, 3).contains("-threads 2 "));
}

#[test]
fn dolby_vision_planes_are_not_converted() {
    let info = MediaInfo { dolby_vision_profile: Some(5), has_color_matrix: false, ..media_info() };
    let line = join_args(&decode_excerpt(
        &info,
        true,
        &ExcerptRequest {
            matrix: [1; 9],
            count: 7,
            size: Size { width: 64, height: 36 },
            quality: DecodeQuality::Full,
            threads: MAX_THREADS,
        },
    ));
    assert!(line.contains("scale=64:36:flags=bicubic:out_range=full,format=yuv444p16le,setsar=1,"), "{line}");
    assert!(line.contains("-pix_fmt yuv444p16le -f rawvideo") && !line.contains("rgb24"), "{line}");
}
