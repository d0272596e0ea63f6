//! The two handshake messages of Noise IK.
//!
//! ```text
//! <- s
//! -> e, es, s, ss
//! <- e, ee, se, { session }
//! ```

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::record::nonce;
use super::{Keys, MESSAGE_1_SIZE, MESSAGE_2_SIZE, Opener, POINT_SIZE, Sealer, Welcome};
use crate::curve::{Curve, KeyPair, Portable};
use crate::error::ErrorCode;
use crate::identity;

/// Noise protocol name; exactly 27 bytes, so it is padded with zeros to the hash length (5.2).
const PROTOCOL_NAME: &[u8] = b"Noise_IK_P256_AESGCM_SHA256";
/// Both ends bind the session to this protocol and version.
pub const PROLOGUE: &[u8] = b"strongroom-channel-v1";

const TAG_SIZE: usize = 16;

/// Noise `SymmetricState` (5.2).
#[derive(ZeroizeOnDrop)]
struct Symmetric {
    chaining_key: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
    counter: u64,
}

impl Symmetric {
    fn new(responder: &PublicKey) -> Self {
        let mut hash = [0; 32];
        if let Some(name) = hash.get_mut(..PROTOCOL_NAME.len()) {
            name.copy_from_slice(PROTOCOL_NAME);
        }
        let mut state = Self { chaining_key: hash, hash, key: [0; 32], counter: 0 };
        state.mix_hash(PROLOGUE);
        state.mix_hash(&point(responder));
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(data);
        self.hash = hash.finalize().into();
    }

    fn mix_key(
        &mut self,
        curve: &impl Curve,
        secret: &SecretKey,
        public: &PublicKey,
    ) -> Result<(), ErrorCode> {
        let (chaining_key, key) = hkdf(&self.chaining_key, &*curve.agree(secret, public)?)?;
        self.chaining_key.copy_from_slice(&*chaining_key);
        self.key.copy_from_slice(&*key);
        self.counter = 0;
        Ok(())
    }

    /// Encrypts `buffer` except for its last 16 bytes in place; the tag goes there.
    fn encrypt_and_hash(&mut self, buffer: &mut [u8]) -> Result<(), ErrorCode> {
        let (body, tag) = buffer.split_last_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::INTERNAL)?;
        let nonce = self.next_nonce()?;
        *tag = Aes256Gcm::new(&self.key.into())
            .encrypt_inout_detached(&nonce, &self.hash, body.into())
            .map_err(|_| ErrorCode::INTERNAL)?
            .into();
        self.mix_hash(buffer);
        Ok(())
    }

    /// Decrypts `N` bytes that a tag follows.
    fn decrypt_and_hash<const N: usize>(&mut self, sealed: &[u8]) -> Result<[u8; N], ErrorCode> {
        let (body, tag) =
            sealed.split_last_chunk::<TAG_SIZE>().ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let mut out: [u8; N] = body.try_into().map_err(|_| ErrorCode::HANDSHAKE_FAILED)?;
        let nonce = self.next_nonce()?;
        Aes256Gcm::new(&self.key.into())
            .decrypt_inout_detached(&nonce, &self.hash, out.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| ErrorCode::HANDSHAKE_FAILED)?;
        self.mix_hash(sealed);
        Ok(out)
    }

    fn next_nonce(&mut self) -> Result<Nonce<aes_gcm::aead::consts::U12>, ErrorCode> {
        let nonce = nonce(self.counter);
        self.counter = self.counter.checked_add(1).ok_or(ErrorCode::INTERNAL)?;
        Ok(nonce.into())
    }

    /// Noise `Split`: the keys of the two directions, initiator's first.
    fn split(&self) -> Result<[Zeroizing<[u8; 32]>; 2], ErrorCode> {
        let (first, second) = hkdf(&self.chaining_key, &[])?;
        Ok([first, second])
    }
}

/// Noise `HKDF` with two outputs (4.3).
#[allow(clippy::type_complexity)]
fn hkdf(
    chaining_key: &[u8; 32],
    input: &[u8],
) -> Result<(Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>), ErrorCode> {
    let temp = hmac(chaining_key, &[input])?;
    let first = hmac(&temp, &[&[1]])?;
    let second = hmac(&temp, &[&*first, &[2]])?;
    Ok((first, second))
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, ErrorCode> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(|_| ErrorCode::INTERNAL)?;
    for part in parts {
        mac.update(part);
    }
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// The uncompressed form of a point.
fn point(key: &PublicKey) -> [u8; POINT_SIZE] {
    let mut out = [0; POINT_SIZE];
    let encoded = key.to_sec1_point(false);
    if let Ok(bytes) = encoded.as_bytes().try_into() {
        out = bytes;
    }
    out
}

/// Reads an uncompressed point; any other form is refused.
fn read_point(bytes: &[u8; POINT_SIZE]) -> Result<PublicKey, ErrorCode> {
    match bytes.first() {
        Some(4) => PublicKey::from_sec1_bytes(bytes).map_err(|_| ErrorCode::HANDSHAKE_FAILED),
        _ => Err(ErrorCode::HANDSHAKE_FAILED),
    }
}

/// The host's end, between the two messages.
pub struct Initiator {
    symmetric: Symmetric,
    own_static: SecretKey,
    ephemeral: KeyPair,
}

impl Initiator {
    /// Starts a handshake with the device of this link key; returns the first message.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the link key is not a point on the curve.
    pub fn start<R: CryptoRng + ?Sized>(
        own_static: &SecretKey,
        device: &identity::PublicKey,
        rng: &mut R,
    ) -> Result<(Self, [u8; MESSAGE_1_SIZE]), ErrorCode> {
        let device = device.to_point()?;
        let ephemeral = KeyPair::generate(&Portable, rng)?;
        let mut symmetric = Symmetric::new(&device);
        let mut message = [0; MESSAGE_1_SIZE];

        let (e, rest) = message.split_first_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
        *e = point(ephemeral.point());
        symmetric.mix_hash(e);
        symmetric.mix_key(&Portable, ephemeral.secret(), &device)?;

        let (s, payload) =
            rest.split_at_mut_checked(POINT_SIZE + TAG_SIZE).ok_or(ErrorCode::INTERNAL)?;
        let own = s.first_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
        *own = point(&own_static.public_key());
        symmetric.encrypt_and_hash(s)?;
        symmetric.mix_key(&Portable, own_static, &device)?;
        symmetric.encrypt_and_hash(payload)?;

        Ok((Self { symmetric, own_static: own_static.clone(), ephemeral }, message))
    }

    /// Reads the device's answer.
    ///
    /// # Errors
    /// [`ErrorCode::HANDSHAKE_FAILED`]: not the device of the link key, or damaged.
    pub fn finish(mut self, message: &[u8]) -> Result<(Keys, Welcome), ErrorCode> {
        let message: &[u8; MESSAGE_2_SIZE] =
            message.try_into().map_err(|_| ErrorCode::HANDSHAKE_FAILED)?;
        let (e, payload) = message.split_first_chunk().ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let device_ephemeral = read_point(e)?;
        self.symmetric.mix_hash(e);
        self.symmetric.mix_key(&Portable, self.ephemeral.secret(), &device_ephemeral)?;
        self.symmetric.mix_key(&Portable, &self.own_static, &device_ephemeral)?;
        let session = u16::from_le_bytes(self.symmetric.decrypt_and_hash(payload)?);
        let [to_device, to_host] = self.symmetric.split()?;
        let keys = Keys { sealer: Sealer::new(*to_device), opener: Opener::new(*to_host) };
        Ok((keys, Welcome { session }))
    }
}

/// The device's end, between the two messages.
pub struct Responder {
    symmetric: Symmetric,
    host: PublicKey,
    host_ephemeral: PublicKey,
}

impl Responder {
    /// Reads a first message. The host's key is known then, and proven to be the sender's by
    /// the time the first record opens (Noise 7.7, IK: payload security of message 1 is 1).
    ///
    /// # Errors
    /// [`ErrorCode::HANDSHAKE_FAILED`].
    pub fn read(
        curve: &impl Curve,
        own_static: &KeyPair,
        message: &[u8],
    ) -> Result<Self, ErrorCode> {
        let message: &[u8; MESSAGE_1_SIZE] =
            message.try_into().map_err(|_| ErrorCode::HANDSHAKE_FAILED)?;
        let mut symmetric = Symmetric::new(own_static.point());
        let (e, rest) = message.split_first_chunk().ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let host_ephemeral = read_point(e)?;
        symmetric.mix_hash(e);
        symmetric.mix_key(curve, own_static.secret(), &host_ephemeral)?;

        let (s, payload) =
            rest.split_at_checked(POINT_SIZE + TAG_SIZE).ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let host = read_point(&symmetric.decrypt_and_hash(s)?)?;
        symmetric.mix_key(curve, own_static.secret(), &host)?;
        let [] = symmetric.decrypt_and_hash(payload)?;
        Ok(Self { symmetric, host, host_ephemeral })
    }

    /// The host's static key.
    #[must_use]
    pub fn host(&self) -> identity::PublicKey {
        identity::PublicKey::from_point(&self.host)
    }

    /// Answers an accepted host; returns the second message.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn accept<R: CryptoRng + ?Sized>(
        mut self,
        curve: &impl Curve,
        welcome: Welcome,
        rng: &mut R,
    ) -> Result<(Keys, [u8; MESSAGE_2_SIZE]), ErrorCode> {
        let ephemeral = KeyPair::generate(curve, rng)?;
        let mut message = [0; MESSAGE_2_SIZE];
        let (e, payload) = message.split_first_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
        *e = point(ephemeral.point());
        self.symmetric.mix_hash(e);
        self.symmetric.mix_key(curve, ephemeral.secret(), &self.host_ephemeral)?;
        self.symmetric.mix_key(curve, ephemeral.secret(), &self.host)?;
        let session = payload.first_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
        *session = welcome.session.to_le_bytes();
        self.symmetric.encrypt_and_hash(payload)?;
        let [to_device, to_host] = self.symmetric.split()?;
        let keys = Keys { sealer: Sealer::new(*to_host), opener: Opener::new(*to_device) };
        Ok((keys, message))
    }
}
