//! The life of a call with stated time: no thread, no wait. What the delivery thread and the workers
//! would do is done by hand.

use std::time::Duration;

use super::*;
use oarlock_rpc::{Call, ReplySlot, UnknownMethod};

const METHOD: Method = Method::urgent("Test.Method");
const REPLY: &[u8] = b"reply";

struct Nobody;

impl Service for Nobody {
    fn handle(&self, _: &str, _: &[u8], _: ReplySlot) -> Result<(), UnknownMethod> {
        unreachable!("no handler runs in these tests")
    }
}

/// One end, enabled, connected to one server, both named `"a"`.
struct Sim {
    calls: Calls,
    epoch: Instant,
    end: EndId,
}

/// What happened to one call so far.
struct Probe {
    call: Option<Call>,
    id: CallId,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut calls = Calls::new(seed);
        let end = calls.make_end("a".to_owned());
        calls.connect("a", "a".to_owned());
        let mut sim = Self { calls, epoch: Instant::now(), end };
        sim.add_server(0);
        sim.enable(0, true);
        sim
    }

    fn at(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }

    fn add_server(&mut self, ms: u64) {
        let now = self.at(ms);
        drop(self.calls.add_server("a".to_owned(), Arc::new(Nobody), now));
    }

    fn delete_server(&mut self, ms: u64) {
        let now = self.at(ms);
        drop(self.calls.delete_server("a", now));
    }

    fn enable(&mut self, ms: u64, enabled: bool) {
        let now = self.at(ms);
        self.calls.enable("a", enabled, now);
    }

    /// Starts a call with `args_len` bytes; says whether its handler runs at once.
    fn begin(&mut self, ms: u64, args_len: usize) -> (Probe, bool) {
        let (call, done) = Call::pair();
        let now = self.at(ms);
        let action = self.calls.begin(self.end, METHOD, vec![0; args_len], done, now);
        let id = CallId(self.calls.total_count());
        let handled = match action {
            None => false,
            Some(Action::Handle(handled, request)) => {
                assert_eq!((handled, request.method), (id, METHOD));
                true
            }
            Some(Action::Complete(..)) => panic!("a call ends before it begins"),
        };
        (Probe { call: Some(call), id }, handled)
    }

    /// Starts a call on a reliable network.
    #[track_caller]
    fn begin_running(&mut self, ms: u64) -> Probe {
        let (probe, handled) = self.begin(ms, 0);
        assert!(handled, "a reliable call runs at once");
        probe
    }

    /// Does what time brings until `ms`; returns the calls whose handlers start.
    fn run_until(&mut self, ms: u64) -> Vec<CallId> {
        let mut handled = Vec::new();
        loop {
            let now = self.at(ms);
            match self.calls.due(now) {
                Due::Now(Action::Complete(done, outcome)) => done.complete(outcome),
                Due::Now(Action::Handle(call, _)) => handled.push(call),
                Due::At(next) => {
                    assert!(next > now);
                    return handled;
                }
                Due::WhenWoken | Due::Stopped => return handled,
            }
        }
    }

    /// The handler fills its slot and returns.
    fn answer(&mut self, ms: u64, call: CallId) {
        let now = self.at(ms);
        assert!(self.calls.answered(call, Some(REPLY.to_vec()), now).is_none());
        let action = self.calls.returned(call, now);
        Self::complete(action);
    }

    fn complete(action: Option<Action>) {
        match action {
            None => {}
            Some(Action::Complete(done, outcome)) => done.complete(outcome),
            Some(Action::Handle(..)) => panic!("an answered call is dispatched again"),
        }
    }

    fn request_count(&self) -> u64 {
        self.calls.topology().server("a").expect("there is a server").request_count()
    }
}

impl Probe {
    fn is_pending(&self) -> bool {
        self.call.as_ref().is_some_and(|call| !call.is_done())
    }

    #[track_caller]
    fn outcome(&mut self) -> Option<Vec<u8>> {
        assert!(!self.is_pending(), "the call is still in flight");
        self.call.take().expect("an outcome is asked for once").wait()
    }

    #[track_caller]
    fn assert_failed(&mut self) {
        assert_eq!(self.outcome(), None);
    }

    #[track_caller]
    fn assert_replied(&mut self) {
        assert_eq!(self.outcome().as_deref(), Some(REPLY));
    }
}

#[test]
fn a_cut_call_fails_at_its_next_multiple_of_100_ms() {
    let cuts: [fn(&mut Sim); 4] = [
        |sim| sim.enable(250, false),
        |sim| sim.delete_server(250),
        |sim| sim.add_server(250),
        |sim| sim.calls.delete_end("a", sim.at(250)),
    ];
    for cut in cuts {
        let mut sim = Sim::new(1);
        let mut probe = sim.begin_running(30);
        cut(&mut sim);
        sim.run_until(329);
        assert!(probe.is_pending(), "checked before 30 + 3 x 100 ms");
        sim.run_until(330);
        probe.assert_failed();
    }
}

#[test]
fn a_running_call_costs_no_deadline_until_it_is_cut() {
    let mut sim = Sim::new(1);
    let probe = sim.begin_running(0);
    assert!(matches!(sim.calls.due(sim.at(10_000)), Due::WhenWoken));
    assert!(probe.is_pending());
}

#[test]
fn a_call_cut_and_mended_between_two_checks_survives() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.enable(110, false);
    sim.enable(190, true);
    sim.run_until(290);
    assert!(probe.is_pending());
    sim.answer(295, probe.id);
    probe.assert_replied();
}

#[test]
fn a_call_mended_once_is_checked_again_when_cut_again() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.enable(110, false);
    sim.enable(120, true);
    sim.run_until(200);
    sim.enable(210, false);
    sim.run_until(299);
    assert!(probe.is_pending());
    sim.run_until(300);
    probe.assert_failed();
}

#[test]
fn a_check_that_is_late_is_not_put_off_by_another_cut() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.enable(110, false);
    sim.delete_server(205);
    sim.run_until(206);
    probe.assert_failed();
}

#[test]
fn a_server_put_back_under_its_name_is_another_one() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.delete_server(10);
    sim.add_server(20);
    sim.run_until(100);
    probe.assert_failed();
}

#[test]
fn the_answer_of_a_cut_server_is_discarded_at_once() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.delete_server(10);
    sim.answer(20, probe.id);
    probe.assert_failed();
    assert_eq!(sim.calls.total_bytes(), 0);
}

#[test]
fn an_answer_after_the_call_has_failed_goes_nowhere() {
    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.enable(10, false);
    sim.run_until(100);
    probe.assert_failed();
    sim.enable(110, true);
    sim.answer(120, probe.id);
    assert_eq!(sim.calls.total_bytes(), 0);
}

#[test]
fn the_reply_leaves_when_the_slot_is_filled_and_the_handler_has_returned() {
    let mut sim = Sim::new(1);
    let now = sim.at(5);
    let mut returned_first = sim.begin_running(0);
    assert!(sim.calls.returned(returned_first.id, now).is_none());
    assert!(returned_first.is_pending());
    Sim::complete(sim.calls.answered(returned_first.id, Some(REPLY.to_vec()), now));
    returned_first.assert_replied();

    let mut filled_first = sim.begin_running(0);
    assert!(sim.calls.answered(filled_first.id, Some(REPLY.to_vec()), now).is_none());
    assert!(filled_first.is_pending());
    Sim::complete(sim.calls.returned(filled_first.id, now));
    filled_first.assert_replied();

    let mut dropped = sim.begin_running(0);
    assert!(sim.calls.returned(dropped.id, now).is_none());
    Sim::complete(sim.calls.answered(dropped.id, None, now));
    dropped.assert_failed();
}

#[test]
fn a_call_without_a_target_never_arrives_and_fails_by_itself() {
    let mut sim = Sim::new(1);
    sim.enable(0, false);
    let mut probes: Vec<Probe> = (0..200).map(|_| sim.begin(0, 0).0).collect();
    sim.enable(1, true);
    assert!(sim.run_until(98).is_empty(), "a request without a target has arrived");
    let pending = probes.iter().filter(|p| p.is_pending()).count();
    assert!((1..=10).contains(&pending), "{pending} of 200 have the full delay");
    assert!(sim.run_until(99).is_empty());
    probes.iter_mut().for_each(Probe::assert_failed);
    assert_eq!((sim.calls.total_count(), sim.request_count()), (200, 0));
}

#[test]
fn knobs_do_not_touch_calls_on_their_way() {
    let mut sim = Sim::new(1);
    sim.enable(0, false);
    sim.calls.knobs.long_delays = true;
    let probes: Vec<Probe> = (0..200).map(|_| sim.begin(0, 0).0).collect();
    sim.calls.knobs.long_delays = false;
    sim.run_until(1000);
    let pending = probes.iter().filter(|p| p.is_pending()).count();
    assert!(pending > 140, "{pending} of 200 left after 1 of 7 s");

    let mut sim = Sim::new(1);
    let mut probe = sim.begin_running(0);
    sim.calls.knobs = Knobs { reliable: false, long_delays: true, long_reordering: true };
    sim.answer(1, probe.id);
    probe.assert_replied();
}

/// 81 % succeed, 10 % are never executed, 9 % are executed and reported failed; the failures are
/// fast. Arguments count for all, replies for the delivered, requests for the executed.
#[test]
fn an_unreliable_network_loses_a_tenth_each_way_and_counts_as_it_should() {
    const CALLS: u64 = 10_000;
    let mut sim = Sim::new(42);
    sim.calls.knobs.reliable = false;
    let mut probes = Vec::new();
    let mut executed = 0;
    for _ in 0..CALLS {
        let (probe, at_once) = sim.begin(0, 7);
        if at_once {
            executed += 1;
            sim.answer(0, probe.id);
        }
        probes.push(probe);
    }
    for ms in 0..=26 {
        for call in sim.run_until(ms) {
            executed += 1;
            sim.answer(ms, call);
        }
    }
    let succeeded = probes.iter_mut().filter_map(Probe::outcome).count() as u64;
    assert!((8000..8200).contains(&succeeded), "{succeeded} of {CALLS} succeeded");
    assert!((8900..9100).contains(&executed), "{executed} of {CALLS} executed");
    assert_eq!(sim.request_count(), executed);
    assert_eq!(sim.calls.total_count(), CALLS);
    assert_eq!(sim.calls.total_bytes(), 7 * CALLS + REPLY.len() as u64 * succeeded);
}

/// A call on an unreliable network whose request takes at least 5 ms to arrive, and does.
fn travelling() -> (Sim, Probe) {
    (0..100)
        .find_map(|seed| {
            let mut sim = Sim::new(seed);
            sim.calls.knobs.reliable = false;
            let (probe, at_once) = sim.begin(0, 0);
            let pending = sim.calls.pending.get(&probe.id)?;
            let Stage::Travelling(_, fate) = &pending.stage else { return None };
            (!at_once && fate.request_delay >= Duration::from_millis(5)).then_some((sim, probe))
        })
        .expect("four requests in five are delayed that long")
}

#[test]
fn a_request_on_its_way_executes_although_its_sender_is_disconnected_and_its_server_gone() {
    let (mut sim, mut probe) = travelling();
    let old = Arc::clone(sim.calls.topology().server("a").expect("there is a server"));
    sim.enable(1, false);
    sim.add_server(2);
    assert_eq!(sim.run_until(26), vec![probe.id]);
    assert_eq!(old.request_count(), 1);
    assert_eq!(sim.request_count(), 0, "the request was for the server before");
    sim.run_until(99);
    assert!(probe.is_pending(), "nobody looks before 100 ms of the handler's run");
    sim.run_until(126);
    probe.assert_failed();
}

#[test]
fn a_request_cut_and_mended_on_its_way_is_answered() {
    let (mut sim, mut probe) = travelling();
    sim.enable(1, false);
    assert_eq!(sim.run_until(26), vec![probe.id]);
    sim.enable(30, true);
    sim.run_until(500);
    assert!(probe.is_pending(), "cut and mended between two checks");
    // Its reply may be one of the lost ones; lost or not, the call ends now.
    sim.answer(501, probe.id);
    assert!(!probe.is_pending());
    drop(probe.outcome());
}

/// A call whose reply has been held back since 10 ms.
fn held() -> (Sim, Probe) {
    (0..100)
        .find_map(|seed| {
            let mut sim = Sim::new(seed);
            sim.calls.knobs.long_reordering = true;
            let probe = sim.begin_running(0);
            sim.answer(10, probe.id);
            probe.is_pending().then_some((sim, probe))
        })
        .expect("two replies in three are held")
}

#[test]
fn a_held_reply_is_delivered_although_its_server_is_deleted_and_its_end_disabled() {
    let (mut sim, mut probe) = held();
    sim.delete_server(20);
    sim.enable(30, false);
    sim.run_until(209);
    assert!(probe.is_pending(), "delivered before 200 ms");
    assert_eq!(sim.calls.total_bytes(), 0, "counted before it is delivered");
    sim.run_until(10 + 2199);
    probe.assert_replied();
    assert_eq!(sim.calls.total_bytes(), REPLY.len() as u64);
}

#[test]
fn a_check_that_was_planned_before_the_answer_does_not_release_a_held_reply() {
    let (mut sim, mut probe) = (0..100)
        .find_map(|seed| {
            let mut sim = Sim::new(seed);
            sim.calls.knobs.long_reordering = true;
            let probe = sim.begin_running(0);
            sim.enable(10, false);
            sim.enable(20, true);
            sim.answer(30, probe.id);
            probe.is_pending().then_some((sim, probe))
        })
        .expect("two replies in three are held");
    sim.run_until(150);
    assert!(probe.is_pending(), "released by the check at 100 ms");
    sim.run_until(30 + 2199);
    probe.assert_replied();
}

#[test]
fn a_stopped_network_gives_everything_back_and_fails_calls_at_once() {
    let (mut sim, travelling) = travelling();
    sim.calls.knobs = Knobs::default();
    let running = sim.begin_running(1);
    sim.enable(2, false);
    let (doomed, _) = sim.begin(2, 0);
    let remains = sim.calls.stop();
    assert_eq!((remains.unfinished.len(), remains.undelivered.len()), (3, 1));
    drop(remains);
    for mut probe in [travelling, running, doomed] {
        probe.assert_failed();
    }
    let (call, done) = Call::pair();
    let now = sim.at(3);
    Sim::complete(sim.calls.begin(sim.end, METHOD, vec![0; 9], done, now));
    assert!(call.is_done());
    assert_eq!((sim.calls.total_count(), sim.calls.total_bytes()), (3, 0));
    assert!(matches!(sim.calls.due(now), Due::Stopped));
}
