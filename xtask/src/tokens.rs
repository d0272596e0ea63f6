//! Makes sure that there are PKCS#11 tokens to test with, if that can be done: SoftHSM2, and Kryoptic, which locks
//! PINs. The tests that need one say that they were left out, and nothing else needs one.

use std::path::PathBuf;

use crate::{
    command,
    failure::{Failure, Result},
    packages, term,
};

/// What it takes to build Kryoptic, and to initialize its tokens.
const FOR_KRYOPTIC: [&str; 5] =
    ["opensc", "libclang-dev", "libssl-dev", "libsqlite3-dev", "pkg-config"];

/// Installs Debian's SoftHSM2 if it is missing, and builds the module of Kryoptic, whose path it returns.
pub(crate) fn prepare() -> Option<PathBuf> {
    if let Err(failure) = packages::install(&["softhsm2"]) {
        term::note(format!("{failure}\ncontinuing without the tests of PKCS#11 tokens"));
        return None;
    }
    let built = kryoptic();
    built.inspect_err(|failure| term::note(format!("{failure}\ncontinuing without Kryoptic"))).ok()
}

fn kryoptic() -> Result<PathBuf> {
    packages::install(&FOR_KRYOPTIC)?;
    let directory = command::target_dir().join("kryoptic");
    let manifest = command::root().join("tests/kryoptic/Cargo.toml");
    let mut cargo = command::cargo(["build", "--quiet", "--locked", "--package", "kryoptic"]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&directory);
    command::output(&mut cargo)?;
    let module = directory.join("debug/libkryoptic_pkcs11.so");
    match module.exists() {
        true => Ok(module),
        false => Err(Failure::new(format!("{} was not built", module.display()))),
    }
}
