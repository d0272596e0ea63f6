//! Offline verification: recomputes the log's chain and the devices' chains from the files alone.
//!
//! The first fault of the log's chain ends the walk, because nothing behind it can be trusted.
//! Device chains are judged only if the log's chain is whole.
//!
//! What the files say of themselves proves nothing: whoever can write them can write all of them. So it
//! is devices that prove a log, to whoever has a [`TrustAnchor`] that names them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use hsm_protocol::id::DeviceId;
use serde::Deserialize;

use super::anchor::TrustAnchor;
use super::chain::{Kind, Line, Position};
use super::checkpoint::{self, Vouched};
use super::device::{Broken, DeviceChains, Lost};
use super::keeping::removed_up_to;
use super::older::{DeviceEvent, gives_up_records};
use super::positions;
use super::segment::{HeadFile, RawLine, Segment};

mod judge;
mod report;
mod signers;

pub use report::{DeviceChain, Expected, Fault, Live, Proof, Report, Verdict, VerifyOptions};
pub use signers::Signer;
use signers::{Signers, Taken};

/// Records that may lie between a checkpoint and the record it is about: as many as a fast daemon writes
/// between two checkpoints, should the answer to one be lost; 40 bytes each.
const RECENT: usize = 2 << 20;

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

/// Verifies the audit log in `dir`.
///
/// # Errors
/// If the files cannot be read. A log that is not intact is not an error but a [`Fault`].
pub fn verify(dir: &Path) -> Result<Report, VerifyError> {
    verify_with(dir, VerifyOptions::default())
}

/// The same, against what is known of the log from elsewhere.
///
/// # Errors
/// See [`verify`].
pub fn verify_with(dir: &Path, options: VerifyOptions) -> Result<Report, VerifyError> {
    let read = |source| VerifyError::Read { path: dir.to_owned(), source };
    // The head first: a daemon that writes meanwhile only adds behind it.
    let head = HeadFile::load(dir).map_err(read)?;
    let segments = Segment::list(dir).map_err(read)?;
    if segments.is_empty() && head.is_none() {
        return Err(VerifyError::NoLog(dir.to_owned()));
    }
    let has_head = head.is_some();
    let mut walk = Walk::new(segments.len(), head.flatten(), options);
    if !has_head {
        let note = "there is no HEAD, as in a copy that was delivered: whether records are missing at \
                    the end does not show";
        walk.report.notes.push(note.to_owned());
    }
    if head == Some(None) {
        walk.report.notes.push("HEAD is damaged: records missing at the end do not show".into());
    }
    for (number, segment) in segments.iter().enumerate() {
        walk.segment(segment, &segments[number..])
            .map_err(|source| VerifyError::Read { path: segment.path.clone(), source })?;
        if walk.report.fault.is_some() {
            return Ok(walk.conclude());
        }
    }
    walk.finish(dir);
    Ok(walk.conclude())
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
    /// Who has signed, and whose signature counts.
    signers: Signers,
    expected: Vec<Expected>,
    live: Vec<Live>,
    /// The last time that a record told, and its record.
    time: Option<(u64, String)>,
    /// Records since the last that a device has signed for, except for those that come of themselves.
    behind: u64,
    /// Entries that devices have signed for may still come.
    unsettled: bool,
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
    fn new(files: usize, head: Option<Position>, options: VerifyOptions) -> Self {
        let VerifyOptions { anchor, mut expected, live } = options;
        let of_log = anchor.iter().filter(|anchor| anchor.log().sequence > 0);
        expected.extend(of_log.map(|anchor| Expected {
            position: anchor.log(),
            source: "the trust anchor".to_owned(),
        }));
        expected.extend(live.iter().map(Live::expected));
        let (devices, notes) = (Vec::new(), Vec::new());
        let tip = Position::default();
        Self {
            report: Report {
                verdict: Verdict::Broken,
                proof: None,
                unproven: 0,
                signers: Vec::new(),
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
            signers: Signers::new(anchor),
            expected,
            live,
            time: None,
            behind: 0,
            unsettled: false,
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
        let gone = self.expected.iter().filter(|one| one.position.sequence < position.sequence);
        self.report.notes.extend(gone.map(|Expected { position, source }| {
            let sequence = position.sequence;
            format!("record {sequence}, which {source} names, is among those that were removed")
        }));
        let place = Place { sequence: line.sequence, ..place.clone() };
        self.beginning = Some(Beginning { position, place, recorded: false, boots });
    }

    fn segment(&mut self, segment: &Segment, onwards: &[Segment]) -> io::Result<()> {
        let mut lines = match onwards.len() {
            1 => segment.lines_with_journal(self.report.tip)?,
            _ => segment.lines()?,
        };
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
            let other = self.expected.iter().find(|expected| {
                expected.position.sequence == line.sequence && expected.position.hash != line.hash
            });
            if let Some(other) = other {
                let reason =
                    format!("it is another record than the one that {} names", other.source);
                self.fault(place, &reason);
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
        self.behind += u64::from(!matches!(line.kind, Kind::Checkpoint | Kind::Positions));
        let time = ["eventTime", "time"].iter().find_map(|name| line.record.get(name)?.as_str());
        if let Some(time) = time.filter(|_| line.kind != Kind::Checkpoint) {
            self.time = Some((line.sequence, time.to_owned()));
        }
        match line.kind {
            Kind::Started => self.started = line.sequence,
            Kind::DeviceEntries => {
                let lost = line.record.get("lost").and_then(|lost| Lost::deserialize(lost).ok());
                if let Some(Err(broken)) =
                    lost.map(|lost| self.devices.take_lost(&lost, place.clone()))
                {
                    self.device_fault(broken);
                }
            }
            Kind::Checkpoint => self.checkpoint(&line.record, &place),
            Kind::ServiceEvent => {
                if gives_up_records(&line.record) {
                    self.signers.give_up();
                }
                if let Some(begin) = &mut self.beginning {
                    begin.recorded |= removed_up_to(line, begin.position);
                }
                if let Some(DeviceEvent::Accepted(device)) = DeviceEvent::read(&line.record) {
                    self.devices.restart(&device);
                    self.signers.restart(&device);
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
        let Some((vouched, position)) = checkpoint::Checkpoint::read(record) else {
            return self
                .first_fault(place, "the device's signature of the checkpoint is not right");
        };
        let begin = self.beginning.as_ref().map(|begin| begin.position);
        // What it is about was removed: there is nothing to compare.
        let gone = begin.is_some_and(|begin| position.sequence < begin.sequence);
        let oldest = self.recent.front().map_or(0, |oldest| oldest.sequence);
        let index = position.sequence.checked_sub(oldest).and_then(|at| usize::try_from(at).ok());
        let recent = index.and_then(|index| self.recent.get(index)).copied();
        let before = begin.unwrap_or_default();
        let known = recent.or(Some(before).filter(|one| one.sequence == position.sequence));
        if !gone && known.is_none_or(|known| known.hash != position.hash) {
            return self.first_fault(place, "the device has signed another log");
        }
        if let Err(broken) = self.devices.take_signed(&vouched, place.clone()) {
            self.device_fault(broken);
        }
        // One that is recorded only after a restart may count entries whose requests were never
        // answered, as the host crashed before it had recorded them.
        let is_late = position.sequence < self.started && self.started < place.sequence;
        if !is_late {
            self.devices.hold_to(&vouched, place.clone());
        }
        if gone {
            return;
        }
        self.report.vouched = position.sequence;
        let trimmed = self.beginning.is_some();
        match self.signers.take(&vouched, place.sequence, trimmed) {
            Ok(Taken { counts, note }) => {
                self.report.notes.extend(note);
                let is_good = counts && self.report.fault.is_none();
                if is_good
                    && self.report.proof.as_ref().is_none_or(|p| p.sequence <= position.sequence)
                {
                    self.prove(&vouched, position, place, record);
                }
            }
            Err(reason) => self.first_fault(place, &reason),
        }
    }

    /// A device whose word counts has signed for all up to `position`.
    fn prove(
        &mut self,
        vouched: &Vouched,
        position: Position,
        place: &Place,
        record: &serde_json::Value,
    ) {
        let Some(made) = vouched.numbered else { return };
        // Those recorded while the device was asked are not covered.
        self.behind = self.behind.min(place.sequence - 1 - position.sequence);
        let time = self.time.as_ref().filter(|(sequence, _)| *sequence <= position.sequence);
        let known = self.report.proof.take().and_then(|proof| proof.time);
        let asked = || record.get("time")?.as_str().map(str::to_owned);
        self.report.proof = Some(Proof {
            sequence: position.sequence,
            hash: position.hash,
            time: time.map(|(_, time)| time.clone()).or(known).or_else(asked),
            device: vouched.device.to_string(),
            checkpoint: made.number,
            closing: made.closing,
            kind: made.maker.map(|maker| maker.kind.name()),
            measurement: checkpoint::measurement(&made),
        });
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
