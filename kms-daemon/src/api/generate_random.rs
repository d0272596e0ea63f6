//! `GenerateRandom`: random bytes from the DRBG of a device.

use hsm_protocol::command::random::MAX_RANDOM;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::checks::Checks;
use super::recipient::{self, RecipientInfo};
use super::{Answer, Call, custom_key_store};
use crate::error::KmsError;
use crate::policy::AccountAction;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    number_of_bytes: Option<i64>,
    custom_key_store_id: Option<String>,
    recipient: Option<RecipientInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    plaintext: Base64<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Base64<'a>>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    if let Some(number) = input.number_of_bytes {
        checks.number("numberOfBytes", number, 1..=MAX_RANDOM as i64);
    }
    let number = checks.required("numberOfBytes", input.number_of_bytes);
    checks.store_id(input.custom_key_store_id.as_deref());
    let document = recipient::check(&mut checks, input.recipient);
    checks.finish()?;
    let account = call.authorize_account(AccountAction::GenerateRandom)?;
    if input.custom_key_store_id.is_some() {
        return Err(custom_key_store::not_found());
    }
    let length = u16::try_from(number).map_err(KmsError::internal)?;
    let addressee = document.verify(call).await?;
    let reply = call.devices().random(&account, length, addressee.receiver()).await?;
    let made = reply.parts()?;
    let output = Output {
        plaintext: Base64(made.plaintext),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
    };
    Answer::with_blobs(&output, made.size())
}
