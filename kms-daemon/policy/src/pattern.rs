//! Text patterns: literal text, the wildcards `*` and `?`, and policy variables.
//!
//! The value of a variable is literal text: wildcards in it do not act. Source: the IAM User
//! Guide, "IAM policy elements: Variables and tags".

use std::borrow::Cow;

use crate::context::{Context, Value};
use crate::error::Fault;
use crate::key::ConditionKey;

/// What a policy compares text with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Exactly this.
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

/// Why a pattern cannot be compared: one of its variables
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// has no value, or several. The pattern matches nothing.
    NoValue,
    /// has a value that cannot be told.
    Unknown,
}

/// What in a text is not literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) wildcards: bool,
    /// `${…}`, which versions of the language before 2012-10-17 do not have.
    pub(crate) variables: bool,
}

impl Pattern {
    /// Reads a pattern.
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

    /// A pattern with wildcards and without variables.
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

    /// Whether it is one variable and nothing else.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(self, Self::Template(pieces) if matches!(**pieces, [Piece::Variable { .. }]))
    }

    /// Whether `text` matches.
    pub(crate) fn matches(&self, text: &str, context: &dyn Context) -> Result<bool, Unresolved> {
        match self {
            Self::Template(pieces) => {
                let parts: Vec<Part<'_>> =
                    pieces.iter().map(|piece| piece.resolve(context)).collect::<Result<_, _>>()?;
                Ok(glob(parts.as_slice(), |part| part.view(), text))
            }
            fixed => Ok(fixed.matches_literal(text)),
        }
    }

    /// Whether `text` matches a pattern without variables.
    pub(crate) fn matches_literal(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *text,
            Self::Anything => true,
            Self::Wild(pieces) => glob(pieces, Piece::view, text),
            Self::Template(_) => false,
        }
    }

    /// Whether `text` is the text of a pattern without wildcards, but for case.
    pub(crate) fn matches_ignoring_case(
        &self,
        text: &str,
        context: &dyn Context,
    ) -> Result<bool, Unresolved> {
        match self {
            Self::Exact(own) => Ok(same_but_case(own, text)),
            Self::Anything | Self::Wild(_) => Ok(false),
            Self::Template(pieces) => {
                let mut own = String::new();
                for piece in pieces {
                    if let Part::Text(text) = piece.resolve(context)? {
                        own.push_str(&text);
                    }
                }
                Ok(same_but_case(&own, text))
            }
        }
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

    /// The inside of `${…}`: an escaped character, or a key and perhaps a default.
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

/// Splits `${inside}after`. A quoted default may hold a brace.
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

/// Splits `text` at the first `count` colons that are not inside of a `${…}`.
pub(crate) fn split_fields(text: &str, count: usize, variables: bool) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = text.get(at..) {
        let Some(c) = rest.chars().next() else { break };
        if variables && let Some((_, after)) = split_reference(rest) {
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

/// A piece whose variable, if it is one, has its value.
enum Part<'a> {
    Text(Cow<'a, str>),
    Many,
    One,
}

/// Whether one of the patterns matches; `None` if none does and one cannot be told.
pub(crate) fn any<P>(
    patterns: &[P],
    matches: impl Fn(&P) -> Result<bool, Unresolved>,
) -> Option<bool> {
    let mut outcome = Some(false);
    for pattern in patterns {
        match matches(pattern) {
            Ok(true) => return Some(true),
            Ok(false) | Err(Unresolved::NoValue) => {}
            Err(Unresolved::Unknown) => outcome = None,
        }
    }
    outcome
}

/// What the matcher sees of a [`Piece`] or a [`Part`].
enum View<'a> {
    Text(&'a str),
    Many,
    One,
}

impl Piece {
    /// With its value, if it is a variable. A text cannot hold the values of a multivalued key.
    fn resolve<'a>(&'a self, context: &'a dyn Context) -> Result<Part<'a>, Unresolved> {
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

    /// A variable stands for no text here; patterns with variables are resolved first.
    fn view(&self) -> View<'_> {
        match self {
            Self::Text(text) => View::Text(text),
            Self::Many => View::Many,
            Self::One => View::One,
            Self::Variable { .. } => View::Text(""),
        }
    }
}

impl Part<'_> {
    fn view(&self) -> View<'_> {
        match self {
            Self::Text(text) => View::Text(text),
            Self::Many => View::Many,
            Self::One => View::One,
        }
    }
}

/// Whether `text` matches the pieces. Of all wildcards only the last `*` is ever reconsidered,
/// so the time is at most the product of both lengths.
fn glob<'p, P>(pieces: &'p [P], view: impl Fn(&'p P) -> View<'p>, text: &str) -> bool {
    let mut left = (pieces.iter(), text);
    // Where to go on if what follows the last `*` does not match here.
    let mut retry = None;
    loop {
        let (mut rest, text) = left;
        let next = match rest.next().map(&view) {
            None if text.is_empty() => return true,
            None => None,
            Some(View::Many) if rest.len() == 0 => return true,
            Some(View::Many) => {
                retry = Some((rest.clone(), text));
                Some(text)
            }
            Some(View::One) => skip(text),
            Some(View::Text(own)) => text.strip_prefix(own),
        };
        left = match (next, retry) {
            (Some(text), again) => {
                retry = again;
                (rest, text)
            }
            (None, Some((after, text))) => {
                let Some(text) = skip(text) else { return false };
                retry = Some((after.clone(), text));
                (after, text)
            }
            (None, None) => return false,
        };
    }
}

/// `text` without its first character.
fn skip(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

fn same_but_case(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || !(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase()
}

#[cfg(test)]
mod tests;
