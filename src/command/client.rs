//! CLIENT: what a connection tells of itself, and what one client may know of and do to others.
//!
//! Other connections are on other shards, and behind sockets, which commands do not see: such a
//! subcommand returns a request that `net` puts to every connection.
//!
//! What CLIENT TRACKING and its kin do is in `tracking`.

use super::connection::{printable, valid_name};
use super::control::{ClientFilter, ClientsRequest, Control, SessionCx};
use super::introspect::help;
use super::spec::*;
use super::tracking;
use crate::data::number::parse_i64;
use crate::error::{CmdError, shown};
use crate::resp::Args;
use crate::session::ReplyMode;

pub const COMMANDS: &[Command] = &[container("client", -2, SUBCOMMANDS).doc(
    Group::Connection,
    "2.4.0",
    "Depends on subcommand.",
    "",
    "Commands about connections.",
)];

const OWN: Flags = NOSCRIPT.with(LOADING).with(STALE).with(KEEPS_CACHING);
const OTHERS: Flags = OWN.with(ADMIN);
const ON_EVERY_NODE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const CHANGING: &[&str] = &["nondeterministic_output"];
const ALL_CLIENTS: &str = "O(N) where N is the number of client connections";

/// A row with its documentation; nearly all take constant time.
const fn row(
    name: &'static str,
    (arity, flags, since): (i32, Flags, &'static str),
    run: SessionFn,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    session(name, arity, flags, run).doc(Group::Connection, since, "O(1)", syntax, summary)
}

const SUBCOMMANDS: &[Command] = &[
    row(
        "client|caching",
        (3, OWN, "6.0.0"),
        tracking::caching,
        "<YES | NO>",
        "Says whether what the next command reads is tracked.",
    ),
    row("client|getname", (2, OWN, "2.6.9"), getname, "", "Answers the connection's name."),
    row(
        "client|getredir",
        (2, OWN, "6.0.0"),
        tracking::getredir,
        "",
        "Answers the id of the client that is told what this one tracks.",
    ),
    row("client|help", (2, LOADING.with(STALE).with(KEEPS_CACHING), "5.0.0"), help, "", "Lists the subcommands."),
    row("client|id", (2, OWN, "5.0.0"), id, "", "Answers the connection's id."),
    row("client|info", (2, OWN, "6.2.0"), info, "", "Describes the connection in one line.")
        .tips(CHANGING),
    session("client|kill", -3, OTHERS, kill).doc(
        Group::Connection,
        "2.4.0",
        ALL_CLIENTS,
        "<ip:port | <ID client-id | TYPE <NORMAL | MASTER | REPLICA | PUBSUB> | USER username | \
         ADDR ip:port | LADDR ip:port | SKIPME <YES | NO> | MAXAGE maxage> ...>",
        "Closes the connections that match all filters.",
    ),
    session("client|list", -2, OTHERS, list)
        .doc(
            Group::Connection,
            "2.4.0",
            ALL_CLIENTS,
            "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
            "Describes the connections, one a line.",
        )
        .tips(CHANGING),
    row(
        "client|no-evict",
        (3, OTHERS, "7.0.0"),
        no_evict,
        "<ON | OFF>",
        "Exempts the connection from eviction.",
    ),
    row(
        "client|no-touch",
        (3, OWN, "7.2.0"),
        no_touch,
        "<ON | OFF>",
        "Keeps the connection's reads from counting as uses of keys.",
    ),
    session("client|pause", -3, OTHERS, pause).doc(
        Group::Connection,
        "2.9.50",
        "O(1)",
        "timeout [WRITE | ALL]",
        "Has commands of all clients, or those that write, wait for some milliseconds.",
    ),
    row(
        "client|reply",
        (3, OWN, "3.2.0"),
        reply,
        "<ON | OFF | SKIP>",
        "Says whether commands are answered.",
    ),
    row(
        "client|setinfo",
        (4, OWN, "7.2.0"),
        setinfo,
        "<LIB-NAME libname | LIB-VER libver>",
        "Names the client's library or its version.",
    )
    .tips(ON_EVERY_NODE),
    row(
        "client|setname",
        (3, OWN, "2.6.9"),
        setname,
        "connection-name",
        "Names the connection; an empty name takes the name away.",
    )
    .tips(ON_EVERY_NODE),
    session("client|tracking", -3, OWN, tracking::tracking).doc(
        Group::Connection,
        "6.0.0",
        "O(1), or O(N) where N is the number of client connections with REDIRECT",
        "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] \
         [NOLOOP]",
        "Has the client told when keys that it has read change.",
    ),
    row(
        "client|trackinginfo",
        (2, OWN, "6.2.0"),
        tracking::trackinginfo,
        "",
        "Describes what the client tracks.",
    ),
    session("client|unblock", -3, OTHERS, unblock).doc(
        Group::Connection,
        "5.0.0",
        "O(log N) where N is the number of client connections",
        "client-id [TIMEOUT | ERROR]",
        "Ends the wait of a client that is blocked.",
    ),
    session("client|unpause", 2, OTHERS, unpause).doc(
        Group::Connection,
        "6.2.0",
        "O(N) Where N is the number of paused clients",
        "",
        "Lets commands run again that a pause keeps waiting.",
    ),
];

fn id(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.int(cx.session.id as i64);
    Ok(Control::Done)
}

fn getname(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    match cx.session.name.is_empty() {
        true => cx.out.null(),
        false => cx.out.bulk(&cx.session.name),
    }
    Ok(Control::Done)
}

fn setname(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    valid_name(args.at(2))?;
    cx.session.name = args.at(2).to_vec();
    cx.out.ok();
    Ok(Control::Done)
}

fn setinfo(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let attribute = shown(args.at(2), usize::MAX);
    let field = match () {
        _ if args.is(2, "LIB-NAME") => &mut cx.session.library_name,
        _ if args.is(2, "LIB-VER") => &mut cx.session.library_version,
        _ => return Err(CmdError::err_of(&[b"Unrecognized option '", attribute, b"'"])),
    };
    if !printable(args.at(3)) {
        return Err(CmdError::err_of(&[
            attribute,
            b" cannot contain spaces, newlines or special characters.",
        ]));
    }
    *field = args.at(3).to_vec();
    cx.out.ok();
    Ok(Control::Done)
}

fn info(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(Control::ClientInfo)
}

fn reply(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let mode = &mut cx.session.reply_mode;
    match () {
        _ if args.is(2, "ON") => {
            *mode = ReplyMode::On;
            cx.out.ok();
        }
        _ if args.is(2, "OFF") => *mode = ReplyMode::Off,
        _ if args.is(2, "SKIP") => {
            if *mode != ReplyMode::Off {
                *mode = ReplyMode::SkipNext;
            }
        }
        _ => return Err(CmdError::SYNTAX),
    }
    Ok(Control::Done)
}

fn no_evict(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    cx.session.no_evict = on_off(&args)?;
    cx.out.ok();
    Ok(Control::Done)
}

fn no_touch(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    cx.session.no_touch = on_off(&args)?;
    cx.out.ok();
    Ok(Control::Done)
}

fn on_off(args: &Args) -> Result<bool, CmdError> {
    match () {
        _ if args.is(2, "ON") => Ok(true),
        _ if args.is(2, "OFF") => Ok(false),
        _ => Err(CmdError::SYNTAX),
    }
}

fn list(_: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    const INVALID_ID: CmdError = CmdError::fixed("ERR Invalid client ID");
    let mut filter = ClientFilter::default();
    if args.len() == 4 && args.is(2, "TYPE") {
        filter.kind = Some(kind(args.at(3))?);
    } else if args.len() > 3 && args.is(2, "ID") {
        for word in args.iter().skip(3) {
            // A negative id is no client's, and neither is what it becomes.
            filter.ids.push(parse_i64(word).ok_or(INVALID_ID)? as u64);
        }
    } else if args.len() != 2 {
        return Err(CmdError::SYNTAX);
    }
    Ok(Control::Clients(ClientsRequest::List(filter)))
}

fn kill(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let mut filter = ClientFilter::default();
    if args.len() == 3 {
        filter.address = Some(args.at(2).to_vec());
        return Ok(Control::Clients(ClientsRequest::KillAddress(filter)));
    }
    let mut skip_me = true;
    let mut at = 2;
    while at < args.len() {
        let value = args.get(at + 1).ok_or(CmdError::SYNTAX)?;
        match () {
            _ if args.is(at, "ID") => filter.ids = vec![client_id(value)?],
            _ if args.is(at, "TYPE") => filter.kind = Some(kind(value)?),
            _ if args.is(at, "ADDR") => filter.address = Some(value.to_vec()),
            _ if args.is(at, "LADDR") => filter.local_address = Some(value.to_vec()),
            _ if args.is(at, "USER") => filter.user = Some(user(cx, value)?),
            _ if args.is(at, "MAXAGE") => filter.age_s_min = Some(age(value)?),
            _ if args.is(at, "SKIPME") && args.is(at + 1, "YES") => skip_me = true,
            _ if args.is(at, "SKIPME") && args.is(at + 1, "NO") => skip_me = false,
            _ => return Err(CmdError::SYNTAX),
        }
        at += 2;
    }
    filter.except = skip_me.then_some(cx.session.id);
    Ok(Control::Clients(ClientsRequest::Kill(filter)))
}

fn client_id(word: &[u8]) -> Result<u64, CmdError> {
    match parse_i64(word) {
        Some(id) if id > 0 => Ok(id as u64),
        _ => Err(CmdError::fixed("ERR client-id should be greater than 0")),
    }
}

fn age(word: &[u8]) -> Result<i64, CmdError> {
    match parse_i64(word) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        Some(_) => Err(CmdError::fixed("ERR maxage should be greater than 0")),
        None => Err(CmdError::fixed("ERR maxage is not an integer or out of range")),
    }
}

fn user(cx: &SessionCx, word: &[u8]) -> Result<Vec<u8>, CmdError> {
    match cx.env.acl.users().by_name(word) {
        Some(user) => Ok(user.name.to_vec()),
        None => Err(CmdError::err_of(&[b"No such user '", shown(word, usize::MAX), b"'"])),
    }
}

fn pause(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let all = match () {
        _ if args.len() == 3 || args.is(3, "ALL") => true,
        _ if args.is(3, "WRITE") => false,
        _ => return Err(CmdError::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = parse_i64(args.at(2))
        .ok_or(CmdError::fixed("ERR timeout is not an integer or out of range"))?;
    let until = match timeout {
        ..0 => return Err(CmdError::fixed("ERR timeout is negative")),
        0 => 0,
        _ => cx.now.checked_add(timeout).ok_or(CmdError::fixed("ERR timeout is out of range"))?,
    };
    Ok(Control::Pause { until, all })
}

fn unpause(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(Control::Unpause)
}

fn unblock(_: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let error = match () {
        _ if args.len() == 3 || args.is(3, "TIMEOUT") => false,
        _ if args.is(3, "ERROR") => true,
        _ => {
            return Err(CmdError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let client = parse_i64(args.at(2)).ok_or(CmdError::NOT_AN_INTEGER)?;
    // A negative id is no client's, and neither is what it becomes.
    Ok(Control::Clients(ClientsRequest::Unblock { client: client as u64, error }))
}

fn kind(word: &[u8]) -> Result<&'static str, CmdError> {
    const KINDS: [(&str, &str); 5] = [
        ("normal", "normal"),
        ("slave", "replica"),
        ("replica", "replica"),
        ("pubsub", "pubsub"),
        ("master", "master"),
    ];
    let found = KINDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    found
        .map(|(_, kind)| *kind)
        .ok_or_else(|| CmdError::err_of(&[b"Unknown client type '", shown(word, usize::MAX), b"'"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::control::ClientsAnswer;
    use crate::command::testing::SessionBench;
    use crate::resp::{Encoder, Protocol};
    use crate::session::{ConnectionFacts, Peer, Session};

    #[test]
    fn names_and_library_are_kept() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("client id"), ":3\r\n");
        assert_eq!(bench.run("client getname"), "$-1\r\n");
        assert_eq!(bench.run("client setname worker"), "+OK\r\n");
        assert_eq!(bench.run("client getname"), "$6\r\nworker\r\n");
        let spaced = bench.run_args(&[b"client", b"setname", b"a b"]);
        assert!(spaced.starts_with("-ERR Client names cannot contain spaces, newlines or special"));
        assert_eq!(bench.run_args(&[b"client", b"setname", b""]), "+OK\r\n");
        assert_eq!(bench.run("client getname"), "$-1\r\n");
        assert_eq!(bench.run("client setinfo lib-name redis-py"), "+OK\r\n");
        assert_eq!(bench.run("client setinfo LIB-VER 5.0"), "+OK\r\n");
        assert_eq!(bench.session.library_name, b"redis-py");
        assert_eq!(bench.session.library_version, b"5.0");
        assert_eq!(bench.run("client setinfo x y"), "-ERR Unrecognized option 'x'\r\n");
        assert_eq!(
            bench.run_args(&[b"client", b"setinfo", b"lib-Ver", b"a\nb"]),
            "-ERR lib-Ver cannot contain spaces, newlines or special characters.\r\n"
        );
    }

    #[test]
    fn modes_are_switched() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("client no-touch on"), "+OK\r\n");
        assert_eq!(bench.run("client no-evict ON"), "+OK\r\n");
        assert!(bench.session.no_touch && bench.session.no_evict);
        assert_eq!(bench.run("client no-evict off"), "+OK\r\n");
        assert!(!bench.session.no_evict);
        assert_eq!(bench.run("client no-touch maybe"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("client reply skip"), "");
        assert_eq!(bench.session.reply_mode, ReplyMode::SkipNext);
        assert_eq!(bench.run("client reply off"), "");
        assert_eq!(bench.run("client reply skip"), "");
        assert_eq!(bench.session.reply_mode, ReplyMode::Off);
        assert_eq!(bench.run("client reply on"), "+OK\r\n");
        assert_eq!(bench.run("client reply x"), "-ERR syntax error\r\n");
    }

    /// What the clients 3, 4 and 5 of ports 1003 to 1005, connected for 5 s, answer.
    fn ask(bench: &mut SessionBench, words: &str) -> (String, Vec<u64>) {
        let error = bench.run(words);
        let Control::Clients(request) = &bench.control else { return (error, vec![]) };
        let mut answers = vec![ClientsAnswer::default(); 2];
        let mut closed = Vec::new();
        for id in [5, 3, 4] {
            let peer = Peer::Tcp {
                remote: format!("127.0.0.1:{}", 1000 + id).parse().unwrap(),
                local: "127.0.0.1:6379".parse().unwrap(),
            };
            let mut session = Session::new(id, peer, &bench.env.acl.users(), bench.now - 5000);
            let answer = &mut answers[id as usize % 2];
            if request.visit(&mut session, ConnectionFacts::default, bench.now, answer) {
                closed.push(id);
            }
        }
        let mut out = Vec::new();
        request.reply(answers, &mut Encoder::new(&mut out, Protocol::Resp2));
        closed.sort();
        (String::from_utf8(out).unwrap(), closed)
    }

    fn listed(bench: &mut SessionBench, words: &str) -> Vec<String> {
        let (reply, _) = ask(bench, words);
        let ids = reply.lines().filter_map(|line| line.strip_prefix("id="));
        ids.map(|line| line.split(' ').next().unwrap().to_string()).collect()
    }

    #[test]
    fn list_selects_and_orders() {
        let mut bench = SessionBench::new();
        assert_eq!(listed(&mut bench, "client list"), ["3", "4", "5"]);
        assert_eq!(listed(&mut bench, "client list type NORMAL"), ["3", "4", "5"]);
        assert_eq!(listed(&mut bench, "client list type slave"), [""; 0]);
        assert_eq!(listed(&mut bench, "client list id 5 99 -1 3 5"), ["5", "3", "5"]);
        for (words, error) in [
            ("client list id x", "-ERR Invalid client ID\r\n"),
            ("client list id", "-ERR syntax error\r\n"),
            ("client list type foo", "-ERR Unknown client type 'foo'\r\n"),
            ("client list type normal x", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(ask(&mut bench, words).0, error);
        }
    }

    #[test]
    fn kill_closes_what_matches_all_filters() {
        let mut bench = SessionBench::new();
        for (words, reply, closed) in [
            ("client kill 127.0.0.1:1003", "+OK\r\n", &[3][..]),
            ("client kill 127.0.0.1:1", "-ERR No such client\r\n", &[]),
            ("client kill id 3", ":0\r\n", &[]),
            ("client kill id 3 skipme no", ":1\r\n", &[3]),
            ("client kill addr 127.0.0.1:1004", ":1\r\n", &[4]),
            ("client kill laddr 127.0.0.1:6379", ":2\r\n", &[4, 5]),
            ("client kill type normal skipme yes id 5", ":1\r\n", &[5]),
            ("client kill type pubsub", ":0\r\n", &[]),
            ("client kill user default skipme no", ":3\r\n", &[3, 4, 5]),
            ("client kill maxage 5", ":2\r\n", &[4, 5]),
            ("client kill maxage 6", ":0\r\n", &[]),
        ] {
            let (got, who) = ask(&mut bench, words);
            assert_eq!((got.as_str(), &who[..]), (reply, closed), "{words}");
        }
        for (words, error) in [
            ("client kill id 0 skipme no", "-ERR client-id should be greater than 0\r\n"),
            ("client kill id x skipme no", "-ERR client-id should be greater than 0\r\n"),
            ("client kill user bob skipme no", "-ERR No such user 'bob'\r\n"),
            ("client kill type x id 1", "-ERR Unknown client type 'x'\r\n"),
            ("client kill skipme maybe", "-ERR syntax error\r\n"),
            ("client kill id 3 addr", "-ERR syntax error\r\n"),
            ("client kill maxage 0 id 3", "-ERR maxage should be greater than 0\r\n"),
            ("client kill maxage x", "-ERR maxage is not an integer or out of range\r\n"),
        ] {
            assert_eq!(ask(&mut bench, words).0, error, "{words}");
        }
    }
}
