//! SPDX licence expressions as crates use them: `AND`, `OR`, `WITH`, parentheses and the old `/`.

/// True if the licences in `allowed` (an identifier, or `id WITH exception`) satisfy the expression.
/// An expression that cannot be read satisfies nothing.
pub(super) fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words = spaced.split_whitespace().collect();
    let mut parser = Parser { words, at: 0, allowed };
    parser.expression() == Some(true) && parser.at == parser.words.len()
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a [String],
}

impl<'a> Parser<'a> {
    /// expression = conjunction *("OR" conjunction)
    fn expression(&mut self) -> Option<bool> {
        let mut value = self.conjunction()?;
        while self.take("OR") {
            value |= self.conjunction()?;
        }
        Some(value)
    }

    /// conjunction = licence *("AND" licence)
    fn conjunction(&mut self) -> Option<bool> {
        let mut value = self.licence()?;
        while self.take("AND") {
            value &= self.licence()?;
        }
        Some(value)
    }

    /// licence = "(" expression ")" / id ["WITH" exception]
    fn licence(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.expression()?;
            return self.take(")").then_some(value);
        }
        let mut id =
            self.word().filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?.to_owned();
        if self.take("WITH") {
            id = format!("{id} WITH {}", self.word()?);
        }
        Some(self.allowed.contains(&id))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions_follow_spdx_precedence() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        let cases = [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("GPL-3.0 AND GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND (GPL-3.0 OR MIT)", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("", false),
            ("MIT OR", false),
            ("MIT ISC", false),
            ("(MIT", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
        }
    }
}
