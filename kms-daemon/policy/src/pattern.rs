//! Text patterns: literal text, the wildcards `*` and `?`, and policy variables.
//!
//! The value of a variable is literal text: wildcards in it have no effect. Source: the IAM User
//! Guide, "IAM policy elements: Variables and tags".

use std::borrow::Cow;

use crate::budget::{Metered, Reach, lookup};
use crate::context::Value;
use crate::error::Fault;
use crate::glob::{self, Glob, Price};
use crate::key::ConditionKey;

/// What a policy compares text with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Exactly this text.
    Exact(Box<str>),
    /// Any text.
    Anything,
    /// Text with wildcards.
    Wild(Box<[Piece]>),
    /// Text with variables, and perhaps wildcards.
    Template(Box<[Piece]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Box<str>),
    /// `*`: any characters.
    Many,
    /// `?`: one character.
    One,
    Variable {
        key: ConditionKey,
        default: Option<Box<str>>,
    },
}

/// Why a pattern cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// One of its variables has no value, or several. The pattern matches nothing.
    NoValue,
    /// The value of one of its variables is unknown.
    Unknown,
}

/// Which elements of a pattern are not literal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) wildcards: bool,
    /// `${…}`, which versions of the language before 2012-10-17 do not have.
    pub(crate) variables: bool,
}

impl Pattern {
    /// Parses a pattern.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, Fault> {
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let (reference, after) =
                    split_reference(rest).ok_or_else(|| Fault::Variable(text.to_owned()))?;
                pieces.push_reference(reference).ok_or_else(|| Fault::Variable(text.to_owned()))?;
                rest = after;
                continue;
            }
            match c {
                '*' if syntax.wildcards => pieces.push(Piece::Many),
                '?' if syntax.wildcards => pieces.push(Piece::One),
                c => pieces.literal.push(c),
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        Ok(pieces.finish())
    }

    /// Reads a pattern with wildcards and without variables.
    pub(crate) fn with_wildcards(text: &str) -> Self {
        let mut pieces = Pieces::default();
        for c in text.chars() {
            match c {
                '*' => pieces.push(Piece::Many),
                '?' => pieces.push(Piece::One),
                c => pieces.literal.push(c),
            }
        }
        pieces.finish()
    }

    /// Whether the pattern is one variable and nothing else.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(self, Self::Template(pieces) if matches!(**pieces, [Piece::Variable { .. }]))
    }

    /// Whether `text` matches.
    pub(crate) fn matches(&self, text: &str, context: &Metered<'_>) -> Result<bool, Unresolved> {
        match self {
            Self::Template(pieces) => Resolved::of(pieces, context)?.matches(text, context),
            fixed => {
                context.spend(fixed.price().on(text.len()))?;
                Ok(fixed.matches_literal(text))
            }
        }
    }

    /// Whether `text` matches, if the pattern has no variables.
    pub(crate) fn matches_literal(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *text,
            Self::Anything => true,
            Self::Wild(pieces) => {
                with_globs(pieces, Piece::glob, |globs| glob::matches(globs, text))
            }
            Self::Template(_) => false,
        }
    }

    /// The highest price of comparing a text with the pattern.
    pub(crate) fn price(&self) -> Price {
        match self {
            Self::Exact(own) => Price::of_literal(own.len()),
            Self::Anything => Price::default(),
            Self::Wild(pieces) => Self::of_pieces(pieces),
            Self::Template(pieces) => {
                let (steps, _) = Self::resolving(pieces);
                Self::of_pieces(pieces).and(Price::fixed(steps))
            }
        }
    }

    /// The highest price of comparing a text with pieces whose variables are resolved.
    pub(crate) fn of_pieces(pieces: &[Piece]) -> Price {
        Price::of(pieces.iter().map(Piece::size))
    }

    /// The most steps for looking up the values of variables, and the most bytes of all pieces
    /// together.
    pub(crate) fn resolving(pieces: &[Piece]) -> (u64, usize) {
        let of = |piece: &Piece| match (piece, piece.size()) {
            (Piece::Variable { key, .. }, glob::Sized::Text(size)) => (lookup(key.name()), size),
            (_, glob::Sized::Text(size)) => (0, size),
            _ => (0, 0),
        };
        pieces.iter().map(of).fold((0, 0), |(steps, bytes), (own, size)| {
            (steps.saturating_add(own).saturating_add(16), bytes.saturating_add(size))
        })
    }
}

/// Collects pieces and joins literal text.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    literal: String,
}

impl Pieces {
    fn push(&mut self, piece: Piece) {
        self.flush();
        if piece != Piece::Many || self.done.last() != Some(&Piece::Many) {
            self.done.push(piece);
        }
    }

    /// Reads the inside of `${…}`: an escaped character, or a key that may have a default.
    fn push_reference(&mut self, inside: &str) -> Option<()> {
        if let "*" | "?" | "$" = inside {
            self.literal.push_str(inside);
            return Some(());
        }
        let (key, default) = match inside.split_once(',') {
            None => (inside, None),
            Some((key, default)) => {
                let quoted = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
                (key, Some(quoted.into()))
            }
        };
        let key = ConditionKey::parse(key.trim())?;
        self.push(Piece::Variable { key, default });
        Some(())
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Piece::Text(std::mem::take(&mut self.literal).into()));
        }
    }

    fn finish(mut self) -> Pattern {
        self.flush();
        if self.done.iter().any(|piece| matches!(piece, Piece::Variable { .. })) {
            return Pattern::Template(self.done.into());
        }
        match self.done.as_slice() {
            [] => Pattern::Exact("".into()),
            [Piece::Text(text)] => Pattern::Exact(text.clone()),
            [Piece::Many] => Pattern::Anything,
            _ => Pattern::Wild(self.done.into()),
        }
    }
}

/// Splits `${inside}after`. A quoted default may contain a brace.
fn split_reference(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix("${")?;
    let mut quoted = false;
    for (at, c) in inside.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '}' if !quoted => {
                let (reference, after) = inside.split_at_checked(at)?;
                return Some((reference, after.strip_prefix('}')?));
            }
            _ => {}
        }
    }
    None
}

/// Splits `text` at the first `count` colons that are not inside `${…}`.
pub(crate) fn split_fields(text: &str, count: usize, variables: bool) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = text.get(at..) {
        let Some(c) = rest.chars().next() else { break };
        if variables && rest.starts_with("${") {
            // A reference that does not end is refused when its field is read.
            let Some((_, after)) = split_reference(rest) else { break };
            at = text.len().saturating_sub(after.len());
            continue;
        }
        let next = at.saturating_add(c.len_utf8());
        if c == ':' && fields.len() < count {
            fields.push(text.get(start..at).unwrap_or_default());
            start = next;
        }
        at = next;
    }
    fields.push(text.get(start..).unwrap_or_default());
    fields
}

/// A pattern whose variables have their values.
pub(crate) struct Resolved<'a>(Vec<Part<'a>>);

/// A piece of a resolved pattern.
enum Part<'a> {
    Text(Cow<'a, str>),
    Many,
    One,
}

impl<'a> Resolved<'a> {
    /// Looks up the values of the variables.
    ///
    /// # Errors
    /// [`Unresolved`] if one of them has no value.
    pub(crate) fn of(pieces: &'a [Piece], context: &'a Metered<'_>) -> Result<Self, Unresolved> {
        context.spend((pieces.len() as u64).saturating_mul(16))?;
        pieces.iter().map(|piece| piece.resolve(context)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `text` matches.
    pub(crate) fn matches(&self, text: &str, context: &Metered<'_>) -> Result<bool, Unresolved> {
        let sizes = self.0.iter().map(|part| part.glob().into());
        context.spend(Price::of(sizes).on(text.len()))?;
        Ok(with_globs(&self.0, Part::glob, |globs| glob::matches(globs, text)))
    }

    /// Returns the text in lower case, without any wildcards.
    pub(crate) fn lower(&self, context: &Metered<'_>) -> Result<String, Unresolved> {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Many | Part::One => "",
        });
        context.spend(lowering(texts.clone().map(str::len).fold(0, usize::saturating_add)))?;
        Ok(texts.collect::<String>().to_lowercase())
    }
}

/// The steps for converting this many bytes to lower case.
pub(crate) const fn lowering(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(8)
}

/// Converts pieces for the matcher, without an allocation if there are up to 8.
fn with_globs<P, T>(
    pieces: &[P],
    glob: impl Fn(&P) -> Glob<'_>,
    then: impl FnOnce(&[Glob<'_>]) -> T,
) -> T {
    let mut few = [Glob::Many; 8];
    if let Some(few) = few.get_mut(..pieces.len()) {
        few.iter_mut().zip(pieces).for_each(|(to, piece)| *to = glob(piece));
        return then(few);
    }
    then(&pieces.iter().map(glob).collect::<Vec<_>>())
}

/// Whether one of the patterns matches; `None` if none does and one cannot be compared.
pub(crate) fn any<P>(
    patterns: &[P],
    matches: impl Fn(&P) -> Result<bool, Unresolved>,
) -> Option<bool> {
    any_of(&mut patterns.iter().map(matches))
}

/// Whether one of the outcomes is positive; `None` if none is and one is unknown.
pub(crate) fn any_of(outcomes: &mut dyn Iterator<Item = Result<bool, Unresolved>>) -> Option<bool> {
    let mut told = Some(false);
    for outcome in outcomes {
        match outcome {
            Ok(true) => return Some(true),
            Ok(false) | Err(Unresolved::NoValue) => {}
            Err(Unresolved::Unknown) => told = None,
        }
    }
    told
}

impl Piece {
    /// Replaces a variable by its value. A text cannot hold the values of a multivalued key.
    fn resolve<'a>(&'a self, context: &'a Metered<'_>) -> Result<Part<'a>, Unresolved> {
        Ok(match self {
            Self::Text(text) => Part::Text(Cow::Borrowed(text)),
            Self::Many => Part::Many,
            Self::One => Part::One,
            Self::Variable { key, default } => Part::Text(match context.value(key) {
                Some(Value::Text(text)) => text,
                Some(Value::Unknown) => return Err(Unresolved::Unknown),
                Some(value) => Cow::Owned(value.text().ok_or(Unresolved::NoValue)?.into_owned()),
                None => Cow::Borrowed(default.as_deref().ok_or(Unresolved::NoValue)?),
            }),
        })
    }

    /// Converts the piece for the matcher. Patterns with variables are resolved first, so the empty
    /// text for a variable is never used.
    fn glob(&self) -> Glob<'_> {
        match self {
            Self::Text(text) => Glob::Text(text),
            Self::Many => Glob::Many,
            Self::One => Glob::One,
            Self::Variable { .. } => Glob::Text(""),
        }
    }

    /// The most text that the piece stands for.
    fn size(&self) -> glob::Sized {
        match self {
            Self::Text(text) => glob::Sized::Text(text.len()),
            Self::Many => glob::Sized::Many,
            Self::One => glob::Sized::One,
            Self::Variable { key, default } => {
                let default = default.as_ref().map_or(0, |text| text.len());
                glob::Sized::Text(Reach::of(key.name()).bytes.max(default))
            }
        }
    }
}

impl Part<'_> {
    fn glob(&self) -> Glob<'_> {
        match self {
            Self::Text(text) => Glob::Text(text),
            Self::Many => Glob::Many,
            Self::One => Glob::One,
        }
    }
}

#[cfg(test)]
mod tests;
