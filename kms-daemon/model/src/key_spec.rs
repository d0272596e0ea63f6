//! Key specs, usages and algorithms of the service model, and what devices call them.
//!
//! The model has more than devices have: SM2, a wrapping that AWS has ended, and origins of custom
//! key stores. Every `device` function decides about each value, so a newer model whose values
//! nobody has decided about does not compile.

use hsm_protocol::key_spec as device;

use super::enums::{
    AlgorithmSpec, CustomerMasterKeySpec, DataKeyPairSpec, DataKeySpec, EncryptionAlgorithmSpec,
    KeySpec, KeyUsageType, MacAlgorithmSpec, MessageType, OriginType, SigningAlgorithmSpec,
    WrappingKeySpec,
};

impl KeySpec {
    /// The spec as devices know it; `None` for SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::KeySpec> {
        use device::KeySpec as D;
        Some(match self {
            Self::SYMMETRIC_DEFAULT => D::SYMMETRIC_DEFAULT,
            Self::HMAC_224 => D::HMAC_224,
            Self::HMAC_256 => D::HMAC_256,
            Self::HMAC_384 => D::HMAC_384,
            Self::HMAC_512 => D::HMAC_512,
            Self::RSA_2048 => D::RSA_2048,
            Self::RSA_3072 => D::RSA_3072,
            Self::RSA_4096 => D::RSA_4096,
            Self::ECC_NIST_P256 => D::ECC_NIST_P256,
            Self::ECC_NIST_P384 => D::ECC_NIST_P384,
            Self::ECC_NIST_P521 => D::ECC_NIST_P521,
            Self::ECC_SECG_P256K1 => D::ECC_SECG_P256K1,
            Self::ECC_NIST_EDWARDS25519 => D::ECC_NIST_EDWARDS25519,
            Self::ML_DSA_44 => D::ML_DSA_44,
            Self::ML_DSA_65 => D::ML_DSA_65,
            Self::ML_DSA_87 => D::ML_DSA_87,
            Self::ML_KEM_512 => D::ML_KEM_512,
            Self::ML_KEM_768 => D::ML_KEM_768,
            Self::ML_KEM_1024 => D::ML_KEM_1024,
            Self::SM2 => return None,
        })
    }

    /// Whether the API takes material of such keys that was made elsewhere. Devices would take that
    /// of post-quantum keys, too.
    #[must_use]
    pub const fn is_importable(self) -> bool {
        match self {
            Self::SYMMETRIC_DEFAULT
            | Self::HMAC_224
            | Self::HMAC_256
            | Self::HMAC_384
            | Self::HMAC_512
            | Self::RSA_2048
            | Self::RSA_3072
            | Self::RSA_4096
            | Self::ECC_NIST_P256
            | Self::ECC_NIST_P384
            | Self::ECC_NIST_P521
            | Self::ECC_SECG_P256K1
            | Self::ECC_NIST_EDWARDS25519
            | Self::SM2 => true,
            Self::ML_DSA_44
            | Self::ML_DSA_65
            | Self::ML_DSA_87
            | Self::ML_KEM_512
            | Self::ML_KEM_768
            | Self::ML_KEM_1024 => false,
        }
    }

    /// Whether the API lets a key of this spec be made for `usage`.
    #[must_use]
    pub fn allows(self, usage: KeyUsageType) -> bool {
        use KeyUsageType as U;
        match self {
            // Devices do not have it, so their table does not tell.
            Self::SM2 => {
                matches!(usage, U::ENCRYPT_DECRYPT | U::SIGN_VERIFY | U::KEY_AGREEMENT)
            }
            _ => {
                let row = self.device().and_then(device::KeySpec::row);
                row.is_some_and(|row| row.usages.contains(&usage.device()))
            }
        }
    }
}

impl CustomerMasterKeySpec {
    /// The same spec under the parameter's newer name.
    #[must_use]
    pub const fn key_spec(self) -> KeySpec {
        match self {
            Self::SYMMETRIC_DEFAULT => KeySpec::SYMMETRIC_DEFAULT,
            Self::HMAC_224 => KeySpec::HMAC_224,
            Self::HMAC_256 => KeySpec::HMAC_256,
            Self::HMAC_384 => KeySpec::HMAC_384,
            Self::HMAC_512 => KeySpec::HMAC_512,
            Self::RSA_2048 => KeySpec::RSA_2048,
            Self::RSA_3072 => KeySpec::RSA_3072,
            Self::RSA_4096 => KeySpec::RSA_4096,
            Self::ECC_NIST_P256 => KeySpec::ECC_NIST_P256,
            Self::ECC_NIST_P384 => KeySpec::ECC_NIST_P384,
            Self::ECC_NIST_P521 => KeySpec::ECC_NIST_P521,
            Self::ECC_SECG_P256K1 => KeySpec::ECC_SECG_P256K1,
            Self::SM2 => KeySpec::SM2,
        }
    }
}

impl DataKeyPairSpec {
    /// The pair's spec as devices know it; `None` for SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::KeySpec> {
        use device::KeySpec as D;
        Some(match self {
            Self::RSA_2048 => D::RSA_2048,
            Self::RSA_3072 => D::RSA_3072,
            Self::RSA_4096 => D::RSA_4096,
            Self::ECC_NIST_P256 => D::ECC_NIST_P256,
            Self::ECC_NIST_P384 => D::ECC_NIST_P384,
            Self::ECC_NIST_P521 => D::ECC_NIST_P521,
            Self::ECC_SECG_P256K1 => D::ECC_SECG_P256K1,
            Self::ECC_NIST_EDWARDS25519 => D::ECC_NIST_EDWARDS25519,
            Self::ML_KEM_512 => D::ML_KEM_512,
            Self::ML_KEM_768 => D::ML_KEM_768,
            Self::ML_KEM_1024 => D::ML_KEM_1024,
            Self::SM2 => return None,
        })
    }
}

impl DataKeySpec {
    /// Length of the data key in bytes.
    #[must_use]
    pub const fn size(self) -> u16 {
        match self {
            Self::AES_256 => 32,
            Self::AES_128 => 16,
        }
    }
}

impl KeyUsageType {
    /// The usage as devices know it.
    #[must_use]
    pub const fn device(self) -> device::KeyUsage {
        use device::KeyUsage as D;
        match self {
            Self::ENCRYPT_DECRYPT => D::ENCRYPT_DECRYPT,
            Self::SIGN_VERIFY => D::SIGN_VERIFY,
            Self::GENERATE_VERIFY_MAC => D::GENERATE_VERIFY_MAC,
            Self::KEY_AGREEMENT => D::KEY_AGREEMENT,
            Self::ENCAPSULATE_DECAPSULATE => D::ENCAPSULATE_DECAPSULATE,
        }
    }
}

impl OriginType {
    /// The origin as devices know it; `None` for those of custom key stores.
    #[must_use]
    pub const fn device(self) -> Option<device::Origin> {
        match self {
            Self::AWS_KMS => Some(device::Origin::AWS_KMS),
            Self::EXTERNAL => Some(device::Origin::EXTERNAL),
            Self::AWS_CLOUDHSM | Self::EXTERNAL_KEY_STORE => None,
        }
    }
}

impl SigningAlgorithmSpec {
    /// The algorithm as devices know it; `None` for that of SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::SigningAlgorithm> {
        use device::SigningAlgorithm as D;
        Some(match self {
            Self::RSASSA_PSS_SHA_256 => D::RSASSA_PSS_SHA_256,
            Self::RSASSA_PSS_SHA_384 => D::RSASSA_PSS_SHA_384,
            Self::RSASSA_PSS_SHA_512 => D::RSASSA_PSS_SHA_512,
            Self::RSASSA_PKCS1_V1_5_SHA_256 => D::RSASSA_PKCS1_V1_5_SHA_256,
            Self::RSASSA_PKCS1_V1_5_SHA_384 => D::RSASSA_PKCS1_V1_5_SHA_384,
            Self::RSASSA_PKCS1_V1_5_SHA_512 => D::RSASSA_PKCS1_V1_5_SHA_512,
            Self::ECDSA_SHA_256 => D::ECDSA_SHA_256,
            Self::ECDSA_SHA_384 => D::ECDSA_SHA_384,
            Self::ECDSA_SHA_512 => D::ECDSA_SHA_512,
            Self::ML_DSA_SHAKE_256 => D::ML_DSA_SHAKE_256,
            Self::ED25519_SHA_512 => D::ED25519_SHA_512,
            Self::ED25519_PH_SHA_512 => D::ED25519_PH_SHA_512,
            Self::SM2DSA => return None,
        })
    }
}

impl EncryptionAlgorithmSpec {
    /// The algorithm as devices know it; `None` for that of SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::EncryptionAlgorithm> {
        use device::EncryptionAlgorithm as D;
        match self {
            Self::SYMMETRIC_DEFAULT => Some(D::SYMMETRIC_DEFAULT),
            Self::RSAES_OAEP_SHA_1 => Some(D::RSAES_OAEP_SHA_1),
            Self::RSAES_OAEP_SHA_256 => Some(D::RSAES_OAEP_SHA_256),
            Self::SM2PKE => None,
        }
    }
}

impl MacAlgorithmSpec {
    /// The algorithm as devices know it.
    #[must_use]
    pub const fn device(self) -> device::MacAlgorithm {
        use device::MacAlgorithm as D;
        match self {
            Self::HMAC_SHA_224 => D::HMAC_SHA_224,
            Self::HMAC_SHA_256 => D::HMAC_SHA_256,
            Self::HMAC_SHA_384 => D::HMAC_SHA_384,
            Self::HMAC_SHA_512 => D::HMAC_SHA_512,
        }
    }
}

impl MessageType {
    /// The type as devices know it.
    #[must_use]
    pub const fn device(self) -> device::MessageType {
        use device::MessageType as D;
        match self {
            Self::RAW => D::RAW,
            Self::DIGEST => D::DIGEST,
            Self::EXTERNAL_MU => D::EXTERNAL_MU,
        }
    }
}

impl AlgorithmSpec {
    /// The wrapping as devices know it; `None` for the one that AWS has ended, and for that of SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::WrappingAlgorithm> {
        use device::WrappingAlgorithm as D;
        match self {
            Self::RSAES_OAEP_SHA_1 => Some(D::RSAES_OAEP_SHA_1),
            Self::RSAES_OAEP_SHA_256 => Some(D::RSAES_OAEP_SHA_256),
            Self::RSA_AES_KEY_WRAP_SHA_1 => Some(D::RSA_AES_KEY_WRAP_SHA_1),
            Self::RSA_AES_KEY_WRAP_SHA_256 => Some(D::RSA_AES_KEY_WRAP_SHA_256),
            Self::RSAES_PKCS1_V1_5 | Self::SM2PKE => None,
        }
    }
}

impl WrappingKeySpec {
    /// The spec as devices know it; `None` for SM2.
    #[must_use]
    pub const fn device(self) -> Option<device::KeySpec> {
        use device::KeySpec as D;
        match self {
            Self::RSA_2048 => Some(D::RSA_2048),
            Self::RSA_3072 => Some(D::RSA_3072),
            Self::RSA_4096 => Some(D::RSA_4096),
            Self::SM2 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all values of a model's enumeration, and the device's names for them.
    macro_rules! names {
        ($model:ident, $device:expr) => {{
            let device = $device;
            let named = $model::ALL.iter().map(|value| {
                (value.name(), device(*value).map(|device| device.aws_name().unwrap()))
            });
            named.collect::<Vec<_>>()
        }};
    }

    #[test]
    fn devices_have_the_same_names() {
        for (names, lacking, count) in [
            (names!(KeySpec, KeySpec::device), &["SM2"][..], device::KeySpec::ALL.len()),
            (names!(DataKeyPairSpec, DataKeyPairSpec::device), &["SM2"], 11),
            (names!(WrappingKeySpec, WrappingKeySpec::device), &["SM2"], 3),
            (
                names!(KeyUsageType, |usage: KeyUsageType| Some(usage.device())),
                &[],
                device::KeyUsage::ALL.len(),
            ),
            (
                names!(OriginType, OriginType::device),
                &["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"],
                device::Origin::ALL.len(),
            ),
            (
                names!(SigningAlgorithmSpec, SigningAlgorithmSpec::device),
                &["SM2DSA"],
                device::SigningAlgorithm::ALL.len(),
            ),
            (
                names!(EncryptionAlgorithmSpec, EncryptionAlgorithmSpec::device),
                &["SM2PKE"],
                device::EncryptionAlgorithm::ALL.len(),
            ),
            (
                names!(MacAlgorithmSpec, |algorithm: MacAlgorithmSpec| Some(algorithm.device())),
                &[],
                device::MacAlgorithm::ALL.len(),
            ),
            (
                names!(MessageType, |message: MessageType| Some(message.device())),
                &[],
                device::MessageType::ALL.len(),
            ),
            (
                names!(AlgorithmSpec, AlgorithmSpec::device),
                &["RSAES_PKCS1_V1_5", "SM2PKE"],
                device::WrappingAlgorithm::ALL.len(),
            ),
        ] {
            let (known, unknown): (Vec<_>, Vec<_>) =
                names.iter().partition(|(_, device)| device.is_some());
            assert!(known.iter().all(|(model, device)| *device == Some(*model)), "{known:?}");
            assert_eq!(known.len(), count, "{known:?}");
            let unknown: Vec<_> = unknown.into_iter().map(|(model, _)| model).collect();
            assert_eq!(unknown, lacking);
        }
        for spec in CustomerMasterKeySpec::ALL {
            assert_eq!(spec.key_spec().name(), spec.name());
        }
    }

    #[test]
    fn data_keys_are_as_long_as_their_names_say() {
        for spec in DataKeySpec::ALL {
            assert_eq!(spec.name(), format!("AES_{}", spec.size() * 8));
        }
    }
}
