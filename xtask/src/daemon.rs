//! Builds `kmsd` and `kmsctl`, with firmware at the same time where that is needed.

use std::{path::PathBuf, process::Command};

use crate::{
    args::Args,
    cargo, command,
    failure::Result,
    firmware::{self, Board, Image},
    term,
    toolchain::Toolchain,
};

/// How the programs are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Built soon.
    Dev,
    /// As `Dev`, with every test program: each crate is built once for all of them, with the features
    /// that any of them asks for.
    Tests,
    /// Runs fast, and says that it is of this commit; if that is empty, what the repository says.
    Release(String),
}

impl Profile {
    /// Takes `--release` from the arguments.
    pub(crate) fn parse(args: &mut Args) -> Self {
        if args.flag("--release") { Self::Release(String::new()) } else { Self::Dev }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Dev | Self::Tests => "dev",
            Self::Release(_) => "release",
        }
    }

    fn directory(&self) -> &'static str {
        match self {
            Self::Dev | Self::Tests => "debug",
            Self::Release(_) => "release",
        }
    }
}

/// The built programs.
pub(crate) struct Programs {
    pub(crate) kmsd: PathBuf,
    pub(crate) kmsctl: PathBuf,
}

/// Builds both, and the images of boards meanwhile: the end of each build leaves processors idle.
pub(crate) fn build(
    boards: &'static [Board],
    toolchain: Option<Toolchain>,
    profile: Profile,
) -> Result<(Programs, Vec<Image>)> {
    let names = boards.iter().map(|board| format!(", firmware for {}", board.name));
    let tests = if profile == Profile::Tests { ", test programs" } else { "" };
    term::step(&format!("kmsd and kmsctl{tests}{}", names.collect::<String>()), || {
        let toolchains: Vec<_> = boards
            .iter()
            .map(|board| firmware::prepare(board, toolchain))
            .collect::<Result<_>>()?;
        let images = boards.iter().zip(&toolchains);
        let images = images
            .map(|(board, toolchain)| firmware::build_command(board, board.algorithms, *toolchain));
        let mut built = cargo::build(vec![vec![command(&profile)], images.collect()])?;
        let images = built.pop().into_iter().flatten();
        let images =
            boards.iter().zip(toolchains).zip(images).map(|((board, toolchain), image)| {
                firmware::finish(board, board.algorithms, toolchain, image)
            });
        Ok((programs(&profile), images.collect::<Result<_>>()?))
    })
}

fn command(profile: &Profile) -> Command {
    let what: &[&str] = match profile {
        Profile::Tests => &["--workspace", "--lib", "--bins", "--tests", "--examples"],
        Profile::Dev | Profile::Release(_) => {
            &["--package", "kms-daemon", "--package", "kmsctl", "--bins"]
        }
    };
    let mut cargo = command::cargo(["build", "--profile", profile.name()]);
    cargo.args(what);
    if let Profile::Release(commit) = profile {
        cargo.env("STRONGROOM_COMMIT", commit);
    }
    cargo
}

fn programs(profile: &Profile) -> Programs {
    let directory = command::target_dir().join(profile.directory());
    Programs { kmsd: directory.join("kmsd"), kmsctl: directory.join("kmsctl") }
}
