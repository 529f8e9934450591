//! Paths of the project: the checkout, cargo's target folder, the tools cache and npm's programs; and the environment
//! in which cargo and Node are started.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// The folders that every command needs, all absolute.
#[derive(Debug)]
pub(crate) struct Project {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, which can be changed by `CARGO_TARGET_DIR` or the user's configuration.
    pub(crate) target: PathBuf,
    /// The tools cache, shared by all checkouts of this user.
    pub(crate) cache: PathBuf,
}

impl Project {
    pub(crate) fn discover() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: run this as `cargo xtask`")?;
        let root =
            Path::new(&package).parent().context("the package xtask is not inside a checkout")?.to_owned();
        let metadata = run::capture(cargo().current_dir(&root).args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).context("the output of `cargo metadata` is not valid JSON")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("the output of `cargo metadata` has no target folder")?;
        Ok(Self { root, target: target.into(), cache: cache_folder(|name| env::var_os(name))? })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A program of the npm packages.
    pub(crate) fn npm_program(&self, name: &str) -> PathBuf {
        self.path("node_modules/.bin").join(name)
    }

    /// A binary of the workspace in the dev profile.
    pub(crate) fn binary_path(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// Log file of a long step.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.target.join("setup").join(name).with_extension("log")
    }

    pub(crate) fn read(&self, relative: &str) -> Result<String> {
        let path = self.path(relative);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Cargo, in the checkout.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// A program of the npm packages, run in the checkout. Their scripts search `node` on PATH, where the system's may
    /// be too old, so the folder with the packages' Node.js is first.
    pub(crate) fn npm_command(&self, program: &str) -> Command {
        let mut command = Command::new(self.npm_program(program));
        command
            .current_dir(&self.root)
            .env("PATH", path_with(&self.path("node_modules/.bin")))
            .env("WRANGLER_SEND_METRICS", "false");
        command
    }
}

/// The cargo that runs this program, without the variables that `cargo run` sets for this package: a build script of
/// another package that depends on one of them would otherwise run again.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let is_package_variable = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if is_package_variable {
            command.env_remove(name);
        }
    }
    command
}

/// PATH with `folder` in front.
pub(crate) fn path_with(folder: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    // A folder with a colon in its name cannot be on PATH; use PATH unchanged.
    env::join_paths(folders).unwrap_or(path)
}

/// The folder of the tools cache, absolute.
fn cache_folder(lookup: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let folder_from = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder_from("GLIMPSE_TOOLS_DIR")
        .or_else(|| folder_from("XDG_CACHE_HOME").map(|folder| folder.join("glimpse")))
        .or_else(|| folder_from("HOME").map(|home| home.join(".cache/glimpse")))
        .context("cannot find a folder for tools: set GLIMPSE_TOOLS_DIR or HOME")?;
    std::path::absolute(&cache).with_context(|| format!("{} is not a folder for tools", cache.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_folder_follows_env() {
        #[track_caller]
        fn check(variables: &[(&str, &str)], expected: Option<&str>) {
            let lookup = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(cache_folder(lookup).ok(), expected.map(PathBuf::from));
        }
        check(
            &[("GLIMPSE_TOOLS_DIR", "/tools"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/a")],
            Some("/tools"),
        );
        check(&[("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/a")], Some("/xdg/glimpse"));
        check(&[("GLIMPSE_TOOLS_DIR", ""), ("HOME", "/home/a")], Some("/home/a/.cache/glimpse"));
        check(&[], None);
    }
}
