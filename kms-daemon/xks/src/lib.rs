//! External key stores: the messages, errors and conditions of the AWS KMS external key store proxy API,
//! version 1.0.3, as the proxy sees them, and as a KMS sees them that calls another's proxy. Nothing here uses a key or reads a store.
//!
//! AWS KMS encrypts under material of its own first and sends the result, so that what arrives as a
//! plaintext is a ciphertext of AWS's. It is treated as a plaintext all the same.
//!
//! A ciphertext of a device is a blob that names key and material in full ([`hsm_protocol::token::Blob`]).
//! The API has no room for that. [`Parts`] takes a blob apart, and [`Parts::to_blob`] puts it together
//! again, once the key is known and its materials can be tried.

mod ciphertext;
mod conditions;
mod context;
mod error;
mod message;
mod metadata;
mod outer;
mod path;
mod response;

pub use self::ciphertext::{CIPHERTEXT_METADATA, CiphertextMetadata, Parts};
pub use self::conditions::{Arrival, Conditions};
pub use self::context::authenticated;
pub use self::error::{ErrorName, XksError};
pub use self::message::{
    DecryptRequest, EncryptRequest, Fleet, FleetMember, HealthStatus, MAX_AAD, MAX_BODY,
    read_health, read_metadata, write_decrypted, write_encrypted, write_health, write_metadata,
};
pub use self::metadata::RequestMetadata;
pub use self::outer::Outer;
pub use self::path::{Call, MAX_PREFIX, Path, is_prefix};
pub use self::response::{
    Encrypted, Health, KeyFacts, MAX_RESPONSE, Unreadable, ask, ask_decrypt, ask_encrypt,
    read_decrypted, read_encrypted, read_fleet, read_key, read_refusal,
};
