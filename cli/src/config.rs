//! The configuration file: deployments, their credentials, and which one is the default. Only its owner can read it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{CommandResult, Failure};
use crate::secret::Secret;

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The origin of the deployment that commands use without `--url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    /// The credentials by the deployment's origin.
    #[serde(default)]
    pub(crate) deployments: BTreeMap<String, Credential>,
}

/// A credential of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credential {
    /// A bearer token.
    Token(Secret),
    /// A session of a user who signed in.
    Session {
        /// The session cookie, `name=value`.
        cookie: Secret,
        /// Expiry, in Unix seconds.
        expires_at: u64,
    },
}

/// The folders of this user, as the XDG Base Directory Specification defines them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folders {
    /// The folder of the configuration file.
    pub(crate) config: PathBuf,
    /// The folder of unfinished uploads.
    pub(crate) state: PathBuf,
}

impl Folders {
    /// The folders by these environment variables. Relative paths are ignored, as the specification requires.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> CommandResult<Self> {
        let absolute = |name: &str| lookup(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").or_else(|| absolute("USERPROFILE"));
        let folder = |name: &str, below_home: &str| {
            let base = absolute(name).or_else(|| home.as_ref().map(|home| home.join(below_home)));
            base.map(|base| base.join("glimpse"))
                .ok_or_else(|| Failure::failed(format!("cannot find a folder: set {name} or HOME")))
        };
        Ok(Self {
            config: folder("XDG_CONFIG_HOME", ".config")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
        })
    }

    /// The path of the configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.json")
    }
}

impl Config {
    /// Reads the file; without one, the configuration is empty.
    ///
    /// # Errors
    /// The file cannot be read or is invalid. The message does not contain its text.
    pub(crate) fn load(file: &Path) -> CommandResult<Self> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::io(&format!("cannot read {}", file.display()), &error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            Failure::failed(format!(
                "{} is invalid at line {}: correct or delete it",
                file.display(),
                error.line()
            ))
        })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, file: &Path) -> CommandResult<()> {
        let text = serde_json::to_string_pretty(self).expect("the configuration is valid JSON");
        write_private(file, format!("{text}\n").as_bytes())
            .map_err(|error| Failure::io(&format!("cannot write {}", file.display()), &error))
    }
}

/// Replaces a file that only its owner can read. Its folder is created if necessary. Readers see the old content or the
/// new one.
pub(crate) fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        create_private_folder(folder)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let result = create_private(&new).and_then(|mut out| {
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&new, file)
    });
    if result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

fn create_private(file: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Creates a folder that only its owner can open, with its parents.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(variables: &[(&str, &str)]) -> CommandResult<Folders> {
        Folders::from_lookup(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn folders_follow_xdg_variables() {
        let found = folders(&[("HOME", "/home/ada")]).unwrap();
        assert_eq!(found.config_file(), Path::new("/home/ada/.config/glimpse/config.json"));
        assert_eq!(found.state, Path::new("/home/ada/.local/state/glimpse"));
        let found =
            folders(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "relative")])
                .unwrap();
        assert_eq!(found.config, Path::new("/c/glimpse"));
        assert_eq!(found.state, Path::new("/home/ada/.local/state/glimpse"));
        assert!(folders(&[]).is_err());
    }

    #[test]
    fn file_is_private_and_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("glimpse/config.json");
        assert_eq!(Config::load(&file).unwrap(), Config::default());
        let mut config = Config { default: Some("https://a".into()), ..Config::default() };
        config.deployments.insert("https://a".into(), Credential::Token(Secret::new("hush")));
        let session = Credential::Session { cookie: Secret::new("glimpse=hush"), expires_at: 7 };
        config.deployments.insert("https://b".into(), session);
        config.save(&file).unwrap();
        assert_eq!(Config::load(&file).unwrap(), config);
        assert!(!format!("{config:?}").contains("hush"));
        #[cfg(unix)]
        for (path, mode) in [(file.as_path(), 0o600), (file.parent().unwrap(), 0o700)] {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left");
    }

    #[test]
    fn invalid_file_is_named_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, "{\n\"deployments\": {\"https://a\": {\"token\": [\"hush\"]}}}").unwrap();
        let message = Config::load(&file).unwrap_err().message;
        assert!(
            message.contains("config.json is invalid at line 2") && !message.contains("hush"),
            "{message}"
        );
    }
}
