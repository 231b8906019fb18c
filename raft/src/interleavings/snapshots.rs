//! Scenes with the snapshot thread: a state that is frozen, written while commands go on being
//! applied, published, and perhaps a kill in between.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use oarlock_rpc::{Promise, promise};
use oarlock_sync::model::{self, explore};
use oarlock_sync::thread;

use super::alone::far_off;
use super::disk::{Disk, Platter};
use super::{Append, List, Prompt, SCHEDULES, options};
use crate::cluster::Peers;
use crate::{
    EntryId, Frozen, PeerId, Replicated, ReplicatedOptions, RestoreError, Snapshot, StateMachine,
    SubmitError,
};

/// A list that is always frozen, and knows how many of its frozen states there are.
struct FrozenList {
    list: List,
    alive: Arc<AtomicUsize>,
    last_frozen: Vec<u8>,
    /// Whom to tell of the first that is published.
    told: Arc<Mutex<Option<Promise<usize>>>>,
}

struct Image {
    content: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Frozen for Image {
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        for piece in self.content.chunks(8) {
            model::pause();
            out.write_all(piece)?;
        }
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl StateMachine for FrozenList {
    type Command = Append;
    type Output = usize;

    fn apply(&mut self, id: EntryId, command: Append) -> usize {
        self.list.apply(id, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.list.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.list.restore(snapshot)
    }

    fn freeze(&mut self) -> Option<Box<dyn Frozen>> {
        assert_eq!(self.alive.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
        self.last_frozen = self.list.snapshot();
        let (content, alive) = (self.last_frozen.clone(), Arc::clone(&self.alive));
        Some(Box::new(Image { content, alive }))
    }

    fn published(&mut self, snapshot: &Snapshot) -> Option<Box<dyn Send>> {
        assert_eq!(**snapshot, *self.last_frozen, "what was frozen last");
        let told = self.told.lock().expect("nobody panics with it").take();
        if let Some(told) = told {
            told.keep(snapshot.len() / 8);
        }
        None
    }
}

/// Two commands, each of which makes a snapshot due: both are answered while states are written, and
/// one is published without waiting for anything but the disk; or the peer is killed meanwhile, and
/// nothing of it is left.
pub(super) fn frozen(with_kill: bool) {
    let (list, platter, alive) = (List::default(), Platter::default(), Arc::default());
    let (tell, published) = promise();
    let machine = FrozenList {
        list: list.clone(),
        alive: Arc::clone(&alive),
        last_frozen: Vec::new(),
        told: Arc::new(Mutex::new(Some(tell))),
    };
    let options =
        ReplicatedOptions { snapshot_log_bytes: Some(1), snapshot_log_bytes_max: 1, ..options() };
    let disk = Box::new(Disk::slow(&platter));
    let peer = Replicated::open(PeerId(1), Peers::new(), disk, machine, options)
        .expect("an empty disk opens");
    peer.wait_for_leader((0, None), far_off());
    let prompt = Prompt::begin();
    let caller = thread::spawn({
        let peer = peer.clone();
        move || {
            for item in 0..2 {
                match peer.submit(&Append(item)) {
                    Ok(_) => {}
                    Err(SubmitError::Stopped { .. }) if with_kill => return,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    if with_kill {
        peer.kill();
        assert!(platter.held().closed, "killed, and its disk is in use");
        assert_eq!(alive.load(Ordering::SeqCst), 0, "killed, and a frozen state is left");
    } else {
        let items = published.wait_until(far_off()).expect("no deadline").expect("it runs");
        assert!(items <= list.items().len());
        assert!(platter.held().snapshot.index > 0, "published, not on disk");
        prompt.end();
    }
    caller.join().expect("a caller");
    peer.kill();
}

#[test]
fn a_frozen_state_is_published_while_commands_are_applied() {
    explore(SCHEDULES, || frozen(false));
}

#[test]
fn a_kill_leaves_no_frozen_state() {
    explore(SCHEDULES, || frozen(true));
}
