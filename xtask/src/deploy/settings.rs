//! Decides what can be said to `deploy` and `destroy`, and what holds when nothing is.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use crate::doctor;
use crate::package::Arch;

/// What was said. Its `Debug` shows no value of a parameter.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct DeployOptions {
    /// Where the Worker will be, without a slash at the end.
    pub(super) origin: Option<String>,
    /// Other origins whose pages may upload.
    pub(super) allowed_origins: Vec<String>,
    pub(super) stack: String,
    pub(super) region: String,
    pub(super) arch: Arch,
    /// More parameters of template.yaml, `MemberName=value`.
    pub(super) parameters: Vec<String>,
    /// Makes another key for the Worker although it has one.
    pub(super) new_key: bool,
    pub(super) delete_videos: bool,
    pub(super) dry_run: bool,
    /// Deploys what `cargo xtask package` has made, and builds and installs nothing.
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
    /// Reads the arguments.
    ///
    /// # Errors
    /// The first one that is not known or not right.
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
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--origin" => settings.origin = Some(parse_origin(value()?)?),
                "--allow-origin" => settings.allowed_origins.push(parse_page_origin(value()?)?),
                "--stack" => settings.stack = parse_name(value()?, "a stack")?,
                "--region" => settings.region = parse_name(value()?, "a region")?,
                "--arch" => settings.arch = Arch::parse(value()?)?,
                "--parameter" => settings.parameters.push(parse_parameter(value()?)?),
                "--new-key" => settings.new_key = true,
                "--delete-videos" => settings.delete_videos = true,
                "--dry-run" => settings.dry_run = true,
                "--prebuilt" => settings.prebuilt = true,
                other => bail!("there is no argument `{other}`: `cargo xtask help` lists them"),
            }
        }
        Ok(settings)
    }

    /// Whose pages may upload: the Worker's own first.
    pub(super) fn origins(&self) -> String {
        let origins: Vec<&str> =
            self.origin.iter().chain(&self.allowed_origins).map(String::as_str).collect();
        origins.join(",")
    }
}

/// An origin whose pages may upload: of a site, of this machine, or of an app that has a scheme of its own.
fn parse_page_origin(text: &str) -> Result<String> {
    let (scheme, host) = text.split_once("://").unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let is_host = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b));
    // Pages of files have the origin `null`, which is everybody's.
    let is_allowed_scheme = match scheme {
        "https" => return parse_origin(text),
        "http" => matches!(host.split(':').next(), Some("localhost" | "127.0.0.1")),
        "file" | "data" | "blob" | "javascript" => false,
        _ => true,
    };
    ensure!(
        is_scheme && is_host && is_allowed_scheme,
        "{text} is no origin of pages: such as https://app.example, http://localhost or capacitor://localhost"
    );
    Ok(text.to_owned())
}

fn parse_origin(text: &str) -> Result<String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    let is_host = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b));
    ensure!(!host.is_empty() && is_host, "{text} is no origin: https://, a host, and nothing behind it");
    Ok(text.to_owned())
}

/// What CloudFormation and the names of functions and users take.
fn parse_name(text: &str, what: &str) -> Result<String> {
    let is_name = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    ensure!(is_name, "`{text}` cannot name {what}: up to 40 letters, digits and hyphens, a letter first");
    Ok(text.to_owned())
}

fn parse_parameter(text: &str) -> Result<String> {
    let (name, _) = text.split_once('=').context("--parameter needs Name=value")?;
    ensure!(
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()),
        "`{name}` is no parameter of template.yaml"
    );
    for (reserved, argument) in
        [("AllowedOrigins", "--origin"), ("PublicUrl", "--origin"), ("Architecture", "--arch")]
    {
        ensure!(name != reserved, "{reserved} is said by {argument}");
    }
    Ok(text.to_owned())
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
        let said = parse_text(
            "--origin https://video.example --allow-origin https://app.example --stack mine --region us-east-1 \
             --arch x86_64 --parameter PreviewConcurrency=20 --new-key",
        );
        let said = said.unwrap();
        assert_eq!(said.origins(), "https://video.example,https://app.example");
        assert_eq!((said.stack.as_str(), said.arch, said.new_key), ("mine", Arch::X86, true));
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
}
