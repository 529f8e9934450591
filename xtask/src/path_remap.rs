//! Replaces paths of this machine in released programs (rustc's `--remap-path-prefix`), so that builds are reproducible
//! regardless of the location of the sources.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::project::Project;
use crate::run;

/// The folders whose paths no released file may contain, all absolute.
pub(crate) fn private_folders(project: &Project) -> Result<Vec<PathBuf>> {
    let sysroot =
        run::capture(Command::new("rustc").current_dir(&project.root).args(["--print", "sysroot"]))?;
    let mut folders = vec![
        project.root.clone(),
        project.target.clone(),
        project.cache.clone(),
        cargo_home()?,
        PathBuf::from(sysroot.trim()),
    ];
    folders.extend(env::var_os("HOME").map(PathBuf::from));
    folders.retain(|folder| is_private(folder));
    Ok(folders)
}

/// Whether a folder's path is specific enough to search for: `/src` and `/usr/local` occur in many programs for other
/// reasons.
fn is_private(folder: &Path) -> bool {
    folder.is_absolute() && folder.components().count() > 2 && folder != Path::new("/usr/local")
}

/// rustc's flags, for `CARGO_ENCODED_RUSTFLAGS`, which supports folders with spaces.
pub(crate) fn rustflags(project: &Project) -> Result<String> {
    let home = cargo_home()?;
    // The folder's name contains the mirror of the registry.
    let sources = home.join("registry/src");
    let mut sources: Vec<_> = match fs::read_dir(&sources) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
        // Vendored crates are stored elsewhere.
        Err(_) => Vec::new(),
    };
    sources.sort();
    Ok(encode_flags(&project.root, &project.target, &home, &sources))
}

/// rustc uses the last matching prefix, so nested folders are last: the target folder and the crates can be inside of
/// the others.
fn encode_flags(root: &Path, target: &Path, home: &Path, sources: &[PathBuf]) -> String {
    let mut pairs = vec![(home, "/cargo"), (root, "/glimpse"), (target, "/target")];
    pairs.extend(sources.iter().map(|folder| (folder.as_path(), "/crates")));
    let flag_list = pairs.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flag_list.collect::<Vec<_>>().join("\x1f")
}

fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("cannot find cargo's folder: set CARGO_HOME or HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_path_components_are_not_private() {
        let is = |folder| is_private(Path::new(folder));
        assert!(is("/home/ada") && is("/root/.cargo") && is("/usr/local/cargo"));
        assert!(!is("/") && !is("/src") && !is("/usr") && !is("/usr/local") && !is("target"));
    }

    #[test]
    fn nested_folders_are_remapped_last() {
        let flags = encode_flags(
            Path::new("/home/a/my glimpse"),
            Path::new("/home/a/my glimpse/target"),
            Path::new("/home/a/.cargo"),
            &[PathBuf::from("/home/a/.cargo/registry/src/mirror-1")],
        );
        assert_eq!(
            flags.split('\x1f').collect::<Vec<_>>(),
            [
                "--remap-path-prefix=/home/a/.cargo=/cargo",
                "--remap-path-prefix=/home/a/my glimpse=/glimpse",
                "--remap-path-prefix=/home/a/my glimpse/target=/target",
                "--remap-path-prefix=/home/a/.cargo/registry/src/mirror-1=/crates",
            ]
        );
    }
}
