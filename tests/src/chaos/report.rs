//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Options;
use super::client::Notes;

/// How soon the service was back after faults of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovery {
    times: Vec<Duration>,
    /// Faults after which no request came any more: the last of the run.
    unknown: usize,
}

impl Recovery {
    pub(super) fn add(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => self.times.push(time),
            None => self.unknown += 1,
        }
        self.times.sort_unstable();
    }

    fn median(&self) -> Option<Duration> {
        self.times.get(self.times.len() / 2).copied()
    }
}

/// What was done, what went wrong, and what should not have.
#[derive(Clone, Debug, Default)]
pub struct Report {
    seed: u64,
    time: Duration,
    daemons: usize,
    devices: usize,
    regions: usize,
    answered: usize,
    lost: u64,
    refused: BTreeMap<String, u64>,
    pub(super) recoveries: BTreeMap<&'static str, Recovery>,
    /// How long after the last fault everything was in service.
    pub(super) back: Duration,
    /// Objects with a history, and events of all of them.
    pub(super) objects: usize,
    pub(super) events: usize,
    pub(super) ciphertexts: usize,
    pub(super) keys: usize,
    pub(super) records: usize,
    pub(super) files: usize,
    /// Faults that could not happen on this machine, with the reason.
    pub(super) left_out: Vec<String>,
    violations: Vec<String>,
}

impl Report {
    /// What clients have noted, before anything is judged.
    pub(super) fn of(options: &Options, notes: &[Notes]) -> Self {
        let Options { seed, time, daemons, devices, regions, .. } = *options;
        let mut report = Self { seed, time, daemons, devices, regions, ..Self::default() };
        for notes in notes {
            report.answered += notes.answered.len();
            report.lost += notes.lost;
            for (code, count) in &notes.refused {
                *report.refused.entry(code.clone()).or_default() += count;
            }
            report.violations.extend(notes.wrong.iter().cloned());
        }
        report
    }

    pub(super) fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What should not have been.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Faults that have happened.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.recoveries.values().map(|recovery| recovery.times.len() + recovery.unknown).sum()
    }

    /// The same for a program.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let milliseconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
        let recoveries: Vec<Value> = self
            .recoveries
            .iter()
            .map(|(fault, recovery)| {
                json!({
                    "fault": fault,
                    "times": recovery.times.len() + recovery.unknown,
                    "median_ms": milliseconds(recovery.median()),
                    "worst_ms": milliseconds(recovery.times.last().copied()),
                })
            })
            .collect();
        json!({
            "seed": self.seed,
            "daemons": self.daemons,
            "devices": self.devices,
            "regions": self.regions,
            "seconds": self.time.as_secs(),
            "answered": self.answered,
            "unanswered": self.lost,
            "refused": self.refused,
            "recoveries": recoveries,
            "all_in_service_ms": self.back.as_secs_f64() * 1000.0,
            "objects": self.objects,
            "events": self.events,
            "ciphertexts": self.ciphertexts,
            "keys": self.keys,
            "records": self.records,
            "files": self.files,
            "left_out": self.left_out,
            "violations": self.violations,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} s", self.seed, self.time.as_secs())?;
        let Self { answered, lost, objects, events, ciphertexts, keys, records, files, .. } = self;
        write!(f, "{answered} requests answered, {lost} without an answer")?;
        for (code, count) in &self.refused {
            write!(f, ", {count} {code}")?;
        }
        writeln!(f, "\n")?;
        writeln!(f, "{:32}{:>6}{:>18}{:>12}", "fault", "times", "back after: half", "worst")?;
        for (fault, recovery) in &self.recoveries {
            let show = |time: Option<Duration>| {
                time.map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()))
            };
            let times = recovery.times.len() + recovery.unknown;
            let worst = show(recovery.times.last().copied());
            writeln!(f, "{fault:32}{times:>6}{:>18}{worst:>12}", show(recovery.median()))?;
        }
        writeln!(
            f,
            "\nchecked: the order of {events} answers about {objects} objects, {ciphertexts} ciphertexts,"
        )?;
        writeln!(f, "  {keys} keys, {records} audit records, {files} files for plaintexts")?;
        writeln!(f, "everything was in service {} ms after the end", self.back.as_millis())?;
        for fault in &self.left_out {
            writeln!(f, "LEFT OUT: {fault}")?;
        }
        match self.violations.as_slice() {
            [] => write!(f, "nothing is wrong"),
            violations => {
                write!(f, "WRONG, {} in all:", violations.len())?;
                for violation in violations.iter().take(20) {
                    write!(f, "\n  {violation}")?;
                }
                let Self { seed, daemons, devices, regions, .. } = self;
                let seconds = self.time.as_secs();
                write!(
                    f,
                    "\nthe schedule again: cargo xtask chaos --seed {seed} --seconds {seconds} \
                     --daemons {daemons} --devices {devices} --regions {regions}"
                )
            }
        }
    }
}
