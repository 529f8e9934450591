//! Files that are honest but odd: still pictures with the name of a film, recordings that were cut off, streams that
//! tell no length.

mod support;

use std::time::Duration;

use glimpse_backend::job::Done;
use glimpse_backend::step::Found;
use glimpse_contract::Code;
use support::{Scene, make};
use tokio::time::Instant;

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
}

/// The outermost boxes of a file without a movie, with a `meta` of this handler.
fn with_meta(brand: [u8; 4], handler: [u8; 4]) -> Vec<u8> {
    let handler = boxed(*b"hdlr", &[&[0; 8][..], &handler, &[0; 13]].concat());
    let meta = boxed(*b"meta", &[&[0; 4][..], &handler, &[0; 64]].concat());
    let head = boxed(*b"ftyp", &[&brand[..], b"\0\0\0\0mif1", &brand[..]].concat());
    [head, meta, boxed(*b"mdat", &[7; 900])].concat()
}

#[tokio::test]
async fn a_still_picture_is_no_damaged_film_and_the_other_way_round() {
    for (brand, handler, expected) in [
        (*b"heic", *b"pict", Code::NotAVideo),
        (*b"avif", *b"pict", Code::NotAVideo),
        // A film with tags in front, that was cut off before its index.
        (*b"isom", *b"mdir", Code::Truncated),
    ] {
        let result = Scene::new(with_meta(brand, handler)).run().await.result;
        assert_eq!(result, Ok(Done::Rejected(expected)), "{}", brand.escape_ascii());
    }
}

/// Sixty seconds with a keyframe each second; the right half tells the time by its brightness.
const CLOCK: &str = "-f lavfi -i testsrc2=s=192x108:r=10:d=60,format=yuv420p,\
     geq=lum='if(lt(X,96),lum(X,Y),20+T*3.5)':cb='if(lt(X,96),cb(X,Y),128)':cr='if(lt(X,96),cr(X,Y),128)' -g 10";

/// The first part of a file, in hundredths.
fn cut(bytes: &[u8], percent: usize) -> Vec<u8> {
    bytes[..bytes.len() * percent / 100].to_vec()
}

/// Each is as long as there are pictures in it, whatever its head says.
#[tokio::test]
async fn what_tells_no_length_or_a_false_one_is_as_long_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let film = |name: &str, codec: &str| make(folder.path(), name, &format!("{CLOCK} {codec}"));
    let again = |name: &str, of: &str, words: &str| {
        make(folder.path(), name, &format!("-i {} -c copy {words}", folder.path().join(of).display()))
    };
    let flv = film("a.flv", "-c:v flv -q:v 6");
    let live = again("live.flv", "a.flv", "-flvflags no_duration_filesize");
    let late = again("late.flv", "a.flv", "-output_ts_offset 3600 -flvflags no_duration_filesize");
    let wmv = film("a.wmv", "-c:v wmv2 -q:v 6");
    let late_wmv = again("late.wmv", "a.wmv", "-output_ts_offset 3600");
    let avi = film("a.avi", "-c:v mpeg4 -q:v 6");
    let piped = film("piped.avi", "-c:v mpeg4 -q:v 6 -seekable 0");
    let bare = film("a.m2v", "-c:v mpeg2video -q:v 6");
    let old = film("a.m1v", "-c:v mpeg1video -r 25 -q:v 6");
    let seconds = |low: u64, high: u64| low * 1000..=high * 1000;
    let mut wrong = Vec::new();
    for (name, bytes, expected) in [
        ("a whole FLV", flv.clone(), seconds(60, 60)),
        ("an FLV cut off after its head told a minute", cut(&flv, 60), seconds(33, 39)),
        ("an FLV that tells no length, cut off", cut(&live, 60), seconds(33, 39)),
        ("an FLV of a stream that began an hour ago", late.clone(), seconds(59, 60)),
        ("the same, cut off", cut(&late, 60), seconds(33, 39)),
        ("a whole WMV", wmv.clone(), seconds(60, 60)),
        ("a WMV that was cut off", cut(&wmv, 60), seconds(33, 39)),
        ("a WMV that begins an hour late", late_wmv, seconds(59, 61)),
        ("an AVI of a pipe", piped, seconds(59, 61)),
        ("an AVI that was cut off", cut(&avi, 60), seconds(33, 39)),
        ("a bare MPEG-2 stream", bare.clone(), seconds(59, 61)),
        ("a bare MPEG-2 stream that was cut off", cut(&bare, 60), seconds(33, 39)),
        ("a bare MPEG-1 stream", old, seconds(59, 61)),
    ] {
        let scene = Scene::new(bytes);
        let found = scene.workshop.probe(&scene.job, Instant::now() + Duration::from_mins(1)).await.result;
        let Ok(Found::Look(task)) = found else { panic!("{name}: {found:?}") };
        let found = task.draft.source.duration_ms;
        if !expected.contains(&found) {
            wrong.push((name, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
