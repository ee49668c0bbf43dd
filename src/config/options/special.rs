//! Options whose values follow their own rules.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::super::{
    events::EventClasses,
    file::quote,
    row::{Special, Turn},
    units::{format_memory, parse_integer, parse_memory},
    values::{ClientMemory, OutputLimit, Percentiles, Rename, SaveRule, Values},
};
use crate::error::io_text;

const WRONG_NUMBER: &str = "wrong number of arguments";

pub(super) const BIND: Special = Special {
    hint: "address...",
    many: true,
    set: set_bind,
    show: |values| values.bind.join(" ").into_bytes(),
    lines: |values| match values.bind.as_slice() {
        [] => vec![b"\"\"".to_vec()],
        addresses => vec![addresses.join(" ").into_bytes()],
    },
};

const BIND_MAX: usize = 16;

fn set_bind(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    if words.len() > BIND_MAX {
        return Err("Too many bind addresses specified.".to_owned());
    }
    let words = if matches!(words, [only] if only.is_empty()) { &[] } else { words };
    let mut addresses = Vec::with_capacity(words.len());
    for word in words {
        match str::from_utf8(word) {
            Ok(text) if !text.trim_start_matches('-').is_empty() => addresses.push(text.to_owned()),
            _ => return Err("Failed to bind to specified addresses.".to_owned()),
        }
    }
    values.bind = addresses;
    Ok(())
}

pub(super) const DIR: Special = Special {
    hint: "path",
    many: false,
    set: set_dir,
    show: |values| values.dir.as_os_str().as_bytes().to_vec(),
    lines: |values| vec![quote(values.dir.as_os_str().as_bytes())],
};

fn set_dir(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    let [word] = words else { return Err(WRONG_NUMBER.to_owned()) };
    let path = Path::new(std::ffi::OsStr::from_bytes(word));
    let absolute = match path.canonicalize() {
        Ok(absolute) => absolute,
        // The directory that the process is in may have been removed; staying is no change.
        Err(_) if path == Path::new(".") => PathBuf::from("."),
        Err(error) => return Err(io_text(&error)),
    };
    if !absolute.is_dir() && path != Path::new(".") {
        return Err("Not a directory".to_owned());
    }
    values.dir = absolute;
    Ok(())
}

pub(super) const USER: Special = Special {
    hint: "name rule...",
    many: true,
    set: set_user,
    show: |values| user_lines(values).join(&b' '),
    lines: user_lines,
};

/// Whether the rules are good is found out by those who know the commands.
fn set_user(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    if !words.is_empty() {
        values.user.push(words.to_vec());
    }
    Ok(())
}

fn user_lines(values: &Values) -> Vec<Vec<u8>> {
    values.user.iter().map(|words| words.join(&b' ')).collect()
}

pub(super) const RENAME_COMMAND: Special = Special {
    hint: "command new-name",
    many: true,
    set: set_rename_command,
    show: |values| rename_lines(values).join(&b' '),
    lines: rename_lines,
};

fn set_rename_command(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    match words {
        [] => {}
        [from, to] if !from.is_empty() => {
            values.rename_command.push(Rename { from: from.clone(), to: to.clone() });
        }
        _ => return Err(WRONG_NUMBER.to_owned()),
    }
    Ok(())
}

fn rename_lines(values: &Values) -> Vec<Vec<u8>> {
    values.rename_command.iter().map(|r| [quote(&r.from), quote(&r.to)].join(&b' ')).collect()
}

pub(super) const CLIENT_MEMORY: Special = Special {
    hint: "bytes or percentage",
    many: false,
    set: set_client_memory,
    show: |values| match values.maxmemory_clients {
        ClientMemory::Bytes(bytes) => bytes.to_string().into_bytes(),
        ClientMemory::Percent(percent) => format!("{percent}%").into_bytes(),
    },
    lines: |values| match values.maxmemory_clients {
        ClientMemory::Bytes(bytes) => vec![format_memory(bytes).into_bytes()],
        ClientMemory::Percent(percent) => vec![format!("{percent}%").into_bytes()],
    },
};

fn set_client_memory(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    let [word] = words else { return Err(WRONG_NUMBER.to_owned()) };
    let percent = word.strip_suffix(b"%").map(|number| {
        let number = str::from_utf8(number).ok().filter(|text| !text.starts_with('+'));
        number.and_then(|text| text.parse::<u32>().ok())
    });
    if percent.flatten().is_some_and(|percent| percent > 100) {
        return Err("percentage argument must be less or equal to 100".to_owned());
    }
    let parsed = match percent {
        Some(percent) => percent.map(ClientMemory::Percent),
        None => parse_memory(word).map(ClientMemory::Bytes),
    };
    let text = "argument must be a memory or percent value";
    values.maxmemory_clients = parsed.ok_or_else(|| text.to_owned())?;
    Ok(())
}

pub(super) const SAVE: Special = Special {
    hint: "seconds changes...",
    many: true,
    set: set_save,
    show: |values| save_words(values).join(" ").into_bytes(),
    lines: |values| match save_words(values).as_slice() {
        [] => vec![b"\"\"".to_vec()],
        rules => rules.iter().map(|rule| rule.clone().into_bytes()).collect(),
    },
};

fn save_words(values: &Values) -> Vec<String> {
    values.save.iter().map(|rule| format!("{} {}", rule.seconds, rule.changes)).collect()
}

fn set_save(values: &mut Values, words: &[Vec<u8>], turn: Turn) -> Result<(), String> {
    let empty = words.is_empty() || matches!(words, [only] if only.is_empty());
    let words = if empty { &[] } else { words };
    let (pairs, rest) = words.as_chunks::<2>();
    let rule = |[seconds, changes]: &[Vec<u8>; 2]| {
        let seconds = parse_integer(seconds).and_then(|n| u64::try_from(n).ok())?;
        let changes = parse_integer(changes).and_then(|n| u32::try_from(n).ok())?;
        (seconds >= 1).then_some(SaveRule { seconds, changes })
    };
    let rules: Option<Vec<SaveRule>> = pairs.iter().map(rule).collect();
    let Some(rules) = rules.filter(|_| rest.is_empty()) else {
        return Err("Invalid save parameters".to_owned());
    };
    if empty || turn == Turn::First {
        values.save.clear();
    }
    values.save.extend(rules);
    Ok(())
}

pub(super) const OUTPUT_LIMIT: Special = Special {
    hint: "class hard soft seconds...",
    many: true,
    set: set_output_limit,
    show: |values| {
        let limits = &values.client_output_buffer_limit;
        // The second class goes by the old name here, as in Redis.
        let classes =
            [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)];
        let class = |(name, l): (&str, OutputLimit)| {
            format!("{name} {} {} {}", l.hard, l.soft, l.soft_seconds)
        };
        classes.map(class).join(" ").into_bytes()
    },
    lines: |values| {
        let limits = &values.client_output_buffer_limit;
        let classes =
            [("normal", limits.normal), ("replica", limits.replica), ("pubsub", limits.pubsub)];
        let class = |(name, l): (&str, OutputLimit)| {
            let (hard, soft) = (format_memory(l.hard), format_memory(l.soft));
            format!("{name} {hard} {soft} {}", l.soft_seconds).into_bytes()
        };
        classes.map(class).to_vec()
    },
};

/// Sets the named classes and leaves the others.
fn set_output_limit(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    let (quads, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut limits = values.client_output_buffer_limit;
    for [class, hard, soft, seconds] in quads {
        let slot = match class.to_ascii_lowercase().as_slice() {
            b"normal" => &mut limits.normal,
            b"replica" | b"slave" => &mut limits.replica,
            b"pubsub" => &mut limits.pubsub,
            _ => {
                return Err(
                    "Invalid client class specified in buffer limit configuration.".to_owned()
                );
            }
        };
        let seconds = parse_integer(seconds).and_then(|n| u32::try_from(n).ok());
        let (Some(hard), Some(soft), Some(soft_seconds)) =
            (parse_memory(hard), parse_memory(soft), seconds)
        else {
            return Err(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                    .to_owned(),
            );
        };
        *slot = OutputLimit { hard, soft, soft_seconds };
    }
    values.client_output_buffer_limit = limits;
    Ok(())
}

pub(super) const PERCENTILES: Special = Special {
    hint: "percent...",
    many: true,
    set: set_percentiles,
    show: |values| percentile_words(values).into_bytes(),
    lines: |values| match percentile_words(values) {
        none if none.is_empty() => vec![b"\"\"".to_vec()],
        words => vec![words.into_bytes()],
    },
};

fn percentile_words(values: &Values) -> String {
    let words = values.latency_tracking_info_percentiles.0.iter().map(f64::to_string);
    words.collect::<Vec<_>>().join(" ")
}

fn set_percentiles(values: &mut Values, words: &[Vec<u8>], _: Turn) -> Result<(), String> {
    let words = if matches!(words, [only] if only.is_empty()) { &[] } else { words };
    let mut percentiles = Vec::with_capacity(words.len());
    for word in words {
        let number = str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
        match number.filter(|number| !number.is_nan()) {
            // Also without the sign of a zero.
            Some(number) if (0.0..=100.0).contains(&number) => percentiles.push(number + 0.0),
            Some(_) => {
                return Err("latency-tracking-info-percentiles parameters should sit between \
                            [0.0,100.0]"
                    .to_owned());
            }
            None => return Err("Invalid latency-tracking-info-percentiles parameters".to_owned()),
        }
    }
    values.latency_tracking_info_percentiles = Percentiles(percentiles);
    Ok(())
}

pub(super) const NOTIFY_KEYSPACE_EVENTS: Special = Special {
    hint: "classes",
    many: false,
    set: set_notify_keyspace_events,
    show: |values| values.notify_keyspace_events.shown().into_bytes(),
    lines: |values| vec![quote(values.notify_keyspace_events.written().as_bytes())],
};

fn set_notify_keyspace_events(
    values: &mut Values,
    words: &[Vec<u8>],
    _: Turn,
) -> Result<(), String> {
    let [word] = words else { return Err(WRONG_NUMBER.to_owned()) };
    values.notify_keyspace_events =
        EventClasses::parse(word).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn save_rules_add_up_within_a_load() {
        let mut values = Values::default();
        set_save(&mut values, &words("3600 1 300 100"), Turn::First).unwrap();
        set_save(&mut values, &words("60 10000"), Turn::Again).unwrap();
        assert_eq!((SAVE.show)(&values), b"3600 1 300 100 60 10000");
        assert_eq!((SAVE.lines)(&values).len(), 3);
        set_save(&mut values, &words("10 5"), Turn::First).unwrap();
        assert_eq!((SAVE.show)(&values), b"10 5");
        for text in ["10", "10 x", "0 10", "10 -1", "10  5", " 10 5"] {
            let error = set_save(&mut values, &words(text), Turn::First).unwrap_err();
            assert_eq!(error, "Invalid save parameters", "{text}");
        }
        assert_eq!((SAVE.show)(&values), b"10 5");
        set_save(&mut values, &words(""), Turn::Again).unwrap();
        assert_eq!((SAVE.show)(&values), b"");
        assert_eq!((SAVE.lines)(&values), [b"\"\""]);
    }

    #[test]
    fn output_limits_change_class_by_class() {
        let mut values = Values::default();
        let mut set = |text| set_output_limit(&mut values, &words(text), Turn::First);
        set("normal 1gb 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60").unwrap();
        set("slave 1mb 1kb 5").unwrap();
        assert!(set("normal 1").unwrap_err().starts_with("Wrong number"));
        assert!(set("master 1 1 1").unwrap_err().starts_with("Invalid client class"));
        assert!(set("normal 5 5 5 pubsub 1 x 1").unwrap_err().starts_with("Error in hard"));
        assert_eq!(
            String::from_utf8((OUTPUT_LIMIT.show)(&values)).unwrap(),
            "normal 1073741824 0 0 slave 1048576 1024 5 pubsub 33554432 8388608 60"
        );
        assert_eq!((OUTPUT_LIMIT.lines)(&values)[1], b"replica 1mb 1kb 5");
    }

    #[test]
    fn bind_takes_up_to_sixteen_addresses_or_none() {
        let mut values = Values::default();
        set_bind(&mut values, &words("* -::*"), Turn::First).unwrap();
        assert_eq!((BIND.show)(&values), b"* -::*");
        set_bind(&mut values, &words(""), Turn::First).unwrap();
        assert!(values.bind.is_empty());
        assert_eq!((BIND.lines)(&values), [b"\"\""]);
        assert!(set_bind(&mut values, &words(&["a"; 17].join(" ")), Turn::First).is_err());
        assert!(set_bind(&mut values, &words("1.1.1.1 -"), Turn::First).is_err());
        assert!(set_bind(&mut values, &words("1.1.1.1  2.2.2.2"), Turn::First).is_err());
    }

    #[test]
    fn dir_becomes_absolute_and_must_exist() {
        let mut values = Values::default();
        set_dir(&mut values, &words("./"), Turn::First).unwrap();
        assert!(values.dir.is_absolute());
        let error = set_dir(&mut values, &words("/no/such/place"), Turn::First).unwrap_err();
        assert_eq!(error, "No such file or directory");
        let error = set_dir(&mut values, &words("/dev/null"), Turn::First).unwrap_err();
        assert_eq!(error, "Not a directory");
    }

    #[test]
    fn classes_of_events_are_written_whole() {
        let mut values = Values::default();
        set_notify_keyspace_events(&mut values, &words("KEAnm"), Turn::First).unwrap();
        assert_eq!((NOTIFY_KEYSPACE_EVENTS.show)(&values), b"AKEm");
        assert_eq!((NOTIFY_KEYSPACE_EVENTS.lines)(&values), [b"\"AnKEm\""]);
        let error = set_notify_keyspace_events(&mut values, &words("K!"), Turn::First);
        assert_eq!(error.unwrap_err(), "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        set_notify_keyspace_events(&mut values, &words(""), Turn::First).unwrap();
        assert_eq!((NOTIFY_KEYSPACE_EVENTS.lines)(&values), [b"\"\""]);
    }

    #[test]
    fn commands_are_renamed_one_a_directive() {
        let mut values = Values::default();
        set_rename_command(&mut values, &words("CONFIG hush"), Turn::First).unwrap();
        set_rename_command(&mut values, &[b"FLUSHALL".to_vec(), Vec::new()], Turn::Again).unwrap();
        assert_eq!(values.rename_command.len(), 2);
        assert_eq!(values.rename_command[1].to, b"");
        assert_eq!((RENAME_COMMAND.lines)(&values)[1], b"\"FLUSHALL\" \"\"");
        assert!(set_rename_command(&mut values, &words("CONFIG"), Turn::Again).is_err());
    }
}
