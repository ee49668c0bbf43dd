//! Strings (interim: GET and SET only).

use super::spec::*;
use crate::data::value::ValueRef;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Cx, Expiry};

pub const COMMANDS: &[Command] = &[
    shard("get", 2, READONLY.with(FAST), &[KeySpec::one(1, RO_ACCESS)], get).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key",
        "Returns the string value of a key.",
    ),
    shard("set", -3, WRITE.with(DENYOOM), &[KeySpec::one(1, RW_ACCESS_UPDATE)], set).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key value",
        "Sets the string value of a key.",
    ),
];

fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.get(args.at(1)) {
        None => cx.out.null(),
        Some(entry) => match entry.value() {
            ValueRef::Int(n) => cx.out.bulk_int(n),
            ValueRef::Bytes(b) => cx.out.bulk(b),
            ValueRef::Object(_) => return Err(CmdError::WRONG_TYPE),
        },
    }
    Ok(())
}

fn set(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.keys.set_string(args.at(1), args.at(2), Expiry::Clear);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn a_value_comes_back() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("SET k v"), "+OK\r\n");
        assert_eq!(bench.run("get k"), "$1\r\nv\r\n");
        assert_eq!(bench.run("get none"), "$-1\r\n");
    }
}
