//! The `Recipient` parameter: an attested environment that alone is to read the result.
//!
//! A device verifies the document before anything is decided, so policies see only measurements
//! that are to be believed. What they decided about is what the result is sealed to: measurements
//! and the token of the attested key are of one answer of the device.

use std::sync::Arc;

use hsm_protocol::command::attest::Measured;
use serde_json::{Value, json};

use super::Call;
use super::checks::invalid;
use super::input::Blob;
use super::model::inputs::RecipientInfo;
use crate::engine::Receiver;
use crate::recipient::Recipient;
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::hex;

/// Who gets the result of a call.
pub(super) struct Addressee(Option<(Arc<Recipient>, Timestamp)>);

impl Addressee {
    /// The client.
    pub(super) const CLIENT: Self = Self(None);

    /// The attested environment, as policies see it.
    pub(super) fn recipient(&self) -> Option<&Recipient> {
        self.0.as_ref().map(|(recipient, _)| &**recipient)
    }

    /// As the engine takes it.
    pub(super) fn receiver(&self) -> Receiver<'_> {
        match &self.0 {
            Some((recipient, now)) => Receiver::Attested(recipient, *now),
            None => Receiver::Client,
        }
    }
}

/// The `Recipient` of a request.
pub(super) struct Document(Option<Option<Blob>>);

impl Document {
    pub(super) fn new(recipient: Option<RecipientInfo>) -> Self {
        Self(recipient.map(|recipient| recipient.attestation_document))
    }

    /// Has the document verified, and puts what it says on record.
    pub(super) async fn verify(&self, call: &mut Call<'_>) -> Result<Addressee, KmsError> {
        let Some(document) = &self.0 else { return Ok(Addressee::CLIENT) };
        let document = document
            .as_deref()
            .ok_or_else(|| invalid("Recipient must have an AttestationDocument."))?;
        let now = call.service.now();
        let recipient = call.devices().attest(document, now).await?;
        call.facts.additional("recipient", audit_form(&recipient));
        Ok(Addressee(Some((recipient, now))))
    }
}

/// What records say of a recipient: as AWS does, its module, and those registers that policies can
/// ask about.
fn audit_form(recipient: &Recipient) -> Value {
    let (prefix, registers): (_, &[u8]) = match recipient.measured {
        Measured::Enclave => ("Enclave", &[0, 1, 2, 3, 4, 8]),
        Measured::NitroTpm => ("NitroTPM", &[4, 7, 8, 9, 16, 23]),
    };
    let name = |register: u8| match (recipient.measured, register) {
        (Measured::Enclave, 0) => "attestationDocumentEnclaveImageDigest".to_owned(),
        _ => format!("attestationDocument{prefix}PCR{register}"),
    };
    let value = |register: u8| Some((name(register), json!(hex::encode(recipient.pcr(register)?))));
    let module = ("attestationDocumentModuleId".to_owned(), json!(recipient.module_id));
    let registers = registers.iter().filter_map(|register| value(*register));
    Value::Object(std::iter::once(module).chain(registers).collect())
}
