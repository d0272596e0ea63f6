//! Puts what a device has sealed back into a damaged record, from a copy of that record.
//!
//! A copy may be older than the record, so nothing else is taken from it: policies, states and tags stay as they are in
//! the record. Not even every token of the same material would do: a key may have got an approval rule since, or its
//! token may have been wrapped under another domain key. So a token or secret of the copy is taken only in place of
//! bytes that are what is left of *the same one*: they have its length, and its nonce or its tag. Both are 16 bytes that
//! no two sealings share, the nonce because it is random, the tag because it depends on the nonce.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::token::{Blob, KeyToken, NONCE_SIZE, TAG_SIZE};

use super::{KeyRecord, layout};

/// The members that hold what a device has sealed, in Base64. Within a JSON string their quotes would be escaped.
const MEMBERS: [&[u8]; 2] = [b"\"token\":\"", b"\"blob\":\""];

/// A token or secret in the text of a record.
struct Sealing<'v> {
    member: &'static [u8],
    /// In Base64.
    text: &'v [u8],
    /// The characters of nothing but the nonce.
    nonce: Range<usize>,
    /// The characters of nothing but the tag.
    tag: Range<usize>,
}

/// Returns the damaged record `value` with the tokens and secrets of `copy` in place of what is left of them; `None` if
/// there is nothing left of any, or if the tokens then are not those of the key. Whether a device opens them is
/// for the caller to check.
#[must_use]
pub fn repaired(key: &[u8], value: &[u8], copy: &[u8]) -> Option<Vec<u8>> {
    let mut new = value.to_vec();
    for sealing in sealings(copy) {
        let starts: Vec<usize> = starts(&new, sealing.member).collect();
        for start in starts {
            let place = new.get_mut(start..start + sealing.text.len());
            if let Some(place) = place.filter(|place| sealing.is_damaged_in(place)) {
                place.copy_from_slice(sealing.text);
            }
        }
    }
    (new != value && fits(key, &new)).then_some(new)
}

impl Sealing<'_> {
    /// Whether these characters, which are as many, are what is left of it.
    fn is_damaged_in(&self, place: &[u8]) -> bool {
        let same = |part: &Range<usize>| place[part.clone()] == self.text[part.clone()];
        place != self.text && (same(&self.nonce) || same(&self.tag))
    }
}

/// What is sealed in a record.
fn sealings(value: &[u8]) -> impl Iterator<Item = Sealing<'_>> {
    MEMBERS.into_iter().flat_map(move |member| {
        starts(value, member).filter_map(move |start| {
            let rest = &value[start..];
            let text = &rest[..rest.iter().position(|byte| *byte == b'"')?];
            let bytes = BASE64.decode(text).ok()?;
            let header = match (KeyToken::parse(&bytes), Blob::parse(&bytes)) {
                (Ok(token), _) => token.header.len(),
                (_, Ok(blob)) => blob.header.len(),
                _ => return None,
            };
            let nonce = characters(header - NONCE_SIZE..header);
            let tag = characters(bytes.len() - TAG_SIZE..bytes.len());
            Some(Sealing { member, text, nonce, tag })
        })
    })
}

/// Where the values of a member start.
fn starts<'v>(value: &'v [u8], member: &'static [u8]) -> impl Iterator<Item = usize> + 'v {
    let places = value.windows(member.len()).enumerate();
    places.filter(move |(_, part)| *part == member).map(move |(at, _)| at + member.len())
}

/// The characters of Base64 that depend on these bytes alone.
const fn characters(bytes: Range<usize>) -> Range<usize> {
    (bytes.start * 4).div_ceil(3)..bytes.end * 4 / 3
}

/// Whether the tokens in the record of a key say that they are of that key and its materials. Secrets are bound to their
/// place by what they are sealed for.
fn fits(key: &[u8], value: &[u8]) -> bool {
    if layout::parse_key(key).is_none() {
        return true;
    }
    let Ok(record) = KeyRecord::decode(value) else { return false };
    let mut materials = record.materials.iter().chain(&record.pending);
    materials.all(|material| {
        material.token.is_empty()
            || KeyToken::parse(&material.token).is_ok_and(|token| {
                let said = token.attributes;
                (said.key, said.material) == (record.id.device(), material.id)
            })
    })
}

#[cfg(test)]
mod tests;
