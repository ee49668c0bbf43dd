//! SLOWLOG and COMMANDLOG: commands that were slow, or whose requests or replies were large.
//!
//! The logs are the server's, not a shard's: see `metrics::CommandLogs`.

use super::control::{Control, SessionCx};
use super::help::help;
use super::spec::*;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::metrics::LogKind;
use crate::resp::Args;

pub const COMMANDS: &[Command] = &[
    container("commandlog", -2, COMMANDLOG).doc(
        Group::Server,
        "8.1.0",
        "Depends on subcommand.",
        "",
        "Commands about the logs of slow commands, large requests and large replies.",
    ),
    container("slowlog", -2, SLOWLOG).doc(
        Group::Server,
        "2.2.12",
        "Depends on subcommand.",
        "",
        "Commands about the log of slow commands.",
    ),
];

const READS: Flags = ADMIN.with(LOADING).with(STALE);
const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const LEN_TIPS: &[&str] =
    &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const KINDS: &str = "<SLOW | LARGE-REQUEST | LARGE-REPLY>";

const COMMANDLOG: &[Command] = &[
    session("commandlog|get", 4, READS, commandlog_get)
        .doc(
            Group::Server,
            "8.1.0",
            "O(N) where N is the number of entries answered",
            "count <SLOW | LARGE-REQUEST | LARGE-REPLY>",
            "Answers the newest entries of a log.",
        )
        .tips(GET_TIPS),
    session("commandlog|help", 2, LOADING.with(STALE), commandlog_help).doc(
        Group::Server,
        "8.1.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("commandlog|len", 3, READS, commandlog_len)
        .doc(Group::Server, "8.1.0", "O(1)", KINDS, "Counts the entries of a log.")
        .tips(LEN_TIPS),
    session("commandlog|reset", 3, READS, commandlog_reset)
        .doc(
            Group::Server,
            "8.1.0",
            "O(N) where N is the number of entries",
            KINDS,
            "Forgets the entries of a log.",
        )
        .tips(RESET_TIPS),
];

const SLOWLOG: &[Command] = &[
    session("slowlog|get", -2, READS, slowlog_get)
        .doc(
            Group::Server,
            "2.2.12",
            "O(N) where N is the number of entries answered",
            "[count]",
            "Answers the newest entries of the slow log.",
        )
        .tips(GET_TIPS),
    session("slowlog|help", 2, LOADING.with(STALE), slowlog_help).doc(
        Group::Server,
        "6.2.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("slowlog|len", 2, READS, slowlog_len)
        .doc(Group::Server, "2.2.12", "O(1)", "", "Counts the entries of the slow log.")
        .tips(LEN_TIPS),
    session("slowlog|reset", 2, READS, slowlog_reset)
        .doc(
            Group::Server,
            "2.2.12",
            "O(N) where N is the number of entries",
            "",
            "Forgets the entries of the slow log.",
        )
        .tips(RESET_TIPS),
];

/// Entries that SLOWLOG GET answers without being told how many.
const USUAL_COUNT: usize = 10;

const WRONG_KIND: CmdError =
    CmdError::fixed("ERR type should be one of the following: slow, large-request, large-reply");

fn kind(word: &[u8]) -> Result<LogKind, CmdError> {
    let named = |kind: &LogKind| kind.name().as_bytes().eq_ignore_ascii_case(word);
    LogKind::ALL.into_iter().find(named).ok_or(WRONG_KIND)
}

/// How many entries are asked for; -1 is all.
fn count(word: &[u8]) -> Result<usize, CmdError> {
    match parse_i64(word) {
        Some(-1) => Ok(usize::MAX),
        Some(count) if count >= 0 => Ok(count as usize),
        _ => Err(CmdError::fixed("ERR count should be greater than or equal to -1")),
    }
}

fn commandlog_get(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let count = count(args.at(2))?;
    Ok(get(cx, kind(args.at(3))?, count))
}

fn commandlog_len(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(len(cx, kind(args.at(2))?))
}

fn commandlog_reset(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(reset(cx, kind(args.at(2))?))
}

fn slowlog_get(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let count = match args.len() {
        2 => USUAL_COUNT,
        3 => count(args.at(2))?,
        _ => return Err(cx.env.registry.wrong_words(&args)),
    };
    Ok(get(cx, LogKind::Slow, count))
}

fn slowlog_len(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(len(cx, LogKind::Slow))
}

fn slowlog_reset(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(reset(cx, LogKind::Slow))
}

fn get(cx: &mut SessionCx, kind: LogKind, count: usize) -> Control {
    let logs = cx.env.logs();
    let entries = logs.entries(kind);
    cx.out.array(entries.len().min(count));
    for entry in entries.take(count) {
        cx.out.array(6);
        cx.out.int(entry.id as i64);
        cx.out.int(entry.at);
        cx.out.int(entry.value as i64);
        cx.out.array(entry.args.len());
        entry.args.iter().for_each(|arg| cx.out.bulk(arg));
        cx.out.bulk(entry.address.as_bytes());
        cx.out.bulk(&entry.name);
    }
    Control::Done
}

fn len(cx: &mut SessionCx, kind: LogKind) -> Control {
    cx.out.int(cx.env.logs().len(kind) as i64);
    Control::Done
}

fn reset(cx: &mut SessionCx, kind: LogKind) -> Control {
    cx.env.logs().reset(kind);
    cx.out.ok();
    Control::Done
}

fn commandlog_help(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let lines = [
        "GET <count> <type>",
        "    Answers the newest <count> entries of a log, or all for -1. Each has its id, the time,",
        "    microseconds (for slow) or bytes (for large-request and large-reply), the arguments,",
        "    the client's address and its name.",
        "LEN <type>",
        "    Counts the entries of a log.",
        "RESET <type>",
        "    Forgets the entries of a log.",
    ];
    help(&mut cx.out, "COMMANDLOG", &lines);
    Ok(Control::Done)
}

fn slowlog_help(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let lines = [
        "GET [<count>]",
        "    Answers the newest <count> entries (usually 10), or all for -1. Each has its id, the",
        "    time, microseconds, the arguments, the client's address and its name.",
        "LEN",
        "    Counts the entries.",
        "RESET",
        "    Forgets the entries.",
    ];
    help(&mut cx.out, "SLOWLOG", &lines);
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::SessionBench;
    use crate::metrics::{LogEntry, LogKind};

    fn bench() -> SessionBench {
        let bench = SessionBench::new();
        for value in 0..3 {
            let entry = LogEntry {
                id: 0,
                at: 1_700_000_000,
                value,
                args: vec![b"get"[..].into(), b"k"[..].into()],
                address: "127.0.0.1:5000".to_string(),
                name: b"worker".to_vec(),
            };
            bench.env.logs().add(LogKind::Slow, entry, 128);
        }
        bench
    }

    #[test]
    fn entries_come_newest_first() {
        let mut bench = bench();
        assert_eq!(bench.run("slowlog len"), ":3\r\n");
        assert_eq!(
            bench.run("slowlog get 1"),
            "*1\r\n*6\r\n:2\r\n:1700000000\r\n:2\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n\
             $14\r\n127.0.0.1:5000\r\n$6\r\nworker\r\n"
        );
        assert_eq!(bench.run("slowlog get 0"), "*0\r\n");
        assert!(bench.run("slowlog get -1").starts_with("*3\r\n*6\r\n:2\r\n"));
        assert!(bench.run("slowlog get").starts_with("*3\r\n"));
        assert_eq!(bench.run("commandlog get -1 SLOW"), bench.run("slowlog get -1"));
        assert_eq!(bench.run("commandlog len large-reply"), ":0\r\n");
        assert_eq!(bench.run("slowlog reset"), "+OK\r\n");
        assert_eq!(bench.run("commandlog len slow"), ":0\r\n");
    }

    #[test]
    fn wrong_words_are_refused() {
        let mut bench = bench();
        let count = "-ERR count should be greater than or equal to -1\r\n";
        let kind = "-ERR type should be one of the following: slow, large-request, large-reply\r\n";
        assert_eq!(bench.run("slowlog get -2"), count);
        assert_eq!(bench.run("slowlog get x"), count);
        assert_eq!(bench.run("commandlog get x slow"), count);
        assert_eq!(bench.run("commandlog get 1 none"), kind);
        assert_eq!(bench.run("commandlog get x none"), count);
        assert_eq!(bench.run("commandlog reset none"), kind);
        assert_eq!(
            bench.run("slowlog get 1 2"),
            "-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.\r\n"
        );
    }
}
