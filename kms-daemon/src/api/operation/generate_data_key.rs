//! `GenerateDataKey`: a data key, in plaintext and encrypted under a symmetric key.

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::input::EncryptionContext;
use crate::api::model::generate_data_key::{Input, Output};
use crate::api::recipient::Document;
use crate::api::{Answer, Call};
use crate::envelope::Envelope;
use crate::policy::{Authorized, RequestAttributes};
use kms_base::error::KmsError;
use kms_keys::spec::Algorithm;
use kms_model::action::{self, KeyAction};
use kms_model::enums::{DataKeySpec, EncryptionAlgorithmSpec};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = DataKeyRequest::check(input)?;
    let addressee = request.recipient.verify(call).await?;
    let attributes = RequestAttributes::Recipient(addressee.recipient());
    let key = request.authorize(call, action::GenerateDataKey, attributes).await?;
    let (context, receiver) = (&request.context, addressee.receiver());
    let reply = call.devices().data_key(&key, context, request.length, receiver).await?;
    let made = reply.parts()?;
    let material = Envelope::parse(made.blob)?.material.to_string();
    call.facts.material_used("keyMaterialId", Some(&material));
    let blob = call.with_outer_layer(&key, context, made.blob).await?;
    let output = Output {
        ciphertext_blob: Some(Base64(&blob)),
        plaintext: Some(Base64(made.plaintext)),
        key_id: Some(key.arn().into()),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_material_id: Some(material.into()).filter(|_| made.for_recipient.is_none()),
    };
    Answer::of(&output)
}

/// The checked parameters of both data key operations.
pub(super) struct DataKeyRequest {
    key_id: String,
    key_spec: Option<DataKeySpec>,
    encryption_context: EncryptionContext,
    grant_tokens: Vec<String>,
    dry_run: Option<bool>,
    /// Who gets the data key, if it is not the client.
    recipient: Document,
    /// Canonical encryption context.
    pub(super) context: Vec<u8>,
    /// Length of the data key in bytes.
    pub(super) length: u16,
}

impl DataKeyRequest {
    /// Checks how the parameters go together.
    pub(super) fn check(input: Input) -> Result<Self, KmsError> {
        let (key_id, recipient) = (input.key_id, Document::new(input.recipient));
        let grant_tokens = input.grant_tokens.unwrap_or_default();
        let length = match (input.key_spec, input.number_of_bytes) {
            (Some(spec), None) => Some(spec.size()),
            (None, Some(number)) => u16::try_from(number).ok(),
            _ => None,
        };
        let length =
            length.ok_or_else(|| invalid("Please specify either number of bytes or key spec."))?;
        let encryption_context = input.encryption_context.unwrap_or_default();
        let context = encryption_context.canonical()?;
        let (key_spec, dry_run) = (input.key_spec, input.dry_run);
        Ok(Self {
            key_id,
            key_spec,
            encryption_context,
            grant_tokens,
            dry_run,
            recipient,
            context,
            length,
        })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
        attributes: RequestAttributes<'_>,
    ) -> Result<Authorized<A>, KmsError> {
        call.facts.parameter("keyId", self.key_id.as_str());
        match self.key_spec {
            Some(spec) => call.facts.parameter("keySpec", spec.name()),
            None => call.facts.parameter("numberOfBytes", self.length),
        }
        call.facts.pairs("encryptionContext", self.encryption_context.pairs());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encryption(EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT))
                    .within(&self.encryption_context)
                    .telling(attributes),
            )
            .await?;
        Call::finish_dry_run(self.dry_run)?;
        Ok(key)
    }
}
