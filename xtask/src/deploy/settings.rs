//! Decides what can be said to `deploy` and `destroy`, and what holds when nothing is.

use anyhow::{Context as _, Result, bail, ensure};

use crate::doctor;
use crate::package::Arch;

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where the Worker will be, without a slash at the end.
    pub(super) origin: Option<String>,
    /// Other origins whose pages may upload.
    pub(super) allowed: Vec<String>,
    pub(super) stack: String,
    pub(super) region: String,
    pub(super) arch: Arch,
    /// More parameters of template.yaml, `Name=value`.
    pub(super) parameters: Vec<String>,
    /// Makes another key for the Worker although it has one.
    pub(super) new_key: bool,
    pub(super) delete_videos: bool,
    pub(super) dry_run: bool,
}

impl Settings {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The first one that is not known or not right.
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut settings = Self {
            origin: None,
            allowed: Vec::new(),
            stack: "glimpse".into(),
            region: doctor::REGION.into(),
            arch: Arch::Arm,
            parameters: Vec::new(),
            new_key: false,
            delete_videos: false,
            dry_run: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--origin" => settings.origin = Some(origin(value()?)?),
                "--allow-origin" => settings.allowed.push(origin(value()?)?),
                "--stack" => settings.stack = name(value()?, "a stack")?,
                "--region" => settings.region = name(value()?, "a region")?,
                "--arch" => settings.arch = Arch::parse(value()?)?,
                "--parameter" => settings.parameters.push(parameter(value()?)?),
                "--new-key" => settings.new_key = true,
                "--delete-videos" => settings.delete_videos = true,
                "--dry-run" => settings.dry_run = true,
                other => bail!("there is no argument `{other}`: `cargo xtask help` lists them"),
            }
        }
        Ok(settings)
    }

    /// Whose pages may upload: the Worker's own first.
    pub(super) fn origins(&self) -> String {
        let all: Vec<&str> = self.origin.iter().chain(&self.allowed).map(String::as_str).collect();
        all.join(",")
    }
}

fn origin(text: &str) -> Result<String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    let is_host = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b));
    ensure!(!host.is_empty() && is_host, "{text} is no origin: https://, a host, and nothing behind it");
    Ok(text.to_owned())
}

/// What CloudFormation and the names of functions and users take.
fn name(text: &str, what: &str) -> Result<String> {
    let is_name = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    ensure!(is_name, "`{text}` cannot name {what}: up to 40 letters, digits and hyphens, a letter first");
    Ok(text.to_owned())
}

fn parameter(text: &str) -> Result<String> {
    let (name, _) = text.split_once('=').with_context(|| format!("`{text}` is not Name=value"))?;
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

    fn parse(text: &str) -> Result<Settings> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Settings::parse(&words)
    }

    #[test]
    fn reads_what_is_said() {
        let said = parse(
            "--origin https://video.example --allow-origin https://app.example --stack mine --region us-east-1 \
             --arch x86_64 --parameter PreviewConcurrency=20 --new-key",
        );
        let said = said.unwrap();
        assert_eq!(said.origins(), "https://video.example,https://app.example");
        assert_eq!((said.stack.as_str(), said.arch, said.new_key), ("mine", Arch::X86, true));
        assert!(!parse("").unwrap().delete_videos);
    }

    #[test]
    fn refuses_what_is_wrong() {
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
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
