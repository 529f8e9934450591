//! Parses versions in the output of `--version`.

use std::fmt;

/// Major, minor, patch. A suffix such as `-nightly` is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// The first version in `text`: `v20.20.2`, `wasm-bindgen 0.2.130`, `rustc 1.95.0 (5980…)`.
    pub(crate) fn find_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let word = word.split(['-', '+']).next().unwrap_or_default();
            let mut numbers = word.split('.').map(|part| part.parse().ok());
            let version = Self(numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?);
            numbers.next().is_none().then_some(version)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_version_in_program_output() {
        const CASES: &[(&str, Option<Version>)] = &[
            ("v20.20.2", Some(Version(20, 20, 2))),
            ("wasm-bindgen 0.2.130", Some(Version(0, 2, 130))),
            ("wrangler 4.156.0\n", Some(Version(4, 156, 0))),
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(Version(1, 95, 0))),
            ("cargo 1.97.0-nightly (abc 2026-05-01)", Some(Version(1, 97, 0))),
            ("GNU ld 2.40", Some(Version(2, 40, 0))),
            ("ffmpeg version n7", None),
            ("1.2.3.4", None),
            ("", None),
        ];
        for (text, expected) in CASES {
            assert_eq!(Version::find_in(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn compares_by_number() {
        assert!(Version(0, 2, 130) > Version(0, 2, 99));
        assert!(Version(20, 0, 0) > Version(19, 99, 99));
    }
}
