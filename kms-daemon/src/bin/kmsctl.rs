//! `kmsctl`: looks after a Strongroom installation.

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_daemon::ctl::main(std::env::args_os())
}
