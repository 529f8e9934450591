//! Decides which cache entries of a video can be named: those that are forgotten when it is deleted, or its poster changes.
//! Pure.

use glimpse_contract::{Key, Manifest, PictureRequest, Variant, VideoId, revision_of_etag};

use crate::delivery::storyboard_files::is_table;

/// The most pictures beside the defaults that are taken out of the cache by name: each costs a request, and a Worker of
/// Cloudflare's free plan may make 50, <https://developers.cloudflare.com/workers/platform/limits/#subrequests>.
const MOST_OTHERS: usize = 8;

fn request(video: VideoId, variant: Variant) -> PictureRequest {
    PictureRequest { video, variant, revision: None, has_webp_sheet: false }
}

/// What is said about a video where its pictures are named.
fn documents(video: VideoId) -> [String; 2] {
    [format!("/{video}"), format!("/{video}/meta.json")]
}

/// The paths of what shows the poster: the bare default thumbnails, those of the widths that are public, the page.
pub fn bare_thumbnails(video: VideoId, widths: &[u32]) -> Vec<String> {
    let mut names = vec!["thumbnail.jpg".to_owned(), "thumbnail.webp".to_owned()];
    for width in widths {
        for format in ["jpg", "webp"] {
            names.push(format!("thumbnail-width_{width}.{format}"));
        }
    }
    let variants = names.iter().filter_map(|name| Variant::from_file_name(name));
    variants.map(|variant| request(video, variant).canonical()).chain(documents(video)).collect()
}

/// The paths of the pictures behind these keys of a video, bare and with the revisions that its manifest knows, and of the
/// page.
pub fn of_keys(video: VideoId, keys: &[String], manifest: Option<&Manifest>) -> Vec<String> {
    let mut all: Vec<PictureRequest> = Vec::new();
    for output in manifest.map(|manifest| manifest.outputs.as_slice()).unwrap_or_default() {
        if let Some(variant) = Variant::from_file_name(&output.variant) {
            all.push(request(video, variant));
            let revision = revision_of_etag(&output.etag).map(str::to_owned);
            all.push(PictureRequest { revision, ..request(video, variant) });
            if is_table(variant) {
                all.push(PictureRequest { has_webp_sheet: true, ..request(video, variant) });
            }
        }
    }
    let variants = keys.iter().filter_map(|key| match key.parse() {
        Ok(Key::Output(_, variant)) if !variant.is_default() => Some(request(video, variant)),
        _ => None,
    });
    all.extend(variants.take(MOST_OTHERS));
    all.iter().map(PictureRequest::canonical).chain(documents(video)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_named_is_named() {
        let video = VideoId::new(1, [1; 10]);
        let texts = |all: Vec<String>| -> Vec<String> {
            all.iter().map(|path| path.replace(&video.to_string(), "v")).collect()
        };
        assert_eq!(
            texts(bare_thumbnails(video, &[320, 640])),
            [
                "/v/thumbnail.jpg",
                "/v/thumbnail.webp",
                "/v/thumbnail.jpg?width=320",
                "/v/thumbnail.webp?width=320",
                "/v",
                "/v/meta.json"
            ],
            "640 is the default already"
        );
        let manifest = format!(
            r#"{{"version":1,"video":"{video}","owner":"{}","state":"ready","source":{{}},
            "outputs":[{{"variant":"animated.gif","etag":"\"0123456789abcdef\""}},
            {{"variant":"storyboard.vtt","etag":"\"0123456789abcdef\""}}]}}"#,
            glimpse_contract::Owner::of("i", "s")
        );
        let manifest =
            glimpse_contract::Json::read(manifest.as_bytes()).and_then(|json| Manifest::of_json(&json));
        let keys = ["animated.gif", "poster.json", "thumbnail-time_1.jpg"]
            .map(|name| format!("{}{name}", Key::media_of(video)));
        assert_eq!(
            texts(of_keys(video, &keys, manifest.as_ref())),
            [
                "/v/animated.gif",
                "/v/animated.gif?v=01234567",
                "/v/storyboard.vtt",
                "/v/storyboard.vtt?v=01234567",
                "/v/storyboard.vtt?format=webp",
                "/v/thumbnail.jpg?time=1",
                "/v",
                "/v/meta.json"
            ]
        );
        let flood: Vec<_> =
            (1..50).map(|time| format!("{}thumbnail-time_{time}.jpg", Key::media_of(video))).collect();
        assert_eq!(of_keys(video, &flood, None).len(), MOST_OTHERS + 2);
    }
}
