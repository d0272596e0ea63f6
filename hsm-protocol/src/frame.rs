//! Frames on the serial line.
//!
//! ```text
//! frame  = COBS( kind u8 | session u16 LE | sequence u32 LE | payload | CRC-32C LE ) 0x00
//! ```
//!
//! COBS (Cheshire and Baker, 1999) keeps 0x00 out of the frame, so the receiver finds the next
//! frame after any garbage. The CRC catches line noise; authenticity is the channel's business.
//! A damaged or oversized frame is dropped in silence.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::error::ErrorCode;

mod cobs;

/// Longest payload of a frame, in bytes.
pub const MAX_PAYLOAD: usize = 24 * 1024;
/// Length of kind, session and sequence.
pub const HEADER_SIZE: usize = 7;
/// Longest frame before COBS, in bytes.
pub const MAX_FRAME: usize = HEADER_SIZE + MAX_PAYLOAD + CRC_SIZE;
/// Longest encoded frame in bytes, delimiter included.
pub const MAX_ENCODED: usize = encoded_size(MAX_PAYLOAD);

const CRC_SIZE: usize = 4;
/// Sixteen bytes at a time: a frame is summed at both ends.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Upper bound of the encoded length of a payload, in bytes, delimiter included.
#[must_use]
#[allow(clippy::arithmetic_side_effects)]
pub const fn encoded_size(payload: usize) -> usize {
    let plain = HEADER_SIZE + payload + CRC_SIZE;
    plain + plain / 254 + 2
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// Host: a request outside the channel.
    PlainRequest = 0x01,
    /// Device: its response.
    PlainResponse = 0x02,
    /// Host: first handshake message.
    Handshake1 = 0x03,
    /// Device: second handshake message.
    Handshake2 = 0x04,
    /// Host: a sealed record.
    SealedRequest = 0x05,
    /// Device: a sealed record.
    SealedResponse = 0x06,
    /// Device: the frame with this session and sequence was refused; payload is an error code,
    /// u16 little-endian. Not authenticated: a reason to start a new session, nothing more.
    LinkError = 0x07,
}

impl FrameKind {
    const fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            0x01 => Self::PlainRequest,
            0x02 => Self::PlainResponse,
            0x03 => Self::Handshake1,
            0x04 => Self::Handshake2,
            0x05 => Self::SealedRequest,
            0x06 => Self::SealedResponse,
            0x07 => Self::LinkError,
            _ => return None,
        })
    }
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame carries.
    pub kind: FrameKind,
    /// The session; 0 outside sessions.
    pub session: u16,
    /// Sealed frames: low 32 bits of the record counter. Else chosen by the host and echoed.
    pub sequence: u32,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let [s0, s1] = self.session.to_le_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_le_bytes();
        [self.kind as u8, s0, s1, q0, q1, q2, q3]
    }

    fn from_bytes([kind, s0, s1, q0, q1, q2, q3]: [u8; HEADER_SIZE]) -> Option<Self> {
        Some(Self {
            kind: FrameKind::from_u8(kind)?,
            session: u16::from_le_bytes([s0, s1]),
            sequence: u32::from_le_bytes([q0, q1, q2, q3]),
        })
    }
}

/// A received frame. The payload may be opened in place.
#[derive(PartialEq, Eq, Debug)]
pub struct Frame<'b> {
    /// The header.
    pub header: Header,
    /// The payload, CRC checked and removed.
    pub payload: &'b mut [u8],
}

/// Encodes a frame, delimiter included, and returns its length.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] if the payload exceeds [`MAX_PAYLOAD`] or `out` is too small.
pub fn encode(header: Header, payload: &[u8], out: &mut [u8]) -> Result<usize, ErrorCode> {
    if payload.len() > MAX_PAYLOAD {
        return Err(ErrorCode::TOO_LARGE);
    }
    let header = header.to_bytes();
    let mut digest = CRC.digest();
    digest.update(&header);
    digest.update(payload);
    let crc = digest.finalize().to_le_bytes();

    let mut encoder = cobs::Encoder::new(out);
    for part in [&header, payload, &crc] {
        encoder.push(part)?;
    }
    encoder.finish()
}

/// Collects bytes of the line and yields frames.
///
/// `N` should be [`MAX_ENCODED`]; a longer run without a delimiter is dropped.
pub struct Decoder<const N: usize> {
    buffer: [u8; N],
    len: usize,
    overrun: bool,
    dropped: u32,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// An empty decoder.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; N], len: 0, overrun: false, dropped: 0 }
    }

    /// Frames dropped since the start: damaged, oversized, or of unknown kind.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes bytes from the front of `input` up to the end of the next frame, and advances
    /// `input` past them. `None` means that all input was taken and no frame is complete.
    pub fn next<'d>(&'d mut self, input: &mut &[u8]) -> Option<Frame<'d>> {
        loop {
            let Some(end) = input.iter().position(|byte| *byte == 0) else {
                self.append(input);
                *input = &[];
                return None;
            };
            let (head, rest) = input.split_at_checked(end)?;
            *input = rest.split_first().map_or(&[], |(_, rest)| rest);
            self.append(head);
            let (len, overrun) = (self.len, self.overrun);
            self.len = 0;
            self.overrun = false;
            if len == 0 && !overrun {
                continue; // an extra delimiter, which a sender may use to flush the line
            }
            match if overrun { None } else { self.check(len) } {
                // Checked once for the borrow, split once for the caller.
                Some(header) => {
                    let plain = self.buffer.get_mut(HEADER_SIZE..len)?;
                    let payload = plain.get_mut(..header.1)?;
                    return Some(Frame { header: header.0, payload });
                }
                None => self.dropped = self.dropped.saturating_add(1),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.overrun {
            return;
        }
        let end = self.len.saturating_add(bytes.len());
        match self.buffer.get_mut(self.len..end) {
            Some(free) => {
                free.copy_from_slice(bytes);
                self.len = end;
            }
            None => {
                self.overrun = true;
                self.len = 0;
            }
        }
    }

    /// Decodes the buffer in place; the header and the payload's length if the frame is good.
    fn check(&mut self, len: usize) -> Option<(Header, usize)> {
        let plain = cobs::decode_in_place(self.buffer.get_mut(..len)?)?;
        let (body, crc) = plain.split_last_chunk::<CRC_SIZE>()?;
        if CRC.checksum(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (header, payload) = body.split_first_chunk::<HEADER_SIZE>()?;
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        Some((Header::from_bytes(*header)?, payload.len()))
    }
}
