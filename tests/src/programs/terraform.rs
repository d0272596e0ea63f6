//! Terraform and its provider for AWS, which no package registry has: of the machine, or of
//! Terraform's own registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::on_path;
use crate::environment;

/// Where a mirror of providers may lie, beside the directories that Terraform itself looks in.
const PLACES: [&str; 3] = ["/opt", "/usr/local/share", "/usr/share"];
/// The provider in a mirror.
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws";

/// Copies the configuration of `tests/clients/programs/terraform` to `directory` and initialises it
/// there; the file for `TF_CLI_CONFIG_FILE`.
///
/// # Errors
/// Says what is missing on this machine.
///
/// # Panics
/// If files cannot be written.
pub fn initialise(directory: &Path) -> Result<PathBuf, String> {
    let Some(terraform) = on_path(&["terraform"]) else {
        return Err("there is no terraform on PATH".to_owned());
    };
    let source = environment::root().join("tests/clients/programs/terraform");
    for entry in fs::read_dir(source).expect("the configuration") {
        let file = entry.expect("an entry").path();
        fs::copy(&file, directory.join(file.file_name().expect("a name"))).expect("copied");
    }
    let cache = environment::target().join("programs/terraform");
    fs::create_dir_all(&cache).expect("a directory");
    let configuration = configuration(directory);
    let output = Command::new(terraform)
        .args(["init", "-input=false", "-no-color"])
        .current_dir(directory)
        .env("TF_CLI_CONFIG_FILE", &configuration)
        .env("TF_PLUGIN_CACHE_DIR", cache)
        // The configuration comes without a lock file, which is of one platform and one registry.
        .env("TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE", "true")
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .expect("terraform starts");
    match output.status.success() {
        true => Ok(configuration),
        false => Err(format!(
            "its AWS provider is neither in a mirror below {} nor in a registry that can be \
             reached: {}",
            PLACES.join(", "),
            String::from_utf8_lossy(&output.stderr).trim(),
        )),
    }
}

/// The person's own configuration of Terraform, if there is one; else one with the mirror that was
/// found, if one was.
fn configuration(directory: &Path) -> PathBuf {
    let own = std::env::var_os("TF_CLI_CONFIG_FILE").map(PathBuf::from);
    if let Some(own) = own.filter(|own| own.is_file()) {
        return own;
    }
    let text = mirror().map_or_else(String::new, |mirror| {
        let mirror = mirror.display();
        format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{mirror}\"\n  }}\n}}\n"
        )
    });
    let file = directory.join("cli.tfrc");
    fs::write(&file, text).expect("written");
    file
}

/// A directory in one of the [`PLACES`] that is laid out as a mirror and has the provider.
fn mirror() -> Option<PathBuf> {
    let entries = PLACES.iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|directory| directory.join(PROVIDER).is_dir())
        .collect();
    found.sort();
    found.into_iter().next()
}
