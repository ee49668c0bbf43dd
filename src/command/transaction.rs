//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: what a client may ask for and when.
//!
//! The requests between MULTI and EXEC wait at the connection, and keys are watched at the shards that
//! own them: `net` does both. Here are the rows, and the errors that a client's own state gives.

use super::control::{Control, SessionCx};
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::session::Multi;

/// The reply to EXEC when a request since MULTI was refused.
pub const EXEC_ABORT: CmdError =
    CmdError::fixed("EXECABORT Transaction discarded because of previous errors.");

const ALWAYS: Flags = NOSCRIPT.with(LOADING).with(STALE);
const QUICK: Flags = ALWAYS.with(FAST).with(ALLOW_BUSY);

pub const COMMANDS: &[Command] = &[
    session("multi", 1, QUICK, multi).in_multi(InMulti::Runs).doc(
        Group::Transactions,
        "1.2.0",
        "O(1)",
        "",
        "Has the commands that follow wait for EXEC.",
    ),
    session("exec", 1, ALWAYS.with(SKIP_SLOWLOG).with(NEEDS_DISK), exec)
        .in_multi(InMulti::Executes)
        .doc(
            Group::Transactions,
            "1.2.0",
            "Depends on the commands.",
            "",
            "Runs the commands since MULTI as one, unless a watched key has changed.",
        ),
    session("discard", 1, QUICK, discard).in_multi(InMulti::Runs).doc(
        Group::Transactions,
        "2.0.0",
        "O(N) where N is the number of commands that wait.",
        "",
        "Forgets the commands since MULTI.",
    ),
    keyed("watch", -2, &[KeySpec::range(1, -1, 1, RO)], watch).in_multi(InMulti::Runs).doc(
        Group::Transactions,
        "2.2.0",
        "O(1) for each key.",
        "key [key ...]",
        "Has the next EXEC do nothing if one of the keys changes before.",
    ),
    session("unwatch", 1, QUICK, unwatch).doc(
        Group::Transactions,
        "2.2.0",
        "O(1) for each key.",
        "",
        "Watches no key any more.",
    ),
];

const fn keyed(
    name: &'static str,
    arity: i32,
    keys: &'static [KeySpec],
    run: SessionFn,
) -> Command {
    let mut command = session(name, arity, QUICK, run);
    command.keys = keys;
    command
}

fn multi(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    if cx.session.multi.is_some() {
        return Err(CmdError::fixed("ERR MULTI calls can not be nested"));
    }
    cx.session.multi = Some(Multi::default());
    cx.out.ok();
    Ok(Control::Done)
}

fn exec(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    match cx.session.multi {
        Some(_) => Ok(Control::Exec),
        None => Err(CmdError::fixed("ERR EXEC without MULTI")),
    }
}

fn discard(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    match cx.session.multi {
        Some(_) => {
            cx.out.ok();
            Ok(Control::Forget)
        }
        None => Err(CmdError::fixed("ERR DISCARD without MULTI")),
    }
}

fn watch(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    match cx.session.multi {
        Some(_) => Err(CmdError::fixed("ERR WATCH inside MULTI is not allowed")),
        None => Ok(Control::Watch),
    }
}

fn unwatch(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    Ok(Control::Unwatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Bench, SessionBench};
    use crate::shard::Parcel;

    #[test]
    fn each_command_has_its_time() {
        let mut bench = SessionBench::new();
        assert_eq!(bench.run("EXEC"), "-ERR EXEC without MULTI\r\n");
        assert_eq!(bench.run("DISCARD"), "-ERR DISCARD without MULTI\r\n");
        bench.run("WATCH k");
        assert!(matches!(bench.control, Control::Watch));
        assert_eq!(bench.run("MULTI"), "+OK\r\n");
        assert_eq!(bench.run("MULTI"), "-ERR MULTI calls can not be nested\r\n");
        assert_eq!(bench.run("WATCH k"), "-ERR WATCH inside MULTI is not allowed\r\n");
        bench.run("EXEC");
        assert!(matches!(bench.control, Control::Exec));
        assert_eq!(bench.run("DISCARD"), "+OK\r\n");
        assert!(matches!(bench.control, Control::Forget));
        assert_eq!(bench.run("RESET"), "+RESET\r\n");
        assert!(bench.session.multi.is_none());
    }

    const SETUP: [&str; 4] = ["SET k 1", "SET a 2", "SELECT_DB 1", "SET k 3"];

    /// Whether `command` changes the key `k` of database 0 as a watcher sees it, when it and `a`
    /// are there before, or else only the database 1 has it.
    fn dirties(setup: &[&str], command: &str) -> bool {
        let mut bench = Bench::new();
        for line in setup {
            match line.strip_prefix("SELECT_DB ") {
                Some(db) => bench.caller.db = db.parse().unwrap(),
                None => drop(bench.run(line)),
            }
        }
        bench.caller.db = 0;
        bench.shard.keyspace.keys(0, bench.now, true).watch(7, b"k");
        bench.run(command);
        let dirty = bench.shard.keyspace.unwatch(7, bench.now);
        assert!(!bench.shard.keyspace.watches_any());
        dirty
    }

    #[test]
    fn what_changes_a_key_dirties_it() {
        for command in [
            "SET k v",
            "SET k 1",
            "APPEND k x",
            "INCR k",
            "INCRBYFLOAT k 1",
            "SETRANGE k 3 x",
            "SETBIT k 0 1",
            "BITFIELD k SET u8 0 1",
            "DEL k",
            "GETDEL k",
            "EXPIRE k 10",
            "EXPIRE k -1",
            "GETEX k EX 10",
            "RENAME k b",
            "RENAME a k",
            "COPY a k REPLACE",
            "BITOP OR k a a",
            "MSET a 1 k 1",
            "FLUSHALL",
            "FLUSHDB",
            "SWAPDB 0 1",
            "SWAPDB 1 0",
        ] {
            assert!(dirties(&SETUP, command), "{command}");
        }
        assert!(dirties(&["SET k 1"], "MOVE k 1"));
        for command in ["SET k v", "APPEND k x", "INCR k", "SETBIT k 3 0", "SWAPDB 0 1"] {
            assert!(dirties(&SETUP[2..], command), "{command}");
        }
    }

    #[test]
    fn what_changes_nothing_leaves_it_clean() {
        for command in [
            "GET k",
            "SET k 2 NX",
            "SET a 2",
            "TTL k",
            "PERSIST k",
            "EXPIRE k 10 XX",
            "SETBIT k 0 0",
            "INCRBY k x",
            "INCRBY a 1",
            "RENAMENX a k",
            "RENAME k k",
            "COPY k a REPLACE",
            "GETEX k",
            "TOUCH k",
            "MOVE k 1",
            "SWAPDB 2 3",
            "SWAPDB 0 0",
        ] {
            assert!(!dirties(&SETUP, command), "{command}");
        }
        for command in ["DEL k", "FLUSHALL", "SWAPDB 0 2", "EXPIRE k 10", "SET k v XX"] {
            assert!(!dirties(&["SET a 1"], command), "{command}");
        }
    }

    #[test]
    fn expiry_is_a_change_unless_it_came_first() {
        let mut bench = Bench::new();
        bench.run("SET k v PX 100");
        bench.run("SET l v PX 100");
        bench.shard.keyspace.keys(0, bench.now, true).watch(1, b"k");
        assert!(!bench.shard.keyspace.unwatch(1, bench.now + 100));
        bench.shard.keyspace.keys(0, bench.now, true).watch(1, b"k");
        bench.shard.keyspace.keys(0, bench.now, true).watch(2, b"l");
        bench.now += 101;
        bench.shard.keyspace.keys(0, bench.now, true).watch(3, b"k");
        bench.shard.expire_cycle(bench.now, &mut || false);
        assert_eq!(bench.keys(0), 0);
        assert!(bench.shard.keyspace.unwatch(1, bench.now));
        assert!(bench.shard.keyspace.unwatch(2, bench.now));
        assert!(!bench.shard.keyspace.unwatch(3, bench.now));
    }

    #[test]
    fn lending_is_no_change() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        let now = bench.now;
        let mut keys = bench.shard.keyspace.keys(0, now, true);
        keys.watch(1, b"k");
        let entry = keys.lend(b"k").unwrap();
        keys.take_back(entry);
        assert!(!bench.shard.keyspace.unwatch(1, now));
    }

    fn parcel(keys: &[&str]) -> Parcel {
        Parcel::new(keys.iter().map(|key| key.as_bytes().into()).collect())
    }

    #[test]
    fn what_happens_at_the_borrower_reaches_those_who_watch() {
        let (mut owner, mut borrower) = (Bench::new(), Bench::new());
        owner.run("MSET a 1 b 2 c 3");
        for (client, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "none")] {
            owner.shard.keyspace.keys(0, owner.now, true).watch(client, key.as_bytes());
        }
        let now = owner.now;
        let mut parcel = parcel(&["a", "b", "none"]);
        owner.shard.keyspace.pack(&mut parcel, now);
        assert_eq!(owner.keys(0), 1);
        borrower.shard.keyspace.unpack(&mut parcel, now);
        borrower.run("APPEND a x");
        borrower.run("GET b");
        borrower.run("SET none here");
        borrower.shard.keyspace.repack(&mut parcel, now);
        assert_eq!(borrower.keys(0), 0);
        assert!(!borrower.shard.keyspace.watches_any());
        owner.shard.keyspace.accept(&mut parcel, now);
        assert_eq!(owner.run("MGET a none"), "*2\r\n$2\r\n1x\r\n$4\r\nhere\r\n");
        let dirty = [1, 2, 3, 4].map(|client| owner.shard.keyspace.unwatch(client, now));
        assert_eq!(dirty, [true, false, false, true]);
    }

    #[test]
    fn all_keys_go_and_come_back() {
        let (mut owner, mut borrower) = (Bench::new(), Bench::new());
        owner.run("MSET a 1 b 2");
        borrower.run("SET own 1");
        owner.shard.keyspace.keys(0, owner.now, true).watch(1, b"b");
        let mut all = owner.shard.lend_all();
        assert!(!owner.shard.keyspace.watches_any() && !owner.shard.keyspace.active_expire);
        assert_eq!(owner.keys(0), 2, "they are still the owner's");
        borrower.shard.exchange(&mut all);
        assert_eq!(borrower.run("GET a"), "$1\r\n1\r\n");
        assert_eq!(borrower.run("FLUSHALL"), "+OK\r\n");
        assert_eq!(borrower.run("SET c 1 PX 5"), "+OK\r\n");
        borrower.shard.exchange(&mut all);
        assert_eq!(borrower.run("DBSIZE"), ":1\r\n");
        assert_eq!((borrower.keys(0), borrower.expires(0)), (1, 0));
        owner.shard.accept_all(all);
        assert_eq!((owner.keys(0), owner.expires(0)), (1, 1));
        assert_eq!(owner.run("EXISTS a c"), ":1\r\n");
        assert!(owner.shard.keyspace.active_expire);
        assert!(owner.shard.keyspace.unwatch(1, owner.now));
    }
}
