//! `glimpse`: the command-line tool for users and operators of a deployment. It parses the arguments, runs the command
//! and ends with its exit status.

mod api;
mod args;
mod config;
mod context;
mod doctor;
mod events;
mod failure;
mod links;
mod login;
mod manual;
mod origin;
mod output;
mod parameters;
mod retry;
mod secret;
mod sign;
mod upload;
mod videos;

use std::process::ExitCode;

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::args::{Arguments, Command, SharedOptions, TokenCommand, UploadTokenOptions};
use crate::config::Folders;
use crate::context::Context;
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::links::{DELIVERY_SECRET, UPLOAD_SECRET, UploadTokenRequest, UrlRequest, key_from};
use crate::output::{Output, print_note};
use crate::secret::Secret;

fn main() -> ExitCode {
    // Invalid arguments end the program with status 2, help and version with 0.
    let Arguments { shared, command } = Arguments::parse();
    let output = Output { is_json: shared.json };
    let result = new_context(shared, output).and_then(|context| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("cannot start the async runtime", &error))?;
        let result = runtime.block_on(run(&context, command));
        // A thread may still read standard input.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.status != ExitStatus::OutputClosed {
                print_failure(&failure, output);
            }
            ExitCode::from(failure.status as u8)
        }
    }
}

fn print_failure(failure: &Failure, output: Output) {
    if output.is_json { print_note(failure.to_json()) } else { print_note(format!("glimpse: {failure}")) }
}

/// The value of an environment variable without surrounding spaces; `None` if it is empty.
fn lookup(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn new_context(shared: SharedOptions, output: Output) -> CommandResult<Context> {
    let token = shared.token.map(|token| Secret::new(token.expose().trim()));
    let token = match token.filter(|token| !token.expose().is_empty()) {
        Some(token) if token.expose() == "-" => {
            let mut line = String::new();
            std::io::stdin()
                .read_line(&mut line)
                .map_err(|error| Failure::io("cannot read the token from standard input", &error))?;
            Some(Secret::new(line.trim()))
        }
        token => token,
    };
    Ok(Context {
        url: shared.url.filter(|url| !url.trim().is_empty()),
        token,
        cookie: lookup("GLIMPSE_COOKIE").map(Secret::new),
        folders: Folders::from_lookup(lookup),
        output,
        now: Timestamp::now,
    })
}

/// Runs a command, and returns its exit status.
async fn run(context: &Context, command: Command) -> CommandResult<u8> {
    match command {
        Command::Login(options) => {
            login::login(context, options.address.as_deref(), options.no_browser).await?;
        }
        Command::Logout { all } => login::logout(context, all)?,
        Command::Whoami => login::whoami(context).await?,
        Command::Upload(options) => {
            let options = upload::UploadOptions {
                files: options.files,
                name: options.name,
                content_type: options.content_type,
                details: options.details.members(),
                is_whole: options.whole,
                parallel: options.parallel.into(),
                is_waiting: options.wait,
                is_quiet: options.quiet,
                is_fresh: options.no_resume,
            };
            upload::run(context, options).await?;
        }
        Command::Ls { limit } => videos::list(context, limit).await?,
        Command::Show { video } => videos::show(context, video).await?,
        Command::Rm { videos, yes } => videos::remove(context, &videos, yes).await?,
        Command::Poster { video, time, .. } => videos::set_poster(context, video, time).await?,
        Command::Open { video } => videos::open_page(context, video)?,
        Command::Url(options) => {
            let key = key_from(DELIVERY_SECRET, lookup(DELIVERY_SECRET).as_deref())?;
            let request = UrlRequest {
                video: options.video,
                kind: options.kind,
                format: options.format.as_deref(),
                sheet: options.sheet.as_deref(),
                parameters: &options.parameters,
                expires: options.expires,
                is_unsigned: options.unsigned,
            };
            links::print_url(context, &request, key).await?;
        }
        Command::Token(TokenCommand::Upload(options)) => {
            let key = key_from(UPLOAD_SECRET, lookup(UPLOAD_SECRET).as_deref())?;
            links::print_upload_token(context, upload_token_request(options), key).await?;
        }
        Command::Token(TokenCommand::Delivery(options)) => {
            let key = key_from(DELIVERY_SECRET, lookup(DELIVERY_SECRET).as_deref())?;
            let args::DeliveryTokenOptions { video, kind, expires, parameters } = options;
            links::print_delivery_token(context, video, kind, &parameters, expires, key).await?;
        }
        Command::Events { video, follow } => events::run(context, video, follow).await?,
        Command::Doctor(options) => return doctor::run(context, &options).await,
        Command::Completions { shell } => manual::print_completions(shell)?,
        Command::Man { out } => manual::print_man_page(out.as_deref())?,
    }
    Ok(0)
}

fn upload_token_request(options: UploadTokenOptions) -> UploadTokenRequest {
    let mut members: Map<String, Value> = options.details.members();
    members.extend(options.max_bytes.map(|bytes| ("max_bytes".to_owned(), bytes.into())));
    members.extend(options.videos.map(|count| ("videos".to_owned(), count.into())));
    if !options.types.is_empty() {
        members.insert("types".to_owned(), options.types.into());
    }
    UploadTokenRequest { members, expires: options.expires, issuer: options.issuer, subject: options.subject }
}
