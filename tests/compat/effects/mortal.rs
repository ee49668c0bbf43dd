//! Random commands in a world where time passes: keys, fields and entries come to their end while
//! they are used.
//!
//! A command is made from a line of the table. In it `$` and a letter is something random, and of
//! `[a|b|]` one is taken.

use super::rig::START;
use crate::harness::{Cmd, Rng};

/// What every server of the Redis family knows.
const COMMON: &str = "
SET $t $v
SET $t $v EX 1
SET $t $v PX $p [NX|XX|] [GET|]
SET $t $v PXAT $w [NX|XX|] [GET|]
SET $t $v EXAT $y
SET $t $v KEEPTTL [GET|]
SET $t $v [NX|XX|GET|NX GET]
SETEX $t 1 $v
PSETEX $t $p $v
SETNX $t $v
GETSET $t $v
GETDEL $t
GETEX $t [EX 1|PX $p|PXAT $w|EXAT $y|PERSIST|]
APPEND $t $v
SETRANGE $t $n $v
INCR $t
INCRBY $t $n
DECRBY $t $n
DECR $t
INCRBYFLOAT $t $d
INCRBYFLOAT $t $d
MSET $t $v $t $v
MSETNX $t $v $t $v
SETBIT $t $n [0|1]
BITFIELD $t SET u8 $n $n INCRBY i5 $n 3
BITFIELD $t OVERFLOW FAIL INCRBY u2 $n 2 GET u4 0
BITOP [AND|OR|XOR] $t $t $t
BITOP NOT $t $t
PFADD $u $m $m $m
PFADD $u
PFCOUNT $u
PFCOUNT $u $u
PFMERGE $u $u $u
EXPIRE $a [1|0|-1|100] [NX|XX|GT|LT|]
PEXPIRE $a $p [NX|XX|GT|LT|]
PEXPIRE $a $p
PEXPIREAT $a $w [NX|XX|GT|LT|]
EXPIREAT $a $y [NX|XX|GT|LT|]
PERSIST $a
DEL $a $a
UNLINK $a $a
RENAME $a $a
RENAMENX $a $a
COPY $a $a [REPLACE|] [DB 1|DB 0|]
MOVE $a [0|1]
SELECT [0|0|1]
SWAPDB 0 1
[FLUSHDB|PERSIST t0|PERSIST t0|PERSIST t0|PERSIST t0|PERSIST t0]
[FLUSHALL ASYNC|PERSIST t0|PERSIST t0|PERSIST t0|PERSIST t0|PERSIST t0|PERSIST t0]
EXISTS $a $a
GET $t
TTL $a
RANDOMKEY
RPUSH $l $v $v $v
LPUSH $l $m $m
RPUSHX $l $v
LPUSHX $l $v
LPOP $l [|0|2|100]
RPOP $l [|2|100]
LMOVE $l $l [LEFT|RIGHT] [LEFT|RIGHT]
RPOPLPUSH $l $l
BLMOVE $l $l [LEFT|RIGHT] [LEFT|RIGHT] 1
BRPOPLPUSH $l $l 0
BLPOP $l $l 0
BRPOP $l $l 0
LMPOP 2 $l $l [LEFT|RIGHT] [COUNT 3|]
BLMPOP 0 2 $l $l [LEFT|RIGHT] [COUNT 2|]
LSET $l 0 $v
LREM $l [0|1|-1] $m
LTRIM $l [0|1] [2|-2]
LINSERT $l [BEFORE|AFTER] $m $v
SORT [$l|$e|$z] ALPHA [BY nosort|BY h*->$f|BY t*|] [GET h*->$f|GET # GET t*|] STORE $l
SORT [$l|$e|$z] [BY nosort|] [LIMIT 0 2|] [DESC|] STORE $l
SADD $e $m $m $m
SADD $e $m $m $m $m $m
SREM $e $m $m
SPOP $e
SPOP $e [1|2|3|100]
SMOVE $e $e $m
[SINTERSTORE|SUNIONSTORE|SDIFFSTORE] $e $e $e
ZADD $z $n $m $d $m
ZADD $z [NX|XX|] [CH|] $d $m $n $m
ZADD $z [GT|LT] $d $m
ZADD $z INCR $d $m
ZINCRBY $z $d $m
ZREM $z $m $m
[ZPOPMIN|ZPOPMAX] $z [|2|100]
[BZPOPMIN|BZPOPMAX] $z $z 0
ZMPOP 2 $z $z [MIN|MAX] [COUNT 2|]
BZMPOP 0 2 $z $z [MIN|MAX] [COUNT 3|]
ZREMRANGEBYRANK $z 0 [0|1]
ZREMRANGEBYLEX $z - (b
ZREMRANGEBYSCORE $z 0 $n
[ZUNIONSTORE|ZINTERSTORE] $z 2 $z [$z|$e] [AGGREGATE MIN|WEIGHTS 2 0.5|]
ZDIFFSTORE $z 2 $z $z
ZRANGESTORE $z $z 0 [1|-1]
GEOADD $g [NX|XX|CH|] 13.361389 38.115556 $m 15.$n 37.5 $m
GEOADD $g 2.$n 48.85 $m
GEOSEARCHSTORE $g $g FROMLONLAT 15 37 BYRADIUS [200|3000] km [ASC|DESC|] [COUNT 2|COUNT 1 ANY|] [STOREDIST|]
GEORADIUS $g 15 37 [200|3000] km [COUNT 2|] [STORE $g|STOREDIST $g]
GEORADIUSBYMEMBER $g $m 500 km STORE $g
HSET $h $f $v $f $v
HSET $h $f $n
HMSET $h $f $v
HSETNX $h $f $n
HSETNX $h $f $v
HDEL $h $f $f
HINCRBY $h $f $n
HINCRBY $h $f $n
HINCRBYFLOAT $h $f $d
HGET $h $f
XADD $x * a $v
XADD $x * a $v b $v
XADD $x [NOMKSTREAM|] [MAXLEN $n|MAXLEN ~ $n|MAXLEN ~ $n LIMIT 3|MAXLEN = $n] * a $v
XADD $x [MINID $i|MINID ~ $i|MINID ~ $i LIMIT 2] * a $v
XADD $x $i a $v
XADD $x $y-* a $v
XTRIM $x [MAXLEN $n|MAXLEN ~ $n|MAXLEN ~ $n LIMIT 2|MINID $i|MINID ~ $i]
XDEL $x $i $i
XSETID $x $w-7 [ENTRIESADDED 100 MAXDELETEDID 0-0|]
XGROUP CREATE $x $k [0|$$|$i] [MKSTREAM|] [ENTRIESREAD $n|]
XGROUP CREATE $x $k 0 MKSTREAM
XGROUP SETID $x $k [0|$$|$i] [ENTRIESREAD $n|]
XGROUP CREATECONSUMER $x $k $o
XGROUP DELCONSUMER $x $k $o
[XGROUP DESTROY $x $k|XLEN $x|XLEN $x]
XREADGROUP GROUP $k $o [COUNT 2|COUNT 5|] [NOACK|] STREAMS $x >
XREADGROUP GROUP $k $o COUNT 3 STREAMS $x >
XREADGROUP GROUP $k $o STREAMS $x $x > >
XREADGROUP GROUP $k $o [COUNT 2|] STREAMS $x [0|$i]
XACK $x $k $i $i
XCLAIM $x $k $o [0|$p] $i $i $i [IDLE $p|TIME $w|] [RETRYCOUNT $n|] [FORCE|] [JUSTID|]
XCLAIM $x $k $o 0 $i LASTID $i
XAUTOCLAIM $x $k $o [0|$p] [0|$i] [COUNT 2|] [JUSTID|]
";

/// Fields that expire.
const FIELDS: &str = "
HEXPIRE $h [1|0] [NX|XX|GT|LT|] FIELDS 2 $f $f
HPEXPIRE $h $p [NX|XX|GT|LT|] FIELDS 2 $f $f
HPEXPIRE $h $p FIELDS 3 $f $f $f
HPEXPIRE $h $p FIELDS 1 $f
HEXPIREAT $h $y FIELDS 1 $f
HPEXPIREAT $h $w [NX|XX|GT|LT|] FIELDS 2 $f $f
HPERSIST $h FIELDS 2 $f $f
HGETEX $h [EX 1|PX $p|EXAT $y|PXAT $w|PERSIST|] FIELDS 2 $f $f
HGETEX $h [PX $p|PERSIST|PXAT $w] FIELDS 2 $f $f
HSETEX $h [NX|XX|] [FNX|FXX|] [EX 1|PX $p|EXAT $y|PXAT $w|KEEPTTL|] FIELDS 2 $f $v $f $n
HSETEX $h [PX $p|PX $p|PXAT $w|KEEPTTL|KEEPTTL] FIELDS 2 $f $n $f $n
HGETDEL $h FIELDS 2 $f $f
HDEL $h $f
HINCRBY $h $f $n
HINCRBYFLOAT $h $f $d
HSETNX $h $f $v
HLEN $h
";

/// Makes commands.
pub struct Maker {
    lines: Vec<&'static str>,
    pub rng: Rng,
    /// When entries were added.
    added: Vec<i64>,
}

impl Maker {
    pub fn new(seed: u64, fields: bool) -> Maker {
        let table = |text: &'static str| text.lines().filter(|line| !line.is_empty());
        let mut lines: Vec<&str> = table(COMMON).collect();
        if fields {
            // As often as all that is about streams.
            (0..3).for_each(|_| lines.extend(table(FIELDS)));
        }
        Maker { lines, rng: Rng::new(seed), added: Vec::new() }
    }

    /// A command to be run at a time.
    pub fn make(&mut self, now: i64) -> Cmd {
        let line = self.lines[self.rng.below(self.lines.len())];
        let text = self.filled(line, now);
        if line.starts_with("XADD") {
            self.added.push(now);
        }
        Cmd::new(text.split_whitespace())
    }

    /// How much time passes before the next command.
    pub fn pause(&mut self) -> i64 {
        match self.rng.below(20) {
            0..10 => 0,
            10..18 => self.rng.below(20) as i64,
            18 => self.rng.below(100) as i64,
            _ => self.rng.below(2000) as i64,
        }
    }

    fn filled(&mut self, line: &str, now: i64) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(['[', '$']) {
            text.push_str(&rest[..at]);
            if rest[at..].starts_with('[') {
                let end = at + rest[at..].find(']').expect("a bracket is closed");
                let all: Vec<&str> = rest[at + 1..end].split('|').collect();
                let one = all[self.rng.below(all.len())];
                text.push_str(&self.filled(one, now));
                rest = &rest[end + 1..];
            } else {
                text.push_str(&self.random(rest.as_bytes()[at + 1], now));
                rest = &rest[at + 2..];
            }
        }
        text + rest
    }

    fn random(&mut self, what: u8, now: i64) -> String {
        let mut n = |most: usize| self.rng.below(most);
        let key = |letter: char, number: usize| format!("{letter}{number}");
        match what {
            b't' | b'l' | b'h' | b'e' | b'z' | b'x' | b'u' | b'g' => {
                let most = if matches!(what, b'h' | b'x') { 2 } else { 3 };
                // Now and then of another type.
                let other = n(60) == 0;
                key(if other { 't' } else { char::from(what) }, n(most))
            }
            b'a' => key(char::from(b"tlhhhezxug"[n(10)]), n(3)),
            b'v' => ["v", "some longer value", "12", "-3", "1.5", ""][n(5)].to_string(),
            b'm' => ["a", "b", "c", "0", "1", "2", "17"][n(7)].to_string(),
            b'f' => key('f', n(4)),
            b'n' => n(12).to_string(),
            b'd' => ["0.1", "-2.5", "3", "1e3", "10", "-0.3"][n(6)].to_string(),
            b'p' => (1 + n(60)).to_string(),
            b'w' => (now - 20 + n(80) as i64).to_string(),
            b'y' => (now / 1000 + n(3) as i64).to_string(),
            b'i' => match self.added.len() {
                0 => format!("{}-0", START + n(400) as i64),
                most => {
                    let back = n(most.min(12));
                    format!("{}-{}", self.added[most - 1 - back], n(20) / 17)
                }
            },
            b'k' => key('g', n(2)),
            b'o' => ["alice", "bob"][n(2)].to_string(),
            b'$' => "$".to_string(),
            other => panic!("${} stands for nothing", char::from(other)),
        }
    }
}
