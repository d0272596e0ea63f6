//! The `Recipient` parameter: an attested environment that alone is to read the result.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::Call;
use super::checks::{Checks, invalid};
use super::input::Blob;
use crate::clock::Timestamp;
use crate::engine::{Receiver, Recipient};
use crate::error::KmsError;
use crate::hex;

/// Lengths of an attestation document, in bytes.
const DOCUMENT: std::ops::RangeInclusive<usize> = 1..=262_144;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecipientInfo {
    key_encryption_algorithm: Option<String>,
    attestation_document: Option<Blob>,
}

/// Who gets the result of a call.
pub(super) struct Addressee(Option<(Arc<Recipient>, Timestamp)>);

impl Addressee {
    /// As the engine takes it.
    pub(super) fn receiver(&self) -> Receiver<'_> {
        match &self.0 {
            Some((recipient, now)) => Receiver::Attested(recipient, *now),
            None => Receiver::Client,
        }
    }
}

/// A `Recipient` whose shape was checked.
pub(super) struct Document(Option<Option<Blob>>);

/// Checks the shape of a `Recipient`.
pub(super) fn check(checks: &mut Checks, recipient: Option<RecipientInfo>) -> Document {
    let Some(recipient) = recipient else { return Document(None) };
    if let Some(algorithm) = &recipient.key_encryption_algorithm {
        let member = "recipient.keyEncryptionAlgorithm";
        checks.one_of(member, algorithm, &["RSAES_OAEP_SHA_256"]);
    }
    let document = recipient
        .attestation_document
        .map(|document| checks.blob("recipient.attestationDocument", Some(document), DOCUMENT));
    Document(Some(document))
}

impl Document {
    /// Has the document verified, and puts what it says on record.
    pub(super) async fn verify(&self, call: &mut Call<'_>) -> Result<Addressee, KmsError> {
        let Some(document) = &self.0 else { return Ok(Addressee(None)) };
        let document = document
            .as_deref()
            .ok_or_else(|| invalid("Recipient must have an AttestationDocument."))?;
        let now = call.now();
        let recipient = call.devices().attest(document, now).await?;
        call.additional(
            "recipient",
            json!({
                "attestationDocumentModuleId": recipient.module_id,
                "attestationDocumentEnclaveImageDigest": recipient.pcr(0).map(hex::encode),
            }),
        );
        Ok(Addressee(Some((recipient, now))))
    }
}
