//! Examples of the OpenAPI document: values of the code's own types, made by the code itself.

use std::collections::BTreeMap;

use glimpse_contract::{
    ClientMetadata, Grant, Json, MANIFEST_VERSION, Manifest, Output, Owner, ReadStats, Source, State,
    Timings, Variant, VideoId, Visibility,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::{Caller, DeliveryKeys, Principal, Secret, UploadToken};
use crate::config::Config;
use crate::delivery::token_request;
use crate::openapi::responses::{
    DeliveryTokensResponse, UploadLimits, UploadSchema, UppyUploadParameters, VideoSchema, VideoStatus,
};
use crate::page::{OembedRequest, VideoMeta};
use crate::uploads::{
    UploadPolicy, UploadTokenRequest, build_upload_token, presign_upload, uppy_form_response,
};
use glimpse_contract::video::{self, UploadDetails};

/// 2026-01-01T00:00:00Z.
const NOW_MS: u64 = 1_767_225_600_000;
/// The id of a multipart upload.
pub(super) const UPLOAD_ID: &str = "VXBsb2FkIElEIGZvciBjbGlwLm1wNA";
/// A part's ETag.
pub(super) const ETAG: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";

/// Converts the Worker's JSON.
pub(super) fn value(tree: &Json) -> Value {
    serde_json::from_str(&tree.to_string()).expect("the Worker writes valid JSON")
}

/// The same as the type that describes it.
pub(super) fn deserialize<T: DeserializeOwned + Serialize>(tree: &Json) -> T {
    let typed = serde_json::from_value(value(tree)).expect("the schema type matches the response");
    assert_eq!(
        serde_json::to_value(&typed).ok(),
        Some(value(tree)),
        "the schema type has all members of the response"
    );
    typed
}

/// A path with values for its parameters.
pub(super) fn path(template: &str) -> String {
    let fill = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => match path_value(name) {
            Value::String(text) => text,
            other => other.to_string(),
        },
        None => segment.to_owned(),
    };
    template.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// The value of a path parameter.
///
/// # Panics
/// If no path has a parameter of this name.
pub(super) fn path_value(name: &str) -> Value {
    match name {
        "video" => video_id().to_string().into(),
        "uploadId" => UPLOAD_ID.into(),
        "part" => 1.into(),
        "name" => "clip.mp4".into(),
        "token" => upload_token().1.into(),
        other => panic!("no path has a parameter {other}"),
    }
}

/// A deployment. The key pair is that of the AWS documentation.
pub(super) fn config() -> Config {
    let vars = BTreeMap::from([
        ("PUBLIC_URL", "https://video.example.com"),
        ("S3_BUCKET", "glimpse-videos"),
        ("S3_REGION", "eu-central-1"),
        ("S3_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("S3_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("JWT_ISSUER", "https://id.example.com"),
        ("JWT_AUDIENCE", "glimpse"),
        ("JWT_JWKS_URL", "https://id.example.com/.well-known/jwks.json"),
        ("UPLOAD_TOKEN_SECRETS", "2026=an example of a secret and no secret at all"),
    ]);
    let lookup = |name: &str| vars.get(name).map(|value| (*value).to_owned());
    Config::from_lookup(lookup).expect("the example configuration is valid")
}

pub(super) fn video_id() -> VideoId {
    VideoId::new(NOW_MS, *b"an example")
}

pub(super) fn owner() -> Owner {
    Owner::new("https://id.example.com", "alice")
}

fn caller() -> Caller {
    Caller {
        owner: owner(),
        issuer: "https://id.example.com".into(),
        subject: "alice".into(),
        expires_at: u64::MAX,
        principal: Principal::User { name: None, email: None },
    }
}

fn client_metadata() -> ClientMetadata {
    ClientMetadata { external_id: Some("order 7".into()), ..ClientMetadata::default() }
}

fn grant() -> Grant {
    Grant {
        owner: owner(),
        video: video_id(),
        name: "clip.mp4".into(),
        content_type: "video/mp4".into(),
        visibility: Visibility::Public,
        client_metadata: client_metadata(),
    }
}

fn upload_info() -> UploadDetails {
    UploadDetails {
        name: "clip.mp4".into(),
        bytes: 7_340_032,
        content_type: "video/mp4".into(),
        client_metadata: client_metadata(),
        visibility: Some(Visibility::Public),
    }
}

/// A video that was granted and not uploaded yet.
pub(super) fn uploading() -> VideoSchema {
    deserialize(&video::Video::uploading(video_id(), upload_info(), &config().public_url.as_str()).to_json())
}

/// A video that is being processed.
pub(super) fn processing() -> VideoSchema {
    // Requests that send a file, or its parts, have no members for the customer's own fields.
    let details = UploadDetails { client_metadata: ClientMetadata::default(), ..upload_info() };
    let url = config().public_url;
    deserialize(&video::Video::from_upload(video_id(), details, None, &url.as_str()).to_json())
}

/// The same three with only an upload token; the response to the request that created the upload has the trace.
fn status(video: &video::Video, has_trace_id: bool) -> VideoStatus {
    let mut json = video.status_json();
    if has_trace_id {
        json.put("trace_id", video.trace_id().into());
    }
    deserialize(&json)
}

pub(super) fn uploading_status() -> VideoStatus {
    status(&video::Video::uploading(video_id(), upload_info(), &config().public_url.as_str()), true)
}

pub(super) fn processing_status(has_trace_id: bool) -> VideoStatus {
    let url = config().public_url;
    status(&video::Video::from_upload(video_id(), upload_info(), None, &url.as_str()), has_trace_id)
}

pub(super) fn ready_status(has_trace_id: bool) -> VideoStatus {
    status(&video::Video::from_manifest(&ready_manifest(), &config().public_url.as_str()), has_trace_id)
}

/// A ready video.
pub(super) fn ready() -> VideoSchema {
    deserialize(&video::Video::from_manifest(&ready_manifest(), &config().public_url.as_str()).to_json())
}

fn ready_manifest() -> Manifest {
    let output = |variant: Variant| Output {
        variant: variant.file_name(),
        bytes: 18_034,
        content_type: variant.format().content_type().into(),
        etag: "\"5d41402abc4b2a76b9719d911017c592\"".into(),
        width: 640,
        height: 360,
    };
    let source = Source {
        bytes: 7_340_032,
        content_type: "video/mp4".into(),
        name: "clip.mp4".into(),
        width: 1920,
        height: 1080,
        duration_ms: 60_040,
        has_audio: true,
        ..Source::default()
    };
    Manifest {
        version: MANIFEST_VERSION,
        video: video_id(),
        owner: owner(),
        visibility: Visibility::Public,
        client_metadata: client_metadata(),
        state: State::Ready,
        rejected: None,
        source,
        outputs: Variant::DEFAULTS.map(output).into(),
        thumbhash: Some("2/cNFIJYd3iHiIdwiIiHeIhXoAkG".into()),
        dominant_color: Some("#4a6b8c".into()),
        poster_ms: None,
        timings: Timings::default(),
        reads: ReadStats::default(),
    }
}

/// The content of a ready video's `meta.json`.
pub(super) fn meta() -> Value {
    value(&ready_meta().to_json())
}

/// The response that embeds a ready video.
pub(super) fn oembed() -> Value {
    value(&OembedRequest::without_limits(video_id()).response(&ready_meta()))
}

/// The event stream of a video, with shortened data.
pub(super) fn events() -> String {
    let video = video_id();
    let event = |id: u8, name: &str, state: &str| {
        format!("id: {id}\nevent: {name}\ndata: {{\"id\":\"{video}\",\"state\":\"{state}\",…}}\n\n")
    };
    ["retry: 1000\n\n", &event(2, "uploaded", "processing"), &event(4, "ready", "ready")].concat()
}

fn ready_meta() -> VideoMeta {
    VideoMeta::from_manifest(&ready_manifest(), &config().public_url, vec![320, 960, 1280])
}

/// The presigned PUT of a file.
pub(super) fn upload() -> UploadSchema {
    let upload = presign_upload(&grant(), 7_340_032, None, &config(), NOW_MS);
    deserialize(&upload.expect("a checked grant can be signed").to_json())
}

/// The form of a file.
pub(super) fn form() -> UppyUploadParameters {
    deserialize(&uppy_form_response(&grant(), config().max_upload_bytes, &config(), NOW_MS))
}

/// The key of an upload.
pub(super) fn key() -> String {
    grant().key().to_string()
}

/// The limits of an upload.
pub(super) fn limits() -> UploadLimits {
    let policy = UploadPolicy::from_caller(&caller(), &config());
    UploadLimits {
        max_upload_bytes: policy.max_bytes,
        max_single_upload_bytes: policy.max_single_bytes(),
        types: vec!["video/mp4".into(), "video/webm".into()],
    }
}

/// An upload token, and its encoded form.
pub(super) fn upload_token() -> (UploadToken, String) {
    let request = UploadTokenRequest { max_bytes: Some(100_000_000), ..UploadTokenRequest::default() };
    let config = config();
    let token = build_upload_token(request, &caller(), &config, *b"random, 16 bytes", NOW_MS)
        .expect("the example token is valid");
    let text = config.upload_keys.sign(&token).expect("the example has a key");
    (token, text)
}

/// Tokens for a private video's thumbnail, and its links.
pub(super) fn delivery_tokens() -> DeliveryTokensResponse {
    let keys = DeliveryKeys {
        secrets: vec![("2026".into(), Secret::new(b"an example of a secret, 256 bits".to_vec()))],
        public: Vec::new(),
    };
    let body = br#"{"types":["thumbnail"],"parameters":{"time":1.5},"expires_in":3600}"#;
    let request = token_request::parse(body).expect("the example body is valid");
    let response = token_request::issue_tokens(&request, video_id(), &keys, &config().public_url, NOW_MS);
    deserialize(&response.expect("the example has a key"))
}
