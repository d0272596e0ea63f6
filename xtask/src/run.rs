//! `cargo xtask run`: the whole system on this machine. `kmsd` itself starts and supervises the emulated HSM.

mod signals;

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    slice,
};

use self::signals::Forwarder;
use crate::{
    args::Args,
    command,
    daemon::{self, Profile},
    emulator,
    failure::{Doing, Failure, Result},
    firmware::{self, Board},
    term,
    toolchain::Toolchain,
};

/// What `cargo xtask help run` says beside the options.
pub(crate) const HELP: &str = "\
Builds kmsd and the image of an emulated board, and runs both. Ctrl-C stops
them; the same command finds the same keys again.

  --board NAME  the board [default: qemu_riscv32]; for others: cargo xtask flash
  --data DIR    where keys are [default: for each board one, in the user's
                data directory]
  --release     compile longer, run faster
  -- FLAGS      flags of kmsd, such as -- --listen 127.0.0.1:8701
";

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let options = Options::parse(&mut args)?;
    args.finish()?;
    let board = options.board;
    emulator::prepare(board)?;
    let (programs, images) =
        daemon::build(slice::from_ref(board), options.toolchain, options.profile.clone())?;
    // `kmsd` takes no directory that others can read.
    let private = fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.data);
    private.doing(format_args!("make {}", options.data.display()))?;
    let mut kmsd = Command::new(programs.kmsd);
    serve(kmsd.args(options.flags(&images[0].elf)), &options, &mut io::stdout())
}

#[derive(Debug)]
struct Options {
    board: &'static Board,
    toolchain: Option<Toolchain>,
    profile: Profile,
    /// Where `kmsd` keeps everything; the same directory has the same keys.
    data: PathBuf,
    region: String,
    /// More flags for `kmsd`.
    rest: Vec<String>,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Self> {
        let board = match args.value("--board")? {
            Some(name) => Board::named(&name)?,
            None => &firmware::boards()?[0],
        };
        let rest = args.rest();
        let mut kmsd = Args::new(rest.clone());
        let data = kmsd.value("--data")?.or(args.value("--data")?);
        let region = kmsd.value("--region")?;
        Ok(Self {
            board,
            toolchain: Toolchain::parse(args)?,
            profile: Profile::parse(args),
            data: match data {
                Some(dir) => std::path::absolute(dir).doing("find the data directory")?,
                None => default_data(board, |name| env::var_os(name).map(PathBuf::from))?,
            },
            region: region.unwrap_or_else(|| "us-east-1".into()),
            rest,
        })
    }

    /// Flags for `kmsd`: ours, except those given after `--`.
    fn flags(&self, firmware: &Path) -> Vec<String> {
        let given = |name: &str| {
            self.rest.iter().any(|arg| arg == name || arg.starts_with(&format!("{name}=")))
        };
        let ours = [
            ("--hsm", format!("qemu:{}", self.board.name)),
            ("--firmware", firmware.display().to_string()),
            ("--data", self.data.display().to_string()),
        ];
        let ours = ours.into_iter().filter(|(name, _)| !given(name));
        ours.flat_map(|(name, value)| [name.to_owned(), value])
            .chain(self.rest.iter().cloned())
            .collect()
    }
}

/// Keys outlive `cargo clean`. Not the directory of a bare `kmsd`, and one for each board: the keys of one HSM
/// do not open in another.
fn default_data(board: &Board, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let name = match board.is_default() {
        true => "strongroom-emulated".to_owned(),
        false => format!("strongroom-emulated-{}", board.name),
    };
    let absolute = |path: &PathBuf| path.is_absolute();
    variable("XDG_DATA_HOME")
        .filter(absolute)
        .or_else(|| Some(variable("HOME").filter(absolute)?.join(".local/share")))
        .map(|data| data.join(name))
        .ok_or_else(|| Failure::new("no home directory").help("say where: --data DIR"))
}

/// Runs `kmsd` until it is told to stop.
fn serve(kmsd: &mut Command, options: &Options, out: &mut impl Write) -> Result<()> {
    term::headline(&format!("starting kmsd with an emulated HSM, {}", options.board.name));
    // Before there is a child: a signal in between must not leave it alone.
    let signals = signals::catch()?;
    // Its own process group: Ctrl-C reaches `kmsd` once, from us, and not its emulators behind its back.
    let mut child = kmsd
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .doing("start kmsd")?;
    let forwarder = Forwarder::start(signals, child.id())?;
    announce(&mut child, options, out)?;
    let status = child.wait().doing("wait for kmsd")?;
    if status.success() || forwarder.stopped() {
        term::note("stopped; the same command finds the same keys again");
        return Ok(());
    }
    Err(Failure::new(format!("kmsd ended by itself ({status})"))
        .help("its last messages are above")
        .help(format!("its data: {}", options.data.display())))
}

/// Passes the output of `kmsd` on and says what to paste once it listens. Returns when the output ends.
fn announce(child: &mut Child, options: &Options, out: &mut impl Write) -> Result<()> {
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    for line in BufReader::new(stdout).lines() {
        let line = line.doing("read from kmsd")?;
        let text = match line.strip_prefix("listening on ") {
            Some(endpoint) => welcome(endpoint.trim(), &options.data, &options.region),
            None => line,
        };
        // Whoever reads us may have gone; kmsd still deserves an orderly end.
        let _closed = writeln!(out, "{text}");
    }
    Ok(())
}

fn welcome(endpoint: &str, data: &Path, region: &str) -> String {
    let credentials = quoted(&data.join("credentials").display().to_string());
    let mut text = format!(
        "
Strongroom is ready at {endpoint}; its keys live in an emulated HSM. Paste in another \
         terminal:

  export AWS_ENDPOINT_URL_KMS={endpoint}
  export \
         AWS_SHARED_CREDENTIALS_FILE={credentials}
  export AWS_DEFAULT_REGION={region}

  \
         KEY=$(aws kms create-key --query KeyMetadata.KeyId --output text)
  aws kms \
         generate-data-key --key-id \"$KEY\" --key-spec AES_256

The key that rules these keys' \
         domain lies beside the data: whoever reads the data owns them. This is for
trials; \
         docs/ceremony.md says how to make a domain for keys that matter.
Ctrl-C stops everything; \
         the keys stay.
"
    );
    if !command::on_path("aws") {
        text.push_str("There is no `aws` on PATH yet: python3 -m pip install awscli\n");
    }
    text
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let mut args = Args::new(line.split_whitespace().map(str::to_owned));
        let options = Options::parse(&mut args).unwrap();
        args.finish().unwrap();
        options
    }

    #[test]
    fn flags_after_the_dashes_replace_ours() {
        let firmware = Path::new("/fw");
        let ours = ["--hsm", "qemu:qemu_riscv32", "--firmware", "/fw", "--data", "/d"];
        assert_eq!(options("--data /d").flags(firmware), ours);
        assert_eq!(
            options("--release -- --data=/e --hsm qemu:2").flags(firmware),
            ["--firmware", "/fw", "--data=/e", "--hsm", "qemu:2"]
        );
        assert_eq!(options("-- --data=/e").data, Path::new("/e"));
        let other = options("--board mps2_an505 --data /d").flags(firmware);
        assert_eq!(other[..2], ["--hsm", "qemu:mps2_an505"]);
    }

    #[test]
    fn each_board_has_keys_of_its_own() {
        let all = firmware::boards().unwrap();
        let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let data: Vec<_> = all.iter().map(|board| default_data(board, home).unwrap()).collect();
        for (number, dir) in data.iter().enumerate() {
            assert!(!data[..number].contains(dir), "{}", dir.display());
        }
        assert!(data.contains(&"/home/u/.local/share/strongroom-emulated-mps2_an505".into()));
    }

    /// A shell script in the place of `kmsd`, run to its end.
    fn serve_script(script: &str) -> (Result<()>, String) {
        let mut out = Vec::new();
        let kmsd = &mut Command::new("sh");
        let result = serve(kmsd.args(["-c", script]), &options("--data /d"), &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    /// One test, because a signal reaches everything in this process.
    #[test]
    fn an_interrupt_stops_the_child_and_an_end_without_one_is_a_failure() {
        let (result, out) = serve_script("echo starting; exit 3");
        assert!(result.unwrap_err().to_string().contains("exit status: 3"));
        assert_eq!(out, "starting\n");

        let script = "trap 'echo bye; exit 0' INT; echo listening on http://h:1; kill -INT $PPID
                      while :; do sleep 0.02; done";
        let (result, out) = serve_script(script);
        assert_eq!(result, Ok(()));
        assert!(out.contains("AWS_ENDPOINT_URL_KMS=http://h:1\n"));
        assert!(out.ends_with("bye\n"));
    }

    #[test]
    fn data_lives_in_the_users_data_directory() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let data = Path::new("/home/u/.local/share/strongroom-emulated");
        let board = &firmware::boards().unwrap()[0];
        assert_eq!(default_data(board, home).unwrap(), data);
        let xdg = |name: &str| (name == "XDG_DATA_HOME").then(|| "/x".into());
        assert_eq!(default_data(board, xdg).unwrap(), Path::new("/x/strongroom-emulated"));
        assert!(default_data(board, |_| None).is_err());
    }

    #[test]
    fn what_to_paste_survives_odd_paths() {
        let text = welcome("http://127.0.0.1:8700", Path::new("/it's here"), "eu-west-1");
        assert!(text.contains("AWS_ENDPOINT_URL_KMS=http://127.0.0.1:8700\n"));
        assert!(text.contains(r"AWS_SHARED_CREDENTIALS_FILE='/it'\''s here/credentials'"));
        assert!(text.contains("AWS_DEFAULT_REGION=eu-west-1\n"));
    }
}
