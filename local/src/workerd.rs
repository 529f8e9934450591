//! Runs the Worker on this machine: in workerd, through `wrangler dev`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{ManagedProcess, ProgramSpec, Readiness, StartError, Watchdog};

/// The time limit for wrangler; it bundles nothing, but a cold Node.js on a busy machine is slow.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Settings of the Worker.
#[derive(Debug, Clone)]
pub struct WorkerdSettings {
    /// The project's root: where `wrangler.toml` and `node_modules` are.
    pub root: PathBuf,
    /// The port on the loopback address; with 0 the system chooses one.
    pub port: u16,
    /// The Worker's variables.
    pub vars: BTreeMap<String, String>,
    /// The folder of workerd's cache.
    pub persist_to: PathBuf,
}

/// The Worker in workerd. Dropping it kills it.
#[derive(Debug)]
pub struct Workerd {
    process: ManagedProcess,
    address: SocketAddr,
}

impl Workerd {
    /// Starts it and waits until it responds. Its output goes to `print`.
    ///
    /// # Errors
    /// If a program is missing, exits, or does not respond in time.
    pub async fn start(
        settings: WorkerdSettings,
        watchdog: &Watchdog,
        print: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, StartError> {
        let port = match settings.port {
            0 => free_port().map_err(|source| StartError::Spawn {
                name: "workerd",
                file: settings.root.clone(),
                source,
            })?,
            port => port,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = program(&settings, port);
        let process =
            ManagedProcess::start(program, Readiness::Http(address), START_TIMEOUT, watchdog, print).await?;
        Ok(Self { process, address })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it exits by itself, and returns its exit status.
    pub async fn wait(&self) -> String {
        self.process.wait().await
    }

    /// Stops it, with all its child processes.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn program(settings: &WorkerdSettings, port: u16) -> ProgramSpec {
    let bin = settings.root.join("node_modules/.bin");
    // The `node` in this folder is a link into the npm package; the system's Node.js may be too old.
    let node = bin.join("node");
    let (file, script) = if node.exists() {
        (node, settings.root.join("node_modules/wrangler/bin/wrangler.js"))
    } else {
        (PathBuf::from("node"), settings.root.join("node_modules/wrangler/bin/wrangler.js"))
    };
    let mut args = vec![
        script.to_string_lossy().into_owned(),
        "dev".into(),
        "--ip".into(),
        "127.0.0.1".into(),
        "--port".into(),
        port.to_string(),
        "--inspector-port".into(),
        "0".into(),
        "--show-interactive-dev-session=false".into(),
        "--persist-to".into(),
        settings.persist_to.to_string_lossy().into_owned(),
    ];
    for (name, value) in &settings.vars {
        args.push("--var".into());
        args.push(format!("{name}:{value}"));
    }
    let env = [
        ("WRANGLER_SEND_METRICS", "false".to_owned()),
        ("CI", "true".to_owned()),
        ("GLIMPSE_PREBUILT", "1".to_owned()),
        ("PATH", path_with(&bin)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    ProgramSpec { name: "workerd", file, args, env, clear_env: false, current_dir: settings.root.clone() }
}

/// The search path with the project's programs first: wrangler starts `node` by name.
fn path_with(bin: &Path) -> String {
    let rest = std::env::var("PATH").unwrap_or_default();
    format!("{}:{rest}", bin.display())
}

/// A port that is free now. If another program takes it before wrangler does, wrangler reports an error.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrangler_arguments_are_stable() {
        let settings = WorkerdSettings {
            root: "/project".into(),
            port: 0,
            vars: [("S3_BUCKET".to_owned(), "glimpse".to_owned())].into(),
            persist_to: "/project/target/dev/workerd".into(),
        };
        let program = program(&settings, 8787);
        assert_eq!(
            program.args,
            [
                "/project/node_modules/wrangler/bin/wrangler.js",
                "dev",
                "--ip",
                "127.0.0.1",
                "--port",
                "8787",
                "--inspector-port",
                "0",
                "--show-interactive-dev-session=false",
                "--persist-to",
                "/project/target/dev/workerd",
                "--var",
                "S3_BUCKET:glimpse",
            ]
        );
    }
}
