//! Passphrases: out of a file, or typed by a person, unseen.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;
use crate::backup::Passphrase;

/// Longest file with a passphrase, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Longest passphrase that is typed, in bytes.
const MAX_TYPED: u64 = 1 << 10;

/// Where the passphrase of a key comes from.
#[derive(Debug, clap::Args)]
pub(super) struct KeyPassphrase {
    /// File whose first line is the passphrase of the key, 12 bytes or more. Without it, it is asked for
    /// on the terminal.
    #[arg(long = "key-passphrase-file", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl KeyPassphrase {
    /// The passphrase of a key that is there.
    pub(super) fn read(&self, of: &Path) -> Result<Passphrase, Failure> {
        match &self.path {
            Some(path) => of_file(path),
            None => Ok(Passphrase::of_file(&typed(&format!("Passphrase of {}", of.display()))?)?),
        }
    }

    /// The passphrase of a new key; typed twice.
    pub(super) fn read_new(&self, of: &Path) -> Result<Passphrase, Failure> {
        if let Some(path) = &self.path {
            return of_file(path);
        }
        let first = typed(&format!("New passphrase for {}, 12 bytes or more", of.display()))?;
        let passphrase = Passphrase::of_file(&first)?;
        match *typed("The same again")? == *first {
            true => Ok(passphrase),
            false => Err(Failure("the passphrases differ; nothing was made".to_owned())),
        }
    }
}

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> Result<Passphrase, Failure> {
    let failed = |error: io::Error| {
        Failure(format!("cannot read the passphrase from {}: {error}", path.display()))
    };
    let mut content = Zeroizing::new(Vec::with_capacity(1024));
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(Passphrase::of_file(&content)?)
}

/// A line that a person types on the terminal, which does not show it.
fn typed(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        let text = "there is no terminal to ask for the passphrase on; name its file: \
                    --key-passphrase-file FILE";
        return Err(Failure(text.to_owned()));
    }
    let before = tcgetattr(&input)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(&input, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_TYPED as usize));
    let read = (|| {
        write!(io::stderr(), "{prompt}: ")?;
        io::stderr().flush()?;
        input.lock().take(MAX_TYPED).read_until(b'\n', &mut line)
    })();
    tcsetattr(&input, OptionalActions::Now, &before)?;
    let _ = writeln!(io::stderr());
    read?;
    Ok(line)
}
