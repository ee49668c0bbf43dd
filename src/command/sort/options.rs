//! What SORT and SORT_RO are asked for.

use crate::command::number::integer;
use crate::error::CmdError;
use crate::resp::Args;
use smallvec::SmallVec;
use std::ops::Range;

#[derive(Debug, Default)]
pub struct Options<'a> {
    pub desc: bool,
    pub alpha: bool,
    /// First element and how many; negative ones are all.
    limit: Option<(i64, i64)>,
    pub by: Option<&'a [u8]>,
    pub get: SmallVec<[&'a [u8]; 4]>,
    /// The argument that is the key to store at.
    pub store: Option<usize>,
}

const BY_DENIED: CmdError =
    CmdError::fixed("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: CmdError =
    CmdError::fixed("ERR GET option of SORT denied due to insufficient ACL permissions.");

impl<'a> Options<'a> {
    /// Of options that are given twice, the last one counts; all GETs do.
    pub fn parse(args: &Args<'a>, may_store: bool) -> Result<Options<'a>, CmdError> {
        Options::parse_for(args, may_store, true)
    }

    /// As [`Options::parse`], for a client that may perhaps not read keys that are not named.
    pub fn parse_for(
        args: &Args<'a>,
        may_store: bool,
        reads_all_keys: bool,
    ) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "asc") {
                options.desc = false;
            } else if args.is(at, "desc") {
                options.desc = true;
            } else if args.is(at, "alpha") {
                options.alpha = true;
            } else if args.is(at, "limit") && at + 2 < args.len() {
                options.limit = Some((integer(args.at(at + 1))?, integer(args.at(at + 2))?));
                at += 2;
            } else if may_store && args.is(at, "store") && at + 1 < args.len() {
                options.store = Some(at + 1);
                at += 1;
            } else if args.is(at, "by") && at + 1 < args.len() {
                options.by = args.get(at + 1);
                if !reads_all_keys && args.at(at + 1).contains(&b'*') {
                    return Err(BY_DENIED);
                }
                at += 1;
            } else if args.is(at, "get") && at + 1 < args.len() {
                options.get.push(args.at(at + 1));
                if !reads_all_keys {
                    return Err(GET_DENIED);
                }
                at += 1;
            } else {
                return Err(CmdError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// Which of `len` elements in order are wanted.
    pub fn wanted(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
        let count = usize::try_from(count).unwrap_or(len).min(len - start);
        start..start + count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::with_args;

    fn wanted(words: &str, len: usize) -> Range<usize> {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        with_args(&words, |args| Options::parse(&args, true).unwrap().wanted(len))
    }

    #[test]
    fn a_limit_is_cut_to_what_there_is() {
        assert_eq!(wanted("SORT k", 3), 0..3);
        assert_eq!(wanted("SORT k LIMIT 1 1", 3), 1..2);
        assert_eq!(wanted("SORT k LIMIT -5 2", 3), 0..2);
        assert_eq!(wanted("SORT k LIMIT 2 9223372036854775807", 3), 2..3);
        assert_eq!(wanted("SORT k LIMIT 1 -1", 3), 1..3);
        assert_eq!(wanted("SORT k LIMIT 0 0", 3), 0..0);
        assert_eq!(wanted("SORT k LIMIT 9 1", 3), 3..3);
        assert_eq!(wanted("SORT k LIMIT 0 5 LIMIT 1 1", 3), 1..2);
        assert_eq!(wanted("SORT k", 0), 0..0);
    }

    #[test]
    fn what_lacks_its_argument_is_no_option() {
        for words in ["SORT k LIMIT 1", "SORT k BY", "SORT k GET", "SORT k STORE", "SORT k FOO"] {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            let error = with_args(&words, |args| Options::parse(&args, true).unwrap_err());
            assert_eq!(error, CmdError::SYNTAX, "{words:?}");
        }
        let words: [&[u8]; 4] = [b"SORT_RO", b"k", b"store", b"x"];
        with_args(&words, |args| assert!(Options::parse(&args, false).is_err()));
    }
}
