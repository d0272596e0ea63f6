//! `kmsctl device`: the devices of a running daemon.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::management::{Account, STRONGROOM};
use super::{Failure, Outcome, Output, say, table};

/// How often a device that is being drained is looked at.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Region of the devices.
    #[arg(long, global = true, default_value = "us-east-1")]
    region: String,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the devices: what they are, what they do, and how fast. Needs a running daemon and the access key
    /// of its first account's root, as all of these commands do.
    List,
    /// Give a device no calls any more, also after a restart. It finishes those that it has; then its line is
    /// free, for example for kmsctl hsm update.
    Drain {
        /// Name of the device, as `kmsctl device list` shows it.
        name: String,
        /// Also the last one that serves: every request fails then.
        #[arg(long)]
        force: bool,
        /// Wait until it has finished.
        #[arg(long)]
        wait: bool,
        /// How long to wait for that, in seconds.
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Bring a device back that was drained or quarantined, if it passes what devices pass at the start, and
    /// its self-tests if it was quarantined. Firmware that has changed meanwhile is taken as it is.
    Resume {
        /// Name of the device.
        name: String,
    },
    /// Take a device in, now and after a restart, if it passes what devices pass at the start.
    Add {
        /// Its line: serial:PATH, tcp:HOST:PORT or unix:PATH.
        endpoint: String,
    },
    /// Take a device out, now and after a restart. It finishes the calls that it has.
    Remove {
        /// Name of the device.
        name: String,
        /// Also the last one that serves: every request fails then.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let region = ("RegionName", Some(arguments.region.as_str()));
    let call = |operation: &str, parameters: &[(&str, Option<&str>)]| {
        arguments.account.call(STRONGROOM, operation, &[&[region], parameters].concat())
    };
    let forced = |force: bool| ("Force", force.then_some("true"));
    let advised = |failure: Failure| match failure.0.contains("is the last device") {
        true => Failure(format!("{failure}; --force does it all the same")),
        false => failure,
    };
    match &arguments.command {
        Command::List => {
            let devices = call("ListDevices", &[])?["Devices"].take();
            output.print(&devices, print)?;
            let all = devices.as_array().map(Vec::as_slice).unwrap_or_default();
            let good = all.iter().all(|device| device["Quarantined"].is_null());
            return Ok(if good { Outcome::Good } else { Outcome::Bad });
        }
        Command::Drain { name, force, wait, timeout } => {
            let parameters = [("DeviceName", Some(&**name)), forced(*force)];
            call("DrainDevice", &parameters).map_err(advised)?;
            let state = match wait {
                true => {
                    let by = Instant::now() + Duration::from_secs(*timeout);
                    drained(name, by, || call("ListDevices", &[]))?
                }
                false => "draining".to_owned(),
            };
            tell(output, name, &state)?;
        }
        Command::Resume { name } => {
            call("ResumeDevice", &[("DeviceName", Some(name))])?;
            tell(output, name, "in service")?;
        }
        Command::Add { endpoint } => {
            let added = call("AddDevice", &[("Endpoint", Some(endpoint))])?;
            let name = added["DeviceName"].as_str().unwrap_or(endpoint);
            let state = match added["InService"].as_bool() {
                Some(false) => "back from the next start of kmsd on",
                _ => "in service",
            };
            tell(output, name, state)?;
        }
        Command::Remove { name, force } => {
            let parameters = [("DeviceName", Some(&**name)), forced(*force)];
            call("RemoveDevice", &parameters).map_err(advised)?;
            tell(output, name, "removed")?;
        }
    }
    Ok(Outcome::Good)
}

fn tell(output: &mut Output<'_>, name: &str, state: &str) -> Result<(), Failure> {
    let told = json!({ "name": name, "state": state });
    output.print(&told, |out, _| writeln!(out, "{name} is {state}"))
}

/// Waits until a device has finished; its state then. Says how many calls are left, on standard error.
fn drained(
    name: &str,
    by: Instant,
    list: impl Fn() -> Result<Value, Failure>,
) -> Result<String, Failure> {
    let mut told = None;
    loop {
        let devices = list()?["Devices"].take();
        let device = devices.as_array().into_iter().flatten().find(|one| one["Name"] == name);
        let device = device.ok_or_else(|| Failure(format!("{name} was removed meanwhile")))?;
        let state = device["State"].as_str().unwrap_or_default();
        if state != "draining" {
            return Ok(state.to_owned());
        }
        let left = device["InFlight"].as_u64();
        if Instant::now() >= by {
            let left = left.unwrap_or_default();
            return Err(Failure(format!(
                "{name} still has {left} calls; it gets no new ones, and `kmsctl device list` shows when it \
                 has finished"
            )));
        }
        if left != told {
            told = left;
            say(format_args!("{name}: {} calls left", left.unwrap_or_default()));
        }
        thread::sleep(LOOK);
    }
}

fn print(out: &mut dyn Write, devices: &Value) -> io::Result<()> {
    let devices = devices.as_array().map(Vec::as_slice).unwrap_or_default();
    let head = ["DEVICE", "STATE", "CALLS", "ANSWERED", "FAILED", "P50", "P99"];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let time = |value: &Value| match value.as_u64() {
        None | Some(0) => "-".to_owned(),
        Some(micros @ ..10_000) => format!("{micros} us"),
        Some(micros) => format!("{} ms", micros / 1000),
    };
    let row = |device: &Value| {
        [
            text(&device["Name"]),
            text(&device["State"]),
            text(&device["InFlight"]),
            text(&device["Answered"]),
            text(&device["Failed"]),
            time(&device["LatencyP50Us"]),
            time(&device["LatencyP99Us"]),
        ]
    };
    let rows: Vec<_> =
        std::iter::once(head.map(str::to_owned)).chain(devices.iter().map(row)).collect();
    table::print(out, &rows, 0)?;
    for device in devices {
        writeln!(out)?;
        writeln!(out, "{}", text(&device["Name"]))?;
        for (name, member) in [
            ("device", "DeviceId"),
            ("board", "Board"),
            ("firmware", "Firmware"),
            ("measured", "Measurement"),
            ("domain", "DomainId"),
            ("since", "Since"),
        ] {
            if let Some(value) = device[member].as_str() {
                writeln!(out, "  {name:<10}{value}")?;
            }
        }
        if let Some(hedged) = device["Hedged"].as_u64().filter(|hedged| *hedged > 0) {
            writeln!(out, "  {:<10}{hedged} calls were sent to another device as well", "slow")?;
        }
        let specs = device["KeySpecs"].as_array().into_iter().flatten();
        let specs: Vec<&str> = specs.filter_map(Value::as_str).collect();
        table::wrapped(out, &format!("keys {}", specs.join(", ")))?;
        if let Some(reason) = device["Quarantined"].as_str() {
            table::wrapped(out, &format!("! QUARANTINED: {reason}"))?;
        } else if device["InService"] == false
            && let Some(error) = device["LastError"].as_str()
        {
            table::wrapped(out, &format!("! {error}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, quarantined: Option<&str>) -> Value {
        json!({
            "Name": name, "State": if quarantined.is_some() { "quarantined" } else { "in service" },
            "InFlight": 256, "Answered": 123_456_789, "Failed": 12_345, "LatencyP50Us": 950,
            "LatencyP99Us": 123_000, "KeySpecs": ["SYMMETRIC_DEFAULT", "RSA_4096", "ECC_NIST_P521"],
            "DeviceId": "0".repeat(32), "Measurement": "0".repeat(64), "DomainId": "1".repeat(32),
            "Quarantined": quarantined, "InService": quarantined.is_none(), "Hedged": 7,
        })
    }

    #[test]
    fn the_list_fits_eighty_columns() {
        let reason = "its audit chain does not continue: ".repeat(6);
        let line = "serial:/dev/serial/by-id/usb-Strongroom_HSM-if00";
        let devices = json!([device("soft-0", None), device(line, Some(&reason))]);
        let mut out = Vec::new();
        print(&mut out, &devices).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        assert!(out.contains("! QUARANTINED") && out.contains("950 us") && out.contains("123 ms"));
    }

    #[test]
    fn a_device_is_waited_for_until_it_has_finished() {
        let states = std::cell::RefCell::new(vec!["drained", "draining", "draining"]);
        let list = || {
            let state = states.borrow_mut().pop().unwrap();
            Ok(json!({ "Devices": [{ "Name": "soft-0", "State": state, "InFlight": 3 }] }))
        };
        let by = Instant::now() + Duration::from_secs(600);
        assert_eq!(drained("soft-0", by, list).unwrap(), "drained");
        let busy =
            || Ok(json!({ "Devices": [{ "Name": "a", "State": "draining", "InFlight": 3 }] }));
        let error = drained("a", Instant::now(), busy).unwrap_err();
        assert!(error.0.contains("3 calls"), "{error}");
        assert!(drained("b", by, busy).unwrap_err().0.contains("removed"));
    }
}
