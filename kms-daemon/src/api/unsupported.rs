//! The operations of the AWS KMS API that this service does not offer.

use serde::de::IgnoredAny;

use super::{Answer, Call};
use crate::error::{Exception, KmsError};

pub(super) type Input = IgnoredAny;

pub(super) async fn run(call: &mut Call<'_>, _: Input) -> Result<Answer, KmsError> {
    let name = call.operation().name();
    let text = format!("{name} is not supported by this service.");
    Err(KmsError::new(Exception::UnsupportedOperation, text))
}
