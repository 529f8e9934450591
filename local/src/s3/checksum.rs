//! Checksums of a body: computes them and compares them with the client's.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto;

/// Checksums by algorithm, in base64 as in the headers.
pub(crate) type Checksums = BTreeMap<ChecksumAlgorithm, String>;

/// An algorithm of `x-amz-checksum-*`,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

impl ChecksumAlgorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64nvme, Self::Sha1, Self::Sha256];

    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Parses a name as in `x-amz-checksum-algorithm` and similar headers.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

/// Collects the checksum members of one of s3s's inputs.
macro_rules! checksums_of {
    ($input:expr) => {
        $crate::s3::checksum::collect([
            ($crate::s3::checksum::ChecksumAlgorithm::Crc32, &$input.checksum_crc32),
            ($crate::s3::checksum::ChecksumAlgorithm::Crc32c, &$input.checksum_crc32c),
            ($crate::s3::checksum::ChecksumAlgorithm::Crc64nvme, &$input.checksum_crc64nvme),
            ($crate::s3::checksum::ChecksumAlgorithm::Sha1, &$input.checksum_sha1),
            ($crate::s3::checksum::ChecksumAlgorithm::Sha256, &$input.checksum_sha256),
        ])
    };
}
/// Sets the checksum members of one of s3s's outputs.
macro_rules! set_checksums {
    ($output:expr, $checksums:expr) => {{
        let get = |algorithm| $checksums.get(&algorithm).cloned();
        $output.checksum_crc32 = get($crate::s3::checksum::ChecksumAlgorithm::Crc32);
        $output.checksum_crc32c = get($crate::s3::checksum::ChecksumAlgorithm::Crc32c);
        $output.checksum_crc64nvme = get($crate::s3::checksum::ChecksumAlgorithm::Crc64nvme);
        $output.checksum_sha1 = get($crate::s3::checksum::ChecksumAlgorithm::Sha1);
        $output.checksum_sha256 = get($crate::s3::checksum::ChecksumAlgorithm::Sha256);
    }};
}
pub(crate) use {checksums_of, set_checksums};

pub(crate) fn collect(members: [(ChecksumAlgorithm, &Option<String>); 5]) -> Checksums {
    members.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value.clone()?))).collect()
}

/// The checksums in a header map.
pub(crate) fn from_headers(headers: &HeaderMap) -> Checksums {
    from_texts(|name| Some(headers.get(name)?.to_str().ok()?.trim().to_owned()))
}

/// The checksums in the values of those headers, by name.
pub(crate) fn from_texts(lookup: impl Fn(&str) -> Option<String>) -> Checksums {
    ChecksumAlgorithm::ALL
        .into_iter()
        .filter_map(|algorithm| Some((algorithm, lookup(algorithm.header())?)))
        .collect()
}

/// Computes several checksums in one pass.
pub(crate) struct ChecksumHashers(ChecksumHasher);

impl ChecksumHashers {
    pub(crate) fn new(algorithms: impl IntoIterator<Item = ChecksumAlgorithm>) -> Self {
        let mut hasher = ChecksumHasher::default();
        for algorithm in algorithms {
            match algorithm {
                ChecksumAlgorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
                ChecksumAlgorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
                ChecksumAlgorithm::Crc64nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
                ChecksumAlgorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
                ChecksumAlgorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
            }
        }
        Self(hasher)
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self) -> Checksums {
        let checksums: dto::Checksum = self.0.finalize();
        checksums_of!(checksums)
    }
}

/// S3's checksum of checksums for a multipart object: over the parts' raw digests, with their number. `None` if a part
/// has no checksum of that algorithm.
pub(crate) fn composite_checksum<'a>(
    algorithm: ChecksumAlgorithm,
    parts: impl ExactSizeIterator<Item = &'a Checksums>,
) -> Option<String> {
    let count = parts.len();
    let mut hashers = ChecksumHashers::new([algorithm]);
    for part in parts {
        hashers.update(&STANDARD.decode(part.get(&algorithm)?).ok()?);
    }
    Some(format!("{}-{count}", hashers.finish().remove(&algorithm)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_known_values() {
        // The check values of the CRC catalogue over "123456789", and the digests of FIPS 180.
        let mut hashers = ChecksumHashers::new(ChecksumAlgorithm::ALL);
        hashers.update(b"123456789");
        let sums = hashers.finish();
        for (algorithm, hex_text) in [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            assert_eq!(sums[&algorithm], STANDARD.encode(hex::decode(hex_text).unwrap()), "{algorithm:?}");
            assert_eq!(ChecksumAlgorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
        }
    }

    #[test]
    fn composite_requires_every_part() {
        let mut hashers = ChecksumHashers::new([ChecksumAlgorithm::Sha256]);
        hashers.update(b"part");
        let part = hashers.finish();
        assert!(
            composite_checksum(ChecksumAlgorithm::Sha256, [&part, &part].into_iter())
                .unwrap()
                .ends_with("-2")
        );
        assert_eq!(composite_checksum(ChecksumAlgorithm::Crc32, [&part].into_iter()), None);
    }
}
