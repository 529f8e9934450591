//! Decides the life of a multipart upload: begun, given parts, completed or aborted.
//!
//! Limits from <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use super::checksum::{Checksums, Hashers, composite};
use super::condition::WriteConditions;
use super::disk::{Blob, read_records, write_record};
use super::record::{Content, Draft, Part, PartRecord, Segment, Upload, UploadRecord};
use super::store::{Inner, Origin, Store, StoreError};

/// The highest number of a part.
pub(crate) const MAX_PART_NUMBER: u16 = 10_000;
/// The smallest part that is not the last one.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// A part as the completing client names it.
#[derive(Debug, Clone)]
pub(crate) struct NamedPart {
    pub(crate) number: i32,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

/// A wish to complete an upload.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) parts: Vec<NamedPart>,
    /// What the client says of the whole.
    pub(crate) checksums: Checksums,
    pub(crate) bytes: Option<u64>,
    pub(crate) conditions: WriteConditions,
    pub(crate) origin: Origin,
}

/// Reads the uploads under way. One whose parts belong to an object was completed just before a crash: it goes.
pub(crate) fn load(
    root: &Path,
    referred: &mut HashSet<String>,
) -> io::Result<BTreeMap<(String, String), Upload>> {
    let mut uploads = BTreeMap::new();
    for entry in fs::read_dir(root.join("uploads"))? {
        let folder = entry?.path();
        let begun: Option<UploadRecord> = read_records(&folder.join("begun"))
            .unwrap_or_default()
            .pop()
            .map(|(_, record): (PathBuf, UploadRecord)| record);
        let parts = match &begun {
            Some(_) => read_records::<PartRecord>(&folder.join("parts"))?,
            None => Vec::new(),
        };
        let completed = parts.iter().any(|(_, part)| referred.contains(&part.segment.blob));
        let Some(record) = begun.filter(|_| !completed) else {
            fs::remove_dir_all(&folder)?;
            continue;
        };
        let parts = parts
            .into_iter()
            .map(|(_, record)| {
                let blob = Blob::existing(root.join("blobs").join(&record.segment.blob));
                (record.number, Part { record, blob })
            })
            .collect::<BTreeMap<_, _>>();
        uploads.insert((record.key.clone(), record.id.clone()), Upload { record, parts });
    }
    let blobs = uploads.values().flat_map(|upload: &Upload| upload.parts.values());
    referred.extend(blobs.map(|part| part.record.segment.blob.clone()));
    Ok(uploads)
}

impl Store {
    /// Begins an upload.
    pub(crate) async fn begin(&self, record: UploadRecord) -> Result<(), StoreError> {
        self.change(move |inner| {
            let folder = inner.upload_folder(&record.id);
            fs::create_dir_all(folder.join("parts"))?;
            fs::create_dir_all(folder.join("begun"))?;
            write_record(&folder.join("begun/upload.json"), &record)?;
            let name = (record.key.clone(), record.id.clone());
            inner.state().uploads.insert(name, Upload { record, parts: BTreeMap::new() });
            Ok(())
        })
        .await
    }

    /// The upload under way, as it is now.
    pub(crate) fn upload(&self, key: &str, id: &str) -> Result<Upload, StoreError> {
        let name = (key.to_owned(), id.to_owned());
        self.0.state().uploads.get(&name).cloned().ok_or(StoreError::NoSuchUpload)
    }

    /// Makes the content the part of that number, in place of an earlier one.
    pub(crate) async fn add_part(
        &self,
        (key, id): (String, String),
        number: u16,
        content: Content,
        etag: String,
        checksums: Checksums,
    ) -> Result<PartRecord, StoreError> {
        self.change(move |inner| {
            let mut state = inner.state();
            let modified_ms = inner.clock.now_ms();
            let upload = state.uploads.get_mut(&(key, id)).ok_or(StoreError::NoSuchUpload)?;
            let segment = Segment { blob: content.name, bytes: content.bytes };
            let record = PartRecord { number, etag, modified_ms, checksums, segment };
            let folder = inner.upload_folder(&upload.record.id);
            write_record(&folder.join(format!("parts/{number:05}.json")), &record)?;
            content.blob.keep();
            let part = Part { record: record.clone(), blob: content.blob };
            if let Some(old) = upload.parts.insert(number, part) {
                old.blob.doom();
            }
            Ok(record)
        })
        .await
    }

    /// Ends the upload without an object.
    pub(crate) async fn abort(&self, key: String, id: String) -> Result<(), StoreError> {
        self.change(move |inner| {
            let upload = inner.state().uploads.remove(&(key, id)).ok_or(StoreError::NoSuchUpload)?;
            fs::remove_dir_all(inner.upload_folder(&upload.record.id))?;
            upload.parts.values().for_each(|part| part.blob.doom());
            Ok(())
        })
        .await
    }

    /// Ends the upload with an object out of the named parts; no byte of them is copied.
    pub(crate) async fn complete(
        &self,
        wish: Completion,
    ) -> Result<std::sync::Arc<super::record::Object>, StoreError> {
        self.change(move |inner| inner.complete(wish)).await
    }
}

impl Inner {
    fn upload_folder(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    fn complete(&self, wish: Completion) -> Result<std::sync::Arc<super::record::Object>, StoreError> {
        let name = (wish.key, wish.id);
        // Reading all bytes for a checksum may take long, so it is done outside the lock. Parts that change
        // meanwhile have another ETag, which the second look finds.
        let upload = self.state().uploads.get(&name).cloned().ok_or(StoreError::NoSuchUpload)?;
        let draft = draft(&upload, &wish.parts)?;
        let total: u64 = draft.content.iter().map(|content| content.bytes).sum();
        let wrong_checksum = |(algorithm, value): (_, &String)| {
            draft.checksums.get(algorithm).is_some_and(|own: &String| own != value)
        };
        if wish.bytes.is_some_and(|bytes| bytes != total) || wish.checksums.iter().any(wrong_checksum) {
            return Err(StoreError::BadDigest);
        }

        let mut state = self.state();
        let current = state.uploads.get(&name).ok_or(StoreError::NoSuchUpload)?;
        choose(current, &wish.parts)?;
        let kept: HashSet<_> = draft.content.iter().map(|content| content.name.clone()).collect();
        let (object, created) = self.commit(&mut state, draft, &wish.conditions, wish.origin)?;
        let upload = state.uploads.remove(&name).expect("it was there under the same lock");
        drop(state);
        for part in upload.parts.values().filter(|part| !kept.contains(&part.record.segment.blob)) {
            part.blob.doom();
        }
        fs::remove_dir_all(self.upload_folder(&upload.record.id))?;
        self.announce(created);
        Ok(object)
    }
}

/// The parts that are named, checked by S3's rules.
fn choose<'a>(upload: &'a Upload, named: &[NamedPart]) -> Result<Vec<&'a Part>, StoreError> {
    if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(StoreError::InvalidPartOrder);
    }
    let mut chosen = Vec::with_capacity(named.len());
    for wanted in named {
        let part = u16::try_from(wanted.number)
            .ok()
            .and_then(|number| upload.parts.get(&number))
            .filter(|part| part.record.etag == wanted.etag)
            .filter(|part| {
                let own = &part.record.checksums;
                wanted
                    .checksums
                    .iter()
                    .all(|(algorithm, value)| own.get(algorithm).is_none_or(|own| own == value))
            })
            .ok_or(StoreError::InvalidPart(wanted.number))?;
        chosen.push(part);
    }
    let small = chosen.split_last().and_then(|(_, before)| {
        before.iter().find(|part| part.record.segment.bytes < MIN_PART_BYTES).map(|part| part.record.number)
    });
    match small {
        Some(number) => Err(StoreError::PartTooSmall(number)),
        None => Ok(chosen),
    }
}

fn draft(upload: &Upload, named: &[NamedPart]) -> Result<Draft, StoreError> {
    let parts = choose(upload, named)?;
    let content: Vec<_> = parts
        .iter()
        .map(|part| Content {
            name: part.record.segment.blob.clone(),
            bytes: part.record.segment.bytes,
            blob: std::sync::Arc::clone(&part.blob),
        })
        .collect();
    let mut checksums = Checksums::new();
    if let Some(algorithm) = upload.record.algorithm {
        if upload.record.checksum_of_all {
            let mut hashers = Hashers::new([algorithm]);
            for content in &content {
                let mut file = fs::File::open(content.blob.path())?;
                io::copy(&mut file, &mut Hashing(&mut hashers))?;
            }
            checksums = hashers.finish();
        } else if let Some(sum) = composite(algorithm, parts.iter().map(|part| &part.record.checksums)) {
            checksums.insert(algorithm, sum);
        }
    }
    Ok(Draft {
        key: upload.record.key.clone(),
        etag: etag_of_parts(parts.iter().map(|part| part.record.etag.as_str())),
        headers: upload.record.headers.clone(),
        metadata: upload.record.metadata.clone(),
        checksums,
        checksum_of_all: upload.record.checksum_of_all,
        multipart: true,
        content,
    })
}

/// The MD5 of the parts' MD5s, and their number.
fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = etags.len();
    let mut hasher = Md5::new();
    for etag in etags {
        hasher.update(hex::decode(etag).expect("a part's ETag is the MD5 that we made"));
    }
    format!("{}-{count}", hex::encode(hasher.finalize()))
}

struct Hashing<'a>(&'a mut Hashers);

impl io::Write for Hashing<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_parts_is_pinned() {
        // printf 'a' | md5sum, printf 'b' | md5sum; both as bytes through md5sum again.
        let etags = ["0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"];
        assert_eq!(etag_of_parts(etags.into_iter()), "96e024ba2074fe77e8e965ba43a704be-2");
    }
}
