//! Build, run, test and check Strongroom: `cargo xtask`.
fn main() {}
