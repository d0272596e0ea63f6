//! Offline verification: recomputes the log's chain and the devices' chains from the files alone.
//!
//! The first fault of the log's chain ends the walk, because nothing behind it can be trusted.
//! Device chains are judged only if the log's chain is whole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use hsm_protocol::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::chain::{Kind, Line, Position};
use super::checkpoint::Checkpoint;
use super::device::{Broken, Chain, DeviceChains, Lost};
use super::keeping::removed_up_to;
use super::older::DeviceEvent;
use super::positions;
use super::segment::{HeadFile, RawLine, Segment};

/// Records that may lie between a checkpoint and the record it is about.
const RECENT: usize = 64 * 1024;

/// Why verification could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory or a file in it cannot be read.
    #[error("cannot read the audit log {path}: {source}")]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is no audit log.
    #[error("{0} holds no audit log; name the `audit` directory in the daemon's data directory")]
    NoLog(PathBuf),
}

/// What verification found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Number of files read.
    pub files: usize,
    /// Number of records whose place in the chain is proven.
    pub records: u64,
    /// The end of the log's chain. Keep it elsewhere to recognise a later truncation.
    pub tip: Position,
    /// Last record that was removed as the log's policy said; 0 if none was. The records that follow
    /// tell of it.
    pub removed: u64,
    /// Last record that a device has vouched for with a signature; 0 if none has.
    pub vouched: u64,
    /// The devices' chains.
    pub devices: Vec<DeviceChain>,
    /// What an auditor should know and that is no fault.
    pub notes: Vec<String>,
    /// The first fault; none if the log is intact.
    pub fault: Option<Fault>,
}

/// One boot of one device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceChain {
    /// Device id.
    pub device: String,
    /// Boot.
    pub epoch: u64,
    /// Entries whose place in the device's chain is proven.
    pub entries: u64,
    /// Entries that the daemon reported as lost.
    pub lost: u64,
}

/// The first record that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// `eventID` of the record, if it can still be read and has one.
    pub event_id: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// Verifies the audit log in `dir`.
///
/// # Errors
/// If the files cannot be read. A log that is not intact is no error but a [`Fault`].
pub fn verify(dir: &Path) -> Result<Report, VerifyError> {
    let read = |source| VerifyError::Read { path: dir.to_owned(), source };
    // The head first: a daemon that writes meanwhile only adds behind it.
    let head = HeadFile::load(dir).map_err(read)?;
    let segments = Segment::list(dir).map_err(read)?;
    if segments.is_empty() && head.is_none() {
        return Err(VerifyError::NoLog(dir.to_owned()));
    }
    let mut walk = Walk::new(segments.len(), head.flatten());
    if head == Some(None) {
        walk.report.notes.push("HEAD is damaged: records missing at the end do not show".into());
    }
    for (number, segment) in segments.iter().enumerate() {
        walk.segment(segment, &segments[number..])
            .map_err(|source| VerifyError::Read { path: segment.path.clone(), source })?;
        if walk.report.fault.is_some() {
            return Ok(walk.report);
        }
    }
    Ok(walk.finish(dir))
}

/// Where a record stands.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
    line: usize,
    event_id: Option<String>,
    sequence: u64,
}

struct Walk {
    report: Report,
    head: Option<Position>,
    last: Option<Place>,
    devices: DeviceChains<Place>,
    /// Sequence of the last `started` record.
    started: u64,
    /// The latest positions: a checkpoint is recorded a little after the one it is about.
    recent: VecDeque<Position>,
    /// What stands before the first file, if that is not the log's first.
    beginning: Option<Beginning>,
}

/// The end of what was removed.
struct Beginning {
    position: Position,
    /// The first line there is.
    place: Place,
    /// Whether a record there is tells of the removal.
    recorded: bool,
    /// The boots of devices that were under way.
    boots: BTreeMap<DeviceId, u64>,
}

impl Walk {
    fn new(files: usize, head: Option<Position>) -> Self {
        let (devices, notes) = (Vec::new(), Vec::new());
        let tip = Position::default();
        Self {
            report: Report {
                files,
                records: 0,
                tip,
                removed: 0,
                vouched: 0,
                devices,
                notes,
                fault: None,
            },
            head,
            last: None,
            devices: DeviceChains::default(),
            started: 0,
            recent: VecDeque::new(),
            beginning: None,
        }
    }

    /// Begins behind what was removed, if the first line says where that is.
    fn begin(&mut self, line: &Line, place: &Place) {
        if self.last.is_some() || line.sequence <= 1 || line.kind != Kind::Positions {
            return;
        }
        let position = Position { sequence: line.sequence - 1, hash: line.previous };
        self.report.tip = position;
        positions::resume(&mut self.devices, &line.record, place);
        let boots = self.devices.iter().map(|(device, chain)| (*device, chain.at.epoch)).collect();
        let place = Place { sequence: line.sequence, ..place.clone() };
        self.beginning = Some(Beginning { position, place, recorded: false, boots });
    }

    fn segment(&mut self, segment: &Segment, onwards: &[Segment]) -> io::Result<()> {
        let mut lines = segment.lines()?;
        while let Some(raw) = lines.next()? {
            let mut place = Place {
                file: segment.path.clone(),
                line: raw.number,
                event_id: event_id(&raw),
                sequence: self.report.tip.sequence + 1,
            };
            let Some(line) = raw.line else {
                // A crash, or the writer at work, may have left half a line behind the durable end.
                let last_line = onwards.len() == 1 && !raw.ended;
                let beyond = self.head.is_some_and(|head| head.sequence < place.sequence);
                if last_line && beyond {
                    let note = "an unfinished line behind the last durable one was left out";
                    self.report.notes.push(note.to_owned());
                } else {
                    self.fault(place, "the record was changed");
                }
                return Ok(());
            };
            if raw.number == 1 && segment.first == line.sequence {
                self.begin(&line, &place);
                place.sequence = self.report.tip.sequence + 1;
            }
            let expected = self.report.tip.sequence + 1;
            if line.sequence != expected {
                let reason = misplaced(&line, expected, onwards)?;
                self.fault(place, &reason);
                return Ok(());
            }
            if raw.number == 1 && segment.first != expected {
                self.fault(place, "the file was renamed");
                return Ok(());
            }
            if line.previous != self.report.tip.hash {
                let place = self.last.clone().unwrap_or(place);
                self.fault(place, "the record was replaced: its successor carries another hash");
                return Ok(());
            }
            if self
                .head
                .is_some_and(|head| head.sequence == line.sequence && head.hash != line.hash)
            {
                self.fault(place, "the record was replaced: HEAD carries another hash");
                return Ok(());
            }
            self.accept(&line, place);
        }
        Ok(())
    }

    fn accept(&mut self, line: &Line, place: Place) {
        self.report.tip = line.position();
        self.recent.push_back(self.report.tip);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.report.records += 1;
        match line.kind {
            Kind::Started => self.started = line.sequence,
            Kind::DeviceEntries => {
                let lost = line.record.get("lost").and_then(|lost| Lost::deserialize(lost).ok());
                if let Some(Err(broken)) = lost.map(|lost| self.devices.take_lost(&lost)) {
                    self.device_fault(broken);
                }
            }
            Kind::Checkpoint => self.checkpoint(&line.record, &place),
            Kind::ServiceEvent => {
                if let Some(begin) = &mut self.beginning {
                    begin.recorded |= removed_up_to(line, begin.position);
                }
                if let Some(DeviceEvent::Accepted(device)) = DeviceEvent::read(&line.record) {
                    self.devices.restart(&device);
                    if let Some(begin) = &mut self.beginning {
                        begin.boots.remove(&device);
                    }
                }
            }
            Kind::Request | Kind::Resumed | Kind::Positions => {}
        }
        for stored in &line.device {
            let begin = self.beginning.as_ref();
            let boot = begin.and_then(|begin| begin.boots.get(&stored.0.device));
            if boot.is_some_and(|boot| stored.0.epoch < *boot) {
                continue; // the rest of that boot is among what was removed
            }
            if let Err(broken) = self.devices.take(stored.0, place.clone()) {
                self.device_fault(broken);
            }
        }
        self.last = Some(place);
    }

    fn checkpoint(&mut self, record: &serde_json::Value, place: &Place) {
        let opened =
            Checkpoint::deserialize(record).ok().and_then(|c| Some((c.open()?, c.position)));
        let Some((vouched, position)) = opened else {
            return self
                .first_fault(place, "the device's signature of the checkpoint is not right");
        };
        let begin = self.beginning.as_ref().map(|begin| begin.position);
        // What it is about was removed: there is nothing to compare.
        let gone = begin.is_some_and(|begin| position.sequence < begin.sequence);
        let begin = begin.iter().filter(|begin| begin.sequence == position.sequence);
        let mut known = self.recent.iter().chain(begin);
        let known = known.find(|known| known.sequence == position.sequence);
        if !gone && known.is_none_or(|known| known.hash != position.hash) {
            return self.first_fault(place, "the device has signed another log");
        }
        if let Err(broken) = self.devices.take_signed(&vouched, place.clone()) {
            self.device_fault(broken);
        }
        if !gone {
            self.report.vouched = position.sequence;
        }
    }

    /// Keeps the first one only; the log's own faults come first in any case.
    fn first_fault(&mut self, place: &Place, reason: &str) {
        if self.report.fault.is_none() {
            self.fault(place.clone(), reason);
        }
    }

    fn device_fault(&mut self, broken: Broken<Place>) {
        match broken {
            Broken::Entry(place) => {
                self.first_fault(&place, "the device's entry does not continue its chain");
            }
            Broken::Signed(place) => self
                .first_fault(&place, "the device has signed another chain than its recorded one"),
        }
    }

    fn fault(&mut self, place: Place, reason: &str) {
        self.report.fault = Some(Fault {
            file: place.file,
            line: place.line,
            event_id: place.event_id,
            reason: reason.to_owned(),
        });
    }

    fn finish(mut self, dir: &Path) -> Report {
        let tip = self.report.tip.sequence;
        if let Some(head) = self.head
            && head.sequence > tip
        {
            let place = self.last.clone().unwrap_or_else(|| Place {
                file: dir.to_owned(),
                line: 0,
                event_id: None,
                sequence: 0,
            });
            let reason =
                format!("records {} to {} were removed behind this one", tip + 1, head.sequence);
            self.fault(place, &reason);
        }
        match self.beginning.take() {
            Some(begin) if begin.recorded => self.report.removed = begin.position.sequence,
            Some(begin) => {
                let reason = match begin.position.sequence {
                    1 => "record 1 was removed before this one".to_owned(),
                    last => format!("records 1 to {last} were removed before this one"),
                };
                self.fault(begin.place, &reason);
                return self.report;
            }
            None => {}
        }
        let devices = std::mem::take(&mut self.devices);
        for (device, chain) in devices.iter() {
            self.report.devices.push(DeviceChain {
                device: device.to_string(),
                epoch: chain.at.epoch,
                entries: chain.entries,
                lost: chain.lost,
            });
            self.judge_gap(&device.to_string(), chain);
        }
        self.report
    }

    /// A gap is explained if the device has restarted, or may still be filled if it arose since
    /// the daemon's last start.
    fn judge_gap(&mut self, device: &str, chain: &Chain<Place>) {
        let Some((receipt, place)) = chain.first_beyond_gap() else { return };
        let (next, index) = (chain.at.next, receipt.entry.index);
        let text = format!("entries {next} to {} of device {device}", index - 1);
        if chain.closed {
            let boot = chain.at.epoch;
            self.report.notes.push(format!("{text}, boot {boot}, were lost when it restarted"));
        } else if place.sequence > self.started {
            self.report.notes.push(format!("{text} are not recorded yet"));
        } else if self.report.fault.is_none() {
            self.fault(place.clone(), &format!("{text} before the one recorded here are missing"));
        }
    }
}

/// Tells a record that was removed from one that stands elsewhere.
fn misplaced(line: &Line, expected: u64, onwards: &[Segment]) -> io::Result<String> {
    let found = line.sequence;
    if found < expected {
        return Ok(format!("record {found} was moved or repeated here, {expected} belongs here"));
    }
    for segment in onwards {
        let mut lines = segment.lines()?;
        while let Some(raw) = lines.next()? {
            if raw.line.is_some_and(|line| line.sequence == expected) {
                return Ok(format!("record {found} was moved here, {expected} belongs here"));
            }
        }
    }
    Ok(match found - expected {
        1 => format!("record {expected} was removed before this one"),
        _ => format!("records {expected} to {} were removed before this one", found - 1),
    })
}

/// Of a damaged line too, if its JSON can still be read.
fn event_id(raw: &RawLine) -> Option<String> {
    match &raw.line {
        Some(line) => line.event_id().map(str::to_owned),
        None => {
            let value: serde_json::Value = serde_json::from_slice(&raw.bytes).ok()?;
            Some(value.get("record")?.get("eventID")?.as_str()?.to_owned())
        }
    }
}
