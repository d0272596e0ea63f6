//! Hands each board's memory map to the linker. The host board needs none.

use std::{env, path::PathBuf};

/// Boards with a binary in `src/bin` and a map in `memory`, both named like the feature.
const BOARDS: [&str; 2] = ["qemu_riscv32", "mps2_an386"];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo:rerun-if-changed=build.rs");
    for board in BOARDS {
        if env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_none() {
            continue;
        }
        let map = manifest.join("memory").join(format!("{board}.x"));
        println!("cargo:rerun-if-changed={}", map.display());
        println!("cargo:rustc-link-arg-bin={board}=-T{}", map.display());
    }
}
