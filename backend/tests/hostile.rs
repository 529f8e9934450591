//! Tests of threats about media that no damaged file shows: generated videos with data in them that must not be
//! disclosed.

#![expect(clippy::unwrap_used, reason = "a panic fails the test with its message")]

use crate::support;
use std::path::Path;
use std::sync::Arc;

use crate::support::{TestJob, decode_pixels_at, make};
use glimpse_backend::preview::outputs::default_variants;
use glimpse_backend::preview::service::JobOutcome;
use glimpse_contract::{Code, Grant, OutputFormat, Owner, VideoId, Visibility};
use glimpse_media::image::header::parse;
use glimpse_media::size::Size;

/// Private texts in a video, which must not appear in its outputs.
const CANARIES: [&str; 6] =
    ["+48.8577+002.2950", "CanaryTitle", "CanaryComment", "CanarySubtitle", "CanaryFont", "CanaryScript"];

/// A video with a location, names, a chapter, a subtitle, a cover and a font in it, and an HTML page appended to it.
fn film_with_canaries(folder: &Path, name: &str) -> Vec<u8> {
    let [place, title, comment, subtitle, font, script] = CANARIES;
    std::fs::write(folder.join("words.srt"), format!("1\n00:00:00,000 --> 00:00:02,000\n{subtitle}\n"))
        .unwrap();
    std::fs::write(
        folder.join("chapters.txt"),
        format!(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle={title}\n"),
    )
    .unwrap();
    std::fs::write(folder.join("font.ttf"), font).unwrap();
    make(folder, "cover.jpg", "-f lavfi -i color=lime:s=64x64 -frames:v 1");
    let at = folder.display();
    let inputs = format!(
        "-f lavfi -i testsrc=s=160x96:r=10:d=2 -f lavfi -i sine=d=2 -i {at}/words.srt -i {at}/chapters.txt -i {at}/cover.jpg"
    );
    let words = format!(
        "-metadata title={title} -metadata comment={comment} -metadata location={place} -metadata LOCATION={place}"
    );
    let rest = if name.ends_with("mkv") {
        format!(
            "-map 0:v -map 1:a -map 2:s -c:v libx264 -c:a aac -c:s srt -map_chapters 3 \
             -attach {at}/font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font \
             -attach {at}/cover.jpg -metadata:s:t:1 mimetype=image/jpeg"
        )
    } else {
        "-map 4:v -map 0:v -map 1:a -map 2:s -c:v:0 copy -c:v:1 libx264 -c:a aac -c:s mov_text -map_chapters 3 \
         -disposition:v:0 attached_pic -movflags +use_metadata_tags"
            .into()
    };
    let mut bytes = make(folder, name, &format!("{inputs} {rest} -pix_fmt yuv420p -t 2 {words}"));
    if !name.ends_with("mkv") {
        // QuickTime's atom for the location of a recording, as phones write it.
        let place = [&[0, 18, 0x15, 0xc7], place.as_bytes(), b"/"].concat();
        bytes.extend_from_slice(&boxed(*b"udta", &boxed(*b"\xa9xyz", &place)));
    }
    bytes.extend_from_slice(&boxed(*b"free", format!("<script>{script}</script>").as_bytes()));
    bytes
}

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
}

fn contains(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}

#[tokio::test]
async fn f5_f19_f20_outputs_carry_no_metadata_or_attachments() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["talk.mp4", "talk.mkv", "talk.mov"] {
        let bytes = film_with_canaries(folder.path(), name);
        let present: Vec<_> = CANARIES.iter().filter(|canary| contains(&bytes, canary)).collect();
        assert!(present.len() >= 5, "{name} contains only {present:?}");
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        for variant in default_variants() {
            let output = fixture.output(&variant.file_name());
            for canary in CANARIES {
                assert!(!contains(&output, canary), "{name}: {canary} is in {}", variant.file_name());
            }
            // Data appended to the file is not copied either: an image ends where its format defines it.
            if !matches!(variant.format(), OutputFormat::Vtt | OutputFormat::Json) {
                assert!(parse(variant.format(), &output).is_some(), "{name}: {}", variant.file_name());
            }
        }
        // The poster shows the video, not its cover.
        let size = Size { width: 160, height: 96 };
        let poster = decode_pixels_at(folder.path(), &fixture.output("thumbnail.webp"), size);
        let lime = poster.chunks_exact(3).filter(|pixel| pixel[1] > 200 && pixel[0] < 60).count();
        assert!(lime * 2 < poster.len() / 3, "{name}: the cover is the poster");
    }
}

#[tokio::test]
async fn f7_resolution_change_keeps_one_output_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let film = |name: &str, colour: &str, size: &str, codec: &str| {
        let source = format!("-f lavfi -i color={colour}:s={size}:r=10:d=4,noise=alls=4");
        make(at, name, &format!("{source} {codec} -g 10"))
    };
    let vp8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k";
    film("a.webm", "red", "160x96", vp8);
    film("b.webm", "blue", "960x576", vp8);
    std::fs::write(at.join("list"), "file a.webm\nfile b.webm\n").unwrap();
    let joined = format!("-f concat -i {} -c copy", at.join("list").display());
    let webm = make(at, "both.webm", &joined);
    let mpeg2 = "-c:v mpeg2video -q:v 4";
    let ts = [film("a.ts", "red", "160x96", mpeg2), film("b.ts", "blue", "960x576", mpeg2)].concat();
    // If the headers of all keyframes are read, the display size is that of the largest frames; otherwise that of the
    // first.
    for (name, bytes, size) in [("both.webm", webm, (960, 576)), ("both.ts", ts, (160, 96))] {
        let fixture = TestJob::new(bytes);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Ready), "{name}");
        let source = fixture.manifest().unwrap().source;
        assert_eq!((source.width, source.height), size, "{name}");
        let sheet = parse(OutputFormat::Jpg, &fixture.output("storyboard.jpg")).unwrap().size;
        let pixels = decode_pixels_at(at, &fixture.output("storyboard.jpg"), sheet);
        let pixel = |x: u32, y: u32| {
            let at = ((y * sheet.width + x) * 3) as usize;
            [pixels[at], pixels[at + 1], pixels[at + 2]]
        };
        let first = pixel(20, 20);
        assert!(first[0] > 180 && first[2] < 80, "{name}: the first tile is {first:?}");
        // The last tile may be from a decoder that stopped in the middle of a stream without an index.
        let last = pixel(sheet.width - 20, sheet.height - 20);
        assert!(last[2] > 180 && last[0] < 80, "{name}: the last tile is {last:?}");
    }
}

#[tokio::test]
async fn f16_client_text_never_becomes_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = make(folder.path(), "clip.mp4", "-f lavfi -i testsrc=s=96x64:r=10:d=0.5 -c:v libx264");
    // A script that dies of a signal if any of its arguments comes from the client.
    let script = "for word; do case \"$word\" in *passwd*|*%d*|*evil*) kill -s SEGV $$;; esac; done; exit 0";
    for (words, expected) in [(script, Code::Truncated), ("kill -s SEGV $$", Code::DecoderCrash)] {
        let (mut fixture, tools) = (TestJob::new(bytes.clone()), support::fake_ffmpeg(folder.path(), words));
        let grant = Grant {
            owner: Owner::new("evil", "-i /etc/passwd"),
            video: VideoId::new(1_700_000_000_000, [7; 10]),
            name: "-i|file:/etc/passwd %d evil;`evil`.mp4".into(),
            content_type: "video/evil".into(),
            visibility: Visibility::Public,
            client_metadata: glimpse_contract::ClientMetadata::default(),
        };
        fixture.job.etag = fixture.service.store.upload(&grant, bytes.clone());
        (fixture.job.key, fixture.job.owner, fixture.job.video) =
            (grant.key(), grant.owner.clone(), grant.video);
        fixture.service.tools = tools;
        assert_eq!(Arc::strong_count(&fixture.service.store), 1);
        assert_eq!(fixture.run().await.result, Ok(JobOutcome::Rejected(expected)), "{words}");
    }
}

#[tokio::test]
async fn f8_more_samples_than_bytes_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let fragments = "-movflags +frag_keyframe+empty_moov+default_base_moof";
    let film = format!("-f lavfi -i testsrc=s=96x64:r=10:d=2 -c:v libx264 -g 10 {fragments}");
    let film = make(folder.path(), "a.mp4", &film);
    let first = film.windows(4).position(|letters| letters == b"moof").unwrap() - 4;
    let words =
        |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|number| number.to_be_bytes()).collect() };
    // Each run of 20 bytes stands for 86,400 samples of one byte, all at the same offset.
    let with_runs_of = |track: u32| {
        let runs = boxed(*b"trun", &words(&[1, 86_400, 8])).repeat(160_000);
        let header = boxed(*b"tfhd", &words(&[0x02_0018, track, 1, 1]));
        let track = boxed(*b"traf", &[header, runs].concat());
        let fragment = boxed(*b"moof", &[boxed(*b"mfhd", &words(&[0, 1])), track].concat());
        [&film[..first], &fragment, &film[first..]].concat()
    };
    let alone = TestJob::new(film.clone());
    assert_eq!(alone.run().await.result, Ok(JobOutcome::Ready));
    // Runs in a track that is not shown cost nothing and change nothing.
    let of_another = TestJob::new(with_runs_of(2));
    assert_eq!(of_another.run().await.result, Ok(JobOutcome::Ready));
    let length = |fixture: &TestJob| fixture.manifest().unwrap().source.duration_ms;
    assert_eq!(length(&of_another), length(&alone));
    assert_eq!(of_another.output("storyboard.webp"), alone.output("storyboard.webp"));
    // Runs in the shown track exceed the size of the file.
    let of_the_shown = TestJob::new(with_runs_of(1));
    assert_eq!(of_the_shown.run().await.result, Ok(JobOutcome::Rejected(Code::TimedOut)));
}
