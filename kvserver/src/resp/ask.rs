//! What a conversation asks of the store, and in whose company it may be asked.

use crate::op::Op;

/// The most operations of a request that is put together from several commands.
pub(super) const COMMANDS_MAX: usize = 1024;

/// A request that is put together from several commands has no more bytes than this.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// Operations to be executed together, in order.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) ops: Vec<Op>,
    /// About how many bytes they have.
    pub(super) bytes: usize,
    /// The most their answers may count for; means something only where they have company.
    pub(super) answer_bytes_max: usize,
    pub(super) company: Company,
}

/// With what an [`Ask`] may share a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// With others that only read, whatever their answers: what does not fit is asked again.
    Reads,
    /// With others that write, as long as all their answers surely fit.
    Writes,
    /// With none.
    None,
}
