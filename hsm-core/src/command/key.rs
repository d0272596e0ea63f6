//! Keys: generated, wrapped, and their public halves.

use hsm_protocol::command::key::{
    AdoptKeyPair, ExportPublicKey, GenerateKey, NewKey, PrepareKeyPair, PreparedKeyPair,
    PublicKeyInfo,
};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MAX_PUBLIC_KEY, Origin};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId};

use crate::dispatch::{Context, Execute};
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
        wrap_new(cx, self.id, self.spec, self.usage, &secret, scratch)
    }
}

impl Execute for PrepareKeyPair {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<PreparedKeyPair<'o>, ErrorCode> {
        let length = cx.module.prepare_pair(self.spec, self.purpose, scratch)?;
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
        let spec = cx.module.open_pair(&self.pair, PairPurpose::KEY, &mut secret)?;
        check_usage(spec, self.usage)?;
        cx.algorithm(spec)?;
        wrap_new(cx, self.id, spec, self.usage, &secret, scratch)
    }
}

fn check_usage(spec: KeySpec, usage: KeyUsage) -> Result<(), ErrorCode> {
    match spec.row().ok_or(ErrorCode::UNSUPPORTED)?.usages.contains(&usage) {
        true => Ok(()),
        false => Err(ErrorCode::USAGE_DENIED),
    }
}

/// Wraps a secret made in the device; the audit entry names it.
fn wrap_new<'o, P: Platform>(
    cx: &mut Context<'_, P>,
    key: KeyId,
    spec: KeySpec,
    usage: KeyUsage,
    secret: &SecretBuf,
    scratch: &'o mut [u8],
) -> Result<NewKey<'o>, ErrorCode> {
    let attributes = NewAttributes { key, spec, usage, origin: Origin::AWS_KMS };
    let (domain, rng) = cx.module.token_parts()?;
    let (material, length) = wrap::wrap(domain, &attributes, secret, rng, scratch)?;
    cx.subject = material;
    Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
}

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
        let mut key = cx.key_for(&self.key, WITH_PUBLIC_KEY)?;
        if key.spec().row().is_none_or(|row| row.public_size == 0) {
            return Err(ErrorCode::USAGE_DENIED);
        }
        let public = key.public()?.as_bytes();
        let out = scratch.get_mut(..public.len()).ok_or(ErrorCode::INTERNAL)?;
        out.copy_from_slice(public);
        Ok(PublicKeyInfo { spki: Bytes(out) })
    }
}
