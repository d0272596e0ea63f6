//! `GenerateDataKeyPair`: a key pair, its private half in clear and encrypted under a symmetric
//! key.

use hsm_protocol::key_spec::KeySpec;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::Checks;
use super::input::EncryptionContext;
use super::recipient::{self, Document, RecipientInfo};
use super::{Answer, Call};
use crate::envelope::Envelope;
use crate::error::{Exception, KmsError};
use crate::key::KeyRecord;
use crate::key::spec::{Algorithm, DATA_KEY_PAIR_SPECS, SYMMETRIC_DEFAULT};
use crate::policy::{Action, Authorized};
use crate::quota::Pool;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    encryption_context: Option<EncryptionContext>,
    key_pair_spec: Option<String>,
    grant_tokens: Option<Vec<String>>,
    recipient: Option<RecipientInfo>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    private_key_ciphertext_blob: Base64<'a>,
    private_key_plaintext: Base64<'a>,
    public_key: Base64<'a>,
    key_id: &'a str,
    key_pair_spec: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = KeyPairRequest::check(input)?;
    let addressee = request.recipient.verify(call).await?;
    let key = request.authorize(call, Action::GenerateDataKeyPair).await?;
    let (context, spec, receiver) =
        (&request.context, request.device_spec()?, addressee.receiver());
    let mut devices = call.devices();
    let pair = devices.prepared_pair(&key, spec).await?;
    let reply = devices.data_key_pair(&key, context, spec, &pair, receiver).await?;
    let made = reply.parts()?;
    let material = Envelope::parse(made.blob)?.material.to_string();
    let output = Output {
        private_key_ciphertext_blob: Base64(made.blob),
        private_key_plaintext: Base64(made.plaintext),
        public_key: Base64(made.public),
        key_id: &key.arn(),
        key_pair_spec: &request.spec,
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_material_id: Some(material).filter(|_| made.for_recipient.is_none()),
    };
    Answer::with_blobs(&output, made.size())
}

/// The checked parameters of both data key pair operations.
pub(super) struct KeyPairRequest {
    key_id: String,
    encryption_context: EncryptionContext,
    grant_tokens: Vec<String>,
    dry_run: Option<bool>,
    /// Who gets the private key, if it is not the client.
    recipient: Document,
    /// Canonical encryption context.
    pub(super) context: Vec<u8>,
    /// A data key pair spec of the API.
    pub(super) spec: String,
}

impl KeyPairRequest {
    /// Checks the shape of the parameters.
    pub(super) fn check(input: Input) -> Result<Self, KmsError> {
        let mut checks = Checks::new();
        let key_id = checks.key_id("keyId", input.key_id);
        let spec = input.key_pair_spec;
        let spec = checks.required_one_of("keyPairSpec", spec, DATA_KEY_PAIR_SPECS);
        let grant_tokens = checks.grant_tokens(input.grant_tokens);
        let recipient = recipient::check(&mut checks, input.recipient);
        checks.finish()?;
        let encryption_context = input.encryption_context.unwrap_or_default();
        let context = encryption_context.canonical()?;
        let dry_run = input.dry_run;
        Ok(Self { key_id, encryption_context, grant_tokens, dry_run, recipient, context, spec })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize(
        &self,
        call: &mut Call<'_>,
        action: Action,
    ) -> Result<Authorized<KeyRecord>, KmsError> {
        call.parameter("keyId", self.key_id.as_str());
        call.parameter("keyPairSpec", self.spec.as_str());
        call.context_parameter("encryptionContext", &self.encryption_context);
        if let Some(spec) = KeySpec::from_aws_name(&self.spec) {
            call.count(Pool::DataKeyPair(spec))?;
        }
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encryption(SYMMETRIC_DEFAULT))
                    .within(&self.encryption_context),
            )
            .await?;
        self.device_spec()?;
        Call::finish_dry_run(self.dry_run)?;
        Ok(key)
    }

    /// The pair's spec, as devices know it.
    pub(super) fn device_spec(&self) -> Result<KeySpec, KmsError> {
        KeySpec::from_aws_name(&self.spec).ok_or_else(|| {
            let text = format!("KeyPairSpec {} is not supported by this service.", self.spec);
            KmsError::new(Exception::UnsupportedOperation, text)
        })
    }
}
