//! A Rust toolchain for a bare-metal target, by whichever way this machine allows:
//!
//! 1. the target installed in the current rustup toolchain,
//! 2. Debian's packaged Rust sources, if they are all there already,
//! 3. `rustup target add`, which needs rustup's network,
//! 4. Debian's packages, installed now; `core` and `alloc` are then built from source.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    packages, term,
};

/// How bare-metal code is compiled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain that runs this program; it has the target's `core`.
    Rustup,
    /// `/usr/bin/cargo` of Debian's `cargo-web`, with `build-std`.
    Debian,
}

impl Toolchain {
    /// Name for people and for `--toolchain`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }

    /// Takes `--toolchain` from the arguments.
    pub(crate) fn parse(args: &mut Args) -> Result<Option<Self>> {
        args.value("--toolchain")?.map(|name| Self::named(&name)).transpose()
    }

    fn named(name: &str) -> Result<Self> {
        [Self::Rustup, Self::Debian].into_iter().find(|t| t.name() == name).ok_or_else(|| {
            Failure::new(format!("unknown toolchain `{name}`")).help("there are: rustup, debian")
        })
    }

    /// `cargo subcommand --target target`, with its own target directory so that host builds are not locked out.
    pub(crate) fn cargo(self, subcommand: &str, target: &str) -> Command {
        self.cargo_in(&target_dir(), subcommand, target)
    }

    /// The same with another target directory, for other flags of the compiler.
    pub(crate) fn cargo_in(self, directory: &Path, subcommand: &str, target: &str) -> Command {
        let mut cargo = match self {
            Self::Rustup => command::cargo([subcommand]),
            Self::Debian => {
                let mut cargo = command::program(DEBIAN_CARGO, [subcommand]);
                leave_rustup(&mut cargo);
                cargo.args(["-Z", "build-std=core,alloc"]);
                cargo
            }
        };
        cargo.args(["--target", target, "--target-dir"]).arg(directory);
        cargo
    }

    /// Takes everything out of an image that depends on where it is built or by whom: paths are replaced, and
    /// the user's own compiler flags have no part in it. So one commit and one compiler make one image. `further`
    /// flags are those of this project.
    pub(crate) fn hide_paths(self, cargo: &mut Command, further: &[&str]) {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let sources = match self {
            Self::Rustup => sysroot().map(|root| root.join("lib/rustlib/src/rust")),
            // They are at the same place on every machine.
            Self::Debian => None,
        };
        // Of several that fit, the compiler takes the last.
        let hidden = [
            (Some(command::root().to_owned()), "/strongroom"),
            (Some(target_dir()), "/target"),
            (home, "/cargo"),
            (sources, "/rust"),
        ];
        let flag = |(path, name): (Option<PathBuf>, &str)| {
            Some(format!("--remap-path-prefix={}={name}", path?.display()))
        };
        let hidden = hidden.into_iter().filter_map(flag);
        let flags: Vec<_> = hidden.chain(further.iter().map(|flag| (*flag).to_owned())).collect();
        cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }

    /// What the compiler says of itself, such as `rustc 1.96.0 (ac68faa20 2026-05-25)`.
    pub(crate) fn compiler(self) -> Result<String> {
        let rustc = match self {
            Self::Rustup => env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
            Self::Debian => DEBIAN_RUSTC.into(),
        };
        Ok(command::output(&mut command::program(rustc, ["--version"]))?.trim().to_owned())
    }

    /// True if `cargo clippy` works with it.
    pub(crate) fn has_clippy(self) -> bool {
        self == Self::Rustup
            && command::output(&mut command::cargo(["clippy", "--version"])).is_ok()
    }
}

/// Makes sure that code for `target` can be compiled, with `wanted` if that is given.
pub(crate) fn prepare(target: &str, wanted: Option<Toolchain>) -> Result<Toolchain> {
    let mut rustup_refused = false;
    // Each pass removes one obstacle: target add, packages, the linker they name.
    for _ in 0..4 {
        let facts = Facts::gather(target, rustup_refused);
        match next(&facts, wanted) {
            Next::Use(toolchain) => return check_version(toolchain),
            Next::AddTarget => {
                term::note(format!("rustup target add {target}"));
                if let Err(failure) = add_target(target) {
                    term::note(format!("{failure}\ntrying Debian's packages instead"));
                    rustup_refused = true;
                }
            }
            Next::Install(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                packages::install(&names).map_err(|failure| {
                    failure.help(format!("or, with network: rustup target add {target}"))
                })?;
            }
            Next::Refused => {
                return Err(Failure::new(format!("rustup cannot add the target {target}"))
                    .help("leave out `--toolchain rustup` to use Debian's packages"));
            }
        }
    }
    Err(Failure::new("Debian's packages are installed, but /usr/bin/rust-lld leads nowhere")
        .help("reinstall: apt-get install --reinstall rust-web-llvm"))
}

/// Where bare-metal builds go.
pub(crate) fn target_dir() -> PathBuf {
    command::target_dir().join("firmware")
}

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/rust-lld";
const DEBIAN_PACKAGES: [&str; 3] = ["cargo-web", "rust-web-src", "rust-web-llvm"];

/// Fetching a target's `core` takes seconds; beyond this the network is not there.
const ADD_TARGET_LIMIT: Duration = Duration::from_secs(90);

/// What is known about this machine.
#[derive(Debug)]
struct Facts {
    /// The current toolchain has `core` for the target.
    target_installed: bool,
    /// `rustup` is on PATH and has not refused to add the target.
    rustup: bool,
    /// Of [`DEBIAN_PACKAGES`].
    missing_packages: Vec<String>,
    linker: Linker,
}

/// What `/usr/bin/rust-lld`, a link into another package, leads to.
#[derive(Debug, PartialEq, Eq)]
enum Linker {
    Present,
    /// The link dangles; this package has its target.
    In(String),
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Use(Toolchain),
    AddTarget,
    Install(Vec<String>),
    Refused,
}

/// The decision, without side effects.
fn next(facts: &Facts, wanted: Option<Toolchain>) -> Next {
    let rustup = wanted != Some(Toolchain::Debian);
    let debian = wanted != Some(Toolchain::Rustup);
    let debian_ready = facts.missing_packages.is_empty() && facts.linker == Linker::Present;
    if rustup && facts.target_installed {
        Next::Use(Toolchain::Rustup)
    } else if debian && debian_ready {
        Next::Use(Toolchain::Debian)
    } else if rustup && facts.rustup {
        Next::AddTarget
    } else if !debian {
        Next::Refused
    } else {
        // The linker's package is known only once the link is there.
        let linker = match &facts.linker {
            Linker::In(package) => Some(package.clone()),
            Linker::Present | Linker::Unknown => None,
        };
        Next::Install(facts.missing_packages.iter().cloned().chain(linker).collect())
    }
}

impl Facts {
    fn gather(target: &str, rustup_refused: bool) -> Self {
        Self {
            target_installed: target_installed(target),
            rustup: !rustup_refused && command::on_path("rustup"),
            missing_packages: packages::missing(&DEBIAN_PACKAGES)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            linker: linker(Path::new(DEBIAN_LINKER)),
        }
    }
}

fn target_installed(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut libdir = command::program(rustc, ["--print", "target-libdir", "--target", target]);
    command::output(&mut libdir).is_ok_and(|dir| {
        fs::read_dir(dir.trim()).is_ok_and(|files| {
            files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

/// Where the toolchain that runs this program is.
fn sysroot() -> Option<PathBuf> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let path = command::output(&mut command::program(rustc, ["--print", "sysroot"])).ok()?;
        Some(PathBuf::from(path.trim()))
    };
    ROOT.get_or_init(find).clone()
}

fn linker(link: &Path) -> Linker {
    if link.exists() {
        return Linker::Present;
    }
    let package =
        fs::read_link(link).ok().and_then(|to| Some(to.file_name()?.to_str()?.to_owned()));
    match package {
        Some(package) if package.starts_with("lld-") => Linker::In(package),
        _ => Linker::Unknown,
    }
}

fn add_target(target: &str) -> Result<()> {
    let mut command = command::program("rustup", ["target", "add", target]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing("run rustup")?;
    let deadline = Instant::now() + ADD_TARGET_LIMIT;
    loop {
        match child.try_wait().doing("wait for rustup")? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => return Err(Failure::new("rustup could not add the target")),
            None if Instant::now() > deadline => {
                child.kill().and_then(|()| child.wait()).doing("stop rustup")?;
                return Err(Failure::new("rustup got no response"));
            }
            None => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Debian's compiler must be as new as the workspace demands; cargo's own complaint would not say why it is used.
fn check_version(toolchain: Toolchain) -> Result<Toolchain> {
    if toolchain == Toolchain::Debian {
        let shown = command::output(&mut command::program(DEBIAN_RUSTC, ["--version"]))?;
        let needed = env!("CARGO_PKG_RUST_VERSION");
        if minor(&shown) < minor(&format!("rustc {needed}")) {
            return Err(Failure::new(format!("Debian's {} is older than {needed}", shown.trim()))
                .help("upgrade: apt-get update && apt-get install cargo-web rust-web-src"));
        }
    }
    Ok(toolchain)
}

/// The 96 of `rustc 1.96.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    version.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

/// The rustup proxies that started this program set variables that would lead Debian's cargo back to rustup's rustc.
fn leave_rustup(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let rustup = name.starts_with("RUSTUP_") || name.starts_with("CARGO_PKG_");
        let exact = ["RUSTC", "RUSTDOC", "RUSTFLAGS", "CARGO", "CARGO_ENCODED_RUSTFLAGS"];
        let more = ["RUST_RECURSION_COUNT", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"];
        let libraries = ["LD_LIBRARY_PATH", "CARGO_TARGET_DIR"];
        if rustup || [&exact[..], &more, &libraries].concat().contains(&&*name) {
            cargo.env_remove(&*name);
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [PathBuf::from("/usr/bin")].into_iter().chain(env::split_paths(&path));
    if let Ok(path) = env::join_paths(dirs) {
        cargo.env("PATH", path);
    }
    cargo.env("RUSTC_BOOTSTRAP", "1");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Facts {
        let missing_packages = DEBIAN_PACKAGES.map(str::to_owned).into();
        Facts { target_installed: false, rustup: true, missing_packages, linker: Linker::Unknown }
    }

    #[test]
    fn an_installed_target_needs_nothing() {
        let facts = Facts { target_installed: true, ..bare() };
        assert_eq!(next(&facts, None), Next::Use(Toolchain::Rustup));
    }

    #[test]
    fn complete_packages_are_used_before_the_network() {
        let facts = Facts { missing_packages: vec![], linker: Linker::Present, ..bare() };
        assert_eq!(next(&facts, None), Next::Use(Toolchain::Debian));
    }

    #[test]
    fn rustup_is_asked_before_packages_are_installed() {
        assert_eq!(next(&bare(), None), Next::AddTarget);
    }

    #[test]
    fn packages_come_in_two_rounds_because_the_link_names_the_linker() {
        let refused = Facts { rustup: false, ..bare() };
        assert_eq!(next(&refused, None), Next::Install(DEBIAN_PACKAGES.map(str::to_owned).into()));
        let linker = Linker::In("lld-22".into());
        let second = Facts { missing_packages: vec![], linker, ..refused };
        assert_eq!(next(&second, None), Next::Install(vec!["lld-22".into()]));
    }

    #[test]
    fn a_wanted_toolchain_is_the_only_one_tried() {
        let both = Facts { target_installed: true, ..bare() };
        let packages = DEBIAN_PACKAGES.map(str::to_owned).into();
        assert_eq!(next(&both, Some(Toolchain::Debian)), Next::Install(packages));
        let refused = Facts { rustup: false, ..bare() };
        assert_eq!(next(&refused, Some(Toolchain::Rustup)), Next::Refused);
    }

    #[test]
    fn a_dangling_link_names_its_package() {
        let dir = env::temp_dir().join(format!("xtask-linker-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let link = dir.join("rust-lld");
        assert_eq!(linker(&link), Linker::Unknown);
        std::os::unix::fs::symlink("lld-22", &link).unwrap();
        assert_eq!(linker(&link), Linker::In("lld-22".into()));
        fs::write(dir.join("lld-22"), "").unwrap();
        assert_eq!(linker(&link), Linker::Present);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn versions_compare_by_their_minor_number() {
        assert_eq!(
            minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"),
            Some(96)
        );
        assert!(minor("rustc 1.63.0") < minor("rustc 1.95"));
    }

    #[test]
    fn an_image_has_no_path_of_this_machine_and_no_flags_of_its_user() {
        let mut cargo = Toolchain::Rustup.cargo("build", "riscv32imac-unknown-none-elf");
        cargo.env("RUSTFLAGS", "-g");
        Toolchain::Rustup.hide_paths(&mut cargo, &[]);
        let set: Vec<_> = cargo.get_envs().collect();
        assert!(set.contains(&("RUSTFLAGS".as_ref(), None)));
        let of =
            |name: &str| set.iter().find(|(other, _)| *other == name).and_then(|(_, value)| *value);
        let flags = of("CARGO_ENCODED_RUSTFLAGS").unwrap().to_string_lossy().into_owned();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        let root = format!("--remap-path-prefix={}=/strongroom", command::root().display());
        let target = format!("--remap-path-prefix={}=/target", target_dir().display());
        // The target directory is often within the sources, and the last that fits counts.
        assert_eq!(flags[..2], [root, target]);
        assert!(flags.iter().any(|flag| flag.ends_with("=/cargo")));
    }

    #[test]
    fn debian_cargo_is_freed_from_rustup() {
        let cargo = Toolchain::Debian.cargo("build", "riscv32imac-unknown-none-elf");
        assert_eq!(cargo.get_program(), DEBIAN_CARGO);
        let set: Vec<_> = cargo.get_envs().collect();
        assert!(set.iter().any(|(name, value)| *name == "RUSTC_BOOTSTRAP" && value.is_some()));
        let path =
            set.iter().find(|(name, _)| *name == "PATH").and_then(|(_, value)| *value).unwrap();
        assert!(path.to_string_lossy().starts_with("/usr/bin:"));
        assert!(set.iter().any(|(name, value)| *name == "CARGO" && value.is_none()));
    }
}
