//! Multi-Region keys on their way from one domain to another: one-pass ECDH with the replication
//! keys of both domains (SP 800-56A r3, 6.2.1.2, C(1e, 2s)).

use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::curve::{Curve, KeyPair};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::token::TAG_SIZE;
use hsm_protocol::token::replica::{ReplicaAttributes, ReplicaToken};
use hsm_protocol::{ErrorCode, MaterialId};
use p256::SecretKey;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::domain::Domain;
use super::wrap::{self, NewAttributes};
use crate::aead::{self, ZERO_IV};
use crate::curve::BoardCurve;
use crate::kbkdf::{self, Purpose};
use crate::secret::{Secret, SecretBuf};

/// Tries to derive a scalar. A try fails once in 2^32 domains.
const MAX_TRIES: u8 = 8;

/// The replication key pair of a domain, which every member has: derived from a domain key, with
/// candidates that are not scalars of the curve passed over (FIPS 186-5 A.2.2).
pub(crate) struct ReplicationPair {
    pair: KeyPair,
    /// What other domains know it by.
    pub(crate) info: DomainKeyInfo,
}

impl ReplicationPair {
    /// The pair of the active domain key.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub(crate) fn active(curve: &BoardCurve, domain: &Domain) -> Result<Self, ErrorCode> {
        let (id, key) = domain.active_key()?;
        Self::derive(curve, domain, id, key)
    }

    /// The pair of any domain key that the domain still has.
    ///
    /// # Errors
    /// [`ErrorCode::TOKEN_INVALID`] if it does not.
    fn of_key(curve: &BoardCurve, domain: &Domain, id: u32) -> Result<Self, ErrorCode> {
        Self::derive(curve, domain, id, domain.key(id)?)
    }

    fn derive(
        curve: &BoardCurve,
        domain: &Domain,
        id: u32,
        key: &Secret<32>,
    ) -> Result<Self, ErrorCode> {
        for attempt in 0..MAX_TRIES {
            let mut candidate = Secret::zeroed();
            let context: [&[u8]; 2] = [domain.id().as_bytes(), &[attempt]];
            kbkdf::derive(key.expose(), Purpose::ReplicationKey, &context, &mut candidate)?;
            if let Ok(secret) = SecretKey::from_slice(candidate.expose()) {
                let pair = KeyPair::new(curve, secret)?;
                let public = pair.public();
                let info = DomainKeyInfo { domain: *domain.id(), domain_key: id, public };
                return Ok(Self { pair, info });
            }
        }
        Err(ErrorCode::INTERNAL)
    }
}

/// Wraps a key for an approved domain into the front of `out`; returns the token's length.
///
/// # Errors
/// [`ErrorCode::PEER_DENIED`] if the approved key is not a point; [`ErrorCode::TOO_LARGE`] if `out`
/// is shorter than [`ReplicaToken::MAX_SIZE`] and the token needs it.
pub(crate) fn export(
    (domain, curve): (&Domain, &BoardCurve),
    peer: &DomainKeyInfo,
    (new, material): (&NewAttributes, MaterialId),
    secret: &SecretBuf,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let own = ReplicationPair::active(curve, domain)?;
    let ephemeral = KeyPair::generate(curve, rng)?;
    let attributes = ReplicaAttributes {
        source: (own.info.domain, own.info.domain_key),
        target: (peer.domain, peer.domain_key),
        key: new.key,
        material,
        spec: new.spec,
        usage: new.usage,
        origin: new.origin,
    };
    let (header, rest) = attributes.write(&ephemeral.public(), out)?;
    let halves = [(ephemeral.secret(), &peer.public), (own.pair.secret(), &peer.public)];
    let key = agree(curve, halves, header).map_err(|_| ErrorCode::PEER_DENIED)?;
    let secret = secret.expose();
    let (body, rest) = rest.split_at_mut_checked(secret.len()).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    body.copy_from_slice(secret);
    *tag = aead::seal(&key, &ZERO_IV, header, body)?;
    let length = ReplicaToken::HEADER_SIZE.saturating_add(secret.len());
    length.checked_add(TAG_SIZE).ok_or(ErrorCode::TOO_LARGE)
}

/// Opens a token that an approved domain made for this one, into `secret`.
///
/// # Errors
/// [`ErrorCode::TOKEN_MALFORMED`]; [`ErrorCode::TOKEN_DOMAIN`] if it is of or for another domain;
/// [`ErrorCode::TOKEN_INVALID`].
pub(crate) fn import(
    (domain, curve): (&Domain, &BoardCurve),
    peer: &DomainKeyInfo,
    token: &[u8],
    secret: &mut SecretBuf,
) -> Result<ReplicaAttributes, ErrorCode> {
    let token = ReplicaToken::parse(token)?;
    let attributes = token.attributes;
    let (target, target_key) = attributes.target;
    if target != *domain.id() || attributes.source != (peer.domain, peer.domain_key) {
        return Err(ErrorCode::TOKEN_DOMAIN);
    }
    let own = ReplicationPair::of_key(curve, domain, target_key)?;
    let halves = [(own.pair.secret(), &token.ephemeral), (own.pair.secret(), &peer.public)];
    let key = agree(curve, halves, token.header).map_err(|_| ErrorCode::TOKEN_INVALID)?;
    let (body, tag) = token.sealed.split_last_chunk().ok_or(ErrorCode::TOKEN_MALFORMED)?;
    let bytes = secret.resize(body.len())?;
    bytes.copy_from_slice(body);
    aead::open(&key, &ZERO_IV, token.header, bytes, tag, ErrorCode::TOKEN_INVALID)?;
    // What the other domain calls the material must be what this one will.
    match wrap::material_id(secret, attributes.key)? == attributes.material {
        true => Ok(attributes),
        false => Err(ErrorCode::TOKEN_INVALID),
    }
}

/// The wrapping key: ephemeral secret, then static secret, extracted and expanded
/// (SP 800-56C r2, 5).
fn agree(
    curve: &BoardCurve,
    halves: [(&SecretKey, &PublicKey); 2],
    header: &[u8],
) -> Result<Secret<32>, ErrorCode> {
    let mut shared = Zeroizing::new([0; 64]);
    for (out, (own, other)) in shared.chunks_exact_mut(32).zip(halves) {
        out.copy_from_slice(&*curve.agree(own, &other.to_point()?)?);
    }
    let mut extracted = Secret::zeroed();
    kbkdf::extract(&*shared, &mut extracted)?;
    let mut key = Secret::zeroed();
    kbkdf::derive(extracted.expose(), Purpose::ReplicaToken, &[header], &mut key)?;
    Ok(key)
}
