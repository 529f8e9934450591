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

/// Reads environment variables and collects the errors of all of them. An empty value counts as none.
pub(crate) struct EnvReader<L> {
    lookup: L,
    errors: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> EnvReader<L> {
    pub(crate) fn new(lookup: L) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// The value of a variable.
    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable that must be set. If it is not, that is an error and the result is empty.
    pub(crate) fn require(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.reject(format!("{name} is missing"));
            String::new()
        })
    }

    /// The value of a variable that must be an origin if it is set.
    pub(crate) fn optional_origin(&mut self, name: &str) -> Option<String> {
        let origin = self.optional(name);
        if origin.as_deref().is_some_and(|url| !is_origin(url)) {
            self.reject(format!("{name} is not an http or https origin"));
        }
        origin
    }

    /// Adds an error, which must not repeat a value: it may be a secret that was set under the wrong name.
    pub(crate) fn reject(&mut self, why: impl Into<String>) {
        self.errors.push(why.into());
    }

    /// The configuration that was read, if there were no errors.
    pub(crate) fn finish<T>(self, config: T) -> Result<T, EnvironmentErrors> {
        if self.errors.is_empty() { Ok(config) } else { Err(self.into_errors()) }
    }

    /// The errors, of which there is at least one.
    pub(crate) fn into_errors(self) -> EnvironmentErrors {
        EnvironmentErrors(self.errors)
    }
}

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
        let mut env = EnvReader::new(lookup);
        let config = Self::from_env(&mut env);
        env.finish(config)
    }

    /// Reads the variables of a configuration that is part of a larger one.
    pub(crate) fn from_env<L: Fn(&str) -> Option<String>>(env: &mut EnvReader<L>) -> Self {
        let s3 = S3Config::from_env(env);
        let max_receives = match env.optional("GLIMPSE_MAX_RECEIVES").map(|text| text.parse::<u32>()) {
            None => MAX_RECEIVES,
            Some(Ok(number)) if (1..=1000).contains(&number) => number,
            Some(_) => {
                env.reject("GLIMPSE_MAX_RECEIVES is not a number from 1 to 1000");
                MAX_RECEIVES
            }
        };
        let path_var = env.optional("PATH").unwrap_or_default();
        let tool = |name: &str, default: &str| {
            let name_or_path = env.optional(name).unwrap_or_else(|| default.to_owned());
            // A missing layer is reported for every video (`no_decoder`). A failure at startup would appear only in the
            // log.
            find_executable(&name_or_path, &path_var).unwrap_or_else(|| name_or_path.into())
        };
        let (ffmpeg, ffprobe) = (tool("GLIMPSE_FFMPEG", FFMPEG), tool("GLIMPSE_FFPROBE", FFPROBE));
        let memory_mib = env.optional("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        let tools = FfmpegTools::new(ffmpeg, ffprobe, memory_mib.as_deref());
        Self { s3, tools, max_receives }
    }
}

impl fmt::Display for FfmpegTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.ffmpeg.display(), self.ffprobe.display())
    }
}

impl S3Config {
    /// Reads the bucket and its credentials. Lambda renews the credentials of the role by replacing the process.
    pub(crate) fn from_env<L: Fn(&str) -> Option<String>>(env: &mut EnvReader<L>) -> Self {
        let [region, key_id, secret, bucket] =
            ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET"]
                .map(|name| env.require(name));
        let endpoint = env.optional_origin("AWS_ENDPOINT_URL_S3");
        let session_token = env.optional("AWS_SESSION_TOKEN");
        let credentials = Credentials::new(key_id, secret, session_token, None, "environment");
        Self { region, credentials, endpoint, bucket }
    }
}

/// `S3_ON_DEMAND_TAG`: the tag of on-demand images, `name=value`; `None` if it is not set.
///
/// # Errors
/// The value is not `name=value`.
pub fn on_demand_tag(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>, EnvironmentErrors> {
    let mut env = EnvReader::new(lookup);
    let tag = env.optional("S3_ON_DEMAND_TAG");
    // Characters that need no escaping in the query string of the header.
    let is_word = |word: &str| {
        (1..=100).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let is_tag = |tag: &str| tag.split_once('=').is_some_and(|(name, value)| is_word(name) && is_word(value));
    if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
        env.reject("S3_ON_DEMAND_TAG is not name=value");
    }
    env.finish(tag)
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

    #[test]
    fn env_reader_collects_all_errors() {
        let mut env = EnvReader::new(|name: &str| match name {
            "EMPTY" => Some(String::new()),
            "ORIGIN" => Some("https://a.example".to_owned()),
            "OTHER" => Some("hidden".to_owned()),
            _ => None,
        });
        assert_eq!((env.optional("EMPTY"), env.optional("OTHER")), (None, Some("hidden".to_owned())));
        assert_eq!(env.optional_origin("ORIGIN").as_deref(), Some("https://a.example"));
        assert_eq!((env.require("OTHER").as_str(), env.optional_origin("EMPTY")), ("hidden", None));
        assert_eq!((env.require("EMPTY").as_str(), env.require("NONE").as_str()), ("", ""));
        env.optional_origin("OTHER");
        env.reject("and another");
        let errors =
            ["EMPTY is missing", "NONE is missing", "OTHER is not an http or https origin", "and another"];
        assert_eq!(env.finish(()), Err(EnvironmentErrors(errors.map(str::to_owned).into())));
        assert_eq!(EnvReader::new(|_: &str| None).finish(7), Ok(7));
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
