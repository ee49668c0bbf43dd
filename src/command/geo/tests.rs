//! Handlers on one shard.
