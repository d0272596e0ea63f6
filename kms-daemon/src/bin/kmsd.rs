//! `kmsd`: the key management service.

use std::io::{self, Write};
use std::process::ExitCode;

use kms_base::log;
use kms_base::memory::{self, HEAP, Heap};
use kms_daemon::config::{Config, ConfigError};
use kms_daemon::daemon;

#[global_allocator]
static ERASING: Heap = HEAP;

fn main() -> ExitCode {
    // Before there is anything to protect.
    let protected = [memory::refuse_dumps(), memory::lock()];
    if std::env::args_os().nth(1).is_some_and(|first| first == kms_pkcs11::WORKER) {
        return kms_pkcs11::worker::run();
    }
    let config = match Config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Usage(usage)) => usage.exit(),
        Err(error) => return fail(&error),
    };
    match log::parse(&config.log) {
        Ok(targets) => log::start(config.log_format, targets),
        Err(reason) => return fail(&ConfigError::Value(reason)),
    }
    for reason in protected.into_iter().filter_map(Result::err) {
        tracing::warn!("{reason}");
    }
    // Whoever started the daemon may not read what it says.
    let ready = |url: &str| drop(writeln!(io::stdout(), "listening on {url}"));
    match daemon::run(config, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "kmsd: {error}");
    ExitCode::FAILURE
}
