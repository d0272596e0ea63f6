//! The operations of the AWS KMS API that this service does not offer.

use serde::de::IgnoredAny;

use super::checks::Checks;
use super::model::Request;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};

/// A request that nobody looks at.
pub(super) struct Input;

impl Request for Input {
    type Wire = IgnoredAny;

    fn check(_: IgnoredAny, _: &mut Checks) -> Option<Self> {
        Some(Self)
    }
}

pub(super) async fn run(call: &mut Call<'_>, _: Input) -> Result<Answer, KmsError> {
    let name = call.operation().name();
    let text = format!("{name} is not supported by this service.");
    Err(KmsError::new(Exception::UnsupportedOperation, text))
}
