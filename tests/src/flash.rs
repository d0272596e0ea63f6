//! Reads the flash of a board that seals nothing.

/// The domain key of a device with one, as it is in its flash.
///
/// Layout 2 of a domain: version u8 | keys u8 | id u32 LE, history u8, key [32] | encoded state, which begins
/// with its version u8 and the domain [16].
///
/// # Panics
/// If there is no domain, or another number of keys.
#[must_use]
pub fn domain_key(flash: &[u8], domain: &[u8]) -> Vec<u8> {
    let found = flash.windows(domain.len()).rposition(|window| window == domain);
    let state = found.expect("a domain record") - 1;
    assert_eq!(flash[state - 39..state - 37], [2, 1], "one domain key");
    flash[state - 32..state].to_vec()
}
