//! What the operator of the host allows: which modules are run, and what of the environment they see.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Shares;

/// The argument, the first one, by which the program knows that it is to run a module.
pub const WORKER: &str = "pkcs11-worker";

/// The modules that may be run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    /// The program that runs them when its first argument is [`WORKER`].
    pub program: PathBuf,
    /// Absolute paths of the shared libraries.
    pub allowed: Vec<PathBuf>,
    /// The variables that they see, and no others.
    pub environment: Vec<(OsString, OsString)>,
    /// How long a use of a key may take. Logins, and what makes keys, may take five times that.
    pub limit: Duration,
    /// How many of these processes may run at once, of all owners of tokens together.
    pub processes: Shares,
}

impl Modules {
    /// Whether a module may be run.
    #[must_use]
    pub fn allows(&self, module: &Path) -> bool {
        self.allowed.iter().any(|allowed| allowed == module)
    }
}
