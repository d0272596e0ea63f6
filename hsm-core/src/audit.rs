//! The hash chain of audited commands, and the latest entries of it.
//!
//! Every audited command, including a refused one, adds one entry before its response leaves. The
//! chain starts again at each boot; the persisted boot counter keeps the chains apart.
//!
//! No entry is displaced by another until a host has confirmed that it has it ([`Note::taken`]): once
//! as many wait as the board has room for, audited commands are refused.

use hsm_protocol::audit::{Details, Entry, Head, Note, Receipt, RequestDigest, request_digest};
use hsm_protocol::command::audit::AuditPage;
use hsm_protocol::reset::ResetReport;
use hsm_protocol::{Bytes, DeviceId, ErrorCode, HostId, MaterialId, Opcode};

use crate::memory::Owner;

/// Most entries that a board keeps for hosts that have missed some.
pub const MAX_KEPT: usize = 128;

/// An entry and the head after it.
#[derive(Clone, Copy)]
pub struct Link {
    entry: Entry,
    head: Head,
}

/// A place for an entry.
pub type Slot = Option<Link>;

/// The chain of this boot.
pub struct Chain<O: Owner> {
    epoch: u64,
    /// Head before the oldest kept entry.
    before: Head,
    head: Head,
    entries: u64,
    /// Entries that a host has, from the first on.
    taken: u64,
    kept: O::Of<[Slot]>,
}

/// What the gate knows of a command when it is done.
pub struct Event {
    /// The command.
    pub opcode: Opcode,
    /// Its result; `None` for success.
    pub result: Option<ErrorCode>,
    /// The host key of the session.
    pub host: HostId,
    /// The key material used; zeros if none was reached.
    pub subject: MaterialId,
    /// What the host said with it.
    pub note: Note,
}

impl<O: Owner> Chain<O> {
    /// A chain of no device, with as many places for entries as it may keep.
    #[must_use]
    pub const fn new(kept: O::Of<[Slot]>) -> Self {
        let nothing = Head([0; 32]);
        Self { epoch: 0, before: nothing, head: nothing, entries: 0, taken: 0, kept }
    }

    /// Begins the chain of a boot. If a failure was before it, that is the first entry.
    pub fn begin(&mut self, device: &DeviceId, epoch: u64, last: ResetReport) {
        let genesis = Head::genesis(device, epoch);
        self.epoch = epoch;
        self.before = genesis;
        self.head = genesis;
        self.entries = 0;
        self.taken = 0;
        self.kept.fill(None);
        if last.reason.is_failure() {
            let (opcode, tag) = (Opcode::LastReset, Entry::tag_of_reset(last));
            let note = Note { tag, time_ms: 0, taken: 0 };
            let (host, subject) = (HostId([0; 16]), MaterialId([0; 32]));
            let event = Event { opcode, result: None, host, subject, note };
            self.extend(&event, request_digest(opcode, &[], 0));
        }
    }

    /// This boot's number.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Entries so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The head after them.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// A host has all entries before this one. More than there are counts for nothing: the host knows
    /// them from another boot.
    pub fn take(&mut self, taken: u64) {
        if taken <= self.entries {
            self.taken = self.taken.max(taken);
        }
    }

    /// Whether one more entry would push out one that no host has.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.saturating_sub(self.taken) >= self.kept.len() as u64
    }

    /// Adds an entry of an event with the digest of its request.
    pub fn extend(&mut self, event: &Event, request: RequestDigest) -> Receipt {
        let Event { opcode, result, host, subject, note } = *event;
        let Note { tag, time_ms, .. } = note;
        let details = Some(Details { time_ms, request });
        let entry = Entry { index: self.entries, opcode, result, host, subject, tag, details };
        self.head = self.head.extend(&entry);
        let link = Link { entry, head: self.head };
        let place = self.position(self.entries);
        let slot = self.kept.get_mut(place);
        if let Some(oldest) = slot.and_then(|slot| slot.replace(link)) {
            self.before = oldest.head;
        }
        let receipt = Receipt { epoch: self.epoch, index: self.entries, subject, head: self.head };
        // 2^64 entries are out of reach; an index never repeats all the same.
        self.entries = self.entries.saturating_add(1);
        receipt
    }

    /// Entries from `from` on, or from the oldest kept one, as many as `out` takes.
    ///
    /// # Errors
    /// [`ErrorCode::AUDIT_RANGE`] if `from` lies beyond the next entry.
    pub fn page<'o>(&self, from: u64, out: &'o mut [u8]) -> Result<AuditPage<'o>, ErrorCode> {
        if from > self.entries {
            return Err(ErrorCode::AUDIT_RANGE);
        }
        let oldest = self.entries.saturating_sub(self.kept.len() as u64);
        let first = from.max(oldest);
        let before = match first.checked_sub(1) {
            Some(last) if first > oldest => self.link(last).ok_or(ErrorCode::INTERNAL)?.head,
            _ => self.before,
        };
        let mut end = 0usize;
        for index in first..self.entries {
            let next = end.saturating_add(Entry::SIZE);
            let Some(slot) = out.get_mut(end..next) else { break };
            let link = self.link(index).ok_or(ErrorCode::INTERNAL)?;
            slot.copy_from_slice(&link.entry.to_bytes());
            end = next;
        }
        let entries = Bytes(out.get(..end).unwrap_or_default());
        Ok(AuditPage { epoch: self.epoch, first, before, entries })
    }

    fn link(&self, index: u64) -> Option<&Link> {
        self.kept.get(self.position(index))?.as_ref().filter(|link| link.entry.index == index)
    }

    /// Where an entry is kept.
    #[allow(clippy::cast_possible_truncation)] // less than the number of places
    fn position(&self, index: u64) -> usize {
        index.checked_rem(self.kept.len() as u64).unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use hsm_protocol::AuditTag;
    use hsm_protocol::reset::ResetReason;

    use super::*;
    use crate::memory::Boxed;

    const DEVICE: DeviceId = DeviceId([7; 16]);

    /// What boards keep: the most, and as many as a host may have unanswered.
    const PLACES: [usize; 2] = [MAX_KEPT, 32];

    fn chain(places: usize, entries: u64) -> (Chain<Boxed>, Vec<Receipt>) {
        let mut chain = Chain::new((0..places).map(|_| None).collect());
        chain.begin(&DEVICE, 3, ResetReport::UNKNOWN);
        let event = |n: u64| Event {
            opcode: Opcode::Sign,
            result: n.is_multiple_of(5).then_some(ErrorCode::USAGE_DENIED),
            host: HostId([1; 16]),
            subject: MaterialId([2; 32]),
            note: Note { tag: AuditTag(u128::from(n).to_le_bytes()), time_ms: n, taken: 0 },
        };
        let receipts =
            (0..entries).map(|n| chain.extend(&event(n), RequestDigest([3; 32]))).collect();
        (chain, receipts)
    }

    /// Walks all pages from `from` and recomputes the heads.
    fn walk(chain: &Chain<Boxed>, receipts: &[Receipt], from: u64, page_bytes: usize) -> u64 {
        let mut out = std::vec![0; page_bytes];
        let mut next = from;
        let mut first = None;
        while next < chain.entries() {
            let page = chain.page(next, &mut out).unwrap();
            first.get_or_insert(page.first);
            let mut head = page.before;
            let mut index = page.first;
            for bytes in page.entries.chunks(Entry::SIZE) {
                let entry = Entry::from_bytes(bytes).unwrap();
                assert_eq!(entry.index, index);
                head = head.extend(&entry);
                assert_eq!(head, receipts[usize::try_from(index).unwrap()].head);
                index += 1;
            }
            assert!(index > next, "a page makes progress");
            next = index;
        }
        first.unwrap_or(from)
    }

    #[test]
    fn pages_recompute_to_the_receipts() {
        let lengths = [0, 1, 5, 31, 32, 33, 127, 128, 129, 300];
        for (places, entries) in
            PLACES.into_iter().flat_map(|n| lengths.map(|entries| (n, entries)))
        {
            let (chain, receipts) = chain(places, entries);
            let oldest = entries.saturating_sub(places as u64);
            for from in [0, 1, oldest, oldest + 1, entries.saturating_sub(1), entries] {
                if from > entries {
                    continue;
                }
                let first = walk(&chain, &receipts, from, 300);
                assert_eq!(first, from.max(oldest).min(entries), "{from} of {entries}");
            }
            let head = receipts.last().map_or(Head::genesis(&DEVICE, 3), |last| last.head);
            assert_eq!(chain.head(), head);
            let beyond = chain.page(entries + 1, &mut [0; 100]).err();
            assert_eq!(beyond, Some(ErrorCode::AUDIT_RANGE));
        }
    }

    #[test]
    fn a_failure_before_the_start_is_the_first_entry() {
        for &reason in ResetReason::ALL {
            let mut chain = Chain::<Boxed>::new((0..32).map(|_| None).collect());
            let last = ResetReport { reason, failures: 3 };
            chain.begin(&DEVICE, 9, last);
            assert_eq!(chain.entries(), u64::from(reason.is_failure()), "{reason}");
            let mut out = [0; Entry::SIZE];
            let page = chain.page(0, &mut out).unwrap();
            let entry = Entry::from_bytes(&page.entries);
            assert_eq!(
                entry.and_then(|entry| entry.last_reset()),
                reason.is_failure().then_some(last)
            );
            let genesis = Head::genesis(&DEVICE, 9);
            let head = entry.map_or(genesis, |entry| genesis.extend(&entry));
            assert_eq!(chain.head(), head, "{reason}");
        }
    }

    #[test]
    fn what_no_host_has_is_not_pushed_out() {
        let full = |entries, taken| {
            let (mut chain, _) = chain(MAX_KEPT, entries);
            chain.take(taken);
            chain.is_full()
        };
        let kept = MAX_KEPT as u64;
        for (entries, taken, is_full) in [
            (0, 0, false),
            (kept - 1, 0, false),
            (kept, 0, true),
            (kept, 1, false),
            (kept + 1, 1, true),
            (kept, kept, false),
            // Of another boot.
            (kept, kept + 1, true),
            (kept, u64::MAX, true),
        ] {
            assert_eq!(full(entries, taken), is_full, "{entries}, {taken}");
        }
        let (mut chain, _) = chain(MAX_KEPT, kept);
        chain.take(5);
        chain.take(4);
        assert_eq!(chain.taken, 5, "what a host has it keeps");
    }
}
