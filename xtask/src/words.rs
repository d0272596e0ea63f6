//! `cargo xtask words`: phrases that docs/style.md rules out, in Markdown and in the comments and string
//! literals of Rust files.
//!
//! The list is docs/words.toml. A phrase that is right for once is exempted by a comment with the reason,
//! in the same line or the one before: `words: allow(PHRASE) REASON`. Files that nobody has revised yet
//! are named in the list as well; one that has become clean must leave it, so it can only shrink.

mod prose;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    term,
};
use prose::{BREAK, Token};

/// The list.
const LIST: &str = "docs/words.toml";
/// What a comment with an exemption has before the phrase.
const ALLOW: &str = "words: allow(";

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let root = command::root();
    let list = List::read(&fs::read_to_string(root.join(LIST)).doing(format!("read {LIST}"))?)?;
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut findings = Vec::new();
    let mut unrevised = list.unrevised.clone();
    for file in &files {
        let text = fs::read_to_string(file).doing(format_args!("read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let found = list.check(&name, &text);
        if list.unrevised.contains(&name) {
            if !found.is_empty() {
                unrevised.remove(&name);
            }
        } else {
            findings.extend(found);
        }
    }
    findings.extend(unrevised.iter().map(|name| {
        format!("{LIST}: `{name}` is clean, renamed or removed: delete it from `unrevised`")
    }));
    if findings.is_empty() {
        let waiting = term::count(list.unrevised.len(), "file");
        term::note(format!("{} read, {waiting} not revised yet", term::count(files.len(), "file")));
        return Ok(());
    }
    let what = format!("{} against docs/style.md", term::count(findings.len(), "finding"));
    Err(findings.into_iter().fold(Failure::new(what), Failure::help))
}

/// Markdown and Rust files below `dir`.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("list {}", dir.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).doing(doing())? {
        entries.push(entry.doing(doing())?);
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().doing(doing())?;
        let skipped = ["target", "node_modules"].contains(&&*name) || name.starts_with('.');
        if kind.is_dir() && !skipped {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && [".rs", ".md"].iter().any(|end| name.ends_with(end)) {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// docs/words.toml.
#[derive(Debug)]
struct List {
    phrases: Vec<Phrase>,
    /// Indices of the phrases that start with a token.
    starts: BTreeMap<String, Vec<usize>>,
    unrevised: BTreeSet<String>,
}

/// A phrase to avoid.
#[derive(Debug)]
struct Phrase {
    /// As it stands in the list.
    name: String,
    /// The alternatives of each token.
    tokens: Vec<Vec<String>>,
    /// Tokens before the phrase that make it right.
    not_after: Vec<String>,
    /// Tokens behind the phrase that make it right.
    not_before: Vec<String>,
    instead: String,
    wrong: String,
    right: String,
}

impl List {
    fn read(text: &str) -> Result<Self> {
        let table: Table = text.parse().map_err(|e| Failure::new(format!("{LIST}: {e}")))?;
        let phrases = table.get("phrase").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut list = Self {
            phrases: phrases.iter().map(Phrase::read).collect::<Result<_>>()?,
            starts: BTreeMap::new(),
            unrevised: strings(&table, "unrevised").into_iter().collect(),
        };
        for (index, phrase) in list.phrases.iter().enumerate() {
            for token in phrase.tokens.first().into_iter().flatten() {
                list.starts.entry(token.clone()).or_default().push(index);
            }
        }
        // An entry which misses its own example, or hits what to write instead, is of no use.
        for phrase in &list.phrases {
            let hits = |text: &str| {
                let tokens = prose::markdown(text);
                (0..tokens.len()).any(|at| phrase.hit(&tokens, at).is_some())
            };
            if !hits(&phrase.wrong) || hits(&phrase.right) {
                let what = format!("{LIST}: the examples of `{}` do not fit it", phrase.name);
                return Err(Failure::new(what).help("`wrong` must contain the phrase, `right` not"));
            }
        }
        Ok(list)
    }

    /// Findings in a file: place, phrase, what to write instead.
    fn check(&self, name: &str, text: &str) -> Vec<String> {
        if text.lines().next().is_some_and(|line| line.contains("@generated")) {
            return Vec::new();
        }
        let (allowed, without_reason) = exemptions(text);
        // An exemption is not a place that needs it.
        let text = allowed.iter().fold(text.to_owned(), |text, (_, phrase)| {
            text.replace(&format!("{ALLOW}{phrase})"), "")
        });
        let tokens =
            if name.ends_with(".md") { prose::markdown(&text) } else { prose::rust(&text) };
        let mut findings = Vec::new();
        let mut used = BTreeSet::new();
        for at in 0..tokens.len() {
            let starting = self.starts.get(&tokens[at].text).map_or(&[][..], Vec::as_slice);
            for phrase in starting.iter().map(|index| &self.phrases[*index]) {
                let Some(hit) = phrase.hit(&tokens, at) else { continue };
                let exemption = allowed.iter().position(|(line, allow)| {
                    *allow == phrase.name && (*line == hit.line || line + 1 == hit.line)
                });
                match exemption {
                    Some(index) => {
                        used.insert(index);
                    }
                    None => {
                        findings.push((hit.line, format!("`{}`: {}", hit.text, phrase.instead)))
                    }
                }
            }
        }
        for line in without_reason {
            findings.push((line, "the exemption gives no reason: write one behind it".into()));
        }
        for (index, (line, phrase)) in allowed.iter().enumerate() {
            if !used.contains(&index) {
                findings.push((*line, format!("nothing here needs the exemption `{phrase}`")));
            }
        }
        findings.sort();
        findings.into_iter().map(|(line, what)| format!("{name}:{line}: {what}")).collect()
    }
}

/// The exemptions of a file with their lines, and the lines of those without a reason.
fn exemptions(text: &str) -> (Vec<(usize, String)>, Vec<usize>) {
    let (mut allowed, mut without_reason) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let Some((before, rest)) = line.split_once(ALLOW) else { continue };
        let comment = before.contains("// ") || before.contains("<!--");
        let Some((phrase, reason)) = rest.split_once(')').filter(|_| comment) else { continue };
        if reason.trim_end_matches("-->").trim().is_empty() {
            without_reason.push(index + 1);
        }
        allowed.push((index + 1, phrase.to_owned()));
    }
    (allowed, without_reason)
}

fn strings(table: &Table, key: &str) -> Vec<String> {
    let values = table.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Phrase {
    fn read(value: &Value) -> Result<Self> {
        let table = value.as_table().ok_or_else(|| Failure::new(format!("{LIST}: not a table")))?;
        let text = |key: &str| {
            table.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
                Failure::new(format!("{LIST}: a phrase has no `{key}`")).help(format!("{value}"))
            })
        };
        let name = text("words")?;
        Ok(Self {
            tokens: name
                .split(' ')
                .map(|token| token.split('|').map(str::to_owned).collect())
                .collect(),
            name,
            not_after: strings(table, "not_after"),
            not_before: strings(table, "not_before"),
            instead: text("instead")?,
            wrong: text("wrong")?,
            right: text("right")?,
        })
    }

    /// The phrase at that token, if it is there: its line, and its words as they stand there.
    fn hit(&self, tokens: &[Token], at: usize) -> Option<Token> {
        let window = tokens.get(at..at + self.tokens.len())?;
        let fits = |(token, any): (&Token, &Vec<String>)| any.contains(&token.text);
        let excused = |token: Option<&Token>, by: &[String]| {
            let text = token.map_or(BREAK, |token| token.text.as_str());
            by.iter().any(|word| word == text)
        };
        if !window.iter().zip(&self.tokens).all(fits)
            || excused(at.checked_sub(1).and_then(|at| tokens.get(at)), &self.not_after)
            || excused(tokens.get(at + window.len()), &self.not_before)
        {
            return None;
        }
        let words: Vec<_> = window.iter().map(|token| token.text.as_str()).collect();
        Some(Token { text: words.join(" "), line: window[0].line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
unrevised = ["old.rs"]
[[phrase]]
words = "blue|green whale"
not_after = ["big"]
not_before = ["bone"]
instead = "write `whale`"
wrong = "A blue whale."
right = "A whale."
"#;

    fn check(name: &str, text: &str) -> Vec<String> {
        List::read(EXAMPLE).unwrap().check(name, text)
    }

    #[test]
    fn the_list_of_the_repository_can_be_read() {
        let list = fs::read_to_string(command::root().join(LIST)).unwrap();
        assert!(List::read(&list).unwrap().phrases.len() > 10);
    }

    #[test]
    fn a_finding_has_its_line_and_what_to_write_instead() {
        let findings = check("a.md", "One.\n\nA Green\nwhale.\n");
        assert_eq!(findings, ["a.md:3: `green whale`: write `whale`"]);
        assert_eq!(check("a.rs", "// a blue\n// whale\nlet blue = whale();").len(), 1);
    }

    #[test]
    fn neighbours_excuse_a_phrase() {
        assert!(check("a.md", "A big blue whale, a blue whale bone.").is_empty());
    }

    #[test]
    fn an_exemption_needs_a_reason_and_something_to_exempt() {
        let allow = format!("// {ALLOW}blue|green whale)");
        assert!(check("a.rs", &format!("{allow} its name\n// blue whale\n")).is_empty());
        assert_eq!(check("a.rs", &format!("{allow}\n// a blue whale\n")).len(), 1);
        assert_eq!(check("a.rs", &format!("{allow} its name\n\n")).len(), 1);
        assert_eq!(check("a.rs", &format!("{allow} its name\n\n// blue whale\n")).len(), 2);
    }

    #[test]
    fn generated_files_are_not_read() {
        assert!(check("a.rs", "// @generated\n// blue whale\n").is_empty());
    }

    #[test]
    fn examples_must_fit_their_phrase() {
        let wrong = EXAMPLE.replace("A blue whale.", "A whale.");
        assert!(List::read(&wrong).unwrap_err().to_string().contains("examples"));
        let right = EXAMPLE.replace("\"A whale.\"", "\"A green whale.\"");
        assert!(List::read(&right).unwrap_err().to_string().contains("examples"));
    }
}
