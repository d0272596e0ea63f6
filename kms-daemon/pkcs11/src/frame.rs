//! Frames: the length in four bytes, little-endian, and that many bytes. A frame has 1 to [`MAX`] bytes, so that no
//! end makes the other one take much memory.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Most bytes of a frame: data of the longest ciphertext and the longest additional data, and what is around it.
pub(crate) const MAX: usize = 16 * 1024;
/// Bytes of the length.
const HEAD: usize = 4;

/// A frame with a message, length and all. It may have a PIN in it.
pub(crate) fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, io::Error> {
    // Never moved while it grows: what was moved would not be erased.
    let mut frame = Zeroizing::new(vec![0; HEAD + MAX]);
    let length = match postcard::to_slice(message, &mut frame[HEAD..]) {
        Ok(written) => written.len(),
        Err(_) => return Err(malformed()),
    };
    let head = u32::try_from(length).map_err(|_| malformed())?.to_le_bytes();
    frame[..HEAD].copy_from_slice(&head);
    frame.truncate(HEAD + length);
    Ok(frame)
}

/// Reads the message of a frame, all of it.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, io::Error> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(malformed()),
    }
}

/// How many bytes follow.
fn length(head: [u8; HEAD]) -> Result<usize, io::Error> {
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(|_| malformed())?;
    if (1..=MAX).contains(&length) { Ok(length) } else { Err(malformed()) }
}

/// Reads the body of a frame; `None` if the other end has ended before it.
pub(crate) fn read(from: &mut impl Read) -> Result<Option<Zeroizing<Vec<u8>>>, io::Error> {
    let mut head = [0; HEAD];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    let mut body = Zeroizing::new(vec![0; length(head)?]);
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Writes a message.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> Result<(), io::Error> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// As [`read`]; an end is an error here.
pub(crate) async fn receive(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Zeroizing<Vec<u8>>, io::Error> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let mut body = Zeroizing::new(vec![0; length(head)?]);
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// Sends a frame.
pub(crate) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
) -> Result<(), io::Error> {
    to.write_all(frame).await?;
    to.flush().await
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a frame is malformed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Reply, Request};
    use crate::{Fault, Presence};

    #[test]
    fn frames_have_bounds() {
        let largest = Request::Encrypt {
            key: vec![1; 16],
            iv: [2; 12],
            aad: vec![3; 8192 + 50],
            plaintext: vec![4; crate::MAX_DATA],
        };
        let frame = encode(&largest).unwrap();
        let body = read(&mut &frame[..]).unwrap().unwrap();
        assert_eq!(decode::<Request>(&body).unwrap(), largest);
        let more = Request::Random { length: 1 };
        let mut frame = encode(&more).unwrap().to_vec();
        assert!(decode::<Request>(&[&frame[HEAD..], &[0]].concat()).is_err(), "nothing follows");
        frame[..HEAD].copy_from_slice(&(1 + u32::try_from(MAX).unwrap()).to_le_bytes());
        assert!(read(&mut &frame[..]).is_err());
        assert!(read(&mut &[0; 4][..]).is_err());
        assert!(read(&mut &[1, 0, 0, 0][..]).is_err());
        assert!(read(&mut &[][..]).unwrap().is_none());
        assert!(encode(&vec![0u8; MAX]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_take_memory(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some(body)) = read(&mut &bytes[..]) {
                prop_assert!(body.len() <= bytes.len());
            }
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Result<Reply, Fault>>(&bytes);
        }

        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..2000), low in any::<bool>()) {
            let presence = Presence { label: "a".to_owned(), serial: "1".to_owned(), pin_at_risk: low };
            for reply in [Ok(Reply::Bytes(bytes.clone())), Ok(Reply::Present(presence)), Err(Fault::NoKey)] {
                let frame = encode(&reply).unwrap();
                let body = read(&mut &frame[..]).unwrap().unwrap();
                prop_assert_eq!(decode::<Result<Reply, Fault>>(&body).unwrap(), reply);
            }
        }
    }
}
