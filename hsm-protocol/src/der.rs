//! DER (X.690) written from its end to its start, where each length is known when it is needed, and
//! read one element after another.

use crate::error::ErrorCode;

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const UTF8_STRING: u8 = 0x0c;

/// A writer that fills its buffer from the end.
pub(crate) struct Backwards<'o> {
    out: &'o mut [u8],
    /// Where what is written starts.
    start: usize,
}

impl<'o> Backwards<'o> {
    pub(crate) const fn new(out: &'o mut [u8]) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// A place to [`Backwards::wrap`] up to.
    pub(crate) const fn place(&self) -> usize {
        self.start
    }

    pub(crate) fn prepend(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        let start = self.start.checked_sub(bytes.len()).ok_or(ErrorCode::TOO_LARGE)?;
        let room = self.out.get_mut(start..self.start).ok_or(ErrorCode::TOO_LARGE)?;
        room.copy_from_slice(bytes);
        self.start = start;
        Ok(())
    }

    /// Makes one element of what is there up to `end`.
    pub(crate) fn wrap(&mut self, tag: u8, end: usize) -> Result<(), ErrorCode> {
        let length = end.checked_sub(self.start).ok_or(ErrorCode::INTERNAL)?;
        let length = u16::try_from(length).map_err(|_| ErrorCode::TOO_LARGE)?;
        match length.to_be_bytes() {
            [0, short @ ..0x80] => self.prepend(&[tag, short]),
            [0, byte] => self.prepend(&[tag, 0x81, byte]),
            [high, low] => self.prepend(&[tag, 0x82, high, low]),
        }
    }

    /// Prepends an element of these bytes.
    pub(crate) fn element(&mut self, tag: u8, bytes: &[u8]) -> Result<(), ErrorCode> {
        let end = self.place();
        self.prepend(bytes)?;
        self.wrap(tag, end)
    }

    /// Prepends a positive integer of big-endian bytes.
    pub(crate) fn unsigned(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = bytes.get(zeros..).unwrap_or_default();
        let end = self.place();
        self.prepend(bytes)?;
        if bytes.first().is_none_or(|first| first & 0x80 != 0) {
            self.prepend(&[0])?;
        }
        self.wrap(INTEGER, end)
    }

    /// What is written.
    pub(crate) fn finish(self) -> &'o [u8] {
        let (_, written) = self.out.split_at_checked(self.start).unwrap_or_default();
        written
    }
}

/// Splits the first element off: its tag, its content, and the element as a whole. Definite lengths of
/// up to two bytes, in their shortest form.
pub(crate) fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let whole = *input;
    let (length, front): (usize, usize) = match *whole {
        [_, 0x82, high, low, ..] if high > 0 => (usize::from(u16::from_be_bytes([high, low])), 4),
        [_, 0x81, byte, ..] if byte >= 0x80 => (usize::from(byte), 3),
        [_, short, ..] if short < 0x80 => (usize::from(short), 2),
        _ => return None,
    };
    let (element, rest) = whole.split_at_checked(front.checked_add(length)?)?;
    *input = rest;
    Some((*element.first()?, element.get(front..)?, element))
}

/// The content of the first element, which has this tag.
pub(crate) fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content, _) = take(input)?;
    (found == tag).then_some(content)
}
