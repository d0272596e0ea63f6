//! The contents of a document: CBOR (RFC 8949), read strictly. Nothing is authentic here yet.

use heapless::Vec;
use hsm_protocol::command::attest::Measured;
use minicbor::Decoder;
use minicbor::data::{Tag, Type};

/// Platform configuration registers of a document.
pub const MAX_PCRS: usize = 32;
/// Certificates between the leaf and the root, and the root.
const MAX_BUNDLE: usize = 8;
/// Longest certificate, `user_data` and `nonce`, in bytes.
const MAX_FIELD: usize = 1024;
/// COSE_Sign1 (RFC 9052 2).
const COSE_SIGN1: Tag = Tag::new(18);
/// Header parameter `alg` (RFC 9052 3.1), and its value ES384 (RFC 9053 2.1).
const ALG_ES384: (u8, i32) = (1, -35);

/// A COSE_Sign1 message.
pub(super) struct Signed<'d> {
    /// The encoded protected header.
    pub(super) protected: &'d [u8],
    pub(super) payload: &'d [u8],
    /// r and s, 48 bytes each.
    pub(super) signature: &'d [u8; 96],
}

/// What a document says of the environment that asked for it.
#[derive(Debug)]
pub struct Facts<'d> {
    /// The attesting module's id.
    pub module_id: &'d str,
    /// When the document was made, milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// What was measured.
    pub measured: Measured,
    /// The environment's public key, DER `SubjectPublicKeyInfo`; not yet looked into.
    pub public_key: Option<&'d [u8]>,
    pcrs: [Option<&'d [u8]>; MAX_PCRS],
}

impl<'d> Facts<'d> {
    /// The platform configuration registers in the document: index and value of 32, 48 or 64
    /// bytes.
    pub fn pcrs(&self) -> impl Iterator<Item = (u8, &'d [u8])> {
        (0..).zip(self.pcrs).filter_map(|(index, value)| value.map(|value| (index, value)))
    }
}

/// The certificates of a document, DER.
pub(super) struct Certificates<'d> {
    /// The attesting module's.
    pub(super) leaf: &'d [u8],
    /// Those that vouch for it, the root first.
    pub(super) bundle: Vec<&'d [u8], MAX_BUNDLE>,
}

pub(super) struct Payload<'d> {
    pub(super) facts: Facts<'d>,
    pub(super) certificates: Certificates<'d>,
}

/// Takes a COSE_Sign1 message apart: tagged or not, one algorithm, nothing in the unprotected
/// header, nothing after it.
pub(super) fn envelope(document: &[u8]) -> Option<Signed<'_>> {
    let mut cbor = Decoder::new(document);
    if cbor.datatype().ok()? == Type::Tag && cbor.tag().ok()? != COSE_SIGN1 {
        return None;
    }
    let (Some(4), protected) = (cbor.array().ok()?, cbor.bytes().ok()?) else { return None };
    let mut header = Decoder::new(protected);
    let algorithm = (header.map().ok()?, header.u8().ok()?, header.i32().ok()?);
    if algorithm != (Some(1), ALG_ES384.0, ALG_ES384.1) || !at_end(&header) {
        return None;
    }
    let (Some(0), payload) = (cbor.map().ok()?, cbor.bytes().ok()?) else { return None };
    let signature = cbor.bytes().ok()?.try_into().ok()?;
    at_end(&cbor).then_some(Signed { protected, payload, signature })
}

/// Reads the payload: every field once, of the right type and size; unknown fields are skipped.
pub(super) fn payload(payload: &[u8]) -> Option<Payload<'_>> {
    let mut cbor = Decoder::new(payload);
    let (mut module_id, mut digest, mut timestamp_ms) = (None, None, None);
    let (mut measured, mut certificate, mut bundle) = (None, None, None);
    let (mut public_key, mut user_data, mut nonce) = (None, None, None);
    let mut left = Items::new(cbor.map().ok()?);
    while left.next(&mut cbor)? {
        match cbor.str().ok()? {
            "module_id" => once(&mut module_id, cbor.str().ok()?)?,
            "digest" => once(&mut digest, cbor.str().ok()?)?,
            "timestamp" => once(&mut timestamp_ms, cbor.u64().ok()?)?,
            "pcrs" => once(&mut measured, (Measured::Enclave, pcrs(&mut cbor)?))?,
            "nitrotpm_pcrs" => once(&mut measured, (Measured::NitroTpm, pcrs(&mut cbor)?))?,
            "certificate" => once(&mut certificate, certificate_of(&mut cbor)?)?,
            "cabundle" => once(&mut bundle, certificates(&mut cbor)?)?,
            "public_key" => once(&mut public_key, optional(&mut cbor)?)?,
            "user_data" => once(&mut user_data, optional(&mut cbor)?)?,
            "nonce" => once(&mut nonce, optional(&mut cbor)?)?,
            _ => cbor.skip().ok()?,
        }
    }
    let (module_id, timestamp_ms) = (module_id?, timestamp_ms?);
    if !at_end(&cbor) || digest? != "SHA384" || module_id.is_empty() || timestamp_ms == 0 {
        return None;
    }
    let (measured, pcrs) = measured?;
    Some(Payload {
        facts: Facts { module_id, timestamp_ms, measured, public_key: public_key.flatten(), pcrs },
        certificates: Certificates { leaf: certificate?, bundle: bundle? },
    })
}

type Pcrs<'d> = [Option<&'d [u8]>; MAX_PCRS];

fn pcrs<'d>(cbor: &mut Decoder<'d>) -> Option<Pcrs<'d>> {
    let mut pcrs = [None; MAX_PCRS];
    let mut left = Items::new(cbor.map().ok()?);
    while left.next(cbor)? {
        let slot = pcrs.get_mut(usize::from(cbor.u8().ok()?))?;
        let value = cbor.bytes().ok()?;
        if ![32, 48, 64].contains(&value.len()) {
            return None;
        }
        once(slot, value)?;
    }
    pcrs.iter().any(Option::is_some).then_some(pcrs)
}

fn certificates<'d>(cbor: &mut Decoder<'d>) -> Option<Vec<&'d [u8], MAX_BUNDLE>> {
    let mut bundle = Vec::new();
    let mut left = Items::new(cbor.array().ok()?);
    while left.next(cbor)? {
        bundle.push(certificate_of(cbor)?).ok()?;
    }
    (!bundle.is_empty()).then_some(bundle)
}

fn certificate_of<'d>(cbor: &mut Decoder<'d>) -> Option<&'d [u8]> {
    let certificate = cbor.bytes().ok()?;
    (1..=MAX_FIELD).contains(&certificate.len()).then_some(certificate)
}

/// Bytes or null.
fn optional<'d>(cbor: &mut Decoder<'d>) -> Option<Option<&'d [u8]>> {
    match cbor.datatype().ok()? {
        Type::Null => cbor.null().ok().map(|()| None),
        _ => Some(Some(cbor.bytes().ok()?))
            .filter(|value| value.is_none_or(|v| v.len() <= MAX_FIELD)),
    }
}

/// Sets a field that must not be there twice.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    match slot.replace(value) {
        None => Some(()),
        Some(_) => None,
    }
}

fn at_end(cbor: &Decoder<'_>) -> bool {
    cbor.position() == cbor.input().len()
}

/// The items left of an array or a map, of known length or up to a break.
struct Items(Option<u64>);

impl Items {
    const fn new(length: Option<u64>) -> Self {
        Self(length)
    }

    /// Whether there is another one; `None` at the end of the input.
    fn next(&mut self, cbor: &mut Decoder<'_>) -> Option<bool> {
        match &mut self.0 {
            Some(left) => match left.checked_sub(1) {
                Some(rest) => {
                    *left = rest;
                    Some(true)
                }
                None => Some(false),
            },
            None if cbor.datatype().ok()? == Type::Break => {
                cbor.set_position(cbor.position().checked_add(1)?);
                Some(false)
            }
            None => Some(true),
        }
    }
}
