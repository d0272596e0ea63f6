//! `kmsctl audit tail`.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::table::Table;
use super::{Filter, Stop, directories, say};
use crate::{Outcome, Output};
use kms_audit::{Item, Reader};

/// How often the log is looked at, in nanoseconds.
const TICK: i64 = 250_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The audit directory, for example `DIR/audit` of the daemon's data directory.
    dir: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// How many existing records of the current file are shown first.
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    lines: u64,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Stop> {
    let directories = directories(std::slice::from_ref(&arguments.dir));
    let mut query = arguments.filter.query(None, None);
    let mut reader = Reader::open(&directories, None)?.at_last_file()?;
    let table = Table::of_terminal();
    let json = output.json;
    let shown = usize::try_from(arguments.lines).unwrap_or(usize::MAX);
    let mut first = Some(VecDeque::new());
    if !json {
        say(output.out, &table.heading())?;
    }
    loop {
        while let Some(item) = reader.next_item()? {
            let line = match item {
                Item::Record(record) if query.takes(&record) => match json {
                    true => record.to_string(),
                    false => table.row(&record),
                },
                Item::Record(_) => continue,
                Item::Gap(text) => {
                    eprintln!("kmsctl: {text}");
                    continue;
                }
            };
            match &mut first {
                Some(kept) => {
                    kept.push_back(line);
                    if kept.len() > shown {
                        kept.pop_front();
                    }
                }
                None => say(output.out, &line)?,
            }
        }
        if let Some(kept) = first.take() {
            kept.iter().try_for_each(|line| say(output.out, line))?;
        }
        match output.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Stop::Closed),
            flushed => flushed?,
        }
        wait()?;
    }
}

/// Waits a moment. Ends it all if nobody reads any more, also while there is nothing to print.
fn wait() -> Result<(), Stop> {
    let out = io::stdout();
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK };
    match poll(&mut watched, Some(&tick)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
        Ok(_) => Err(Stop::Closed),
        Err(error) => Err(io::Error::from(error).into()),
    }
}
