//! Runs the OpenID provider for development: a Node.js program of this package.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::process::{ManagedProcess, ProgramSpec, Readiness, StartError, Watchdog};

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Settings of the provider.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The project's root: where `node_modules` and `local/oidc` are.
    pub root: PathBuf,
    /// The port of the provider.
    pub port: u16,
    /// The only client id that it accepts.
    pub client_id: String,
    /// The URL to which it redirects the browser.
    pub redirect_uri: String,
}

/// A running OpenID provider. Dropping it kills it.
#[derive(Debug)]
pub struct OidcProvider {
    process: ManagedProcess,
    issuer: String,
}

impl OidcProvider {
    /// Starts it and waits until it listens. Its output goes to `print`.
    ///
    /// # Errors
    /// If a program is missing, exits, or is not ready in time.
    pub async fn start(
        settings: OidcSettings,
        watchdog: &Watchdog,
        print: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, StartError> {
        let issuer = format!("http://localhost:{}", settings.port);
        let ready = Readiness::Line(format!("listening {issuer}"));
        let process =
            ManagedProcess::start(program(&settings), ready, START_TIMEOUT, watchdog, print).await?;
        Ok(Self { process, issuer })
    }

    /// The issuer's URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Waits until it exits by itself, and returns its exit status.
    pub async fn wait(&self) -> String {
        self.process.wait().await
    }

    /// Stops it.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn program(settings: &OidcSettings) -> ProgramSpec {
    let node = settings.root.join("node_modules/.bin/node");
    let file = if node.exists() { node } else { "node".into() };
    let script = settings.root.join("local/oidc/provider.mjs");
    let args = [
        script.to_string_lossy().as_ref(),
        "--port",
        &settings.port.to_string(),
        "--client-id",
        &settings.client_id,
        "--redirect",
        &settings.redirect_uri,
    ]
    .map(str::to_owned)
    .to_vec();
    ProgramSpec {
        name: "oidc",
        file,
        args,
        env: BTreeMap::new(),
        clear_env: false,
        current_dir: settings.root.clone(),
    }
}
