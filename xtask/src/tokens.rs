//! Makes sure that SoftHSM2 is installed, if that can be done: the test that needs a PKCS#11 token says
//! that it was left out, and nothing else needs one.

use crate::{packages, term};

/// Installs Debian's SoftHSM2 if it is missing.
pub(crate) fn prepare() {
    if let Err(failure) = packages::install(&["softhsm2"]) {
        term::note(format!("{failure}\ncontinuing without the test of PKCS#11 tokens"));
    }
}
