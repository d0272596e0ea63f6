//! Matching of texts with wildcards, in time that does not grow with pattern times text.
//!
//! What stands before the first `*` and after the last one has its place. Every run between two
//! `*` is looked for once, from where the one before it ended: the first place that fits leaves the
//! most text for the rest. A run of literal text is found in linear time. One with `?` inside is
//! found by bit-parallel simulation (Baeza-Yates and Gonnet, "A new approach to text searching",
//! 1992): a step for each byte of text and each 64 bytes of the run.

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glob<'p> {
    /// This text.
    Text(&'p str),
    /// `*`: any characters.
    Many,
    /// `?`: one character.
    One,
}

use Glob::{Many, One, Text};

impl<'p> Glob<'p> {
    const fn text(&self) -> Option<&'p str> {
        if let Text(text) = self { Some(text) } else { None }
    }
}

/// Positions of a bit-parallel search in a word.
const WORD: usize = 64;
/// Up to this much text a run is tried at each place, which is faster than to prepare a search.
const SHORT: usize = 24;

/// Whether `text` matches all the pieces.
pub(crate) fn matches(pieces: &[Glob<'_>], text: &str) -> bool {
    if least(pieces) > text.len() {
        return false;
    }
    let Some(first) = pieces.iter().position(|piece| *piece == Many) else {
        return strip_start(pieces, text) == Some("");
    };
    let last = pieces.iter().rposition(|piece| *piece == Many).unwrap_or(first);
    let (Some(head), Some(middle), Some(tail)) =
        (pieces.get(..first), pieces.get(first..last), pieces.get(last..))
    else {
        return false;
    };
    let rest = strip_start(head, text).and_then(|rest| strip_end(tail, rest));
    let mut runs = middle.split(|piece| *piece == Many);
    rest.and_then(|rest| runs.try_fold(rest, |rest, run| after(run, rest))).is_some()
}

/// The bytes that a text has at least that matches.
fn least(pieces: &[Glob<'_>]) -> usize {
    let sizes = pieces.iter().map(|piece| match piece {
        Text(own) => own.len(),
        One => 1,
        Many => 0,
    });
    sizes.fold(0, usize::saturating_add)
}

/// What matching takes, in steps: a function of the pattern and the size of the text alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Price {
    fixed: u64,
    for_byte: u64,
}

impl Price {
    /// That of a pattern of so many bytes without wildcards.
    pub(crate) const fn of_literal(bytes: usize) -> Self {
        Self { fixed: 8_u64.saturating_add(bytes as u64 / 16), for_byte: 0 }
    }

    /// So many steps, whatever the text.
    pub(crate) const fn fixed(steps: u64) -> Self {
        Self { fixed: steps, for_byte: 0 }
    }

    /// So many steps for a value, and for each of its bytes.
    pub(crate) const fn of_value(fixed: u64, for_byte: u64) -> Self {
        Self { fixed, for_byte }
    }

    /// That of pieces with wildcards. A text is given with its greatest size in bytes.
    pub(crate) fn of(pieces: impl Iterator<Item = Sized> + Clone) -> Self {
        let mut price = Self { fixed: 8, for_byte: 0 };
        let stars = pieces.clone().filter(|piece| *piece == Sized::Many).count();
        // Of the run that is being read: its bytes, and whether it has `?` between texts.
        let (mut seen, mut bytes, mut texts, mut ones) = (0_usize, 0_usize, 0_usize, 0_usize);
        for piece in pieces {
            price.fixed = price.fixed.saturating_add(3);
            match piece {
                Sized::Text(size) => {
                    (bytes, texts) = (bytes.saturating_add(size), texts.saturating_add(1));
                    price.fixed = price.fixed.saturating_add(size as u64 / 16);
                }
                Sized::One => (bytes, ones) = (bytes.saturating_add(1), ones.saturating_add(1)),
                Sized::Many => {
                    // What is before the first and after the last has its place.
                    if (1..stars).contains(&seen) && texts > 0 {
                        price.search(bytes, ones > 0);
                    }
                    seen = seen.saturating_add(1);
                    (bytes, texts, ones) = (0, 0, 0);
                }
            }
        }
        price
    }

    fn search(&mut self, bytes: usize, mixed: bool) {
        let words = bytes.div_ceil(WORD) as u64;
        let (prepare, for_byte) = match (mixed, words) {
            (false, _) => (16, 3),
            (true, 0 | 1) => (160, 4),
            (true, words) => {
                (320_u64.saturating_add(words.saturating_mul(256)), words.saturating_mul(4))
            }
        };
        self.fixed = self.fixed.saturating_add(prepare);
        self.for_byte = self.for_byte.max(for_byte);
    }

    /// The steps for a text of `bytes`.
    pub(crate) const fn on(self, bytes: usize) -> u64 {
        self.fixed.saturating_add(self.for_byte.saturating_mul(bytes as u64))
    }

    /// That of both, each on a part of the text.
    pub(crate) fn and(self, other: Self) -> Self {
        let for_byte = self.for_byte.max(other.for_byte);
        Self { fixed: self.fixed.saturating_add(other.fixed), for_byte }
    }

    /// That of both, each on the whole text.
    pub(crate) const fn plus(self, other: Self) -> Self {
        let for_byte = self.for_byte.saturating_add(other.for_byte);
        Self { fixed: self.fixed.saturating_add(other.fixed), for_byte }
    }
}

/// A piece, of which only the size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sized {
    /// Text of at most so many bytes.
    Text(usize),
    Many,
    One,
}

impl From<Glob<'_>> for Sized {
    fn from(piece: Glob<'_>) -> Self {
        match piece {
            Text(text) => Self::Text(text.len()),
            Many => Self::Many,
            One => Self::One,
        }
    }
}

/// What follows `run` at the start of `text`.
fn strip_start<'t>(run: &[Glob<'_>], text: &'t str) -> Option<&'t str> {
    run.iter().try_fold(text, |text, piece| match piece {
        Text(own) => text.strip_prefix(own),
        One => skip(text),
        Many => Some(text),
    })
}

/// What is before `run` at the end of `text`.
fn strip_end<'t>(run: &[Glob<'_>], text: &'t str) -> Option<&'t str> {
    run.iter().rev().try_fold(text, |text, piece| match piece {
        Text(own) => text.strip_suffix(own),
        One => {
            let mut chars = text.chars();
            chars.next_back().map(|_| chars.as_str())
        }
        Many => Some(text),
    })
}

/// `text` without its first character.
fn skip(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// What follows the first place in `text` where `run` is.
fn after<'t>(run: &[Glob<'_>], text: &'t str) -> Option<&'t str> {
    let Some(first) = run.iter().position(|piece| *piece != One) else {
        return strip_start(run, text);
    };
    let last = run.iter().rposition(|piece| *piece != One).unwrap_or(first);
    let (before, run) = run.split_at_checked(first)?;
    let (run, behind) = run.split_at_checked(last.saturating_sub(first).saturating_add(1))?;
    let text = strip_start(before, text)?;
    let rest = match run {
        [Text(own)] => {
            let mut chars = own.chars();
            let at = match (chars.next(), chars.next()) {
                (Some(c), None) => text.find(c)?,
                _ => text.find(own)?,
            };
            text.get(at.saturating_add(own.len())..)?
        }
        run if !run.contains(&One) => {
            let own: String = run.iter().filter_map(|piece| piece.text()).collect();
            text.get(text.find(&own)?.saturating_add(own.len())..)?
        }
        run => after_mixed(run, text)?,
    };
    strip_start(behind, rest)
}

/// The same for a run with several pieces, the first and the last of which are text.
fn after_mixed<'t>(run: &[Glob<'_>], text: &'t str) -> Option<&'t str> {
    let size = least(run);
    if size > text.len() {
        return None;
    }
    if text.len() <= SHORT {
        return text.char_indices().find_map(|(at, _)| strip_start(run, text.get(at..)?));
    }
    let end =
        if size <= WORD { Search::find(run, text) } else { LongSearch::find(run, size, text) };
    text.get(end?..)
}

/// Calls `act` with each byte of a run, `None` for `?`.
fn each(run: &[Glob<'_>], mut act: impl FnMut(Option<u8>)) {
    for piece in run {
        match piece {
            Text(own) => own.bytes().for_each(|byte| act(Some(byte))),
            One | Many => act(None),
        }
    }
}

/// Whether a byte is inside of a character, not at its start.
const fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// A bit-parallel search: bit `n` of the state is set where the first `n + 1` bytes of the run end.
///
/// `?` takes the first byte of a character, and stays where it is for the others.
struct Search {
    /// The places that each byte can take.
    takes: [u64; 256],
    /// The places of `?`.
    ones: u64,
}

impl Search {
    /// Where `run`, of at most [`WORD`] bytes, ends first.
    #[allow(clippy::indexing_slicing, reason = "there is an entry for every byte")]
    fn find(run: &[Glob<'_>], text: &str) -> Option<usize> {
        let mut search = Self { takes: [0; 256], ones: 0 };
        let mut bit = 1_u64;
        let mut last = 0;
        each(run, |byte| {
            match byte {
                Some(byte) => search.takes[usize::from(byte)] |= bit,
                None => search.ones |= bit,
            }
            (last, bit) = (bit, bit << 1);
        });
        for (byte, takes) in (0_u8..=255).zip(&mut search.takes) {
            if !continues(byte) {
                *takes |= search.ones;
            }
        }
        let mut state = 0_u64;
        for (at, byte) in text.bytes().enumerate() {
            let stay = if continues(byte) { state & search.ones } else { 0 };
            state = (state << 1 | 1) & search.takes[usize::from(byte)] | stay;
            if state & last != 0 {
                return at.checked_add(1);
            }
        }
        None
    }
}

/// The same for longer runs, with a word for every 64 places.
struct LongSearch {
    words: usize,
    /// Which row each byte has; row 0 is that of bytes which are not in the run.
    rows: [u8; 256],
    /// The places that the bytes of each row can take.
    takes: Vec<u64>,
    ones: Vec<u64>,
}

impl LongSearch {
    #[allow(clippy::indexing_slicing, reason = "there is an entry for every byte")]
    fn find(run: &[Glob<'_>], size: usize, text: &str) -> Option<usize> {
        let words = size.div_ceil(WORD);
        let mut search =
            Self { words, rows: [0; 256], takes: vec![0; words], ones: vec![0; words] };
        let mut place = 0_usize;
        each(run, |byte| {
            let (word, bit) = (place / WORD, 1_u64 << (place % WORD));
            match byte {
                Some(byte) => search.row(byte)[word] |= bit,
                None => search.ones[word] |= bit,
            }
            place = place.saturating_add(1);
        });
        let (last, end) = (words.checked_sub(1)?, 1_u64 << (size.checked_sub(1)? % WORD));
        let mut state = vec![0_u64; words];
        for (at, byte) in text.bytes().enumerate() {
            let row = usize::from(search.rows[usize::from(byte)]);
            let from = row.saturating_mul(words);
            let takes = search.takes.get(from..from.saturating_add(words))?;
            let inside = if continues(byte) { u64::MAX } else { 0 };
            let mut carry = 1;
            for ((state, takes), ones) in state.iter_mut().zip(takes).zip(&search.ones) {
                let moved = *state << 1 | carry;
                carry = *state >> 63;
                *state = moved & (takes | ones & !inside) | *state & ones & inside;
            }
            if state[last] & end != 0 {
                return at.checked_add(1);
            }
        }
        None
    }

    /// The places of a byte, of which there may be none so far.
    #[allow(clippy::indexing_slicing, reason = "there is an entry for every byte")]
    fn row(&mut self, byte: u8) -> &mut [u64] {
        let row = match self.rows[usize::from(byte)] {
            0 => {
                let rows = self.takes.len().checked_div(self.words).unwrap_or_default();
                self.takes.resize(self.takes.len().saturating_add(self.words), 0);
                // UTF-8 has fewer than 255 different bytes.
                self.rows[usize::from(byte)] = u8::try_from(rows).unwrap_or(u8::MAX);
                rows
            }
            row => usize::from(row),
        };
        let from = row.saturating_mul(self.words);
        &mut self.takes[from..from.saturating_add(self.words)]
    }
}

#[cfg(test)]
mod tests;
