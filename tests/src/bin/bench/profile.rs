//! Where the instructions of one command go: `cargo xtask bench -- --profile "Encrypt 32 B"`.
//!
//! QEMU runs one instruction at a time and logs each while the command runs; the image's line
//! tables say which function an address belongs to, inlined ones included.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use addr2line::Loader;
use hsm_protocol::key_spec::KeySpec;

use crate::device::Rig;

/// Functions shown.
const ROWS: usize = 60;

/// Counts of instructions: of a function itself, and with what was inlined into it or called
/// from its inlined code.
#[derive(Default)]
struct Profile {
    total: u64,
    own: HashMap<String, u64>,
    inclusive: HashMap<String, u64>,
}

/// Profiles the first command of the workload whose name starts with `name` and prints the table.
///
/// # Errors
/// Those of the log and of the monitor; a message if there is no such command.
pub(crate) fn run(board: &str, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let (log, monitor) = (directory.path().join("log"), directory.path().join("monitor"));
    let arguments = [
        "-D".to_owned(),
        log.display().to_string(),
        "-chardev".to_owned(),
        format!("socket,id=monitor,path={},server=on,wait=off", monitor.display()),
        "-mon".to_owned(),
        "chardev=monitor,mode=readline".to_owned(),
    ];
    let rig = Rig::boot(board, directory.path(), &arguments);
    let mut monitor = Monitor::connect(&monitor)?;
    let mut found = None;
    let mut failure = Ok(());
    let specs: Vec<_> = rig.specs().into_iter().filter(|spec| is_needed(*spec, name)).collect();
    rig.visit(&specs, &mut |command, run| {
        if found.is_some() || !command.starts_with(name) {
            return;
        }
        found = Some(command.to_owned());
        run(); // tests the algorithm and unwraps the key
        failure = monitor.all(&["singlestep on", "log exec,nochain"]).and_then(|()| {
            run();
            monitor.all(&["log none", "singlestep off"])
        });
    });
    failure?;
    let command = found.ok_or_else(|| format!("no command is called {name}"))?;
    let profile = Profile::read(&log, &rig.image)?;
    profile.print(board, &command);
    Ok(())
}

/// Whether a command of that name needs keys of `spec`; a name without a spec means symmetric ones.
fn is_needed(spec: KeySpec, name: &str) -> bool {
    let named = |spec: KeySpec| spec.aws_name().is_some_and(|spec| name.contains(spec));
    named(spec) || spec == KeySpec::SYMMETRIC_DEFAULT
}

impl Profile {
    fn read(log: &Path, image: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let loader = Loader::new(image).map_err(|error| error.to_string())?;
        let mut addresses = HashMap::<u64, u64>::new();
        for line in BufReader::new(fs::File::open(log)?).lines() {
            // Trace 0: 0x7f… [00000000/80001234/00000000/…] function
            let address = line?.split('/').nth(1).map(|hex| u64::from_str_radix(hex, 16));
            if let Some(Ok(address)) = address {
                *addresses.entry(address).or_default() += 1;
            }
        }
        let mut profile = Self::default();
        for (address, count) in addresses {
            profile.total += count;
            let mut names = Vec::new();
            if let Ok(mut frames) = loader.find_frames(address) {
                while let Ok(Some(frame)) = frames.next() {
                    let name = frame.function.and_then(|name| Some(name.demangle().ok()?.into()));
                    names.push(name.unwrap_or_else(|| "?".to_owned()));
                }
            }
            if names.is_empty() {
                let symbol = loader.find_symbol(address).unwrap_or("?");
                names.push(addr2line::demangle_auto(symbol.into(), None).into_owned());
            }
            *profile.own.entry(names[0].clone()).or_default() += count;
            names.sort();
            names.dedup();
            for name in names {
                *profile.inclusive.entry(name).or_default() += count;
            }
        }
        Ok(profile)
    }

    fn print(&self, board: &str, command: &str) {
        println!("\n{board}: {command}: {} instructions, the waiting included", self.total);
        for (title, counts) in [("itself", &self.own), ("with what is inlined", &self.inclusive)] {
            println!("\n{title:>20}  function");
            let mut rows: Vec<_> = counts.iter().collect();
            rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            for (function, count) in rows.into_iter().take(ROWS) {
                println!("{count:>20}  {function:.90}");
            }
        }
    }
}

/// QEMU's monitor.
struct Monitor(UnixStream);

impl Monitor {
    fn connect(path: &Path) -> io::Result<Self> {
        let mut monitor = Self(UnixStream::connect(path)?);
        monitor.await_prompt()?;
        Ok(monitor)
    }

    fn all(&mut self, commands: &[&str]) -> io::Result<()> {
        commands.iter().try_for_each(|command| {
            writeln!(self.0, "{command}")?;
            self.await_prompt()
        })
    }

    fn await_prompt(&mut self) -> io::Result<()> {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(b"(qemu) ") {
            self.0.read_exact(&mut byte)?;
            read.push(byte[0]);
        }
        Ok(())
    }
}
