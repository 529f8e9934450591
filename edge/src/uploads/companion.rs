//! HTTP handlers for the API of Uppy's Companion (`/s3/…`): multipart uploads and presigned requests.

use std::collections::BTreeMap;

use futures_util::future::{join, try_join_all};
use glimpse_contract::{Code, Grant, Json, Key, Problem, VideoId, object};

use crate::auth::{UploadToken, upload_audience};
use crate::context::ApiContext;
use crate::http::body;
use crate::http::query::Query;
use crate::http::response::Reply;
use crate::platform::{self, Request};
use crate::s3::sigv4::encode_query_value;
use crate::s3::{self, CompletedPart, PartId, PartSummary, UploadFilter};
use crate::uploads::reservation;
use crate::uploads::unfinished::limit_unfinished;
use crate::uploads::{
    PresignRequest, PresignedUpload, UploadPolicy, check_parts, check_total_size, check_upload_key,
    complete_error, completed_parts, create_grant, is_etag_of_parts, parse_completion, parse_creation,
    parse_part_number, parse_part_numbers, parse_presign, parse_size, parse_upload_key, parse_uppy_query,
    post_form_fields, presign_create_multipart, presign_upload, require_size, upload_id_digest,
    uppy_form_response, uppy_put_response,
};
use crate::videos::handlers;

/// The longest body of a create or presign request, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest body that lists the parts of an upload, in bytes: 10,000 of them need about 0.7 MB.
const MAX_PARTS_BYTES: usize = 2 * 1024 * 1024;

/// `GET /s3/params`
pub(crate) async fn params(query: Query<'_>, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let file = parse_uppy_query(query)?;
    let size = if context.config.allows_post_policy { None } else { check_size(file.size, context)? };
    let (grant, policy) = reserve_grant(&file.filename, &file.content_type, context).await?;
    if let Some(size) = size {
        let upload = presign_sized_put(&grant, size, context)?;
        return Ok(Reply::json(200, &uppy_put_response(&upload, context.config)));
    }
    Ok(Reply::json(
        200,
        &uppy_form_response(&grant, policy.max_single_bytes(), context.config, context.now_ms),
    ))
}

/// `POST /s3/multipart`
pub(crate) async fn create(request: &Request, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let file = parse_creation(&body::read(request, MAX_BODY_BYTES).await?)?;
    let (grant, _) = reserve_grant(&file.filename, &file.content_type, context).await?;
    let (upload_id, ()) =
        join(context.bucket().create_multipart_upload(&grant), reservation::remember_name(&grant, context))
            .await;
    let upload_id = upload_id?;
    limit_unfinished(Some(&upload_id), context).await?;
    let bucket = &context.config.bucket.name;
    Ok(Reply::json(
        200,
        &object! { "key" => grant.key().to_string(), "uploadId" => upload_id, "bucket" => bucket },
    ))
}

/// `GET /s3/multipart/{uploadId}`
pub(crate) async fn list_parts(
    upload_id: &str,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let (key, _) = parse_upload_key(query, context.caller)?;
    check_follow_up(upload_id, context)?;
    let parts = match list_all_parts(&key, upload_id, context).await? {
        Some(parts) => parts,
        // The upload is complete, and the client did not receive the response.
        None => find_completed(&key, context).await?.ok_or_else(|| complete_error("NoSuchUpload"))?.parts,
    };
    // A client with a follow-up token expects the response of S3.
    if context.caller.follow_up_video().is_some() {
        let part = |part: PartSummary| {
            let etag = s3::escape(&part.etag);
            let PartSummary { number, bytes, .. } = part;
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
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let (key, _) = parse_upload_key(query, context.caller)?;
    let number = parse_part_number(part, &context.upload_policy())?;
    let url = part_urls(&key, upload_id, &[number], parse_size(query)?, context).await?.concat();
    Ok(Reply::json(
        200,
        &object! { "url" => url, "method" => "PUT", "expires" => context.config.upload_expires_secs },
    ))
}

/// `GET /s3/multipart/{uploadId}/batch`
pub(crate) async fn sign_parts(
    upload_id: &str,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let (key, _) = parse_upload_key(query, context.caller)?;
    let numbers = parse_part_numbers(query, &context.upload_policy())?;
    let signed = part_urls(&key, upload_id, &numbers, parse_size(query)?, context).await?;
    let urls: BTreeMap<String, String> = numbers.iter().map(u64::to_string).zip(signed).collect();
    Ok(Reply::json(
        200,
        &object! { "presignedUrls" => &urls, "expires" => context.config.upload_expires_secs },
    ))
}

/// The URLs of parts of one length. For a token, the uploaded parts are listed first, if one list page is enough.
async fn part_urls(
    key: &Key,
    upload_id: &str,
    numbers: &[u64],
    size: Option<u64>,
    context: &ApiContext<'_>,
) -> Result<Vec<String>, Problem> {
    let bucket = context.bucket();
    let policy = context.upload_policy();
    let size = policy.check_part_size(size)?;
    if policy.checks_parts_before_signing() {
        let stored =
            list_all_parts(key, upload_id, context).await?.ok_or_else(|| complete_error("NoSuchUpload"))?;
        if let Err(problem) = check_total_size(&stored, numbers, size, &policy) {
            bucket.abort_multipart_upload(key, upload_id).await?;
            return Err(problem);
        }
    }
    let url = |number: &u64| {
        let part = PartId { key, upload_id, number: *number };
        bucket.sign(|config, now_ms| s3::presign_part(part, size, config, now_ms))
    };
    numbers.iter().map(url).collect()
}

/// `POST /s3/multipart/{uploadId}/complete`
pub(crate) async fn complete(
    upload_id: &str,
    request: &Request,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let (key, video) = parse_upload_key(query, context.caller)?;
    check_follow_up(upload_id, context)?;
    let named = parse_completion(&body::read(request, MAX_PARTS_BYTES).await?)?;
    complete_multipart_upload(&key, upload_id, &named.parts, context).await?;

    let location = context.config.bucket.object_url(&key.to_string());
    let bucket = &context.config.bucket.name;
    if named.is_xml {
        let xml = format!(
            "<CompleteMultipartUploadResult><Location>{}</Location><Bucket>{}</Bucket><Key>{key}</Key><ETag>\
             &quot;{video}&quot;</ETag></CompleteMultipartUploadResult>",
            s3::escape(&location),
            s3::escape(bucket)
        );
        return Ok(Reply::xml(200, xml));
    }
    let found = handlers::find(video, context).await?;
    Ok(Reply::json(
        200,
        &object! { "location" => location, "key" => key.to_string(), "bucket" => bucket,
        "video" => found.map(|video| handlers::json_for(&video, context.caller)) },
    ))
}

/// Checks the parts and completes the upload; an upload that exceeds the limits is aborted.
pub(crate) async fn complete_multipart_upload(
    key: &Key,
    upload_id: &str,
    named: &[CompletedPart],
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    let Some(stored) = list_all_parts(key, upload_id, context).await? else {
        return check_completed(key, named, context).await;
    };
    let bucket = context.bucket();
    if let Err(problem) = check_parts(named, &stored, &context.upload_policy()) {
        if matches!(problem.code, Code::TooLarge | Code::Empty) {
            bucket.abort_multipart_upload(key, upload_id).await?;
        }
        return Err(problem);
    }
    let Some(error) = bucket.complete_multipart_upload(key, upload_id, named).await? else { return Ok(()) };
    match error.code.as_str() {
        "NoSuchUpload" => check_completed(key, named, context).await,
        "PreconditionFailed" => {
            bucket.abort_multipart_upload(key, upload_id).await?;
            check_completed(key, named, context).await
        }
        code => {
            platform::log_error(
                "complete",
                context.request_id,
                &format!("S3 returned {} {code}", error.status),
            );
            Err(complete_error(code))
        }
    }
}

/// Whether an upload that S3 no longer knows has become an object of these parts: the earlier response may have been
/// lost.
async fn check_completed(
    key: &Key,
    named: &[CompletedPart],
    context: &ApiContext<'_>,
) -> Result<(), Problem> {
    match find_completed(key, context).await? {
        Some(object) if is_etag_of_parts(&object.etag, named) => Ok(()),
        Some(_) => Err(complete_error("PreconditionFailed")),
        None => Err(complete_error("NoSuchUpload")),
    }
}

/// The object of a completed upload.
struct CompletedUpload {
    etag: String,
    parts: Vec<PartSummary>,
}

/// The object of an upload that no longer exists; `None` if there is no object.
async fn find_completed(key: &Key, context: &ApiContext<'_>) -> Result<Option<CompletedUpload>, Problem> {
    let Some(head) = context.bucket().head_object(key).await? else { return Ok(None) };
    let etag = head.header("etag").unwrap_or_default();
    let bytes = head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let parts = completed_parts(&etag, bytes).unwrap_or_default();
    Ok(Some(CompletedUpload { etag, parts }))
}

/// `DELETE /s3/multipart/{uploadId}`: an upload that no longer exists counts as canceled.
pub(crate) async fn abort(
    upload_id: &str,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let (key, _) = parse_upload_key(query, context.caller)?;
    context.bucket().abort_multipart_upload(&key, upload_id).await?;
    Ok(Reply::json(200, &object! {}))
}

/// All parts of an upload; `None` if S3 does not know it.
pub(crate) async fn list_all_parts(
    key: &Key,
    upload_id: &str,
    context: &ApiContext<'_>,
) -> Result<Option<Vec<PartSummary>>, Problem> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let Some(page) = context.bucket().list_parts(key, upload_id, after).await? else { return Ok(None) };
        all.extend(page.parts);
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(Some(all)),
        }
    }
}

/// `POST /s3/presign`
pub(crate) async fn presign(request: &Request, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let presign_request = parse_presign(&body::read(request, MAX_BODY_BYTES).await?)?;
    let bucket = context.bucket();
    let expires = context.config.upload_expires_secs;
    let parse_own_key = |key: &str| {
        check_upload_key(key, context.caller).map_err(|problem| match key.parse::<Key>() {
            // Uppy before 6.3 retries with a key that it generates.
            Err(_) => Problem::with_detail(
                Code::ForbiddenKey,
                "Use the key that was returned for this upload. Uppy's signRequest does so from \
                 @uppy/aws-s3 6.3 on.",
            ),
            Ok(_) => problem,
        })
    };
    let (key, method, url) = match presign_request {
        PresignRequest::Put { name, content_type, size } => {
            return presign_put(&name, &content_type, size, context).await;
        }
        PresignRequest::Create { name, content_type } => {
            limit_unfinished(None, context).await?;
            let (grant, _) = reserve_grant(&name, &content_type, context).await?;
            let upload = bucket.sign(|config, now_ms| presign_create_multipart(&grant, config, now_ms))?;
            reservation::remember_name(&grant, context).await;
            return Ok(Reply::json(
                200,
                &object! { "url" => &upload.url, "key" => grant.key().to_string(), "method" => "POST",
                "headers" => upload.headers_json(), "expires" => expires },
            ));
        }
        PresignRequest::UploadPart { key, upload_id, number, size } => {
            let (key, _) = parse_own_key(&key)?;
            let number = parse_part_number(&number, &context.upload_policy())?;
            let url = part_urls(&key, &upload_id, &[number], size, context).await?.concat();
            (key, "PUT", url)
        }
        PresignRequest::ListParts { key, upload_id } => {
            let (key, video) = parse_own_key(&key)?;
            let url = if multipart_status(&key, &upload_id, context).await? == MultipartStatus::Completed {
                follow_up_url(&key, video, &upload_id, "", context)?
            } else {
                bucket.sign(|config, now_ms| s3::list_parts(&key, &upload_id, 0, config, now_ms))?.url
            };
            (key, "GET", url)
        }
        PresignRequest::Abort { key, upload_id } => {
            let (key, _) = parse_own_key(&key)?;
            let signed =
                bucket.sign(|config, now_ms| s3::abort_multipart_upload(&key, &upload_id, config, now_ms))?;
            (key, "DELETE", signed.url)
        }
        PresignRequest::Complete { key, upload_id } => {
            let (key, video) = parse_own_key(&key)?;
            if multipart_status(&key, &upload_id, context).await? == MultipartStatus::NotFound {
                return Err(complete_error("NoSuchUpload"));
            }
            let url = follow_up_url(&key, video, &upload_id, "/complete", context)?;
            (key, "POST", url)
        }
    };
    Ok(Reply::json(
        200,
        &object! { "url" => url, "key" => key.to_string(), "method" => method, "expires" => expires },
    ))
}

/// The length that the PUT of a file is signed for, if the client declares it; storage without POST forms requires it.
/// A request that cannot be signed uses none of a token's videos.
fn check_size(size: Option<u64>, context: &ApiContext<'_>) -> Result<Option<u64>, Problem> {
    let size = if context.config.allows_post_policy { size } else { Some(require_size(size)?) };
    size.map(|size| context.upload_policy().check_size(size)).transpose()
}

/// The signed PUT of exactly this many bytes.
fn presign_sized_put(grant: &Grant, size: u64, context: &ApiContext<'_>) -> Result<PresignedUpload, Problem> {
    context.bucket().sign(|config, now_ms| presign_upload(grant, size, None, config, now_ms))
}

/// A single-request upload: a PUT with an enforced length if the length is declared, otherwise a POST form with an
/// enforced range.
async fn presign_put(
    name: &str,
    content_type: &str,
    size: Option<u64>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let config = context.config;
    let size = check_size(size, context)?;
    let (grant, policy) = reserve_grant(name, content_type, context).await?;
    let (key, expires) = (grant.key().to_string(), config.upload_expires_secs);
    if let Some(size) = size {
        let upload = presign_sized_put(&grant, size, context)?;
        return Ok(Reply::json(
            200,
            &object! { "url" => &upload.url, "key" => key, "method" => "PUT",
            "headers" => upload.headers_json(), "expires" => expires },
        ));
    }
    let fields = post_form_fields(&grant, policy.max_single_bytes(), config, context.now_ms);
    let url = config.bucket.bucket_url();
    Ok(Reply::json(
        200,
        &object! { "url" => url, "key" => key, "method" => "POST", "fields" => &fields, "expires" => expires },
    ))
}

/// The status of an upload in S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MultipartStatus {
    /// It is in progress.
    InProgress,
    /// It is completed, and the object exists.
    Completed,
    /// There is neither an upload nor an object.
    NotFound,
}

async fn multipart_status(
    key: &Key,
    upload_id: &str,
    context: &ApiContext<'_>,
) -> Result<MultipartStatus, Problem> {
    Ok(if context.bucket().has_multipart_upload(key, upload_id).await? {
        MultipartStatus::InProgress
    } else if find_completed(key, context).await?.is_some() {
        MultipartStatus::Completed
    } else {
        MultipartStatus::NotFound
    })
}

/// Checks that a follow-up token was issued for this upload.
fn check_follow_up(upload_id: &str, context: &ApiContext<'_>) -> Result<(), Problem> {
    match context.caller.upload_token() {
        Some(token) if token.only.is_some() && token.jti != upload_id_digest(upload_id) => {
            Err(Problem::new(Code::ForbiddenKey))
        }
        _ => Ok(()),
    }
}

/// The URL at which a client that sends its requests to S3 completes an upload or lists a completed one: it is one of
/// this Worker, which checks the sum of the parts first. The URL contains a token for this upload only, which does not
/// outlive the caller's credential.
fn follow_up_url(
    key: &Key,
    video: VideoId,
    upload_id: &str,
    suffix: &str,
    context: &ApiContext<'_>,
) -> Result<String, Problem> {
    let (config, now_s) = (context.config, context.now_ms / 1000);
    let exp = context.caller.expires_at.min(now_s + config.upload_expires_secs);
    let token = UploadToken {
        iss: context.caller.issuer.clone(),
        sub: context.caller.subject.clone(),
        aud: upload_audience(&config.public_url),
        iat: now_s.min(exp),
        exp,
        jti: upload_id_digest(upload_id),
        max_bytes: Some(context.upload_policy().max_bytes),
        only: Some(video),
        ..UploadToken::default()
    };
    let token = config.upload_keys.sign(&token).ok_or_else(|| {
        let detail = "Multipart requests cannot be presigned: UPLOAD_TOKEN_SECRETS is not set.";
        Problem::with_detail(Code::NotFound, detail)
    })?;
    let (upload_id, key) = (encode_query_value(upload_id), encode_query_value(&key.to_string()));
    Ok(format!("{}/u/{token}/s3/multipart/{upload_id}{suffix}?key={key}", config.public_url))
}

/// A grant for the caller's next upload.
async fn reserve_grant(
    name: &str,
    content_type: &str,
    context: &ApiContext<'_>,
) -> Result<(Grant, UploadPolicy), Problem> {
    let policy = context.upload_policy();
    // Reject an invalid file before an id is reserved for it.
    policy.resolve_type(content_type, name)?;
    let video = reservation::allocate_id(context).await?;
    let grant = create_grant(&context.caller.owner, video, name, content_type, &policy)?;
    Ok((grant, policy))
}

/// `GET /api/uploads`
pub(crate) async fn list_uploads(context: &ApiContext<'_>) -> Result<Reply, Problem> {
    /// Each costs two requests to the bucket, and the number of requests of a Worker is limited.
    const MAX_LISTED: usize = 20;
    let owner = &context.caller.owner;
    let found = context.bucket().list_multipart_uploads(owner, UploadFilter::All, MAX_LISTED).await?;
    let each = found.uploads.iter().map(|upload| async move {
        let details = join(
            list_all_parts(&upload.key, &upload.upload_id, context),
            reservation::load_name(upload.video, context),
        )
        .await;
        let (parts, name) = (details.0?, details.1?);
        Ok::<_, Problem>(parts.map(|parts| {
            object! { "video" => upload.video, "name" => name, "key" => upload.key.to_string(),
            "uploadId" => &upload.upload_id,
            "initiated_at" => &upload.initiated_at, "parts" => parts.len(),
            "bytes_uploaded" => parts.iter().map(|part| part.bytes).sum::<u64>() }
        }))
    });
    // Skip uploads that were completed in the meantime.
    let uploads: Vec<_> = try_join_all(each).await?.into_iter().flatten().collect();
    Ok(Reply::json(200, &object! { "uploads" => uploads, "more" => found.is_truncated }))
}
