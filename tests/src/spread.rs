//! Whether what a command costs a device depends on secrets: how far the counts of many keys are apart.

use std::fmt;

/// One call of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it took.
    pub instructions: u64,
    /// Length of the response in bytes. The caller sees it, and encrypting a longer one takes longer, so only
    /// calls whose responses are as long as each other are compared: DER drops leading zeros of a signature.
    pub answer: usize,
}

/// How far apart the counts of a command are, from key to key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Keys that were compared.
    pub keys: usize,
    /// Instructions with the key that took the fewest.
    pub least: u64,
    /// Instructions with the key in the middle.
    pub median: u64,
    /// Instructions with the key that took the most.
    pub most: u64,
}

/// Calls that a key must have, so that chance has not added something to each.
const ENOUGH: usize = 3;

impl Spread {
    /// Compares keys, each with its calls. Of the calls of a key the one that took the fewest instructions counts, as
    /// chance only adds some: an interrupt, the next block of the generator, a zero in the response that the line
    /// does not carry as it is.
    ///
    /// # Errors
    /// Says so if the responses are of so many lengths that fewer than half of the keys have enough that can be
    /// compared: then nothing has been shown.
    pub fn of(keys: &[Vec<Call>]) -> Result<Self, String> {
        let length = commonest(keys.iter().flatten().map(|call| call.answer));
        let length = length.ok_or("nothing was called")?;
        let of_key = |calls: &Vec<Call>| {
            let alike = || calls.iter().filter(|call| call.answer == length);
            let least = alike().map(|call| call.instructions).min();
            least.filter(|_| alike().count() >= ENOUGH)
        };
        let counts: Vec<u64> = keys.iter().filter_map(of_key).collect();
        if 2 * counts.len() < keys.len() || counts.len() < 2 {
            return Err(format!(
                "{} of {} keys had {ENOUGH} responses of {length} bytes; call more often",
                counts.len(),
                keys.len()
            ));
        }
        let (least, most) = (counts.iter().copied().min(), counts.iter().copied().max());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        let keys = counts.len();
        Ok(Self { keys, least, median: middle(counts).unwrap_or_default(), most })
    }

    /// Instructions between the key that took the fewest and the one that took the most.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.most - self.least
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, least, median, most } = self;
        write!(f, "{keys:>4} {least:>11} {median:>11} {most:>11} {:>9}", self.width())
    }
}

/// The value that there is most often.
fn commonest(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(value, _)| value)
}

/// The value in the middle, the lower one of two.
fn middle(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of keys by an operation that takes `cost` of the secret.
    fn keys(cost: impl Fn(u32) -> u64) -> Vec<Vec<Call>> {
        let secrets = [0x0000_0000, 0xffff_ffff, 0x0f0f_0f0f, 0x8000_0001, 0x7fff_fffe];
        let call = |secret| Call { instructions: cost(secret), answer: 64 };
        secrets.map(|secret| vec![call(secret); 3]).into()
    }

    #[test]
    fn what_does_not_depend_on_the_secret_has_no_spread() {
        let spread = Spread::of(&keys(|_| 400_000)).unwrap();
        assert_eq!((spread.keys, spread.median, spread.width()), (5, 400_000, 0));
    }

    /// A branch that adds three instructions for each bit that is set, as in square-and-multiply.
    #[test]
    fn a_branch_on_the_secret_is_seen() {
        let branches = |secret: u32| 400_000 + 3 * u64::from(secret.count_ones());
        let spread = Spread::of(&keys(branches)).unwrap();
        assert_eq!((spread.least, spread.most, spread.width()), (400_000, 400_096, 96));
    }

    /// A loop as long as a nonce, of which each call has another one: most keys have a call whose nonce is short.
    #[test]
    fn a_loop_over_a_nonce_is_seen() {
        let zeros: [[u64; 3]; 5] = [[0, 1, 0], [2, 0, 0], [0, 0, 1], [0, 0, 0], [1, 3, 0]];
        let call = |zeros| Call { instructions: 400_000 - 1_000 * zeros, answer: 64 };
        let keys = zeros.map(|calls| calls.map(call).to_vec());
        assert_eq!(Spread::of(&keys).unwrap().width(), 3_000);
    }

    /// A loop that ends at the first bit that is set.
    #[test]
    fn a_loop_over_the_secret_is_seen() {
        let search = |secret: u32| 1_000 + u64::from(secret.trailing_zeros());
        assert_eq!(Spread::of(&keys(search)).unwrap().width(), 32);
    }

    #[test]
    fn an_interrupt_is_not_taken_for_a_secret() {
        let mut keys = keys(|_| 1_000);
        keys[2][1].instructions += 300;
        assert_eq!(Spread::of(&keys).unwrap().width(), 0);
        keys[2].iter_mut().for_each(|call| call.instructions += 300);
        assert_eq!(Spread::of(&keys).unwrap().width(), 300, "the key itself is seen");
    }

    #[test]
    fn responses_of_another_length_are_not_compared() {
        let mut keys = keys(|_| 1_000);
        keys[1].push(Call { instructions: 500, answer: 63 });
        keys[3] = vec![Call { instructions: 5_000, answer: 63 }; 3];
        let spread = Spread::of(&keys).unwrap();
        assert_eq!((spread.keys, spread.width()), (4, 0));
    }

    #[test]
    fn what_cannot_be_compared_is_not_passed() {
        assert!(Spread::of(&[]).is_err());
        let calls = |answer, count| vec![Call { instructions: 1, answer }; count];
        let why = Spread::of(&[calls(1, 4), calls(2, 3), calls(3, 3)]).unwrap_err();
        assert!(why.starts_with("1 of 3 keys"), "{why}");
        assert!(Spread::of(&[calls(1, 3)]).is_err(), "one key has nothing beside it");
        assert!(Spread::of(&[calls(1, 2), calls(1, 2)]).is_err(), "too few calls of each");
    }
}
