//! What clients say before and besides their work.

use super::*;

#[track_caller]
fn check(lines: &str, replies: &str) {
    assert_eq!(Talk::new().say(lines), replies, "{lines}");
}

const HELLO_3: &str = concat!(
    "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.0\r\n$5\r\nproto\r\n:3\r\n",
    "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
    "$7\r\nmodules\r\n*0\r\n"
);

#[test]
fn hello_chooses_the_version() {
    check("HELLO 3\nGET k", &format!("{HELLO_3}_\r\n"));
    check(
        "GET k\nHELLO 3\nGET k\nHELLO 2\nGET k",
        &format!(
            "$-1\r\n{HELLO_3}_\r\n{}$-1\r\n",
            HELLO_3.replace("%7", "*14").replace(":3", ":2")
        ),
    );
    check("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    check("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    check("HELLO 3 WHAT", "-ERR Syntax error in HELLO option 'WHAT'\r\n");
    check("HELLO 3 SETNAME me\nCLIENT GETNAME", &format!("{HELLO_3}$2\r\nme\r\n"));
    let no_password = Talk::new().say("AUTH secret");
    assert!(no_password.starts_with("-ERR AUTH <password> called without"), "{no_password}");
}

#[test]
fn a_password_guards_everything_but_the_door() {
    let options = RespOptions { password: Some("secret".to_owned()), ..RespOptions::default() };
    let mut talk = Talk::with(options);
    assert_eq!(talk.say("GET k"), "-NOAUTH Authentication required.\r\n");
    assert!(talk.say("HELLO 3").starts_with("-NOAUTH HELLO"));
    for wrong in
        ["AUTH Secret", "AUTH secre", "AUTH secretx", "AUTH other secret", "HELLO 3 AUTH default x"]
    {
        assert!(talk.say(wrong).starts_with("-WRONGPASS"), "{wrong}");
    }
    assert_eq!(talk.say("AUTH default secret\nGET k"), "+OK\r\n$-1\r\n");
    let long = format!("*2\r\n$4\r\nECHO\r\n$20000\r\n{}\r\n", "x".repeat(20_000));
    assert!(talk.send(long.as_bytes()).0.starts_with("$20000\r\nxxx"));
    assert_eq!(talk.say("RESET\nGET k"), "+RESET\r\n-NOAUTH Authentication required.\r\n");
    assert_eq!(talk.say("HELLO 3 AUTH default secret\nGET k").matches('_').count(), 1);
    assert_eq!(talk.say("RESET"), "+RESET\r\n");
    let long = format!("AUTH {}", "x".repeat(20_000));
    let bytes = format!("*2\r\n$4\r\nAUTH\r\n$20000\r\n{long}\r\n");
    assert_eq!(talk.send(bytes.as_bytes()).1, Flow::Close, "small limits before authentication");
}

#[test]
fn small_talk() {
    check("PING\nPING hello\nECHO you", "+PONG\r\n$5\r\nhello\r\n$3\r\nyou\r\n");
    check("SELECT 0\nSELECT 1", "+OK\r\n-ERR DB index is out of range\r\n");
    check("READONLY\nREADWRITE\nASKING", "+OK\r\n+OK\r\n+OK\r\n");
    check("WAIT 2 0", ":1\r\n");
    check("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    check(
        "CONFIG GET save appendonly",
        "*4\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n$4\r\nsave\r\n$0\r\n\r\n",
    );
    check("CONFIG GET nothing", "*0\r\n");
    check("RAFT ADD x", "-ERR RAFT ADD is not supported yet\r\n");
    assert!(Talk::new().say("TIME").starts_with("*2\r\n$10\r\n"));
    assert!(Talk::new().say("RAFT STATUS").contains("leader:n3\n"));
    let (reply, flow) = Talk::new().send(b"QUIT\r\nPING\r\n");
    assert_eq!((reply.as_str(), flow), ("+OK\r\n", Flow::Close));
}

#[test]
fn the_client_command() {
    check(
        "CLIENT ID\nCLIENT GETNAME\nCLIENT SETNAME me\nCLIENT GETNAME",
        ":1\r\n$-1\r\n+OK\r\n$2\r\nme\r\n",
    );
    check("CLIENT SETINFO LIB-NAME redis-py\nCLIENT SETINFO lib-ver 8.1", "+OK\r\n+OK\r\n");
    check(
        "CLIENT SETINFO LIB-NAME \"a b\"",
        "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n",
    );
    check(
        "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none\nCLIENT NO-EVICT on",
        "+OK\r\n+OK\r\n",
    );
    check("CLIENT NONSENSE", "-ERR unknown subcommand 'NONSENSE'. Try CLIENT HELP.\r\n");
    check("CLIENT KILL", "-ERR wrong number of arguments for 'client|kill' command\r\n");
    check("CLIENT KILL ID 7", ":0\r\n");
    let mut talk = Talk::new();
    talk.say("CLIENT SETINFO LIB-NAME lib\nMULTI");
    let list = talk.say("DISCARD\nCLIENT LIST");
    assert!(list.contains("id=1 ") && list.contains("lib-name=lib "), "{list}");
    let (reply, flow) = talk.send(b"CLIENT KILL ID 1 SKIPME no\r\n");
    assert_eq!((reply.as_str(), flow), (":1\r\n", Flow::Close));
}

#[test]
fn replies_can_be_turned_off() {
    check("CLIENT REPLY SKIP\nSET k 1\nGET k", "$1\r\n1\r\n");
    check(
        "CLIENT REPLY OFF\nSET k 1\nGET\nMULTI\nINCR k\nEXEC\nCLIENT REPLY ON\nGET k",
        "+OK\r\n$1\r\n2\r\n",
    );
}

#[test]
fn errors_are_counted_but_greetings_are_not() {
    let mut talk = Talk::new();
    talk.say("HELLO 3\nCLIENT SETINFO LIB-NAME x\nCLIENT MAINT_NOTIFICATIONS ON\nSET k v");
    assert!(talk.say("INFO stats").contains("total_error_replies:0\r\n"));
    talk.say("NONSENSE\nINCR k\nMULTI\nINCR k\nEXEC");
    assert!(talk.say("INFO stats").contains("total_error_replies:3\r\n"));
}

#[test]
fn info_in_sections() {
    let mut talk = Talk::new();
    talk.say("MSET a 1 b 2");
    let info = talk.say("INFO");
    for line in [
        "# Server\r\nredis_version:7.4.0\r\n",
        "loading:0\r\n",
        "role:master\r\n",
        "cluster_enabled:0\r\n",
        "raft_role:follower\r\n",
        "db0:keys=2,expires=0,avg_ttl=0\r\n",
        "connected_clients:1\r\n",
        "used_memory:4\r\n",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    let replication = talk.say("INFO replication");
    assert!(replication.contains("role:master") && !replication.contains("# Server"));
    assert_eq!(talk.say("INFO nothing"), "$0\r\n\r\n");
    assert!(talk.say("HELLO 3\nINFO server").contains("=2"), "a verbatim string");
}

#[test]
fn the_table_of_commands() {
    let mut talk = Talk::new();
    assert!(talk.say("COMMAND COUNT").starts_with(":6"));
    let row = talk.say("COMMAND INFO get nothing");
    let expected = "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n";
    assert!(row.starts_with(expected), "{row}");
    assert!(row.ends_with("*0\r\n*0\r\n*0\r\n$-1\r\n"), "{row}");
    let docs = talk.say("COMMAND DOCS ping");
    assert!(docs.starts_with("*2\r\n$4\r\nping\r\n*6\r\n$7\r\nsummary\r\n"), "{docs}");
    assert_eq!(talk.say("COMMAND GETKEYS MSET a 1 b 2"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(talk.say("COMMAND GETKEYS PING"), "-ERR The command has no key arguments\r\n");
    let all = talk.say("COMMAND");
    assert!(all.matches("*10\r\n").count() > 60);
}

#[test]
fn the_members_as_a_cluster() {
    let mut talk = Talk::new();
    let slots = talk.say("CLUSTER SLOTS");
    let leader = "*4\r\n$8\r\n10.0.0.3\r\n:6379\r\n$40\r\n0000000000000000000000000000000000000003\r\n*0\r\n";
    assert!(slots.starts_with(&format!("*1\r\n*5\r\n:0\r\n:16383\r\n{leader}")), "{slots}");
    let nodes = talk.say("CLUSTER NODES");
    assert!(nodes.contains("10.0.0.3:6379@6379 master - 0 0 7 connected 0-16383\n"), "{nodes}");
    assert!(nodes.contains("10.0.0.2:6379@6379 myself,slave 0000"), "{nodes}");
    assert!(talk.say("CLUSTER INFO").contains("cluster_state:ok"));
    assert_eq!(talk.say("CLUSTER KEYSLOT foo"), ":12182\r\n");
    assert_eq!(talk.say("CLUSTER MYID"), format!("$40\r\n{:040x}\r\n", 2));
    assert!(talk.say("CLUSTER SHARDS").contains("$6\r\nhealth\r\n$6\r\nonline\r\n"));
}

#[test]
fn there_are_only_so_many_clients() {
    let talk = Talk::with(RespOptions { clients_max: 2, ..RespOptions::default() });
    let second = talk.front.connect().unwrap();
    assert!(talk.front.connect().is_none());
    drop(second);
    assert!(talk.front.connect().is_some());
}
