//! What the server tells of its commands: COMMAND and its subcommands, and HELP of every container.
//!
//! All of it is read from the rows of the command table; nothing here names a command.

use super::control::{Control, SessionCx};
use super::registry::{CommandId, KeyIndexes, Registry, spec_indexes};
use super::spec::*;
use super::syntax::{self, Arg};
use crate::data::glob;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};

const ANY_TIME: Flags = LOADING.with(STALE);
const CONNECTION: &[&str] = &["connection"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

pub const COMMANDS: &[Command] = &[{
    let mut command = session("command", -1, ANY_TIME, command)
        .doc(
            Group::Server,
            "2.8.13",
            "O(N) where N is the number of commands",
            "",
            "Describes all commands.",
        )
        .categories(CONNECTION)
        .tips(UNORDERED);
    command.subcommands = SUBCOMMANDS;
    command
}];

const fn row(
    name: &'static str,
    (arity, since): (i32, &'static str),
    run: SessionFn,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    let complexity = match arity {
        2 => "O(1)",
        _ => "O(N) where N is the number of names or arguments",
    };
    session(name, arity, ANY_TIME, run)
        .doc(Group::Server, since, complexity, syntax, summary)
        .categories(CONNECTION)
}

const SUBCOMMANDS: &[Command] = &[
    row("command|count", (2, "2.8.13"), count, "", "Counts the commands."),
    row(
        "command|docs",
        (-2, "7.0.0"),
        docs,
        "[command-name [command-name ...]]",
        "Documents the named commands, or all.",
    )
    .tips(UNORDERED),
    row(
        "command|getkeys",
        (-3, "2.8.13"),
        getkeys,
        "command [arg [arg ...]]",
        "Answers the keys among the arguments of a command.",
    ),
    row(
        "command|getkeysandflags",
        (-3, "7.0.0"),
        getkeysandflags,
        "command [arg [arg ...]]",
        "Answers the keys of a command and how it uses them.",
    ),
    row("command|help", (2, "5.0.0"), help, "", "Lists the subcommands."),
    row(
        "command|info",
        (-2, "2.8.13"),
        info,
        "[command-name [command-name ...]]",
        "Describes the named commands, or all.",
    )
    .tips(UNORDERED),
    row(
        "command|list",
        (-2, "7.0.0"),
        list,
        "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        "Lists the names of commands and subcommands.",
    )
    .tips(UNORDERED),
];

fn command(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    all_infos(&cx.env.registry, &mut cx.out);
    Ok(Control::Done)
}

fn count(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.int(cx.env.registry.named().len() as i64);
    Ok(Control::Done)
}

fn info(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let registry = &cx.env.registry;
    if args.len() == 2 {
        all_infos(registry, &mut cx.out);
        return Ok(Control::Done);
    }
    cx.out.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match registry.by_full_name(name) {
            Some(id) => write_info(registry.command(id), &mut cx.out),
            None => cx.out.null(),
        }
    }
    Ok(Control::Done)
}

fn all_infos(registry: &Registry, out: &mut Encoder) {
    let all = registry.named();
    out.array(all.len());
    for (_, id) in all {
        write_info(registry.command(id), out);
    }
}

fn write_info(command: &Command, out: &mut Encoder) {
    let range = legacy_range(command);
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(i64::from(command.arity));
    let mut flags: Vec<&str> = Flags(command.flags.0 & !MAY_REPLICATE.0).names().collect();
    if range.movable {
        // The last but one in Redis' order, before `allow_busy` alone.
        let at = flags.len() - usize::from(command.flags.has(ALLOW_BUSY));
        flags.insert(at, "movablekeys");
    }
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    out.int(i64::from(range.first));
    out.int(i64::from(range.last));
    out.int(i64::from(range.step));
    let categories: Vec<&str> = categories(command).collect();
    out.set(categories.len());
    categories.iter().for_each(|category| out.simple(&format!("@{category}")));
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    command.keys.iter().for_each(|spec| write_key_spec(spec, out));
    match command.listed_subcommands() {
        [] => out.set(0),
        subcommands => {
            out.array(subcommands.len());
            subcommands.iter().for_each(|subcommand| write_info(subcommand, out));
        }
    }
}

/// The keys as one range, which is all that clients of old understand.
struct LegacyRange {
    first: i32,
    last: i32,
    step: i32,
    /// The range is not all that there is to know.
    movable: bool,
}

fn legacy_range(command: &Command) -> LegacyRange {
    let mut range = LegacyRange { first: 0, last: 0, step: 0, movable: false };
    let absolute = |first: i32, last: i32| if last >= 0 { first + last } else { last };
    for spec in command.keys {
        range.movable |= spec.flags.contains(&"incomplete");
        let KeySpec { begin: Begin::Index(at), find: Find::Range { last, step, .. }, .. } = *spec
        else {
            range.movable = true;
            continue;
        };
        let next = range.first == 0 || range.last + 1 == at;
        if command.keys.len() > 1 && (step != 1 || !next) {
            range.movable = true;
            continue;
        }
        if range.first == 0 {
            range.first = at;
        }
        (range.last, range.step) = (absolute(at, last), step);
    }
    range
}

/// Scripts may do anything, so the flags of a command that runs them imply nothing.
fn is_scripting(command: &Command) -> bool {
    command.group == Group::Scripting || command.categories.contains(&"scripting")
}

/// The ACL categories, in the order in which ACL CAT lists them.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The ACL categories in Redis' order: those of its row, its group and its flags.
pub fn categories(command: &Command) -> impl Iterator<Item = &'static str> + use<'_> {
    // A container runs nothing, so its group says nothing of what it may do.
    let container = matches!(command.run, Run::Container);
    let group = command.group.category().filter(|_| !container && command.group_category);
    let flags = command.flags;
    CATEGORIES.into_iter().filter(move |&name| {
        let implied = match name {
            "read" => flags.has(READONLY) && !is_scripting(command),
            "write" => flags.has(WRITE),
            "pubsub" => flags.has(PUBSUB),
            "admin" | "dangerous" => flags.has(ADMIN),
            "fast" => flags.has(FAST),
            "slow" => !flags.has(FAST),
            "blocking" => flags.has(BLOCKING),
            _ => false,
        };
        implied || group == Some(name) || command.categories.contains(&name)
    })
}

fn write_key_spec(spec: &KeySpec, out: &mut Encoder) {
    let number = |out: &mut Encoder, name: &str, value: i32| {
        out.bulk(name.as_bytes());
        out.int(i64::from(value));
    };
    let search = |out: &mut Encoder, what: &str, kind: &str, len: usize| {
        out.bulk(what.as_bytes());
        out.map(2);
        out.bulk(b"type");
        out.bulk(kind.as_bytes());
        out.bulk(b"spec");
        out.map(len);
    };
    out.map(3);
    out.bulk(b"flags");
    write_key_flags(spec.flags, out);
    match spec.begin {
        Begin::Index(at) => {
            search(out, "begin_search", "index", 1);
            number(out, "index", at);
        }
        Begin::Keyword(word, from) => {
            search(out, "begin_search", "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            number(out, "startfrom", from);
        }
        Begin::Unknown => search(out, "begin_search", "unknown", 0),
    }
    match spec.find {
        Find::Range { last, step, limit } => {
            search(out, "find_keys", "range", 3);
            number(out, "lastkey", last);
            number(out, "keystep", step);
            number(out, "limit", limit);
        }
        Find::Count { count_at, first, step } => {
            search(out, "find_keys", "keynum", 3);
            number(out, "keynumidx", count_at);
            number(out, "firstkey", first);
            number(out, "keystep", step);
        }
        Find::Unknown(_) => search(out, "find_keys", "unknown", 0),
    }
}

fn write_key_flags(flags: &[&str], out: &mut Encoder) {
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
}

fn docs(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let registry = &cx.env.registry;
    let ids: Vec<CommandId> = match args.len() {
        2 => registry.named().into_iter().map(|(_, id)| id).collect(),
        _ => args.iter().skip(2).filter_map(|name| registry.by_full_name(name)).collect(),
    };
    cx.out.map(ids.len());
    for id in ids {
        let command = registry.command(id);
        cx.out.bulk(command.name.as_bytes());
        write_docs(command, &mut cx.out);
    }
    Ok(Control::Done)
}

fn write_docs(command: &Command, out: &mut Encoder) {
    let arguments = syntax::parse(command.syntax, command.keys.len()).unwrap_or_default();
    let mut texts = vec![
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ];
    texts.retain(|(_, text)| !text.is_empty());
    let subcommands = command.listed_subcommands();
    let (has_arguments, has_subcommands) = (!arguments.is_empty(), !subcommands.is_empty());
    let deprecated = if command.deprecated.is_some() { 3 } else { 0 };
    let len = texts.len() + deprecated + usize::from(has_arguments) + usize::from(has_subcommands);
    out.map(len);
    for (name, text) in texts {
        write_text(name, text, out);
    }
    if let Some((since, instead)) = command.deprecated {
        out.bulk(b"doc_flags");
        out.set(1);
        out.simple("deprecated");
        write_text("deprecated_since", since, out);
        write_text("replaced_by", instead, out);
    }
    if has_arguments {
        out.bulk(b"arguments");
        write_arguments(&arguments, out);
    }
    if has_subcommands {
        out.bulk(b"subcommands");
        out.map(subcommands.len());
        for subcommand in subcommands {
            out.bulk(subcommand.name.as_bytes());
            write_docs(subcommand, out);
        }
    }
}

fn write_text(name: &str, text: &str, out: &mut Encoder) {
    out.bulk(name.as_bytes());
    out.bulk(text.as_bytes());
}

fn write_arguments(args: &[Arg], out: &mut Encoder) {
    out.array(args.len());
    for arg in args {
        let flags = [
            (arg.optional, "optional"),
            (arg.multiple, "multiple"),
            (arg.multiple_token, "multiple_token"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        // A group has its arguments where a plain argument has its display text.
        let optional = [arg.key_spec.is_some(), arg.token.is_some(), !flags.is_empty()];
        out.map(3 + optional.iter().filter(|on| **on).count());
        write_text("name", &arg.name, out);
        write_text("type", arg.kind.name(), out);
        if arg.arguments.is_empty() {
            write_text("display_text", &arg.name, out);
        }
        if let Some(spec) = arg.key_spec {
            out.bulk(b"key_spec_index");
            out.int(spec as i64);
        }
        if let Some(token) = arg.token {
            write_text("token", token, out);
        }
        if !flags.is_empty() {
            out.bulk(b"flags");
            out.set(flags.len());
            flags.iter().for_each(|flag| out.simple(flag));
        }
        if !arg.arguments.is_empty() {
            out.bulk(b"arguments");
            write_arguments(&arg.arguments, out);
        }
    }
}

fn getkeys(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let keys = keys_of(&cx.env.registry, &args)?;
    cx.out.array(keys.len());
    for (at, _) in keys {
        cx.out.bulk(args.at(at));
    }
    Ok(Control::Done)
}

fn getkeysandflags(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let keys = keys_of(&cx.env.registry, &args)?;
    cx.out.array(keys.len());
    for (at, flags) in keys {
        cx.out.array(2);
        cx.out.bulk(args.at(at));
        write_key_flags(flags, &mut cx.out);
    }
    Ok(Control::Done)
}

/// Where a key is and how the request uses it.
type UsedKey = (usize, &'static [&'static str]);

/// The keys of the command from the second argument on.
fn keys_of(registry: &Registry, args: &Args) -> Result<Vec<UsedKey>, CmdError> {
    let request = args.from(2);
    let found = match request.len() {
        1 => registry.by_name(request.at(0)),
        _ => registry.find(&request).ok(),
    };
    let Some(id) = found else {
        return Err(CmdError::fixed("ERR Invalid command specified"));
    };
    let command = registry.command(id);
    if command.keys.is_empty() {
        return Err(CmdError::fixed("ERR The command has no key arguments"));
    }
    if !command.accepts(request.len()) {
        return Err(CmdError::fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    for spec in command.keys {
        let mut indexes = KeyIndexes::new();
        spec_indexes(spec, &request, &mut indexes)?;
        let flags = command.key_flags.map_or(spec.flags, |of| of(&request));
        keys.extend(indexes.iter().map(|&at| (at as usize + 2, flags)));
    }
    if keys.is_empty() && !command.flags.has(NO_MANDATORY_KEYS) {
        return Err(CmdError::fixed("ERR Invalid arguments specified for command"));
    }
    Ok(keys)
}

fn list(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let wanted: Box<dyn Fn(&Command) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") => {
            let text = args.at(4);
            match () {
                _ if args.is(3, "MODULE") => Box::new(|_| false),
                _ if args.is(3, "ACLCAT") => Box::new(move |command| {
                    categories(command).any(|own| text.eq_ignore_ascii_case(own.as_bytes()))
                }),
                _ if args.is(3, "PATTERN") => {
                    let pattern = text.to_ascii_lowercase();
                    Box::new(move |command| glob::matches(&pattern, command.name.as_bytes()))
                }
                _ => return Err(CmdError::SYNTAX),
            }
        }
        _ => return Err(CmdError::SYNTAX),
    };
    let registry = &cx.env.registry;
    let mut names = Vec::new();
    for (_, id) in registry.named() {
        let command = registry.command(id);
        let own = std::iter::once(command).chain(command.listed_subcommands());
        names.extend(own.filter(|c| wanted(c)).map(|c| c.name));
    }
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(Control::Done)
}

/// HELP of a container: its subcommands with their arguments and what they do.
pub fn help(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let registry = &cx.env.registry;
    let container = registry.by_name(args.at(0)).map(|id| registry.command(id));
    let subcommands = container.map_or(&[][..], |container| container.subcommands);
    let upper = String::from_utf8_lossy(args.at(0)).to_uppercase();
    let mut lines =
        vec![format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for subcommand in subcommands {
        let name = subcommand.name.rsplit('|').next().unwrap_or_default().to_uppercase();
        lines.push(format!("{name} {}", subcommand.syntax).trim_end().to_string());
        lines.push(format!("    {}", subcommand.summary));
    }
    cx.out.array(lines.len());
    lines.iter().for_each(|line| cx.out.simple(line));
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;

    /// Bulk strings and statuses of a reply, without lengths: enough to read it by.
    fn words(reply: &str) -> String {
        let lines = reply.split("\r\n").filter(|line| !line.starts_with('$') && !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn info_describes_a_row_in_both_protocols() {
        let mut bench = SessionBench::new();
        let keys = |map: &str, set: &str| {
            let map = |n: usize| match map {
                "%" => format!("%{n}"),
                _ => format!("*{}", n * 2),
            };
            format!(
                "{} flags {set}2 +RO +access begin_search {} type index spec {} index :1 \
                 find_keys {} type range spec {} lastkey :0 keystep :1 limit :0",
                map(3),
                map(2),
                map(1),
                map(2),
                map(3)
            )
        };
        let expected = |map: &str, set: &str| {
            format!(
                "*1 *10 get :2 {set}2 +readonly +fast :1 :1 :1 {set}3 +@read +@string +@fast \
                 {set}0 {set}1 {} {set}0",
                keys(map, set)
            )
        };
        assert_eq!(words(&bench.run("command info get")), expected("*", "*"));
        bench.run("hello 3");
        assert_eq!(words(&bench.run("command info GET")), expected("%", "~"));
        assert_eq!(words(&bench.run("command info nope get|x")), "*2 _ _");
        let client = bench.run("command info client");
        assert!(
            words(&client).starts_with("*1 *10 client :-2 ~0 :0 :0 :0 ~1 +@slow ~0 ~0 *18 *10")
        );
        let ping = words(&bench.run("command info ping"));
        assert_eq!(
            ping,
            "*1 *10 ping :-1 ~1 +fast :0 :0 :0 ~2 +@fast +@connection ~2 request_policy:all_shards \
             response_policy:all_succeeded ~0 ~0"
        );
    }

    #[test]
    fn docs_tell_arguments_and_deprecation() {
        let mut bench = SessionBench::new();
        bench.run("hello 3");
        let docs = words(&bench.run("command docs get quit nope"));
        assert!(docs.starts_with("%2 get %5 summary "), "{docs}");
        let arguments = "arguments *1 %4 name key type key display_text key key_spec_index :0";
        assert!(docs.contains(arguments), "{docs}");
        assert!(docs.contains("doc_flags ~1 +deprecated deprecated_since 7.2.0 replaced_by just"));
        let list = words(&bench.run("command docs command|list"));
        assert!(
            list.contains("name module-name type string display_text module-name token MODULE")
        );
        assert!(
            words(&bench.run("command docs client")).contains("subcommands %18 client|caching %")
        );
    }

    #[test]
    fn every_syntax_is_understood() {
        let registry = Registry::new(&[]).unwrap();
        for (_, id) in registry.named() {
            let command = registry.command(id);
            for row in std::iter::once(command).chain(command.subcommands) {
                let args = syntax::parse(row.syntax, row.keys.len());
                assert!(args.is_some(), "{}: {}", row.name, row.syntax);
                let keys = row.syntax.split([' ', '[', '<', '|']).any(|w| w == "key");
                assert!(!keys || !row.keys.is_empty() || row.name.contains('|'), "{}", row.name);
            }
        }
    }

    #[test]
    fn keys_are_extracted() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("command getkeys set k v"), "*1\r\n$1\r\nk\r\n");
        assert_eq!(words(&bench.run("command getkeysandflags get k")), "*1 *2 k *2 +RO +access");
        for (words, error) in [
            ("command getkeys nope a", "-ERR Invalid command specified\r\n"),
            ("command getkeys client nope", "-ERR Invalid command specified\r\n"),
            ("command getkeys client", "-ERR The command has no key arguments\r\n"),
            ("command getkeys ping", "-ERR The command has no key arguments\r\n"),
            (
                "command getkeys get a b",
                "-ERR Invalid number of arguments specified for command\r\n",
            ),
        ] {
            assert_eq!(bench.run(words), error, "{words}");
        }
    }

    #[test]
    fn names_are_listed_and_counted() {
        let mut bench = SessionBench::new();
        let all = bench.run("command list");
        assert!(all.contains("$11\r\nclient|kill\r\n") && all.contains("$3\r\nget\r\n"));
        let count = bench.run("command count");
        assert!(bench.run("command").starts_with(&count.replace(':', "*")));
        assert_eq!(bench.run("command list filterby module x"), "*0\r\n");
        let connection = bench.run("command list filterby aclcat CONNECTION");
        assert!(connection.contains("client|id") && !connection.contains("$3\r\nget\r\n"));
        assert_eq!(bench.run("command list filterby aclcat nope"), "*0\r\n");
        assert_eq!(bench.run("command list filterby"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("command list filterby x y"), "-ERR syntax error\r\n");
    }

    #[test]
    fn help_is_read_from_the_rows() {
        let mut bench = SessionBench::new();
        let help = bench.run("Client help");
        assert!(help.starts_with("*37\r\n+CLIENT <subcommand> [<arg> [value] [opt] ...]. "));
        assert!(help.contains("+REPLY <ON | OFF | SKIP>\r\n+    Says whether"));
        assert!(help.contains("+HELP\r\n"));
    }
}
