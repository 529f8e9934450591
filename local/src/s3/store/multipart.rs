//! Multipart uploads: create, upload parts, complete or abort.
//!
//! Limits from <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use crate::s3::checksum::{ChecksumHashers, Checksums, composite_checksum};
use crate::s3::condition::WriteConditions;
use crate::s3::disk::{Blob, read_records, write_record};
use crate::s3::record::{
    NewObject, PartEntry, PartRecord, Segment, StoredContent, UploadEntry, UploadRecord,
};
use crate::s3::store::{EventOrigin, Inner, ObjectStore, ObjectStoreError};

/// The highest part number.
pub(crate) const MAX_PART_NUMBER: u16 = 10_000;
/// The minimum size of a part, except the last one.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// A part as named in the completion request.
#[derive(Debug, Clone)]
pub(crate) struct PartReference {
    pub(crate) number: i32,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

/// A request to complete an upload.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) parts: Vec<PartReference>,
    /// The client's checksums of the whole object.
    pub(crate) checksums: Checksums,
    pub(crate) bytes: Option<u64>,
    pub(crate) conditions: WriteConditions,
    pub(crate) origin: EventOrigin,
}

/// Loads the unfinished uploads. An upload whose parts belong to an object was completed just before a crash, and is
/// removed.
pub(crate) fn load_uploads(
    root: &Path,
    referenced_blobs: &mut HashSet<String>,
) -> io::Result<BTreeMap<(String, String), UploadEntry>> {
    let mut uploads = BTreeMap::new();
    for entry in fs::read_dir(root.join("uploads"))? {
        let folder = entry?.path();
        let record: Option<UploadRecord> = read_records(&folder.join("begun"))
            .unwrap_or_default()
            .pop()
            .map(|(_, record): (PathBuf, UploadRecord)| record);
        let parts = match &record {
            Some(_) => read_records::<PartRecord>(&folder.join("parts"))?,
            None => Vec::new(),
        };
        let is_completed = parts.iter().any(|(_, part)| referenced_blobs.contains(&part.segment.blob));
        let Some(record) = record.filter(|_| !is_completed) else {
            fs::remove_dir_all(&folder)?;
            continue;
        };
        let parts = parts
            .into_iter()
            .map(|(_, record)| {
                let blob = Blob::existing(root.join("blobs").join(&record.segment.blob));
                (record.number, PartEntry { record, blob })
            })
            .collect::<BTreeMap<_, _>>();
        uploads.insert((record.key.clone(), record.id.clone()), UploadEntry { record, parts });
    }
    let blobs = uploads.values().flat_map(|upload: &UploadEntry| upload.parts.values());
    referenced_blobs.extend(blobs.map(|part| part.record.segment.blob.clone()));
    Ok(uploads)
}

impl ObjectStore {
    /// Creates an upload.
    pub(crate) async fn create_upload(&self, record: UploadRecord) -> Result<(), ObjectStoreError> {
        self.run_blocking(move |inner| {
            let folder = inner.upload_folder(&record.id);
            fs::create_dir_all(folder.join("parts"))?;
            fs::create_dir_all(folder.join("begun"))?;
            write_record(&folder.join("begun/upload.json"), &record)?;
            let name = (record.key.clone(), record.id.clone());
            inner.state().uploads.insert(name, UploadEntry { record, parts: BTreeMap::new() });
            Ok(())
        })
        .await
    }

    /// The current state of an unfinished upload.
    pub(crate) fn upload(&self, key: &str, id: &str) -> Result<UploadEntry, ObjectStoreError> {
        let name = (key.to_owned(), id.to_owned());
        self.0.state().uploads.get(&name).cloned().ok_or(ObjectStoreError::NoSuchUpload)
    }

    /// Stores the content as the part with this number, and replaces an earlier one.
    pub(crate) async fn add_part(
        &self,
        (key, id): (String, String),
        number: u16,
        content: StoredContent,
        etag: String,
        checksums: Checksums,
    ) -> Result<PartRecord, ObjectStoreError> {
        self.run_blocking(move |inner| {
            let mut state = inner.state();
            let modified_ms = inner.clock.now_ms();
            let upload = state.uploads.get_mut(&(key, id)).ok_or(ObjectStoreError::NoSuchUpload)?;
            let segment = Segment { blob: content.name, bytes: content.bytes };
            let record = PartRecord { number, etag, modified_ms, checksums, segment };
            let folder = inner.upload_folder(&upload.record.id);
            write_record(&folder.join(format!("parts/{number:05}.json")), &record)?;
            content.blob.mark_referenced();
            let part = PartEntry { record: record.clone(), blob: content.blob };
            if let Some(old) = upload.parts.insert(number, part) {
                old.blob.mark_unreferenced();
            }
            Ok(record)
        })
        .await
    }

    /// Ends the upload without an object.
    pub(crate) async fn abort(&self, key: String, id: String) -> Result<(), ObjectStoreError> {
        self.run_blocking(move |inner| {
            let upload = inner.state().uploads.remove(&(key, id)).ok_or(ObjectStoreError::NoSuchUpload)?;
            fs::remove_dir_all(inner.upload_folder(&upload.record.id))?;
            upload.parts.values().for_each(|part| part.blob.mark_unreferenced());
            Ok(())
        })
        .await
    }

    /// Completes the upload as an object of the named parts, without copying a byte.
    pub(crate) async fn complete(
        &self,
        request: CompletionRequest,
    ) -> Result<std::sync::Arc<crate::s3::record::ObjectEntry>, ObjectStoreError> {
        self.run_blocking(move |inner| inner.complete(request)).await
    }
}

impl Inner {
    fn upload_folder(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    fn complete(
        &self,
        request: CompletionRequest,
    ) -> Result<std::sync::Arc<crate::s3::record::ObjectEntry>, ObjectStoreError> {
        let name = (request.key, request.id);
        // Reading all bytes for a checksum may take long, so it happens outside the lock. Parts that change in the
        // meantime have another ETag, which the second check detects.
        let upload = self.state().uploads.get(&name).cloned().ok_or(ObjectStoreError::NoSuchUpload)?;
        let new_object = assemble(&upload, &request.parts)?;
        let total_bytes: u64 = new_object.content.iter().map(|content| content.bytes).sum();
        let is_checksum_mismatch = |(algorithm, value): (_, &String)| {
            new_object.checksums.get(algorithm).is_some_and(|own: &String| own != value)
        };
        if request.bytes.is_some_and(|bytes| bytes != total_bytes)
            || request.checksums.iter().any(is_checksum_mismatch)
        {
            return Err(ObjectStoreError::BadDigest);
        }

        let mut state = self.state();
        let current = state.uploads.get(&name).ok_or(ObjectStoreError::NoSuchUpload)?;
        select_parts(current, &request.parts)?;
        let kept_blobs: HashSet<_> = new_object.content.iter().map(|content| content.name.clone()).collect();
        let (object, created) = self.commit(&mut state, new_object, &request.conditions, request.origin)?;
        let upload = state.uploads.remove(&name).expect("the upload was found under the same lock");
        drop(state);
        for part in upload.parts.values().filter(|part| !kept_blobs.contains(&part.record.segment.blob)) {
            part.blob.mark_unreferenced();
        }
        fs::remove_dir_all(self.upload_folder(&upload.record.id))?;
        self.send_event(created);
        Ok(object)
    }
}

/// The named parts, checked by S3's rules.
fn select_parts<'a>(
    upload: &'a UploadEntry,
    parts: &[PartReference],
) -> Result<Vec<&'a PartEntry>, ObjectStoreError> {
    if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(ObjectStoreError::InvalidPartOrder);
    }
    let mut selected = Vec::with_capacity(parts.len());
    for named in parts {
        let part = u16::try_from(named.number)
            .ok()
            .and_then(|number| upload.parts.get(&number))
            .filter(|part| part.record.etag == named.etag)
            .filter(|part| {
                let own = &part.record.checksums;
                named
                    .checksums
                    .iter()
                    .all(|(algorithm, value)| own.get(algorithm).is_none_or(|own| own == value))
            })
            .ok_or(ObjectStoreError::InvalidPart(named.number))?;
        selected.push(part);
    }
    let too_small = selected.split_last().and_then(|(_, before)| {
        before.iter().find(|part| part.record.segment.bytes < MIN_PART_BYTES).map(|part| part.record.number)
    });
    match too_small {
        Some(number) => Err(ObjectStoreError::PartTooSmall(number)),
        None => Ok(selected),
    }
}

fn assemble(upload: &UploadEntry, parts: &[PartReference]) -> Result<NewObject, ObjectStoreError> {
    let parts = select_parts(upload, parts)?;
    let content: Vec<_> = parts
        .iter()
        .map(|part| StoredContent {
            name: part.record.segment.blob.clone(),
            bytes: part.record.segment.bytes,
            blob: std::sync::Arc::clone(&part.blob),
        })
        .collect();
    let mut checksums = Checksums::new();
    if let Some(algorithm) = upload.record.algorithm {
        if upload.record.checksum_of_all {
            let mut hashers = ChecksumHashers::new([algorithm]);
            for content in &content {
                let mut file = fs::File::open(content.blob.path())?;
                io::copy(&mut file, &mut HashWriter(&mut hashers))?;
            }
            checksums = hashers.finish();
        } else if let Some(sum) =
            composite_checksum(algorithm, parts.iter().map(|part| &part.record.checksums))
        {
            checksums.insert(algorithm, sum);
        }
    }
    Ok(NewObject {
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

/// The MD5 of the parts' MD5s, with their number.
fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = etags.len();
    let mut hasher = Md5::new();
    for etag in etags {
        hasher.update(hex::decode(etag).expect("a part's ETag is the MD5 computed here"));
    }
    format!("{}-{count}", hex::encode(hasher.finalize()))
}

struct HashWriter<'a>(&'a mut ChecksumHashers);

impl io::Write for HashWriter<'_> {
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
    fn multipart_etag_matches_known_value() {
        // printf 'a' | md5sum, printf 'b' | md5sum; both as bytes through md5sum again.
        let etags = ["0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"];
        assert_eq!(etag_of_parts(etags.into_iter()), "96e024ba2074fe77e8e965ba43a704be-2");
    }
}
