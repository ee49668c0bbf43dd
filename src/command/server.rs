//! The server as a whole: CONFIG, TIME, ROLE, SHUTDOWN, MODULE LIST, LOLWUT.
//!
//! Absent: replication (ROLE is always master), modules, anything on disk: SHUTDOWN SAVE is refused.

use super::connection::REDIS_VERSION;
use super::control::{Control, SessionCx};
use super::introspect::help;
use super::spec::*;
use crate::clock;
use crate::config;
use crate::data::glob;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::Args;

pub const COMMANDS: &[Command] = &[
    container("config", -2, CONFIG).doc(
        Group::Server,
        "2.0.0",
        "Depends on subcommand.",
        "",
        "Commands about the configuration.",
    ),
    session("lolwut", -1, READONLY.with(FAST), lolwut).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "[VERSION version]",
        "Draws a picture and tells the version.",
    ),
    session("monitor", 1, ADMIN_ONLY, monitor).doc(
        Group::Server,
        "1.0.0",
        "",
        "",
        "Shows the client what all clients do, as it happens.",
    ),
    container("module", -2, MODULE).doc(
        Group::Server,
        "4.0.0",
        "Depends on subcommand.",
        "",
        "Commands about modules.",
    ),
    session("role", 1, NOSCRIPT.with(LOADING).with(STALE).with(FAST), role)
        .doc(Group::Server, "2.8.12", "O(1)", "", "Tells the role in replication.")
        .categories(&["admin", "dangerous"]),
    session("shutdown", -1, ADMIN_ONLY.with(NO_MULTI).with(ALLOW_BUSY), shutdown).doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        "Stops the server.",
    ),
    session("time", 1, LOADING.with(STALE).with(FAST), time)
        .doc(Group::Server, "2.6.0", "O(1)", "", "Answers the time: seconds and microseconds.")
        .tips(&["nondeterministic_output"]),
];

const ADMIN_ONLY: Flags = ADMIN.with(NOSCRIPT).with(LOADING).with(STALE);
const ON_EVERY_NODE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const CONFIG: &[Command] = &[
    session("config|get", -3, ADMIN_ONLY, config_get).doc(
        Group::Server,
        "2.0.0",
        "O(N) where N is the number of options, times the number of patterns",
        "parameter [parameter ...]",
        "Answers the options whose names match, with their values.",
    ),
    session("config|help", 2, LOADING.with(STALE), help).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("config|resetstat", 2, ADMIN_ONLY, config_resetstat)
        .doc(Group::Server, "2.0.0", "O(1)", "", "Sets the counters of INFO back to zero.")
        .tips(ON_EVERY_NODE),
    session("config|rewrite", 2, ADMIN_ONLY, config_rewrite)
        .doc(Group::Server, "2.8.0", "O(1)", "", "Writes the options back into their file.")
        .tips(ON_EVERY_NODE),
    session("config|set", -4, ADMIN_ONLY, config_set)
        .doc(
            Group::Server,
            "2.0.0",
            "O(N) where N is the number of options given",
            "parameter value [parameter value ...]",
            "Changes options, all of them or none.",
        )
        .tips(ON_EVERY_NODE)
        .secrets(|args, indexes| {
            let names = (2..args.len().saturating_sub(1)).step_by(2);
            let is_secret =
                |&at: &usize| config::find(args.at(at)).is_some_and(|row| row.sensitive);
            indexes.extend(names.filter(is_secret).map(|at| at as u32 + 1));
        }),
];

const MODULE: &[Command] = &[
    session("module|help", 2, LOADING.with(STALE), help).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("module|list", 2, ADMIN.with(NOSCRIPT), module_list)
        .doc(Group::Server, "4.0.0", "O(1)", "", "Lists the modules: there are none.")
        .tips(&["nondeterministic_output_order"]),
];

fn config_get(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
    let matcher = |pattern: &[u8], name: &str| glob::matches(pattern, name.as_bytes());
    let found = cx.env.config().get(&patterns, matcher);
    cx.out.map(found.len());
    for (name, value) in found {
        cx.out.bulk(&name);
        cx.out.bulk(&value);
    }
    Ok(Control::Done)
}

fn config_set(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    if !args.len().is_multiple_of(2) {
        return Err(CmdError::SYNTAX);
    }
    let pair = |at: usize| (args.at(at).to_vec(), args.at(at + 1).to_vec());
    let pairs: Vec<_> = (2..args.len()).step_by(2).map(pair).collect();
    cx.env.reconfigure(&pairs, cx.session.peer.is_local())?;
    Ok(Control::Reconfigured)
}

fn config_resetstat(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(Control::ResetStats)
}

fn config_rewrite(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    match cx.env.config().file() {
        Some(_) => Ok(Control::RewriteConfig),
        None => Err(CmdError::fixed("ERR The server is running without a config file")),
    }
}

fn module_list(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.array(0);
    Ok(Control::Done)
}

/// The context's time is in milliseconds, so this one command asks the clock itself.
fn monitor(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    // As for all that answers more than once.
    if cx.session.is_executing() {
        return Err(CmdError::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if cx.session.monitor {
        return Ok(Control::Done);
    }
    cx.session.monitor = true;
    Ok(Control::Monitor)
}

fn time(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let now = cx.frozen.unwrap_or_else(clock::wall);
    cx.out.array(2);
    cx.out.bulk_int(now.as_secs() as i64);
    cx.out.bulk_int(i64::from(now.subsec_micros()));
    Ok(Control::Done)
}

fn role(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.array(3);
    cx.out.bulk(b"master");
    cx.out.int(0);
    cx.out.array(0);
    Ok(Control::Done)
}

fn shutdown(_: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let (mut save, mut no_save, mut urgent, mut abort) = (false, false, false, false);
    for at in 1..args.len() {
        match () {
            _ if args.is(at, "SAVE") => save = true,
            _ if args.is(at, "NOSAVE") => no_save = true,
            // There is no replica to wait for.
            _ if args.is(at, "NOW") || args.is(at, "FORCE") => urgent = true,
            _ if args.is(at, "ABORT") => abort = true,
            _ => return Err(CmdError::SYNTAX),
        }
    }
    match () {
        _ if save && no_save || abort && (save || no_save || urgent) => Err(CmdError::SYNTAX),
        _ if abort => Err(CmdError::fixed("ERR No shutdown in progress.")),
        _ => Ok(Control::Shutdown { save: (save || no_save).then_some(save) }),
    }
}

fn lolwut(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    if args.len() >= 3 && args.is(1, "VERSION") {
        // One picture for all versions.
        parse_i64(args.at(2)).ok_or(CmdError::NOT_AN_INTEGER)?;
    }
    let mut random = fastrand::Rng::with_seed(cx.now as u64);
    let mut text = lanes(cx.slots.shards().min(16), &mut random);
    text += &format!("\nRedis ver. {REDIS_VERSION}, Corelane ver. {}\n", env!("CARGO_PKG_VERSION"));
    cx.out.verbatim("txt", text.as_bytes());
    Ok(Control::Done)
}

/// Traffic on as many lanes as there are shards.
fn lanes(count: usize, random: &mut fastrand::Rng) -> String {
    const WIDTH: usize = 64;
    const VEHICLES: [&str; 6] = ["o>", "[]=>", "=o=>", "[__]>", "[oooo]=>", "<()>"];
    let edge = "=".repeat(WIDTH) + "\n";
    let mut text = edge.clone();
    for lane in 0..count {
        let mut line = String::new();
        loop {
            let gap = " ".repeat(random.usize(2..14));
            let vehicle = VEHICLES[random.usize(..VEHICLES.len())];
            if line.len() + gap.len() + vehicle.len() > WIDTH {
                break;
            }
            line += &gap;
            line += vehicle;
        }
        text += line.trim_end();
        text += "\n";
        text += &if lane + 1 < count { "-   ".repeat(WIDTH / 4) + "\n" } else { edge.clone() };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;
    use crate::config::Action;

    #[test]
    fn passwords_are_not_shown() {
        let set = CONFIG.iter().find(|command| command.name.ends_with("set")).unwrap();
        let words = ["config", "set", "requirepass", "secret", "port", "1"].map(str::as_bytes);
        let (bytes, mut spans) = (words.concat(), Vec::new());
        let mut at = 0;
        for word in words {
            spans.push(crate::resp::Span::new(at, at + word.len()));
            at += word.len();
        }
        let shown = set.shown_args(&Args::new(&bytes, &spans)).concat();
        assert_eq!(shown, b"configsetrequirepass(redacted)port1");
    }

    #[test]
    fn options_are_read_and_changed() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("config get port"), "*2\r\n$4\r\nport\r\n$4\r\n6379\r\n");
        assert_eq!(bench.run("config get nonsense"), "*0\r\n");
        bench.run("hello 3");
        assert_eq!(bench.run("config get TIMEOUT"), "%1\r\n$7\r\nTIMEOUT\r\n$1\r\n0\r\n");
    }

    #[test]
    fn set_changes_all_or_nothing() {
        let mut bench = SessionBench::new();
        bench.env.act = Box::new(|action, values| match action {
            Action::Descriptors if values.maxclients > 50 => Err("too many".to_string()),
            _ => Ok(()),
        });
        assert_eq!(
            bench.run("config set timeout 5 maxclients 51"),
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - too many\r\n"
        );
        assert_eq!(bench.run("config set timeout 5 port"), "-ERR syntax error\r\n");
        assert_eq!(
            bench.run("config set timeout 5 nope 1"),
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nope'\r\n"
        );
        assert!(matches!(bench.control, Control::Done));
        assert_eq!(bench.env.config().timeout, 0);
        assert_eq!(bench.run("config set timeout 5 maxclients 50"), "");
        assert!(matches!(bench.control, Control::Reconfigured));
        let config = bench.env.config().clone();
        assert_eq!((config.timeout, config.maxclients), (5, 50));
    }

    #[test]
    fn what_the_server_does_is_asked_for() {
        let mut bench = SessionBench::new();
        bench.run("config resetstat");
        assert!(matches!(bench.control, Control::ResetStats));
        assert_eq!(
            bench.run("config rewrite"),
            "-ERR The server is running without a config file\r\n"
        );
        assert_eq!(bench.run("module list"), "*0\r\n");
        assert_eq!(bench.run("role"), "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    }

    #[test]
    fn shutdown_options_are_checked() {
        let mut bench = SessionBench::new();
        for stops in ["shutdown", "shutdown nosave", "shutdown NOW FORCE", "shutdown nosave now"] {
            assert_eq!(bench.run(stops), "");
            assert!(matches!(bench.control, Control::Shutdown { .. }), "{stops}");
        }
        for (words, error) in [
            ("shutdown abort", "-ERR No shutdown in progress.\r\n"),
            ("shutdown abort now", "-ERR syntax error\r\n"),
            ("shutdown save nosave", "-ERR syntax error\r\n"),
            ("shutdown soon", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(bench.run(words), error);
            assert!(matches!(bench.control, Control::Done));
        }
        bench.run("shutdown save");
        assert!(matches!(bench.control, Control::Shutdown { save: Some(true) }));
    }

    #[test]
    fn time_is_in_seconds_and_microseconds() {
        let mut bench = SessionBench::new();
        let reply = bench.run("time");
        let lines: Vec<&str> = reply.split("\r\n").collect();
        let before = clock::wall().as_secs() as i64;
        let seconds: i64 = lines[2].parse().unwrap();
        let micros: u32 = lines[4].parse().unwrap();
        assert!((before - 5..=before).contains(&seconds) && micros < 1_000_000);
    }

    #[test]
    fn the_picture_ends_with_the_version() {
        let mut bench = SessionBench::new();
        let picture = bench.run("lolwut version 5");
        assert!(picture.contains("\nRedis ver. 7.2.4, Corelane ver. "), "{picture}");
        assert!(picture.lines().all(|line| line.len() <= 64));
        assert_eq!(
            bench.run("lolwut version x"),
            "-ERR value is not an integer or out of range\r\n"
        );
    }
}
