//! A multi-Region key on its way from one domain to another.

use super::TAG_SIZE;
use crate::bytes::{concat, take};
use crate::error::ErrorCode;
use crate::id::{DomainId, KeyId, MaterialId};
use crate::identity::PublicKey;
use crate::key_spec::{KeySpec, KeyUsage, MAX_SECRET, Origin};

const REPLICA_TOKEN_V1: u8 = 0x71;

/// What a replica token says. All of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaAttributes {
    /// The domain it comes from, and its domain key.
    pub source: (DomainId, u32),
    /// The only domain that can open it, and its domain key.
    pub target: (DomainId, u32),
    /// The KMS key.
    pub key: KeyId,
    /// The key material.
    pub material: MaterialId,
    /// The type of key.
    pub spec: KeySpec,
    /// Its only usage.
    pub usage: KeyUsage,
    /// Where the material came from.
    pub origin: Origin,
}

/// A replica token, version 1.
///
/// ```text
/// version 0x71 | source domain [16] | source domain key u32 LE
/// | target domain [16] | target domain key u32 LE | key id [17] | material id [32]
/// | spec u8 | usage u8 | origin u8 | ephemeral key [33]
/// | AES-256-GCM(secret) | tag [16]
/// ```
/// The header up to and including the ephemeral key is additional data. The wrapping key comes
/// from one-pass ECDH with two static keys, the replication keys of both domains (SP 800-56A
/// 6.2.1.2, C(1e, 2s)): only the target opens it, only the source can have made it. It is used
/// once, so the IV is constant zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaToken<'a> {
    /// The attributes, not yet authenticated.
    pub attributes: ReplicaAttributes,
    /// The exporting device's ephemeral public key.
    pub ephemeral: PublicKey,
    /// The authenticated header.
    pub header: &'a [u8],
    /// Encrypted secret and tag.
    pub sealed: &'a [u8],
}

impl ReplicaAttributes {
    /// Writes the token's header and returns it with the bytes after it.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`ReplicaToken::HEADER_SIZE`].
    pub fn write<'o>(
        &self,
        ephemeral: &PublicKey,
        out: &'o mut [u8],
    ) -> Result<(&'o mut [u8], &'o mut [u8]), ErrorCode> {
        let (header, rest) =
            out.split_at_mut_checked(ReplicaToken::HEADER_SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let ((source, source_key), (target, target_key)) = (self.source, self.target);
        let parts: [&[u8]; 9] = [
            &[REPLICA_TOKEN_V1],
            source.as_bytes(),
            &source_key.to_le_bytes(),
            target.as_bytes(),
            &target_key.to_le_bytes(),
            &self.key.to_bytes(),
            self.material.as_bytes(),
            &[self.spec.0, self.usage.0, self.origin.0],
            &ephemeral.to_bytes(),
        ];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        Ok((header, rest))
    }
}

impl<'a> ReplicaToken<'a> {
    /// Length of the header in bytes.
    pub const HEADER_SIZE: usize =
        1 + 2 * (DomainId::SIZE + 4) + KeyId::SIZE + MaterialId::SIZE + 3 + PublicKey::SIZE;
    /// Longest token in bytes.
    pub const MAX_SIZE: usize = Self::HEADER_SIZE + MAX_SECRET + TAG_SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::TOKEN_MALFORMED`].
    pub fn parse(token: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(token).ok_or(ErrorCode::TOKEN_MALFORMED)
    }

    fn read(token: &'a [u8]) -> Option<Self> {
        let (header, sealed) = token.split_at_checked(Self::HEADER_SIZE)?;
        if !(TAG_SIZE..=MAX_SECRET.checked_add(TAG_SIZE)?).contains(&sealed.len()) {
            return None;
        }
        let mut rest = header;
        let [REPLICA_TOKEN_V1] = take(&mut rest)? else { return None };
        let mut domain = || {
            let domain = DomainId(*take(&mut rest)?);
            Some((domain, u32::from_le_bytes(*take(&mut rest)?)))
        };
        let (source, target) = (domain()?, domain()?);
        let key = KeyId::from_bytes(take(&mut rest)?)?;
        let material = MaterialId(*take(&mut rest)?);
        let [spec, usage, origin] = *take(&mut rest)?;
        let (spec, usage, origin) = (KeySpec(spec), KeyUsage(usage), Origin(origin));
        let attributes = ReplicaAttributes { source, target, key, material, spec, usage, origin };
        let ephemeral = PublicKey { tag: take::<1>(&mut rest)?[0], x: *take(&mut rest)? };
        Some(Self { attributes, ephemeral, header, sealed })
    }
}
