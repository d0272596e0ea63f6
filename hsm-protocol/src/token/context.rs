//! The canonical encryption context.
//!
//! ```text
//! count u32 BE | for each pair, sorted by key bytes: key length u32 BE | key | value length u32 BE | value
//! ```
//! An empty context is zero bytes, so that none and empty are the same. Length prefixes make the
//! encoding injective: no two contexts share one.

use crate::error::ErrorCode;

/// Writes the canonical form of pairs that are already sorted by key, and returns its length.
///
/// # Errors
/// [`ErrorCode::INVALID_ARGUMENT`] if keys are out of order or repeated;
/// [`ErrorCode::TOO_LARGE`] if it does not fit `out`.
pub fn encode<'p>(
    pairs: impl ExactSizeIterator<Item = (&'p [u8], &'p [u8])>,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let count = pairs.len();
    if count == 0 {
        return Ok(0);
    }
    let mut end = put(out, 0, &length(count)?)?;
    let mut last: Option<&[u8]> = None;
    for (key, value) in pairs {
        if last.is_some_and(|last| last >= key) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        last = Some(key);
        for field in [key, value] {
            end = put(out, end, &length(field.len())?)?;
            end = put(out, end, field)?;
        }
    }
    Ok(end)
}

fn length(length: usize) -> Result<[u8; 4], ErrorCode> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| ErrorCode::TOO_LARGE)
}

fn put(out: &mut [u8], start: usize, bytes: &[u8]) -> Result<usize, ErrorCode> {
    let end = start.checked_add(bytes.len()).ok_or(ErrorCode::TOO_LARGE)?;
    out.get_mut(start..end).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(bytes);
    Ok(end)
}
