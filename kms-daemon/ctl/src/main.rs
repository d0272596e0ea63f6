//! `kmsctl`: looks after a Strongroom installation.

use std::io::{self, Write};
use std::process::ExitCode;

use kms_base::memory::{self, HEAP, Heap};

#[global_allocator]
static ERASING: Heap = HEAP;

fn main() -> ExitCode {
    if let Err(reason) = memory::refuse_dumps() {
        let _ = writeln!(io::stderr(), "kmsctl: {reason}");
    }
    kmsctl::main(std::env::args_os())
}
