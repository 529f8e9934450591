//! A short run of every fuzz target, with the compiler that is there: each file of its corpus as it is, and a bounded
//! number of changed ones. What libFuzzer once found lies in the corpus, and so is tried again each time.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::path::{Path, PathBuf};

#[path = "../fuzz/drive.rs"]
mod drive;

/// How many changed files of each target are tried. `GLIMPSE_FUZZ_RUNS` says another number.
const RUNS: usize = 20_000;
/// No changed file is longer: a run is to be short.
const MAX_BYTES: usize = 64 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of a corpus, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder().join("corpus").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has a corpus");
    files
}

/// The words of a dictionary of libFuzzer's: a string a line, `\xAB` for bytes.
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder().join("dictionaries").join(name)).unwrap();
    let word = |line: &str| {
        let line = line.strip_prefix('"')?.strip_suffix('"')?;
        let (mut word, mut rest) = (Vec::new(), line.as_bytes());
        while let Some((first, others)) = rest.split_first() {
            if rest.starts_with(b"\\x") {
                word.push(u8::from_str_radix(std::str::from_utf8(&rest[2..4]).unwrap(), 16).unwrap());
                rest = &rest[4..];
            } else {
                word.push(*first);
                rest = others;
            }
        }
        Some(word)
    };
    let words: Vec<_> = text.lines().filter_map(word).collect();
    assert!(words.len() > 10, "{name}");
    words
}

/// Numbers that are the same each time: Marsaglia's xorshift, <https://doi.org/10.18637/jss.v008.i14>.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

/// Changes a file in a few places, as a fuzzer does.
fn mutate(file: &mut Vec<u8>, others: &[(String, Vec<u8>)], words: &[Vec<u8>], random: &mut Xorshift) {
    for _ in 0..=random.below(5) {
        // Half of the changes are near the beginning, where headers are.
        let reach = if random.below(2) == 0 { file.len() } else { file.len().min(600) };
        let at = random.below(reach);
        let length = (1 + random.below(64)).min(file.len() - at);
        match random.below(7) {
            0 if at < file.len() => file[at] ^= 1 << random.below(8),
            1 if at < file.len() => file[at] = random.below(256) as u8,
            2 => file.truncate(at.max(1)),
            3 => drop(file.drain(at..at + length)),
            4 => {
                let part = file[at..at + length].to_vec();
                file.splice(at..at, part);
            }
            5 => {
                let word = &words[random.below(words.len())];
                let end = if random.below(2) == 0 { at } else { (at + word.len()).min(file.len()) };
                file.splice(at..end, word.iter().copied());
            }
            _ => {
                let other = &others[random.below(others.len())].1;
                let from = random.below(other.len());
                file.splice(at.., other[from..].iter().copied());
            }
        }
        file.truncate(MAX_BYTES);
    }
}

/// Everything of the corpora, and changed files of them, before one target.
fn run(target: fn(&[u8]), corpora: &[&str], dictionaries: &[&str], seed: u64) {
    let files: Vec<_> = corpora.iter().flat_map(|name| corpus(name)).collect();
    let words: Vec<_> = dictionaries.iter().flat_map(|name| dictionary(name)).collect();
    for (name, bytes) in &files {
        eprintln!("{name}");
        target(bytes);
    }
    let runs = std::env::var("GLIMPSE_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let mut random = Xorshift(seed);
    for _ in 0..runs {
        let mut file = files[random.below(files.len())].1.clone();
        mutate(&mut file, &files, &words, &mut random);
        let _save = SaveOnPanic(&file);
        target(&file);
    }
}

/// Keeps the file that made a target panic, to be put into the corpus.
struct SaveOnPanic<'a>(&'a [u8]);

impl Drop for SaveOnPanic<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = std::env::temp_dir().join(format!("glimpse-fuzz-{}-{}", std::process::id(), self.0.len()));
        let _ = std::fs::write(&path, self.0);
        eprintln!("it panics at {}", path.display());
    }
}

#[test]
fn mp4_never_panics() {
    run(drive::mp4, &["mp4"], &["mp4.dict"], 1);
}

#[test]
fn large_mp4_never_panics() {
    // Each is copied into nine megabytes.
    let films = ["fragments.mp4", "dash.mp4", "indexed.mp4", "mixed.mp4"];
    for (name, bytes) in corpus("mp4") {
        if films.iter().any(|film| name.ends_with(film)) {
            drive::mp4_large(&bytes);
        }
    }
}

#[test]
fn f10_matroska_never_panics() {
    run(drive::matroska, &["matroska"], &["matroska.dict"], 3);
}

#[test]
fn f10_flv_never_panics() {
    run(drive::flv, &["flv"], &["flv.dict"], 6);
}

#[test]
fn any_file_becomes_a_readable_excerpt() {
    run(drive::digest, &["mp4", "matroska", "flv"], &["mp4.dict", "matroska.dict", "flv.dict"], 4);
}

#[test]
fn f1_f3_sniff_never_panics() {
    run(drive::sniff, &["sniff", "mp4", "matroska"], &["sniff.dict"], 5);
}
