//! Debian packages: what is missing, and how to install it.

use std::{fs, process::Command};

use crate::{
    command,
    failure::{Failure, Result},
    term,
};

/// Installs those of `packages` that are missing, or says exactly which they are.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let privilege = privilege();
    let Some(prefix) = privilege.prefix().filter(|_| command::on_path("apt-get")) else {
        return Err(missing_failure(&missing, command::on_path("apt-get")));
    };
    term::note(format!("installing {} with apt-get", missing.join(", ")));
    if let Err(failure) = command::output(&mut apt(prefix, &["update"])) {
        term::note(format!("{failure}\ncontinuing with the package lists already here"));
    }
    let Err(failure) = command::output(&mut apt(prefix, &install_arguments(&missing, None))) else {
        return Ok(());
    };
    match conflicting_qemu_utils(&missing) {
        Some(version) => {
            term::note(format!(
                "the installed qemu-utils is newer than the emulator and breaks it: \
                 bringing qemu-utils to {version}"
            ));
            command::output(&mut apt(prefix, &install_arguments(&missing, Some(&version))))?;
            Ok(())
        }
        None => Err(failure.help(format!("by hand: {}", by_hand(&missing)))),
    }
}

/// Those of `packages` that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| version(package).is_none()).collect()
}

/// Version of an installed package.
fn version(package: &str) -> Option<String> {
    let format = "--showformat=${db:Status-Status} ${Version}";
    let shown =
        command::output(&mut command::program("dpkg-query", ["-W", format, package])).ok()?;
    shown.strip_prefix("installed ").map(str::to_owned)
}

#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
    None,
}

impl Privilege {
    /// Words before a command that needs root.
    fn prefix(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Root => Some(&["env"]),
            Self::Sudo => Some(&["sudo", "env"]),
            Self::None => None,
        }
    }
}

fn privilege() -> Privilege {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if effective_uid(&status) == Some(0) {
        Privilege::Root
    } else if command::on_path("sudo") {
        Privilege::Sudo
    } else {
        Privilege::None
    }
}

/// The second number of the `Uid:` line (proc(5)).
fn effective_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn apt<S: AsRef<str>>(prefix: &[&str], arguments: &[S]) -> Command {
    let words = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"];
    let arguments = arguments.iter().map(AsRef::as_ref);
    command::program(prefix[0], prefix[1..].iter().copied().chain(words).chain(arguments))
}

/// `--no-remove`: rather fail than take something away from the person's machine.
fn install_arguments(packages: &[&str], qemu_utils: Option<&str>) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["install", "--no-install-recommends", "--no-remove"].map(str::to_owned).into();
    if let Some(version) = qemu_utils {
        arguments.push("--allow-downgrades".into());
        arguments.push(format!("qemu-utils={version}"));
    }
    arguments.extend(packages.iter().map(|&package| package.to_owned()));
    arguments
}

/// The version qemu-utils must have for an emulator to install, if another is there.
fn conflicting_qemu_utils(packages: &[&str]) -> Option<String> {
    let emulator = packages.iter().find(|package| package.starts_with("qemu-system-"))?;
    let mut policy = command::program("apt-cache", ["policy", emulator]);
    let policy = command::output(policy.env("LC_ALL", "C")).ok()?;
    downgrade(&version("qemu-utils")?, &policy)
}

fn downgrade(installed: &str, policy: &str) -> Option<String> {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (candidate != "(none)" && candidate != installed).then(|| candidate.to_owned())
}

fn missing_failure(missing: &[&str], apt: bool) -> Failure {
    let what = format!("missing packages: {}", missing.join(" "));
    if apt {
        Failure::new(what).help(format!("they need root; run: {}", by_hand(missing)))
    } else {
        Failure::new(what)
            .help("these are Debian's names and this machine has no apt-get;")
            .help("install their equivalents with its own package manager")
    }
}

fn by_hand(packages: &[&str]) -> String {
    format!("apt-get update && apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "qemu-system-misc:\n  Installed: (none)\n  Candidate: 1:7.2-7\n  Version table:\n";

    #[test]
    fn newer_qemu_utils_is_brought_to_the_candidate() {
        assert_eq!(downgrade("1:9.2-1~bpo12+1", POLICY), Some("1:7.2-7".into()));
        assert_eq!(downgrade("1:7.2-7", POLICY), None);
        assert_eq!(downgrade("1:7.2-7", "qemu-system-misc:\n  Candidate: (none)\n"), None);
        assert_eq!(
            install_arguments(&["qemu-system-misc"], Some("1:7.2-7")),
            [
                "install",
                "--no-install-recommends",
                "--no-remove",
                "--allow-downgrades",
                "qemu-utils=1:7.2-7",
                "qemu-system-misc"
            ]
        );
    }

    #[test]
    fn root_and_sudo_prefix_the_command() {
        let shown = |privilege: Privilege| {
            let prefix = privilege.prefix()?;
            Some(command::shown(&apt(prefix, &install_arguments(&["lld-22"], None))))
        };
        let install = "env DEBIAN_FRONTEND=noninteractive apt-get -q -y install \
                       --no-install-recommends --no-remove lld-22";
        assert_eq!(shown(Privilege::Root).as_deref(), Some(install));
        assert_eq!(shown(Privilege::Sudo), Some(format!("sudo {install}")));
        assert_eq!(shown(Privilege::None), None);
    }

    #[test]
    fn without_privilege_the_exact_packages_are_named() {
        let failure = missing_failure(&["cargo-web", "lld-22"], true).to_string();
        assert!(failure.starts_with("missing packages: cargo-web lld-22\n"));
        assert!(failure.ends_with("install --no-install-recommends cargo-web lld-22"));
        assert!(missing_failure(&["lld-22"], false).to_string().contains("no apt-get"));
    }

    #[test]
    fn effective_uid_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }
}
