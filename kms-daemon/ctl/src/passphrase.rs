//! Passphrases, read from a file or typed without echo.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;
use kms_base::passphrase::Passphrase;
use kms_ceremony::TokenPlace;

/// Longest file with a passphrase, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Longest passphrase that is typed, in bytes.
const MAX_TYPED: usize = 1 << 10;

/// Where the passphrase of a key comes from.
#[derive(Debug, clap::Args)]
pub(super) struct KeyPassphrase {
    /// File whose first line is the passphrase of the key, 12 bytes or more. Without it, kmsctl asks on the
    /// terminal.
    #[arg(long = "key-passphrase-file", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl KeyPassphrase {
    const OPTION: &str = "--key-passphrase-file";

    /// The passphrase of a key that is there.
    pub(super) fn read(&self, of: &Path) -> Result<Passphrase, Failure> {
        passphrase_of(self.path.as_deref(), of, Self::OPTION)
    }

    /// The passphrase of a new key; typed twice.
    pub(super) fn read_new(&self, of: &Path) -> Result<Passphrase, Failure> {
        match &self.path {
            Some(path) => of_file(path),
            None => new_passphrase(of, Self::OPTION),
        }
    }
}

/// The passphrase of a new key, typed twice on the terminal; where there is none, `option` names its file.
pub(super) fn new_passphrase(of: &Path, option: &str) -> Result<Passphrase, Failure> {
    let prompt = format!("New passphrase for {}, 12 bytes or more", of.display());
    let first = typed("passphrase", &prompt, option)?;
    let passphrase = Passphrase::of_file(&first)?;
    match *typed("passphrase", "The same again", option)? == *first {
        true => Ok(passphrase),
        false => Err(Failure("the passphrases differ; nothing was made".to_owned())),
    }
}

/// The passphrase of a key that is there: the first line of a file, or typed on the terminal; where there is
/// neither, `option` names the file.
pub(super) fn passphrase_of(
    file: Option<&Path>,
    of: &Path,
    option: &str,
) -> Result<Passphrase, Failure> {
    let prompt = format!("Passphrase of {}", of.display());
    match file {
        Some(path) => of_file(path),
        None => Ok(Passphrase::of_file(&typed("passphrase", &prompt, option)?)?),
    }
}

/// A key in a PKCS#11 token.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArguments {
    /// PKCS#11 module through which the key is reached: a shared library.
    #[arg(long, value_name = "FILE", requires = "token")]
    pub(super) pkcs11: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// Label of the key in the token.
    #[arg(long, value_name = "LABEL", default_value = "strongroom-operator")]
    key_label: String,
    /// File whose first line is the token's PIN. Without it, kmsctl asks on the terminal.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl TokenArguments {
    /// Which key is meant, if one in a token.
    pub(super) fn place(&self) -> Option<TokenPlace> {
        Some(TokenPlace {
            module: self.pkcs11.clone()?,
            token: self.token.clone()?,
            key: self.key_label.clone(),
        })
    }

    /// The PIN.
    pub(super) fn pin(&self, place: &TokenPlace) -> Result<Zeroizing<String>, Failure> {
        let line = match &self.pin_file {
            Some(path) => content(path, "PIN")?,
            None => typed("PIN", &format!("PIN of the token {}", place.token), "--pin-file")?,
        };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text =
            std::str::from_utf8(line).map_err(|_| Failure("the PIN is not UTF-8".to_owned()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> Result<Passphrase, Failure> {
    Ok(Passphrase::of_file(&content(path, "passphrase")?)?)
}

fn content(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: io::Error| {
        Failure(format!("cannot read the {what} from {}: {error}", path.display()))
    };
    let mut content = Zeroizing::new(Vec::with_capacity(1024));
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// A line that a person types on the terminal, which does not show it; and how else it can be given.
fn typed(what: &str, prompt: &str, option: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        let text =
            format!("there is no terminal to ask for the {what} on; name its file: {option} FILE");
        return Err(Failure(text));
    }
    let before = tcgetattr(&input)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(&input, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_TYPED));
    let read = (|| {
        write!(io::stderr(), "{prompt}: ")?;
        io::stderr().flush()?;
        input.lock().take(MAX_TYPED as u64).read_until(b'\n', &mut line)
    })();
    tcsetattr(&input, OptionalActions::Now, &before)?;
    let _ = writeln!(io::stderr());
    read?;
    Ok(line)
}
