//! Key tokens: a secret under the domain key, its attributes authenticated.

use hsm_protocol::domain::Rule;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use hsm_protocol::token::{History, KeyAttributes, KeyToken, NONCE_SIZE, TAG_SIZE};
use hsm_protocol::{ErrorCode, KeyId, MaterialId};
use rand_core::CryptoRng;

use super::domain::Domain;
use crate::aead::{self, ZERO_IV};
use crate::kbkdf::{self, Purpose};
use crate::secret::{Secret, SecretBuf};

/// Identifies key material: a pseudo-random function of the material and its key id, so the same
/// material imported twice has the same id, and the id says nothing of the material.
///
/// # Errors
/// [`ErrorCode::INTERNAL`] only.
pub fn material_id(secret: &SecretBuf, key: KeyId) -> Result<MaterialId, ErrorCode> {
    let mut id = Secret::zeroed();
    kbkdf::derive(secret.expose(), Purpose::MaterialId, &[&key.to_bytes()], &mut id)?;
    Ok(MaterialId(*id.expose()))
}

/// What a new token says of its key.
#[derive(Clone, Copy, Debug)]
pub struct NewAttributes {
    /// The KMS key.
    pub key: KeyId,
    /// The type of key.
    pub spec: KeySpec,
    /// Its only usage.
    pub usage: KeyUsage,
    /// Where the material came from.
    pub origin: Origin,
    /// What has happened to it so far.
    pub history: History,
    /// The operators who have to approve each use.
    pub approval: Option<Rule>,
}

impl NewAttributes {
    /// Those of a token that replaces another one.
    #[must_use]
    pub const fn of(attributes: &KeyAttributes) -> Self {
        let KeyAttributes { key, spec, usage, origin, history, approval, .. } = *attributes;
        Self { key, spec, usage, origin, history, approval }
    }
}

/// Wraps a secret under the active domain key into the front of `out`; returns the material id
/// and the token's length.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`KeyToken::MAX_SIZE`] and the token needs it.
pub fn wrap(
    domain: &Domain,
    new: &NewAttributes,
    secret: &SecretBuf,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<(MaterialId, usize), ErrorCode> {
    let (domain_key, wrapping) = domain.active_key()?;
    let material = material_id(secret, new.key)?;
    let attributes = KeyAttributes {
        domain: *domain.id(),
        domain_key,
        key: new.key,
        material,
        spec: new.spec,
        usage: new.usage,
        origin: new.origin,
        history: new.history,
        approval: new.approval,
    };
    let mut nonce = [0; NONCE_SIZE];
    rng.fill_bytes(&mut nonce);
    let key = token_key(wrapping, &nonce, domain)?;
    let (header, rest) = attributes.write(&nonce, out)?;
    let secret = secret.expose();
    let (body, rest) = rest.split_at_mut_checked(secret.len()).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    body.copy_from_slice(secret);
    *tag = aead::seal(&key, &ZERO_IV, header, body)?;
    let length = KeyToken::HEADER_SIZE.saturating_add(secret.len()).saturating_add(TAG_SIZE);
    Ok((material, length))
}

/// Wraps a secret that was under another token anew, changed by `change`. What is known of the domain key
/// that it was under goes along.
///
/// # Errors
/// Those of [`wrap`]; [`ErrorCode::TOKEN_INVALID`] if the domain has that key no more.
pub fn rewrap(
    domain: &Domain,
    former: &KeyAttributes,
    change: impl FnOnce(&mut NewAttributes),
    secret: &SecretBuf,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<(MaterialId, usize), ErrorCode> {
    let mut new = NewAttributes::of(former);
    new.history = new.history.and(domain.history(former.domain_key)?);
    change(&mut new);
    wrap(domain, &new, secret, rng, out)
}

/// Unwraps a token into `secret` and returns its attributes, which are authentic then.
///
/// # Errors
/// [`ErrorCode::TOKEN_MALFORMED`], [`ErrorCode::TOKEN_DOMAIN`], [`ErrorCode::TOKEN_INVALID`].
pub fn unwrap(
    domain: &Domain,
    token: &[u8],
    secret: &mut SecretBuf,
) -> Result<KeyAttributes, ErrorCode> {
    let token = KeyToken::parse(token)?;
    let attributes = token.attributes;
    if attributes.domain != *domain.id() {
        return Err(ErrorCode::TOKEN_DOMAIN);
    }
    let wrapping = domain.key(attributes.domain_key)?;
    let key = token_key(wrapping, token.nonce, domain)?;
    let (body, tag) = token.sealed.split_last_chunk().ok_or(ErrorCode::TOKEN_MALFORMED)?;
    let secret = secret.resize(body.len())?;
    secret.copy_from_slice(body);
    aead::open(&key, &ZERO_IV, token.header, secret, tag, ErrorCode::TOKEN_INVALID)?;
    Ok(attributes)
}

fn token_key(
    wrapping: &Secret<32>,
    nonce: &[u8; NONCE_SIZE],
    domain: &Domain,
) -> Result<Secret<32>, ErrorCode> {
    let mut key = Secret::zeroed();
    let context: [&[u8]; 2] = [nonce, domain.id().as_bytes()];
    kbkdf::derive(wrapping.expose(), Purpose::KeyToken, &context, &mut key)?;
    Ok(key)
}
