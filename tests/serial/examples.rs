//! Histories made by hand: each kind of anomaly, and correct ones that look suspicious.

use super::anomaly::{Cycle, Kind};
use super::{History, check_order};

/// What is found, without doubles.
fn kinds(text: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check_order(&History::parse(text)).iter().map(|a| a.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn assert_found(kind: Kind, text: &str) {
    let found = check_order(&History::parse(text));
    assert!(found.iter().any(|a| a.kind == kind), "{kind:?} is not in {found:#?}\nof\n{text}");
}

fn assert_fine(text: &str) {
    let found = check_order(&History::parse(text));
    assert!(found.is_empty(), "{found:#?}\nof\n{text}");
}

#[test]
fn g0_two_blocks_write_two_keys_in_opposite_orders() {
    assert_found(
        Kind::G0,
        "A 0-9 MULTI APPEND k1 1 -> 1; APPEND k2 2 -> 2
         B 0-9 MULTI APPEND k1 3 -> 2; APPEND k2 4 -> 1",
    );
    assert_fine(
        "A 0-9 MULTI APPEND k1 1 -> 1; APPEND k2 2 -> 1
         B 0-9 MULTI APPEND k1 3 -> 2; APPEND k2 4 -> 2",
    );
}

#[test]
fn g1a_a_read_sees_what_was_never_done() {
    let aborted = "A 0-1 WATCH k1
         B 2-3 SET k1 1 -> ok
         A 4-5 MULTI SET k2 2 -> aborted
         C 6-7 GET k2 -> [2]";
    assert_found(Kind::AbortedRead, aborted);
    assert_found(Kind::AbortedRead, "A 0-1 MSETNX k1 5 k2 6 -> 0\nB 2-3 GET k1 -> [5]");
    assert_found(Kind::AbortedRead, "A 0-1 MULTI SET k1 5 -> discarded\nB 2-3 GET k1 -> [5]");
    assert_found(Kind::Phantom, "A 0-1 GET k1 -> [77]");
    assert_found(Kind::Phantom, "A 0-1 SET k2 7 -> ok\nA 2-3 GET k1 -> [7]");
}

#[test]
fn g1b_a_read_sees_half_a_block() {
    let half = "A 0-9 MULTI APPEND k1 1 -> 1; APPEND k1 2 -> 2\nB 0-9 GET k1 -> [1]";
    assert_found(Kind::IntermediateRead, half);
    let undone = "A 0-9 MULTI SET k1 1 -> ok; SET k1 2 -> ok\nB 0-9 GET k1 -> [1]";
    assert_found(Kind::IntermediateRead, undone);
}

#[test]
fn g1c_two_blocks_see_each_other() {
    assert_found(
        Kind::G1c,
        "A 0-9 MULTI APPEND k1 1 -> 1; GET k2 -> [2]
         B 0-9 MULTI APPEND k2 2 -> 1; GET k1 -> [1]",
    );
}

#[test]
fn g_single_a_torn_read() {
    let torn = "A 0-9 MSET k1 1 k2 2 -> ok\nB 0-9 MGET k1 k2 -> [1] nil";
    assert_eq!(kinds(torn), [Kind::GSingle]);
    assert_fine("A 0-9 MSET k1 1 k2 2 -> ok\nB 0-9 MGET k1 k2 -> [1] [2]");
    assert_fine("A 0-9 MSET k1 1 k2 2 -> ok\nB 0-9 MGET k1 k2 -> nil nil");
    let block = "A 0-1 MSET k1 1 k2 2 -> ok
         B 2-9 MULTI APPEND k1 3 -> 2; APPEND k2 4 -> 2
         C 2-9 MULTI GET k1 -> [1]; GET k2 -> [2 4]
         D 10-11 GET k1 -> [1 3]";
    assert_found(Kind::GSingle, block);
}

#[test]
fn g2_a_lost_update() {
    let lost = "A 0-1 SET k1 1 -> ok
         B 2-9 SET k1 2 GET -> [1]
         C 2-9 SET k1 3 GET -> [1]";
    assert_eq!(kinds(lost), [Kind::G2]);
    assert_fine(
        "A 0-1 SET k1 1 -> ok
         B 2-9 SET k1 2 GET -> [1]
         C 2-9 SET k1 3 GET -> [2]",
    );
}

#[test]
fn g2_compare_and_set_by_watch() {
    let watching = |second: &str| {
        format!(
            "A 0-1 SET k1 1 -> ok
             B 2-3 WATCH k1
             C 2-3 WATCH k1
             B 4-5 GET k1 -> [1]
             C 4-5 GET k1 -> [1]
             B 6-9 MULTI SET k1 2 -> ok
             C 6-9 MULTI SET k1 3 -> {second}"
        )
    };
    assert_eq!(kinds(&watching("ok")), [Kind::G2]);
    assert_fine(&watching("aborted"));
}

#[test]
fn g2_a_write_skew() {
    let skew = "A 0-9 MULTI GET k1 -> nil; APPEND k2 2 -> 1
         B 0-9 MULTI GET k2 -> nil; APPEND k1 1 -> 1";
    assert_eq!(kinds(skew), [Kind::G2]);
    // Two observers disagree about which of two independent writes came first.
    let fork = "A 0-20 APPEND k1 1 -> 1
         B 0-20 APPEND k2 2 -> 1
         C 0-20 MGET k1 k2 -> [1] nil
         D 0-20 MGET k1 k2 -> nil [2]";
    assert_eq!(kinds(fork), [Kind::G2]);
}

#[test]
fn a_stale_read_breaks_real_time() {
    let stale = "A 0-1 APPEND k1 1 -> 1\nB 2-3 APPEND k1 2 -> 2\nC 4-5 GET k1 -> [1]";
    assert_found(Kind::RealTime(Cycle::GSingle), stale);
    let register = "A 0-1 SET k1 1 -> ok\nB 2-3 SET k1 2 -> ok\nC 4-5 GET k1 -> [1]";
    assert_found(Kind::RealTime(Cycle::GSingle), register);
    let back = "A 0-9 SET k1 1 -> ok
         B 0-9 SET k1 2 -> ok
         C 10-11 GET k1 -> [1]
         C 12-13 GET k1 -> [2]";
    assert!(!kinds(back).is_empty(), "a register does not go back");
    assert_fine("A 0-9 SET k1 1 -> ok\nB 0-9 SET k1 2 -> ok\nC 10-11 GET k1 -> [1]");
}

#[test]
fn a_pipeline_keeps_its_order() {
    let swapped = "A 0-9 APPEND k1 1 -> 2\nA 1-9 APPEND k1 2 -> 1";
    assert_eq!(kinds(swapped), [Kind::RealTime(Cycle::G1c)]);
    assert_fine("A 0-9 APPEND k1 1 -> 1\nA 1-9 APPEND k1 2 -> 2");
}

#[test]
fn appends_are_not_lost_doubled_or_swapped() {
    assert_found(Kind::LostWrite, "A 0-1 APPEND k1 1 -> 1\nB 0-1 APPEND k1 2 -> 1");
    let gone = "A 0-1 APPEND k1 1 -> 1\nB 0-1 APPEND k1 2 -> 2\nC 2-3 GET k1 -> [1]";
    assert_found(Kind::LostWrite, gone);
    assert_found(Kind::Duplicate, "A 0-1 APPEND k1 1 -> 1\nC 2-3 GET k1 -> [1 1]");
    let orders = "A 0-9 APPEND k1 1 -> 1
         A 0-9 APPEND k1 2 -> 2
         B 0-9 APPEND k1 3 -> 3
         C 10-11 GET k1 -> [1 2 3]
         C 12-13 GET k1 -> [1 3 2]";
    assert_found(Kind::IncompatibleOrder, orders);
}

#[test]
fn a_block_sees_its_own_writes() {
    assert_found(Kind::Internal, "A 0-1 MULTI SET k1 1 -> ok; GET k1 -> nil");
    assert_found(Kind::Internal, "A 0-1 MULTI GET k1 -> nil; FLUSHALL -> ok; EXISTS k1 -> 1");
    assert_found(Kind::Internal, "A 0-9 MULTI GET k1 -> [2]; GET k1 -> nil\nB 0-9 SET k1 2 -> ok");
    assert_fine(
        "A 0-1 MULTI SET k1 1 -> ok; APPEND k1 2 -> 2; GET k1 -> [1 2]; DEL k1 -> 1; EXISTS k1 -> 0",
    );
    assert_fine(
        "A 0-1 MULTI SET k1 1 -> ok; SELECT 1 -> ok; GET k1 -> nil; FLUSHDB -> ok; KEYS * -> {}",
    );
}

#[test]
fn removals_are_all_or_nothing() {
    let half = "A 0-1 MSET k1 1 k2 2 -> ok\nB 2-9 FLUSHALL -> ok\nC 2-9 MGET k1 k2 -> nil [2]";
    assert!(!kinds(half).is_empty());
    let both = "A 0-1 MSET k1 1 k2 2 -> ok\nB 2-9 FLUSHALL -> ok\nC 2-9 MGET k1 k2 -> nil nil";
    assert_fine(both);
    let undone = "A 0-1 SET k1 1 -> ok\nB 2-3 DEL k1 -> 1\nC 4-5 GET k1 -> [1]";
    assert!(!kinds(undone).is_empty());
    assert_found(Kind::Vanished, "A 0-1 SET k1 1 -> ok\nC 4-5 GET k1 -> nil");
    assert_found(
        Kind::Vanished,
        "A 0-1 SET k1 1 -> ok\nB 2-3 FLUSHALL -> ok\nC 4-5 EXISTS k1 -> 1",
    );
    let keys = "A 0-1 SET k1 1 -> ok\nA 2-3 SET k2 1000 -> ok\nC 4-5 KEYS * -> {k1}";
    assert_found(Kind::Vanished, keys);
    let msetnx = "A 0-1 SET k1 1 -> ok\nB 2-3 MSETNX k1 2 k2 3 -> 1";
    assert_found(Kind::Vanished, msetnx);
}

#[test]
fn what_was_not_answered_may_or_may_not_have_been_done() {
    assert_fine("A 0-? APPEND k1 1\nB 2-3 GET k1 -> nil\nB 4-5 GET k1 -> [1]");
    assert_fine("A 0-? DEL k1\nB 2-3 SET k1 1 -> ok\nB 4-5 GET k1 -> nil");
    assert_fine("A 0-? MULTI SET k1 1; SET k2 2\nB 2-3 MGET k1 k2 -> nil nil");
    let torn = "A 0-? MULTI SET k1 1; SET k2 2\nB 2-3 MGET k1 k2 -> [1] nil";
    assert_eq!(kinds(torn), [Kind::GSingle]);
}

#[test]
fn a_finding_is_told_in_words() {
    let found = check_order(&History::parse(
        "A 0-9 MULTI APPEND k1 1 -> 1; APPEND k2 2 -> 1
         B 3-5 MGET k1 k2 -> [1] nil",
    ));
    assert_eq!(
        found[0].text,
        "a cycle of
  T1 = B 3-5 MGET k1 k2 -> [1] nil
  T2 = A 0-9 MULTI APPEND k1 1 -> 1; APPEND k2 2 -> 1
  T1 before T2: T1 has seen k2 before T2 wrote it
  T2 before T1: T1 has seen of k1 what T2 wrote"
    );
}

/// The search agrees with what the edges tell, and sees more.
fn assert_no_order(text: &str) {
    let history = History::parse(text);
    assert!(super::check_order(&history).is_empty(), "by edges alone this is fine");
    let found = super::check(&history);
    assert!(found.iter().any(|a| a.kind == Kind::NoOrder), "{found:#?}\nof\n{text}");
}

#[test]
fn a_search_knows_what_all_commands_answer() {
    let fine = "A 0-1 SET k1 1 -> ok
         A 2-3 COPY k1 k2 -> 1
         A 4-5 RENAME k1 k3 -> ok
         A 6-7 MGET k1 k2 k3 -> nil [1] [1]
         A 8-9 RENAME k1 k3 -> missing
         A 10-11 RENAMENX k2 k3 -> 0
         A 12-13 SWAPDB 0 1 -> ok
         A 14-15 DBSIZE -> 0
         A 16-17 SELECT 1 -> ok
         A 18-19 MULTI KEYS * -> {k2 k3}; APPEND k3 2 -> 2; GETDEL k2 -> [1]; FLUSHDB -> ok
         A 20-21 DBSIZE -> 0";
    assert_eq!(super::check(&History::parse(fine)).len(), 0);
    assert_no_order("A 0-1 SET k1 1 -> ok\nA 2-3 COPY k1 k2 -> 0");
    assert_no_order("A 0-1 SET k1 1 -> ok\nA 2-3 SWAPDB 0 1 -> ok\nA 4-5 GET k1 -> [1]");
    assert_no_order("A 0-1 SET k1 1 -> ok\nA 2-3 RENAME k1 k2 -> ok\nA 4-5 DBSIZE -> 2");
}

#[test]
fn a_search_sees_torn_sums() {
    // A key moves between two others: it is there once, whenever one looks.
    let moving = |size: u32| {
        format!(
            "A 0-1 SET k1 1 -> ok
             A 2-9 RENAME k1 k2 -> ok
             B 2-9 DBSIZE -> {size}"
        )
    };
    assert_eq!(super::check(&History::parse(&moving(1))).len(), 0);
    assert_no_order(&moving(0));
    assert_no_order(&moving(2));
}

#[test]
fn a_search_knows_what_watching_sees() {
    let watch = |exec: &str| {
        format!(
            "A 0-1 WATCH k1 k2
             B 2-9 DEL k1 -> 0
             A 10-11 MULTI SET k3 1 -> {exec}"
        )
    };
    assert_eq!(super::check(&History::parse(&watch("ok"))).len(), 0);
    assert_no_order(&watch("aborted"));
    let set = "A 0-1 WATCH k1 k2\nB 2-3 SET k2 5 -> ok\nA 4-5 MULTI SET k3 1 -> ok";
    assert_no_order(set);
    let block = "A 0-1 WATCH k1
         B 0-9 MULTI SET k1 5 -> ok; DEL k1 -> 1
         A 2-3 MULTI GET k1 -> aborted
         A 4-5 GET k1 -> nil";
    assert_eq!(super::check(&History::parse(block)).len(), 0);
}

#[test]
fn a_search_tells_where_it_is_stuck() {
    let found = super::check(&History::parse(
        "A 0-1 SET k1 1 -> ok\nA 2-3 DBSIZE -> 1\nB 4-5 COPY k1 k2 -> 0",
    ));
    assert_eq!(
        found[0].text,
        "of 3 operations, 1 have no place. Next could be
  B 4-5 COPY k1 k2 -> 0
 but there is
  k1 = [1]
  k2 = nil"
    );
}

/// Kinds of what is found in a history with looks at everything.
fn found_in_parts(text: &str, looks: usize) -> Vec<Kind> {
    let history = History::parse(text);
    assert_eq!(super::parts::looks(&history).len(), looks, "looks in\n{text}");
    super::check(&history).iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn a_history_is_cut_where_all_is_looked_at() {
    let moved = |size: u32| {
        format!(
            "A 0-1 SET k1 1 -> ok
             B 2-3 MULTI GET k1 -> [1]; KEYS * -> {{k1}}
             A 4-9 RENAME k1 k2 -> ok
             B 5-8 DBSIZE -> {size}
             B 10-11 MULTI MGET k1 k2 -> nil [1]; KEYS * -> {{k2}}
             A 12-13 APPEND k2 3 -> 2"
        )
    };
    assert_eq!(found_in_parts(&moved(1), 2), []);
    let history = History::parse(&moved(2));
    let found = super::check(&history);
    assert_eq!(found[0].kind, Kind::NoOrder);
    assert!(found[0].text.starts_with("in the part of 3 operations from 3 on: of 4 operations, "));
}

#[test]
fn a_history_is_not_cut_where_something_reaches_across() {
    let beside =
        "A 0-1 SET k1 1 -> ok\nB 2-4 MULTI GET k1 -> [1]; KEYS * -> {k1}\nA 3-5 DEL k1 -> 1";
    assert_eq!(found_in_parts(beside, 0), []);
    let half = "A 0-1 MSET k1 1 k2 2 -> ok\nB 2-3 MULTI GET k1 -> [1]; KEYS * -> {k1 k2}";
    assert_eq!(found_in_parts(half, 0), []);
    let elsewhere = "A 0-1 SELECT 1 -> ok\nA 2-3 SET k1 1 -> ok\nB 4-5 MULTI KEYS * -> {}";
    assert_eq!(found_in_parts(elsewhere, 0), []);
    let watched = |exec: &str| {
        format!(
            "A 0-1 WATCH k1
             B 2-3 SET k1 1 -> ok
             B 4-5 MULTI GET k1 -> [1]; KEYS * -> {{k1}}
             A 6-7 MULTI GET k1 -> {exec}
             B 8-9 MULTI GET k1 -> [1]; KEYS * -> {{k1}}"
        )
    };
    assert_eq!(found_in_parts(&watched("aborted"), 1), []);
    assert_eq!(found_in_parts(&watched("[1]"), 1), [Kind::NoOrder]);
}

#[test]
fn what_was_not_answered_may_be_done_after_a_look() {
    let late = |size: u32, again: u32| {
        format!(
            "A 0-1 MSET k1 1 k2 2 -> ok
             B 2-? RENAME k1 k3
             A 3-4 MULTI MGET k1 k2 -> [1] [2]; KEYS * -> {{k1 k2}}
             A 5-6 DEL k2 -> 1
             A 7-8 MULTI MGET k1 k3 -> nil [1]; KEYS * -> {{k3}}
             A 9-10 RENAME k3 k1 -> ok
             A 11-12 DBSIZE -> {size}
             A 13-14 EXISTS k1 -> {again}"
        )
    };
    assert_eq!(found_in_parts(&late(1, 1), 2), []);
    assert_eq!(found_in_parts(&late(2, 1), 2), [Kind::NoOrder]);
    // Each part has an order in which it is done there, but it was asked once.
    assert_eq!(found_in_parts(&late(1, 0), 2), [Kind::NoOrder]);
    let seen = "A 0-? MULTI SELECT 1; APPEND k1 1
         B 2-3 MULTI KEYS * -> {}; SELECT 1 -> ok; KEYS * -> {}
         B 4-5 STRLEN k1 -> 1
         B 6-7 MULTI GET k1 -> [1]; KEYS * -> {k1}; SELECT 0 -> ok; KEYS * -> {}
         B 8-9 DBSIZE -> 0";
    assert_eq!(found_in_parts(seen, 2), []);
}
