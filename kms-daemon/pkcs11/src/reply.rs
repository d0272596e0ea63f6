//! What the daemon accepts of an answer. The process that sends it runs a module, which may have it say anything: so
//! every answer has to be the one to its request, and every length the expected one.

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::fault::MAX_NAME;
use crate::message::{Answer, Presence, Reply, Request};
use crate::{Fault, MAX_DATA, frame};

/// Length of a tag, in bytes.
const TAG: usize = 16;
/// Length of the modulus of the RSA keys that keys are copied with, in bytes.
const MODULUS: usize = 3072 / 8;
/// Their exponent, big-endian.
pub(crate) const EXPONENT: [u8; 3] = [1, 0, 1];
/// Longest serial number, in characters; PKCS #11 (2.40, 3.2) has 16.
const MAX_SERIAL: usize = 64;

/// What a token has encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The IV: the one that was given, unless the token insists on its own.
    pub iv: [u8; 12],
    /// As long as the plaintext.
    pub ciphertext: Vec<u8>,
    /// The tag.
    pub tag: [u8; 16],
}

/// Sends a request, and receives its answer.
pub(crate) async fn exchange(
    to: &mut (impl AsyncWrite + Unpin),
    from: &mut (impl AsyncRead + Unpin),
    request: &Request,
) -> Answer {
    let frame = frame::encode(request).map_err(|_| Fault::Malformed)?;
    frame::send(to, &frame).await.map_err(|_| Fault::Ended)?;
    let body = frame::receive(from).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Fault::Malformed,
        _ => Fault::Ended,
    })?;
    match frame::decode::<Answer>(&body).map_err(|_| Fault::Malformed)? {
        // It is a name, and gets into logs.
        Err(Fault::Refused(name)) if !is_name(&name) => Err(Fault::Malformed),
        answer => answer,
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_()".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_part)
}

impl Reply {
    /// Of a request that returns nothing.
    pub(crate) fn done(self) -> Result<(), Fault> {
        match self {
            Self::Done => Ok(()),
            _ => Err(Fault::Malformed),
        }
    }

    /// The token of a label.
    pub(crate) fn present(self, label: &str) -> Result<Presence, Fault> {
        let is_serial =
            |text: &str| text.chars().count() <= MAX_SERIAL && !text.chars().any(char::is_control);
        match self {
            Self::Present(presence) if presence.label == label && is_serial(&presence.serial) => {
                Ok(presence)
            }
            _ => Err(Fault::Malformed),
        }
    }

    /// An RSA public key, modulus and exponent, that keys are copied under.
    pub(crate) fn public(self) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        match self {
            // Some tokens write zeros before a number.
            Self::Public { modulus, exponent }
                if without_zeros(&modulus).len() == MODULUS
                    && without_zeros(&exponent) == EXPONENT =>
            {
                Ok((modulus, exponent))
            }
            _ => Err(Fault::Malformed),
        }
    }

    /// A key that is encrypted under such a key: as long as its modulus (RFC 8017, 7.1.1).
    pub(crate) fn wrapped(self) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Bytes(wrapped) if wrapped.len() == MODULUS => Ok(wrapped),
            _ => Err(Fault::Malformed),
        }
    }

    /// What has become of a plaintext of so many bytes.
    pub(crate) fn sealed(self, length: usize) -> Result<Sealed, Fault> {
        let Self::Sealed { iv, mut ciphertext } = self else { return Err(Fault::Malformed) };
        if length > MAX_DATA || ciphertext.len() != length + TAG {
            return Err(Fault::Malformed);
        }
        let tag = ciphertext.split_off(length);
        let tag = tag.try_into().map_err(|_| Fault::Malformed)?;
        Ok(Sealed { iv, ciphertext, tag })
    }

    /// The plaintext of a ciphertext of so many bytes, without tag.
    pub(crate) fn opened(self, length: usize) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Bytes(plaintext) if plaintext.len() == length => Ok(plaintext),
            _ => Err(Fault::Malformed),
        }
    }

    /// So many random bytes.
    pub(crate) fn random(self, length: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        match self {
            Self::Bytes(random) if random.len() == usize::from(length) => Ok(random.into()),
            _ => Err(Fault::Malformed),
        }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer that a process sends, whatever was asked.
    async fn received(answer: &Answer) -> Answer {
        let frame = frame::encode(answer).unwrap();
        exchange(&mut tokio::io::sink(), &mut &frame[..], &Request::Probe).await
    }

    #[tokio::test]
    async fn an_answer_to_another_request_is_not_taken() {
        let presence = |serial: &str| {
            let (label, serial) = ("a".to_owned(), serial.to_owned());
            Reply::Present(Presence { label, serial, pin_at_risk: false })
        };
        let public = |modulus: &[u8], exponent: &[u8]| {
            let (modulus, exponent) = (modulus.to_vec(), exponent.to_vec());
            Reply::Public { modulus, exponent }
        };
        assert!(received(&Ok(Reply::Done)).await.unwrap().done().is_ok());
        for other in [presence("1"), Reply::Bytes(vec![1; MODULUS]), public(&[1], &EXPONENT)] {
            assert_eq!(received(&Ok(other)).await.unwrap().done(), Err(Fault::Malformed));
        }
        assert!(presence("1").present("a").is_ok() && presence("1").present("b").is_err());
        assert!(presence("1\n2").present("a").is_err());
        assert!(presence(&"1".repeat(MAX_SERIAL + 1)).present("a").is_err());
        assert!(public(&[1; MODULUS], &EXPONENT).public().is_ok());
        assert!(public(&[&[0], &[1; MODULUS][..]].concat(), &[0, 1, 0, 1]).public().is_ok());
        for (modulus, exponent) in [(MODULUS - 1, &[1, 0, 1][..]), (MODULUS, &[3][..])] {
            assert!(public(&vec![1; modulus], exponent).public().is_err(), "{exponent:?}");
        }
        assert!(Reply::Bytes(vec![0; MODULUS + 1]).wrapped().is_err());
        assert!(Reply::Bytes(vec![0; 3]).opened(4).is_err());
        assert!(Reply::Bytes(vec![0; 3]).random(4).is_err());
        let sealed = |length| Reply::Sealed { iv: [0; 12], ciphertext: vec![0; length] };
        assert!(sealed(TAG + 3).sealed(3).is_ok() && sealed(TAG + 3).sealed(4).is_err());
        assert!(sealed(TAG + MAX_DATA + 1).sealed(MAX_DATA + 1).is_err());
    }

    #[tokio::test]
    async fn a_process_does_not_write_into_logs() {
        let refused = |name: &str| Err(Fault::Refused(name.to_owned()));
        let name = refused("VendorDefined(2147483649)");
        assert_eq!(received(&name).await, name);
        for text in ["", "General\nerror", "a\u{1b}[2J", "x y", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(received(&refused(text)).await, Err(Fault::Malformed), "{text:?}");
        }
    }
}
