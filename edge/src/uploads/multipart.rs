//! Parses requests for multipart uploads, and checks the parts in S3 before an upload is completed. Pure.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Json, Key, Problem, VideoId, limits};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::auth::Caller;
use crate::http::query::{self, Query};
use crate::s3::{CompletedPart, MultipartUpload, PartSummary, XmlDocument};
use crate::uploads::UploadPolicy;
use crate::uploads::uppy::UppyFile;

/// The longest upload id that is passed on, in bytes; S3's have about 130.
const MAX_UPLOAD_ID_BYTES: usize = 1024;
/// The most parts that one `batch` request signs.
const MAX_BATCH: usize = 100;

fn bad_parameter(detail: impl Into<String>) -> Problem {
    Problem::with_detail(Code::BadParameter, detail)
}

/// Parses the body of `POST /s3/multipart`.
///
/// # Errors
/// A missing or invalid member. `metadata` may have any content: only the file's name is used.
pub fn parse_creation(body: &[u8]) -> Result<UppyFile, Problem> {
    let json = Json::parse_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad_parameter("The body must be a JSON object with filename and type."))?;
    let get = |name| json.get_opt_str(name).map_err(|wrong| bad_parameter(format!("{wrong}.")));
    let filename = get("filename")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad_parameter("The member `filename` is required and must not be empty."))?;
    Ok(UppyFile { filename, content_type: get("type")?.unwrap_or_default(), size: None })
}

/// The key in a query, if the caller may access it.
///
/// # Errors
/// A missing key; a key of another owner, or one outside of the token's videos.
pub fn parse_upload_key(query: Query<'_>, caller: &Caller) -> Result<(Key, VideoId), Problem> {
    let text =
        query.get_form("key").ok_or_else(|| bad_parameter("The parameter `key` is required, unchanged."))?;
    check_upload_key(&text, caller)
}

/// The same for a key from another place.
///
/// # Errors
/// A key of another owner, or one outside of the token's videos.
pub fn check_upload_key(key: &str, caller: &Caller) -> Result<(Key, VideoId), Problem> {
    let forbidden = || Problem::new(Code::ForbiddenKey);
    let Ok(Key::Source { owner, video }) = key.parse() else { return Err(forbidden()) };
    if owner != caller.owner || !caller.allows_video(video) {
        return Err(forbidden());
    }
    Ok((Key::Source { owner, video }, video))
}

/// Parses the upload id in a path.
///
/// # Errors
/// A text that cannot be an upload id.
pub fn parse_upload_id(segment: &str) -> Result<String, Problem> {
    query::decode(segment).filter(|text| is_upload_id(text)).ok_or_else(|| Problem::new(Code::NotFound))
}

/// Whether a text can be an upload id of S3.
pub(super) fn is_upload_id(text: &str) -> bool {
    (1..=MAX_UPLOAD_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Parses a part number.
///
/// # Errors
/// A number that no file of the allowed length can have.
pub fn parse_part_number(text: &str, policy: &UploadPolicy) -> Result<u64, Problem> {
    let max_parts = policy.max_parts();
    let number = text.parse().ok().filter(|number| (1..=limits::MAX_PARTS).contains(number));
    let number = number.ok_or_else(|| bad_parameter("The part number must be a number from 1 to 10000."))?;
    if number > max_parts {
        let detail = format!(
            "A file of at most {} bytes has at most {max_parts} parts of 5 MiB, not {number}.",
            policy.max_bytes
        );
        return Err(Problem::with_detail(Code::TooLarge, detail));
    }
    Ok(number)
}

/// The `size` of a query.
///
/// # Errors
/// Not a number.
pub fn parse_size(query: Query<'_>) -> Result<Option<u64>, Problem> {
    let size = query.get_form("size").map(|text| text.parse());
    size.transpose().map_err(|_| bad_parameter("The parameter `size` must be a number of bytes."))
}

/// Checks that parts of this length fit beside the uploaded parts; an undeclared length counts as one byte.
///
/// # Errors
/// `too_large`: then the upload has to be aborted.
pub fn check_total_size(
    stored: &[PartSummary],
    numbers: &[u64],
    size: Option<u64>,
    policy: &UploadPolicy,
) -> Result<(), Problem> {
    let others = stored.iter().filter(|part| !numbers.contains(&part.number));
    let new = size.unwrap_or(1).saturating_mul(numbers.len() as u64);
    let total = others.map(|part| part.bytes).fold(new, u64::saturating_add);
    if total > policy.max_bytes {
        return Err(policy.too_large_problem(&format!("has at least {total} bytes")));
    }
    Ok(())
}

/// The part numbers of `batch?partNumbers=1,2,3`.
///
/// # Errors
/// No number, too many, or an invalid one.
pub fn parse_part_numbers(query: Query<'_>, policy: &UploadPolicy) -> Result<Vec<u64>, Problem> {
    let text = query.get_form("partNumbers").unwrap_or_default();
    let numbers: Vec<&str> = text.split(',').map(str::trim).filter(|number| !number.is_empty()).collect();
    if numbers.is_empty() || numbers.len() > MAX_BATCH {
        return Err(bad_parameter(
            "The parameter `partNumbers` must list 1 to 100 parts, separated by commas.",
        ));
    }
    numbers.into_iter().map(|number| parse_part_number(number, policy)).collect()
}

/// The body of a request to complete an upload, and its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionBody {
    /// The parts, in the order of their numbers.
    pub parts: Vec<CompletedPart>,
    /// Whether the body was S3's XML, so that the response must be XML as well.
    pub is_xml: bool,
}

/// Parses the body of `POST …/complete`: Companion's JSON, or S3's XML.
///
/// # Errors
/// A body that is neither, or lists no part or a duplicate part.
pub fn parse_completion(body: &[u8]) -> Result<CompletionBody, Problem> {
    let is_xml = body.trim_ascii_start().starts_with(b"<");
    let mut parts = if is_xml { parse_completion_xml(body) } else { parse_completion_json(body) }
        .ok_or_else(|| {
            bad_parameter("`parts` must be an array of objects with a number PartNumber and a string ETag.")
        })?;
    parts.sort_unstable_by_key(|part| part.number);
    if parts.is_empty() || parts.len() as u64 > limits::MAX_PARTS {
        return Err(bad_parameter("An upload has 1 to 10000 parts."));
    }
    if let Some(duplicate) = parts.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return Err(bad_parameter(format!("Duplicate part {}.", duplicate[0].number)));
    }
    Ok(CompletionBody { parts, is_xml })
}

fn parse_completion_json(body: &[u8]) -> Option<Vec<CompletedPart>> {
    let body = Json::parse_lenient(body)?;
    let part =
        |part: &Json| Some(normalized_part(part.get("PartNumber").as_u64()?, part.get("ETag").as_str()?));
    body.get("parts").as_array()?.iter().map(part).collect()
}

fn parse_completion_xml(body: &[u8]) -> Option<Vec<CompletedPart>> {
    let document = XmlDocument::parse(std::str::from_utf8(body).ok()?, "Part")?;
    if document.root != "CompleteMultipartUpload" {
        return None;
    }
    let part = |item: &BTreeMap<String, String>| {
        Some(normalized_part(item.get("PartNumber")?.trim().parse().ok()?, item.get("ETag")?))
    };
    document.items.iter().map(part).collect()
}

/// Uppy v5 sends an ETag with its quotes, v6 without.
fn normalized_part(number: u64, etag: &str) -> CompletedPart {
    CompletedPart { number, etag: strip_quotes(etag).to_owned() }
}

fn strip_quotes(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

/// The length of the video of these parts, in bytes.
///
/// # Errors
/// A part that does not match S3's, an empty file, or one that is too large: then the upload has to be aborted.
pub fn check_parts(
    named: &[CompletedPart],
    stored: &[PartSummary],
    policy: &UploadPolicy,
) -> Result<u64, Problem> {
    // S3 lists parts by number, and the client's parts are in order too: one pass over both.
    let mut stored = stored.iter().peekable();
    let mut total = 0_u64;
    for part in named {
        while stored.next_if(|found| found.number < part.number).is_some() {}
        let found = stored
            .next_if(|found| found.number == part.number)
            .filter(|found| strip_quotes(&found.etag) == part.etag);
        let found = found
            .ok_or_else(|| bad_parameter(format!("Part {} was not uploaded with this ETag.", part.number)))?;
        total = total.saturating_add(found.bytes);
    }
    policy.check_size(total)
}

/// The list of parts of a completed upload. S3 no longer has the parts, so each gets the ETag of the object, which
/// [`is_etag_of_parts`] accepts. `None` if the object was not uploaded in parts.
pub fn completed_parts(etag: &str, bytes: u64) -> Option<Vec<PartSummary>> {
    let count = etag_part_count(strip_quotes(etag))?;
    let each = bytes.div_ceil(count);
    let part = |number: u64| PartSummary {
        number,
        etag: format!("\"{}\"", strip_quotes(etag)),
        bytes: bytes.saturating_sub(each * (number - 1)).min(each),
    };
    Some((1..=count).map(part).collect())
}

/// Whether an object with this ETag consists of these parts: S3's ETag of a multipart upload is the MD5 of the MD5s of
/// its parts, and their number. For storage with other ETags, only the number is compared.
pub fn is_etag_of_parts(etag: &str, named: &[CompletedPart]) -> bool {
    let etag = strip_quotes(etag);
    if etag_part_count(etag) != Some(named.len() as u64) {
        return false;
    }
    if named.iter().all(|part| part.etag == etag) {
        return true;
    }
    let hash = etag.split('-').next().and_then(parse_md5_hex);
    let parts: Option<Vec<[u8; 16]>> = named.iter().map(|part| parse_md5_hex(&part.etag)).collect();
    match (hash, parts) {
        (Some(hash), Some(parts)) => Md5::digest(parts.concat())[..] == hash,
        _ => true,
    }
}

fn parse_md5_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The number of parts at the end of an ETag.
fn etag_part_count(etag: &str) -> Option<u64> {
    let (_, count) = etag.rsplit_once('-')?;
    count.parse().ok().filter(|count| (1..=limits::MAX_PARTS).contains(count))
}

/// The hash of an upload id, which a follow-up token contains.
pub fn upload_id_digest(upload_id: &str) -> String {
    hex::encode(&Sha256::digest(upload_id)[..16])
}

/// The uploads to abort, so that a token stays within its number of unfinished uploads: those that were created before
/// `stale_before` (RFC 3339), and the latest if too many others are left; and whether the new one may stay. An upload
/// that is not created yet has no id. Of concurrent requests, the last one lists all uploads, so it aborts the rest.
pub fn excess_uploads<'a>(
    mut uploads: Vec<&'a MultipartUpload>,
    new: Option<&str>,
    max_uploads: usize,
    stale_before: &str,
) -> (Vec<&'a MultipartUpload>, bool) {
    let is_new = |upload: &&MultipartUpload| Some(upload.upload_id.as_str()) == new;
    let is_listed = uploads.iter().any(is_new);
    if uploads.len() + usize::from(!is_listed) <= max_uploads {
        return (Vec::new(), true);
    }
    uploads.sort_unstable_by(|a, b| (&a.initiated_at, &a.upload_id).cmp(&(&b.initiated_at, &b.upload_id)));
    let is_stale = |upload: &&MultipartUpload| *upload.initiated_at < *stale_before && !is_new(upload);
    let (mut excess, kept): (Vec<_>, Vec<_>) = uploads.into_iter().partition(is_stale);
    let position = kept.iter().position(is_new).unwrap_or(kept.len());
    excess.extend(kept.into_iter().skip(max_uploads));
    (excess, position < max_uploads)
}

/// The problem for an S3 error while completing an upload.
pub fn complete_error(code: &str) -> Problem {
    match code {
        "PreconditionFailed" => Problem::new(Code::AlreadyUploaded),
        "ConditionalRequestConflict" | "SlowDown" | "ServiceUnavailable" => Problem::new(Code::Busy),
        "InvalidPart" => bad_parameter("A part was not uploaded, or has changed."),
        "InvalidPartOrder" => bad_parameter("The parts are not in order."),
        "EntityTooSmall" => bad_parameter("Parts other than the last must have at least 5 MiB."),
        "NoSuchUpload" => Problem::with_detail(
            Code::NotFound,
            "This upload is completed, canceled or expired. Start a new one.",
        ),
        _ => Problem::new(Code::Upstream),
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Owner;

    use super::*;
    use crate::testing::{example_config_with, example_token, example_token_holder, example_user};

    /// Rows U4 and U11 of the threat model.
    #[test]
    fn rejects_keys_of_other_owners() {
        let ann = example_user();
        let own = Key::Source { owner: ann.owner.clone(), video: VideoId::new(1, [1; 10]) };
        let query = format!("x=1&key={}", own.to_string().replace('/', "%2F"));
        assert_eq!(parse_upload_key(Query(&query), &ann).unwrap().0, own);
        assert_eq!(parse_upload_key(Query(""), &ann).unwrap_err().code, Code::BadParameter);
        let bob = Key::Source { owner: Owner::new("i", "bob"), video: VideoId::new(1, [1; 10]) };
        for foreign in
            [bob.to_string(), format!("{own}/"), own.to_string().replace("uploads", "media"), "..".into()]
        {
            let problem = parse_upload_key(Query(&format!("key={foreign}")), &ann).unwrap_err();
            assert_eq!(problem.code, Code::ForbiddenKey, "{foreign}");
        }
    }

    #[test]
    fn token_is_limited_to_its_videos() {
        let holder = example_token_holder();
        let key = |video| Key::Source { owner: holder.owner.clone(), video }.to_string();
        assert!(check_upload_key(&key(example_token().video_ids()[0]), &holder).is_ok());
        let other = check_upload_key(&key(VideoId::new(1, [1; 10])), &holder);
        assert_eq!(other.unwrap_err().code, Code::ForbiddenKey);
    }

    #[test]
    fn rejects_part_numbers_beyond_max_bytes() {
        let small = UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", "10485761")]));
        assert_eq!(parse_part_number("3", &small), Ok(3));
        assert_eq!(parse_part_number("4", &small).unwrap_err().code, Code::TooLarge);
        let large = UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", "5497558138880")]));
        assert_eq!(parse_part_number("10000", &large), Ok(10_000));
        for wrong in ["0", "10001", "-1", "1.5", "x", "", "batch"] {
            assert_eq!(parse_part_number(wrong, &large).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
        assert_eq!(parse_part_numbers(Query("partNumbers=1%2C2,3&key=x"), &small), Ok(vec![1, 2, 3]));
        assert!(parse_part_numbers(Query("partNumbers="), &small).is_err());
    }

    #[test]
    fn decodes_upload_id_once() {
        assert_eq!(parse_upload_id("a%2Fb%252F"), Ok("a/b%2F".to_owned()));
        for wrong in ["", "%20", "%ff", "%0a", &"x".repeat(2000)] {
            assert!(parse_upload_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn completion_accepts_json_and_xml() {
        let json = br#"{"parts":[{"PartNumber":2,"ETag":"\"b\""},{"PartNumber":1,"ETag":"a"}]}"#;
        let xml =
            b"<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part>\
            <Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
        let (json, xml) = (parse_completion(json).unwrap(), parse_completion(xml).unwrap());
        assert_eq!(json.parts, xml.parts);
        assert_eq!(json.parts[1], CompletedPart { number: 2, etag: "b".into() });
        assert!(xml.is_xml && !json.is_xml);
        for wrong in [
            "",
            "{}",
            r#"{"parts":[]}"#,
            r#"{"parts":[{"PartNumber":"1","ETag":"a"}]}"#,
            r#"{"parts":[{"PartNumber":1}]}"#,
            r#"{"parts":[{"PartNumber":1,"ETag":"a"},{"PartNumber":1,"ETag":"a"}]}"#,
            "<Delete/>",
        ] {
            assert_eq!(parse_completion(wrong.as_bytes()).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
    }

    /// Row U11 of the threat model.
    #[test]
    fn check_parts_enforces_total_size() {
        let policy = UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", "11")]));
        let stored = |sizes: &[u64]| -> Vec<PartSummary> {
            (1..)
                .zip(sizes)
                .map(|(number, &bytes)| PartSummary { number, etag: "\"e\"".into(), bytes })
                .collect()
        };
        let named = |numbers: &[u64]| -> Vec<CompletedPart> {
            numbers.iter().map(|&number| CompletedPart { number, etag: "e".into() }).collect()
        };
        assert_eq!(check_parts(&named(&[1, 2]), &stored(&[5, 6, 99]), &policy), Ok(11));
        let code = |named: &[CompletedPart], stored: &[PartSummary]| {
            check_parts(named, stored, &policy).unwrap_err().code
        };
        assert_eq!(code(&named(&[1, 2]), &stored(&[5, 7])), Code::TooLarge);
        assert_eq!(code(&named(&[1, 2]), &stored(&[u64::MAX, u64::MAX])), Code::TooLarge);
        assert_eq!(code(&named(&[1]), &stored(&[0])), Code::Empty);
        assert_eq!(code(&named(&[3]), &stored(&[5, 6])), Code::BadParameter);
        let other = [CompletedPart { number: 1, etag: "f".into() }];
        assert_eq!(code(&other, &stored(&[5])), Code::BadParameter);
    }

    #[test]
    fn matches_completed_etag_against_parts() {
        let (a, b) = ("0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f");
        let part_hashes = [hex::decode(a).unwrap(), hex::decode(b).unwrap()].concat();
        let etag = format!("\"{}-2\"", hex::encode(Md5::digest(part_hashes)));
        let named = |etags: &[&str]| -> Vec<CompletedPart> {
            (1..).zip(etags).map(|(number, etag)| CompletedPart { number, etag: (*etag).into() }).collect()
        };
        assert!(is_etag_of_parts(&etag, &named(&[a, b])));
        for other in [&[b, a][..], &[a], &[a, b, a], &[]] {
            assert!(!is_etag_of_parts(&etag, &named(other)), "{other:?}");
        }
        assert!(!is_etag_of_parts(a, &named(&[a])), "an object of a single-request upload");
        // The list of parts after completion.
        let listed = completed_parts(&etag, 11).unwrap();
        assert_eq!(listed.iter().map(|part| part.bytes).collect::<Vec<_>>(), [6, 5]);
        let listed: Vec<_> = listed.iter().map(|part| part.etag.trim_matches('"')).collect();
        assert!(is_etag_of_parts(&etag, &named(&listed)) && !is_etag_of_parts(&etag, &named(&listed[..1])));
        assert_eq!(completed_parts(a, 11), None);
        assert_eq!(completed_parts("x-99999999999", 11), None);
        assert!(is_etag_of_parts("opaque-2", &named(&["x", "y"])), "ETags of another kind");
    }

    #[test]
    fn validates_part_size() {
        let small = UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", "1000")]));
        let large = UploadPolicy::from_config(&example_config_with(&[("MAX_UPLOAD_BYTES", "10485760")]));
        let for_token = |policy: &UploadPolicy| UploadPolicy { is_for_token: true, ..policy.clone() };
        assert_eq!(for_token(&small).check_part_size(Some(1000)), Ok(Some(1000)));
        assert_eq!(for_token(&small).check_part_size(Some(1001)).unwrap_err().code, Code::TooLarge);
        assert_eq!(small.check_part_size(Some(0)).unwrap_err().code, Code::BadParameter);
        assert_eq!(for_token(&small).check_part_size(None).unwrap_err().code, Code::BadParameter);
        assert_eq!(for_token(&large).check_part_size(None), Ok(None));
        assert_eq!(small.check_part_size(None), Ok(None));
        assert_eq!((parse_size(Query("key=x&size=5")), parse_size(Query("key=x"))), (Ok(Some(5)), Ok(None)));
        for wrong in ["size=", "size=-1", "size=1.5", "size=x"] {
            assert_eq!(parse_size(Query(wrong)).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
        let stored: Vec<PartSummary> = [(1, 400), (2, 500)]
            .map(|(number, bytes)| PartSummary { number, etag: "e".into(), bytes })
            .into();
        assert_eq!(check_total_size(&stored, &[3], Some(100), &small), Ok(()));
        assert_eq!(check_total_size(&stored, &[3], Some(101), &small).unwrap_err().code, Code::TooLarge);
        assert_eq!(check_total_size(&stored, &[2], Some(600), &small), Ok(()), "it replaces the second");
        assert_eq!(check_total_size(&stored, &[3], None, &small), Ok(()));
        assert_eq!(check_total_size(&stored, &[3, 4], Some(51), &small).unwrap_err().code, Code::TooLarge);
        let full = PartSummary { number: 1, etag: "e".into(), bytes: 1000 };
        assert_eq!(check_total_size(&[full], &[2], None, &small).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn excess_uploads_are_stale_first_then_latest() {
        let upload = |id: &str, at: &str| MultipartUpload {
            key: Key::Source { owner: Owner::new("i", "s"), video: VideoId::new(1, [1; 10]) },
            video: VideoId::new(1, [1; 10]),
            upload_id: id.into(),
            initiated_at: format!("2026-01-01T{at}:00.000Z"),
        };
        let all = [upload("c", "10:02"), upload("a", "09:00"), upload("b", "10:01"), upload("new", "10:03")];
        let excess_for = |new, most: usize, stale_before: &str| {
            let before = format!("2026-01-01T{stale_before}:00.000Z");
            let (excess, is_kept) = excess_uploads(all.iter().collect(), new, most, &before);
            (excess.iter().map(|upload| upload.upload_id.clone()).collect::<Vec<_>>(), is_kept)
        };
        let excess = |most, stale_before| excess_for(Some("new"), most, stale_before);
        assert_eq!(excess(4, "10:00"), (vec![], true), "all are kept");
        assert_eq!(excess(3, "10:00"), (vec!["a".to_owned()], true), "one that is old makes room");
        assert_eq!(excess(2, "10:00"), (vec!["a".to_owned(), "new".to_owned()], false));
        assert_eq!(excess(3, "08:00"), (vec!["new".to_owned()], false));
        // A request that lists later than others aborts their uploads, and keeps its own earlier upload.
        assert_eq!(excess_for(Some("b"), 2, "08:00"), (vec!["c".to_owned(), "new".to_owned()], true));
        // An upload that is not created yet needs a free place.
        assert_eq!(excess_for(None, 5, "08:00"), (vec![], true));
        assert_eq!(excess_for(None, 4, "08:00"), (vec![], false));
        assert_eq!(excess_for(None, 4, "10:00"), (vec!["a".to_owned()], true));
    }

    #[test]
    fn creation_requires_file_name() {
        let body = br#"{"filename":"a.mp4","type":"video/mp4","metadata":{"size":5,"x":null}}"#;
        let wanted = UppyFile { filename: "a.mp4".into(), content_type: "video/mp4".into(), size: None };
        assert_eq!(parse_creation(body), Ok(wanted));
        for wrong in ["", "[]", "{}", r#"{"filename":""}"#, r#"{"filename":7}"#] {
            assert_eq!(parse_creation(wrong.as_bytes()).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
    }
}
