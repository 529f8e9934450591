//! HTTP handlers for uploads and upload tokens: parses requests and encodes responses.

use glimpse_contract::video::{UploadDetails, Video};
use glimpse_contract::{Code, Json, Problem, limits, object};

use crate::auth::Principal;
use crate::context::ApiContext;
use crate::http::body;
use crate::http::query::{Query, decode, replace_plus};
use crate::http::response::Reply;
use crate::platform::{self, Request};
use crate::s3::sigv4::timestamp::format_rfc3339;
use crate::uploads::proxy;
use crate::uploads::reservation;
use crate::uploads::{
    UploadFields, UploadPolicy, build_upload_token, create_grant, parse_boundary, parse_new_video,
    parse_token_request, presign_upload,
};
use crate::videos::handlers;
use crate::videos::links::SignedLinks;

/// `GET /api/me`
pub(crate) fn me(context: &ApiContext<'_>) -> Reply {
    let caller = context.caller;
    let policy = UploadPolicy::from_caller(caller, context.config);
    let (name, email) = match &caller.principal {
        Principal::User { name, email } => (name.as_deref(), email.as_deref()),
        Principal::UploadToken(_) => (None, None),
    };
    let types: Vec<Json> = match &policy.types {
        Some(types) => types.iter().map(Json::from).collect(),
        None => limits::UPLOAD_TYPES.iter().map(|kind| Json::from(*kind)).collect(),
    };
    Reply::json(
        200,
        &object! {
            "owner" => &caller.owner,
            "subject" => &caller.subject,
            "name" => name,
            "email" => email,
            "limits" => object! {
                "max_upload_bytes" => policy.max_bytes,
                "max_single_upload_bytes" => policy.max_single_bytes(),
                "types" => types,
            },
        },
    )
}

/// `POST /api/videos`: JSON that describes a file, a form with the file, or the file itself.
pub(crate) async fn create_video(
    request: &Request,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => create_presigned(request, context).await,
        "multipart/form-data" => {
            let boundary = parse_boundary(&content_type).ok_or_else(|| {
                Problem::with_detail(Code::BadParameter, "The form's `Content-Type` has no boundary.")
            })?;
            proxy::upload_form(request, &boundary, context).await
        }
        _ => upload_body(request, None, query, context).await,
    }
}

/// `PUT /api/videos/{name}`, or `POST /api/videos?name=`: the file itself.
pub(crate) async fn upload_body(
    request: &Request,
    name: Option<String>,
    query: Query<'_>,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let name_from_query = || query.get("name").and_then(|value| decode(&replace_plus(value)));
    let name = name.or_else(name_from_query).ok_or_else(|| {
        let detail = "Send JSON with name, size and type for a presigned upload, a form with the field `file`, or the file \
                      itself with its name: PUT /api/videos/clip.mp4, or POST /api/videos?name=clip.mp4.";
        Problem::with_detail(Code::BadParameter, detail)
    })?;
    let content_type = platform::header(request, "content-type").unwrap_or_default();
    proxy::upload_raw(request, &name, &content_type, context).await
}

/// A presigned upload for a described file.
async fn create_presigned(request: &Request, context: &ApiContext<'_>) -> Result<Reply, Problem> {
    let policy = context.upload_policy();
    let new_video = parse_new_video(&body::read_json(request).await?, &policy)?;
    policy.resolve_type(&new_video.content_type, &new_video.name)?;
    let fields =
        UploadFields { visibility: new_video.visibility, client_metadata: new_video.client_metadata };
    let policy = fields.apply(policy)?;
    let id = reservation::allocate_id(context).await?;
    let grant = create_grant(&context.caller.owner, id, &new_video.name, &new_video.content_type, &policy)?;
    let checksum = new_video.checksum_sha256.as_deref();
    let upload = context
        .bucket()
        .sign(|config, now_ms| presign_upload(&grant, new_video.size, checksum, config, now_ms))?;
    let info = UploadDetails {
        name: grant.name,
        bytes: new_video.size,
        content_type: grant.content_type,
        client_metadata: grant.client_metadata,
        visibility: Some(grant.visibility),
    };
    let video = Video::uploading(id, info, &SignedLinks::new(context.config, context.now_ms));
    Ok(Reply::json(
        201,
        &object! { "video" => handlers::created_json_for(&video, context.caller), "upload" => upload.to_json() },
    )
    .with_header("location", format!("/api/videos/{id}")))
}

/// `POST /api/upload-tokens`
pub(crate) async fn create_upload_token(
    request: &Request,
    context: &ApiContext<'_>,
) -> Result<Reply, Problem> {
    let token_request = parse_token_request(&body::read_json(request).await?)?;
    let mut token = build_upload_token(
        token_request,
        context.caller,
        context.config,
        platform::random_bytes(),
        context.now_ms,
    )?;
    token.trace_id = context.trace_id;
    let text = context.config.upload_keys.sign(&token).ok_or_else(|| {
        Problem::with_detail(
            Code::NotFound,
            "Upload tokens are not configured: UPLOAD_TOKEN_SECRETS is not set.",
        )
    })?;
    let url = format!("{}/u/{text}", context.config.public_url);
    Ok(Reply::json(
        201,
        &object! { "token" => text, "url" => url, "expires_at" => format_rfc3339(token.exp * 1000),
        "videos" => token.video_ids().into_iter().map(Json::from).collect::<Vec<_>>() },
    ))
}
