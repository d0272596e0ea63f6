//! Identifiers: fixed-size byte strings with a type each.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! identifiers {
    ($($(#[doc = $doc:literal])+ $name:ident[$size:literal];)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// Length in bytes.
            pub const SIZE: usize = $size;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::hex::write(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )+};
}

identifiers! {
    /// A device: the first 16 bytes of SHA-256 over its compressed identity signing key.
    DeviceId[16];
    /// A host key: the first 16 bytes of SHA-256 over the compressed static channel key.
    HostId[16];
    /// An operator: the first 16 bytes of SHA-256 over the compressed signing key.
    OperatorId[16];
    /// A domain, drawn at random by its first device.
    DomainId[16];
    /// Key material: a pseudo-random function of the material and its key id.
    MaterialId[32];
    /// What a host ties an audited command to: the id of the KMS request.
    AuditTag[16];
}

/// A KMS key id: the 16 bytes of its UUID, or of the hexadecimal part of `mrk-…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// True for a multi-Region key, whose id is the same in every Region.
    pub multi_region: bool,
    /// The id's 128 bits.
    pub bytes: [u8; 16],
}

impl KeyId {
    /// Length in bytes on the wire and in tokens: a flag byte and the id.
    pub const SIZE: usize = 17;

    /// A single-Region key id.
    #[must_use]
    pub const fn single_region(bytes: [u8; 16]) -> Self {
        Self { multi_region: false, bytes }
    }

    /// The wire form: flag byte (0 or 1), then the id.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        if let Some((flag, id)) = out.split_first_mut() {
            *flag = u8::from(self.multi_region);
            id.copy_from_slice(&self.bytes);
        }
        out
    }

    /// Reads the wire form; `None` if the flag byte is neither 0 nor 1.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let (flag, id) = bytes.split_first()?;
        let multi_region = match flag {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { multi_region, bytes: id.try_into().ok()? })
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.multi_region { "KeyId(mrk-" } else { "KeyId(" })?;
        crate::hex::write(&self.bytes, f)?;
        f.write_str(")")
    }
}
