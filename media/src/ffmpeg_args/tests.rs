//! Every call is a list of words that is read here.

use crate::ffmpeg_args::*;
use crate::probe::Unsupported;

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

/// The words that matter, without the list of decoders, and with the scaler of this size in short.
fn line(list: &[String]) -> String {
    let line = list
        .iter()
        .map(|word| if word.contains("h264,") { "DECODERS" } else { word })
        .collect::<Vec<_>>()
        .join(" ");
    short(&line)
}

/// A chain of filters with its scaler as `FIT=WIDTH:HEIGHT:…`.
fn short(chain: &str) -> String {
    let Some((before, rest)) = chain.split_once("scale=w='") else { return chain.to_owned() };
    let (scaler, behind) = rest.split_once(",rotate=a=0:ow=").unwrap();
    let (width, behind) = behind.split_once(":oh=").unwrap();
    let (height, behind) = behind.split_once(":c=black:bilinear=0").unwrap();
    let (_, options) = scaler.split_once(":eval=frame").unwrap();
    format!("{before}FIT={width}:{height}{options}{behind}")
}

#[test]
fn probes_like_this() {
    let line = line(&probe(Input::Relay(Container::Matroska, URL)));
    assert!(line.starts_with(
        "-hide_banner -v error -max_alloc 268435456 -protocol_whitelist http,tcp -format_whitelist matroska \
         -codec_whitelist:v DECODERS -max_pixels 35389440 -f matroska -of json=compact=1 -show_entries format="
    ), "{line}");
    assert!(line.ends_with("-read_intervals %+#32 http://127.0.0.1:1/x"), "{line}");
}

#[test]
fn looks_for_the_end_like_this() {
    let input = Input::Relay(Container::Asf, URL);
    assert!(line(&last_packets(input, 1, 3_600_000)).ends_with(
        "-select_streams 1 -show_entries packet=pts_time,dts_time,duration_time -read_intervals 90000.000% \
             http://127.0.0.1:1/x"
    ));
    assert!(line(&count_packets(input, 1)).ends_with(
        "-select_streams 1 -show_entries stream=nb_read_packets -count_packets http://127.0.0.1:1/x"
    ));
}

#[test]
fn passes_over_all_of_it_like_this() {
    let sweep = Frames { seek: Seek::All, fps: Some(50.0 / 600.0), count: 50, ..frames() };
    let line = line(&decode(Container::Mpegts, URL, &info(), false, &sweep));
    assert!(line.contains("-f mpegts -noautorotate -reinit_filter 0 -skip_frame nokey -i http"), "{line}");
    assert!(line.contains("-vf fps=0.083333:start_time=0,trim=end_frame=50,FIT="), "{line}");
}

#[test]
fn decodes_one_frame_like_this() {
    assert_eq!(
        line(&decode(Container::Mov, URL, &info(), false, &frames())),
        "-nostdin -hide_banner -v error -max_alloc 268435456 -threads 2 -protocol_whitelist http,tcp \
         -format_whitelist mov -codec_whitelist DECODERS -max_pixels 35389440 -enable_drefs 0 \
         -use_absolute_path 0 -f mov -skip_frame nokey -noaccurate_seek -ss 12.345 -i http://127.0.0.1:1/x \
         -map 0:1 -an -sn -dn -map_metadata -1 -map_chapters -1 -filter_threads 2 \
         -vf FIT=640:360:flags=bicubic,setsar=1,format=rgb24 -frames:v 1 -fps_mode passthrough \
         -fflags +bitexact -flags:v +bitexact -threads:v 1 -pix_fmt rgb24 -f rawvideo pipe:1"
    );
}

#[test]
fn decodes_a_snippet_like_this() {
    let seek = Seek::Exact { at_ms: 500, run_up_ms: 3_000 };
    let info = MediaInfo { fps: 30.0, ..info() };
    let snippet = Frames { seek, keyframes_only: false, fps: Some(15.0), count: 15, ..frames() };
    let line = line(&decode(Container::Mpegts, URL, &info, false, &snippet));
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

#[test]
fn guesses_a_matrix_by_size_and_maps_tones_where_it_can() {
    let chain = |info: &MediaInfo, tone_map| filters(info, tone_map, frames().size, Care::Full, "");
    let unsaid = MediaInfo { has_matrix: false, ..info() };
    assert!(chain(&unsaid, true).contains("in_color_matrix=bt709,"));
    let small = MediaInfo { coded: Size { width: 720, height: 576 }, ..unsaid };
    assert!(chain(&small, true).contains("in_color_matrix=bt601,"));
    let hlg = MediaInfo { transfer: Transfer::Hlg, ..info() };
    assert!(chain(&hlg, true).contains("zscale=tin=arib-std-b67:"));
    assert!(!chain(&hlg, false).contains("zscale"));
}

#[test]
fn decodes_a_digest_like_this() {
    let one = 1 << 16;
    let size = Size { width: 360, height: 640 };
    let clock = [0, one, 0, -one, 0, 0, 0, 0, 1 << 30];
    assert_eq!(
        line(&digest(&info(), false, &clock, (size, 50), Care::Full)),
        "-nostdin -hide_banner -v error -max_alloc 268435456 -threads 2 -protocol_whitelist pipe \
         -format_whitelist mov -codec_whitelist DECODERS -max_pixels 35389440 -enable_drefs 0 \
         -use_absolute_path 0 -f mov -noautorotate -reinit_filter 0 -i pipe:0 -map 0:v:0 -an -sn -dn -map_metadata -1 \
         -map_chapters -1 -filter_threads 2 -vf fps=1:start_time=0:round=near:eof_action=pass,\
         trim=end_frame=50,FIT=640:360:flags=bicubic,transpose=clock,setsar=1,format=rgb24 -frames:v 50 \
         -fps_mode passthrough -fflags +bitexact -flags:v +bitexact -threads:v 1 -pix_fmt rgb24 -f rawvideo \
         pipe:1"
    );
    let slanted = [one, one, 0, -one, one, 0, 0, 0, 1 << 30];
    let line = line(&digest(&info(), false, &slanted, (size, 50), Care::Full));
    assert!(
        !line.contains("noautorotate") && !line.contains("reinit") && line.contains("FIT=360:640:"),
        "{line}"
    );
}

#[test]
fn a_glance_at_what_is_far_larger_leaves_out_what_is_not_seen() {
    let small = Size { width: 320, height: 180 };
    let line = |size, keyframes| {
        line(&digest(&info(), false, &[1; 9], (size, 1), Care::glance(&info(), size, keyframes)))
    };
    let snippets = line(small, false);
    assert!(snippets.contains("-skip_loop_filter noref ") && snippets.contains("flags=area"), "{snippets}");
    assert!(line(small, true).contains("-skip_loop_filter all "));
    let upright = Size { width: 180, height: 320 };
    assert!(line(upright, true).contains("flags=area"), "turned, it is as small");
    for size in [Size { width: 640, height: 361 }, Size { width: 641, height: 360 }] {
        let near = line(size, true);
        assert!(!near.contains("skip_loop_filter") && near.contains("flags=bicubic"), "{near}");
    }
}

/// The shape of a picture is compared with that of the video, before it is turned.
#[test]
fn a_picture_of_another_shape_is_made_to_fit() {
    let upright = MediaInfo { shown: Size { width: 1080, height: 1920 }, rotation: 90, ..info() };
    for info in [info(), upright] {
        assert_eq!(
            fitted(&info, Size { width: 640, height: 360 }, Care::Full),
            "scale=w='st(0,if(between(sar,1/4,4),dar,a)*1080/1920);\
             if(lt(abs(ld(0)-1),0.03),640,max(1,round(640*min(1,ld(0)))))'\
             :h='st(0,if(between(sar,1/4,4),dar,a)*1080/1920);\
             if(lt(abs(ld(0)-1),0.03),360,max(1,round(360/max(1,ld(0)))))':eval=frame:flags=bicubic"
        );
    }
}

#[test]
fn deinterlaces_what_is_interlaced() {
    let interlaced = MediaInfo { interlaced: true, ..info() };
    let chain = filters(&interlaced, false, frames().size, Care::Full, "");
    assert!(chain.starts_with("estdif="), "{chain}");
    let list = digest(
        &interlaced,
        false,
        &[1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30],
        (frames().size, 1),
        Care::Full,
    );
    assert!(!list.contains(&"-reinit_filter".to_owned()), "it takes pictures of one size");
}

#[test]
fn f1_f2_every_read_is_confined() {
    for container in Container::ALL {
        for list in [
            probe(Input::Relay(container, URL)),
            last_packets(Input::Relay(container, URL), 1, 3_600_000),
            count_packets(Input::Relay(container, URL), 1),
            decode(container, URL, &info(), true, &frames()),
        ] {
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

/// The filters of a call, with what scales and what makes `rgb24` named by a word each.
fn chain_of(info: &MediaInfo, frames: &Frames) -> String {
    let list = decode(Container::Mpegts, URL, info, false, frames);
    let at = list.iter().position(|word| word == "-vf").unwrap();
    short(&list[at + 1]).replace("FIT=640:360:flags=bicubic", "SCALE").replace("setsar=1,format=rgb24", "RGB")
}

#[test]
fn frames_are_left_out_before_the_work_and_repeated_behind_it() {
    let chain = |interlaced, fps, seek| {
        let info = MediaInfo { interlaced, fps: 30.0, ..info() };
        chain_of(&info, &Frames { seek, fps: Some(fps), count: 9, ..frames() })
    };
    let (thin, thick) = (
        "setpts=PTS-STARTPTS,fps=2.000000:round=up,trim=end_frame=9,SCALE,RGB",
        "setpts=PTS-STARTPTS,SCALE,RGB,fps=48.000000,trim=end_frame=9",
    );
    assert_eq!(chain(false, 2.0, Seek::Start), thin);
    assert_eq!(chain(false, 48.0, Seek::Start), thick);
    let deinterlaced = "estdif=mode=frame:deint=interlaced,SCALE,RGB";
    assert_eq!(
        chain(true, 48.0, Seek::Start),
        format!(
            "setpts=PTS-STARTPTS,fps=15.000000,trim=end_frame=5,{deinterlaced},fps=48.000000,trim=end_frame=9"
        )
    );
    assert_eq!(chain(false, 2.0, Seek::Middles), thin.replace(":round=up", ""));
    let swept = format!(
        "fps=15.000000:start_time=0,trim=end_frame=5,{deinterlaced},fps=48.000000:start_time=0,trim=end_frame=9"
    );
    assert_eq!(chain(true, 48.0, Seek::All), swept);
}

#[test]
fn f9_every_repeated_frame_is_counted_before_it_is_scaled() {
    let seeks = [
        Seek::Start,
        Seek::Middles,
        Seek::All,
        Seek::Keyframe(500),
        Seek::Exact { at_ms: 500, run_up_ms: 0 },
    ];
    for (seek, fps, interlaced) in seeks
        .iter()
        .flat_map(|seek| [2.0, 48.0].map(|fps| [(*seek, fps, true), (*seek, fps, false)]))
        .flatten()
    {
        let info = MediaInfo { interlaced, fps: 30.0, ..info() };
        let chain = chain_of(&info, &Frames { seek, fps: Some(fps), count: 9, ..frames() });
        let filters: Vec<&str> = chain.split(',').collect();
        for (place, filter) in filters.iter().enumerate().filter(|(_, filter)| filter.starts_with("fps=")) {
            assert!(filters[place + 1].starts_with("trim="), "{filter} has no limit in {chain}");
        }
    }
    let digest = digest(&info(), false, &[1; 9], (Size { width: 64, height: 36 }, 7), Care::Full);
    assert!(digest.iter().any(|word| word.contains("eof_action=pass,trim=end_frame=7,scale=")));
}

#[test]
fn a_matrix_that_cannot_be_used_is_replaced_by_that_of_the_size() {
    let unsupported = |matrix, transfer, primaries| Unsupported { matrix, transfer, primaries };
    let chain = |unsupported, transfer, size| {
        let info =
            MediaInfo { unsupported, transfer, coded: size, has_matrix: !unsupported.matrix, ..info() };
        filters(&info, false, frames().size, Care::Full, "")
    };
    let (small, large) = (Size { width: 720, height: 576 }, Size { width: 1280, height: 720 });
    for (transfer, size, expected) in [
        (Transfer::Sdr, small, "zscale=min=170m:tin=601:pin=170m:m=170m:t=601:p=170m,scale="),
        (Transfer::Sdr, large, "zscale=min=709:tin=709:pin=709:m=709:t=709:p=709,scale="),
        (
            Transfer::Pq,
            large,
            "zscale=min=2020_ncl:tin=smpte2084:pin=2020:m=2020_ncl:t=smpte2084:p=2020,scale=",
        ),
    ] {
        let chain = chain(unsupported(true, true, true), transfer, size);
        assert!(chain.starts_with(expected), "{chain}");
        assert!(!chain.contains("in_color_matrix") && !chain.contains("in_transfer"), "{chain}");
    }
    let light = chain(unsupported(false, true, true), Transfer::Sdr, large);
    assert!(light.contains(":in_transfer=bt709:in_primaries=bt709,") && !light.contains("zscale"), "{light}");
}

#[test]
fn f9_pictures_larger_than_4k_are_decoded_by_one_thread() {
    let line = |width, height| {
        let info = MediaInfo { coded: Size { width, height }, ..info() };
        line(&digest(&info, false, &[1; 9], (Size { width: 64, height: 36 }, 7), Care::Full))
    };
    assert!(line(4096, 2160).contains("-threads 2 ") && line(2160, 3840).contains("-threads 2 "));
    assert!(line(7680, 4320).contains("-threads 1 "));
}

#[test]
fn the_planes_of_dolby_vision_are_written_as_they_are() {
    let info = MediaInfo { dolby_vision_profile: Some(5), has_matrix: false, ..info() };
    let line = line(&digest(&info, true, &[1; 9], (Size { width: 64, height: 36 }, 7), Care::Full));
    assert!(line.contains("scale=64:36:flags=bicubic:out_range=full,format=yuv444p16le,setsar=1,"), "{line}");
    assert!(line.contains("-pix_fmt yuv444p16le -f rawvideo") && !line.contains("rgb24"), "{line}");
}
