//! `cargo xtask package`: the Debian package of `kmsd` and `kmsctl`, with unit, manual and completions.
//!
//! The same sources, built by the same compiler, make the same package: its times are those of the
//! commit.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    args::Args,
    command,
    daemon::{self, Profile, Programs},
    elf,
    failure::{Doing, Failure, Result},
    packages, term,
};

/// Architecture in Debian's words.
const ARCHITECTURES: [(&str, &str); 4] =
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64"), ("arm", "armhf")];

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let debug = args.flag("--debug");
    let version = args.value("--version")?;
    args.finish()?;
    let source = Source::find();
    let profile = if debug { Profile::Dev } else { Profile::Release(source.commit.clone()) };
    let (programs, _) = daemon::build(&[], None, profile)?;
    let version = version.unwrap_or_else(|| source.version());
    let package = term::step("Debian package", || build(&programs, &version, &source, !debug))?;
    println!("{}", package.display());
    Ok(())
}

/// What is packaged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The commit, with `-dirty` if there are changes; empty outside a repository.
    commit: String,
    /// When it was made, in seconds since 1970.
    time: u64,
}

impl Source {
    /// Asks the environment, then `git`: sources without a repository are packaged as well.
    pub(crate) fn find() -> Self {
        let git = |arguments: &[&str]| {
            let text = command::output(&mut command::program("git", arguments)).ok()?;
            Some(text.trim().to_owned())
        };
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let commit = given("STRONGROOM_COMMIT").or_else(|| {
            let commit = git(&["rev-parse", "--verify", "HEAD"])?;
            let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
            Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
        });
        let time = given("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"]));
        let time = time.and_then(|time| time.parse().ok()).unwrap_or(0);
        Self { commit: commit.unwrap_or_default(), time }
    }

    /// The commit, with `-dirty` if there are changes; empty outside a repository.
    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    /// When it was made, in seconds since 1970; 0 outside a repository.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// The version of the package: between releases, packages of later commits are newer.
    fn version(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let commit = self.commit.get(..12).unwrap_or("");
        match self.commit.is_empty() || env::var_os("STRONGROOM_RELEASE").is_some() {
            true => version.to_owned(),
            false => format!("{version}+{}.{commit}", self.time),
        }
    }
}

/// Builds the package from programs; returns where it is.
pub(crate) fn build(
    programs: &Programs,
    version: &str,
    source: &Source,
    compress: bool,
) -> Result<PathBuf> {
    packages::install(&["dpkg"])?;
    let target = command::target_dir().join("package");
    let root = target.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).doing(format_args!("remove {}", root.display()))?;
    }
    let stage = Stage { root: &root, time: source.time };
    stage.programs(programs)?;
    stage.texts()?;
    stage.control(programs, version)?;
    stage.finish()?;
    let architecture = architecture()?;
    let package = target.join(format!("strongroom_{version}_{architecture}.deb"));
    // Packages for tests are large and short-lived.
    let compress = if compress { "-Zxz" } else { "-Znone" };
    let mut dpkg = command::program("dpkg-deb", ["--root-owner-group", compress, "--build"]);
    dpkg.env("SOURCE_DATE_EPOCH", source.time.to_string());
    command::output(dpkg.arg(&root).arg(&package))?;
    Ok(package)
}

fn architecture() -> Result<&'static str> {
    let ours = ARCHITECTURES.iter().find(|(rust, _)| *rust == env::consts::ARCH);
    ours.map(|(_, debian)| *debian).ok_or_else(|| {
        Failure::new(format!("there is no Debian package for {}", env::consts::ARCH)).help(
            "install with: cargo install --locked --path kms-daemon, and --path kms-daemon/ctl",
        )
    })
}

/// The tree that becomes the package.
struct Stage<'s> {
    root: &'s Path,
    time: u64,
}

impl Stage<'_> {
    /// Writes a file with its directories.
    fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let to = self.root.join(path);
        let directory = to.parent().unwrap_or(self.root);
        fs::create_dir_all(directory).doing(format_args!("make {}", directory.display()))?;
        fs::write(&to, bytes).doing(format_args!("write {}", to.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))
            .doing(format_args!("set the mode of {}", to.display()))
    }

    /// Copies a file of the repository.
    fn copy(&self, from: &str, path: &str, mode: u32) -> Result<()> {
        self.write(path, mode, &read(&command::root().join(from))?)
    }

    /// Writes a file as `gzip -n` would.
    fn compressed(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.write(path, 0o644, bytes)?;
        let mut gzip = command::program("gzip", ["--best", "--no-name"]);
        command::output(gzip.arg(self.root.join(path))).map(drop)
    }

    /// Both programs, and what they say of themselves: completions and manual.
    fn programs(&self, programs: &Programs) -> Result<()> {
        let both = [("kmsd", &programs.kmsd), ("kmsctl", &programs.kmsctl)];
        for (name, program) in both {
            self.write(&format!("usr/bin/{name}"), 0o755, &read(program)?)?;
            for (shell, path) in [
                ("bash", format!("usr/share/bash-completion/completions/{name}")),
                ("zsh", format!("usr/share/zsh/vendor-completions/_{name}")),
                ("fish", format!("usr/share/fish/vendor_completions.d/{name}.fish")),
            ] {
                let arguments = ["generate", "completions", shell, "--program", name];
                let script = command::output(&mut command::program(&programs.kmsctl, arguments))?;
                self.write(&path, 0o644, script.as_bytes())?;
            }
        }
        let manual = command::target_dir().join("package/manual");
        if manual.exists() {
            fs::remove_dir_all(&manual).doing(format_args!("remove {}", manual.display()))?;
        }
        let mut generate = command::program(&programs.kmsctl, ["generate", "manual"]);
        command::output(generate.arg(&manual))?;
        for page in files(&manual)? {
            let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let section = name.rsplit('.').next().unwrap_or_default();
            self.compressed(&format!("usr/share/man/man{section}/{name}"), &read(&page)?)?;
        }
        Ok(())
    }

    /// What is the same for every build.
    fn texts(&self) -> Result<()> {
        let unit = "usr/lib/systemd/system/strongroom.service";
        self.copy("packaging/strongroom.service", unit, 0o644)?;
        self.copy("packaging/kmsd.toml", "etc/strongroom/kmsd.toml", 0o644)?;
        let documents = "usr/share/doc/strongroom";
        self.copy("packaging/debian/copyright", &format!("{documents}/copyright"), 0o644)?;
        let changes = read(&command::root().join("CHANGELOG.md"))?;
        self.compressed(&format!("{documents}/changelog"), &changes)
    }

    fn control(&self, programs: &Programs, version: &str) -> Result<()> {
        let glibc = elf::newest_glibc(&[&programs.kmsd, &programs.kmsctl])?;
        let size: u64 = tree(self.root)?
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|file| file.len().div_ceil(1024))
            .sum();
        let architecture = architecture()?;
        let control = format!(
            "Package: strongroom
Version: {version}
Architecture: {architecture}
Maintainer: Strongroom <strongroom@localhost>
Installed-Size: {size}
Depends: libc6 (>= {glibc}), libgcc-s1, adduser
Suggests: qemu-system-misc
Section: admin
Priority: optional
Homepage: https://github.com/strongroom/strongroom
Description: key management service with the AWS KMS API, on HSMs of your own
 kmsd serves the AWS KMS API from keys that live in hardware security modules:
 microcontrollers that run Strongroom's firmware, or a process that does.
 kmsctl provisions devices, manages identities and verifies the audit log.
"
        );
        self.write("DEBIAN/control", 0o644, control.as_bytes())?;
        self.write("DEBIAN/conffiles", 0o644, b"/etc/strongroom/kmsd.toml\n")?;
        for script in ["postinst", "prerm", "postrm"] {
            let (from, to) = (format!("packaging/debian/{script}"), format!("DEBIAN/{script}"));
            self.copy(&from, &to, 0o755)?;
        }
        Ok(())
    }

    /// Gives directories the same mode everywhere, and everything the time of the commit.
    fn finish(&self) -> Result<()> {
        for path in tree(self.root)?.iter().rev().map(PathBuf::as_path).chain([self.root]) {
            if path.is_dir() {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                    .doing(format_args!("set the mode of {}", path.display()))?;
            }
            let mut touch = Command::new("touch");
            touch.args(["--no-dereference", "--date", &format!("@{}", self.time)]).arg(path);
            command::output(&mut touch)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).doing(format_args!("read {}", path.display()))
}

/// What is in a directory, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).doing(format_args!("list {}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// What is below a directory, directories before what is in them.
fn tree(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in files(directory)? {
        let below = if path.is_dir() { tree(&path)? } else { Vec::new() };
        all.push(path);
        all.extend(below);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_later_commits_are_newer() {
        let version = |time| Source { commit: "a".repeat(40), time }.version();
        assert_eq!(
            version(1_700_000_000),
            format!("{}+1700000000.aaaaaaaaaaaa", env!("CARGO_PKG_VERSION"))
        );
        let newer = |one: &str, other: &str| {
            command::output(&mut command::program("dpkg", ["--compare-versions", one, "gt", other]))
                .is_ok()
        };
        assert!(newer(&version(1_700_000_001), &version(1_700_000_000)));
        assert!(newer(&version(1), env!("CARGO_PKG_VERSION")));
        let outside = Source { commit: String::new(), time: 0 };
        assert_eq!(outside.version(), env!("CARGO_PKG_VERSION"));
    }
}
