//! Records of non-volatile storage, sealed where the board has a key for it.
//!
//! ```text
//! plain   0x01 | data | first 16 bytes of SHA-256(0x01 | record id u16 LE | data)
//! sealed  0x02 | nonce [16] | AES-256-GCM(data) | tag [16]      AAD: 0x02 | record id u16 LE
//! ```
//! A board with a sealing key refuses plain records: else whoever writes the flash could replace
//! a sealed record by a plain one.

use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::token::{NONCE_SIZE, TAG_SIZE};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aead::{self, ZERO_IV};
use crate::kbkdf::{self, Purpose};
use crate::platform::{NvStorage, Platform, RecordId};
use crate::secret::Secret;

const PLAIN: u8 = 1;
const SEALED: u8 = 2;
/// Longest data of a record, in bytes.
pub(crate) const MAX_DATA: usize = 2816;
/// Longest stored form, in bytes.
const MAX_STORED: usize = 1 + NONCE_SIZE + MAX_DATA + TAG_SIZE;

/// A buffer for a record's data. Zeroised on drop: most records are secret.
pub(crate) type Buffer = Zeroizing<[u8; MAX_STORED]>;

/// An empty buffer.
pub(crate) fn buffer() -> Buffer {
    Zeroizing::new([0; MAX_STORED])
}

/// Writes a record. It is durable when this returns.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] beyond [`MAX_DATA`]; storage errors.
pub(crate) fn write<P: Platform>(
    platform: &mut P,
    rng: &mut dyn CryptoRng,
    id: RecordId,
    data: &[u8],
) -> Result<(), ErrorCode> {
    if data.len() > MAX_DATA {
        return Err(ErrorCode::TOO_LARGE);
    }
    let mut stored = buffer();
    let stored: &[u8] = match platform.sealing_key() {
        None => {
            let digest = digest(id, data);
            concat(&mut *stored, &[&[PLAIN], data, &digest])
        }
        Some(key) => {
            let mut nonce = [0; NONCE_SIZE];
            rng.fill_bytes(&mut nonce);
            let key = derive(key, id, &nonce)?;
            let used = concat(&mut *stored, &[&[SEALED], &nonce, data, &[0; TAG_SIZE]]);
            let used = used.ok_or(ErrorCode::INTERNAL)?;
            let body = used.get_mut(1 + NONCE_SIZE..).ok_or(ErrorCode::INTERNAL)?;
            let (body, tag) = body.split_last_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
            *tag = aead::seal(&key, &ZERO_IV, &aad(id), body)?;
            Some(used)
        }
    }
    .ok_or(ErrorCode::INTERNAL)?;
    Ok(platform.storage().write(id, stored)?)
}

/// Reads a record's data; `None` if there is none.
///
/// # Errors
/// [`ErrorCode::STORAGE_FAILED`] if it was damaged or altered.
pub(crate) fn read<'b, P: Platform>(
    platform: &mut P,
    id: RecordId,
    buffer: &'b mut Buffer,
) -> Result<Option<&'b [u8]>, ErrorCode> {
    let Some(length) = platform.storage().read(id, &mut **buffer)?.map(<[u8]>::len) else {
        return Ok(None);
    };
    let stored = buffer.get_mut(..length).ok_or(ErrorCode::STORAGE_FAILED)?;
    unseal(platform.sealing_key(), id, stored).map(Some).ok_or(ErrorCode::STORAGE_FAILED)
}

fn unseal<'b>(key: Option<&[u8; 32]>, id: RecordId, stored: &'b mut [u8]) -> Option<&'b [u8]> {
    let (version, body) = stored.split_first_mut()?;
    match (*version, key) {
        (PLAIN, None) => {
            let (data, stored_digest) = body.split_last_chunk::<TAG_SIZE>()?;
            bool::from(digest(id, data).ct_eq(stored_digest)).then_some(data)
        }
        (SEALED, Some(key)) => {
            let (nonce, body) = body.split_first_chunk_mut::<NONCE_SIZE>()?;
            let key = derive(key, id, nonce).ok()?;
            let (data, tag) = body.split_last_chunk_mut::<TAG_SIZE>()?;
            aead::open(&key, &ZERO_IV, &aad(id), data, tag, ErrorCode::STORAGE_FAILED).ok()?;
            Some(data)
        }
        _ => None,
    }
}

fn aad(id: RecordId) -> [u8; 3] {
    let [low, high] = id.0.to_le_bytes();
    [SEALED, low, high]
}

fn derive(key: &[u8; 32], id: RecordId, nonce: &[u8]) -> Result<Secret<32>, ErrorCode> {
    let mut out = Secret::zeroed();
    kbkdf::derive(key, Purpose::Storage, &[&id.0.to_le_bytes(), nonce], &mut out)?;
    Ok(out)
}

fn digest(id: RecordId, data: &[u8]) -> [u8; TAG_SIZE] {
    let mut hash = Sha256::new();
    hash.update([PLAIN]);
    hash.update(id.0.to_le_bytes());
    hash.update(data);
    let mut out = [0; TAG_SIZE];
    if let Some(head) = hash.finalize().first_chunk() {
        out = *head;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordId = RecordId(7);
    const KEY: [u8; 32] = [9; 32];

    fn plain(data: &[u8]) -> std::vec::Vec<u8> {
        [&[PLAIN], data, &digest(ID, data)].concat()
    }

    #[test]
    fn every_damaged_bit_of_a_plain_record_is_found() {
        let stored = plain(b"data");
        assert_eq!(unseal(None, ID, &mut stored.clone()), Some(&b"data"[..]));
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(None, ID, &mut bad), None, "bit {bit}");
        }
        assert_eq!(unseal(None, RecordId(8), &mut stored.clone()), None, "moved");
        assert_eq!(unseal(None, ID, &mut stored[..10].to_vec()), None, "cut short");
    }

    #[test]
    fn a_sealing_board_refuses_plain_records() {
        assert_eq!(unseal(Some(&KEY), ID, &mut plain(b"data")), None);
        assert_eq!(unseal(None, ID, &mut [SEALED; 40]), None);
    }
}
