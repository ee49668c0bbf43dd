//! Something for each of many prefixes, and finding all those with which a text begins.
//!
//! A text costs one look-up for each length that some prefix has, however many prefixes there are.

use std::collections::{BTreeMap, HashMap};

/// Values by prefix.
#[derive(Debug)]
pub struct Prefixes<V> {
    values: HashMap<Box<[u8]>, V, ahash::RandomState>,
    /// How many prefixes have each length.
    lengths: BTreeMap<usize, usize>,
}

impl<V> Default for Prefixes<V> {
    fn default() -> Prefixes<V> {
        Prefixes { values: HashMap::default(), lengths: BTreeMap::new() }
    }
}

impl<V: Default> Prefixes<V> {
    /// The value of a prefix, made if there is none.
    pub fn get_or_default(&mut self, prefix: &[u8]) -> &mut V {
        if !self.values.contains_key(prefix) {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        self.values.entry(prefix.into()).or_default()
    }
}

impl<V> Prefixes<V> {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn get_mut(&mut self, prefix: &[u8]) -> Option<&mut V> {
        self.values.get_mut(prefix)
    }

    pub fn remove(&mut self, prefix: &[u8]) -> Option<V> {
        let value = self.values.remove(prefix)?;
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
        Some(value)
    }

    /// Calls `each` for the prefixes with which `text` begins, the shortest first.
    pub fn each_of(&mut self, text: &[u8], each: &mut dyn FnMut(&[u8], &mut V)) {
        for (&len, _) in self.lengths.range(..=text.len()) {
            if let Some(value) = self.values.get_mut(&text[..len]) {
                each(&text[..len], value);
            }
        }
    }

    /// Whether `text` begins with one of the prefixes.
    pub fn has_of(&self, text: &[u8]) -> bool {
        self.lengths.range(..=text.len()).any(|(&len, _)| self.values.contains_key(&text[..len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_finds_its_prefixes() {
        let mut prefixes: Prefixes<u32> = Prefixes::default();
        for prefix in ["", "a:", "b:", "a:b", "a:b:c"] {
            *prefixes.get_or_default(prefix.as_bytes()) += 1;
        }
        let mut found = |text: &str| {
            let mut found = Vec::new();
            prefixes.each_of(text.as_bytes(), &mut |p, _| found.push(String::from_utf8(p.into())));
            found.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(found("a:b:"), ["", "a:", "a:b"]);
        assert_eq!(found(""), [""]);
        assert_eq!(found("x"), [""]);
        assert_eq!(prefixes.remove(b""), Some(1));
        assert_eq!(prefixes.remove(b"no"), None);
        assert!(prefixes.has_of(b"b:1") && !prefixes.has_of(b"b") && !prefixes.has_of(b"x"));
        assert_eq!(prefixes.len(), 4);
    }
}
