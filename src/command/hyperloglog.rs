//! HyperLogLog: counting different things in little memory.
//!
//! The values are strings, whose bytes `data/hyperloglog.rs` knows. A dense one is changed in place;
//! a sparse one is short, and changed in a copy.
//!
//! Which form one has is there for all to see, and depends on `hll-sparse-max-bytes` at the time. So what
//! becomes dense is recorded as that, and nothing becomes so by its length when it is replayed.

use super::spec::*;
use crate::data::hyperloglog::{self as hll, Corrupt, Form, Histogram, REGISTERS};
use crate::data::{Entry, ValueRef};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};

const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const RW_ACCESS: &[&str] = &["RW", "access"];
const RW_ACCESS_INSERT: &[&str] = &["RW", "access", "insert"];

pub const COMMANDS: &[Command] = &[
    shard("pfadd", -2, WRITE_OOM.with(FAST), &[KeySpec::one(1, RW_INSERT)], pfadd).doc(
        Group::HyperLogLog,
        "2.8.9",
        "O(1) for each element.",
        "key [element [element ...]]",
        "Adds elements to a HyperLogLog and tells whether that changed its estimate.",
    ),
    shard(
        "pfcount",
        -2,
        READONLY.with(MAY_REPLICATE),
        &[KeySpec::range(1, -1, 1, RW_ACCESS)],
        pfcount,
    )
    .doc(
        Group::HyperLogLog,
        "2.8.9",
        "O(1) for one key, O(N) for N of them with a much larger constant.",
        "key [key ...]",
        "Estimates how many different elements were added to one or several HyperLogLogs.",
    ),
    shard(
        "pfmerge",
        -2,
        WRITE_OOM,
        &[KeySpec::one(1, RW_ACCESS_INSERT), KeySpec::range(2, -1, 1, RO_ACCESS)],
        pfmerge,
    )
    .doc(
        Group::HyperLogLog,
        "2.8.9",
        "O(N) for N HyperLogLogs, with a large constant.",
        "destkey [sourcekey [sourcekey ...]]",
        "Adds to a HyperLogLog what was added to others.",
    ),
    shard("pfdebug", 3, WRITE_OOM.with(ADMIN), &[KeySpec::one(2, RW_ACCESS)], pfdebug).doc(
        Group::HyperLogLog,
        "2.8.9",
        "O(1)",
        "subcommand key",
        "Shows the registers of a HyperLogLog, for tests.",
    ),
    shard("pfselftest", 1, ADMIN, &[], pfselftest).doc(
        Group::HyperLogLog,
        "2.8.9",
        "O(1)",
        "",
        "Tests the counting of HyperLogLogs.",
    ),
];

impl From<Corrupt> for CmdError {
    fn from(_: Corrupt) -> CmdError {
        CmdError::fixed("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The bytes and the form of the HyperLogLog that `entry` holds.
fn hll_of(entry: &Entry) -> Result<(&[u8], Form), CmdError> {
    const INVALID: CmdError =
        CmdError::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");
    match entry.value() {
        ValueRef::Bytes(bytes) => hll::form(bytes).map(|form| (bytes, form)).ok_or(INVALID),
        ValueRef::Int(_) => Err(INVALID),
        ValueRef::Object(_) => Err(CmdError::WRONG_TYPE),
    }
}

/// Puts changed bytes in place of those that `entry` holds, as after a change in place.
fn put(entry: &mut Entry, bytes: &[u8]) {
    entry.set_bytes(bytes);
    entry.make_mut_slice();
}

fn new_entry(key: &[u8], bytes: &[u8]) -> Entry {
    let mut entry = Entry::bytes(key, bytes, None);
    entry.make_mut_slice();
    entry
}

/// Records a command that has made a HyperLogLog dense, if it can be recorded as it was given: its first words
/// are its name and so many keys.
fn record_dense(cx: &mut Cx, key: &[u8], args: &Args, keys: usize) {
    let words: Vec<&[u8]> = args.iter().collect();
    if cx.keys.is_recorded() && cx.keys.are_together(&words[1..=keys]) {
        cx.keys.effect(key, &words);
        cx.keys.effect(key, &[b"PFDEBUG", b"TODENSE", key]);
    }
}

fn pfadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, elements) = (args.at(1), args.from(2));
    let sparse_max = cx.settings.encodings.hll_sparse_max_bytes;
    let (mut updated, mut grown) = (0, false);
    let mut result = Ok(());
    let mut add_all = |bytes: &mut Vec<u8>| {
        for element in elements.iter() {
            match hll::add(bytes, element, sparse_max) {
                Ok(changed) => updated += u64::from(changed),
                Err(corrupt) => {
                    result = Err(corrupt);
                    break;
                }
            }
        }
        if updated > 0 {
            hll::set_out_of_date(bytes);
        }
        grown = hll::form(bytes) == Some(Form::Dense);
        updated > 0
    };
    match cx.keys.get_mut(key) {
        None => {
            let mut bytes = hll::empty();
            add_all(&mut bytes);
            hll::set_out_of_date(&mut bytes);
            cx.keys.insert(new_entry(key, &bytes));
            updated += 1;
        }
        Some(entry) => match hll_of(entry)? {
            (bytes, Form::Sparse) => {
                let mut bytes = bytes.to_vec();
                match add_all(&mut bytes) {
                    true => put(entry, &bytes),
                    false => drop(entry.make_mut_slice()),
                }
            }
            (_, Form::Dense) => {
                let bytes = entry.make_mut_slice();
                let added = elements.iter().filter(|element| hll::add_dense(bytes, element));
                updated = added.count() as u64;
                if updated > 0 {
                    hll::set_out_of_date(bytes);
                }
            }
        },
    }
    cx.keys.changed(updated);
    result?;
    if grown {
        record_dense(cx, key, &args, 1);
    }
    if updated > 0 {
        cx.keys.notify(Class::String, "pfadd", key);
    }
    cx.out.int(i64::from(updated > 0));
    Ok(())
}

fn pfcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 2 {
        let mut max = Box::new([0; REGISTERS]);
        for key in args.from(1).iter() {
            if let Some(entry) = cx.keys.get(key) {
                hll::merge_into(&mut max, hll_of(entry)?.0)?;
            }
        }
        cx.out.int(Histogram::of(&max).cardinality() as i64);
        return Ok(());
    }
    let key = args.at(1);
    let known = match cx.keys.get(key) {
        Some(entry) => hll::cached(hll_of(entry)?.0),
        None => Some(0),
    };
    let cardinality = match (known, cx.keys.get_mut(key)) {
        (Some(known), entry) => {
            entry.map(Entry::make_mut_slice);
            known
        }
        (None, None) => 0,
        (None, Some(entry)) => {
            let bytes = entry.make_mut_slice();
            let cardinality = hll::histogram(bytes)?.cardinality();
            hll::set_cached(bytes, cardinality);
            cx.keys.changed(1);
            cardinality
        }
    };
    cx.out.int(cardinality as i64);
    Ok(())
}

fn pfmerge(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let sparse_max = cx.settings.encodings.hll_sparse_max_bytes;
    let (mut max, mut dense) = (Box::new([0; REGISTERS]), false);
    for key in args.from(1).iter() {
        if let Some(entry) = cx.keys.get(key) {
            let (bytes, form) = hll_of(entry)?;
            dense |= form == Form::Dense;
            hll::merge_into(&mut max, bytes)?;
        }
    }
    let entry = cx.keys.get_mut(key);
    let mut bytes = match &entry {
        Some(entry) => hll_of(entry)?.0.to_vec(),
        None => hll::empty(),
    };
    let before = hll::form(&bytes);
    if dense {
        hll::make_dense(&mut bytes)?;
    }
    hll::raise_all(&mut bytes, &max, sparse_max)?;
    let grown = hll::form(&bytes) != before;
    match entry {
        Some(entry) => put(entry, &bytes),
        None => cx.keys.insert(new_entry(key, &bytes)),
    }
    if grown {
        record_dense(cx, key, &args, args.len() - 1);
    }
    cx.keys.notify(Class::String, "pfadd", key);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

fn pfdebug(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some(entry) = cx.keys.get_mut(args.at(2)) else {
        return Err(CmdError::fixed("ERR The specified key does not exist"));
    };
    hll_of(entry)?;
    entry.make_mut_slice();
    let (bytes, form) = hll_of(entry)?;
    if args.is(1, "encoding") {
        cx.out.simple(if form == Form::Dense { "dense" } else { "sparse" });
    } else if args.is(1, "decode") {
        if form != Form::Sparse {
            return Err(CmdError::fixed("ERR HLL encoding is not sparse"));
        }
        cx.out.bulk(hll::describe(bytes).as_bytes());
    } else if args.is(1, "getreg") || args.is(1, "todense") {
        if form == Form::Sparse {
            let mut bytes = bytes.to_vec();
            hll::make_dense(&mut bytes)?;
            put(entry, &bytes);
        }
        match args.is(1, "getreg") {
            true => {
                cx.out.array(REGISTERS);
                let (bytes, _) = hll_of(entry)?;
                hll::dense_registers(bytes).for_each(|value| cx.out.int(i64::from(value)));
            }
            false => cx.out.int(i64::from(form == Form::Sparse)),
        }
        cx.keys.changed(u64::from(form == Form::Sparse));
    } else {
        return Err(CmdError::err_of(&[b"Unknown PFDEBUG subcommand '", args.at(1), b"'"]));
    }
    Ok(())
}

/// Counts up to a million different elements in both forms and compares the estimates with each
/// other and with the truth, which they miss by no more than six standard errors.
fn pfselftest(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    const MOST: u64 = 1_000_000;
    let failed = |what: std::fmt::Arguments| CmdError::of_bytes(format!("TESTFAILED {what}"));
    let sparse_max = cx.settings.encodings.hll_sparse_max_bytes;
    let salt = cx.random.u64(..);
    let (mut grown, mut dense) = (hll::empty(), hll::empty());
    hll::make_dense(&mut dense)?;
    let mut checkpoint = 1;
    for n in 1..=MOST {
        let element = (n ^ salt).to_le_bytes();
        hll::add(&mut grown, &element, sparse_max)?;
        hll::add_dense(&mut dense, &element);
        if n != checkpoint {
            continue;
        }
        if n < sparse_max as u64 / 2 && hll::form(&grown) != Some(Form::Sparse) {
            return Err(failed(format_args!("sparse encoding not used")));
        }
        let estimate = hll::histogram(&dense)?.cardinality();
        if estimate != hll::histogram(&grown)?.cardinality() {
            return Err(failed(format_args!("dense/sparse disagree")));
        }
        let standard_error = 1.04 / (REGISTERS as f64).sqrt();
        // With ten elements one that meets another is likely enough to happen.
        let allowed = if n == 10 { 1 } else { (standard_error * 6.0 * n as f64).ceil() as u64 };
        let missed = estimate.abs_diff(n);
        if missed > allowed {
            return Err(failed(format_args!("Too big error. card:{n} abserr:{missed}")));
        }
        checkpoint *= 10;
    }
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    const NOT_ONE: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n";
    const CORRUPT: &str = "-INVALIDOBJ Corrupted HLL object detected\r\n";

    fn add(bench: &mut Bench, key: &str, range: std::ops::Range<usize>) {
        for n in range {
            bench.run(&format!("PFADD {key} element-{n}"));
        }
    }

    fn count(bench: &mut Bench, keys: &str) -> i64 {
        bench.run(&format!("PFCOUNT {keys}"))[1..].trim().parse().unwrap()
    }

    #[test]
    fn different_elements_are_counted() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("PFADD h"), ":1\r\n");
        assert_eq!(bench.run("PFADD h"), ":0\r\n");
        assert_eq!(bench.run("PFCOUNT h"), ":0\r\n");
        assert_eq!(bench.run("PFADD h a b c a"), ":1\r\n");
        assert_eq!(bench.run("PFADD h c b"), ":0\r\n");
        assert_eq!(bench.run("PFCOUNT h"), ":3\r\n");
        assert_eq!(bench.run("PFCOUNT h none"), ":3\r\n");
        assert_eq!(bench.run("PFCOUNT none"), ":0\r\n");
        for (elements, form) in [(1000, "sparse"), (20_000, "dense")] {
            add(&mut bench, "big", 0..elements);
            let error = count(&mut bench, "big").abs_diff(elements as i64);
            assert!(error < elements as u64 / 20, "{error} of {elements}");
            assert_eq!(bench.run("PFDEBUG ENCODING big"), format!("+{form}\r\n"));
        }
        assert_eq!(bench.run("OBJECT ENCODING h"), "$3\r\nraw\r\n");
        assert_eq!(bench.run("STRLEN big"), ":12304\r\n");
    }

    #[test]
    fn a_merge_counts_what_any_has() {
        let mut bench = Bench::new();
        add(&mut bench, "a", 0..300);
        add(&mut bench, "b", 200..500);
        add(&mut bench, "dense", 0..500);
        assert_eq!(bench.run("PFDEBUG TODENSE dense"), ":1\r\n");
        assert_eq!(bench.run("PFDEBUG TODENSE dense"), ":0\r\n");
        let union = count(&mut bench, "dense");
        assert_eq!(count(&mut bench, "a b"), union);
        assert_eq!(bench.run("PFMERGE to a b none"), "+OK\r\n");
        assert_eq!(count(&mut bench, "to"), union);
        assert_eq!(bench.run("PFDEBUG ENCODING to"), "+sparse\r\n");
        assert_eq!(bench.run("PFMERGE to dense"), "+OK\r\n");
        assert_eq!(bench.run("PFDEBUG ENCODING to"), "+dense\r\n");
        assert_eq!(count(&mut bench, "to"), union);
        assert_eq!(bench.run("PFMERGE new"), "+OK\r\n");
        assert_eq!(bench.run("PFCOUNT new"), ":0\r\n");
        bench.run("EXPIRE to 100");
        bench.run("PFMERGE to a");
        bench.run("PFADD to x");
        assert_eq!(bench.run("TTL to"), ":100\r\n");
    }

    #[test]
    fn registers_are_shown() {
        let mut bench = Bench::new();
        bench.run("PFADD h a b");
        let runs = "Z:12711 v:2,1 Z:3068 v:1,1 Z:603";
        assert_eq!(bench.run("PFDEBUG decode h"), format!("${}\r\n{runs}\r\n", runs.len()));
        let registers = bench.run("PFDEBUG GETREG h");
        assert!(registers.starts_with("*16384\r\n:0\r\n"));
        assert_eq!(registers.matches(":0\r\n").count(), REGISTERS - 2);
        assert_eq!(bench.run("PFDEBUG DECODE h"), "-ERR HLL encoding is not sparse\r\n");
        assert_eq!(bench.run("PFDEBUG NO h"), "-ERR Unknown PFDEBUG subcommand 'NO'\r\n");
        assert_eq!(bench.run("PFDEBUG NO none"), "-ERR The specified key does not exist\r\n");
        assert_eq!(bench.run("PFSELFTEST"), "+OK\r\n");
    }

    #[test]
    fn changes_are_counted() {
        let mut bench = Bench::new();
        for (command, changes) in [
            ("PFADD h", 1),
            ("PFADD h a b", 2),
            ("PFADD h a", 0),
            ("PFCOUNT h", 1),
            ("PFCOUNT h", 0),
            ("PFCOUNT h none", 0),
            ("PFMERGE h", 1),
            ("PFDEBUG TODENSE h", 1),
            ("PFDEBUG GETREG h", 0),
            ("PFADD h a c", 1),
        ] {
            let before = bench.shard.stats.changes.get();
            bench.run(command);
            assert_eq!(bench.shard.stats.changes.get() - before, changes, "{command}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let mut bench = Bench::new();
        bench.run("SET s text");
        bench.run("SET i 12");
        bench.run("SADD set a");
        bench.run_args(&[b"SET", b"short", b"HYLL\x01\0\0\0\0\0\0\0\0\0\0"]);
        bench.run_args(&[b"SET", b"form", b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0"]);
        bench.run_args(&[b"SET", b"dense", b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0"]);
        for key in ["s", "i", "short", "form", "dense"] {
            for command in ["PFADD K a", "PFCOUNT K", "PFCOUNT none K", "PFMERGE K", "PFDEBUG x K"]
            {
                assert_eq!(bench.run(&command.replace('K', key)), NOT_ONE, "{command} {key}");
            }
        }
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        for command in ["PFADD set a", "PFCOUNT set", "PFMERGE to set", "PFDEBUG GETREG set"] {
            assert_eq!(bench.run(command), wrong, "{command}");
        }
        assert_eq!(bench.run("EXISTS to"), ":0\r\n");
    }

    #[test]
    fn registers_that_do_not_add_up_are_told() {
        let mut bench = Bench::new();
        // Out of date, and nothing but 256 zeros.
        let bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x40\xff";
        bench.run_args(&[b"SET", b"h", bytes]);
        for command in [
            "PFCOUNT h",
            "PFCOUNT h none",
            "PFMERGE to h",
            "PFDEBUG GETREG h",
            "PFDEBUG TODENSE h",
            "PFADD h a",
        ] {
            assert_eq!(bench.run(command), CORRUPT, "{command}");
        }
        assert_eq!(bench.run_args(&[b"GET", b"h"])[5..23], *bytes);
        assert_eq!(bench.run("PFDEBUG DECODE h"), "$5\r\nZ:256\r\n");
    }
}
