//! `kmsctl status`: a running daemon and its devices.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use hyper::Request;
use serde_json::{Value, json};

use super::aws::Service;
use super::daemon::{self, Daemon};
use super::{Failure, Outcome, Output, losses, table};
use kms_installation::data_dir::INSTANCE;
use kms_installation::devices::DeviceReport;
use kms_installation::last_backup::LAST_BACKUP;
use kms_installation::report::{
    ANY_DIR, ClusterReport, PeerReport, RewrapReport, TrailReport, XksReport, replace_in_texts,
};

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --data DIR, status checks that the daemon is the one of that directory."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    daemon: daemon::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let daemon = arguments.daemon.find(Service::Kms)?;
    let (ready, mut report) = ask(&daemon)?;
    if let Some(data) = &daemon.data {
        ensure_is_of(data, &daemon, &report)?;
    }
    let data = daemon.data.clone().or_else(|| daemon::data_by_default(&daemon.aws));
    if let Some(data) = data {
        complete(&data, &mut report);
    }
    if let Value::Object(members) = &mut report {
        members.insert("endpoint".to_owned(), json!(daemon.url.value.to_string()));
        members.insert("endpointFrom".to_owned(), json!(daemon.url.origin));
    }
    output.print(&report, |out, report| print(out, &daemon, ready, report))?;
    Ok(if ready { Outcome::Good } else { Outcome::Bad })
}

/// Whether the daemon is ready, and its report.
pub(super) fn ask(daemon: &Daemon) -> Result<(bool, Value), Failure> {
    let request = Request::get("/readyz").header("host", daemon.host()?);
    let answer = daemon.ask(request.body(Default::default())?, PATIENCE)?;
    Ok((answer.status.is_success(), daemon.json(&answer)?))
}

/// Adds what anybody else is not told: where things are. Who can read the daemon's data directory knows.
pub(super) fn complete(data: &Path, report: &mut Value) {
    let Ok(data) = fs::canonicalize(data) else { return };
    let instance = fs::read_to_string(data.join(INSTANCE)).unwrap_or_default();
    if instance.trim().is_empty() || report["instance"] != instance.trim() {
        return;
    }
    let known = fs::read(data.join(LAST_BACKUP)).unwrap_or_default();
    let known: Value = serde_json::from_slice(&known).unwrap_or_default();
    if known["created"].is_string() && known["created"] == report["lastBackup"]["created"] {
        report["lastBackup"] = known;
    }
    let (any, here) = (format!("{ANY_DIR}/"), format!("{}/", data.display()));
    replace_in_texts(report, &any, &here);
}

/// Whether the daemon serves from a data directory.
pub(super) fn ensure_is_of(data: &Path, daemon: &Daemon, report: &Value) -> Result<(), Failure> {
    let path = data.join(INSTANCE);
    let expected = fs::read_to_string(&path).map_err(|error| {
        Failure(format!(
            "cannot read {}: {error}; kmsd makes it when it starts on --data {}",
            path.display(),
            data.display()
        ))
    })?;
    let (expected, found) = (expected.trim(), report["instance"].as_str().unwrap_or("unknown"));
    match expected == found {
        true => Ok(()),
        false => Err(Failure(format!(
            "the daemon at {daemon} is a different one: its instance is {found}, that of {} is \
             {expected}; name the right one with --url",
            data.display()
        ))),
    }
}

fn print(out: &mut dyn Write, daemon: &Daemon, ready: bool, report: &Value) -> io::Result<()> {
    let url = daemon.url.value.to_string();
    let state = if ready { "ready" } else { "NOT READY" };
    writeln!(out, "kmsd at {}: {state}", url.trim_end_matches('/'))?;
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let line = format!("{name:<25} {value}");
        match line.chars().count() + 2 <= table::WIDTH {
            true => writeln!(out, "  {line}"),
            false => table::wrapped(out, &format!("{name} {value}")),
        }
    };
    if let Some(data) = &daemon.data {
        line("data", &data.display())?;
    }
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::String(text) if name != "endpoint" => line(name, text)?,
            Value::Number(_) | Value::Bool(_) => line(name, value)?,
            _ => {}
        }
    }
    let ruled_by_a_file = report.get("developmentDomains").and_then(Value::as_array);
    for region in ruled_by_a_file.into_iter().flatten() {
        let region = region.as_str().unwrap_or_default();
        table::wrapped(
            out,
            &format!(
                "! DEVELOPMENT DOMAIN in {region}: its operator's key lies in the data directory, \
                 and whoever reads the directory owns every key. For keys that matter: kmsctl \
                 domain harden --region {region}"
            ),
        )?;
    }
    losses::print_last_backup(out, report)?;
    for problem in report.get("problems").and_then(Value::as_array).into_iter().flatten() {
        table::wrapped(out, &format!("! {}", problem.as_str().unwrap_or_default()))?;
    }
    let devices = report.get("devices").cloned().unwrap_or_default();
    let devices: Vec<DeviceReport> = serde_json::from_value(devices).unwrap_or_default();
    let peers = report.get("peers").cloned().unwrap_or_default();
    let peers: Vec<PeerReport> = serde_json::from_value(peers).unwrap_or_default();
    if !devices.is_empty() {
        writeln!(out)?;
        print_devices(out, &devices)?;
    }
    print_peers(out, &peers)?;
    let trails = report.get("trails").cloned().unwrap_or_default();
    print_trails(out, &serde_json::from_value::<Vec<TrailReport>>(trails).unwrap_or_default())?;
    let stores = report.get("externalStores").cloned().unwrap_or_default();
    print_stores(out, &serde_json::from_value::<Vec<XksReport>>(stores).unwrap_or_default())?;
    let clusters = report.get("clusters").cloned().unwrap_or_default();
    print_clusters(out, &serde_json::from_value::<Vec<_>>(clusters).unwrap_or_default())?;
    let rewraps = report.get("rewraps").cloned().unwrap_or_default();
    print_rewraps(out, &serde_json::from_value::<Vec<RewrapReport>>(rewraps).unwrap_or_default())?;
    losses::print(out, report)
}

fn print_devices(out: &mut dyn Write, devices: &[DeviceReport]) -> io::Result<()> {
    let head = ["REGION", "DEVICE", "STATE", "BOARD", "BUSY", "ANSWERED", "FAILED"];
    let row = |device: &DeviceReport| {
        let board = device.board.as_deref().unwrap_or("-").to_owned();
        let number = |number: &dyn std::fmt::Display| number.to_string();
        [
            device.region.clone(),
            device.name.clone(),
            device.state.clone(),
            board,
            number(&device.in_flight),
            number(&device.answered),
            number(&device.failed),
        ]
    };
    let rows: Vec<_> =
        std::iter::once(head.map(str::to_owned)).chain(devices.iter().map(row)).collect();
    table::print(out, &rows, 1)?;
    for device in devices {
        if let Some(error) = device.last_error.as_deref().filter(|_| !device.in_service) {
            table::wrapped(out, &format!("{}: {error}", device.name))?;
        }
    }
    Ok(())
}

/// The daemons of other Regions.
fn print_peers(out: &mut dyn Write, peers: &[PeerReport]) -> io::Result<()> {
    if peers.is_empty() {
        return Ok(());
    }
    let head = ["PEER", "ADDRESS", "STATE", "TO TELL"].map(str::to_owned);
    let row = |peer: &PeerReport| {
        let state = if peer.reachable { "answers" } else { "DOES NOT ANSWER" };
        [peer.region.clone(), peer.address.clone(), state.to_owned(), peer.errands.to_string()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(peers.iter().map(row)).collect();
    writeln!(out)?;
    table::print(out, &rows, 1)?;
    for peer in peers {
        if let Some(error) = &peer.last_error {
            table::wrapped(out, &format!("{}: {error}", peer.region))?;
        }
    }
    Ok(())
}

/// The trails that log. Why one is not delivered is among the problems.
fn print_trails(out: &mut dyn Write, trails: &[TrailReport]) -> io::Result<()> {
    if trails.is_empty() {
        return Ok(());
    }
    let head = ["TRAIL", "DELIVERED UP TO", "STATE"].map(str::to_owned);
    let row = |trail: &TrailReport| {
        let state = if trail.delivered { "delivered" } else { "NOT DELIVERED" };
        let name = trail.arn.splitn(4, ':').nth(3).unwrap_or(&trail.arn);
        [name.to_owned(), format!("{} s ago", trail.lag_seconds), state.to_owned()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(trails.iter().map(row)).collect();
    writeln!(out)?;
    table::print(out, &rows, 0)
}

/// The proxies of external key stores. What the last one failed with is among the problems.
fn print_stores(out: &mut dyn Write, stores: &[XksReport]) -> io::Result<()> {
    if stores.is_empty() {
        return Ok(());
    }
    let head = ["EXTERNAL KEY STORE", "PROXY", "LATENCY", "CALLS", "FAILED", "CERTIFICATE"];
    let row = |store: &XksReport| {
        let state = if store.answers { "answers" } else { "DOES NOT ANSWER" };
        let certificate = store.certificate_days.map(|days| format!("{days} days"));
        [
            store.store.clone(),
            state.to_owned(),
            format!("{} ms", store.latency_ms),
            store.calls.to_string(),
            store.failed.to_string(),
            certificate.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let head = std::iter::once(head.map(str::to_owned));
    let rows: Vec<_> = head.chain(stores.iter().map(row)).collect();
    writeln!(out)?;
    table::print(out, &rows, 0)
}

/// The tokens of custom key stores. What the last one failed with is among the problems.
fn print_clusters(out: &mut dyn Write, clusters: &[ClusterReport]) -> io::Result<()> {
    if clusters.is_empty() {
        return Ok(());
    }
    let head = ["CUSTOM KEY STORE", "TOKEN", "STATE", "LATENCY", "CALLS", "FAILED", "STARTS"];
    let mut rows = vec![head.map(str::to_owned)];
    for cluster in clusters {
        for token in &cluster.tokens {
            let state = match (token.calls, token.answers) {
                (0, _) => "not used yet",
                (_, true) => "answers",
                (_, false) => "DOES NOT ANSWER",
            };
            rows.push([
                cluster.store.clone(),
                token.label.clone(),
                state.to_owned(),
                format!("{} ms", token.latency_ms),
                token.calls.to_string(),
                token.failed.to_string(),
                token.starts.to_string(),
            ]);
        }
    }
    writeln!(out)?;
    table::print(out, &rows, 0)
}

/// How far key tokens are under the newest keys of their domains.
fn print_rewraps(out: &mut dyn Write, reports: &[RewrapReport]) -> io::Result<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let head = ["REGION", "DOMAIN KEY", "TOKENS UNDER FORMER KEYS", "REWRAPPED"].map(str::to_owned);
    let row = |report: &RewrapReport| {
        let RewrapReport { region, active_key, remaining, rewrapped, .. } = report;
        let left = if *remaining == 0 { "none".to_owned() } else { remaining.to_string() };
        [region.clone(), active_key.to_string(), left, rewrapped.to_string()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(reports.iter().map(row)).collect();
    writeln!(out)?;
    table::print(out, &rows, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_key_stores_fit_eighty_columns() {
        let store = |answers, certificate_days| XksReport {
            store: "cks-0123456789abcdef0".to_owned(),
            answers,
            last_error: None,
            calls: 123_456_789,
            failed: 123_456,
            latency_ms: 250,
            certificate_days,
        };
        let mut out = Vec::new();
        print_stores(&mut out, &[]).unwrap();
        assert!(out.is_empty());
        print_stores(&mut out, &[store(true, Some(397)), store(false, None)]).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        assert!(out.contains("397 days") && out.contains("DOES NOT ANSWER"), "{out}");
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let device = |name: &str, error: Option<&str>| {
            serde_json::from_value::<DeviceReport>(json!({
                "region": "ap-southeast-2", "name": name, "state": "Uninitialised",
                "board": "qemu_riscv32", "inService": error.is_none(), "inFlight": 16,
                "answered": 123_456_789, "failed": 123_456, "lastError": error,
                "since": "2026-01-01T00:00:00Z", "connects": 1, "latencyUs": 1,
            }))
        };
        let error = "the line is gone: ".repeat(8);
        let devices = [
            device("soft-0", None).unwrap(),
            device("serial:/dev/serial/by-id/usb-Strongroom_HSM-if00", Some(&error)).unwrap(),
        ];
        let mut out = Vec::new();
        print_devices(&mut out, &devices).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        assert!(out.contains("soft-0") && out.contains("-if00") && out.contains("123456789"));
    }
}
