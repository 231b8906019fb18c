//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a node has open besides its clients: segments, snapshots, connections of its peers.
const OWN: u64 = 256;

/// Allows as many open files as the system lets us, and says so if that is too few for `clients`.
pub(crate) fn make_room_for(clients: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            log::warn!("the limit of open files cannot be raised: {error}");
            limit.current
        }
    };
    let wanted = clients as u64 + OWN;
    if let Some(current) = current.filter(|&current| current < wanted) {
        log::warn!(
            "only {current} files may be open, so not all of {clients} clients can connect; \
             allow {wanted} (ulimit -n)"
        );
    }
}
