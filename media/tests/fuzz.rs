//! A short run of every fuzz target without libFuzzer: each file of its corpus unchanged, and a limited number of
//! mutated ones. Inputs that libFuzzer found are added to the corpus, and are therefore tested each time.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::path::{Path, PathBuf};

#[path = "../fuzz/drive.rs"]
mod drive;

/// How many mutated files each target reads. `GLIMPSE_FUZZ_RUNS` overrides it.
const RUNS: usize = 20_000;
/// The maximum size of mutated files, to keep runs short.
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
    assert!(!files.is_empty(), "the corpus {name} is empty");
    files
}

/// The words of a libFuzzer dictionary: one string per line, `\xAB` for bytes.
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

/// A deterministic random number generator: Marsaglia's xorshift, <https://doi.org/10.18637/jss.v008.i14>.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

/// Mutates a file in a few places, like a fuzzer.
fn mutate(file: &mut Vec<u8>, others: &[(String, Vec<u8>)], words: &[Vec<u8>], random: &mut Xorshift) {
    for _ in 0..=random.below(5) {
        // Half of the mutations are near the beginning, where headers are.
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

/// Runs one target on all files of the corpora, and on mutations of them.
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

/// Writes the file on which a target panicked, so that it can be added to the corpus.
struct SaveOnPanic<'a>(&'a [u8]);

impl Drop for SaveOnPanic<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = std::env::temp_dir().join(format!("glimpse-fuzz-{}-{}", std::process::id(), self.0.len()));
        let _ = std::fs::write(&path, self.0);
        eprintln!("panics with {}", path.display());
    }
}

#[test]
fn mp4_never_panics() {
    run(drive::mp4, &["mp4"], &["mp4.dict"], 1);
}

#[test]
fn large_mp4_never_panics() {
    // Each becomes a file of nine megabytes.
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
fn clip_of_any_file_is_readable() {
    run(drive::clip, &["mp4", "matroska", "flv"], &["mp4.dict", "matroska.dict", "flv.dict"], 7);
}

#[test]
fn f1_f3_sniff_never_panics() {
    run(drive::sniff, &["sniff", "mp4", "matroska"], &["sniff.dict"], 5);
}
