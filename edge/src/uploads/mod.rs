//! Uploads: policies and grants, and the presigned requests through which S3 enforces them.

pub(crate) mod companion;
mod content_disposition;
mod fields;
pub(crate) mod handlers;
mod multipart;
mod multipart_form;
mod policy;
mod presign;
pub(crate) mod proxy;
pub(crate) mod reservation;
mod single_put;
mod token_request;
pub(crate) mod unfinished;
mod uppy;

pub(crate) use crate::uploads::fields::sanitize_for_message;
pub use crate::uploads::fields::{UploadFields, body_too_large};
pub use crate::uploads::multipart::{
    CompletionBody, check_parts, check_total_size, check_upload_key, complete_error, completed_parts,
    excess_uploads, is_etag_of_parts, parse_completion, parse_creation, parse_part_number,
    parse_part_numbers, parse_size, parse_upload_id, parse_upload_key, upload_id_digest,
};
pub use crate::uploads::multipart_form::{FormEvent, FormReader, parse_boundary};
pub use crate::uploads::policy::UploadPolicy;
pub use crate::uploads::presign::{PresignRequest, name_of_key, parse_presign};
pub use crate::uploads::single_put::{
    CreateVideoRequest, PresignedUpload, parse_new_video, presign_create_multipart, presign_upload,
};
pub use crate::uploads::token_request::{UploadTokenRequest, build_upload_token, parse_token_request};
pub use crate::uploads::uppy::{
    UppyFile, parse_uppy_query, post_form_fields, require_size, uppy_form_response, uppy_put_response,
};

use glimpse_contract::{Code, Grant, Owner, Problem, VideoId, truncate_name};

/// Creates the grant to upload one file, or returns why it is rejected.
pub(crate) fn create_grant(
    owner: &Owner,
    video: VideoId,
    name: &str,
    declared_type: &str,
    policy: &UploadPolicy,
) -> Result<Grant, Problem> {
    Ok(Grant {
        owner: owner.clone(),
        video,
        name: clean_name(name)?,
        content_type: policy.resolve_type(declared_type, name)?.to_owned(),
        visibility: policy.visibility,
        client_metadata: policy.client_metadata.clone(),
    })
}

fn clean_name(name: &str) -> Result<String, Problem> {
    let short = truncate_name(name.trim());
    let clean = short.trim();
    if clean.is_empty() {
        return Err(Problem::with_detail(Code::BadParameter, "The file's name is missing."));
    }
    Ok(clean.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_control_characters_from_names() {
        assert_eq!(clean_name(" Ski\u{0}\r\n trip.mp4 ").unwrap(), "Ski trip.mp4");
        assert_eq!(clean_name("../../x").unwrap(), "../../x", "only displayed, never part of a key");
        assert!(clean_name("\u{7f}").is_err());
        assert_eq!(clean_name(&("x".repeat(300) + ".mov  ")).unwrap(), "x".repeat(251) + ".mov");
    }
}
