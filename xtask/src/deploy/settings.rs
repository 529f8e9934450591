//! Arguments of `deploy` and `destroy`, with their defaults.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{Arg, Parser, ValueExt as _};

use crate::doctor;
use crate::package::Arch;

/// Parsed arguments. The `Debug` output contains no values of parameters.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch")]
pub(super) struct DeployOptions {
    /// The Worker's origin, without a trailing slash.
    pub(super) origin: Option<String>,
    /// Additional origins whose pages can upload.
    pub(super) allowed_origins: Vec<String>,
    pub(super) stack: String,
    pub(super) region: String,
    pub(super) arch: Arch,
    /// Additional parameters of template.yaml, `Name=value`.
    pub(super) parameters: Vec<String>,
    /// Creates a new key for the Worker even if it has one.
    pub(super) new_key: bool,
    pub(super) delete_videos: bool,
    pub(super) dry_run: bool,
    /// Deploys the output of `cargo xtask package`, without building or installing anything.
    pub(super) prebuilt: bool,
}

impl fmt::Debug for DeployOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.parameters.iter().filter_map(|parameter| Some(parameter.split_once('=')?.0)).collect();
        f.debug_struct("DeployOptions")
            .field("origin", &self.origin)
            .field("allowed", &self.allowed_origins)
            .field("stack", &self.stack)
            .field("region", &self.region)
            .field("arch", &self.arch)
            .field("parameters", &names)
            .field("new_key", &self.new_key)
            .field("delete_videos", &self.delete_videos)
            .field("dry_run", &self.dry_run)
            .field("prebuilt", &self.prebuilt)
            .finish()
    }
}

impl DeployOptions {
    /// Parses the arguments.
    ///
    /// # Errors
    /// An argument is unknown or invalid; the error is about the first one.
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut settings = Self {
            origin: None,
            allowed_origins: Vec::new(),
            stack: "glimpse".into(),
            region: doctor::DEFAULT_REGION.into(),
            arch: Arch::Arm,
            parameters: Vec::new(),
            new_key: false,
            delete_videos: false,
            dry_run: false,
            prebuilt: false,
        };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("origin") => settings.origin = Some(parse_origin(&value(&mut parser)?)?),
                Arg::Long("allow-origin") => {
                    settings.allowed_origins.push(parse_page_origin(&value(&mut parser)?)?);
                }
                Arg::Long("stack") => settings.stack = parse_name(&value(&mut parser)?, "a stack")?,
                Arg::Long("region") => settings.region = parse_name(&value(&mut parser)?, "a region")?,
                Arg::Long("arch") => settings.arch = Arch::parse(&value(&mut parser)?)?,
                Arg::Long("parameter") => settings.parameters.push(parse_parameter(&value(&mut parser)?)?),
                Arg::Long("new-key") => settings.new_key = true,
                Arg::Long("delete-videos") => settings.delete_videos = true,
                Arg::Long("dry-run") => settings.dry_run = true,
                Arg::Long("prebuilt") => settings.prebuilt = true,
                other => bail!("{}: `cargo xtask help` lists the arguments", other.unexpected()),
            }
        }
        Ok(settings)
    }

    /// The origins whose pages can upload, the Worker's first.
    pub(super) fn origins(&self) -> String {
        let origins: Vec<&str> =
            self.origin.iter().chain(&self.allowed_origins).map(String::as_str).collect();
        origins.join(",")
    }
}

/// The value of the last option.
fn value(parser: &mut Parser) -> Result<String, lexopt::Error> {
    parser.value()?.string()
}

/// Parses an origin whose pages can upload: of a site, of this machine, or of an app with a custom scheme.
fn parse_page_origin(text: &str) -> Result<String> {
    let (scheme, host) = text.split_once("://").unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let is_host = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b));
    // Pages of local files have the origin `null`, which is not specific to a site.
    let is_allowed_scheme = match scheme {
        "https" => return parse_origin(text),
        "http" => matches!(host.split(':').next(), Some("localhost" | "127.0.0.1")),
        "file" | "data" | "blob" | "javascript" => false,
        _ => true,
    };
    ensure!(
        is_scheme && is_host && is_allowed_scheme,
        "{text} is not an origin of pages such as https://app.example, http://localhost or capacitor://localhost"
    );
    Ok(text.to_owned())
}

fn parse_origin(text: &str) -> Result<String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    let is_host = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b));
    ensure!(!host.is_empty() && is_host, "{text} is not an origin: https:// and a host, without a path");
    Ok(text.to_owned())
}

/// Parses a name that is valid in CloudFormation and in names of functions and users.
fn parse_name(text: &str, what: &str) -> Result<String> {
    let is_name = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    ensure!(
        is_name,
        "`{text}` is not a valid name of {what}: up to 40 letters, digits and hyphens, beginning with a letter"
    );
    Ok(text.to_owned())
}

fn parse_parameter(text: &str) -> Result<String> {
    let (name, _) = text.split_once('=').context("--parameter needs Name=value")?;
    ensure!(
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()),
        "`{name}` is not a valid parameter name"
    );
    for (reserved, argument) in
        [("AllowedOrigins", "--origin"), ("PublicUrl", "--origin"), ("Architecture", "--arch")]
    {
        ensure!(name != reserved, "{reserved} is set by {argument}");
    }
    Ok(text.to_owned())
}

/// Suffix of the hosts that every account has without its own domain.
const WORKERS_DEV: &str = ".workers.dev";

/// Whether the origin is on workers.dev.
pub(super) fn is_workers_dev(origin: &str) -> bool {
    origin.ends_with(WORKERS_DEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<DeployOptions> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        DeployOptions::parse(&words)
    }

    #[test]
    fn parses_arguments() {
        let settings = parse_text(
            "--origin https://video.example --allow-origin https://app.example --stack mine --region us-east-1 \
             --arch x86_64 --parameter PreviewConcurrency=20 --new-key",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.origins(), "https://video.example,https://app.example");
        assert_eq!((settings.stack.as_str(), settings.arch, settings.new_key), ("mine", Arch::X86, true));
        assert!(!parse_text("").unwrap().delete_videos);
    }

    #[test]
    fn allows_custom_scheme_origins() {
        for origin in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://.",
            "http://localhost:8100",
        ] {
            let settings =
                parse_text(&format!("--origin https://v.example --allow-origin {origin}")).unwrap();
            assert_eq!(settings.origins(), format!("https://v.example,{origin}"));
        }
        for wrong in
            ["*", "null", "file://", "http://app.example", "capacitor://localhost/", "capacitor://*", "://x"]
        {
            assert!(parse_text(&format!("--allow-origin {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rejects_invalid_arguments() {
        for wrong in [
            "--origin",
            "--origin http://video.example",
            "--origin https://video.example/",
            "--origin https://video.example/path",
            "--stack my_stack",
            "--stack -x",
            "--region eu;central",
            "--arch mips",
            "--parameter PreviewConcurrency",
            "--parameter AllowedOrigins=*",
            "--delete-everything",
        ] {
            assert!(parse_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_wrong_argument() {
        for (wrong, message) in [
            ("--origin", "missing argument for option '--origin'"),
            ("--fly", "invalid option '--fly': `cargo xtask help` lists the arguments"),
            ("now", "unexpected argument \"now\": `cargo xtask help` lists the arguments"),
            ("--dry-run=yes", "unexpected argument for option '--dry-run': \"yes\""),
        ] {
            assert_eq!(parse_text(wrong).unwrap_err().to_string(), message);
        }
    }
}
