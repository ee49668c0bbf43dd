//! FUNCTION, FCALL: libraries of functions. `net` runs the functions, as it does scripts.

use super::control::{Control, SessionCx};
use super::help::help;
use super::script::{answer_kill, busy_with, reads, runs};
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::resp::Protocol;
use crate::script::{Host, Interpreter, Library, LogLevel, RestorePolicy, Store, Tick, log_line};
use std::sync::Arc;

const CHANGES: Flags = NOSCRIPT.with(WRITE);
const ADDS: Flags = CHANGES.with(DENYOOM);
const ALL_SUCCEEDED: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

pub const COMMANDS: &[Command] = &[
    runs("fcall", ScriptName::Function, "7.0.0"),
    reads("fcall_ro", ScriptName::Function),
    container(
        "function",
        -2,
        &[
            session("function|load", -3, ADDS, load).tips(ALL_SUCCEEDED).doc(
                Group::Scripting,
                "7.0.0",
                "O(1)",
                "[REPLACE] function-code",
                "Adds a library.",
            ),
            session("function|delete", 3, CHANGES, delete).tips(ALL_SUCCEEDED).doc(
                Group::Scripting,
                "7.0.0",
                "O(1)",
                "library-name",
                "Takes a library away with its functions.",
            ),
            session("function|list", -2, NOSCRIPT, list)
                .tips(&["nondeterministic_output_order"])
                .doc(
                    Group::Scripting,
                    "7.0.0",
                    "O(N) where N is the number of functions.",
                    "[LIBRARYNAME library-name-pattern] [WITHCODE]",
                    "Tells what libraries there are.",
                ),
            session("function|stats", 2, NOSCRIPT.with(ALLOW_BUSY), stats)
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ])
                .doc(
                    Group::Scripting,
                    "7.0.0",
                    "O(1)",
                    "",
                    "Tells which function runs, and how many there are.",
                ),
            session("function|kill", 2, NOSCRIPT.with(ALLOW_BUSY), kill)
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .doc(
                    Group::Scripting,
                    "7.0.0",
                    "O(1)",
                    "",
                    "Ends a function that runs for long and has not written.",
                ),
            session("function|flush", -2, CHANGES, flush).tips(ALL_SUCCEEDED).doc(
                Group::Scripting,
                "7.0.0",
                "O(N) where N is the number of functions.",
                "[ASYNC | SYNC]",
                "Takes all libraries away.",
            ),
            session("function|dump", 2, NOSCRIPT, dump).doc(
                Group::Scripting,
                "7.0.0",
                "O(N) where N is the number of functions.",
                "",
                "Gives all libraries in Redis' format.",
            ),
            session("function|restore", -3, ADDS, restore).tips(ALL_SUCCEEDED).doc(
                Group::Scripting,
                "7.0.0",
                "O(N) where N is the number of functions in the payload.",
                "serialized-value [FLUSH | APPEND | REPLACE]",
                "Adds the libraries that FUNCTION DUMP gave.",
            ),
            session("function|help", 2, LOADING.with(STALE), function_help).doc(
                Group::Scripting,
                "7.0.0",
                "O(1)",
                "",
                "Lists the subcommands of FUNCTION.",
            ),
        ],
    )
    .doc(Group::Scripting, "7.0.0", "Depends on subcommand.", "", "Looks after libraries."),
];

/// What a library may ask of the server while it is loaded: nothing but a line in the log.
struct Loading;

impl Host for Loading {
    fn call(&mut self, _: &[&[u8]], _: Protocol, out: &mut Vec<u8>) -> Tick {
        out.extend_from_slice(
            b"-ERR redis.call/pcall can only be called inside a script invocation\r\n",
        );
        Tick::GoOn
    }

    fn tick(&mut self) -> Tick {
        Tick::GoOn
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log_line(level, message);
    }

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn set_repl(&mut self, _: u8) {}
}

/// FUNCTION LOAD: of the whole server, as the other three.
pub fn load_library(scripts: &Store, args: &Args) -> Result<Arc<Library>, CmdError> {
    let last = args.len() - 1;
    if let Some(word) = (2..last).find(|&at| !args.is(at, "replace")) {
        return Err(CmdError::err_of(&[b"Unknown option given: ", args.at(word)]));
    }
    let mut interpreter = Interpreter::new().map_err(CmdError::err)?;
    let replace = last > 2;
    scripts.change_libraries(|libraries| {
        libraries.load(args.at(last), replace, &mut interpreter, &mut Loading)
    })
}

/// FUNCTION DELETE.
pub fn delete_library(scripts: &Store, args: &Args) -> Result<(), CmdError> {
    scripts.change_libraries(|libraries| libraries.delete(args.at(2)))
}

/// FUNCTION FLUSH.
pub fn flush_libraries(scripts: &Store) -> Result<(), CmdError> {
    scripts.change_libraries(|libraries| {
        libraries.flush();
        Ok(())
    })
}

/// FUNCTION RESTORE.
pub fn restore_libraries(scripts: &Store, args: &Args) -> Result<(), CmdError> {
    let policy = match args.len() {
        3 => RestorePolicy::Append,
        _ if args.is(3, "append") => RestorePolicy::Append,
        _ if args.is(3, "replace") => RestorePolicy::Replace,
        _ if args.is(3, "flush") => RestorePolicy::Flush,
        _ => {
            return Err(CmdError::fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    restore_payload(scripts, args.at(2), policy)
}

/// Adds the libraries of a payload, without a limit of time for each.
pub fn restore_payload(
    scripts: &Store,
    payload: &[u8],
    policy: RestorePolicy,
) -> Result<(), CmdError> {
    let mut interpreter = Interpreter::new().map_err(CmdError::err)?;
    scripts.change_libraries(|libraries| {
        libraries.restore(payload, policy, &mut interpreter, &mut Loading)
    })
}

fn load(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let library = load_library(&cx.env.scripts, &args)?;
    cx.out.bulk(&library.name);
    Ok(Control::Done)
}

fn delete(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    delete_library(&cx.env.scripts, &args)?;
    cx.out.ok();
    Ok(Control::Done)
}

fn list(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < args.len() {
        if !with_code && args.is(at, "withcode") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "libraryname") {
            at += 1;
            let text = CmdError::fixed("ERR library name argument was not given");
            pattern = Some(args.get(at).ok_or(text)?);
        } else {
            return Err(CmdError::err_of(&[b"Unknown argument ", args.at(at)]));
        }
        at += 1;
    }
    cx.env.scripts.libraries().list(pattern, with_code, &mut cx.out);
    Ok(Control::Done)
}

fn stats(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let running = cx.env.slow_scripts.list().into_iter().next();
    cx.out.map(2);
    cx.out.bulk(b"running_script");
    match running {
        None => cx.out.null(),
        Some(script) => {
            let Some(name) = script.function else { return Err(busy_with(false)) };
            cx.out.map(3);
            cx.out.bulk(b"name");
            cx.out.bulk(&name);
            cx.out.bulk(b"command");
            cx.out.array(script.command.len());
            script.command.iter().for_each(|word| cx.out.bulk(word));
            cx.out.bulk(b"duration_ms");
            cx.out.int(script.running_for as i64);
        }
    }
    cx.out.bulk(b"engines");
    cx.env.scripts.libraries().stats(&mut cx.out);
    Ok(Control::Done)
}

fn kill(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    answer_kill(cx, true)
}

fn flush(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let known = args.len() == 2 || (args.len() == 3 && (args.is(2, "async") || args.is(2, "sync")));
    if args.len() > 3 {
        return Err(cx.env.registry.wrong_words(&args));
    }
    if !known {
        return Err(CmdError::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    flush_libraries(&cx.env.scripts)?;
    cx.out.ok();
    Ok(Control::Done)
}

fn dump(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.bulk(&cx.env.scripts.libraries().dump());
    Ok(Control::Done)
}

fn restore(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    if args.len() > 4 {
        return Err(cx.env.registry.wrong_words(&args));
    }
    restore_libraries(&cx.env.scripts, &args)?;
    cx.out.ok();
    Ok(Control::Done)
}

fn function_help(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    help(
        &mut cx.out,
        "FUNCTION",
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Add a library, in place of one with its name if that is wanted.",
            "DELETE <LIBRARY NAME>",
            "    Take a library away.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Tell the libraries and their functions.",
            "STATS",
            "    Tell which function runs for long, and how many there are.",
            "KILL",
            "    End the function that runs for long, unless it has written.",
            "FLUSH [ASYNC|SYNC]",
            "    Take all libraries away.",
            "DUMP",
            "    Give all libraries in a form for RESTORE.",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Add the libraries of a payload: in place of all, if none is there yet (the default),",
            "    or in place of those with the same names.",
        ],
    );
    Ok(Control::Done)
}
