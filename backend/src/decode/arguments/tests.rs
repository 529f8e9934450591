//! Every call is a list of words that is read here.

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
    assert!(line.contains("-f mpegts -skip_frame nokey -i http"), "{line}");
    assert!(line.contains("-vf fps=0.083333:start_time=0,scale="), "{line}");
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
    assert!(line.contains("-f mpegts -ss 0.000 -i"), "{line}");
    assert!(
        line.contains("-vf trim=start=0.500,setpts=PTS-STARTPTS,fps=15.000000,scale=640:360:flags=bicubic,"),
        "{line}"
    );
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
         -use_absolute_path 0 -f mov -noautorotate -i pipe:0 -map 0:v:0 -an -sn -dn -map_metadata -1 \
         -map_chapters -1 -filter_threads 2 -vf fps=1:start_time=0:round=near:eof_action=pass,\
         scale=640:360:flags=bicubic,transpose=clock,setsar=1,format=rgb24 -frames:v 50 \
         -fps_mode passthrough -fflags +bitexact -flags:v +bitexact -pix_fmt rgb24 -f rawvideo pipe:1"
    );
    let slanted = [one, one, 0, -one, one, 0, 0, 0, 1 << 30];
    let line = line(&digest(&info(), false, &slanted, (size, 50), Care::Full));
    assert!(!line.contains("noautorotate") && line.contains("scale=360:640:"), "{line}");
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

#[test]
fn deinterlaces_what_is_interlaced() {
    let interlaced = MediaInfo { interlaced: true, ..info() };
    assert!(filters(&interlaced, false, frames().size, Care::Full, "").starts_with("estdif="));
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

#[test]
fn frames_are_left_out_before_the_work_and_repeated_behind_it() {
    let chain = |interlaced, fps, seek| {
        let info = MediaInfo { interlaced, fps: 30.0, ..info() };
        let list = decode(Container::Mpegts, URL, &info, false, &Frames { seek, fps: Some(fps), ..frames() });
        let at = list.iter().position(|word| word == "-vf").unwrap();
        list[at + 1].replace("scale=640:360:flags=bicubic", "SCALE").replace("setsar=1,format=rgb24", "RGB")
    };
    let (thin, thick) =
        ("setpts=PTS-STARTPTS,fps=2.000000,SCALE,RGB", "setpts=PTS-STARTPTS,SCALE,RGB,fps=48.000000");
    assert_eq!(chain(false, 2.0, Seek::Start), thin);
    assert_eq!(chain(false, 48.0, Seek::Start), thick);
    let deinterlaced = "estdif=mode=frame:deint=interlaced,SCALE,RGB";
    assert_eq!(
        chain(true, 48.0, Seek::Start),
        format!("setpts=PTS-STARTPTS,fps=15.000000,{deinterlaced},fps=48.000000")
    );
    let swept = format!("fps=15.000000:start_time=0,{deinterlaced},fps=48.000000:start_time=0");
    assert_eq!(chain(true, 48.0, Seek::All), swept);
}
