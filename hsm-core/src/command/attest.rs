//! Commands whose results only attested environments can read.

use hsm_protocol::command::attest::{AttestationRoots, RootList};
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

#[cfg(not(feature = "rsa"))]
mod left_out;
#[cfg(feature = "rsa")]
mod recipients;

impl Execute for AttestationRoots {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<RootList<'o>, ErrorCode> {
        let roots = cx.module.roots()?;
        let roots = roots.as_flattened();
        let out = scratch.get_mut(..roots.len()).ok_or(ErrorCode::INTERNAL)?;
        out.copy_from_slice(roots);
        Ok(RootList { roots: Bytes(out) })
    }
}
