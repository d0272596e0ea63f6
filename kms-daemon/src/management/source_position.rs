//! The positions of a policy's statements in its document.

/// A line and a column, both from 1; columns are characters.
pub(super) type Position = (usize, usize);

/// The first character of a statement, counted from 0, and the one after its last.
pub(super) fn of(document: &str, statement: usize) -> Option<(Position, Position)> {
    let (start, end) = statement_in(document.as_bytes(), statement)?;
    Some((position(document, start)?, position(document, end)?))
}

fn position(document: &str, at: usize) -> Option<Position> {
    let before = document.get(..at)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next()?.chars().count() + 1;
    Some((line, column))
}

/// The bytes of a statement in a document that was read before, and so is JSON.
fn statement_in(text: &[u8], statement: usize) -> Option<(usize, usize)> {
    let mut at = after_space(text, 0);
    at = expect(text, at, b'{')?;
    loop {
        let key = after_space(text, at);
        let end = after_value(text, key)?;
        at = expect(text, after_space(text, end), b':')?;
        let value = after_space(text, at);
        if text.get(key..end)? == b"\"Statement\"" {
            return match text.get(value)? {
                b'[' => item(text, value + 1, statement),
                _ if statement == 0 => Some((value, after_value(text, value)?)),
                _ => None,
            };
        }
        at = after_space(text, after_value(text, value)?);
        at = expect(text, at, b',')?;
    }
}

/// An item of a list that begins before `at`.
fn item(text: &[u8], mut at: usize, index: usize) -> Option<(usize, usize)> {
    for _ in 0..index {
        at = after_space(text, after_value(text, after_space(text, at))?);
        at = expect(text, at, b',')?;
    }
    let start = after_space(text, at);
    Some((start, after_value(text, start)?))
}

fn expect(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*text.get(at)? == byte).then_some(at + 1)
}

fn after_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// What follows the value at `at`.
fn after_value(text: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = after_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            byte if depth > 0 || !b",:".contains(byte) && !byte.is_ascii_whitespace() => {
                at += 1;
                let ends = |byte: &u8| b",:]}".contains(byte) || byte.is_ascii_whitespace();
                if depth == 0 && text.get(at).is_none_or(ends) {
                    return Some(at);
                }
                continue;
            }
            _ => return None,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn after_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<&str> {
        let found = (0..).map_while(|index| statement_in(document.as_bytes(), index));
        found.map(|(start, end)| &document[start..end]).collect()
    }

    #[test]
    fn statements_are_found() {
        let one = r#"{"Version":"2012-10-17", "Statement" : {"Action":"a}\"]","Effect":"Allow"} }"#;
        assert_eq!(texts(one), [r#"{"Action":"a}\"]","Effect":"Allow"}"#]);
        let two = "{ \"Statement\": [\n  {\"a\": [1, true, {\"b\": null}]},\n  {\"Statement\": 1} ], \"Id\": \"x\" }";
        assert_eq!(texts(two), ["{\"a\": [1, true, {\"b\": null}]}", "{\"Statement\": 1}"]);
        assert_eq!(of(two, 1), Some(((3, 3), (3, 19))));
        let last = r#"{"Id":12,"Statement":[{}]}"#;
        assert_eq!(texts(last), ["{}"]);
        assert_eq!(of(last, 0), Some(((1, 23), (1, 25))));
        for damaged in ["", "{", "[]", r#"{"Statement":"#, r#"{"a"}"#, r#"{"a":"\"#] {
            assert_eq!(of(damaged, 0), None, "{damaged}");
        }
    }
}
