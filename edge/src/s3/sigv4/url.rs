//! URLs of the bucket and its objects: virtual-hosted on AWS, path style on any other endpoint.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters are kept; SigV4 requires everything else to be escaped,
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
const QUERY_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, the slash is kept as well.
const PATH_ESCAPES: &AsciiSet = &QUERY_ESCAPES.remove(b'/');

/// Encodes a key for the path of a URL.
pub fn encode_path(key: &str) -> String {
    Cow::from(utf8_percent_encode(key, PATH_ESCAPES)).into_owned()
}

/// Encodes a name or value for the query of a URL: the only encoder of both the signed and the sent text.
pub fn encode_query_value(value: &str) -> String {
    Cow::from(utf8_percent_encode(value, QUERY_ESCAPES)).into_owned()
}

/// The location of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Bucket {
    /// Its name, which a POST policy contains.
    pub name: String,
    /// The region in the scope of signatures.
    pub region: String,
    base_url: String,
}

impl S3Bucket {
    /// A bucket on AWS: `https://{name}.s3.{region}.amazonaws.com`.
    pub fn virtual_hosted(name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            base_url: format!("https://{name}.s3.{region}.amazonaws.com"),
        }
    }

    /// A bucket on another endpoint, path style: `{endpoint}/{name}`.
    pub fn path_style(endpoint: &str, name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            base_url: format!("{}/{name}", endpoint.trim_end_matches('/')),
        }
    }

    /// The URL of the bucket. It ends with a slash: Uppy appends the key to it as it is.
    pub fn bucket_url(&self) -> String {
        format!("{}/", self.base_url)
    }

    /// The URL of an object, percent-encoded once and not normalized: `//` and `..` in a key stay as they are.
    pub fn object_url(&self, key: &str) -> String {
        format!("{}/{}", self.base_url, encode_path(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_pinned() {
        let aws = S3Bucket::virtual_hosted("clips", "eu-central-1");
        assert_eq!(
            aws.object_url("uploads/a b"),
            "https://clips.s3.eu-central-1.amazonaws.com/uploads/a%20b"
        );
        let local = S3Bucket::path_style("http://127.0.0.1:9000/", "clips", "us-east-1");
        assert_eq!(local.bucket_url(), "http://127.0.0.1:9000/clips/");
        assert_eq!(local.object_url("a//ü+~"), "http://127.0.0.1:9000/clips/a//%C3%BC%2B~");
    }
}
