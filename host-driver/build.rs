//! Lists the machine descriptions: the files of `qemu/`, one for each board that is emulated.

use std::{env, fs, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let directory = manifest.join("../qemu");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", directory.display());
    let files = fs::read_dir(&directory).expect("the machine descriptions");
    let paths = files.map(|file| file.expect("a machine description").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    paths.sort();
    let texts: String = paths
        .iter()
        .map(|path| format!("include_str!({:?}),\n", path.canonicalize().expect("it is there")))
        .collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("machines.rs"), format!("&[\n{texts}]\n")).expect("a file in OUT_DIR");
}
