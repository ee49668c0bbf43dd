//! Times to live: what EXPIRE and its kin accept, and that keys do go.

use crate::harness::pair::{Both, everywhere, everywhere_with};
use std::thread::sleep;
use std::time::Duration;

#[test]
fn setting_and_reading() {
    everywhere(
        r#"
        EXPIRE missing 10
        TTL missing
        PTTL missing
        EXPIRETIME missing
        PEXPIRETIME missing
        PERSIST missing
        SET k v
        TTL k
        PTTL k
        EXPIRETIME k
        PEXPIRETIME k
        PERSIST k
        EXPIRE k 100
        TTL k
        PTTL k
        PEXPIRE k 100000
        TTL k
        EXPIREAT k 4000000000
        EXPIRETIME k
        PEXPIRETIME k
        PEXPIREAT k 4000000000999
        EXPIRETIME k
        PEXPIRETIME k
        PERSIST k
        TTL k
        PERSIST k
        EXPIRE k -1
        EXISTS k
        SET k v
        EXPIRE k 0
        EXISTS k
        SET k v
        EXPIREAT k 1
        EXISTS k
        SET k v
        PEXPIREAT k 0
        EXISTS k
        "#,
    );
}

#[test]
fn conditions() {
    everywhere(
        r#"
        SET k v
        EXPIRE k 100 XX
        EXPIRE k 100 GT
        TTL k
        EXPIRE k 100 LT
        TTL k
        EXPIRE k 200 NX
        EXPIRE k 50 GT
        EXPIRE k 200 GT
        TTL k
        EXPIRE k 500 LT
        EXPIRE k 150 LT
        TTL k
        EXPIRE k 300 XX
        TTL k
        PERSIST k
        EXPIRE k 10 NX
        EXPIREAT k 4000000000 GT
        EXPIREAT k 4000000000 GT
        EXPIREAT k 4000000000 LT
        PEXPIREAT k 4000000000001 GT
        EXPIRE k 1 NX XX
        EXPIRE k 1 NX GT
        EXPIRE k 1 GT LT
        EXPIRE k 1 XX GT
        EXPIRE k 1000 XX LT
        EXPIRE k 1 FOO
        EXPIRE k 1 GT FOO
        EXPIRE k 1 xx xx
        EXPIRE missing 1 NX
        EXPIRE missing 1 NX XX
        EXPIRE k -1 GT
        EXPIRE k -1 LT
        EXISTS k
        "#,
    );
}

#[test]
fn limits_of_time() {
    everywhere(
        r#"
        SET k v
        EXPIRE k 9223372036854775807
        EXPIRE k 9223372036854775
        EXPIRE k 9223370000000000
        PEXPIRE k 9223372036854775807
        EXPIREAT k 9223372036854775807
        EXPIREAT k 9223372036854775
        EXPIRETIME k
        PEXPIREAT k 9223372036854775807
        PEXPIRETIME k
        TTL k
        EXPIRE k -9223372036854775808
        EXPIRE k abc
        EXPIRE k 1.5
        EXPIRE k ""
        EXPIRE k
        PEXPIRE k
        EXPIREAT k
        TTL
        TTL k k
        GETEX k EX 9223372036854775807
        SET k v EX 9223372036854775
        SET k v PXAT 9223372036854775807
        PEXPIRETIME k
        EXISTS k
        "#,
    );
}

#[test]
fn what_keeps_and_what_drops_a_time_to_live() {
    everywhere(
        r#"
        SET k 1 EX 100
        INCR k
        TTL k
        APPEND k 0
        TTL k
        SETRANGE k 0 2
        TTL k
        SETBIT k 1 1
        TTL k
        BITFIELD k INCRBY u8 0 1
        TTL k
        GETSET k 1
        TTL k
        EXPIRE k 100
        SETNX k 2
        TTL k
        MSET k 3
        TTL k
        EXPIRE k 100
        BITOP NOT k k
        TTL k
        EXPIRE k 100
        RENAME k k2
        TTL k2
        SET k 5
        RENAME k k2
        TTL k2
        "#,
    );
}

fn pause(both: &mut Both, ms: u64, script: &str) {
    sleep(Duration::from_millis(ms));
    both.script(script);
}

/// All 50 keys expire, those that a command meets and those that none does.
#[test]
fn keys_go_when_their_time_is_over() {
    everywhere_with(&[], |both| {
        for i in 0..50 {
            both.script(&format!("SET k{i} v PX 60"));
        }
        both.script("SET stays v EX 100\nSET keeps v");
        let met = "GET k0\nEXISTS k1\nTTL k2\nSTRLEN k3\nGETRANGE k4 0 -1\nGETEX k5 PERSIST\nPERSIST k6
            EXPIRE k7 100\nRENAME k8 x\nCOPY k9 x\nTYPE k10\nTOUCH k11\nOBJECT ENCODING k12\nDEL k13
            APPEND k14 w\nTTL k14\nSETNX k15 new\nTTL k15\nINCR k16\nTTL k16\nSET k17 v KEEPTTL\nTTL k17
            SET k18 v XX\nSET k19 v GET\nGETDEL k20\nMGET k21 k22\nMSETNX k23 1 k24 2\nBITCOUNT k25
            SETRANGE k26 2 x\nGET k26\nMOVE k27 1\nRENAMENX stays k28\nCOPY keeps k29\nEXPIRETIME k30
            UNLINK k31\nGETSET k32 new\nTTL k32\nLCS k33 k34 LEN\nSETBIT k35 1 1\nTTL k35\nKEYS k4*";
        pause(both, 150, met);
        pause(both, 1500, "DBSIZE\nKEYS *\nSCAN 0 COUNT 1000");
    });
}
