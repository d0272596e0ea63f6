//! Tokens under the domain key that are not key tokens ([`hsm_protocol::token::sealed`]).

use hsm_protocol::ErrorCode;
use hsm_protocol::token::sealed::{
    AttestedRecipient, Attributes, GuardedPair, ImportToken, MAX_BODY, PreparedPair, Sealed,
};
use hsm_protocol::token::{History, NONCE_SIZE, TAG_SIZE};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::domain::Domain;
use crate::aead::{self, ZERO_IV};
use crate::kbkdf::{self, Purpose};
use crate::secret::Secret;

/// Attributes with a derivation purpose of their own, so that no token opens as another kind.
pub trait Kind: Attributes {
    /// What the sealing key is derived for.
    const PURPOSE: Purpose;
}

impl Kind for PreparedPair {
    const PURPOSE: Purpose = Purpose::PreparedPair;
}

impl Kind for GuardedPair {
    const PURPOSE: Purpose = Purpose::GuardedPair;
}

impl Kind for ImportToken {
    const PURPOSE: Purpose = Purpose::ImportToken;
}

impl Kind for AttestedRecipient {
    const PURPOSE: Purpose = Purpose::AttestedRecipient;
}

/// The body of a token, zeroised on drop.
pub struct Body {
    bytes: Zeroizing<[u8; MAX_BODY]>,
    length: usize,
    history: History,
}

impl Body {
    /// The bytes. The exposure ends with the borrow.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// What is known of the former domain key that it was under; a key that is made of it takes that along.
    /// Nothing under the active one, which wraps the key as well.
    #[must_use]
    pub const fn history(&self) -> History {
        self.history
    }
}

/// Seals `body` under the active domain key into the front of `out`; returns the token's length.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] if `out` is too short, or the body exceeds [`MAX_BODY`].
pub fn seal<A: Kind>(
    domain: &Domain,
    attributes: &A,
    body: &[u8],
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    if body.len() > MAX_BODY {
        return Err(ErrorCode::TOO_LARGE);
    }
    let (domain_key, sealing) = domain.active_key()?;
    let mut nonce = [0; NONCE_SIZE];
    rng.fill_bytes(&mut nonce);
    let key = derive::<A>(sealing, &nonce, domain)?;
    let (header, rest) = Sealed::write_header(domain.id(), domain_key, attributes, &nonce, out)?;
    let length = header.len().saturating_add(body.len()).saturating_add(TAG_SIZE);
    let (sealed, rest) = rest.split_at_mut_checked(body.len()).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    sealed.copy_from_slice(body);
    *tag = aead::seal(&key, &ZERO_IV, header, sealed)?;
    Ok(length)
}

/// Opens a token: its attributes, authentic, and its body.
///
/// # Errors
/// [`ErrorCode::TOKEN_MALFORMED`], [`ErrorCode::TOKEN_DOMAIN`], [`ErrorCode::TOKEN_INVALID`].
pub fn open<A: Kind>(domain: &Domain, token: &[u8]) -> Result<(A, Body), ErrorCode> {
    let token = Sealed::<A>::parse(token)?;
    if token.domain != *domain.id() {
        return Err(ErrorCode::TOKEN_DOMAIN);
    }
    let sealing = domain.key(token.domain_key)?;
    let key = derive::<A>(sealing, token.nonce, domain)?;
    let (sealed, tag) = token.sealed.split_last_chunk().ok_or(ErrorCode::TOKEN_MALFORMED)?;
    let length = sealed.len();
    let history = match domain.active_key()? {
        (active, _) if active == token.domain_key => History::CLEAN,
        _ => domain.history(token.domain_key)?,
    };
    let mut body = Body { bytes: Zeroizing::new([0; MAX_BODY]), length, history };
    let bytes = body.bytes.get_mut(..sealed.len()).ok_or(ErrorCode::TOKEN_MALFORMED)?;
    bytes.copy_from_slice(sealed);
    aead::open(&key, &ZERO_IV, token.header, bytes, tag, ErrorCode::TOKEN_INVALID)?;
    Ok((token.attributes, body))
}

fn derive<A: Kind>(
    sealing: &Secret<32>,
    nonce: &[u8; NONCE_SIZE],
    domain: &Domain,
) -> Result<Secret<32>, ErrorCode> {
    let mut key = Secret::zeroed();
    kbkdf::derive(sealing.expose(), A::PURPOSE, &[nonce, domain.id().as_bytes()], &mut key)?;
    Ok(key)
}
