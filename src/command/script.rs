//! EVAL and its kin, SCRIPT: which scripts there are.
//!
//! Scripts run other commands, so it is `net` that runs them: here are the rows, and what SCRIPT
//! does with those that the server keeps.

use super::control::{Control, SessionCx};
use super::help::help;
use super::registry::Registry;
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::script::{Interpreter, KeyRule, Killed, Sha};

const RUNS: Flags = NOSCRIPT.with(SKIP_MONITOR).with(NO_MANDATORY_KEYS).with(STALE);
const KEYS: &[KeySpec] = &[declared(RW_ACCESS_UPDATE)];
const KEYS_RO: &[KeySpec] = &[declared(RO_ACCESS)];

const fn declared(flags: &'static [&'static str]) -> KeySpec {
    let find = Find::Count { count_at: 0, first: 1, step: 1 };
    KeySpec { flags, begin: Begin::Index(2), find }
}

pub(super) const fn runs(name: &'static str, named_by: ScriptName, since: &'static str) -> Command {
    script(name, RUNS.with(MAY_REPLICATE), KEYS, ScriptCall { named_by, read_only: false }, since)
}

pub(super) const fn reads(name: &'static str, named_by: ScriptName) -> Command {
    script(name, RUNS.with(READONLY), KEYS_RO, ScriptCall { named_by, read_only: true }, "7.0.0")
}

const fn script(
    name: &'static str,
    flags: Flags,
    keys: &'static [KeySpec],
    call: ScriptCall,
    since: &'static str,
) -> Command {
    let (complexity, syntax, summary) = match call.named_by {
        ScriptName::Body => (
            "Depends on the script.",
            "script numkeys [key [key ...]] [arg [arg ...]]",
            "Runs a Lua script.",
        ),
        ScriptName::Sha => (
            "Depends on the script.",
            "sha1 numkeys [key [key ...]] [arg [arg ...]]",
            "Runs a Lua script that the server knows.",
        ),
        ScriptName::Function => (
            "Depends on the function.",
            "function numkeys [key [key ...]] [arg [arg ...]]",
            "Runs a function of a library.",
        ),
    };
    let mut command = super::spec::shard(name, -3, flags, keys, no_handler);
    command.run = Run::Script(call);
    command.doc(Group::Scripting, since, complexity, syntax, summary)
}

pub const COMMANDS: &[Command] = &[
    runs("eval", ScriptName::Body, "2.6.0"),
    runs("evalsha", ScriptName::Sha, "2.6.0"),
    reads("eval_ro", ScriptName::Body),
    reads("evalsha_ro", ScriptName::Sha),
    container(
        "script",
        -2,
        &[
            session("script|load", 3, NOSCRIPT.with(STALE), load)
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .doc(
                    Group::Scripting,
                    "2.6.0",
                    "O(N) where N is the length of the script in bytes.",
                    "script",
                    "Has the server know a script.",
                ),
            session("script|exists", -3, NOSCRIPT, exists)
                .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
                .doc(
                    Group::Scripting,
                    "2.6.0",
                    "O(N) where N is the number of scripts that are asked for.",
                    "sha1 [sha1 ...]",
                    "Tells which scripts the server knows.",
                ),
            session("script|flush", -2, NOSCRIPT, flush)
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .doc(
                    Group::Scripting,
                    "2.6.0",
                    "O(N) where N is the number of scripts.",
                    "[ASYNC | SYNC]",
                    "Forgets all scripts.",
                ),
            session("script|kill", 2, NOSCRIPT.with(ALLOW_BUSY), kill)
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .doc(
                    Group::Scripting,
                    "2.6.0",
                    "O(1)",
                    "",
                    "Ends a script that runs for long and has not written.",
                ),
            session("script|show", 3, NOSCRIPT, show).doc(
                Group::Scripting,
                "8.0.0",
                "O(1)",
                "sha1",
                "Shows a script that the server knows.",
            ),
            session("script|debug", 3, NOSCRIPT, debug).doc(
                Group::Scripting,
                "3.2.0",
                "O(1)",
                "<YES | SYNC | NO>",
                "Would debug the scripts of this client; there is no debugger here.",
            ),
            session("script|help", 2, LOADING.with(STALE), script_help).doc(
                Group::Scripting,
                "5.0.0",
                "O(1)",
                "",
                "Lists the subcommands of SCRIPT.",
            ),
        ],
    )
    .doc(Group::Scripting, "2.6.0", "Depends on subcommand.", "", "Looks after scripts."),
];

/// The error reply to one who names a script that is not known.
pub const NO_SCRIPT: CmdError = CmdError::fixed("NOSCRIPT No matching script. Please use EVAL.");

fn load(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let body = args.at(2);
    let sha = Sha::of(body);
    if cx.env.scripts.body(&sha).is_none() {
        Interpreter::new().map_err(CmdError::err)?.load(&sha, body)?;
    }
    cx.env.scripts.keep(sha, body, true);
    cx.out.bulk(&sha.hex());
    Ok(Control::Done)
}

fn exists(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    cx.out.array(args.len() - 2);
    for word in args.iter().skip(2) {
        let known = Sha::parse(word).is_some_and(|sha| cx.env.scripts.body(&sha).is_some());
        cx.out.int(i64::from(known));
    }
    Ok(Control::Done)
}

fn flush(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let known = args.len() == 2 || (args.len() == 3 && (args.is(2, "async") || args.is(2, "sync")));
    if !known {
        return Err(CmdError::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.env.scripts.flush();
    cx.out.ok();
    Ok(Control::Done)
}

fn kill(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    answer_kill(cx, false)
}

/// Ends what runs for long, scripts or functions.
pub(super) fn answer_kill(cx: &mut SessionCx, functions: bool) -> Result<Control, CmdError> {
    match cx.env.slow_scripts.kill(functions) {
        Killed::Yes => cx.out.ok(),
        Killed::NoneRuns => {
            return Err(CmdError::fixed("NOTBUSY No scripts in execution right now."));
        }
        Killed::OtherKind => return Err(busy_with(!functions)),
        Killed::Unkillable => {
            return Err(CmdError::fixed(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. \
                 You can either wait the script termination or kill the server in a hard way using \
                 the SHUTDOWN NOSAVE command.",
            ));
        }
    }
    Ok(Control::Done)
}

/// The error reply to requests that meet a script, or a function, that runs for long.
pub fn busy_with(function: bool) -> CmdError {
    match function {
        true => CmdError::fixed(
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN \
             NOSAVE.",
        ),
        false => CmdError::fixed(
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        ),
    }
}

fn show(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let body = Sha::parse(args.at(2)).and_then(|sha| cx.env.scripts.body(&sha));
    cx.out.bulk(&body.ok_or(NO_SCRIPT)?);
    Ok(Control::Done)
}

fn debug(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    if args.is(2, "no") {
        cx.out.ok();
        return Ok(Control::Done);
    }
    if args.is(2, "yes") || args.is(2, "sync") {
        return Err(CmdError::fixed("ERR The Lua debugger is not supported"));
    }
    Err(CmdError::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn script_help(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    help(
        &mut cx.out,
        "SCRIPT",
        &[
            "EXISTS <sha1> [<sha1> ...]",
            "    Tell which of the scripts are known.",
            "FLUSH [ASYNC|SYNC]",
            "    Forget all scripts.",
            "KILL",
            "    End the script that runs for long, unless it has written.",
            "LOAD <script>",
            "    Make a script known without running it.",
            "SHOW <sha1>",
            "    Show the text of a script.",
        ],
    );
    Ok(Control::Done)
}

/// The keys that a script is given, and its other arguments.
pub fn split_script_args<'a>(
    args: &Args<'a>,
    function: bool,
) -> Result<(Args<'a>, Args<'a>), CmdError> {
    let keys = super::number::integer(args.at(2)).map_err(|error| match function {
        true => CmdError::fixed("ERR Bad number of keys provided"),
        false => error,
    })?;
    if keys > args.len() as i64 - 3 {
        return Err(CmdError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let end = usize::try_from(keys)
        .map_err(|_| CmdError::fixed("ERR Number of keys can't be negative"))?
        + 3;
    Ok((args.range(3, end), args.from(end)))
}

impl Registry {
    /// Where the keys of a command are, for who reads scripts without running them. Unsure when it may
    /// use others, or what other shards know.
    pub fn key_rule(&self, name: &[u8]) -> KeyRule {
        let Some(id) = self.by_name(name) else { return KeyRule::None };
        let command = self.command(id);
        let local = matches!(command.run, Run::Shard(_))
            && matches!(command.spread, Spread::OneShard | Spread::PerKey { .. });
        let plain = command.unnamed_keys.is_none()
            && command.find_keys.is_none()
            && command.routes.is_empty()
            && !command.flags.has(PUBSUB);
        match command.run {
            Run::Session(_) => return KeyRule::None,
            _ if !local || !plain => return KeyRule::Unsure,
            _ => {}
        }
        let mut all: Option<(i32, i32, i32)> = None;
        for spec in command.keys {
            let (Begin::Index(first), Find::Range { last, step, limit: 0 }) =
                (spec.begin, spec.find)
            else {
                return KeyRule::Unsure;
            };
            let last = if last >= 0 { first + last } else { last };
            all = match all {
                None => Some((first, last, step)),
                Some((from, to, 1)) if to + 1 == first && last == first => Some((from, last, 1)),
                Some(_) => return KeyRule::Unsure,
            };
        }
        let Some((first, last, step)) = all else { return KeyRule::None };
        let (first, step) = (first.unsigned_abs() as usize, step.unsigned_abs() as usize);
        KeyRule::Range { first, last: last as isize, step }
    }
}
