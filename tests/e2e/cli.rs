//! The command-line tool in a terminal and without one: sign-in, uploads that are interrupted and resumed, links,
//! tokens, lists, exit statuses.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use e2e::keys::{ISSUER, bearer_token, now_secs};
use e2e::media::{clip, write_clip};
use e2e::person::{ApiClient, fetch};
use e2e::stack::{DELIVERY_TOKEN_SECRETS, Options, Stack, UPLOAD_TOKEN_SECRETS};
use e2e::{env_path, eventually};
use glimpse_local::s3::fault::{FaultKind, InjectedFault};
use md5::{Digest as _, Md5};
use reqwest::Method;
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::identify::Browser;

/// How long a step in the terminal may take, in milliseconds.
const TERMINAL_TIMEOUT_MS: u64 = 60_000;
const MIB: u64 = 1024 * 1024;

/// A user of the command-line tool: a home folder, a deployment and a token.
struct User {
    home: TempDir,
    edge: String,
    token: Option<String>,
    secrets: Vec<(&'static str, &'static str)>,
}

impl User {
    fn new(stack: &Stack, name: &str) -> Self {
        let home = TempDir::new().unwrap();
        Self { home, edge: stack.edge.clone(), token: Some(bearer_token(name)), secrets: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Cargo puts all programs into one folder.
        let mut command = Command::new(env_path("GLIMPSE_PREVIEW").with_file_name("glimpse"));
        command.args(arguments).current_dir(self.home.path()).env_clear();
        command.env("HOME", self.home.path()).env("TERM", "xterm-256color").env("GLIMPSE_URL", &self.edge);
        if let Some(token) = &self.token {
            command.env("GLIMPSE_TOKEN", token);
        }
        command.envs(self.secrets.iter().copied());
        command
    }

    /// Runs a command without a terminal.
    async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, Vec::new()).await
    }

    async fn run_with_input(&self, arguments: &[&str], input: Vec<u8>) -> Finished {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = arguments.join(" ");
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("glimpse starts");
            let mut stdin = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(&input));
            let output = child.wait_with_output().unwrap();
            let _ = writer.join();
            output
        });
        Finished { line, output: output.await.unwrap() }
    }

    /// Runs a command in a pseudo-terminal, where `interact` plays the user; returns the exit status.
    fn run_in_terminal(
        &self,
        arguments: &[&str],
        interact: impl FnOnce(&mut PtySession) + Send + 'static,
    ) -> JoinHandle<i32> {
        let command = self.command(arguments);
        tokio::task::spawn_blocking(move || {
            let mut session = spawn_command(command, Some(TERMINAL_TIMEOUT_MS)).unwrap();
            interact(&mut session);
            match session.process().wait().unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            }
        })
    }
}

/// A command that has ended.
struct Finished {
    line: String,
    output: Output,
}

impl Finished {
    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// Asserts the exit status.
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        let found = self.output.status.code();
        assert_eq!(found, Some(code), "{}\n{}{}", self.line, self.stdout(), self.stderr());
        self
    }

    /// The documents of `--json`, one a line.
    #[track_caller]
    fn documents(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}: {line}", self.line));
        self.stdout().lines().map(parse).collect()
    }

    /// The only document of `--json`.
    #[track_caller]
    fn document(&self) -> Value {
        let documents = self.documents();
        assert_eq!(documents.len(), 1, "{}: {documents:?}", self.line);
        documents.into_iter().next().unwrap()
    }
}

#[tokio::test]
async fn cli_uploads_shows_and_deletes_a_video() {
    let stack = Stack::start(Options::default()).await;
    let user = User::new(&stack, "ann");
    write_clip(2, "320x180", &user.path("Ski trip.mp4"));

    let arguments =
        ["upload", "Ski trip.mp4", "--wait", "--json", "--external-id", "order 7", "--metadata", "shop=x"];
    let done = user.run(&arguments).await.expect(0);
    let video = &done.document()["video"];
    assert_eq!((&video["state"], &video["name"]), (&"ready".into(), &"Ski trip.mp4".into()));
    assert_eq!((&video["external_id"], &video["metadata"]["shop"]), (&"order 7".into(), &"x".into()));
    assert!(
        done.stderr().contains("Ski trip.mp4: uploading, "),
        "lines without a terminal: {}",
        done.stderr()
    );
    let id = video["id"].as_str().unwrap().to_owned();

    let shown = user.run(&["show", &id]).await.expect(0).stdout();
    assert!(shown.contains("320x180") && shown.contains(&format!("{}/{id}\n", stack.edge)), "{shown}");
    let page = format!("{}/{id}", stack.edge);
    assert_eq!(user.run(&["show", &page, "--json"]).await.expect(0).document()["id"], id.as_str());
    let listed = user.run(&["ls"]).await.expect(0).stdout();
    assert!(
        listed.starts_with(&id) && listed.contains("ready") && listed.ends_with("Ski trip.mp4\n"),
        "{listed}"
    );
    let me = user.run(&["whoami", "--json"]).await.expect(0).document();
    assert_eq!((&me["caller"]["subject"], &me["credential"]), (&"ann".into(), &"token".into()));

    let posted = user.run(&["poster", &id, "0:01.5", "--json"]).await.expect(0).document();
    assert_eq!(posted["poster_ms"], 1500);
    user.run(&["poster", &id, "--reset"]).await.expect(0);
    let state = user.run(&["events", &id, "--json"]).await.expect(0).document();
    assert_eq!((&state["event"], &state["video"]["id"]), (&"ready".into(), &id.as_str().into()));
    let url =
        user.run(&["url", &id, "--time", "1", "--width", "80", "--format", "webp"]).await.expect(0).stdout();
    assert_eq!(url, format!("{page}/thumbnail.webp?time=1&width=80\n"), "a public video needs no signature");
    assert_eq!(fetch(Method::GET, url.trim(), &[]).await.status, 200);

    // `open` runs the browser with the page.
    let mut command = user.command(&["open", &id]);
    fs::write(user.path("browser"), "#!/bin/sh\necho \"$1\" > opened\n").unwrap();
    let mut install = Command::new("install");
    install.args(["-m", "755", "browser", "run"]).current_dir(user.home.path());
    assert!(install.status().unwrap().success());
    command.env("BROWSER", user.path("run")).env("PATH", "/usr/bin:/bin");
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    let opened = eventually("the browser", Duration::from_secs(10), || async {
        fs::read_to_string(user.path("opened")).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(opened.await, format!("{page}\n"));

    user.run(&["rm", &id]).await.expect(2);
    let no = user.run_in_terminal(&["rm", &id], |terminal| {
        terminal.exp_string("permanently? [y/N] ").unwrap();
        terminal.send_line("n").unwrap();
        terminal.exp_string("nothing was deleted").unwrap();
    });
    assert_eq!(no.await.unwrap(), 1);
    user.run(&["show", &id]).await.expect(0);
    let yes = user.run_in_terminal(&["rm", &id], move |terminal| {
        terminal.exp_string("permanently? [y/N] ").unwrap();
        terminal.send_line("y").unwrap();
        terminal.exp_string("deleted ").unwrap();
    });
    assert_eq!(yes.await.unwrap(), 0);
    user.run(&["show", &id]).await.expect(4);
}

#[tokio::test]
async fn cli_exit_status_names_the_failure() {
    let stack = Stack::start(Options::default()).await;
    let mut user = User::new(&stack, "ann");
    fs::write(user.path("notes.mp4"), "not a video, whatever its name").unwrap();
    fs::write(user.path("empty.mp4"), "").unwrap();
    let rejected = user.run(&["upload", "notes.mp4", "--wait", "--json"]).await.expect(5);
    assert_eq!(rejected.document()["video"]["state"], "rejected");
    let error: Value = serde_json::from_str(rejected.stderr().lines().last().unwrap()).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["exit_status"]), (&"not_a_video".into(), &5.into()));
    let id = rejected.document()["video"]["id"].as_str().unwrap().to_owned();
    let followed = user.run(&["events", &id, "--follow", "--json"]).await.expect(5);
    assert_eq!(followed.documents().last().unwrap()["event"], "rejected");

    let unknown = "7zzzzzzzzz0123456789abcdef";
    let lost = user.run(&["show", unknown]).await.expect(4).stderr();
    assert!(lost.contains("not_found, request "), "{lost}");
    user.run(&["rm", "--yes", unknown, unknown]).await.expect(4);
    user.run(&["url", unknown, "--expires", "1h"]).await.expect(4);
    user.run(&["upload", "empty.mp4"]).await.expect(1);
    user.run(&["upload", "nothing.mp4"]).await.expect(1);
    user.run(&["upload", "notes.mp4", "--name", "x", "empty.mp4"]).await.expect(2);
    user.run(&["url", unknown, "--width", "1"]).await.expect(2);

    let secret = user.token.replace("ey.hush.hush".to_owned());
    let refused = user.run(&["ls", "--json"]).await.expect(3);
    assert!(
        refused.stderr().contains("\"unauthorized\"") && !refused.stderr().contains("hush"),
        "{}",
        refused.stderr()
    );
    user.token = None;
    let signed_out = user.run(&["ls"]).await.expect(3).stderr();
    assert!(signed_out.contains("not signed in") && signed_out.contains("glimpse login"), "{signed_out}");

    // `login --token` stores the token, once the deployment has accepted it.
    let token = secret.unwrap();
    user.run_with_input(&["login", "--token", "-"], b"ey.hush.hush\n".to_vec()).await.expect(3);
    assert!(!user.path(".config").exists());
    user.run_with_input(&["login", "--token", "-"], format!("{token}\n").into_bytes()).await.expect(0);
    let config = fs::read_to_string(user.path(".config/glimpse/config.json")).unwrap();
    assert!(config.contains(&token) && config.contains(&stack.edge), "{config}");
    user.run(&["ls"]).await.expect(0);
    user.run(&["logout"]).await.expect(0);
    user.run(&["ls"]).await.expect(3);

    user.edge = "http://localhost:9".into();
    user.token = Some(token);
    let unreachable = user.run(&["ls"]).await.expect(6).stderr();
    assert!(unreachable.contains("no response from http://localhost:9"), "{unreachable}");
}

/// Several files in a terminal have a bar each; a listing has all pages.
#[tokio::test]
async fn cli_uploads_several_files_and_lists_all_pages() {
    let stack = Stack::start(Options { no_function: true, no_limits: true, ..Options::default() }).await;
    let user = User::new(&stack, "ann");
    let names: Vec<String> = (0..20).map(|number| format!("clip {number}.mp4")).collect();
    for name in &names {
        fs::write(user.path(name), name).unwrap();
    }
    let arguments: Vec<&str> = std::iter::once("upload").chain(names.iter().map(String::as_str)).collect();
    let expected = names.clone();
    let code = user.run_in_terminal(&arguments, move |terminal| {
        let text = terminal.exp_eof().unwrap();
        for name in expected {
            assert!(text.contains(&format!("processing  {name}")), "{name} is not in {text}");
        }
        assert!(text.contains("100 %"), "{text}");
    });
    assert_eq!(code.await.unwrap(), 0);
    let listed = user.run(&["ls", "--json"]).await.expect(0).documents();
    assert_eq!(listed.len(), 20);
    let ids: std::collections::BTreeSet<_> = listed.iter().map(|video| video["id"].to_string()).collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(user.run(&["ls", "--limit", "17"]).await.expect(0).stdout().lines().count(), 17);
}

/// Forwards connections to the storage, counts what is sent to it, and can slow it down.
struct CountingProxy {
    address: String,
    target: Arc<OnceLock<String>>,
    sent: Arc<AtomicU64>,
    bytes_per_sec: Arc<AtomicU64>,
}

impl CountingProxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            target: Arc::default(),
            sent: Arc::default(),
            bytes_per_sec: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (target, sent, limit) =
            (Arc::clone(&proxy.target), Arc::clone(&proxy.sent), Arc::clone(&proxy.bytes_per_sec));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, sent, limit) = (Arc::clone(&target), Arc::clone(&sent), Arc::clone(&limit));
                tokio::spawn(async move {
                    let target = target.get().expect("the storage has started").trim_start_matches("http://");
                    let server = TcpStream::connect(target).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
                    let mut buffer = vec![0; 256 * 1024];
                    while let Ok(bytes @ 1..) = from_client.read(&mut buffer).await {
                        sent.fetch_add(bytes as u64, Ordering::Relaxed);
                        let limit = limit.load(Ordering::Relaxed);
                        if limit < u64::MAX {
                            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / limit as f64)).await;
                        }
                        if to_server.write_all(&buffer[..bytes]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        proxy
    }
}

/// Writes a sparse file whose parts all differ, and returns the ETag that S3 gives to it in parts of this size.
fn write_large_file(path: &Path, bytes: u64, part_bytes: u64) -> String {
    let mut file = File::create_new(path).unwrap();
    file.set_len(bytes).unwrap();
    let offsets: Vec<u64> = (0..bytes.div_ceil(part_bytes)).map(|part| part * part_bytes).collect();
    let mut hashes = Vec::new();
    for offset in &offsets {
        file.seek(SeekFrom::Start(*offset)).unwrap();
        file.write_all(format!("part at {offset}").as_bytes()).unwrap();
    }
    let mut file = File::open(path).unwrap();
    let mut part = vec![0; part_bytes as usize];
    for offset in &offsets {
        let length = part_bytes.min(bytes - offset) as usize;
        file.read_exact(&mut part[..length]).unwrap();
        hashes.extend(Md5::digest(&part[..length]));
    }
    format!("{}-{}", hex::encode(Md5::digest(&hashes)), offsets.len())
}

/// An upload of 2 GB that is interrupted by Ctrl-C, then killed, then resumed: the storage receives each part once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_resumes_2_gb_and_sends_no_part_twice() {
    const BYTES: u64 = 2_000_000_000;
    const PART_BYTES: u64 = 16 * MIB;
    const PARALLEL: u64 = 4;
    let proxy = CountingProxy::start().await;
    let vars = [("S3_ENDPOINT".to_owned(), proxy.address.clone())].into();
    let stack = Stack::start(Options { no_function: true, vars, ..Options::default() }).await;
    proxy.target.set(stack.cloud.addresses().s3_endpoint.clone()).unwrap();
    let user = User::new(&stack, "ann");
    let path = user.path("holiday.mov");
    let etag = tokio::task::spawn_blocking(move || write_large_file(&path, BYTES, PART_BYTES)).await.unwrap();

    proxy.bytes_per_sec.store(60_000_000, Ordering::Relaxed);
    let interrupted = user.run_in_terminal(&["upload", "holiday.mov"], |terminal| {
        terminal.exp_regex(r"\b[4-9] %").unwrap();
        terminal.send_control('c').unwrap();
        terminal.exp_string("interrupted: run the same command again to resume").unwrap();
    });
    assert_eq!(interrupted.await.unwrap(), 130);
    let records = || fs::read_dir(user.path(".local/state/glimpse/uploads")).unwrap().count();
    assert_eq!(records(), 2, "the record and its lock");

    let killed = proxy.sent.load(Ordering::Relaxed) + 200_000_000;
    let mut child =
        user.command(&["upload", "holiday.mov", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("200 MB more", Duration::from_mins(1), || async {
        (proxy.sent.load(Ordering::Relaxed) > killed).then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();

    proxy.bytes_per_sec.store(u64::MAX, Ordering::Relaxed);
    let resumed = user.run_in_terminal(&["upload", "holiday.mov"], |terminal| {
        terminal.exp_string("resuming after ").unwrap();
        terminal.exp_string("processing  holiday.mov").unwrap();
        terminal.exp_eof().unwrap();
    });
    assert_eq!(resumed.await.unwrap(), 0);
    assert_eq!(records(), 0);

    let keys = stack.cloud.store().list("uploads/");
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(stack.cloud.store().multipart_upload_count(), 0);
    let stored: Vec<_> = stack
        .cloud
        .call_log()
        .take()
        .into_iter()
        .filter(|call| (call.method.as_str(), call.status) == ("PUT", 200) && call.key == keys[0])
        .collect();
    assert_eq!(stored.len() as u64, BYTES.div_ceil(PART_BYTES), "each part is stored once");
    // Of the parts that were being sent at an interruption, what had arrived is sent again, and nothing else.
    let sent = proxy.sent.load(Ordering::Relaxed);
    let again = sent - BYTES;
    println!("sent {sent} bytes for a file of {BYTES}: {again} again, after two interruptions");
    assert!(again < 2 * PARALLEL * PART_BYTES + 10 * MIB, "{again} bytes were sent again");
    let video = user.run(&["ls", "--json"]).await.expect(0).document();
    assert_eq!(video["bytes"], BYTES);
    assert_eq!(stack.cloud.store().head(&keys[0]).unwrap().etag, etag, "the content is the file's");
}

/// Parts are sent again after errors of the storage, with fresh signatures; visibility and metadata are kept.
#[tokio::test]
async fn cli_parts_survive_storage_errors() {
    let stack = Stack::start(Options { no_function: true, ..Options::default() }).await;
    let user = User::new(&stack, "ann");
    let etag = write_large_file(&user.path("a.mp4"), 40 * MIB, 16 * MIB);
    for (kind, times) in [(FaultKind::InternalError, 3), (FaultKind::AccessDenied, 1)] {
        let (method, prefix) = (Method::PUT, "uploads/".to_owned());
        stack.cloud.fault_injector().add(InjectedFault { method, prefix, times, kind });
    }
    let arguments =
        ["upload", "a.mp4", "--json", "--visibility", "signed", "--external-id", "7", "--metadata", "a=b"];
    let done = user.run(&arguments).await.expect(0);
    let video = &done.document()["video"];
    assert_eq!((&video["visibility"], &video["external_id"]), (&"signed".into(), &"7".into()));
    assert_eq!((&video["metadata"]["a"], &video["bytes"]), (&"b".into(), &(40 * MIB).into()));
    assert!(done.stderr().contains("; again in "), "{}", done.stderr());
    let keys = stack.cloud.store().list("uploads/");
    assert_eq!(stack.cloud.store().head(&keys[0]).unwrap().etag, etag);

    // Standard input: in one request if it is short, otherwise in parts.
    let long: Vec<u8> = (0..20 * MIB).map(|number| (number / 7) as u8).collect();
    for (name, data) in [("short.mp4", b"short".to_vec()), ("long.mp4", long)] {
        let bytes = data.len();
        let done = user.run_with_input(&["upload", "-", "--name", name, "--json"], data).await.expect(0);
        let video = done.document()["video"].clone();
        assert_eq!((&video["name"], &video["bytes"]), (&name.into(), &bytes.into()));
        assert_eq!(video["content_type"], "video/mp4");
    }
    user.run_with_input(&["upload", "-"], Vec::new()).await.expect(1);
    assert_eq!(stack.cloud.store().multipart_upload_count(), 0);
}

/// Sign-in in the browser, whose last request goes to the tool's port; the session is stored and used.
#[tokio::test]
async fn cli_signs_in_with_a_browser() {
    let stack = Stack::start(Options { no_function: true, oidc: true, ..Options::default() }).await;
    let mut user = User::new(&stack, "ann");
    user.token = None;
    let (sender, receiver) = tokio::sync::oneshot::channel::<String>();
    let edge = stack.edge.clone();
    let browser = tokio::spawn(async move {
        let authorize_url = receiver.await.unwrap();
        let mut browser = Browser::default();
        let callback = format!("{edge}/auth/callback");
        let form = browser.follow_redirects(&authorize_url, None, &callback).await;
        let callback = browser.follow_redirects(&form, Some("name=Ada"), &callback).await;
        // A stranger who has seen the address cannot sign in with it: the cookie with the code verifier is the tool's.
        let mut stranger = Browser::default();
        let relayed = stranger.request(Method::GET, &callback, None).await;
        assert_eq!((relayed.status.as_u16(), relayed.header("set-cookie")), (200, ""));
        let url = relayed.header("refresh").strip_prefix("0;url=").unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let wrong = url.replace("state=loopback", "state=x");
        assert_eq!(fetch(Method::GET, &wrong, &[]).await.status, 404);
        let done = fetch(Method::GET, &url, &[]).await;
        assert_eq!(done.status, 200);
        assert!(String::from_utf8(done.body).unwrap().contains("close this page"));
    });
    let code = user.run_in_terminal(&["login", "--no-browser"], move |terminal| {
        let (_, url) = terminal.exp_regex(r"http://localhost:\S+").unwrap();
        sender.send(url).unwrap();
        terminal.exp_string(" as Ada").unwrap();
    });
    assert_eq!(code.await.unwrap(), 0);
    browser.await.unwrap();

    let me = user.run(&["whoami", "--json"]).await.expect(0).document();
    assert_eq!((&me["caller"]["name"], &me["credential"]), (&"Ada".into(), &"session".into()));
    let expires: jiff::Timestamp = me["expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires.as_second() - i64::try_from(now_secs()).unwrap();
    assert!((42_000..=43_200).contains(&left), "{left}");
    // The session also allows changes, which need an origin.
    fs::write(user.path("a.mp4"), "some bytes").unwrap();
    user.run(&["upload", "a.mp4"]).await.expect(0);
    assert_eq!(user.run(&["ls", "--json"]).await.expect(0).documents().len(), 1);
    let config = user.path(".config/glimpse/config.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&config).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // Without a browser on this machine: the address of its last page is pasted.
    let (sender, receiver) = tokio::sync::oneshot::channel::<String>();
    let (pasted, paste) = std::sync::mpsc::channel::<String>();
    let edge = stack.edge.clone();
    let browser = tokio::spawn(async move {
        let mut browser = Browser::default();
        let callback = format!("{edge}/auth/callback");
        let form = browser.follow_redirects(&receiver.await.unwrap(), None, &callback).await;
        pasted.send(browser.follow_redirects(&form, Some("name=Grace"), &callback).await).unwrap();
    });
    let code = user.run_in_terminal(&["login", "--no-browser"], move |terminal| {
        let (_, url) = terminal.exp_regex(r"http://localhost:\S+").unwrap();
        sender.send(url).unwrap();
        terminal.exp_string("paste that page's address here").unwrap();
        terminal.send_line("https://video.example/?code=x&state=y").unwrap();
        terminal.exp_string("not the end of this sign-in").unwrap();
        terminal.send_line(&paste.recv().unwrap()).unwrap();
        terminal.exp_string(" as Grace").unwrap();
    });
    assert_eq!(code.await.unwrap(), 0);
    browser.await.unwrap();
    user.run(&["logout", "--all"]).await.expect(0);
    user.run(&["whoami"]).await.expect(3);
}

/// Links and tokens that the tool signs, and those of the API, are accepted.
#[tokio::test]
async fn cli_links_and_tokens_are_accepted() {
    let stack = Stack::start(Options::default()).await;
    let mut user = User::new(&stack, "ann");
    let ann = ApiClient::new(&stack, "ann");
    let body = clip(2, "320x180");
    let (id, upload) =
        ann.create("a.mp4", "video/mp4", body.len(), serde_json::json!({ "visibility": "signed" })).await;
    assert_eq!(ann.put(&upload, body).await.status, 200);
    ann.wait_for_outcome(&id).await;
    let status = async |url: &str| fetch(Method::GET, url.trim(), &[]).await.status.as_u16();
    let unsigned = user.run(&["url", &id, "--unsigned"]).await.expect(0).stdout();
    assert_eq!(unsigned, format!("{}/{id}/thumbnail.jpg\n", stack.edge));
    assert_eq!(status(&unsigned).await, 401, "the control");

    let links: [&[&str]; 6] = [
        &[],
        &["--time", "1", "--width", "80", "--format", "webp"],
        &["--type", "animated", "--format", "mp4", "--expires", "90s"],
        &["--type", "storyboard", "--format", "vtt"],
        &["--type", "storyboard", "--format", "vtt", "--sheet", "webp"],
        &["--type", "clip", "--start", "0", "--end", "1"],
    ];
    for secrets in [Vec::new(), vec![("GLIMPSE_DELIVERY_SECRET", DELIVERY_TOKEN_SECRETS)]] {
        user.secrets = secrets;
        for link in links {
            let url = user.run(&[&["url", &id][..], link].concat()).await.expect(0).stdout();
            assert_eq!(status(&url).await, 200, "{link:?}: {url}");
            assert_eq!(
                status(&url.replace("sig=", "sig=A").replace("token=e", "token=f")).await,
                403,
                "{url}"
            );
        }
        let original = user.run(&["url", &id, "--type", "original", "--json"]).await.expect(0).document();
        assert_eq!(status(original["url"].as_str().unwrap()).await, 302);
        for (kind, file) in [("thumbnail", "thumbnail.webp"), ("storyboard", "storyboard.json")] {
            let token = user.run(&["token", "delivery", &id, "--type", kind]).await.expect(0).stdout();
            let url = format!("{}/{id}/{file}?token={}", stack.edge, token.trim());
            assert_eq!(status(&url).await, 200, "{kind}");
        }
    }

    // Upload tokens: the URL is a deployment for the tool.
    let by_api =
        user.run(&["token", "upload", "--videos", "2", "--max-bytes", "1000000000"]).await.expect(0).stdout();
    user.secrets = vec![("GLIMPSE_UPLOAD_SECRET", UPLOAD_TOKEN_SECRETS)];
    user.run(&["token", "upload"]).await.expect(2);
    let account = ["--issuer", ISSUER, "--subject", "ann", "--external-id", "7", "--expires", "10m"];
    let offline = user.run(&[&["token", "upload"], &account[..]].concat()).await.expect(0).stdout();
    write_large_file(&user.path("large.mp4"), 20 * MIB, 16 * MIB);
    fs::write(user.path("small.mp4"), "some bytes").unwrap();
    user.token = None;
    for (url, file) in [(&by_api, "large.mp4"), (&by_api, "small.mp4"), (&offline, "small.mp4")] {
        user.edge = url.trim().to_owned();
        let done = user.run(&["upload", file]).await.expect(0);
        assert!(!done.stdout().contains("/u/") && !done.stderr().contains("/u/"), "the token is not printed");
    }
    let used_up = user.run(&["upload", "small.mp4"]).await.expect(1).stderr();
    assert!(used_up.contains("token_used_up") && !used_up.contains("ey"), "{used_up}");
    let videos = ann.get("/api/videos").await.json();
    assert_eq!(videos["videos"].as_array().unwrap().len(), 4);
    assert_eq!(
        videos["videos"].as_array().unwrap().iter().filter(|video| video["external_id"] == "7").count(),
        1
    );
}

/// The doctor is a subcommand, which uses the stored deployment and credential.
#[tokio::test]
async fn cli_doctor_finds_no_issue() {
    let stack = Stack::start(Options::default()).await;
    let user = User::new(&stack, "ann");
    let checked = user.run(&["doctor"]).await.expect(0).stdout();
    assert!(checked.starts_with("ok      edge ") && checked.ends_with("\nEverything works.\n"), "{checked}");
    let lines = user.run(&["doctor", "--json"]).await.expect(0).documents();
    assert_eq!(lines.last().unwrap()["ok"], true);
    assert_eq!(stack.cloud.store().list("uploads/"), [""; 0]);
}
