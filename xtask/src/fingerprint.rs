//! Decides whether something has to be made again: a fingerprint of everything that goes into it, kept in a stamp file
//! beside what comes out. Contents count, times do not, so a fresh checkout of the same files changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A 64-bit FNV-1a over names and contents. It tells a change from none; it is no defence against anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one piece. Its length goes in too, so that `ab` + `c` differs from `a` + `bc`.
    #[must_use]
    pub(crate) fn with(self, piece: &[u8]) -> Self {
        let length = (piece.len() as u64).to_le_bytes();
        let step = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(length.iter().chain(piece).fold(self.0, step))
    }

    /// Adds a file, or a folder with everything below it, by name and content. What `skip` names is left out; something
    /// that does not exist counts as absent, which is a value of its own.
    pub(crate) fn with_path(self, path: &Path, skip: &[PathBuf]) -> Result<Self> {
        if skip.iter().any(|skipped| skipped == path) {
            return Ok(self);
        }
        let named = self.with(path.file_name().unwrap_or_default().as_encoded_bytes());
        let Ok(metadata) = fs::metadata(path) else { return Ok(named.with(b"absent")) };
        if !metadata.is_dir() {
            let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(named.with(&content));
        }
        let mut children: Vec<PathBuf> = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("cannot list {}", path.display()))?;
        children.sort();
        children.iter().try_fold(named.with(b"folder"), |state, child| state.with_path(child, skip))
    }

    /// The text that a stamp file holds, and names of folders in the tools cache end with.
    pub(crate) fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Whether `stamp` says that its product was made of exactly these inputs.
pub(crate) fn is_fresh(stamp: &Path, fingerprint: Fingerprint) -> bool {
    fs::read_to_string(stamp).is_ok_and(|text| text.trim() == fingerprint.text())
}

/// Writes the stamp; the last act of making something, so that a broken attempt leaves none.
pub(crate) fn write(stamp: &Path, fingerprint: Fingerprint) -> Result<()> {
    fs::write(stamp, fingerprint.text() + "\n").with_context(|| format!("cannot write {}", stamp.display()))
}

/// Takes the stamp away; the first act, for the same reason.
pub(crate) fn forget(stamp: &Path) -> Result<()> {
    match fs::remove_file(stamp) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", stamp.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test alone, emptied first and removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("folder")).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn of(path: &Path, skip: &[PathBuf]) -> Fingerprint {
        Fingerprint::new().with_path(path, skip).unwrap()
    }

    #[test]
    fn pieces_do_not_run_into_each_other() {
        let new = Fingerprint::new;
        assert_ne!(new().with(b"ab").with(b"c"), new().with(b"a").with(b"bc"));
        assert_ne!(new().with(b""), new());
        assert_eq!(new().with(b"a"), new().with(b"a"));
    }

    #[test]
    fn sees_every_change_but_not_what_is_skipped() {
        let scratch = Scratch::new("changes");
        let file = scratch.0.join("folder/a.rs");
        fs::write(&file, "one").unwrap();
        let before = of(&scratch.0, &[]);
        assert_eq!(before, of(&scratch.0, &[]));

        fs::write(&file, "two").unwrap();
        let changed = of(&scratch.0, &[]);
        assert_ne!(before, changed, "content");
        fs::rename(&file, scratch.0.join("folder/b.rs")).unwrap();
        assert_ne!(changed, of(&scratch.0, &[]), "name");
        fs::remove_file(scratch.0.join("folder/b.rs")).unwrap();
        assert_ne!(before, of(&scratch.0, &[]), "absence");

        let skip = [scratch.0.join("folder")];
        let skipped = of(&scratch.0, &skip);
        fs::write(&file, "three").unwrap();
        assert_eq!(skipped, of(&scratch.0, &skip));
    }

    #[test]
    fn a_stamp_is_fresh_for_its_own_inputs_only() {
        let scratch = Scratch::new("stamp");
        let stamp = scratch.0.join("stamp");
        let inputs = Fingerprint::new().with(b"inputs");
        assert!(!is_fresh(&stamp, inputs), "none yet");
        write(&stamp, inputs).unwrap();
        assert!(is_fresh(&stamp, inputs));
        assert!(!is_fresh(&stamp, inputs.with(b"more")));
        forget(&stamp).unwrap();
        assert!(!is_fresh(&stamp, inputs));
        forget(&stamp).expect("forgetting twice is no error");
    }
}
