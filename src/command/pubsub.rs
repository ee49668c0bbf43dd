//! Pub/sub: SUBSCRIBE and its kin, PUBLISH, PUBSUB.
//!
//! What a client listens to is part of its session; the shards that own the channels are told by
//! `net`, which sends the replies when all of them know. PUBLISH runs where the channel is owned.

use super::control::{Control, SessionCx, SubscriptionChange};
use super::help::help;
use super::spec::*;
use crate::data::glob;
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::session::{Name, Subscriptions, Topic};
use crate::shard::Cx;

const LISTENS: Flags = PUBSUB.with(NOSCRIPT).with(LOADING).with(STALE).with(SUBSCRIBED);
const SPEAKS: Flags = PUBSUB.with(LOADING).with(STALE).with(FAST).with(MAY_REPLICATE);
const LOOKS: Flags = PUBSUB.with(LOADING).with(STALE).with(APART);
const NOT_KEY: &[&str] = &["not_key"];
const SHARDED: &[KeySpec] = &[KeySpec::range(1, -1, 1, NOT_KEY)];
const NAMED: &[KeySpec] = &[KeySpec::range(2, -1, 1, NOT_KEY)];

pub const COMMANDS: &[Command] = &[
    session("subscribe", -2, LISTENS, subscribe).channels(Channels::All).doc(
        Group::PubSub,
        "2.0.0",
        "O(N) where N is the number of channels.",
        "channel [channel ...]",
        "Listens to channels.",
    ),
    session("unsubscribe", -1, LISTENS, unsubscribe).doc(
        Group::PubSub,
        "2.0.0",
        "O(N) where N is the number of channels.",
        "[channel [channel ...]]",
        "Listens no more to channels, or to any.",
    ),
    session("psubscribe", -2, LISTENS, psubscribe).channels(Channels::Patterns).doc(
        Group::PubSub,
        "2.0.0",
        "O(N) where N is the number of patterns, on every shard.",
        "pattern [pattern ...]",
        "Listens to all channels that match a pattern.",
    ),
    session("punsubscribe", -1, LISTENS, punsubscribe).doc(
        Group::PubSub,
        "2.0.0",
        "O(N) where N is the number of patterns, on every shard.",
        "[pattern [pattern ...]]",
        "Listens no more to patterns, or to any.",
    ),
    keyed(session("ssubscribe", -2, LISTENS, ssubscribe)).channels(Channels::All).doc(
        Group::PubSub,
        "7.0.0",
        "O(N) where N is the number of channels.",
        "shardchannel [shardchannel ...]",
        "Listens to sharded channels.",
    ),
    keyed(session("sunsubscribe", -1, LISTENS, sunsubscribe)).doc(
        Group::PubSub,
        "7.0.0",
        "O(N) where N is the number of channels.",
        "[shardchannel [shardchannel ...]]",
        "Listens no more to sharded channels, or to any.",
    ),
    shard("publish", 3, SPEAKS, &[], publish)
        .routed(&[KeySpec::one(1, NOT_KEY)])
        .channels(Channels::First)
        .doc(
            Group::PubSub,
            "2.0.0",
            "O(N + M) where N is the number of clients that get it and M the number of patterns.",
            "channel message",
            "Sends a message to all who listen to a channel.",
        ),
    shard("spublish", 3, SPEAKS, &[KeySpec::one(1, NOT_KEY)], spublish)
        .channels(Channels::First)
        .doc(
            Group::PubSub,
            "7.0.0",
            "O(N) where N is the number of clients that get it.",
            "shardchannel message",
            "Sends a message to all who listen to a sharded channel.",
        ),
    container(
        "pubsub",
        -2,
        &[
            looks("pubsub|channels", -2, channels)
                .spread(Spread::EveryShard { part: channels, merge: Merge::Concat })
                .doc(
                    Group::PubSub,
                    "2.8.0",
                    "O(N) where N is the number of channels.",
                    "[pattern]",
                    "Tells the channels to which somebody listens.",
                ),
            looks("pubsub|numsub", -2, numsub)
                .routed(NAMED)
                .spread(Spread::PerKey { part: numsub_part, merge: Merge::Custom(flat_pairs) })
                .doc(
                    Group::PubSub,
                    "2.8.0",
                    "O(N) where N is the number of channels.",
                    "[channel [channel ...]]",
                    "Tells how many clients listen to each channel.",
                ),
            looks("pubsub|numpat", 2, numpat).doc(
                Group::PubSub,
                "2.8.0",
                "O(1)",
                "",
                "Tells how many patterns somebody listens to.",
            ),
            looks("pubsub|shardchannels", -2, shardchannels)
                .spread(Spread::EveryShard { part: shardchannels, merge: Merge::Concat })
                .doc(
                    Group::PubSub,
                    "7.0.0",
                    "O(N) where N is the number of channels.",
                    "[pattern]",
                    "Tells the sharded channels to which somebody listens.",
                ),
            looks("pubsub|shardnumsub", -2, shardnumsub)
                .routed(NAMED)
                .spread(Spread::PerKey { part: shardnumsub_part, merge: Merge::Custom(flat_pairs) })
                .doc(
                    Group::PubSub,
                    "7.0.0",
                    "O(N) where N is the number of channels.",
                    "[shardchannel [shardchannel ...]]",
                    "Tells how many clients listen to each sharded channel.",
                ),
            shard("pubsub|help", 2, LOADING.with(STALE), &[], pubsub_help).doc(
                Group::PubSub,
                "6.2.0",
                "O(1)",
                "",
                "Explains the subcommands.",
            ),
        ],
    )
    .doc(
        Group::PubSub,
        "2.8.0",
        "Depends on the subcommand.",
        "",
        "Tells what somebody listens to.",
    ),
];

const fn keyed(mut command: Command) -> Command {
    command.keys = SHARDED;
    command
}

const fn looks(name: &'static str, arity: i32, run: ShardFn) -> Command {
    shard(name, arity, LOOKS, &[], run)
}

fn subscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(listen(cx, args, Topic::Channel))
}

fn psubscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(listen(cx, args, Topic::Pattern))
}

fn ssubscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(listen(cx, args, Topic::Sharded))
}

fn unsubscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(leave(cx, args, Topic::Channel))
}

fn punsubscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(leave(cx, args, Topic::Pattern))
}

fn sunsubscribe(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    Ok(leave(cx, args, Topic::Sharded))
}

fn listen(cx: &mut SessionCx, args: Args, topic: Topic) -> Control {
    let subscriptions = cx.session.subscriptions.get_or_insert_default();
    let mut changes = Vec::new();
    for name in args.iter().skip(1) {
        let name = Name::from(name);
        if subscriptions.add(topic, &name) {
            changes.push(SubscriptionChange { topic, name: name.clone(), more: true });
        }
        let word = match topic {
            Topic::Channel => "subscribe",
            Topic::Pattern => "psubscribe",
            Topic::Sharded => "ssubscribe",
        };
        acknowledge(&mut cx.out, word, Some(&name), subscriptions.counted(topic));
    }
    Control::Subscribe(changes)
}

fn leave(cx: &mut SessionCx, args: Args, topic: Topic) -> Control {
    let word = match topic {
        Topic::Channel => "unsubscribe",
        Topic::Pattern => "punsubscribe",
        Topic::Sharded => "sunsubscribe",
    };
    let subscriptions = cx.session.subscriptions.get_or_insert_default();
    let names = match args.len() {
        1 => subscriptions.all(topic),
        _ => args.iter().skip(1).map(Name::from).collect(),
    };
    if names.is_empty() {
        acknowledge(&mut cx.out, word, None, subscriptions.counted(topic));
    }
    let mut changes = Vec::new();
    for name in names {
        if subscriptions.remove(topic, &name) {
            changes.push(SubscriptionChange { topic, name: name.clone(), more: false });
        }
        acknowledge(&mut cx.out, word, Some(&name), subscriptions.counted(topic));
    }
    forget_if_empty(&mut cx.session.subscriptions);
    Control::Subscribe(changes)
}

/// Who listens to nothing carries nothing around.
fn forget_if_empty(subscriptions: &mut Option<Box<Subscriptions>>) {
    if subscriptions.as_ref().is_some_and(|all| all.is_empty()) {
        *subscriptions = None;
    }
}

fn acknowledge(out: &mut Encoder, word: &str, name: Option<&Name>, count: usize) {
    out.push(3);
    out.bulk(word.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(count as i64);
}

/// A message as its listeners get it; `pattern` is the one by which it came.
pub fn write_message(
    buffer: &mut Vec<u8>,
    protocol: Protocol,
    (channel, message, sharded): (&[u8], &[u8], bool),
    pattern: Option<&[u8]>,
) {
    let mut out = Encoder::new(buffer, protocol);
    match pattern {
        Some(pattern) => {
            out.push(4);
            out.bulk(b"pmessage");
            out.bulk(pattern);
        }
        None => {
            out.push(3);
            out.bulk(if sharded { b"smessage" } else { b"message" });
        }
    }
    out.bulk(channel);
    out.bulk(message);
}

fn publish(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let clients = cx.channels().publish(args.at(1), args.at(2), false);
    cx.out.int(clients as i64);
    Ok(())
}

fn spublish(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let clients = cx.channels().publish(args.at(1), args.at(2), true);
    cx.out.int(clients as i64);
    Ok(())
}

fn channels(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_names(cx, args, false)
}

fn shardchannels(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_names(cx, args, true)
}

fn write_names(cx: &mut Cx, args: Args, sharded: bool) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(CmdError::err_of(&[
            b"unknown subcommand or wrong number of arguments for '",
            args.at(1),
            b"'. Try PUBSUB HELP.",
        ]));
    }
    let wanted = |name: &&[u8]| args.get(2).is_none_or(|pattern| glob::matches(pattern, name));
    let Cx { keys, out, .. } = cx;
    let names: Vec<&[u8]> = keys.channels().names(sharded).filter(wanted).collect();
    out.array(names.len());
    names.into_iter().for_each(|name| out.bulk(name));
    Ok(())
}

fn numsub(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_counts(cx, args, false);
    Ok(())
}

fn shardnumsub(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_counts(cx, args, true);
    Ok(())
}

fn write_counts(cx: &mut Cx, args: Args, sharded: bool) {
    cx.out.array(2 * (args.len() - 2));
    args.iter().skip(2).for_each(|channel| write_count(cx, channel, sharded));
}

fn write_count(cx: &mut Cx, channel: &[u8], sharded: bool) {
    cx.out.bulk(channel);
    let clients = cx.channels().subscribers(channel, sharded);
    cx.out.int(clients as i64);
}

/// One channel's two elements of the reply.
fn numsub_part(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_count(cx, args.at(1), false);
    Ok(())
}

fn shardnumsub_part(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    write_count(cx, args.at(1), true);
    Ok(())
}

fn flat_pairs(parts: &[&[u8]], out: &mut Encoder, _: &mut fastrand::Rng) {
    out.array(2 * parts.len());
    parts.iter().for_each(|part| out.raw(part));
}

/// Every shard knows all patterns.
fn numpat(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let [_, _, patterns] = cx.channels().counts();
    cx.out.int(patterns as i64);
    Ok(())
}

fn pubsub_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CHANNELS [<pattern>]",
        "    Names the channels to which somebody listens, or those of them that match.",
        "NUMPAT",
        "    Tells how many different patterns somebody listens to.",
        "NUMSUB [<channel> ...]",
        "    Tells how many clients listen to each channel, patterns left out.",
        "SHARDCHANNELS [<pattern>]",
        "    As CHANNELS, of sharded channels.",
        "SHARDNUMSUB [<channel> ...]",
        "    As NUMSUB, of sharded channels.",
    ];
    help(&mut cx.out, "PUBSUB", &lines);
    Ok(())
}
