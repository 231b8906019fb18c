//! Mistakes with locks and condition variables, planted one at a time: each must be found by the
//! scene that is meant for it, or nobody would know what the scenes are good for.

use oarlock_sync::model::find;

use super::alone::{callers, change_and_kill, killed, killed_twice, snapshot};
use super::cluster;
use super::disk::Disk;
use super::follower::{applier_rests, leader_awaited, requests};
use super::snapshots::frozen;

/// No mistake takes more schedules than this.
const SCHEDULES_MAX: usize = 4000;

#[track_caller]
fn check(mistake: &'static str, scene: fn()) {
    let found = find(mistake, SCHEDULES_MAX, scene);
    let found =
        found.unwrap_or_else(|| panic!("{mistake}: not found by {SCHEDULES_MAX} schedules"));
    let what: String = found.message.chars().take(150).collect();
    eprintln!("| {mistake} | {} | {what} |", found.schedules);
}

macro_rules! mistakes {
    ($($test:ident: $mistake:literal, $scene:expr;)+) => {
        $(#[test]
        fn $test() {
            check($mistake, || $scene);
        })+
    };
}

mistakes! {
    step: "a step wakes nobody", callers(Disk::slow);
    step_awaited: "a step wakes nobody", leader_awaited(true);
    lost_wake_up: "a thread looks for work, lets go, and then falls asleep", callers(Disk::slow);
    queued: "what was queued during a write is forgotten", requests(Disk::instant, false);
    answers: "an answer does not wait for the disk", requests(Disk::slow, false);
    looks_once: "whoever waits for the disk looks once", snapshot(Disk::slow, false);
    durable: "a finished write does not wake those who wait for it", callers(Disk::slow);
    stop: "the stop does not wake those who wait for the disk", snapshot(Disk::slow, true);
    stop_write: "a write that ends behind the stop wakes nobody", killed(Disk::instant);
    stop_right: "a write that ends behind the stop leaves the right to write away", killed(Disk::slow);
    stop_drops: "unspoken answers are dropped under the lock", requests(Disk::slow, true);
    two_kills: "a second kill does not wait", killed_twice();
    change: "a change of members does not see the stop", change_and_kill();
    fed_no_more: "who is fed no more has its thread sleep on", cluster::member_leaves();
    line_kept: "whoever has sent keeps the line", cluster::callers();
    line_news: "what comes up while somebody sends is forgotten", cluster::callers();
    job: "a job for the snapshot thread wakes nobody", frozen(false);
    left: "commands are left to an applier that sleeps", cluster::cut_off(Disk::instant);
    rest: "the end of the applier's rest wakes nobody", applier_rests(Disk::slow);
    promise: "a promise is kept without a word", callers(Disk::slow);
}
