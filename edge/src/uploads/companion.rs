//! Decides nothing by itself: the calls of Uppy's Companion (`/s3/…`), with `upload` for what is allowed and S3 for the
//! rest.

use std::collections::BTreeMap;

use futures_util::future::{join, try_join_all};
use glimpse_contract::{Code, Grant, Json, Key, Problem, VideoId, object};

use crate::Call;
use crate::auth::{UploadToken, upload_audience};
use crate::http::response::Reply;
use crate::platform::{self, Request};
use crate::s3::client;
use crate::s3::sigv4::timestamp::iso_date;
use crate::s3::{self, NamedPart, Part, Parts, S3Request};
use crate::uploads::reservation;
use crate::uploads::{
    Allowance, Upload, Wanted, answer_uppy, answer_uppy_put, check_parts, check_room, check_upload,
    complete_error, excess_uploads, finished_parts, grant, is_made_of, parse_completion, parse_creation,
    parse_presign, parse_uppy, part_number, part_numbers, part_size, post_policy, presign_creation,
    presign_upload, size_of_query, told_size, upload_key, upload_mark,
};
use crate::videos::handlers;

/// The longest body of a creation or of a request to be signed, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest body that names the parts of an upload, in bytes: 10,000 of them need about 0.7 MB.
const MAX_PARTS_BYTES: usize = 2 * 1024 * 1024;

/// `GET /s3/params`
pub(crate) async fn params(query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let wanted = parse_uppy(query)?;
    let size = if call.config.takes_forms { None } else { checked_size(wanted.size, call)? };
    let (grant, allowance) = granted(&wanted.filename, &wanted.content_type, call).await?;
    if let Some(size) = size {
        let upload = sized(&grant, size, call)?;
        return Ok(Reply::json(200, &answer_uppy_put(&upload, call.config)));
    }
    Ok(Reply::json(200, &answer_uppy(&grant, allowance.max_single_bytes(), call.config, platform::now_ms())))
}

/// `POST /s3/multipart`
pub(crate) async fn create(request: &Request, call: &Call<'_>) -> Result<Reply, Problem> {
    let wanted = parse_creation(&body(request, MAX_BODY_BYTES).await?)?;
    let (grant, _) = granted(&wanted.filename, &wanted.content_type, call).await?;
    let (upload_id, ()) = join(begin(&grant, call), reservation::note(&grant, call)).await;
    let upload_id = upload_id?;
    limit_unfinished(Some(&upload_id), call).await?;
    let bucket = &call.config.location.bucket;
    Ok(Reply::json(
        200,
        &object! { "key" => grant.key().to_string(), "uploadId" => upload_id, "bucket" => bucket },
    ))
}

/// Begins a multipart upload, and returns S3's name of it.
pub(crate) async fn begin(grant: &Grant, call: &Call<'_>) -> Result<String, Problem> {
    let answer = send(s3::create(grant, call.config, platform::now_ms()), call).await?;
    if answer.status != 200 {
        return Err(client::unexpected(answer.status, call.request_id));
    }
    let xml = client::text(answer).await;
    s3::upload_id(&xml).ok_or_else(|| client::unexpected(200, call.request_id))
}

/// Gives up what a token has of unfinished uploads beyond a few more than its videos: each keeps what was sent of it for a
/// day. Uploads that begin side by side see each other, and the later ones go.
async fn limit_unfinished(new: Option<&str>, call: &Call<'_>) -> Result<(), Problem> {
    /// Room for attempts that broke off and were not aborted.
    const SPARE: usize = 4;
    let Some(token) = &call.caller.token else { return Ok(()) };
    let ids = token.slots();
    let now_ms = platform::now_ms();
    let uploads = s3::Uploads::GrantedWith(ids[0]);
    let found = unfinished(uploads, s3::MAX_KEYS, call).await?;
    let own = found.uploads.iter().filter(|upload| ids.contains(&upload.video)).collect();
    let stale_before = iso_date(now_ms.saturating_sub(reservation::LEASE_SECS * 1000));
    let (excess, is_kept) = excess_uploads(own, new, ids.len() + SPARE, &stale_before);
    try_join_all(excess.iter().map(|upload| give_up(&upload.key, &upload.upload_id, call))).await?;
    if is_kept {
        return Ok(());
    }
    let detail =
        "This upload token has too many unfinished uploads: finish or cancel one, or try again in an hour.";
    Err(Problem::because(Code::Busy, detail))
}

/// A page of the caller's unfinished uploads.
pub(crate) async fn unfinished(
    uploads: s3::Uploads,
    limit: usize,
    call: &Call<'_>,
) -> Result<s3::UnfinishedUploads, Problem> {
    let request = s3::list_uploads(&call.caller.owner, uploads, limit, call.config, platform::now_ms());
    let answer = send(request, call).await?;
    if answer.status != 200 {
        return Err(client::unexpected(answer.status, call.request_id));
    }
    let found = s3::UnfinishedUploads::read(&client::text(answer).await);
    found.ok_or_else(|| client::unexpected(200, call.request_id))
}

/// `GET /s3/multipart/{uploadId}`
pub(crate) async fn list_parts(upload_id: &str, query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let (key, _) = upload_key(query, call.caller)?;
    check_follow_up(upload_id, call)?;
    let parts = match parts(&key, upload_id, call).await? {
        Some(parts) => parts,
        // All of them have arrived, and only the answer has not.
        None => finished(&key, call).await?.ok_or_else(|| complete_error("NoSuchUpload"))?.parts,
    };
    // A client with a follow-up token expects S3 itself.
    if is_follow_up(call) {
        let part = |part: Part| {
            let etag = s3::escape(&part.etag);
            let Part { number, bytes, .. } = part;
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{bytes}</Size></Part>")
        };
        let parts: Vec<String> = parts.into_iter().map(part).collect();
        return Ok(Reply::xml(200, format!("<ListPartsResult>{}</ListPartsResult>", parts.concat())));
    }
    let listed: Vec<Json> = parts
        .into_iter()
        .map(|part| object! { "PartNumber" => part.number, "ETag" => part.etag, "Size" => part.bytes })
        .collect();
    Ok(Reply::json(200, &listed.into()))
}

/// `GET /s3/multipart/{uploadId}/{part}`
pub(crate) async fn sign_part(
    upload_id: &str,
    part: &str,
    query: &str,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let (key, _) = upload_key(query, call.caller)?;
    let number = part_number(part, &Allowance::of(call.caller, call.config))?;
    let url = part_urls(&key, upload_id, &[number], size_of_query(query)?, call).await?.concat();
    Ok(Reply::json(
        200,
        &object! { "url" => url, "method" => "PUT", "expires" => call.config.upload_expires_secs },
    ))
}

/// `GET /s3/multipart/{uploadId}/batch`
pub(crate) async fn sign_parts(upload_id: &str, query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let (key, _) = upload_key(query, call.caller)?;
    let numbers = part_numbers(query, &Allowance::of(call.caller, call.config))?;
    let signed = part_urls(&key, upload_id, &numbers, size_of_query(query)?, call).await?;
    let urls: BTreeMap<String, String> = numbers.iter().map(u64::to_string).zip(signed).collect();
    Ok(Reply::json(200, &object! { "presignedUrls" => &urls, "expires" => call.config.upload_expires_secs }))
}

/// The URLs of parts of one length. For a token, what has arrived is looked at first, where one look is enough.
async fn part_urls(
    key: &Key,
    upload_id: &str,
    numbers: &[u64],
    size: Option<u64>,
    call: &Call<'_>,
) -> Result<Vec<String>, Problem> {
    /// Parts of one page of S3's list.
    const ONE_PAGE: u64 = 1_000;
    let allowance = Allowance::of(call.caller, call.config);
    let size = part_size(size, call.caller, &allowance)?;
    if call.caller.token.is_some() && allowance.max_parts() <= ONE_PAGE {
        let stored = parts(key, upload_id, call).await?.ok_or_else(|| complete_error("NoSuchUpload"))?;
        if let Err(problem) = check_room(&stored, numbers, size, &allowance) {
            give_up(key, upload_id, call).await?;
            return Err(problem);
        }
    }
    let url = |number: &u64| {
        let signed = s3::sign_part(key, upload_id, *number, size, call.config, platform::now_ms());
        client::sign(signed, call.request_id)
    };
    numbers.iter().map(url).collect()
}

/// `POST /s3/multipart/{uploadId}/complete`
pub(crate) async fn complete(
    upload_id: &str,
    request: &Request,
    query: &str,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let (key, video) = upload_key(query, call.caller)?;
    check_follow_up(upload_id, call)?;
    let named = parse_completion(&body(request, MAX_PARTS_BYTES).await?)?;
    finish(&key, upload_id, &named.parts, call).await?;

    let location = call.config.location.object_url(&key.to_string());
    let bucket = &call.config.location.bucket;
    if named.is_xml {
        let xml = format!(
            "<CompleteMultipartUploadResult><Location>{}</Location><Bucket>{}</Bucket><Key>{key}</Key><ETag>\
             &quot;{video}&quot;</ETag></CompleteMultipartUploadResult>",
            s3::escape(&location),
            s3::escape(bucket)
        );
        return Ok(Reply::xml(200, xml));
    }
    let shown = handlers::find(video, call).await?;
    Ok(Reply::json(
        200,
        &object! { "location" => location, "key" => key.to_string(), "bucket" => bucket,
        "video" => shown.map(|video| handlers::json_for(&video, call.caller)) },
    ))
}

/// Checks the parts and makes them an object; what must not become one is given up.
pub(crate) async fn finish(
    key: &Key,
    upload_id: &str,
    named: &[NamedPart],
    call: &Call<'_>,
) -> Result<(), Problem> {
    let Some(stored) = parts(key, upload_id, call).await? else {
        return was_finished(key, named, call).await;
    };
    let allowance = Allowance::of(call.caller, call.config);
    if let Err(problem) = check_parts(named, &stored, &allowance) {
        if matches!(problem.code, Code::TooLarge | Code::Empty) {
            give_up(key, upload_id, call).await?;
        }
        return Err(problem);
    }
    let answer = send(s3::complete(key, upload_id, named, call.config, platform::now_ms()), call).await?;
    let status = answer.status;
    match s3::completion_error(status, client::text(answer).await.as_bytes()).as_deref() {
        None => Ok(()),
        Some("NoSuchUpload") => was_finished(key, named, call).await,
        Some("PreconditionFailed") => {
            give_up(key, upload_id, call).await?;
            was_finished(key, named, call).await
        }
        Some(code) => {
            platform::log_error("complete", call.request_id, &format!("S3 answered {status} {code}"));
            Err(complete_error(code))
        }
    }
}

/// Whether an upload that S3 no longer knows has become an object of these parts: its answer may have been lost on the
/// way.
async fn was_finished(key: &Key, named: &[NamedPart], call: &Call<'_>) -> Result<(), Problem> {
    match finished(key, call).await? {
        Some(object) if is_made_of(&object.etag, named) => Ok(()),
        Some(_) => Err(complete_error("PreconditionFailed")),
        None => Err(complete_error("NoSuchUpload")),
    }
}

/// What an upload has become.
struct Finished {
    etag: String,
    parts: Vec<Part>,
}

/// The object of an upload that is over; `None` if there is none.
async fn finished(key: &Key, call: &Call<'_>) -> Result<Option<Finished>, Problem> {
    let answer = send(s3::head(key, call.config, platform::now_ms()), call).await?;
    match answer.status {
        200 => {}
        404 => return Ok(None),
        status => return Err(client::unexpected(status, call.request_id)),
    }
    let etag = answer.header("etag").unwrap_or_default();
    let bytes = answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let parts = finished_parts(&etag, bytes).unwrap_or_default();
    Ok(Some(Finished { etag, parts }))
}

/// `DELETE /s3/multipart/{uploadId}`: an upload that is over already counts as cancelled.
pub(crate) async fn abort(upload_id: &str, query: &str, call: &Call<'_>) -> Result<Reply, Problem> {
    let (key, _) = upload_key(query, call.caller)?;
    give_up(&key, upload_id, call).await?;
    Ok(Reply::json(200, &object! {}))
}

/// Gives an upload up.
pub(crate) async fn give_up(key: &Key, upload_id: &str, call: &Call<'_>) -> Result<(), Problem> {
    let answer = send(s3::abort(key, upload_id, call.config, platform::now_ms()), call).await?;
    match answer.status {
        200 | 204 | 404 => Ok(()),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

/// All parts of an upload; `None` if S3 does not know it.
pub(crate) async fn parts(key: &Key, upload_id: &str, call: &Call<'_>) -> Result<Option<Vec<Part>>, Problem> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let request = s3::list_parts(key, upload_id, after, call.config, platform::now_ms());
        let answer = send(request, call).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(client::unexpected(status, call.request_id)),
        }
        let page = Parts::read(&client::text(answer).await);
        let page = page.ok_or_else(|| client::unexpected(200, call.request_id))?;
        all.extend(page.parts);
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(Some(all)),
        }
    }
}

/// `POST /s3/presign`
pub(crate) async fn presign(request: &Request, call: &Call<'_>) -> Result<Reply, Problem> {
    let wanted = parse_presign(&body(request, MAX_BODY_BYTES).await?)?;
    let (config, now_ms) = (call.config, platform::now_ms());
    let expires = config.upload_expires_secs;
    let own = |key: &str| {
        check_upload(key, call.caller).map_err(|problem| match key.parse::<Key>() {
            // Uppy before 6.3 continues with a key of its own.
            Err(_) => Problem::because(
                Code::ForbiddenKey,
                "The key of an upload is the one that was given out for it. Uppy's signRequest uses it from \
                 @uppy/aws-s3 6.3 on.",
            ),
            Ok(_) => problem,
        })
    };
    let (key, method, url) = match wanted {
        Wanted::Put { name, content_type, size } => {
            return presign_put(&name, &content_type, size, call).await;
        }
        Wanted::Create { name, content_type } => {
            limit_unfinished(None, call).await?;
            let (grant, _) = granted(&name, &content_type, call).await?;
            let upload = client::sign(presign_creation(&grant, config, now_ms), call.request_id)?;
            reservation::note(&grant, call).await;
            return Ok(Reply::json(
                200,
                &object! { "url" => &upload.url, "key" => grant.key().to_string(), "method" => "POST",
                "headers" => upload.headers_json(), "expires" => expires },
            ));
        }
        Wanted::Part { key, upload_id, number, size } => {
            let (key, _) = own(&key)?;
            let number = part_number(&number, &Allowance::of(call.caller, config))?;
            let url = part_urls(&key, &upload_id, &[number], size, call).await?.concat();
            (key, "PUT", url)
        }
        Wanted::List { key, upload_id } => {
            let (key, video) = own(&key)?;
            let url = if fate(&key, &upload_id, call).await? == Fate::Finished {
                follow_up_url(&key, video, &upload_id, "", call)?
            } else {
                client::sign(s3::list_parts(&key, &upload_id, 0, config, now_ms), call.request_id)?.url
            };
            (key, "GET", url)
        }
        Wanted::Abort { key, upload_id } => {
            let (key, _) = own(&key)?;
            let url = client::sign(s3::abort(&key, &upload_id, config, now_ms), call.request_id)?.url;
            (key, "DELETE", url)
        }
        Wanted::Complete { key, upload_id } => {
            let (key, video) = own(&key)?;
            if fate(&key, &upload_id, call).await? == Fate::Unknown {
                return Err(complete_error("NoSuchUpload"));
            }
            let url = follow_up_url(&key, video, &upload_id, "/complete", call)?;
            (key, "POST", url)
        }
    };
    Ok(Reply::json(
        200,
        &object! { "url" => url, "key" => key.to_string(), "method" => method, "expires" => expires },
    ))
}

/// The length that a file's PUT is signed for, if one is told; a storage that takes no forms needs it. What cannot be
/// signed takes none of a token's videos.
fn checked_size(size: Option<u64>, call: &Call<'_>) -> Result<Option<u64>, Problem> {
    let size = if call.config.takes_forms { size } else { Some(told_size(size)?) };
    size.map(|size| Allowance::of(call.caller, call.config).checked_size(size)).transpose()
}

/// The signed PUT of exactly so many bytes.
fn sized(grant: &Grant, size: u64, call: &Call<'_>) -> Result<Upload, Problem> {
    client::sign(presign_upload(grant, size, None, call.config, platform::now_ms()), call.request_id)
}

/// A file whole: with its length a PUT that S3 holds to it, without it a form that S3 holds to the range.
async fn presign_put(
    name: &str,
    content_type: &str,
    size: Option<u64>,
    call: &Call<'_>,
) -> Result<Reply, Problem> {
    let config = call.config;
    let size = checked_size(size, call)?;
    let (grant, allowance) = granted(name, content_type, call).await?;
    let (key, expires) = (grant.key().to_string(), config.upload_expires_secs);
    if let Some(size) = size {
        let upload = sized(&grant, size, call)?;
        return Ok(Reply::json(
            200,
            &object! { "url" => &upload.url, "key" => key, "method" => "PUT",
            "headers" => upload.headers_json(), "expires" => expires },
        ));
    }
    let fields = post_policy(&grant, allowance.max_single_bytes(), config, platform::now_ms());
    let url = config.location.bucket_url();
    Ok(Reply::json(
        200,
        &object! { "url" => url, "key" => key, "method" => "POST", "fields" => &fields, "expires" => expires },
    ))
}

/// What S3 knows about an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is not finished.
    Open,
    /// It is over, and its object is there.
    Finished,
    /// There is no such upload, and no object.
    Unknown,
}

async fn fate(key: &Key, upload_id: &str, call: &Call<'_>) -> Result<Fate, Problem> {
    let answer = send(s3::list_parts(key, upload_id, 0, call.config, platform::now_ms()), call).await?;
    match answer.status {
        200 => Ok(Fate::Open),
        404 if finished(key, call).await?.is_some() => Ok(Fate::Finished),
        404 => Ok(Fate::Unknown),
        status => Err(client::unexpected(status, call.request_id)),
    }
}

/// Whether the caller holds no more than a follow-up token.
fn is_follow_up(call: &Call<'_>) -> bool {
    call.caller.token.as_ref().is_some_and(|token| token.only.is_some())
}

/// A follow-up token is good for the one upload that it was made for.
fn check_follow_up(upload_id: &str, call: &Call<'_>) -> Result<(), Problem> {
    let is_other = call
        .caller
        .token
        .as_ref()
        .is_some_and(|token| token.only.is_some() && token.jti != upload_mark(upload_id));
    if is_other { Err(Problem::new(Code::ForbiddenKey)) } else { Ok(()) }
}

/// Where a client that talks to S3 itself finishes an upload, and lists one that is finished: here, since only here the
/// parts are summed first. The address carries a token that is good for this one upload, and for no longer than the
/// caller's own proof.
fn follow_up_url(
    key: &Key,
    video: VideoId,
    upload_id: &str,
    rest: &str,
    call: &Call<'_>,
) -> Result<String, Problem> {
    let (config, now_s) = (call.config, platform::now_ms() / 1000);
    let exp = call.caller.expires_at.min(now_s + config.upload_expires_secs);
    let token = UploadToken {
        iss: call.caller.issuer.clone(),
        sub: call.caller.subject.clone(),
        aud: upload_audience(&config.public_url),
        iat: now_s.min(exp),
        exp,
        jti: upload_mark(upload_id),
        max_bytes: Some(Allowance::of(call.caller, config).max_bytes),
        types: None,
        videos: None,
        visibility: None,
        external_id: None,
        metadata: BTreeMap::new(),
        trace_id: None,
        only: Some(video),
    };
    let token = config.upload_keys.sign(&token).ok_or_else(|| {
        let detail = "Uploads in parts cannot be signed one by one here: UPLOAD_TOKEN_SECRETS is not set.";
        Problem::because(Code::NotFound, detail)
    })?;
    let (upload_id, key) = (crate::s3::sigv4::encode_query_value(upload_id), key.to_string());
    let key = crate::s3::sigv4::encode_query_value(&key);
    Ok(format!("{}/u/{token}/s3/multipart/{upload_id}{rest}?key={key}", config.public_url))
}

/// A permission for the next upload of this caller.
async fn granted(name: &str, content_type: &str, call: &Call<'_>) -> Result<(Grant, Allowance), Problem> {
    let allowance = call.allowance();
    // What is wrong with the file is said before an id is taken for it.
    allowance.resolve_type(content_type, name)?;
    let video = reservation::next_video(call).await?;
    let grant = grant(&call.caller.owner, video, name, content_type, &allowance)?;
    Ok((grant, allowance))
}

/// `GET /api/uploads`
pub(crate) async fn list_uploads(call: &Call<'_>) -> Result<Reply, Problem> {
    /// Each costs two requests to the bucket, and a Worker may make only so many.
    const MOST: usize = 20;
    let found = unfinished(s3::Uploads::All, MOST, call).await?;
    let each = found.uploads.iter().map(|upload| async move {
        let known =
            join(parts(&upload.key, &upload.upload_id, call), reservation::noted(upload.video, call)).await;
        let (parts, name) = (known.0?, known.1?);
        Ok::<_, Problem>(parts.map(|parts| {
            object! { "video" => upload.video, "name" => name, "key" => upload.key.to_string(),
            "uploadId" => &upload.upload_id,
            "initiated_at" => &upload.initiated_at, "parts" => parts.len(),
            "bytes_uploaded" => parts.iter().map(|part| part.bytes).sum::<u64>() }
        }))
    });
    // One that was finished in between is left out.
    let uploads: Vec<_> = try_join_all(each).await?.into_iter().flatten().collect();
    Ok(Reply::json(200, &object! { "uploads" => uploads, "more" => found.is_truncated }))
}

async fn send(
    signed: Result<S3Request, crate::s3::sigv4::SignError>,
    call: &Call<'_>,
) -> Result<platform::Incoming, Problem> {
    client::send(&client::sign(signed, call.request_id)?, call.request_id).await
}

async fn body(request: &Request, limit: usize) -> Result<Vec<u8>, Problem> {
    platform::body(request, limit).await.ok_or_else(|| {
        let detail = format!("The body must have at most {limit} bytes.");
        Problem::because(Code::TooLarge, detail)
    })
}
