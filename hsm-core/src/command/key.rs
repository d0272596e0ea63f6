//! Generates and wraps keys, and exports their public halves.

use hsm_protocol::command::key::{
    AdoptKeyPair, ExportPublicKey, GenerateKey, NewKey, PrepareKeyPair, PreparedKeyPair,
    PublicKeyInfo, RewrapKey,
};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MAX_PUBLIC_KEY, Origin};
use hsm_protocol::token::History;
use hsm_protocol::token::sealed::{PairPurpose, PreparedPair};
use hsm_protocol::{Bytes, ErrorCode};

use super::approval::unwrap;
use crate::dispatch::{Context, Execute, Part};
use crate::keystore::wrap::{self, NewAttributes};
use crate::platform::Platform;
use crate::secret::SecretBuf;

impl Execute for GenerateKey {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        let mut secret = SecretBuf::new();
        check_usage(self.spec, self.usage)?;
        cx.algorithm(self.spec)?;
        cx.module.generate(self.spec, &mut secret)?;
        let Self { id: key, spec, usage } = self;
        let (origin, history) = (Origin::AWS_KMS, History::CLEAN);
        let attributes = NewAttributes { key, spec, usage, origin, history, approval: None };
        wrap_new(cx, &attributes, &secret, scratch)
    }
}

impl Execute for RewrapKey<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        let mut secret = SecretBuf::new();
        let former = unwrap(cx, &self.key, &mut secret)?;
        let (domain, rng) = cx.module.token_parts()?;
        let (material, length) = wrap::rewrap(domain, &former, |_| {}, &secret, rng, scratch)?;
        Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for PrepareKeyPair {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<PreparedKeyPair<'o>, ErrorCode> {
        let Self { spec, purpose } = self;
        if !PairPurpose::ALL.contains(&purpose) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        let length = cx.module.prepare_pair(spec, &PreparedPair { spec, purpose }, scratch)?;
        Ok(PreparedKeyPair { pair: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for AdoptKeyPair<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        let mut secret = SecretBuf::new();
        let (spec, approval, history) = cx.module.open_key_pair(&self.pair, &mut secret)?;
        check_usage(spec, self.usage)?;
        cx.algorithm(spec)?;
        let (key, usage) = (self.id, self.usage);
        let origin = Origin::AWS_KMS;
        let attributes = NewAttributes { key, spec, usage, origin, history, approval };
        wrap_new(cx, &attributes, &secret, scratch)
    }
}

pub(super) fn check_usage(spec: KeySpec, usage: KeyUsage) -> Result<(), ErrorCode> {
    match spec.row().ok_or(ErrorCode::UNSUPPORTED)?.usages.contains(&usage) {
        true => Ok(()),
        false => Err(ErrorCode::USAGE_DENIED),
    }
}

/// Wraps a secret made in the device; the audit entry names it.
pub(super) fn wrap_new<'o, P: Platform>(
    cx: &mut Context<'_, P>,
    attributes: &NewAttributes,
    secret: &SecretBuf,
    scratch: &'o mut [u8],
) -> Result<NewKey<'o>, ErrorCode> {
    let (domain, rng) = cx.module.token_parts()?;
    let (material, length) = wrap::wrap(domain, attributes, secret, rng, scratch)?;
    cx.subject = material;
    Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
}

/// Every usage that there is.
pub(super) const ANY_USAGE: &[KeyUsage] = &[
    KeyUsage::SIGN_VERIFY,
    KeyUsage::ENCRYPT_DECRYPT,
    KeyUsage::GENERATE_VERIFY_MAC,
    KeyUsage::KEY_AGREEMENT,
    KeyUsage::ENCAPSULATE_DECAPSULATE,
];

/// The usages of asymmetric keys.
const WITH_PUBLIC_KEY: &[KeyUsage] = &[
    KeyUsage::SIGN_VERIFY,
    KeyUsage::ENCRYPT_DECRYPT,
    KeyUsage::KEY_AGREEMENT,
    KeyUsage::ENCAPSULATE_DECAPSULATE,
];

impl Execute for ExportPublicKey<'_> {
    const ANSWER: usize = MAX_PUBLIC_KEY;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<PublicKeyInfo<'o>, ErrorCode> {
        let mut key = cx.key_for(&self.key, WITH_PUBLIC_KEY, Part::Public)?;
        if key.spec().row().is_none_or(|row| row.public_size == 0) {
            return Err(ErrorCode::USAGE_DENIED);
        }
        let public = key.public()?.as_bytes();
        let out = scratch.get_mut(..public.len()).ok_or(ErrorCode::INTERNAL)?;
        out.copy_from_slice(public);
        Ok(PublicKeyInfo { spki: Bytes(out) })
    }
}
