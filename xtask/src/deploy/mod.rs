//! Decides how Glimpse gets into somebody's accounts and out again: which programs are started in which order, with what.
//! A plan is made first and is data, so that a dry run shows the very commands that a real one starts.

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
        "say where the Worker will be: --origin https://video.example.com, a domain of your Cloudflare account",
    )?;
    check_packages(project)?;
    let deployer = Deployer::prepare(project, &settings)?;
    if settings.dry_run {
        run::print_heading("what would be done");
        let config = deployer.worker_config(origin, None)?;
        let actions = plan::cloudflare_actions(&settings, origin, &StackOutputs::example(), &config);
        for action in plan::aws_actions(&settings).iter().chain(&actions) {
            println!("{action}");
        }
        println!(
            "secrets of the Worker that are missing are made and handed over: {}",
            plan::SECRETS.join(", ")
        );
        println!("{}", plan::check_deployment(&settings, origin));
        run::print_heading("checks that need no account");
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
            "{parameter}: AWS lets this account set only {} aside, so pictures on demand have no limit of their own; \
             ask AWS for more concurrency, then say --parameter RenderReserved=20",
            concurrency["room"]
        );
        effective.parameters.push(parameter);
    }
    if let Some(why) = concurrency["unseen"].as_str() {
        println!(
            "it could not be asked how much concurrency the account can set aside, so the template's default holds: {why}"
        );
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
            "Whether it works, the doctor says:\n\n    {}",
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
        run::print_heading("what would be done");
        for action in plan::destroy_actions(&settings, &StackOutputs::example()) {
            println!("{action}");
        }
        println!("{}", plan::describe_leftovers(&settings, &StackOutputs::example()));
        return Ok(ExitCode::SUCCESS);
    }
    // Before anything is taken down: what is not there can name nothing any more.
    let outputs = StackOutputs::parse(&deployer.query(&plan::read_outputs(&settings))?)?;
    for action in plan::destroy_actions(&settings, &outputs) {
        deployer.run(&action)?;
    }
    println!("\n{}", plan::describe_leftovers(&settings, &outputs));
    Ok(ExitCode::SUCCESS)
}

/// Looks whether what was deployed works, if somebody is named as whom; else at the roles alone.
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
            "\nWhether it works, the doctor says. It needs to be somebody: a bearer token of your issuer in GLIMPSE_TOKEN, or, \
             where people only sign in with a browser, somebody's session cookie (name=value) in GLIMPSE_COOKIE. Then:\n\n    {}",
            full_check.shell_line()
        );
    }
    Ok(exit_code)
}

/// What a deployment ends with that is made: what could not be looked at is no fault of it.
fn deploy_exit_code(doctor: ExitCode) -> ExitCode {
    if doctor == ExitCode::from(doctor::EXIT_INCOMPLETE) { ExitCode::SUCCESS } else { doctor }
}

fn str_or_unknown<'a>(document: &'a Value, name: &str) -> &'a str {
    document[name].as_str().unwrap_or("unknown")
}

/// Where actions are carried out.
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
        let program = words.next().context("an action names a program")?;
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
            // wrangler's build command has nothing to do.
            command.env("GLIMPSE_PREBUILT", "1");
        }
        command.env("AWS_REGION", &self.settings.region).env("AWS_DEFAULT_REGION", &self.settings.region);
        Ok(command)
    }

    /// Carries it out, with its output shown.
    fn run(&self, action: &Action) -> Result<()> {
        run::print_heading(&action.title);
        println!("$ {}", action.shell_line());
        ensure!(run::stream(&mut self.command(action)?, |_| {})?, "{}: see above", action.title);
        Ok(())
    }

    /// Carries it out, and answers the document that it prints.
    fn query(&self, action: &Action) -> Result<Value> {
        let output = run::capture(&mut self.command(action)?).with_context(|| action.title.clone())?;
        serde_json::from_str(&output).with_context(|| format!("{}: no JSON", action.title))
    }

    /// Writes the Worker's configuration for this deployment, and returns where it is.
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

    /// The packages for the processor that is deployed to, where template.yaml looks for them.
    fn stage_packages(&self) -> Result<()> {
        let arch = self.settings.arch;
        let package_folder = if self.settings.prebuilt {
            package::verify_existing(self.project)?
        } else {
            package::build_all(self.project, &[arch])?
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

    /// Makes what the Worker has not got yet, and hands it over without a look at it. What it has stays: a new session
    /// secret would sign everybody out.
    fn put_missing_secrets(&self, outputs: &StackOutputs) -> Result<()> {
        run::print_heading("secrets of the Worker");
        let existing = self.query(&plan::list_secrets())?;
        let existing = existing.as_array().context("wrangler lists secrets")?;
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
            println!("all there");
            return Ok(());
        }
        let names: Vec<_> = secrets.keys().cloned().collect();
        run_with_input(&mut self.command(&plan::put_secrets())?, &Value::Object(secrets).to_string())?;
        println!("handed over: {}", names.join(", "));
        if self.settings.new_key {
            println!(
                "the older key still works: once this one does, `deploy/account drop-keys --but` the new one"
            );
        }
        Ok(())
    }
}

/// Whether `package` makes each package that template.yaml names: SAM would find out after minutes of building.
fn check_packages(project: &Project) -> Result<()> {
    let (template, names) = (project.read("template.yaml")?, package::package_names(project)?);
    for package in template_packages(&template) {
        let is_packaged = names.iter().any(|name| package == format!("target/deploy/{name}.zip"));
        ensure!(
            is_packaged,
            "template.yaml wants {package}, and `cargo xtask package` makes no such package"
        );
    }
    run::print_ok("packages", names.join(", "));
    Ok(())
}

/// The packages that template.yaml names.
fn template_packages(template: &str) -> impl Iterator<Item = &str> {
    template.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        ["CodeUri", "ContentUri"].contains(&name).then_some(value)
    })
}

/// Runs a program with `input` on its standard input, where no list of processes shows it.
fn run_with_input(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot start wrangler")?;
    let mut pipe = child.stdin.take().context("standard input was asked for")?;
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    if !child.wait()?.success() {
        bail!("wrangler has not taken the secrets: see above");
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
        // Several functions may be one program.
        wanted.dedup();
        made.sort_unstable();
        assert_eq!(wanted, made, "and nothing is made for nobody");
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
