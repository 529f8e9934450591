//! Parses the command line.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use glimpse_local::config::{EDGE_PORT, OIDC_PORT, RENDER_PORT, S3_PORT, SERVICES_PORT};
use glimpse_local::s3::cors::CorsRule;
use glimpse_local::{Config, FunctionSettings, FunctionUrlSettings};
use lexopt::{Arg, Parser, ValueExt as _};

pub(crate) const HELP: &str = "\
Glimpse's cloud on one machine.

glimpse-local serve [--listen ADDRESS] [--data DIR] [--preview PATH] [--render PATH] [--cors ORIGIN]...
    Starts S3, the queue, and the functions of --preview and --render.
glimpse-local dev [--root DIR] [--data DIR] [--preview PATH] [--render PATH] [--notify PATH] [--webhook URL]...
                  [--cors ORIGIN]... [--port N] [--s3-port N] [--render-port N] [--services-port N] [--oidc-port N]
    Starts all of these, the Worker in workerd, and an OpenID provider.
glimpse-local token [--oidc-port N]
    Prints a bearer token for the Worker of `dev`.

  --listen ADDRESS    the address of S3 (127.0.0.1:9000)
  --data DIR          the folder of persistent data (target/dev)
  --preview PATH      the binary of the function that the queue invokes (dev: target/debug/preview)
  --render PATH       the binary of the function with a URL (dev: `render` next to preview)
  --notify PATH       the binary of the function that delivers webhooks (`notify` next to preview)
  --webhook URL       an endpoint for webhooks, http on this machine or https; repeatable
  --ffmpeg PATH       ffmpeg for the functions (dev: from the search path)
  --ffprobe PATH      ffprobe for the functions (dev: from the search path)
  --ffmpeg-build PATH a program that builds the two, and prints their folder last; videos wait for it in the queue
  --concurrency N     the number of concurrent environments of each function (2)
  --timeout SECS      the timeout of one invocation (120; of render at most 30)
  --cors ORIGIN       an origin whose pages may call S3 and the API, e.g. http://localhost:5173; repeatable
  --root DIR          the project (.)
  --port N            the Worker's port (8787)
  --s3-port N         the S3 server's port (9000)
  --render-port N     the port of the function URL (9002)
  --services-port N   the port of the notify queue and the topic (9003)
  --oidc-port N       the OpenID provider's port (9400)
GLIMPSE_LOG sets the log level, e.g. debug or s3=debug.";

pub(crate) enum Command {
    Help,
    Serve(Box<Config>),
    Dev(Box<DevSettings>),
    /// Print a token of the provider at this port.
    Token(u16),
}

/// Settings of `dev`.
#[derive(Clone)]
pub(crate) struct DevSettings {
    pub(crate) root: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) preview: PathBuf,
    pub(crate) render: PathBuf,
    pub(crate) notify: PathBuf,
    pub(crate) webhook_urls: Vec<String>,
    pub(crate) ffmpeg: Option<PathBuf>,
    pub(crate) ffprobe: Option<PathBuf>,
    /// The program that builds `ffmpeg` and `ffprobe`, which do not exist yet.
    pub(crate) ffmpeg_build: Option<PathBuf>,
    pub(crate) port: u16,
    pub(crate) s3_port: u16,
    pub(crate) render_port: u16,
    pub(crate) services_port: u16,
    pub(crate) oidc_port: u16,
    pub(crate) concurrency: usize,
    pub(crate) timeout: Duration,
    pub(crate) cors_origins: Vec<String>,
}

#[derive(Default)]
struct Flags {
    listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    preview: Option<PathBuf>,
    render: Option<PathBuf>,
    notify: Option<PathBuf>,
    webhook_urls: Vec<String>,
    ffmpeg: Option<PathBuf>,
    ffprobe: Option<PathBuf>,
    ffmpeg_build: Option<PathBuf>,
    concurrency: Option<usize>,
    timeout: Option<u64>,
    cors_origins: Vec<String>,
    root: Option<PathBuf>,
    port: Option<u16>,
    s3_port: Option<u16>,
    render_port: Option<u16>,
    services_port: Option<u16>,
    oidc_port: Option<u16>,
}

/// Parses the arguments, without the program name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Command> {
    let mut parser = Parser::from_args(args);
    let mut verb = None;
    let mut flags = Flags::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Value(word) if verb.is_none() => verb = Some(word.string()?),
            Arg::Long("listen") => flags.listen = Some(parser.value()?.parse().context("--listen")?),
            Arg::Long("data") => flags.data = Some(parser.value()?.into()),
            Arg::Long("preview") => flags.preview = Some(parser.value()?.into()),
            Arg::Long("render") => flags.render = Some(parser.value()?.into()),
            Arg::Long("notify") => flags.notify = Some(parser.value()?.into()),
            Arg::Long("webhook") => flags.webhook_urls.push(parse_webhook_url(parser.value()?.string()?)?),
            Arg::Long("ffmpeg") => flags.ffmpeg = Some(parser.value()?.into()),
            Arg::Long("ffprobe") => flags.ffprobe = Some(parser.value()?.into()),
            Arg::Long("ffmpeg-build") => flags.ffmpeg_build = Some(parser.value()?.into()),
            Arg::Long("concurrency") => {
                flags.concurrency = Some(parser.value()?.parse().context("--concurrency")?);
            }
            Arg::Long("timeout") => flags.timeout = Some(parser.value()?.parse().context("--timeout")?),
            Arg::Long("cors") => flags.cors_origins.push(parse_origin(&parser.value()?.string()?)?),
            Arg::Long("root") => flags.root = Some(parser.value()?.into()),
            Arg::Long("port") => flags.port = Some(parser.value()?.parse().context("--port")?),
            Arg::Long("s3-port") => flags.s3_port = Some(parser.value()?.parse().context("--s3-port")?),
            Arg::Long("render-port") => {
                flags.render_port = Some(parser.value()?.parse().context("--render-port")?);
            }
            Arg::Long("services-port") => {
                flags.services_port = Some(parser.value()?.parse().context("--services-port")?);
            }
            Arg::Long("oidc-port") => flags.oidc_port = Some(parser.value()?.parse().context("--oidc-port")?),
            other => return Err(other.unexpected().into()),
        }
    }
    if flags.concurrency == Some(0) || flags.timeout == Some(0) {
        bail!("--concurrency and --timeout must be at least 1");
    }
    match verb.as_deref() {
        Some("serve") => Ok(Command::Serve(Box::new(serve_config(flags)))),
        Some("token") => Ok(Command::Token(flags.oidc_port.unwrap_or(OIDC_PORT))),
        Some("dev") => Ok(Command::Dev(Box::new(dev_settings(flags)?))),
        Some(other) => bail!("unknown command `{other}`: use serve, dev or token, or --help"),
        None => bail!("missing command: use serve, dev or token, or --help"),
    }
}

/// Parses a page's origin as browsers send it: a scheme and a host, with at most a trailing slash as in an address bar.
/// Apps use their own schemes: `capacitor://localhost`.
fn parse_origin(text: &str) -> anyhow::Result<String> {
    let bare = text.strip_suffix('/').filter(|bare| !bare.ends_with('/')).unwrap_or(text);
    let (scheme, host) = bare.split_once("://").unwrap_or_default();
    let is_site = matches!(scheme, "http" | "https");
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // Pages of files have the origin `null`, which all sandboxed pages share.
    let has_origin = is_scheme && !matches!(scheme, "file" | "data" | "blob" | "javascript");
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:[]".contains(&byte);
    if !has_origin || (is_site && host.is_empty()) || !host.bytes().all(is_host) {
        bail!("--cors {text}: expected an origin such as http://localhost:5173");
    }
    Ok(bare.to_owned())
}

/// Parses an endpoint that `notify` accepts: HTTPS anywhere, HTTP on this machine.
fn parse_webhook_url(text: String) -> anyhow::Result<String> {
    let host = text.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let is_here = host.is_some_and(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    });
    if !is_here && !text.starts_with("https://") {
        bail!("--webhook {text}: expected a URL such as http://localhost:3000/hooks, or one with https");
    }
    Ok(text)
}

fn serve_config(flags: Flags) -> Config {
    let mut config = Config::new(flags.data.unwrap_or_else(|| "target/dev".into()));
    config.listen = flags.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, S3_PORT).into());
    if !flags.cors_origins.is_empty() {
        config.s3.cors_rules = vec![CorsRule::for_uploads(flags.cors_origins)];
    }
    let timeout = Duration::from_secs(flags.timeout.unwrap_or(120));
    let tools = FfmpegPaths { ffmpeg: flags.ffmpeg, ffprobe: flags.ffprobe };
    let concurrency = flags.concurrency.unwrap_or(2);
    config.render = flags.render.map(|binary| {
        let port = flags.render_port.unwrap_or(RENDER_PORT);
        render_settings(binary, port, &tools, concurrency, timeout)
    });
    config.function = flags.preview.map(|binary| {
        let mut function = FunctionSettings::new(binary);
        configure_function(&mut function, &tools, concurrency, timeout);
        function
    });
    if let Some(function) = &config.function {
        config.queue.visibility_timeout = visibility_timeout(function.timeout);
    }
    config
}

fn dev_settings(flags: Flags) -> anyhow::Result<DevSettings> {
    let root = flags.root.unwrap_or_else(|| ".".into());
    let root = root.canonicalize().with_context(|| format!("the project folder {}", root.display()))?;
    let preview = flags.preview.unwrap_or_else(|| root.join("target/debug/preview"));
    Ok(DevSettings {
        data: flags.data.unwrap_or_else(|| root.join("target/dev")),
        render: flags.render.unwrap_or_else(|| preview.with_file_name("render")),
        notify: flags.notify.unwrap_or_else(|| preview.with_file_name("notify")),
        webhook_urls: flags.webhook_urls,
        preview,
        ffmpeg: flags.ffmpeg,
        ffprobe: flags.ffprobe,
        ffmpeg_build: flags.ffmpeg_build,
        port: flags.port.unwrap_or(EDGE_PORT),
        s3_port: flags.s3_port.unwrap_or(S3_PORT),
        render_port: flags.render_port.unwrap_or(RENDER_PORT),
        services_port: flags.services_port.unwrap_or(SERVICES_PORT),
        oidc_port: flags.oidc_port.unwrap_or(OIDC_PORT),
        concurrency: flags.concurrency.unwrap_or(2),
        timeout: Duration::from_secs(flags.timeout.unwrap_or(120)),
        cors_origins: flags.cors_origins,
        root,
    })
}

/// The programs with which the functions decode.
#[derive(Debug, Clone, Default)]
pub(crate) struct FfmpegPaths {
    pub(crate) ffmpeg: Option<PathBuf>,
    pub(crate) ffprobe: Option<PathBuf>,
}

/// Sets a function's tools and limits.
pub(crate) fn configure_function(
    function: &mut FunctionSettings,
    tools: &FfmpegPaths,
    concurrency: usize,
    timeout: Duration,
) {
    for (name, tool) in [("GLIMPSE_FFMPEG", &tools.ffmpeg), ("GLIMPSE_FFPROBE", &tools.ffprobe)] {
        if let Some(tool) = tool {
            function.env.insert(name.into(), tool.to_string_lossy().into_owned());
        }
    }
    function.concurrency = concurrency;
    function.timeout = timeout;
}

/// The function with a URL. The client waits for its response, so it has less time than the other function.
pub(crate) fn render_settings(
    binary: PathBuf,
    port: u16,
    tools: &FfmpegPaths,
    concurrency: usize,
    timeout: Duration,
) -> FunctionUrlSettings {
    let mut settings = FunctionUrlSettings::new(binary);
    settings.listen.set_port(port);
    let timeout = timeout.min(settings.function.timeout);
    configure_function(&mut settings.function, tools, concurrency, timeout);
    settings
}

/// The visibility timeout of messages: AWS requires at least the function's timeout. On one machine nothing else delays
/// a retry, so it is only a little longer.
pub(crate) fn visibility_timeout(timeout: Duration) -> Duration {
    timeout + Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> anyhow::Result<Command> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn parses_serve_flags() {
        let words = [
            "serve",
            "--listen=127.0.0.1:0",
            "--preview",
            "bin/preview",
            "--cors",
            "http://a",
            "--timeout",
            "7",
            "--render",
            "bin/render",
            "--render-port",
            "0",
            "--ffmpeg",
            "bin/ffmpeg",
        ];
        let Ok(Command::Serve(config)) = parse_words(&words) else { panic!("the command line is valid") };
        let function = config.function.expect("--preview was given");
        assert_eq!((config.listen.port(), function.timeout.as_secs()), (0, 7));
        let render = config.render.expect("--render was given");
        assert_eq!((render.listen.port(), render.function.timeout.as_secs()), (0, 7));
        assert_eq!(render.function.env, function.env);
        assert_eq!(config.s3.cors_rules[0].allowed_origins, ["http://a"]);
        assert!(config.queue.visibility_timeout > function.timeout);
    }

    #[test]
    fn validates_origins_and_webhook_urls() {
        let Ok(Command::Dev(dev)) = parse_words(&["dev", "--cors", "http://localhost:5173/"]) else {
            panic!("the command line is valid")
        };
        assert_eq!(dev.cors_origins, ["http://localhost:5173"], "as browsers send it");
        for app in ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://.", "app://"] {
            let Ok(Command::Dev(dev)) = parse_words(&["dev", "--cors", app]) else {
                panic!("{app} is an origin")
            };
            assert_eq!(dev.cors_origins, [app]);
        }
        for wrong in [
            "localhost:5173",
            "http://",
            "*",
            "null",
            "file://",
            "capacitor://*",
            "http://localhost:5173/app",
            "http://a,http://b",
        ] {
            assert!(parse_words(&["dev", "--cors", wrong]).is_err(), "{wrong}");
        }
        for good in
            ["http://localhost:3000/hooks", "http://127.0.0.1", "http://[::1]:9/x", "https://a.example/"]
        {
            assert!(parse_words(&["dev", "--webhook", good]).is_ok(), "{good}");
        }
        for wrong in
            ["localhost:3000/hooks", "http://a.example/hooks", "http://localhost.a.example/", "/hooks"]
        {
            assert!(parse_words(&["dev", "--webhook", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rejects_unknown_arguments() {
        for words in
            [&[][..], &["fly"], &["serve", "--wings"], &["serve", "--timeout", "0"], &["dev", "--port", "x"]]
        {
            assert!(parse_words(words).is_err(), "{words:?}");
        }
        assert!(matches!(parse_words(&["--help"]), Ok(Command::Help)));
    }
}
