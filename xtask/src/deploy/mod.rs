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

use self::plan::{Action, Outputs};
use self::settings::Settings;
use crate::doctor;
use crate::package;
use crate::project::Project;
use crate::run;
use crate::setup::{self, Purpose, Task};

/// `cargo xtask deploy`.
pub(crate) fn deploy(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let settings = Settings::parse(arguments)?;
    let origin = settings.origin.as_ref().context(
        "say where the Worker will be: --origin https://video.example.com, a domain of your Cloudflare account",
    )?;
    check_packages(project)?;
    let stage = Stage::set(project, &settings)?;
    if settings.dry_run {
        run::heading("what would be done");
        let config = stage.worker_config(origin, None)?;
        let after = plan::after(&settings, origin, &Outputs::example(), &config);
        for action in plan::before(&settings).iter().chain(&after) {
            println!("{action}");
        }
        println!(
            "secrets of the Worker that are missing are made and handed over: {}",
            plan::SECRETS.join(", ")
        );
        println!("{}", plan::doctor(&settings, origin));
        run::heading("checks that need no account");
        stage.run(&plan::validate())?;
        stage.run(&plan::bundle(&config))?;
        return Ok(ExitCode::SUCCESS);
    }
    let identity = stage.ask(&plan::identity(&settings))?;
    println!("account {}, region {}", text(&identity, "account"), text(&identity, "region"));
    let mut said = settings.clone();
    let room = stage.ask(&plan::room(&settings))?;
    if let Some(parameter) = room["room"].as_u64().and_then(|room| plan::without_room(&settings, room)) {
        println!(
            "{parameter}: AWS lets this account set only {} aside, so pictures on demand have no limit of their own; \
             ask AWS for more concurrency, then say --parameter RenderReserved=20",
            room["room"]
        );
        said.parameters.push(parameter);
    }
    if let Some(why) = room["unseen"].as_str() {
        println!(
            "it could not be asked how much concurrency the account can set aside, so the template's default holds: {why}"
        );
    }
    stage.artefacts()?;
    for action in plan::before(&said).iter().skip(1) {
        stage.run(action)?;
    }
    let outputs = Outputs::read(&stage.ask(&plan::outputs(&settings))?)?;
    let config = stage.worker_config(origin, Some(&outputs))?;
    for action in plan::after(&settings, origin, &outputs, &config) {
        stage.run(&action)?;
    }
    stage.hand_over_secrets(&outputs)?;
    println!("\n{origin} is deployed.");
    if settings.prebuilt {
        println!("Whether it works, the doctor says:\n\n    {}", plan::doctor(&settings, origin).line());
        return Ok(ExitCode::SUCCESS);
    }
    look(project, &settings, origin)
}

/// `cargo xtask destroy`.
pub(crate) fn destroy(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let settings = Settings::parse(arguments)?;
    let stage = Stage::set(project, &settings)?;
    if settings.dry_run {
        run::heading("what would be done");
        for action in plan::destruction(&settings, &Outputs::example()) {
            println!("{action}");
        }
        println!("{}", plan::left(&settings, &Outputs::example()));
        return Ok(ExitCode::SUCCESS);
    }
    // Before anything is taken down: what is not there can name nothing any more.
    let outputs = Outputs::read(&stage.ask(&plan::outputs(&settings))?)?;
    for action in plan::destruction(&settings, &outputs) {
        stage.run(&action)?;
    }
    println!("\n{}", plan::left(&settings, &outputs));
    Ok(ExitCode::SUCCESS)
}

/// Looks whether what was deployed works, if somebody is named as whom; else at the roles alone.
fn look(project: &Project, settings: &Settings, origin: &str) -> Result<ExitCode> {
    let whole = plan::doctor(settings, origin);
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_somebody = is_set("GLIMPSE_TOKEN") || is_set("GLIMPSE_COOKIE");
    let action = if is_somebody { whole.clone() } else { plan::roles(settings) };
    run::heading(&action.what);
    let arguments: Vec<String> = action.words.iter().skip(3).cloned().collect();
    let code = made(doctor::run(project, &arguments)?);
    if !is_somebody {
        println!(
            "\nWhether it works, the doctor says. It needs to be somebody: a bearer token of your issuer in GLIMPSE_TOKEN, or, \
             where people only sign in with a browser, somebody's session cookie (name=value) in GLIMPSE_COOKIE. Then:\n\n    {}",
            whole.line()
        );
    }
    Ok(code)
}

/// What a deployment ends with that is made: what could not be looked at is no fault of it.
fn made(doctor: ExitCode) -> ExitCode {
    if doctor == ExitCode::from(doctor::COULD_NOT_LOOK) { ExitCode::SUCCESS } else { doctor }
}

fn text<'a>(document: &'a Value, name: &str) -> &'a str {
    document[name].as_str().unwrap_or("unknown")
}

/// Where actions are carried out.
struct Stage<'a> {
    project: &'a Project,
    settings: &'a Settings,
    python: std::path::PathBuf,
}

impl<'a> Stage<'a> {
    fn set(project: &'a Project, settings: &'a Settings) -> Result<Self> {
        if !settings.prebuilt {
            setup::run(project, Purpose::Build)?;
        }
        Ok(Self { project, settings, python: setup::python_for(project, Task::Deploying)? })
    }

    fn command(&self, action: &Action) -> Result<Command> {
        let mut words = action.words.iter();
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
        run::heading(&action.what);
        println!("$ {}", action.line());
        ensure!(run::stream(&mut self.command(action)?, |_| {})?, "{}: see above", action.what);
        Ok(())
    }

    /// Carries it out, and answers the document that it prints.
    fn ask(&self, action: &Action) -> Result<Value> {
        let printed = run::capture(&mut self.command(action)?).with_context(|| action.what.clone())?;
        serde_json::from_str(&printed).with_context(|| format!("{}: no JSON", action.what))
    }

    /// Writes the Worker's configuration for this deployment, and returns where it is.
    fn worker_config(&self, origin: &str, outputs: Option<&Outputs>) -> Result<String> {
        let project = self.project.read("wrangler.toml")?;
        if let Some(outputs) = outputs.filter(|_| self.settings.prebuilt) {
            let path = "web/dist/_headers";
            let headers = worker::page_headers(&self.project.read(path)?, &project, outputs);
            fs::write(self.project.path(path), headers).with_context(|| format!("cannot write {path}"))?;
        }
        let text = worker::config(&project, &self.project.root, origin, outputs);
        let folder = self.project.target.join("deploy");
        let path = folder.join("wrangler.toml");
        fs::create_dir_all(&folder)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.strip_prefix(&self.project.root).unwrap_or(&path).display().to_string())
    }

    /// The packages for the processor that is deployed to, where template.yaml looks for them.
    fn artefacts(&self) -> Result<()> {
        let arch = self.settings.arch;
        let built = if self.settings.prebuilt {
            package::made(self.project)?
        } else {
            package::make(self.project, &[arch])?
        };
        let folder = self.project.target.join("deploy");
        fs::create_dir_all(&folder)?;
        let ending = format!("-{}.zip", arch.name());
        for entry in fs::read_dir(&built)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(&ending) {
                fs::copy(&path, folder.join(name).with_extension("zip"))?;
            }
        }
        Ok(())
    }

    /// Makes what the Worker has not got yet, and hands it over without a look at it. What it has stays: a new session
    /// secret would sign everybody out.
    fn hand_over_secrets(&self, outputs: &Outputs) -> Result<()> {
        run::heading("secrets of the Worker");
        let listed = self.ask(&plan::listed_secrets())?;
        let listed = listed.as_array().context("wrangler lists secrets")?;
        let has = |name: &str| listed.iter().any(|secret| secret["name"] == name);
        let mut secrets = Map::new();
        if self.settings.new_key || !has("S3_ACCESS_KEY_ID") {
            let pair = self.ask(&plan::new_key(self.settings, outputs))?;
            for name in ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"] {
                secrets.insert(name.into(), pair[name].clone());
            }
        }
        for name in ["SESSION_SECRET", "UPLOAD_TOKEN_SECRETS"] {
            if !has(name) {
                let random = self.ask(&plan::random())?;
                let random = text(&random, "random");
                let value = if name == "SESSION_SECRET" { random.to_owned() } else { format!("1={random}") };
                secrets.insert(name.into(), value.into());
            }
        }
        if secrets.is_empty() {
            println!("all there");
            return Ok(());
        }
        let names: Vec<_> = secrets.keys().cloned().collect();
        feed(&mut self.command(&plan::secrets())?, &Value::Object(secrets).to_string())?;
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
    let (template, names) = (project.read("template.yaml")?, package::names(project)?);
    for wanted in wanted(&template) {
        let is_made = names.iter().any(|name| wanted == format!("target/deploy/{name}.zip"));
        ensure!(is_made, "template.yaml wants {wanted}, and `cargo xtask package` makes no such package");
    }
    run::found("packages", names.join(", "));
    Ok(())
}

/// The packages that template.yaml names.
fn wanted(template: &str) -> impl Iterator<Item = &str> {
    template.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        ["CodeUri", "ContentUri"].contains(&name).then_some(value)
    })
}

/// Runs a program with `input` on its standard input, where no list of processes shows it.
fn feed(command: &mut Command, input: &str) -> Result<()> {
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
    fn every_package_of_the_template_is_made() {
        let project = Project::find().unwrap();
        check_packages(&project).unwrap();
        let template = project.read("template.yaml").unwrap();
        let mut wanted: Vec<_> = wanted(&template).collect();
        let mut made: Vec<_> = package::names(&project).unwrap();
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
    fn only_what_is_wrong_fails_a_deployment() {
        assert_eq!(made(ExitCode::from(2)), ExitCode::SUCCESS);
        assert_eq!(made(ExitCode::FAILURE), ExitCode::FAILURE);
        assert_eq!(made(ExitCode::SUCCESS), ExitCode::SUCCESS);
    }

    #[test]
    fn packages_are_found_in_the_template() {
        let template = "  A:\n      CodeUri: target/deploy/a.zip\n      Role: x\n      ContentUri: target/deploy/layer.zip\n";
        assert_eq!(wanted(template).collect::<Vec<_>>(), ["target/deploy/a.zip", "target/deploy/layer.zip"]);
    }
}
