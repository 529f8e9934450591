//! Decides what may be uploaded, and turns a permission into a request that S3 itself enforces. Pure.

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
pub(crate) mod reservation_choice;
mod single_put;
mod token_request;
mod uppy;

pub(crate) use crate::uploads::fields::shown;
pub use crate::uploads::fields::{Fields, body_too_large};
pub use crate::uploads::multipart::{
    CompletionBody, check_parts, check_room, check_upload, complete_error, excess_uploads, finished_parts,
    is_made_of, parse_completion, parse_creation, part_number, part_numbers, part_size, size_of_query,
    upload_id, upload_key, upload_mark,
};
pub use crate::uploads::multipart_form::{FormEvent, FormReader, boundary};
pub use crate::uploads::policy::Allowance;
pub use crate::uploads::presign::{Wanted, name_of_key, parse_presign};
pub use crate::uploads::reservation_choice::{Choice, choose};
pub use crate::uploads::single_put::{NewVideo, Upload, parse_new_video, presign_creation, presign_upload};
pub use crate::uploads::token_request::{Mint, parse_mint, token_of};
pub use crate::uploads::uppy::{UppyQuery, answer_uppy, answer_uppy_put, parse_uppy, post_policy, told_size};

use glimpse_contract::{Code, Grant, Owner, Problem, VideoId, short_name};

/// A permission to upload one file, or the reason why there is none.
pub(crate) fn grant(
    owner: &Owner,
    video: VideoId,
    name: &str,
    declared_type: &str,
    allowance: &Allowance,
) -> Result<Grant, Problem> {
    Ok(Grant {
        owner: owner.clone(),
        video,
        name: checked_name(name)?,
        content_type: allowance.resolve_type(declared_type, name)?.to_owned(),
        visibility: allowance.visibility,
        passthrough: allowance.passthrough.clone(),
    })
}

fn checked_name(name: &str) -> Result<String, Problem> {
    let short = short_name(name.trim());
    let clean = short.trim();
    if clean.is_empty() {
        return Err(Problem::because(Code::BadParameter, "The file's name is missing."));
    }
    Ok(clean.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::tests::example;

    /// A grant for the tests of other modules.
    pub(crate) fn a_grant() -> Grant {
        let allowance = Allowance::of_config(&example());
        grant(&Owner::of("i", "s"), VideoId::new(1, [0; 10]), "a b.mp4", "video/mp4", &allowance).unwrap()
    }

    #[test]
    fn names_are_kept_but_for_control_characters() {
        assert_eq!(checked_name(" Ski\u{0}\r\n trip.mp4 ").unwrap(), "Ski trip.mp4");
        assert_eq!(checked_name("../../x").unwrap(), "../../x", "only ever shown, never in a key");
        assert!(checked_name("\u{7f}").is_err());
        assert_eq!(checked_name(&("x".repeat(300) + ".mov  ")).unwrap(), "x".repeat(251) + ".mov");
    }
}
