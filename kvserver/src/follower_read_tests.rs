//! Reads that are left to the node which passed them on, on whole nodes and the simulated network.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use oarlock_raft::{Options, Vouch};
use oarlock_rpc::{Completion, End, Method, codec};

use crate::op::{Answer, Op};
use crate::request::{KV_REQUEST, KvCall, KvReply};
use crate::server::tests::{Cluster, append, client_by, disturbed_client, get, text};
use crate::{KvOptions, KvServer};

const LONG: Duration = Duration::from_secs(10);

/// Three nodes which have all applied that `k` is `v`.
fn level_cluster() -> Cluster {
    // So long that a busy machine elects nobody else meanwhile.
    let election_timeout = Duration::from_secs(1)..=Duration::from_millis(1500);
    let raft = Options { election_timeout, ..Options::default() };
    let cluster = Cluster::new(3, KvOptions { raft, ..KvOptions::default() });
    // Not by a clerk: one that waits for an election asks again, and then the log has it twice, the second
    // time perhaps after everybody seemed level.
    cluster.servers[cluster.leader()].client().execute(append("k", "v")).unwrap();
    wait_until_level(&cluster);
    cluster
}

/// Until each node has heard that everything in the log is committed, and applied it.
fn wait_until_level(cluster: &Cluster) {
    let status = |at: usize| cluster.servers[at].replicated().status();
    let deadline = Instant::now() + LONG;
    while (0..3).any(|at| status(at).last_applied < status(cluster.leader()).last_index) {
        assert!(Instant::now() < deadline, "a follower never hears of the commit");
        std::thread::yield_now();
    }
}

/// What a follower's client is answered, and what the leader said to the follower, which vouches for
/// what it has applied, if `change` does not say otherwise.
fn read_at_follower(
    cluster: &Cluster,
    ops: Vec<Op>,
    change: impl Fn(&mut Vouch) + Send + Sync + 'static,
) -> (Vec<Answer>, KvReply) {
    let (tell, told) = mpsc::channel();
    let client = disturbed_client(cluster, move |_, leader, args, done| {
        let mut call: KvCall = codec::decode(&args).unwrap();
        change(call.forwarded.as_mut().expect("somebody vouches"));
        let tell = tell.clone();
        let heard = Completion::new(move |reply: Option<Vec<u8>>| {
            tell.send(codec::decode(reply.as_ref().expect("a reply")).unwrap()).unwrap();
            done.complete(reply);
        });
        leader.start(KV_REQUEST, codec::encode(&call).unwrap(), heard);
    });
    let answers = client.execute(ops).unwrap();
    (answers.to_vec(), told.recv_timeout(LONG).unwrap())
}

#[test]
fn a_follower_that_has_applied_enough_serves_a_read_itself() {
    let cluster = level_cluster();
    let (answers, said) = read_at_follower(&cluster, get("k"), |_| {});
    assert_eq!((text(&answers[0]), said), ("v".to_owned(), KvReply::ReadThere));
    // A search is not for the network's threads.
    let search = vec![Op::Keys { pattern: b"*".to_vec().into() }, get("k").remove(0)];
    let (answers, said) = read_at_follower(&cluster, search, |_| {});
    assert_eq!(answers[0], Answer::List(vec![Some(b"k".to_vec().into())]));
    assert_eq!((text(&answers[1]), said), ("v".to_owned(), KvReply::ReadThere));
}

#[test]
fn a_follower_that_lags_behind_is_given_the_answers() {
    let cluster = level_cluster();
    let (answers, said) = read_at_follower(&cluster, get("k"), |vouch| vouch.applied -= 1);
    assert_eq!((text(&answers[0]), said), ("v".to_owned(), KvReply::Answers(answers.into())));
}

/// A clerk that asks a follower gets the leader's reply as it is.
#[test]
fn a_clerks_read_is_never_left_to_the_follower_that_it_came_by() {
    let cluster = level_cluster();
    let end = cluster.end("clerk", cluster.a_follower());
    let (tell, told) = mpsc::channel();
    let heard = Completion::new(move |reply: Option<Vec<u8>>| tell.send(reply).unwrap());
    end.start(KV_REQUEST, codec::encode(&KvCall::reading(get("k"))).unwrap(), heard);
    let reply: KvReply =
        codec::decode(&told.recv_timeout(LONG).unwrap().expect("a reply")).unwrap();
    let KvReply::Answers(answers) = reply else { panic!("{reply:?}") };
    assert_eq!(text(&answers[0]), "v");
}

/// Nobody would say that, but it comes by a wire.
#[test]
fn a_write_that_is_left_to_its_sender_is_tried_again() {
    let cluster = level_cluster();
    let client = disturbed_client(&cluster, |_, _, _, done| {
        done.complete(Some(codec::encode(&KvReply::ReadThere).unwrap()));
    });
    assert_eq!(client.execute(append("k", "w")).unwrap()[0], Answer::Integer(2));
}

/// One that is alone needs nobody's word, and looks on the thread that asks, unless its applier is just
/// at work.
#[test]
fn a_node_that_is_alone_reads_without_its_applier() {
    let cluster = Cluster::new(1, KvOptions::default());
    let client = cluster.servers[0].client();
    client.execute(append("k", "v")).unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        let (tell, told) = mpsc::channel();
        let asks = std::thread::current().id();
        client.execute_with(get("k"), move |answers| {
            let is_here = std::thread::current().id() == asks;
            tell.send((text(&answers.unwrap()[0]), is_here)).unwrap();
        });
        let (found, is_here) = told.recv_timeout(LONG).unwrap();
        assert_eq!(found, "v");
        if is_here {
            break;
        }
        assert!(Instant::now() < deadline, "each time another thread reads");
    }
}

/// Counts what comes back to calls for the store.
struct Counted {
    inner: Arc<dyn End>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    left: AtomicUsize,
    answered: AtomicUsize,
}

impl End for Counted {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        let counts = Arc::clone(&self.counts);
        let counted = Completion::new(move |reply: Option<Vec<u8>>| {
            match reply.as_ref().map(|reply| codec::decode::<KvReply>(reply).unwrap()) {
                Some(KvReply::ReadThere) => counts.left.fetch_add(1, Ordering::SeqCst),
                Some(KvReply::Answers(_)) => counts.answered.fetch_add(1, Ordering::SeqCst),
                _ => 0,
            };
            done.complete(reply);
        });
        self.inner.start(method, args, counted);
    }
}

/// Each read sees the write before it, at whichever node either is made, while the followers are now
/// level and now behind.
#[test]
fn reads_at_any_node_see_what_was_answered_at_any_other() {
    let cluster = level_cluster();
    let counts = Arc::new(Counts::default());
    let counted = {
        let counts = Arc::clone(&counts);
        client_by(&cluster, move |_, inner| {
            Arc::new(Counted { inner, counts: Arc::clone(&counts) })
        })
    };
    let clients: Vec<_> = cluster.servers.iter().map(KvServer::client).collect();
    let mut expected = "v".to_owned();
    for n in 0..100 {
        let piece = format!(".{n}");
        clients[n % 3].execute(append("k", &piece)).unwrap();
        expected += &piece;
        if n % 2 == 0 {
            wait_until_level(&cluster);
        }
        assert_eq!(text(&counted.execute(get("k")).unwrap()[0]), expected);
        for client in &clients {
            assert_eq!(text(&client.execute(get("k")).unwrap()[0]), expected);
        }
    }
    let [left, answered] =
        [&counts.left, &counts.answered].map(|count| count.load(Ordering::SeqCst));
    assert!(left > 0 && answered > 0, "{left} reads were left to it, {answered} were not");
}
