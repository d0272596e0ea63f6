//! The configuration of the AWS CLI, found in the same places and order as by the AWS CLI: flags,
//! environment, `~/.aws/credentials`, `~/.aws/config`.
//!
//! Source: AWS CLI user guide, "Using endpoints", "Environment variables" and "Configuration and
//! credential file settings"; where these leave something open, botocore.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use zeroize::Zeroizing;

use super::Failure;

mod ini;

use self::ini::Section;

/// A value, and where it was found, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) origin: String,
}

impl<T> Found<T> {
    pub(super) fn new(value: T, origin: impl Into<String>) -> Self {
        Self { value, origin: origin.into() }
    }
}

/// Environment variables. One that is empty is not set.
#[derive(Debug, Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(super) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn found(&self, names: &[&str]) -> Option<Found<String>> {
        let found = |name: &&str| Some(Found::new(self.get(name)?.to_owned(), *name));
        names.iter().find_map(found)
    }

    /// A file that a variable names, or one in the home directory.
    fn file(&self, variable: &str, at_home: &str) -> Option<PathBuf> {
        let home = || self.get("HOME").map(PathBuf::from);
        match self.get(variable) {
            Some(path) => match path.strip_prefix("~/") {
                Some(rest) => home().map(|home| home.join(rest)),
                None => Some(PathBuf::from(path)),
            },
            None => home().map(|home| home.join(at_home)),
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// An AWS service, by which an endpoint may be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Kms,
    Iam,
}

impl Service {
    /// The variable of the environment that names its endpoint.
    const fn variable(self) -> &'static str {
        match self {
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Iam => "AWS_ENDPOINT_URL_IAM",
        }
    }

    /// Its name in a `services` section.
    const fn section(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Iam => "iam",
        }
    }
}

/// A file in the format of the AWS CLI. It may have secrets in it.
struct File {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl File {
    /// The file, if there is one.
    fn read(path: PathBuf) -> Result<Option<Self>, Failure> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text: Zeroizing::new(text) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

/// The settings of one profile.
pub(super) struct Aws {
    environment: Environment,
    /// Whether the profile was chosen by flag, and its name.
    profile: (bool, String),
    credentials: Option<File>,
    config: Option<File>,
}

/// An access key to sign with.
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
}

impl Aws {
    /// The settings of the profile that `flag` names, or the environment.
    pub(super) fn load(environment: Environment, flag: Option<&str>) -> Result<Self, Failure> {
        let named = environment.found(&["AWS_DEFAULT_PROFILE", "AWS_PROFILE"]);
        let file = |variable: &str, at_home: &str| {
            environment.file(variable, at_home).map_or(Ok(None), File::read)
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?;
        let config = file("AWS_CONFIG_FILE", ".aws/config")?;
        let profile = flag.map(str::to_owned).or_else(|| named.map(|named| named.value));
        let profile = (flag.is_some(), profile.unwrap_or_else(|| "default".to_owned()));
        Ok(Self { environment, profile, credentials, config })
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The profile's name.
    pub(super) fn profile(&self) -> &str {
        &self.profile.1
    }

    /// Whether somebody chose a profile.
    pub(super) fn is_profile_chosen(&self) -> bool {
        self.profile.0 || self.profile.1 != "default"
    }

    /// Whether a file has the profile.
    pub(super) fn has_profile(&self) -> bool {
        self.sections().any(|(file, section)| ini::has_section(&file.text, section))
    }

    /// Where the daemon is, unless it is where `kmsd` is by default: by service, then for all, in
    /// the environment, then in the files. What the AWS CLI would send to AWS itself goes to where KMS
    /// is: a daemon serves both.
    pub(super) fn endpoint(&self, service: Service) -> Result<Option<Found<String>>, Failure> {
        if self.ignores_endpoints() {
            return Ok(None);
        }
        match self.configured(service)? {
            None if service != Service::Kms => self.configured(Service::Kms),
            found => Ok(found),
        }
    }

    fn configured(&self, service: Service) -> Result<Option<Found<String>>, Failure> {
        let of_environment = self.environment.found(&[service.variable(), "AWS_ENDPOINT_URL"]);
        if of_environment.is_some() {
            return Ok(of_environment);
        }
        if let Some(services) = self.setting("services") {
            let section = Section::Services(&services.value);
            let config = self.config.as_ref();
            let config = config.filter(|config| ini::has_section(&config.text, section));
            let config = config.ok_or_else(|| {
                let (name, origin) = (&services.value, &services.origin);
                Failure(format!(
                    "{origin} names services = {name}, but there is no [services {name}]"
                ))
            })?;
            if let Some(url) =
                ini::nested(&config.text, section, (service.section(), "endpoint_url"))
            {
                let origin = format!("{}, [services {}]", config.path.display(), services.value);
                return Ok(Some(Found::new(url.to_owned(), origin)));
            }
        }
        Ok(self.setting("endpoint_url"))
    }

    fn ignores_endpoints(&self) -> bool {
        let set = self.environment.found(&["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"]);
        let set = set.or_else(|| self.setting("ignore_configured_endpoint_urls"));
        set.is_some_and(|set| set.value.eq_ignore_ascii_case("true"))
    }

    /// The Region to use, if one is configured.
    pub(super) fn region(&self) -> Option<Found<String>> {
        let of_environment = self.environment.found(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
        of_environment.or_else(|| self.setting("region"))
    }

    /// The certificates to trust, if there are any.
    pub(super) fn ca_bundle(&self) -> Option<Found<PathBuf>> {
        let of_environment = self.environment.found(&["AWS_CA_BUNDLE"]);
        let found = of_environment.or_else(|| self.setting("ca_bundle"))?;
        Some(Found::new(PathBuf::from(found.value), found.origin))
    }

    /// The access key in the environment. A profile that was chosen by flag comes before it.
    pub(super) fn key_of_environment(&self) -> Option<AccessKey> {
        let get = |name: &str| self.environment.get(name).map(str::to_owned);
        if self.profile.0 {
            return None;
        }
        Some(AccessKey {
            id: get("AWS_ACCESS_KEY_ID")?,
            secret: get("AWS_SECRET_ACCESS_KEY")?.into(),
            token: get("AWS_SESSION_TOKEN").map(Zeroizing::new),
        })
    }

    /// The access key of the profile in the files.
    pub(super) fn key_of_profile(&self) -> Option<AccessKey> {
        // Both halves of one file.
        self.sections().find_map(|(file, section)| access_key(&file.text, section))
    }

    /// A setting of the profile. As for the AWS CLI, the credentials file comes first.
    fn setting(&self, name: &str) -> Option<Found<String>> {
        self.sections().find_map(|(file, section)| {
            let value = ini::value(&file.text, section, name).filter(|value| !value.is_empty())?;
            let origin = format!("{}, profile {}", file.path.display(), self.profile());
            Some(Found::new(value.to_owned(), origin))
        })
    }

    fn sections(&self) -> impl Iterator<Item = (&File, Section<'_>)> {
        let credentials =
            self.credentials.iter().map(|file| (file, Section::Plain(self.profile())));
        let config = self.config.iter().map(|file| (file, Section::Profile(self.profile())));
        credentials.chain(config)
    }
}

/// The access key of a profile in this shared-credentials file.
pub(super) fn key_of_file(path: &Path, profile: &str) -> Result<Option<AccessKey>, Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Failure(format!(
            "cannot read the credentials file {}: {error}; name one with --credentials FILE, or the \
             daemon's directory with --data DIR",
            path.display()
        ))
    })?;
    Ok(access_key(&text, Section::Plain(profile)))
}

fn access_key(text: &str, section: Section<'_>) -> Option<AccessKey> {
    let value = |name| ini::value(text, section, name).filter(|value| !value.is_empty());
    Some(AccessKey {
        id: value("aws_access_key_id")?.to_owned(),
        secret: value("aws_secret_access_key")?.to_owned().into(),
        token: value("aws_session_token").map(|token| token.to_owned().into()),
    })
}

#[cfg(test)]
mod tests;
