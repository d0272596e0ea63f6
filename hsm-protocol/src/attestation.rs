//! Statements of a device about itself and about a key, signed with its certified identity.
//!
//! A statement is an Entity Attestation Token (EAT, RFC 9711): a CBOR map of claims in a COSE_Sign1
//! message (RFC 9052) of ES256 under the identity signing key, so that any COSE library checks it. The
//! claims are written in the one deterministic encoding (RFC 8949 4.2.1); what is not is refused.
//!
//! | claim | value |
//! |---|---|
//! | 10 `eat_nonce` | bytes, 8 to 64: chosen by the verifier, shows that the statement is fresh |
//! | 256 `ueid` | bytes, 17: `01`, then the device id |
//! | 265 `eat_profile` | [`PROFILE`] |
//! | 271 `swversion` | array of one text: the firmware's version |
//! | `"key"` | map, in a statement about a key: [`KeyClaims`] |
//! | `"boot"` | unsigned: boots of the device so far |
//! | `"kind"` | text: what the device knows itself to be ([`DeviceKind::name`]) |
//! | `"board"` | text |
//! | `"domain"` | map, if the device belongs to one: [`DomainClaims`] |
//! | `"measurement"` | bytes, 32: SHA-256 of the firmware image, measured at boot; not if the device runs in an operating system |
//!
//! | in `"domain"` | value | | in `"key"` | value |
//! |---|---|---|---|---|
//! | `"id"` | bytes, 16 | | `"id"` | bytes, 16: of the KMS key |
//! | `"kind"` | `"production"`, `"development"` | | `"spec"`, `"usage"`, `"origin"` | text, as in the KMS API |
//! | `"state"` | bytes, 32: hash of the state | | `"public"` | bytes: DER `SubjectPublicKeyInfo`; not if symmetric |
//! | `"version"` | unsigned | | `"history"` | array of texts: [`History::names`] |
//! | `"soft-members"` | unsigned: members that are not hardware | | `"approval"` | map of `"total"`, `"officers"`; not if nobody has to approve |
//! | | | | `"material"` | bytes, 32 |
//! | | | | `"domain-key"` | unsigned: the key that wraps the token |
//! | | | | `"multi-region"` | bool: may be in other domains |
//! | | | | `"never-outside"` | bool: neither history nor multi-Region say otherwise |

use minicbor::encode::write::Cursor;
use minicbor::{Decoder, Encoder};

use crate::domain::{DeviceKind, Kind, Rule, StateHash};
use crate::error::ErrorCode;
use crate::id::{DeviceId, DomainId, KeyId, MaterialId};
use crate::key_spec::{KeySpec, KeyUsage, Origin};
use crate::token::History;

pub mod cose;

pub use cose::Signed;

/// The profile of these claims.
pub const PROFILE: &str = "urn:uuid:57a67371-72f8-4134-b020-6c46f2f23608";
/// Lengths that a nonce may have, in bytes (RFC 9711 4.1).
pub const NONCE: core::ops::RangeInclusive<usize> = 8..=64;
/// Longest claims, in bytes: the longest public key and what is around it.
pub const MAX_CLAIMS: usize = 3328;
/// Longest statement as a device makes it, in bytes.
pub const MAX_STATEMENT: usize = MAX_CLAIMS + cose::OVERHEAD;

const EAT_NONCE: u16 = 10;
const UEID: u16 = 256;
const EAT_PROFILE: u16 = 265;
const SWVERSION: u16 = 271;
/// A UEID of random bytes (RFC 9711 4.2.1.1).
const UEID_RAND: u8 = 1;

/// SHA-256 of a firmware image as it lies in memory, integrity value included, taken at boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Measurement(pub [u8; 32]);

/// What a statement says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims<'a> {
    /// Chosen by the verifier.
    pub nonce: &'a [u8],
    /// The device.
    pub device: DeviceId,
    /// What the device knows itself to be. Its certificate says what its owner found it to be.
    pub kind: DeviceKind,
    /// The board's name.
    pub board: &'a str,
    /// Version of the firmware.
    pub firmware: &'a str,
    /// The firmware image; `None` on a device in an operating system, which measures nothing.
    pub measurement: Option<Measurement>,
    /// Boots so far.
    pub boot: u64,
    /// The domain that the device belongs to.
    pub domain: Option<DomainClaims>,
    /// The key that the statement is about.
    pub key: Option<KeyClaims<'a>>,
}

/// What a statement says of the device's domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainClaims {
    /// The domain.
    pub id: DomainId,
    /// What it is for.
    pub kind: Kind,
    /// Hash of its state.
    pub state: StateHash,
    /// Version of its state.
    pub version: u32,
    /// Members that are not hardware.
    pub soft_members: u8,
}

/// What a statement says of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyClaims<'a> {
    /// The KMS key.
    pub id: KeyId,
    /// The material.
    pub material: MaterialId,
    /// The type of key.
    pub spec: KeySpec,
    /// Its only usage.
    pub usage: KeyUsage,
    /// Where the material came from.
    pub origin: Origin,
    /// The domain key that wraps the token.
    pub domain_key: u32,
    /// What has happened to the material, and to the domain key that wraps it.
    pub history: History,
    /// The operators who have to approve each use.
    pub approval: Option<Rule>,
    /// The public key, DER `SubjectPublicKeyInfo`; empty for a symmetric key.
    pub public: &'a [u8],
}

impl KeyClaims<'_> {
    /// Whether the material has never been outside the hardware devices of its one production domain.
    #[must_use]
    pub const fn was_never_outside(&self) -> bool {
        self.history.was_never_outside() && !self.id.multi_region
    }
}

type Writer<'o> = Encoder<Cursor<&'o mut [u8]>>;
type Error = minicbor::encode::Error<minicbor::encode::write::EndOfSlice>;

impl<'a> Claims<'a> {
    /// Writes the claims to the front of `out` and returns their length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if they do not fit; [`ErrorCode::INVALID_ARGUMENT`] for a nonce that
    /// is too short or too long; [`ErrorCode::UNSUPPORTED`] for a key of a type this build does not know.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        if !NONCE.contains(&self.nonce.len()) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        let names = self.key.as_ref().map(Names::of).transpose()?;
        let mut cbor = Encoder::new(Cursor::new(out));
        self.write(&mut cbor, names.as_ref()).map_err(|_| ErrorCode::TOO_LARGE)?;
        Ok(cbor.writer().position())
    }

    fn write(&self, cbor: &mut Writer<'_>, names: Option<&Names>) -> Result<(), Error> {
        let optional = [self.key.is_some(), self.domain.is_some(), self.measurement.is_some()];
        cbor.map(count(7, &optional))?;
        cbor.u16(EAT_NONCE)?.bytes(self.nonce)?;
        cbor.u16(UEID)?.bytes(&ueid(&self.device))?;
        cbor.u16(EAT_PROFILE)?.str(PROFILE)?;
        cbor.u16(SWVERSION)?.array(1)?.str(self.firmware)?;
        if let (Some(key), Some(names)) = (&self.key, names) {
            cbor.str("key")?;
            key.write(cbor, names)?;
        }
        cbor.str("boot")?.u64(self.boot)?;
        cbor.str("kind")?.str(self.kind.name())?;
        cbor.str("board")?.str(self.board)?;
        if let Some(domain) = &self.domain {
            cbor.str("domain")?.map(5)?;
            cbor.str("id")?.bytes(domain.id.as_bytes())?;
            cbor.str("kind")?.str(name_of(domain.kind))?;
            cbor.str("state")?.bytes(&domain.state)?;
            cbor.str("version")?.u32(domain.version)?;
            cbor.str("soft-members")?.u8(domain.soft_members)?;
        }
        if let Some(measurement) = &self.measurement {
            cbor.str("measurement")?.bytes(&measurement.0)?;
        }
        Ok(())
    }

    /// Reads claims; any that [`Claims::encode`] would not have written so are refused. Nothing is
    /// authentic here: see [`Signed`].
    ///
    /// # Errors
    /// [`ErrorCode::STATEMENT_INVALID`].
    pub fn decode(encoded: &'a [u8]) -> Result<Self, ErrorCode> {
        let read = || {
            let claims =
                Self::read(&mut Decoder::new(encoded)).filter(|_| encoded.len() <= MAX_CLAIMS)?;
            let mut again = [0; MAX_CLAIMS];
            let length = claims.encode(&mut again).ok()?;
            (again.get(..length)? == encoded).then_some(claims)
        };
        read().ok_or(ErrorCode::STATEMENT_INVALID)
    }

    fn read(cbor: &mut Decoder<'a>) -> Option<Self> {
        let mut left = cbor.map().ok()??;
        let (Some(EAT_NONCE), nonce) = (cbor.u16().ok(), cbor.bytes().ok()?) else { return None };
        let (Some(UEID), ueid) = (cbor.u16().ok(), cbor.bytes().ok()?) else { return None };
        let [UEID_RAND, device @ ..] = <&[u8; 17]>::try_from(ueid).ok()? else { return None };
        let (Some(EAT_PROFILE), Some(PROFILE)) = (cbor.u16().ok(), cbor.str().ok()) else {
            return None;
        };
        let (Some(SWVERSION), Some(Some(1))) = (cbor.u16().ok(), cbor.array().ok()) else {
            return None;
        };
        let firmware = cbor.str().ok()?;
        let (mut key, mut boot, mut kind, mut board) = (None, None, None, None);
        let (mut domain, mut measurement) = (None, None);
        left = left.checked_sub(4)?;
        while left > 0 {
            match cbor.str().ok()? {
                "key" => key = Some(KeyClaims::read(cbor)?),
                "boot" => boot = Some(cbor.u64().ok()?),
                "kind" => kind = Some(cbor.str().ok()?),
                "board" => board = Some(cbor.str().ok()?),
                "domain" => domain = Some(read_domain(cbor)?),
                "measurement" => measurement = Some(Measurement(bytes(cbor)?)),
                _ => return None,
            }
            left = left.checked_sub(1)?;
        }
        let kind = DeviceKind::ALL.into_iter().find(|known| Some(known.name()) == kind)?;
        let (board, boot, device) = (board?, boot?, DeviceId(*device));
        Some(Self { nonce, device, kind, board, firmware, measurement, boot, domain, key })
    }
}

/// The names of a key's type.
struct Names {
    spec: &'static str,
    usage: &'static str,
    origin: &'static str,
}

impl Names {
    fn of(key: &KeyClaims<'_>) -> Result<Self, ErrorCode> {
        let names = || {
            let (spec, usage) = (key.spec.aws_name()?, key.usage.aws_name()?);
            Some(Self { spec, usage, origin: key.origin.aws_name()? })
        };
        names().ok_or(ErrorCode::UNSUPPORTED)
    }
}

impl<'a> KeyClaims<'a> {
    fn write(&self, cbor: &mut Writer<'_>, names: &Names) -> Result<(), Error> {
        cbor.map(count(9, &[!self.public.is_empty(), self.approval.is_some()]))?;
        cbor.str("id")?.bytes(&self.id.bytes)?;
        cbor.str("spec")?.str(names.spec)?;
        cbor.str("usage")?.str(names.usage)?;
        cbor.str("origin")?.str(names.origin)?;
        if !self.public.is_empty() {
            cbor.str("public")?.bytes(self.public)?;
        }
        let facts = self.history.names();
        cbor.str("history")?
            .array(facts.clone().fold(0, |count: u64, _| count.saturating_add(1)))?;
        for fact in facts {
            cbor.str(fact)?;
        }
        if let Some(rule) = &self.approval {
            cbor.str("approval")?.map(2)?;
            cbor.str("total")?.u8(rule.total)?;
            cbor.str("officers")?.u8(rule.officers)?;
        }
        cbor.str("material")?.bytes(self.material.as_bytes())?;
        cbor.str("domain-key")?.u32(self.domain_key)?;
        cbor.str("multi-region")?.bool(self.id.multi_region)?;
        cbor.str("never-outside")?.bool(self.was_never_outside())?;
        Ok(())
    }

    fn read(cbor: &mut Decoder<'a>) -> Option<Self> {
        let mut left = cbor.map().ok()??;
        let (mut id, mut spec, mut usage, mut origin) = (None, None, None, None);
        let (mut public, mut history, mut approval) = (&[][..], None, None);
        let (mut material, mut domain_key, mut multi_region) = (None, None, None);
        while left > 0 {
            match cbor.str().ok()? {
                "id" => id = Some(bytes(cbor)?),
                "spec" => spec = KeySpec::from_aws_name(cbor.str().ok()?),
                "usage" => usage = KeyUsage::from_aws_name(cbor.str().ok()?),
                "origin" => origin = Origin::from_aws_name(cbor.str().ok()?),
                "public" => public = cbor.bytes().ok()?,
                "history" => {
                    let mut facts = History::CLEAN;
                    for _ in 0..cbor.array().ok()?? {
                        facts = facts.and(History::from_name(cbor.str().ok()?)?);
                    }
                    history = Some(facts);
                }
                "approval" => approval = Some(read_rule(cbor)?),
                "material" => material = Some(MaterialId(bytes(cbor)?)),
                "domain-key" => domain_key = Some(cbor.u32().ok()?),
                "multi-region" => multi_region = Some(cbor.bool().ok()?),
                "never-outside" => drop(cbor.bool().ok()?), // follows from the rest
                _ => return None,
            }
            left = left.checked_sub(1)?;
        }
        Some(Self {
            id: KeyId { multi_region: multi_region?, bytes: id? },
            material: material?,
            spec: spec?,
            usage: usage?,
            origin: origin?,
            domain_key: domain_key?,
            history: history?,
            approval,
            public,
        })
    }
}

fn read_rule(cbor: &mut Decoder<'_>) -> Option<Rule> {
    let (Some(Some(2)), Some("total")) = (cbor.map().ok(), cbor.str().ok()) else { return None };
    let (total, Some("officers")) = (cbor.u8().ok()?, cbor.str().ok()) else { return None };
    Some(Rule { total, officers: cbor.u8().ok()? }).filter(|rule| rule.total > 0)
}

fn read_domain(cbor: &mut Decoder<'_>) -> Option<DomainClaims> {
    let mut left = cbor.map().ok()??;
    let (mut id, mut kind, mut state) = (None, None, None);
    let (mut version, mut soft_members) = (None, None);
    while left > 0 {
        match cbor.str().ok()? {
            "id" => id = Some(DomainId(bytes(cbor)?)),
            "kind" => kind = Some(cbor.str().ok()?),
            "state" => state = Some(bytes(cbor)?),
            "version" => version = Some(cbor.u32().ok()?),
            "soft-members" => soft_members = Some(cbor.u8().ok()?),
            _ => return None,
        }
        left = left.checked_sub(1)?;
    }
    let kinds = [Kind::Development, Kind::Production];
    Some(DomainClaims {
        id: id?,
        kind: kinds.into_iter().find(|known| Some(name_of(*known)) == kind)?,
        state: state?,
        version: version?,
        soft_members: soft_members?,
    })
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Development => "development",
        Kind::Production => "production",
    }
}

fn bytes<const N: usize>(cbor: &mut Decoder<'_>) -> Option<[u8; N]> {
    cbor.bytes().ok()?.try_into().ok()
}

fn ueid(device: &DeviceId) -> [u8; 17] {
    let mut out = [UEID_RAND; 17];
    if let Some(id) = out.last_chunk_mut() {
        *id = device.0;
    }
    out
}

/// `always` items, and those that are there.
fn count(always: u64, optional: &[bool]) -> u64 {
    optional.iter().fold(always, |count, is_there| count.saturating_add(u64::from(*is_there)))
}

#[cfg(test)]
mod tests;
