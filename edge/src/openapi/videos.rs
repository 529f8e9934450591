//! OpenAPI operations of `/api/videos`, `/api/uploads` and `/api/upload-tokens`.

use glimpse_contract::{Code, limits};
use serde_json::json;

use super::operation::Operation;
use super::{example, shape};
use crate::openapi::requests::{
    CreateDeliveryTokensRequest, CreateUploadTokenRequest, CreateVideoRequestSchema, SetPosterRequest,
};
use crate::openapi::responses::{
    CachePurge, CreateVideoResponse, CreateVideoStatusResponse, DeleteVideoResponse, DeletedObjects,
    DeliveryTokensResponse, ListUploadsResponse, ListVideosResponse, UnfinishedUpload, UploadTokenResponse,
    UploadVideoResponse, UploadVideoStatusResponse, VideoSchema, VideoStatus,
};
use crate::s3::sigv4::timestamp::format_rfc3339;

pub(super) const TAG: &str = "videos";

/// The problems of a file to upload.
pub(super) const FILE_PROBLEMS: [Code; 6] = [
    Code::BadParameter,
    Code::Empty,
    Code::TooLarge,
    Code::TypeNotAllowed,
    Code::TokenUsedUp,
    Code::AlreadyUploaded,
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        create(),
        upload(),
        upload_named(),
        list(),
        get(),
        watch(),
        delete(),
        set_poster(),
        reset_poster(),
        create_delivery_tokens(),
        list_uploads(),
        create_upload_token(),
    ]
}

fn video_operation(method: &'static str, path: &str, id: &str) -> Operation {
    Operation::new(method, path, id, TAG).path_parameter("video", "The video's id.", shape::video_id())
}

fn create() -> Operation {
    Operation::new("POST", "/api/videos", "createVideo", TAG)
        .describe(
            "Upload a video",
            "With JSON that describes a file: returns a presigned PUT to S3, valid for one file of exactly that length and type.\n\n\
             With a form (`curl -F file=@clip.mp4`), or with the file itself and its name in \
             the query: the file streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and \
             Pro plans; upload larger files directly to S3.",
        )
        .query_parameter("name", "The file's name, if the body is the file itself.", shape::string())
        .header_parameter("prefer", "`wait=30`: the response is sent when the outcome is known, after 30 s at the latest.", shape::string())
        .traceparent_header()
        .json_body::<CreateVideoRequestSchema>(json!({ "name": "clip.mp4", "size": 7_340_032, "type": "video/mp4", "external_id": "order 7" }))
        .binary_body("multipart/form-data", json!({
            "type": "object",
            "required": ["file"],
            "properties": {
                "external_id": { "type": "string", "description": "Your own id of the video; must precede the file.", "examples": ["order 7"] },
                "metadata": { "type": "string", "description": "Your own fields as a JSON object of strings; must precede the file." },
                "visibility": { "enum": ["public", "signed"], "description": "The visibility of the images; must precede the file." },
                "file": { "type": "string", "contentMediaType": "video/*", "description": "The file, last." },
            },
        }))
        .binary_body("video/*", json!({}))
        .json_response::<CreateVideoResponse>(
            201,
            "For JSON, the request that uploads the file; for a file, the video.",
            &CreateVideoResponse { video: example::uploading(), upload: example::upload() },
        )
        .or_json_response::<UploadVideoResponse>()
        .token_holder_response::<CreateVideoStatusResponse>(&CreateVideoStatusResponse { video: example::uploading_status(), upload: example::upload() })
        .or_token_holder_response::<UploadVideoStatusResponse>()
        .response_header("location", "The URL of the video in the API.")
        .json_response::<UploadVideoResponse>(200, "The outcome, if the request waited for it.", &UploadVideoResponse { video: example::ready() })
        .token_holder_response::<UploadVideoStatusResponse>(&UploadVideoStatusResponse { video: example::ready_status(true) })
        .response_header("location", "The URL of the video in the API.")
        .problems(&FILE_PROBLEMS)
        .problems(&[Code::Deleted])
}

fn with_file_body(operation: Operation, summary: &'static str) -> Operation {
    operation
        .describe(
            summary,
            "The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare accepts bodies of up \
             to 100 MB on its Free and Pro plans.",
        )
        .header_parameter("prefer", "`wait=30`: the response is sent when the outcome is known, after 30 s at the latest.", shape::string())
        .traceparent_header()
        .binary_body("video/*", json!({}))
        .json_response::<UploadVideoResponse>(201, "The video.", &UploadVideoResponse { video: example::processing() })
        .token_holder_response::<UploadVideoStatusResponse>(&UploadVideoStatusResponse { video: example::processing_status(true) })
        .response_header("location", "The URL of the video in the API.")
        .json_response::<UploadVideoResponse>(200, "The outcome, if the request waited for it.", &UploadVideoResponse { video: example::ready() })
        .token_holder_response::<UploadVideoStatusResponse>(&UploadVideoStatusResponse { video: example::ready_status(true) })
        .response_header("location", "The URL of the video in the API.")
        .problems(&FILE_PROBLEMS)
        .problems(&[Code::NotFound, Code::Deleted])
}

fn upload() -> Operation {
    with_file_body(
        Operation::new("PUT", "/api/videos", "sendVideo", TAG)
            .required_query_parameter("name", "The file's name.", shape::non_empty_string())
            .example("clip.mp4".into()),
        "Upload a video in one request",
    )
}

fn upload_named() -> Operation {
    let operation = Operation::new("PUT", "/api/videos/{name}", "sendNamedVideo", TAG).path_parameter(
        "name",
        "The file's name, with its extension.",
        shape::pattern_string(r"^[^/]*\.[^/]*$"),
    );
    with_file_body(operation, "Upload a video in one request, with its name in the path")
        .problems(&[Code::MethodNotAllowed])
}

fn list() -> Operation {
    let page = ListVideosResponse { videos: vec![example::ready()], cursor: Some(example::video_id()) };
    Operation::new("GET", "/api/videos", "listVideos", TAG)
        .describe("List the caller's videos, newest first", "")
        .query_parameter("limit", "Videos per page.", shape::integer(1, 16))
        .default_value(12.into())
        .query_parameter("cursor", "The `cursor` of the previous page.", shape::video_id())
        .json_response::<ListVideosResponse>(200, "A page of videos.", &page)
        .problems(&[Code::BadParameter])
}

fn get() -> Operation {
    video_operation("GET", "/api/videos/{video}", "showVideo")
        .describe(
            "State and URLs of a video",
            "A video of another owner is not found. With an upload token, only state and problem are returned.",
        )
        .json_response::<VideoSchema>(200, "The video.", &example::ready())
        .token_holder_response::<VideoStatus>(&example::ready_status(false))
        .problems(&[Code::NotFound, Code::Deleted, Code::MethodNotAllowed])
}

fn watch() -> Operation {
    video_operation("GET", "/api/videos/{video}/events", "watchVideo")
        .describe(
            "Watch a video until its outcome",
            "Server-sent events `uploading`, `uploaded`, `processing`, then `ready`, `rejected` or `failed`; the data of each \
             is the video, with an upload token its state and problem only. The stream ends with the outcome, or after half a minute: a browser reconnects by itself, and \
             receives 204 once it has received the outcome.",
        )
        .header_parameter("last-event-id", "The id of the last received event: no event is sent twice.", shape::string())
        .binary_response(200, "Events.", "text/event-stream")
        .response_example(example::events().into())
        .empty_response(204, "The client has received the outcome: there are no more events.")
        .problems(&[Code::NotFound, Code::Deleted])
}

fn delete() -> Operation {
    let removed = DeletedObjects { source: true, pictures: 8, unfinished_uploads: 0 };
    let note = "Copies in browsers and other data centers of the CDN expire by their Cache-Control.".into();
    let caches = CachePurge { purged: 4, may_last_secs: 31_536_000, note };
    video_operation("DELETE", "/api/videos/{video}", "deleteVideo")
        .describe(
            "Delete a video permanently",
            "Deletes source, images and unfinished uploads; requests for its images then return 410. A second request finds and \
             deletes nothing.",
        )
        .json_response::<DeleteVideoResponse>(200, "What was deleted.", &DeleteVideoResponse { id: example::video_id(), removed, caches })
        .problems(&[Code::NotFound, Code::MethodNotAllowed])
}

fn set_poster() -> Operation {
    video_operation("PUT", "/api/videos/{video}/poster", "setPoster")
        .describe("Choose another poster", "Any frame of the video.")
        .json_body::<SetPosterRequest>(json!({ "time": 1.5 }))
        .json_response::<VideoSchema>(200, "The video with its new poster.", &example::ready())
        .problems(&super::delivery::image_problems())
}

fn reset_poster() -> Operation {
    video_operation("DELETE", "/api/videos/{video}/poster", "resetPoster")
        .describe("Restore the best frame as the poster", "")
        .json_response::<VideoSchema>(200, "The video with the restored poster.", &example::ready())
        .problems(&super::delivery::image_problems())
}

fn create_delivery_tokens() -> Operation {
    video_operation("POST", "/api/videos/{video}/tokens", "mintDeliveryTokens")
        .describe(
            "Issue delivery tokens for a private video",
            "A token gives access to one kind of image with exactly these parameters. All members are optional.",
        )
        .json_body::<CreateDeliveryTokensRequest>(
            json!({ "types": ["thumbnail"], "parameters": { "time": 1.5 }, "expires_in": 3600 }),
        )
        .optional_body()
        .json_response::<DeliveryTokensResponse>(
            201,
            "The tokens and links.",
            &example::delivery_tokens(),
        )
        .problems(&[Code::BadParameter, Code::TooLarge, Code::NotFound, Code::Deleted])
}

fn list_uploads() -> Operation {
    let upload = UnfinishedUpload {
        video: example::video_id(),
        name: Some("clip.mp4".into()),
        key: example::key(),
        upload_id: example::UPLOAD_ID.into(),
        initiated_at: format_rfc3339(example::video_id().timestamp_ms()),
        parts: 3,
        bytes_uploaded: 3 * limits::MIN_PART_BYTES,
    };
    Operation::new("GET", "/api/uploads", "listUploads", TAG)
        .describe(
            "List the caller's unfinished multipart uploads",
            "To resume one (list its parts, sign and send the rest, complete it) or to cancel it.",
        )
        .json_response::<ListUploadsResponse>(
            200,
            "The uploads.",
            &ListUploadsResponse { uploads: vec![upload], more: false },
        )
}

fn create_upload_token() -> Operation {
    let (token, text) = example::upload_token();
    let response = UploadTokenResponse {
        url: format!("{}/u/{text}", example::config().public_url),
        token: text,
        expires_at: format_rfc3339(token.exp * 1000),
        videos: token.video_ids(),
    };
    Operation::new("POST", "/api/upload-tokens", "mintUploadToken", TAG)
        .describe(
            "Issue an upload token",
            "The token permits uploads within its limits, below `url`, and nothing else. All members are optional.",
        )
        .traceparent_header()
        .json_body::<CreateUploadTokenRequest>(json!({ "max_bytes": 100_000_000, "types": ["video/mp4"], "videos": 1, "expires_in": 3600 }))
        .optional_body()
        .json_response::<UploadTokenResponse>(201, "The token.", &response)
        .problems(&[Code::BadParameter, Code::TooLarge, Code::NotFound])
}
