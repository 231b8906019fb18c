//! Commands on data: their replies, how they are bundled, transactions, errors.

use proptest::strategy::Strategy as _;

use super::*;
use crate::op::VALUE_BYTES_MAX;

#[track_caller]
fn check(lines: &str, replies: &str) {
    assert_eq!(Talk::new().say(lines), replies, "{lines}");
}

#[test]
fn commands_on_data() {
    check("SET k v\nGET k\nGET none", "+OK\r\n$1\r\nv\r\n$-1\r\n");
    check("SET k v NX\nSET k w NX\nGET k", "+OK\r\n$-1\r\n$1\r\nv\r\n");
    check(
        "SET k v\nSET k w GET\nGETSET k x\nGETDEL k\nEXISTS k",
        concat!("+OK\r\n", "$1\r\nv\r\n", "$1\r\nw\r\n", "$1\r\nx\r\n", ":0\r\n"),
    );
    check(
        "SET k a\nSET k b IFEQ x\nSET k b IFEQ a\nDELEX k IFEQ a\nDELIFEQ k b",
        concat!("+OK\r\n", "$-1\r\n", "+OK\r\n", ":0\r\n", ":1\r\n"),
    );
    check("SETNX k v\nSETNX k v", ":1\r\n:0\r\n");
    check("INCR n\nINCRBY n 5\nDECR n\nDECRBY n 3", ":1\r\n:6\r\n:5\r\n:2\r\n");
    check("APPEND k ab\nAPPEND k c\nSTRLEN k", ":2\r\n:3\r\n:3\r\n");
    check(
        "MSET a 1 b 2\nMGET a x b\nMSETNX a 1 c 3\nDBSIZE",
        concat!("+OK\r\n", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n", ":0\r\n", ":2\r\n"),
    );
    check(
        "SET k v\nTYPE k\nTYPE x\nTTL k\nPTTL x\nPERSIST k",
        concat!("+OK\r\n", "+string\r\n", "+none\r\n", ":-1\r\n", ":-2\r\n", ":0\r\n"),
    );
    check("MSET a 1 b 2\nDEL a x\nUNLINK b\nKEYS *", "+OK\r\n:1\r\n:1\r\n*0\r\n");
    check("SET k v\nSCAN 0", "+OK\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    check("SCAN 0 TYPE hash", "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn mistakes_are_told_in_the_usual_words() {
    check("GET", "-ERR wrong number of arguments for 'get' command\r\n");
    check("FLY to moon", "-ERR unknown command 'FLY', with args beginning with: 'to' 'moon' \r\n");
    check("SET k v\nINCR k", "+OK\r\n-ERR value is not an integer or out of range\r\n");
    check("SET k v WHEN", "-ERR syntax error\r\n");
    let no_expiry = "-ERR expiry is not supported: keys stay until they are deleted\r\n";
    for line in ["SET k v EX 5", "SETEX k 5 v", "EXPIRE k 5", "PEXPIREAT k 5"] {
        check(line, no_expiry);
    }
    check("EVAL x 0", "-ERR scripting is not supported; use DELEX key IFEQ value\r\n");
    let long = format!("FLY {}", "x".repeat(500));
    assert!(Talk::new().say(&long).len() < 250, "only the beginning is repeated");
}

#[test]
fn replies_keep_the_order_of_commands() {
    check(
        "SET k v\nPING\nGET k\nNONSENSE\nINCR k\nECHO x\nGET k",
        concat!(
            "+OK\r\n",
            "+PONG\r\n",
            "$1\r\nv\r\n",
            "-ERR unknown command 'NONSENSE', with args beginning with: \r\n",
            "-ERR value is not an integer or out of range\r\n",
            "$1\r\nx\r\n",
            "$1\r\nv\r\n"
        ),
    );
}

#[test]
fn pipelined_commands_are_bundled() {
    let mut talk = Talk::new();
    talk.say(&"INCR n\n".repeat(100));
    assert_eq!(talk.requests(), [100]);
    talk.say("SET k v\nGET k\nSET k w\nGET k");
    assert_eq!(talk.requests(), [4]);
    talk.say(&("GET k\n".repeat(20) + "SET k v\nGET k"));
    assert_eq!(talk.requests(), [20, 2], "reads in front stay out of the log");
    talk.say(&"INCR n\n".repeat(1500));
    assert_eq!(talk.requests(), [1024, 476]);
    assert_eq!(talk.say("GET n"), "$4\r\n1600\r\n");
}

#[test]
fn large_commands_are_not_bundled_without_end() {
    let mut talk = Talk::new();
    let replies = talk.say(&format!("SET a {}\n", "x".repeat(60_000)).repeat(40));
    assert_eq!(replies, "+OK\r\n".repeat(40));
    let requests = talk.requests();
    assert!(requests.len() >= 3 && requests.iter().sum::<usize>() == 40, "{requests:?}");
}

#[test]
fn the_limit_of_answers_does_not_show_through_bundling() {
    let mut talk = Talk::new();
    let value = "x".repeat(VALUE_BYTES_MAX);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${VALUE_BYTES_MAX}\r\n{value}\r\n");
    assert_eq!(talk.send(set.as_bytes()).0, "+OK\r\n");
    let replies = talk.say(&"GET k\n".repeat(30));
    assert_eq!(replies.matches("$4194304\r\n").count(), 30);
    let replies = talk.say(&("INCR n\n".to_owned() + &"GET k\n".repeat(20)));
    assert_eq!(replies.matches("$4194304\r\n").count(), 20);
    let mixed = "GET k\nSET k v\n".to_owned() + &"GET k\n".repeat(20);
    let replies = talk.say(&mixed);
    assert_eq!(replies.matches("$1\r\nv\r\n").count(), 20);
    assert!(!replies.contains("-ERR"));
}

#[test]
fn a_transaction_is_one_request() {
    let mut talk = Talk::new();
    let replies = talk.say("MULTI\nSET k 1\nPING\nINCR k\nGET k\nSET k v BAD\nEXEC\nGET k");
    assert_eq!(
        replies,
        concat!(
            "+OK\r\n",
            "+QUEUED\r\n",
            "+QUEUED\r\n",
            "+QUEUED\r\n",
            "+QUEUED\r\n",
            "+QUEUED\r\n",
            "*5\r\n",
            "+OK\r\n",
            "+PONG\r\n",
            ":2\r\n",
            "$1\r\n2\r\n",
            "-ERR syntax error\r\n",
            "$1\r\n2\r\n"
        )
    );
    assert_eq!(talk.requests(), [3, 1]);
    assert_eq!(talk.say("MULTI\nEXEC"), "+OK\r\n*0\r\n");
    assert_eq!(talk.requests(), [0; 0]);
}

#[test]
fn transactions_and_their_mistakes() {
    check("EXEC\nDISCARD", "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    check(
        "MULTI\nMULTI\nSET k v\nDISCARD\nGET k",
        concat!(
            "+OK\r\n",
            "-ERR MULTI calls can not be nested\r\n",
            "+QUEUED\r\n",
            "+OK\r\n",
            "$-1\r\n"
        ),
    );
    check(
        "MULTI\nSET k v\nNONSENSE\nEXEC\nGET k",
        concat!(
            "+OK\r\n",
            "+QUEUED\r\n",
            "-ERR unknown command 'NONSENSE', with args beginning with: \r\n",
            "-EXECABORT Transaction discarded because of previous errors.\r\n",
            "$-1\r\n"
        ),
    );
    check(
        "WATCH k\nMULTI\nWATCH k\nUNWATCH\nEXEC",
        concat!(
            "-ERR WATCH is not supported; use SET key value IFEQ old-value\r\n",
            "+OK\r\n",
            "-ERR WATCH inside MULTI is not allowed\r\n",
            "+QUEUED\r\n",
            "*1\r\n+OK\r\n"
        ),
    );
}

#[test]
fn a_transaction_too_large_is_not_executed() {
    let mut talk = Talk::new();
    assert_eq!(talk.say("MULTI"), "+OK\r\n");
    let value = "x".repeat(3 << 20);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    let replies = talk.send(set.repeat(3).as_bytes()).0;
    assert!(replies.starts_with("+QUEUED\r\n+QUEUED\r\n-ERR the transaction exceeds"), "{replies}");
    assert!(talk.say("EXEC").starts_with("-EXECABORT"));
    assert_eq!(talk.requests(), [0; 0]);
}

#[test]
fn what_the_store_cannot_do_is_told_by_the_first_word() {
    let mut talk = Talk::new();
    let id = Some(oarlock_raft::EntryId::new(812, 7));
    let errors = [
        (
            ExecuteError::NoLeader { reason: "1 of 3 voters reachable, need 2".to_owned() },
            "-CLUSTERDOWN no leader: 1 of 3 voters reachable, need 2\r\n",
        ),
        (
            ExecuteError::UnknownResult { id, term: 7 },
            "-UNKNOWNRESULT the command may or may not take effect (index 812, term 7); \
             repeat it only if it is idempotent\r\n",
        ),
        (ExecuteError::Busy, "-TRYAGAIN too many requests are waiting to be replicated\r\n"),
        (
            ExecuteError::NoSpace,
            "-MISCONF no room on the disks of a majority of the nodes: writes are refused, reads go \
             on; free some space, and writes go on by themselves\r\n",
        ),
        (ExecuteError::Stopped, "-CLUSTERDOWN this node is shutting down\r\n"),
    ];
    for (error, reply) in errors {
        talk.fail_next(error.clone());
        assert_eq!(talk.say("SET k v\nINCR n"), reply.repeat(2), "each of a bundle is told");
        talk.fail_next(error);
        assert_eq!(
            talk.say("MULTI\nSET k v\nEXEC\nPING"),
            format!("+OK\r\n+QUEUED\r\n{reply}+PONG\r\n")
        );
    }
}

#[test]
fn bytes_that_are_not_resp_end_the_conversation() {
    let (reply, flow) = Talk::new().send(b"PING\r\n*1\r\n+x\r\nPING\r\n");
    assert_eq!(reply, "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n");
    assert_eq!(flow, Flow::Close);
    let (_, flow) = Talk::new().send(b"POST / HTTP/1.1\r\nHost: here\r\nSET k v\r\n");
    assert_eq!(flow, Flow::Close);
}

#[test]
fn many_replies_are_handed_over_in_parts() {
    let mut talk = Talk::new();
    let echo = format!("ECHO {}\r\n", "x".repeat(60_000));
    talk.connection.feed(echo.repeat(40).as_bytes());
    let mut out = Vec::new();
    assert_eq!(talk.connection.advance(&mut out), Flow::More);
    assert!(out.len() < 1_200_000, "{} bytes", out.len());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        pieces in proptest::collection::vec(proptest::prop_oneof![
            proptest::sample::select(vec![
                &b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..], b"MULTI\r\n", b"EXEC\r\n", b"SET k v\r\n",
                b"SCAN 0 MATCH *\r\n", b"HELLO 3\r\n", b"CLIENT REPLY SKIP\r\n", b"COMMAND\r\n",
                b"CLUSTER SLOTS\r\n", b"INFO\r\n", b"CLIENT KILL ID 1\r\n", b"RESET\r\n",
            ]).prop_map(<[u8]>::to_vec),
            proptest::collection::vec(proptest::num::u8::ANY, 0..12),
        ], 0..30),
    ) {
        let mut talk = Talk::new();
        let mut out = Vec::new();
        for piece in pieces {
            talk.connection.feed(&piece);
            while talk.connection.advance(&mut out) == Flow::More {
                out.clear();
            }
        }
    }
}
