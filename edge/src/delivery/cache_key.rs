//! Cache keys of images, and the requests that can be answered from the cache alone. Pure.

use glimpse_contract::VariantRequest;

use crate::config::Config;
use crate::delivery::cache_policy::check_public_variant;
use crate::delivery::negotiate::is_negotiable;
use crate::delivery::signed_url::{UrlCredential, parse_credential};
use crate::http::route::{self, PublicRoute, Route};

/// The path prefix of private images in the cache, below the URL of this deployment: it is not a valid video id.
pub(super) const PRIVATE_PREFIX: &str = "/private";

/// The cache key of an image: public images have their own URL, private ones a path that no public URL maps to.
pub(super) fn cache_key(config: &Config, wanted: &VariantRequest, is_private: bool) -> String {
    let folder = if is_private { PRIVATE_PREFIX } else { "" };
    [&config.public_url, folder, wanted.canonical().as_str()].concat()
}

/// The cache key of the record that an image cannot be rendered.
pub(super) fn failure_cache_key(config: &Config, wanted: &VariantRequest, is_private: bool) -> String {
    let folder = if is_private { "/private" } else { "/public" };
    let bare = VariantRequest { revision: None, ..wanted.clone() };
    [&config.public_url, PRIVATE_PREFIX, "/refused", folder, bare.canonical().as_str()].concat()
}

/// The cache key whose entry, if it is a public image, is the complete response for every caller. `None` for all other
/// requests, and for those that are answered without a cache lookup.
pub fn public_cache_key(method: &str, path: &str, query: Option<&str>, config: &Config) -> Option<String> {
    // A response that depends on `Accept` has `Vary`, and is not stored.
    if method != "GET" || route::is_api(path) || route::is_document(path) || is_negotiable(path) {
        return None;
    }
    if !matches!(parse_credential(query.unwrap_or_default()), Ok(UrlCredential::Absent)) {
        return None;
    }
    match route::route(method, path, query) {
        Ok(Route::Public(PublicRoute::Variant(wanted)))
            if check_public_variant(wanted.variant, config).is_ok() =>
        {
            Some(cache_key(config, &wanted, false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;

    use super::*;
    use crate::testing::{example_config, example_config_with};

    fn cache_key_for(method: &str, path: &str, query: Option<&str>) -> Option<String> {
        let config = example_config_with(&[("PUBLIC_WIDTHS", "320, 640")]);
        let path = path.replace("{video}", &VideoId::new(1, [1; 10]).to_string());
        public_cache_key(method, &path, query, &config)
    }

    #[test]
    fn public_pictures_have_a_cache_key() {
        let video = VideoId::new(1, [1; 10]);
        let stored = |rest| Some(format!("{}/{video}/{rest}", example_config().public_url));
        assert_eq!(cache_key_for("GET", "/{video}/thumbnail.jpg", None), stored("thumbnail.jpg"));
        let reordered = cache_key_for("GET", "/{video}/thumbnail.jpg", Some("width=320&time=2.0"));
        assert_eq!(reordered, stored("thumbnail.jpg?time=2&width=320"));
        assert_eq!(cache_key_for("GET", "/{video}/storyboard.vtt", None), stored("storyboard.vtt"));
    }

    #[test]
    fn other_requests_have_no_public_cache_key() {
        let assert_no_key =
            |method, path, query| assert_eq!(cache_key_for(method, path, query), None, "{method} {path}");
        assert_no_key("HEAD", "/{video}/thumbnail.jpg", None);
        assert_no_key("GET", "/{video}/thumbnail", None);
        assert_no_key("GET", "/{video}/thumbnail.jpg", Some("width=321"));
        assert_no_key("GET", "/{video}/thumbnail.jpg", Some("wide=320"));
        assert_no_key("GET", "/{video}/thumbnail.jpg", Some("token=a.b.c"));
        assert_no_key("GET", "/{video}/thumbnail.jpg", Some("expires=1&kid=a&sig=b"));
        assert_no_key("GET", "/{video}/thumbnail.jpg", Some("expires=1"));
        assert_no_key("GET", "/u/abc/{video}/thumbnail.jpg", None);
        assert_no_key("GET", "/{video}/original", None);
        assert_no_key("GET", "/{video}/meta.json", None);
        assert_no_key("GET", "/{video}", None);
        assert_no_key("GET", "/private/{video}/thumbnail.jpg", None);
        assert_no_key("GET", "/api/videos", None);
    }
}
