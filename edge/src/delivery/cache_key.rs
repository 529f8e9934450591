//! Decides where a picture lies in the cache, and which requests the cache answers by itself. Pure.

use glimpse_contract::PictureRequest;

use crate::config::Config;
use crate::delivery::cache_policy::check_open;
use crate::delivery::negotiate::negotiated;
use crate::delivery::signed_url::{Carried, take_apart};
use crate::http::route::{self, Route};

/// Where private pictures lie in the cache, below this deployment's own address: no video is called so.
pub(super) const PRIVATE_FOLDER: &str = "/private";

/// Where a picture lies in the cache: public ones at their own address, private ones where no address leads.
pub(super) fn place(config: &Config, wanted: &PictureRequest, is_private: bool) -> String {
    let folder = if is_private { PRIVATE_FOLDER } else { "" };
    [&config.public_url, folder, wanted.canonical().as_str()].concat()
}

/// Where it is noted for some minutes that a picture cannot be made.
pub(super) fn refusal_place(config: &Config, wanted: &PictureRequest, is_private: bool) -> String {
    let folder = if is_private { "/private" } else { "/public" };
    let bare = PictureRequest { revision: None, ..wanted.clone() };
    [&config.public_url, PRIVATE_FOLDER, "/refused", folder, bare.canonical().as_str()].concat()
}

/// Where the cache has the whole answer to a request if it has the picture, and if that is public: whoever asks gets the
/// same. `None` for everything else, and for what is answered without a look into the cache.
pub fn entry_for_all(method: &str, path: &str, query: Option<&str>, config: &Config) -> Option<String> {
    let is_proven = !matches!(take_apart(query.unwrap_or_default()), Ok(Carried::Nothing));
    let is_for_few = is_proven || route::is_api(path) || route::split_token(path).0.is_some();
    // What follows from `Accept` says so in `Vary`, which is not stored.
    if method != "GET" || is_for_few || route::is_document(path) || negotiated(path, || None).is_some() {
        return None;
    }
    match route::route(method, path, query) {
        Ok(Route::Picture(wanted)) if check_open(wanted.variant, config).is_ok() => {
            Some(place(config, &wanted, false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;
    use crate::config::tests::{example, with};

    fn entry(method: &str, path: &str, query: Option<&str>) -> Option<String> {
        let config = with(&[("PUBLIC_WIDTHS", "320, 640")]);
        let path = path.replace("{video}", &VideoId::new(1, [1; 10]).to_string());
        entry_for_all(method, &path, query, &config)
    }

    #[test]
    fn what_is_the_same_for_all_is_the_caches_to_answer() {
        let video = VideoId::new(1, [1; 10]);
        let stored = |rest| Some(format!("{}/{video}/{rest}", example().public_url));
        assert_eq!(entry("GET", "/{video}/thumbnail.jpg", None), stored("thumbnail.jpg"));
        let twisted = entry("GET", "/{video}/thumbnail.jpg", Some("width=320&time=2.0"));
        assert_eq!(twisted, stored("thumbnail.jpg?time=2&width=320"));
        assert_eq!(entry("GET", "/{video}/storyboard.vtt", None), stored("storyboard.vtt"));
    }

    #[test]
    fn everything_else_is_looked_at_first() {
        let not = |method, path, query| assert_eq!(entry(method, path, query), None, "{method} {path}");
        not("HEAD", "/{video}/thumbnail.jpg", None);
        not("GET", "/{video}/thumbnail", None);
        not("GET", "/{video}/thumbnail.jpg", Some("width=321"));
        not("GET", "/{video}/thumbnail.jpg", Some("wide=320"));
        not("GET", "/{video}/thumbnail.jpg", Some("token=a.b.c"));
        not("GET", "/{video}/thumbnail.jpg", Some("expires=1&kid=a&sig=b"));
        not("GET", "/{video}/thumbnail.jpg", Some("expires=1"));
        not("GET", "/u/abc/{video}/thumbnail.jpg", None);
        not("GET", "/{video}/original", None);
        not("GET", "/{video}/meta.json", None);
        not("GET", "/{video}", None);
        not("GET", "/private/{video}/thumbnail.jpg", None);
        not("GET", "/api/videos", None);
    }
}
