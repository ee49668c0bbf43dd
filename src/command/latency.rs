//! LATENCY: what took long, and how long commands take.
//!
//! Events are remembered from `latency-monitor-threshold` on; histograms of commands with
//! `latency-tracking`.

mod doctor;
mod sparkline;

use super::control::{Control, Env, SessionCx};
use super::help::help;
use super::registry::CommandId;
use super::spec::*;
use crate::error::CmdError;
use crate::metrics::{LatencyEvent, LatencySeries, Sum};
use crate::resp::{Args, Encoder};
use std::collections::BTreeMap;

pub const COMMANDS: &[Command] = &[container("latency", -2, LATENCY).doc(
    Group::Server,
    "2.8.13",
    "Depends on subcommand.",
    "",
    "Commands about what took long.",
)];

const FLAGS: Flags = ADMIN.with(NOSCRIPT).with(LOADING).with(STALE);
const TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const LATENCY: &[Command] = &[
    session("latency|doctor", 2, FLAGS, doctor)
        .doc(
            Group::Server,
            "2.8.13",
            "O(1)",
            "",
            "Says in words what took long, and what may help.",
        )
        .tips(TIPS),
    session("latency|graph", 3, FLAGS, graph)
        .doc(Group::Server, "2.8.13", "O(1)", "event", "Draws the samples of an event.")
        .tips(TIPS),
    session("latency|help", 2, LOADING.with(STALE), latency_help).doc(
        Group::Server,
        "2.8.13",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("latency|histogram", -2, FLAGS, histogram)
        .doc(
            Group::Server,
            "7.0.0",
            "O(N) where N is the number of commands that have been called.",
            "[command [command ...]]",
            "Answers how long commands have taken, as cumulative histograms.",
        )
        .tips(TIPS),
    session("latency|history", 3, FLAGS, history)
        .doc(Group::Server, "2.8.13", "O(1)", "event", "Answers the samples of an event.")
        .tips(TIPS),
    session("latency|latest", 2, FLAGS, latest)
        .doc(Group::Server, "2.8.13", "O(1)", "", "Answers the last sample of each event.")
        .tips(TIPS),
    session("latency|reset", -2, FLAGS, reset)
        .doc(
            Group::Server,
            "2.8.13",
            "O(1)",
            "[event [event ...]]",
            "Forgets the samples of some events, or of all.",
        )
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
];

fn doctor(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let report = doctor::report(&cx.env.latency(), &cx.env.config(), cx.now / 1000);
    cx.out.verbatim("txt", report.as_bytes());
    Ok(Control::Done)
}

fn graph(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let events = cx.env.latency();
    let event = LatencyEvent::named(args.at(2));
    let Some((event, series)) = event.and_then(|event| Some((event, events.get(event)?))) else {
        return Err(CmdError::err_of(&[b"No samples available for event '", args.at(2), b"'"]));
    };
    let drawn = sparkline::draw(event.name(), series, cx.now / 1000);
    cx.out.verbatim("txt", drawn.as_bytes());
    Ok(Control::Done)
}

fn history(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let events = cx.env.latency();
    let samples = LatencyEvent::named(args.at(2)).and_then(|event| events.get(event));
    let samples = samples.map_or(&[][..], |series| &series.samples);
    cx.out.array(samples.len());
    for sample in samples {
        cx.out.array(2);
        cx.out.int(sample.at);
        cx.out.int(sample.ms as i64);
    }
    Ok(Control::Done)
}

fn latest(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let events = cx.env.latency();
    cx.out.array(events.iter().len());
    for (event, series) in events.iter() {
        let last = LatencySeries::last(series);
        cx.out.array(4);
        cx.out.bulk(event.name().as_bytes());
        cx.out.int(last.at);
        cx.out.int(last.ms as i64);
        cx.out.int(series.ms_max as i64);
    }
    Ok(Control::Done)
}

fn reset(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let mut events = cx.env.latency();
    let forgotten = match args.len() {
        2 => LatencyEvent::ALL.into_iter().filter(|event| events.reset(*event)).count(),
        _ => {
            let named = args.iter().skip(2).filter_map(LatencyEvent::named);
            named.filter(|event| events.reset(*event)).count()
        }
    };
    cx.out.int(forgotten as i64);
    Ok(Control::Done)
}

/// The name under which a command's statistics are shown: a subcommand of which clients are not told
/// goes by its container's.
pub fn shown_name(command: &Command) -> &'static str {
    match command.flags.has(PLAIN) {
        true => command.name.split('|').next().unwrap_or(command.name),
        false => command.name,
    }
}

/// How long commands have taken on all shards, by shown name; those that were called.
pub fn histograms(env: &Env) -> BTreeMap<&'static str, Sum> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for id in 0..env.registry.len() {
        let name = shown_name(env.registry.command(CommandId(id as u16)));
        for stats in &env.stats {
            if let Some(histogram) = stats.per_command[id].histogram() {
                histogram.add_to(sums.entry(name).or_default());
            }
        }
    }
    sums.retain(|_, sum| !sum.is_empty());
    sums
}

fn histogram(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let sums = histograms(cx.env);
    let mut wanted: Vec<(&str, &Sum)> = Vec::new();
    if args.len() == 2 {
        wanted.extend(sums.iter().map(|(name, sum)| (*name, sum)));
    }
    for word in args.iter().skip(2) {
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        let inside = format!("{word}|");
        let named = |name: &str| name == word || name.starts_with(&inside);
        wanted.extend(sums.iter().filter(|(name, _)| named(name)).map(|(name, sum)| (*name, sum)));
    }
    cx.out.map(wanted.len());
    for (name, sum) in wanted {
        cx.out.bulk(name.as_bytes());
        write_distribution(sum, &mut cx.out);
    }
    Ok(Control::Done)
}

fn write_distribution(sum: &Sum, out: &mut Encoder) {
    out.map(2);
    out.bulk(b"calls");
    out.int(sum.count() as i64);
    out.bulk(b"histogram_usec");
    let steps = sum.by_powers_of_two();
    out.map(steps.len());
    for (ns, count) in steps {
        out.int((ns / 1000) as i64);
        out.int(count as i64);
    }
}

fn latency_help(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let lines = [
        "DOCTOR",
        "    Says in words what took long, and what may help.",
        "GRAPH <event>",
        "    Draws the samples of <event>.",
        "HISTOGRAM [<command> ...]",
        "    Answers how long commands have taken, all of them if none is named.",
        "HISTORY <event>",
        "    Answers the samples of <event>.",
        "LATEST",
        "    Answers the last sample of each event.",
        "RESET [<event> ...]",
        "    Forgets the samples of some events, or of all.",
    ];
    help(&mut cx.out, "LATENCY", &lines);
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::SessionBench;
    use crate::metrics::LatencyEvent;

    #[test]
    fn samples_are_shown_and_forgotten() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("latency latest"), "*0\r\n");
        assert_eq!(bench.run("latency history command"), "*0\r\n");
        assert_eq!(
            bench.run("latency graph command"),
            "-ERR No samples available for event 'command'\r\n"
        );
        for (at, ms) in [(100, 300), (101, 500), (102, 400)] {
            bench.env.latency().add(LatencyEvent::Command, at, ms);
        }
        assert_eq!(
            bench.run("latency latest"),
            "*1\r\n*4\r\n$7\r\ncommand\r\n:102\r\n:400\r\n:500\r\n"
        );
        assert_eq!(
            bench.run("latency history command"),
            "*3\r\n*2\r\n:100\r\n:300\r\n*2\r\n:101\r\n:500\r\n*2\r\n:102\r\n:400\r\n"
        );
        assert!(bench.run("latency graph COMMAND").contains("command - high 500 ms, low 300 ms"));
        assert!(bench.run("latency doctor").contains("command: 3 latency spikes"));
        assert_eq!(bench.run("latency reset nothing fast-command"), ":0\r\n");
        assert_eq!(bench.run("latency reset"), ":1\r\n");
        assert_eq!(bench.run("latency history command"), "*0\r\n");
    }

    #[test]
    fn histograms_of_all_shards_are_added_up() {
        let mut bench = SessionBench::new();
        let id = |words: &[&[u8]]| {
            let name = String::from_utf8(words.join(&b'|')).unwrap();
            (0..bench.env.registry.len())
                .find(|id| {
                    bench.env.registry.command(crate::command::CommandId(*id as u16)).name == name
                })
                .unwrap()
        };
        let (get, list, sleep) =
            (id(&[b"get"]), id(&[b"client", b"list"]), id(&[b"debug", b"sleep"]));
        bench.env.stats[0].per_command[get].took(700, 2, true);
        bench.env.stats[1].per_command[get].took(40_000, 1, true);
        bench.env.stats[1].per_command[list].took(1_500, 1, true);
        bench.env.stats[1].per_command[sleep].took(1_500, 1, true);
        let get = "$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*4\r\n:1\r\n:2\r\n:66\r\n:3\r\n";
        assert_eq!(bench.run("latency histogram nothing GET"), format!("*2\r\n{get}"));
        assert!(bench.run("latency histogram client").starts_with("*2\r\n$11\r\nclient|list\r\n"));
        assert!(bench.run("latency histogram debug").starts_with("*2\r\n$5\r\ndebug\r\n"));
        assert!(bench.run("latency histogram").starts_with("*6\r\n"));
        bench.run("hello 3");
        assert!(bench.run("latency histogram get").starts_with("%1\r\n$3\r\nget\r\n%2\r\n"));
    }
}
