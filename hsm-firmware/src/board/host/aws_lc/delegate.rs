//! Methods that an entry leaves to the portable one.

/// Writes methods of [`hsm_core::algorithm::Algorithm`] that call the same of `self.portable()`.
macro_rules! delegate {
    ($($method:ident)+) => { $($crate::board::host::aws_lc::delegate::delegate!(@ $method);)+ };
    (@ spec) => {
        fn spec(&self) -> KeySpec {
            self.portable().spec()
        }
    };
    (@ generate) => {
        fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
            self.portable().generate(rng, out)
        }
    };
    (@ pairwise_test) => {
        /// By the other implementation, which finds more than its own would.
        fn pairwise_test(
            &self,
            secret: &SecretBuf,
            rng: &mut dyn CryptoRng,
        ) -> Result<(), ErrorCode> {
            self.portable().pairwise_test(secret, rng)
        }
    };
    (@ public_key) => {
        fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
            self.portable().public_key(secret, out)
        }
    };
    (@ private_key) => {
        fn private_key(&self, secret: &SecretBuf, out: &mut [u8]) -> Result<usize, ErrorCode> {
            self.portable().private_key(secret, out)
        }
    };
    (@ import) => {
        fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
            self.portable().import(material, out)
        }
    };
}

pub(super) use delegate;
