//! `GenerateRandom`: random bytes from the DRBG of a device.

use super::custom_key_store;
use crate::api::answer::Base64;
use crate::api::checks::invalid;
use crate::api::model::generate_random::{Input, Output};
use crate::api::recipient::Document;
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_base::error::{Exception, KmsError};
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let number = input.number_of_bytes.ok_or_else(|| invalid("NumberOfBytes is required."))?;
    let document = Document::new(input.recipient);
    let addressee = document.verify(call).await?;
    let attributes = RequestAttributes::Recipient(addressee.recipient());
    let account = call.authorize_telling(action::GenerateRandom, attributes)?;
    if let Some(id) = &input.custom_key_store_id {
        return Err(match call.stores_of(&account).await?.by_id(id) {
            Some(_) => {
                let text =
                    "CustomKeyStoreId of an external key store is not valid for GenerateRandom.";
                KmsError::new(Exception::UnsupportedOperation, text)
            }
            None => custom_key_store::not_found(),
        });
    }
    let length = u16::try_from(number).map_err(KmsError::internal)?;
    let reply = call.devices().random(&account, length, addressee.receiver()).await?;
    let made = reply.parts()?;
    let output = Output {
        plaintext: Some(Base64(made.plaintext)),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
    };
    Answer::of(&output)
}
