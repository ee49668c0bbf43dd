//! Who the client is and how it wants to be spoken to: HELLO, AUTH, SELECT, PING, ...
//!
//! A client is the user `default` until it says that it is another one (see [`crate::acl`]).

use super::control::{Control, SessionCx};
use super::spec::*;
use crate::acl::Hash;
use crate::config::ClusterMode;
use crate::data::number::parse_i64;
use crate::error::{CmdError, shown};
use crate::resp::{Args, Protocol};

/// The Redis version whose behaviour clients get.
pub const REDIS_VERSION: &str = "7.2.4";

/// Flags of what a client may say at any time, also before it is authenticated.
const ALWAYS: Flags = NOSCRIPT.with(LOADING).with(STALE).with(FAST).with(NO_AUTH).with(ALLOW_BUSY);

pub const COMMANDS: &[Command] = &[
    session("auth", -2, ALWAYS, auth)
        .doc(Group::Connection, "1.0.0", "O(1)", "[username] password", "Logs the connection in.")
        .secrets(|args, indexes| indexes.extend(1..args.len() as u32)),
    session("echo", 2, LOADING.with(STALE).with(FAST), echo).doc(
        Group::Connection,
        "1.0.0",
        "O(1)",
        "message",
        "Answers the message.",
    ),
    session("hello", -1, ALWAYS, hello)
        .doc(
            Group::Connection,
            "6.0.0",
            "O(1)",
            "[protover [AUTH username password] [SETNAME clientname]]",
            "Chooses the protocol of the connection, and logs in and names it on the way.",
        )
        .secrets(|args, indexes| {
            let words = (2..args.len()).filter(|&at| args.is(at, "AUTH") && at + 2 < args.len());
            words.for_each(|at| indexes.extend([at as u32 + 1, at as u32 + 2]));
        }),
    session("ping", -1, FAST.with(SUBSCRIBED).with(NEEDS_DISK), ping)
        .doc(
            Group::Connection,
            "1.0.0",
            "O(1)",
            "[message]",
            "Answers PONG or the message: the server is alive.",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    session("quit", -1, ALWAYS.with(SUBSCRIBED), quit)
        .in_multi(InMulti::Runs)
        .doc(Group::Connection, "1.0.0", "O(1)", "", "Closes the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    session("reset", 1, ALWAYS.with(SUBSCRIBED), reset).in_multi(InMulti::Runs).doc(
        Group::Connection,
        "6.2.0",
        "O(1)",
        "",
        "Brings the connection back to the state of a new one.",
    ),
    session("select", 2, LOADING.with(STALE).with(FAST), select).doc(
        Group::Connection,
        "1.0.0",
        "O(1)",
        "index",
        "Chooses the database of the connection.",
    ),
];

fn auth(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let (user, password) = match args.len() {
        2 if cx.env.acl.users().default_user().needs_no_password() => {
            return Err(CmdError::fixed(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(CmdError::SYNTAX),
    };
    log_in(cx, user, password)?;
    cx.out.ok();
    Ok(Control::Done)
}

/// Logs a client in as a user. A password is hashed also for a user that does not exist, so that the
/// time tells nothing of who does.
fn log_in(cx: &mut SessionCx, name: &[u8], password: &[u8]) -> Result<(), CmdError> {
    const WRONG: CmdError =
        CmdError::fixed("WRONGPASS invalid username-password pair or user is disabled.");
    let users = cx.env.acl.users();
    let password = Hash::of(password);
    match users.by_name(name).filter(|user| user.accepts(&password)) {
        Some(user) => {
            cx.session.log_in(user.clone(), &users);
            Ok(())
        }
        None => {
            cx.stats().auth_failures.add(1);
            cx.refused_as = Some(name.to_vec());
            Err(WRONG)
        }
    }
}

fn echo(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    cx.out.bulk(args.at(1));
    Ok(Control::Done)
}

fn hello(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    const NOT_A_VERSION: CmdError =
        CmdError::fixed("ERR Protocol version is not an integer or out of range");
    const NO_AUTH: CmdError = CmdError::fixed(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
         <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
         RESP protocol version at the same time",
    );
    let protocol = match args.get(1) {
        None => cx.session.protocol,
        Some(version) => match parse_i64(version).ok_or(NOT_A_VERSION)? {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CmdError::fixed("NOPROTO unsupported protocol version")),
        },
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let more = args.len() - at - 1;
        if args.is(at, "AUTH") && more >= 2 {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && more >= 1 {
            name = Some(args.at(at + 1));
            valid_name(args.at(at + 1))?;
            at += 2;
        } else {
            let option = shown(args.at(at), usize::MAX);
            return Err(CmdError::err_of(&[b"Syntax error in HELLO option '", option, b"'"]));
        }
    }
    if let Some((user, password)) = credentials {
        log_in(cx, user, password)?;
    }
    if !cx.session.is_authenticated() {
        return Err(NO_AUTH);
    }
    if let Some(name) = name {
        cx.session.name = name.to_vec();
    }
    cx.session.protocol = protocol;
    cx.out.protocol = protocol;
    greet(cx);
    Ok(Control::Done)
}

fn greet(cx: &mut SessionCx) {
    let mode = match cx.env.config().cluster_mode {
        ClusterMode::Emulated => "cluster",
        ClusterMode::No => "standalone",
    };
    let (protocol, id) = (cx.session.protocol.number(), cx.session.id as i64);
    let out = &mut cx.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(protocol);
    out.bulk(b"id");
    out.int(id);
    out.bulk(b"mode");
    out.bulk(mode.as_bytes());
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
}

/// Refuses a client name that would break the format of CLIENT LIST.
pub fn valid_name(name: &[u8]) -> Result<(), CmdError> {
    match printable(name) {
        true => Ok(()),
        false => Err(CmdError::fixed(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        )),
    }
}

/// Whether a text is of visible ASCII characters alone.
pub fn printable(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

fn ping(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let listens = cx.session.is_subscriber() && cx.session.protocol == Protocol::Resp2;
    match (args.len(), args.get(1)) {
        // Whoever listens expects something like a message.
        (1 | 2, message) if listens => {
            cx.out.array(2);
            cx.out.bulk(b"pong");
            cx.out.bulk(message.unwrap_or_default());
        }
        (1, _) => cx.out.simple("PONG"),
        (2, Some(message)) => cx.out.bulk(message),
        _ => return Err(CmdError::wrong_arity(cx.name)),
    }
    Ok(Control::Done)
}

fn quit(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.ok();
    Ok(Control::Close)
}

fn reset(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.session.reset(&cx.env.acl.users());
    cx.out.protocol = cx.session.protocol;
    cx.out.simple("RESET");
    Ok(Control::Reset)
}

fn select(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let index = parse_i64(args.at(1)).ok_or(CmdError::NOT_AN_INTEGER)?;
    if i32::try_from(index).is_err() {
        return Err(CmdError::fixed(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let databases = i64::from(cx.env.config().databases);
    if !(0..databases).contains(&index) {
        return Err(CmdError::DB_INDEX);
    }
    cx.session.db = index as usize;
    cx.out.ok();
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;

    #[test]
    fn hello_chooses_the_protocol_and_greets() {
        let mut bench = SessionBench::new();
        let head = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n";
        let tail = "$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
                    $7\r\nmodules\r\n*0\r\n";
        assert_eq!(bench.run("HELLO"), format!("*14\r\n{head}:2\r\n{tail}"));
        assert_eq!(bench.run("hello 3 SETNAME me"), format!("%7\r\n{head}:3\r\n{tail}"));
        assert_eq!(bench.session.name, b"me");
        bench.configure("cluster-mode", "emulated");
        assert!(bench.run("hello 2").contains("$7\r\ncluster\r\n"));
        assert_eq!(bench.session.protocol, Protocol::Resp2);
    }

    #[test]
    fn a_wrong_hello_changes_nothing() {
        let mut bench = SessionBench::new();
        for (words, error) in [
            ("hello x", "-ERR Protocol version is not an integer or out of range"),
            ("hello 4", "-NOPROTO unsupported protocol version"),
            ("hello 3 setname", "-ERR Syntax error in HELLO option 'setname'"),
            ("hello 3 auth a", "-ERR Syntax error in HELLO option 'auth'"),
            (
                "hello 3 auth bob x",
                "-WRONGPASS invalid username-password pair or user is disabled.",
            ),
        ] {
            assert_eq!(bench.run(words), format!("{error}\r\n"));
        }
        let spaced = bench.run_args(&[b"hello", b"3", b"setname", b"a b"]);
        assert_eq!(
            spaced,
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
        );
        assert_eq!(bench.session.protocol, Protocol::Resp2);
        bench.configure("requirepass", "secret");
        bench.session.reset(&bench.env.acl.users());
        assert!(bench.run("hello 3").starts_with("-NOAUTH HELLO must be called with"));
        assert!(bench.run("hello 3 auth default no").starts_with("-WRONGPASS "));
        assert_eq!(bench.session.protocol, Protocol::Resp2);
        assert!(bench.run("hello 3 auth default secret").starts_with("%7"));
        assert!(bench.session.is_authenticated());
    }

    #[test]
    fn auth_knows_the_default_user() {
        let mut bench = SessionBench::new();
        assert!(
            bench.run("auth x").starts_with("-ERR AUTH <password> called without any password ")
        );
        assert_eq!(bench.run("auth default anything"), "+OK\r\n");
        assert_eq!(bench.run("auth a b c"), "-ERR syntax error\r\n");
        bench.configure("requirepass", "secret");
        bench.session.reset(&bench.env.acl.users());
        for wrong in ["auth secre", "auth secretsecret", "auth root secret", "auth default x"] {
            assert!(bench.run(wrong).starts_with("-WRONGPASS "), "{wrong}");
            assert!(!bench.session.is_authenticated());
        }
        assert_eq!(bench.env.stats[0].auth_failures.get(), 4);
        assert_eq!(bench.run("auth secret"), "+OK\r\n");
        assert!(bench.session.is_authenticated());
    }

    #[test]
    fn reset_makes_a_new_client() {
        let mut bench = SessionBench::new();
        bench.run("hello 3 setname me");
        assert_eq!(bench.run("select 7"), "+OK\r\n");
        assert_eq!(bench.run("reset"), "+RESET\r\n");
        assert_eq!((bench.session.db, bench.session.protocol), (0, Protocol::Resp2));
        assert!(bench.session.name.is_empty() && bench.session.is_authenticated());
        bench.configure("requirepass", "secret");
        bench.run("reset");
        assert!(!bench.session.is_authenticated());
    }

    #[test]
    fn ping_echo_select_quit() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("ping"), "+PONG\r\n");
        assert_eq!(bench.run("ping hi"), "$2\r\nhi\r\n");
        assert_eq!(bench.run("ping a b"), "-ERR wrong number of arguments for 'ping' command\r\n");
        assert_eq!(bench.run("echo hi"), "$2\r\nhi\r\n");
        assert_eq!(bench.run("select 16"), "-ERR DB index is out of range\r\n");
        assert_eq!(bench.run("select -1"), "-ERR DB index is out of range\r\n");
        assert_eq!(bench.run("select x"), "-ERR value is not an integer or out of range\r\n");
        assert!(
            bench.run("select 2147483648").starts_with("-ERR value is out of range, value must")
        );
        assert_eq!(bench.run("quit"), "+OK\r\n");
        assert!(matches!(bench.control, Control::Close));
    }
}
