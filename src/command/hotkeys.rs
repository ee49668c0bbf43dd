//! HOTKEYS: the keys that are used most, shard by shard, while `hot-keys-sampling` is on.

use super::help::help;
use super::spec::*;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::Cx;

pub const COMMANDS: &[Command] = &[container("hotkeys", -2, HOTKEYS).doc(
    Group::Server,
    "7.2.0",
    "Depends on subcommand.",
    "",
    "Commands about the keys that are used most.",
)];

const FLAGS: Flags = ADMIN.with(NOSCRIPT).with(LOADING).with(STALE);

const HOTKEYS: &[Command] = &[
    shard("hotkeys|get", -2, FLAGS, &[], get)
        .spread(Spread::EveryShard { part: get, merge: Merge::Concat })
        .doc(
            Group::Server,
            "7.2.0",
            "O(N) where N is the number of shards",
            "[count]",
            "Answers the most used keys of each shard: the key, its database and its uses.",
        )
        .tips(&["nondeterministic_output"]),
    shard("hotkeys|help", 2, LOADING.with(STALE), &[], hotkeys_help).doc(
        Group::Server,
        "7.2.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    shard("hotkeys|reset", 2, FLAGS, &[], reset)
        .spread(Spread::EveryShard { part: reset, merge: Merge::FirstError })
        .doc(
            Group::Server,
            "7.2.0",
            "O(N) where N is the number of shards",
            "",
            "Counts the uses of keys from now on.",
        ),
];

/// Keys of each shard that are answered without being told how many.
const USUAL_COUNT: usize = 10;

const OFF: CmdError = CmdError::fixed(
    "ERR Uses of keys are not counted: set hot-keys-sampling to 100, for one of so many",
);

fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = match args.len() {
        2 => USUAL_COUNT,
        3 => parse_i64(args.at(2))
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(CmdError::NOT_AN_INTEGER)?,
        _ => return Err(CmdError::SYNTAX),
    };
    let top = cx.keys.hot_keys().as_ref().ok_or(OFF)?.top(count);
    cx.out.array(top.len());
    for hot in top {
        cx.out.array(3);
        cx.out.bulk(&hot.key);
        cx.out.int(i64::from(hot.db));
        cx.out.int(hot.uses as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let hot = cx.keys.hot_keys();
    let every = hot.as_ref().ok_or(OFF)?.every();
    *hot = Some(Box::new(crate::shard::HotKeys::new(every)));
    cx.out.ok();
    Ok(())
}

fn hotkeys_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "GET [<count>]",
        "    Answers the <count> (usually 10) most used keys of each shard, as far as samples tell:",
        "    the key, its database and its uses. The option hot-keys-sampling has them counted.",
        "RESET",
        "    Counts the uses of keys from now on.",
    ];
    help(&mut cx.out, "HOTKEYS", &lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::shard::{HotKeys, TimingRules};

    #[test]
    fn uses_are_counted_while_that_is_on() {
        let mut bench = Bench::new();
        bench.run("SET k 1");
        assert!(bench.run("HOTKEYS GET").starts_with("-ERR Uses of keys are not counted"));
        let settings = bench.shard.settings;
        let timing = TimingRules { hot_keys_every: 1, ..settings.timing };
        bench.shard.configure(crate::shard::Settings { timing, ..settings });
        for _ in 0..3 {
            bench.run("GET k");
        }
        bench.run("DEL other x y");
        assert_eq!(
            bench.run("HOTKEYS GET 2"),
            "*2\r\n*3\r\n$1\r\nk\r\n:0\r\n:3\r\n*3\r\n$5\r\nother\r\n:0\r\n:1\r\n"
        );
        assert_eq!(bench.run("HOTKEYS RESET"), "+OK\r\n");
        assert_eq!(bench.run("HOTKEYS GET"), "*0\r\n");
        assert_eq!(bench.run("HOTKEYS GET -1"), "-ERR value is not an integer or out of range\r\n");
        bench.shard.configure(settings);
        assert!(bench.shard.keyspace.hot_keys.is_none());
        assert_eq!(HotKeys::new(0).every(), 1);
    }
}
