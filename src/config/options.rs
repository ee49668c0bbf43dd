//! The option table: every option is one row, and everything else derives from the rows.
//!
//! To add an option, add a field to [`Values`](super::Values) and a row to the family that it
//! belongs to. `--help`, the file parser, CONFIG GET, SET and REWRITE know it from then on;
//! `configs/default.conf` is written anew by `CORELANE_WRITE_DEFAULT_CONF=1 cargo test
//! default_conf`.

mod memory;
mod network;
mod observe;
mod persistence;
mod process;
mod special;
mod tls;
mod types;

use super::row::Row;

/// The rows by family, in the order of the help and of CONFIG GET.
pub const FAMILIES: &[&[Row]] = &[
    network::ROWS,
    tls::ROWS,
    process::ROWS,
    observe::ROWS,
    memory::ROWS,
    types::ROWS,
    persistence::ROWS,
];

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().copied().flatten()
}

/// The row of an option by its name or an alias, in any case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    rows().find(|row| row.is_called(name))
}

/// Row constructors that leave only what differs to write down. The casts are lossless: the
/// row's bounds lie within the field's type, which a test checks.
macro_rules! bool_row {
    ($group:ident, $name:literal, $field:ident, $default:literal, $doc:expr) => {
        Row::new(
            Group::$group,
            $name,
            Kind::Bool { get: |v| v.$field, set: |v, new| v.$field = new },
            $default,
            $doc,
        )
    };
}
macro_rules! int_row {
    ($group:ident, $name:literal, $field:ident, $min:expr, $max:expr, $default:literal, $doc:expr) => {
        Row::new(
            Group::$group,
            $name,
            Kind::Int {
                min: $min,
                max: $max,
                get: |v| v.$field as i64,
                set: |v, new| v.$field = new as _,
            },
            $default,
            $doc,
        )
    };
}
macro_rules! memory_row {
    ($group:ident, $name:literal, $field:ident, $min:expr, $max:expr, $default:literal, $doc:expr) => {
        Row::new(
            Group::$group,
            $name,
            Kind::Memory { min: $min, max: $max, get: |v| v.$field, set: |v, new| v.$field = new },
            $default,
            $doc,
        )
    };
}
macro_rules! choice_row {
    ($group:ident, $name:literal, $field:ident: $type:ident, $default:literal, $doc:expr) => {
        Row::new(
            Group::$group,
            $name,
            Kind::Choice {
                names: $type::NAMES,
                get: |v| v.$field as usize,
                set: |v, new| v.$field = $type::ALL[new],
            },
            $default,
            $doc,
        )
    };
}
macro_rules! path_row {
    ($group:ident, $name:literal, $field:ident, $doc:expr) => {
        Row::new(
            Group::$group,
            $name,
            Kind::Path { get: |v| v.$field.as_deref(), set: |v, new| v.$field = new },
            "\"\"",
            $doc,
        )
    };
}
use {bool_row, choice_row, int_row, memory_row, path_row};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::row::*, super::values::Values, *};

    #[test]
    fn names_are_unique_and_lower_case() {
        let mut seen = HashSet::new();
        for name in rows().flat_map(Row::names) {
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                !super::super::unsupported::is_known(name.as_bytes()),
                "{name} is also unsupported"
            );
        }
        assert!(find(b"PORT").is_some_and(|row| row.name == "port"));
        assert!(find(b"por").is_none());
    }

    #[test]
    fn every_row_is_documented() {
        for row in rows() {
            assert!(row.doc.ends_with('.') && row.doc.len() > 40, "{}: doc", row.name);
            assert!(
                !row.doc.contains('\n') && !row.doc.contains("  "),
                "{}: one paragraph",
                row.name
            );
            let first = super::super::render::first_sentence(row.doc);
            assert!(first.len() <= 110, "{}: first sentence is {} long", row.name, first.len());
        }
    }

    #[test]
    fn bounds_survive_the_field_and_show_back() {
        for row in rows() {
            let mut values = Values::default();
            let mut check = |text: String, shown: String| {
                row.set(&mut values, &[text.clone().into_bytes()], Turn::First)
                    .unwrap_or_else(|error| panic!("{} {text}: {error}", row.name));
                assert_eq!(String::from_utf8(row.show(&values)).unwrap(), shown, "{}", row.name);
            };
            match &row.kind {
                // hz is a wish: it is brought into 1..=500.
                Kind::Int { .. } if row.name == "hz" => {}
                Kind::Int { min, max, .. } => {
                    for bound in [min, max] {
                        check(bound.to_string(), bound.to_string());
                    }
                }
                Kind::Memory { min, max, .. } => {
                    for bound in [min, max] {
                        check(bound.to_string(), bound.to_string());
                    }
                }
                Kind::Octal { max, .. } => check(format!("{max:o}"), format!("{max:o}")),
                Kind::Choice { names, .. } => {
                    for name in *names {
                        check(name.to_uppercase(), (*name).to_owned());
                    }
                }
                Kind::Bool { .. } => {
                    check("YES".into(), "yes".into());
                    check("no".into(), "no".into());
                }
                Kind::Text { .. } | Kind::Secret { .. } | Kind::Path { .. } => {
                    check("x y".into(), "x y".into());
                    check(String::new(), String::new());
                }
                Kind::Special(_) => {}
            }
        }
    }
}
