//! Two lanes: the bulk one is dialled when it is used, and never makes the urgent one wait.

use std::sync::atomic::AtomicBool;

use super::*;

/// Takes its time over each bulk message, as a disk would.
struct SlowReader(AtomicBool);

impl Service for SlowReader {
    fn handle(&self, _: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if args.len() > 1000 {
            let started = Instant::now();
            while !self.0.load(Ordering::SeqCst) && started.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        reply.reply(vec![]);
        Ok(())
    }
}

/// 64 MiB are on their way to a reader that is stuck over the first of them: heartbeats pass.
#[test]
fn heartbeats_pass_while_a_large_transfer_is_stuck() {
    let service = Arc::new(SlowReader(AtomicBool::new(false)));
    let fixture = Fixture::with(|options| options.serve_peers(service.clone()));
    let end = fixture.end();
    let outcomes = Outcomes::default();
    for _ in 0..16 {
        end.start(BULK_ECHO, vec![1; 4 << 20], outcomes.completion());
    }
    let mut round_trips: Vec<Duration> = (0..200)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![]));
            started.elapsed()
        })
        .collect();
    assert_eq!(outcomes.count(), 0, "the transfer is still stuck");
    round_trips.sort();
    assert!(round_trips[100] < Duration::from_millis(100), "median {:?}", round_trips[100]);
    service.0.store(true, Ordering::SeqCst);
    eventually("the transfer is done", || outcomes.count() == 16);
    assert!(outcomes.0.lock().iter().all(|outcome| outcome.as_deref() == Some(&[])));
}

#[cfg(target_os = "linux")]
#[test]
fn the_bulk_lane_is_dialled_when_it_is_first_used() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let readers = format!("rpc{}-in", fixture.me.node_id);
    assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
    eventually("one connection is served", || threads_named(&readers) == 1);
    assert_eq!(end.call(BULK_ECHO, vec![1]).wait(), Some(vec![1]));
    eventually("two connections are served", || threads_named(&readers) == 2);
}
