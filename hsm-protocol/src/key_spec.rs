//! The key-spec table: what kinds of key there are and what each may do.
//!
//! Numbers are stored in key tokens: add rows, never renumber.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! wire_enum {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $number:literal $variant:ident = $aws:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[doc = $vdoc])+ pub const $variant: Self = Self($number);)+

            /// Every value this build knows, with its name in the AWS KMS API.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $aws)),+];

            /// The name in the AWS KMS API; `None` for a value this build does not know.
            #[must_use]
            pub fn aws_name(self) -> Option<&'static str> {
                Self::ALL.iter().find(|row| row.0 == self).map(|row| row.1)
            }

            /// The value with this AWS KMS name.
            #[must_use]
            pub fn from_aws_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.aws_name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({})"), self.0),
                }
            }
        }
    };
}

wire_enum! {
    /// The type of a key.
    KeySpec {
        /// AES-256-GCM under a key derived for each message (SP 800-108, SP 800-38D).
        1 SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT";
        /// ECDSA on P-256 (FIPS 186-5, SP 800-186).
        2 ECC_NIST_P256 = "ECC_NIST_P256";
        /// HMAC with SHA-256 and a 32-byte key (FIPS 198-1).
        3 HMAC_256 = "HMAC_256";
    }
}

wire_enum! {
    /// What a key is for; fixed when it is made.
    KeyUsage {
        /// Encrypt, decrypt, re-encrypt, data keys.
        1 ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT";
        /// Sign and verify.
        2 SIGN_VERIFY = "SIGN_VERIFY";
        /// Generate and verify MACs.
        3 GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC";
    }
}

wire_enum! {
    /// Where key material came from.
    Origin {
        /// Generated inside a device.
        1 AWS_KMS = "AWS_KMS";
        /// Imported, wrapped to a device.
        2 EXTERNAL = "EXTERNAL";
    }
}

wire_enum! {
    /// How a message is signed.
    SigningAlgorithm {
        /// ECDSA with SHA-256 (FIPS 186-5).
        1 ECDSA_SHA_256 = "ECDSA_SHA_256";
    }
}

wire_enum! {
    /// How a MAC is computed.
    MacAlgorithm {
        /// HMAC with SHA-256, not truncated (FIPS 198-1).
        1 HMAC_SHA_256 = "HMAC_SHA_256";
    }
}

wire_enum! {
    /// What the message of a signature is.
    MessageType {
        /// The message itself; the device hashes it.
        1 RAW = "RAW";
        /// A digest made by the caller with the algorithm's hash.
        2 DIGEST = "DIGEST";
    }
}

/// A row of the key-spec table.
#[derive(Clone, Copy, Debug)]
pub struct KeySpecRow {
    /// The spec.
    pub spec: KeySpec,
    /// The usages a key of this spec may be made for.
    pub usages: &'static [KeyUsage],
    /// Signing algorithms, empty unless the usage is `SIGN_VERIFY`.
    pub signing_algorithms: &'static [SigningAlgorithm],
    /// MAC algorithms, empty unless the usage is `GENERATE_VERIFY_MAC`.
    pub mac_algorithms: &'static [MacAlgorithm],
    /// Length of the secret in a key token, in bytes.
    pub secret_size: usize,
}

/// The key-spec table.
pub const KEY_SPECS: &[KeySpecRow] = &[
    KeySpecRow {
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usages: &[KeyUsage::ENCRYPT_DECRYPT],
        signing_algorithms: &[],
        mac_algorithms: &[],
        secret_size: 32,
    },
    KeySpecRow {
        spec: KeySpec::ECC_NIST_P256,
        usages: &[KeyUsage::SIGN_VERIFY],
        signing_algorithms: &[SigningAlgorithm::ECDSA_SHA_256],
        mac_algorithms: &[],
        secret_size: 32,
    },
    KeySpecRow {
        spec: KeySpec::HMAC_256,
        usages: &[KeyUsage::GENERATE_VERIFY_MAC],
        signing_algorithms: &[],
        mac_algorithms: &[MacAlgorithm::HMAC_SHA_256],
        secret_size: 32,
    },
];

/// The longest secret of any key spec, in bytes.
pub const MAX_SECRET: usize = 32;

impl KeySpec {
    /// The spec's row; `None` for a spec this build does not know.
    #[must_use]
    pub fn row(self) -> Option<&'static KeySpecRow> {
        KEY_SPECS.iter().find(|row| row.spec == self)
    }
}
