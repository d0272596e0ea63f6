//! Fetches the entries of a device's audit chain that this host has missed.

use std::ops::Range;

use hsm_protocol::command::audit::{
    AuditEntries, AuditHead, LastCheckpoint, SignedCheckpoint, SignedHead,
};
use hsm_protocol::{AuditTag, DeviceId, ErrorCode, HostId};
use rand_core::Rng;

use super::{AuditSink, Chain, DeviceReceipt, Position, verify_head};
use crate::device::Device;
use crate::error::CallError;
use crate::key_file::system_rng;

/// Brings `device`'s chain and `sink` up to date: everything before the head that the device
/// signs now is verified, and stored or reported lost.
///
/// Calls may go on meanwhile.
pub(crate) fn synchronise(device: &Device, sink: &dyn AuditSink) -> Result<(), CallError> {
    if let Some(last) = last_checkpoint(device, None)? {
        let fits = sink.vouched(&last, device.identity());
        fits.map_err(|reason| CallError::NotAdmitted(reason.into()))?;
    }
    let known = device.chain().lock().as_ref().map(|chain| (chain.tip(), chain.gaps().to_vec()));
    let head = signed_head(device)?;
    let stored = sink.position(&head.device).filter(|_| known.is_none());
    if let Some(stored) = stored.filter(|stored| is_behind(&head, stored)) {
        return Err(behind(sink, &head, stored));
    }
    start(device, sink, &head, known)?;
    let stored = stored.filter(|stored| stored.epoch == head.epoch);
    match (catch_up(device, sink), stored) {
        // The same number of boots, but another boot: its chain is not the one that was stored.
        (Err(CallError::AuditChain(_)), Some(stored)) => {
            *device.chain().lock() = None;
            Err(behind(sink, &head, stored))
        }
        (outcome, _) => outcome,
    }
}

/// The last checkpoint that a device has made for a host, or for the one that asks; its signature is
/// checked. `None` as well if its firmware makes none.
///
/// # Errors
/// [`CallError::BadIdentity`] if the signature is not the device's, or why it cannot be asked.
pub fn last_checkpoint(
    device: &Device,
    host: Option<HostId>,
) -> Result<Option<SignedCheckpoint>, CallError> {
    let reply = match device.call_blocking(&LastCheckpoint { host }, AuditTag::default()) {
        Err(CallError::Refused { code: ErrorCode::UNKNOWN_COMMAND, .. }) => return Ok(None),
        reply => reply?,
    };
    let last = reply.response()?.last;
    let checked = last.map(|last| last.verify(&device.identity().signing)).transpose();
    checked.map_err(CallError::BadIdentity)?;
    Ok(last)
}

/// Whether a device is at an earlier place of its chain than one that it has been at.
fn is_behind(head: &SignedHead, stored: &Position) -> bool {
    let (found, known) = ((head.epoch, head.entries), (stored.epoch, stored.next));
    found < known || found == known && head.head != stored.head
}

fn behind(sink: &dyn AuditSink, head: &SignedHead, stored: Position) -> CallError {
    let found = Position { epoch: head.epoch, next: head.entries, head: head.head };
    CallError::Behind(sink.behind(&head.device, found, stored).into())
}

/// Fetches and stores what receipts have shown to be missing.
pub(crate) fn catch_up(device: &Device, sink: &dyn AuditSink) -> Result<(), CallError> {
    fill_gaps(device, sink)?;
    store_orphans(device, sink)
}

/// The tip of a chain, and what is unknown before it.
type Known = (Position, Vec<Range<u64>>);

fn signed_head(device: &Device) -> Result<SignedHead, CallError> {
    let mut nonce = [0; 16];
    system_rng().fill_bytes(&mut nonce);
    let reply = device.call_blocking(&AuditHead { nonce }, AuditTag::default())?;
    let head = reply.response()?;
    verify_head(&head, device.identity(), &nonce).map_err(CallError::BadIdentity)?;
    Ok(head)
}

/// Makes the chain follow the boot of `head`, up to it.
fn start(
    device: &Device,
    sink: &dyn AuditSink,
    head: &SignedHead,
    known: Option<Known>,
) -> Result<(), CallError> {
    let stored = || sink.position(&head.device).map(|position| (position, Vec::new()));
    let position = match known.clone().or_else(stored) {
        None => Position::genesis(&head.device, head.epoch),
        Some((tip, gaps)) if tip.epoch < head.epoch => {
            // The device restarted: what it did after the last known entry is gone.
            let open_end = std::iter::once(tip.next..u64::MAX);
            for indexes in gaps.into_iter().chain(open_end) {
                report_lost(sink, &head.device, tip.epoch, indexes)?;
            }
            Position::genesis(&head.device, head.epoch)
        }
        Some((tip, _)) => tip,
    };
    let mut guard = device.chain().lock();
    let orphans = guard.as_mut().map(Chain::take_orphans).unwrap_or_default();
    let same_boot = known.is_some_and(|(tip, _)| tip.epoch == position.epoch);
    let fresh = || Chain::new(head.device, position);
    let mut chain = guard.take().filter(|_| same_boot).unwrap_or_else(fresh);
    orphans.into_iter().for_each(|receipt| chain.keep_orphan(receipt));
    let advanced = chain.advance(head, position);
    *guard = Some(chain);
    Ok(advanced?)
}

fn fill_gaps(device: &Device, sink: &dyn AuditSink) -> Result<(), CallError> {
    let filling = device.chain().lock().as_ref().and_then(Chain::fill);
    let Some(mut filling) = filling else { return Ok(()) };
    while let Some(from) = filling.wanted() {
        let reply = device.call_blocking(&AuditEntries { from }, AuditTag::default())?;
        let page = reply.response()?;
        filling.page(page.epoch, page.first, page.before, &page.entries)?;
    }
    for indexes in &filling.lost {
        let epoch = device.chain().lock().as_ref().map_or(0, |chain| chain.tip().epoch);
        report_lost(sink, &device.id(), epoch, indexes.clone())?;
    }
    store(sink, &filling.missed)?;
    if let Some(chain) = device.chain().lock().as_mut() {
        chain.filled(&filling);
    }
    Ok(())
}

fn store_orphans(device: &Device, sink: &dyn AuditSink) -> Result<(), CallError> {
    let orphans = device.chain().lock().as_mut().map(Chain::take_orphans).unwrap_or_default();
    let stored = store(sink, &orphans);
    if stored.is_err()
        && let Some(chain) = device.chain().lock().as_mut()
    {
        orphans.into_iter().for_each(|receipt| chain.keep_orphan(receipt));
    }
    stored
}

fn store(sink: &dyn AuditSink, receipts: &[DeviceReceipt]) -> Result<(), CallError> {
    match receipts {
        [] => Ok(()),
        _ => sink.missed(receipts).map_err(|reason| CallError::AuditSink(reason.into())),
    }
}

fn report_lost(
    sink: &dyn AuditSink,
    device: &DeviceId,
    epoch: u64,
    indexes: Range<u64>,
) -> Result<(), CallError> {
    sink.lost(device, epoch, indexes).map_err(|reason| CallError::AuditSink(reason.into()))
}

#[cfg(test)]
mod tests {
    use hsm_protocol::audit::Head;
    use hsm_protocol::identity::Signature;

    use super::*;

    #[test]
    fn a_device_is_behind_what_it_has_been() {
        let device = DeviceId([1; 16]);
        let at = |epoch, next, head| Position { epoch, next, head: Head([head; 32]) };
        let stored = at(7, 20, 5);
        for (epoch, entries, head, behind) in [
            (8, 0, 1, false),
            (7, 21, 6, false),
            (7, 20, 5, false),
            (7, 20, 6, true),
            (7, 19, 5, true),
            (6, 99, 5, true),
        ] {
            let signature = Signature { r: [0; 32], s: [0; 32] };
            let head = SignedHead { device, epoch, entries, head: Head([head; 32]), signature };
            assert_eq!(is_behind(&head, &stored), behind, "{head:?}");
        }
    }
}
