//! Decides how the OpenID provider of development runs: a Node.js program of this package.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::process::{ManagedProcess, ProgramSpec, Readiness, StartError, Watchdog};

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How the provider is to run.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The project's root: where `node_modules` and `local/oidc` are.
    pub root: PathBuf,
    /// Where it listens.
    pub port: u16,
    /// The one client that it knows.
    pub client_id: String,
    /// Where it sends a browser back to.
    pub redirect_uri: String,
}

/// An OpenID provider. Dropped, it is killed.
#[derive(Debug)]
pub struct OidcProvider {
    process: ManagedProcess,
    issuer: String,
}

impl OidcProvider {
    /// Starts it and waits until it says that it listens. Its lines go to `print`.
    ///
    /// # Errors
    /// If a program is missing, ends, or is not ready in time.
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

    /// Returns when it has ended by itself, with how.
    pub async fn wait(&self) -> String {
        self.process.wait().await
    }

    /// Ends it.
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
