//! Recognizes a file, so that its upload can be resumed.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

/// Length of each of the three samples, in bytes.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// The fingerprint of a file: the hash of its length, its time of modification, and samples of its beginning, middle
/// and end. A file that was changed since is another file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn fingerprint(file: &mut File, metadata: &Metadata) -> io::Result<String> {
    let bytes = metadata.len();
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let mut hasher = Sha256::new();
    hasher.update(bytes.to_be_bytes());
    hasher.update(modified.unwrap_or_default().as_nanos().to_be_bytes());
    for start in [0, bytes / 2, bytes.saturating_sub(SAMPLE_BYTES)] {
        file.seek(SeekFrom::Start(start))?;
        let mut sample = Vec::new();
        file.take(SAMPLE_BYTES).read_to_end(&mut sample)?;
        hasher.update(&sample);
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn changes_with_content_length_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let hash = |content: &[u8], time: SystemTime| {
            fs::write(&path, content).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            let mut file = File::open(&path).unwrap();
            let metadata = file.metadata().unwrap();
            fingerprint(&mut file, &metadata).unwrap()
        };
        let mut content = vec![7; 1_000_000];
        let first = hash(&content, time);
        assert_eq!(hash(&content, time), first);
        assert_ne!(hash(&content, time + Duration::from_millis(1)), first, "another time");
        for place in [0, 500_000, 999_999] {
            content[place] = 8;
            assert_ne!(hash(&content, time), first, "{place}");
            content[place] = 7;
        }
        assert_ne!(hash(&content[1..], time), first, "another length");
        assert_ne!(hash(b"", time), first);
    }
}
