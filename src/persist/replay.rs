//! Doing again what commands have done.
//!
//! Effects are commands; they run as clients' commands do, at a time at which nothing expires, on a
//! shard of their own (see [`ShardTarget`](super::foreign::ShardTarget)).

use super::foreign::{Done, Target};
use crate::resp::{Args, Limits, Parser, Step};

const LIMITS: Limits =
    Limits { bulk_len_max: 3 << 30, multibulk_max: i32::MAX as usize, authenticated: true };

/// Replays commands that stand one behind the other. What is wrong, and where, when they cannot be.
pub fn replay(target: &mut dyn Target, effects: &mut [u8]) -> Result<(), (usize, String)> {
    let mut spans = Vec::new();
    let mut at = 0;
    while at < effects.len() {
        spans.clear();
        match Parser::default().parse(effects, at, &mut spans, &LIMITS) {
            Step::Request { end } => {
                let args = Args::new(effects, &spans);
                // What belongs together is in one round, which is here as a whole.
                if !spans.is_empty() && !args.is(0, "multi") && !args.is(0, "exec") {
                    command(target, args).map_err(|problem| (at, problem))?;
                }
                at = end;
            }
            Step::Incomplete => return Err((at, "a command is cut off".to_string())),
            Step::Error(error) => {
                return Err((at, String::from_utf8_lossy(&error.text()).into_owned()));
            }
        }
    }
    Ok(())
}

fn command(target: &mut dyn Target, args: Args) -> Result<(), String> {
    if let Done::Failed(reply) = target.command(args)? {
        // What has failed has failed the first time too.
        tracing::debug!(reply, "a replayed command fails");
    }
    Ok(())
}
