//! The members thread: connects to members as they come, and starts and ends the replication thread
//! of each (section 6).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use oarlock_sync::thread::JoinHandle;

use super::replication::{Feeding, replication_thread};
use super::spawn_unkept;
use crate::cluster::Connect;
use crate::error::Stopped;
use crate::rules::{Due, Rules};
use crate::shared::Shared;
use crate::types::PeerId;

/// The thread's own state: whom it feeds.
pub(crate) struct Members {
    me: PeerId,
    connect: Arc<dyn Connect>,
    known: BTreeMap<PeerId, String>,
    fed: BTreeMap<PeerId, Fed>,
}

/// One replication thread.
struct Fed {
    address: String,
    /// Set under the peer's lock: the thread looks at it there.
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Members {
    /// Connects to the members there are now.
    pub(crate) fn connect(
        shared: &Arc<Shared>,
        me: PeerId,
        connect: Arc<dyn Connect>,
    ) -> io::Result<Self> {
        let mut members = Self { me, connect, known: BTreeMap::new(), fed: BTreeMap::new() };
        let wanted = shared.look(|rules, _| rules.other_members());
        match members.follow(shared, wanted) {
            Ok(()) => Ok(members),
            Err(error) => {
                shared.stop(Stopped::killed());
                members.end(shared);
                Err(error)
            }
        }
    }

    /// The thread's body.
    pub(crate) fn run(mut self, shared: &Arc<Shared>) {
        loop {
            let due = |rules: &mut Rules, _| match rules.other_members() {
                _ if rules.is_removed() => Due::Now(None),
                wanted if wanted == self.known => Due::WhenWoken,
                wanted => Due::Now(Some(wanted)),
            };
            let Some(wanted) = shared.take(&shared.members, due) else { break };
            let Some(wanted) = wanted else {
                log::info!(target: "CONF", "S{} was removed from its cluster", self.me);
                shared.stop(Stopped::removed());
                break;
            };
            if let Err(error) = self.follow(shared, wanted) {
                shared.stop(Stopped(format!("a member cannot be fed: {error}")));
            }
        }
        self.end(shared);
    }

    /// Feeds `wanted`, and nobody else.
    fn follow(&mut self, shared: &Arc<Shared>, wanted: BTreeMap<PeerId, String>) -> io::Result<()> {
        let stays = |(peer, fed): &(&PeerId, &Fed)| wanted.get(peer) == Some(&fed.address);
        let gone = self.fed.iter().filter(|fed| !stays(fed)).map(|(&peer, _)| peer);
        for peer in gone.collect::<Vec<_>>() {
            self.part(shared, peer);
        }
        for (&peer, address) in &wanted {
            if !self.fed.contains_key(&peer) {
                self.meet(shared, peer, address)?;
            }
        }
        self.known = wanted;
        Ok(())
    }

    fn meet(&mut self, shared: &Arc<Shared>, peer: PeerId, address: &str) -> io::Result<()> {
        let Some(end) = self.connect.connect(peer, address) else {
            log::warn!(target: "CONF", "S{} cannot reach member {peer} at {address:?}", self.me);
            return Ok(());
        };
        let ended = Arc::new(AtomicBool::new(false));
        let feeding = Feeding { peer, end: Arc::clone(&end), ended: Arc::clone(&ended) };
        drop(shared.set_end(peer, Some(end)));
        let name = format!("to-{peer}");
        let thread = spawn_unkept(shared, self.me, &name, move |shared| {
            replication_thread(shared, &feeding);
        })?;
        self.fed.insert(peer, Fed { address: address.to_owned(), ended, thread });
        Ok(())
    }

    /// Ends the thread of `peer`, and drops the end.
    fn part(&mut self, shared: &Shared, peer: PeerId) {
        let Some(fed) = self.fed.remove(&peer) else { return };
        shared.end_feeding(&fed.ended);
        join(fed.thread);
        drop(shared.set_end(peer, None));
    }

    /// The peer stops: its threads end by themselves.
    fn end(&mut self, shared: &Shared) {
        for (peer, fed) in std::mem::take(&mut self.fed) {
            join(fed.thread);
            drop(shared.set_end(peer, None));
        }
    }
}

/// A panic goes on here, and from here to whoever kills the peer.
fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
