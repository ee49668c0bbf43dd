//! Glob patterns as KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET use them.
//!
//! `*` any run of bytes, `?` any byte, `[abc]`, `[a-z]` and `[^a-z]` a class, `\x` the byte x
//! itself. Details that clients may rely on, all as in Redis:
//!
//! - a class ends at the first `]`, so `[]` matches nothing and `[^]` any byte;
//! - a class that is never closed ends with the pattern;
//! - a range may be written backwards; its bounds compare as signed bytes;
//! - the empty string matches the empty pattern only, not `*`.
//!
//! Every token but `*` consumes exactly one byte, so going back to the last `*` alone is enough:
//! the cost is at most pattern × text, whatever the pattern.

/// Does the whole of `text` match `pattern`?
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<false>(pattern, text)
}

/// The same, letters of either case being equal (ASCII).
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    run::<true>(pattern, text)
}

/// The pattern without its wildcards, when it has none: then it matches that one string.
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

fn run<const FOLD: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where to resume: the token after the last star, and the text that the star has not eaten.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            resume = Some((p, t));
            continue;
        }
        if p < pattern.len()
            && let Some(next) = token::<FOLD>(pattern, p, text[t])
        {
            p = next;
            t += 1;
            continue;
        }
        let Some((after_star, eaten)) = &mut resume else { return false };
        *eaten += 1;
        (p, t) = (*after_star, *eaten);
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches the one-byte token at `at`; gives the position after it.
#[inline]
fn token<const FOLD: bool>(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern[at] {
        b'?' => Some(at + 1),
        b'[' => class::<FOLD>(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => {
            (fold::<FOLD>(pattern[at + 1]) == fold::<FOLD>(byte)).then_some(at + 2)
        }
        literal => (fold::<FOLD>(literal) == fold::<FOLD>(byte)).then_some(at + 1),
    }
}

/// Matches a class whose `[` has been read; gives the position after its `]`.
fn class<const FOLD: bool>(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range::<FOLD>(*first, *last, byte);
                at += 3;
            }
            [literal, ..] => {
                found |= fold::<FOLD>(*literal) == fold::<FOLD>(byte);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

fn in_range<const FOLD: bool>(first: u8, last: u8, byte: u8) -> bool {
    let (low, high) = ((first as i8).min(last as i8), (first as i8).max(last as i8));
    let signed = |byte: i8| fold::<FOLD>(byte as u8) as i8;
    (signed(low)..=signed(high)).contains(&signed(byte as i8))
}

#[inline(always)]
fn fold<const FOLD: bool>(byte: u8) -> u8 {
    if FOLD { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same language by plain recursion over every split a star allows.
    fn model(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        fn step(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
            let fold = |byte: u8| if nocase { byte.to_ascii_lowercase() } else { byte };
            match (pattern, text) {
                ([], _) => text.is_empty(),
                ([b'*', rest @ ..], _) => {
                    (0..=text.len()).any(|eaten| step(rest, &text[eaten..], nocase))
                }
                (_, []) => false,
                ([b'?', rest @ ..], [_, tail @ ..]) => step(rest, tail, nocase),
                ([b'[', rest @ ..], [byte, tail @ ..]) => {
                    let (negated, mut rest) = match rest {
                        [b'^', rest @ ..] => (true, rest),
                        _ => (false, rest),
                    };
                    let mut set = Vec::new();
                    while let [first, more @ ..] = rest {
                        rest = more;
                        match (first, more) {
                            (b']', _) => break,
                            (b'\\', [escaped, more @ ..]) => {
                                set.push(*escaped);
                                rest = more;
                            }
                            (_, [b'-', last, more @ ..]) => {
                                let (low, high) = (*first.min(last), *first.max(last));
                                let (low, high) = (fold(low), fold(high));
                                set.extend((0..128).filter(|&b| (low..=high).contains(&fold(b))));
                                rest = more;
                            }
                            _ => set.extend((0..128).filter(|&b| fold(b) == fold(*first))),
                        }
                    }
                    set.contains(byte) != negated && step(rest, tail, nocase)
                }
                ([b'\\', escaped, rest @ ..], [byte, tail @ ..]) => {
                    fold(*escaped) == fold(*byte) && step(rest, tail, nocase)
                }
                ([literal, rest @ ..], [byte, tail @ ..]) => {
                    fold(*literal) == fold(*byte) && step(rest, tail, nocase)
                }
            }
        }
        if text.is_empty() { pattern.is_empty() } else { step(pattern, text, nocase) }
    }

    #[test]
    fn follows_the_documented_examples() {
        for (pattern, text, expected) in [
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("[]", "]", false),
            ("[^]", "]", true),
            ("[abc", "b", true),
            ("[a-", "-", true),
            ("[", "[", false),
            ("\\", "\\", true),
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_ignore_case(b"FOO[a-c]?", b"fooBx"));
        assert!(!matches(b"FOO*", b"foobar"));
        assert!(matches(b"[\x80-\xff]", b"\xc3") && !matches(b"[\x80-\xff]", b"a"));
        assert!(is_literal(b"key:1") && !is_literal(b"key:*"));
    }

    #[test]
    fn hostile_patterns_cost_no_more_than_pattern_times_text() {
        let pattern = b"a*".repeat(if cfg!(miri) { 50 } else { 5_000 });
        let text = vec![b'a'; if cfg!(miri) { 200 } else { 20_000 }];
        assert!(matches(&pattern, &text));
        let mut never = pattern;
        never.push(b'b');
        assert!(!matches(&never, &text[..text.len() / 4]));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 1000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn agrees_with_plain_recursion(
            pattern in "[aAbB*?\\[\\]\\^\\\\-]{0,10}",
            text in "[aAbB\\]\\^\\\\-]{0,8}",
            nocase: bool,
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            let ours = if nocase { matches_ignore_case(pattern, text) } else { matches(pattern, text) };
            prop_assert_eq!(ours, model(pattern, text, nocase));
        }
    }
}
