//! `kmsctl restore`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::backup::{Content, PassphraseFile};
use super::progress::Bar;
use super::{Failure, Outcome, Output};
use kms_installation::backup::{self, RegionOf, Restored};
use kms_installation::loss::is_own;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup.
    #[arg(value_name = "FILE")]
    backup: PathBuf,
    /// Data directory to restore into: it is created, or must be empty.
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
    data: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    data: PathBuf,
    #[serde(flatten)]
    content: Content,
    /// What is wrong with the audit log, if something is.
    fault: Option<String>,
    /// What to start kmsd with, beside the directory.
    start: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Arguments { backup, data, passphrase } = arguments;
    let passphrase = passphrase.read()?;
    let mut bar = Bar::new("checked and written");
    let show = &mut |done, all| bar.show(done, all);
    let Restored { manifest, fault } = backup::restore(backup, &passphrase, data, show)?;
    drop(bar);
    let mut start: Vec<String> =
        manifest.regions.iter().flat_map(|of| ["--region".to_owned(), of.region.clone()]).collect();
    for hsm in hsms_of(&manifest.regions) {
        start.extend(["--hsm".to_owned(), hsm]);
    }
    let report = Report { data: data.clone(), content: Content::of(&manifest), fault, start };
    output.print(&report, print)?;
    Ok(if report.fault.is_none() { Outcome::Good } else { Outcome::Bad })
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}: restored", report.data.display())?;
    report.content.print(out)?;
    if let Some(fault) = &report.fault {
        writeln!(out, "  THE AUDIT LOG IS NOT INTACT: {fault}")?;
    }
    writeln!(out, "Never start this and the installation that it is a copy of together. Start:")?;
    writeln!(out, "  kmsd --data {} {}", report.data.display(), report.start.join(" "))
}

/// The values of `--hsm` that lead to the devices of these Regions. Those that the daemon runs itself
/// it runs for each Region.
fn hsms_of(regions: &[RegionOf]) -> Vec<String> {
    let mut hsms: Vec<String> = Vec::new();
    let lines = || regions.iter().flat_map(|of| of.lines.iter().map(move |line| (of, line)));
    for kind in ["soft", "qemu"] {
        let numbers = lines().filter_map(|(_, line)| {
            line.strip_prefix(kind)?.strip_prefix('-')?.parse::<u16>().ok()
        });
        if let Some(last) = numbers.max() {
            hsms.push(format!("{kind}:{}", last + 1));
        }
    }
    let others = lines().filter(|(_, line)| !is_own(line));
    hsms.extend(others.map(|(of, line)| format!("{}={line}", of.region)));
    hsms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_they_are_given_to_the_daemon() {
        let lines = ["qemu-0", "soft-0", "soft-1", "tcp:h:1"].map(str::to_owned).to_vec();
        let region = |region: &str, lines: &[String]| {
            let (region, lines) = (region.to_owned(), lines.to_vec());
            RegionOf { region, domain: None, lines, flashes: Vec::new() }
        };
        let regions = [region("eu-west-1", &lines[1..2]), region("us-east-1", &lines)];
        assert_eq!(hsms_of(&regions), ["soft:2", "qemu:1", "us-east-1=tcp:h:1"]);
    }
}
