//! Generates data key pairs.

use hsm_protocol::command::cipher::{
    DataKeyPair, GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext, SealedDataKeyPair,
};
use hsm_protocol::{Bytes, ErrorCode};

use super::cipher::{USAGE, check_context};
use crate::algorithm::PublicKeyBuf;
use crate::dispatch::{Context, Execute};
use crate::platform::Platform;
use crate::secret::SecretBuf;

/// Room for the longest pair, RSA_4096: the private key twice and the public key.
const PAIR: usize = 6144;

impl Execute for GenerateDataKeyPair<'_> {
    const ANSWER: usize = PAIR;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DataKeyPair<'o>, ErrorCode> {
        check_context(&self.context)?;
        let row = self.spec.row().ok_or(ErrorCode::UNSUPPORTED)?;
        if !row.data_key_pair {
            return Err(ErrorCode::SPEC_DENIED);
        }
        let algorithm = cx.algorithm(self.spec)?;
        // Before the work: is there a key to encrypt with?
        cx.key(&self.key, USAGE)?;
        let mut secret = SecretBuf::new();
        cx.module.new_data_key_pair(self.spec, &self.pair, &mut secret)?;

        let mut public = PublicKeyBuf::new();
        algorithm.public_key(&secret, &mut public)?;
        let public = public.as_bytes();
        let (spki, out) = scratch.split_at_mut_checked(public.len()).ok_or(ErrorCode::INTERNAL)?;
        spki.copy_from_slice(public);
        let length = algorithm.private_key(&secret, out)?;
        let (private, out) = out.split_at_mut_checked(length).ok_or(ErrorCode::INTERNAL)?;
        let length = cx.key(&self.key, USAGE)?.encrypt(&self.context, private, out)?;
        let blob = Bytes(out.get(..length).unwrap_or_default());
        Ok(DataKeyPair { private: Bytes(private), blob, public: Bytes(spki) })
    }
}

impl Execute for GenerateDataKeyPairWithoutPlaintext<'_> {
    const ANSWER: usize = PAIR;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<SealedDataKeyPair<'o>, ErrorCode> {
        let DataKeyPair { blob, public, .. } = self.request.execute(cx, scratch)?;
        Ok(SealedDataKeyPair { blob, public })
    }
}
