//! The host's end of the authenticated channel to a device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hsm_protocol::audit::{Details, Entry, Note, Receipt, RequestDigest};
use hsm_protocol::channel::{
    AdmissionKey, Challenge, HANDSHAKE_1_SIZE, Initiator, Keys, MESSAGE_1_SIZE, MessageHash,
};
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DeviceId, ErrorCode, HostId, Opcode};

use crate::audit::{Chain, ChainBroken, DeviceReceipt};
use crate::host_key::HostKey;
use crate::key_file::system_rng;
use crate::request::Audited;

/// A device's audit chain, shared by the sessions that follow one another.
///
/// Empty until the device has told where its chain stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedChain(Arc<Mutex<Option<Chain>>>);

impl SharedChain {
    /// The chain; do not hold it across a call.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Chain>> {
        // A chain is whole between any two of its methods, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries that this host has, from the first one on: what a device is told. None of a device whose
    /// chain is not followed, or may have begun anew.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().as_ref().map_or(0, Chain::taken)
    }

    /// The device may have restarted since.
    pub(crate) fn doubt(&self) {
        if let Some(chain) = self.lock().as_mut() {
            chain.doubt();
        }
    }

    /// Whether there is something to fetch or to store.
    pub(crate) fn has_news(&self) -> bool {
        self.lock().as_ref().is_some_and(Chain::has_news)
    }

    /// Starts over if the chain followed so far is another device's.
    pub(crate) fn forget_other_than(&self, device: &DeviceId) {
        let mut chain = self.lock();
        if chain.as_ref().is_some_and(|chain| chain.device() != *device) {
            *chain = None;
        }
    }

    /// Checks that a receipt continues the chain. A device whose chain is not followed yet
    /// gives receipts that are not checked: provisioning, before the chain can be read.
    fn follow(
        &self,
        device: &IdentityDocument,
        receipt: &Receipt,
        entry: Entry,
    ) -> Result<DeviceReceipt, ChainBroken> {
        match self.lock().as_mut() {
            Some(chain) => chain.follow(receipt, entry),
            None => Ok(DeviceReceipt {
                device: device.device_id(),
                epoch: receipt.epoch,
                entry,
                head: receipt.head,
            }),
        }
    }
}

/// What this host said of an audited request that it has sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) note: Note,
    pub(crate) digest: RequestDigest,
}

/// A handshake between its two messages.
pub(crate) struct Handshake {
    initiator: Initiator,
    device: IdentityDocument,
    host: HostId,
}

impl Handshake {
    /// Starts a handshake and returns its first message, with the answer to the device's challenge.
    pub(crate) fn start(
        key: &HostKey,
        device: &IdentityDocument,
        challenge: &Challenge,
    ) -> Result<(Self, Box<[u8; HANDSHAKE_1_SIZE]>), ErrorCode> {
        let (initiator, message) = Initiator::start(key.secret(), &device.link, &mut system_rng())?;
        let admission = AdmissionKey::of_host(key.secret(), &device.link)?;
        let tag = admission.tag(challenge, &MessageHash::of(&message))?;
        let mut payload = Box::new([0; HANDSHAKE_1_SIZE]);
        let (front, back) = payload.split_at_mut(MESSAGE_1_SIZE);
        front.copy_from_slice(&message);
        back.copy_from_slice(&tag);
        Ok((Self { initiator, device: *device, host: key.id() }, payload))
    }

    /// Reads the device's answer; only the device of the identity document can make it.
    pub(crate) fn finish(self, message: &[u8], chain: SharedChain) -> Result<Session, ErrorCode> {
        let (keys, welcome) = self.initiator.finish(message)?;
        Ok(Session { id: welcome.session, keys, device: self.device, host: self.host, chain })
    }
}

/// An open session. Its keys are zeroised on drop; both directions rekey by themselves.
#[derive(Debug)]
pub(crate) struct Session {
    id: u16,
    keys: Keys,
    device: IdentityDocument,
    host: HostId,
    chain: SharedChain,
}

impl Session {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// Seals the first `length` bytes of `buffer` in place; the frame's header and the length
    /// of its payload.
    pub(crate) fn seal(
        &mut self,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<(Header, usize), ErrorCode> {
        let kind = FrameKind::SealedRequest;
        let header = Header { kind, session: self.id, sequence: self.keys.sealer.sequence() };
        Ok((header, self.keys.sealer.seal(buffer, length)?))
    }

    /// Opens a response in place. After an error the session must be dropped.
    pub(crate) fn open<'b>(
        &mut self,
        sequence: u32,
        payload: &'b mut [u8],
    ) -> Result<&'b [u8], ErrorCode> {
        self.keys.opener.open(sequence, payload).map(|plain| &*plain)
    }

    /// What goes with an audited request that is sent now.
    pub(crate) fn note(&self, audited: &Audited) -> Note {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Note { tag: audited.tag, time_ms, taken: self.chain.taken() }
    }

    /// Checks the receipt of an answer to this host's command against the device's chain.
    pub(crate) fn follow(
        &self,
        opcode: Opcode,
        asked: &Asked,
        result: Option<ErrorCode>,
        receipt: &Receipt,
    ) -> Result<DeviceReceipt, ChainBroken> {
        let Receipt { index, subject, .. } = *receipt;
        let Asked { note: Note { tag, time_ms, .. }, digest } = *asked;
        let details = Some(Details { time_ms, request: digest });
        let entry = Entry { index, opcode, result, host: self.host, subject, tag, details };
        self.chain.follow(&self.device, receipt, entry)
    }
}
