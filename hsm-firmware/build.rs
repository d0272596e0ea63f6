//! Hands a board's memory maps to the linker, and the firmware signers to the code.
//!
//! A memory map is the file of `memory/` that is named like the board's feature and binary, and what that
//! includes; that of its second stage has `_boot` behind the name. The host board has none.

use std::{env, fs, path::Path, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory");
    let memory = manifest.join("memory");
    for entry in fs::read_dir(&memory).expect("the memory maps") {
        let map = entry.expect("a memory map").path();
        let binary = map.file_stem().and_then(|name| name.to_str()).expect("named like a board");
        let board = binary.strip_suffix("_boot").unwrap_or(binary);
        if env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some() {
            println!("cargo:rustc-link-arg-bin={binary}=-L{}", memory.display());
            println!("cargo:rustc-link-arg-bin={binary}=-T{}", map.display());
        }
    }
    println!("cargo:rerun-if-env-changed=STRONGROOM_FIRMWARE_SIGNERS");
    let signers = env::var_os("STRONGROOM_FIRMWARE_SIGNERS").map(PathBuf::from);
    let signers = signers.unwrap_or_else(|| manifest.join("signers/development.signers"));
    println!("cargo:rerun-if-changed={}", signers.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("signers.rs"), code(&signers)).expect("the signers can be written");
}

/// The file of signers as Rust constants.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let mut threshold = None;
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim) {
        match line.split_once(' ') {
            _ if line.is_empty() || line.starts_with('#') => {}
            Some(("threshold", number)) => threshold = number.trim().parse::<u8>().ok(),
            Some(("signer", key)) => keys.push(point(key.trim(), path)),
            _ => panic!("{}: `{line}` is neither a threshold nor a signer", path.display()),
        }
    }
    let threshold = threshold.unwrap_or_else(|| panic!("{} has no threshold", path.display()));
    let enough = (1..=keys.len()).contains(&usize::from(threshold)) && keys.len() <= 8;
    assert!(enough, "{}: 1 <= threshold <= signers <= 8 does not hold", path.display());
    let keys: String =
        keys.iter().map(|[x, y]| format!("SignerKey {{ x: {x:?}, y: {y:?} }}, ")).collect();
    format!(
        "pub(super) const KEYS: &[SignerKey] = &[{keys}];\npub(super) const THRESHOLD: u8 = {threshold};\n"
    )
}

/// The coordinates of an uncompressed point (SEC 1, 2.3.3), hexadecimal.
fn point(key: &str, path: &Path) -> [Vec<u8>; 2] {
    let bytes: Option<Vec<u8>> = (0..key.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(key.get(at..at + 2)?, 16).ok())
        .collect();
    match bytes.as_deref() {
        Some([4, coordinates @ ..]) if coordinates.len() == 64 => {
            [coordinates[..32].to_vec(), coordinates[32..].to_vec()]
        }
        _ => panic!("{}: `{key}` is not an uncompressed P-256 public key", path.display()),
    }
}
