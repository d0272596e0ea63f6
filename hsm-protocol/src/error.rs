//! Error codes of the device.
//!
//! A code is a number with a family in its high byte, never a string: strings cost flash and
//! leak. A host maps codes to texts. Codes are added, never renumbered. Withdrawn: 0x0502.

use core::fmt;
use core::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// A device error. Values this build does not know survive decoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(NonZeroU16);

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $code:literal $name:ident;)+) => {
        impl ErrorCode {
            $($(#[doc = $doc])+
            pub const $name: Self = match NonZeroU16::new($code) {
                Some(code) => Self(code),
                None => panic!("an error code is not zero"),
            };)+

            /// The table: code, name and meaning, in ascending order.
            pub const ALL: &'static [(Self, &'static str, &'static str)] = &[
                $((Self::$name, stringify!($name), concat!($($doc),+))),+
            ];
        }

        // A number used twice does not compile.
        #[repr(u16)]
        #[allow(non_camel_case_types, dead_code, clippy::upper_case_acronyms)]
        enum Unique { $($name = $code),+ }
    };
}

error_codes! {
    /// The request could not be decoded, or has bytes left over.
    0x0101 MALFORMED;
    /// No command has this number.
    0x0102 UNKNOWN_COMMAND;
    /// The request or its answer exceeds a size limit of the protocol.
    0x0103 TOO_LARGE;
    /// The frame names a session that the device does not have.
    0x0104 NO_SESSION;
    /// A sealed record was out of order, replayed, or failed authentication; the session is gone.
    0x0105 BAD_RECORD;
    /// The frame kind is not one that a host sends.
    0x0106 BAD_FRAME_KIND;

    /// The handshake failed: wrong device key, unknown host key, or damaged message.
    0x0201 HANDSHAKE_FAILED;
    /// The role of this host's key may not call the command.
    0x0202 ROLE_DENIED;
    /// The command is not allowed in the present module state.
    0x0203 STATE_DENIED;
    /// The command must be called inside the authenticated channel.
    0x0204 CHANNEL_REQUIRED;
    /// Too many failed handshakes; try again later.
    0x0205 THROTTLED;

    /// The token or blob has an unknown version or layout.
    0x0301 TOKEN_MALFORMED;
    /// The token failed authentication, or its domain key is unknown here.
    0x0302 TOKEN_INVALID;
    /// The token belongs to another domain.
    0x0303 TOKEN_DOMAIN;
    /// The token is for another key than the request names.
    0x0304 KEY_MISMATCH;
    /// The key's usage does not permit the operation.
    0x0305 USAGE_DENIED;
    /// The key's spec does not fit the operation or algorithm.
    0x0306 SPEC_DENIED;
    /// The import token, or the recipient's, has expired.
    0x0307 TOKEN_EXPIRED;
    /// The key pair was prepared for another purpose.
    0x0308 PAIR_DENIED;
    /// Operators have to approve this use of the key; ask what they have to sign.
    0x0309 APPROVAL_REQUIRED;
    /// The device knows no such request for approval, or not any more.
    0x030A APPROVAL_UNKNOWN;
    /// A key whose uses operators approve does not leave its domain, and its rule is not lowered.
    0x030B APPROVAL_BOUND;

    /// The algorithm or key spec is not in this device's registry.
    0x0401 UNSUPPORTED;
    /// A parameter is outside its range.
    0x0402 INVALID_ARGUMENT;
    /// The message or digest has a wrong length.
    0x0403 MESSAGE_LENGTH;
    /// The ciphertext failed authentication, or was made by other key material.
    0x0404 CIPHERTEXT_INVALID;
    /// The signature does not verify.
    0x0405 SIGNATURE_INVALID;
    /// The MAC does not verify.
    0x0406 MAC_INVALID;
    /// The device is still looking for a key pair; ask again.
    0x0407 NOT_READY;
    /// A key of this spec takes a prepared key pair.
    0x0408 PAIR_REQUIRED;
    /// The peer's public key, or the key material to import, does not fit the key's spec.
    0x0409 KEY_MATERIAL_INVALID;
    /// The attestation document is not one, or names no RSA key of 2048, 3072 or 4096 bits.
    0x040A ATTESTATION_MALFORMED;
    /// The attestation document's time is more than five minutes from now.
    0x040B ATTESTATION_STALE;
    /// No trusted root vouches for the attestation document, or its signature is wrong.
    0x040C ATTESTATION_UNTRUSTED;
    /// The statement is not in the form in which devices make it.
    0x040D STATEMENT_INVALID;

    /// The host table is full.
    0x0501 HOSTS_FULL;
    /// The device already belongs to a domain.
    0x0503 DOMAIN_EXISTS;
    /// An identity document is damaged or not signed by its own key.
    0x0504 IDENTITY_INVALID;
    /// The domain token is damaged, for another device, of another state, or not signed by a member.
    0x0505 DOMAIN_TOKEN_INVALID;
    /// The member table is full.
    0x0506 MEMBERS_FULL;
    /// The operators have not approved the other domain.
    0x0507 PEER_DENIED;
    /// The encoded domain state is damaged, or no state that a domain can be in.
    0x0508 DOMAIN_STATE_INVALID;
    /// The change makes no sense, or not for this domain.
    0x0509 CHANGE_INVALID;
    /// The change is for another domain, version or state than this one.
    0x050A STATE_STALE;
    /// Too few operators have signed the change.
    0x050B QUORUM_MISSING;
    /// The rules could not be met any more, or are not those of a production domain.
    0x050C RULES_DENIED;
    /// The device CA of the domain does not vouch for the device.
    0x050D CERTIFICATE_INVALID;
    /// A table of the domain is full.
    0x050E TABLE_FULL;
    /// The device waits for a domain key that another member has made.
    0x050F KEYS_MISSING;
    /// The domain's state names nobody who holds recovery shares.
    0x0510 RECOVERY_ABSENT;
    /// The backup or a share is damaged, for another device, or of another domain, version or backup.
    0x0511 RECOVERY_INVALID;
    /// There are fewer shares than the backup takes.
    0x0512 SHARES_MISSING;
    /// The domain takes this device for hardware, which it is not.
    0x0513 KIND_DENIED;

    /// The device does not hold the audit entries asked for.
    0x0601 AUDIT_RANGE;
    /// The device keeps as many audit entries as it can, and no host has said that it has them: kmsd
    /// fetches them as soon as it serves with the device.
    0x0602 AUDIT_FULL;

    /// A self-test failed; the module is in the error state.
    0x0701 SELF_TEST_FAILED;
    /// The entropy source failed a health test; the module is in the error state.
    0x0702 ENTROPY_FAILED;
    /// Non-volatile storage failed or holds damaged records.
    0x0703 STORAGE_FAILED;
    /// The firmware image does not match its integrity value.
    0x0704 INTEGRITY_FAILED;
    /// An invariant of the firmware was violated.
    0x0705 INTERNAL;
    /// A generated key pair failed its pair-wise consistency test.
    0x0706 PAIRWISE_FAILED;
    /// Non-volatile storage is full.
    0x0707 STORAGE_FULL;

    /// The board has no second stage that could start another image.
    0x0801 UPDATE_UNSUPPORTED;
    /// The firmware manifest is malformed, or of an unknown version.
    0x0802 FIRMWARE_MALFORMED;
    /// The firmware is for another board, or runs from another address.
    0x0803 FIRMWARE_BOARD;
    /// Too few of this device's firmware signers have signed the firmware, or a signature is wrong.
    0x0804 FIRMWARE_UNSIGNED;
    /// The security version of the firmware is lower than what this device has run.
    0x0805 FIRMWARE_ROLLBACK;
    /// The firmware is longer than the room for it.
    0x0806 FIRMWARE_TOO_LARGE;
    /// The image that was received is not the one of the manifest.
    0x0807 FIRMWARE_DAMAGED;
    /// The domain's operators have not permitted this firmware.
    0x0808 FIRMWARE_NOT_PERMITTED;
    /// The firmware that runs is on trial; it can be replaced once it is confirmed.
    0x0809 UPDATE_UNCONFIRMED;
    /// No update has begun, or none is ready to be started.
    0x080A UPDATE_ABSENT;
    /// The bytes do not continue those that were received, or go beyond the image.
    0x080B UPDATE_OUT_OF_ORDER;
    /// The image is not complete.
    0x080C UPDATE_INCOMPLETE;
    /// The boot record or the slot cannot be written.
    0x080D UPDATE_FAILED;
}

impl ErrorCode {
    /// The code of a non-zero number; `None` for zero, which means success on the wire.
    #[must_use]
    pub const fn from_u16(code: u16) -> Option<Self> {
        match NonZeroU16::new(code) {
            Some(code) => Some(Self(code)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0.get()
    }

    /// The name in the table, if this build knows the code.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|row| row.0 == self).map(|row| row.1)
    }

    /// What the code means, for people.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        Self::ALL.iter().find(|row| row.0 == self).map(|row| row.2.trim_ascii())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{meaning} (0x{:04x})", self.0),
            None => write!(f, "device error 0x{:04x}", self.0),
        }
    }
}

impl core::error::Error for ErrorCode {}

impl From<postcard::Error> for ErrorCode {
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::SerializeBufferFull => Self::TOO_LARGE,
            _ => Self::MALFORMED,
        }
    }
}
