//! The files that an `include` names: a path, or a pattern with `*`, `?` and `[...]` in any of
//! its parts. As in a shell, names that start with a dot need a pattern that does so too.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// Whether the path is a pattern. A pattern may match nothing; a plain path must exist.
#[must_use]
pub fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// The files that match, sorted by path. Directories that cannot be read are an error, since
/// the file would silently miss a part.
pub fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let mut next = Vec::new();
        for base in &found {
            if is_pattern(Path::new(part)) {
                next.extend(matches_in(base, part.as_bytes())?);
            } else {
                let path = base.join(part);
                if path.exists() {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn matches_in(base: &Path, pattern: &[u8]) -> io::Result<Vec<PathBuf>> {
    let directory = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let hidden = name.as_bytes().starts_with(b".") && !pattern.starts_with(b".");
        if !hidden && name_matches(pattern, name.as_bytes()) {
            paths.push(base.join(name));
        }
    }
    Ok(paths)
}

/// Whether a name matches. Takes at most pattern length times name length steps: only the last
/// star is ever tried again.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, n));
            p += 1;
            continue;
        }
        if let Some(next) = one_matches(pattern, p, name[n]) {
            p = next;
            n += 1;
            continue;
        }
        let Some((star, taken)) = retry else { return false };
        retry = Some((star, taken + 1));
        p = star + 1;
        n = taken + 1;
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern goes on if its element at `at` matches the byte.
fn one_matches(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match class_matches(&pattern[at + 1..], byte) {
            Some((matched, length)) => matched.then_some(at + 1 + length),
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Whether the class (what follows `[`) has the byte, and its length with the `]`. None when it
/// isn't closed: then `[` is a plain character.
fn class_matches(class: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(class.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut matched = false;
    loop {
        let low = *class.get(at)?;
        if low == b']' && at > start {
            return Some((matched != negated, at + 1));
        }
        match (class.get(at + 1), class.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                matched |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                matched |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("??", "ab", true),
            ("??", "abc", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", "", true),
        ] {
            let matched = name_matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
        // Many stars against a long name end quickly.
        assert!(!name_matches("*a".repeat(30).as_bytes(), &[b'b'; 200]));
    }

    #[test]
    fn patterns_in_files_and_directories() {
        let room = std::env::temp_dir().join(format!("corelane-include-{}", std::process::id()));
        for name in ["x1/b.conf", "x1/a.conf", "x2/c.conf", "x2/.d.conf", "y/e.conf"] {
            let path = room.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = expand(&room.join("x?/*.conf")).unwrap();
        let names: Vec<_> =
            found.iter().map(|p| p.strip_prefix(&room).unwrap().to_owned()).collect();
        assert_eq!(names, ["x1/a.conf", "x1/b.conf", "x2/c.conf"].map(PathBuf::from));
        assert!(expand(&room.join("z*/*.conf")).unwrap().is_empty());
        assert_eq!(expand(&room.join("x2/.*.conf")).unwrap().len(), 1);
        std::fs::remove_dir_all(room).unwrap();
    }
}
