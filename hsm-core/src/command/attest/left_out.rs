//! Answers for attested environments are sealed with RSA; a core without it has none.

use hsm_protocol::ErrorCode;
use hsm_protocol::command::Command;
use hsm_protocol::command::attest::{Attest, Attested, Enveloped, For};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

impl Execute for Attest<'_> {
    fn execute<'o, P: Platform>(
        self,
        _: &mut Context<'_, P>,
        _: &'o mut [u8],
    ) -> Result<Attested<'o>, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }
}

impl<C> Execute for For<'_, C>
where
    C: Execute,
    for<'r> Self: Command<Response<'r> = Enveloped<'r>>,
{
    fn execute<'o, P: Platform>(
        self,
        _: &mut Context<'_, P>,
        _: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }
}
