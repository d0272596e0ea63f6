//! Device entries inside audit records, and the chains they form.
//!
//! Requests are recorded in the order in which they finish, so entries of one device arrive
//! slightly out of order. [`DeviceChains`] puts them in order and recomputes every head.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use host_driver::audit::{DeviceReceipt, Position};
use hsm_protocol::audit::{Entry, Head};
use hsm_protocol::id::DeviceId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::checkpoint::Vouched;
use kms_base::hex;

/// Heads kept behind the position of a chain, to compare signed heads that are recorded late.
const RECENT: usize = 1024;

/// A receipt as it stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored(pub DeviceReceipt);

/// The JSON form: the identifying members in the clear, the entry in its canonical bytes.
#[derive(Serialize, Deserialize)]
struct Members {
    device: String,
    epoch: u64,
    index: u64,
    entry: String,
    head: String,
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(receipt) = self;
        Members {
            device: receipt.device.to_string(),
            epoch: receipt.epoch,
            index: receipt.entry.index,
            entry: hex::encode(&receipt.entry.to_bytes()),
            head: hex::encode(&receipt.head.0),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        let entry = read_entry(&members.entry);
        let entry = entry.ok_or_else(|| D::Error::custom("not a device entry"))?;
        if entry.index != members.index {
            return Err(D::Error::custom("index differs from the entry's"));
        }
        let device = hex::decode(&members.device).map(DeviceId);
        let head = hex::decode(&members.head).map(Head);
        Ok(Self(DeviceReceipt {
            device: device.ok_or_else(|| D::Error::custom("not a device id"))?,
            epoch: members.epoch,
            entry,
            head: head.ok_or_else(|| D::Error::custom("not a chain head"))?,
        }))
    }
}

/// Reads the canonical form of an entry, that of earlier firmware too.
fn read_entry(text: &str) -> Option<Entry> {
    let whole = hex::decode::<{ Entry::SIZE }>(text);
    let whole = whole.and_then(|bytes| Entry::from_bytes(&bytes));
    let earlier = || hex::decode::<{ Entry::SIZE_V1 }>(text);
    whole.or_else(|| earlier().and_then(|bytes| Entry::from_bytes(&bytes)))
}

/// Entries that a device no longer has, as a `device-entries` record reports them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lost {
    /// The device, in hexadecimal.
    device: String,
    pub(super) epoch: u64,
    /// First index.
    from: u64,
    /// One more than the last index; absent: everything from `from` on, if there was anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
}

impl Lost {
    pub(super) fn new(device: &DeviceId, epoch: u64, indexes: &Range<u64>) -> Self {
        let to = (indexes.end != u64::MAX).then_some(indexes.end);
        Self { device: device.to_string(), epoch, from: indexes.start, to }
    }

    pub(super) fn device(&self) -> Option<DeviceId> {
        hex::decode(&self.device).map(DeviceId)
    }
}

/// The chains of all devices and boots, each as far as it is known. `L` tells where an entry was
/// recorded.
#[derive(Debug)]
pub(super) struct DeviceChains<L> {
    chains: BTreeMap<(DeviceId, u64), Chain<L>>,
    /// Those of devices that began anew since, with an older copy of their flash.
    past: Vec<(DeviceId, Chain<L>)>,
}

/// The chain of one boot of one device.
#[derive(Debug)]
pub(super) struct Chain<L> {
    /// Everything before this is recorded, or reported lost.
    pub(super) at: Position,
    /// Number of entries before `at` that are recorded.
    pub(super) entries: u64,
    /// Number of entries before `at` that are reported lost.
    pub(super) lost: u64,
    /// Nothing more can come: the device has restarted.
    pub(super) closed: bool,
    /// Entries behind a gap.
    ahead: BTreeMap<u64, (DeviceReceipt, L)>,
    /// The latest heads before `at`, by the number of entries before them.
    recent: VecDeque<(u64, Head)>,
    /// Signed heads that `at` has not come to: number of entries before each.
    signed: BTreeMap<u64, (Head, L)>,
    /// Reported losses that are not before `at`: first index to one more than the last.
    holes: BTreeMap<u64, (u64, L)>,
    /// Losses before `at` that nobody but the host has reported.
    pub(super) lost_at: Vec<(Range<u64>, L)>,
    /// Number of entries that the device has signed for, and where that is recorded.
    pub(super) vouched: Option<(u64, L)>,
}

/// What is known of a chain beyond its position.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Nothing more can come: the device has restarted.
    closed: bool,
    /// Entries behind a gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<Stored>,
    /// Reported losses behind the position: first index, one more than the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holes: Vec<(u64, u64)>,
}

/// What does not fit a chain, and where it is recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken<L> {
    /// An entry does not continue the chain.
    Entry(L),
    /// A signed head is not that of the recorded entries.
    Signed(L),
}

impl<L> Default for DeviceChains<L> {
    fn default() -> Self {
        Self { chains: BTreeMap::new(), past: Vec::new() }
    }
}

impl<L> DeviceChains<L> {
    /// Takes an entry.
    pub(super) fn take(&mut self, receipt: DeviceReceipt, location: L) -> Result<(), Broken<L>> {
        self.chain(&receipt.device, receipt.epoch).take(receipt, location)
    }

    /// Takes the report of a loss.
    pub(super) fn take_lost(&mut self, lost: &Lost, location: L) -> Result<(), Broken<L>> {
        let Some(device) = lost.device() else { return Ok(()) };
        let chain = self.chain(&device, lost.epoch);
        match lost.to {
            None => chain.closed = true,
            Some(to) => drop(chain.holes.insert(lost.from, (to, location))),
        }
        chain.advance()
    }

    /// Takes a head that the device has signed.
    pub(super) fn take_signed(&mut self, signed: &Vouched, location: L) -> Result<(), Broken<L>> {
        self.chain(&signed.device, signed.epoch).take_signed(signed.entries, signed.head, location)
    }

    /// The device has signed for so many entries: each of them must be recorded.
    pub(super) fn hold_to(&mut self, signed: &Vouched, location: L) {
        let chain = self.chain(&signed.device, signed.epoch);
        if chain.vouched.as_ref().is_none_or(|(entries, _)| *entries <= signed.entries) {
            chain.vouched = Some((signed.entries, location));
        }
    }

    /// Begins a chain at a known position instead of at its genesis.
    pub(super) fn resume(&mut self, device: &DeviceId, at: Position, known: Known, location: L)
    where
        L: Clone,
    {
        let chain = self.chain(device, at.epoch);
        (chain.at, chain.closed) = (at, known.closed);
        let holes = known.holes.into_iter();
        chain.holes = holes.map(|(from, to)| (from, (to, location.clone()))).collect();
        let ahead = known.ahead.into_iter().map(|Stored(receipt)| receipt);
        let ahead = ahead.filter(|receipt| (receipt.device, receipt.epoch) == (*device, at.epoch));
        chain.ahead = ahead.map(|entry| (entry.entry.index, (entry, location.clone()))).collect();
    }

    /// The device goes on with an older copy of its flash: it will count boots again that it had.
    pub(super) fn restart(&mut self, device: &DeviceId) {
        let its = self.chains.extract_if((*device, 0)..=(*device, u64::MAX), |_, _| true);
        self.past.extend(its.map(|((device, _), mut chain)| {
            chain.closed = true;
            (device, chain)
        }));
    }

    /// Forgets what devices had before they began anew.
    pub(super) fn forget_past(&mut self) {
        self.past.clear();
    }

    /// Forgets all but the latest boot of each device.
    pub(super) fn forget_old_epochs(&mut self) {
        let latest: BTreeMap<DeviceId, u64> = self.chains.keys().copied().collect();
        self.chains.retain(|(device, epoch), _| latest.get(device) == Some(epoch));
    }

    /// The latest boot of `device`.
    pub(super) fn latest(&self, device: &DeviceId) -> Option<&Chain<L>> {
        self.chains.range((*device, 0)..=(*device, u64::MAX)).next_back().map(|(_, chain)| chain)
    }

    /// Every chain, ordered by device and boot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Chain<L>)> {
        let past = self.past.iter().map(|(device, chain)| (device, chain));
        past.chain(self.chains.iter().map(|((device, _), chain)| (device, chain)))
    }

    fn chain(&mut self, device: &DeviceId, epoch: u64) -> &mut Chain<L> {
        self.chains.entry((*device, epoch)).or_insert_with(|| Chain {
            at: Position::genesis(device, epoch),
            entries: 0,
            lost: 0,
            closed: false,
            ahead: BTreeMap::new(),
            recent: VecDeque::new(),
            signed: BTreeMap::new(),
            holes: BTreeMap::new(),
            lost_at: Vec::new(),
            vouched: None,
        })
    }
}

impl<L> Chain<L> {
    /// What is known beyond `at`.
    pub(super) fn known(&self) -> Known {
        Known {
            closed: self.closed,
            ahead: self.ahead.values().map(|(receipt, _)| Stored(*receipt)).collect(),
            holes: self.holes.iter().map(|(from, (to, _))| (*from, *to)).collect(),
        }
    }

    /// Whether the entry at the position is reported lost, and by which record.
    pub(super) fn reported_lost(&self) -> Option<&L> {
        self.holes.get(&self.at.next).map(|(_, location)| location)
    }

    /// The first entry behind a gap that nothing explains.
    pub(super) fn first_beyond_gap(&self) -> Option<&(DeviceReceipt, L)> {
        self.ahead.values().next()
    }

    fn take(&mut self, receipt: DeviceReceipt, location: L) -> Result<(), Broken<L>> {
        // An entry from before a restart may be fetched and recorded once more.
        if receipt.entry.index >= self.at.next {
            self.ahead.insert(receipt.entry.index, (receipt, location));
        }
        self.advance()
    }

    fn take_signed(&mut self, entries: u64, head: Head, location: L) -> Result<(), Broken<L>> {
        let known = match self.recent.iter().find(|(before, _)| *before == entries) {
            Some((_, known)) => *known,
            None if entries == self.at.next => self.at.head,
            // Long past, or still to come: entries may be recorded after a head that covers them.
            None => {
                if entries > self.at.next {
                    self.signed.insert(entries, (head, location));
                }
                return Ok(());
            }
        };
        if known == head { Ok(()) } else { Err(Broken::Signed(location)) }
    }

    fn advance(&mut self) -> Result<(), Broken<L>> {
        loop {
            if let Some((head, location)) = self.signed.remove(&self.at.next)
                && head != self.at.head
            {
                return Err(Broken::Signed(location));
            }
            if let Some((receipt, location)) = self.ahead.remove(&self.at.next) {
                if self.at.head.extend(&receipt.entry) != receipt.head {
                    return Err(Broken::Entry(location));
                }
                self.step(&receipt);
            } else if let Some((end, _)) = self.holes.get(&self.at.next) {
                // The head before the hole's end is not recorded: that of the entry is taken.
                let Some((receipt, _)) = self.ahead.remove(end) else { return Ok(()) };
                if let Some((end, location)) = self.holes.remove(&self.at.next) {
                    self.lost += end.saturating_sub(self.at.next);
                    self.lost_at.push((self.at.next..end, location));
                }
                self.step(&receipt);
            } else {
                return Ok(());
            }
        }
    }

    fn step(&mut self, receipt: &DeviceReceipt) {
        self.entries += 1;
        self.recent.push_back((self.at.next, self.at.head));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.at.next = receipt.entry.index.saturating_add(1);
        self.at.head = receipt.head;
    }
}
