//! The options as text for people: `configs/default.conf`, and the pieces of `--help`.

use super::{
    options::rows,
    row::{Group, Kind, Mutability, Row},
    units::format_memory,
};

const WIDTH: usize = 90;

const HEADER: &str = "\
# Corelane: every option with its default.
#
# Start the server with a file like this one, and override single options after it:
#
#   corelane /etc/corelane.conf --port 7000
#
# A line is an option and its value. A value with spaces stands in \"double\" or 'single'
# quotes; within double quotes \\n, \\\" and \\xHH are understood. Sizes may carry a unit: 1k
# is 1000 bytes, 1kb is 1024, and so on with m, mb, g and gb. Lines that start with # are
# comments. `include path` reads another file at that place; the path may be a pattern
# such as /etc/corelane/*.conf. The last line about an option wins.
";

/// The content of `configs/default.conf`.
#[must_use]
pub fn default_conf() -> String {
    let mut text = HEADER.to_owned();
    for group in Group::ALL {
        let title = format!("# ---- {} ", group.title());
        text.push_str(&format!("\n{title}{}\n", "-".repeat(WIDTH - title.len())));
        for row in rows().filter(|row| row.group == *group && !row.hidden) {
            text.push('\n');
            for line in [row.doc, &facts(row)].into_iter().flat_map(|part| wrap(part, WIDTH - 2)) {
                text.push_str(&format!("# {line}\n"));
            }
            match row.example {
                Some(example) => text.push_str(&format!("# {} {example}\n", row.name)),
                None => text.push_str(&format!("{} {}\n", row.name, row.default)),
            }
        }
    }
    text
}

/// Default, kind of value and mutability in one line.
#[must_use]
pub fn facts(row: &Row) -> String {
    let default = match row.example {
        Some(_) => "not set",
        None => row.default,
    };
    let when = match row.mutability {
        Mutability::Mutable => "CONFIG SET may change it",
        Mutability::Immutable | Mutability::Protected | Mutability::FileOnly => "fixed at start",
    };
    format!("Default: {default}. Value: {}; {when}.", accepted(row))
}

/// The values that the option takes, in words.
fn accepted(row: &Row) -> String {
    let unit = row.unit.unwrap_or("number");
    match &row.kind {
        Kind::Bool { .. } => "yes or no".to_owned(),
        Kind::Int { min, max, .. } if *max >= i64::from(i32::MAX) => format!("{unit} from {min}"),
        Kind::Int { min, max, .. } => format!("{unit} from {min} to {max}"),
        Kind::Octal { max, .. } => format!("octal number up to {max:o}"),
        Kind::Memory { min: 0, .. } => "bytes".to_owned(),
        Kind::Memory { min, .. } => format!("bytes from {}", format_memory(*min)),
        Kind::Choice { names, .. } => format!("one of {}", names.join(", ")),
        Kind::Text { .. } | Kind::Secret { .. } | Kind::Path { .. } | Kind::Special(_) => {
            row.hint()
        }
    }
}

/// The text up to its first full stop.
#[must_use]
pub fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |end| &text[..=end])
}

/// Breaks a paragraph at spaces.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Config, file::Loader, values::Values},
        *,
    };

    fn configs(name: &str) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name)
    }

    #[test]
    fn committed_default_conf_is_what_the_table_says() {
        let path = configs("default.conf");
        if std::env::var_os("CORELANE_WRITE_DEFAULT_CONF").is_some() {
            std::fs::write(&path, default_conf()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == default_conf(),
            "configs/default.conf is out of date: run\n  \
             CORELANE_WRITE_DEFAULT_CONF=1 cargo test --lib default_conf"
        );
    }

    #[test]
    fn default_conf_sets_every_option_to_its_default() {
        let mut loader = Loader::new(Values::default());
        loader.stdin(default_conf().as_bytes()).unwrap();
        let (mut values, warnings) = loader.finish().unwrap();
        assert!(warnings.is_empty());
        // Hidden options are not in the file.
        (values.set_proc_title, values.aof_use_rdb_preamble) = (true, true);
        assert_eq!(values, *Config::default());
        for line in default_conf().lines() {
            assert!(line.len() <= WIDTH && line == line.trim_end(), "{line}");
        }
    }

    #[test]
    fn examples_parse() {
        for row in rows() {
            if let Some(example) = row.example {
                let mut loader = Loader::new(Values::default());
                loader.stdin(format!("{} {example}", row.name).as_bytes()).unwrap();
                loader.finish().unwrap();
            }
        }
    }

    #[test]
    fn the_other_files_load_without_a_warning() {
        let packaged = ["docker/corelane.conf", "debian/corelane.conf"];
        for name in ["cache.conf", "broker.conf", "durable.conf"].into_iter().chain(packaged) {
            let text = std::fs::read_to_string(configs(name)).unwrap();
            // The directory is there where it is installed.
            let lines = text.lines().filter(|line| !line.starts_with("dir /"));
            let mut loader = Loader::new(Values::default());
            loader.stdin(lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap();
            assert_eq!(loader.finish().unwrap().1, [], "{name}");
        }
    }

    #[test]
    fn paragraphs_are_wrapped_at_spaces() {
        assert_eq!(wrap("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(first_sentence("One. Two."), "One.");
        assert_eq!(first_sentence("Only one."), "Only one.");
    }
}
