//! `GenerateRandom`: random bytes from the DRBG of a device, or of the tokens of a custom key store.

use super::custom_key_store;
use crate::api::answer::Base64;
use crate::api::checks::invalid;
use crate::api::model::generate_random::{Input, Output};
use crate::api::recipient::Document;
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_model::action;
use zeroize::Zeroizing;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let number = input.number_of_bytes.ok_or_else(|| invalid("NumberOfBytes is required."))?;
    let document = Document::new(input.recipient);
    let addressee = document.verify(call).await?;
    let attributes = RequestAttributes::Recipient(addressee.recipient());
    let account = call.authorize_telling(action::GenerateRandom, attributes)?;
    let length = u16::try_from(number).map_err(KmsError::internal)?;
    if let Some(id) = &input.custom_key_store_id {
        if addressee.recipient().is_some() {
            let text = "Recipient and CustomKeyStoreId are not supported together by this service.";
            return Err(KmsError::new(Exception::UnsupportedOperation, text));
        }
        let random = of_store(call, &account, (id, length)).await?;
        return Answer::of(&Output { plaintext: Some(Base64(&random)), ..Output::default() });
    }
    let reply = call.devices().random(&account, length, addressee.receiver()).await?;
    let made = reply.parts()?;
    let output = Output {
        plaintext: Some(Base64(made.plaintext)),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
    };
    Answer::of(&output)
}

/// Random bytes of the tokens of a custom key store.
async fn of_store(
    call: &mut Call<'_>,
    home: &Scope,
    (id, length): (&str, u16),
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let stores = call.stores_of(home).await?;
    let store = stores.by_id(id).ok_or_else(custom_key_store::not_found)?;
    let Some(login) = store.cloud_hsm() else {
        let text = "CustomKeyStoreId of an external key store is not valid for GenerateRandom.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    };
    if !call.is_connected(store) {
        let text = format!("The custom key store {id} is not connected.");
        return Err(KmsError::new(Exception::CustomKeyStoreInvalidState, text));
    }
    let (clusters, _) = call.clusters()?;
    let target = call.cluster_target(&stores, (id, login)).await?;
    clusters.random(&target, length).await.map_err(|failure| failure.of_random())
}
