//! Rows about when a small collection is packed and how a big one is cut.

use super::super::row::{Group, Kind, Row};
use super::{int_row, memory_row};

const COUNT_MAX: i64 = i32::MAX as i64;

pub(super) const ROWS: &[Row] = &[
    int_row!(
        Types,
        "hash-max-listpack-entries",
        hash_max_listpack_entries,
        0,
        COUNT_MAX,
        "512",
        "Most fields of a hash that is packed in one block (encoding listpack)."
    )
    .mutable()
    .unit("fields")
    .aliases(&["hash-max-ziplist-entries"]),
    memory_row!(
        Types,
        "hash-max-listpack-value",
        hash_max_listpack_value,
        0,
        u32::MAX as u64,
        "64",
        "Longest field or value of a hash that is packed in one block, bytes."
    )
    .mutable()
    .aliases(&["hash-max-ziplist-value"]),
    int_row!(
        Types,
        "list-max-listpack-size",
        list_max_listpack_size,
        i32::MIN as i64,
        COUNT_MAX,
        "-2",
        "Size of a list's blocks: a positive number is elements, -1 to -5 are 4, 8, 16, 32 and 64 kB."
    )
    .mutable()
    .aliases(&["list-max-ziplist-size"]),
    int_row!(
        Types,
        "list-compress-depth",
        list_compress_depth,
        0,
        COUNT_MAX,
        "0",
        "Blocks at each end of a list that stay uncompressed. Lists are never compressed, so any value does the same."
    )
    .mutable(),
    int_row!(
        Types,
        "set-max-intset-entries",
        set_max_intset_entries,
        0,
        COUNT_MAX,
        "512",
        "Most members of a set of integers that is packed as numbers (encoding intset)."
    )
    .mutable()
    .unit("members"),
    int_row!(
        Types,
        "set-max-listpack-entries",
        set_max_listpack_entries,
        0,
        COUNT_MAX,
        "128",
        "Most members of a set that is packed in one block (encoding listpack)."
    )
    .mutable()
    .unit("members"),
    memory_row!(
        Types,
        "set-max-listpack-value",
        set_max_listpack_value,
        0,
        u32::MAX as u64,
        "64",
        "Longest member of a set that is packed in one block, bytes."
    )
    .mutable(),
    int_row!(
        Types,
        "zset-max-listpack-entries",
        zset_max_listpack_entries,
        0,
        COUNT_MAX,
        "128",
        "Most members of a sorted set that is packed in one block (encoding listpack)."
    )
    .mutable()
    .unit("members")
    .aliases(&["zset-max-ziplist-entries"]),
    memory_row!(
        Types,
        "zset-max-listpack-value",
        zset_max_listpack_value,
        0,
        u32::MAX as u64,
        "64",
        "Longest member of a sorted set that is packed in one block, bytes."
    )
    .mutable()
    .aliases(&["zset-max-ziplist-value"]),
    memory_row!(
        Types,
        "hll-sparse-max-bytes",
        hll_sparse_max_bytes,
        0,
        u32::MAX as u64,
        "3000",
        "Longest HyperLogLog in the sparse encoding, bytes; it becomes dense beyond."
    )
    .mutable(),
    memory_row!(
        Types,
        "stream-node-max-bytes",
        stream_node_max_bytes,
        0,
        u32::MAX as u64,
        "4096",
        "Most bytes of entries in one node of a stream; 0 is no limit."
    )
    .mutable(),
    int_row!(
        Types,
        "stream-node-max-entries",
        stream_node_max_entries,
        0,
        COUNT_MAX,
        "100",
        "Most entries in one node of a stream; 0 is no limit."
    )
    .mutable()
    .unit("entries"),
];
