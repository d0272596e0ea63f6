//! Who has signed a log: checkpoints of each device for each host, in order and without a gap.

use std::collections::BTreeMap;

use hsm_protocol::audit::Checkpoint;
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{DeviceId, HostId};
use serde::Serialize;

use super::super::anchor::{DeviceAnchor, Trusted, fingerprint};
use super::super::chain::Position;
use super::super::checkpoint::{self, Vouched, position_of};
use super::{Live, TrustAnchor};
use kms_base::hex;

/// A device that has signed, for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signer {
    /// Device id.
    pub device: String,
    /// SHA-256 of its identity signing key.
    pub fingerprint: String,
    /// The host key for which it has signed.
    pub host: String,
    /// Whether the trust anchor names it.
    pub trusted: bool,
    /// Number of its last checkpoint.
    pub checkpoint: u64,
    /// The position that it covers.
    pub log: Position,
    /// What the device says that it is: `hardware`, `emulated` or `in-process`; none of earlier firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// SHA-256 of its firmware image, in hexadecimal; none if it runs in an operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
    #[serde(skip)]
    signing: PublicKey,
    #[serde(skip)]
    hash: [u8; 32],
}

impl Signer {
    /// As a trust anchor names it.
    pub(in super::super) fn anchor(&self) -> DeviceAnchor {
        DeviceAnchor {
            device: self.device.clone(),
            fingerprint: self.fingerprint.clone(),
            signing_key: hex::encode(&self.signing.to_bytes()),
            host: self.host.clone(),
            checkpoint: self.checkpoint,
            checkpoint_hash: hex::encode(&self.hash),
            region: None,
            domain: None,
        }
    }
}

/// A checkpoint that fits those before it.
pub(super) struct Taken {
    /// Whether its device's word counts.
    pub(super) counts: bool,
    /// What an auditor should know.
    pub(super) note: Option<String>,
}

struct Last {
    made: Checkpoint,
    signing: PublicKey,
    /// Whether records were given up since.
    given_up: bool,
}

/// The last checkpoints.
pub(super) struct Signers {
    anchor: Option<TrustAnchor>,
    trusted: Vec<Trusted>,
    last: BTreeMap<(DeviceId, HostId), Last>,
    /// Whether records were given up.
    given_up: bool,
}

impl Signers {
    pub(super) fn new(anchor: Option<TrustAnchor>) -> Self {
        let trusted = anchor.iter().flat_map(TrustAnchor::trusted).collect();
        Self { anchor, trusted, last: BTreeMap::new(), given_up: false }
    }

    pub(super) fn has_anchor(&self) -> bool {
        self.anchor.is_some()
    }

    /// Whether what is recorded at `sequence` needs a device's word: without an anchor nothing does, and
    /// what an anchor was made over is taken as it is.
    pub(super) fn demands(&self, sequence: u64) -> bool {
        self.anchor.as_ref().is_some_and(|anchor| sequence > anchor.log().sequence)
    }

    /// The host says that the log has not all that it had.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        self.last.values_mut().for_each(|last| last.given_up = true);
    }

    /// The host says that a device goes on with an older copy of its flash.
    pub(super) fn restart(&mut self, device: &DeviceId) {
        self.last.iter_mut().filter(|((one, _), _)| one == device).for_each(|(_, last)| {
            last.given_up = true;
        });
    }

    /// Takes a checkpoint that is recorded at `sequence`; `trimmed`: the log's first records were
    /// removed. The error is for people.
    pub(super) fn take(
        &mut self,
        vouched: &Vouched,
        sequence: u64,
        trimmed: bool,
    ) -> Result<Taken, String> {
        // Of an earlier release: a host could have had it made for any log.
        let Some(made) = vouched.numbered else { return Ok(Taken { counts: false, note: None }) };
        let key = (made.device, made.host);
        let trusted = self.trusted.iter().find(|one| (one.device, one.host) == key);
        let trusted = trusted.filter(|one| one.signing == vouched.signing).copied();
        let (number, device) = (made.number, made.device);
        let last = self.last.get(&key);
        let gap = match (last, trusted) {
            (Some(last), _) if last.made.hash() == made.hash() => None,
            (Some(Last { made: last, .. }), _) => gap((last.number, last.hash()), &made),
            (None, Some(Trusted { checkpoint: 0, .. })) if trimmed => None,
            // What the anchor names may be further on.
            (None, Some(trusted)) if number > trusted.checkpoint => {
                gap((trusted.checkpoint, trusted.hash), &made)
            }
            (None, _) if trimmed => None,
            (None, _) => gap((0, [0; 32]), &made),
        };
        if let Some(one) = trusted.filter(|one| one.checkpoint == number)
            && one.hash != made.hash()
        {
            return Err(format!(
                "checkpoint {number} of device {device} is another one than the trust anchor names"
            ));
        }
        let given_up = last.map_or(self.given_up, |last| last.given_up);
        let note = match gap {
            Some(text) if self.demands(sequence) => return Err(text),
            Some(text) if given_up || self.has_anchor() => Some(text),
            Some(text) => return Err(text),
            None => None,
        };
        let signing = vouched.signing;
        self.last.insert(key, Last { made, signing, given_up: false });
        Ok(Taken { counts: trusted.is_some(), note })
    }

    /// Whether the last checkpoint of a device says that the host stopped after it.
    pub(super) fn is_closed(&self, device: &str) -> bool {
        let mut of_device =
            self.last.values().filter(|last| last.made.device.to_string() == device);
        of_device.any(|last| last.made.closing)
    }

    /// What the anchor names and the log does not have.
    pub(super) fn missing(&self) -> Option<String> {
        let reached = |one: &&Trusted| {
            let last = self.last.get(&(one.device, one.host));
            one.checkpoint > 0 && last.is_none_or(|last| last.made.number < one.checkpoint)
        };
        self.trusted.iter().find(reached).map(|one| {
            let Trusted { checkpoint, device, .. } = one;
            format!(
                "the log has no checkpoint {checkpoint} of device {device}, which the trust anchor names"
            )
        })
    }

    /// Compares with what devices say now.
    pub(super) fn compare(&self, live: &[Live]) -> Result<(), String> {
        for Live { checkpoint: now } in live {
            let Some(last) = self.last.get(&(now.device, now.host)) else { continue };
            let (device, said, known) = (now.device, now.number, last.made.number);
            if said < known {
                return Err(format!(
                    "device {device} says that its last checkpoint is {said}, and the log has {known}: \
                     its flash is an older copy"
                ));
            }
            if said == known && now.hash() != last.made.hash() {
                return Err(format!("device {device} has made another checkpoint {said}"));
            }
        }
        Ok(())
    }

    pub(super) fn report(&self) -> Vec<Signer> {
        let signer = |((device, host), last): (&(DeviceId, HostId), &Last)| Signer {
            device: device.to_string(),
            fingerprint: fingerprint(&last.signing),
            host: host.to_string(),
            trusted: self
                .trusted
                .iter()
                .any(|one| (one.device, one.host, one.signing) == (*device, *host, last.signing)),
            checkpoint: last.made.number,
            log: position_of(&last.made.log),
            kind: last.made.maker.map(|maker| maker.kind.name()),
            measurement: checkpoint::measurement(&last.made),
            signing: last.signing,
            hash: last.made.hash(),
        };
        self.last.iter().map(signer).collect()
    }
}

/// What is missing between a checkpoint and the next one there is; `None` if nothing is.
fn gap((number, hash): (u64, [u8; 32]), next: &Checkpoint) -> Option<String> {
    let (device, found) = (next.device, next.number);
    if number.checked_add(1) == Some(found) {
        return (hash != next.previous).then(|| {
            format!("checkpoint {number} of device {device} is not the one that it made")
        });
    }
    Some(match found > number {
        true => format!(
            "checkpoints {} to {} of device {device} are missing: records were removed, or another log \
             was kept in between",
            number.saturating_add(1),
            found - 1
        ),
        false => format!("checkpoint {found} of device {device} comes after {number}"),
    })
}
