//! The verification of a manifest and of an image in its slot.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

use crate::layout::{self, Layout, PAGE, PAGE_LEN, Slot, SlotId};
use crate::manifest::{self, ANY_ADDRESS, Body, Manifest, Name};
use crate::reason::Reason;
use crate::signer::{SignerSet, Verify, same};

/// Bytes that are read of a slot's manifest area: a whole number of units, and the longest manifest.
pub(crate) const STORED: usize = manifest::MAX_SIZE.next_multiple_of(layout::UNIT);

/// What is built into second stage and firmware of a board.
#[derive(Clone, Copy, Debug)]
pub struct Board<'k> {
    /// The name that manifests have to state.
    pub name: Name,
    /// Where everything is on flash.
    pub layout: Layout,
    /// The firmware signers.
    pub signers: SignerSet<'k>,
    /// How often a staged image is started without being confirmed; 0 counts as 1.
    pub trials: u8,
}

/// A manifest that enough signers have signed, for this board, and for an image that may run from a
/// certain slot. Only [`Board::check`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Genuine<'m>(Manifest<'m>);

impl<'m> Genuine<'m> {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest<'m> {
        &self.0
    }
}

/// An image whose manifest is genuine and whose bytes on flash have the measurement that it states.
/// Only [`load`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Image(Body);

impl Image {
    pub(crate) fn body(&self) -> &Body {
        &self.0
    }
}

impl Board<'_> {
    /// Verifies an encoded manifest for an image in this slot (SP 800-193, 4.2.1.1: authenticated
    /// update). `floor` is the lowest security version that is accepted, and `room` the length of the
    /// longest image in bytes. What is cheap to check comes first.
    ///
    /// # Errors
    /// [`Reason::Manifest`], [`Reason::Board`], [`Reason::Length`], [`Reason::Address`],
    /// [`Reason::Rollback`], and those of [`SignerSet::check`].
    pub fn check<'m>(
        &self,
        manifest: &'m [u8],
        slot: SlotId,
        room: u32,
        floor: u32,
        verifier: &impl Verify,
    ) -> Result<Genuine<'m>, Reason> {
        let manifest = Manifest::parse(manifest).ok_or(Reason::Manifest)?;
        let Body { board, security_version, length, address, .. } = manifest.body;
        let here = self.layout.slot(slot).address;
        let checks = [
            (board == self.name, Reason::Board),
            (length <= room, Reason::Length),
            (address == ANY_ADDRESS || address == here, Reason::Address),
            (security_version >= floor, Reason::Rollback),
        ];
        if let Some((_, reason)) = checks.into_iter().find(|(passed, _)| !passed) {
            return Err(reason);
        }
        self.signers.check(&manifest, verifier)?;
        Ok(Genuine(manifest))
    }
}

/// Reads the manifest area of a slot.
pub(crate) fn stored<F: NorFlash>(flash: &mut F, slot: Slot) -> Result<[u8; STORED], Reason> {
    let mut bytes = [0; STORED];
    layout::read(flash, slot.manifest::<F>(), &mut bytes).map_err(|_| Reason::Flash)?;
    Ok(bytes)
}

/// Returns the manifest in what [`stored`] has read.
pub(crate) fn parse_stored(bytes: &[u8; STORED]) -> Result<Manifest<'_>, Reason> {
    Manifest::parse_front(bytes).ok_or(match bytes.first_chunk::<{ layout::UNIT }>() {
        Some(front) if layout::is_blank(front) => Reason::Empty,
        _ => Reason::Manifest,
    })
}

/// Verifies what a slot holds: its manifest as [`Board::check`], then the hash of the image as flash
/// holds it (SP 800-193, 4.3.1: detection of corrupted code).
///
/// # Errors
/// Those of [`Board::check`], [`Reason::Empty`], [`Reason::Measurement`] and [`Reason::Flash`].
pub(crate) fn load<F: NorFlash>(
    flash: &mut F,
    board: &Board<'_>,
    id: SlotId,
    floor: u32,
    verifier: &impl Verify,
) -> Result<Image, Reason> {
    let slot = board.layout.slot(id);
    let bytes = stored(flash, slot)?;
    let manifest = parse_stored(&bytes)?.bytes();
    let body = board.check(manifest, id, slot.room::<F>(), floor, verifier)?.manifest().body;
    let measured = measure(flash, slot.start, body.length)?;
    if same(&measured, &body.measurement) { Ok(Image(body)) } else { Err(Reason::Measurement) }
}

/// SHA-256 of flash (FIPS 180-4).
fn measure<F: NorFlash>(flash: &mut F, start: u32, length: u32) -> Result<[u8; 32], Reason> {
    let mut hash = Sha256::new();
    let (mut at, mut left) = (start, length as usize);
    while left > 0 {
        // A whole page is there, as slots are made of erase blocks and those of pages.
        let mut page = [0; PAGE_LEN];
        layout::read(flash, at, &mut page).map_err(|_| Reason::Flash)?;
        let length = left.min(PAGE_LEN);
        hash.update(page.get(..length).unwrap_or_default());
        at = at.saturating_add(PAGE);
        left = left.saturating_sub(length);
    }
    Ok(hash.finalize().into())
}
