//! Decides what is said about `/api/videos`, `/api/uploads` and `/api/upload-tokens`.

use glimpse_contract::{Code, limits};
use serde_json::json;

use super::operation::Operation;
use super::{example, shape};
use crate::openapi::requests::{DeliveryMint, Mint, NewVideo, Poster};
use crate::openapi::responses::{
    Caches, Created, CreatedStatus, DeliveryTokens, Minted, Received, ReceivedStatus, Removal, Removed,
    Unfinished, UnfinishedUpload, Video, VideoPage, VideoStatus,
};
use crate::s3::sigv4::timestamp::iso_date;

pub(super) const TAG: &str = "videos";

/// What may be wrong with a file that is to be uploaded.
pub(super) const FILE: [Code; 6] = [
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
        send(),
        send_named(),
        list(),
        show(),
        watch(),
        delete(),
        set_poster(),
        reset_poster(),
        mint_delivery(),
        uploads(),
        mint(),
    ]
}

fn of_video(method: &'static str, path: &str, id: &str) -> Operation {
    Operation::new(method, path, id, TAG).path("video", "The video's id.", shape::video())
}

fn create() -> Operation {
    Operation::new("POST", "/api/videos", "createVideo", TAG)
        .says(
            "Upload a video",
            "With JSON that describes a file: a presigned PUT that is good for one file of exactly that length and type, \
             which goes straight to S3.\n\nWith a form (`curl -F file=@clip.mp4`), or with the file itself and its name in \
             the query: the file streams through the Worker. Cloudflare passes on bodies of up to 100 MB on its Free and \
             Pro plans; send what is larger straight to S3.",
        )
        .query("name", "The file's name, where the body is the file itself.", shape::text())
        .header("prefer", "`wait=30`: the answer comes when the pictures are there, after 30 s at the latest.", shape::text())
        .traced()
        .takes::<NewVideo>(json!({ "name": "clip.mp4", "size": 7_340_032, "type": "video/mp4", "external_id": "order 7" }))
        .takes_bytes("multipart/form-data", json!({
            "type": "object",
            "required": ["file"],
            "properties": {
                "external_id": { "type": "string", "description": "Your own name of the video; it must stand before the file." },
                "metadata": { "type": "string", "description": "Your own fields as a JSON object of texts; it must stand before the file." },
                "visibility": { "enum": ["public", "signed"], "description": "Who may see the pictures; it must stand before the file." },
                "file": { "type": "string", "contentMediaType": "video/*", "description": "The file, last." },
            },
        }))
        .takes_bytes("video/*", json!({}))
        .answers::<Created>(
            201,
            "For JSON, the request that uploads the file; for a file, the video.",
            &Created { video: example::granted(), upload: example::upload() },
        )
        .answers_also::<Received>()
        .for_holders::<CreatedStatus>(&CreatedStatus { video: example::granted_status(), upload: example::upload() })
        .for_holders_also::<ReceivedStatus>()
        .sends("location", "Where the video is shown.")
        .answers::<Received>(200, "The outcome, if it was waited for.", &Received { video: example::ready() })
        .for_holders::<ReceivedStatus>(&ReceivedStatus { video: example::ready_status(true) })
        .sends("location", "Where the video is shown.")
        .problems(&FILE)
        .problems(&[Code::Deleted])
}

fn sent(operation: Operation) -> Operation {
    operation
        .says(
            "Upload a video in one call",
            "The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare passes on bodies of up \
             to 100 MB on its Free and Pro plans.",
        )
        .header("prefer", "`wait=30`: the answer comes when the pictures are there, after 30 s at the latest.", shape::text())
        .traced()
        .takes_bytes("video/*", json!({}))
        .answers::<Received>(201, "The video.", &Received { video: example::processing() })
        .for_holders::<ReceivedStatus>(&ReceivedStatus { video: example::processing_status(true) })
        .sends("location", "Where the video is shown.")
        .answers::<Received>(200, "The outcome, if it was waited for.", &Received { video: example::ready() })
        .for_holders::<ReceivedStatus>(&ReceivedStatus { video: example::ready_status(true) })
        .sends("location", "Where the video is shown.")
        .problems(&FILE)
        .problems(&[Code::NotFound, Code::Deleted])
}

fn send() -> Operation {
    sent(Operation::new("PUT", "/api/videos", "sendVideo", TAG).needs(
        "name",
        "The file's name.",
        shape::some_text(),
    ))
}

fn send_named() -> Operation {
    sent(Operation::new("PUT", "/api/videos/{name}", "sendNamedVideo", TAG).path(
        "name",
        "The file's name, with its ending.",
        shape::matching(r"^[^/]*\.[^/]*$"),
    ))
    .problems(&[Code::MethodNotAllowed])
}

fn list() -> Operation {
    let page = VideoPage { videos: vec![example::ready()], cursor: Some(example::video_id()) };
    Operation::new("GET", "/api/videos", "listVideos", TAG)
        .says("One's own videos, newest first", "")
        .query("limit", "How many videos a page has: 1 to 16, and 12 if it is left out.", shape::whole(1, 16))
        .query("cursor", "The `cursor` of the page before.", shape::video())
        .answers::<VideoPage>(200, "One page.", &page)
        .problems(&[Code::BadParameter])
}

fn show() -> Operation {
    of_video("GET", "/api/videos/{video}", "showVideo")
        .says(
            "State and URLs of a video",
            "A video of somebody else is not found. The holder of an upload token sees its state and problem only.",
        )
        .answers::<Video>(200, "The video.", &example::ready())
        .for_holders::<VideoStatus>(&example::ready_status(false))
        .problems(&[Code::NotFound, Code::Deleted, Code::MethodNotAllowed])
}

fn watch() -> Operation {
    of_video("GET", "/api/videos/{video}/events", "watchVideo")
        .says(
            "Watch a video until its outcome",
            "Server-sent events `uploading`, `uploaded`, `processing`, then `ready`, `rejected` or `failed`; the data of each \
             is the video, to the holder of an upload token its state and problem only. The stream ends with the outcome, or after half a minute: a browser connects again by itself, and \
             is answered 204 once it has seen the outcome.",
        )
        .header("last-event-id", "The last event that was seen: none is told twice.", shape::text())
        .answers_bytes(200, "Events.", "text/event-stream")
        .answers_nothing(204, "The client has seen the outcome: there will be no more events.")
        .problems(&[Code::NotFound, Code::Deleted])
}

fn delete() -> Operation {
    let removed = Removed { source: true, pictures: 8, unfinished_uploads: 0 };
    let note =
        "Copies in browsers and at other places of the CDN last as long as their Cache-Control says.".into();
    let caches = Caches { purged: 4, may_last_secs: 31_536_000, note };
    of_video("DELETE", "/api/videos/{video}", "deleteVideo")
        .says(
            "Remove a video for good",
            "Source, pictures and unfinished uploads; its pictures answer 410 from then on. The second time finds nothing, and \
             says so.",
        )
        .answers::<Removal>(200, "What was removed.", &Removal { id: example::video_id(), removed, caches })
        .problems(&[Code::NotFound, Code::MethodNotAllowed])
}

fn set_poster() -> Operation {
    of_video("PUT", "/api/videos/{video}/poster", "setPoster")
        .says("Choose another poster", "Any frame of the video.")
        .takes::<Poster>(json!({ "time": 1.5 }))
        .answers::<Video>(200, "The video with its new poster.", &example::ready())
        .problems(&super::delivery::PROBLEMS)
}

fn reset_poster() -> Operation {
    of_video("DELETE", "/api/videos/{video}/poster", "resetPoster")
        .says("Let the best frame be the poster again", "")
        .answers::<Video>(200, "The video with its own poster.", &example::ready())
        .problems(&super::delivery::PROBLEMS)
}

fn mint_delivery() -> Operation {
    of_video("POST", "/api/videos/{video}/tokens", "mintDeliveryTokens")
        .says(
            "Permission to see a private video's pictures, for whoever has the link",
            "A token opens one kind of picture with just these parameters. All members may be left out.",
        )
        .takes::<DeliveryMint>(
            json!({ "types": ["thumbnail"], "parameters": { "time": 1.5 }, "expires_in": 3600 }),
        )
        .or_nothing()
        .answers::<DeliveryTokens>(201, "The tokens, and ready links.", &example::delivery_tokens())
        .problems(&[Code::BadParameter, Code::TooLarge, Code::NotFound, Code::Deleted])
}

fn uploads() -> Operation {
    let upload = UnfinishedUpload {
        video: example::video_id(),
        name: Some("clip.mp4".into()),
        key: example::key(),
        upload_id: example::UPLOAD_ID.into(),
        initiated_at: iso_date(example::video_id().granted_at_ms()),
        parts: 3,
        bytes_uploaded: 3 * limits::MIN_PART_BYTES,
    };
    Operation::new("GET", "/api/uploads", "listUploads", TAG)
        .says(
            "One's own unfinished uploads in parts",
            "To go on with (list the parts, sign and send the rest, complete) or to cancel.",
        )
        .answers::<Unfinished>(200, "The uploads.", &Unfinished { uploads: vec![upload], more: false })
}

fn mint() -> Operation {
    let (token, text) = example::token();
    let minted = Minted {
        url: format!("{}/u/{text}", example::config().public_url),
        token: text,
        expires_at: iso_date(token.exp * 1000),
        videos: token.slots(),
    };
    Operation::new("POST", "/api/upload-tokens", "mintUploadToken", TAG)
        .says(
            "Permission to upload, for whoever holds it",
            "The holder may upload what the token says, below `url`, and nothing else. All members may be left out.",
        )
        .traced()
        .takes::<Mint>(json!({ "max_bytes": 100_000_000, "types": ["video/mp4"], "videos": 1, "expires_in": 3600 }))
        .or_nothing()
        .answers::<Minted>(201, "The token.", &minted)
        .problems(&[Code::BadParameter, Code::TooLarge, Code::NotFound])
}
