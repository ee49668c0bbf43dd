//! The subcommands: what the program does with files while no server has them, and asking a server
//! whether it serves.
//!
//! ```text
//! corelane check DIR [--repair]
//! corelane export FILE.rdb --dir DIR [--force]
//! corelane ping [--host HOST] [--port PORT] [--alive] [--tls [--cacert FILE] [--cert FILE --key FILE]]
//! ```

use super::{Invocation, Place};
use crate::error::Fatal;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What is to be done instead of serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Look through a data directory, and cut off what is damaged if that is wanted.
    Check { path: PathBuf, repair: bool, names: Names },
    /// Write what is in a data directory into one RDB file.
    Export { file: PathBuf, from: PathBuf, force: bool, names: Names },
    /// Ask a server whether it serves, or at least lives.
    Ping { host: String, port: u16, alive: bool, tls: Option<PingTls> },
}

/// How a server is asked over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PingTls {
    /// From which the server's certificate must come; without it that is not looked at.
    pub authorities: Option<PathBuf>,
    /// Certificate and key to be shown to the server.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What data are called in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub appenddirname: String,
    pub dbfilename: String,
}

/// Reads the command line of a subcommand; nothing if it is none.
pub(super) fn parse(args: &[Vec<u8>]) -> Option<Result<Invocation, Fatal>> {
    let first = args.first()?.as_slice();
    commands().iter().find(|command| command.get_name().as_bytes() == first)?;
    let words = args.iter().map(|word| OsString::from_vec(word.clone()));
    let program = Command::new("corelane").subcommand_required(true).subcommands(commands());
    let matches = program
        .disable_help_subcommand(true)
        .try_get_matches_from([OsString::from("corelane")].into_iter().chain(words));
    Some(match matches {
        Ok(matches) => match matches.subcommand() {
            Some(("check", matches)) => Ok(Invocation::Tool(check(matches))),
            Some(("ping", matches)) => Ok(Invocation::Tool(ping(matches))),
            Some((_, matches)) => Ok(Invocation::Tool(export(matches))),
            None => Ok(Invocation::Print(super::command().render_help().to_string())),
        },
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Invocation::Print(error.to_string()))
        }
        Err(error) => Err(refuse(args, &error.to_string())),
    })
}

/// The subcommands as clap knows them.
pub(super) fn commands() -> [Command; 3] {
    let names = || {
        let name = |name: &'static str, default: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("NAME").default_value(default).help(help)
        };
        [
            name("appenddirname", "appendonlydir", "The directory of the append-only files in DIR"),
            name("dbfilename", "dump.rdb", "The file of the snapshot in DIR"),
        ]
    };
    let path = |name: &'static str| Arg::new(name).value_parser(value_parser!(PathBuf));
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let check = Command::new("check")
        .about("Look through a data directory, and cut off what is damaged if that is wanted")
        .after_help(
            "Every file is read from one end to the other: checksums, values, whether all that belongs together \
             is there, and whether all commands can be replayed. DIR can also be the directory of the \
             append-only files, one of Redis, an RDB file, or an AOF. No server may run on it.\n\n\
             It ends with 0 if all is well, and with 1 if something is wrong or was repaired.",
        )
        .arg(path("DIR").required(true).help("The data directory"))
        .arg(flag("repair").help(
            "Cut append-only files to the last point at which all fit together; what is cut is told before, \
             and the files as they were are kept as *.before-repair",
        ))
        .args(names());
    let export = Command::new("export")
        .about("Write what is in a data directory into one RDB file, which redis-server loads")
        .after_help(
            "Append-only files come before snapshots, and of snapshots the later one. No server may run on DIR. \
             All keys are in memory meanwhile.",
        )
        .arg(path("FILE").required(true).help("The RDB file that is written"))
        .arg(path("dir").long("dir").value_name("DIR").required(true).help("The data directory"))
        .arg(flag("force").help("Replace FILE if it is there"))
        .args(names());
    let option = |name: &'static str, value: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_name(value).default_value(default)
    };
    let ping = Command::new("ping")
        .about("Ask a server whether it serves, for the probes of containers")
        .after_help(
            "It ends with 0 if the server answers a PING, also when that is refused for want of a password, and \
             with 1 if it does not answer within two seconds or is still loading. The environment's REDISCLI_AUTH \
             is the password to log in with: without it a server that wants one does not tell that it is loading.",
        )
        .arg(option("host", "HOST", "127.0.0.1").help("The server's host"))
        .arg(
            option("port", "PORT", "6379").help("The server's port").value_parser(value_parser!(u16)),
        )
        .arg(flag("alive").help("Any answer will do, also that it is still loading"))
        .arg(flag("tls").help("Ask over TLS; of the server's certificate nothing is looked at unless there is --cacert"))
        .args([
            path("cacert")
                .long("cacert")
                .value_name("FILE")
                .requires("tls")
                .help("Authorities of which one must have made the server's certificate; its name may be any"),
            path("cert")
                .long("cert")
                .value_name("FILE")
                .requires_all(["tls", "key"])
                .help("Certificate to show to the server, which asks for one unless tls-auth-clients is no"),
            path("key").long("key").value_name("FILE").requires("cert").help("The key to it"),
        ]);
    [check, export, ping]
}

fn ping(matches: &ArgMatches) -> Tool {
    Tool::Ping {
        host: matches.get_one::<String>("host").cloned().unwrap_or_default(),
        port: matches.get_one::<u16>("port").copied().unwrap_or_default(),
        alive: matches.get_flag("alive"),
        tls: matches.get_flag("tls").then(|| {
            let file = |id| matches.get_one::<PathBuf>(id).cloned();
            PingTls { authorities: file("cacert"), own: file("cert").zip(file("key")) }
        }),
    }
}

fn names(matches: &ArgMatches) -> Names {
    let name = |id| matches.get_one::<String>(id).cloned().unwrap_or_default();
    Names { appenddirname: name("appenddirname"), dbfilename: name("dbfilename") }
}

fn path(matches: &ArgMatches, id: &str) -> PathBuf {
    matches.get_one::<PathBuf>(id).cloned().unwrap_or_default()
}

fn check(matches: &ArgMatches) -> Tool {
    Tool::Check {
        path: path(matches, "DIR"),
        repair: matches.get_flag("repair"),
        names: names(matches),
    }
}

fn export(matches: &ArgMatches) -> Tool {
    Tool::Export {
        file: path(matches, "FILE"),
        from: path(matches, "dir"),
        force: matches.get_flag("force"),
        names: names(matches),
    }
}

fn refuse(args: &[Vec<u8>], text: &str) -> Fatal {
    let words: Vec<_> = args.iter().map(|word| String::from_utf8_lossy(word)).collect();
    let problem = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let problem: Vec<&str> = problem.map(str::trim).filter(|line| !line.is_empty()).collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    Fatal::Config {
        place: Place::CommandLine.to_string(),
        directive: words.join(" "),
        problem: problem.join(" ").trim_start_matches("error: ").to_string(),
        way_out: usage.map(|usage| format!("usage: {usage}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Invocation, String> {
        let args: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        parse(&args).expect("it is a subcommand").map_err(|fatal| fatal.to_string())
    }

    fn tool(line: &str) -> Tool {
        match run(line) {
            Ok(Invocation::Tool(tool)) => tool,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn subcommands_and_their_options() {
        let names = |appenddirname: &str, dbfilename: &str| Names {
            appenddirname: appenddirname.to_string(),
            dbfilename: dbfilename.to_string(),
        };
        let usual = names("appendonlydir", "dump.rdb");
        let check = |repair| Tool::Check { path: "/d".into(), repair, names: usual.clone() };
        assert_eq!(tool("check /d"), check(false));
        assert_eq!(tool("check --repair /d"), check(true));
        let export = Tool::Export {
            file: "x.rdb".into(),
            from: "/d".into(),
            force: true,
            names: names("aof", "y"),
        };
        let ping = |port, alive| Tool::Ping { host: "127.0.0.1".into(), port, alive, tls: None };
        assert_eq!(tool("ping"), ping(6379, false));
        assert_eq!(tool("ping --alive --port 7000"), ping(7000, true));
        let over_tls = |line| match tool(line) {
            Tool::Ping { tls, .. } => tls,
            other => panic!("{other:?}"),
        };
        assert_eq!(over_tls("ping --tls"), Some(PingTls::default()));
        let (authorities, own) = (Some("ca".into()), Some(("c".into(), "k".into())));
        let line = "ping --tls --cacert ca --cert c --key k";
        assert_eq!(over_tls(line), Some(PingTls { authorities, own }));
        let line = "export x.rdb --dir /d --force --appenddirname aof --dbfilename y";
        assert_eq!(tool(line), export);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_usage() {
        for line in [
            "check",
            "check a b",
            "check a --fix",
            "export x.rdb",
            "export --dir /d",
            "ping --cert c",
        ] {
            let error = run(line).unwrap_err();
            let start = format!("configuration error at the command line: `{line}`: ");
            assert!(error.starts_with(&start) && error.contains("\n  usage: corelane "), "{error}");
        }
        assert!(
            matches!(run("check --help"), Ok(Invocation::Print(text)) if text.contains("--repair"))
        );
        for other in [&["redis.conf"][..], &["--check"], &[]] {
            let args: Vec<Vec<u8>> = other.iter().map(|word| word.as_bytes().to_vec()).collect();
            assert!(parse(&args).is_none());
        }
    }
}
