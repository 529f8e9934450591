//! `cargo xtask deploy` and `destroy`. The plan (programs, order and arguments) is data, so that a dry run shows the
//! same commands that a real run starts.

mod plan;
mod settings;
mod worker;

use std::fs;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

use self::plan::{Action, StackOutputs};
use self::settings::DeployOptions;
use crate::doctor;
use crate::package;
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, PythonTask};

/// `cargo xtask deploy`.
pub(crate) fn deploy(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let settings = DeployOptions::parse(arguments)?;
    let origin = settings.origin.as_ref().context(
        "missing argument: --origin https://video.example.com, a domain of your Cloudflare account for the Worker",
    )?;
    check_packages(project)?;
    let deployer = Deployer::prepare(project, &settings)?;
    if settings.dry_run {
        run::print_heading("planned actions");
        let config = deployer.worker_config(origin, None)?;
        let actions = plan::cloudflare_actions(&settings, origin, &StackOutputs::example(), &config);
        for action in plan::aws_actions(&settings).iter().chain(&actions) {
            println!("{action}");
        }
        println!("missing secrets of the Worker are generated and uploaded: {}", plan::SECRETS.join(", "));
        println!("{}", plan::check_deployment(&settings, origin));
        run::print_heading("checks without an account");
        deployer.run(&plan::validate())?;
        deployer.run(&plan::bundle_worker(&config))?;
        return Ok(ExitCode::SUCCESS);
    }
    let identity = deployer.query(&plan::identity(&settings))?;
    println!(
        "account {}, region {}",
        str_or_unknown(&identity, "account"),
        str_or_unknown(&identity, "region")
    );
    let mut effective = settings.clone();
    let concurrency = deployer.query(&plan::unreserved_concurrency(&settings))?;
    if let Some(parameter) =
        concurrency["room"].as_u64().and_then(|room| plan::disable_reservation(&settings, room))
    {
        println!(
            "{parameter}: this AWS account can reserve only {} concurrent executions, so on-demand images have no limit of \
             their own; request a higher concurrency quota from AWS, then pass --parameter RenderReserved=20",
            concurrency["room"]
        );
        effective.parameters.push(parameter);
    }
    if let Some(why) = concurrency["unseen"].as_str() {
        println!("cannot read the account's concurrency quota, so the template's default is used: {why}");
    }
    deployer.stage_packages()?;
    for action in plan::aws_actions(&effective).iter().skip(1) {
        deployer.run(action)?;
    }
    let outputs = StackOutputs::parse(&deployer.query(&plan::read_outputs(&settings))?)?;
    let config = deployer.worker_config(origin, Some(&outputs))?;
    for action in plan::cloudflare_actions(&settings, origin, &outputs, &config) {
        deployer.run(&action)?;
    }
    deployer.put_missing_secrets(&outputs)?;
    println!("\n{origin} is deployed.");
    if settings.prebuilt {
        println!(
            "Run the doctor to check the deployment:\n\n    {}",
            plan::check_deployment(&settings, origin).shell_line()
        );
        return Ok(ExitCode::SUCCESS);
    }
    run_doctor(project, &settings, origin)
}

/// `cargo xtask destroy`.
pub(crate) fn destroy(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let settings = DeployOptions::parse(arguments)?;
    let deployer = Deployer::prepare(project, &settings)?;
    if settings.dry_run {
        run::print_heading("planned actions");
        for action in plan::destroy_actions(&settings, &StackOutputs::example()) {
            println!("{action}");
        }
        println!("{}", plan::describe_leftovers(&settings, &StackOutputs::example()));
        return Ok(ExitCode::SUCCESS);
    }
    // Read the outputs before the stack is deleted.
    let outputs = StackOutputs::parse(&deployer.query(&plan::read_outputs(&settings))?)?;
    for action in plan::destroy_actions(&settings, &outputs) {
        deployer.run(&action)?;
    }
    println!("\n{}", plan::describe_leftovers(&settings, &outputs));
    Ok(ExitCode::SUCCESS)
}

/// Runs the doctor on the deployment, if a credential is set; otherwise only on the roles.
fn run_doctor(project: &Project, settings: &DeployOptions, origin: &str) -> Result<ExitCode> {
    let full_check = plan::check_deployment(settings, origin);
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_credential = is_set("GLIMPSE_TOKEN") || is_set("GLIMPSE_COOKIE");
    let action = if has_credential { full_check.clone() } else { plan::check_roles(settings) };
    run::print_heading(&action.title);
    let arguments: Vec<String> = action.argv.iter().skip(3).cloned().collect();
    let exit_code = deploy_exit_code(doctor::run(project, &arguments)?);
    if !has_credential {
        println!(
            "\nRun the doctor to check the deployment. It needs a credential: a bearer token of your issuer in GLIMPSE_TOKEN, \
             or, where users sign in only with a browser, a user's session cookie (name=value) in GLIMPSE_COOKIE. Then:\n\n    {}",
            full_check.shell_line()
        );
    }
    Ok(exit_code)
}

/// Exit status of a finished deployment: checks that could not run do not fail it.
fn deploy_exit_code(doctor: ExitCode) -> ExitCode {
    if doctor == ExitCode::from(doctor::EXIT_INCOMPLETE) { ExitCode::SUCCESS } else { doctor }
}

fn str_or_unknown<'a>(document: &'a Value, name: &str) -> &'a str {
    document[name].as_str().unwrap_or("unknown")
}

/// Runs actions.
struct Deployer<'a> {
    project: &'a Project,
    settings: &'a DeployOptions,
    python: std::path::PathBuf,
}

impl<'a> Deployer<'a> {
    fn prepare(project: &'a Project, settings: &'a DeployOptions) -> Result<Self> {
        if !settings.prebuilt {
            setup::run(project, Purpose::Build)?;
        }
        Ok(Self { project, settings, python: setup::python_for(project, PythonTask::Deploying)? })
    }

    fn command(&self, action: &Action) -> Result<Command> {
        let mut words = action.argv.iter();
        let program = words.next().context("the action has no program")?;
        let mut command = match program.as_str() {
            "wrangler" => self.project.npm_command("wrangler"),
            "sam" => Command::new(self.python.with_file_name("sam")),
            script => {
                let mut command = Command::new(&self.python);
                command.arg(self.project.path(script));
                command
            }
        };
        command.current_dir(&self.project.root).args(words).env("SAM_CLI_TELEMETRY", "0");
        if self.settings.prebuilt {
            // wrangler's build command then does nothing.
            command.env("GLIMPSE_PREBUILT", "1");
        }
        command.env("AWS_REGION", &self.settings.region).env("AWS_DEFAULT_REGION", &self.settings.region);
        Ok(command)
    }

    /// Runs an action and shows its output.
    fn run(&self, action: &Action) -> Result<()> {
        run::print_heading(&action.title);
        println!("$ {}", action.shell_line());
        ensure!(
            run::stream(&mut self.command(action)?, None, |_| {})?.is_success(),
            "{}: see above",
            action.title
        );
        Ok(())
    }

    /// Runs an action and returns the JSON document that it prints.
    fn query(&self, action: &Action) -> Result<Value> {
        let output = run::capture(&mut self.command(action)?).with_context(|| action.title.clone())?;
        serde_json::from_str(&output).with_context(|| format!("{}: invalid JSON", action.title))
    }

    /// Writes the Worker's configuration for this deployment, and returns its path.
    fn worker_config(&self, origin: &str, outputs: Option<&StackOutputs>) -> Result<String> {
        let project = self.project.read("wrangler.toml")?;
        if let Some(outputs) = outputs.filter(|_| self.settings.prebuilt) {
            let path = "web/dist/_headers";
            let headers = worker::render_page_headers(&self.project.read(path)?, &project, outputs);
            fs::write(self.project.path(path), headers).with_context(|| format!("cannot write {path}"))?;
        }
        let text = worker::render_config(&project, &self.project.root, origin, outputs);
        let folder = self.project.target.join("deploy");
        let path = folder.join("wrangler.toml");
        fs::create_dir_all(&folder)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.strip_prefix(&self.project.root).unwrap_or(&path).display().to_string())
    }

    /// Copies the packages for the deployed architecture to the paths that template.yaml refers to.
    fn stage_packages(&self) -> Result<()> {
        let arch = self.settings.arch;
        let package_folder = if self.settings.prebuilt {
            package::verify_existing(self.project)?
        } else {
            package::build_all(self.project, &[arch], package::Scope::Deployment)?
        };
        let folder = self.project.target.join("deploy");
        fs::create_dir_all(&folder)?;
        let suffix = format!("-{}.zip", arch.name());
        for entry in fs::read_dir(&package_folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(&suffix) {
                fs::copy(&path, folder.join(name).with_extension("zip"))?;
            }
        }
        Ok(())
    }

    /// Generates and uploads the missing secrets of the Worker, without printing them. Existing secrets are kept: a new
    /// session secret would sign out all users.
    fn put_missing_secrets(&self, outputs: &StackOutputs) -> Result<()> {
        run::print_heading("secrets of the Worker");
        let existing = self.query(&plan::list_secrets())?;
        let existing = existing.as_array().context("the output of wrangler is not a list of secrets")?;
        let has_secret = |name: &str| existing.iter().any(|secret| secret["name"] == name);
        let mut secrets = Map::new();
        if self.settings.new_key || !has_secret("S3_ACCESS_KEY_ID") {
            let key_pair = self.query(&plan::create_key(self.settings, outputs))?;
            for name in ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"] {
                secrets.insert(name.into(), key_pair[name].clone());
            }
        }
        for name in ["SESSION_SECRET", "UPLOAD_TOKEN_SECRETS"] {
            if !has_secret(name) {
                let random = self.query(&plan::random_bytes())?;
                let random = str_or_unknown(&random, "random");
                let value = if name == "SESSION_SECRET" { random.to_owned() } else { format!("1={random}") };
                secrets.insert(name.into(), value.into());
            }
        }
        if secrets.is_empty() {
            println!("all secrets exist");
            return Ok(());
        }
        let names: Vec<_> = secrets.keys().cloned().collect();
        run_with_input(&mut self.command(&plan::put_secrets())?, &Value::Object(secrets).to_string())?;
        println!("uploaded: {}", names.join(", "));
        if self.settings.new_key {
            println!(
                "the old key is still valid: once the new one works, delete it with `deploy/account drop-keys --keep` and the new key's id"
            );
        }
        Ok(())
    }
}

/// Checks that `package` builds each package that template.yaml refers to. SAM would fail only after minutes of
/// building.
fn check_packages(project: &Project) -> Result<()> {
    let (template, names) = (project.read("template.yaml")?, package::package_names(project)?);
    for package in template_packages(&template) {
        let is_packaged = names.iter().any(|name| package == format!("target/deploy/{name}.zip"));
        ensure!(is_packaged, "template.yaml refers to {package}, which `cargo xtask package` does not build");
    }
    run::print_ok("packages", names.join(", "));
    Ok(())
}

/// The packages that template.yaml refers to.
fn template_packages(template: &str) -> impl Iterator<Item = &str> {
    template.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        ["CodeUri", "ContentUri"].contains(&name).then_some(value)
    })
}

/// Runs a program with `input` on its standard input, which is not visible in the process list.
fn run_with_input(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot start wrangler")?;
    let mut pipe = child.stdin.take().context("standard input is not a pipe")?;
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    if !child.wait()?.success() {
        bail!("wrangler did not store the secrets: see above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_packages_are_built() {
        let project = Project::discover().unwrap();
        check_packages(&project).unwrap();
        let template = project.read("template.yaml").unwrap();
        let mut wanted: Vec<_> = template_packages(&template).collect();
        let mut made: Vec<_> = package::package_names(&project).unwrap();
        for name in &mut made {
            *name = format!("target/deploy/{name}.zip");
        }
        wanted.sort_unstable();
        // Several functions can use one program.
        wanted.dedup();
        made.sort_unstable();
        assert_eq!(wanted, made, "no package is unused");
    }

    #[test]
    fn incomplete_check_does_not_fail_deploy() {
        assert_eq!(deploy_exit_code(ExitCode::from(2)), ExitCode::SUCCESS);
        assert_eq!(deploy_exit_code(ExitCode::FAILURE), ExitCode::FAILURE);
        assert_eq!(deploy_exit_code(ExitCode::SUCCESS), ExitCode::SUCCESS);
    }

    #[test]
    fn finds_packages_in_template() {
        let template = "  A:\n      CodeUri: target/deploy/a.zip\n      Role: x\n      ContentUri: target/deploy/layer.zip\n";
        assert_eq!(
            template_packages(template).collect::<Vec<_>>(),
            ["target/deploy/a.zip", "target/deploy/layer.zip"]
        );
    }
}
