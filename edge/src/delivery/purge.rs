//! URL paths of the cache entries of a video that are purged when it is deleted or its poster changes. Pure.

use glimpse_contract::{Key, Manifest, Variant, VariantRequest, VideoId, revision_from_etag};

/// The most images beside the defaults that are purged by URL: each costs a request, and a Worker of Cloudflare's free
/// plan may make 50, <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
const MAX_VARIANT_PATHS: usize = 8;

fn unversioned_request(video: VideoId, variant: Variant) -> VariantRequest {
    VariantRequest { video, variant, revision: None, has_webp_sheet: false }
}

/// The paths of the documents that contain the URLs of a video's images.
fn document_paths(video: VideoId) -> [String; 2] {
    [format!("/{video}"), format!("/{video}/meta.json")]
}

/// The paths that show the poster: the unversioned default thumbnails, those of the public widths, and the page.
pub fn poster_paths(video: VideoId, widths: &[u32]) -> Vec<String> {
    let mut names = vec!["thumbnail.jpg".to_owned(), "thumbnail.webp".to_owned()];
    for width in widths {
        for format in ["jpg", "webp"] {
            names.push(format!("thumbnail-width_{width}.{format}"));
        }
    }
    let variants = names.iter().filter_map(|name| Variant::from_file_name(name));
    variants
        .map(|variant| unversioned_request(video, variant).canonical())
        .chain(document_paths(video))
        .collect()
}

/// The paths of the images with these keys of a video, unversioned and with the revisions in its manifest, and of the
/// page.
pub fn paths_for_keys(video: VideoId, keys: &[String], manifest: Option<&Manifest>) -> Vec<String> {
    let mut all: Vec<VariantRequest> = Vec::new();
    for output in manifest.map(|manifest| manifest.outputs.as_slice()).unwrap_or_default() {
        if let Some(variant) = Variant::from_file_name(&output.variant) {
            all.push(unversioned_request(video, variant));
            let revision = revision_from_etag(&output.etag).map(str::to_owned);
            all.push(VariantRequest { revision, ..unversioned_request(video, variant) });
            if variant.format().is_table() {
                all.push(VariantRequest { has_webp_sheet: true, ..unversioned_request(video, variant) });
            }
        }
    }
    let variants = keys.iter().filter_map(|key| match key.parse() {
        Ok(Key::Output(_, variant)) if variant.is_made_on_demand() => Some(variant),
        _ => None,
    });
    let requests = variants.flat_map(|variant| {
        let request = unversioned_request(video, variant);
        let has_table = variant.format().is_table();
        let table = has_table.then(|| VariantRequest { has_webp_sheet: true, ..request.clone() });
        std::iter::once(request).chain(table)
    });
    let requests: Vec<_> =
        requests.filter(|request| !all.contains(request)).take(MAX_VARIANT_PATHS).collect();
    all.extend(requests);
    all.iter().map(VariantRequest::canonical).chain(document_paths(video)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_paths_of_all_cached_variants() {
        let video = VideoId::new(1, [1; 10]);
        let without_id = |all: Vec<String>| -> Vec<String> {
            all.iter().map(|path| path.replace(&video.to_string(), "v")).collect()
        };
        assert_eq!(
            without_id(poster_paths(video, &[320, 640])),
            [
                "/v/thumbnail.jpg",
                "/v/thumbnail.webp",
                "/v/thumbnail.jpg?width=320",
                "/v/thumbnail.webp?width=320",
                "/v",
                "/v/meta.json"
            ],
            "640 is already the default"
        );
        let manifest = format!(
            r#"{{"version":1,"video":"{video}","owner":"{}","state":"ready","source":{{}},
            "outputs":[{{"variant":"animated.gif","etag":"\"0123456789abcdef\""}},
            {{"variant":"storyboard.vtt","etag":"\"0123456789abcdef\""}}]}}"#,
            glimpse_contract::Owner::new("i", "s")
        );
        let manifest =
            glimpse_contract::Json::parse(manifest.as_bytes()).and_then(|json| Manifest::from_json(&json));
        // The MP4 was made on demand: the manifest of an earlier version does not name it.
        let keys = [
            "animated.gif",
            "animated.mp4",
            "poster.json",
            "storyboard.m3u8",
            "thumbnail-time_1.jpg",
            "clip-start_0-end_10.mp4",
        ]
        .map(|name| format!("{}{name}", Key::media_prefix(video)));
        assert_eq!(
            without_id(paths_for_keys(video, &keys, manifest.as_ref())),
            [
                "/v/animated.gif",
                "/v/animated.gif?v=01234567",
                "/v/storyboard.vtt",
                "/v/storyboard.vtt?v=01234567",
                "/v/storyboard.vtt?format=webp",
                "/v/animated.mp4",
                "/v/storyboard.m3u8",
                "/v/storyboard.m3u8?format=webp",
                "/v/thumbnail.jpg?time=1",
                "/v/clip.mp4?start=0&end=10",
                "/v",
                "/v/meta.json"
            ]
        );
        let many_keys: Vec<_> =
            (1..50).map(|time| format!("{}thumbnail-time_{time}.jpg", Key::media_prefix(video))).collect();
        assert_eq!(paths_for_keys(video, &many_keys, None).len(), MAX_VARIANT_PATHS + 2);
    }
}
