//! Commands that are submitted together, when not all of them are taken.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use oarlock_rpc::codec::{self, Wire};
use oarlock_storage::{MemoryPersister, Payload};
use serde::{Deserialize, Serialize};

use super::{Encoded, PIECE_BYTES};
use crate::durability_tests::Gate;
use crate::tests::{Add, Cluster};
use crate::{
    Configuration, EntryId, Options, PeerId, Peers, Replicated, ReplicatedOptions, RestoreError,
    StateMachine, SubmitError,
};

type Answers<T> = Receiver<(usize, Result<T, SubmitError>)>;

/// These are submitted together.
fn submit_all<M: StateMachine>(
    peer: &Replicated<M>,
    commands: &[M::Command],
) -> Answers<M::Output> {
    let (tell, answers) = unbounded();
    peer.submit_all_with(commands, move |nth, answer| drop(tell.send((nth, answer))));
    answers
}

fn next<T>(answers: &Answers<T>) -> (usize, Result<T, SubmitError>) {
    answers.recv_timeout(Duration::from_secs(10)).expect("everybody is answered")
}

/// Counts its commands, which may be long.
#[derive(Default)]
struct Texts(usize);

#[derive(Serialize, Deserialize)]
struct Text(String);

impl Wire for Text {}

impl StateMachine for Texts {
    type Command = Text;
    type Output = usize;

    fn apply(&mut self, _id: EntryId, _text: Text) -> usize {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn commands_around_one_that_is_too_large_keep_their_places() {
    let me = PeerId(1);
    let cluster = crate::Cluster {
        initial: Configuration::of_voters([me]),
        connect: Arc::new(Peers::default()),
    };
    let raft = Options { command_bytes_max: 100, ..Options::default() };
    let options = ReplicatedOptions { raft, ..ReplicatedOptions::default() };
    let disk = Box::new(MemoryPersister::new());
    let peer = Replicated::open_in(me, cluster, disk, Texts::default(), options).unwrap();
    while let Err(error) = peer.submit(&Text(String::new())) {
        assert!(matches!(error, SubmitError::NotLeader { .. }), "{error}");
        std::thread::yield_now();
    }
    // Together they are longer than any of them may be, and one that is too long is the last.
    let commands = [40, 40, 200, 1, 200, 40, 200].map(|len| Text("x".repeat(len)));
    let answers = submit_all(&peer, &commands);
    for expected in [2, 4, 6] {
        let (nth, answer) = next(&answers);
        assert!(matches!(answer, Err(SubmitError::TooLarge { .. })), "{answer:?}");
        assert_eq!(nth, expected);
    }
    for (expected, count) in [(0, 2), (1, 3), (3, 4), (5, 5)] {
        assert_eq!(next(&answers), (expected, Ok(count)));
    }
    // Nobody is told twice: the callback, which has the only sender, is gone.
    assert_eq!(answers.iter().count(), 0);
    let answers = submit_all(&peer, &[200, 200].map(|len| Text("x".repeat(len))));
    assert!([0, 1].iter().all(|nth| next(&answers).0 == *nth), "nothing is left of these");
}

#[test]
fn commands_that_are_submitted_together_lie_together_in_pieces() {
    let cluster = Cluster::with_options(1, None, |_| Options::default());
    let peer = &cluster.peers[&cluster.leader()];
    let done = |_, _| unreachable!("each can be encoded");
    let commands: Vec<Add> = (0..10_000).map(Add).collect();
    let encoded = peer.encode_all(&commands, &done);
    let found = encoded.iter().map(|(nth, bytes)| (*nth, codec::decode::<Add>(bytes).unwrap().0));
    assert!(found.eq((0..10_000).map(|nth| (nth, nth as u64))), "each at its place");
    let addr = |payload: &Payload| payload.as_ptr().addr();
    let lie_together =
        |pair: &&[(usize, Payload)]| addr(&pair[0].1) + pair[0].1.len() == addr(&pair[1].1);
    let breaks = encoded.windows(2).filter(|pair| !lie_together(pair)).count();
    let bytes: usize = encoded.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(breaks, bytes / PIECE_BYTES, "none keeps much more than itself");
    assert!(breaks > 0);
    assert!(peer.encode_all(&[], &done).is_empty());
    assert_eq!(&*peer.encode_one(&Add(7)).unwrap(), codec::encode(&Add(7)).unwrap());
}

/// A command that is longer than a piece keeps no others, and no other keeps it.
#[test]
fn a_long_command_lies_alone() {
    let (mut encoded, mut room) = (Encoded::default(), Vec::new());
    let lens = [10, PIECE_BYTES + 1, PIECE_BYTES * 3, 20, 30];
    for (nth, len) in lens.into_iter().enumerate() {
        let begin = room.len();
        room.resize(begin + len, nth as u8);
        encoded.push(nth, begin, &mut room);
    }
    encoded.make_piece(&mut room);
    let found = encoded.all.iter().map(|(nth, bytes)| (*nth, bytes.to_vec()));
    assert!(found.eq(lens.into_iter().enumerate().map(|(nth, len)| (nth, vec![nth as u8; len]))));
    let ends = encoded.all.iter().map(|(_, bytes)| bytes.as_ptr_range()).collect::<Vec<_>>();
    let lie_together = ends.windows(2).map(|pair| pair[0].end == pair[1].start);
    assert_eq!(lie_together.collect::<Vec<_>>(), [false, false, false, true]);
}

#[test]
fn as_many_commands_are_taken_as_there_is_room_for() {
    let options = |_| Options { uncommitted_bytes_max: 200, ..Options::default() };
    let cluster = Cluster::with_options(1, None, options);
    cluster.add(0);
    let disk = &cluster.disks[&cluster.leader()];
    disk.set(Gate::Closed);
    let commands: Vec<Add> = (0..50).map(|_| Add(1)).collect();
    let answers = submit_all(&cluster.peers[&cluster.leader()], &commands);
    let (first_refused, answer) = next(&answers);
    assert_eq!(answer, Err(SubmitError::Busy));
    // Of 22 bytes each nine are 198; the tenth passes the limit, and the next finds it passed.
    assert_eq!(first_refused, 10);
    for nth in first_refused + 1..50 {
        assert_eq!(next(&answers), (nth, Err(SubmitError::Busy)));
    }
    disk.set(Gate::Open);
    for nth in 0..first_refused {
        assert_eq!(next(&answers), (nth, Ok(nth as u64 + 1)));
    }
    assert_eq!(cluster.add(1), first_refused as u64 + 1, "what is refused is never applied");
}
