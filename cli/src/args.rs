//! The command line: commands, options and their help.

#![expect(rustdoc::bare_urls, reason = "doc comments are the help texts")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use glimpse_contract::VideoId;

use crate::origin::{parse_duration, parse_time, parse_video};
use crate::parameters::{FileKind, ImageParameters};
use crate::secret::Secret;

/// The help of all commands ends with this.
const AFTER_HELP: &str = "\
Environment: GLIMPSE_URL and GLIMPSE_TOKEN replace --url and --token; GLIMPSE_COOKIE is a browser's session cookie, \
name=value.

Exit status: 0 done, 1 failed, 2 invalid arguments, 3 not authenticated, 4 not found, 5 the video was rejected or could \
not be processed, 6 no response or too many requests, 130 interrupted.";

/// The heading of the options of all commands.
const SHARED_HEADING: &str = "Options of all commands";

/// Uploads, lists, shows and signs videos of a Glimpse deployment.
#[derive(Debug, Parser)]
#[command(name = "glimpse", version, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = false)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) shared: SharedOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of all commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct SharedOptions {
    /// Address of the deployment, or of an upload token [default: that of the last login]
    #[arg(help_heading = SHARED_HEADING, long, global = true, env = "GLIMPSE_URL",
        value_name = "URL",
        visible_alias = "edge",
        hide_env = true
    )]
    pub(crate) url: Option<String>,
    /// Bearer token, or - to read it from standard input. Other users can see arguments: prefer GLIMPSE_TOKEN
    #[arg(help_heading = SHARED_HEADING, long, global = true, env = "GLIMPSE_TOKEN", value_name = "TOKEN", hide_env = true)]
    pub(crate) token: Option<Secret>,
    /// Print JSON: one document, or one a line for lists and streams
    #[arg(help_heading = SHARED_HEADING, long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in to a deployment with a browser, or store the token of --token
    Login(LoginOptions),
    /// Forget the stored credential
    Logout {
        /// Forget the credentials of all deployments
        #[arg(long)]
        all: bool,
    },
    /// Show who is signed in, until when, and what may be uploaded
    Whoami,
    /// Upload files; an interrupted upload is resumed by the same command
    Upload(UploadOptions),
    /// List your videos, newest first
    Ls {
        /// List at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show all about a video
    Show {
        /// Id of the video, or a URL that contains it
        #[arg(value_parser = parse_video)]
        video: VideoId,
    },
    /// Delete videos permanently
    Rm {
        /// Ids of the videos, or URLs that contain them
        #[arg(value_parser = parse_video, required = true, value_name = "VIDEO")]
        videos: Vec<VideoId>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Choose the frame of a video's poster
    Poster {
        /// Id of the video, or a URL that contains it
        #[arg(value_parser = parse_video)]
        video: VideoId,
        /// Time of the frame, in seconds (83.5) or as a clock (1:23.5)
        #[arg(value_parser = parse_time, required_unless_present = "reset", conflicts_with = "reset")]
        time: Option<f64>,
        /// Choose the best frame again
        #[arg(long)]
        reset: bool,
    },
    /// Open the page of a video in the browser
    Open {
        /// Id of the video, or a URL that contains it
        #[arg(value_parser = parse_video)]
        video: VideoId,
    },
    /// Print the URL of an image, a clip or the uploaded file; signed for private videos
    Url(UrlOptions),
    /// Create tokens for uploading or viewing
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the state of a video, or its changes
    Events {
        /// Id of the video, or a URL that contains it
        #[arg(value_parser = parse_video)]
        video: VideoId,
        /// Print every change until the video is ready, rejected or failed
        #[arg(long, short)]
        follow: bool,
    },
    /// Check a deployment end to end with a small video, and report the first issue with its fix
    Doctor(DoctorOptions),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write those of all commands to a folder
    Man {
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// The options of `glimpse login`.
#[derive(Debug, Args)]
pub(crate) struct LoginOptions {
    /// Address of the deployment, such as https://video.example.com
    #[arg(value_name = "URL")]
    pub(crate) address: Option<String>,
    /// Only print the address at which to sign in
    #[arg(long)]
    pub(crate) no_browser: bool,
}

/// The options of `glimpse upload`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct UploadOptions {
    /// Files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Wait until the videos are ready, rejected or failed
    #[arg(long, short)]
    pub(crate) wait: bool,
    /// Name of the video [default: that of the file]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Media type [default: by the name]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    #[command(flatten)]
    pub(crate) details: DetailOptions,
    /// Send files in one request, up to 5 GiB; such an upload cannot be resumed
    #[arg(long)]
    pub(crate) whole: bool,
    /// Number of requests at once
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) parallel: u8,
    /// Neither resume an unfinished upload nor record this one
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Who may view a video's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VisibilityOption {
    /// Everyone who knows the URL.
    Public,
    /// The owner, and holders of a signed link.
    Signed,
}

/// What is stored with a video.
#[derive(Debug, Args)]
pub(crate) struct DetailOptions {
    /// Who may view the images [default: as the deployment decides]
    #[arg(long)]
    visibility: Option<VisibilityOption>,
    /// Your own id of the video
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Your own field of the video; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_field)]
    metadata: Vec<(String, String)>,
}

impl DetailOptions {
    /// The members of a request.
    pub(crate) fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut members = serde_json::Map::new();
        if let Some(visibility) = self.visibility {
            let word = match visibility {
                VisibilityOption::Public => "public",
                VisibilityOption::Signed => "signed",
            };
            members.insert("visibility".to_owned(), word.into());
        }
        members.extend(self.external_id.clone().map(|id| ("external_id".to_owned(), id.into())));
        if !self.metadata.is_empty() {
            let fields: serde_json::Map<_, _> =
                self.metadata.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            members.insert("metadata".to_owned(), fields.into());
        }
        members
    }
}

fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The options of `glimpse url`.
#[derive(Debug, Args)]
#[command(after_help = "\
With GLIMPSE_DELIVERY_SECRET, a pair key=secret of the deployment's DELIVERY_TOKEN_SECRETS, the link is signed without a \
request. Otherwise the API signs it, unless the video is public and --expires is not given.")]
pub(crate) struct UrlOptions {
    /// Id of the video, or a URL that contains it
    #[arg(value_parser = parse_video)]
    pub(crate) video: VideoId,
    /// What the URL leads to
    #[arg(long = "type", value_enum, default_value_t = FileKind::Thumbnail)]
    pub(crate) kind: FileKind,
    /// Format, such as webp, mp4 or vtt [default: jpg, or gif for an animation, mp4 for a clip]
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Format of the sheet that a storyboard's table refers to: jpg or webp
    #[arg(long, value_name = "FORMAT")]
    pub(crate) sheet: Option<String>,
    /// How long the link is valid, such as 90s, 30m, 12h or 7d [default: 1h if it must be signed]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) expires: Option<Duration>,
    /// Only build the URL, without a request
    #[arg(long, conflicts_with = "expires")]
    pub(crate) unsigned: bool,
    #[command(flatten)]
    pub(crate) parameters: ImageParameters,
}

/// The commands of `glimpse token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create an upload token, and print its URL
    Upload(UploadTokenOptions),
    /// Create a token to view a file of a private video
    Delivery(DeliveryTokenOptions),
}

/// The options of `glimpse token upload`.
#[derive(Debug, Args)]
#[command(after_help = "\
With GLIMPSE_UPLOAD_SECRET, a pair key=secret of the deployment's UPLOAD_TOKEN_SECRETS, and --issuer and --subject, the \
token is created without a request.")]
pub(crate) struct UploadTokenOptions {
    /// Maximum size of each video in bytes [default: that of the deployment]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Media type that may be uploaded; repeatable [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Number of videos [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(crate) videos: Option<u32>,
    /// How long the token is valid, at most 1d [default: 1h]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) details: DetailOptions,
    /// Issuer of the account that will own the videos
    #[arg(long, value_name = "ISS")]
    pub(crate) issuer: Option<String>,
    /// Subject of the account that will own the videos
    #[arg(long, value_name = "SUB")]
    pub(crate) subject: Option<String>,
}

/// The options of `glimpse token delivery`.
#[derive(Debug, Args)]
#[command(after_help = "\
With GLIMPSE_DELIVERY_SECRET, a pair key=secret of the deployment's DELIVERY_TOKEN_SECRETS, the token is created without \
a request.")]
pub(crate) struct DeliveryTokenOptions {
    /// Id of the video, or a URL that contains it
    #[arg(value_parser = parse_video)]
    pub(crate) video: VideoId,
    /// What the token is for
    #[arg(long = "type", value_enum, default_value_t = FileKind::Thumbnail)]
    pub(crate) kind: FileKind,
    /// How long the token is valid, such as 90s, 30m, 12h or 7d [default: 1h]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) parameters: ImageParameters,
}

/// The options of `glimpse doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
The video is always deleted at the end. Exit status: 0 if no issue was found, 1 if an issue was found, 2 if the checks \
could not run.")]
pub(crate) struct DoctorOptions {
    /// A site whose pages upload; repeatable [default: the deployment]
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<String>,
    /// How long the video may be processed, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 120)]
    pub(crate) wait: u64,
    /// Output of `deploy/account roles`, reported first; without --url, only the roles are reported
    #[arg(long, value_name = "FILE", action = ArgAction::Set)]
    pub(crate) roles: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const VIDEO: &str = "7zzzzzzzzz0123456789abcdef";

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("glimpse").chain(line.split_whitespace()))
    }

    #[test]
    fn definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn shared_options_may_follow_the_command() {
        let arguments = parse("ls --limit 3 --json --url https://a --token hush").unwrap();
        assert!(matches!(arguments.command, Command::Ls { limit: Some(3) }));
        assert!(arguments.shared.json && arguments.shared.url.as_deref() == Some("https://a"));
        assert!(!format!("{:?}", arguments.shared).contains("hush"));
        assert_eq!(parse("doctor --edge https://a").unwrap().shared.url.as_deref(), Some("https://a"));
    }

    #[test]
    fn url_takes_every_parameter() {
        let line = format!("url {VIDEO} --time 3 --width 320 --expires 1h --format webp --fit-mode crop");
        let Command::Url(options) = parse(&line).unwrap().command else { panic!("{line}") };
        assert_eq!(options.expires, Some(Duration::from_hours(1)));
        let names: Vec<_> = options.parameters.0.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["time", "width", "fit_mode"]);
    }

    #[test]
    fn upload_collects_details() {
        let line = "upload a.mp4 b.mp4 --visibility signed --external-id 7 --metadata a=b=c --metadata d=";
        let Command::Upload(options) = parse(line).unwrap().command else { panic!("{line}") };
        assert_eq!(options.files, ["a.mp4", "b.mp4"]);
        assert_eq!(
            serde_json::Value::from(options.details.members()),
            serde_json::json!({ "visibility": "signed", "external_id": "7", "metadata": { "a": "b=c", "d": "" } })
        );
    }

    #[test]
    fn rejects_invalid_arguments() {
        for line in [
            "",
            "fly",
            "show",
            "show x",
            "rm",
            "upload",
            "upload a --metadata x",
            "upload a --parallel 0",
            "upload a --visibility secret",
            "ls --limit x",
            "url 7zzzzzzzzz0123456789abcdef --expires 1w",
            "url 7zzzzzzzzz0123456789abcdef --expires 1h --unsigned",
            "url 7zzzzzzzzz0123456789abcdef --type film",
            "poster 7zzzzzzzzz0123456789abcdef",
            "poster 7zzzzzzzzz0123456789abcdef 1 --reset",
            "poster 7zzzzzzzzz0123456789abcdef 1:99",
            "token",
            "completions tcsh",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert!(parse(&format!("poster {VIDEO} --reset")).is_ok());
    }
}
