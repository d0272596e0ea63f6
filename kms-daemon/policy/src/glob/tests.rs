use super::*;

/// The pieces of a pattern.
fn pieces(pattern: &str) -> Vec<Glob<'_>> {
    let mut pieces = Vec::new();
    for part in pattern.split_inclusive(['*', '?']) {
        let text = part.trim_end_matches(['*', '?']);
        if !text.is_empty() {
            pieces.push(Text(text));
        }
        match part.as_bytes().last() {
            Some(b'*') => pieces.push(Many),
            Some(b'?') => pieces.push(One),
            _ => {}
        }
    }
    pieces
}

/// Whether a text matches, by a table of all their prefixes.
fn by_table(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for own in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        next[0] = own == '*' && row[0];
        for (at, c) in text.iter().enumerate() {
            next[at + 1] = match own {
                '*' => row[at + 1] || next[at],
                '?' => row[at],
                own => row[at] && own == *c,
            };
        }
        row = next;
    }
    row[text.len()]
}

/// A small generator, whose seed a failure names.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn text(&mut self, alphabet: &[char], longest: usize) -> String {
        let length = self.below(longest + 1);
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

#[test]
fn random_patterns_match_as_by_a_table() {
    let mut matched = [0; 2];
    for (own, there, longest, most) in [
        (&['a', 'b', '?', '*'][..], &['a', 'b'][..], 8, 12),
        (&['a', 'é', '?', '*'], &['a', 'é', '\u{10348}'], 9, 60),
        (&['a', 'b', 'b', 'é', '?', '?', '*'], &['a', 'b', 'é'], 30, 90),
    ] {
        for seed in 1..60_000 {
            let random = &mut Random(seed);
            let (pattern, text) = (random.text(own, longest), random.text(there, most));
            let expected = by_table(&pattern, &text);
            assert_eq!(matches(&pieces(&pattern), &text), expected, "{pattern} {text}");
            matched[usize::from(expected)] += 1;
        }
    }
    assert!(matched.iter().all(|count| *count > 10_000), "{matched:?}");
}

/// Runs of more than a word, cut out of the text with some characters left open.
#[test]
fn long_runs_match_as_by_a_table() {
    let mut matched = [0; 2];
    for seed in 1..4_000 {
        let random = &mut Random(seed);
        let alphabet = ['a', 'a', 'a', 'b', 'é'];
        let text: Vec<char> = random.text(&alphabet, 700).chars().chain(['a'; 200]).collect();
        let (from, size) = (random.below(text.len() - 150), 60 + random.below(90));
        let mut run: Vec<char> = text[from..from + size].to_vec();
        for _ in 0..random.below(40) {
            let at = random.below(run.len());
            run[at] = if random.below(60) == 0 { 'b' } else { '?' };
        }
        let run: String = run.into_iter().collect();
        let (pattern, text) = (format!("*a{run}a*"), text.into_iter().collect::<String>());
        let expected = by_table(&pattern, &text);
        assert_eq!(matches(&pieces(&pattern), &text), expected, "{pattern} {text}");
        matched[usize::from(expected)] += 1;
    }
    assert!(matched.iter().all(|count| *count > 400), "{matched:?}");
}

/// The product of the lengths of pattern and text is what a table of both takes. Matching takes a small
/// part of that on the same machine, whatever the pattern.
#[test]
fn a_hostile_pattern_takes_a_part_of_a_table() {
    let text = "a".repeat(2048);
    for pattern in
        [format!("*{}b*", "a?".repeat(500)), "*a?b".repeat(500), format!("{}b", "*a".repeat(1000))]
    {
        let pieces = pieces(&pattern);
        let timed = |matching: &dyn Fn() -> bool| {
            let begin = std::time::Instant::now();
            assert!(!matching());
            begin.elapsed()
        };
        let mut least = [std::time::Duration::MAX; 2];
        // Whatever else the machine does meanwhile only adds to a time, and not to each of them.
        let part = (0..50).any(|_| {
            least[0] = least[0].min(timed(&|| matches(&pieces, &text)));
            least[1] = least[1].min(timed(&|| by_table(&pattern, &text)));
            8 * least[0] < least[1]
        });
        assert!(part, "{:.20}: {least:?}", pattern);
    }
}
