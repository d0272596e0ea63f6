//! The benchmark: `cargo xtask bench`.
//!
//! Three kinds of table. Requests per second and latency at the daemon's HTTP port, as a client
//! sees them; what a command costs a device: bytes on the wire and firmware instructions; and
//! latency by the number of keys.

mod authorization;
mod ceiling;
mod device;
mod flamegraph;
mod load;
mod profile;
mod refusals;
mod scale;
mod xks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use host_driver::emulator::Machine;
use serde_json::{Value, json};

const USAGE: &str =
    "usage: bench [--seconds N] [--only PART] [--keys N] [--specs LIST] [--record FILE]
             [--json]
       bench --against-ceiling [--seconds N] [--hsm HSM] [--operations LIST]
             [--connections LIST] [--record FILE] [--json]
       bench --flamegraph ROW [--seconds N] [--hsm HSM] [--connections N]
       bench [--board NAME] --profile COMMAND

  --seconds N   how long each operation runs, at 1 and at 32 connections (default 3)
  --only PART   soft, qemu: requests on an in-process or a QEMU device; authorization: what
                deciding about a request costs; refusals: whether time tells an unknown access
                key from a wrong secret; xks: requests to an external key store; device: what commands cost a device; scale: latency
                by the number of keys (only when asked for: it takes ten minutes)
  --keys N      most keys of that (default 100000)
  --record FILE append the device's instructions to a history, such as docs/instructions.jsonl
  --against-ceiling
                requests on an in-process device beside a server that only checks signatures,
                in turn: ratios, and what a request costs; --record appends them to a history
                such as docs/throughput.jsonl
  --hsm HSM     on these devices instead, such as soft:2
  --operations LIST
                these rows only, such as \"Encrypt,Sign RSA_2048\"
  --connections LIST
                at these numbers of connections, instead of 1,16,64
  --flamegraph ROW
                where the daemon's processor time goes while it serves such requests (16
                connections unless the person says): a picture in target/flamegraph; takes perf
  --json        one JSON document instead of tables
  --board NAME  this device only (default: every emulated board)
  --specs LIST  what keys of these specs cost a device, such as ECC_NIST_P256,RSA_2048 (default:
                all that the device has)
  --profile COMMAND
                where the instructions of a command go, such as \"Sign ECC_NIST_P256\"";

/// Connections of the two columns.
const CONNECTIONS: [usize; 2] = [1, 32];

/// Numbers of keys at which latency is compared.
const KEYS: [usize; 3] = [100, 10_000, 100_000];

/// Where pictures of [`flamegraph`] go.
const FLAMEGRAPHS: &str = "target/flamegraph";

/// What can be measured; all but the last unless the person says.
const PARTS: [&str; 7] = ["soft", "qemu", "authorization", "refusals", "xks", "device", "scale"];

struct Options {
    seconds: u64,
    parts: Vec<String>,
    keys: usize,
    record: Option<PathBuf>,
    boards: Vec<String>,
    specs: Option<String>,
    profile: Option<String>,
    flamegraph: Option<String>,
    against_ceiling: bool,
    hsm: String,
    operations: Option<Vec<String>>,
    connections: Vec<usize>,
    json: bool,
}

/// The boards whose commands are counted: all that are emulated.
fn boards() -> Result<Vec<String>, String> {
    let machines = Machine::all().map_err(|error| error.to_string())?;
    Ok(machines.into_iter().map(|machine| machine.board).collect())
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == ceiling::SERVE) {
        return outcome(ceiling::serve());
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(command) = &options.profile {
        for board in &options.boards {
            if let Err(error) = profile::run(board, command) {
                eprintln!("{board}: {error}");
                return ExitCode::FAILURE;
            }
        }
        return ExitCode::SUCCESS;
    }
    if let Some(row) = &options.flamegraph {
        let (hsm, time) = (&options.hsm, Duration::from_secs(options.seconds));
        let connections = match options.connections[..] {
            [one] => one,
            _ => ceiling::CONNECTIONS[1],
        };
        return outcome(flamegraph::run(hsm, row, connections, time, Path::new(FLAMEGRAPHS)));
    }
    if options.against_ceiling {
        return outcome(against_ceiling(&options));
    }
    let mut report = serde_json::Map::new();
    for part in &options.parts {
        let measured = match part.as_str() {
            "device" => match measure_boards(&options) {
                Ok(costs) => costs.iter().map(device::Costs::to_json).collect(),
                Err(problem) => {
                    eprintln!("{problem}");
                    return ExitCode::FAILURE;
                }
            },
            "scale" => {
                let keys: Vec<_> = KEYS.into_iter().filter(|keys| *keys <= options.keys).collect();
                let stages = scale::measure(&keys);
                if !options.json {
                    scale::print(&stages);
                }
                stages.iter().map(scale::Stage::to_json).collect()
            }
            "authorization" => {
                eprintln!("measuring decisions …");
                let rows = authorization::measure(Duration::from_secs(options.seconds));
                if !options.json {
                    authorization::print(&rows);
                }
                rows.iter().map(authorization::Row::to_json).collect()
            }
            "refusals" => {
                eprintln!("measuring refusals …");
                // The times of a few requests are worth nothing here.
                let rows = refusals::measure("soft", Duration::from_secs(10 * options.seconds));
                if !options.json {
                    refusals::print(&rows);
                }
                rows.iter().map(refusals::Row::to_json).collect()
            }
            "xks" => {
                eprintln!("measuring requests to an external key store …");
                let rows = xks::measure(Duration::from_secs(options.seconds));
                if !options.json {
                    xks::print(&rows);
                }
                rows.iter().map(xks::Row::to_json).collect()
            }
            hsm => {
                eprintln!("measuring requests on {hsm} …");
                let rows = load::measure(hsm, &CONNECTIONS, Duration::from_secs(options.seconds));
                if !options.json {
                    load::print(hsm, &rows);
                }
                rows.iter().map(load::Row::to_json).collect()
            }
        };
        report.insert(part.clone(), measured);
    }
    if options.json {
        println!("{:#}", Value::Object(report));
    }
    ExitCode::SUCCESS
}

fn outcome(outcome: Result<(), impl std::fmt::Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn against_ceiling(options: &Options) -> std::io::Result<()> {
    let chosen = |row: &str| {
        options.operations.as_ref().is_none_or(|chosen| chosen.iter().any(|name| name == row))
    };
    let time = Duration::from_secs(options.seconds);
    let rows = ceiling::measure(&options.hsm, chosen, &options.connections, time)?;
    if let Some(history) = &options.record {
        ceiling::record(&rows, history)?;
    }
    if options.json {
        let rows: Value = rows.iter().map(ceiling::Row::to_json).collect();
        println!("{rows:#}");
    } else {
        ceiling::print(&options.hsm, &rows);
    }
    Ok(())
}

/// Counts the instructions of every board's commands.
fn measure_boards(options: &Options) -> Result<Vec<device::Costs>, String> {
    let mut all = Vec::new();
    for board in &options.boards {
        eprintln!("counting instructions on an emulated {board} …");
        let costs = device::measure(board, options.specs.as_deref());
        if let Some(history) = &options.record {
            costs.record(history).map_err(|error| format!("{}: {error}", history.display()))?;
        }
        if !options.json {
            device::print(&costs);
        }
        all.push(costs);
    }
    Ok(all)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        seconds: 3,
        parts: Vec::new(),
        keys: 100_000,
        record: None,
        boards: Vec::new(),
        specs: None,
        profile: None,
        flamegraph: None,
        against_ceiling: false,
        hsm: "soft:1".to_owned(),
        operations: None,
        connections: ceiling::CONNECTIONS.to_vec(),
        json: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--against-ceiling" => options.against_ceiling = true,
            "--seconds" => {
                let value = arguments.next().unwrap_or_default();
                let seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                options.seconds = seconds.ok_or("--seconds takes a number from 1 to 600")?;
            }
            "--only" => match arguments.next().as_deref() {
                Some(part) if PARTS.contains(&part) => options.parts.push(part.to_owned()),
                _ => return Err(format!("--only takes one of {}", PARTS.join(", "))),
            },
            "--keys" => {
                let keys = arguments.next().unwrap_or_default().parse().ok();
                let keys = keys.filter(|keys| *keys >= KEYS[0]);
                options.keys = keys.ok_or("--keys takes a number of at least 100")?;
            }
            "--record" => {
                let file = arguments.next().ok_or("--record takes a file")?;
                options.record = Some(file.into());
            }
            "--specs" => {
                options.specs = Some(arguments.next().ok_or("--specs takes names")?);
            }
            "--board" => {
                let board = arguments.next().unwrap_or_default();
                let boards = boards()?;
                if !boards.contains(&board) {
                    return Err(format!("--board takes {}", boards.join(" or ")));
                }
                options.boards.push(board);
            }
            "--hsm" => options.hsm = arguments.next().ok_or("--hsm takes a device")?,
            "--operations" => {
                let list = arguments.next().ok_or("--operations takes rows")?;
                options.operations = Some(list.split(',').map(str::to_owned).collect());
            }
            "--connections" => {
                let list = arguments.next().unwrap_or_default();
                let numbers = list.split(',').map(|number| number.parse().ok());
                let numbers: Option<Vec<usize>> = numbers.collect();
                options.connections = numbers
                    .filter(|numbers| numbers.iter().all(|number| (1..=1024).contains(number)))
                    .ok_or("--connections takes numbers from 1 to 1024")?;
            }
            "--flamegraph" => {
                options.flamegraph = Some(arguments.next().ok_or("--flamegraph takes a row")?);
            }
            "--profile" => {
                options.profile = Some(arguments.next().ok_or("--profile takes a command")?);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    if options.boards.is_empty() {
        options.boards = boards()?;
    }
    if options.parts.is_empty() {
        options.parts = PARTS[..PARTS.len() - 1].iter().map(|part| (*part).to_owned()).collect();
    }
    Ok(options)
}

/// A number as JSON, rounded to what the measurement is worth.
fn rounded(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}
