//! Files on disk: immutable content files, and records that are replaced by an atomic rename.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A content file. It is never changed once written; it is deleted with its last reader, unless a record on disk refers
/// to it.
#[derive(Debug)]
pub(crate) struct Blob {
    path: PathBuf,
    is_unreferenced: AtomicBool,
}

impl Blob {
    /// A file to be written: it is deleted unless a record refers to it.
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, is_unreferenced: AtomicBool::new(true) })
    }

    /// A file to which a record on disk refers.
    pub(crate) fn existing(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, is_unreferenced: AtomicBool::new(false) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A record on disk refers to the file now.
    pub(crate) fn mark_referenced(&self) {
        self.is_unreferenced.store(false, Ordering::Release);
    }

    /// No record refers to the file any more.
    pub(crate) fn mark_unreferenced(&self) {
        self.is_unreferenced.store(true, Ordering::Release);
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if self.is_unreferenced.load(Ordering::Acquire) {
            // If it cannot be removed now, the next opening of the store removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a record to a temporary file and renames it: a reader, or a start after a crash, sees either the old or the
/// new record.
pub(crate) fn write_record(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_data()?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Removes a record; a missing one is not an error.
pub(crate) fn remove_record(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Every record below the folder, with its path. Temporary files that a crash left behind are removed.
pub(crate) fn read_records<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<(PathBuf, T)>> {
    let mut records = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("json") => {
                    let record = serde_json::from_slice(&fs::read(&path)?).map_err(|error| {
                        io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("{} is not a valid record: {error}", path.display()),
                        )
                    })?;
                    records.push((path, record));
                }
                Some("tmp") => remove_record(&path)?,
                _ => {}
            }
        }
    }
    records.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_write_is_atomic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_record(&path, &1).unwrap();
        write_record(&path, &2).unwrap();
        fs::write(folder.path().join("b.tmp"), "{\"half").unwrap();
        assert_eq!(read_records::<u32>(folder.path()).unwrap(), [(path, 2)]);
        assert!(!folder.path().join("b.tmp").exists());
    }

    #[test]
    fn blob_is_deleted_with_last_reference() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "x").unwrap();
        let blob = Blob::new(path.clone());
        let reader = Arc::clone(&blob);
        blob.mark_referenced();
        blob.mark_unreferenced();
        drop(blob);
        assert!(path.exists(), "a reader still has it");
        drop(reader);
        assert!(!path.exists());
    }
}
