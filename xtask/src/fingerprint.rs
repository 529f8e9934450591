//! Detects changed inputs of a build by a fingerprint, stored in a stamp file beside the output. Only contents count,
//! not timestamps, so a fresh checkout of the same files is unchanged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A 64-bit FNV-1a hash of names and contents. It detects changes; it is not secure against attackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a piece of data with its length, so that `ab` + `c` differs from `a` + `bc`.
    #[must_use]
    pub(crate) fn with_bytes(self, piece: &[u8]) -> Self {
        let length = (piece.len() as u64).to_le_bytes();
        let step = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(length.iter().chain(piece).fold(self.0, step))
    }

    /// Adds a file, or a folder recursively, by name and content, except the paths in `skip`. A path that does not
    /// exist has its own distinct value.
    pub(crate) fn with_path(self, path: &Path, skip: &[PathBuf]) -> Result<Self> {
        if skip.iter().any(|skipped| skipped == path) {
            return Ok(self);
        }
        let named = self.with_bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
        let Ok(metadata) = fs::metadata(path) else { return Ok(named.with_bytes(b"absent")) };
        if !metadata.is_dir() {
            let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(named.with_bytes(&content));
        }
        let mut children: Vec<PathBuf> = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("cannot list {}", path.display()))?;
        children.sort();
        children.iter().try_fold(named.with_bytes(b"folder"), |state, child| state.with_path(child, skip))
    }

    /// The hexadecimal form, used in stamp files and as a suffix of folders in the tools cache.
    pub(crate) fn to_hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Whether `stamp` contains exactly this fingerprint of the inputs.
pub(crate) fn is_fresh(stamp: &Path, fingerprint: Fingerprint) -> bool {
    fs::read_to_string(stamp).is_ok_and(|text| text.trim() == fingerprint.to_hex())
}

/// Writes the stamp. This is the last step of a build, so that a failed build has no stamp.
pub(crate) fn write_stamp(stamp: &Path, fingerprint: Fingerprint) -> Result<()> {
    fs::write(stamp, fingerprint.to_hex() + "\n").with_context(|| format!("cannot write {}", stamp.display()))
}

/// Removes the stamp. This is the first step of a build, for the same reason.
pub(crate) fn invalidate(stamp: &Path) -> Result<()> {
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

    /// A temporary folder of one test, emptied at the beginning and removed at the end.
    struct ScratchFolder(PathBuf);

    impl ScratchFolder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("folder")).unwrap();
            Self(path)
        }
    }

    impl Drop for ScratchFolder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fingerprint(path: &Path, skip: &[PathBuf]) -> Fingerprint {
        Fingerprint::new().with_path(path, skip).unwrap()
    }

    #[test]
    fn adjacent_pieces_hash_differently() {
        let new = Fingerprint::new;
        assert_ne!(new().with_bytes(b"ab").with_bytes(b"c"), new().with_bytes(b"a").with_bytes(b"bc"));
        assert_ne!(new().with_bytes(b""), new());
        assert_eq!(new().with_bytes(b"a"), new().with_bytes(b"a"));
    }

    #[test]
    fn detects_changes_except_skipped_paths() {
        let scratch = ScratchFolder::new("changes");
        let file = scratch.0.join("folder/a.rs");
        fs::write(&file, "one").unwrap();
        let before = fingerprint(&scratch.0, &[]);
        assert_eq!(before, fingerprint(&scratch.0, &[]));

        fs::write(&file, "two").unwrap();
        let changed = fingerprint(&scratch.0, &[]);
        assert_ne!(before, changed, "content");
        fs::rename(&file, scratch.0.join("folder/b.rs")).unwrap();
        assert_ne!(changed, fingerprint(&scratch.0, &[]), "name");
        fs::remove_file(scratch.0.join("folder/b.rs")).unwrap();
        assert_ne!(before, fingerprint(&scratch.0, &[]), "absence");

        let skip = [scratch.0.join("folder")];
        let skipped = fingerprint(&scratch.0, &skip);
        fs::write(&file, "three").unwrap();
        assert_eq!(skipped, fingerprint(&scratch.0, &skip));
    }

    #[test]
    fn stamp_is_fresh_only_for_same_inputs() {
        let scratch = ScratchFolder::new("stamp");
        let stamp = scratch.0.join("stamp");
        let inputs = Fingerprint::new().with_bytes(b"inputs");
        assert!(!is_fresh(&stamp, inputs), "no stamp yet");
        write_stamp(&stamp, inputs).unwrap();
        assert!(is_fresh(&stamp, inputs));
        assert!(!is_fresh(&stamp, inputs.with_bytes(b"more")));
        invalidate(&stamp).unwrap();
        assert!(!is_fresh(&stamp, inputs));
        invalidate(&stamp).expect("a missing stamp is not an error");
    }
}
