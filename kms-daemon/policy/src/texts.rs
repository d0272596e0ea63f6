//! The texts that a condition compares with: exact texts, which are looked up and may be many, and
//! patterns, which are tried one after the other.

use std::borrow::Cow;

use crate::budget::Metered;
use crate::glob::Price;
use crate::pattern::{Pattern, Piece, Resolved, Unresolved, lowering};

/// The values of a text operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    /// Texts without wildcards or variables, sorted by length, then content; in lower case if case
    /// is ignored.
    exact: Box<[Box<str>]>,
    wild: Box<[Pattern]>,
    /// Texts with variables.
    templates: Box<[Box<[Piece]>]>,
    ignoring_case: bool,
}

/// The texts with variables, with the values of a request.
#[derive(Default)]
pub(crate) enum Prepared<'a> {
    #[default]
    Nothing,
    Patterns(Vec<Result<Resolved<'a>, Unresolved>>),
    Lower(Vec<Result<String, Unresolved>>),
}

impl Texts {
    /// Sorts the patterns by how they are compared. If case is ignored, they must not have
    /// wildcards.
    pub(crate) fn new(patterns: Vec<Pattern>, ignoring_case: bool) -> Self {
        let (mut exact, mut wild, mut templates) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in patterns {
            match pattern {
                Pattern::Exact(text) if ignoring_case => exact.push(text.to_lowercase().into()),
                Pattern::Exact(text) => exact.push(text),
                Pattern::Template(pieces) => templates.push(pieces),
                pattern => wild.push(pattern),
            }
        }
        exact.sort_unstable_by(|a, b| order(a, b));
        exact.dedup();
        let (exact, wild, templates) = (exact.into(), wild.into(), templates.into());
        Self { exact, wild, templates, ignoring_case }
    }

    /// The price of comparing one value with all texts that have no variables.
    pub(crate) fn price(&self) -> Price {
        let searched = (self.exact.len() as u64).checked_ilog2().unwrap_or(0);
        let lower = if self.ignoring_case { lowering(1) } else { 0 };
        let exact =
            Price::of_value(u64::from(searched).saturating_mul(4).saturating_add(16), lower);
        self.wild.iter().map(Pattern::price).fold(exact, Price::plus)
    }

    /// The highest price of comparing one value with the texts that have variables.
    pub(crate) fn metered_price(&self) -> Price {
        let prices = self.templates.iter().map(|pieces| Pattern::of_pieces(pieces));
        prices.fold(Price::default(), Price::plus)
    }

    /// The most steps for looking up the values of the variables.
    pub(crate) fn preparing(&self) -> u64 {
        let steps = self.templates.iter().map(|pieces| {
            let (found, bytes) = Pattern::resolving(pieces);
            found.saturating_add(if self.ignoring_case { lowering(bytes) } else { 0 })
        });
        steps.fold(0, u64::saturating_add)
    }

    /// Looks up the values of the variables.
    pub(crate) fn prepare<'a>(&'a self, context: &'a Metered<'_>) -> Prepared<'a> {
        if self.templates.is_empty() {
            return Prepared::Nothing;
        }
        let resolved = self.templates.iter().map(|pieces| Resolved::of(pieces, context));
        if self.ignoring_case {
            return Prepared::Lower(resolved.map(|own| own?.lower(context)).collect());
        }
        Prepared::Patterns(resolved.collect())
    }

    /// Whether `text` matches one of the texts; `None` if that cannot be determined. The caller has
    /// already paid the price, except that of texts with variables.
    pub(crate) fn any_matches(
        &self,
        text: &str,
        prepared: &Prepared<'_>,
        context: &Metered<'_>,
    ) -> Option<bool> {
        let text = match self.ignoring_case {
            true => Cow::Owned(text.to_lowercase()),
            false => Cow::Borrowed(text),
        };
        if self.exact.binary_search_by(|own| order(own, &text)).is_ok()
            || self.wild.iter().any(|pattern| pattern.matches_literal(&text))
        {
            return Some(true);
        }
        let outcomes: &mut dyn Iterator<Item = Result<bool, Unresolved>> = match prepared {
            Prepared::Nothing => return Some(false),
            Prepared::Patterns(list) => &mut list.iter().map(|own| match own {
                Ok(own) => own.matches(&text, context),
                Err(unresolved) => Err(*unresolved),
            }),
            Prepared::Lower(list) => &mut list.iter().map(|own| match own {
                Ok(own) => {
                    context.spend(Price::of_literal(own.len()).on(text.len()))?;
                    Ok(**own == *text)
                }
                Err(unresolved) => Err(*unresolved),
            }),
        };
        crate::pattern::any_of(outcomes)
    }
}

fn order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
