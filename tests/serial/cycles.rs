//! Finds cycles in the order and tells the smallest of each knot in words.

use super::anomaly::{Anomaly, Cycle, Kind};
use super::graph::{Edge, Graph, Why};
use super::order::Order;

/// Knots that are told of one history.
const TOLD: usize = 5;

/// What a search for a cycle may use, from the gravest finding to the lightest. The edges by values
/// alone come first: a cycle of them is one whatever the clocks of the clients say.
const SEARCHES: &[(Cycle, bool)] = &[
    (Cycle::G0, false),
    (Cycle::G1c, false),
    (Cycle::GSingle, false),
    (Cycle::G2, false),
    // With the read that shows it, which says more than two writes.
    (Cycle::GSingle, true),
    (Cycle::G1c, true),
    (Cycle::G0, true),
    (Cycle::G2, true),
];

/// The cycles of an order.
pub fn find(order: &Order, graph: &Graph) -> Vec<Anomaly> {
    let knots = graph.knots(|_| true);
    knots.iter().take(TOLD).map(|knot| smallest(order, graph, knot)).collect()
}

fn smallest(order: &Order, graph: &Graph, knot: &[u32]) -> Anomaly {
    for (cycle, timed) in SEARCHES {
        if let Some(edges) = search(graph, knot, *cycle, *timed) {
            let kind = match (timed, cycle) {
                (true, cycle) => Kind::RealTime(*cycle),
                (false, Cycle::G0) => Kind::G0,
                (false, Cycle::G1c) => Kind::G1c,
                (false, Cycle::GSingle) => Kind::GSingle,
                (false, Cycle::G2) => Kind::G2,
            };
            return Anomaly::new(kind, tell(order, graph, &edges));
        }
    }
    unreachable!("a knot has a cycle of some kind")
}

fn search(graph: &Graph, knot: &[u32], cycle: Cycle, timed: bool) -> Option<Vec<Edge>> {
    let is_write = |edge: &Edge| match edge.why {
        Why::Write => true,
        Why::WriteByTime => timed,
        _ => false,
    };
    let is_overwrite = |edge: &Edge| match edge.why {
        Why::Overwrite => true,
        Why::OverwriteByTime => timed,
        _ => false,
    };
    let is_time = |edge: &Edge| timed && matches!(edge.why, Why::Time | Why::Session);
    let written = |edge: &Edge| is_write(edge) || is_time(edge);
    let read = |edge: &Edge| edge.why == Why::Read || written(edge);
    let any = |edge: &Edge| is_overwrite(edge) || read(edge);
    match cycle {
        Cycle::G0 => graph.cycle(knot, is_write, written),
        Cycle::G1c => graph.cycle(knot, |edge| edge.why == Why::Read, read),
        Cycle::GSingle => graph.cycle(knot, is_overwrite, read),
        Cycle::G2 => graph.cycle(knot, is_overwrite, any),
    }
}

/// The operations of a cycle, and why each comes before the next.
fn tell(order: &Order, graph: &Graph, edges: &[Edge]) -> String {
    let is_operation = |node: u32| (node as usize) < graph.operations;
    let mut operations: Vec<u32> = edges.iter().map(|edge| edge.from).collect();
    operations.retain(|node| is_operation(*node));
    let label = |node: u32| {
        let at = operations.iter().position(|other| *other == node);
        format!("T{}", at.expect("of the cycle") + 1)
    };
    let mut text = String::from("a cycle of");
    for node in &operations {
        let operation = &order.history.operations[*node as usize];
        text.push_str(&format!("\n  {} = {operation}", label(*node)));
    }
    for (n, edge) in edges.iter().enumerate().filter(|(_, edge)| is_operation(edge.from)) {
        // A way by moments ends at the next operation.
        let mut rest = edges.iter().cycle().skip(n).take(edges.len());
        let end = rest.find(|edge| is_operation(edge.to)).expect("a cycle has operations").to;
        let (from, to) = (label(edge.from), label(end));
        let place = match edge.why {
            Why::Time | Why::Session => String::new(),
            _ => order.seen.place_name(edge.place),
        };
        let why = match edge.why {
            Why::Write | Why::WriteByTime => format!("{to} has written {place} after {from} had"),
            Why::Read => format!("{to} has seen of {place} what {from} wrote"),
            Why::Overwrite | Why::OverwriteByTime => {
                format!("{from} has seen {place} before {to} wrote it")
            }
            Why::Session => format!("one client has sent {from} before {to}"),
            Why::Time => format!("{from} was over before {to} began"),
        };
        text.push_str(&format!("\n  {from} before {to}: {why}"));
    }
    text
}
