//! Parameter types that JSON does not have: blobs, secrets and encryption contexts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::command::cipher::MAX_CONTEXT;
use hsm_protocol::token::context;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use zeroize::{Zeroize as _, Zeroizing};

use super::checks::invalid;
use kms_base::error::KmsError;
use kms_model::enums::EncryptionAlgorithmSpec;

/// Bytes in Base64, zeroised on drop because they may be a plaintext.
#[derive(Default)]
pub(super) struct Blob(Zeroizing<Vec<u8>>);

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.len())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
                let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
                let length =
                    STANDARD.decode_slice(text, &mut bytes).map_err(|_| E::custom("not Base64"))?;
                bytes.truncate(length);
                Ok(Blob(bytes))
            }
        }

        deserializer.deserialize_str(Base64)
    }
}

/// A string that is a secret, zeroised on drop.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A structure within a request. Serde alone would also read a structure from an array.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// An encryption context. A missing context and an empty one are the same.
#[derive(Debug, Default)]
pub(super) struct EncryptionContext(BTreeMap<String, String>);

/// The encryption context of operations that do not take one.
pub(super) static NO_CONTEXT: EncryptionContext = EncryptionContext(BTreeMap::new());

impl EncryptionContext {
    /// Returns the pairs by name.
    pub(super) const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Returns the pairs by name.
    pub(super) fn into_pairs(self) -> BTreeMap<String, String> {
        self.0
    }

    /// Returns the canonical form, which devices authenticate.
    pub(super) fn canonical(&self) -> Result<Vec<u8>, KmsError> {
        let mut bytes = vec![0; MAX_CONTEXT];
        let pairs = self.0.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        let length = context::encode(pairs, &mut bytes)
            .map_err(|_| invalid("The encryption context is too large."))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Returns the canonical form for an encryption algorithm. Only the symmetric algorithm takes a
    /// context.
    pub(super) fn canonical_for(
        &self,
        algorithm: EncryptionAlgorithmSpec,
    ) -> Result<Vec<u8>, KmsError> {
        if !self.0.is_empty() && algorithm != EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT {
            return Err(invalid(
                "EncryptionContext is not supported when encrypting/decrypting with asymmetric \
                 CMKs.",
            ));
        }
        self.canonical()
    }
}

impl<'de> Deserialize<'de> for EncryptionContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = EncryptionContext;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if pairs.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key is repeated"));
                    }
                }
                Ok(EncryptionContext(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_padded_standard_base64() {
        let read = |text: &str| serde_json::from_str::<Blob>(text).ok().map(|b| b.to_vec());
        assert_eq!(read(r#""+/8=""#), Some(vec![0xfb, 0xff]));
        assert_eq!(read(r#""\u002b\/8=""#), Some(vec![0xfb, 0xff]));
        assert_eq!(read(r#""""#), Some(vec![]));
        for text in [r#""+/8""#, r#""-_8=""#, r#""+/9=""#, r#""a b=""#, "7", "[1]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn contexts_are_sorted_and_unique() {
        let read = |text: &str| serde_json::from_str::<EncryptionContext>(text);
        let one = read(r#"{"b":"1","a":"2"}"#).unwrap().canonical().unwrap();
        assert_eq!(one, read(r#"{"a":"2","b":"1"}"#).unwrap().canonical().unwrap());
        assert_eq!(read("{}").unwrap().canonical().unwrap(), b"");
        assert!(read(r#"{"a":"1","a":"1"}"#).is_err());
        assert!(read(r#"{"a":1}"#).is_err());
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_CONTEXT));
        assert!(read(&large).unwrap().canonical().is_err());
    }
}
