//! State and keys of a domain on their way from one member to another: one-pass ECDH
//! (SP 800-56A r3, 6.2.2.2, C(1e, 1s)), signed by the member that exports.

use hsm_protocol::curve::{Curve, KeyPair};
use hsm_protocol::domain::{DomainState, Member};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::token::{DOMAIN_TOKEN_LABEL, DomainToken, TAG_SIZE};
use hsm_protocol::{DeviceId, ErrorCode};
use p256::SecretKey;
use rand_core::CryptoRng;

use super::domain::{self, Domain, MAX_ENCODED};
use super::identity::Identity;
use crate::aead::{self, ZERO_IV};
use crate::curve::BoardCurve;
use crate::kbkdf::{self, Purpose};
use crate::secret::Secret;

/// Longest domain token, in bytes.
pub(crate) const MAX_TOKEN: usize = DomainToken::OVERHEAD + MAX_ENCODED;
const MAX_SIGNED: usize = DOMAIN_TOKEN_LABEL.len() + MAX_TOKEN;

/// Wraps the domain to another member into the front of `out`; returns the token's length.
///
/// # Errors
/// [`ErrorCode::CHANGE_INVALID`] if the device is not a member; [`ErrorCode::KEYS_MISSING`];
/// [`ErrorCode::IDENTITY_INVALID`] for a bad join key; [`ErrorCode::TOO_LARGE`] if `out` is shorter
/// than [`MAX_TOKEN`] and the domain needs it.
pub(crate) fn export(
    domain: &Domain,
    exporter: &Identity,
    device: DeviceId,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let state = domain.state()?;
    let member = state.member(device).ok_or(ErrorCode::CHANGE_INVALID)?;
    if !domain.has_keys() {
        return Err(ErrorCode::KEYS_MISSING);
    }
    let ephemeral = KeyPair::generate(exporter.curve(), rng)?;
    let (header, rest) = DomainToken::write_header(
        &state.domain,
        state.version,
        &exporter.device_id(),
        &device,
        &ephemeral.public(),
        out,
    )?;
    let key = agree(exporter.curve(), ephemeral.secret(), &member.join, header)?;
    let length = domain.write(rest)?;
    let (body, rest) = rest.split_at_mut_checked(length).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    *tag = aead::seal(&key, &ZERO_IV, header, body)?;

    let signed = DomainToken::HEADER_SIZE.saturating_add(length).saturating_add(TAG_SIZE);
    let (token, rest) = out.split_at_mut_checked(signed).ok_or(ErrorCode::TOO_LARGE)?;
    let signature = rest.first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
    let mut message = [0; MAX_SIGNED];
    *signature = exporter.sign(message_of(token, &mut message)?, rng)?.to_bytes();
    signed.checked_add(signature.len()).ok_or(ErrorCode::TOO_LARGE)
}

/// Opens a token that another member made for this device into `domain`, where there is none after an
/// error. The exporter is a member of `trusted`; of the state inside the token, if there is none yet.
///
/// # Errors
/// [`ErrorCode::DOMAIN_TOKEN_INVALID`] alike for every fault of the token.
pub(crate) fn import(
    own: &Identity,
    trusted: Option<&DomainState>,
    token: &[u8],
    domain: &mut Domain,
) -> Result<(), ErrorCode> {
    domain.clear();
    let imported = open_into(own, trusted, token, domain);
    if imported.is_none() {
        domain.clear();
    }
    imported.ok_or(ErrorCode::DOMAIN_TOKEN_INVALID)
}

fn open_into(
    own: &Identity,
    trusted: Option<&DomainState>,
    token: &[u8],
    domain: &mut Domain,
) -> Option<()> {
    let token = DomainToken::parse(token).ok()?;
    if token.joiner != own.device_id() {
        return None;
    }
    let verify = |exporter: &Member| {
        let mut message = [0; MAX_SIGNED];
        let message = message_of(token.signed, &mut message).ok()?;
        own.curve().verify(&exporter.signing, message, &token.signature).ok()
    };
    if let Some(trusted) = trusted {
        verify(trusted.member(token.exporter)?)?;
    }
    let key = agree(own.curve(), own.join(), &token.ephemeral, token.header).ok()?;
    let mut encoded = domain::buffer();
    domain.read(open(&key, &token, &mut *encoded)?)?;
    let state = domain.state().ok()?;
    if trusted.is_none() {
        verify(state.member(token.exporter)?)?;
    }
    (state.domain == token.domain && state.version == token.version).then_some(())
}

fn open<'s>(key: &Secret<32>, token: &DomainToken<'_>, out: &'s mut [u8]) -> Option<&'s [u8]> {
    let (body, tag) = token.sealed.split_last_chunk::<TAG_SIZE>()?;
    let out = out.get_mut(..body.len())?;
    out.copy_from_slice(body);
    aead::open(key, &ZERO_IV, token.header, out, tag, ErrorCode::DOMAIN_TOKEN_INVALID).ok()?;
    Some(out)
}

/// The wrapping key: ECDH, then extract and expand (SP 800-56C r2, 5).
fn agree(
    curve: &BoardCurve,
    own: &SecretKey,
    other: &PublicKey,
    header: &[u8],
) -> Result<Secret<32>, ErrorCode> {
    let shared = curve.agree(own, &other.to_point()?)?;
    let mut extracted = Secret::zeroed();
    kbkdf::extract(&*shared, &mut extracted)?;
    let mut key = Secret::zeroed();
    kbkdf::derive(extracted.expose(), Purpose::DomainToken, &[header], &mut key)?;
    Ok(key)
}

fn message_of<'m>(signed: &[u8], out: &'m mut [u8; MAX_SIGNED]) -> Result<&'m [u8], ErrorCode> {
    let message = hsm_protocol::bytes::concat(out, &[DOMAIN_TOKEN_LABEL, signed]);
    message.map(|message| &*message).ok_or(ErrorCode::TOO_LARGE)
}
