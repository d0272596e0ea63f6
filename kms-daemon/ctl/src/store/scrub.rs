//! `kmsctl store scrub`.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::super::management::{Account, STRONGROOM};
use super::super::{Failure, Outcome, Output, table};
use kms_installation::report::scrub::{Scrub, State};

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_secs(1);
/// How often that is told.
const TELL: u64 = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show the check that is under way, or the last one, and begin none.
    #[arg(long)]
    status: bool,
    /// Most key tokens and secrets that devices open in a second, 1 to 10000 [default: 20]. If a check is under way, its
    /// rate stays.
    #[arg(long, value_name = "RATE", conflicts_with = "status")]
    rate: Option<u32>,
}

pub(super) fn run(
    arguments: &Arguments,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let describe = || read(&account.call(STRONGROOM, "DescribeScrub", &[])?);
    let scrub = if arguments.status {
        describe()?
    } else {
        let rate = arguments.rate.map(|rate| rate.to_string());
        let begun = account.call(STRONGROOM, "StartScrub", &[("Rate", rate.as_deref())])?;
        let mut scrub = read(&begun)?;
        eprintln!("the check goes on if kmsctl ends; kmsctl store scrub --status shows it");
        let mut told = 0;
        while scrub.state == State::UnderWay {
            thread::sleep(LOOK);
            scrub = describe()?;
            if scrub.records >= told + TELL {
                told = scrub.records;
                eprintln!("{told} records read, {} tokens and secrets opened", scrub.opened);
            }
        }
        scrub
    };
    output.print(&scrub, print)?;
    Ok(if scrub.faults == 0 { Outcome::Good } else { Outcome::Bad })
}

fn read(answer: &Value) -> Result<Scrub, Failure> {
    let report = answer["Report"].as_str().unwrap_or_default();
    serde_json::from_str(report).map_err(|_| {
        Failure(
            "the daemon's response is not understood; use kmsctl and kmsd of the same release"
                .to_owned(),
        )
    })
}

fn print(out: &mut dyn Write, scrub: &Scrub) -> io::Result<()> {
    let Scrub { state, rate, started, finished, records, opened, skipped, faults, .. } = scrub;
    match (state, finished) {
        (State::UnderWay, _) => writeln!(out, "under way since {started}, up to {rate} a second")?,
        (State::Complete, at) => {
            writeln!(out, "complete at {}", at.as_deref().unwrap_or("an unknown time"))?;
        }
    }
    writeln!(out, "  records             {records}")?;
    writeln!(out, "  opened by a device  {opened}")?;
    if *skipped > 0 {
        writeln!(
            out,
            "  not checked         {skipped}, of Regions that the daemon does not serve"
        )?;
    }
    writeln!(out, "  faults              {faults}")?;
    for fault in &scrub.named {
        writeln!(out, "{}", fault.name)?;
        table::wrapped(out, &format!("  {}", fault.reason))?;
    }
    if let Some(more) = faults.checked_sub(scrub.named.len() as u64).filter(|more| *more > 0) {
        writeln!(out, "and {more} more")?;
    }
    if *faults > 0 {
        table::wrapped(
            out,
            "These records were not changed: no copy (kmsd --replica) has what a device opens in their place. A key that is \
             named cannot be used. Keep the store as it is, and bring the record back from a backup or an export that was \
             made before it was damaged.",
        )?;
    }
    if scrub.repaired > 0 {
        writeln!(out, "repaired from a copy: {}", scrub.repaired)?;
        for repair in &scrub.repairs {
            writeln!(out, "{}", repair.name)?;
            table::wrapped(out, &format!("  {}", repair.reason))?;
        }
        let more = scrub.repaired.saturating_sub(scrub.repairs.len() as u64);
        if more > 0 {
            writeln!(out, "and {more} more")?;
        }
        table::wrapped(
            out,
            "Something has damaged these records: look at the disk, and at the memory of the machine.",
        )?;
    }
    Ok(())
}
