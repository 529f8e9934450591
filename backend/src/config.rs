//! Configuration of the `preview` Lambda from environment variables, checked all at once before it starts.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_credential_types::Credentials;
use thiserror::Error;

use crate::store::s3::S3Config;

/// Path of ffmpeg in the layer.
const FFMPEG: &str = "/opt/bin/ffmpeg";
/// Path of ffprobe in the layer.
const FFPROBE: &str = "/opt/bin/ffprobe";
/// Default memory of a function, in MiB: `PreviewMemory` of template.yaml.
const MEMORY_MIB: u64 = 1769;
/// How many times the queue delivers a message before it moves it to the dead-letter queue: `maxReceiveCount` of its
/// redrive policy.
const MAX_RECEIVES: u32 = 5;

/// All missing and invalid environment variables.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("configuration: {}", .0.join("; "))]
pub struct EnvironmentErrors(pub Vec<String>);

/// The complete configuration. Its `Debug` output contains no secrets.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bucket that sources are read from and outputs are written to, with the credentials.
    pub s3: S3Config,
    /// Paths and limits of ffmpeg and ffprobe.
    pub tools: FfmpegTools,
    /// The delivery of a message at which a failure is recorded as the last one.
    pub max_receives: u32,
}

/// Paths and limits of ffmpeg and ffprobe. The paths are absolute, because child processes start with an empty
/// environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfmpegTools {
    /// Path of ffmpeg.
    pub ffmpeg: PathBuf,
    /// Path of ffprobe.
    pub ffprobe: PathBuf,
    /// Memory for the whole job, in bytes.
    pub memory_bytes: u64,
}

impl FfmpegTools {
    /// These programs, with the memory from the value of `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` in MiB, or the default
    /// function's memory if there is none.
    pub fn new(ffmpeg: PathBuf, ffprobe: PathBuf, memory_mib: Option<&str>) -> Self {
        let memory_mib = memory_mib.and_then(|text| text.parse::<u64>().ok()).unwrap_or(MEMORY_MIB);
        Self { ffmpeg, ffprobe, memory_bytes: memory_mib.saturating_mul(1024 * 1024) }
    }
}

impl Config {
    /// Reads all variables through `lookup`.
    ///
    /// # Errors
    /// All missing and invalid variables at once. Values are not repeated: a value may be a secret that was set under
    /// the wrong name.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentErrors> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut errors = Vec::new();
        let s3 = s3_config(&lookup, &mut errors);
        let max_receives = match get("GLIMPSE_MAX_RECEIVES").map(|text| text.parse::<u32>()) {
            None => MAX_RECEIVES,
            Some(Ok(number)) if (1..=1000).contains(&number) => number,
            Some(_) => {
                errors.push("GLIMPSE_MAX_RECEIVES is not a number from 1 to 1000".into());
                MAX_RECEIVES
            }
        };
        let path_var = get("PATH").unwrap_or_default();
        let tool = |name: &str, default: &str| {
            let name_or_path = get(name).unwrap_or_else(|| default.to_owned());
            // A missing layer is reported for every video (`no_decoder`). A failure at startup would appear only in the
            // log.
            find_executable(&name_or_path, &path_var).unwrap_or_else(|| name_or_path.into())
        };
        let (ffmpeg, ffprobe) = (tool("GLIMPSE_FFMPEG", FFMPEG), tool("GLIMPSE_FFPROBE", FFPROBE));
        let tools = FfmpegTools::new(ffmpeg, ffprobe, get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").as_deref());

        if !errors.is_empty() {
            return Err(EnvironmentErrors(errors));
        }
        Ok(Self { s3, tools, max_receives })
    }
}

impl fmt::Display for FfmpegTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.ffmpeg.display(), self.ffprobe.display())
    }
}

/// A required value. If it is missing, an error is added to `errors` and the result is empty.
pub(crate) fn require(
    lookup: impl Fn(&str) -> Option<String>,
    name: &str,
    errors: &mut Vec<String>,
) -> String {
    lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| {
        errors.push(format!("{name} is missing"));
        String::new()
    })
}

/// An optional origin. If it is invalid, an error is added to `errors`.
pub(crate) fn optional_origin(
    lookup: impl Fn(&str) -> Option<String>,
    name: &str,
    errors: &mut Vec<String>,
) -> Option<String> {
    let origin = lookup(name).filter(|value| !value.is_empty());
    if origin.as_deref().is_some_and(|url| !is_origin(url)) {
        errors.push(format!("{name} is not an http or https origin"));
    }
    origin
}

/// The bucket and its credentials; missing and invalid values are added to `errors`. Lambda renews the credentials of
/// the role by replacing the process.
pub(crate) fn s3_config(lookup: impl Fn(&str) -> Option<String>, errors: &mut Vec<String>) -> S3Config {
    let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let [region, key_id, secret, bucket] =
        ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET"]
            .map(|name| require(&lookup, name, errors));
    let endpoint = optional_origin(&lookup, "AWS_ENDPOINT_URL_S3", errors);
    let credentials = Credentials::new(key_id, secret, get("AWS_SESSION_TOKEN"), None, "environment");
    S3Config { region, credentials, endpoint, bucket }
}

/// `S3_ON_DEMAND_TAG`: the tag of on-demand images, `name=value`; `None` if it is not set.
///
/// # Errors
/// The value is not `name=value`.
pub fn on_demand_tag(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>, EnvironmentErrors> {
    let Some(tag) = lookup("S3_ON_DEMAND_TAG").filter(|value| !value.is_empty()) else { return Ok(None) };
    // Characters that need no escaping in the query string of the header.
    let is_word = |word: &str| {
        (1..=100).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match tag.split_once('=') {
        Some((name, value)) if is_word(name) && is_word(value) => Ok(Some(tag)),
        _ => Err(EnvironmentErrors(vec!["S3_ON_DEMAND_TAG is not name=value".to_owned()])),
    }
}

/// Whether this is an http or https origin and nothing more.
pub(crate) fn is_origin(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    })
}

/// Resolves a program: returns an absolute path as it is, and searches a bare name in `path_var` (the value of PATH).
/// `None` if the result is not a file.
pub fn find_executable(name_or_path: &str, path_var: &str) -> Option<PathBuf> {
    let path = Path::new(name_or_path);
    if path.is_absolute() {
        return path.is_file().then(|| path.to_owned());
    }
    if path.components().count() != 1 {
        return None;
    }
    std::env::split_paths(path_var)
        .map(|folder| folder.join(path))
        .find(|path| path.is_absolute() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_demand_tag_is_name_and_value() {
        let read = |text: &str| on_demand_tag(|_| Some(text.to_owned())).map_err(|error| error.to_string());
        assert_eq!(read("glimpse=on-demand"), Ok(Some("glimpse=on-demand".into())));
        assert_eq!(read(""), Ok(None));
        for wrong in ["glimpse", "=x", "a=", "a=b&c=d", "a=b=c", "a=ü", "a b=c"] {
            assert!(read(wrong).is_err_and(|error| !error.contains(wrong)), "{wrong}");
        }
    }

    const GOOD: &[(&str, &str)] = &[
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "very-secret-key"),
        ("AWS_SESSION_TOKEN", "very-secret-token"),
        ("S3_BUCKET", "glimpse"),
        ("GLIMPSE_FFMPEG", "/bin/sh"),
        ("GLIMPSE_FFPROBE", "sh"),
        ("PATH", "/nowhere:/bin"),
    ];

    fn config_with(changes: &[(&str, &str)]) -> Result<Config, EnvironmentErrors> {
        Config::from_lookup(|name| {
            changes.iter().chain(GOOD).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn reads_complete_environment() {
        let config = config_with(&[]).unwrap();
        assert_eq!(
            (config.s3.bucket.as_str(), config.max_receives, config.s3.endpoint),
            ("glimpse", 5, None)
        );
        assert_eq!(config.tools.ffprobe, Path::new("/bin/sh"), "a bare name is searched in PATH");
    }

    #[test]
    fn memory_follows_function_size() {
        for (value, mib) in [("3538", 3538), ("", 1769), ("much", 1769)] {
            let config = config_with(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", value)]).unwrap();
            assert_eq!(config.tools.memory_bytes, mib * 1024 * 1024, "{value}");
        }
    }

    #[test]
    fn reports_all_bad_names_at_once() {
        let error = Config::from_lookup(|name| (name == "GLIMPSE_MAX_RECEIVES").then(|| "many".to_owned()));
        let text = error.unwrap_err().to_string();
        for name in
            ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET", "GLIMPSE_MAX_RECEIVES"]
        {
            assert!(text.contains(name), "{name} is missing from: {text}");
        }
    }

    #[test]
    fn rejects_bad_values() {
        for (name, value) in [
            ("AWS_ENDPOINT_URL_S3", "ftp://h"),
            ("AWS_ENDPOINT_URL_S3", "http://u:p@h"),
            ("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000"),
            ("AWS_ENDPOINT_URL_S3", "http://h/path"),
            ("GLIMPSE_MAX_RECEIVES", "0"),
            ("GLIMPSE_MAX_RECEIVES", "-1"),
            ("S3_BUCKET", ""),
        ] {
            let error = config_with(&[(name, value)]).expect_err(value);
            assert!(error.0.len() == 1 && error.0[0].starts_with(name), "{name}={value}: {error}");
        }
        assert!(config_with(&[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")]).is_ok());
    }

    #[test]
    fn starts_without_ffmpeg_layer() {
        for (value, expected) in [("/nowhere/ffmpeg", "/nowhere/ffmpeg"), ("", FFMPEG)] {
            let config = config_with(&[("GLIMPSE_FFMPEG", value)]).unwrap();
            assert_eq!(config.tools.ffmpeg, Path::new(expected));
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let text = format!("{:?} {:#?}", config_with(&[]), config_with(&[]));
        assert!(text.contains("AKIDEXAMPLE"), "not the Debug output of the configuration: {text}");
        assert!(!text.contains("very-secret"), "{text}");
    }
}
