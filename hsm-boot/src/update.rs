//! The update, as the firmware does it: it receives an image into the slot that does not run, and
//! confirms the image that runs once that has shown that it works.
//!
//! Nothing is erased before the signatures, the board and the rollback floor of a manifest have been
//! checked, and nothing of the running image ever is. Each erase block is erased right before its
//! first page is programmed, so that begin takes no time and a resumed update needs no bookkeeping
//! about erasures. What a cut left half-programmed is erased again: after a restart an update continues
//! at the first byte of the erase block that was under way.

use embedded_storage::nor_flash::NorFlash;

use crate::counter::RollbackCounter;
use crate::image::{self, Board, STORED};
use crate::layout::{self, FlashError, PAGE, PAGE_LEN, Slot, SlotId, erase_size};
use crate::manifest::Body;
use crate::reason::Reason;
use crate::record::Record;
use crate::report::Report;
use crate::signer::Verify;
use crate::state::{Other, State};

/// Why a step of an update was refused or has failed. The active image is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateError {
    /// The manifest or the image is not acceptable.
    Refused(Reason),
    /// Flash failed. The step can be tried again; an image continues at [`Update::received`].
    Flash,
    /// There is no boot record, or it does not speak of the slot that runs: the second stage could
    /// not write it, or has not started this firmware.
    Record,
    /// The running image has not been confirmed: the other slot holds the only one that is.
    Unconfirmed,
    /// No update has begun.
    NoUpdate,
    /// The bytes do not continue those that were received.
    OutOfOrder {
        /// The offset that has to come next, in bytes.
        expected: u32,
    },
    /// The bytes go beyond the length that the manifest states.
    TooLong,
    /// The image is not complete.
    Incomplete {
        /// Bytes that were received.
        received: u32,
    },
    /// The image is confirmed, but the rollback counter was not raised: confirm again.
    Counter,
}

impl From<FlashError> for UpdateError {
    fn from(_: FlashError) -> Self {
        Self::Flash
    }
}

/// An image that is being received.
#[derive(Clone, Copy)]
struct Session {
    manifest: [u8; 32],
    body: Body,
    /// Bytes received. Those since the last whole page are in `page` only.
    received: u32,
    page: [u8; PAGE_LEN],
}

impl Session {
    fn new(manifest: [u8; 32], body: Body, received: u32) -> Self {
        Self { manifest, body, received, page: [0; PAGE_LEN] }
    }
}

/// The firmware's end of the update.
pub struct Update<'b, V> {
    board: &'b Board<'b>,
    verifier: V,
    running: SlotId,
    security_version: u32,
    floor: u32,
    record: Record,
    state: State,
    session: Option<Session>,
}

impl<'b, V: Verify> Update<'b, V> {
    /// Reads the boot record, and continues an update that was under way.
    ///
    /// # Errors
    /// [`UpdateError::Record`] and [`UpdateError::Flash`].
    pub fn open<F: NorFlash>(
        flash: &mut F,
        board: &'b Board<'b>,
        verifier: V,
        report: &Report,
    ) -> Result<Self, UpdateError> {
        board.layout.check(flash).map_err(|_| UpdateError::Record)?;
        let mut record = Record::mount(flash, board.layout.record);
        record.settle(flash)?;
        let state = record.state().ok_or(UpdateError::Record)?;
        let trial = matches!(state.other, Other::Trial { .. });
        if report.slot != state.active && !trial {
            return Err(UpdateError::Record);
        }
        let mut update = Self {
            board,
            verifier,
            running: report.slot,
            security_version: report.security_version,
            floor: report.floor,
            record,
            state,
            session: None,
        };
        update.session = update.resume(flash);
        Ok(update)
    }

    /// Returns the state of both slots.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns how many bytes of the image have been received; `None` if no update has begun.
    #[must_use]
    pub fn received(&self) -> Option<u32> {
        self.session.as_ref().map(|session| session.received)
    }

    /// Returns the length of the image that is being received, in bytes; `None` if no update has begun.
    #[must_use]
    pub fn length(&self) -> Option<u32> {
        self.session.as_ref().map(|session| session.body.length)
    }

    /// Begins an update with its encoded manifest, and returns how many bytes of the image are there
    /// already: 0, or more if the update with this very manifest was under way. Another update, a
    /// staged image and a former one are given up, but only once the manifest has been verified.
    ///
    /// # Errors
    /// [`UpdateError::Refused`] with the reasons of [`Board::check`]; [`UpdateError::Unconfirmed`] and
    /// [`UpdateError::Flash`].
    pub fn begin<F: NorFlash>(
        &mut self,
        flash: &mut F,
        manifest: &[u8],
    ) -> Result<u32, UpdateError> {
        let slot = self.target()?;
        let floor = self.state.floor.max(self.floor);
        let genuine = self
            .board
            .check(manifest, self.state.active.other(), slot.room::<F>(), floor, &self.verifier)
            .map_err(UpdateError::Refused)?;
        let (body, id) = (genuine.manifest().body, genuine.manifest().id());
        if let Some(session) = self.session.as_ref().filter(|session| session.manifest == id) {
            return Ok(session.received);
        }
        self.session = None;
        // The slot counts for nothing before it is touched, and for an update once its manifest is
        // complete: a torn one could pass now and not at boot.
        if self.state.other != Other::Empty {
            self.put(flash, self.state.with(Other::Empty))?;
        }
        let at = slot.manifest::<F>();
        layout::erase(flash, at, slot.end())?;
        let mut stored = [0; STORED];
        layout::pad(&mut stored);
        if let Some((front, _)) = stored.split_at_mut_checked(manifest.len()) {
            front.copy_from_slice(manifest);
        }
        for (at, page) in (at..).step_by(PAGE_LEN).zip(stored.chunks(PAGE_LEN)) {
            layout::program(flash, at, page)?;
        }
        self.put(flash, self.state.with(Other::Receiving { manifest: id, blocks: 0 }))?;
        self.session = Some(Session::new(id, body, 0));
        Ok(0)
    }

    /// Takes the bytes of the image from `offset` on, of any number, and returns how many have been
    /// received. Those of the last, incomplete erase block are lost if the device restarts.
    ///
    /// # Errors
    /// [`UpdateError::NoUpdate`], [`UpdateError::OutOfOrder`], [`UpdateError::TooLong`]: nothing was
    /// taken. [`UpdateError::Flash`]: continue at [`Update::received`].
    pub fn write<F: NorFlash>(
        &mut self,
        flash: &mut F,
        offset: u32,
        bytes: &[u8],
    ) -> Result<u32, UpdateError> {
        let mut session = self.session.ok_or(UpdateError::NoUpdate)?;
        if offset != session.received {
            return Err(UpdateError::OutOfOrder { expected: session.received });
        }
        let room = session.body.length.saturating_sub(offset);
        if u32::try_from(bytes.len()).is_ok_and(|length| length <= room) {
            let taken = self.take(flash, &mut session, bytes);
            if taken.is_err() {
                session.received = self.complete::<F>(session.body.length);
            }
            self.session = Some(session);
            taken.map(|()| session.received)
        } else {
            Err(UpdateError::TooLong)
        }
    }

    /// Ends the update: verifies what flash holds, as the second stage will, and stages it. The next
    /// boot starts it for a trial. Returns the measurement of the image.
    ///
    /// # Errors
    /// [`UpdateError::NoUpdate`], [`UpdateError::Incomplete`], [`UpdateError::Flash`];
    /// [`UpdateError::Refused`], mostly with [`Reason::Measurement`]: the update is over.
    pub fn finish<F: NorFlash>(&mut self, flash: &mut F) -> Result<[u8; 32], UpdateError> {
        self.target()?;
        let session = self.session.as_ref().ok_or(UpdateError::NoUpdate)?;
        if session.received != session.body.length {
            return Err(UpdateError::Incomplete { received: session.received });
        }
        let floor = self.state.floor.max(self.floor);
        let slot = self.state.active.other();
        let loaded = image::load(flash, self.board, slot, floor, &self.verifier);
        let other = if loaded.is_ok() { Other::Staged } else { Other::Failed };
        self.put(flash, self.state.with(other))?;
        self.session = None;
        loaded.map(|image| image.body().measurement).map_err(UpdateError::Refused)
    }

    /// Gives up an update that is under way, or an image that is staged.
    ///
    /// # Errors
    /// [`UpdateError::Unconfirmed`], [`UpdateError::NoUpdate`] and [`UpdateError::Flash`].
    pub fn cancel<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), UpdateError> {
        self.target()?;
        match self.state.other {
            Other::Receiving { .. } | Other::Staged => {
                self.put(flash, self.state.with(Other::Empty))?;
                self.session = None;
                Ok(())
            }
            _ => Err(UpdateError::NoUpdate),
        }
    }

    /// Confirms the running image: it becomes the active one and its security version the rollback
    /// floor. The firmware calls this once its self-tests have passed and a host has opened a channel:
    /// an image that nobody can reach could not be replaced either. Does nothing for an image that is
    /// confirmed, other than to raise a rollback counter that is behind.
    ///
    /// # Errors
    /// [`UpdateError::Flash`]: not known to be confirmed. [`UpdateError::Counter`]: confirmed.
    pub fn confirm<F: NorFlash>(
        &mut self,
        flash: &mut F,
        counter: &mut impl RollbackCounter,
    ) -> Result<(), UpdateError> {
        if self.running != self.state.active {
            let confirmed = self.state.confirmed(self.security_version);
            self.put(flash, confirmed.ok_or(UpdateError::Record)?)?;
        }
        // Not before: an image that is not confirmed must not outlaw the one to return to.
        counter.raise(self.security_version).map_err(|_| UpdateError::Counter)
    }

    /// The slot that may be written: never the one that runs, nor the only confirmed one.
    fn target(&self) -> Result<Slot, UpdateError> {
        if self.running == self.state.active {
            Ok(self.board.layout.slot(self.state.active.other()))
        } else {
            Err(UpdateError::Unconfirmed)
        }
    }

    /// Replaces the state on flash, then here.
    fn put<F: NorFlash>(&mut self, flash: &mut F, state: State) -> Result<(), UpdateError> {
        self.record.write(flash, &state)?;
        self.state = state;
        Ok(())
    }

    /// Bytes of the image in erase blocks that are complete.
    fn complete<F: NorFlash>(&self, length: u32) -> u32 {
        match self.state.other {
            Other::Receiving { blocks, .. } => blocks.saturating_mul(erase_size::<F>()).min(length),
            _ => 0,
        }
    }

    /// The update that was under way when the device restarted, if its manifest is still there.
    fn resume<F: NorFlash>(&self, flash: &mut F) -> Option<Session> {
        let Other::Receiving { manifest: id, .. } = self.state.other else { return None };
        let slot = self.target().ok()?;
        let stored = image::stored(flash, slot).ok()?;
        let manifest = image::parse_stored(&stored).ok().filter(|found| found.id() == id)?;
        let floor = self.state.floor.max(self.floor);
        let other = self.state.active.other();
        let room = slot.room::<F>();
        let genuine =
            self.board.check(manifest.bytes(), other, room, floor, &self.verifier).ok()?;
        let body = genuine.manifest().body;
        Some(Session::new(id, body, self.complete::<F>(body.length)))
    }

    fn take<F: NorFlash>(
        &mut self,
        flash: &mut F,
        session: &mut Session,
        bytes: &[u8],
    ) -> Result<(), UpdateError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let filled = (session.received % PAGE) as usize;
            let free = session.page.get_mut(filled..).unwrap_or_default();
            let length = free.len().min(rest.len());
            let (now, later) = rest.split_at_checked(length).unwrap_or_default();
            free.get_mut(..length).unwrap_or_default().copy_from_slice(now);
            rest = later;
            // At most the length that the manifest states, which was checked.
            session.received = session.received.saturating_add(u32::try_from(length).unwrap_or(0));
            let whole = session.received.is_multiple_of(PAGE);
            if whole || session.received == session.body.length {
                self.store(flash, session)?;
            }
        }
        Ok(())
    }

    /// Programs the page that ends with the bytes received, and notes a block that it completes.
    fn store<F: NorFlash>(
        &mut self,
        flash: &mut F,
        session: &mut Session,
    ) -> Result<(), UpdateError> {
        let slot = self.target()?;
        let last = session.received.saturating_sub(1);
        let filled = ((last % PAGE) as usize).saturating_add(1);
        layout::pad(session.page.get_mut(filled..).unwrap_or_default());
        let first = last.saturating_sub(last % PAGE);
        let at = slot.start.saturating_add(first);
        let block = erase_size::<F>();
        if first.is_multiple_of(block) {
            layout::erase(flash, at, at.saturating_add(block))?;
        }
        layout::program(flash, at, &session.page)?;
        if session.received.is_multiple_of(block) || session.received == session.body.length {
            let blocks = session.received.div_ceil(block);
            let manifest = session.manifest;
            self.put(flash, self.state.with(Other::Receiving { manifest, blocks }))?;
        }
        Ok(())
    }
}
