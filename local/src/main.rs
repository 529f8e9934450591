//! `glimpse-local`: the local cloud as a program. `serve` starts S3, the queue and the functions; `dev` starts
//! everything.

mod cli;
mod dev;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use glimpse_local::Cloud;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return report_failure(&error),
    };
    let filter = EnvFilter::try_from_env("GLIMPSE_LOG").unwrap_or_else(|_| EnvFilter::new("info,s3s=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .compact()
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report_failure(&error.into()),
    };
    match runtime.block_on(run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report_failure(&error),
    }
}

async fn run(command: cli::Command) -> anyhow::Result<()> {
    match command {
        cli::Command::Help => print_line(cli::HELP),
        cli::Command::Serve(config) => {
            let mut signals = ShutdownSignals::listen()?;
            let cloud = Cloud::start(*config).await?;
            print_line(&format!("S3 listens on {}", cloud.addresses().s3_endpoint))?;
            if let Some(url) = &cloud.addresses().render {
                print_line(&format!("render listens on {url}"))?;
            }
            signals.wait().await;
            cloud.stop().await;
            Ok(())
        }
        cli::Command::Token(oidc_port) => print_line(&dev::dev_token(oidc_port)),
        cli::Command::Dev(settings) => dev::run(*settings).await,
    }
}

/// Ctrl-C or SIGTERM.
pub(crate) struct ShutdownSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl ShutdownSignals {
    /// From now on the signals do not end the process.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the first of them.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Prints output that the caller needs; everything else is logged.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush().context("cannot write to stdout")
}

fn report_failure(error: &anyhow::Error) -> ExitCode {
    // If stderr is closed, there is no other way to report the error.
    let _ = writeln!(std::io::stderr(), "glimpse-local: {error:#}");
    ExitCode::FAILURE
}
