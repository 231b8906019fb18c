//! Reads at a follower: it serves what the leader leaves to it, on whole nodes and the simulated network.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use oarlock_raft::Vouch;
use oarlock_rpc::{Completion, codec};

use crate::op::{Answer, Op};
use crate::request::{KV_REQUEST, KvCall, KvReply};
use crate::server::tests::{Cluster, append, disturbed_client, get, text};
use crate::{KvOptions, KvServer};

/// Three nodes which have all applied that `k` is `v`.
fn level_cluster() -> Cluster {
    let cluster = Cluster::new(3, KvOptions::default());
    cluster.clerk("first").append("k", "v");
    let applied = |at: usize| cluster.servers[at].replicated().status().last_applied;
    let deadline = Instant::now() + Duration::from_secs(10);
    while (0..3).any(|at| applied(at) < applied(cluster.leader())) {
        assert!(Instant::now() < deadline, "a follower never hears of the commit");
        std::thread::yield_now();
    }
    cluster
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
    (answers.to_vec(), told.recv().unwrap())
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
    let reply: KvReply = codec::decode(&told.recv().unwrap().expect("a reply")).unwrap();
    let KvReply::Answers(answers) = reply else { panic!("{reply:?}") };
    assert_eq!(text(&answers[0]), "v");
}

/// Each read sees the write before it, at whichever node either is made, while the followers are now
/// level and now behind.
#[test]
fn reads_at_any_node_see_what_was_answered_at_any_other() {
    let cluster = level_cluster();
    let clients: Vec<_> = cluster.servers.iter().map(KvServer::client).collect();
    let mut expected = "v".to_owned();
    for n in 0..300 {
        let piece = format!(".{n}");
        clients[n % 3].execute(append("k", &piece)).unwrap();
        expected += &piece;
        for client in &clients {
            assert_eq!(text(&client.execute(get("k")).unwrap()[0]), expected);
        }
    }
    assert_eq!(Arc::strong_count(&clients[0]), 2, "nobody keeps a client");
}
