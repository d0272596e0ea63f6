//! `cargo xtask release`: everything of a release in one directory, with checksums and signatures.
//!
//! The same commit and the same compiler make the same files, wherever they are built: `--twice` shows it here, and
//! `--verify` shows it to anyone for files that were published. Only signatures differ from run to run.

mod compare;
mod sbom;
mod signature;
mod sums;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use self::{compare::Found, signature::SigningKey, sums::Sums};
use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    firmware::{self, Choice, Image},
    image::Loaded,
    package::Source,
    term, uf2,
};

/// What `cargo xtask help release` says beside the options.
pub(crate) const HELP: &str = "\
Builds every image, each set of algorithms that has a budget, and writes to DIR:
ELF files, for hardware raw binaries and UF2 files, a CycloneDX bill of
materials, SHA256SUMS, and a signature over that by each key.

  --version V         version in the names of files [default: of Cargo.toml]
  --add FILE          publish this file as well, such as a package; repeatable
  --signing-key FILE  P-256 key, PKCS#8 in PEM; repeatable
  --twice             build a second time in another folder, and compare
  --verify OTHER_DIR  build, and compare with the files of a release
  --board NAME, --algorithms SET, --toolchain rustup|debian
";

/// Files that are made of each image. A maker returns nothing for a board that has no such file.
const OF_AN_IMAGE: [Maker; 4] = [elf, binary, uf2_file, signed];

type Maker = fn(&Image) -> Result<Option<Content>>;

/// The end of a file's name, and what is in it.
type Content = (&'static str, Vec<u8>);

/// A file of the release.
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let plan = Plan::parse(&mut args)?;
    let out = args.value("--out")?.map(PathBuf::from);
    let verify = args.value("--verify")?.map(PathBuf::from);
    let twice = args.flag("--twice");
    args.finish()?;
    if twice && verify.is_some() {
        return Err(Failure::new("--twice and --verify exclude each other"));
    }
    let theirs = verify.as_deref().map(Sums::read).transpose()?;
    let out = match out {
        Some(out) => std::path::absolute(out).doing("find the directory")?,
        None if twice || verify.is_some() => fresh(&command::target_dir().join("release-files"))?,
        None => {
            return Err(Failure::new("a release needs a directory")
                .help("cargo xtask release --out DIR; `cargo xtask help release` tells more"));
        }
    };
    let ours = plan.make(&out)?;
    if let (Some(theirs), Some(dir)) = (theirs, verify) {
        return Found::between(&ours, &out, &theirs, &dir).report("the release", false);
    }
    if twice {
        let elsewhere = Elsewhere::prepare()?;
        let other = elsewhere.make(&plan)?;
        let theirs = Sums::read(&other)?;
        Found::between(&ours, &out, &theirs, &other).report("the other folder", true)?;
        elsewhere.remove()?;
    }
    println!("{}", out.display());
    Ok(())
}

/// What is to be released.
struct Plan {
    choice: Choice,
    version: String,
    keys: Vec<SigningKey>,
    added: Vec<PathBuf>,
}

impl Plan {
    fn parse(args: &mut Args) -> Result<Self> {
        let choice = Choice::parse(args)?;
        let version = args.value("--version")?.unwrap_or_else(|| env!("CARGO_PKG_VERSION").into());
        check_version(&version)?;
        let mut keys: Vec<SigningKey> = Vec::new();
        while let Some(key) = args.value("--signing-key")? {
            let key = SigningKey::open(Path::new(&key))?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(Failure::new(format!("two signing keys are called {}", key.name))
                    .help("signatures are named after the files of their keys"));
            }
            keys.push(key);
        }
        let mut added = Vec::new();
        while let Some(file) = args.value("--add")? {
            added.push(PathBuf::from(file));
        }
        Ok(Self { choice, version, keys, added })
    }

    /// Builds and writes everything; the directory has to be empty.
    fn make(&self, out: &Path) -> Result<Sums> {
        fs::create_dir_all(out).doing(format_args!("make {}", out.display()))?;
        let mut entries = fs::read_dir(out).doing(format_args!("list {}", out.display()))?;
        if entries.next().is_some() {
            return Err(Failure::new(format!("{} is not empty", out.display()))
                .help("a release has a directory of its own"));
        }
        let images = firmware::build_all(&self.choice)?;
        term::step("files of the release", || {
            let mut files = self.of_images(&images)?;
            for path in &self.added {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let bytes = fs::read(path).doing(format_args!("read {}", path.display()))?;
                files.push(Artifact { name, bytes });
            }
            let bill = sbom::bill(&images, &files, &self.version, &Source::find())?;
            files.push(Artifact {
                name: format!("strongroom-{}.cdx.json", self.version),
                bytes: bill,
            });
            for file in &files {
                let path = out.join(&file.name);
                fs::write(&path, &file.bytes).doing(format_args!("write {}", path.display()))?;
            }
            let sums = Sums::of(&files)?;
            sums.write(out)?;
            self.keys.iter().try_for_each(|key| key.sign(out, sums::NAME))?;
            term::note(sums.to_string());
            Ok(sums)
        })
    }

    fn of_images(&self, images: &[Image]) -> Result<Vec<Artifact>> {
        let mut files = Vec::new();
        for image in images {
            for make in OF_AN_IMAGE {
                if let Some((ending, bytes)) = make(image)? {
                    files.push(Artifact { name: name(&self.version, image, ending), bytes });
                }
            }
        }
        Ok(files)
    }

    /// The arguments that make the same again, without signatures.
    fn arguments(&self, out: &Path) -> Result<Vec<PathBuf>> {
        let mut words: Vec<PathBuf> =
            ["release", "--version", &self.version].map(Into::into).into();
        words.extend(["--out".into(), out.to_owned()]);
        if let [board] = self.choice.boards {
            words.extend(["--board", &board.name].map(PathBuf::from));
        }
        if let Some(set) = self.choice.algorithms {
            words.extend(["--algorithms", set.name()].map(PathBuf::from));
        }
        if let Some(toolchain) = self.choice.toolchain {
            words.extend(["--toolchain", toolchain.name()].map(PathBuf::from));
        }
        for file in &self.added {
            let file = std::path::absolute(file).doing(format_args!("find {}", file.display()))?;
            words.extend(["--add".into(), file]);
        }
        Ok(words)
    }
}

/// The name of a file that is made of an image.
fn name(version: &str, image: &Image, ending: &str) -> String {
    format!("strongroom-{version}-{}-{}.{ending}", image.board.name, image.algorithms.name())
}

fn elf(image: &Image) -> Result<Option<Content>> {
    let bytes = fs::read(&image.elf).doing(format_args!("read {}", image.elf.display()))?;
    Ok(Some(("elf", bytes)))
}

/// An emulator loads the ELF file, also where memory has no flash: then there is nothing to be one piece.
fn binary(image: &Image) -> Result<Option<Content>> {
    if image.board.emulator().is_some() {
        return Ok(None);
    }
    Ok(Some(("bin", Loaded::read(&image.elf)?.binary())))
}

/// What devices whose second stage verifies it take over the line.
fn signed(image: &Image) -> Result<Option<Content>> {
    if image.board.load_address.is_none() {
        return Ok(None);
    }
    let path = image.elf.with_extension("signed");
    let bytes = fs::read(&path).doing(format_args!("read {}", path.display()))?;
    Ok(Some(("signed", bytes)))
}

fn uf2_file(image: &Image) -> Result<Option<Content>> {
    let Some(uf2) = image.board.uf2 else { return Ok(None) };
    Ok(Some(("uf2", uf2::file(&Loaded::read(&image.elf)?, uf2)?)))
}

/// Refuses a version that is not that of the sources, which the firmware and the programs report.
fn check_version(version: &str) -> Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    let rest = version.strip_prefix(ours);
    let fits = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '+']));
    let is_name = version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
    match fits && is_name {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{version} is not a version of these sources, which are {ours}"
        ))
        .help(format!("set it in Cargo.toml (workspace.package), or say {ours}-SOMETHING"))),
    }
}

/// The directory, empty.
fn fresh(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).doing(format_args!("remove {}", dir.display()))?;
    }
    Ok(dir.to_owned())
}

/// A copy of the sources in another folder, with a target directory and a home of Cargo of its own, so that each
/// path which could be in an image is a different one.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn prepare() -> Result<Self> {
        let dir = fresh(&command::target_dir().join("release-elsewhere"))?;
        let elsewhere = Self(dir);
        let listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = command::output(&mut command::program("git", listed))
            .map_err(|failure| failure.help("--twice copies the files that git knows"))?;
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let (from, to) = (command::root().join(file), elsewhere.sources().join(file));
            // One that was removed and is not committed yet.
            if from.exists() {
                let dir = to.parent().unwrap_or(&to);
                fs::create_dir_all(dir).doing(format_args!("make {}", dir.display()))?;
                fs::copy(&from, &to).doing(format_args!("copy {}", from.display()))?;
            }
        }
        elsewhere.link_cargo_home()?;
        Ok(elsewhere)
    }

    fn sources(&self) -> PathBuf {
        self.0.join("sources")
    }

    fn cargo_home(&self) -> PathBuf {
        self.0.join("cargo")
    }

    /// The crates are the same, by another path.
    fn link_cargo_home(&self) -> Result<()> {
        let home = self.cargo_home();
        fs::create_dir_all(&home).doing(format_args!("make {}", home.display()))?;
        let real = env::var_os("CARGO_HOME").map(PathBuf::from);
        let real = real.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        for name in [".package-cache", ".package-cache-mutate", "config.toml", "git", "registry"] {
            let Some(from) = real.as_ref().map(|real| real.join(name)).filter(|from| from.exists())
            else {
                continue;
            };
            symlink(&from, home.join(name)).doing(format_args!("link {}", from.display()))?;
        }
        Ok(())
    }

    /// Makes the same release there; returns its directory.
    fn make(&self, plan: &Plan) -> Result<PathBuf> {
        let out = self.0.join("release");
        term::headline("the same in another folder");
        let program = env::current_exe().doing("find this program")?;
        let mut again = command::program(program, plan.arguments(&out)?);
        let source = Source::find();
        again
            .env(command::SOURCES, self.sources())
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("CARGO_HOME", self.cargo_home())
            .env("STRONGROOM_COMMIT", source.commit())
            .env("SOURCE_DATE_EPOCH", source.time().to_string());
        // It prints its directory, which people did not ask for.
        command::run(again.stdout(std::process::Stdio::null()))?;
        Ok(out)
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.0).doing(format_args!("remove {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        firmware::{Algorithms, Board},
        toolchain::Toolchain,
    };

    #[test]
    fn files_are_named_after_version_board_and_algorithms() {
        let board = Board::named("mps2_an505").unwrap();
        let (elf, toolchain) = ("/nowhere".into(), Toolchain::Rustup);
        let image = Image { board, algorithms: Algorithms::Small, elf, toolchain, warnings: 0 };
        assert_eq!(name("1.2.3", &image, "bin"), "strongroom-1.2.3-mps2_an505-small.bin");
        assert_eq!(uf2_file(&image).unwrap(), None, "it has no boot loader");
    }

    #[test]
    fn a_release_has_the_version_of_its_sources() {
        let ours = env!("CARGO_PKG_VERSION");
        for good in [ours.to_owned(), format!("{ours}-rc.1"), format!("{ours}+build")] {
            assert_eq!(check_version(&good), Ok(()));
        }
        for bad in ["99.0.0".to_owned(), format!("{ours}1"), format!("{ours}-a/b"), String::new()] {
            assert!(check_version(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_does_not_mix_with_other_files() {
        let dir = env::temp_dir().join(format!("xtask-release-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("old"), "x").unwrap();
        let choice = Choice { boards: &[], algorithms: None, toolchain: None };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let plan = Plan { choice, version, keys: vec![], added: vec![] };
        let why = plan.make(&dir).err().unwrap().to_string();
        assert!(why.contains("is not empty"), "{why}");
        fs::remove_dir_all(dir).unwrap();
    }
}
