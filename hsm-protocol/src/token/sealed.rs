//! Tokens under the domain key that are not key tokens: prepared key pairs, import tokens, and
//! attested recipients.
//!
//! ```text
//! version u8 | domain [16] | domain key u32 LE | attributes | nonce [16]
//! | AES-256-GCM(body) | tag [16]
//! ```
//! Everything before the body is additional data. The sealing key is derived from the domain key
//! and the nonce, so it is used once and the IV is constant zero.
//!
//! | version | attributes | body |
//! |---|---|---|
//! | 0x42 prepared key pair | spec u8, purpose u8 | the secret |
//! | 0x43 prepared key pair of a guarded key | spec u8, approvals u8, officers u8 | the secret |
//! | 0x51 import token | key id \[17\], spec, usage, wrapping spec, algorithm u8, expiry u64 LE | the wrapping secret |
//! | 0x61 attested recipient | expiry u64 LE | the public key, DER |
//!
//! Version 0x41, a prepared pair without a purpose, is withdrawn: no device takes it any more.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{NONCE_SIZE, TAG_SIZE};
use crate::bytes::{concat, take};
use crate::domain::Rule;
use crate::error::ErrorCode;
use crate::id::{DomainId, KeyId};
use crate::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};

/// Longest body, in bytes: the public key of RSA_4096 with room to spare.
pub const MAX_BODY: usize = 1024;
/// Longest attributes, in bytes.
pub const MAX_ATTRIBUTES: usize = ImportToken::SIZE;
/// Bytes before the attributes.
const FRONT_SIZE: usize = 1 + DomainId::SIZE + 4;
/// Longest token, in bytes.
pub const MAX_SIZE: usize = FRONT_SIZE + MAX_ATTRIBUTES + NONCE_SIZE + MAX_BODY + TAG_SIZE;

/// What a token says of its body.
pub trait Attributes: Sized {
    /// The first byte of the token.
    const VERSION: u8;
    /// Length of the attributes in bytes, at most [`MAX_ATTRIBUTES`].
    const SIZE: usize;

    /// Writes [`Attributes::SIZE`] bytes to the front of `out`; `None` if it is shorter.
    fn write(&self, out: &mut [u8]) -> Option<()>;

    /// Reads [`Attributes::SIZE`] bytes off the front of `input`.
    fn read(input: &mut &[u8]) -> Option<Self>;
}

/// What a prepared key pair may become. Chosen when the device hands it out, authenticated in its
/// token, and checked by the device: the command of one purpose refuses the pairs of the others, so
/// that a private half which one command answers in the clear is never that of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PairPurpose(pub u8);

impl PairPurpose {
    /// The material of a key (`AdoptKeyPair`): the private half never leaves.
    pub const KEY: Self = Self(1);
    /// A data key pair (`GenerateDataKeyPair` and its kin): the private half is answered.
    pub const DATA_KEY_PAIR: Self = Self(2);
    /// The wrapping key of an import (`ParametersForImport`): the private half never leaves.
    pub const IMPORT: Self = Self(3);

    /// Every purpose, in the order of its number.
    pub const ALL: [Self; 3] = [Self::KEY, Self::DATA_KEY_PAIR, Self::IMPORT];

    /// The name; `None` for a purpose this build does not know.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::KEY => Some("KEY"),
            Self::DATA_KEY_PAIR => Some("DATA_KEY_PAIR"),
            Self::IMPORT => Some("IMPORT"),
            _ => None,
        }
    }
}

impl fmt::Debug for PairPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "PairPurpose({})", self.0),
        }
    }
}

/// A key pair without a key: what a device found between requests. A host must use it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreparedPair {
    /// The type of the pair.
    pub spec: KeySpec,
    /// What it may become.
    pub purpose: PairPurpose,
}

/// A key pair that becomes the material of no key but one with this approval rule. The rule is in the pair
/// and not in the request for the key: else a host could make two keys of one pair, one without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardedPair {
    /// The type of the pair.
    pub spec: KeySpec,
    /// How many operators approve each use of the key.
    pub rule: Rule,
}

/// The private half of an import: unwraps material for one key, one way, until it expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImportToken {
    /// The key that the material is for.
    pub key: KeyId,
    /// Its spec.
    pub spec: KeySpec,
    /// Its usage.
    pub usage: KeyUsage,
    /// The wrapping key's spec.
    pub wrapping: KeySpec,
    /// The wrapping algorithm.
    pub algorithm: WrappingAlgorithm,
    /// End of validity, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

/// The key of an attested environment: results may be sealed to it until it expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttestedRecipient {
    /// End of validity, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

impl Attributes for PreparedPair {
    const VERSION: u8 = 0x42;
    const SIZE: usize = 2;

    fn write(&self, out: &mut [u8]) -> Option<()> {
        concat(out, &[&[self.spec.0, self.purpose.0]]).map(|_| ())
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let [spec, purpose] = *take(input)?;
        Some(Self { spec: KeySpec(spec), purpose: PairPurpose(purpose) })
    }
}

impl Attributes for GuardedPair {
    const VERSION: u8 = 0x43;
    const SIZE: usize = 3;

    fn write(&self, out: &mut [u8]) -> Option<()> {
        concat(out, &[&[self.spec.0, self.rule.total, self.rule.officers]]).map(|_| ())
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let [spec, total, officers] = *take(input)?;
        let rule = Rule { total, officers };
        (total > 0 && officers <= total).then_some(Self { spec: KeySpec(spec), rule })
    }
}

impl Attributes for ImportToken {
    const VERSION: u8 = 0x51;
    const SIZE: usize = KeyId::SIZE + 4 + 8;

    fn write(&self, out: &mut [u8]) -> Option<()> {
        let kinds = [self.spec.0, self.usage.0, self.wrapping.0, self.algorithm.0];
        let parts: [&[u8]; 3] = [&self.key.to_bytes(), &kinds, &self.expires_ms.to_le_bytes()];
        concat(out, &parts).map(|_| ())
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let key = KeyId::from_bytes(take(input)?)?;
        let [spec, usage, wrapping, algorithm] = *take(input)?;
        Some(Self {
            key,
            spec: KeySpec(spec),
            usage: KeyUsage(usage),
            wrapping: KeySpec(wrapping),
            algorithm: WrappingAlgorithm(algorithm),
            expires_ms: u64::from_le_bytes(*take(input)?),
        })
    }
}

impl Attributes for AttestedRecipient {
    const VERSION: u8 = 0x61;
    const SIZE: usize = 8;

    fn write(&self, out: &mut [u8]) -> Option<()> {
        concat(out, &[&self.expires_ms.to_le_bytes()]).map(|_| ())
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Some(Self { expires_ms: u64::from_le_bytes(*take(input)?) })
    }
}

/// A sealed token, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed<'a, A> {
    /// The domain whose key seals it.
    pub domain: DomainId,
    /// Which of the domain's keys.
    pub domain_key: u32,
    /// The attributes, not yet authenticated.
    pub attributes: A,
    /// Input of the derivation of the sealing key.
    pub nonce: &'a [u8; NONCE_SIZE],
    /// The authenticated header.
    pub header: &'a [u8],
    /// Encrypted body and tag.
    pub sealed: &'a [u8],
}

impl<'a, A: Attributes> Sealed<'a, A> {
    /// Length of the header in bytes.
    #[allow(clippy::arithmetic_side_effects)]
    pub const HEADER_SIZE: usize = FRONT_SIZE + A::SIZE + NONCE_SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::TOKEN_MALFORMED`].
    pub fn parse(token: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(token).ok_or(ErrorCode::TOKEN_MALFORMED)
    }

    fn read(token: &'a [u8]) -> Option<Self> {
        let (header, sealed) = token.split_at_checked(Self::HEADER_SIZE)?;
        if !(TAG_SIZE..=MAX_BODY.checked_add(TAG_SIZE)?).contains(&sealed.len()) {
            return None;
        }
        let mut rest = header;
        if *take::<1>(&mut rest)? != [A::VERSION] {
            return None;
        }
        let domain = DomainId(*take(&mut rest)?);
        let domain_key = u32::from_le_bytes(*take(&mut rest)?);
        let attributes = A::read(&mut rest)?;
        Some(Self { domain, domain_key, attributes, nonce: take(&mut rest)?, header, sealed })
    }

    /// Writes the header at the start of `out` and returns header and rest.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`Sealed::HEADER_SIZE`].
    pub fn write_header<'o>(
        domain: &DomainId,
        domain_key: u32,
        attributes: &A,
        nonce: &[u8; NONCE_SIZE],
        out: &'o mut [u8],
    ) -> Result<(&'o mut [u8], &'o mut [u8]), ErrorCode> {
        let (header, rest) =
            out.split_at_mut_checked(Self::HEADER_SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let mut coded = [0; MAX_ATTRIBUTES];
        let coded = coded.get_mut(..A::SIZE).ok_or(ErrorCode::INTERNAL)?;
        attributes.write(coded).ok_or(ErrorCode::INTERNAL)?;
        let parts: [&[u8]; 5] =
            [&[A::VERSION], domain.as_bytes(), &domain_key.to_le_bytes(), coded, nonce];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        Ok((header, rest))
    }
}
