//! `GenerateDataKeyPair`: a key pair, its private half in plaintext and encrypted under a symmetric
//! key.

use hsm_protocol::key_spec::KeySpec;

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::input::EncryptionContext;
use crate::api::model::generate_data_key_pair::{Input, Output};
use crate::api::recipient::{Addressee, Document};
use crate::api::{Answer, Call};
use crate::envelope::Envelope;
use crate::policy::{Authorized, RequestAttributes};
use crate::quota::Pool;
use kms_base::error::{Exception, KmsError};
use kms_keys::spec::Algorithm;
use kms_model::action::{self, KeyAction};
use kms_model::enums::{DataKeyPairSpec, EncryptionAlgorithmSpec};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = KeyPairRequest::check(input)?;
    let addressee = request.recipient.verify(call).await?;
    let key = request.authorize(call, action::GenerateDataKeyPair, &addressee).await?;
    let (context, spec, receiver) =
        (&request.context, request.device_spec()?, addressee.receiver());
    let mut devices = call.devices();
    let pair = devices.prepared_pair(&key, spec).await?;
    let reply = devices.data_key_pair(&key, context, spec, &pair, receiver).await?;
    let made = reply.parts()?;
    let material = Envelope::parse(made.blob)?.material.to_string();
    call.facts.material_used("keyMaterialId", Some(&material));
    let output = Output {
        private_key_ciphertext_blob: Some(Base64(made.blob)),
        private_key_plaintext: Some(Base64(made.plaintext)),
        public_key: Some(Base64(made.public)),
        key_id: Some(key.arn().into()),
        key_pair_spec: Some(request.spec.name().into()),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_material_id: Some(material.into()).filter(|_| made.for_recipient.is_none()),
    };
    Answer::of(&output)
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
    /// The spec of the pair.
    pub(super) spec: DataKeyPairSpec,
}

impl KeyPairRequest {
    /// Checks how the parameters go together.
    pub(super) fn check(input: Input) -> Result<Self, KmsError> {
        let (key_id, spec) = (input.key_id, input.key_pair_spec);
        let (grant_tokens, recipient) =
            (input.grant_tokens.unwrap_or_default(), Document::new(input.recipient));
        let encryption_context = input.encryption_context.unwrap_or_default();
        let context = encryption_context.canonical()?;
        let dry_run = input.dry_run;
        Ok(Self { key_id, encryption_context, grant_tokens, dry_run, recipient, context, spec })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
        addressee: &Addressee,
    ) -> Result<Authorized<A>, KmsError> {
        call.facts.parameter("keyId", self.key_id.as_str());
        call.facts.parameter("keyPairSpec", self.spec.name());
        call.facts.pairs("encryptionContext", self.encryption_context.pairs());
        if let Some(spec) = self.spec.device() {
            call.count(Pool::DataKeyPair(spec))?;
        }
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encryption(EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT))
                    .within(&self.encryption_context)
                    .telling(RequestAttributes::KeyPair {
                        spec: self.spec.name(),
                        recipient: addressee.recipient(),
                    }),
            )
            .await?;
        self.device_spec()?;
        Call::finish_dry_run(self.dry_run)?;
        Ok(key)
    }

    /// The pair's spec, as devices know it.
    pub(super) fn device_spec(&self) -> Result<KeySpec, KmsError> {
        self.spec.device().ok_or_else(|| {
            let text =
                format!("KeyPairSpec {} is not supported by this service.", self.spec.name());
            KmsError::new(Exception::UnsupportedOperation, text)
        })
    }
}
