//! Access keys: those of the account root, kept in the AWS shared-credentials format, so that the
//! file the daemon writes is the file a client reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use base64::prelude::{BASE64_STANDARD, Engine};
use zeroize::Zeroizing;

use kms_base::durable;
use kms_base::principal::Principal;
use kms_sigv4::{AccessKey, Session};

/// Why access keys could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file could not be read or written.
    #[error("cannot access the credentials file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file is not in the shared-credentials format, or holds no usable key.
    #[error("{path}:{line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// An access key and whose it is.
#[derive(Clone)]
pub struct Credential {
    secret: Zeroizing<String>,
    principal: Principal,
    session: Option<Session>,
}

impl Credential {
    /// The access key of `principal` with this secret; of a session, if there is one.
    #[must_use]
    pub(crate) const fn new(
        secret: Zeroizing<String>,
        principal: Principal,
        session: Option<Session>,
    ) -> Self {
        Self { secret, principal, session }
    }

    /// The secret access key. It is exposed to signature computation only.
    #[must_use]
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// Whose key this is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl AccessKey for Credential {
    fn secret(&self) -> &str {
        Self::secret(self)
    }

    fn session(&self) -> Option<Session> {
        self.session
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// The access keys of a file, by access key id.
#[derive(Debug, Default)]
pub struct Credentials {
    keys: HashMap<String, Credential>,
}

impl Credentials {
    /// Reads the account root's keys from a file in the shared-credentials format: every profile
    /// in it is one key.
    ///
    /// # Errors
    /// If the file cannot be read, does not parse, or holds no key.
    pub fn load(path: &Path, account: &str) -> Result<Self, CredentialsError> {
        Self::read(path, account, Rule::Strict)
    }

    /// Like [`Credentials::load`], for development: keys may be as short as those of emulators,
    /// `test` and `test`.
    ///
    /// # Errors
    /// If the file cannot be read, does not parse, or holds no key.
    pub fn load_for_development(path: &Path, account: &str) -> Result<Self, CredentialsError> {
        Self::read(path, account, Rule::Development)
    }

    fn read(path: &Path, account: &str, rule: Rule) -> Result<Self, CredentialsError> {
        let text =
            fs::read_to_string(path).map(Zeroizing::new).map_err(|source| file(path, source))?;
        warn_if_shared(path);
        Self::parse(&text, account, rule).map_err(|(line, reason)| CredentialsError::Malformed {
            path: path.to_owned(),
            line,
            reason,
        })
    }

    /// Like [`Credentials::load`], but makes a key first if there is no file. Returns whether it
    /// did.
    ///
    /// # Errors
    /// If the file cannot be read or written, or there is no randomness.
    pub fn load_or_create(path: &Path, account: &str) -> Result<(Self, bool), CredentialsError> {
        let missing = !path.try_exists().map_err(|source| file(path, source))?;
        if missing {
            let content = Zeroizing::new(format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                random_id("AKIA")?,
                random_secret()?.as_str(),
            ));
            durable::write(path, content.as_bytes(), 0o600).map_err(|source| file(path, source))?;
        }
        Ok((Self::load(path, account)?, missing))
    }

    /// The credential with this access key id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<&Credential> {
        self.keys.get(access_key_id)
    }

    /// The access key ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Adds a key of the account root.
    pub fn insert_root(&mut self, account: &str, access_key_id: &str, secret: Zeroizing<String>) {
        let principal = Principal::root(account, access_key_id);
        self.keys.insert(access_key_id.to_owned(), Credential::new(secret, principal, None));
    }

    fn parse(text: &str, account: &str, rule: Rule) -> Result<Self, (usize, &'static str)> {
        let mut credentials = Self::default();
        let mut profile = Profile::default();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                if !line.ends_with(']') {
                    return Err((number, "a profile header must end with ']'"));
                }
                std::mem::take(&mut profile).finish(account, &mut credentials)?;
                profile.line = number;
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or((number, "expected 'name = value' or '[profile]'"))?;
            if profile.line == 0 {
                return Err((number, "a value must stand below a '[profile]'"));
            }
            profile.set(number, (name.trim(), value.trim()), rule)?;
        }
        profile.finish(account, &mut credentials)?;
        if credentials.keys.is_empty() {
            return Err((1, "no access key in this file"));
        }
        Ok(credentials)
    }
}

/// How short access keys may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// As AWS's are, so that nobody guesses one.
    Strict,
    /// Any.
    Development,
}

/// A profile of the file while it is read. Line 0: none has begun.
#[derive(Default)]
struct Profile<'a> {
    line: usize,
    id: Option<&'a str>,
    secret: Option<&'a str>,
}

impl<'a> Profile<'a> {
    fn set(
        &mut self,
        line: usize,
        (name, value): (&str, &'a str),
        rule: Rule,
    ) -> Result<(), (usize, &'static str)> {
        let least = if rule == Rule::Strict { 16 } else { 1 };
        match name {
            "aws_access_key_id" => {
                let valid = (least..=128).contains(&value.len())
                    && value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
                if !valid && rule == Rule::Development {
                    return Err((line, "an access key id has 1 to 128 letters and digits"));
                }
                if !valid {
                    return Err((line, "an access key id has 16 to 128 letters and digits"));
                }
                self.id = Some(value);
            }
            "aws_secret_access_key" => {
                if value.len() < least {
                    let reason = match rule {
                        Rule::Strict => "a secret access key has at least 16 characters",
                        Rule::Development => "this secret access key is empty",
                    };
                    return Err((line, reason));
                }
                self.secret = Some(value);
            }
            "aws_session_token" => {
                return Err((line, "the account root's key cannot be a temporary one"));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, account: &str, into: &mut Credentials) -> Result<(), (usize, &'static str)> {
        match (self.id, self.secret) {
            (Some(id), Some(secret)) => {
                if into.keys.contains_key(id) {
                    return Err((self.line, "this access key id is in the file twice"));
                }
                into.insert_root(account, id, Zeroizing::new(secret.to_owned()));
                Ok(())
            }
            (None, None) => Ok(()),
            (Some(_), None) => Err((self.line, "this profile has no aws_secret_access_key")),
            (None, Some(_)) => Err((self.line, "this profile has no aws_access_key_id")),
        }
    }
}

/// A prefix of four letters and 16 characters of base 32, as AWS makes ids: 80 random bits.
pub(crate) fn random_id(prefix: &str) -> Result<String, getrandom::Error> {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let characters = random.iter().map(|byte| char::from(BASE32[usize::from(byte & 31)]));
    Ok(prefix.chars().chain(characters).collect())
}

/// A secret access key, 40 characters of base 64: 240 random bits.
pub(crate) fn random_secret() -> Result<Zeroizing<String>, getrandom::Error> {
    secret_of::<30>()
}

/// The secret of a credential of an external key store, which has 43 to 64 characters: 44 of base 64, 264
/// random bits.
pub(crate) fn random_store_secret() -> Result<Zeroizing<String>, getrandom::Error> {
    secret_of::<33>()
}

fn secret_of<const BYTES: usize>() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut random = Zeroizing::new([0; BYTES]);
    getrandom::fill(random.as_mut_slice())?;
    Ok(Zeroizing::new(BASE64_STANDARD.encode(random.as_slice())))
}

fn warn_if_shared(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "other users can read this credentials file; run: chmod 600 {}", path.display()
        );
    }
}

fn file(path: &Path, source: io::Error) -> CredentialsError {
    CredentialsError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ACCOUNT: &str = "000000000000";

    #[test]
    fn first_start_makes_a_key_and_later_starts_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let (first, made) = Credentials::load_or_create(&path, ACCOUNT).unwrap();
        assert!(made);
        let (second, made) = Credentials::load_or_create(&path, ACCOUNT).unwrap();
        assert!(!made);

        let (id, credential) = first.keys.iter().next().unwrap();
        assert_eq!(id.len(), 20);
        assert!(id.starts_with("AKIA"));
        assert!(id[4..].bytes().all(|c| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c)));
        assert_eq!(credential.secret().len(), 40);
        assert_eq!(credential.principal(), &Principal::root(ACCOUNT, id.as_str()));
        assert_eq!(second.find(id).unwrap().secret(), credential.secret());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn reads_every_profile_and_ignores_what_it_does_not_need() {
        let text = "# mine\n[default]\naws_access_key_id=AKIAAAAAAAAAAAAAAAAA\n\
                    aws_secret_access_key = abcdefghijklmnop/=\nregion = us-east-1\n\n[other]\n\
                    aws_access_key_id = AKIABBBBBBBBBBBBBBBB\naws_secret_access_key = 0123456789abcdef\n\
                    [empty]\n";
        let credentials = Credentials::parse(text, ACCOUNT, Rule::Strict).unwrap();
        assert_eq!(credentials.keys.len(), 2);
        let first = credentials.find("AKIAAAAAAAAAAAAAAAAA").unwrap();
        assert_eq!(first.secret(), "abcdefghijklmnop/=");
    }

    #[test]
    fn names_the_line_of_a_fault() {
        let fault = |text| Credentials::parse(text, ACCOUNT, Rule::Strict).unwrap_err();
        assert_eq!(fault("").0, 1);
        assert_eq!(fault("[default]\nnonsense").0, 2);
        assert_eq!(fault("aws_access_key_id = AKIAAAAAAAAAAAAAAAAA").0, 1);
        assert_eq!(fault("\n[a]\naws_access_key_id = AKIAAAAAAAAAAAAAAAAA\n[b]\n").0, 2);
        assert_eq!(fault("[a]\naws_access_key_id = short").0, 2);
        assert_eq!(fault("[a]\naws_session_token = x").0, 2);
    }

    #[test]
    fn developers_may_have_short_keys() {
        let text = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
        let strict = Credentials::parse(text, ACCOUNT, Rule::Strict).unwrap_err();
        assert_eq!(strict, (2, "an access key id has 16 to 128 letters and digits"));
        let credentials = Credentials::parse(text, ACCOUNT, Rule::Development).unwrap();
        assert_eq!(credentials.find("test").unwrap().secret(), "test");
        for (text, line) in [
            ("[a]\naws_access_key_id =\n", 2),
            ("[a]\naws_access_key_id = te st\n", 2),
            ("[a]\naws_access_key_id = test\naws_secret_access_key =\n", 3),
        ] {
            assert_eq!(Credentials::parse(text, ACCOUNT, Rule::Development).unwrap_err().0, line);
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let mut credentials = Credentials::default();
        let secret = Zeroizing::new("top-secret-value".to_owned());
        credentials.insert_root(ACCOUNT, "AKIAAAAAAAAAAAAAAAAA", secret);
        assert!(!format!("{credentials:?}").contains("top-secret"));
    }
}
