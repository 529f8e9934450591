//! OpenAPI operations of `/s3`: Companion's S3 API, and Uppy's `signRequest`.

use std::collections::BTreeMap;

use glimpse_contract::{Code, limits};
use serde_json::json;

use super::operation::Operation;
use super::videos::FILE_PROBLEMS;
use super::{example, shape};
use crate::openapi::requests::{CompleteMultipartRequest, CreateMultipartRequest, SignRequest};
use crate::openapi::responses::{
    AbortMultipartResponse, CompleteMultipartResponse, CompleteMultipartStatusResponse,
    CreateMultipartResponse, PartSchema, PresignResponse, SignPartResponse, SignPartsResponse,
    UppyUploadParameters,
};

pub(super) const TAG: &str = "uppy";

pub(super) fn operations() -> Vec<Operation> {
    vec![params(), create(), list(), sign(), batch(), complete(), abort(), presign()]
}

fn upload_operation(method: &'static str, rest: &str, id: &str) -> Operation {
    Operation::new(method, &format!("/s3/multipart/{{uploadId}}{rest}"), id, TAG)
        .path_parameter("uploadId", "The upload id.", shape::pattern_string("^[!-~]{1,1024}$"))
        .required_query_parameter("key", "The key of the upload, unchanged.", shape::non_empty_string())
        .example(example::key().into())
        .problems(&[Code::BadParameter, Code::ForbiddenKey, Code::NotFound])
}

fn params() -> Operation {
    Operation::new("GET", "/s3/params", "uppyParams", TAG)
        .describe(
            "POST form for one file",
            "For a single-request upload. S3 enforces the key, the type and the range of lengths. For storage without POST \
             forms, a PUT of exactly the declared length. Of other parameters, such as Uppy's `metadata[…]`, only \
             `metadata[size]` is used, for `size`.",
        )
        .required_query_parameter("filename", "The file's name.", shape::pattern_string(shape::NAME))
        .example("clip.mp4".into())
        .query_parameter("size", "Its length in bytes. Required only for storage without POST forms.", shape::string())
        .query_parameter("type", "Its media type. If it is unknown, empty or absent, the type follows from the file extension.", shape::string())
        .example("video/mp4".into())
        .traceparent_header()
        .json_response::<UppyUploadParameters>(200, "The form.", &example::form())
        .problems(&FILE_PROBLEMS)
}

fn create() -> Operation {
    let config = example::config();
    let created = CreateMultipartResponse {
        key: example::key(),
        upload_id: example::UPLOAD_ID.into(),
        bucket: config.bucket.name.clone(),
    };
    Operation::new("POST", "/s3/multipart", "createMultipart", TAG)
        .describe(
            "Create a multipart upload",
            "The first request for a file that is uploaded in parts: then sign and send the parts, and complete the upload.",
        )
        .traceparent_header()
        .json_body::<CreateMultipartRequest>(
            json!({ "filename": "clip.mp4", "type": "video/mp4", "metadata": { "name": "clip.mp4" } }),
        )
        .json_response::<CreateMultipartResponse>(200, "The upload.", &created)
        .problems(&FILE_PROBLEMS)
}

fn list() -> Operation {
    let part = PartSchema { part_number: 1, etag: example::ETAG.into(), size: limits::MIN_PART_BYTES };
    upload_operation("GET", "", "listParts")
        .describe(
            "List the uploaded parts",
            "All parts, in the order of their numbers. The parts of a completed upload have the ETag of the file; \
             completing it again with them returns the same response.",
        )
        .json_response::<Vec<PartSchema>>(200, "The parts.", &vec![part])
}

/// Description of a part's length.
const PART_SIZE: &str = "The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB \
                         requires it.";

fn part_url() -> String {
    format!(
        "https://glimpse-videos.s3.eu-central-1.amazonaws.com/{}?partNumber=1&uploadId={}&X-Amz-…",
        example::key(),
        example::UPLOAD_ID
    )
}

fn sign() -> Operation {
    let signed =
        SignPartResponse { url: part_url(), method: "PUT".into(), expires: limits::UPLOAD_EXPIRES_SECS };
    upload_operation("GET", "/{part}", "signPart")
        .describe("Sign one part", "Only part numbers that the largest allowed file can have are signed.")
        .path_parameter("part", "The part number.", shape::integer(1, limits::MAX_PARTS))
        .query_parameter("size", PART_SIZE, shape::integer(1, limits::MAX_SINGLE_UPLOAD_BYTES))
        .json_response::<SignPartResponse>(200, "The presigned URL of the part.", &signed)
        .problems(&[Code::TooLarge])
}

fn batch() -> Operation {
    let signed = SignPartsResponse {
        presigned_urls: BTreeMap::from([("1".to_owned(), part_url())]),
        expires: limits::UPLOAD_EXPIRES_SECS,
    };
    upload_operation("GET", "/batch", "signParts")
        .describe("Sign several parts", "")
        .required_query_parameter(
            "partNumbers",
            "1 to 100 part numbers, separated by commas.",
            shape::pattern_string("^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,99}$"),
        )
        .example("1".into())
        .query_parameter("size", PART_SIZE, shape::integer(1, limits::MAX_SINGLE_UPLOAD_BYTES))
        .json_response::<SignPartsResponse>(200, "The presigned URLs of the parts.", &signed)
        .problems(&[Code::TooLarge])
}

fn complete() -> Operation {
    let config = example::config();
    let completed = CompleteMultipartResponse {
        location: config.bucket.object_url(&example::key()),
        key: example::key(),
        bucket: config.bucket.name.clone(),
        video: Some(example::processing()),
    };
    let CompleteMultipartResponse { location, key, bucket, .. } = &completed;
    let for_holders = CompleteMultipartStatusResponse {
        location: location.clone(),
        key: key.clone(),
        bucket: bucket.clone(),
        video: Some(example::processing_status(false)),
    };
    upload_operation("POST", "/complete", "completeMultipart")
        .describe(
            "Complete a multipart upload",
            "The sizes of the parts are added up first: an upload that is too large is aborted. S3's XML is also accepted, with a \
             response in XML. After a lost response, a retry with the same parts returns the same response.",
        )
        .json_body::<CompleteMultipartRequest>(json!({ "parts": [{ "PartNumber": 1, "ETag": example::ETAG }] }))
        .json_response::<CompleteMultipartResponse>(200, "The video.", &completed)
        .token_holder_response::<CompleteMultipartStatusResponse>(&for_holders)
        .binary_response(200, "The video.", "application/xml")
        .problems(&[Code::TooLarge, Code::Empty, Code::AlreadyUploaded, Code::Deleted])
}

fn abort() -> Operation {
    upload_operation("DELETE", "", "abortMultipart")
        .describe("Abort an upload", "A completed or aborted upload counts as aborted.")
        .json_response::<AbortMultipartResponse>(200, "An empty object.", &AbortMultipartResponse {})
}

fn presign() -> Operation {
    let upload = example::upload();
    let signed = PresignResponse {
        url: upload.url,
        key: example::key(),
        method: "PUT".into(),
        headers: Some(upload.headers),
        fields: None,
        expires: limits::UPLOAD_EXPIRES_SECS,
    };
    Operation::new("POST", "/s3/presign", "presign", TAG)
        .describe(
            "Presign an S3 request",
            "For Uppy v6's `signRequest`: PUT a file or a part, POST to create or complete a multipart upload, GET its parts, \
             DELETE it. The edge chooses the key of a new upload.",
        )
        .traceparent_header()
        .json_body::<SignRequest>(json!({ "method": "PUT", "key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff-clip.mp4",
            "contentType": "video/mp4", "size": 7_340_032 }))
        .json_response::<PresignResponse>(200, "The request.", &signed)
        .problems(&FILE_PROBLEMS)
        .problems(&[Code::ForbiddenKey, Code::NotFound])
}
