//! Key derivation: SP 800-108r1 counter mode with HMAC-SHA-256 as PRF.
//!
//! ```text
//! K = HMAC-SHA-256(K_in, [1]_32 || label || 0x00 || context || [256]_32)
//! ```
//! One block, because every derived key has 256 bits. A label belongs to one purpose and a
//! context to one use, so that no key serves two.

use hmac::{Hmac, KeyInit, Mac};
use hsm_protocol::ErrorCode;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::fault::{self, Kat};
use crate::secret::Secret;

/// What a derived key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// AES-GCM of one message, from a backing key; context: nonce, material id.
    MessageEncryption,
    /// AES-GCM of one key token, from a domain key; context: nonce, domain id.
    KeyToken,
    /// A material id, from the material; context: key id. Not secret.
    MaterialId,
    /// AES-GCM of one domain token, from an extracted ECDH secret; context: the token's header.
    DomainToken,
    /// AES-GCM of one stored record, from the board's sealing key; context: record id, nonce.
    Storage,
    /// AES-GCM of one prepared key pair, from a domain key; context: nonce, domain id.
    PreparedPair,
    /// AES-GCM of one prepared key pair of a guarded key, from a domain key; context: nonce, domain id.
    GuardedPair,
    /// AES-GCM of one import token, from a domain key; context: nonce, domain id.
    ImportToken,
    /// AES-GCM of one attested recipient, from a domain key; context: nonce, domain id.
    AttestedRecipient,
    /// A candidate for a domain's replication key, from a domain key; context: domain id, try.
    ReplicationKey,
    /// AES-GCM of one replica token, from an extracted ECDH secret; context: the token's header.
    ReplicaToken,
    /// AES-GCM of one backup, from the secret that its shares give; context: the backup's header.
    RecoveryBackup,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::MessageEncryption => b"KMS-ENC-v1",
            Self::KeyToken => b"KMS-TOKEN-v1",
            Self::MaterialId => b"KMS-MATERIAL-v1",
            Self::DomainToken => b"KMS-DOMAIN-v1",
            Self::Storage => b"KMS-STORAGE-v1",
            Self::PreparedPair => b"KMS-PAIR-v1",
            Self::GuardedPair => b"KMS-GUARDED-PAIR-v1",
            Self::ImportToken => b"KMS-IMPORT-v1",
            Self::AttestedRecipient => b"KMS-RECIPIENT-v1",
            Self::ReplicationKey => b"KMS-REPLICATION-v1",
            Self::ReplicaToken => b"KMS-REPLICA-v1",
            Self::RecoveryBackup => b"KMS-RECOVERY-v1",
        }
    }
}

/// Derives a 256-bit key.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn derive(
    key: &[u8],
    purpose: Purpose,
    context: &[&[u8]],
    out: &mut Secret<32>,
) -> Result<(), ErrorCode> {
    let mut prf = first_block(key)?;
    prf.update(purpose.label());
    prf.update(&[0]);
    for part in context {
        prf.update(part);
    }
    prf.update(&256u32.to_be_bytes());
    out.expose_mut().copy_from_slice(&prf.finalize().into_bytes());
    Ok(())
}

/// The function below [`derive`], with fixed input data of any form: what test vectors have.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn derive_fixed(key: &[u8], fixed: &[u8], out: &mut Secret<32>) -> Result<(), ErrorCode> {
    let mut prf = first_block(key)?;
    prf.update(fixed);
    out.expose_mut().copy_from_slice(&prf.finalize().into_bytes());
    Ok(())
}

/// Extracts a key-derivation key from a shared secret: HMAC-SHA-256 with a salt of zeros
/// (SP 800-56C r2, 5.1, first step). [`derive`] is the second step.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn extract(shared_secret: &[u8], out: &mut Secret<32>) -> Result<(), ErrorCode> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&[0; 64]).map_err(|_| ErrorCode::INTERNAL)?;
    mac.update(shared_secret);
    out.expose_mut().copy_from_slice(&mac.finalize().into_bytes());
    Ok(())
}

fn first_block(key: &[u8]) -> Result<Hmac<Sha256>, ErrorCode> {
    let mut prf = Hmac::new_from_slice(key).map_err(|_| ErrorCode::INTERNAL)?;
    prf.update(&1u32.to_be_bytes());
    Ok(prf)
}

/// Known-answer test.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    let mut answer = Secret::zeroed();
    derive_fixed(&KAT_KEY, &KAT_FIXED_INPUT, &mut answer)?;
    let answer = answer.expose_mut();
    fault::tamper(Kat::Kbkdf, answer);
    match answer.first_chunk::<16>() {
        Some(head) if bool::from(head.ct_eq(&KAT_OUTPUT)) => Ok(()),
        _ => Err(ErrorCode::SELF_TEST_FAILED),
    }
}

// NIST CAVP KBKDF, counter mode, HMAC-SHA-256, 32-bit counter before the fixed input, L = 128:
// the first of the vectors that AWS-LC's power-up self-test uses too.
const KAT_KEY: [u8; 32] = [
    0xdd, 0x1d, 0x91, 0xb7, 0xd9, 0x0b, 0x2b, 0xd3, 0x13, 0x85, 0x33, 0xce, 0x92, 0xb2, 0x72, 0xfb,
    0xf8, 0xa3, 0x69, 0x31, 0x6a, 0xef, 0xe2, 0x42, 0xe6, 0x59, 0xcc, 0x0a, 0xe2, 0x38, 0xaf, 0xe0,
];
const KAT_FIXED_INPUT: [u8; 60] = [
    0x01, 0x32, 0x2b, 0x96, 0xb3, 0x0a, 0xcd, 0x19, 0x79, 0x79, 0x44, 0x4e, 0x46, 0x8e, 0x1c, 0x5c,
    0x68, 0x59, 0xbf, 0x1b, 0x1c, 0xf9, 0x51, 0xb7, 0xe7, 0x25, 0x30, 0x3e, 0x23, 0x7e, 0x46, 0xb8,
    0x64, 0xa1, 0x45, 0xfa, 0xb2, 0x5e, 0x51, 0x7b, 0x08, 0xf8, 0x68, 0x3d, 0x03, 0x15, 0xbb, 0x29,
    0x11, 0xd8, 0x0a, 0x0e, 0x8a, 0xba, 0x17, 0xf3, 0xb4, 0x13, 0xfa, 0xac,
];
const KAT_OUTPUT: [u8; 16] = [
    0x10, 0x62, 0x13, 0x42, 0xbf, 0xb0, 0xfd, 0x40, 0x04, 0x6c, 0x0e, 0x29, 0xf2, 0xcf, 0xdb, 0xf0,
];

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    #[test]
    fn known_answer_passes_and_a_corrupted_one_fails() {
        assert_eq!(self_test(), Ok(()));
        fault::inject(Some(Kat::Kbkdf));
        assert_eq!(self_test(), Err(ErrorCode::SELF_TEST_FAILED));
        fault::inject(None);
    }

    // Computed with Python's hmac module from the formula above.
    #[test]
    fn layout_is_that_of_sp_800_108() {
        let mut out = Secret::zeroed();
        derive(&[7; 32], Purpose::MessageEncryption, &[&[1; 16], &[2; 32]], &mut out).unwrap();
        assert_eq!(
            *out.expose(),
            hex!("31e1bbaabd6223997a26a8f24006e450cd96eb8f0cbffe682e1af9afbe6ad7cb")
        );
    }

    // RFC 5869 A.3: HKDF-Extract without salt is the same function.
    #[test]
    fn extraction_is_hmac_with_a_salt_of_zeros() {
        let mut out = Secret::zeroed();
        extract(&[0x0b; 22], &mut out).unwrap();
        assert_eq!(
            *out.expose(),
            hex!("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04")
        );
    }

    #[test]
    fn purposes_and_contexts_separate() {
        let derived = |purpose, context: &[&[u8]]| {
            let mut out = Secret::zeroed();
            derive(&[7; 32], purpose, context, &mut out).unwrap();
            *out.expose()
        };
        let base = derived(Purpose::KeyToken, &[&[1; 16]]);
        assert_ne!(base, derived(Purpose::Storage, &[&[1; 16]]));
        assert_ne!(base, derived(Purpose::KeyToken, &[&[2; 16]]));
    }
}
