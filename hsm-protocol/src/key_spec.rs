//! The key-spec table: what kinds of key there are and what each may do.
//!
//! Numbers are stored in key tokens: add rows, never renumber.

use core::fmt;

use serde::{Deserialize, Serialize};

mod algorithm;

pub use self::algorithm::{
    ENCRYPTION_ALGORITHMS, EncryptionAlgorithmRow, MAC_ALGORITHMS, MU, MacAlgorithmRow,
    SIGNING_ALGORITHMS, SigningAlgorithmRow,
};

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
        /// HMAC with SHA-224 and a 28-byte key.
        4 HMAC_224 = "HMAC_224";
        /// HMAC with SHA-384 and a 48-byte key.
        5 HMAC_384 = "HMAC_384";
        /// HMAC with SHA-512 and a 64-byte key.
        6 HMAC_512 = "HMAC_512";
        /// ECDSA or ECDH on P-384.
        7 ECC_NIST_P384 = "ECC_NIST_P384";
        /// ECDSA or ECDH on P-521.
        8 ECC_NIST_P521 = "ECC_NIST_P521";
        /// ECDSA on secp256k1 (SEC 2); not approved by FIPS 140-3.
        9 ECC_SECG_P256K1 = "ECC_SECG_P256K1";
        /// Ed25519 and Ed25519ph (RFC 8032, FIPS 186-5).
        10 ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519";
        /// RSA with a 2048-bit modulus and exponent 65537 (FIPS 186-5, RFC 8017).
        11 RSA_2048 = "RSA_2048";
        /// RSA with a 3072-bit modulus.
        12 RSA_3072 = "RSA_3072";
        /// RSA with a 4096-bit modulus.
        13 RSA_4096 = "RSA_4096";
        /// ML-DSA-44 (FIPS 204).
        14 ML_DSA_44 = "ML_DSA_44";
        /// ML-DSA-65.
        15 ML_DSA_65 = "ML_DSA_65";
        /// ML-DSA-87.
        16 ML_DSA_87 = "ML_DSA_87";
        /// ML-KEM-512 (FIPS 203).
        17 ML_KEM_512 = "ML_KEM_512";
        /// ML-KEM-768.
        18 ML_KEM_768 = "ML_KEM_768";
        /// ML-KEM-1024.
        19 ML_KEM_1024 = "ML_KEM_1024";
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
        /// Derive shared secrets.
        4 KEY_AGREEMENT = "KEY_AGREEMENT";
        /// Encapsulate and decapsulate shared secrets.
        5 ENCAPSULATE_DECAPSULATE = "ENCAPSULATE_DECAPSULATE";
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
        /// ECDSA with SHA-384.
        2 ECDSA_SHA_384 = "ECDSA_SHA_384";
        /// ECDSA with SHA-512.
        3 ECDSA_SHA_512 = "ECDSA_SHA_512";
        /// RSASSA-PSS with SHA-256, MGF1 of the same hash, salt as long as the hash (RFC 8017 8.1).
        4 RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256";
        /// RSASSA-PSS with SHA-384.
        5 RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384";
        /// RSASSA-PSS with SHA-512.
        6 RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512";
        /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 8.2).
        7 RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256";
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        8 RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384";
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        9 RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512";
        /// Ed25519 of the message (RFC 8032 5.1).
        10 ED25519_SHA_512 = "ED25519_SHA_512";
        /// Ed25519ph of the 64 bytes supplied, which it hashes again (RFC 8032 5.1).
        11 ED25519_PH_SHA_512 = "ED25519_PH_SHA_512";
        /// ML-DSA, hedged, with an empty context (FIPS 204 5.2).
        12 ML_DSA_SHAKE_256 = "ML_DSA_SHAKE_256";
    }
}

wire_enum! {
    /// How a message is encrypted.
    EncryptionAlgorithm {
        /// AES-256-GCM under a key derived for each message.
        1 SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT";
        /// RSAES-OAEP with SHA-1 and MGF1 of SHA-1 (RFC 8017 7.1).
        2 RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1";
        /// RSAES-OAEP with SHA-256 and MGF1 of SHA-256.
        3 RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256";
    }
}

wire_enum! {
    /// How key material is wrapped for its import.
    WrappingAlgorithm {
        /// RSAES-OAEP with SHA-1.
        1 RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1";
        /// RSAES-OAEP with SHA-256.
        2 RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256";
        /// An AES-256 key under RSAES-OAEP with SHA-1, then the material under that key with
        /// AES-KWP (SP 800-38F 6.3): CKM_RSA_AES_KEY_WRAP of PKCS#11.
        3 RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1";
        /// The same with SHA-256.
        4 RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256";
    }
}

wire_enum! {
    /// How a MAC is computed.
    MacAlgorithm {
        /// HMAC with SHA-256, not truncated (FIPS 198-1).
        1 HMAC_SHA_256 = "HMAC_SHA_256";
        /// HMAC with SHA-224.
        2 HMAC_SHA_224 = "HMAC_SHA_224";
        /// HMAC with SHA-384.
        3 HMAC_SHA_384 = "HMAC_SHA_384";
        /// HMAC with SHA-512.
        4 HMAC_SHA_512 = "HMAC_SHA_512";
    }
}

wire_enum! {
    /// What the message of a signature is.
    MessageType {
        /// The message itself; the device hashes it.
        1 RAW = "RAW";
        /// A digest made by the caller with the algorithm's hash.
        2 DIGEST = "DIGEST";
        /// The 64-byte message representative mu of ML-DSA (FIPS 204 6.2), made by the caller.
        3 EXTERNAL_MU = "EXTERNAL_MU";
    }
}

/// The kind of algorithm that a key is for. It is in no message and no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFamily {
    /// Symmetric encryption.
    Symmetric,
    /// HMAC.
    Hmac,
    /// RSA.
    Rsa,
    /// Elliptic curves in Weierstrass form: ECDSA and ECDH.
    Ecc,
    /// Edwards curves: EdDSA.
    Edwards,
    /// ML-DSA.
    MlDsa,
    /// ML-KEM.
    MlKem,
}

/// A row of the key-spec table.
#[derive(Clone, Copy, Debug)]
pub struct KeySpecRow {
    /// The spec.
    pub spec: KeySpec,
    /// The kind of algorithm its keys are for.
    pub family: KeyFamily,
    /// The usages a key of this spec may be made for.
    pub usages: &'static [KeyUsage],
    /// Signing algorithms, empty unless the usage is `SIGN_VERIFY`.
    pub signing_algorithms: &'static [SigningAlgorithm],
    /// Encryption algorithms, empty unless the usage is `ENCRYPT_DECRYPT`.
    pub encryption_algorithms: &'static [EncryptionAlgorithm],
    /// MAC algorithms, empty unless the usage is `GENERATE_VERIFY_MAC`.
    pub mac_algorithms: &'static [MacAlgorithm],
    /// Length of the secret in a key token, in bytes. RSA: both primes, each half of it; ML-DSA
    /// and ML-KEM: the seed.
    pub secret_size: usize,
    /// Length of the public key, DER `SubjectPublicKeyInfo`, in bytes; 0 for a symmetric key.
    pub public_size: usize,
    /// Whether a data key pair may be of this spec.
    pub data_key_pair: bool,
    /// Whether a key pair takes so long to find that a device works on it between requests.
    pub slow: bool,
}

/// What most specs have of most columns.
const fn row(spec: KeySpec, family: KeyFamily) -> KeySpecRow {
    KeySpecRow {
        spec,
        family,
        usages: &[],
        signing_algorithms: &[],
        encryption_algorithms: &[],
        mac_algorithms: &[],
        secret_size: 0,
        public_size: 0,
        data_key_pair: false,
        slow: false,
    }
}

const fn hmac(spec: KeySpec, algorithm: &'static [MacAlgorithm], size: usize) -> KeySpecRow {
    const USAGES: &[KeyUsage] = &[KeyUsage::GENERATE_VERIFY_MAC];
    KeySpecRow {
        usages: USAGES,
        mac_algorithms: algorithm,
        secret_size: size,
        ..row(spec, KeyFamily::Hmac)
    }
}

const fn curve(
    (spec, family): (KeySpec, KeyFamily),
    usages: &'static [KeyUsage],
    algorithms: &'static [SigningAlgorithm],
    secret_size: usize,
    public_size: usize,
) -> KeySpecRow {
    let signing_algorithms = algorithms;
    KeySpecRow {
        usages,
        signing_algorithms,
        secret_size,
        public_size,
        data_key_pair: true,
        ..row(spec, family)
    }
}

const fn ecc(
    spec: KeySpec,
    usages: &'static [KeyUsage],
    algorithms: &'static [SigningAlgorithm],
    secret_size: usize,
    public_size: usize,
) -> KeySpecRow {
    curve((spec, KeyFamily::Ecc), usages, algorithms, secret_size, public_size)
}

const fn rsa(spec: KeySpec, bits: usize, public_size: usize) -> KeySpecRow {
    KeySpecRow {
        usages: &[KeyUsage::ENCRYPT_DECRYPT, KeyUsage::SIGN_VERIFY],
        signing_algorithms: &[
            SigningAlgorithm::RSASSA_PSS_SHA_256,
            SigningAlgorithm::RSASSA_PSS_SHA_384,
            SigningAlgorithm::RSASSA_PSS_SHA_512,
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256,
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_384,
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_512,
        ],
        encryption_algorithms: &[
            EncryptionAlgorithm::RSAES_OAEP_SHA_1,
            EncryptionAlgorithm::RSAES_OAEP_SHA_256,
        ],
        secret_size: bits >> 3,
        public_size,
        data_key_pair: true,
        slow: true,
        ..row(spec, KeyFamily::Rsa)
    }
}

const fn ml_dsa(spec: KeySpec, public_size: usize) -> KeySpecRow {
    const USAGES: &[KeyUsage] = &[KeyUsage::SIGN_VERIFY];
    const ALGORITHMS: &[SigningAlgorithm] = &[SigningAlgorithm::ML_DSA_SHAKE_256];
    KeySpecRow {
        usages: USAGES,
        signing_algorithms: ALGORITHMS,
        secret_size: 32,
        public_size,
        ..row(spec, KeyFamily::MlDsa)
    }
}

const fn ml_kem(spec: KeySpec, public_size: usize) -> KeySpecRow {
    const USAGES: &[KeyUsage] = &[KeyUsage::ENCAPSULATE_DECAPSULATE];
    KeySpecRow {
        usages: USAGES,
        secret_size: 64,
        public_size,
        data_key_pair: true,
        ..row(spec, KeyFamily::MlKem)
    }
}

const SIGN: &[KeyUsage] = &[KeyUsage::SIGN_VERIFY];
const SIGN_OR_AGREE: &[KeyUsage] = &[KeyUsage::SIGN_VERIFY, KeyUsage::KEY_AGREEMENT];

/// The key-spec table.
pub const KEY_SPECS: &[KeySpecRow] = &[
    KeySpecRow {
        usages: &[KeyUsage::ENCRYPT_DECRYPT],
        encryption_algorithms: &[EncryptionAlgorithm::SYMMETRIC_DEFAULT],
        secret_size: 32,
        ..row(KeySpec::SYMMETRIC_DEFAULT, KeyFamily::Symmetric)
    },
    hmac(KeySpec::HMAC_224, &[MacAlgorithm::HMAC_SHA_224], 28),
    hmac(KeySpec::HMAC_256, &[MacAlgorithm::HMAC_SHA_256], 32),
    hmac(KeySpec::HMAC_384, &[MacAlgorithm::HMAC_SHA_384], 48),
    hmac(KeySpec::HMAC_512, &[MacAlgorithm::HMAC_SHA_512], 64),
    ecc(KeySpec::ECC_NIST_P256, SIGN_OR_AGREE, &[SigningAlgorithm::ECDSA_SHA_256], 32, 91),
    ecc(KeySpec::ECC_NIST_P384, SIGN_OR_AGREE, &[SigningAlgorithm::ECDSA_SHA_384], 48, 120),
    ecc(KeySpec::ECC_NIST_P521, SIGN_OR_AGREE, &[SigningAlgorithm::ECDSA_SHA_512], 66, 158),
    ecc(KeySpec::ECC_SECG_P256K1, SIGN, &[SigningAlgorithm::ECDSA_SHA_256], 32, 88),
    curve(
        (KeySpec::ECC_NIST_EDWARDS25519, KeyFamily::Edwards),
        SIGN,
        &[SigningAlgorithm::ED25519_SHA_512, SigningAlgorithm::ED25519_PH_SHA_512],
        32,
        44,
    ),
    rsa(KeySpec::RSA_2048, 2048, 294),
    rsa(KeySpec::RSA_3072, 3072, 422),
    rsa(KeySpec::RSA_4096, 4096, 550),
    ml_dsa(KeySpec::ML_DSA_44, 1334),
    ml_dsa(KeySpec::ML_DSA_65, 1974),
    ml_dsa(KeySpec::ML_DSA_87, 2614),
    ml_kem(KeySpec::ML_KEM_512, 822),
    ml_kem(KeySpec::ML_KEM_768, 1206),
    ml_kem(KeySpec::ML_KEM_1024, 1590),
];

/// The longest secret of any key spec, in bytes: the primes of RSA_4096.
pub const MAX_SECRET: usize = 512;
/// The longest public key of any key spec, in bytes: ML_DSA_87.
pub const MAX_PUBLIC_KEY: usize = 2614;
/// The longest signature of any signing algorithm, in bytes: ML-DSA-87.
pub const MAX_SIGNATURE: usize = 4627;
/// The longest private key of a data key pair, DER PKCS#8, in bytes: RSA_4096.
pub const MAX_PRIVATE_KEY: usize = 2400;

impl KeySpec {
    /// The spec's row; `None` for a spec this build does not know.
    #[must_use]
    pub fn row(self) -> Option<&'static KeySpecRow> {
        KEY_SPECS.iter().find(|row| row.spec == self)
    }
}
