//! Domain state on its way from a member to a joining device: one-pass ECDH
//! (SP 800-56A r3, 6.2.2.2, C(1e, 1s)), signed by the member.

use hsm_protocol::ErrorCode;
use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::token::{DOMAIN_TOKEN_LABEL, DomainToken, TAG_SIZE};
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::domain::{Domain, MAX_STATE};
use super::identity::Identity;
use crate::aead::{self, ZERO_IV};
use crate::kbkdf::{self, Purpose};
use crate::secret::Secret;

/// Longest domain token, in bytes.
pub(crate) const MAX_TOKEN: usize = DomainToken::OVERHEAD + MAX_STATE;
const MAX_SIGNED: usize = DOMAIN_TOKEN_LABEL.len() + MAX_TOKEN;

/// Wraps the domain to the joiner into the front of `out`; returns the token's length.
///
/// # Errors
/// [`ErrorCode::IDENTITY_INVALID`] for a bad join key; [`ErrorCode::TOO_LARGE`] if `out` is
/// shorter than [`MAX_TOKEN`] and the state needs it.
pub(crate) fn export(
    domain: &Domain,
    exporter: &Identity,
    joiner: &IdentityDocument,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let mut rng = rng;
    let ephemeral = SecretKey::generate_from_rng(&mut rng);
    let ephemeral_public = PublicKey::from_point(&ephemeral.public_key());
    let (header, rest) = DomainToken::write_header(
        domain.id(),
        domain.version(),
        &exporter.device_id(),
        &joiner.device_id(),
        &ephemeral_public,
        out,
    )?;
    let key = agree(&ephemeral, &joiner.join, header)?;
    let length = domain.write(rest)?;
    let (body, rest) = rest.split_at_mut_checked(length).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    *tag = aead::seal(&key, &ZERO_IV, header, body)?;

    let signed = DomainToken::HEADER_SIZE.saturating_add(length).saturating_add(TAG_SIZE);
    let (token, rest) = out.split_at_mut_checked(signed).ok_or(ErrorCode::TOO_LARGE)?;
    let signature = rest.first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
    let mut message = [0; MAX_SIGNED];
    *signature = exporter.sign(message_of(token, &mut message)?)?.to_bytes();
    signed.checked_add(signature.len()).ok_or(ErrorCode::TOO_LARGE)
}

/// Opens a token that an approved exporter made for this device into `domain`, where there is none
/// after an error.
///
/// # Errors
/// [`ErrorCode::DOMAIN_TOKEN_INVALID`] alike for every fault of the token.
pub(crate) fn import(
    own: &Identity,
    exporter: &IdentityDocument,
    token: &[u8],
    domain: &mut Domain,
) -> Result<(), ErrorCode> {
    let token = DomainToken::parse(token)?;
    let meant = token.joiner == own.device_id() && token.exporter == exporter.device_id();
    if !meant {
        return Err(ErrorCode::DOMAIN_TOKEN_INVALID);
    }
    let invalid = |_| ErrorCode::DOMAIN_TOKEN_INVALID;
    let mut message = [0; MAX_SIGNED];
    let message = message_of(token.signed, &mut message).map_err(invalid)?;
    token.signature.verify(&exporter.signing, message).map_err(invalid)?;

    let key = agree(own.join(), &token.ephemeral, token.header).map_err(invalid)?;
    let mut state = Zeroizing::new([0; MAX_STATE]);
    let read = open(&key, &token, &mut *state).and_then(|state| domain.read(state));
    let meant = *domain.id() == token.domain
        && domain.version() == token.version
        && domain.has_member(&own.device_id());
    match (read, meant) {
        (Some(()), true) => Ok(()),
        _ => {
            domain.clear();
            Err(ErrorCode::DOMAIN_TOKEN_INVALID)
        }
    }
}

fn open<'s>(key: &Secret<32>, token: &DomainToken<'_>, state: &'s mut [u8]) -> Option<&'s [u8]> {
    let (body, tag) = token.sealed.split_last_chunk::<TAG_SIZE>()?;
    let state = state.get_mut(..body.len())?;
    state.copy_from_slice(body);
    aead::open(key, &ZERO_IV, token.header, state, tag, ErrorCode::DOMAIN_TOKEN_INVALID).ok()?;
    Some(state)
}

fn agree(own: &SecretKey, peer: &PublicKey, header: &[u8]) -> Result<Secret<32>, ErrorCode> {
    let peer = peer.to_point()?;
    let shared = p256::ecdh::diffie_hellman(own.to_nonzero_scalar(), peer.as_affine());
    let mut extracted = Secret::zeroed();
    kbkdf::extract(shared.raw_secret_bytes(), &mut extracted)?;
    let mut key = Secret::zeroed();
    kbkdf::derive(extracted.expose(), Purpose::DomainToken, &[header], &mut key)?;
    Ok(key)
}

fn message_of<'m>(signed: &[u8], out: &'m mut [u8; MAX_SIGNED]) -> Result<&'m [u8], ErrorCode> {
    let message = hsm_protocol::bytes::concat(out, &[DOMAIN_TOKEN_LABEL, signed]);
    message.map(|message| &*message).ok_or(ErrorCode::TOO_LARGE)
}
