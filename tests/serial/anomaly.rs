//! What can be wrong with a history.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A reply that the command does not have.
    StrangeReply,
    /// A block contradicts itself: a read does not see what the block has written, or two reads of
    /// it differ.
    Internal,
    /// A read sees what nobody has written, or what was written elsewhere.
    Phantom,
    /// A read sees a write that was never carried out (Adya's G1a).
    AbortedRead,
    /// A read sees a block half done (G1b).
    IntermediateRead,
    /// A value holds a write twice.
    Duplicate,
    /// Two reads of a key disagree about the order of its writes.
    IncompatibleOrder,
    /// A write that was answered has disappeared, or two were told the same place.
    LostWrite,
    /// A read finds nothing although nothing removed what was there, or the other way round.
    Vanished,
    /// A cycle of writes over writes.
    G0,
    /// A cycle of writes and reads of them.
    G1c,
    /// A cycle with one read that missed a write: a torn read.
    GSingle,
    /// A cycle with several reads that missed writes: a write skew, or on one key a lost update.
    G2,
    /// A cycle that is one only because an operation was over before another began.
    RealTime(Cycle),
    /// No order of the operations explains all the answers.
    NoOrder,
    /// The search for an order was given up.
    Undecided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cycle {
    G0,
    G1c,
    GSingle,
    G2,
}

#[derive(Debug, Clone)]
pub struct Anomaly {
    pub kind: Kind,
    pub text: String,
}

impl Anomaly {
    pub fn new(kind: Kind, text: impl Into<String>) -> Anomaly {
        Anomaly { kind, text: text.into() }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Panics with the anomalies, if there are any.
pub fn assert_none(anomalies: &[Anomaly]) {
    let text: Vec<String> = anomalies.iter().map(Anomaly::to_string).collect();
    assert!(anomalies.is_empty(), "not strictly serializable:\n{}", text.join("\n"));
}
