//! What every command needs: the deployment, the credential, the folders and the clock.

use jiff::Timestamp;

use crate::api::Api;
use crate::config::{Config, Credential, Folders};
use crate::failure::{CommandResult, ExitStatus, Failure};
use crate::origin::DeploymentUrl;
use crate::output::Output;
use crate::secret::Secret;

/// The options of all commands, with the environment variables that replace them.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// `--url` or `GLIMPSE_URL`.
    pub(crate) url: Option<String>,
    /// `--token` or `GLIMPSE_TOKEN`.
    pub(crate) token: Option<Secret>,
    /// `GLIMPSE_COOKIE`.
    pub(crate) cookie: Option<Secret>,
    /// The user's folders.
    pub(crate) folders: CommandResult<Folders>,
    /// How results are printed.
    pub(crate) output: Output,
    /// The clock.
    pub(crate) now: fn() -> Timestamp,
}

impl Context {
    /// The current time, in Unix seconds.
    pub(crate) fn now_secs(&self) -> u64 {
        u64::try_from((self.now)().as_second()).unwrap_or_default()
    }

    /// The user's folders.
    ///
    /// # Errors
    /// The environment names none.
    pub(crate) fn folders(&self) -> CommandResult<&Folders> {
        self.folders.as_ref().map_err(Clone::clone)
    }

    /// The configuration; empty without a file.
    ///
    /// # Errors
    /// The file cannot be read or is invalid.
    pub(crate) fn config(&self) -> CommandResult<Config> {
        Config::load(&self.folders()?.config_file())
    }

    /// The address of the deployment: `--url`, or the default of the configuration.
    ///
    /// # Errors
    /// There is none, or it is invalid.
    pub(crate) fn deployment(&self) -> CommandResult<DeploymentUrl> {
        let url = match &self.url {
            Some(url) => Some(url.clone()),
            None => self.config()?.default,
        };
        let url = url.ok_or_else(|| {
            Failure::usage(
                "no deployment: pass --url https://video.example.com, set GLIMPSE_URL, or run `glimpse login URL`",
            )
        })?;
        DeploymentUrl::parse(&url).map_err(Failure::usage)
    }

    /// A client of the deployment, which has a credential.
    ///
    /// # Errors
    /// There is no credential, or the session has expired.
    pub(crate) fn api(&self) -> CommandResult<Api> {
        let url = self.deployment()?;
        let credential = self.credential(&url)?;
        if credential.is_none() && url.upload_token().is_none() {
            return Err(Failure::new(
                ExitStatus::Unauthenticated,
                format!("not signed in to {url}: run `glimpse login {url}`, or set GLIMPSE_TOKEN"),
            ));
        }
        Api::new(url, credential)
    }

    /// The credential for the deployment: `--token`, `GLIMPSE_COOKIE`, or the configuration's.
    ///
    /// # Errors
    /// The session has expired.
    pub(crate) fn credential(&self, url: &DeploymentUrl) -> CommandResult<Option<Credential>> {
        if let Some(token) = &self.token {
            return Ok(Some(Credential::Token(token.clone())));
        }
        if let Some(cookie) = &self.cookie {
            return Ok(Some(Credential::Session { cookie: cookie.clone(), expires_at: u64::MAX }));
        }
        if url.upload_token().is_some() {
            return Ok(None);
        }
        let stored = self.config()?.deployments.remove(url.origin());
        if let Some(Credential::Session { expires_at, .. }) = &stored
            && *expires_at <= self.now_secs()
        {
            return Err(Failure::new(
                ExitStatus::Unauthenticated,
                format!("the session at {url} has expired: run `glimpse login {url}`"),
            ));
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn context(folder: &std::path::Path) -> Context {
        let folders = Folders { config: folder.to_owned(), state: folder.to_owned() };
        let now = || Timestamp::from_second(1_000).unwrap();
        let output = Output { is_json: false };
        Context { url: None, token: None, cookie: None, folders: Ok(folders), output, now }
    }

    #[test]
    fn option_takes_precedence_over_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut context = context(folder.path());
        assert_eq!(context.deployment().unwrap_err().status, ExitStatus::Usage);
        let config =
            r#"{"default":"https://a.example","deployments":{"https://a.example":{"token":"stored"}}}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let url = context.deployment().unwrap();
        assert_eq!(url.origin(), "https://a.example");
        assert_eq!(context.credential(&url).unwrap(), Some(Credential::Token(Secret::new("stored"))));
        context.token = Some(Secret::new("given"));
        assert_eq!(context.credential(&url).unwrap(), Some(Credential::Token(Secret::new("given"))));
        context.token = None;
        context.url = Some("https://b.example".into());
        assert_eq!(context.deployment().unwrap().origin(), "https://b.example");
        let failure = context.api().unwrap_err();
        assert_eq!(failure.status, ExitStatus::Unauthenticated, "a credential belongs to its deployment");
    }

    #[test]
    fn expired_session_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path());
        let write = |expires_at: u64| {
            let config = format!(
                r#"{{"default":"https://a.example","deployments":{{"https://a.example":{{"session":{{"cookie":"c","expires_at":{expires_at}}}}}}}}}"#
            );
            fs::write(folder.path().join("config.json"), config).unwrap();
        };
        let url = DeploymentUrl::parse("https://a.example").unwrap();
        write(1_001);
        assert!(context.credential(&url).unwrap().is_some());
        write(1_000);
        assert_eq!(context.credential(&url).unwrap_err().status, ExitStatus::Unauthenticated);
    }
}
