//! Decides what a request asks for, from its method and the raw bytes of its path. Pure.

use glimpse_contract::{Code, PictureRequest, Problem, VideoId};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /health`
    Health,
    /// `GET /auth/login`
    Login,
    /// `GET /auth/callback`
    Callback,
    /// `POST /auth/logout`
    Logout,
    /// `GET /api/me`
    Me,
    /// `POST /api/videos`
    CreateVideo,
    /// `GET /api/videos`
    ListVideos,
    /// `GET /api/videos/{video}`
    ShowVideo(VideoId),
    /// `GET /s3/params`
    UppyParams,
    /// A picture of a video.
    Picture(PictureRequest),
}

/// The methods that an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Methods {
    Get,
    GetPost,
    Post,
}

impl Methods {
    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD, OPTIONS",
            Self::GetPost => "GET, HEAD, POST, OPTIONS",
            Self::Post => "POST, OPTIONS",
        }
    }
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoute {
    /// What the client is told.
    pub problem: Problem,
    /// The methods that would do, if the address is right.
    pub allow: Option<&'static str>,
}

/// Whether browsers of other origins may call this path with credentials: then CORS answers for it. As in [`route`],
/// `//` counts as `/`.
pub fn is_api(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    matches!(segments.next(), Some("api" | "s3" | "auth"))
}

/// What a request asks for.
///
/// `//` counts as `/` (a client whose base URL ends with a slash sends it), but not for pictures: their URLs are
/// cached, and each has one spelling.
///
/// # Errors
/// An unknown address, a known one with another method, or a picture's parameter that is wrong.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, NoRoute> {
    let is_read = matches!(method, "GET" | "HEAD");
    if let Some(request) = PictureRequest::parse(path, query) {
        if !is_read {
            return Err(wrong_method(Methods::Get));
        }
        return request.map(Route::Picture).map_err(|bad| NoRoute {
            problem: Problem::because(
                Code::BadParameter,
                format!("The parameter `{}` {}.", bad.name, bad.why),
            ),
            allow: None,
        });
    }

    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (methods, get, post) = match segments.as_slice() {
        ["health"] => (Methods::Get, Some(Route::Health), None),
        ["auth", "login"] => (Methods::Get, Some(Route::Login), None),
        ["auth", "callback"] => (Methods::Get, Some(Route::Callback), None),
        ["auth", "logout"] => (Methods::Post, None, Some(Route::Logout)),
        ["api", "me"] => (Methods::Get, Some(Route::Me), None),
        ["api", "videos"] => (Methods::GetPost, Some(Route::ListVideos), Some(Route::CreateVideo)),
        ["api", "videos", video] => match video.parse() {
            Ok(video) => (Methods::Get, Some(Route::ShowVideo(video)), None),
            Err(_) => return Err(not_found()),
        },
        ["s3", "params"] => (Methods::Get, Some(Route::UppyParams), None),
        _ => return Err(not_found()),
    };
    let found = match method {
        _ if is_read => get,
        "POST" => post,
        _ => None,
    };
    found.ok_or_else(|| wrong_method(methods))
}

fn not_found() -> NoRoute {
    NoRoute { problem: Problem::new(Code::NotFound), allow: None }
}

fn wrong_method(methods: Methods) -> NoRoute {
    let allow = methods.allow();
    NoRoute {
        problem: Problem::because(Code::MethodNotAllowed, format!("This address answers {allow}.")),
        allow: Some(allow),
    }
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
    fn cors_answers_for_every_spelling_that_is_routed() {
        for path in ["/api/me", "//s3/params", "///s3//params", "/auth/login"] {
            assert!(is_api(path), "{path}");
        }
        for path in ["/", "/health", "/7zzzzzzzzz0123456789abcdef/thumbnail.jpg", "/apis/me", "/x/api/me"] {
            assert!(!is_api(path), "{path}");
        }
    }

    #[test]
    fn addresses() {
        let video: VideoId = VIDEO.parse().unwrap();
        check("GET", "/api/videos", &Ok(Route::ListVideos));
        check("POST", "/api/videos", &Ok(Route::CreateVideo));
        check("GET", "/api/videos/{v}", &Ok(Route::ShowVideo(video)));
        check("HEAD", "/api/me", &Ok(Route::Me));
        check("GET", "//s3/params?filename=a", &Ok(Route::UppyParams));
        check("GET", "/s3//params", &Ok(Route::UppyParams));
        check("POST", "/auth/logout", &Ok(Route::Logout));
        check("GET", "/auth/logout", &Err(Code::MethodNotAllowed));
        check("DELETE", "/api/videos", &Err(Code::MethodNotAllowed));
        check("POST", "/{v}/thumbnail.jpg", &Err(Code::MethodNotAllowed));
        check("GET", "/{v}/thumbnail.jpg?time=01", &Err(Code::BadParameter));
        check("GET", "/{v}/thumbnail.avif", &Err(Code::BadParameter));
        check("GET", "/{v}/thumbnail-width_200.jpg", &Err(Code::NotFound));
        check("GET", "/api/videos/..%2f{v}", &Err(Code::NotFound));
        check("GET", "/api/videos/{v}/x", &Err(Code::NotFound));
        check("GET", "//{v}/thumbnail.jpg", &Err(Code::NotFound));
        check("GET", "/{v}/thumbnail.jpg/x.css", &Err(Code::NotFound));
        check("GET", "/API/me", &Err(Code::NotFound));
        check("GET", "/s3/sts", &Err(Code::NotFound));
        check("GET", "/", &Err(Code::NotFound));
    }
}
