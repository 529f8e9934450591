//! Compares Glimpse's GIF encoder with ffmpeg's and gifski's: bytes, SSIM and CPU time, on 60 frames of 320x180 of each
//! given video.
//!
//! `cargo run --release -p glimpse-media --example gif_bench -- [--gifski PATH] FILM...` with `ffmpeg` on the path. CPU
//! time is that of a whole process for the other encoders, and that of the encoder alone for Glimpse's, which runs in
//! this process.

use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use glimpse_media::image::gif;
use glimpse_media::size::Size;

const SIZE: Size = Size { width: 320, height: 180 };
const FPS: f64 = 15.0;
const RAW: &str = "-f rawvideo -pixel_format rgb24 -video_size 320x180 -framerate 15";
const GRAPH: &str =
    "split[a][b];[a]palettegen=stats_mode=full:max_colors=128[p];[b][p]paletteuse=dither=bayer:bayer_scale=5";
const SSIM: &str =
    "[0:v]fps=15,settb=1/15,setpts=N,format=gbrp[a];[1:v]settb=1/15,setpts=N,format=gbrp[b];[a][b]ssim";
/// The best of this many runs counts.
const RUNS: usize = 5;
/// Glimpse's encoder is too fast for the resolution of the CPU clock: this many runs are measured together.
const MANY: u32 = 10;

fn main() -> anyhow::Result<()> {
    let mut films: Vec<String> = std::env::args().skip(1).collect();
    let gifski = (films.first().is_some_and(|word| word == "--gifski") && films.len() > 1)
        .then(|| films.drain(..2).nth(1))
        .flatten();
    if films.is_empty() {
        bail!("no videos given");
    }
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (raw, theirs, ours) = (path("frames.rgb"), path("theirs.gif"), path("ours.gif"));
    for film in films {
        ffmpeg(&format!(
            "-v error -y -i {film} -an -vf fps=15,scale=320:180:flags=area -frames:v 60 -pix_fmt rgb24 -f rawvideo {raw}"
        ))?;
        let bytes = fs::read(&raw)?;
        let frames: Vec<&[u8]> = bytes.chunks_exact(SIZE.frame_bytes()).collect();
        writeln!(stdout(), "{film}: {} frames", frames.len())?;

        let command = format!(
            "-v error -y -threads 1 {RAW} -i {raw} -filter_complex {GRAPH} -c:v gif -loop 0 {theirs}"
        );
        let cpu = best(|| ffmpeg(&command))?;
        report(&format!("ffmpeg {command}"), &theirs, &raw, Some(cpu))?;
        let fine = gif::encode(&frames, SIZE, FPS, &gif::HIGH_QUALITY)?;
        fs::write(&ours, &fine)?;
        let cpu = best(|| {
            (0..MANY).try_for_each(|_| Ok(gif::encode(&frames, SIZE, FPS, &gif::HIGH_QUALITY).map(drop)?))
        })?;
        report("glimpse", &ours, &raw, Some(cpu / f64::from(MANY)))?;
        let same = gif::encode_within(&frames, SIZE, FPS, fs::metadata(&theirs)?.len() as usize)?;
        fs::write(&ours, &same)?;
        report("glimpse at ffmpeg's size", &ours, &raw, None)?;

        let Some(gifski) = &gifski else { continue };
        let stream = path("frames.y4m");
        ffmpeg(&format!("-v error -y {RAW} -i {raw} -pix_fmt yuv444p -strict -1 -f yuv4mpegpipe {stream}"))?;
        for quality in ["70", "80", "90"] {
            let arguments = ["--quiet", "--fps", "15", "-W", "320", "-Q", quality, "-o", &theirs, &stream];
            run(Command::new(gifski).args(arguments))?;
            report(&format!("gifski {}", arguments.join(" ")), &theirs, &raw, None)?;
            if let Ok(same) = gif::encode_within(&frames, SIZE, FPS, fs::metadata(&theirs)?.len() as usize) {
                fs::write(&ours, &same)?;
                report("glimpse at gifski's size", &ours, &raw, None)?;
            }
        }
    }
    Ok(())
}

/// The CPU seconds of the best of several runs.
fn best(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let before = cpu()?;
        work()?;
        best = best.min(cpu()? - before);
    }
    Ok(best)
}

/// The CPU seconds of this process and its finished children: fields 14 to 17 of proc(5)'s `stat`, in hundredths.
fn cpu() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no process name in /proc/self/stat")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn ffmpeg(arguments: &str) -> anyhow::Result<()> {
    run(Command::new("ffmpeg").arg("-nostdin").args(arguments.split(' ')))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn report(name: &str, gif: &str, raw: &str, cpu: Option<f64>) -> anyhow::Result<()> {
    let arguments = format!("-hide_banner -nostdin -i {gif} {RAW} -i {raw} -lavfi {SSIM} -f null -");
    let output = Command::new("ffmpeg").args(arguments.split(' ')).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let ssim = text.split("All:").nth(1).and_then(|rest| rest.split(' ').next()).context("no SSIM")?;
    let bytes = fs::metadata(Path::new(gif))?.len();
    let cpu = cpu.map_or_else(String::new, |cpu| format!(", {:.0} ms CPU", cpu * 1000.0));
    writeln!(stdout(), "  {bytes:8} bytes, SSIM {ssim}{cpu}: {name}")?;
    Ok(())
}
