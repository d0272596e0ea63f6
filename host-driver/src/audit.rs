//! Follows a device's audit chain: every receipt must continue it, and entries whose responses were lost
//! are fetched.
//!
//! A [`Chain`] outlives sessions and connections. Responses arrive in the order of the chain, so each
//! receipt is checked as it arrives. A skipped index (another host's command, or a lost response) leaves a
//! gap, which the entries fetched from the device must fill exactly.

use std::ops::Range;

use hsm_protocol::audit::{Entry, Head, Receipt};
use hsm_protocol::command::audit::{SignedCheckpoint, SignedHead};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DeviceId, DomainId, ErrorCode};

use crate::device::Device;

/// An entry of a device's audit chain, proven to continue the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceReceipt {
    /// The device.
    pub device: DeviceId,
    /// Boot of the device; each has a chain of its own.
    pub epoch: u64,
    /// The entry.
    pub entry: Entry,
    /// The chain's head after the entry.
    pub head: Head,
}

/// A position in a device's audit chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Boot of the device.
    pub epoch: u64,
    /// Index of the next entry.
    pub next: u64,
    /// The head before it.
    pub head: Head,
}

impl Position {
    /// The start of a boot's chain.
    #[must_use]
    pub fn genesis(device: &DeviceId, epoch: u64) -> Self {
        Self { epoch, next: 0, head: Head::genesis(device, epoch) }
    }

    fn after(&self, entry: &Entry) -> Self {
        Self { next: entry.index.saturating_add(1), head: self.head.extend(entry), ..*self }
    }
}

/// Where audit entries go that no caller gets with an answer.
///
/// Called from the thread of the device, never while a lock of this crate is held.
pub trait AuditSink: Send + Sync {
    /// The last position of this device that is durably stored, if any.
    fn position(&self, device: &DeviceId) -> Option<Position>;

    /// Brings a device up to the last change of its domain, before it takes calls: `others` are the
    /// devices in service, one of which may have a domain key that this one has missed.
    ///
    /// # Errors
    /// A text for people; the device is kept out of service, and tried again.
    fn follow(&self, device: &Device, others: &[&Device]) -> Result<(), String> {
        let _ = (device, others);
        Ok(())
    }

    /// Whether this device may take calls; asked each time it is about to.
    ///
    /// # Errors
    /// A text for people; the device is kept out of service, and tried again.
    fn admit(&self, device: &DeviceId, domain: &DomainId) -> Result<(), String> {
        let _ = (device, domain);
        Ok(())
    }

    /// The device is at an earlier place of its chain than the one stored: its flash was replaced by
    /// an older copy. `found` is where it is. It is kept out of service.
    ///
    /// Returns what people are told.
    fn behind(&self, device: &DeviceId, found: Position, stored: Position) -> String {
        match found.epoch == stored.epoch {
            true => format!(
                "the chain of device {device} does not continue what is recorded of its boot {}: its \
                 flash is an older copy, or the log is not its own",
                found.epoch
            ),
            false => format!(
                "device {device} is at boot {}, but boot {} of it is recorded: its flash is an older \
                 copy",
                found.epoch, stored.epoch
            ),
        }
    }

    /// The device at the line of this name has done what no device in order does, and is kept out until a
    /// person says otherwise. Nothing by default.
    fn quarantined(&self, line: &str, reason: &str) {
        let _ = (line, reason);
    }

    /// The last checkpoint that the device has made for this host, before anything of its chain is
    /// fetched. The signature is checked.
    ///
    /// # Errors
    /// A text for people: the log is not the one that the device has vouched for. The device is kept
    /// out of service, and tried again.
    fn vouched(&self, last: &SignedCheckpoint, identity: &IdentityDocument) -> Result<(), String> {
        let _ = (last, identity);
        Ok(())
    }

    /// Stores entries whose answers were lost, or that other hosts caused.
    ///
    /// # Errors
    /// A text for the log; the device is kept out of service until storing succeeds.
    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String>;

    /// The device no longer has these entries: they were pushed out of its ring, or it lost
    /// power before they were fetched (`indexes` is then open-ended, to `u64::MAX`).
    ///
    /// # Errors
    /// As for [`AuditSink::missed`].
    fn lost(&self, device: &DeviceId, epoch: u64, indexes: Range<u64>) -> Result<(), String>;
}

/// Keeps nothing: entries are taken, and gone. For tests and benchmarks.
#[derive(Clone, Copy, Debug)]
pub struct NoLog;

impl AuditSink for NoLog {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        None
    }

    fn missed(&self, _: &[DeviceReceipt]) -> Result<(), String> {
        Ok(())
    }

    fn lost(&self, _: &DeviceId, _: u64, _: Range<u64>) -> Result<(), String> {
        Ok(())
    }
}

/// The device's chain does not continue as it must: its log was altered, or its firmware is at
/// fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the audit chain of device {device} is broken at epoch {epoch}, index {index}")]
pub struct ChainBroken {
    /// The device.
    pub device: DeviceId,
    /// Boot of the device.
    pub epoch: u64,
    /// First index that does not fit.
    pub index: u64,
}

/// What is known of one device's chain.
#[derive(Debug)]
pub struct Chain {
    device: DeviceId,
    /// All entries before this are known and checked.
    verified: Position,
    /// The end of the chain, as far as known.
    tip: Position,
    /// Indexes between `verified` and `tip` that nobody has seen.
    gaps: Vec<Range<u64>>,
    /// Receipts whose callers were gone when they arrived.
    orphans: Vec<DeviceReceipt>,
    /// Whether the device has said, in this session, that it is at the boot of this chain.
    confirmed: bool,
}

impl Chain {
    /// Follows the chain of `device` from `position`.
    #[must_use]
    pub fn new(device: DeviceId, position: Position) -> Self {
        let (gaps, orphans) = (Vec::new(), Vec::new());
        Self { device, verified: position, tip: position, gaps, orphans, confirmed: false }
    }

    /// The device whose chain it is.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Indexes that nobody has seen.
    #[must_use]
    pub fn gaps(&self) -> &[Range<u64>] {
        &self.gaps
    }

    /// The end of the chain, as far as known.
    #[must_use]
    pub fn tip(&self) -> Position {
        self.tip
    }

    /// All entries before this are known and checked.
    #[must_use]
    pub fn verified(&self) -> Position {
        self.verified
    }

    /// Entries before this index are known, checked, and stored or with those who called; 0 as long as the
    /// device may be in another boot.
    #[must_use]
    pub fn taken(&self) -> u64 {
        if self.confirmed { self.verified.next } else { 0 }
    }

    /// The device may have restarted: nothing counts as taken before it has said where it is.
    pub fn doubt(&mut self) {
        self.confirmed = false;
    }

    /// Whether entries have to be fetched from the device or handed to the [`AuditSink`].
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.gaps.is_empty() || !self.orphans.is_empty()
    }

    /// Takes the receipt of an answer.
    ///
    /// # Errors
    /// [`ChainBroken`] if it does not continue the chain.
    pub fn follow(
        &mut self,
        receipt: &Receipt,
        entry: Entry,
    ) -> Result<DeviceReceipt, ChainBroken> {
        if receipt.epoch != self.tip.epoch || entry.index < self.tip.next {
            return Err(self.broken(receipt.epoch, entry.index));
        }
        if entry.index > self.tip.next {
            self.gaps.push(self.tip.next..entry.index);
            self.tip.next = entry.index.saturating_add(1);
            self.tip.head = receipt.head; // proven when the gap is filled
        } else {
            let after = self.tip.after(&entry);
            if after.head != receipt.head {
                return Err(self.broken(receipt.epoch, entry.index));
            }
            self.tip = after;
            if self.gaps.is_empty() {
                self.verified = after;
            }
        }
        Ok(DeviceReceipt { device: self.device, epoch: receipt.epoch, entry, head: receipt.head })
    }

    /// Takes a head that the device signed; entries up to it become a gap to fill.
    ///
    /// `asked` is the tip when the device was asked: answers that arrived since may have moved
    /// the tip past the head.
    ///
    /// # Errors
    /// [`ChainBroken`] if it contradicts what is known of the same boot.
    pub fn advance(&mut self, head: &SignedHead, asked: Position) -> Result<(), ChainBroken> {
        let forked = head.entries == self.tip.next && head.head != self.tip.head;
        if head.epoch != self.tip.epoch || head.entries < asked.next || forked {
            return Err(self.broken(head.epoch, head.entries));
        }
        self.confirmed = true;
        if head.entries > self.tip.next {
            self.gaps.push(self.tip.next..head.entries);
            self.tip.next = head.entries;
            self.tip.head = head.head;
        }
        Ok(())
    }

    /// Keeps a receipt whose caller is gone.
    pub fn keep_orphan(&mut self, receipt: DeviceReceipt) {
        self.orphans.push(receipt);
    }

    /// The orphans so far, to be stored; give them back with [`Chain::keep_orphan`] on failure.
    pub fn take_orphans(&mut self) -> Vec<DeviceReceipt> {
        std::mem::take(&mut self.orphans)
    }

    /// Starts filling the gaps: what to ask the device for.
    #[must_use]
    pub fn fill(&self) -> Option<Filling> {
        (!self.gaps.is_empty()).then(|| Filling {
            device: self.device,
            at: self.verified,
            end: self.tip,
            gaps: self.gaps.clone(),
            missed: Vec::new(),
            lost: Vec::new(),
        })
    }

    /// Ends filling: everything before the filled end is verified.
    pub fn filled(&mut self, filling: &Filling) {
        self.gaps.retain(|gap| gap.start >= filling.end.next);
        self.verified = if self.gaps.is_empty() { self.tip } else { filling.end };
    }

    fn broken(&self, epoch: u64, index: u64) -> ChainBroken {
        ChainBroken { device: self.device, epoch, index }
    }
}

/// Gaps being filled with entries fetched from the device.
#[derive(Debug)]
pub struct Filling {
    device: DeviceId,
    at: Position,
    end: Position,
    gaps: Vec<Range<u64>>,
    /// Entries that nobody has seen.
    pub missed: Vec<DeviceReceipt>,
    /// Indexes that the device no longer has.
    pub lost: Vec<Range<u64>>,
}

impl Filling {
    /// The index to ask for next; `None` when the end is reached.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        (self.at.next < self.end.next).then_some(self.at.next)
    }

    /// Takes a page: `first`, `before` and `entries` of
    /// [`AuditPage`](hsm_protocol::command::audit::AuditPage).
    ///
    /// # Errors
    /// [`ChainBroken`] if the entries do not lead from what is known to the known end.
    pub fn page(
        &mut self,
        epoch: u64,
        first: u64,
        before: Head,
        entries: &[u8],
    ) -> Result<(), ChainBroken> {
        let broken = |index| ChainBroken { device: self.device, epoch, index };
        let (rows, rest) = entries.as_chunks::<{ Entry::SIZE }>();
        let contiguous = first != self.at.next || before == self.at.head;
        if epoch != self.at.epoch || first < self.at.next || !contiguous || !rest.is_empty() {
            return Err(broken(first));
        }
        if first > self.at.next {
            self.lost.push(self.at.next..first.min(self.end.next));
            self.at = Position { epoch, next: first, head: before };
        } else if rows.is_empty() {
            return Err(broken(first)); // would ask for the same page forever
        }
        for row in rows {
            let entry = Entry::from_bytes(row).ok_or(broken(self.at.next))?;
            if entry.index != self.at.next {
                return Err(broken(self.at.next));
            }
            self.at = self.at.after(&entry);
            if self.gaps.iter().any(|gap| gap.contains(&entry.index)) {
                let device = self.device;
                self.missed.push(DeviceReceipt { device, epoch, entry, head: self.at.head });
            }
            if self.at.next == self.end.next {
                // Entries past the end get their receipts from answers under way.
                return if self.at.head == self.end.head {
                    Ok(())
                } else {
                    Err(broken(entry.index))
                };
            }
        }
        Ok(())
    }
}

/// Checks the device's signature of its chain's head, and that it answers `nonce`.
///
/// # Errors
/// [`ErrorCode::SIGNATURE_INVALID`] or [`ErrorCode::IDENTITY_INVALID`].
pub fn verify_head(
    head: &SignedHead,
    identity: &IdentityDocument,
    nonce: &[u8; 16],
) -> Result<(), ErrorCode> {
    if head.device != identity.device_id() {
        return Err(ErrorCode::IDENTITY_INVALID);
    }
    let message = hsm_protocol::audit::signed_head_message(
        &head.device,
        head.epoch,
        head.entries,
        &head.head,
        nonce,
    );
    head.signature.verify(&identity.signing, &message)
}

mod fetch;
#[cfg(test)]
mod tests;

pub use fetch::last_checkpoint;
pub(crate) use fetch::{catch_up, synchronise};
