//! What the end of a log comes to: what is missing there, and whose word is missing.

use std::path::Path;

use super::report::{DeviceChain, Expected, Report, Verdict};
use super::{Place, Walk};
use crate::device::Chain;

impl Walk {
    pub(super) fn finish(&mut self, dir: &Path) {
        let tip = self.report.tip.sequence;
        if let Some(head) = self.head
            && head.sequence > tip
        {
            let place = self.end(dir);
            let reason =
                format!("records {} to {} were removed behind this one", tip + 1, head.sequence);
            self.fault(place, &reason);
        }
        let cut = self.expected.iter().find(|expected| expected.position.sequence > tip);
        if let Some(Expected { position, source }) = cut.cloned() {
            let (place, last) = (self.end(dir), position.sequence);
            let reason = format!(
                "the log ends here, before record {last}, which {source} names: it was cut"
            );
            self.first_fault(&place, &reason);
        }
        match self.beginning.take() {
            Some(begin) if begin.recorded => self.report.removed = begin.position.sequence,
            Some(begin) => {
                let reason = match begin.position.sequence {
                    1 => "record 1 was removed before this one".to_owned(),
                    last => format!("records 1 to {last} were removed before this one"),
                };
                self.fault(begin.place, &reason);
                return;
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
            let later = devices.iter().filter(|(other, later)| {
                *other == device && later.at.epoch > chain.at.epoch && later.vouched.is_some()
            });
            let is_latest = devices
                .latest(device)
                .is_some_and(|latest| latest.at.epoch == chain.at.epoch && !chain.closed);
            let has_restarted = later.count() > 0;
            self.judge_losses(&device.to_string(), chain);
            if !self.judge_signed(&device.to_string(), chain, is_latest) {
                self.judge_gap(&device.to_string(), chain, has_restarted);
            }
        }
        if let Err(reason) = self.signers.compare(&self.live) {
            let place = self.end(dir);
            self.first_fault(&place, &reason);
        }
        if let Some(missing) = self.signers.missing() {
            let place = self.end(dir);
            self.first_fault(&place, &missing);
        }
    }

    /// The last record there is.
    fn end(&self, dir: &Path) -> Place {
        let nowhere = || Place { file: dir.to_owned(), line: 0, event_id: None, sequence: 0 };
        self.last.clone().unwrap_or_else(nowhere)
    }

    /// What it comes to.
    pub(super) fn conclude(mut self) -> Report {
        let report = &mut self.report;
        report.signers = self.signers.report();
        report.unproven = match (&report.proof, report.fault.is_some()) {
            (_, true) => 0,
            (Some(_), _) => self.behind,
            (None, _) => report.records,
        };
        let ends = report.proof.as_ref().is_some_and(|proof| {
            proof.closing || self.live.iter().any(|live| live.confirms(proof))
        });
        report.verdict = match (&report.fault, self.signers.has_anchor()) {
            (Some(_), _) => Verdict::Broken,
            (None, false) => Verdict::Unvouched,
            (None, true) if ends && report.unproven == 0 && !self.unsettled => Verdict::Proven,
            (None, true) => Verdict::Unproven,
        };
        self.report
    }

    /// Entries that only the host reports as lost: a device keeps those of its boot for long enough.
    fn judge_losses(&mut self, device: &str, chain: &Chain<Place>) {
        for (lost, place) in &chain.lost_at {
            if self.signers.demands(place.sequence) {
                let (from, to, boot) = (lost.start, lost.end.saturating_sub(1), chain.at.epoch);
                let reason = format!(
                    "nobody but the host says that entries {from} to {to} of device {device}, boot \
                     {boot}, were lost"
                );
                self.first_fault(place, &reason);
            }
        }
    }

    /// Every entry that the device has signed for must be there. Returns whether some are not.
    fn judge_signed(&mut self, device: &str, chain: &Chain<Place>, is_latest: bool) -> bool {
        let Some((signed, place)) = &chain.vouched else { return false };
        let reported =
            chain.reported_lost().is_some_and(|place| !self.signers.demands(place.sequence));
        if chain.at.next >= *signed || reported {
            return false;
        }
        let (next, last, boot) = (chain.at.next, signed - 1, chain.at.epoch);
        let text = format!("entries {next} to {last} of device {device}, boot {boot}");
        if is_latest && place.sequence > self.started && !self.signers.is_closed(device) {
            self.unsettled = true;
            self.report.notes.push(format!("{text}, are not recorded yet"));
        } else {
            let reason = format!("some of {text}, are missing, and the device has signed for them");
            self.first_fault(place, &reason);
        }
        true
    }

    /// A gap is explained if the device has restarted, or may still be filled if it arose since
    /// the daemon's last start.
    fn judge_gap(&mut self, device: &str, chain: &Chain<Place>, has_restarted: bool) {
        let Some((receipt, place)) = chain.first_beyond_gap() else { return };
        let (next, index) = (chain.at.next, receipt.entry.index);
        let text = format!("entries {next} to {} of device {device}", index - 1);
        if chain.closed {
            let boot = chain.at.epoch;
            self.report.notes.push(format!("{text}, boot {boot}, were lost when it restarted"));
            // That it has restarted is the host's word until the device signs in a later boot.
            self.unsettled |= !has_restarted;
        } else if place.sequence > self.started {
            self.report.notes.push(format!("{text} are not recorded yet"));
            self.unsettled = true;
        } else if self.report.fault.is_none() {
            self.fault(place.clone(), &format!("{text} before the one recorded here are missing"));
        }
    }
}
