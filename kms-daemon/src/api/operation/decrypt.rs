//! `Decrypt`: decrypts a ciphertext. A symmetric key is found from its blob unless it is named;
//! an asymmetric key has to be named.

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::{invalid, required};
use crate::api::input::{Blob, EncryptionContext};
use crate::api::model::decrypt::{Input, Output};
use crate::api::recipient::Document;
use crate::api::{Answer, Call};
use crate::engine::{Ciphertext, Delivered};
use crate::envelope::Envelope;
use crate::policy::{Authorized, RequestAttributes};
use kms_base::error::{Exception, KmsError};
use kms_keys::spec::{Algorithm, encryption_algorithm};
use kms_model::action::{self, KeyAction};
use kms_model::enums::{DryRunModifierType, EncryptionAlgorithmSpec};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let ignored = ignores_ciphertext(input.dry_run, input.dry_run_modifiers);
    let blob = ciphertext(input.ciphertext_blob, ignored)?;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    let algorithm =
        input.encryption_algorithm.unwrap_or(EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT);
    let document = Document::new(input.recipient);
    let context = input.encryption_context.unwrap_or_default();
    let canonical = context.canonical_for(algorithm)?;
    call.facts.parameter("encryptionAlgorithm", algorithm.name());
    call.facts.optional_parameter("keyId", input.key_id.as_deref());
    call.facts.pairs("encryptionContext", context.pairs());

    let addressee = document.verify(call).await?;
    let source = Source {
        action: action::Decrypt,
        key_id: input.key_id.as_deref(),
        member: "KeyId",
        algorithm,
        grant_tokens: &grant_tokens,
        context: &context,
        attributes: RequestAttributes::Recipient(addressee.recipient()),
    };
    let receiver = addressee.receiver();
    let (key, ciphertext) = source.authorize(call, blob.as_deref()).await?;
    let Some(ciphertext) = ciphertext else {
        Call::finish_dry_run(input.dry_run)?;
        return Err(KmsError::internal("no ciphertext to decrypt"));
    };
    let material = material_id(&ciphertext);
    let answer = |delivered: Delivered<'_>| {
        let Delivered { plaintext, for_recipient, .. } = delivered;
        let output = Output {
            key_id: Some(key.arn().into()),
            plaintext: Some(Base64(plaintext)),
            encryption_algorithm: Some(algorithm.name().into()),
            ciphertext_for_recipient: for_recipient.map(Base64),
            key_material_id: material
                .as_deref()
                .filter(|_| for_recipient.is_none())
                .map(Into::into),
        };
        Answer::of(&output)
    };
    let mut opened = Vec::new();
    let answer = match ciphertext {
        Ciphertext::Blob(envelope) => {
            let envelope =
                call.without_outer_layer(&key, &canonical, envelope, &mut opened).await?;
            let mut devices = call.devices();
            let delivery = devices.decrypt(&key, &canonical, envelope, receiver).await;
            let delivery = delivery.map_err(|refusal| Call::after_proxy(&key, refusal))?;
            Call::finish_dry_run(input.dry_run)?;
            answer(delivery.parts()?)
        }
        Ciphertext::Asymmetric(number, bytes) => {
            let mut devices = call.devices();
            let delivery = devices.decrypt_private(&key, number, bytes, receiver).await?;
            Call::finish_dry_run(input.dry_run)?;
            answer(delivery.parts()?)
        }
    }?;
    call.facts.material_used("keyMaterialId", material.as_deref());
    Ok(answer)
}

/// The key material that made a blob, as answers name it.
pub(super) fn material_id(ciphertext: &Ciphertext<'_>) -> Option<String> {
    match ciphertext {
        Ciphertext::Blob(envelope) => Some(envelope.material.to_string()),
        Ciphertext::Asymmetric(..) => None,
    }
}

/// How a request decrypts: also the first half of `ReEncrypt`.
pub(super) struct Source<'a, A> {
    /// What for.
    pub(super) action: A,
    /// The key, if it is named.
    pub(super) key_id: Option<&'a str>,
    /// The parameter that names it.
    pub(super) member: &'static str,
    /// With which algorithm.
    pub(super) algorithm: EncryptionAlgorithmSpec,
    /// Grant tokens of the request.
    pub(super) grant_tokens: &'a [String],
    /// The encryption context of the ciphertext.
    pub(super) context: &'a EncryptionContext,
    /// What else conditions ask of the request.
    pub(super) attributes: RequestAttributes<'a>,
}

impl<A: KeyAction> Source<'_, A> {
    /// Finds and authorizes the key of a ciphertext. `None` for it means that a dry run ignores
    /// it; the key must be named then.
    pub(super) async fn authorize<'b>(
        &self,
        call: &mut Call<'_>,
        ciphertext: Option<&'b [u8]>,
    ) -> Result<(Authorized<A>, Option<Ciphertext<'b>>), KmsError> {
        let key_use = KeyUse::new(self.action, self.key_id.unwrap_or_default(), self.grant_tokens)
            .with(Algorithm::Encryption(self.algorithm))
            .within(self.context)
            .telling(self.attributes);
        let symmetric = self.algorithm == EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT;
        match (self.key_id, ciphertext) {
            (Some(name), Some(bytes)) if symmetric => {
                let decided = call.authorize(key_use.of_blob(bytes)).await;
                // No key of another Region made a ciphertext of this one.
                let key = decided.map_err(|refusal| match refusal.exception() {
                    Exception::NotFound if call.names_another_region(name) => {
                        Envelope::parse(bytes).err().unwrap_or_else(incorrect_key)
                    }
                    _ => refusal,
                })?;
                Ok((key, Some(Ciphertext::Blob(Envelope::parse(bytes)?))))
            }
            (Some(_), ciphertext) => {
                let key = call.authorize(key_use).await?;
                let number = encryption_algorithm(self.algorithm)?;
                Ok((key, ciphertext.map(|bytes| Ciphertext::Asymmetric(number, bytes))))
            }
            (None, Some(bytes)) if symmetric => {
                let envelope = Envelope::parse(bytes)?;
                let key = call.authorize_blob_key(envelope.key, key_use).await?;
                Ok((key, Some(Ciphertext::Blob(envelope))))
            }
            (None, Some(_)) => {
                let member = self.member;
                Err(invalid(format!("{member} must not be null")))
            }
            (None, None) => {
                let member = self.member;
                Err(invalid(format!("{member} is required when the ciphertext is ignored.")))
            }
        }
    }
}

/// Whether a dry run leaves the ciphertext out.
pub(super) fn ignores_ciphertext(
    dry_run: Option<bool>,
    modifiers: Option<Vec<DryRunModifierType>>,
) -> bool {
    let modifiers = modifiers.unwrap_or_default();
    dry_run == Some(true) && !modifiers.is_empty()
}

/// The ciphertext of a request, unless it is ignored. The model does not require it.
pub(super) fn ciphertext(blob: Option<Blob>, ignored: bool) -> Result<Option<Blob>, KmsError> {
    if ignored { Ok(None) } else { required("ciphertextBlob", blob).map(Some) }
}

/// The answer to a key that did not make the ciphertext.
pub(in crate::api) fn incorrect_key() -> KmsError {
    KmsError::new(
        Exception::IncorrectKey,
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )
}
