//! `kmsctl generate`: shell completions and manual pages of both programs, made from their options.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CommandLine, Failure, Outcome, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print completions for a shell; `kmsctl generate completions bash > …/completions/kmsctl`.
    Completions {
        shell: Shell,
        /// The program to complete.
        #[arg(long, value_enum, default_value_t = Program::Kmsctl)]
        program: Program,
    },
    /// Write the manual pages of both programs to a directory.
    Manual { directory: PathBuf },
}

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    Kmsctl,
    Kmsd,
}

impl Program {
    const ALL: [Self; 2] = [Self::Kmsctl, Self::Kmsd];

    fn command(self) -> clap::Command {
        match self {
            Self::Kmsctl => CommandLine::command(),
            Self::Kmsd => kms_installation::settings::command(),
        }
    }

    /// Section of the manual: programs of users, and daemons.
    const fn section(self) -> &'static str {
        match self {
            Self::Kmsctl => "1",
            Self::Kmsd => "8",
        }
    }
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Completions { shell, program } => {
            output.out.write_all(&completions(*shell, *program))?;
        }
        Command::Manual { directory } => {
            fs::create_dir_all(directory)?;
            for program in Program::ALL {
                manual(program, directory)?;
            }
        }
    }
    Ok(Outcome::Good)
}

fn completions(shell: Shell, program: Program) -> Vec<u8> {
    let mut command = program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes the page of a program, and one for each of its commands.
fn manual(program: Program, directory: &Path) -> io::Result<()> {
    // Without the commit: pages are the same from build to build.
    let command = program.command().version(env!("CARGO_PKG_VERSION"));
    let mut command = command.disable_help_subcommand(true);
    // Names and flags that commands have from those above them.
    command.build();
    page(&command, program, directory)
}

fn page(command: &clap::Command, program: Program, directory: &Path) -> io::Result<()> {
    // With the names of those above it, as in "kmsctl-hsm-provision".
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(program.section())
        .source(concat!("Strongroom ", env!("CARGO_PKG_VERSION")))
        .manual("Strongroom");
    let mut text = Vec::new();
    man.render(&mut text)?;
    fs::write(directory.join(format!("{name}.{}", program.section())), text)?;
    let mut inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    inner.try_for_each(|inner| page(inner, program, directory))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every command below this one with its full name, itself included.
    fn all(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        let inner = inner.flat_map(|inner| all(inner, &format!("{name}-{}", inner.get_name())));
        [(name.to_owned(), command.clone())].into_iter().chain(inner).collect()
    }

    fn long_flags(command: &clap::Command) -> impl Iterator<Item = String> {
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        shown.filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}"))
    }

    #[test]
    fn every_command_has_a_page_with_every_flag() {
        let directory = tempfile::tempdir().unwrap();
        for program in Program::ALL {
            manual(program, directory.path()).unwrap();
            let mut command = program.command();
            command.build();
            for (name, command) in all(&command, command.get_name()) {
                let file = directory.path().join(format!("{name}.{}", program.section()));
                let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {name}"));
                assert!(
                    text.contains(&format!(".TH {} {}", name.to_uppercase(), program.section())),
                    "{text}"
                );
                let text = text.replace("\\-", "-");
                for flag in long_flags(&command) {
                    assert!(text.contains(&flag), "{flag} is not in {name}");
                }
            }
        }
        let pages = fs::read_dir(directory.path()).unwrap().count();
        let commands: usize =
            Program::ALL.iter().map(|program| all(&program.command(), "").len()).sum();
        assert_eq!(pages, commands);
    }

    /// The flags and commands of a command and of those so many levels below.
    fn words(command: &clap::Command, levels: usize) -> BTreeSet<String> {
        let mut words: BTreeSet<_> = long_flags(command).collect();
        for inner in command.get_subcommands().filter(|_| levels > 0) {
            words.insert(inner.get_name().to_owned());
            words.extend(self::words(inner, levels - 1));
        }
        words
    }

    #[test]
    fn completions_know_every_flag_and_command() {
        for program in Program::ALL {
            let mut command = program.command();
            command.build();
            // The script for fish goes no deeper than `kmsctl iam user`.
            for (shell, levels) in [(Shell::Bash, 9), (Shell::Zsh, 9), (Shell::Fish, 1)] {
                let script = String::from_utf8(completions(shell, program)).unwrap();
                for word in words(&command, levels) {
                    // Fish writes `-l data` for `--data`.
                    let known = [word.clone(), word.replacen("--", "-l ", 1)];
                    assert!(known.iter().any(|word| script.contains(word)), "{shell}: no {word}");
                }
            }
        }
    }
}
