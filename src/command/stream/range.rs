//! Reading a stream by ids: XRANGE, XREVRANGE, XLEN; and how entries are replied.

use super::{id, stream_of};
use crate::command::number::integer;
use crate::data::stream::{Message, Value};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::Cx;

/// An entry: its id, and its fields and values in turn.
#[inline]
pub fn write_message(out: &mut Encoder, message: &Message) {
    out.array(2);
    id::write(out, message.id);
    out.array(message.len() * 2);
    for (name, value) in message.pairs() {
        write_value(out, name);
        write_value(out, value);
    }
}

#[inline]
fn write_value(out: &mut Encoder, value: Value) {
    match value {
        Value::Bytes(bytes) => out.bulk(bytes),
        Value::Int(int) => out.bulk_int(int),
    }
}

pub fn xlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = match cx.keys.get(args.at(1)) {
        Some(entry) => stream_of(entry)?.len(),
        None => 0,
    };
    cx.out.int(len as i64);
    Ok(())
}

pub fn xrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, false)
}

pub fn xrevrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, true)
}

fn range(cx: &mut Cx, args: Args, backwards: bool) -> Result<(), CmdError> {
    let (start, end) = if backwards { (3, 2) } else { (2, 3) };
    let start = id::interval_start(args.at(start))?;
    let end = id::interval_end(args.at(end))?;
    let mut most = usize::MAX;
    for at in (4..args.len()).step_by(2) {
        let count = args.get(at + 1).filter(|_| args.is(at, "COUNT"));
        most = integer(count.ok_or(CmdError::SYNTAX)?)?.max(0) as usize;
    }
    let Some(entry) = cx.keys.get(args.at(1)) else {
        cx.out.array(0);
        return Ok(());
    };
    let log = &stream_of(entry)?.log;
    let out = &mut cx.out;
    if most == 0 {
        out.null_array();
        return Ok(());
    }
    let count = log.count(start, end, most);
    out.array(count);
    match backwards {
        false => log.range(start, end).take(count).for_each(|it| write_message(out, &it)),
        true => log.range_back(start, end).take(count).for_each(|it| write_message(out, &it)),
    }
    Ok(())
}
