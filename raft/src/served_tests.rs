//! When those who are answered wake.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::promise;
use serde::{Deserialize, Serialize};

use super::*;
use crate::RestoreError;

/// Takes so many milliseconds to apply, then sees who wakes within so many more.
#[derive(Serialize, Deserialize)]
struct Slow {
    before: u64,
    watches: u64,
}

impl Wire for Slow {}

/// Is told by callers that they are awake, and notes how many said so in the time of each command.
struct Watching {
    awake: Receiver<()>,
    seen: Vec<usize>,
}

impl StateMachine for Watching {
    type Command = Slow;
    type Output = ();

    fn apply(&mut self, _id: EntryId, slow: Slow) {
        thread::sleep(Duration::from_millis(slow.before));
        let watched = Duration::from_millis(slow.watches);
        self.seen.push(if watched.is_zero() {
            0
        } else {
            usize::from(self.awake.recv_timeout(watched).is_ok())
        });
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// These, the first of a log.
fn entries(commands: &[Slow]) -> Vec<Entry> {
    let ids = (1..).map(|index| EntryId::new(index, 1));
    let entry = |(id, command)| {
        let data = codec::encode(command).expect("it is encoded");
        Entry { id, tag: EntryKind::Command.tag(), data: data.into() }
    };
    std::iter::zip(ids, commands).map(entry).collect()
}

/// Applies these in one go, while a thread sleeps until the first is answered. Returns in the time of
/// how many later ones it woke.
fn woken_amid(commands: &[Slow]) -> usize {
    let (tell, awake): (Sender<()>, _) = channel();
    let mut served = Served::new(Watching { awake, seen: Vec::new() });
    let (promise, answer) = promise();
    let entries = entries(commands);
    served.expect(Waiting::Submit(entries[0].id, SubmitDone::Waits(promise)));
    let caller = thread::spawn(move || {
        answer.wait().expect("it is answered").expect("it is applied");
        // Nobody listens any more if it was the last.
        _ = tell.send(());
    });
    thread::sleep(Duration::from_millis(10));
    served.apply_all(&entries);
    caller.join().expect("it wakes");
    served.machine.seen.iter().sum()
}

#[test]
fn callers_wake_together_behind_commands_that_are_applied_fast() {
    let fast_then_slow = [Slow { before: 0, watches: 0 }, Slow { before: 0, watches: 10 }];
    // Whatever else wants the processors, the first is fast, or its caller, who is woken by itself, in time.
    let rounds = 50;
    let woken_later = (0..rounds).filter(|_| woken_amid(&fast_then_slow) == 0).count();
    assert!(woken_later > rounds / 2, "{woken_later} of {rounds}");
}

#[test]
fn nobody_who_is_answered_sleeps_on_while_one_slow_command_follows_another() {
    let slow_then_slow = [Slow { before: 1, watches: 0 }, Slow { before: 0, watches: 20_000 }];
    assert_eq!(woken_amid(&slow_then_slow), 1);
}

#[test]
fn callers_who_read_wake_together() {
    let rounds = 50;
    let woken_later = (0..rounds).filter(|_| {
        let (tell, awake) = channel();
        let mut served = Served::new(Watching { awake, seen: Vec::new() });
        let (promise, looked) = promise();
        let reader = thread::spawn(move || {
            looked.wait().expect("it is served");
            // Nobody listens any more if the next read was served before.
            _ = tell.send(());
        });
        let (seen, watched) = channel();
        let first: ReadDone<Watching> = Box::new(move |_| promise.keep(()));
        let second: ReadDone<Watching> = Box::new(move |state| {
            let awake = &state.expect("it is served").awake;
            seen.send(awake.recv_timeout(Duration::from_millis(10)).is_ok()).expect("it is known");
        });
        let ids = [1, 2].map(|number| ReadId { number, proof: Proof::Round });
        served.expect(Waiting::Read(ids[0], first));
        served.expect(Waiting::Read(ids[1], second));
        thread::sleep(Duration::from_millis(10));
        served.serve_reads(ids[1]);
        reader.join().expect("it wakes");
        !watched.recv().expect("it is known")
    });
    let woken_later = woken_later.count();
    assert!(woken_later > rounds / 2, "{woken_later} of {rounds}");
}

/// A machine that nobody watches, and what one who waits for commands 1 to 5 of term 1 is told.
fn expecting_five() -> (Served<Watching>, Receiver<(usize, Answer<Watching>)>) {
    let (_, awake) = channel();
    let mut served = Served::new(Watching { awake, seen: Vec::new() });
    let (tell, told) = channel();
    let done: Arc<OfMany<Watching>> = Arc::new(move |nth, answer| {
        tell.send((nth, answer)).expect("somebody listens");
    });
    served.expect(Waiting::Submit(EntryId::new(1, 1), SubmitDone::OfMany(done, 10..15)));
    let commands = [(); 2].map(|()| Slow { before: 0, watches: 0 });
    served.apply_all(&entries(&commands));
    let told_first: Vec<_> = told.try_iter().collect();
    assert_eq!(told_first, [(10, Ok(())), (11, Ok(()))]);
    (served, told)
}

#[test]
fn whoever_waits_for_several_hears_of_each_that_is_superseded() {
    let (mut served, told) = expecting_five();
    let tag = EntryKind::NoOp.tag();
    let other = Entry { id: EntryId::new(3, 2), tag, data: [].into() };
    served.apply_all(&[other]);
    let superseded = [12, 13, 14].map(|nth| (nth, Err(SubmitError::Superseded)));
    assert_eq!(told.iter().collect::<Vec<_>>(), superseded);
}

#[test]
fn whoever_waits_for_several_hears_the_place_of_each_whose_fate_is_unknown_at_the_end() {
    let (mut served, told) = expecting_five();
    served.end(&Stopped::killed());
    let stopped = |(nth, index)| {
        let id = Some(EntryId::new(index, 1));
        (nth, Err(SubmitError::Stopped { stopped: Stopped::killed(), id }))
    };
    assert_eq!(told.iter().collect::<Vec<_>>(), [(12, 3), (13, 4), (14, 5)].map(stopped));
}

#[test]
fn whoever_waits_for_several_hears_of_those_that_a_snapshot_covers_and_waits_for_the_rest() {
    let (mut served, told) = expecting_five();
    let last_included = EntryId::new(4, 1);
    let configuration = crate::Configuration::of_voters([PeerId(1)]);
    let meta = crate::SnapshotMeta { last_included, configuration: configuration.encode() };
    served.restore(&Snapshot::new(meta, Arc::new(Vec::new())));
    let unknown = |(nth, index)| (nth, Err(SubmitError::Unknown { id: EntryId::new(index, 1) }));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [(12, 3), (13, 4)].map(unknown));
    let last = entries(&[(); 5].map(|()| Slow { before: 0, watches: 0 })).split_off(4);
    served.apply_all(&last);
    assert_eq!(told.iter().collect::<Vec<_>>(), [(14, Ok(()))]);
}

#[test]
fn nobody_looks_at_what_a_panic_left_half_changed() {
    let (_tell, awake) = channel();
    let mut served = Served::new(Watching { awake, seen: Vec::new() });
    let mut entries = entries(&[Slow { before: 0, watches: 0 }]);
    served.change(|served| served.apply_all(&entries));
    assert_eq!(served.look().map(|machine| machine.seen.len()), Some(1));
    entries[0].data = Vec::new().into();
    let apply = AssertUnwindSafe(|| served.change(|served| served.apply_all(&entries)));
    assert!(catch_unwind(apply).is_err(), "nothing is a command");
    assert!(served.look().is_none());
}
