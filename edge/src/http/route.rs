//! Routes of the API, from the method and the raw bytes of the path. Pure.

use glimpse_contract::{Code, Problem, VariantRequest, VideoId};

use crate::http::query;
use crate::uploads::parse_upload_id;

/// The route of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A route for every caller.
    Public(PublicRoute),
    /// A route for authenticated callers.
    Api(ApiRoute),
}

/// A route for every caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicRoute {
    /// `GET /health`
    Health,
    /// `GET /auth/login`
    Login,
    /// `GET /auth/callback`
    Callback,
    /// An image of a video.
    Variant(VariantRequest),
    /// `GET /{video}`
    Page(VideoId),
    /// `GET /{video}/`
    PageWithSlash(VideoId),
    /// `GET /{video}/meta.json`
    Meta(VideoId),
    /// `GET /oembed`
    Oembed,
}

/// A route for authenticated callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiRoute {
    /// `POST /auth/logout`
    Logout,
    /// `GET /api/me`
    Me,
    /// `POST /api/videos`, with JSON or with the file itself.
    CreateVideo,
    /// `PUT /api/videos` or `PUT /api/videos/{name}`, with the file itself.
    UploadVideo {
        /// The file's name, as `curl -T` appends it.
        name: Option<String>,
    },
    /// `GET /api/videos`
    ListVideos,
    /// `GET /api/videos/{video}`
    GetVideo(VideoId),
    /// `GET /api/videos/{video}/events`
    WatchVideo(VideoId),
    /// `DELETE /api/videos/{video}`
    DeleteVideo(VideoId),
    /// `POST /api/videos/{video}/tokens`
    CreateDeliveryTokens(VideoId),
    /// `PUT /api/videos/{video}/poster`
    SetPoster(VideoId),
    /// `DELETE /api/videos/{video}/poster`
    ResetPoster(VideoId),
    /// `GET /{video}/original`
    Original(VideoId),
    /// `GET /api/uploads`
    ListUploads,
    /// `POST /api/upload-tokens`
    CreateUploadToken,
    /// `GET /s3/params`
    UppyParams,
    /// `POST /s3/multipart`
    CreateMultipart,
    /// `GET /s3/multipart/{uploadId}`
    ListParts {
        /// The upload id.
        upload_id: String,
    },
    /// `GET /s3/multipart/{uploadId}/{part}`
    SignPart {
        /// The upload id.
        upload_id: String,
        /// The part number, not parsed.
        part: String,
    },
    /// `GET /s3/multipart/{uploadId}/batch`
    SignParts {
        /// The upload id.
        upload_id: String,
    },
    /// `POST /s3/multipart/{uploadId}/complete`
    CompleteMultipart {
        /// The upload id.
        upload_id: String,
    },
    /// `DELETE /s3/multipart/{uploadId}`
    AbortMultipart {
        /// The upload id.
        upload_id: String,
    },
    /// `POST /s3/presign`
    Presign,
}

impl From<PublicRoute> for Route {
    fn from(route: PublicRoute) -> Self {
        Self::Public(route)
    }
}

impl From<ApiRoute> for Route {
    fn from(route: ApiRoute) -> Self {
        Self::Api(route)
    }
}

impl Route {
    /// Whether an upload token gives access to the route.
    pub fn allows_upload_token(&self) -> bool {
        matches!(
            self,
            Self::Api(
                ApiRoute::Me
                    | ApiRoute::CreateVideo
                    | ApiRoute::UploadVideo { .. }
                    | ApiRoute::GetVideo(_)
                    | ApiRoute::WatchVideo(_)
                    | ApiRoute::UppyParams
                    | ApiRoute::CreateMultipart
                    | ApiRoute::ListParts { .. }
                    | ApiRoute::SignPart { .. }
                    | ApiRoute::SignParts { .. }
                    | ApiRoute::CompleteMultipart { .. }
                    | ApiRoute::AbortMultipart { .. }
                    | ApiRoute::Presign
            )
        )
    }
}

impl ApiRoute {
    /// Whether a follow-up token, which is valid for one multipart upload, gives access to the route: to complete the
    /// upload, and to list its parts after completion.
    pub fn allows_follow_up_token(&self) -> bool {
        matches!(self, Self::CompleteMultipart { .. } | Self::ListParts { .. })
    }
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteError {
    /// The problem.
    pub problem: Problem,
    /// The allowed methods, if the path exists.
    pub allow: Option<String>,
}

/// Whether browsers of other origins may call this path with credentials, so that the CORS headers of the API apply. As
/// in [`route`], `//` counts as `/`.
pub fn is_api(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    matches!(segments.next(), Some("api" | "s3" | "auth" | "u" | "url"))
}

/// Whether the path is that of a document about a video. A token gives no access to it: the parameters that sites
/// append to the link of a page are ignored.
pub fn is_document(path: &str) -> bool {
    parse_document(path).is_some()
}

/// The upload token in a path (`/u/{token}/…`), and the path without it.
pub fn split_token(path: &str) -> (Option<&str>, &str) {
    let rest = path.trim_start_matches('/');
    let Some(rest) = rest.strip_prefix("u/") else { return (None, path) };
    let rest = rest.trim_start_matches('/');
    match rest.find('/') {
        Some(end) => (Some(&rest[..end]), &rest[end..]),
        None => (Some(rest), "/"),
    }
}

/// Parses the route of a request.
///
/// `//` counts as `/` (a client whose base URL ends with a slash sends it), but not for images: their URLs are cached,
/// and each has one canonical form.
///
/// # Errors
/// An unknown path, a method that the path does not support, or an invalid image parameter.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    let is_read = matches!(method, "GET" | "HEAD");
    if let Some(request) = VariantRequest::parse(path, query) {
        if !is_read {
            return Err(method_not_allowed(&["GET"]));
        }
        return request.map(|wanted| PublicRoute::Variant(wanted).into()).map_err(|error| RouteError {
            problem: Problem::with_detail(
                Code::BadParameter,
                format!("The parameter `{}` {}.", error.name, error.why),
            ),
            allow: None,
        });
    }
    if let Some(route) = parse_document(path) {
        return if is_read { Ok(route.into()) } else { Err(method_not_allowed(&["GET"])) };
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut routes = routes_for_path(&segments)?;
    let method = if is_read { "GET" } else { method };
    match routes.iter().position(|(known, _)| *known == method) {
        Some(index) => Ok(routes.swap_remove(index).1),
        None => Err(method_not_allowed(&routes.iter().map(|(known, _)| *known).collect::<Vec<_>>())),
    }
}

/// A document about a video; like that of an image, each URL has one canonical form. The query of a page is ignored,
/// since sites append parameters to links.
fn parse_document(path: &str) -> Option<PublicRoute> {
    match path.strip_prefix('/')?.split_once('/') {
        None if path == "/oembed" => Some(PublicRoute::Oembed),
        None => path[1..].parse().ok().map(PublicRoute::Page),
        Some((video, "")) => video.parse().ok().map(PublicRoute::PageWithSlash),
        Some((video, "meta.json")) => video.parse().ok().map(PublicRoute::Meta),
        Some(_) => None,
    }
}

/// All routes of a path, by method; `GET` includes `HEAD`.
fn routes_for_path(segments: &[&str]) -> Result<Vec<(&'static str, Route)>, RouteError> {
    Ok(match *segments {
        ["health"] => vec![("GET", PublicRoute::Health.into())],
        ["auth", "login"] => vec![("GET", PublicRoute::Login.into())],
        ["auth", "callback"] => vec![("GET", PublicRoute::Callback.into())],
        ["auth", "logout"] => vec![("POST", ApiRoute::Logout.into())],
        ["api", "me"] => vec![("GET", ApiRoute::Me.into())],
        ["api", "uploads"] => vec![("GET", ApiRoute::ListUploads.into())],
        ["api", "upload-tokens"] => vec![("POST", ApiRoute::CreateUploadToken.into())],
        ["api", "videos"] => vec![
            ("GET", ApiRoute::ListVideos.into()),
            ("POST", ApiRoute::CreateVideo.into()),
            ("PUT", ApiRoute::UploadVideo { name: None }.into()),
        ],
        ["api", "videos", name] => match name.parse() {
            Ok(video) => vec![
                ("GET", ApiRoute::GetVideo(video).into()),
                ("DELETE", ApiRoute::DeleteVideo(video).into()),
            ],
            Err(_) => vec![("PUT", ApiRoute::UploadVideo { name: Some(decode_file_name(name)?) }.into())],
        },
        ["api", "videos", video, "events"] => {
            vec![("GET", ApiRoute::WatchVideo(video.parse().map_err(|_| not_found())?).into())]
        }
        ["api", "videos", video, "poster"] => {
            let video = video.parse().map_err(|_| not_found())?;
            vec![("PUT", ApiRoute::SetPoster(video).into()), ("DELETE", ApiRoute::ResetPoster(video).into())]
        }
        [video, "original"] => {
            vec![("GET", ApiRoute::Original(video.parse().map_err(|_| not_found())?).into())]
        }
        ["api", "videos", video, "tokens"] => {
            vec![("POST", ApiRoute::CreateDeliveryTokens(video.parse().map_err(|_| not_found())?).into())]
        }
        ["s3", "params"] => vec![("GET", ApiRoute::UppyParams.into())],
        ["s3", "presign"] => vec![("POST", ApiRoute::Presign.into())],
        ["s3", "multipart"] => vec![("POST", ApiRoute::CreateMultipart.into())],
        ["s3", "multipart", upload] => {
            let upload_id = decode_upload_id(upload)?;
            vec![
                ("GET", ApiRoute::ListParts { upload_id: upload_id.clone() }.into()),
                ("DELETE", ApiRoute::AbortMultipart { upload_id }.into()),
            ]
        }
        ["s3", "multipart", upload, "complete"] => {
            vec![("POST", ApiRoute::CompleteMultipart { upload_id: decode_upload_id(upload)? }.into())]
        }
        ["s3", "multipart", upload, "batch"] => {
            vec![("GET", ApiRoute::SignParts { upload_id: decode_upload_id(upload)? }.into())]
        }
        ["s3", "multipart", upload, part] => {
            vec![(
                "GET",
                ApiRoute::SignPart { upload_id: decode_upload_id(upload)?, part: part.to_owned() }.into(),
            )]
        }
        ["s3", "sts"] => {
            let detail = "Temporary credentials are not issued: a client could write to any key with them. Leave \
                          getTemporarySecurityCredentials unset.";
            return Err(not_found_with_detail(detail));
        }
        ["url", ..] | [_, "list" | "get" | "connect", ..] => {
            return Err(not_found_with_detail(
                "Uploads from other services are not supported. Upload the file from the device.",
            ));
        }
        _ => return Err(not_found()),
    })
}

fn decode_upload_id(segment: &str) -> Result<String, RouteError> {
    parse_upload_id(segment).map_err(|problem| RouteError { problem, allow: None })
}

fn decode_file_name(segment: &str) -> Result<String, RouteError> {
    // A misspelled id is not a file name: it is not meant as an upload.
    query::decode(segment).filter(|name| name.contains('.')).ok_or_else(not_found)
}

fn not_found() -> RouteError {
    RouteError { problem: Problem::new(Code::NotFound), allow: None }
}

fn not_found_with_detail(detail: &str) -> RouteError {
    RouteError { problem: Problem::with_detail(Code::NotFound, detail), allow: None }
}

fn method_not_allowed(methods: &[&str]) -> RouteError {
    let mut allow = Vec::with_capacity(methods.len() + 2);
    for &method in methods {
        allow.push(method);
        if method == "GET" {
            allow.push("HEAD");
        }
    }
    allow.push("OPTIONS");
    let allow = allow.join(", ");
    let detail = format!("Allowed methods: {allow}.");
    RouteError { problem: Problem::with_detail(Code::MethodNotAllowed, detail), allow: Some(allow) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

    #[track_caller]
    fn check(method: &str, path: &str, expected: &Result<Route, Code>) {
        let path = path.replace("{v}", VIDEO);
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path.as_str(), None),
        };
        assert_eq!(
            &route(method, path, query).map_err(|none| none.problem.code),
            expected,
            "{method} {path}"
        );
    }

    #[test]
    fn is_api_for_every_routed_spelling() {
        for path in
            ["/api/me", "//s3/params", "///s3//params", "/auth/login", "/u/x.y.z/s3/params", "/url/get"]
        {
            assert!(is_api(path), "{path}");
        }
        for path in ["/", "/health", "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg", "/apis/me", "/x/api/me"] {
            assert!(!is_api(path), "{path}");
        }
    }

    #[test]
    fn document_paths_are_recognized() {
        let video = VideoId::new(1, [1; 10]);
        for file in ["", "/", "/meta.json"] {
            assert!(is_document(&format!("/{video}{file}")), "{file}");
        }
        assert!(is_document("/oembed"));
        for file in ["/thumbnail.jpg", "/original", "/thumbnails/thumbnail.jpg"] {
            assert!(!is_document(&format!("/{video}{file}")), "{file}");
        }
    }

    #[test]
    fn splits_token_from_path() {
        for (path, expected) in [
            ("/u/a.b.c/s3/params", (Some("a.b.c"), "/s3/params")),
            ("//u//a.b.c//s3/params", (Some("a.b.c"), "//s3/params")),
            ("/u/a.b.c", (Some("a.b.c"), "/")),
            ("/s3/params", (None, "/s3/params")),
            ("/us3/params", (None, "/us3/params")),
        ] {
            assert_eq!(split_token(path), expected, "{path}");
        }
    }

    #[test]
    fn routes_every_path() {
        let video: VideoId = VIDEO.parse().unwrap();
        check("GET", "/api/videos", &Ok(ApiRoute::ListVideos.into()));
        check("POST", "/api/videos", &Ok(ApiRoute::CreateVideo.into()));
        check("PUT", "/api/videos/", &Ok(ApiRoute::UploadVideo { name: None }.into()));
        check(
            "PUT",
            "/api/videos/Ski%20trip.mp4",
            &Ok(ApiRoute::UploadVideo { name: Some("Ski trip.mp4".into()) }.into()),
        );
        check("GET", "/api/videos/{v}", &Ok(ApiRoute::GetVideo(video).into()));
        check("DELETE", "/api/videos/{v}", &Ok(ApiRoute::DeleteVideo(video).into()));
        check("GET", "/api/videos/{v}/events", &Ok(ApiRoute::WatchVideo(video).into()));
        check("PUT", "/api/videos/{v}/poster", &Ok(ApiRoute::SetPoster(video).into()));
        check("DELETE", "/api/videos/{v}/poster", &Ok(ApiRoute::ResetPoster(video).into()));
        check("GET", "/api/videos/{v}/poster", &Err(Code::MethodNotAllowed));
        check("HEAD", "/{v}/original", &Ok(ApiRoute::Original(video).into()));
        check("GET", "/{v}x/original", &Err(Code::NotFound));
        check("POST", "/api/videos/{v}/tokens", &Ok(ApiRoute::CreateDeliveryTokens(video).into()));
        check("POST", "/api/videos/x/tokens", &Err(Code::NotFound));
        check("GET", "/api/videos/{v}/tokens", &Err(Code::MethodNotAllowed));
        check("GET", "/api/uploads", &Ok(ApiRoute::ListUploads.into()));
        check("POST", "/api/upload-tokens", &Ok(ApiRoute::CreateUploadToken.into()));
        check("HEAD", "/api/me", &Ok(ApiRoute::Me.into()));
        check("GET", "//s3/params?filename=a", &Ok(ApiRoute::UppyParams.into()));
        check("GET", "/s3//params", &Ok(ApiRoute::UppyParams.into()));
        check("POST", "/s3/presign", &Ok(ApiRoute::Presign.into()));
        check("POST", "/s3/multipart", &Ok(ApiRoute::CreateMultipart.into()));
        let upload_id = || "a/b".to_owned();
        check("GET", "/s3/multipart/a%2Fb?key=k", &Ok(ApiRoute::ListParts { upload_id: upload_id() }.into()));
        check(
            "DELETE",
            "/s3/multipart/a%2Fb",
            &Ok(ApiRoute::AbortMultipart { upload_id: upload_id() }.into()),
        );
        check("GET", "/s3/multipart/a%2Fb/batch", &Ok(ApiRoute::SignParts { upload_id: upload_id() }.into()));
        check(
            "GET",
            "/s3/multipart/a%2Fb/7",
            &Ok(ApiRoute::SignPart { upload_id: upload_id(), part: "7".into() }.into()),
        );
        check(
            "POST",
            "/s3/multipart/a%2Fb/complete",
            &Ok(ApiRoute::CompleteMultipart { upload_id: upload_id() }.into()),
        );
        check("POST", "/auth/logout", &Ok(ApiRoute::Logout.into()));
        check("GET", "/auth/logout", &Err(Code::MethodNotAllowed));
        check("DELETE", "/api/videos", &Err(Code::MethodNotAllowed));
        check("PUT", "/s3/multipart/x", &Err(Code::MethodNotAllowed));
        check("POST", "/{v}/thumbnail.jpg", &Err(Code::MethodNotAllowed));
        check("GET", "/{v}/thumbnail.jpg?time=01", &Err(Code::BadParameter));
        check("GET", "/{v}/animated.avif", &Err(Code::BadParameter));
        check("GET", "/{v}/thumbnail-width_200.jpg", &Err(Code::NotFound));
        check("GET", "/api/videos/{v}x", &Err(Code::NotFound));
        check("GET", "/api/videos/{v}/x", &Err(Code::NotFound));
        check("GET", "//{v}/thumbnail.jpg", &Err(Code::NotFound));
        check("GET", "/{v}/thumbnail.jpg/x.css", &Err(Code::NotFound));
        check("GET", "/API/me", &Err(Code::NotFound));
        check("GET", "/{v}", &Ok(PublicRoute::Page(video).into()));
        check("HEAD", "/{v}?utm_source=x", &Ok(PublicRoute::Page(video).into()));
        check("POST", "/{v}", &Err(Code::MethodNotAllowed));
        check("GET", "/{v}/", &Ok(PublicRoute::PageWithSlash(video).into()));
        check("HEAD", "/{v}/?utm_source=x", &Ok(PublicRoute::PageWithSlash(video).into()));
        check("POST", "/{v}/", &Err(Code::MethodNotAllowed));
        check("GET", "/{v}//", &Err(Code::NotFound));
        check("GET", "//{v}/", &Err(Code::NotFound));
        check("GET", "//{v}", &Err(Code::NotFound));
        check("GET", "/{v}/meta.json", &Ok(PublicRoute::Meta(video).into()));
        check("GET", "/{v}/manifest.json", &Err(Code::NotFound));
        check("GET", "/{v}//meta.json", &Err(Code::NotFound));
        check("GET", "/oembed?url=x", &Ok(PublicRoute::Oembed.into()));
        check("GET", "/oembed/", &Err(Code::NotFound));
        check("GET", "/s3/sts", &Err(Code::NotFound));
        check("POST", "/url/get", &Err(Code::NotFound));
        check("GET", "/drive/list/root", &Err(Code::NotFound));
        check("GET", "/", &Err(Code::NotFound));
    }

    #[test]
    fn allow_lists_methods() {
        let allow = |path: &str| route("PATCH", path, None).unwrap_err().allow.unwrap();
        assert_eq!(allow("/api/videos"), "GET, HEAD, POST, PUT, OPTIONS");
        assert_eq!(allow(&format!("/api/videos/{VIDEO}")), "GET, HEAD, DELETE, OPTIONS");
    }

    #[test]
    fn upload_token_allows_only_uploads() {
        let empty = || String::new();
        let video = VIDEO.parse().unwrap();
        for route in [
            Route::from(ApiRoute::ListVideos),
            Route::from(ApiRoute::DeleteVideo(video)),
            Route::from(ApiRoute::SetPoster(video)),
            Route::from(ApiRoute::ResetPoster(video)),
            Route::from(ApiRoute::Original(video)),
            Route::from(ApiRoute::CreateDeliveryTokens(video)),
            Route::from(ApiRoute::ListUploads),
            Route::from(ApiRoute::CreateUploadToken),
            Route::from(ApiRoute::Logout),
            Route::from(PublicRoute::Login),
            Route::from(PublicRoute::Health),
        ] {
            assert!(!route.allows_upload_token(), "{route:?}");
        }
        assert!(
            Route::from(ApiRoute::UppyParams).allows_upload_token()
                && Route::from(ApiRoute::CompleteMultipart { upload_id: empty() }).allows_upload_token()
        );
        assert!(ApiRoute::CompleteMultipart { upload_id: empty() }.allows_follow_up_token());
        for route in [
            ApiRoute::Me,
            ApiRoute::CreateVideo,
            ApiRoute::GetVideo(video),
            ApiRoute::WatchVideo(video),
            ApiRoute::Presign,
            ApiRoute::SignPart { upload_id: empty(), part: empty() },
            ApiRoute::SignParts { upload_id: empty() },
            ApiRoute::AbortMultipart { upload_id: empty() },
        ] {
            assert!(!route.allows_follow_up_token(), "{route:?}");
        }
    }
}
