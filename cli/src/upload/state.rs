//! Unfinished uploads of this user, each in a file of the state folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{create_private_folder, write_private};

/// The version of the files. A file of another version is ignored.
const VERSION: u32 = 1;

/// An upload in parts that was created. It contains no credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnfinishedUpload {
    version: u32,
    /// The name of the file, for people.
    pub(crate) name: String,
    /// The length of the file in bytes.
    pub(crate) bytes: u64,
    /// The size of its parts in bytes.
    pub(crate) part_bytes: u64,
    /// The key, as the deployment returned it.
    pub(crate) key: String,
    /// The storage's id of the upload.
    pub(crate) upload_id: String,
}

impl UnfinishedUpload {
    /// Creates a record.
    pub(crate) fn new(name: &str, bytes: u64, part_bytes: u64, key: &str, upload_id: &str) -> Self {
        let [name, key, upload_id] = [name, key, upload_id].map(str::to_owned);
        Self { version: VERSION, name, bytes, part_bytes, key, upload_id }
    }
}

/// The record of one file's upload to one deployment, which no other process uses at the same time.
#[derive(Debug)]
pub(crate) struct UploadRecord {
    path: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl UploadRecord {
    /// Locks the record of a file. `options` are those that are part of the upload, such as its visibility.
    ///
    /// # Errors
    /// Another process has locked it (`WouldBlock`), or the folder cannot be written.
    pub(crate) fn lock(
        folder: &Path,
        deployment: &str,
        fingerprint: &str,
        options: &str,
    ) -> io::Result<Self> {
        let folder = folder.join("uploads");
        create_private_folder(&folder)?;
        let mut hasher = Sha256::new();
        for text in [deployment, fingerprint, options] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        let path = folder.join(format!("{}.json", &hex::encode(hasher.finalize())[..32]));
        // The record is replaced when it is written, so another file has the lock.
        let lock = File::create(path.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The unfinished upload; `None` if there is none, or none that this version understands.
    pub(crate) fn load(&self) -> Option<UnfinishedUpload> {
        let upload: UnfinishedUpload = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        (upload.version == VERSION && upload.part_bytes > 0).then_some(upload)
    }

    /// Stores the unfinished upload.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, upload: &UnfinishedUpload) -> io::Result<()> {
        write_private(&self.path, serde_json::to_string(upload)?.as_bytes())
    }

    /// Removes the record: the upload is complete, or no longer exists.
    pub(crate) fn remove(&self) {
        // A record that is left behind is checked against the storage by the next upload of the file.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for UploadRecord {
    fn drop(&mut self) {
        if !self.path.exists() {
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload() -> UnfinishedUpload {
        UnfinishedUpload::new("a.mp4", 40, 16, "key", "id")
    }

    #[test]
    fn record_round_trips_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let record = UploadRecord::lock(folder.path(), "https://a", "f", "").unwrap();
        assert_eq!(record.load(), None);
        record.save(&upload()).unwrap();
        assert_eq!(record.load(), Some(upload()));
        drop(record);
        let record = UploadRecord::lock(folder.path(), "https://a", "f", "").unwrap();
        assert_eq!(record.load(), Some(upload()));
        for (deployment, fingerprint, options) in
            [("https://b", "f", ""), ("https://a", "g", ""), ("https://a", "f", "x")]
        {
            let other = UploadRecord::lock(folder.path(), deployment, fingerprint, options).unwrap();
            assert_eq!(other.load(), None);
        }
        record.remove();
        assert_eq!(record.load(), None);
        drop(record);
        assert_eq!(fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn one_process_uses_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let lock = || UploadRecord::lock(folder.path(), "https://a", "f", "");
        let record = lock().unwrap();
        assert_eq!(lock().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(record);
        assert!(lock().is_ok());
    }

    #[test]
    fn invalid_record_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let record = UploadRecord::lock(folder.path(), "https://a", "f", "").unwrap();
        for text in ["", "{", r#"{"version":2,"name":"","bytes":1,"part_bytes":1,"key":"","upload_id":""}"#] {
            fs::write(&record.path, text).unwrap();
            assert_eq!(record.load(), None, "{text}");
        }
    }
}
