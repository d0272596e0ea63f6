//! What devices authenticate in the place of an encryption context.

use sha2::{Digest, Sha256};

/// The beginning of what devices authenticate for external key stores, with the version of its form.
///
/// A canonical encryption context ([`hsm_protocol::token::context`]) is empty or begins with the number
/// of its pairs, 32 bits. These bytes would be 1,937,011,311 pairs, which no context has room for. So
/// nothing that is encrypted here can be decrypted with an encryption context, or the other way round.
const LABEL: &[u8] = b"strongroom external key store v1\0";

/// Returns what a device is to authenticate for these additional authenticated data: a label, and their
/// SHA-256. Of the data themselves there may be as many bytes as a device takes for a whole context, so
/// that there would be no room for the label.
#[must_use]
pub fn authenticated(aad: &[u8]) -> Vec<u8> {
    [LABEL, Sha256::digest(aad).as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use hsm_protocol::command::cipher::MAX_CONTEXT;

    use super::*;

    #[test]
    fn no_encryption_context_has_such_a_form() {
        let count = u32::from_be_bytes(LABEL[..4].try_into().unwrap());
        // A pair has two lengths of four bytes.
        let most = MAX_CONTEXT / 8;
        assert!(usize::try_from(count).unwrap() > most, "{count} pairs");
        assert!(authenticated(b"").len() <= MAX_CONTEXT);
    }

    #[test]
    fn other_data_is_other_bytes() {
        let all = [&b""[..], b"\0", b"a", b"ab", b"aa"].map(authenticated);
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other != one));
        }
    }
}
