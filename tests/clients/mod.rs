//! Unmodified clients against the server: redis-cli, redis-benchmark, memtier_benchmark.
//!
//! The redis-py suite is beside this file in `redis_py/`; `scripts/test` runs it with pytest.

mod benchmarks;
mod cluster;
mod console;
mod interactive;
mod redis_cli;
pub mod run;
