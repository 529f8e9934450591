//! Decides what a client may say about a multipart upload, and what S3's parts must be before they become a video. Pure.

use std::collections::BTreeMap;

use glimpse_contract::{Code, Json, Key, Problem, VideoId, limits};
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::auth::Caller;
use crate::s3::{Document, NamedPart, Part, UnfinishedUpload};
use crate::uploads::Allowance;
use crate::uploads::uppy::{UppyQuery, decode};

/// The longest upload id that is passed on, in bytes; S3's have about 130.
const MAX_UPLOAD_ID_BYTES: usize = 1024;
/// The most parts that are signed by one call of `batch`.
const MAX_BATCH: usize = 100;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::because(Code::BadParameter, detail)
}

/// Reads the body of `POST /s3/multipart`.
///
/// # Errors
/// What is missing or wrong. `metadata` may say anything: the file's name is what counts.
pub fn parse_creation(body: &[u8]) -> Result<UppyQuery, Problem> {
    let json = Json::read_lenient(body).filter(Json::is_object);
    let json = json.ok_or_else(|| bad("The body must be a JSON object with filename and type."))?;
    let of = |name| json.text_if(name).map_err(|wrong| bad(format!("{wrong}.")));
    let filename = of("filename")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad("The member `filename` is required and must not be empty."))?;
    Ok(UppyQuery { filename, content_type: of("type")?.unwrap_or_default(), size: None })
}

/// The key that a query names, if the caller may touch it.
///
/// # Errors
/// A missing key; one that is not the caller's, or lies outside of what their token is for.
pub fn upload_key(query: &str, caller: &Caller) -> Result<(Key, VideoId), Problem> {
    let text = parameter(query, "key")
        .ok_or_else(|| bad("The parameter `key` is required, as it was given out."))?;
    check_upload(&text, caller)
}

/// The same for a key that stands elsewhere.
///
/// # Errors
/// A key that is not the caller's, or lies outside of what their token is for.
pub fn check_upload(key: &str, caller: &Caller) -> Result<(Key, VideoId), Problem> {
    let forbidden = || Problem::new(Code::ForbiddenKey);
    let Ok(Key::Source { owner, video }) = key.parse() else { return Err(forbidden()) };
    if owner != caller.owner || caller.token.as_ref().is_some_and(|token| !token.covers(video)) {
        return Err(forbidden());
    }
    Ok((Key::Source { owner, video }, video))
}

fn parameter(query: &str, wanted: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (decode(name) == wanted).then(|| decode(value))
    })
}

/// An upload id as it stands in a path.
///
/// # Errors
/// One that cannot be S3's.
pub fn upload_id(segment: &str) -> Result<String, Problem> {
    let text = percent_decode_str(segment).decode_utf8().map_err(|_| Problem::new(Code::NotFound))?;
    is_upload_id(&text).then(|| text.into_owned()).ok_or_else(|| Problem::new(Code::NotFound))
}

/// Whether a text can be an upload id of S3's.
pub(super) fn is_upload_id(text: &str) -> bool {
    (1..=MAX_UPLOAD_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A part's number.
///
/// # Errors
/// One that no file of the allowed length can have.
pub fn part_number(text: &str, allowance: &Allowance) -> Result<u64, Problem> {
    let most = allowance.max_parts();
    let number = text.parse().ok().filter(|number| (1..=limits::MAX_PARTS).contains(number));
    let number = number.ok_or_else(|| bad("The part number must be a number from 1 to 10000."))?;
    if number > most {
        let detail = format!(
            "A file of at most {} bytes has at most {most} parts of 5 MiB; part {number} was asked for.",
            allowance.max_bytes
        );
        return Err(Problem::because(Code::TooLarge, detail));
    }
    Ok(number)
}

/// The length of a part that a client names before it sends it (`size=`): S3 then takes no other.
///
/// # Errors
/// One that no part can have. Also none at all, where one part is as long as the whole file may be: nothing else would
/// limit it.
pub fn part_size(size: Option<u64>, caller: &Caller, allowance: &Allowance) -> Result<Option<u64>, Problem> {
    match size {
        None if caller.token.is_some() && allowance.max_parts() == 1 => {
            let detail = format!(
                "Files of at most {} bytes are sent whole, or in a part whose `size` in bytes is named.",
                allowance.max_bytes
            );
            Err(bad(detail))
        }
        Some(0) => Err(bad("A part has at least one byte.")),
        Some(size) if size > allowance.max_single_bytes() => {
            Err(allowance.too_large(&format!("has a part of {size} bytes")))
        }
        size => Ok(size),
    }
}

/// The `size` of a query.
///
/// # Errors
/// One that is no number.
pub fn size_of_query(query: &str) -> Result<Option<u64>, Problem> {
    let size = parameter(query, "size").map(|text| text.parse());
    size.transpose().map_err(|_| bad("The parameter `size` must be a number of bytes."))
}

/// Whether parts of this length may follow what S3 has of an upload; a length that is not named counts as one byte.
///
/// # Errors
/// `too_large`: then the upload is to be given up.
pub fn check_room(
    stored: &[Part],
    numbers: &[u64],
    size: Option<u64>,
    allowance: &Allowance,
) -> Result<(), Problem> {
    let others = stored.iter().filter(|part| !numbers.contains(&part.number));
    let new = size.unwrap_or(1).saturating_mul(numbers.len() as u64);
    let total = others.map(|part| part.bytes).fold(new, u64::saturating_add);
    if total > allowance.max_bytes {
        return Err(allowance.too_large(&format!("has at least {total} bytes")));
    }
    Ok(())
}

/// The part numbers of `batch?partNumbers=1,2,3`.
///
/// # Errors
/// None, too many, or one that is wrong.
pub fn part_numbers(query: &str, allowance: &Allowance) -> Result<Vec<u64>, Problem> {
    let text = parameter(query, "partNumbers").unwrap_or_default();
    let numbers: Vec<&str> = text.split(',').map(str::trim).filter(|number| !number.is_empty()).collect();
    if numbers.is_empty() || numbers.len() > MAX_BATCH {
        return Err(bad("The parameter `partNumbers` must name 1 to 100 parts, separated by commas."));
    }
    numbers.into_iter().map(|number| part_number(number, allowance)).collect()
}

/// What a client says to finish an upload, and in which language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionBody {
    /// The parts, in the order of their numbers.
    pub parts: Vec<NamedPart>,
    /// Whether it was S3's own XML, and S3's own answer is expected.
    pub is_xml: bool,
}

/// Reads the body of `POST …/complete`: Companion's JSON, or the XML that a client means for S3.
///
/// # Errors
/// A body that is neither, or names no part, or one twice.
pub fn parse_completion(body: &[u8]) -> Result<CompletionBody, Problem> {
    let is_xml = body.trim_ascii_start().starts_with(b"<");
    let mut parts = if is_xml { completion_xml(body) } else { completion_json(body) }.ok_or_else(|| {
        bad("`parts` must be an array of objects with a number PartNumber and a text ETag.")
    })?;
    parts.sort_unstable_by_key(|part| part.number);
    if parts.is_empty() || parts.len() as u64 > limits::MAX_PARTS {
        return Err(bad("1 to 10000 parts make an upload."));
    }
    if let Some(twice) = parts.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return Err(bad(format!("Part {} is named twice.", twice[0].number)));
    }
    Ok(CompletionBody { parts, is_xml })
}

fn completion_json(body: &[u8]) -> Option<Vec<NamedPart>> {
    let body = Json::read_lenient(body)?;
    let part = |part: &Json| Some(named(part.get("PartNumber").whole()?, part.get("ETag").text()?));
    body.get("parts").list()?.iter().map(part).collect()
}

fn completion_xml(body: &[u8]) -> Option<Vec<NamedPart>> {
    let document = Document::read(std::str::from_utf8(body).ok()?, "Part")?;
    if document.root != "CompleteMultipartUpload" {
        return None;
    }
    let part = |item: &BTreeMap<String, String>| {
        Some(named(item.get("PartNumber")?.trim().parse().ok()?, item.get("ETag")?))
    };
    document.items.iter().map(part).collect()
}

/// Uppy v5 passes an ETag on with its quotes, v6 without.
fn named(number: u64, etag: &str) -> NamedPart {
    NamedPart { number, etag: bare(etag).to_owned() }
}

fn bare(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

/// The length of the video that these parts make, in bytes.
///
/// # Errors
/// A part that S3 does not have so, an empty file, or one that is too large: then the upload is to be given up.
pub fn check_parts(named: &[NamedPart], stored: &[Part], allowance: &Allowance) -> Result<u64, Problem> {
    // S3 lists parts by their numbers, and the named ones are in order too: one walk through both.
    let mut stored = stored.iter().peekable();
    let mut total = 0_u64;
    for part in named {
        while stored.next_if(|found| found.number < part.number).is_some() {}
        let found = stored
            .next_if(|found| found.number == part.number)
            .filter(|found| bare(&found.etag) == part.etag);
        let found =
            found.ok_or_else(|| bad(format!("Part {} was not uploaded with this ETag.", part.number)))?;
        total = total.saturating_add(found.bytes);
    }
    allowance.checked_size(total)
}

/// The parts of an upload that has become an object, as a list says them: S3 no longer has them one by one, so each has the
/// object's own ETag, which [`is_made_of`] takes for a part's. `None` if the object was not sent in parts.
pub fn finished_parts(etag: &str, bytes: u64) -> Option<Vec<Part>> {
    let count = part_count(bare(etag))?;
    let each = bytes.div_ceil(count);
    let part = |number: u64| Part {
        number,
        etag: format!("\"{}\"", bare(etag)),
        bytes: bytes.saturating_sub(each * (number - 1)).min(each),
    };
    Some((1..=count).map(part).collect())
}

/// Whether an object of this ETag was made of these parts: S3's ETag of an upload in parts is the MD5 of the MD5s of its
/// parts, and their number. Of a storage with ETags of another kind, the number alone is compared.
pub fn is_made_of(etag: &str, named: &[NamedPart]) -> bool {
    let etag = bare(etag);
    if part_count(etag) != Some(named.len() as u64) {
        return false;
    }
    if named.iter().all(|part| part.etag == etag) {
        return true;
    }
    let hash = etag.split('-').next().and_then(md5_of_hex);
    let parts: Option<Vec<[u8; 16]>> = named.iter().map(|part| md5_of_hex(&part.etag)).collect();
    match (hash, parts) {
        (Some(hash), Some(parts)) => Md5::digest(parts.concat())[..] == hash,
        _ => true,
    }
}

fn md5_of_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The number of parts at the end of an ETag.
fn part_count(etag: &str) -> Option<u64> {
    let (_, count) = etag.rsplit_once('-')?;
    count.parse().ok().filter(|count| (1..=limits::MAX_PARTS).contains(count))
}

/// What names an upload in the follow-up token that is good for it alone.
pub fn upload_mark(upload_id: &str) -> String {
    hex::encode(&Sha256::digest(upload_id)[..16])
}

/// The uploads to give up, so that a token has no more unfinished uploads than it may: those that were begun before
/// `stale_before` (RFC 3339), and the latest if too many others are left; and whether the new one may stay. One that is
/// yet to be begun has no id. Of requests side by side the last one lists all uploads, so it gives up the rest.
pub fn excess_uploads<'a>(
    mut uploads: Vec<&'a UnfinishedUpload>,
    new: Option<&str>,
    most: usize,
    stale_before: &str,
) -> (Vec<&'a UnfinishedUpload>, bool) {
    let is_new = |upload: &&UnfinishedUpload| Some(upload.upload_id.as_str()) == new;
    let is_begun = uploads.iter().any(is_new);
    if uploads.len() + usize::from(!is_begun) <= most {
        return (Vec::new(), true);
    }
    uploads.sort_unstable_by(|a, b| (&a.initiated_at, &a.upload_id).cmp(&(&b.initiated_at, &b.upload_id)));
    let is_stale = |upload: &&UnfinishedUpload| *upload.initiated_at < *stale_before && !is_new(upload);
    let (mut excess, kept): (Vec<_>, Vec<_>) = uploads.into_iter().partition(is_stale);
    let place = kept.iter().position(is_new).unwrap_or(kept.len());
    excess.extend(kept.into_iter().skip(most));
    (excess, place < most)
}

/// What a client is told when S3 does not finish an upload.
pub fn complete_error(code: &str) -> Problem {
    match code {
        "PreconditionFailed" => Problem::new(Code::AlreadyUploaded),
        "ConditionalRequestConflict" | "SlowDown" | "ServiceUnavailable" => Problem::new(Code::Busy),
        "InvalidPart" => bad("A part was not uploaded, or has changed since."),
        "InvalidPartOrder" => bad("The parts are not in order."),
        "EntityTooSmall" => bad("A part that is not the last has less than 5 MiB."),
        "NoSuchUpload" => Problem::because(
            Code::NotFound,
            "This upload is over: finished, cancelled or too old. Begin it again.",
        ),
        _ => Problem::new(Code::Upstream),
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::Owner;

    use super::*;
    use crate::auth::{UploadToken, a_token};
    use crate::config::tests::with;

    fn caller(token: bool) -> Caller {
        let token = token.then(a_token);
        let owner = token.as_ref().map_or_else(|| Owner::of("i", "s"), UploadToken::owner);
        Caller {
            owner,
            issuer: "i".into(),
            subject: "s".into(),
            name: None,
            email: None,
            expires_at: u64::MAX,
            token,
        }
    }

    /// Rows U4 and U11 of the threat table.
    #[test]
    fn only_an_own_key_is_touched() {
        let ann = caller(false);
        let own = Key::Source { owner: ann.owner.clone(), video: VideoId::new(1, [1; 10]) };
        let query = format!("x=1&key={}", own.to_string().replace('/', "%2F"));
        assert_eq!(upload_key(&query, &ann).unwrap().0, own);
        assert_eq!(upload_key("", &ann).unwrap_err().code, Code::BadParameter);
        let bob = Key::Source { owner: Owner::of("i", "bob"), video: VideoId::new(1, [1; 10]) };
        for foreign in
            [bob.to_string(), format!("{own}/"), own.to_string().replace("uploads", "media"), "..".into()]
        {
            let problem = upload_key(&format!("key={foreign}"), &ann).unwrap_err();
            assert_eq!(problem.code, Code::ForbiddenKey, "{foreign}");
        }
    }

    #[test]
    fn a_token_touches_only_its_own_videos() {
        let holder = caller(true);
        let key = |video| Key::Source { owner: holder.owner.clone(), video }.to_string();
        assert!(check_upload(&key(a_token().slots()[0]), &holder).is_ok());
        let other = check_upload(&key(VideoId::new(1, [1; 10])), &holder);
        assert_eq!(other.unwrap_err().code, Code::ForbiddenKey);
    }

    #[test]
    fn part_numbers_end_where_the_file_must() {
        let small = Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", "10485761")]));
        assert_eq!(part_number("3", &small), Ok(3));
        assert_eq!(part_number("4", &small).unwrap_err().code, Code::TooLarge);
        let large = Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", "5497558138880")]));
        assert_eq!(part_number("10000", &large), Ok(10_000));
        for wrong in ["0", "10001", "-1", "1.5", "x", "", "batch"] {
            assert_eq!(part_number(wrong, &large).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
        assert_eq!(part_numbers("partNumbers=1%2C2,3&key=x", &small), Ok(vec![1, 2, 3]));
        assert!(part_numbers("partNumbers=", &small).is_err());
    }

    #[test]
    fn an_upload_id_is_percent_decoded_once() {
        assert_eq!(upload_id("a%2Fb%252F"), Ok("a/b%2F".to_owned()));
        for wrong in ["", "%20", "%ff", "%0a", &"x".repeat(2000)] {
            assert!(upload_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_languages_and_both_spellings_of_an_etag() {
        let json = br#"{"parts":[{"PartNumber":2,"ETag":"\"b\""},{"PartNumber":1,"ETag":"a"}]}"#;
        let xml =
            b"<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part>\
            <Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
        let (json, xml) = (parse_completion(json).unwrap(), parse_completion(xml).unwrap());
        assert_eq!(json.parts, xml.parts);
        assert_eq!(json.parts[1], NamedPart { number: 2, etag: "b".into() });
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

    /// Row U11 of the threat table.
    #[test]
    fn parts_are_summed_before_they_become_a_video() {
        let allowance = Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", "11")]));
        let stored = |sizes: &[u64]| -> Vec<Part> {
            (1..).zip(sizes).map(|(number, &bytes)| Part { number, etag: "\"e\"".into(), bytes }).collect()
        };
        let named = |numbers: &[u64]| -> Vec<NamedPart> {
            numbers.iter().map(|&number| NamedPart { number, etag: "e".into() }).collect()
        };
        assert_eq!(check_parts(&named(&[1, 2]), &stored(&[5, 6, 99]), &allowance), Ok(11));
        let code =
            |named: &[NamedPart], stored: &[Part]| check_parts(named, stored, &allowance).unwrap_err().code;
        assert_eq!(code(&named(&[1, 2]), &stored(&[5, 7])), Code::TooLarge);
        assert_eq!(code(&named(&[1, 2]), &stored(&[u64::MAX, u64::MAX])), Code::TooLarge);
        assert_eq!(code(&named(&[1]), &stored(&[0])), Code::Empty);
        assert_eq!(code(&named(&[3]), &stored(&[5, 6])), Code::BadParameter);
        let other = [NamedPart { number: 1, etag: "f".into() }];
        assert_eq!(code(&other, &stored(&[5])), Code::BadParameter);
    }

    #[test]
    fn a_finished_upload_is_known_by_the_etags_of_its_parts() {
        let (a, b) = ("0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f");
        let digests = [hex::decode(a).unwrap(), hex::decode(b).unwrap()].concat();
        let etag = format!("\"{}-2\"", hex::encode(Md5::digest(digests)));
        let named = |etags: &[&str]| -> Vec<NamedPart> {
            (1..).zip(etags).map(|(number, etag)| NamedPart { number, etag: (*etag).into() }).collect()
        };
        assert!(is_made_of(&etag, &named(&[a, b])));
        for other in [&[b, a][..], &[a], &[a, b, a], &[]] {
            assert!(!is_made_of(&etag, &named(other)), "{other:?}");
        }
        assert!(!is_made_of(a, &named(&[a])), "an object that was sent whole");
        // As they are listed once the upload is over.
        let listed = finished_parts(&etag, 11).unwrap();
        assert_eq!(listed.iter().map(|part| part.bytes).collect::<Vec<_>>(), [6, 5]);
        let listed: Vec<_> = listed.iter().map(|part| part.etag.trim_matches('"')).collect();
        assert!(is_made_of(&etag, &named(&listed)) && !is_made_of(&etag, &named(&listed[..1])));
        assert_eq!(finished_parts(a, 11), None);
        assert_eq!(finished_parts("x-99999999999", 11), None);
        assert!(is_made_of("opaque-2", &named(&["x", "y"])), "ETags of another kind");
    }

    #[test]
    fn a_part_is_signed_for_a_length_that_may_be() {
        let small = Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", "1000")]));
        let large = Allowance::of_config(&with(&[("MAX_UPLOAD_BYTES", "10485760")]));
        let (ann, holder) = (caller(false), caller(true));
        assert_eq!(part_size(Some(1000), &holder, &small), Ok(Some(1000)));
        assert_eq!(part_size(Some(1001), &holder, &small).unwrap_err().code, Code::TooLarge);
        assert_eq!(part_size(Some(0), &ann, &small).unwrap_err().code, Code::BadParameter);
        assert_eq!(part_size(None, &holder, &small).unwrap_err().code, Code::BadParameter);
        assert_eq!(part_size(None, &holder, &large), Ok(None));
        assert_eq!(part_size(None, &ann, &small), Ok(None));
        assert_eq!((size_of_query("key=x&size=5"), size_of_query("key=x")), (Ok(Some(5)), Ok(None)));
        for wrong in ["size=", "size=-1", "size=1.5", "size=x"] {
            assert_eq!(size_of_query(wrong).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
        let stored: Vec<Part> =
            [(1, 400), (2, 500)].map(|(number, bytes)| Part { number, etag: "e".into(), bytes }).into();
        assert_eq!(check_room(&stored, &[3], Some(100), &small), Ok(()));
        assert_eq!(check_room(&stored, &[3], Some(101), &small).unwrap_err().code, Code::TooLarge);
        assert_eq!(check_room(&stored, &[2], Some(600), &small), Ok(()), "it replaces the second");
        assert_eq!(check_room(&stored, &[3], None, &small), Ok(()));
        assert_eq!(check_room(&stored, &[3, 4], Some(51), &small).unwrap_err().code, Code::TooLarge);
        let full = Part { number: 1, etag: "e".into(), bytes: 1000 };
        assert_eq!(check_room(&[full], &[2], None, &small).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn a_token_has_few_unfinished_uploads() {
        let upload = |id: &str, at: &str| UnfinishedUpload {
            key: Key::Source { owner: Owner::of("i", "s"), video: VideoId::new(1, [1; 10]) },
            video: VideoId::new(1, [1; 10]),
            upload_id: id.into(),
            initiated_at: format!("2026-01-01T{at}:00.000Z"),
        };
        let all = [upload("c", "10:02"), upload("a", "09:00"), upload("b", "10:01"), upload("new", "10:03")];
        let of = |new, most: usize, stale_before: &str| {
            let before = format!("2026-01-01T{stale_before}:00.000Z");
            let (excess, is_kept) = excess_uploads(all.iter().collect(), new, most, &before);
            (excess.iter().map(|upload| upload.upload_id.clone()).collect::<Vec<_>>(), is_kept)
        };
        let excess = |most, stale_before| of(Some("new"), most, stale_before);
        assert_eq!(excess(4, "10:00"), (vec![], true), "all may stay");
        assert_eq!(excess(3, "10:00"), (vec!["a".to_owned()], true), "one that is old makes room");
        assert_eq!(excess(2, "10:00"), (vec!["a".to_owned(), "new".to_owned()], false));
        assert_eq!(excess(3, "08:00"), (vec!["new".to_owned()], false));
        // A request that lists later than others gives up theirs, and keeps its own earlier upload.
        assert_eq!(of(Some("b"), 2, "08:00"), (vec!["c".to_owned(), "new".to_owned()], true));
        // One that is yet to be begun needs a place of its own.
        assert_eq!(of(None, 5, "08:00"), (vec![], true));
        assert_eq!(of(None, 4, "08:00"), (vec![], false));
        assert_eq!(of(None, 4, "10:00"), (vec!["a".to_owned()], true));
    }

    #[test]
    fn a_creation_names_its_file() {
        let body = br#"{"filename":"a.mp4","type":"video/mp4","metadata":{"size":5,"x":null}}"#;
        let wanted = UppyQuery { filename: "a.mp4".into(), content_type: "video/mp4".into(), size: None };
        assert_eq!(parse_creation(body), Ok(wanted));
        for wrong in ["", "[]", "{}", r#"{"filename":""}"#, r#"{"filename":7}"#] {
            assert_eq!(parse_creation(wrong.as_bytes()).unwrap_err().code, Code::BadParameter, "{wrong}");
        }
    }
}
