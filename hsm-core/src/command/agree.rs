//! Derives, encapsulates and decapsulates shared secrets.

use hsm_protocol::command::agree::{
    Decapsulate, DeriveSharedSecret, Encapsulate, Encapsulation, MAX_PEER, SharedSecret,
};
use hsm_protocol::key_spec::KeyUsage;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;
use crate::secret::{Secret, SecretBuf};

/// Length of a shared secret of ML-KEM in bytes (FIPS 203 8).
const ML_KEM_SECRET: usize = 32;

impl Execute for DeriveSharedSecret<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<SharedSecret<'o>, ErrorCode> {
        if self.peer.len() > MAX_PEER {
            return Err(ErrorCode::TOO_LARGE);
        }
        let mut shared = SecretBuf::new();
        cx.key(&self.key, KeyUsage::KEY_AGREEMENT)?.agree(&self.peer, &mut shared)?;
        let shared = shared.expose();
        let secret = scratch.get_mut(..shared.len()).ok_or(ErrorCode::INTERNAL)?;
        secret.copy_from_slice(shared);
        Ok(SharedSecret { secret: Bytes(secret) })
    }
}

impl Execute for Encapsulate<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Encapsulation<'o>, ErrorCode> {
        let mut shared = Secret::<ML_KEM_SECRET>::zeroed();
        let (secret, out) =
            scratch.split_at_mut_checked(ML_KEM_SECRET).ok_or(ErrorCode::INTERNAL)?;
        let key = cx.public_key(&self.key, KeyUsage::ENCAPSULATE_DECAPSULATE)?;
        let length = key.encapsulate(&mut shared, out)?;
        secret.copy_from_slice(shared.expose());
        let ciphertext = Bytes(out.get(..length).unwrap_or_default());
        Ok(Encapsulation { ciphertext, secret: Bytes(secret) })
    }
}

impl Execute for Decapsulate<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<SharedSecret<'o>, ErrorCode> {
        let mut shared = Secret::<ML_KEM_SECRET>::zeroed();
        let key = cx.key(&self.key, KeyUsage::ENCAPSULATE_DECAPSULATE)?;
        key.decapsulate(&self.ciphertext, &mut shared)?;
        let secret = scratch.get_mut(..ML_KEM_SECRET).ok_or(ErrorCode::INTERNAL)?;
        secret.copy_from_slice(shared.expose());
        Ok(SharedSecret { secret: Bytes(secret) })
    }
}
