//! Whether what clients were answered can be explained by one order of all operations that agrees
//! with time: strict serializability.
//!
//! Two checkers read the same histories ([`history`]):
//!
//! | checker | how | finds |
//! |---------|-----|-------|
//! | [`check_order`] | edges that follow from values and times; a cycle of them is a contradiction | why, in words; any length |
//! | [`search`] | looks for an order in which a model gives the same answers | everything, of all commands |
//!
//! The first is Elle's method (K. Kingsbury, P. Alvaro: "Elle: Inferring Isolation Anomalies from
//! Experimental Observations", VLDB 2020), with the names that A. Adya gave to the cycles. The second is that
//! of Knossos and Porcupine (J. M. Wing, C. Gong: "Testing and Verifying Concurrent Objects", 1993; G. Lowe:
//! "Testing for Linearizability", 2017): the whole keyspace is one object, so a linearizable history is
//! a strictly serializable one. The edges of the first guide the search of the second, which goes through
//! a long history part by part ([`parts`]).
//!
//! The checkers are right to complain: each rule holds in every explanation of a history, so a
//! complaint proves a fault. That they complain enough is what their own tests are for.

pub mod anomaly;
pub mod command;
pub mod conversation;
mod cycles;
pub mod graph;
pub mod history;
mod model;
mod observe;
mod order;
mod parts;
pub mod record;
pub mod search;
mod time;
pub mod workload;

mod examples;
mod soundness;

pub use anomaly::Anomaly;
pub use history::History;

use graph::Graph;
use order::Order;
use parts::search_parts;

/// What contradicts itself in a history, by values and times.
pub fn check_order(history: &History) -> Vec<Anomaly> {
    infer(history).0
}

/// By both checkers: nothing is wrong, or what is. A search that takes too long is given up, and that
/// is told as well.
pub fn check(history: &History) -> Vec<Anomaly> {
    let (mut anomalies, order) = infer(history);
    if anomalies.is_empty() {
        anomalies.extend(search_parts(history, &order).err());
    }
    anomalies
}

/// The operations of a short history that is not in order, of which any one would put it in order if it
/// had been answered otherwise. Where they meet is where to look.
pub fn suspects(history: &mut History) -> Vec<u32> {
    let mut found = Vec::new();
    for index in 0..history.operations.len() {
        let operation = &mut history.operations[index];
        if operation.completed == history::NEVER {
            continue;
        }
        let outcome = std::mem::replace(&mut operation.outcome, history::Outcome::Unknown);
        if check(history).is_empty() {
            found.push(index as u32);
        }
        history.operations[index].outcome = outcome;
    }
    found
}

/// Contradictions, and what follows from the values.
fn infer(history: &History) -> (Vec<Anomaly>, Order<'_>) {
    let mut order = Order::infer(history, observe::observe(history));
    time::infer(&mut order);
    let graph = Graph::new(history, order.edges.clone());
    let mut anomalies = std::mem::take(&mut order.anomalies);
    anomalies.extend(cycles::find(&order, &graph));
    (anomalies, order)
}
