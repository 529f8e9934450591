//! Decides which Rust compiles the Worker: the one that runs this, with rustup's wasm32 target; or, where rustup cannot
//! download that, the system's Rust with a standard library built once from its sources. That one gets a folder of its own
//! in the tools cache, so that neither the system nor rustup's settings change.

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
/// A download of 20 MB; longer than this means that nothing is coming.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(1);
/// The oldest Rust that compiles this workspace.
const MIN_RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";
/// Debian's packages of the Rust that its browsers are built with: the newest one in a stable release.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The Rust for wasm32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The Rust that runs this knows the target.
    Active,
    /// A folder with a `bin/rustc` that does.
    Custom(PathBuf),
}

impl Toolchain {
    /// Makes `command` and the cargo and rustc that it starts use this Rust.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Self::Custom(folder) = self {
            command.env("PATH", project::path_with(&folder.join("bin")));
            // Set by rustup's cargo for what it starts; each would lead back to its own Rust.
            for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "LD_LIBRARY_PATH"] {
                command.env_remove(name);
            }
        }
        command
    }

    /// The compiler's whole version: another compiler makes another Worker.
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
            Ok(()) => run::print_note("rustup has added it to another toolchain than the active one"),
            Err(failure) => {
                run::print_note(&format!("rustup {}; trying the system's Rust instead", failure.reason));
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

/// The system's own Rust, with its sources.
struct SystemCompiler {
    /// What `rustc -vV` answers.
    rustc_version: String,
    version: Version,
    host: String,
    /// Where its own libraries are, `/usr` as a rule.
    sysroot: PathBuf,
}

impl SystemCompiler {
    /// The one that is there, if it is new enough and whole.
    fn find() -> Result<Option<Self>> {
        if !Path::new(SYSTEM_CARGO).exists() || !Path::new(SYSTEM_RUSTC).exists() {
            return Ok(None);
        }
        let rustc = |arguments: &[&str]| {
            // As in `Toolchain::apply`: a rustup proxy in this place would otherwise answer for its toolchain.
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
            bail!("there is no standard library for {TARGET}. {advice}");
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
        // The linker may be rustup's, whose toolchains come and go.
        if !self.linker_path(&folder).exists() {
            self.link_any_linker(project, &folder)?;
        }
        run::print_ok(
            "rust for wasm32",
            format_args!("{} (the system's {})", folder.display(), self.version),
        );
        Ok(Some(Toolchain::Custom(folder)))
    }

    /// Builds the standard library and puts the folder together around it.
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
            // A released compiler builds its own standard library with this alone.
            .env("RUSTC_BOOTSTRAP", "1")
            // Without the bitcode, link-time optimisation of the Worker fails.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("CARGO_TARGET_DIR", scratch.join("target"));
        LoggedStep::new(
            format!("standard library of Rust {} for wasm32", self.version),
            project.log_path("wasm-std"),
        )
        .run(
            &mut command,
            "See that the crate registry can be reached (`cargo update --dry-run`), then start this again.",
        )?;

        let folder = self.toolchain_folder(project);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        self.assemble(project, &scratch.join("target").join(TARGET).join("release/deps"), &folder)
            .with_context(|| format!("cannot put together {}", folder.display()))?;
        fingerprint::write_stamp(&folder.join("glimpse-stamp"), self.fingerprint())?;
        // Only its libraries were wanted; what cannot be removed only takes room.
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
        // Build scripts and macros are compiled for the host, by the same compiler.
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

    /// Where the compiler looks for its linker of wasm.
    fn linker_path(&self, folder: &Path) -> PathBuf {
        folder.join("lib/rustlib").join(&self.host).join("bin/rust-lld")
    }

    fn link_any_linker(&self, project: &Project, folder: &Path) -> Result<()> {
        let Some(found) = self.find_linker(project) else {
            system::install(project, &["lld"])?;
            let found = self.find_linker(project).context("Debian's package lld has brought no wasm-ld")?;
            return self.link_to(&found, folder);
        };
        self.link_to(&found, folder)
    }

    fn link_to(&self, linker: &Path, folder: &Path) -> Result<()> {
        let link = self.linker_path(folder);
        // A link whose end has gone is in the way of the new one.
        let _ = fs::remove_file(&link);
        symlink(linker, &link).with_context(|| format!("cannot link {}", link.display()))
    }

    /// The active toolchain's own linker, else the system's.
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

/// The script that is this toolchain's `rustc`: the system's, with the folder as its sysroot.
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
