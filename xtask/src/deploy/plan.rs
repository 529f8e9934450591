//! Decides which programs deploy and destroy, and with which words. Pure.

use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::settings::Settings;
use super::worker::is_workers_dev;

/// What the Worker has to have and nobody may see.
pub(super) const SECRETS: [&str; 4] =
    ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "SESSION_SECRET", "UPLOAD_TOKEN_SECRETS"];

/// One program to start, and why. It shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) what: String,
    /// `sam`, `wrangler` or a script of the checkout, and its arguments.
    pub(super) words: Vec<String>,
}

impl Action {
    fn new<'a>(what: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        Self { what: what.to_owned(), words: words.into_iter().map(str::to_owned).collect() }
    }

    /// The command as a shell would take it, but for what is hidden.
    pub(super) fn line(&self) -> String {
        let is_plain =
            |word: &String| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@".contains(&b));
        let quoted = |word: &String| {
            let word = &shown(word);
            if is_plain(word) && !word.is_empty() {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        };
        self.words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# {}\n{}", self.what, self.line())
    }
}

/// What the stack says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outputs {
    bucket: String,
    region: String,
    render_url: String,
    edge_user: String,
}

impl Outputs {
    /// Reads the outputs of template.yaml.
    pub(super) fn read(document: &Value) -> Result<Self> {
        let text = |name: &str| {
            let value = document[name].as_str().with_context(|| format!("the stack has no output {name}"))?;
            Ok::<_, anyhow::Error>(value.to_owned())
        };
        Ok(Self {
            bucket: text("BucketName")?,
            region: text("Region")?,
            // Function URLs end in a slash, and the Worker wants an origin.
            render_url: text("RenderUrl")?.trim_end_matches('/').to_owned(),
            edge_user: text("EdgeUserName")?,
        })
    }

    /// Where the bucket is reached.
    pub(super) fn bucket_origin(&self) -> String {
        format!("https://{}.s3.{}.amazonaws.com", self.bucket, self.region)
    }

    /// What a dry run shows in their place.
    pub(super) fn example() -> Self {
        Self {
            bucket: "BUCKET".into(),
            region: "REGION".into(),
            render_url: "https://ID.lambda-url.REGION.on.aws".into(),
            edge_user: "USER".into(),
        }
    }
}

/// `RenderReserved` of template.yaml, unless it is said.
const RENDER_RESERVED: u64 = 20;

/// The parameter that an account needs which cannot set that much concurrency aside: `room` is what it can.
pub(super) fn without_room(settings: &Settings, room: u64) -> Option<String> {
    let is_said = settings.parameters.iter().any(|said| said.starts_with("RenderReserved="));
    (!is_said && room < RENDER_RESERVED).then(|| "RenderReserved=0".to_owned())
}

/// How much concurrency the account can set aside for `render`.
pub(super) fn room(settings: &Settings) -> Action {
    let words = ["deploy/account", "room", "--region", &settings.region, "--stack", &settings.stack];
    Action::new("how much concurrency is there?", words)
}

pub(super) fn identity(settings: &Settings) -> Action {
    Action::new("who are you in AWS?", ["deploy/account", "identity", "--region", &settings.region])
}

/// Looks at template.yaml without an account.
pub(super) fn validate() -> Action {
    Action::new("is the template valid?", ["sam", "validate", "--lint", "--template", "template.yaml"])
}

/// Bundles the Worker without sending it.
pub(super) fn bundle(config: &str) -> Action {
    let words = ["wrangler", "deploy", "--config", config, "--dry-run", "--outdir", "target/wrangler"];
    Action::new("is the Worker whole?", words)
}

pub(super) fn outputs(settings: &Settings) -> Action {
    let words = ["deploy/account", "outputs", "--region", &settings.region, "--stack", &settings.stack];
    Action::new("what came of the stack?", words)
}

pub(super) fn listed_secrets() -> Action {
    Action::new("which secrets has the Worker?", ["wrangler", "secret", "list", "--format", "json"])
}

pub(super) fn new_key(settings: &Settings, outputs: &Outputs) -> Action {
    let words = ["deploy/account", "new-key", "--region", &settings.region, "--user", &outputs.edge_user];
    Action::new("a key for the Worker", words)
}

pub(super) fn random() -> Action {
    Action::new("32 random bytes", ["deploy/account", "random"])
}

pub(super) fn secrets() -> Action {
    Action::new("hand them over", ["wrangler", "secret", "bulk"])
}

/// AWS's side.
pub(super) fn before(settings: &Settings) -> Vec<Action> {
    let mut stack = Action::new(
        "bucket, queue, Lambdas, layer, alarms",
        [
            "sam",
            "deploy",
            "--template-file",
            "template.yaml",
            "--stack-name",
            &settings.stack,
            "--region",
            &settings.region,
            "--capabilities",
            "CAPABILITY_NAMED_IAM",
            "--resolve-s3",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
        ],
    );
    let (origins, arch) = (settings.origins(), settings.arch.name());
    stack.words.push(parameter("AllowedOrigins", &origins));
    stack.words.push(parameter("PublicUrl", settings.origin.as_deref().unwrap_or_default()));
    stack.words.push(parameter("Architecture", arch));
    let more = settings.parameters.iter().filter_map(|said| said.split_once('='));
    stack.words.extend(more.map(|(name, value)| parameter(name, value)));
    vec![identity(settings), validate(), stack]
}

/// Parameters of template.yaml with `NoEcho`: their values are given to programs and never shown.
const HIDDEN: [&str; 1] = ["WebhookSecrets"];

/// A word as it is shown: the value of a hidden parameter is left out.
fn shown(word: &str) -> String {
    let hidden =
        HIDDEN.iter().find(|name| word.strip_prefix(**name).is_some_and(|rest| rest.starts_with('=')));
    hidden.map_or_else(|| word.to_owned(), |name| format!("{name}=***"))
}

/// As SAM reads it: in quotes, since it would take a value with spaces apart.
fn parameter(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

/// Cloudflare's side, which has to know what AWS's is called. `config` is the file of [`super::worker::config`].
pub(super) fn after(settings: &Settings, origin: &str, outputs: &Outputs, config: &str) -> Vec<Action> {
    let mut worker = Action::new("the Worker", ["wrangler", "deploy", "--config", config]);
    let mut vars = vec![
        ("PUBLIC_URL", origin.to_owned()),
        ("S3_BUCKET", outputs.bucket.clone()),
        ("S3_REGION", outputs.region.clone()),
        ("RENDER_URL", outputs.render_url.clone()),
    ];
    if !settings.allowed.is_empty() {
        vars.push(("ALLOWED_ORIGINS", settings.allowed.join(",")));
    }
    for (name, value) in vars {
        worker.words.extend(["--var".to_owned(), format!("{name}:{value}")]);
    }
    let host = origin.trim_start_matches("https://");
    if !is_workers_dev(origin) {
        worker.words.extend(["--domain".to_owned(), host.to_owned()]);
    }
    vec![worker]
}

/// Whether its roles are what they have to be.
pub(super) fn roles(settings: &Settings) -> Action {
    let (stack, region) = (settings.stack.as_str(), settings.region.as_str());
    Action::new("who may do what?", ["cargo", "xtask", "doctor", "--stack", stack, "--region", region])
}

/// Whether it works, for every site that may upload; and its roles.
pub(super) fn doctor(settings: &Settings, origin: &str) -> Action {
    let mut action = Action::new("does it work?", ["cargo", "xtask", "doctor", "--edge", origin]);
    action.words.extend(roles(settings).words.into_iter().skip(3));
    for site in settings.origin.iter().chain(&settings.allowed) {
        action.words.extend(["--origin".to_owned(), site.clone()]);
    }
    action
}

/// Taking down: nothing is asked any more before nothing answers.
pub(super) fn destruction(settings: &Settings, outputs: &Outputs) -> Vec<Action> {
    let (region, stack) = (settings.region.as_str(), settings.stack.as_str());
    let mut actions = vec![
        Action::new("the Worker goes", ["wrangler", "delete", "--force"]),
        Action::new(
            "so does its key",
            ["deploy/account", "drop-keys", "--region", region, "--user", &outputs.edge_user],
        ),
        Action::new(
            "and the stack",
            ["sam", "delete", "--no-prompts", "--stack-name", stack, "--region", region],
        ),
    ];
    if settings.delete_videos {
        actions.push(Action::new(
            "and every video, for good",
            ["deploy/account", "drop-videos", "--region", region, "--bucket", &outputs.bucket],
        ));
    }
    actions
}

/// What is there afterwards.
pub(super) fn left(settings: &Settings, outputs: &Outputs) -> String {
    let bucket = &outputs.bucket;
    if settings.delete_videos {
        return format!("Nothing is left: the bucket {bucket} went with its videos.");
    }
    format!(
        "Left: the bucket {bucket} with every video and picture, which costs what it holds. `--delete-videos` would have \
         removed it; a stack of the same parameters cannot be made again before it is gone or imported."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Settings::parse(&words).unwrap()
    }

    fn lines(actions: &[Action]) -> Vec<String> {
        actions.iter().map(Action::line).collect()
    }

    fn outputs() -> Outputs {
        Outputs::read(&serde_json::json!({
            "BucketName": "b", "Region": "eu-central-1", "RenderUrl": "https://id.lambda-url.eu-central-1.on.aws/",
            "EdgeUserName": "glimpse-edge"
        }))
        .unwrap()
    }

    #[test]
    fn both_sides_hear_of_the_same_origin_and_bucket() {
        let said = settings(
            "--origin https://v.example --allow-origin https://a.example --parameter AlarmEmail=a@b.example",
        );
        let aws = lines(&before(&said));
        assert!(
            aws[2].ends_with(
                "--parameter-overrides 'AllowedOrigins=\"https://v.example,https://a.example\"' \
                 'PublicUrl=\"https://v.example\"' 'Architecture=\"arm64\"' 'AlarmEmail=\"a@b.example\"'"
            ),
            "{aws:?}"
        );
        assert_eq!(
            lines(&after(&said, "https://v.example", &outputs(), "c.toml")),
            [
                "wrangler deploy --config c.toml --var PUBLIC_URL:https://v.example --var S3_BUCKET:b --var S3_REGION:eu-central-1 \
              --var RENDER_URL:https://id.lambda-url.eu-central-1.on.aws --var ALLOWED_ORIGINS:https://a.example \
              --domain v.example"
            ]
        );
        let workers_dev = lines(&after(&said, "https://glimpse.me.workers.dev", &outputs(), "c.toml"));
        assert!(!workers_dev[0].contains("--domain"), "{workers_dev:?}");
    }

    #[test]
    fn the_doctor_looks_from_every_site() {
        let said = settings("--origin https://v.example --allow-origin https://a.example");
        assert_eq!(
            doctor(&said, "https://v.example").line(),
            "cargo xtask doctor --edge https://v.example --stack glimpse --region eu-central-1 \
             --origin https://v.example --origin https://a.example"
        );
        assert_eq!(roles(&said).line(), "cargo xtask doctor --stack glimpse --region eu-central-1");
    }

    #[test]
    fn videos_are_deleted_only_if_it_is_said() {
        let (kept, gone) = (settings("--region us-east-1"), settings("--region us-east-1 --delete-videos"));
        let without = lines(&destruction(&kept, &outputs()));
        assert_eq!(
            without,
            [
                "wrangler delete --force",
                "deploy/account drop-keys --region us-east-1 --user glimpse-edge",
                "sam delete --no-prompts --stack-name glimpse --region us-east-1"
            ]
        );
        let with = lines(&destruction(&gone, &outputs()));
        assert_eq!(with[..3], without);
        assert_eq!(with[3], "deploy/account drop-videos --region us-east-1 --bucket b");
        assert!(left(&kept, &outputs()).contains("the bucket b with every video"));
    }

    #[test]
    fn no_secret_is_an_argument() {
        let said = settings("--origin https://v.example --new-key");
        let mut all = before(&said);
        all.extend(after(&said, "https://v.example", &outputs(), "c.toml"));
        all.extend([secrets(), new_key(&said, &outputs())]);
        for action in all {
            assert!(!SECRETS.iter().any(|name| action.line().contains(name)), "{}", action.line());
        }
    }

    #[test]
    fn a_hidden_parameter_is_given_and_not_shown() {
        let said = settings(
            "--origin https://v.example --parameter WebhookSecrets=default=whsec_made-up --parameter WebhookUrls=https://a.example",
        );
        let actions = before(&said);
        let given =
            actions.iter().flat_map(|action| &action.words).any(|word| word.contains("whsec_made-up"));
        assert!(given, "SAM gets it");
        for action in &actions {
            let shown = format!("{action} {action:?} {} {said:?}", action.line());
            assert!(!shown.contains("whsec_"), "{shown}");
        }
        assert!(
            lines(&actions)[2].contains("'WebhookSecrets=***' 'WebhookUrls=\"https://a.example\"'"),
            "{actions:?}"
        );
    }

    #[test]
    fn every_parameter_without_echo_is_hidden() {
        let template = crate::project::Project::find().unwrap().read("template.yaml").unwrap();
        let (mut name, mut found) = (String::new(), Vec::new());
        for line in template.lines() {
            if let Some(word) = line.strip_prefix("  ").and_then(|rest| rest.strip_suffix(':'))
                && !word.starts_with(' ')
            {
                word.clone_into(&mut name);
            }
            if line.trim() == "NoEcho: true" {
                found.push(name.clone());
            }
        }
        assert_eq!(found, HIDDEN);
    }

    #[test]
    fn an_account_without_room_sets_nothing_aside() {
        let usual = settings("--origin https://v.example");
        assert_eq!(without_room(&usual, 0).as_deref(), Some("RenderReserved=0"));
        assert_eq!(without_room(&usual, 19).as_deref(), Some("RenderReserved=0"));
        assert_eq!(without_room(&usual, 20), None);
        assert_eq!(without_room(&settings("--parameter RenderReserved=5"), 0), None, "what is said is done");
        let template = crate::project::Project::find().unwrap().read("template.yaml").unwrap();
        let about = template.split("  RenderReserved:\n").nth(1).unwrap();
        let default = about.lines().find_map(|line| line.trim().strip_prefix("Default: ")).unwrap();
        assert_eq!(default, RENDER_RESERVED.to_string());
    }

    #[test]
    fn an_output_that_is_missing_is_named() {
        let error = Outputs::read(&serde_json::json!({ "BucketName": "b", "Region": "r" })).unwrap_err();
        assert_eq!(error.to_string(), "the stack has no output RenderUrl");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let action =
            Action { what: "x".into(), words: vec!["a b".into(), "it's".into(), "c".into(), String::new()] };
        assert_eq!(action.line(), r"'a b' 'it'\''s' c ''");
    }
}
