//! Keys: generated, wrapped, and their public halves.

use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, NewKey, PublicKeyInfo};
use hsm_protocol::key_spec::{KeyUsage, Origin};
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

impl Execute for GenerateKey {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        let row = self.spec.row().ok_or(ErrorCode::UNSUPPORTED)?;
        if !row.usages.contains(&self.usage) {
            return Err(ErrorCode::USAGE_DENIED);
        }
        let (material, length) =
            cx.module.generate_key(self.id, self.spec, self.usage, Origin::AWS_KMS, scratch)?;
        cx.subject = material;
        Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for ExportPublicKey<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<PublicKeyInfo<'o>, ErrorCode> {
        let mut key = cx.key(&self.key, KeyUsage::SIGN_VERIFY)?;
        let public = key.public()?.as_bytes();
        let out = scratch.get_mut(..public.len()).ok_or(ErrorCode::INTERNAL)?;
        out.copy_from_slice(public);
        Ok(PublicKeyInfo { spki: Bytes(out) })
    }
}
