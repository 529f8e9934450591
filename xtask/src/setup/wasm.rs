//! Provides a Rust toolchain for wasm32: the active one with rustup's wasm32 target; or, if rustup cannot download it,
//! the system's Rust with a standard library that is built once from its sources. The latter is stored in the tools
//! cache, so that neither the system nor rustup's settings are changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::system::{self, find_on_path};
use crate::fingerprint::{self, Fingerprint};
use crate::project::{self, Project};
use crate::run::{self, LoggedStep};
use crate::version::Version;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// Timeout of a download of 20 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(1);
/// The oldest Rust version that compiles this workspace.
const MIN_RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";
/// Debian's packages of the Rust that builds its browsers: the newest Rust in a stable release.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A Rust toolchain for wasm32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The active toolchain, which has the target.
    Active,
    /// A folder with a `bin/rustc` that has the target.
    Custom(PathBuf),
}

impl Toolchain {
    /// Makes `command`, and the cargo and rustc that it starts, use this toolchain.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Self::Custom(folder) = self {
            command.env("PATH", project::path_with(&folder.join("bin")));
            // rustup's cargo sets these for its child processes. Each of them would select rustup's toolchain.
            for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "LD_LIBRARY_PATH"] {
                command.env_remove(name);
            }
        }
        command
    }

    /// Cargo of this toolchain, in the checkout.
    pub(crate) fn cargo(&self, project: &Project) -> Command {
        let mut command = match self {
            Self::Active => project.cargo(),
            Self::Custom(folder) => Command::new(folder.join("bin/cargo")),
        };
        command.current_dir(&project.root);
        self.apply(&mut command);
        command
    }

    /// The compiler's full version: another compiler builds another Worker.
    pub(crate) fn version_text(&self) -> Result<String> {
        let rustc = match self {
            Self::Active => PathBuf::from("rustc"),
            Self::Custom(folder) => folder.join("bin/rustc"),
        };
        run::capture(self.apply(Command::new(rustc).arg("-vV")))
    }
}

pub(super) fn ensure(project: &Project) -> Result<Toolchain> {
    if is_active(project) {
        run::print_ok("rust for wasm32", "in the active toolchain");
        return Ok(Toolchain::Active);
    }
    if let Some(compiler) = SystemCompiler::find()?
        && let Some(toolchain) = compiler.find_installed(project)?
    {
        return Ok(toolchain);
    }
    if let Some(rustup) = find_on_path("rustup") {
        let mut command = Command::new(rustup);
        command.current_dir(&project.root).args(["target", "add", TARGET]);
        let add_result =
            LoggedStep::new(format!("rustup target add {TARGET}"), project.log_path("rustup-target"))
                .with_timeout(DOWNLOAD_LIMIT)
                .try_run(&mut command)?;
        match add_result {
            Ok(()) if is_active(project) => return Ok(Toolchain::Active),
            Ok(()) => run::print_note("rustup added the target to another toolchain than the active one"),
            Err(failure) => {
                run::print_note(&format!("rustup {}; using the system's Rust instead", failure.reason));
            }
        }
    }
    let compiler = match SystemCompiler::find()? {
        Some(compiler) => compiler,
        None => SystemCompiler::install(project)?,
    };
    compiler.build(project)
}

/// Whether the active toolchain has the target's standard library.
fn is_active(project: &Project) -> bool {
    run::capture(Command::new("rustc").current_dir(&project.root).args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]))
    .is_ok_and(|folder| system::has_file(Path::new(folder.trim()), "libcore-", ".rlib"))
}

/// The system's Rust, with its sources.
struct SystemCompiler {
    /// Output of `rustc -vV`.
    rustc_version: String,
    version: Version,
    host: String,
    /// Folder of its libraries, usually `/usr`.
    sysroot: PathBuf,
}

impl SystemCompiler {
    /// The installed system compiler, if it is new enough and complete.
    fn find() -> Result<Option<Self>> {
        if !Path::new(SYSTEM_CARGO).exists() || !Path::new(SYSTEM_RUSTC).exists() {
            return Ok(None);
        }
        let rustc = |arguments: &[&str]| {
            // As in `Toolchain::apply`: a rustup proxy at this path would otherwise use its own toolchain.
            run::capture(Command::new(SYSTEM_RUSTC).args(arguments).env_remove("LD_LIBRARY_PATH"))
        };
        let rustc_version = rustc(&["-vV"])?;
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
        let oldest =
            Version::find_in(MIN_RUST_VERSION).context("the workspace's rust-version is not a version")?;
        let host = rustc_version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
        let has_sources = sysroot.join("lib/rustlib/src/rust/library/Cargo.toml").exists();
        Ok(match (Version::find_in(&rustc_version), host) {
            (Some(version), Some(host)) if version >= oldest && has_sources => {
                Some(Self { rustc_version, version, host, sysroot })
            }
            _ => None,
        })
    }

    fn install(project: &Project) -> Result<Self> {
        let advice = format!(
            "Let rustup download it (`rustup target add {TARGET}`), or install your system's Rust {MIN_RUST_VERSION} or newer \
             with its sources in /usr (Debian: {}).",
            DEBIAN_PACKAGES.join(" ")
        );
        if find_on_path("apt-get").is_none() {
            bail!("no standard library for {TARGET}. {advice}");
        }
        system::install(project, &DEBIAN_PACKAGES).with_context(|| advice.clone())?;
        match Self::find()? {
            Some(compiler) => Ok(compiler),
            None => bail!("the system's Rust packages are older than {MIN_RUST_VERSION}. {advice}"),
        }
    }

    fn toolchain_folder(&self, project: &Project) -> PathBuf {
        let short_hash = &self.fingerprint().to_hex()[..8];
        project.cache.join(format!("wasm-toolchain-{}-{short_hash}", self.version))
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new()
            .with_bytes(self.rustc_version.as_bytes())
            .with_bytes(self.sysroot.as_os_str().as_encoded_bytes())
    }

    fn find_installed(&self, project: &Project) -> Result<Option<Toolchain>> {
        let folder = self.toolchain_folder(project);
        if !fingerprint::is_fresh(&folder.join("glimpse-stamp"), self.fingerprint()) {
            return Ok(None);
        }
        // The linker may belong to a rustup toolchain that was removed.
        if !self.linker_path(&folder).exists() {
            self.link_any_linker(project, &folder)?;
        }
        run::print_ok(
            "rust for wasm32",
            format_args!("{} (the system's {})", folder.display(), self.version),
        );
        Ok(Some(Toolchain::Custom(folder)))
    }

    /// Builds the standard library and assembles the toolchain's folder.
    fn build(&self, project: &Project) -> Result<Toolchain> {
        let scratch = project.target.join("wasm-std");
        fs::create_dir_all(scratch.join("src"))?;
        fs::write(scratch.join("src/lib.rs"), "")?;
        fs::write(
            scratch.join("Cargo.toml"),
            "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
        )?;
        let mut command = Command::new(SYSTEM_CARGO);
        Toolchain::Custom(PathBuf::from("/usr")).apply(&mut command);
        command
            .current_dir(&scratch)
            .args(["build", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET])
            .env("RUSTC", SYSTEM_RUSTC)
            // A stable compiler needs this to build its standard library.
            .env("RUSTC_BOOTSTRAP", "1")
            // Without the bitcode, link-time optimization of the Worker fails.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("CARGO_TARGET_DIR", scratch.join("target"));
        LoggedStep::new(
            format!("standard library of Rust {} for wasm32", self.version),
            project.log_path("wasm-std"),
        )
        .run(
            &mut command,
            "Check that the crate registry is reachable (`cargo update --dry-run`), then run this again.",
        )?;

        let folder = self.toolchain_folder(project);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        self.assemble(project, &scratch.join("target").join(TARGET).join("release/deps"), &folder)
            .with_context(|| format!("cannot assemble {}", folder.display()))?;
        fingerprint::write_stamp(&folder.join("glimpse-stamp"), self.fingerprint())?;
        // Only the libraries are needed. If the rest cannot be removed, it only uses disk space.
        let _ = fs::remove_dir_all(&scratch);
        Ok(Toolchain::Custom(folder))
    }

    fn assemble(&self, project: &Project, built: &Path, folder: &Path) -> Result<()> {
        let libraries = folder.join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&libraries)?;
        fs::create_dir_all(folder.join("bin"))?;
        for entry in fs::read_dir(built)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            let is_library = path.extension().is_some_and(|extension| extension == "rlib");
            if is_library && !name.as_encoded_bytes().starts_with(b"libempty-") {
                fs::copy(&path, libraries.join(name))?;
            }
        }
        // The same compiler compiles build scripts and macros for the host.
        let host = folder.join("lib/rustlib").join(&self.host);
        fs::create_dir_all(host.join("bin"))?;
        symlink(self.sysroot.join("lib/rustlib").join(&self.host).join("lib"), host.join("lib"))?;
        self.link_any_linker(project, folder)?;
        symlink(SYSTEM_CARGO, folder.join("bin/cargo"))?;
        let rustc = folder.join("bin/rustc");
        fs::write(&rustc, rustc_wrapper(folder))?;
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// The path where the compiler searches its wasm linker.
    fn linker_path(&self, folder: &Path) -> PathBuf {
        folder.join("lib/rustlib").join(&self.host).join("bin/rust-lld")
    }

    fn link_any_linker(&self, project: &Project, folder: &Path) -> Result<()> {
        let Some(found) = self.find_linker(project) else {
            system::install(project, &["lld"])?;
            let found = self.find_linker(project).context("Debian's package lld does not contain wasm-ld")?;
            return self.link_to(&found, folder);
        };
        self.link_to(&found, folder)
    }

    fn link_to(&self, linker: &Path, folder: &Path) -> Result<()> {
        let link = self.linker_path(folder);
        // Remove a dangling link.
        let _ = fs::remove_file(&link);
        symlink(linker, &link).with_context(|| format!("cannot link {}", link.display()))
    }

    /// The active toolchain's linker, else the system's.
    fn find_linker(&self, project: &Project) -> Option<PathBuf> {
        let sysroot =
            run::capture(Command::new("rustc").current_dir(&project.root).args(["--print", "sysroot"]))
                .ok()?;
        let toolchain_linker =
            Path::new(sysroot.trim()).join("lib/rustlib").join(&self.host).join("bin/rust-lld");
        if toolchain_linker.exists() {
            Some(toolchain_linker)
        } else {
            ["rust-lld", "wasm-ld"].into_iter().find_map(find_on_path)
        }
    }
}

/// The wrapper script of this toolchain's `rustc`: the system's compiler, with the folder as sysroot.
fn rustc_wrapper(folder: &Path) -> String {
    let quoted = folder.display().to_string().replace('\'', r"'\''");
    format!("#!/bin/sh\nexec {SYSTEM_RUSTC} --sysroot '{quoted}' \"$@\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapper_quotes_folder() {
        assert_eq!(
            rustc_wrapper(Path::new("/home/o'neil/my tools")),
            "#!/bin/sh\nexec /usr/bin/rustc --sysroot '/home/o'\\''neil/my tools' \"$@\"\n"
        );
    }
}
