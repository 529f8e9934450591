//! Decides how bytes get onto the disk: contents as files that are never changed, records by atomic rename.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file of content. Once written it is never changed; it goes away with the last reader that holds it,
/// if by then nothing on disk refers to it.
#[derive(Debug)]
pub(crate) struct Blob {
    path: PathBuf,
    is_unreferenced: AtomicBool,
}

impl Blob {
    /// A file that is to be written: it goes away unless it is kept.
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, is_unreferenced: AtomicBool::new(true) })
    }

    /// A file that a record on disk refers to.
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
            // What cannot be removed now is swept when the store is opened the next time.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a record under a temporary name and renames it: a reader, or a start after a crash, sees the old one
/// or the new one and nothing in between.
pub(crate) fn write_record(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_data()?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Removes a record; one that is not there is fine.
pub(crate) fn remove_record(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Every record below the folder, with its path. What a crash left under a temporary name is removed.
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
                            format!("{} is not a record of ours: {error}", path.display()),
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
        assert!(path.exists(), "somebody still reads it");
        drop(reader);
        assert!(!path.exists());
    }
}
