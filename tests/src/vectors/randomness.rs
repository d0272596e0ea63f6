//! Generators whose output a vector gives.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// A generator for what no answer depends on: blinding.
pub(super) fn any() -> Any {
    Any(fastrand::Rng::with_seed(1))
}

/// Repeatable and not random.
pub(super) struct Any(fastrand::Rng);

impl TryRng for Any {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.u32(..))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.u64(..))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Any {}

/// Gives out bytes once, in one draw of their length.
pub(super) struct Known(Option<Vec<u8>>);

impl Known {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(Some(bytes))
    }
}

impl TryRng for Known {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a draw of another length");
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a draw of another length");
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.take().expect("one draw"));
        Ok(())
    }
}

impl TryCryptoRng for Known {}
