//! `kmsd`: the key management service.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use kms_daemon::config::{Config, ConfigError};
use kms_daemon::memory::{self, HEAP, Heap};
use kms_daemon::{daemon, log};

#[global_allocator]
static ERASING: Heap = HEAP;

fn main() -> ExitCode {
    // Before there is anything to protect.
    let protected = [memory::refuse_dumps(), memory::lock()];
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    // Whoever started the daemon may not read what it says.
    let ready = |url: &str| drop(writeln!(io::stdout(), "listening on {url}"));
    let ended = runtime.block_on(daemon::run(config, ready));
    // A start that a signal has interrupted may still wait for a device.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "kmsd: {error}");
    ExitCode::FAILURE
}
