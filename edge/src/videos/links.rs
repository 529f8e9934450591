//! Links to images in API responses: the owner of a private video gets signed links. Pure.

use glimpse_contract::{Visibility, video};

use crate::auth::DeliveryKeys;
use crate::config::Config;

/// The minimum lifetime of links to a private video, in seconds. They expire at the end of an hour, so that they stay
/// the same for a while, and the browser's cache can be used.
const LINK_SECS: u64 = 60 * 60;

/// Builds the URLs of a video's images.
#[derive(Debug, Clone, Copy)]
pub struct SignedLinks<'a> {
    public_url: &'a str,
    keys: &'a DeliveryKeys,
    now_ms: u64,
}

impl<'a> SignedLinks<'a> {
    /// Links of this deployment.
    pub fn new(config: &'a Config, now_ms: u64) -> Self {
        Self { public_url: &config.public_url, keys: &config.delivery_keys, now_ms }
    }
}

impl video::LinkBuilder for SignedLinks<'_> {
    fn public_url(&self) -> &str {
        self.public_url
    }

    /// Signs the path for the owner of a private video, if this deployment has a secret.
    fn signed_path(&self, path: String, visibility: Option<Visibility>) -> String {
        if visibility != Some(Visibility::Signed) {
            return path;
        }
        let expires_at_secs = (self.now_ms / 1000 / LINK_SECS + 2) * LINK_SECS;
        self.keys.sign_url(&path, expires_at_secs).unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_contract::VideoId;
    use glimpse_contract::video::{UploadDetails, Video};

    use super::*;
    use crate::auth::Secret;

    #[test]
    fn private_links_are_signed_for_one_to_two_hours() {
        let keys = DeliveryKeys { secrets: vec![("a".into(), Secret::new(vec![1; 32]))], public: Vec::new() };
        let thumbnail_url = |now_ms, visibility| {
            let links = SignedLinks { public_url: "https://v.example", keys: &keys, now_ms };
            let uploaded = UploadDetails { visibility: Some(visibility), ..UploadDetails::default() };
            let id = VideoId::new(1_700_000_000_000, [1; 10]);
            let video = Video::uploading(id, uploaded, &links).to_json().to_string();
            serde_json::from_str::<serde_json::Value>(&video).unwrap()["urls"]["thumbnail.jpg"].to_string()
        };
        let signed = |now_ms| thumbnail_url(now_ms, Visibility::Signed);
        assert!(signed(3_600_000).contains("?expires=10800&kid=a&sig="), "{}", signed(3_600_000));
        assert_eq!(signed(3_600_000), signed(7_199_999), "the same for an hour");
        assert_ne!(signed(3_600_000), signed(7_200_000));
        let public = thumbnail_url(0, Visibility::Public);
        assert!(public.ends_with("/thumbnail.jpg\""), "{public}");
    }
}
