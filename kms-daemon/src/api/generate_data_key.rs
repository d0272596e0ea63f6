//! `GenerateDataKey`: a data key, in clear and encrypted under a symmetric key.

use hsm_protocol::command::cipher::MAX_DATA_KEY;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::{Checks, invalid};
use super::input::EncryptionContext;
use super::recipient::{self, Document, RecipientInfo};
use super::{Answer, Call};
use crate::envelope::Envelope;
use crate::error::KmsError;
use crate::key::KeyRecord;
use crate::key::spec::{Algorithm, DATA_KEY_SPECS, SYMMETRIC_DEFAULT};
use crate::policy::{Action, Authorized};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    encryption_context: Option<EncryptionContext>,
    number_of_bytes: Option<i64>,
    key_spec: Option<String>,
    grant_tokens: Option<Vec<String>>,
    recipient: Option<RecipientInfo>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    ciphertext_blob: Base64<'a>,
    plaintext: Base64<'a>,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = DataKeyRequest::check(input)?;
    let addressee = request.recipient.verify(call).await?;
    let key = request.authorize(call, Action::GenerateDataKey).await?;
    let (context, receiver) = (&request.context, addressee.receiver());
    let reply = call.devices().data_key(&key, context, request.length, receiver).await?;
    let made = reply.parts()?;
    let material = Envelope::parse(made.blob)?.material.to_string();
    let output = Output {
        ciphertext_blob: Base64(made.blob),
        plaintext: Base64(made.plaintext),
        key_id: &key.arn(),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_material_id: Some(material).filter(|_| made.for_recipient.is_none()),
    };
    Answer::with_blobs(&output, made.size())
}

/// The checked parameters of both data key operations.
pub(super) struct DataKeyRequest {
    key_id: String,
    key_spec: Option<String>,
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
    /// Checks the shape of the parameters.
    pub(super) fn check(input: Input) -> Result<Self, KmsError> {
        let mut checks = Checks::new();
        let key_id = checks.key_id("keyId", input.key_id);
        if let Some(number) = input.number_of_bytes {
            checks.number("numberOfBytes", number, 1..=MAX_DATA_KEY as i64);
        }
        let names: Vec<&str> = DATA_KEY_SPECS.iter().map(|(name, _)| *name).collect();
        if let Some(spec) = &input.key_spec {
            checks.one_of("keySpec", spec, &names);
        }
        let grant_tokens = checks.grant_tokens(input.grant_tokens);
        let recipient = recipient::check(&mut checks, input.recipient);
        checks.finish()?;
        let length = match (&input.key_spec, input.number_of_bytes) {
            (Some(spec), None) => {
                DATA_KEY_SPECS.iter().find(|(name, _)| name == spec).map(|(_, length)| *length)
            }
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
    pub(super) async fn authorize(
        &self,
        call: &mut Call<'_>,
        action: Action,
    ) -> Result<Authorized<KeyRecord>, KmsError> {
        call.parameter("keyId", self.key_id.as_str());
        match &self.key_spec {
            Some(spec) => call.parameter("keySpec", spec.as_str()),
            None => call.parameter("numberOfBytes", self.length),
        }
        call.context_parameter("encryptionContext", &self.encryption_context);
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encryption(SYMMETRIC_DEFAULT))
                    .within(&self.encryption_context),
            )
            .await?;
        Call::finish_dry_run(self.dry_run)?;
        Ok(key)
    }
}
