//! Actions of `deploy` and `destroy`: programs and their arguments. Pure functions.

use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::settings::DeployOptions;
use super::settings::is_workers_dev;

/// Names of the Worker's secrets.
pub(super) const SECRETS: [&str; 4] =
    ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "SESSION_SECRET", "UPLOAD_TOKEN_SECRETS"];

/// A program to start, with a title. Its printed form contains no secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) title: String,
    /// `sam`, `wrangler` or a script in the checkout, and its arguments.
    pub(super) argv: Vec<String>,
}

impl Action {
    fn new<'a>(title: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        Self { title: title.to_owned(), argv: words.into_iter().map(str::to_owned).collect() }
    }

    /// The command in shell syntax, with secrets redacted.
    pub(super) fn shell_line(&self) -> String {
        let is_safe =
            |word: &String| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@".contains(&b));
        let quote = |word: &String| {
            let word = &redact(word);
            if is_safe(word) && !word.is_empty() {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        };
        self.argv.iter().map(quote).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# {}\n{}", self.title, self.shell_line())
    }
}

/// Outputs of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StackOutputs {
    bucket: String,
    region: String,
    render_url: String,
    edge_user: String,
}

impl StackOutputs {
    /// Reads the outputs of template.yaml.
    pub(super) fn parse(document: &Value) -> Result<Self> {
        let text = |name: &str| {
            let value = document[name].as_str().with_context(|| format!("the stack has no output {name}"))?;
            Ok::<_, anyhow::Error>(value.to_owned())
        };
        Ok(Self {
            bucket: text("BucketName")?,
            region: text("Region")?,
            // Function URLs end in a slash, but the Worker needs an origin.
            render_url: text("RenderUrl")?.trim_end_matches('/').to_owned(),
            edge_user: text("EdgeUserName")?,
        })
    }

    /// The bucket's origin.
    pub(super) fn bucket_origin(&self) -> String {
        format!("https://{}.s3.{}.amazonaws.com", self.bucket, self.region)
    }

    /// Placeholders for a dry run.
    pub(super) fn example() -> Self {
        Self {
            bucket: "BUCKET".into(),
            region: "REGION".into(),
            render_url: "https://ID.lambda-url.REGION.on.aws".into(),
            edge_user: "USER".into(),
        }
    }
}

/// Default of the parameter `RenderReserved` in template.yaml.
const DEFAULT_RENDER_CONCURRENCY: u64 = 20;

/// The parameter that disables the reservation, for an account that cannot reserve the default concurrency.
/// `unreserved` is the concurrency that it can reserve.
pub(super) fn disable_reservation(settings: &DeployOptions, unreserved: u64) -> Option<String> {
    let is_set = settings.parameters.iter().any(|parameter| parameter.starts_with("RenderReserved="));
    (!is_set && unreserved < DEFAULT_RENDER_CONCURRENCY).then(|| "RenderReserved=0".to_owned())
}

/// Reads the concurrency that the account can reserve for `render`.
pub(super) fn unreserved_concurrency(settings: &DeployOptions) -> Action {
    let words = ["deploy/account", "room", "--region", &settings.region, "--stack", &settings.stack];
    Action::new("read concurrency quota", words)
}

pub(super) fn identity(settings: &DeployOptions) -> Action {
    Action::new("AWS identity", ["deploy/account", "identity", "--region", &settings.region])
}

/// Validates template.yaml without an account.
pub(super) fn validate() -> Action {
    Action::new("validate template", ["sam", "validate", "--lint", "--template", "template.yaml"])
}

/// Bundles the Worker without uploading it.
pub(super) fn bundle_worker(config: &str) -> Action {
    let words = ["wrangler", "deploy", "--config", config, "--dry-run", "--outdir", "target/wrangler"];
    Action::new("bundle Worker", words)
}

pub(super) fn read_outputs(settings: &DeployOptions) -> Action {
    let words = ["deploy/account", "outputs", "--region", &settings.region, "--stack", &settings.stack];
    Action::new("read stack outputs", words)
}

pub(super) fn list_secrets() -> Action {
    Action::new("list Worker secrets", ["wrangler", "secret", "list", "--format", "json"])
}

pub(super) fn create_key(settings: &DeployOptions, outputs: &StackOutputs) -> Action {
    let words = ["deploy/account", "new-key", "--region", &settings.region, "--user", &outputs.edge_user];
    Action::new("create access key for Worker", words)
}

pub(super) fn random_bytes() -> Action {
    Action::new("generate 32 random bytes", ["deploy/account", "random"])
}

pub(super) fn put_secrets() -> Action {
    Action::new("upload Worker secrets", ["wrangler", "secret", "bulk"])
}

/// Actions that deploy the AWS stack.
pub(super) fn aws_actions(settings: &DeployOptions) -> Vec<Action> {
    let mut deploy_stack = Action::new(
        "deploy stack: bucket, queue, Lambdas, layer, alarms",
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
    deploy_stack.argv.push(format_override("AllowedOrigins", &origins));
    deploy_stack.argv.push(format_override("PublicUrl", settings.origin.as_deref().unwrap_or_default()));
    deploy_stack.argv.push(format_override("Architecture", arch));
    let more = settings.parameters.iter().filter_map(|parameter| parameter.split_once('='));
    deploy_stack.argv.extend(more.map(|(name, value)| format_override(name, value)));
    vec![identity(settings), validate(), deploy_stack]
}

/// Parameters of template.yaml with `NoEcho`: their values are passed to programs and never printed.
const NO_ECHO_PARAMETERS: [&str; 1] = ["WebhookSecrets"];

/// Redacts the value of a `NoEcho` parameter in a word.
fn redact(word: &str) -> String {
    let parameter_name = NO_ECHO_PARAMETERS
        .iter()
        .find(|name| word.strip_prefix(**name).is_some_and(|rest| rest.starts_with('=')));
    parameter_name.map_or_else(|| word.to_owned(), |name| format!("{name}=***"))
}

/// Formats a parameter for SAM: in quotes, since SAM splits unquoted values at spaces.
fn format_override(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

/// Actions that deploy the Worker, which needs the stack's outputs. `config` is the file of
/// [`super::worker::render_config`].
pub(super) fn cloudflare_actions(
    settings: &DeployOptions,
    origin: &str,
    outputs: &StackOutputs,
    config: &str,
) -> Vec<Action> {
    let mut deploy_worker = Action::new("deploy Worker", ["wrangler", "deploy", "--config", config]);
    let mut vars = vec![
        ("PUBLIC_URL", origin.to_owned()),
        ("S3_BUCKET", outputs.bucket.clone()),
        ("S3_REGION", outputs.region.clone()),
        ("RENDER_URL", outputs.render_url.clone()),
    ];
    if !settings.allowed_origins.is_empty() {
        vars.push(("ALLOWED_ORIGINS", settings.allowed_origins.join(",")));
    }
    for (name, value) in vars {
        deploy_worker.argv.extend(["--var".to_owned(), format!("{name}:{value}")]);
    }
    let host = origin.trim_start_matches("https://");
    if !is_workers_dev(origin) {
        deploy_worker.argv.extend(["--domain".to_owned(), host.to_owned()]);
    }
    vec![deploy_worker]
}

/// Checks the stack's roles.
pub(super) fn check_roles(settings: &DeployOptions) -> Action {
    let (stack, region) = (settings.stack.as_str(), settings.region.as_str());
    Action::new("check roles", ["cargo", "xtask", "doctor", "--stack", stack, "--region", region])
}

/// Checks the deployment, for every origin whose pages can upload, and the stack's roles.
pub(super) fn check_deployment(settings: &DeployOptions, origin: &str) -> Action {
    let mut action = Action::new("check deployment", ["cargo", "xtask", "doctor", "--edge", origin]);
    action.argv.extend(check_roles(settings).argv.into_iter().skip(3));
    for site in settings.origin.iter().chain(&settings.allowed_origins) {
        action.argv.extend(["--origin".to_owned(), site.clone()]);
    }
    action
}

/// Actions that delete a deployment, callers before callees: first the Worker, then its keys, then the stack.
pub(super) fn destroy_actions(settings: &DeployOptions, outputs: &StackOutputs) -> Vec<Action> {
    let (region, stack) = (settings.region.as_str(), settings.stack.as_str());
    let mut actions = vec![
        Action::new("delete Worker", ["wrangler", "delete", "--force"]),
        Action::new(
            "delete its access keys",
            ["deploy/account", "drop-keys", "--region", region, "--user", &outputs.edge_user],
        ),
        Action::new(
            "delete stack",
            ["sam", "delete", "--no-prompts", "--stack-name", stack, "--region", region],
        ),
    ];
    if settings.delete_videos {
        actions.push(Action::new(
            "delete all videos permanently",
            ["deploy/account", "drop-videos", "--region", region, "--bucket", &outputs.bucket],
        ));
    }
    actions
}

/// Describes the resources that `destroy` does not delete.
pub(super) fn describe_leftovers(settings: &DeployOptions, outputs: &StackOutputs) -> String {
    let bucket = &outputs.bucket;
    if settings.delete_videos {
        return format!("Everything was deleted, including the bucket {bucket} with its videos.");
    }
    format!(
        "Not deleted: the bucket {bucket} with every video and image, which incurs storage costs. `--delete-videos` deletes \
         it, too. A stack with the same parameters cannot be created again until the bucket is deleted or imported."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> DeployOptions {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        DeployOptions::parse(&words).unwrap()
    }

    fn lines(actions: &[Action]) -> Vec<String> {
        actions.iter().map(Action::shell_line).collect()
    }

    fn outputs() -> StackOutputs {
        StackOutputs::parse(&serde_json::json!({
            "BucketName": "b", "Region": "eu-central-1", "RenderUrl": "https://id.lambda-url.eu-central-1.on.aws/",
            "EdgeUserName": "glimpse-edge"
        }))
        .unwrap()
    }

    #[test]
    fn aws_and_worker_get_same_origin_and_bucket() {
        let deploy_settings = settings(
            "--origin https://v.example --allow-origin https://a.example --parameter AlarmEmail=a@b.example",
        );
        let aws = lines(&aws_actions(&deploy_settings));
        assert!(
            aws[2].ends_with(
                "--parameter-overrides 'AllowedOrigins=\"https://v.example,https://a.example\"' \
                 'PublicUrl=\"https://v.example\"' 'Architecture=\"arm64\"' 'AlarmEmail=\"a@b.example\"'"
            ),
            "{aws:?}"
        );
        assert_eq!(
            lines(&cloudflare_actions(&deploy_settings, "https://v.example", &outputs(), "c.toml")),
            [
                "wrangler deploy --config c.toml --var PUBLIC_URL:https://v.example --var S3_BUCKET:b --var S3_REGION:eu-central-1 \
              --var RENDER_URL:https://id.lambda-url.eu-central-1.on.aws --var ALLOWED_ORIGINS:https://a.example \
              --domain v.example"
            ]
        );
        let workers_dev = lines(&cloudflare_actions(
            &deploy_settings,
            "https://glimpse.me.workers.dev",
            &outputs(),
            "c.toml",
        ));
        assert!(!workers_dev[0].contains("--domain"), "{workers_dev:?}");
    }

    #[test]
    fn doctor_checks_every_origin() {
        let deploy_settings = settings("--origin https://v.example --allow-origin https://a.example");
        assert_eq!(
            check_deployment(&deploy_settings, "https://v.example").shell_line(),
            "cargo xtask doctor --edge https://v.example --stack glimpse --region eu-central-1 \
             --origin https://v.example --origin https://a.example"
        );
        assert_eq!(
            check_roles(&deploy_settings).shell_line(),
            "cargo xtask doctor --stack glimpse --region eu-central-1"
        );
    }

    #[test]
    fn deletes_videos_only_when_asked() {
        let (kept, gone) = (settings("--region us-east-1"), settings("--region us-east-1 --delete-videos"));
        let without = lines(&destroy_actions(&kept, &outputs()));
        assert_eq!(
            without,
            [
                "wrangler delete --force",
                "deploy/account drop-keys --region us-east-1 --user glimpse-edge",
                "sam delete --no-prompts --stack-name glimpse --region us-east-1"
            ]
        );
        let with = lines(&destroy_actions(&gone, &outputs()));
        assert_eq!(with[..3], without);
        assert_eq!(with[3], "deploy/account drop-videos --region us-east-1 --bucket b");
        assert!(describe_leftovers(&kept, &outputs()).contains("the bucket b with every video"));
    }

    #[test]
    fn secrets_are_not_arguments() {
        let deploy_settings = settings("--origin https://v.example --new-key");
        let mut all = aws_actions(&deploy_settings);
        all.extend(cloudflare_actions(&deploy_settings, "https://v.example", &outputs(), "c.toml"));
        all.extend([put_secrets(), create_key(&deploy_settings, &outputs())]);
        for action in all {
            assert!(
                !SECRETS.iter().any(|name| action.shell_line().contains(name)),
                "{}",
                action.shell_line()
            );
        }
    }

    #[test]
    fn no_echo_parameter_is_passed_and_redacted() {
        let deploy_settings = settings(
            "--origin https://v.example --parameter WebhookSecrets=default=whsec_made-up --parameter WebhookUrls=https://a.example",
        );
        let actions = aws_actions(&deploy_settings);
        let given = actions.iter().flat_map(|action| &action.argv).any(|word| word.contains("whsec_made-up"));
        assert!(given, "the value is passed to SAM");
        for action in &actions {
            let shown = format!("{action} {action:?} {} {deploy_settings:?}", action.shell_line());
            assert!(!shown.contains("whsec_"), "{shown}");
        }
        assert!(
            lines(&actions)[2].contains("'WebhookSecrets=***' 'WebhookUrls=\"https://a.example\"'"),
            "{actions:?}"
        );
    }

    #[test]
    fn every_no_echo_parameter_is_redacted() {
        let template = crate::project::Project::discover().unwrap().read("template.yaml").unwrap();
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
        assert_eq!(found, NO_ECHO_PARAMETERS);
    }

    #[test]
    fn disables_reservation_without_quota() {
        let usual = settings("--origin https://v.example");
        assert_eq!(disable_reservation(&usual, 0).as_deref(), Some("RenderReserved=0"));
        assert_eq!(disable_reservation(&usual, 19).as_deref(), Some("RenderReserved=0"));
        assert_eq!(disable_reservation(&usual, 20), None);
        assert_eq!(
            disable_reservation(&settings("--parameter RenderReserved=5"), 0),
            None,
            "an explicit parameter is kept"
        );
        let template = crate::project::Project::discover().unwrap().read("template.yaml").unwrap();
        let about = template.split("  RenderReserved:\n").nth(1).unwrap();
        let default = about.lines().find_map(|line| line.trim().strip_prefix("Default: ")).unwrap();
        assert_eq!(default, DEFAULT_RENDER_CONCURRENCY.to_string());
    }

    #[test]
    fn names_missing_stack_output() {
        let error =
            StackOutputs::parse(&serde_json::json!({ "BucketName": "b", "Region": "r" })).unwrap_err();
        assert_eq!(error.to_string(), "the stack has no output RenderUrl");
    }

    #[test]
    fn quotes_shell_words() {
        let action =
            Action { title: "x".into(), argv: vec!["a b".into(), "it's".into(), "c".into(), String::new()] };
        assert_eq!(action.shell_line(), r"'a b' 'it'\''s' c ''");
    }
}
