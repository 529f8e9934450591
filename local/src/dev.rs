//! Runs `dev`: starts all programs in order, and reports missing prerequisites.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use glimpse_local::clock::WallClock;
use glimpse_local::oidc::{OidcProvider, OidcSettings};
use glimpse_local::process::{ManagedProcess, ProgramSpec, Readiness, StartError, Watchdog};
use glimpse_local::s3::cors::CorsRule;
use glimpse_local::workerd::{Workerd, WorkerdSettings};
use glimpse_local::{Cloud, Config, FunctionSettings, NotifySettings};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::cli::{DevSettings, FfmpegPaths, configure_function, render_settings, visibility_timeout};
use crate::{ShutdownSignals, print_line};

/// Only for cookies and tokens on one machine; a deployment must use its own secrets.
const SESSION_SECRET: &str = "glimpse-development-session-secret-0123456789";
const JWT_SECRET: &str = "glimpse-development-token-secret-0123456789";
const UPLOAD_TOKEN_SECRETS: &str = "dev=glimpse-development-upload-secret-0123456789";
/// The secret of every `--webhook` endpoint: "glimpse-development-webhook-secret".
const WEBHOOK_SECRET: &str = "whsec_Z2xpbXBzZS1kZXZlbG9wbWVudC13ZWJob29rLXNlY3JldA==";
const DELIVERY_TOKEN_SECRETS: &str = "dev=glimpse-development-delivery-secret-0123456789";
const CLIENT_ID: &str = "glimpse-dev";
const AUDIENCE: &str = "glimpse";
/// The time limit for building ffmpeg; a slow machine takes half an hour.
const FFMPEG_BUILD_TIMEOUT: Duration = Duration::from_hours(2);
/// The lifetime of the printed token, in seconds.
const TOKEN_SECS: i64 = 7 * 24 * 3600;

/// Starts all programs, prints the URL, and stops all programs on a signal.
pub(crate) async fn run(settings: DevSettings) -> anyhow::Result<()> {
    let mut signals = ShutdownSignals::listen()?;
    let settings = check_settings(settings)?;
    let started = tokio::select! {
        started = start(&settings) => started,
        () = signals.wait() => return Ok(()),
    };
    let (cloud, oidc, workerd, function_ready) = started?;
    let edge = format!("http://localhost:{}", settings.port);
    let token = bearer_token(oidc.issuer(), WallClock::system().now_ms() / 1000);
    print_line(&format!(
        "\n  Glimpse is ready:  {edge}\n\n  For curl and apps, a bearer token of the user `dev`, valid for a week:\n\n  \
         HOST={edge}\n  TOKEN={token}\n\n  Ctrl-C stops everything. Data stays in {}.\n",
        settings.data.display()
    ))?;
    match settings.cors_origins.as_slice() {
        [] => {
            print_line(
                "  Pages of another origin may call it with --cors, such as --cors http://localhost:5173\n",
            )?;
        }
        origins => print_line(&format!("  Pages of {} can call it\n", origins.join(" and ")))?,
    }
    for url in &settings.webhook_urls {
        print_line(&format!("  {url} gets webhooks, signed with {WEBHOOK_SECRET}\n"))?;
    }
    if let Some(script) = &settings.ffmpeg_build {
        print_line("  ffmpeg is being built: videos wait until it is there\n")?;
        tokio::spawn(build_ffmpeg(
            settings.clone(),
            script.clone(),
            cloud.watchdog().clone(),
            function_ready,
        ));
    }
    let exit = tokio::select! {
        () = signals.wait() => None,
        status = workerd.wait() => Some(("the Worker (workerd)", status)),
        status = oidc.wait() => Some(("the OpenID provider", status)),
    };
    workerd.stop().await;
    oidc.stop().await;
    cloud.stop().await;
    match exit {
        None => Ok(()),
        Some((program, status)) => bail!("{program} exited ({status}): its last lines are above"),
    }
}

/// Starts the programs. The function of the queue is ready when the returned sender says so.
async fn start(
    settings: &DevSettings,
) -> anyhow::Result<(Cloud, OidcProvider, Workerd, watch::Sender<bool>)> {
    let edge = format!("http://localhost:{}", settings.port);
    let mut config = Config::new(&settings.data);
    config.listen = (Ipv4Addr::LOCALHOST, settings.s3_port).into();
    let origins = [edge.clone(), format!("http://127.0.0.1:{}", settings.port)];
    config.s3.cors_rules =
        vec![CorsRule::for_uploads(origins.into_iter().chain(settings.cors_origins.clone()))];
    config.queue.visibility_timeout = visibility_timeout(settings.timeout);
    let tools = FfmpegPaths { ffmpeg: settings.ffmpeg.clone(), ffprobe: settings.ffprobe.clone() };
    let (concurrency, timeout) = (settings.concurrency, settings.timeout);
    let mut preview = FunctionSettings::new(settings.preview.clone());
    configure_function(&mut preview, &tools, concurrency, timeout);
    config.function = Some(preview);
    let (function_ready, is_function_ready) = watch::channel(settings.ffmpeg_build.is_none());
    config.function_ready = Some(is_function_ready);
    config.render =
        Some(render_settings(settings.render.clone(), settings.render_port, &tools, concurrency, timeout));
    config.notify = Some(notify_settings(settings, &edge));
    let cloud = Cloud::start(config).await?;
    let provider = OidcSettings {
        root: settings.root.clone(),
        port: settings.oidc_port,
        client_id: CLIENT_ID.into(),
        redirect_uri: format!("{edge}/auth/callback"),
    };
    let oidc = OidcProvider::start(provider, cloud.watchdog(), |line| {
        tracing::info!(target: "oidc", "{line}");
    })
    .await?;
    let worker = WorkerdSettings {
        root: settings.root.clone(),
        port: settings.port,
        vars: worker_vars(settings, &edge, &cloud, oidc.issuer()),
        persist_to: settings.data.join("workerd"),
    };
    // wrangler's startup output is of no use to the user; if it fails, its last lines are in the error.
    let is_ready = Arc::new(AtomicBool::new(false));
    let is_visible = Arc::clone(&is_ready);
    let workerd = Workerd::start(worker, cloud.watchdog(), move |line| {
        if is_visible.load(Ordering::Relaxed) && !line.trim().is_empty() {
            tracing::info!(target: "workerd", "{line}");
        } else {
            tracing::debug!(target: "workerd", "{line}");
        }
    })
    .await?;
    is_ready.store(true, Ordering::Relaxed);
    Ok((cloud, oidc, workerd, function_ready))
}

/// Builds ffmpeg with the script; the queue's function is ready as soon as that succeeds.
async fn build_ffmpeg(
    settings: DevSettings,
    script: PathBuf,
    watchdog: Watchdog,
    function_ready: watch::Sender<bool>,
) {
    let ffmpeg = settings.ffmpeg.unwrap_or_default();
    let program = ProgramSpec {
        name: "the build of ffmpeg",
        // The page has priority.
        file: "nice".into(),
        args: vec!["-n".into(), "10".into(), script.to_string_lossy().into_owned()],
        env: BTreeMap::new(),
        clear_env: false,
        current_dir: settings.root,
    };
    // Its last line is the folder of `bin/ffmpeg`.
    let folder = ffmpeg.parent().and_then(Path::parent).unwrap_or(&ffmpeg);
    let ready = Readiness::Line(folder.to_string_lossy().into_owned());
    let print = |line: &str| tracing::info!(target: "ffmpeg", "{line}");
    let started = ManagedProcess::start(program, ready, FFMPEG_BUILD_TIMEOUT, &watchdog, print).await;
    let error = match started {
        Ok(process) => {
            // It removes its temporary files.
            process.wait().await;
            None
        }
        // The script writes the path of the folder in another way.
        Err(StartError::Ended { .. }) if ffmpeg.is_file() => None,
        Err(error) => Some(error),
    };
    match error {
        None => {
            tracing::info!(target: "ffmpeg", "ffmpeg is there: videos are processed from now on");
            function_ready.send_replace(true);
        }
        Some(error) => tracing::error!(
            target: "ffmpeg",
            "{error}\nNo video is processed. Fix the error and start again, or set GLIMPSE_FFMPEG and GLIMPSE_FFPROBE to \
             other programs."
        ),
    }
}

/// The subject that the local provider assigns to this name (`local/oidc/provider.mjs`).
fn subject_for(name: &str) -> String {
    let mut subject = URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes()));
    subject.truncate(22);
    subject
}

/// A token for a Worker whose OpenID provider listens on this port of this machine.
pub(crate) fn dev_token(oidc_port: u16) -> String {
    bearer_token(&format!("http://localhost:{oidc_port}"), WallClock::system().now_ms() / 1000)
}

/// A token that the Worker on this machine accepts: HS256 with the development secret.
fn bearer_token(issuer: &str, now_secs: i64) -> String {
    let claims =
        json!({ "iss": issuer, "sub": subject_for("dev"), "aud": AUDIENCE, "exp": now_secs + TOKEN_SECS });
    let parts = [json!({ "alg": "HS256", "typ": "JWT" }), claims];
    let signing_input = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let mut mac =
        Hmac::<Sha256>::new_from_slice(JWT_SECRET.as_bytes()).expect("HMAC accepts keys of any length");
    mac.update(signing_input.as_bytes());
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The notify function for the endpoints of `--webhook`. Without endpoints its queue exists too, and it delivers
/// nothing.
fn notify_settings(settings: &DevSettings, edge: &str) -> NotifySettings {
    let mut notify = NotifySettings::new(edge).with_function(settings.notify.clone());
    notify.listen.set_port(settings.services_port);
    let join_endpoints = |value: &dyn Fn(&String) -> String| -> String {
        let items = settings.webhook_urls.iter().enumerate();
        let items: Vec<_> = items.map(|(index, url)| format!("hook-{index}={}", value(url))).collect();
        items.join(" ")
    };
    if let Some(function) = &mut notify.function {
        function.env = [
            ("WEBHOOK_URLS", join_endpoints(&String::clone)),
            ("WEBHOOK_SECRETS", join_endpoints(&|_| WEBHOOK_SECRET.to_owned())),
            ("WEBHOOK_ALLOW_LOOPBACK", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    }
    notify
}

fn worker_vars(settings: &DevSettings, edge: &str, cloud: &Cloud, issuer: &str) -> BTreeMap<String, String> {
    let s3 = cloud.settings();
    let origins = settings.cors_origins.join(",");
    [
        ("PUBLIC_URL", edge),
        ("S3_BUCKET", &s3.bucket),
        ("S3_REGION", &s3.region),
        ("S3_ENDPOINT", &cloud.addresses().s3_endpoint),
        ("S3_ACCESS_KEY_ID", &s3.access_key_id),
        ("S3_SECRET_ACCESS_KEY", &s3.secret_access_key),
        ("RENDER_URL", cloud.addresses().render.as_deref().unwrap_or_default()),
        ("OIDC_ISSUER", issuer),
        ("OIDC_CLIENT_ID", CLIENT_ID),
        ("SESSION_SECRET", SESSION_SECRET),
        ("UPLOAD_TOKEN_SECRETS", UPLOAD_TOKEN_SECRETS),
        ("DELIVERY_TOKEN_SECRETS", DELIVERY_TOKEN_SECRETS),
        ("JWT_ISSUER", issuer),
        ("JWT_AUDIENCE", AUDIENCE),
        ("JWT_SECRET", JWT_SECRET),
        ("ALLOWED_ORIGINS", &origins),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// Checks the prerequisites before anything starts.
fn check_settings(mut settings: DevSettings) -> anyhow::Result<DevSettings> {
    for (flag, port) in [
        ("--port", settings.port),
        ("--s3-port", settings.s3_port),
        ("--render-port", settings.render_port),
        ("--services-port", settings.services_port),
        ("--oidc-port", settings.oidc_port),
    ] {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Err(error) = TcpListener::bind(address) {
            bail!(
                "port {port} cannot be used ({error}): stop the program that uses it, or choose another with {flag}"
            );
        }
    }
    for binary in [&mut settings.preview, &mut settings.render, &mut settings.notify] {
        if !binary.is_file() {
            bail!(
                "there is no function binary at {}: run `cargo build --package glimpse-backend --bins`",
                binary.display()
            );
        }
        *binary = binary.canonicalize()?;
    }
    for needed in ["node_modules/wrangler/bin/wrangler.js", "wrangler.toml", "local/oidc/provider.mjs"] {
        if !settings.root.join(needed).is_file() {
            bail!(
                "{needed} is missing in {}: run `cargo xtask dev`, which sets everything up",
                settings.root.display()
            );
        }
    }
    if let Some(script) = &settings.ffmpeg_build {
        if !script.is_file() || settings.ffmpeg.is_none() || settings.ffprobe.is_none() {
            bail!("--ffmpeg-build needs an existing program, and --ffmpeg and --ffprobe, which it builds");
        }
        return Ok(settings);
    }
    settings.ffmpeg = Some(find_program("ffmpeg", settings.ffmpeg)?);
    settings.ffprobe = Some(find_program("ffprobe", settings.ffprobe)?);
    Ok(settings)
}

fn find_program(name: &str, path: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let is_there = |path: &Path| path.is_file();
    match path {
        Some(path) if is_there(&path) => Ok(path.canonicalize()?),
        Some(path) => bail!("there is no {name} at {}: install it, or correct --{name}", path.display()),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found =
                std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_there(path));
            match found {
                Some(path) => Ok(path),
                None => bail!(
                    "{name} is not installed: install it (Debian: apt-get install ffmpeg), or name it with --{name}"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected signature was computed with Python's hmac module.
    #[test]
    fn printed_token_is_stable() {
        let token = bearer_token("http://localhost:9400", 0);
        let claims =
            br#"{"aud":"glimpse","exp":604800,"iss":"http://localhost:9400","sub":"7yYOmqPGc68kDReiZgSANh"}"#;
        assert_eq!(token.split('.').nth(1), Some(URL_SAFE_NO_PAD.encode(claims).as_str()));
        assert_eq!(token.split('.').nth(2), Some("BoxCsavRu4aKIumd1zvFhi91yeOX1QAKn6C1F8huXos"));
    }
}
