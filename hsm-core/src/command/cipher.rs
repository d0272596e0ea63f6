//! Encrypts, decrypts and generates data keys.

use hsm_protocol::audit::Entry;
use hsm_protocol::command::cipher::{
    Ciphertext, DataKey, Decrypt, DecryptPrivate, Encrypt, EncryptPublic, GenerateDataKey,
    GenerateDataKeyWithoutPlaintext, MAX_CONTEXT, MAX_DATA_KEY, MAX_PLAINTEXT, Plaintext,
    ReEncrypt, ReEncryptAcross, Side,
};
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeyUsage};
use hsm_protocol::token::Blob;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

pub(super) const USAGE: KeyUsage = KeyUsage::ENCRYPT_DECRYPT;
/// Header and tag of a blob, and the header again beside the context: the rest of an answer is no
/// longer than its request.
const SYMMETRIC_ANSWER: usize = 2 * Blob::OVERHEAD;

impl Execute for Encrypt<'_> {
    const ANSWER: usize = SYMMETRIC_ANSWER;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Ciphertext<'o>, ErrorCode> {
        check_context(&self.context)?;
        if !(1..=MAX_PLAINTEXT).contains(&self.plaintext.len()) {
            return Err(ErrorCode::MESSAGE_LENGTH);
        }
        let length = cx.key(&self.key, USAGE)?.encrypt(&self.context, &self.plaintext, scratch)?;
        Ok(Ciphertext { blob: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for Decrypt<'_> {
    const ANSWER: usize = SYMMETRIC_ANSWER;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Plaintext<'o>, ErrorCode> {
        check_context(&self.context)?;
        let length = cx.key(&self.key, USAGE)?.decrypt(&self.context, &self.blob, scratch)?;
        Ok(Plaintext { plaintext: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for ReEncrypt<'_> {
    const ANSWER: usize = SYMMETRIC_ANSWER;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Ciphertext<'o>, ErrorCode> {
        check_context(&self.source_context)?;
        check_context(&self.destination_context)?;
        let source = cx.key(&self.source, USAGE)?;
        let length = source.decrypt(&self.source_context, &self.blob, scratch)?;
        let source = cx.subject;
        // The plaintext stays in the scratch memory, which is zeroised after the command.
        let (plaintext, out) = scratch.split_at_mut_checked(length).ok_or(ErrorCode::INTERNAL)?;
        let destination = cx.key(&self.destination, USAGE)?;
        let length = destination.encrypt(&self.destination_context, plaintext, out)?;
        cx.subject = Entry::subject_of_two(&source, &cx.subject);
        Ok(Ciphertext { blob: Bytes(out.get(..length).unwrap_or_default()) })
    }
}

impl Execute for EncryptPublic<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Ciphertext<'o>, ErrorCode> {
        let Self { key, algorithm, plaintext } = self;
        let length =
            encrypt(cx, &Side { key, algorithm, context: Bytes(&[]) }, &plaintext, scratch)?;
        Ok(Ciphertext { blob: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for DecryptPrivate<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Plaintext<'o>, ErrorCode> {
        let Self { key, algorithm, ciphertext } = self;
        let side = Side { key, algorithm, context: Bytes(&[]) };
        let length = decrypt(cx, &side, &ciphertext, scratch)?;
        Ok(Plaintext { plaintext: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for ReEncryptAcross<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Ciphertext<'o>, ErrorCode> {
        let length = decrypt(cx, &self.source, &self.ciphertext, scratch)?;
        let source = cx.subject;
        // The plaintext stays in the scratch memory, which is zeroised after the command.
        let (plaintext, out) = scratch.split_at_mut_checked(length).ok_or(ErrorCode::INTERNAL)?;
        let length = encrypt(cx, &self.destination, plaintext, out)?;
        cx.subject = Entry::subject_of_two(&source, &cx.subject);
        Ok(Ciphertext { blob: Bytes(out.get(..length).unwrap_or_default()) })
    }
}

/// Encrypts as one side says into the front of `out`; returns the ciphertext's length.
fn encrypt<P: Platform>(
    cx: &mut Context<'_, P>,
    side: &Side<'_>,
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    check_side(side)?;
    if !(1..=MAX_PLAINTEXT).contains(&plaintext.len()) {
        return Err(ErrorCode::MESSAGE_LENGTH);
    }
    match side.algorithm {
        EncryptionAlgorithm::SYMMETRIC_DEFAULT => {
            cx.key(&side.key, USAGE)?.encrypt(&side.context, plaintext, out)
        }
        algorithm => cx.public_key(&side.key, USAGE)?.encrypt_public(algorithm, plaintext, out),
    }
}

/// Decrypts as one side says into the front of `out`; returns the plaintext's length.
fn decrypt<P: Platform>(
    cx: &mut Context<'_, P>,
    side: &Side<'_>,
    ciphertext: &[u8],
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    check_side(side)?;
    let key = cx.key(&side.key, USAGE)?;
    match side.algorithm {
        EncryptionAlgorithm::SYMMETRIC_DEFAULT => key.decrypt(&side.context, ciphertext, out),
        algorithm => key.decrypt_private(algorithm, ciphertext, out),
    }
}

/// An asymmetric algorithm has nothing to bind a context to.
fn check_side(side: &Side<'_>) -> Result<(), ErrorCode> {
    let symmetric = side.algorithm == EncryptionAlgorithm::SYMMETRIC_DEFAULT;
    if !symmetric && !side.context.is_empty() {
        return Err(ErrorCode::INVALID_ARGUMENT);
    }
    check_context(&side.context)
}

impl Execute for GenerateDataKey<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DataKey<'o>, ErrorCode> {
        let (plaintext, blob) = data_key(cx, &self, scratch)?;
        Ok(DataKey { plaintext: Bytes(plaintext), blob: Bytes(blob) })
    }
}

impl Execute for GenerateDataKeyWithoutPlaintext<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Ciphertext<'o>, ErrorCode> {
        let Self { key, context, length } = self;
        let (_, blob) = data_key(cx, &GenerateDataKey { key, context, length }, scratch)?;
        Ok(Ciphertext { blob: Bytes(blob) })
    }
}

/// Draws a data key and encrypts it: plaintext and blob.
fn data_key<'o, P: Platform>(
    cx: &mut Context<'_, P>,
    request: &GenerateDataKey<'_>,
    scratch: &'o mut [u8],
) -> Result<(&'o [u8], &'o [u8]), ErrorCode> {
    check_context(&request.context)?;
    let length = usize::from(request.length);
    if !(1..=MAX_DATA_KEY).contains(&length) {
        return Err(ErrorCode::INVALID_ARGUMENT);
    }
    let (plaintext, out) = scratch.split_at_mut_checked(length).ok_or(ErrorCode::INTERNAL)?;
    cx.module.random(plaintext)?;
    let length = cx.key(&request.key, USAGE)?.encrypt(&request.context, plaintext, out)?;
    Ok((plaintext, out.get(..length).unwrap_or_default()))
}

pub(super) fn check_context(context: &[u8]) -> Result<(), ErrorCode> {
    match context.len() <= MAX_CONTEXT {
        true => Ok(()),
        false => Err(ErrorCode::TOO_LARGE),
    }
}
