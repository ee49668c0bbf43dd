//! "Did you mean ...?" for a misspelt name.

/// The candidate that is nearest to `name`, if one is near enough: a third of its letters may
/// be wrong.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    if name.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // Three rows of the table of distances between prefixes: two back, one back, this one.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance(b"port", b"port"), 0);
        assert_eq!(distance(b"prot", b"port"), 1);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"maxmemroy", b"maxmemory"), 1);
        assert_eq!(distance(b"tcp-keepalive", b"tcp_keep-alive"), 2);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = || ["port", "maxmemory", "maxmemory-policy", "bind"].into_iter();
        assert_eq!(nearest("Prot", names()), Some("port"));
        assert_eq!(nearest("max-memory", names()), Some("maxmemory"));
        assert_eq!(nearest("maxmemory_policy", names()), Some("maxmemory-policy"));
        assert_eq!(nearest("frobnicate", names()), None);
        assert_eq!(nearest(&"x".repeat(100), names()), None);
    }
}
