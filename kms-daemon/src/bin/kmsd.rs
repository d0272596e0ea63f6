//! `kmsd`: the key management service.

use std::process::ExitCode;
use std::time::Duration;

use kms_daemon::config::{Config, ConfigError};
use kms_daemon::{daemon, log};
use mimalloc::MiMalloc;

/// Gives memory back to the system when a flood of connections is over; that of glibc keeps most.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Usage(usage)) => usage.exit(),
        Err(error) => return fail(&error),
    };
    log::start(config.log_format, std::env::var("STRONGROOM_LOG").ok().as_deref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ready = |url: &str| println!("listening on {url}");
    let ended = runtime.block_on(daemon::run(config, ready));
    // A start that a signal has interrupted may still wait for a device.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("kmsd: {error}");
    ExitCode::FAILURE
}
