//! SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE: snapshots; WAITAOF. `net` does what they ask for.

use super::control::{AofWait, Control, SaveKind, SaveRequest, SessionCx};
use super::number::integer;
use super::spec::*;
use crate::error::CmdError;
use crate::metrics::SAVING_REWRITE;
use crate::resp::Args;
use std::sync::atomic::Ordering;

const SAVES: Flags = ADMIN.with(NOSCRIPT).with(NO_ASYNC_LOADING);

pub const COMMANDS: &[Command] = &[
    session("save", 1, SAVES.with(NO_MULTI), save).doc(
        Group::Server,
        "1.0.0",
        "O(N) where N is the number of keys, in the background.",
        "",
        "Writes a snapshot to disk, and answers when it is there.",
    ),
    session("bgsave", -1, SAVES, bgsave).doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "[SCHEDULE]",
        "Begins to write a snapshot to disk.",
    ),
    session("bgrewriteaof", 1, SAVES, bgrewriteaof).doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "",
        "Begins to write a snapshot that takes the place of the append-only files until now.",
    ),
    session("lastsave", 1, LOADING.with(STALE).with(FAST), lastsave)
        .categories(&["admin", "dangerous"])
        .tips(&["nondeterministic_output"])
        .doc(Group::Server, "1.0.0", "O(1)", "", "Tells when the last snapshot was written."),
    session("waitaof", 4, NOSCRIPT.with(BEHIND), waitaof)
        .own_categories(&["connection"])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            Group::Generic,
            "7.2.0",
            "O(1)",
            "numlocal numreplicas timeout",
            "Waits until what the connection has written is on disk.",
        ),
];

fn save(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(Control::Save(SaveRequest { kind: SaveKind::Snapshot, wait: true, later: false }))
}

fn bgsave(_: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let later = match args.len() {
        1 => false,
        2 if args.is(1, "schedule") => true,
        _ => return Err(CmdError::SYNTAX),
    };
    Ok(Control::Save(SaveRequest { kind: SaveKind::Snapshot, wait: false, later }))
}

fn bgrewriteaof(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    if cx.env.persist.saving.load(Ordering::Relaxed) == SAVING_REWRITE {
        let text = "ERR Background append only file rewriting already in progress";
        return Err(CmdError::fixed(text));
    }
    Ok(Control::Save(SaveRequest { kind: SaveKind::Rewrite, wait: false, later: true }))
}

fn waitaof(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let local = match integer(args.at(1))? {
        local @ 0..=1 => local == 1,
        _ => return Err(CmdError::fixed("ERR value is out of range, value must between 0 and 1")),
    };
    let replicas = u64::try_from(integer(args.at(2))?)
        .map_err(|_| CmdError::fixed("ERR value is out of range, must be positive"))?;
    let timeout = integer(args.at(3))
        .map_err(|_| CmdError::fixed("ERR timeout is not an integer or out of range"))?;
    let until = match timeout {
        ..0 => return Err(CmdError::fixed("ERR timeout is negative")),
        0 => None,
        _ => {
            let until = cx.now.checked_add(timeout);
            Some(until.ok_or(CmdError::fixed("ERR timeout is out of range"))?)
        }
    };
    Ok(Control::WaitAof(AofWait { local, replicas, until }))
}

fn lastsave(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let at = cx.env.persist.last_save_at.load(Ordering::Relaxed);
    cx.out.int(if at > 0 { at } else { cx.env.started_at / 1000 });
    Ok(Control::Done)
}
