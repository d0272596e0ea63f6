//! The prose of a file as tokens: words and punctuation marks in lower case, each with its line.
//!
//! Markdown gives everything but fenced code; a span of inline code counts as one word, `` ` ``. Rust
//! gives comments and string literals. A phrase may therefore go over the end of a line, but not from
//! one comment or literal into the next.

/// What separates two texts which do not continue each other.
pub(super) const BREAK: &str = "\n";
/// What stands for a span of inline code.
const CODE: &str = "`";

/// A word or a punctuation mark, and its line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Collects tokens.
#[derive(Debug, Default)]
struct Tokens(Vec<Token>);

impl Tokens {
    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.0.push(Token { text: text.into(), line });
    }

    /// Ends a text.
    fn end(&mut self, line: usize) {
        self.push(BREAK, line);
    }

    /// Adds a piece of text which starts in `line`.
    fn text(&mut self, text: &str, mut line: usize) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '_' | '’');
            let length = match c {
                '`' => match rest[1..].find('`') {
                    Some(end) => end + 2,
                    None => 1,
                },
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            match c {
                '`' => self.push(CODE, line),
                c if c.is_whitespace() || matches!(c, '*' | '\\') => {}
                _ => self.push(token.to_lowercase(), line),
            }
            line += token.matches('\n').count();
            rest = after;
        }
    }
}

/// The tokens of a Markdown file.
pub(super) fn markdown(file: &str) -> Vec<Token> {
    let mut tokens = Tokens::default();
    let mut fenced = false;
    for (index, line) in file.lines().enumerate() {
        let number = index + 1;
        let text = line.trim_start();
        if text.starts_with("```") {
            fenced = !fenced;
            tokens.end(number);
        } else if fenced || text.is_empty() {
            tokens.end(number);
        } else {
            if ["#", "* ", "- ", "|"].iter().any(|start| text.starts_with(start)) {
                tokens.end(number);
            }
            for (column, cell) in text.split('|').enumerate() {
                if column > 0 {
                    tokens.end(number);
                }
                tokens.text(cell, number);
            }
        }
    }
    tokens.0
}

/// The tokens of the comments and string literals of a Rust file.
pub(super) fn rust(file: &str) -> Vec<Token> {
    let mut tokens = Tokens::default();
    let mut line = 1;
    let mut rest = file;
    // The line of the comment before, which the next line may continue.
    let mut comment = None;
    while !rest.is_empty() {
        let piece = Piece::first(rest);
        let (text, after) = rest.split_at(piece.length);
        match piece.kind {
            Kind::Comment => {
                if comment != Some(line - 1) {
                    tokens.end(line);
                }
                tokens.text(text.trim_start_matches(['/', '!']), line);
                comment = Some(line);
            }
            Kind::Literal => {
                tokens.end(line);
                tokens.text(&unescaped(text), line);
                tokens.end(line);
            }
            Kind::Code if text.trim().is_empty() => {}
            Kind::Code => comment = None,
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens.0
}

/// A literal without its quotes, its escapes blank; as many lines as before.
fn unescaped(literal: &str) -> String {
    let inner = literal.trim_start_matches(['b', 'c', 'r', '#']).trim_matches(['"', '#']);
    ["\\n", "\\t", "\\\""].iter().fold(inner.to_owned(), |text, escape| text.replace(escape, " . "))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What a rest of Rust code starts with.
struct Piece {
    kind: Kind,
    length: usize,
}

impl Piece {
    fn first(rest: &str) -> Self {
        let piece =
            |kind, length: Option<usize>| Self { kind, length: length.unwrap_or(rest.len()) };
        if rest.starts_with("//") {
            return piece(Kind::Comment, rest.find('\n'));
        }
        if rest.starts_with("/*") {
            return piece(Kind::Comment, rest.find("*/").map(|end| end + 2));
        }
        if let Some(length) = raw_literal(rest) {
            return piece(Kind::Literal, Some(length));
        }
        let literal = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
        if let Some(inner) = literal.strip_prefix('"') {
            let open = rest.len() - inner.len();
            return piece(Kind::Literal, closing(inner, '"').map(|end| open + end + 1));
        }
        if let Some(inner) = rest.strip_prefix('\'') {
            // A character, if it is closed; else a lifetime.
            let character = if inner.starts_with('\\') {
                closing(inner, '\'')
            } else {
                inner.char_indices().nth(1).filter(|(_, c)| *c == '\'').map(|(at, _)| at)
            };
            return piece(Kind::Code, Some(character.map_or(1, |end| end + 2)));
        }
        piece(Kind::Code, Some(code(rest.as_bytes())))
    }
}

/// The length of code up to where a comment or literal may start: at least one byte. By bytes, as nearly
/// all that is read passes here.
fn code(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        let in_word = rest[at - 1].is_ascii_alphanumeric() || rest[at - 1] == b'_';
        match rest[at] {
            b'/' | b'"' | b'\'' => break,
            // The prefix of a literal, unless it is the letter of a longer word.
            b'b' | b'c' | b'r' if !in_word => break,
            _ => at += 1,
        }
    }
    at
}

/// The length of the raw literal, if one is there.
fn raw_literal(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let inner = after.trim_start_matches('#');
    let hashes = after.len() - inner.len();
    let text = inner.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text.find(&close)?;
    Some(rest.len() - text.len() + end + close.len())
}

/// Where `quote` closes what is open; escapes are skipped.
fn closing(inner: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    inner.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tokens: &[Token]) -> String {
        let words: Vec<_> = tokens.iter().map(|t| t.text.as_str()).collect();
        words.join(" ").replace(BREAK, "/").trim_matches([' ', '/']).to_owned()
    }

    #[test]
    fn a_comment_goes_on_in_the_next_line_and_ends_before_code() {
        let file = "//! One\n//! two.\nfn f<'a>() { g('\"', '\\'', 'x') } // Three\n";
        assert_eq!(read(&rust(file)), "one two . / three");
        assert_eq!(rust(file)[2], Token { text: "two".into(), line: 2 });
    }

    #[test]
    fn literals_are_read_and_code_is_not() {
        let file = "let a = (\"one \\\"two\\\"\", r#\"three \"four\"\"#, b\"five\", bar);\n\"six\"";
        assert_eq!(read(&rust(file)), "one . two / / three \" four / / five / / six",);
        assert_eq!(rust(file).last().map(|t| t.line), Some(2));
    }

    #[test]
    fn a_literal_over_several_lines_counts_them() {
        let file = "f(\"one \\\n   two\");\n// three";
        let lines: Vec<_> =
            rust(file).into_iter().filter(|t| t.text != BREAK).map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn markdown_has_no_code() {
        let file = "# One\nTwo `three\nfour\n```\nfive\n```\n| six | *seven* |\n";
        assert_eq!(read(&markdown(file)), "# one two ` three four / / / / / six / seven");
        assert_eq!(read(&markdown("a `b c` d\n\ne")), "a ` d / e");
    }
}
