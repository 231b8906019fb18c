//! Scenes with one peer that is its own majority: callers, election thread, log writer, applier.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oarlock_rpc::promise;
use oarlock_sync::model::explore;
use oarlock_sync::thread;

use super::disk::{Disk, Platter};
use super::{Append, List, NEVER, Prompt, SCHEDULES, Told, options};
use crate::cluster::Peers;
use crate::{Change, PeerId, Replicated, SnapshotError, SubmitError};

pub(super) type DiskOf = fn(&Platter) -> Disk;

/// A peer that leads, its list, and what is on its disk.
fn leader(disk: DiskOf) -> (Replicated<List>, List, Platter) {
    let (peer, list, platter) = peer(disk);
    let (_, leader) = peer.wait_for_leader((0, None), far_off());
    assert!(leader.is_some() || peer.raft().stopped().is_some(), "it elects itself");
    (peer, list, platter)
}

fn peer(disk: DiskOf) -> (Replicated<List>, List, Platter) {
    let (list, platter) = (List::default(), Platter::default());
    let peer = Replicated::open(
        PeerId(1),
        Peers::new(),
        Box::new(disk(&platter)),
        list.clone(),
        options(),
    );
    (peer.expect("an empty disk opens"), list, platter)
}

/// A deadline that never comes.
pub(super) fn far_off() -> Instant {
    deadline_in(NEVER)
}

#[expect(clippy::disallowed_methods, reason = "a scene has a clock of its own")]
pub(super) fn deadline_in(timeout: Duration) -> Instant {
    oarlock_sync::now() + timeout
}

/// Two callers with two commands each: all are answered, in the order of the log, without waiting
/// for anything but each other.
pub(super) fn callers(disk: DiskOf) {
    let (peer, list, platter) = leader(disk);
    let prompt = Prompt::begin();
    let callers: Vec<_> = (0..2u64)
        .map(|caller| {
            let (peer, platter) = (peer.clone(), platter.clone());
            thread::spawn(move || {
                for nth in 0..2 {
                    let before = peer.submit(&Append(caller * 10 + nth)).expect("it leads");
                    assert!(platter.held().last.index >= before as u64, "answered, not on disk");
                }
            })
        })
        .collect();
    let seen = peer.read(List::items).expect("it leads");
    for caller in callers {
        caller.join().expect("a caller");
    }
    prompt.end();
    assert!(list.items().starts_with(&seen), "{seen:?} is no beginning");
    let mut items: Vec<_> = list.items().iter().map(|(_, item)| *item).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 10, 11]);
    peer.kill();
    assert!(platter.held().closed, "killed, and its disk is in use");
}

/// Three commands that are submitted in one step, and one caller with two while those are answered:
/// all are answered, without waiting for anything but each other.
pub(super) fn together(disk: DiskOf) {
    let (peer, list, platter) = leader(disk);
    let prompt = Prompt::begin();
    let told = Told::default();
    let caller = thread::spawn({
        let peer = peer.clone();
        move || [7, 8].map(|item| peer.submit(&Append(item)).expect("it leads"))
    });
    let (promise, all_told) = promise();
    let tells: Vec<_> = (0..3).map(|_| told.expect()).collect();
    let rest = Mutex::new((tells, Some(promise)));
    peer.submit_all_with(&[Append(1), Append(2), Append(3)], move |nth, answer| {
        answer.expect("it leads");
        let mut rest = rest.lock().expect("nobody panics with it");
        assert_eq!(nth + rest.0.len(), 3, "answered in order");
        rest.0.pop().expect("one for each")();
        if nth == 2
            && let Some(promise) = rest.1.take()
        {
            promise.keep(());
        }
    });
    all_told.wait().expect("all are answered");
    let places = caller.join().expect("a caller");
    prompt.end();
    told.check();
    assert!(places[0] < places[1]);
    let mut items: Vec<_> = list.items().iter().map(|(_, item)| *item).collect();
    let first = items.iter().position(|item| *item == 1).expect("it was applied");
    assert_eq!(items[first..first + 3], [1, 2, 3], "together");
    items.sort_unstable();
    assert_eq!(items, [1, 2, 3, 7, 8]);
    peer.kill();
    assert!(platter.held().closed, "killed, and its disk is in use");
}

/// Commands and a read on their way when the peer is killed, or its disk breaks: every caller is
/// told, once.
pub(super) fn killed(disk: DiskOf) {
    let (peer, list, platter) = peer(disk);
    let told = Told::default();
    let caller = thread::spawn({
        let (peer, told, list, platter) =
            (peer.clone(), told.clone(), list.clone(), platter.clone());
        move || {
            peer.wait_for_leader((0, None), far_off());
            for item in 0..2 {
                let (tell, list, platter) = (told.expect(), list.clone(), platter.clone());
                peer.submit_with(&Append(item), move |answer| {
                    tell();
                    if let Ok(place) = answer {
                        assert_eq!(list.items()[place - 1].1, item);
                        assert!(platter.held().last >= list.items()[place - 1].0, "not on disk");
                    }
                });
            }
            let tell = told.expect();
            peer.read_with(move |_| tell());
            let tell = told.expect();
            peer.look_with(|list| Some(list.items()), List::items, move |_| tell());
        }
    });
    let waiter = thread::spawn({
        let peer = peer.clone();
        move || match peer.submit(&Append(7)) {
            Ok(_) | Err(SubmitError::Stopped { .. } | SubmitError::NotLeader { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    });
    peer.wait_for_leader((0, None), far_off());
    peer.kill();
    assert!(platter.held().closed, "killed, and its disk is in use");
    caller.join().expect("a caller");
    waiter.join().expect("a caller");
    told.check();
}

/// Somebody looks at the state, here or on the applier, while a command is applied and the peer is
/// killed: the state is gone before the kill returns.
pub(super) fn looked_at_and_killed() {
    let (peer, list, _) = leader(Disk::instant);
    let told = Told::default();
    let looker = thread::spawn({
        let (peer, told) = (peer.clone(), told.clone());
        move || {
            for _ in 0..2 {
                let tell = told.expect();
                peer.look_with(
                    |list| Some(list.items()).filter(|items| !items.is_empty()),
                    List::items,
                    move |_| tell(),
                );
            }
        }
    });
    peer.submit_with(&Append(1), |_| {});
    peer.kill();
    assert_eq!(Arc::strong_count(&list.0), 1, "killed, and its state is there");
    looker.join().expect("a looker");
    told.check();
}

/// A snapshot of the service's, which waits for the disk, behind another write; perhaps the peer is
/// killed meanwhile.
pub(super) fn snapshot(disk: DiskOf, with_kill: bool) {
    let (peer, _, platter) = leader(disk);
    peer.submit(&Append(1)).expect("it leads");
    let prompt = Prompt::begin();
    let waiter = thread::spawn({
        let (peer, platter) = (peer.clone(), platter.clone());
        move || {
            let applied = peer.status().last_applied.max(1);
            match peer.raft().snapshot(applied, b"a list") {
                Ok(()) => assert_eq!(platter.held().snapshot.index, applied, "not on disk"),
                Err(SnapshotError::Stopped(_)) if with_kill => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let writer = thread::spawn({
        let peer = peer.clone();
        move || peer.submit_with(&Append(2), |_| {})
    });
    if with_kill {
        peer.kill();
    }
    waiter.join().expect("a waiter");
    writer.join().expect("a writer");
    prompt.end();
    peer.kill();
}

/// Two who kill the same peer: whoever returns finds it gone.
pub(super) fn killed_twice() {
    let (peer, _, platter) = peer(Disk::slow);
    let other = thread::spawn({
        let (peer, platter) = (peer.clone(), platter.clone());
        move || {
            peer.kill();
            assert!(platter.held().closed, "killed, and its disk is in use");
        }
    });
    peer.kill();
    assert!(platter.held().closed, "killed, and its disk is in use");
    other.join().expect("the other");
}

/// A change of members that cannot be done, when the peer is killed.
pub(super) fn change_and_kill() {
    let (peer, _, _) = leader(Disk::slow);
    let change = thread::spawn({
        let peer = peer.clone();
        move || {
            let change = Change::default().adding(PeerId(2), "nowhere");
            peer.change_membership(&change, NEVER).expect_err("nobody is there");
        }
    });
    peer.kill();
    change.join().expect("whoever asked");
}

#[test]
fn callers_are_answered_by_notifications_alone() {
    explore(SCHEDULES, || callers(Disk::slow));
}

#[test]
fn callers_are_answered_where_whoever_queued_writes() {
    explore(SCHEDULES, || callers(Disk::instant));
}

#[test]
fn commands_that_come_together_are_answered() {
    explore(SCHEDULES, || together(Disk::instant));
    explore(SCHEDULES / 3, || together(Disk::slow));
}

#[test]
fn a_kill_tells_every_caller_once() {
    explore(SCHEDULES, || killed(Disk::slow));
}

#[test]
fn a_kill_tells_every_caller_once_where_whoever_queued_writes() {
    explore(SCHEDULES, || killed(Disk::instant));
}

#[test]
fn a_broken_disk_tells_every_caller_once() {
    // Term and vote, the no-op, the first commands: each may be what fails.
    for nth in 1..=3 {
        explore(SCHEDULES / 3, move || {
            killed(match nth {
                1 => |platter| Disk::broken_at(platter, 1),
                2 => |platter| Disk::broken_at(platter, 2),
                _ => |platter| Disk::broken_at(platter, 3),
            });
        });
    }
}

#[test]
fn nothing_of_the_state_outlives_a_kill() {
    explore(SCHEDULES, looked_at_and_killed);
}

#[test]
fn whoever_waits_for_the_disk_sees_the_kill() {
    explore(SCHEDULES, || snapshot(Disk::slow, true));
    explore(SCHEDULES, || snapshot(Disk::instant, true));
}

#[test]
fn a_snapshot_is_on_disk_when_it_is_said_to_be() {
    explore(SCHEDULES, || snapshot(Disk::slow, false));
}

#[test]
fn two_kills_both_wait_for_the_threads() {
    explore(SCHEDULES, killed_twice);
}

#[test]
fn whoever_waits_for_a_change_of_members_sees_the_kill() {
    explore(SCHEDULES, change_and_kill);
}
