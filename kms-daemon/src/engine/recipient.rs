//! Results for attested recipients: documents verified by devices, answers sealed by them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use host_driver::Reply;
use host_driver::pool::Needs;
use hsm_protocol::command::attest::{self, Confidential, Enveloped, For, MAX_DOCUMENT};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{Bytes, Command, ErrorCode};
use sha2::{Digest, Sha256};

use super::approval::{refuse_unrepeatable, rule_of};
use super::{Busy, Devices, response};
use crate::recipient::Recipient;
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};

/// Verified documents that are kept: clients send one with many requests.
const MAX_KEPT: usize = 1024;
/// How long before its end a recipient is no longer taken, in milliseconds: the command has to
/// reach a device in time.
const MARGIN_MS: u64 = 30_000;

/// Documents that devices have verified, by their SHA-256.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<HashMap<[u8; 32], Arc<Recipient>>>);

impl Verified {
    fn get(&self, document: &[u8; 32], now_ms: u64) -> Option<Arc<Recipient>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(document).filter(|kept| kept.is_valid_at(now_ms + MARGIN_MS)).cloned()
    }

    /// Every one of them is verified again.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, document: [u8; 32], recipient: &Arc<Recipient>, now_ms: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, old| old.is_valid_at(now_ms + MARGIN_MS));
        }
        if kept.len() < MAX_KEPT {
            kept.insert(document, Arc::clone(recipient));
        }
    }
}

#[cfg(test)]
impl super::Engine {
    /// Has a document believed that no device has seen. Its token opens nothing.
    pub(crate) fn believe(
        &self,
        document: &[u8],
        measured: attest::Measured,
        pcrs: Vec<(u8, Vec<u8>)>,
    ) {
        let recipient = Recipient::invented(measured, pcrs);
        self.verified.keep(Sha256::digest(document).into(), &Arc::new(recipient), 0);
    }
}

/// Who gets what is secret in an answer.
#[derive(Debug, Clone, Copy)]
pub enum Receiver<'a> {
    /// The client, in the clear.
    Client,
    /// An attested environment only, at the present time.
    Attested(&'a Recipient, Timestamp),
}

/// An answer in the form for its receiver.
#[derive(Debug)]
pub enum Delivery<'a, C>
where
    C: Command,
    For<'a, C>: Command,
{
    /// In plaintext.
    Clear(Reply<C>),
    /// Sealed.
    Sealed(Reply<For<'a, C>>),
}

/// The parts of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'r> {
    /// What is secret, in the clear; empty if it was sealed.
    pub plaintext: &'r [u8],
    /// What is secret, sealed: CMS EnvelopedData.
    pub for_recipient: Option<&'r [u8]>,
    /// The same under the KMS key; empty unless the command makes one.
    pub blob: &'r [u8],
    /// A public key; empty unless the command makes a pair.
    pub public: &'r [u8],
}

impl<'a, C> Delivery<'a, C>
where
    C: Command,
    for<'r> C::Response<'r>: Confidential<'r>,
    for<'r> For<'a, C>: Command<Response<'r> = Enveloped<'r>>,
{
    /// Takes the answer apart.
    ///
    /// # Errors
    /// [`Exception::KmsInternal`] if it does not decode.
    pub fn parts(&self) -> Result<Delivered<'_>, KmsError> {
        match self {
            Self::Clear(reply) => {
                let attest::Parts { secret, blob, public } = response(reply)?.parts();
                Ok(Delivered { plaintext: secret, for_recipient: None, blob, public })
            }
            Self::Sealed(reply) => {
                let Enveloped { envelope, blob, public } = response(reply)?;
                let for_recipient = Some(envelope.0);
                Ok(Delivered { plaintext: &[], for_recipient, blob: blob.0, public: public.0 })
            }
        }
    }
}

impl Devices<'_> {
    /// Has a device verify an attestation document, unless one has lately.
    ///
    /// # Errors
    /// [`Exception::Validation`] if it is not to be believed; [`Exception::DependencyTimeout`] if
    /// no device can tell now.
    pub async fn attest(
        &mut self,
        document: &[u8],
        now: Timestamp,
    ) -> Result<Arc<Recipient>, KmsError> {
        if document.len() > MAX_DOCUMENT {
            return Err(disbelieved(ErrorCode::ATTESTATION_MALFORMED));
        }
        let (now_ms, digest) = (now.as_millis(), Sha256::digest(document).into());
        if let Some(recipient) = self.verified.get(&digest, now_ms) {
            return Ok(recipient);
        }
        let command = attest::Attest { now_ms, document: Bytes(document) };
        let spec = Some(KeySpec::ECC_NIST_P384);
        let reply = self.call(&command, spec, Busy::DependencyTimeout).await?;
        let recipient = Arc::new(Recipient::verified(&response(&reply)?)?);
        self.verified.keep(digest, &recipient, now_ms);
        Ok(recipient)
    }

    /// Calls a device that supports `spec`, if one is given, with a command that uses the secret of `key`, if it
    /// uses one; it answers in the form for the receiver.
    pub(super) async fn deliver<'a, C>(
        &mut self,
        command: C,
        key: Option<KeyRef<'_>>,
        receiver: Receiver<'a>,
        spec: Option<KeySpec>,
        busy: Busy,
    ) -> Result<Delivery<'a, C>, KmsError>
    where
        C: Command,
        For<'a, C>: Command,
    {
        match receiver {
            Receiver::Client => {
                self.call_using(key.as_slice(), &command, spec, busy).await.map(Delivery::Clear)
            }
            // The time and the attested key are in the request.
            Receiver::Attested(..) if key.is_some_and(|key| rule_of(&key.token).is_some()) => {
                Err(refuse_unrepeatable("a result for an attested recipient"))
            }
            Receiver::Attested(recipient, now) => {
                let token = recipient.token();
                let recipient = attest::Recipient { now_ms: now.as_millis(), token };
                let command = For { recipient, request: command };
                // Sealed with RSA; a board has all sizes of it or none.
                let needs = Needs::from(spec).and(KeySpec::RSA_2048);
                self.call(&command, needs, busy).await.map(Delivery::Sealed)
            }
        }
    }
}

/// The error for a document that fails verification.
pub(super) fn disbelieved(code: ErrorCode) -> KmsError {
    let text = match code {
        ErrorCode::ATTESTATION_STALE => {
            "The attestation document is not of the last five minutes: ask the Nitro security \
             module for a new one, and compare the clocks."
        }
        ErrorCode::ATTESTATION_UNTRUSTED => {
            "The attestation document does not chain to a root that this service trusts, or its \
             signature is wrong. kmsd takes trusted roots with --attestation-root."
        }
        _ => {
            "The attestation document cannot be read, or has no RSA public key of 2048, 3072 or \
             4096 bits with exponent 65537."
        }
    };
    KmsError::new(Exception::Validation, text)
}
