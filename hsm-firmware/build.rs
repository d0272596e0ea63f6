//! Hands a board's memory map to the linker: the file of `memory/` that is named like the board's feature
//! and binary, and what that includes. The host board has none.

use std::{env, fs, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory");
    let memory = manifest.join("memory");
    for entry in fs::read_dir(&memory).expect("the memory maps") {
        let map = entry.expect("a memory map").path();
        let board = map.file_stem().and_then(|name| name.to_str()).expect("named like a board");
        if env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some() {
            println!("cargo:rustc-link-arg-bin={board}=-L{}", memory.display());
            println!("cargo:rustc-link-arg-bin={board}=-T{}", map.display());
        }
    }
}
