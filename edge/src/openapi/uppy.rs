//! Decides what is said about `/s3`: Companion's S3 protocol, and Uppy's `signRequest`.

use std::collections::BTreeMap;

use glimpse_contract::{Code, limits};
use serde_json::json;

use super::operation::Operation;
use super::videos::FILE;
use super::{example, shape};
use crate::openapi::requests::{Completion, Creation, SignRequest};
use crate::openapi::responses::{
    Aborted, Completed, CompletedStatus, Form, ListedPart, MultipartCreated, Signed, SignedPart, SignedParts,
};

pub(super) const TAG: &str = "uppy";

pub(super) fn operations() -> Vec<Operation> {
    vec![params(), create(), list(), sign(), batch(), complete(), abort(), presign()]
}

fn of_upload(method: &'static str, rest: &str, id: &str) -> Operation {
    Operation::new(method, &format!("/s3/multipart/{{uploadId}}{rest}"), id, TAG)
        .path("uploadId", "S3's name of the upload.", shape::matching("^[!-~]{1,1024}$"))
        .needs("key", "Where the upload goes, as it was given out.", shape::some_text())
        .problems(&[Code::BadParameter, Code::ForbiddenKey, Code::NotFound])
}

fn params() -> Operation {
    Operation::new("GET", "/s3/params", "uppyParams", TAG)
        .says(
            "A form that S3 takes one file by",
            "For a file that is sent whole. S3 holds the client to the key, the type and the range of lengths. Where the storage \
             takes no forms, a PUT of exactly the length that is told. Of other parameters, such as Uppy's `metadata[…]`, only \
             `metadata[size]` is looked at, for `size`.",
        )
        .needs("filename", "The file's name.", shape::matching(shape::NAME))
        .query("size", "Its length in bytes. Needed only where the storage takes no forms.", shape::text())
        .query("type", "Its media type; one that is not known here, empty or left out is resolved by the name's ending.", shape::text())
        .traced()
        .answers::<Form>(200, "The form.", &example::form())
        .problems(&FILE)
}

fn create() -> Operation {
    let config = example::config();
    let created = MultipartCreated {
        key: example::key(),
        upload_id: example::UPLOAD_ID.into(),
        bucket: config.location.bucket.clone(),
    };
    Operation::new("POST", "/s3/multipart", "createMultipart", TAG)
        .says("Begin an upload in parts", "")
        .traced()
        .takes::<Creation>(
            json!({ "filename": "clip.mp4", "type": "video/mp4", "metadata": { "name": "clip.mp4" } }),
        )
        .answers::<MultipartCreated>(200, "The upload.", &created)
        .problems(&FILE)
}

fn list() -> Operation {
    let part = ListedPart { part_number: 1, etag: example::ETAG.into(), size: limits::MIN_PART_BYTES };
    of_upload("GET", "", "listParts")
        .says(
            "The parts that have arrived",
            "All of them, in the order of their numbers. Those of an upload that is finished have the ETag of the file; \
             completing with them is answered as the first time.",
        )
        .answers::<Vec<ListedPart>>(200, "The parts.", &vec![part])
}

/// What is said about a part's length.
const PART_SIZE: &str = "The part's length in bytes, if it is known: S3 then takes no other. An upload token for files of at most 5 MiB \
                         requires it.";

fn part_url() -> String {
    format!(
        "https://glimpse-videos.s3.eu-central-1.amazonaws.com/{}?partNumber=1&uploadId={}&X-Amz-…",
        example::key(),
        example::UPLOAD_ID
    )
}

fn sign() -> Operation {
    let signed = SignedPart { url: part_url(), method: "PUT".into(), expires: limits::UPLOAD_EXPIRES_SECS };
    of_upload("GET", "/{part}", "signPart")
        .says("Sign one part", "No more parts are signed than the largest file that is allowed can have.")
        .path("part", "The part's number.", shape::whole(1, limits::MAX_PARTS))
        .query("size", PART_SIZE, shape::whole(1, limits::MAX_SINGLE_UPLOAD_BYTES))
        .answers::<SignedPart>(200, "Where to send the part.", &signed)
        .problems(&[Code::TooLarge])
}

fn batch() -> Operation {
    let signed = SignedParts {
        presigned_urls: BTreeMap::from([("1".to_owned(), part_url())]),
        expires: limits::UPLOAD_EXPIRES_SECS,
    };
    of_upload("GET", "/batch", "signParts")
        .says("Sign several parts", "")
        .needs(
            "partNumbers",
            "1 to 100 numbers, separated by commas.",
            shape::matching("^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,99}$"),
        )
        .query("size", PART_SIZE, shape::whole(1, limits::MAX_SINGLE_UPLOAD_BYTES))
        .answers::<SignedParts>(200, "Where to send the parts.", &signed)
        .problems(&[Code::TooLarge])
}

fn complete() -> Operation {
    let config = example::config();
    let completed = Completed {
        location: config.location.object_url(&example::key()),
        key: example::key(),
        bucket: config.location.bucket.clone(),
        video: Some(example::processing()),
    };
    let Completed { location, key, bucket, .. } = &completed;
    let for_holders = CompletedStatus {
        location: location.clone(),
        key: key.clone(),
        bucket: bucket.clone(),
        video: Some(example::processing_status(false)),
    };
    of_upload("POST", "/complete", "completeMultipart")
        .says(
            "Make the parts a video",
            "The parts are summed first: an upload that is too large is given up. S3's own XML is taken too, and answered in \
             XML. Asking again with the same parts, after an answer that was lost, is answered as the first time.",
        )
        .takes::<Completion>(json!({ "parts": [{ "PartNumber": 1, "ETag": example::ETAG }] }))
        .answers::<Completed>(200, "The video.", &completed)
        .for_holders::<CompletedStatus>(&for_holders)
        .answers_bytes(200, "The video.", "application/xml")
        .problems(&[Code::TooLarge, Code::Empty, Code::AlreadyUploaded, Code::Deleted])
}

fn abort() -> Operation {
    of_upload("DELETE", "", "abortMultipart")
        .says("Give an upload up", "One that is over already counts as given up.")
        .answers::<Aborted>(200, "An empty object.", &Aborted {})
}

fn presign() -> Operation {
    let upload = example::upload();
    let signed = Signed {
        url: upload.url,
        key: example::key(),
        method: "PUT".into(),
        headers: Some(upload.headers),
        fields: None,
        expires: limits::UPLOAD_EXPIRES_SECS,
    };
    Operation::new("POST", "/s3/presign", "presign", TAG)
        .says(
            "Sign one of S3's own requests",
            "For Uppy v6's `signRequest`: PUT a file or a part, POST to begin or finish an upload in parts, GET its parts, \
             DELETE it. The key of a new upload is the edge's to choose.",
        )
        .traced()
        .takes::<SignRequest>(json!({ "method": "PUT", "key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff-clip.mp4",
            "contentType": "video/mp4", "size": 7_340_032 }))
        .answers::<Signed>(200, "The request.", &signed)
        .problems(&FILE)
        .problems(&[Code::ForbiddenKey, Code::NotFound])
}
