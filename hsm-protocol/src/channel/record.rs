//! Sealed records: AES-256-GCM with a strict counter and periodic rekeying.

use core::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::RECORD_OVERHEAD;
use crate::error::ErrorCode;

/// Records between two rekeyings of a direction (Noise 11.3).
pub const REKEY_INTERVAL: u64 = 1 << 16;

/// A Noise `CipherState` after the handshake. The expanded key is kept: AES key expansion costs
/// as much as sealing a short record.
#[derive(ZeroizeOnDrop)]
struct Direction {
    key: [u8; 32],
    #[zeroize(skip)] // zeroises itself
    cipher: Aes256Gcm,
    counter: u64,
}

impl Direction {
    fn new(key: [u8; 32]) -> Self {
        let cipher = Aes256Gcm::new(&key.into());
        Self { key, cipher, counter: 0 }
    }

    /// The nonce of the next record.
    fn nonce(&self) -> Result<[u8; 12], ErrorCode> {
        // Noise reserves the last nonce; nobody gets there, but a wrap would be fatal.
        if self.counter == u64::MAX { Err(ErrorCode::BAD_RECORD) } else { Ok(nonce(self.counter)) }
    }

    /// Goes on to the next record, rekeying when it is due.
    fn advance(&mut self) -> Result<(), ErrorCode> {
        self.counter = self.counter.checked_add(1).ok_or(ErrorCode::BAD_RECORD)?;
        if self.counter.is_multiple_of(REKEY_INTERVAL) { self.rekey() } else { Ok(()) }
    }

    /// Noise 4.2 `REKEY`: the first 32 bytes of `ENCRYPT(k, 2^64-1, "", zeros)`.
    fn rekey(&mut self) -> Result<(), ErrorCode> {
        let mut key = [0; 32];
        self.cipher
            .encrypt_inout_detached(&Nonce::from(nonce(u64::MAX)), &[], key.as_mut_slice().into())
            .map_err(|_| ErrorCode::INTERNAL)?;
        self.cipher = Aes256Gcm::new(&key.into());
        self.key = key;
        key.zeroize();
        Ok(())
    }
}

/// Noise 12.4: 32 zero bits and the counter, big-endian.
pub(super) fn nonce(counter: u64) -> [u8; 12] {
    let mut out = [0; 12];
    if let Some(tail) = out.last_chunk_mut() {
        *tail = counter.to_be_bytes();
    }
    out
}

/// Seals outgoing records.
pub struct Sealer(Direction);

impl Sealer {
    /// With a key agreed on elsewhere; the handshake makes its own.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Direction::new(key))
    }

    /// Low 32 bits of the next record's counter: the sequence of its frame.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn sequence(&self) -> u32 {
        self.0.counter as u32
    }

    /// Seals the first `length` bytes of `buffer` in place, appends the tag, and returns the
    /// record's length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if the tag does not fit; nothing is sealed then.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, ErrorCode> {
        let (body, rest) = buffer.split_at_mut_checked(length).ok_or(ErrorCode::TOO_LARGE)?;
        let tag_out = rest.first_chunk_mut::<RECORD_OVERHEAD>().ok_or(ErrorCode::TOO_LARGE)?;
        let nonce = Nonce::from(self.0.nonce()?);
        let tag = self
            .0
            .cipher
            .encrypt_inout_detached(&nonce, &[], body.into())
            .map_err(|_| ErrorCode::TOO_LARGE)?;
        *tag_out = tag.into();
        self.0.advance()?;
        length.checked_add(RECORD_OVERHEAD).ok_or(ErrorCode::TOO_LARGE)
    }
}

/// Opens incoming records.
pub struct Opener(Direction);

impl Opener {
    /// With a key agreed on elsewhere; the handshake makes its own.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Direction::new(key))
    }

    /// Opens a record in place and returns its plaintext.
    ///
    /// `sequence` is its frame's; it must be the next one.
    ///
    /// # Errors
    /// [`ErrorCode::BAD_RECORD`]: nothing has changed, and the record that is expected still opens. Who
    /// relies on answers drops the session, for theirs may be lost.
    pub fn open<'b>(
        &mut self,
        sequence: u32,
        record: &'b mut [u8],
    ) -> Result<&'b mut [u8], ErrorCode> {
        #[allow(clippy::cast_possible_truncation)]
        let expected = self.0.counter as u32;
        if sequence != expected {
            return Err(ErrorCode::BAD_RECORD);
        }
        let (body, tag) =
            record.split_last_chunk_mut::<RECORD_OVERHEAD>().ok_or(ErrorCode::BAD_RECORD)?;
        let nonce = Nonce::from(self.0.nonce()?);
        self.0
            .cipher
            .decrypt_inout_detached(&nonce, &[], (&mut *body).into(), &Tag::from(*tag))
            .map_err(|_| ErrorCode::BAD_RECORD)?;
        self.0.advance()?;
        Ok(body)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(counter {})", self.0.counter)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener(counter {})", self.0.counter)
    }
}
