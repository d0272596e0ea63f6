//! Makes sure that a browser is installed, if that can be done: the test that needs one says loudly
//! that it was left out, and nothing else needs it.

use crate::{command, packages, term};

/// Those that the tests look for, in this order; the first is Debian's.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// Installs Debian's Chromium if there is no browser.
pub(crate) fn prepare() {
    if NAMES.iter().any(|name| command::on_path(name)) {
        return;
    }
    if let Err(failure) = packages::install(&NAMES[..1]) {
        term::note(format!("{failure}\ncontinuing without the test in a browser"));
    }
}
