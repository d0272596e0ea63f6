//! Writes `on_every_board!`, which makes tests for each emulated board: those that have a machine
//! description in `qemu/`.

use std::{env, fs, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let directory = manifest.join("../qemu");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", directory.display());
    let files = fs::read_dir(&directory).expect("the machine descriptions");
    let paths = files.map(|file| file.expect("a machine description").path());
    let mut boards: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned())
        .collect();
    boards.sort();
    let calls: String = boards
        .iter()
        .map(|board| format!("        $crate::on_board! {{ {board} $what: $($name),+ }}\n"))
        .collect();
    let text = format!(
        "/// Makes a test of each function for each emulated board; see [`on_board!`].\n\
         #[macro_export]\n\
         macro_rules! on_every_board {{\n    \
             ($what:ident: $($name:ident),+ $(,)?) => {{\n{calls}    }};\n\
         }}\n"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("boards.rs"), text).expect("a file in OUT_DIR");
}
