//! `cargo xtask chaos`: clients of a few daemons while everything below and around them fails.

use std::process::ExitCode;
use std::time::Duration;

use hsm_tests::chaos::{self, Options};

const USAGE: &str =
    "usage: chaos [--seed N] [--seconds N | --minutes N] [--daemons N] [--devices N] [--regions N]
             [--beside KMSD] [--json]

  --seed N      repeats a schedule of faults (default: a new one)
  --seconds N   how long faults happen (default 60)
  --minutes N   the same in minutes
  --daemons N   1 to 5; several have a cluster of etcd as their store (default 1)
  --devices N   emulated devices, 1 to 8 (default 3)
  --regions N   1 or 2; each daemon has a device in each (default 1)
  --beside KMSD every second daemon runs this program, and each start may be of either
  --json        one JSON document instead of text";

fn main() -> ExitCode {
    let (options, json) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    eprintln!("chaos with seed {} for {} s …", options.seed, options.time.as_secs());
    let report = chaos::run(options);
    if json {
        println!("{:#}", report.to_json());
    } else {
        println!("{report}");
    }
    if report.violations().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(Options, bool), String> {
    let time = Duration::from_secs(60);
    let seed = fastrand::u64(..);
    let mut options =
        Options { seed, time, daemons: 1, devices: 3, regions: 1, beside: None, tells: true };
    let mut json = false;
    while let Some(argument) = arguments.next() {
        if argument == "--beside" {
            options.beside = Some(arguments.next().ok_or("--beside takes a program")?.into());
            continue;
        }
        let mut number = |least: u64, most: u64| {
            let value = arguments.next().and_then(|text| text.parse().ok());
            let value = value.filter(|value| (least..=most).contains(value));
            value.ok_or_else(|| format!("{argument} takes a number from {least} to {most}"))
        };
        let small = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
        match argument.as_str() {
            "--seed" => options.seed = number(0, u64::MAX)?,
            "--seconds" => options.time = Duration::from_secs(number(1, 86_400)?),
            "--minutes" => options.time = Duration::from_secs(60 * number(1, 1_440)?),
            "--daemons" => options.daemons = small(number(1, 5)?)?,
            "--devices" => options.devices = small(number(1, 8)?)?,
            "--regions" => options.regions = small(number(1, 2)?)?,
            "--json" => json = true,
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    Ok((options, json))
}
